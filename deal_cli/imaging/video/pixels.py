"""One grey picture from a decoded video frame, whatever its pixel format.

FFmpeg's scaler would turn everything into anything, rounding and clipping on its way and saying
nothing. So the planes are taken as they are: luma is the picture, chroma only says whether it is
one, and limited-range luma is spread over the full range by arithmetic that rounds nothing.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal_cli.errors import PictureError
from deal_cli.imaging import grey

if TYPE_CHECKING:
    from av import VideoFrame

#: How far from neutral a chroma sample of a grey picture may lie, in 8-bit levels. Converters are
#: off by one and lossy codecs by two or three; the colours of a palette are tens of levels away.
CHROMA_TOLERANCE = 4

#: The share of chroma samples that may lie farther: what a codec's ringing makes of sharp edges.
CHROMA_OUTLIERS = 0.01

#: FFmpeg's numbers for a frame's range.
LIMITED_RANGE, FULL_RANGE = 1, 2

_GREY = re.compile(r"gray(9|10|12|14|16)?(le|be)?")
_PLANAR = re.compile(r"yuv(j?)4\d\dp(9|10|12|14|16)?(le|be)?")
_SEMIPLANAR = re.compile(r"(?:nv(?:12|21|16|24|42)|p[024](10|12|16)(le|be))")
_PLANAR_RGB = re.compile(r"gbr(a?)p(9|10|12|14|16)?(le|be)?")
_PACKED_RGB = re.compile(r"([rgba0x]{3,4})(24|48|64)?(le|be)?")


#: What FFmpeg takes 16 bits a pixel for that an AVI does not name: mostly the counts of a camera.
_UNNAMED = "rgb555le"
_CARRY, _CARRIED = 16, 0.1  # a step that can only be a carry, and the share of those in counts
_FINE = 0.5  # mean step between neighbours, in mean distances from the median, of a picture's blue


@dataclass(frozen=True)
class Samples:
    """Where one channel lies: its plane, its first sample in a row and the step to the next."""

    plane: int
    offset: int = 0
    step: int = 1


@dataclass(frozen=True)
class Layout:
    """A pixel format, as far as reading it takes.

    Attributes:
        stored: the dtype of a sample in memory, byte order included.
        bits: significant bits of a sample.
        channels: grey or luma; grey and alpha; or R, G, B and maybe alpha.
        chroma: the channels that are neutral in a grey picture.
        shift: bits below the significant ones.
        limited: whether luma has limited range where the file does not say.
    """

    stored: np.dtype[Any]
    bits: int
    channels: tuple[Samples, ...]
    chroma: tuple[Samples, ...] = ()
    shift: int = 0
    limited: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the picture that comes out."""
        return self.stored.newbyteorder("=")


@functools.cache
def layout_of(name: str) -> Layout:
    """How to read a pixel format of FFmpeg's, by its name.

    Raises:
        PictureError: one that is not read.
    """
    if match := _GREY.fullmatch(name):
        return Layout(*_depth(*match.groups()), (Samples(0),))
    if name in ("ya8", "ya16le", "ya16be"):
        depth = _depth(None if name == "ya8" else "16", name[-2:])
        return Layout(*depth, (Samples(0, 0, 2), Samples(0, 1, 2)))
    if match := _PLANAR.fullmatch(name):
        full, *depth_and_order = match.groups()
        chroma = (Samples(1), Samples(2))
        return Layout(*_depth(*depth_and_order), (Samples(0),), chroma, limited=not full)
    if match := _SEMIPLANAR.fullmatch(name):
        stored, bits = _depth(*match.groups())
        shift = 8 * stored.itemsize - bits
        chroma = (Samples(1, 0, 2), Samples(1, 1, 2))
        return Layout(stored, bits, (Samples(0),), chroma, shift, limited=True)
    if name in ("yuyv422", "yvyu422", "uyvy422"):
        luma = name.index("y")
        chroma = (Samples(0, 1 - luma, 4), Samples(0, 3 - luma, 4))
        return Layout(*_depth(None, None), (Samples(0, luma, 2),), chroma, limited=True)
    if match := _PLANAR_RGB.fullmatch(name):
        alpha, *depth_and_order = match.groups()
        planes = (Samples(2), Samples(0), Samples(1)) + ((Samples(3),) if alpha else ())
        return Layout(*_depth(*depth_and_order), planes)
    if (match := _PACKED_RGB.fullmatch(name)) and set("rgb") <= set(match[1]):
        order, total, endian = match.groups()
        depth = _depth("16" if total in ("48", "64") else None, endian)
        places = tuple(
            Samples(0, order.index(letter), len(order)) for letter in "rgba" if letter in order
        )
        return Layout(*depth, places)
    if name == _UNNAMED:
        return Layout(np.dtype("<u2"), 16, (Samples(0),))
    if name == "pal8":
        return Layout(*_depth(None, None), ())
    raise PictureError(
        f"holds {name} pixels, which deal does not restore",
        remedy="convert it with ffmpeg -pix_fmt gray, or gray16le for more than 8 bits",
    )


