"""What `deal restore` would do, settled before any work: each file, its kind, and its output.

A file of many frames and a radiometric JPEG are written under another suffix than they are read,
so every file is glanced at; nothing is decoded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from deal_cli.engine.backends.choice import Request
from deal_cli.engine.restorer import Settings
from deal_cli.errors import DealError, PictureError, UsageError
from deal_cli.imaging.contents import Contents, glance, picture_suffix
from deal_cli.imaging.files import (
    COMPRESSIONS,
    DEFAULT_COMPRESSION,
    HEAD,
    PICTURE_SUFFIXES,
    refuse_unread,
)
from deal_cli.imaging.reading import AS_FOUND, ReadAs, named
from deal_cli.imaging.resize import SCALES
from deal_cli.imaging.video.clip_files import CLIP_SUFFIXES, check_clip_suffix, clip_suffix
from deal_cli.imaging.video.codecs import CODECS
from deal_cli.imaging.video.reader import VIDEO_SUFFIXES
from deal_cli.imaging.whole import exists
from deal_cli.jobs.batch.plan import STREAM, Item, plan_items

#: What a folder is searched for, and what can be written.
READ_SUFFIXES = tuple(dict.fromkeys((*PICTURE_SUFFIXES, *VIDEO_SUFFIXES)))
WRITTEN_SUFFIXES = tuple(dict.fromkeys((*PICTURE_SUFFIXES, *CLIP_SUFFIXES)))

Unit = Literal["counts", "celsius"]


@dataclass(frozen=True)
class RestoreRequest:
    """What to restore, how, and where to.

    Attributes:
        inputs: files, folders, patterns, lists or `-` (see `plan_items`).
        out: a folder, a file or `-`.
        engine: backend and weights.
        settings: range, tone, strength, bound.
        scale: 1, 2 or 4: bicubic enlargement before restoring.
        read_as: what to take the numbers of the files for.
        recursive: look into the folders below a folder as well.
        overwrite: replace outputs that exist.
        unit: "celsius" turns the counts of a radiometric file into degrees as they are written.
        compression: of TIFFs (see `imaging.files.COMPRESSIONS`).
        codec: of videos (see `create_video`); None is lossless.
        sequence: the pictures of a folder follow one another: one range and one pattern for all.
        find_pattern: look for the fixed pattern of every sequence.
        pattern: a file with the fixed pattern to take off every picture and frame.
        save_pattern: where to keep the pattern that was found in the only sequence.
        show: keep every picture before and after in its outcome, for a report.
    """

    inputs: Sequence[str]
    out: str | None
    engine: Request = Request()
    settings: Settings = Settings()
    scale: int = 1
    read_as: ReadAs = AS_FOUND
    recursive: bool = False
    overwrite: bool = False
    unit: Unit = "counts"
    compression: str = DEFAULT_COMPRESSION
    codec: str | None = None
    sequence: bool = False
    find_pattern: bool = True
    pattern: Path | None = None
    save_pattern: Path | None = None
    show: bool = False


@dataclass(frozen=True)
class Planned:
    """One file to restore: where from, where to, and what a glance at it tells."""

    item: Item
    contents: Contents


def plan_restoration(request: RestoreRequest) -> tuple[Planned, ...]:
    """Every file to restore, in order; the backend is not touched.

    Raises:
        UsageError: see `plan_items`; degrees Celsius, and not one file could give them; or a
            pattern to save, and not just one sequence to find it in.
    """
    look = cache(glance)

    def suffix_of(path: Path) -> str | None:
        contents = look(path)
        if contents.kind != "picture":
            return clip_suffix(path, contents, request.codec)
        return picture_suffix(contents)

    items = plan_items(
        request.inputs,
        request.out,
        recursive=request.recursive,
        overwrite=request.overwrite,
        suffixes=READ_SUFFIXES,
        suffix_of=suffix_of,
        written=WRITTEN_SUFFIXES,
    )
    planned = tuple(
        _judged(item, look(item.source) if item.source else Contents(), request) for item in items
    )
    errors = [one.item.error for one in planned if one.item.error]
    if len(errors) == len(planned):
        raise UsageError(errors[0].cause, file=errors[0].file, remedy=errors[0].remedy)
    if request.save_pattern is not None:
        _check_saved(request, planned)
    return planned


def check_request(request: RestoreRequest) -> None:
    """Make sure that the numbers and names of a request make sense.

    Raises:
        UsageError: one does not.
    """
    settings = request.settings
    if request.scale not in SCALES:
        raise UsageError(f"a scale of {request.scale}", remedy="--scale takes 1, 2 or 4")
    if not 0.0 <= settings.strength <= 1.0:
        raise UsageError(f"a strength of {settings.strength}", remedy="--strength takes 0 to 1")
    if isinstance(settings.range, tuple):
        low, high = settings.range
        if not (low < high and math.isfinite(high - low)):
            raise UsageError(
                f"a range of {low:g}:{high:g}", remedy="--range takes two numbers, LO below HI"
            )
    if request.compression not in COMPRESSIONS:
        raise UsageError(
            f"a compression '{request.compression}'",
            remedy=f"--compression takes {', '.join(COMPRESSIONS)}",
        )
    if request.codec is not None and request.codec not in CODECS:
        raise UsageError(f"a codec '{request.codec}'", remedy=f"--codec takes {', '.join(CODECS)}")


def _judged(item: Item, contents: Contents, request: RestoreRequest) -> Planned:
    """A file with what speaks against it, as far as a glance tells."""
    error = item.error
    if error is None:
        error = _misfit(item, contents, request)
    if error is None and request.unit == "celsius" and item.source is not None:
        if contents.maker == "DJI":
            error = PictureError(
                "holds counts of a DJI camera, whose calibration is not documented",
                file=item.source,
                remedy="leave out --unit; DJI's own software converts the camera's file",
            )
        elif contents.maker is None and not contents.tiff:
            error = PictureError(
                "does not say how its numbers become temperatures",
                file=item.source,
                remedy="leave out --unit, or give a radiometric JPEG of FLIR",
            )
    return Planned(item if error is None else replace(item, error=error), contents)


def _misfit(item: Item, contents: Contents, request: RestoreRequest) -> DealError | None:
    """Why an output cannot hold what its input is, if it cannot."""
    many = contents.kind != "picture"
    if many and item.target is None:
        return UsageError(
            "holds many frames, which do not go through standard output",
            file=item.source,
            remedy="give -o a file or a folder",
        )
    if item.target is None or item.target != Path(request.out or STREAM):
        return None  # in a folder it has the suffix of its kind
    try:
        if many:
            check_clip_suffix(item.target, request.codec)
        elif item.target.suffix.lower() not in PICTURE_SUFFIXES:
            if item.source is not None and item.source.is_file():
                with named(item.source), item.source.open("rb") as stream:
                    refuse_unread(stream.read(HEAD))
            raise UsageError(
                f"{item.target.suffix} is not a kind of picture that deal writes",
                file=item.target,
                remedy=f"name it with one of {' '.join(PICTURE_SUFFIXES)}",
            )
    except (UsageError, PictureError) as error:
        return error
    return None


def _check_saved(request: RestoreRequest, planned: tuple[Planned, ...]) -> None:
    """Make sure that there is one sequence to find a pattern in, and a place to save it.

    Raises:
        UsageError: there is not.
    """
    assert request.save_pattern is not None
    if request.pattern is not None or not request.find_pattern:
        raise UsageError(
            "no pattern would be found to be saved",
            file=request.save_pattern,
            remedy="leave out --pattern and --fixed-pattern off, or --save-pattern",
        )
    clips = {one.item.source for one in planned if one.contents.kind != "picture"}
    folders = {
        one.item.source.parent
        for one in planned
        if one.contents.kind == "picture" and one.item.source is not None
    }
    sequences = len(clips) + (len(folders) if request.sequence else 0)
    if sequences != 1 or STREAM in request.inputs:
        raise UsageError(
            f"would be of {sequences} sequences" if sequences else "would be of no sequence",
            file=request.save_pattern,
            remedy="give one clip, or one folder of frames and --range sequence",
        )
    if request.overwrite:
        return
    if exists(request.save_pattern):
        raise UsageError("exists", file=request.save_pattern, remedy="give --overwrite")
    if all(exists(one.item.target) for one in planned):
        raise UsageError(
            "would be found only in what is restored, and every output exists",
            file=request.save_pattern,
            remedy="give --overwrite",
        )
