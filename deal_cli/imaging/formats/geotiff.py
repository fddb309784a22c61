"""What a TIFF says beside its pixels: the tags of a page as metadata, and metadata as tags.

Georeferences, GDAL's, IPTC's and camera makers' own only a TIFF holds: all that is not known to
describe how the file stores its pixels is carried over with its type, count and bytes. What ties
pixels to places follows the picture when it is enlarged.
"""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from deal_cli.imaging.formats import as_text, exif, photoshop
from deal_cli.imaging.formats.directory import Tag, build_block, read_block, swapped
from deal_cli.imaging.frame import Metadata, Storage
from deal_cli.imaging.radiometry.calibration import as_description, from_description

FORMAT = "tiff"

DESCRIPTION, XMP, ICC_PROFILE = 270, 700, 34675

#: How the descriptions begin by which tifffile, ImageJ and OME tell their readers a layout, and
#: what stands somewhere in tifffile's JSON.
_LAYOUTS, _SHAPE = (b"shape=", b"ImageJ=", b"<?xml"), b'"shape":'

#: What ImageJ says of its numbers and of its pixels' size, whatever their layout is.
_IMAGEJ = b"ImageJ="
_CALIBRATION = (b"unit", b"xunit", b"yunit", b"cf", b"c0", b"c1", b"c2", b"c3", b"c4", b"vunit")

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
    # Time codes, frame rate, T-stop, reel and camera label of DNG are the picture's own.
    *((50845, 50907), (50910, 51042), (51045, 51057), (51059, 51080), (51082, 51104)),
    *((51106, 51199), (52525, 52557)),
    (59932, 59933),  # Microsoft's padding
)

_PIXEL_SCALE, _TIEPOINTS, _TRANSFORMATION, _GEO_KEYS, _RPC = 33550, 33922, 34264, 34735, 50844
_IPTC, _PHOTOSHOP, _GDAL, _NODATA = 33723, 34377, 42112, 42113
_DEGREES = b'<Item name="UNITTYPE" sample="0" role="unittype">degC</Item>'
_RASTER_TYPE_KEY, _PIXEL_IS_POINT = 1025, 2
_ASCII, _LONG, _UNDEFINED, _DOUBLE = 2, 4, 7, 12
_BYTES = (1, _UNDEFINED)
_RPC_LINE_OFFSET, _RPC_SAMPLE_OFFSET, _RPC_LINE_SCALE, _RPC_SAMPLE_SCALE = 2, 3, 7, 8


def is_carried(code: int) -> bool:
    """Whether a tag is carried from TIFF to TIFF in `Metadata.native`."""
    return code not in _HELD and not any(low <= code <= high for low, high in _LAYOUT)


def is_layout(description: bytes) -> bool:
    """Whether a description is one by which programs tell each other how pixels are laid out."""
    shaped = description.startswith(b"{") and _SHAPE in description
    if description.startswith(_IMAGEJ):
        lines = description.rstrip(b"\0").splitlines()[1:]
        return not lines or any(line.partition(b"=")[0] not in _CALIBRATION for line in lines)
    return shaped or description.startswith(_LAYOUTS)


def is_metadata(code: int) -> bool:
    """Whether a tag of a page becomes part of its metadata, in one way or another."""
    return code in _HELD or is_carried(code)


def metadata(
    tags: list[Tag], dtype: np.dtype, *, described: bool, storage: Storage | None
) -> Metadata:
    """The metadata of a page.

    Args:
        tags: the page's own.
        dtype: of its pixels. Only integers are counts that a radiometry goes with.
        described: whether its description may be a person's. That of a layout is none.
        storage: how it stores its pixels.
    """
    by_code = {t.code: t for t in tags}
    xmp, profile = by_code.get(XMP), by_code.get(ICC_PROFILE)
    text, words = by_code.get(DESCRIPTION), None
    if described and text is not None and text.kind == _ASCII:
        words = as_text(text.data) or None
        if words is not None and words.startswith(_IMAGEJ.decode()):
            words = _calibration_of(words)
        elif is_layout(text.data):
            words = None
    radiometry = None
    if words is not None and dtype.kind in "iu":
        radiometry, words = from_description(words)
    return Metadata(
        resolution=exif.density_of(tags),
        exif=build_block(t for t in tags if t.directory or t.code in exif.DESCRIPTIVE),
        xmp=xmp.data if xmp is not None and xmp.kind in _BYTES else None,
        icc_profile=profile.data if profile is not None and profile.kind in _BYTES else None,
        description=words,
        native=native(tags),
        nodata=nodata(tags),
        storage=storage,
        radiometry=radiometry,
    )