def picture_of(
    frame: VideoFrame, *, luminance: bool = False, full: bool = False
) -> tuple[NDArray[np.float32], np.dtype[Any]]:
    """One grey picture from a decoded frame.

    Args:
        frame: as it left the decoder.
        luminance: take the luma of false colour in place of refusing it.
        full: whether luma has all levels where the frame does not say.

    Returns:
        The values, float32 `(H, W)`, and uint8 or uint16. Grey keeps its own numbers, 10-bit ones
        in 0 to 1023. Limited-range luma Y of n bits becomes
        `(Y - 16·2^(n-8)) · (2^n - 1) / (219·2^(n-8))`, not rounded and not clipped.

    Raises:
        PictureError: false colour without `luminance`, transparency, or a format not read.
    """
    layout = layout_of(frame.format.name)
    if not layout.channels:
        return grey.to_values(_through_palette(frame), luminance=luminance)
    size = frame.height, frame.width
    channels = [_samples(frame, layout, place, *size) for place in layout.channels]
    if len(channels) > 1:
        return grey.to_values(np.stack(channels, axis=-1), luminance=luminance)
    if layout.chroma and not luminance and _is_coloured(frame, layout):
        raise PictureError(
            "is in false colour: its numbers are a palette's, not the camera's",
            remedy="save it in grey, or give --luminance to restore its brightness alone",
        )
    if frame.format.name == _UNNAMED and _is_rgb555(channels[0]):
        raise PictureError(
            "is in false colour: its numbers are a palette's, not the camera's",
            remedy="save it in grey",
        )
    stated = frame.color_range
    if stated == LIMITED_RANGE or (layout.limited and not full and stated != FULL_RANGE):
        return np.take(_spread(layout.bits), channels[0], mode="clip"), layout.dtype
    return channels[0].astype(np.float32), layout.dtype


def _depth(bits: str | None, order: str | None) -> tuple[np.dtype[Any], int]:
    if bits is None:
        return np.dtype(np.uint8), 8
    return np.dtype(">u2" if order == "be" else "<u2"), int(bits)


def _plane(frame: VideoFrame, index: int) -> NDArray[np.uint8]:
    """The bytes of a plane, `(rows, bytes of a row with its padding)`, the top row first."""
    plane = frame.planes[index]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, abs(plane.line_size))
    return rows[::-1] if plane.line_size < 0 else rows


def _samples(
    frame: VideoFrame, layout: Layout, place: Samples, height: int, width: int
) -> NDArray[Any]:
    rows = _plane(frame, place.plane).view(layout.stored)
    samples = rows[:height, place.offset :: place.step][:, :width]
    return samples >> layout.shift if layout.shift else samples


def _is_coloured(frame: VideoFrame, layout: Layout) -> bool:
    """Whether more chroma samples than a lossy codec explains lie away from neutral."""
    unit = 1 << (layout.bits - 8)
    low, high = (128 - CHROMA_TOLERANCE) * unit, (128 + CHROMA_TOLERANCE) * unit
    size = frame.format.chroma_height(frame.height), frame.format.chroma_width(frame.width)
    for place in layout.chroma:
        chroma = _samples(frame, layout, place, *size)
        far = np.count_nonzero((chroma < low) | (chroma > high))
        if far > CHROMA_OUTLIERS * chroma.size:
            return True
    return False


def _is_rgb555(words: NDArray[Any]) -> bool:
    """Whether 16-bit words are colours of five bits each rather than counts.

    The top bit of such a colour is never set. Of counts, the five lowest bits are noise, or, where
    they are not, they run over into the others, and the number as a whole hardly changes there.
    """
    if (words & 0x8000).any():
        return False
    step, carried = np.abs(np.diff(words.astype(np.int32), axis=1)), np.diff(words >> 5, axis=1)
    if carried.any() and float((step[carried != 0] < _CARRY).mean()) > _CARRIED:
        return False
    blue, others = (words & 31).astype(np.float32), words >> 5
    spread = float(np.abs(blue - np.median(blue)).mean())
    steps = min(float(np.abs(np.diff(blue, axis=axis)).mean()) for axis in (0, 1))
    return bool((others != others.flat[0]).any() and steps < _FINE * spread)


@functools.cache
def _spread(bits: int) -> NDArray[np.float32]:
    """For every limited-range luma of so many bits, its number in the full range."""
    unit = 1 << (bits - 8)
    codes = np.arange(1 << bits, dtype=np.float64)
    spread: NDArray[np.float64] = (codes - 16 * unit) * ((1 << bits) - 1) / (219 * unit)
    return spread.astype(np.float32)


def _through_palette(frame: VideoFrame) -> NDArray[np.uint8]:
    """RGB `(H, W, 3)` of a frame of palette indexes."""
    # FFmpeg's palette is 256 words 0xAARRGGBB in the machine's own order.
    words = np.frombuffer(memoryview(frame.planes[1]), np.uint32)
    palette = np.stack([(words >> shift) & 255 for shift in (16, 8, 0)], axis=-1)
    indexes = _plane(frame, 0)[: frame.height, : frame.width]
    return palette.astype(np.uint8)[indexes]
