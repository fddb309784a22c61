"""TIFF: 8 and 16 bits, signed or not, and floating point.

What is read: strips or tiles, stored plainly or with LZW, deflate and their predictors (and
whatever else tifffile and imagecodecs decode). What is written: one deflated grey page with the
horizontal predictor, the floating-point one for floats, and the tags of the source that do not
describe how it stored its pixels.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from deal_cli.errors import PictureError
from deal_cli.imaging.formats import (
    Pixels,
    as_text,
    bounds,
    check_size,
    directory,
    exif,
    geotiff,
    jpeg,
    truncated,
)
from deal_cli.imaging.formats.directory import Tag
from deal_cli.imaging.frame import Metadata

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

#: zlib level: higher ones cost twice the time or more and save little behind a predictor.
LEVEL = 5

#: Bytes of pixels from which on offsets of 64 bits are written: classic TIFF ends at 4 GiB, and
#: deflate can make noise a little longer.
BIG_BYTES = 2**32 - 2**25

#: How the descriptions begin by which tifffile, ImageJ and OME tell their readers a layout.
_LAYOUTS = (b'{"shape"', b"shape=", b"ImageJ=", b"<?xml")

#: Pages that are looked at: a picture and its previews are fewer.
MOST_PAGES = 64

_UNITS = {"none": 1, "inch": 2, "centimetre": 3}
_GREY, _GREY_INVERTED, _RGB, _PALETTE, _YCBCR = 1, 0, 2, 3, 6

#: The bound of each compression; JPEG is bounded otherwise, and the others hardly at all.
_RATIOS = {1: 1, 5: bounds.LZW, 8: bounds.DEFLATE, 32773: bounds.PACKBITS, 32946: bounds.DEFLATE}
_RATIOS |= {34925: bounds.LZMA, 50000: bounds.ZSTD}
_JPEG = (6, 7)

_ASCII, _BYTES = 2, (1, 7)

# tifffile reports oddities to its logger; the user's stderr gets one line, ours.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def read(stream: BinaryIO, max_pixels: int) -> Pixels:
    """Read the one picture of a TIFF; previews beside it are passed over.

    Raises:
        PictureError: truncated, several pages, 1 bit a pixel, print or sensor colours, too large.
    """
    import tifffile

    length = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    with tifffile.TiffFile(stream) as tiff:
        page = _only_page(tiff)
        check_size(page.imagewidth, page.imagelength, max_pixels)
        _check_kind(page)
        _check_bytes(page, length)
        _check_jpeg_strips(page, stream)
        tags = _tags(stream, page)
        array = page.asarray()
        if page.photometric == _PALETTE:
            array = _coloured(np.asarray(page.colormap), array)
        elif page.photometric == _GREY_INVERTED and array.dtype != np.uint8:
            raise PictureError(
                "its zero is white, which would turn measurements round",
                remedy="save it with photometric MINISBLACK",
            )
        elif page.photometric == _GREY_INVERTED:
            white = np.iinfo(array.dtype).max
            array = np.subtract(white, array, out=array)
            tags = geotiff.turned_over(tags, int(white))
        elif page.planarconfig == 2 and array.ndim == 3:
            array = array.transpose(1, 2, 0)
        # Programs that describe the array's layout there would read it wrongly after a change.
        layout = tiff.is_shaped or tiff.is_imagej or tiff.is_ome
        return Pixels(array, _metadata(tags, described=not layout))


def write(array: NDArray[Any], metadata: Metadata, stream: BinaryIO) -> None:
    """Write `(H, W)` of any supported dtype, lossless.

    Args:
        array: what to write; is not copied whole.
        metadata: what to write with it.
        stream: readable and writable, empty.
    """
    import tifffile

    start: dict[str, Any] = {}
    extra: list[tuple[int, int, int, bytes, bool]] = []
    density = metadata.resolution
    if density is not None:
        start["resolution"] = tuple(min(v, 2**32 - 1) for v in (density.x, density.y))
        start["resolutionunit"] = _UNITS[density.unit]
    if metadata.xmp:
        extra.append((700, 1, len(metadata.xmp), metadata.xmp, True))
    tifffile.imwrite(
        stream,
        array,
        byteorder="<",
        bigtiff=array.nbytes > BIG_BYTES,
        photometric="minisblack",
        compression="adobe_deflate",
        compressionargs={"level": LEVEL},
        predictor=True,
        metadata=None,
        software=False,
        description=_described(metadata),
        iccprofile=metadata.icc_profile,
        extratags=extra,
        **start,
    )
    directory.plant(stream, _added(metadata))


def _described(metadata: Metadata) -> bytes | None:
    """The description, unless readers would take it for the layout of the pixels."""
    text = (metadata.description or "").encode()
    return None if not text or text.startswith(_LAYOUTS) else text


def _added(metadata: Metadata) -> list[Tag]:
    """The tags of the metadata that tifffile does not write; malformed blocks add none."""
    tags: list[Tag] = []
    if metadata.native is not None and metadata.native[0] == geotiff.FORMAT:
        with contextlib.suppress(ValueError):
            tags += directory.read_block(metadata.native[1])
    if metadata.exif is not None:
        with contextlib.suppress(ValueError):
            tags += directory.read_block(metadata.exif, _wanted)
    return [t for t in tags if t.code != geotiff.DESCRIPTION or not t.data.startswith(_LAYOUTS)]


def _wanted(code: int) -> bool:
    """Whether a tag of the first directory of an EXIF block belongs into a TIFF's."""
    return code in exif.DESCRIPTIVE or code == geotiff.DESCRIPTION or geotiff.is_carried(code)


