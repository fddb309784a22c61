"""A picture before and after as a page holds it: its numbers, packed without loss.

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
import io
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal_cli.errors import PictureError

THUMBNAIL = 128  # pixels that a small picture has at most, each way
WINDOW = (0.5, 99.5)  # percentiles of the source that a small picture shows as black and white
MOST_PIXELS = 2**24  # of a picture on a page: more than phones draw, and a gigabyte while packed
KNOTS = (2, 17, 129, 1025, 16385)  # temperatures that may stand for a calibration, fewest first
NEAR = 0.002  # K that a temperature between two knots may be off
PROBES = 4096  # codes at which that is looked at

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
class Unshown:
    """A picture that a page cannot hold, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Packed:
    """The same as the page holds it.

    Attributes:
        name: every character of it shows.
        figures: as `Shown` has them.
        warning: likewise.
        thumbnail: a small picture as a data URI.
        width: in pixels.
        height: likewise.
        data: JSON of the numbers, in ASCII.
    """

    name: str
    figures: tuple[tuple[str, str], ...]
    warning: str | None
    thumbnail: str
    width: int
    height: int
    data: bytes

    @property
    def folder(self) -> str:
        """What of the name is the same for its neighbours, with a slash at its end."""
        return self.name[: -len(self.base)]

    @property
    def base(self) -> str:
        """The rest of it."""
        return self.name.rpartition("/")[2] or self.name


def pack(shown: Shown) -> Packed:
    """Pack a picture; it takes about a tenth of a second for 640x512 pixels.

    Raises:
        PictureError: it has more than `MOST_PIXELS`.
        ValueError: its two states are not `(H, W)` of one size.
    """
    height, width = shown.before.shape
    if height * width > MOST_PIXELS:
        most = f"{MOST_PIXELS / 1e6:.0f} megapixels"
        raise PictureError(
            f"is {width}x{height}, and a page holds {most} of a picture", remedy="cut it for a page"
        )
    return Packed(
        name=visible(shown.name) or "(no name)",
        figures=tuple((visible(label), visible(value)) for label, value in shown.figures),
        warning=None if shown.warning is None else visible(shown.warning),
        thumbnail=_thumbnail(shown),
        width=width,
        height=height,
        data=to_json(_encoded(shown)).encode("ascii"),
    )


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
        "unit": visible(shown.unit),
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


def to_json(value: Any) -> str:
    """JSON in ASCII that may stand within a script element: no text in it ends that."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def visible(text: str) -> str:
    """A text in which every character shows: controls, and bytes that are no UTF-8, as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
