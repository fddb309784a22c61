"""TIFF directories: the lists of tags that a TIFF holds, and an EXIF block in any other file.

They are read here whatever their byte order and offset size, into tags whose numbers are
little-endian, and built again little-endian. Each directory says where the next one is: the pages
of a TIFF are such a chain. What the tags mean is the business of `exif` and `geotiff`.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

#: Bytes of each TIFF field type, and of the numbers in it (a rational is two). 129 is EXIF's UTF-8.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
SIZES |= {16: 8, 17: 8, 129: 1}
_WORDS = SIZES | {5: 4, 10: 4}

#: The tags that point to the directories of EXIF, GPS and interoperability.
POINTERS = (0x8769, 0x8825, 0xA005)

_CLASSIC_HEADER = 8

#: Tags of a directory that is read, and of one that is passed over; both are far more than any has.
_MAX_TAGS, _MAX_PASSED = 1000, 4096
_MAX_DEPTH = 3
#: Pages of one file; a damaged one may chain as many as it has bytes.
_MAX_DIRECTORIES = 2**20

#: NewSubfileType, which has bits, and SubfileType, which has numbers for two of them.
_SUBFILE, _OLD_SUBFILE = 254, 255
_OLD_KINDS = {2: 1, 3: 2}

#: A field type for pointers of four bytes.
_SHORT_POINTER = 13


@dataclass(frozen=True)
class Tag:
    """One tag: its numbers little-endian, or the directory that it points to."""

    code: int
    kind: int
    count: int
    data: bytes
    directory: tuple[Tag, ...] = ()


@dataclass(frozen=True)
class Link:
    """One directory of a chain: where it is, and what kind of page it says it is."""

    offset: int
    subfile: int

    @property
    def is_reduced(self) -> bool:
        """Whether it is a preview of another page."""
        return bool(self.subfile & 1)

    @property
    def is_mask(self) -> bool:
        """Whether it says which pixels of another page count."""
        return bool(self.subfile & 4)


class OutsideFileError(ValueError):
    """A tag of the first directory lies outside the file, which has lost its end."""


def read_file(
    stream: BinaryIO,
    wanted: Callable[[int], bool] | None = None,
    offset: int | None = None,
    *,
    start: int = 0,
) -> list[Tag]:
    """The tags of one directory of a TIFF, classic or big.

    Args:
        stream: the whole file.
        wanted: says which codes to read beside the pointers; all by default.
        offset: where the directory is; the first one by default.
        start: where in the stream the TIFF begins.

    Raises:
        OutsideFileError: a tag lies outside the file, wanted or not. In a directory that another
            points to, such a tag is left out: programs that move directories leave stale pointers.
        ValueError: not a directory.
    """
    reader = _Reader(stream, strict=True, start=start)
    return reader.read(reader.first if offset is None else offset, wanted)


def chain(stream: BinaryIO) -> Iterator[Link]:
    """The directories of a TIFF, one after the other as they are asked for.

    Raises:
        OutsideFileError: the next one lies outside the file.
        ValueError: not a TIFF, or a chain that does not end.
    """
    reader = _Reader(stream, strict=True)
    at, seen = reader.first, set[int]()
    while at:
        if at in seen or len(seen) == _MAX_DIRECTORIES:
            raise ValueError("its pages follow each other without end")
        seen.add(at)
        subfile, after = reader.step(at)
        yield Link(at, subfile)
        at = after


def read_block(block: bytes, wanted: Callable[[int], bool] | None = None) -> list[Tag]:
    """The tags of a block's first directory; those that lie outside the block are left out.

    Raises:
        ValueError: not such a block.
    """
    reader = _Reader(io.BytesIO(block), strict=False)
    return reader.read(reader.first, wanted)


def build_block(tags: Iterable[Tag], *, wide: bool = False) -> bytes | None:
    """A block of its own that `read_block` reads, or None without any tags.

    Args:
        tags: what to put in.
        wide: leave integers of eight bytes as they are; only `read_block` expects them there.
    """
    ordered = sorted(tags if wide else narrowed(tags), key=lambda t: t.code)
    if not ordered:
        return None
    header = b"II*\0" + struct.pack("<I", _CLASSIC_HEADER)
    return header + _directory(ordered, _CLASSIC_HEADER, big=False)


def swapped(data: bytes, word: int) -> bytes:
    """The bytes of numbers of `word` bytes each in the other byte order."""
    import numpy as np

    return data if word == 1 else np.frombuffer(data, f">u{word}").astype(f"<u{word}").tobytes()


class _Reader:
    """Reads directories from one file or block, never more in all than it could truly hold."""

    def __init__(self, stream: BinaryIO, *, strict: bool, start: int = 0) -> None:
        self._stream = stream
        self._strict = strict
        self._start = start
        self._length = stream.seek(0, os.SEEK_END) - start
        # Tags may share their bytes, but not so that a small file fills the memory.
        self._budget = 2 * self._length + 2**16
        stream.seek(start)
        head = stream.read(16)
        self._order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        if not self._order or len(head) < _CLASSIC_HEADER:
            raise ValueError("not a TIFF header")
        version = struct.unpack(self._order + "H", head[2:4])[0]
        self.big = version == 43
        if version not in (42, 43) or (self.big and len(head) < 16):
            raise ValueError("not a TIFF header")
        self.first = self._offset(head[8:16] if self.big else head[4:8])

    def read(self, offset: int, wanted: Callable[[int], bool] | None, depth: int = 0) -> list[Tag]:
        """One directory and, three deep, the directories that it points to."""
        table, behind = self._table(offset, _MAX_TAGS)
        if self._strict and depth == 0:
            self._take(behind, 8 if self.big else 4)  # the link to the next
        tags: dict[int, Tag] = {}
        for code, kind, count, field in table:
            # A code stands once in a directory; a second one could only be there to make work.
            if code in tags:
                continue
            if code in POINTERS:
                # Even where offsets take eight bytes, a pointer may be of a kind that takes four.
                short = self.big and (SIZES.get(kind) == 4 or kind == _SHORT_POINTER)
                tag = self._below(code, field[:4] if short else field, depth)
            else:
                skipped = wanted is not None and not wanted(code)
                tag = self._tag(code, kind, count, field, skipped=skipped, depth=depth)
            if tag is not None:
                tags[code] = tag
        return list(tags.values())

    def step(self, offset: int) -> tuple[int, int]:
        """What kind of page a directory says it is, as bits, and where the next one is."""
        table, behind = self._table(offset, _MAX_PASSED)
        told: dict[int, int] = {}
        for code, kind, _, field in table:
            if code in (_SUBFILE, _OLD_SUBFILE):
                told.setdefault(code, self._offset(field[: SIZES.get(kind, 4)]))
        after = self._offset(self._take(behind, 8 if self.big else 4))
        return told.get(_SUBFILE) or _OLD_KINDS.get(told.get(_OLD_SUBFILE, 0), 0), after

    def _table(self, offset: int, most: int) -> tuple[Iterator[tuple[int, int, int, bytes]], int]:
        """The code, type, count and field of a directory's entries, and what is behind them."""
        count_format, entry_format = ("Q", "HHQ8s") if self.big else ("H", "HHI4s")
        head = struct.calcsize(self._order + count_format)
        total = struct.unpack(self._order + count_format, self._take(offset, head))[0]
        if total > most:
            raise ValueError(f"{total} tags in one directory")
        size = total * struct.calcsize(self._order + entry_format)
        entries = self._take(offset + head, size)
        return struct.iter_unpack(self._order + entry_format, entries), offset + head + size

    def _tag(
        self, code: int, kind: int, count: int, field: bytes, *, skipped: bool, depth: int
    ) -> Tag | None:
        """One tag with its value; None where it is not wanted or not readable."""
        if kind not in SIZES:
            return None
        size = count * SIZES[kind]
        outside = size > len(field) and self._offset(field) + size > self._length
        if outside and self._strict and depth == 0:
            raise OutsideFileError("a tag lies outside the file")
        if outside or skipped:
            return None
        data = field[:size] if size <= len(field) else self._take(self._offset(field), size)
        if self._order == ">":
            data = swapped(data, _WORDS[kind])
        return Tag(code, kind, count, data)

    def _below(self, code: int, field: bytes, depth: int) -> Tag | None:
        """The directory that a pointer points to; None where there is none."""
        at = self._offset(field)
        if depth >= _MAX_DEPTH or at == 0:
            return None
        try:
            tags = self.read(at, None, depth + 1)
        except ValueError:
            return None
        return Tag(code, 4, 1, bytes(4), tuple(tags)) if tags else None

    def _offset(self, field: bytes) -> int:
        return int.from_bytes(field, "little" if self._order == "<" else "big")

    def _take(self, at: int, size: int) -> bytes:
        if at + size > self._length:
            raise OutsideFileError("a directory lies outside the file")
        if size > self._budget:
            raise ValueError("more tags than the file can hold")
        self._budget -= size
        self._stream.seek(self._start + at)
        return self._stream.read(size)


