"""The tags that only a TIFF holds: georeferences, GDAL's, IPTC's, and those of camera makers.

All that is not known to describe how the file stores its pixels is carried over with its type,
count and bytes. What ties pixels to places follows the picture when it is enlarged.
"""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Iterable
from dataclasses import replace

from deal_cli.imaging.formats import exif, photoshop
from deal_cli.imaging.formats.directory import Tag, build_block, read_block, swapped

FORMAT = "tiff"

DESCRIPTION, XMP, ICC_PROFILE = 270, 700, 34675

#: Held as themselves in the metadata.
_HELD = {DESCRIPTION, XMP, ICC_PROFILE, *exif.DESCRIPTIVE}
_HELD |= {exif.X_RESOLUTION, exif.Y_RESOLUTION, exif.RESOLUTION_UNIT}

#: How the pixels are laid out, stored, coded and coloured, or where in the file something is: the
#: written file has its own. Ranges as `(first, last)`.
_LAYOUT = (
    *((254, 259), (262, 266), (273, 273), (277, 281), (284, 284), (288, 293), (300, 301)),
    *((317, 347), (351, 351), (400, 405), (433, 435), (512, 532), (559, 559)),
    # SGI, Pixar, sensor mosaics, MetaMorph, LSM, T.85
    *((32995, 32998), (33300, 33306), (33421, 33422), (33628, 33631), (34412, 34412)),
    *((34732, 34732), (37724, 37724)),  # Photoshop's layers
    *((48129, 48259), (50674, 50674)),  # JPEG XR, LERC
    # DNG, but for the names of camera and lens, black and white level; ImageJ; GeoTIFF's RPC is
    # in the middle of them.
    *((50706, 50707), (50710, 50713), (50715, 50716), (50718, 50734), (50737, 50843)),
    *((50845, 50907), (50910, 51199), (52525, 52557)),
    (59932, 59933),  # Microsoft's padding
)

_PIXEL_SCALE, _TIEPOINTS, _TRANSFORMATION, _GEO_KEYS, _RPC = 33550, 33922, 34264, 34735, 50844
_IPTC, _PHOTOSHOP, _NODATA = 33723, 34377, 42113
_RASTER_TYPE_KEY, _PIXEL_IS_POINT = 1025, 2
_ASCII, _LONG, _UNDEFINED, _DOUBLE = 2, 4, 7, 12
_RPC_LINE_OFFSET, _RPC_SAMPLE_OFFSET, _RPC_LINE_SCALE, _RPC_SAMPLE_SCALE = 2, 3, 7, 8


def is_carried(code: int) -> bool:
    """Whether a tag is carried from TIFF to TIFF in `Metadata.native`."""
    return code not in _HELD and not any(low <= code <= high for low, high in _LAYOUT)


def native(tags: Iterable[Tag]) -> tuple[str, bytes] | None:
    """`Metadata.native` of a TIFF with these tags."""
    carried = [_mended(t) for t in tags if is_carried(t.code) and not t.directory]
    block = build_block(t for t in carried if t.data)
    return None if block is None else (FORMAT, block)


def nodata(tags: Iterable[Tag]) -> float | None:
    """The number of GDAL's tag for pixels without a measurement, or None."""
    text = next((t.data for t in tags if t.code == _NODATA and t.kind == _ASCII), b"")
    words = text.decode("ascii", errors="replace").strip("\0 \t\r\n").lower()
    if "#qnan" in words or "#ind" in words:
        return math.nan
    try:
        number = float(words)
    except ValueError:
        return None
    # One and the same NaN, so that metadata with it equals itself.
    return math.nan if math.isnan(number) else number


def turned_over(tags: Iterable[Tag], white: int) -> list[Tag]:
    """The tags of a picture whose values v are read as `white - v`."""
    turned = []
    for tag in tags:
        number = nodata([tag])
        if number is not None and math.isfinite(number):
            text = f"{white - number:.17g}".encode() + b"\0"
            tag = replace(tag, count=len(text), data=text)
        turned.append(tag)
    return turned


def enlarged(block: bytes, scale: int) -> bytes:
    """The native block of a picture enlarged `scale` times: pixels still lie where they lay."""
    try:
        tags = read_block(block)
    except ValueError:
        return block
    shift = _shift(tags, scale)
    return build_block(_enlarged(tag, scale, shift) for tag in tags) or block


def _mended(tag: Tag) -> Tag:
    """The tag without previews, and IPTC as bytes in their order whatever wrote them as."""
    if tag.code == _PHOTOSHOP:
        data = photoshop.without_previews(tag.data)
        return replace(tag, kind=_UNDEFINED, count=len(data), data=data)
    if tag.code == _IPTC and tag.kind == _LONG:
        # Some programs declare the bytes as long numbers, in the file's order or against it.
        turned = swapped(tag.data, 4)
        marked = not tag.data.startswith(b"\x1c") and turned.startswith(b"\x1c")
        data = turned if marked else tag.data
        return replace(tag, kind=_UNDEFINED, count=len(data), data=data)
    return tag


def _shift(tags: Iterable[Tag], scale: int) -> float:
    """Where old pixel coordinate 0 comes to lie: coordinates i become `i * scale + shift`.

    Coordinates count from a pixel's corner, or from its centre where the keys say so.
    """
    data = next((t.data for t in tags if t.code == _GEO_KEYS), b"")
    keys = struct.iter_unpack("<4H", data[: len(data) // 8 * 8])
    point = any(
        (key, place, value) == (_RASTER_TYPE_KEY, 0, _PIXEL_IS_POINT)
        for key, place, _, value in keys
    )
    return (scale - 1) / 2 if point else 0.0


def _enlarged(tag: Tag, scale: int, shift: float) -> Tag:
    if tag.kind != _DOUBLE:
        return tag
    numbers = list(struct.unpack(f"<{tag.count}d", tag.data))
    if tag.code == _PIXEL_SCALE:
        numbers[:2] = [n / scale for n in numbers[:2]]
    elif tag.code == _TIEPOINTS:
        for at in range(0, len(numbers) - 5, 6):
            numbers[at : at + 2] = [n * scale + shift for n in numbers[at : at + 2]]
    elif tag.code == _TRANSFORMATION and len(numbers) == 16:
        for row in (0, 4, 8):
            x, y = (n / scale for n in numbers[row : row + 2])
            numbers[row : row + 2] = x, y
            numbers[row + 3] -= (x + y) * shift
    elif tag.code == _RPC:
        with contextlib.suppress(IndexError):
            for at in (_RPC_LINE_OFFSET, _RPC_SAMPLE_OFFSET):
                # These count from the centre of the first pixel, always.
                numbers[at] = numbers[at] * scale + (scale - 1) / 2
            for at in (_RPC_LINE_SCALE, _RPC_SAMPLE_SCALE):
                numbers[at] *= scale
    return replace(tag, data=struct.pack(f"<{tag.count}d", *numbers))