def _tags(stream: BinaryIO, page: TiffPage) -> list[Tag]:
    """All tags of a page and, where a preview comes first, the descriptive ones of that.

    Raises:
        PictureError: the file has lost its end.
    """
    try:
        own = directory.read_file(stream, _is_metadata, page.offset)
        codes = {t.code for t in own}
        first = directory.read_file(stream, exif.DESCRIPTIVE.__contains__)
    except directory.OutsideFileError as error:
        raise truncated() from error
    except ValueError:
        return []
    return [*own, *(t for t in first if t.code not in codes)]


def _is_metadata(code: int) -> bool:
    held = (geotiff.XMP, geotiff.ICC_PROFILE, exif.X_RESOLUTION, exif.Y_RESOLUTION)
    return code in held or code == exif.RESOLUTION_UNIT or _wanted(code)


def _check_bytes(page: TiffPage, length: int) -> None:
    """Refuse a page of which the file does not hold the pixels.

    Raises:
        PictureError: strips that lie outside the file, or more pixels than they can hold.
    """
    if len(page.dataoffsets) < math.prod(page.chunked):  # tifffile fills what is missing
        raise truncated()
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        # An interrupted writer leaves zeros where the missing strips should be.
        if count == 0 or offset + count > length:
            raise truncated()
    held = sum(page.databytecounts)
    if page.compression in _JPEG:
        bounds.check_jpeg(page.imagewidth, page.imagelength, held)
    elif page.compression in _RATIOS:
        # The chroma of YCbCr may be subsampled.
        samples = 1 if page.photometric == _YCBCR else page.samplesperpixel
        needed = page.imagewidth * page.imagelength * samples * page.bitspersample // 8
        bounds.check_bytes(needed, held, _RATIOS[page.compression])


def _check_jpeg_strips(page: TiffPage, stream: BinaryIO) -> None:
    """Refuse strips that end too early: decoders fill what they lack with grey and go on.

    Raises:
        PictureError: one does.
    """
    if page.compression in _JPEG:
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            stream.seek(offset)
            jpeg.walk(stream.read(count))


def _coloured(palette: NDArray[Any], indices: NDArray[Any]) -> NDArray[np.uint8]:
    """Palette indices `(H, W)` as RGB `(H, W, 3)`."""
    # Palettes have 16 bits; some old programs write 8 into them all the same.
    colours = palette if palette.max(initial=0) < 256 else palette >> 8
    coloured: NDArray[np.uint8] = colours.astype(np.uint8)[:, indices].transpose(1, 2, 0)
    return coloured


def _only_page(tiff: TiffFile) -> TiffPage:
    import tifffile

    # A damaged file may chain pages without end.
    every = [
        p for p in itertools.islice(tiff.pages, MOST_PAGES) if isinstance(p, tifffile.TiffPage)
    ]
    pages = [p for p in every if not p.is_reduced] or every
    if not pages:
        raise truncated()
    page = pages[0]
    # ImageJ and tifffile hide further pictures behind a single page.
    several = len(pages) > 1 or len(every) == MOST_PAGES or page.imagedepth > 1
    if not several:
        own = [s for s in tiff.series if s.keyframe.offset == page.offset]
        several = any(series.size != page.size for series in own)
    if several:
        raise PictureError(
            "holds more than one picture", remedy="save each page to a file of its own"
        )
    return page


def _check_kind(page: TiffPage) -> None:
    if page.bitspersample < 8:
        raise PictureError(
            f"has {page.bitspersample} bit a pixel, too few to restore",
            remedy="give the 8-bit or 16-bit picture itself",
        )
    name = getattr(page.photometric, "name", page.photometric)
    inverted = page.photometric == _GREY_INVERTED
    if page.photometric not in (_GREY, _GREY_INVERTED, _RGB, _PALETTE, _YCBCR) or (
        inverted and (page.dtype is None or page.dtype.kind != "u")
    ):
        raise PictureError(
            f"has pixels of the kind {name}, which deal does not restore",
            remedy="convert it to 8-bit, 16-bit or float32 grey",
        )


def _metadata(tags: list[Tag], *, described: bool) -> Metadata:
    by_code = {t.code: t for t in tags}
    xmp, profile = by_code.get(geotiff.XMP), by_code.get(geotiff.ICC_PROFILE)
    text = by_code.get(geotiff.DESCRIPTION) if described else None
    return Metadata(
        resolution=exif.density_of(tags),
        exif=directory.build_block(t for t in tags if t.directory or t.code in exif.DESCRIPTIVE),
        xmp=xmp.data if xmp is not None and xmp.kind in _BYTES else None,
        icc_profile=profile.data if profile is not None and profile.kind in _BYTES else None,
        description=(as_text(text.data) or None) if text and text.kind == _ASCII else None,
        native=geotiff.native(tags),
        nodata=geotiff.nodata(tags),
    )
