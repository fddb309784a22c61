"""PNG: 8 and 16 bits, chunk by chunk.

The pixels are libpng's work (Pillow turns 16-bit RGB into 8 bits without a word). The chunks
around them are walked here: that shows a truncated file for what it is, and carries pixel
density, EXIF, XMP, profile and description over byte for byte.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from numpy.typing import NDArray

from deal_cli.errors import PictureError
from deal_cli.imaging.formats import (
    METRES_PER_INCH,
    TRUNCATED_REMEDY,
    Pixels,
    check_size,
    truncated,
)
from deal_cli.imaging.frame import Metadata, Resolution

SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: zlib level: 6 takes four times as long as this to save 2 % of a thermal picture.
LEVEL = 3

XMP_KEYWORD = "XML:com.adobe.xmp"
DESCRIPTION_KEYWORD = "Description"

#: A compressed text or profile that unpacks to more than this is left out, not unpacked.
MAX_UNPACKED = 16 * 2**20


def read(stream: BinaryIO, max_pixels: int) -> Pixels:
    """Read one PNG; grey of fewer than 8 bits, and palettes, come out as 8 bits.

    Raises:
        PictureError: truncated, 1 bit a pixel, or too large.
    """
    import imagecodecs

    data = stream.read()
    chunks: dict[bytes, bytes] = {}
    texts: dict[str, str] = {}
    needed: list[bytes | memoryview] = [SIGNATURE]
    for kind, chunk in _walk(data):
        body = chunk[8:-4]
        if kind == b"IHDR":
            width, height, bits, colour_type = struct.unpack_from(">IIBB", body)
            check_size(width, height, max_pixels)
            if bits == 1 and colour_type == 0:
                raise PictureError(
                    "has 1 bit a pixel, nothing to restore", remedy="give the grey picture itself"
                )
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
                raise PictureError("is damaged (a checksum is wrong)", remedy=TRUNCATED_REMEDY)
            needed.append(chunk)
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            texts.update(_text(kind, bytes(body)))
        elif kind in (b"pHYs", b"eXIf", b"iCCP"):
            chunks.setdefault(kind, bytes(body))
    metadata = Metadata(
        resolution=_resolution(chunks.get(b"pHYs")),
        exif=chunks.get(b"eXIf"),
        xmp=texts[XMP_KEYWORD].encode() if XMP_KEYWORD in texts else None,
        icc_profile=_profile(chunks.get(b"iCCP")),
        description=texts.get(DESCRIPTION_KEYWORD),
    )
    # libpng prints its doubts to stderr, so it is shown these chunks alone, and whole.
    return Pixels(imagecodecs.png_decode(b"".join(needed)), metadata)


def write(array: NDArray[Any], metadata: Metadata, stream: BinaryIO) -> None:
    """Write `(H, W)` uint8 or uint16 as grey PNG, lossless, with its metadata before the pixels."""
    import imagecodecs

    data = memoryview(imagecodecs.png_encode(array, level=LEVEL))
    header = len(SIGNATURE) + 8 + 13 + 4
    stream.write(data[:header])
    if metadata.icc_profile is not None:
        _put(stream, b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc_profile))
    if metadata.resolution is not None:
        _put(stream, b"pHYs", _physical(metadata.resolution))
    if metadata.exif is not None:
        _put(stream, b"eXIf", metadata.exif)
    if metadata.xmp is not None:
        _put(stream, b"iTXt", XMP_KEYWORD.encode() + b"\0\0\0\0\0" + metadata.xmp)
    if metadata.description is not None:
        text = metadata.description.encode()
        _put(stream, b"iTXt", DESCRIPTION_KEYWORD.encode() + b"\0\0\0\0\0" + text)
    stream.write(data[header:])


def _walk(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and bytes of each chunk up to the end mark."""
    view = memoryview(data)
    position = len(SIGNATURE)
    kind = b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise truncated()
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise truncated()
        yield kind, view[position:end]
        position = end


def _put(stream: BinaryIO, kind: bytes, body: bytes) -> None:
    stream.write(struct.pack(">I", len(body)) + kind + body)
    stream.write(struct.pack(">I", zlib.crc32(kind + body)))


def _unpack(packed: bytes) -> bytes | None:
    """What was compressed, or None where it is damaged or suspiciously large."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(packed, MAX_UNPACKED)
    except zlib.error:
        return None
    return unpacked if unpacker.eof else None


def _text(kind: bytes, body: bytes) -> dict[str, str]:
    """Keyword and text of one text chunk, or nothing where it is malformed."""
    keyword, _, rest = body.partition(b"\0")
    value: bytes | None = rest
    encoding = "latin-1"
    if kind == b"zTXt":
        value = _unpack(rest[1:])
    elif kind == b"iTXt":
        encoding = "utf-8"
        value = rest[2:].split(b"\0", 2)[-1]
        if rest[:1] == b"\1":
            value = _unpack(value)
    if value is None:
        return {}
    return {keyword.decode("latin-1"): value.decode(encoding, errors="replace")}


def _profile(body: bytes | None) -> bytes | None:
    return None if body is None else _unpack(body.partition(b"\0")[2][1:])


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
