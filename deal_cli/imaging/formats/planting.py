"""Directories are written into TIFFs that have their pixels already, and pages chained to pages.

tifffile writes the pixels of a page; the tags of its source come behind them, in a directory that
takes the place of tifffile's own. So a stack is written page by page, and nothing of it is kept
in memory.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from deal_cli.imaging.formats import directory
from deal_cli.imaging.formats.directory import SIZES, Tag

#: The beginning of a little-endian BigTIFF, and the version in the header of any.
_BIG_HEADER = b"II+\0" + struct.pack("<HH", 8, 0)
_BIG_VERSION = b"+"

#: Where in the header the place of the first directory is written.
_FIRST, _FIRST_BIG = 4, 8

#: The tags that say where the strips and tiles are.
_PLACES = (273, 324)


def plant(stream: BinaryIO, tags: Iterable[Tag], *, start: int = 0, link: int | None = None) -> int:
    """Add tags to a little-endian TIFF of one page, classic or big, behind its pixels.

    Args:
        stream: readable and writable, with a finished TIFF at its end. Tags that it already has
            are kept.
        tags: what to add; a classic file gets eight-byte integers as four-byte ones.
        start: where that TIFF begins. Behind another one it becomes a page of that one, whose
            size of offsets it must share.
        link: where in the stream the place of its directory is to be written; in the stream's
            header by default.

    Returns:
        Where in the stream the place of the next page's directory is to be written.
    """
    stream.seek(start + 2)
    big = stream.read(1) == _BIG_VERSION
    own = [_moved(tag, start) for tag in directory.read_file(stream, start=start)]
    merged = {t.code: t for t in (*(tags if big else directory.narrowed(tags)), *own)}
    at, after = _append(stream, merged.values(), big=big)
    # The old directory stays as a few dead bytes, and so does the header of a later page.
    _point(stream, (_FIRST_BIG if big else _FIRST) if link is None else link, at, big=big)
    return after


def widen(stream: BinaryIO) -> int:
    """Make a BigTIFF of a classic one all of whose pages have been planted.

    The pixels stay where they are; every directory is written once more.

    Returns:
        Where in the stream the place of the next page's directory is to be written.
    """
    first, link = 0, 0
    for page in directory.chain(stream):
        at, after = _append(stream, directory.read_file(stream, offset=page.offset), big=True)
        if first:
            _point(stream, link, at, big=True)
        first, link = first or at, after
    # The longer header covers the beginning of the first page's dead directory.
    stream.seek(0)
    stream.write(_BIG_HEADER + struct.pack("<Q", first))
    stream.seek(0, os.SEEK_END)
    return link


def _moved(tag: Tag, by: int) -> Tag:
    """A tag of strips or tiles that lie so many bytes further behind; another one as it is."""
    if tag.code not in _PLACES:
        return tag
    size = SIZES[tag.kind]
    places = np.frombuffer(tag.data, f"<u{size}")
    assert int(places.max()) + by < 256**size, "the file should have been a BigTIFF"
    return replace(tag, data=(places + places.dtype.type(by)).tobytes())


def _append(stream: BinaryIO, tags: Iterable[Tag], *, big: bool) -> tuple[int, int]:
    """Write a directory at the end; where it is, and where its link to the next one is.

    Its table comes last, so that a file that has lost its end is known to have lost it.
    """
    at = stream.seek(0, os.SEEK_END)
    stream.write(bytes(at % 2))
    at += at % 2
    ordered = sorted(tags, key=lambda t: t.code)
    entries, values = directory.entries_of(ordered, at, big=big)
    table = directory.table(entries, len(ordered), big=big)
    stream.write(values + table)
    at += len(values)
    return at, at + len(table) - (8 if big else 4)


def _point(stream: BinaryIO, link: int, at: int, *, big: bool) -> None:
    """Write where a directory is into the link that leads to it."""
    stream.seek(link)
    stream.write(struct.pack("<Q" if big else "<I", at))
    stream.seek(0, os.SEEK_END)
