"""The before/after page: one file of HTML that opens offline and holds every number it shows.

A page must not lie about a measurement, so it carries the numbers themselves and no rendering of
them: its script makes the picture, the differences, profiles and histograms.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import quote

from deal_cli.errors import OutputError, UsageError
from deal_cli.imaging.whole import exists, make_folder, written_whole
from deal_cli.jobs.page.pack import Packed, to_json, visible

SUFFIXES = (".html", ".htm")

_BESIDE = re.compile(r"\d{4,}-[0-9a-f]{8}\.js")


@dataclass(frozen=True)
class About:
    """What a page says of itself.

    Attributes:
        title: its heading.
        made: date and time.
        facts: name and value: versions, weights, backend, command, settings.
        summary: lines above the pictures.
        left_out: files that are not shown, and why.
    """

    title: str
    made: str
    facts: tuple[tuple[str, str], ...]
    summary: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Size:
    """How much was written.

    Attributes:
        pictures: their number.
        page: bytes of the page.
        beside: bytes of the files beside it.
    """

    pictures: int
    page: int
    beside: int

    def __str__(self) -> str:
        noun = "picture" if self.pictures == 1 else "pictures"
        beside = f" and {self.beside / 1e6:.1f} MB beside it" if self.beside else ""
        return f"{self.pictures} {noun}, {self.page / 1e6:.1f} MB{beside}"


@dataclass(frozen=True)
class _Place:
    """Where the numbers of a picture lie in the spool, and the file beside the page they go to."""

    start: int
    length: int
    file: str


def check_page(path: Path, *, split: bool = False, overwrite: bool = False) -> None:
    """Make sure that a page may have this name; nothing is made.

    Raises:
        UsageError: the page exists, or has the name of something else.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError("is no name of a page", file=path, remedy="end it in .html")
    for target in (path, _beside(path)) if split else (path,):
        wrong = target.is_dir() if target is path else exists(target) and not target.is_dir()
        if wrong or (exists(target) and not overwrite):
            remedy = "give another name" + ("" if wrong else ", or --overwrite")
            raise UsageError("exists", file=target, remedy=remedy)


def _beside(path: Path) -> Path:
    """The folder of a page's numbers."""
    return path.with_name(f"{path.stem}_files")


class ReportWriter:
    """Writes a page of pictures that come one by one; only one lies in memory at a time.

    Left by an exception, or without `close`, it writes nothing.

    Args:
        path: the page.
        split: put the numbers of the pictures in `STEM_files/` beside the page.
        overwrite: replace a page that exists.

    Raises:
        UsageError: the page exists, or has the name of something else.
        OutputError: the folder cannot be written to.
    """

    def __init__(self, path: Path, *, split: bool = False, overwrite: bool = False) -> None:
        check_page(path, split=split, overwrite=overwrite)
        self._path = path
        self._folder = _beside(path) if split else None
        make_folder(path.parent)
        try:
            self._spool: BinaryIO = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115
        except OSError as error:
            raise _refused(path, error) from error
        self._pictures: list[Packed] = []
        self._places: list[_Place] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._spool.close()

    def add(self, packed: Packed) -> None:
        """Take one more picture.

        Raises:
            OutputError: there is no room for it.
        """
        number, data = len(self._pictures) + 1, packed.data
        # Named by its contents too: an old page never meets a new file, nor a cache an old one.
        file = f"{number:04d}-{hashlib.sha256(data).hexdigest()[:8]}.js"
        place = _Place(self._spool.tell(), len(data), file)
        try:
            self._spool.write(data)
        except OSError as error:
            raise _refused(self._path, error) from error
        self._pictures.append(replace(packed, data=b""))
        self._places.append(place)

    def close(self, about: About) -> Size:
        """Write the page, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        with self._spool, contextlib.ExitStack() as undo:
            beside = 0 if self._folder is None else self._write_beside(self._folder, undo)
            with written_whole(self._path) as stream:
                self._write_page(about, stream)
                page = stream.tell()
            undo.pop_all()
        if self._folder is not None:
            self._remove_old(self._folder)
        return Size(len(self._pictures), page, beside)

    def _write_beside(self, folder: Path, undo: contextlib.ExitStack) -> int:
        """Write a file of each picture's numbers; return their bytes, and how to undo it."""
        if not exists(folder):
            make_folder(folder)
            undo.callback(folder.rmdir)
        total = 0
        for index, place in enumerate(self._places):
            path = folder / place.file
            if not exists(path):
                undo.callback(path.unlink, missing_ok=True)
            with written_whole(path) as stream:
                stream.write(f"deal.receive({index},".encode() + self._numbers(place) + b");\n")
                total += stream.tell()
        return total

    def _remove_old(self, folder: Path) -> None:
        """Remove the files of a page that was replaced, as far as the system lets go of them."""
        ours = {place.file for place in self._places}
        for path in folder.iterdir():
            if _BESIDE.fullmatch(path.name) and path.name not in ours:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _write_page(self, about: About, stream: BinaryIO) -> None:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup

        environment = Environment(
            loader=PackageLoader("deal_cli.jobs.page", "."),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=lambda value: visible(value) if type(value) is str else value,
        )
        style, script = (_part(environment, name) for name in ("report.css", "report.js"))
        page = environment.get_template("report.html.j2").stream(
            about=about,
            entries=self._pictures,
            labels=list(dict.fromkeys(label for e in self._pictures for label, _ in e.figures)),
            policy=_policy(style, script, split=self._folder is not None),
            style=Markup(style),
            script=Markup(script),
            manifest=Markup(to_json(self._manifest())),
            numbers=() if self._folder is not None else map(self._markup, self._places),
        )
        page.dump(stream, encoding="utf-8")

    def _manifest(self) -> dict[str, Any]:
        """What the script has to know of the pictures before it reads one."""
        files = None
        if self._folder is not None:
            name = os.fsencode(self._folder.name)
            files = [quote(name + b"/" + place.file.encode()) for place in self._places]
        rows = [
            {
                "name": entry.name,
                "figures": entry.figures,
                "warning": entry.warning,
            }
            for entry in self._pictures
        ]
        return {"pictures": rows, "files": files}

    def _numbers(self, place: _Place) -> bytes:
        self._spool.seek(place.start)
        return self._spool.read(place.length)

    def _markup(self, place: _Place) -> str:
        from markupsafe import Markup

        return Markup(self._numbers(place).decode("ascii"))


def _part(environment: Any, name: str) -> str:
    """The text of a part that goes into the page as it is."""
    text: str = environment.loader.get_source(environment, name)[0]
    return text


def _policy(style: str, script: str, *, split: bool) -> str:
    """The content security policy: this style, this script, pictures within the page; no more.

    Where the numbers lie beside the page, what the script itself loads is allowed too: a page of
    `file://` has no origin by which they could be named.
    """
    hashes = [
        "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
        for text in (style, script)
    ]
    return "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            f"style-src {hashes[0]}",
            f"script-src {hashes[1]}" + (" 'strict-dynamic'" if split else ""),
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _refused(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot be written ({error.strerror or error})",
        file=path,
        remedy="choose another folder or make room in this one",
    )
