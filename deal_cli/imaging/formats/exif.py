"""EXIF blocks: a small TIFF of tags that travels inside every kind of picture file.

In PNG and JPEG the block is carried whole. In TIFF its tags live among the file's own, so it is
gathered from there when a TIFF is read and planted there when one is written. Tags that describe
the pixels' layout belong to the file and never enter a block; the orientation does, as a tag, and
nothing is turned.
"""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from deal_cli.imaging.frame import Resolution

#: Bytes of each TIFF field type, and of the numbers in it (a rational is two).
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}
_WORDS = _SIZES | {5: 4, 10: 4}

_EXIF_IFD, _GPS_IFD, _INTEROP_IFD = 0x8769, 0x8825, 0xA005
_POINTERS = (_EXIF_IFD, _GPS_IFD, _INTEROP_IFD)

#: The tags of a picture's first directory that say who made it, with what and when:
#: make, model, orientation, software, date, artist, host, copyright.
_DESCRIPTIVE = frozenset({271, 272, 274, 305, 306, 315, 316, 33432})

_MAX_TAGS = 1000


@dataclass(frozen=True)
class Tag:
    """One tag: its numbers little-endian, or the directory that it points to."""

    code: int
    kind: int
    count: int
    data: bytes
    directory: tuple[Tag, ...] = ()


def gather(stream: BinaryIO) -> bytes | None:
    """The descriptive tags of a TIFF and its EXIF and GPS directories as an EXIF block.

    None where the TIFF has none of them.

    Raises:
        ValueError: a tag lies outside the file, which has lost its end.
    """
    tags = _first_directory(stream, _DESCRIPTIVE)
    if not tags:
        return None
    return b"II*\0" + struct.pack("<I", 8) + _build(tags, 8)


def plant(stream: BinaryIO, block: bytes) -> None:
    """Add the tags of an EXIF block to a little-endian classic TIFF, behind its pixels.

    Args:
        stream: a finished TIFF, readable and writable. Tags that it already has are kept.
        block: an EXIF block; a malformed one raises ValueError and leaves the TIFF as it was.
    """
    added = _first_directory(io.BytesIO(block), _DESCRIPTIVE)
    own = _first_directory(stream)
    codes = {t.code for t in own}
    merged = [*own, *(t for t in added if t.code not in codes)]
    at = stream.seek(0, os.SEEK_END)
    at += at % 2
    stream.seek(at)
    stream.write(_build(sorted(merged, key=lambda t: t.code), at))
    # The file's header now points to the new directory; the old one stays as a few dead bytes.
    stream.seek(4)
    stream.write(struct.pack("<I", at))
    stream.seek(0, os.SEEK_END)


def density(block: bytes) -> Resolution | None:
    """The pixel density that an EXIF block states, or None."""
    try:
        tags = {t.code: t for t in _first_directory(io.BytesIO(block))}
        x, y = (_rational(tags[code].data) for code in (282, 283))
        unit = struct.unpack("<H", tags[296].data)[0] if 296 in tags else 2
    except (ValueError, KeyError, struct.error):
        return None
    if not (x > 0 and y > 0):
        return None
    return Resolution(x, y, {2: "inch", 3: "centimetre"}.get(unit, "none"))


def _rational(data: bytes) -> float:
    above, below = struct.unpack("<II", data)
    return above / below if below else 0.0


def _first_directory(stream: BinaryIO, wanted: frozenset[int] | None = None) -> list[Tag]:
    """The tags of the first directory of a TIFF, classic or big; all or the wanted and pointers.

    Raises:
        ValueError: a directory or a value lies outside the file.
    """
    length = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        raise ValueError("not a TIFF header")
    big = struct.unpack(order + "H", head[2:4])[0] == 43
    if big and len(head) < 16:
        raise ValueError("not a TIFF header")
    start = head[8:16] if big else head[4:8]
    offset = struct.unpack(order + ("Q" if big else "I"), start)[0]
    return _read(stream, offset, length, order, wanted, big=big, depth=0)


def _read(
    stream: BinaryIO,
    offset: int,
    length: int,
    order: str,
    wanted: frozenset[int] | None,
    *,
    big: bool,
    depth: int,
) -> list[Tag]:
    """One directory and, three deep, the directories that it points to."""
    count_format, entry_format, offset_format = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")

    def take(at: int, size: int) -> bytes:
        if at + size > length:
            raise ValueError("a tag lies outside the file")
        stream.seek(at)
        return stream.read(size)

    head = struct.calcsize(order + count_format)
    total = struct.unpack(order + count_format, take(offset, head))[0]
    if total > _MAX_TAGS:
        raise ValueError(f"{total} tags in one directory")
    table = take(offset + head, total * struct.calcsize(order + entry_format))
    tags: dict[int, Tag] = {}
    for code, kind, count, data in struct.iter_unpack(order + entry_format, table):
        # A code stands once in a directory; a second one could only be there to make work.
        if kind not in _SIZES or code in tags:
            continue
        size = count * _SIZES[kind]
        skipped = wanted is not None and code not in wanted and code not in _POINTERS
        if size > len(data):
            at = struct.unpack(order + offset_format, data)[0]
            if skipped and at + size > length:
                raise ValueError("a tag lies outside the file")
            data = b"" if skipped else take(at, size)
        if skipped:
            continue
        data = data[:size]
        if order == ">":
            data = _swapped(data, _WORDS[kind])
        if code not in _POINTERS:
            tags[code] = Tag(code, kind, count, data)
        elif depth < 3 and (at := int.from_bytes(data, "little")):
            below = _read(stream, at, length, order, None, big=big, depth=depth + 1)
            if below:
                tags[code] = Tag(code, 4, 1, bytes(4), tuple(below))
    return list(tags.values())


def _swapped(data: bytes, word: int) -> bytes:
    import numpy as np

    return data if word == 1 else np.frombuffer(data, f">u{word}").astype(f"<u{word}").tobytes()


def _build(tags: list[Tag], at: int) -> bytes:
    """A little-endian classic directory for absolute offset `at`, its long values behind it."""
    table = bytearray()
    values = bytearray()
    behind = at + 2 + 12 * len(tags) + 4
    for tag in tags:
        data = tag.data
        if tag.directory:
            data = struct.pack("<I", behind + len(values))
            values += _build(list(tag.directory), behind + len(values))
        elif len(data) > 4:
            data = struct.pack("<I", behind + len(values))
            values += tag.data
        values += bytes(len(values) % 2)
        table += struct.pack("<HHI", tag.code, tag.kind, tag.count) + data.ljust(4, b"\0")
    return struct.pack("<H", len(tags)) + bytes(table) + bytes(4) + bytes(values)
