"""What a restorer is scored on: degraded pictures, beside the clean ones where there are any.

Clean pictures alone are degraded as the protocol says; clean and degraded ones are paired by name;
degraded ones alone are taken as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from deal_cli.errors import PictureError, UsageError
from deal_cli.imaging.files import PICTURE_SUFFIXES, read_frame
from deal_cli.imaging.frame import Frame, Metadata
from deal_cli.imaging.gaps import fill_gaps
from deal_cli.imaging.resize import SCALES, enlarge
from deal_cli.jobs.protocol.tasks import (
    TASKS,
    Grey,
    Unit,
    check_tasks,
    degrade_for_task,
    small_for_task,
)

PER_SET = 10  # pictures of each folder, in the protocol
CROP = 320  # side of the centre crop in pixels, in the protocol
LEAST = 11  # pixels on each side: the window of the structural similarity
FOUND = "as found"  # the task of pictures that somebody else degraded

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Case:
    """One degraded picture to restore.

    Attributes:
        set: the name of its folder.
        stem: its file name without the suffix.
        task: how it was degraded: one of the protocol's, or `FOUND`.
        degraded: the picture, at the size of the clean one, without gaps.
        clean: what a perfect restorer would make of it; None where nobody knows.
        small: what `degraded` was enlarged from; None where it was not.
    """

    set: str
    stem: str
    task: str
    degraded: Frame
    clean: Frame | None = None
    small: Frame | None = None


@dataclass(frozen=True)
class Subject:
    """The files of one picture, not read yet."""

    degraded: Path | None = None
    clean: Path | None = None

    @property
    def path(self) -> Path:
        """The file that a failure is told of."""
        path = self.degraded or self.clean
        assert path is not None
        return path


@dataclass(frozen=True)
class Selection:
    """Which pictures are scored.

    Attributes:
        clean: folders of clean pictures.
        degraded: folders of degraded ones, each named as its clean one, where there are any.
        tasks: of the protocol, for clean pictures alone; each once.
        per_set: the most pictures of each folder, evenly spaced; None: 10 in the protocol, else
            all.
        crop: side of the centre crop in pixels; None: 320 in the protocol, else whole pictures.
    """

    clean: tuple[Path, ...] = ()
    degraded: tuple[Path, ...] = ()
    tasks: tuple[str, ...] = TASKS
    per_set: int | None = None
    crop: int | None = None

    @property
    def protocol(self) -> bool:
        """Whether clean pictures are degraded by the protocol."""
        return not self.degraded

    @property
    def side(self) -> int | None:
        """The side of the centre crop that is taken."""
        return CROP if self.crop is None and self.protocol else self.crop

    @property
    def most(self) -> int | None:
        """The most pictures of each folder that are taken; None for all."""
        return PER_SET if self.per_set is None and self.protocol else self.per_set

    def subjects(self) -> list[Subject]:
        """Every picture to read, in the order of folders and names.

        Raises:
            UsageError: a folder that does not exist or holds no picture, two clean pictures of one
                name, no pair at all, an unknown task, or a number that makes no sense.
        """
        if not self.clean and not self.degraded:
            raise UsageError("no pictures", remedy="give --clean or --degraded a folder of them")
        if not self.tasks:
            raise UsageError("no tasks", remedy=f"choose from {', '.join(TASKS)}")
        if self.crop is not None and self.crop < LEAST:
            raise UsageError(f"a crop of {self.crop} px", remedy=f"give --crop {LEAST} or more")
        check_tasks(self.tasks)
        if self.protocol:
            return [
                Subject(clean=path)
                for folder in self.clean
                for path in select_pictures(folder, self.most, "--clean")
            ]
        degraded = [
            path
            for folder in self.degraded
            for path in select_pictures(folder, self.most, "--degraded")
        ]
        if not self.clean:
            return [Subject(path) for path in degraded]
        return _paired(degraded, _by_stem(self.clean))

    def cases(self, subject: Subject) -> list[Case]:
        """Read one picture, and degrade it by every task of the protocol if it is a clean one.

        Raises:
            PictureError: a file that cannot be read or is not fit to be scored, or a degraded
                picture without its clean one.
        """
        if self.protocol:
            assert subject.clean is not None
            clean = _read(subject.clean, self.side)
            if clean.dtype != np.uint8:
                raise PictureError(
                    f"{clean.dtype} where the protocol's clean pictures are 8-bit grey",
                    file=subject.clean,
                    remedy="give 8-bit pictures, or --degraded a folder of pictures to pair with",
                )
            return degraded_by_protocol(subject.clean, clean, self.tasks)
        assert subject.degraded is not None
        if self.clean:
            return [_pair(subject, self.side)]
        return [_case(subject.degraded, _read(subject.degraded, self.side))]


def select_pictures(folder: Path, per_set: int | None, flag: str = "--clean") -> list[Path]:
    """Return pictures of a folder in the order of their names, evenly spaced where not all.

    Args:
        folder: where they lie.
        per_set: the most of them; None for all.
        flag: by which the folder was given, for errors.

    Raises:
        UsageError: the folder does not exist or holds no picture, or `per_set` is not positive.
    """
    if per_set is not None and per_set < 1:
        raise UsageError(f"{per_set} pictures a folder", remedy="give --per-set 1 or more")
    if not folder.is_dir():
        raise UsageError("not a folder", file=folder, remedy=f"give {flag} a folder of pictures")
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    if not pictures:
        raise UsageError(
            "no picture in this folder", file=folder, remedy=f"give {flag} another folder"
        )
    return pictures if per_set is None else evenly_spaced(pictures, per_set)


def evenly_spaced(items: Sequence[T], most: int) -> list[T]:
    """Return at most `most` of some items, the first and the last among them from two up."""
    count = min(most, len(items))
    return [items[int(i)] for i in np.linspace(0, len(items) - 1, count).round()]


def centre_crop(picture: NDArray[Any], side: int) -> NDArray[Any]:
    """Return the middle `side × side` pixels of `(H, W)`; a shorter axis is kept whole."""
    height, width = picture.shape
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return picture[top : top + side, left : left + side]


def degraded_by_protocol(path: Path, clean: Frame, tasks: Iterable[str]) -> list[Case]:
    """Degrade an 8-bit picture by some tasks; the names of its folder and file are the seed."""
    named = path.parent.absolute().name, path.stem
    unit: Unit = clean.values / np.float32(255)
    return [
        Case(
            *named,
            task,
            _grey(degrade_for_task(unit, task, *named)),
            clean,
            None if (small := small_for_task(unit, task)) is None else _grey(small),
        )
        for task in dict.fromkeys(tasks)
    ]


def _by_stem(folders: Iterable[Path]) -> dict[str, Path]:
    """The clean pictures of some folders by the names that they are paired by."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in select_pictures(folder, None):
            if path.stem in found:
                raise UsageError(
                    f"has the name of {found[path.stem]}: which of them is the clean one?",
                    file=path,
                    remedy="give --clean folders in which every name is there once",
                )
            found[path.stem] = path
    return found