def description(metadata: Metadata, dtype: np.dtype) -> bytes | None:
    """The description of a page of this dtype: a person's words, and the radiometry of counts.

    Words that readers would take for the layout of the pixels are left out.
    """
    text = metadata.description or None
    counts = metadata.radiometry is not None and dtype.kind in "iu"
    if text is None and counts:
        # The line takes the place where EXIF's words would have come to stand.
        text = _described_by(metadata.exif)
    if text is not None and is_layout(text.encode()):
        text = None
    if text is not None and text.startswith(_IMAGEJ.decode()) and dtype.kind == "f":
        text = None  # what it says of counts does not hold for degrees
    if metadata.radiometry is not None and counts:
        text = as_description(metadata.radiometry, text)
    return None if text is None else text.encode()


def added(metadata: Metadata, dtype: np.dtype) -> list[Tag]:
    """The tags of the metadata that tifffile does not write; malformed blocks add none."""
    tags: list[Tag] = []
    if metadata.native is not None and metadata.native[0] == FORMAT:
        with contextlib.suppress(ValueError):
            tags += read_block(metadata.native[1])
    if metadata.exif is not None:
        with contextlib.suppress(ValueError):
            tags += read_block(metadata.exif, _is_added)
    if metadata.radiometry is not None and dtype.kind == "f":
        tags = _in_degrees(tags)
    kept = [t for t in tags if t.code != DESCRIPTION or not is_layout(t.data)]
    return _with_nodata(kept, metadata.nodata)


def native(tags: Iterable[Tag]) -> tuple[str, bytes] | None:
    """`Metadata.native` of a TIFF with these tags."""
    carried = [_mended(t) for t in tags if is_carried(t.code) and not t.directory]
    block = build_block((t for t in carried if t.data), wide=True)
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
    return build_block((_enlarged(tag, scale, shift) for tag in tags), wide=True) or block


def _calibration_of(words: str) -> str | None:
    """What ImageJ says that holds for one picture alone, as it says it; None for nothing."""
    first, *lines = words.splitlines()
    kept = [line for line in lines if line.partition("=")[0].encode() in _CALIBRATION]
    return "\n".join([first, *kept, ""]) if kept else None


def _described_by(block: bytes | None) -> str | None:
    """The description in an EXIF block, or None."""
    with contextlib.suppress(ValueError):
        for tag in read_block(block or b"", (DESCRIPTION,).__contains__):
            if tag.code == DESCRIPTION and tag.kind == _ASCII:
                return as_text(tag.data).strip() or None
    return None


def _is_added(code: int) -> bool:
    """Whether a tag of the first directory of an EXIF block belongs into a TIFF's."""
    return code in exif.DESCRIPTIVE or code == DESCRIPTION or is_carried(code)


def _in_degrees(tags: list[Tag]) -> list[Tag]:
    """The tags of a picture of temperatures, with GDAL's word for their unit."""
    if any(t.code == _GDAL for t in tags):
        return tags
    text = b"<GDALMetadata>" + _DEGREES + b"</GDALMetadata>\0"
    return [*tags, Tag(_GDAL, _ASCII, len(text), text)]


def _with_nodata(tags: list[Tag], number: float | None) -> list[Tag]:
    """The tags with this number for pixels without a measurement, unless they say it already."""
    told = nodata(tags)
    if told == number or (told is not None and number is not None and told != told != number):
        return tags
    text = b"" if number is None else f"{number:.17g}".encode() + b"\0"
    others = [t for t in tags if t.code != _NODATA]
    return others if number is None else [*others, Tag(_NODATA, _ASCII, len(text), text)]


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
