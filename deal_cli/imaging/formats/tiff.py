"""TIFF: 8 and 16 bits, signed or not, and floating point.

What is read: strips or tiles, stored plainly or with LZW, deflate and their predictors (and
whatever else tifffile and imagecodecs decode). What is written: one deflated grey page with the
horizontal predictor, the floating-point one for floats. Other tags of the source than pixel
density, description, EXIF, GPS, XMP and profile are not carried over.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from deal_cli.errors import PictureError
from deal_cli.imaging.formats import Pixels, check_size, exif, truncated
from deal_cli.imaging.frame import Metadata, Resolution

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

#: zlib level: higher ones cost twice the time or more and save little behind a predictor.
LEVEL = 5

_UNITS = {1: "none", 2: "inch", 3: "centimetre"}
_GREY, _GREY_INVERTED, _RGB, _PALETTE, _YCBCR = 1, 0, 2, 3, 6

# tifffile reports oddities to its logger; the user's stderr gets one line, ours.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def read(stream: BinaryIO, max_pixels: int) -> Pixels:
    """Read the one picture of a TIFF; previews beside it are passed over.

    Raises:
        PictureError: truncated, several pages, 1 bit a pixel, print or sensor colours, too large.
    """
    import tifffile

    length = stream.seek(0, os.SEEK_END)
    try:
        block = exif.gather(stream)
    except ValueError as error:
        raise truncated() from error
    stream.seek(0)
    with tifffile.TiffFile(stream) as tiff:
        page = _only_page(tiff)
        check_size(page.imagewidth, page.imagelength, max_pixels)
        _check_kind(page)
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            # An interrupted writer leaves zeros where the missing strips should be.
            if count == 0 or offset + count > length:
                raise truncated()
        array = page.asarray()
        if page.photometric == _PALETTE:
            palette = np.asarray(page.colormap)
            array = (palette >> 8).astype(np.uint8)[:, array].transpose(1, 2, 0)
        elif page.photometric == _GREY_INVERTED and array.dtype != np.uint8:
            raise PictureError(
                "its zero is white, which would turn measurements round",
                remedy="save it with photometric MINISBLACK",
            )
        elif page.photometric == _GREY_INVERTED:
            array = np.subtract(np.iinfo(array.dtype).max, array, out=array)
        elif page.planarconfig == 2 and array.ndim == 3:
            array = array.transpose(1, 2, 0)
        return Pixels(array, _metadata(tiff, page, block))


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
        start["resolution"] = (density.x, density.y)
        start["resolutionunit"] = {name: code for code, name in _UNITS.items()}[density.unit]
    if metadata.xmp:
        extra.append((700, 1, len(metadata.xmp), metadata.xmp, True))
    tifffile.imwrite(
        stream,
        array,
        byteorder="<",
        bigtiff=False,
        photometric="minisblack",
        compression="adobe_deflate",
        compressionargs={"level": LEVEL},
        predictor=True,
        metadata=None,
        software=False,
        description=metadata.description.encode() if metadata.description else None,
        iccprofile=metadata.icc_profile,
        extratags=extra,
        **start,
    )
    if metadata.exif is not None:
        try:
            exif.plant(stream, metadata.exif)
        except ValueError:
            # The source's own block is malformed; the picture is worth more than it.
            stream.seek(0, os.SEEK_END)


def _only_page(tiff: TiffFile) -> TiffPage:
    import tifffile

    pages = [p for p in tiff.pages if isinstance(p, tifffile.TiffPage) and not p.is_reduced]
    if not pages:
        raise truncated()
    page = pages[0]
    # ImageJ and tifffile hide further pictures behind a single page.
    hidden = not page.is_reduced and tiff.series and tiff.series[0].size != page.size
    if len(pages) > 1 or page.imagedepth > 1 or hidden:
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


def _metadata(tiff: TiffFile, page: TiffPage, block: bytes | None) -> Metadata:
    tags = page.tags
    resolution = None
    if 282 in tags and 283 in tags:
        x, y = (a / b if b else 0.0 for a, b in (tags[282].value, tags[283].value))
        unit = int(tags[296].value) if 296 in tags else 2
        if x > 0 and y > 0:
            resolution = Resolution(x, y, _UNITS.get(unit, "none"))
    # Programs that describe the array's layout there would read it wrongly after a change of it.
    layout = tiff.is_shaped or tiff.is_imagej or tiff.is_ome
    xmp = tags[700].value if 700 in tags else None
    return Metadata(
        resolution=resolution,
        exif=block,
        xmp=bytes(xmp) if isinstance(xmp, bytes | tuple) else None,
        icc_profile=page.iccprofile,
        description=(page.description or None) if not layout else None,
    )
