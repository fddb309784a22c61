"""The before/after page: one file of HTML that opens offline and holds every number it shows.

A page must not lie about a measurement, so it carries the numbers themselves and no rendering of
them: its script makes the picture, the differences, profiles and histograms.

How a picture is stored: both its states share one scale, `value = least + step · code`, with codes
of one byte or two; one code may stand for what was not measured. Whole numbers have a step of 1
and are exact; others are rounded to at most 65,535 codes from the least to the greatest. A code is
predicted from its left, upper and upper left neighbours as `median(left, up, left + up − corner)`,
with 0 outside the picture (Weinberger, Seroussi and Sapiro, "The LOCO-I lossless image compression
algorithm", IEEE Transactions on Image Processing 9(8), 2000, doi:10.1109/83.855427). The error of
that, wrapped to the code's bits, is folded: 0, −1, 1, −2 … become 0, 1, 2, 3 …. Its low bytes and
its high bytes are deflated apart and written in base64.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import re
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from deal_cli.errors import OutputError, UsageError
from deal_cli.imaging.whole import exists, make_folder, written_whole

SUFFIXES = (".html", ".htm")
THUMBNAIL = 128  # pixels that a small picture has at most, each way
WINDOW = (0.5, 99.5)  # percentiles of the source that a small picture shows as black and white
KNOTS = (2, 17, 129, 1025)  # temperatures that may stand for a calibration, fewest first
NEAR = 0.002  # K that a temperature between two knots may be off
PROBES = 4096  # codes at which that is looked at

_BESIDE = re.compile(r"\d{4,}-[0-9a-f]{8}\.js")

Values = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Shown:
    """One picture of a report.

    Attributes:
        name: as a person finds it; any characters, not necessarily the only one of its name.
        before: `(H, W)`, the source's own numbers; NaN or infinite where nothing was measured.
        after: `(H, W)`, as written.
        unit: what the numbers are: "grey levels", "counts", "°C", "own numbers".
        figures: label and value of each fidelity figure, in order.
        warning: why to look at this one first, if so.
        celsius: values `(N,)` -> °C `(N,)`, of a calibrated camera.
    """

    name: str
    before: Values
    after: Values
    unit: str
    figures: tuple[tuple[str, str], ...]
    warning: str | None = None
    celsius: Callable[[Values], Values] | None = None


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


@dataclass(frozen=True)
class _Entry:
    """What the page says of a picture whose numbers lie in the spool."""

    name: str
    figures: tuple[tuple[str, str], ...]
    warning: str | None
    thumbnail: str
    width: int
    height: int
    start: int
    length: int
    file: str

    @property
    def folder(self) -> str:
        """What of the name is the same for its neighbours, with a slash at its end."""
        return self.name[: -len(self.base)]

    @property
    def base(self) -> str:
        return self.name.rpartition("/")[2] or self.name


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
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError("is no name of a page", file=path, remedy="end it in .html")
        self._path = path
        self._folder = path.with_name(f"{path.stem}_files") if split else None
        for target in filter(None, (path, self._folder)):
            wrong = target.is_dir() if target is path else exists(target) and not target.is_dir()
            if wrong or (exists(target) and not overwrite):
                remedy = "give another name" + ("" if wrong else ", or --overwrite")
                raise UsageError("exists", file=target, remedy=remedy)
        make_folder(path.parent)
        try:
            self._spool: BinaryIO = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115
        except OSError as error:
            raise _refused(path, error) from error
        self._entries: list[_Entry] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._spool.close()

    def add(self, shown: Shown) -> None:
        """Encode one more picture.

        Raises:
            ValueError: its two states are not `(H, W)` of one size.
            OutputError: there is no room for it.
        """
        data = _json(_encoded(shown)).encode("ascii")
        height, width = shown.before.shape
        number = len(self._entries) + 1
        entry = _Entry(
            name=_visible(shown.name) or "(no name)",
            figures=shown.figures,
            warning=shown.warning,
            thumbnail=_thumbnail(shown),
            width=width,
            height=height,
            start=self._spool.tell(),
            length=len(data),
            # Named by its contents too: an old page never meets a new file, nor a cache an old one.
            file=f"{number:04d}-{hashlib.sha256(data).hexdigest()[:8]}.js",
        )
        try:
            self._spool.write(data)
        except OSError as error:
            raise _refused(self._path, error) from error
        self._entries.append(entry)

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
        return Size(len(self._entries), page, beside)

    def _write_beside(self, folder: Path, undo: contextlib.ExitStack) -> int:
        """Write a file of each picture's numbers; return their bytes, and how to undo it."""
        if not exists(folder):
            make_folder(folder)
            undo.callback(folder.rmdir)
        total = 0
        for index, entry in enumerate(self._entries):
            path = folder / entry.file
            if not exists(path):
                undo.callback(path.unlink, missing_ok=True)
            with written_whole(path) as stream:
                stream.write(f"deal.receive({index},".encode() + self._numbers(entry) + b");\n")
                total += stream.tell()
        return total

    def _remove_old(self, folder: Path) -> None:
        """Remove the files of a page that was replaced, as far as the system lets go of them."""
        ours = {entry.file for entry in self._entries}
        for path in folder.iterdir():
            if _BESIDE.fullmatch(path.name) and path.name not in ours:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _write_page(self, about: About, stream: BinaryIO) -> None:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup

        environment = Environment(
            loader=PackageLoader("deal_cli.jobs", "page"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=lambda value: _visible(value) if type(value) is str else value,
        )
        style, script = (_part(environment, name) for name in ("report.css", "report.js"))
        page = environment.get_template("report.html.j2").stream(
            about=about,
            entries=self._entries,
            labels=list(dict.fromkeys(label for e in self._entries for label, _ in e.figures)),
            policy=_policy(style, script, split=self._folder is not None),
            style=Markup(style),
            script=Markup(script),
            manifest=Markup(_json(self._manifest())),
            numbers=() if self._folder is not None else map(self._markup, self._entries),
        )
        page.dump(stream, encoding="utf-8")

    def _manifest(self) -> dict[str, Any]:
        """What the script has to know of the pictures before it reads one."""
        files = None
        if self._folder is not None:
            files = [quote(f"{self._folder.name}/{entry.file}") for entry in self._entries]
        rows = [
            {
                "name": entry.name,
                "figures": [[_visible(text) for text in figure] for figure in entry.figures],
                "warning": None if entry.warning is None else _visible(entry.warning),
            }
            for entry in self._entries
        ]
        return {"pictures": rows, "files": files}

    def _numbers(self, entry: _Entry) -> bytes:
        self._spool.seek(entry.start)
        return self._spool.read(entry.length)

    def _markup(self, entry: _Entry) -> str:
        from markupsafe import Markup

        return Markup(self._numbers(entry).decode("ascii"))


def _encoded(shown: Shown) -> dict[str, Any]:
    """A picture as the page's script takes it."""
    states = np.stack((shown.before, shown.after)).astype(np.float64)
    if states.ndim != 3 or states.size == 0:
        raise ValueError(f"two pictures (H, W): {shown.before.shape} and {shown.after.shape}")
    measured = np.isfinite(states)
    least, greatest = 0.0, 0.0
    if measured.any():
        least, greatest = float(states[measured].min()), float(states[measured].max())
    gaps = not measured.all()
    span = greatest - least
    whole = bool((states[measured] == np.rint(states[measured])).all())
    exact = whole and span + gaps <= 0xFFFF
    step = 1.0 if exact else (span or 1.0) / (0xFFFF - gaps)
    dtype = np.uint8 if exact and span + gaps <= 0xFF else np.uint16
    missing = np.iinfo(dtype).max
    codes = np.full(states.shape, missing, np.int32)
    codes[measured] = np.rint((states[measured] - least) / step)
    top = round(span / step)
    return {
        "width": states.shape[2],
        "height": states.shape[1],
        "unit": _visible(shown.unit),
        "least": least,
        "step": step,
        "top": top,
        "exact": exact,
        "missing": missing if gaps else None,
        "celsius": _temperatures(shown.celsius, least, step, top),
        "before": _streams(codes[0], dtype),
        "after": _streams(codes[1], dtype),
    }


def _streams(codes: NDArray[np.int32], dtype: type[np.uint8 | np.uint16]) -> list[str]:
    """The low bytes of codes `(H, W)`, and the high ones if they have any, in base64."""
    bits = np.iinfo(dtype).bits
    padded = np.pad(codes, ((1, 0), (1, 0)))
    left, up, corner = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    expected = np.clip(left + up - corner, np.minimum(left, up), np.maximum(left, up))
    half = 1 << (bits - 1)
    error = ((codes - expected + half) & (2 * half - 1)) - half
    folded = (error << 1) ^ (error >> 31)
    # Low bytes are noise, in which nothing repeats; high bytes are long runs of nought.
    planes = [_deflated(folded & 0xFF, zlib.Z_HUFFMAN_ONLY)]
    if bits == 16:
        planes.append(_deflated(folded >> 8, zlib.Z_RLE))
    return planes


def _deflated(plane: NDArray[np.int32], strategy: int) -> str:
    packer = zlib.compressobj(6, zlib.DEFLATED, 15, 9, strategy)
    packed = packer.compress(plane.astype(np.uint8).tobytes()) + packer.flush()
    return base64.b64encode(packed).decode("ascii")


def _temperatures(
    celsius: Callable[[Values], Values] | None, least: float, step: float, top: int
) -> list[float | None] | None:
    """°C at equal distances from the first code to the last: as few as tell all between them."""
    if celsius is None:
        return None

    def at(codes: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(all="ignore"):
            return celsius((least + step * codes).astype(np.float32)).astype(np.float64)

    probes = np.linspace(0, top, PROBES)
    true = at(probes)
    for count in KNOTS:
        codes = np.linspace(0, top, count)
        knots = np.round(at(codes), 4)
        if not np.any(np.abs(np.interp(probes, codes, knots) - true) > NEAR) and np.array_equal(
            np.isfinite(np.interp(probes, codes, knots)), np.isfinite(true)
        ):
            break
    return [float(knot) if np.isfinite(knot) else None for knot in knots]


def _thumbnail(shown: Shown) -> str:
    """The picture after, small, in the grey window of the picture before, as a data URI."""
    from PIL import Image

    window = shown.before[np.isfinite(shown.before)]
    low, high = np.percentile(window, WINDOW) if window.size else (0.0, 1.0)
    after = np.where(np.isfinite(shown.after), shown.after, low)
    grey = np.clip((after - low) / max(high - low, np.finfo(np.float32).tiny), 0, 1)
    picture = Image.fromarray(np.rint(255 * grey).astype(np.uint8))
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=75)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


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


def _json(value: Any) -> str:
    """JSON in ASCII that may stand within a script element: no text in it ends that."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _visible(text: str) -> str:
    """A text in which every character shows: controls, and bytes that are no UTF-8, as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _refused(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot be written ({error.strerror or error})",
        file=path,
        remedy="choose another folder or make room in this one",
    )
