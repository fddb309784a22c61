"""Which pictures a command works on and where each result goes, settled before any work.

A name stays what it is below the folder, list or pattern that led to it, so a tree of inputs
becomes the same tree of outputs. Nothing is read or made here but listings of folders.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from deal_cli.errors import DealError, PictureError, UsageError
from deal_cli.imaging.files import PICTURE_SUFFIXES

#: One picture from standard input, or to standard output.
STREAM = "-"

#: Suffixes that surely mean a file, and that deal does not write.
FOREIGN_SUFFIXES = (
    *(".webp", ".gif", ".jp2", ".jxl", ".heic", ".avif", ".pgm", ".ppm", ".fits", ".pdf"),
    *(".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm", ".zip", ".csv", ".json", ".txt"),
)


#: Suffixes of thermal pictures and of videos that deal does not read: nobody wants them passed
#: over in silence.
UNREAD_SUFFIXES = (
    *(".seq", ".csq", ".fff", ".ats", ".sfmov", ".irg", ".is2", ".is3", ".irb", ".ravi"),
    *(".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".vob"),
    *(".jp2", ".jxl", ".heic", ".avif", ".webp", ".dng", ".fits", ".pgm"),
)
UNREAD_REMEDY = "export it as 16-bit TIFF or PNG, or a video with ffmpeg to .mkv"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class Item:
    """One picture to make.

    Attributes:
        source: the file to read; None is standard input.
        target: the file to write; None is standard output.
        error: why nothing can be made of it, when that is known already.
    """

    source: Path | None
    target: Path | None
    error: DealError | None = None


@dataclass(frozen=True)
class _Found:
    """A file, and its name below what led to it; or why there is none."""

    path: Path
    name: Path
    error: DealError | None = None


def plan_items(
    inputs: Sequence[str],
    out: str | None,
    *,
    recursive: bool = False,
    overwrite: bool | None = False,
    suffixes: Sequence[str] = PICTURE_SUFFIXES,
    suffix_of: Callable[[Path], str | None] = lambda _: None,
    written: Sequence[str] = PICTURE_SUFFIXES,
) -> tuple[Item, ...]:
    """Every picture to make, in natural order below each input.

    Args:
        inputs: files; folders, which stand for the pictures directly in them; patterns with
            `*`, `?`, `[…]` and `**`, when no file is called so; `@FILE`, a list of files and
            folders, a line each; or `-` alone, one picture from standard input.
        out: a folder; a file, with one picture and a picture's suffix; or `-`, standard output.
        recursive: look into the folders below a folder as well.
        overwrite: allow an output to replace its own input; None where no flag allows it.
        suffixes: of what a folder is searched for.
        suffix_of: the suffix that the output of a file has; None for its own.
        written: the suffixes of what can be written.

    Raises:
        UsageError: an input that does not exist, no pictures at all, two inputs for one output, an
            output that is an input, or an `out` that cannot take them.
    """
    if STREAM in inputs:
        if len(inputs) > 1:
            raise UsageError("'-' is one picture alone", remedy="leave out the other inputs")
        target = _single_target(out or STREAM, "standard input", written)
        return (Item(None, target),)
    if out is None:
        raise UsageError("no output named", remedy="give -o a folder")
    search = _Search(Path(out), recursive, tuple(suffixes))
    found = [one for text in inputs for one in _find(text, search)]
    errors = [one.error for one in found if one.error]
    if len(errors) == len(found):
        raise UsageError(errors[0].cause, file=errors[0].file, remedy=errors[0].remedy)
    if len(found) == 1 and (out == STREAM or names_a_file(Path(out), written)):
        items = [Item(found[0].path, _single_target(out, found[0].path, written))]
    else:
        folder = output_folder(out, len(found), written)
        items = [Item(one.path, folder / _renamed(one, suffix_of), one.error) for one in found]
    refuse_collisions(items, overwrite=overwrite)
    return tuple(items)


@dataclass(frozen=True)
class _Search:
    """Where results go, which are no inputs, and what folders are searched for."""

    out: Path
    recursive: bool
    suffixes: tuple[str, ...]


def _renamed(one: _Found, suffix_of: Callable[[Path], str | None]) -> Path:
    suffix = None if one.error else suffix_of(one.path)
    return one.name if suffix is None else one.name.with_suffix(suffix)


def natural(path: Path) -> tuple[tuple[list[str | int], str], ...]:
    """A key that sorts `frame2` before `frame10`, part by part."""
    return tuple((_numbers_apart(part), part) for part in path.parts)


def _numbers_apart(text: str) -> list[str | int]:
    pieces = re.split(r"(\d+)", text.casefold())  # every second one is a number
    return [int(piece) if at % 2 else piece for at, piece in enumerate(pieces)]


def _find(text: str, search: _Search) -> Iterator[_Found]:
    """The pictures that one input stands for."""
    path = Path(text)
    kind = _kind(path)
    if kind == "file":
        yield _Found(path, Path(path.name))
    elif kind == "folder":
        yield from _list(path, search)
    elif text.startswith("@"):
        for line in _lines(text[1:]):
            if _kind(Path(line)) == "nothing":
                raise UsageError("no such file", file=line, remedy=f"check the list {text[1:]}")
            yield from _find(line, search)
    elif glob.has_magic(text):
        yield from _match(text, search.out)
    elif _ADDRESS.match(text):
        raise UsageError(
            "is an address, and deal reads files",
            file=text,
            remedy="download it, or record it with ffmpeg -i ADDRESS -c copy clip.mkv",
        )
    else:
        raise UsageError("no such file", file=path, remedy="check the path")


def _list(folder: Path, search: _Search) -> Iterator[_Found]:
    """The pictures of a folder; hidden ones and the output folder are left out."""
    results, recursive = _below(folder, search.out), search.recursive
    pictures: list[_Found] = []
    unreadable: list[_Found] = []
    unread: list[_Found] = []

    def refuse(error: OSError) -> None:
        place = Path(error.filename)
        lack = PictureError(
            f"cannot be listed ({error.strerror})", file=place, remedy="check its permissions"
        )
        unreadable.append(_Found(place, place.relative_to(folder), lack))

    for place, folders, files in os.walk(folder, onerror=refuse):
        here = Path(place).relative_to(folder)
        # A folder that is called like a picture is worth a word, unless it is looked into.
        for name in files if recursive else [*files, *folders]:
            if name.startswith("."):
                continue
            if (suffix := Path(name).suffix.lower()) in search.suffixes:
                pictures.append(_Found(folder / here / name, here / name))
            elif suffix in UNREAD_SUFFIXES and name in files:
                cause = f"is a {suffix} file, which deal does not read"
                lack = PictureError(cause, file=folder / here / name, remedy=UNREAD_REMEDY)
                unread.append(_Found(folder / here / name, here / name, lack))
        folders[:] = [
            name
            for name in folders
            if recursive and not name.startswith(".") and here / name != results
        ]
    if not pictures and not unreadable and not unread:
        deeper = "" if recursive else "give -r to look into the folders below it, or "
        remedy = f"{deeper}name a folder of pictures"
        lack = PictureError("is a folder without pictures", file=folder, remedy=remedy)
        unreadable.append(_Found(folder, Path(folder.name), lack))
    found = sorted((*pictures, *unread), key=lambda one: natural(one.name))
    yield from (*found, *unreadable)


def _match(pattern: str, out: Path) -> Iterator[_Found]:
    """The files that a pattern matches, named below its part without wildcards."""
    parts = Path(pattern).parts
    fixed = list(itertools.takewhile(lambda part: not glob.has_magic(part), parts))
    base, free = Path(*fixed), Path(*parts[len(fixed) :])
    results = _below(base, out)
    # Path.glob would match hidden files, which no shell does.
    matches = glob.iglob(str(free), root_dir=base, recursive=True)  # noqa: PTH207
    names = [Path(match) for match in matches if not (base / match).is_dir()]
    names = [name for name in names if results is None or results not in name.parents]
    if not names:
        raise UsageError("no file matches", file=pattern, remedy="check the pattern")
    for name in sorted(names, key=natural):
        yield _Found(base / name, name)


def _below(folder: Path, out: Path) -> Path | None:
    """The name of the output folder below an input folder, whose results are no inputs."""
    with contextlib.suppress(ValueError):
        name = out.resolve().relative_to(folder.resolve())
        return name if name.parts else None
    return None


def _lines(name: str) -> list[str]:
    """The lines of a list, or what stands between its NULs; `@-` is standard input.

    Raises:
        UsageError: it cannot be read, or is empty.
    """
    try:
        data = sys.stdin.buffer.read() if name == STREAM else Path(name).read_bytes()
    except OSError as error:
        cause = f"cannot be read ({error.strerror})"
        raise UsageError(cause, file=name, remedy="name a text file after the @") from error
    lines = data.split(b"\0") if b"\0" in data else data.splitlines()
    paths = [os.fsdecode(line) for line in lines if line.strip()]
    if not paths:
        raise UsageError("is an empty list", file=name, remedy="write a path on each line")
    return paths


def names_a_file(out: Path, written: Sequence[str] = PICTURE_SUFFIXES) -> bool:
    """Whether an output is meant as a file rather than a folder.

    Args:
        out: the output.
        written: the suffixes of what can be written.

    Raises:
        UsageError: its suffix is that of another kind of file.
    """
    if _kind(out) == "folder":
        return False
    if out.suffix.lower() in written:
        return True
    if out.suffix.lower() in FOREIGN_SUFFIXES:
        raise UsageError(
            f"deal does not write {out.suffix} files",
            file=out,
            remedy=f"name it with one of {' '.join(written)}",
        )
    return False


def _single_target(out: str, source: Path | str, written: Sequence[str]) -> Path | None:
    """Where one picture goes that was named by itself.

    Raises:
        UsageError: `out` is no file.
    """
    if out == STREAM:
        return None
    if not names_a_file(Path(out), written):
        raise UsageError(
            f"has no name for the picture from {source}", file=out, remedy="give -o a file or '-'"
        )
    return Path(out)


def output_folder(out: str, count: int, written: Sequence[str] = PICTURE_SUFFIXES) -> Path:
    """The folder of many outputs.

    Args:
        out: the output.
        count: how many there are.
        written: the suffixes of what can be written.

    Raises:
        UsageError: `out` is a file, or standard output.
    """
    folder = Path(out)
    if out == STREAM or names_a_file(folder, written):
        raise UsageError(f"is one file for {count} pictures", file=out, remedy="give -o a folder")
    if _kind(folder) == "file":
        raise UsageError("is not a folder", file=out, remedy="give -o a folder or a picture's name")
    return folder


def refuse_collisions(items: Sequence[Item], *, overwrite: bool | None) -> None:
    """Refuse two inputs for one output, and outputs that are inputs (see `plan_items`).

    Raises:
        UsageError: see above.
    """

    @cache
    def resolved(folder: Path) -> Path:
        return folder.resolve()

    def key(path: Path) -> str:
        return os.path.normcase(str(resolved(path.parent) / path.name))

    sources = {key(item.source.resolve()): item.source for item in items if item.source}
    targets: dict[str, Path] = {}
    for item in items:
        if item.source is None or item.target is None or item.error:
            continue
        target = key(item.target)
        if target in targets:
            raise UsageError(
                f"and {targets[target]} would both be written to {item.target}",
                file=item.source,
                remedy="write them into different folders",
            )
        targets[target] = item.source
        victim = sources.get(target)
        if victim is not None and (victim != item.source or not overwrite):
            whose = "its own result" if victim == item.source else f"the result of {item.source}"
            remedy = "give -o another folder"
            if victim == item.source and overwrite is not None:
                remedy += ", or --overwrite"
            raise UsageError(f"would be overwritten by {whose}", file=victim, remedy=remedy)


def _kind(path: Path) -> Literal["nothing", "file", "folder"]:
    """What there is at a path; a broken link is a file, whose reading says what is wrong.

    Raises:
        UsageError: the system does not say: the name is too long, or its folder is closed to us.
    """
    try:
        if path.is_dir():
            return "folder"
        return "file" if path.exists() or path.is_symlink() else "nothing"
    except (OSError, ValueError) as error:
        cause = f"cannot be looked up ({getattr(error, 'strerror', None) or error})"
        raise UsageError(cause, file=path, remedy="check the path") from error