def narrowed(tags: Iterable[Tag]) -> Iterator[Tag]:
    """Eight-byte integers as four-byte ones, for classic directories; those too large left out."""
    for tag in tags:
        if tag.directory:
            yield replace(tag, directory=tuple(narrowed(tag.directory)))
        elif tag.kind not in (16, 17):
            yield tag
        else:
            kind, wide, narrow = (4, "Q", "I") if tag.kind == 16 else (9, "q", "i")
            numbers = struct.unpack(f"<{tag.count}{wide}", tag.data)
            with contextlib.suppress(struct.error):
                data = struct.pack(f"<{tag.count}{narrow}", *numbers)
                yield Tag(tag.code, kind, tag.count, data)


def _directory(tags: Iterable[Tag], at: int, *, big: bool) -> bytes:
    """A directory for absolute offset `at`, its long values behind it."""
    tags = list(tags)
    behind = at + len(table(b"", 0, big=big)) + len(tags) * (20 if big else 12)
    entries, values = entries_of(tags, behind, big=big)
    return table(entries, len(tags), big=big) + values


def table(entries: bytes, total: int, *, big: bool) -> bytes:
    """A directory's number of tags, its entries and the link to no further directory."""
    return struct.pack("<Q" if big else "<H", total) + entries + bytes(8 if big else 4)


def entries_of(tags: Iterable[Tag], at: int, *, big: bool) -> tuple[bytes, bytes]:
    """The entries of a directory, and the long values that they refer to, for offset `at`."""
    room, entry, pointer = (8, "<HHQ", "<Q") if big else (4, "<HHI", "<I")
    entries, values = bytearray(), bytearray()
    for tag in tags:
        here, kind, field = at + len(values), tag.kind, tag.data
        if tag.directory:
            kind = 16 if big else 4
            field = struct.pack(pointer, here)
            values += _directory(tag.directory, here, big=big)
        elif len(field) > room:
            field = struct.pack(pointer, here)
            values += tag.data
        values += bytes(len(values) % 2)
        entries += struct.pack(entry, tag.code, kind, tag.count) + field.ljust(room, b"\0")
    return bytes(entries), bytes(values)
