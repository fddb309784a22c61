"""The chunks of a PNG around its pixels: which are read, which are carried, what they hold."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from deal_cli.imaging.formats import as_text, truncated

SIGNATURE = b"\x89PNG\r\n\x1a\n"

TEXTS = (b"tEXt", b"zTXt", b"iTXt")

#: A compressed text or profile that unpacks to more than this is left out, not unpacked.
MAX_UNPACKED = 16 * 2**20

#: What the numbers of the pixels mean. The specification does not know that these stay true when
#: a picture is restored.
_MEANING = frozenset({b"pCAL", b"sCAL", b"gAMA", b"sRGB", b"cICP", b"sBIT"})

#: Safe to copy, says the specification, but held otherwise, or about colours.
_HELD = frozenset({b"pHYs", b"eXIf", b"sPLT"})

_PIXELS, _MICROMETRES = 0, 1


def walk(data: bytes, start: int = len(SIGNATURE)) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and bytes of each chunk up to the end mark.

    Raises:
        PictureError: the file ends before that.
    """
    view = memoryview(data)
    position = start
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


def is_whole(chunk: bytes | memoryview) -> bool:
    """Whether a chunk's checksum is right."""
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


def make(kind: bytes, body: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def is_carried(kind: bytes) -> bool:
    """Whether a chunk goes from PNG to PNG as it is: harmless to copy, or of lasting meaning."""
    if kind in _HELD:
        return False
    safe = kind[0] & 32 and kind[3] & 32
    return bool(safe) or kind in _MEANING


def keyword(body: bytes) -> str:
    """The keyword of a text chunk."""
    return body.partition(b"\0")[0].decode("latin-1")


def text(kind: bytes, body: bytes) -> str | None:
    """The text of one text chunk, or None where it is malformed."""
    value: bytes | None = body.partition(b"\0")[2]
    if kind == b"tEXt":
        return body.partition(b"\0")[2].decode("latin-1")
    if kind == b"zTXt":
        value = unpacked(body.partition(b"\0")[2][1:])
        return None if value is None else value.decode("latin-1")
    flags = body.partition(b"\0")[2]
    value = flags[2:].split(b"\0", 2)[-1]
    if flags[:1] == b"\1":
        value = unpacked(value)
    return None if value is None else as_text(value)


def unpacked(packed: bytes) -> bytes | None:
    """What was compressed, or None where it is damaged or suspiciously large."""
    unpacker = zlib.decompressobj()
    try:
        whole = unpacker.decompress(packed, MAX_UNPACKED)
    except zlib.error:
        return None
    return whole if unpacker.eof else None


def enlarged(native: bytes, scale: int) -> bytes:
    """The carried chunks of a picture enlarged `scale` times: pixels still lie where they lay."""
    parts = []
    position = 0
    while position + 12 <= len(native):
        length, kind = struct.unpack_from(">I4s", native, position)
        body = native[position + 8 : position + 8 + length]
        changed: bytes | None = body
        if kind == b"sCAL":
            changed = _scale_of_pixels(body, scale)
        elif kind in (b"oFFs", b"vpAg"):
            changed = _scale_of_page(body, scale)
        if changed is not None:
            parts.append(make(kind, changed))
        position += 12 + length
    return b"".join(parts)


def _scale_of_pixels(body: bytes, scale: int) -> bytes | None:
    """The body of sCAL, two decimal sizes of a pixel; None where it is malformed."""
    try:
        sizes = [float(size) / scale for size in body[1:].split(b"\0")]
    except ValueError:
        return None
    if len(sizes) != 2:
        return None
    return body[:1] + b"\0".join(f"{size:.12g}".encode() for size in sizes)


def _scale_of_page(body: bytes, scale: int) -> bytes | None:
    """The body of an offset or page size in pixels, or as it is in micrometres."""
    if len(body) != 9:
        return None
    x, y, unit = struct.unpack(">iiB", body)
    if unit == _MICROMETRES:
        return body
    if unit != _PIXELS or max(abs(x), abs(y)) * scale >= 2**31:
        return None
    return struct.pack(">iiB", x * scale, y * scale, unit)
