"""PNG: 8 and 16 bits, chunk by chunk.

The pixels are libpng's work (Pillow turns 16-bit RGB into 8 bits without a word). The chunks
around them are walked here: that shows a truncated file for what it is, and carries pixel
density, EXIF, XMP, profile, texts and calibration over byte for byte.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

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
)
from deal_cli.imaging.frame import Metadata, Resolution

SIGNATURE = chunks.SIGNATURE

FORMAT = "png"

#: zlib level: 6 takes four times as long as this to save 2 % of a thermal picture.
LEVEL = 3

XMP_KEYWORD = "XML:com.adobe.xmp"
DESCRIPTION_KEYWORD = "Description"

_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_GREY, _PALETTE, _GREY_ALPHA = 0, 3, 4
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@dataclass(frozen=True)
class _Header:
    """What IHDR declares."""

    width: int
    height: int
    bits: int
    colour_type: int


def read(stream: BinaryIO, max_pixels: int) -> Pixels:
    """Read one PNG; grey of fewer than 8 bits, and palettes, come out as 8 bits.

    Raises:
        PictureError: truncated, damaged, animated, 1 bit a pixel, or too large.
    """
    import imagecodecs

    header = _Header(0, 0, 0, 0)
    pixels: list[bytes | memoryview] = [SIGNATURE]
    packed = 0
    held: dict[bytes | str, bytes | str] = {}
    native: list[bytes] = []
    for kind, chunk in chunks.walk(stream.read()):
        whole, body = chunks.is_whole(chunk), chunk[8:-4]
        if kind in _NEEDED:
            if not whole:
                raise PictureError("is damaged (a checksum is wrong)", remedy=TRUNCATED_REMEDY)
            pixels.append(chunk)
            packed += len(body) if kind == b"IDAT" else 0
            if kind == b"IHDR":
                header = _Header(*struct.unpack_from(">IIBB", body))
                _check_header(header, max_pixels)
        elif kind == b"acTL" and not packed and int.from_bytes(body[:4], "big") > 1:
            raise PictureError(
                "holds more than one picture", remedy="save each frame to a file of its own"
            )
        elif whole:
            native += _kept(kind, bytes(chunk), header, held)
    bits = header.bits * _CHANNELS.get(header.colour_type, 1)
    bounds.check_bytes(header.width * header.height * bits // 8, packed, bounds.DEFLATE)
    # libpng prints its doubts to stderr, so it is shown these chunks alone, and whole.
    return Pixels(imagecodecs.png_decode(b"".join(pixels)), _metadata(held, native))


def write(array: NDArray[Any], metadata: Metadata, stream: BinaryIO) -> None:
    """Write `(H, W)` uint8 or uint16 as grey PNG, lossless, with its metadata before the pixels."""
    import imagecodecs

    data = memoryview(imagecodecs.png_encode(array, level=LEVEL))
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


def _check_header(header: _Header, max_pixels: int) -> None:
    """Refuse what is too large, and what has two levels only.

    Raises:
        PictureError: one of these.
    """
    check_size(header.width, header.height, max_pixels)
    if header.bits == 1:
        raise PictureError(
            "has 1 bit a pixel, nothing to restore", remedy="give the grey picture itself"
        )


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
