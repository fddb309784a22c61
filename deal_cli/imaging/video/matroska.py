"""The shape of pixels in a Matroska file, which PyAV gives its muxer no way to be told.

FFmpeg writes a video track whose pixels have no known shape and leaves room behind its description
(an EBML Void element). The shape is written into that room afterwards, as DisplayWidth and
DisplayHeight in the unit of an aspect ratio (RFC 9559, section 5.1.4.1.28), and the checksum of the
element around it is made anew. Nothing moves, so every place that the file names stays right.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

_SEGMENT, _TRACKS, _ENTRY = b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae"
_VIDEO, _VOID, _CRC = b"\xe0", b"\xec", b"\xbf"
_WIDTH, _HEIGHT, _UNIT = b"\x54\xb0", b"\x54\xba", b"\x54\xb2"
_ASPECT_RATIO = 3
_HEAD = 2**16  # bytes in which the tracks are described


def set_pixel_aspect(stream: BinaryIO, aspect: Fraction, width: int, height: int) -> bool:
    """Say in a finished file how wide a pixel of its first track is by its height.

    Args:
        stream: the file, readable and writable.
        aspect: of a pixel.
        width: of the picture in pixels.
        height: likewise.

    Returns:
        Whether there was room for it.
    """
    stream.seek(0)
    head = bytearray(stream.read(_HEAD))
    place = _inside(head, (_SEGMENT, _TRACKS))
    if place is None:
        return False
    start, stop = place
    shape = (aspect * width / height).limit_denominator(2**16 - 1)
    if not _describe(head, start, stop, shape):
        return False
    checksum = next(_elements(head, start, stop))
    if checksum[0] == _CRC:
        _, _, at, end = checksum
        head[at:end] = zlib.crc32(head[end:stop]).to_bytes(4, "little")
    stream.seek(start)
    stream.write(head[start:stop])
    return True


def _describe(head: bytearray, start: int, stop: int, shape: Fraction) -> bool:
    """Write a picture's width by its height into the first video track, in place."""
    for kind, _, at, end in _elements(head, start, stop):
        if kind != _ENTRY:
            continue
        inside = list(_elements(head, at, end))
        video = next((e for e in inside if e[0] == _VIDEO), None)
        if video is None:
            continue
        void = next((e for e in inside if e[0] == _VOID and e[1] > video[1]), None)
        if void is None:
            return False
        own = (_WIDTH, _HEIGHT, _UNIT)
        kept = [bytes(head[b:d]) for k, b, _, d in _elements(head, *video[2:]) if k not in own]
        between = bytes(head[video[3] : void[1]])
        room = void[3] - video[1] - len(between)
        for padding in (2, 3):
            said = [
                _element(_WIDTH, shape.numerator, padding),
                _element(_HEIGHT, shape.denominator, 2),
                _element(_UNIT, _ASPECT_RATIO, 1),
            ]
            body = b"".join((*kept, *said))
            described = _VIDEO + _size(len(body)) + body
            left = room - len(described)
            if left in (0, *range(2, 100)) and shape.numerator < 2**16:
                rest = _VOID + _size(left - 2) + bytes(left - 2) if left else b""
                head[video[1] : void[3]] = described + between + rest
                return True
        return False
    return False


def _element(kind: bytes, number: int, length: int) -> bytes:
    return kind + _size(length) + number.to_bytes(length, "big")


def _size(length: int) -> bytes:
    return bytes([0x80 | length]) if length < 127 else (0x4000 | length).to_bytes(2, "big")


def _inside(head: bytes | bytearray, path: tuple[bytes, ...]) -> tuple[int, int] | None:
    """Where the content of an element begins and ends, by the way down to it."""
    start, stop = 0, len(head)
    for wanted in path:
        found = next((e for e in _elements(head, start, stop) if e[0] == wanted), None)
        if found is None:
            return None
        start, stop = found[2], found[3]
    return (start, stop) if stop <= len(head) else None


def _elements(head: bytes | bytearray, at: int, stop: int) -> Iterator[tuple[bytes, int, int, int]]:
    """The elements of a stretch: name, where each begins, and where its content does and ends."""
    while at < min(stop, len(head)) and head[at]:
        first = at
        at += 9 - head[at].bit_length()
        if at >= len(head) or not head[at]:
            return
        length = 9 - head[at].bit_length()
        size = int.from_bytes(head[at : at + length], "big") & ((1 << 7 * length) - 1)
        yield bytes(head[first:at]), first, at + length, at + length + size
        at += length + size
