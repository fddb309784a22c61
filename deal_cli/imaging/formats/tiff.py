"""TIFF: 8 and 16 bits, signed or not, and floating point.

What is read: one picture (`pages` says of which kinds), with or without previews beside it. What is
written: one grey page in strips, or in tiles where the source had them, lossless, behind the
predictor of its kind, with the tags of the source that do not describe how it stored its pixels.
Files of many pages are for `imaging.stack`, which writes each page as it is written here.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, BinaryIO

from numpy.typing import NDArray

from deal_cli.errors import PictureError
from deal_cli.imaging.formats import Pixels, directory, geotiff, pages, planting, truncated
from deal_cli.imaging.formats.directory import Link
from deal_cli.imaging.frame import Metadata

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

#: The ways to store pixels, all of them lossless, and what tifffile calls them.
_CODECS = {"deflate": "adobe_deflate", "lzw": "lzw", "zstd": "zstd", "none": None}
COMPRESSIONS = tuple(_CODECS)
DEFAULT_COMPRESSION = "deflate"

#: zlib level: higher ones cost twice the time or more and save little behind a predictor.
LEVEL = 5

#: Bytes of pixels from which on offsets of 64 bits are written: classic TIFF ends at 4 GiB, and
#: deflate can make noise a little longer.
BIG_BYTES = 2**32 - 2**25

#: Bytes that a strip or tile takes beside its pixels: headers of its codec, and its place. And
#: those of a page's header and directories, without what is long in them.
_CHUNK_BYTES, _PAGE_BYTES = 100, 4096

#: Tiles have sides of a multiple of this, the standard says.
_TILE_STEP = 16

#: Pixels of a tile that is kept even where it is much larger than the picture.
_TILE_PIXELS = 2**22

#: Pages that are looked at for the only picture: it and its previews are fewer.
MOST_PAGES = 64

_UNITS = {"none": 1, "inch": 2, "centimetre": 3}


def read(stream: BinaryIO, max_pixels: int) -> Pixels:
    """Read the one picture of a TIFF; previews beside it are passed over.

    Raises:
        PictureError: truncated, several pages, 1 bit a pixel, print or sensor colours, too large.
    """
    import tifffile

    stream.seek(0)
    with tifffile.TiffFile(stream) as tiff:
        page = _only_page(tiff, stream)
        return pages.read_page(tiff, page, stream, max_pixels, inherits=True)


def write(
    array: NDArray[Any],
    metadata: Metadata,
    stream: BinaryIO,
    *,
    compression: str = DEFAULT_COMPRESSION,
) -> None:
    """Write `(H, W)` of any supported dtype, lossless.

    Args:
        array: what to write; is not copied whole.
        metadata: what to write with it; tiles and BigTIFF are kept from the source.
        stream: readable and writable, empty.
        compression: one of `COMPRESSIONS`.
    """
    big = metadata.storage is not None and metadata.storage.big
    big = big or most_bytes(array, metadata, compression) > BIG_BYTES
    write_page(array, metadata, stream, compression=compression, big=big)


def write_page(
    array: NDArray[Any],
    metadata: Metadata,
    stream: BinaryIO,
    *,
    compression: str,
    big: bool,
    link: int | None = None,
) -> int:
    """Write `(H, W)` as the next page of a TIFF, or its first one.

    Args:
        array: what to write; is not copied whole.
        metadata: what to write with it.
        stream: readable and writable; the page is written at its end.
        compression: one of `COMPRESSIONS`.
        big: whether offsets take 64 bits; the same for every page.
        link: where the place of its directory is to be written; None for the first page.

    Returns:
        The link for the next page.
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
    if compression == "deflate":
        start["compressionargs"] = {"level": LEVEL}
    begin = stream.seek(0, os.SEEK_END)
    # Behind other pages, tifffile counts offsets from where it begins.
    tifffile.imwrite(
        stream,
        array,
        byteorder="<",
        bigtiff=big,
        photometric="minisblack",
        compression=_CODECS[compression],
        predictor=compression != "none",
        tile=_tile(metadata, array.shape),
        metadata=None,
        software=False,
        description=geotiff.description(metadata, array.dtype),
        iccprofile=metadata.icc_profile,
        extratags=extra,
        **start,
    )
    tags = geotiff.added(metadata, array.dtype)
    return planting.plant(stream, tags, start=begin, link=link)


def most_bytes(array: NDArray[Any], metadata: Metadata, compression: str) -> int:
    """Bytes that a page takes in a file at most."""
    height, width = (int(side) for side in array.shape)
    down, across = _tile(metadata, array.shape) or (1, width)
    chunks = math.ceil(height / down) * math.ceil(width / across)
    pixels = chunks * down * across * array.itemsize
    # Nine to twelve bits stand for at least eight.
    stored = pixels * 3 // 2 if compression == "lzw" else pixels
    native = metadata.native[1] if metadata.native is not None else b""
    words = (metadata.description or "").encode()
    blocks = (metadata.exif, metadata.xmp, metadata.icc_profile, native, words)
    # Each may stand there twice: in the directory that tifffile writes, and in ours.
    beside = _PAGE_BYTES + sum(2 * len(block) for block in blocks if block)
    return stored + chunks * _CHUNK_BYTES + beside


def _tile(metadata: Metadata, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The source's tiles, unless they are none or blow the picture up to many times its size."""
    tile = None if metadata.storage is None else metadata.storage.tile
    if tile is None or any(side < 1 or side % _TILE_STEP for side in tile):
        return None
    return tile if math.prod(tile) <= max(_TILE_PIXELS, 2 * math.prod(shape)) else None


def _only_page(tiff: TiffFile, stream: BinaryIO) -> TiffPage:
    """The page of the one picture of a file.

    Raises:
        PictureError: truncated, several pictures, or a mask beside the one.
    """
    every: list[Link] = []
    try:
        for link in directory.chain(stream):
            every.append(link)
            if len(every) == MOST_PAGES:
                break
    except directory.OutsideFileError as error:
        raise truncated() from error
    if not every:
        raise truncated()
    pictures = pages.pictures_among(every)
    page = pages.page_at(tiff, pictures[0], every.index(pictures[0]))
    several = len(pictures) > 1 or len(every) == MOST_PAGES
    if several or pages.frames_of(tiff, page) > 1:
        raise PictureError("holds more than one picture", remedy=pages.SAVE_EACH)
    others = [link for link in every if link not in pictures]
    if any(link.is_mask and not link.is_reduced for link in others):
        raise PictureError(
            "has a mask beside its picture, which deal does not apply",
            remedy="mark those pixels with a nodata value instead",
        )
    return page
