"""One page of a TIFF: checked before memory is taken for it, then decoded.

What is read: strips or tiles, stored plainly or with LZW, deflate and their predictors (and
whatever else tifffile and imagecodecs decode).
"""

from __future__ import annotations

import logging
import math
import os
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from deal_cli.errors import PictureError
from deal_cli.imaging.formats import (
    Pixels,
    bounds,
    check_size,
    directory,
    exif,
    geotiff,
    jpeg,
    truncated,
)
from deal_cli.imaging.formats.directory import Link, Tag
from deal_cli.imaging.frame import Storage

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

SAVE_EACH = "save each page to a file of its own"

_GREY, _GREY_INVERTED, _RGB, _PALETTE, _YCBCR = 1, 0, 2, 3, 6

#: The bound of each compression; JPEG is bounded otherwise, and the others hardly at all.
_RATIOS = {1: 1, 5: bounds.LZW, 8: bounds.DEFLATE, 32773: bounds.PACKBITS, 32946: bounds.DEFLATE}
_RATIOS |= {34925: bounds.LZMA, 50000: bounds.ZSTD}
_JPEG = (6, 7)

# tifffile reports oddities to its logger; the user's stderr gets one line, ours.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def pictures_among(links: list[Link]) -> list[Link]:
    """Those pages that are neither previews nor masks; all, where a file has nothing else."""
    shown = [link for link in links if not link.is_reduced] or links
    return [link for link in shown if not link.is_mask] or shown


def page_at(tiff: TiffFile, link: Link, index: int) -> TiffPage:
    """The page whose directory a link of the chain leads to; `index` counts from 0."""
    import tifffile

    tiff.filehandle.seek(link.offset)
    return tifffile.TiffPage(tiff, index)


def read_page(
    tiff: TiffFile,
    page: TiffPage,
    stream: BinaryIO,
    max_pixels: int,
    *,
    hidden: int = 0,
    inherits: bool = False,
) -> Pixels:
    """Read one page.

    Args:
        tiff: the file.
        page: one of its pages.
        stream: the same file.
        max_pixels: a larger page is refused before memory is taken for it.
        hidden: which of the frames behind a page without directories of their own (`frames_of`)
            to read; 0 is the page's own.
        inherits: take the names of camera, date and so on from the first page where it has none.

    Raises:
        PictureError: truncated, 1 bit a pixel, print or sensor colours, too large.
    """
    length = stream.seek(0, os.SEEK_END)
    check_size(page.imagewidth, page.imagelength, max_pixels)
    _check_kind(page)
    if page.is_tiled:
        check_size(page.tilewidth, page.tilelength, max_pixels)
    _check_bytes(page, length)
    _check_jpeg_strips(page, stream)
    tags = _tags(stream, page, inherits=inherits)
    array = _hidden(page, stream, hidden, length) if hidden else page.asarray()
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
    storage = Storage((page.tilelength, page.tilewidth) if page.is_tiled else None, tiff.is_bigtiff)
    metadata = geotiff.metadata(
        tags,
        array.dtype,
        described=not (tiff.is_ome or page.is_ome),
        storage=storage if storage != Storage() else None,
    )
    return Pixels(array, metadata, bands=_are_bands(page))


def _are_bands(page: TiffPage) -> bool:
    """Whether the channels of a page are neither colours nor transparency."""
    opacity = {1, 2}  # ExtraSamples: associated and unassociated alpha
    return page.photometric == _GREY and not opacity.intersection(page.extrasamples)


def frames_of(tiff: TiffFile, page: TiffPage) -> int:
    """How many frames the only page stands for: ImageJ and tifffile hide further ones behind it.

    They have no directories of their own. Their pixels follow the page's.
    """
    size = max(page.size, 1)
    own = (s.size for s in tiff.series if s.keyframe.offset == page.offset)
    told = max(own, default=size)
    if told == size and tiff.is_imagej and page.is_final and page.samplesperpixel == 1:
        # tifffile believes nothing that the file is too short for. One that holds a second frame
        # was cut; one that does not is a single picture that kept its stack's description.
        images = (tiff.imagej_metadata or {}).get("images", 1)
        if page.dataoffsets[0] + 2 * page.nbytes <= tiff.filehandle.size:
            return max(images, 1) if isinstance(images, int) else 1
    return -(-told // size)


def _tags(stream: BinaryIO, page: TiffPage, *, inherits: bool) -> list[Tag]:
    """All tags of a page and, where a preview comes first, the descriptive ones of that.

    Raises:
        PictureError: the file has lost its end.
    """
    try:
        own = directory.read_file(stream, geotiff.is_metadata, page.offset)
        if not inherits:
            return own
        codes = {t.code for t in own}
        first = directory.read_file(stream, exif.DESCRIPTIVE.__contains__)
    except directory.OutsideFileError as error:
        raise truncated() from error
    except ValueError:
        return []
    return [*own, *(t for t in first if t.code not in codes)]


def _hidden(page: TiffPage, stream: BinaryIO, number: int, length: int) -> NDArray[Any]:
    """The pixels of a frame behind a page, in the page's own shape.

    Raises:
        PictureError: they lie outside the file, or are stored in some other way.
    """
    if not page.is_final or page.dtype is None:
        raise PictureError("hides its pixels behind those of the first", remedy=SAVE_EACH)
    at = page.dataoffsets[0] + number * page.nbytes
    if at + page.nbytes > length:
        raise truncated()
    stream.seek(at)
    pixels = np.frombuffer(stream.read(page.nbytes), page.dtype.newbyteorder(page.parent.byteorder))
    return pixels.reshape(page.shape).astype(page.dtype)


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
    # The chroma of YCbCr may be subsampled.
    samples = 1 if page.photometric == _YCBCR else page.samplesperpixel
    _check_held(page, (page.imagewidth, page.imagelength), samples, sum(page.databytecounts))
    if page.is_tiled:
        # The decoder takes the memory for a whole tile. Planes have tiles of their own.
        samples = 1 if page.planarconfig == 2 else samples
        _check_held(page, (page.tilewidth, page.tilelength), samples, max(page.databytecounts))


def _check_held(page: TiffPage, size: tuple[int, int], samples: int, held: int) -> None:
    """Refuse so many pixels of so many samples in so many bytes.

    Raises:
        PictureError: they cannot hold them.
    """
    if page.compression in _JPEG:
        bounds.check_jpeg(*size, held)
    elif page.compression in _RATIOS:
        needed = math.prod(size) * samples * page.bitspersample // 8
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


def _check_kind(page: TiffPage) -> None:
    """Refuse pixels that are none of a grey picture, or of what may turn out to be one.

    Raises:
        PictureError: they are.
    """
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
    if page.imagedepth > 1:
        raise PictureError("holds more than one picture", remedy=SAVE_EACH)
