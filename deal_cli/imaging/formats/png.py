"""PNG: 8 and 16 bits, chunk by chunk.

The pixels are Pillow's work, but for 16-bit colours, which it turns into 8 bits without a word:
those are libpng's, which in turn fills damaged data with zeros and prints its doubts to stderr, so
it is shown sound data only. The chunks around them are walked here: that shows a truncated file for
what it is, and carries pixel density, EXIF, XMP, profile, texts and calibration over byte for byte.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from deal_cli.errors import PictureError
from deal_cli.imaging.formats import (
    METRES_PER_INCH,
    TRUNCATED_REMEDY,
    Pixels,
    bounds,
    check_size,
    chunks,
    exif,
    truncated,
)
from deal_cli.imaging.frame import Metadata, Resolution

SIGNATURE = chunks.SIGNATURE

FORMAT = "png"

# Thermal pictures hold smooth scenes and noise, and nothing that comes again. Of the ways of zlib
# to find repeats, run lengths alone are the fastest, and behind the best of three simple filters in
# each row they save more than a search at level 3, which takes nearly three times as long.
LEVEL, STRATEGY, FILTERS = 1, "RLE", "FAST"

XMP_KEYWORD = "XML:com.adobe.xmp"
DESCRIPTION_KEYWORD = "Description"

_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_GREY, _PALETTE, _GREY_ALPHA = 0, 3, 4
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}

#: First column and row, and steps, of each pass of an interlaced picture.
_ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)),
    (0, 1, 1, 2),
)


@dataclass(frozen=True)
class _Header:
    """What IHDR declares."""

    width: int
    height: int
    bits: int
    colour_type: int
    interlaced: bool

    @property
    def unpacked(self) -> int:
        """Bytes of all rows, each behind the number of its filter."""
        passes = _ADAM7 if self.interlaced else ((0, 0, 1, 1),)
        depth = self.bits * _CHANNELS[self.colour_type]
        sizes = [
            (-(-(self.width - x) // dx), -(-(self.height - y) // dy)) for x, y, dx, dy in passes
        ]
        return sum(h * (1 + -(-w * depth // 8)) for w, h in sizes if w > 0 and h > 0)


def read(stream: BinaryIO, max_pixels: int) -> Pixels:
    """Read one PNG; grey of fewer than 8 bits, and palettes, come out as 8 bits.

    Raises:
        PictureError: truncated, damaged, animated, 1 bit a pixel, or too large.
    """
    header = _Header(0, 0, 0, 0, interlaced=False)  # what comes first, or the walk ends
    pixels: list[bytes | memoryview] = [SIGNATURE]
    packed = 0
    held: dict[bytes | str, bytes | str] = {}
    native: list[bytes] = []
    for kind, chunk in chunks.walk(stream.read()):
        whole, body = chunks.is_whole(chunk), chunk[8:-4]
        if kind in _NEEDED:
            if not whole:
                raise PictureError("is damaged (a checksum is wrong)", remedy=TRUNCATED_REMEDY)
            if packed and kind not in (b"IDAT", b"IEND"):
                continue  # out of place
            pixels.append(chunk)
            packed += len(body) if kind == b"IDAT" else 0
            if kind == b"IHDR":
                header = _header(body, max_pixels)
        elif kind == b"acTL" and not packed and int.from_bytes(body[:4], "big") > 1:
            raise PictureError(
                "holds more than one picture", remedy="save each frame to a file of its own"
            )
        elif whole:
            native += _kept(kind, bytes(chunk), header, held)
    bounds.check_bytes(header.unpacked, packed, bounds.DEFLATE)
    _check_pixels(header, pixels)
    decode = _decode_wide if header.bits == 16 and header.colour_type != _GREY else _decode
    return Pixels(decode(header, pixels), _metadata(held, native))


def _header(body: memoryview, max_pixels: int) -> _Header:
    """What IHDR declares.

    Raises:
        PictureError: too large, of two levels only, or nothing that the format knows.
    """
    width, height, bits, colour_type, packing, filtering, interlace = struct.unpack(
        ">IIBBBBB", body
    )
    check_size(width, height, max_pixels)
    if bits == 1 and colour_type in (_GREY, _PALETTE):
        raise PictureError(
            "has 1 bit a pixel, nothing to restore", remedy="give the grey picture itself"
        )
    if bits not in _BITS.get(colour_type, ()) or packing or filtering or interlace > 1:
        raise PictureError("is damaged (its header makes no sense)", remedy=TRUNCATED_REMEDY)
    return _Header(width, height, bits, colour_type, interlaced=interlace == 1)


def _check_pixels(header: _Header, parts: list[bytes | memoryview]) -> None:
    """Make sure that the data hold every row: decoders fill what is missing, or print of it.

    Raises:
        PictureError: they hold fewer.
    """
    unpacker, missing = zlib.decompressobj(), header.unpacked
    with contextlib.suppress(zlib.error):
        for part in parts[1:]:
            rest = bytes(part[8:-4]) if part[4:8] == b"IDAT" else b""
            while rest and missing > 0 and not unpacker.eof:
                missing -= len(unpacker.decompress(rest, 2**20))
                rest = unpacker.unconsumed_tail
    if missing > 0:
        raise truncated()


def _decode(header: _Header, parts: list[bytes | memoryview]) -> NDArray[Any]:
    """Grey, colours or a palette, with alpha where there is any, by Pillow.

    Raises:
        PictureError: a pixel that the palette has no colour for.
    """
    from PIL.PngImagePlugin import PngImageFile

    # The plugin itself, not Image.open, whose limit on pixels is global and not ours.
    picture = PngImageFile(io.BytesIO(b"".join(parts)))
    key = picture.info.get("transparency")
    if picture.mode == "P":
        colours = next((len(p) - 12 for p in parts[1:] if p[4:8] == b"PLTE"), 0) // 3
        if np.asarray(picture).max() >= colours:
            raise PictureError("is damaged (its palette is too short)", remedy=TRUNCATED_REMEDY)
    if picture.mode == "P" or (picture.mode == "RGB" and key is not None):
        return np.asarray(picture.convert("RGB" if key is None else "RGBA"))
    array = np.asarray(picture)
    if array.ndim == 2 and key is not None:
        # One level stands for transparency; Pillow gives it as stored.
        level = key * 255 // (2**header.bits - 1) if header.bits < 8 else key
        if (clear := array == level).any():
            alpha = np.where(clear, 0, np.iinfo(array.dtype).max)
            return np.dstack([array, alpha]).astype(array.dtype)
    return array


def _decode_wide(header: _Header, parts: list[bytes | memoryview]) -> NDArray[Any]:
    """16-bit colours, by libpng.

    Raises:
        PictureError: interlaced, about which libpng prints.
    """
    import imagecodecs

    if header.interlaced:
        raise PictureError(
            "holds interlaced 16-bit colours", remedy="save it in grey, or not interlaced"
        )
    wanted = [p for p in parts[1:] if p[4:8] in (b"IHDR", b"IDAT", b"IEND") or _is_key(p)]
    return np.asarray(imagecodecs.png_decode(b"".join([SIGNATURE, *wanted])))


def _is_key(chunk: bytes | memoryview) -> bool:
    """Whether a chunk names one RGB colour as transparent."""
    return chunk[4:8] == b"tRNS" and len(chunk) == 12 + 6


def write(array: NDArray[Any], metadata: Metadata, stream: BinaryIO) -> None:
    """Write `(H, W)` uint8 or uint16 as grey PNG, lossless, with its metadata before the pixels."""
    import imagecodecs

    codec = imagecodecs.PNG
    encoded = imagecodecs.png_encode(
        array, level=LEVEL, strategy=codec.STRATEGY[STRATEGY], filter=codec.FILTER[FILTERS]
    )
    data = memoryview(encoded)
    header = len(SIGNATURE) + 8 + 13 + 4
    stream.write(data[:header])
    if metadata.icc_profile is not None:
        packed = zlib.compress(metadata.icc_profile)
        stream.write(chunks.make(b"iCCP", b"ICC profile\0\0" + packed))
    if metadata.resolution is not None:
        stream.write(chunks.make(b"pHYs", _physical(metadata.resolution)))
    if metadata.exif is not None:
        stream.write(chunks.make(b"eXIf", metadata.exif))
    if metadata.xmp is not None:
        stream.write(chunks.make(b"iTXt", _international(XMP_KEYWORD, metadata.xmp)))
    if metadata.description is not None:
        text = metadata.description.encode()
        stream.write(chunks.make(b"iTXt", _international(DESCRIPTION_KEYWORD, text)))
    if metadata.native is not None and metadata.native[0] == FORMAT:
        stream.write(metadata.native[1])
    stream.write(data[header:])


def _kept(
    kind: bytes, chunk: bytes, header: _Header, held: dict[bytes | str, bytes | str]
) -> list[bytes]:
    """Take what the metadata hold from a chunk, or return what is carried as it is."""
    body = chunk[8:-4]
    if kind in chunks.TEXTS and (key := chunks.keyword(body)) in (XMP_KEYWORD, DESCRIPTION_KEYWORD):
        if key not in held:
            text = chunks.text(kind, body)
            if text is not None:
                held[key] = text
            return []
    elif kind in (b"pHYs", b"eXIf", b"iCCP"):
        held.setdefault(kind, body)
        return []
    if kind == b"sBIT":
        return _significant_bits(body, header)
    return [chunk] if chunks.is_carried(kind) else []


def _significant_bits(body: bytes, header: _Header) -> list[bytes]:
    """The chunk for a grey picture; nothing where colours had bits of their own."""
    depth = max(header.bits, 8)
    if header.colour_type not in (_GREY, _GREY_ALPHA) or not 1 <= int.from_bytes(body[:1]) <= depth:
        return []
    return [chunks.make(b"sBIT", body[:1])]


def _metadata(held: dict[bytes | str, bytes | str], native: list[bytes]) -> Metadata:
    def block(kind: bytes) -> bytes | None:
        body = held.get(kind)
        return body if isinstance(body, bytes) else None

    def text(key: str) -> str | None:
        value = held.get(key)
        return value if isinstance(value, str) else None

    xmp = text(XMP_KEYWORD)
    return Metadata(
        resolution=_resolution(block(b"pHYs")),
        exif=exif.cleaned(block(b"eXIf")),
        xmp=xmp.encode() if xmp is not None else None,
        icc_profile=_profile(block(b"iCCP")),
        description=text(DESCRIPTION_KEYWORD),
        native=(FORMAT, b"".join(native)) if native else None,
    )


def _international(key: str, text: bytes) -> bytes:
    return key.encode() + b"\0\0\0\0\0" + text


def _profile(body: bytes | None) -> bytes | None:
    return None if body is None else chunks.unpacked(body.partition(b"\0")[2][1:])


def _resolution(body: bytes | None) -> Resolution | None:
    if body is None or len(body) != 9:
        return None
    x, y, metric = struct.unpack(">IIB", body)
    # Per metre in the file; dividing by 100 is undone exactly by rounding when it is written.
    return Resolution(x / 100, y / 100, "centimetre") if metric else Resolution(x, y, "none")


def _physical(resolution: Resolution) -> bytes:
    per_metre = {"inch": 1 / METRES_PER_INCH, "centimetre": 100.0, "none": 1.0}[resolution.unit]
    x, y = (min(round(v * per_metre), 2**31 - 1) for v in (resolution.x, resolution.y))
    return struct.pack(">IIB", x, y, resolution.unit != "none")