def _paired(degraded: Iterable[Path], clean: dict[str, Path]) -> list[Subject]:
    """Every degraded picture with the clean one of its name, as far as there is one."""
    subjects = [Subject(path, clean.get(path.stem)) for path in degraded]
    if all(subject.clean is None for subject in subjects):
        raise UsageError(
            "has the name of no clean picture, nor has any other",
            file=subjects[0].path,
            remedy="name degraded pictures as their clean ones, or leave out --clean",
        )
    return subjects


def _pair(subject: Subject, crop: int | None) -> Case:
    """A degraded picture beside its clean one, enlarged to its size if it is a small one."""
    assert subject.degraded is not None
    if subject.clean is None:
        raise PictureError(
            "has the name of no clean picture",
            file=subject.degraded,
            remedy="name it as its clean one, or leave out --clean",
        )
    clean, degraded = (_read(path, whole=True) for path in (subject.clean, subject.degraded))
    if clean.dtype != degraded.dtype:
        raise PictureError(
            f"{degraded.dtype}, and its clean picture {subject.clean} {clean.dtype}",
            file=subject.degraded,
            remedy="give pairs in the same numbers",
        )
    size, small = (clean.height, clean.width), None
    for scale in SCALES[1:]:
        if (degraded.height * scale, degraded.width * scale) == size:
            small, degraded = degraded, enlarge(degraded, scale)
    if (degraded.height, degraded.width) != size:
        raise PictureError(
            f"{degraded.width}x{degraded.height}, and its clean picture {subject.clean}"
            f" {clean.width}x{clean.height}",
            file=subject.degraded,
            remedy="give pairs of one size, or a half or a quarter of it",
        )
    if crop is not None and min(size) > 0:
        # A crop of the small picture would not be what the cropped one was enlarged from.
        small = small if max(size) <= crop else None
        clean, degraded = _cropped(clean, crop), _cropped(degraded, crop)
    return _case(subject.degraded, degraded, clean, small)


def _case(
    path: Path, degraded: Frame, clean: Frame | None = None, small: Frame | None = None
) -> Case:
    return Case(path.parent.absolute().name, path.stem, FOUND, degraded, clean, small)


def _read(path: Path, crop: int | None = None, *, whole: bool = False) -> Frame:
    """A picture without gaps, or its middle; nothing of its metadata but how to read its counts.

    Gaps are filled from their surroundings; where it is to be `whole`, it may have none.
    """
    frame = read_frame(path)
    values, gaps = fill_gaps(frame.values, frame.metadata.nodata, frame.absent)
    if whole and gaps is not None:
        raise PictureError(
            f"{np.count_nonzero(gaps)} pixels hold no measurement, and what is filled is no truth",
            file=path,
            remedy="cut pairs to where both were measured",
        )
    metadata = Metadata(radiometry=frame.metadata.radiometry)
    frame = Frame(values, frame.dtype, metadata)
    if min(frame.height, frame.width) < LEAST:
        raise PictureError(
            f"smaller than {LEAST} pixels", file=path, remedy="give a larger picture"
        )
    return frame if crop is None else _cropped(frame, crop)


def _cropped(frame: Frame, side: int) -> Frame:
    return replace(frame, values=np.ascontiguousarray(centre_crop(frame.values, side)))


def _grey(levels: Grey) -> Frame:
    return Frame(levels.astype(np.float32), np.dtype(np.uint8))
