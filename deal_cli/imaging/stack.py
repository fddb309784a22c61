"""TIFF stacks: many pictures in one file, read and written one page at a time.

A page is a picture of its own: pages may differ in size, dtype and tags. What is a preview of
another page is passed over. ImageJ and tifffile may write one page alone and the frames behind it
without directories; these are read as pages too, each with the tags of the first. The order is
the file's; axes of time, depth and channel are not kept, since every page is written as one.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from deal_cli.errors import OutputError, PictureError
from deal_cli.imaging import grey
from deal_cli.imaging.clip import Clip, ClipWriter
from deal_cli.imaging.formats import TRUNCATED_REMEDY, Pixels, directory, geotiff, pages, planting
from deal_cli.imaging.formats import tiff as tiffs
from deal_cli.imaging.formats.directory import Link
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.reading import AS_FOUND, ReadAs, frame_of, named
from deal_cli.imaging.whole import written_whole

if TYPE_CHECKING:
    from tifffile import TiffFile


def is_stack(stream: BinaryIO) -> bool:
    """Whether a file is a TIFF of several pictures; its position is left where it was.

    Previews and masks beside one picture do not make a stack, nor does anything damaged.
    """
    at = stream.tell()
    try:
        return _holds_several(stream)
    except Exception:  # whatever tifffile meets in a damaged file
        return False
    finally:
        stream.seek(at)


@contextmanager
def open_stack(path: Path, read_as: ReadAs = AS_FOUND) -> Iterator[Clip]:
    """Open a TIFF of any number of pages; each becomes a `Frame` with its own metadata.

    One page at a time is in memory.

    Args:
        path: the file.
        read_as: what to take its numbers for.

    Raises:
        PictureError: missing, unreadable, or no TIFF with a page; `frames()` raises it for a page
            that is damaged or of a kind that cannot be restored rightly, and names that page.
    """
    import tifffile

    with ExitStack() as opened:
        with named(path):
            stream = opened.enter_context(path.open("rb"))
            tiff = opened.enter_context(tifffile.TiffFile(stream))
            if next(directory.chain(stream), None) is None:
                raise PictureError("holds no pages", remedy=TRUNCATED_REMEDY)
            clip = _Stack(path, stream, tiff, read_as)
        yield clip


@contextmanager
def create_stack(
    path: Path, *, compression: str = tiffs.DEFAULT_COMPRESSION
) -> Iterator[ClipWriter]:
    """Write a TIFF of many pages, each as it comes; the file appears whole or not at all.

    Whether its offsets take 64 bits need not be known beforehand: they do where the first page
    comes from a BigTIFF, and from that page on that might end behind 4 GiB.

    Args:
        path: the file to write.
        compression: one of `tiff.COMPRESSIONS`, all of them lossless.

    Raises:
        OutputError: it cannot be written, or no page was added.
    """
    with written_whole(path) as stream:
        writer = _Writer(path, stream, compression)
        yield writer
        if writer.count == 0:
            raise OutputError("would hold no picture", file=path, remedy="give at least one")


class _Stack:
    """The pages of an open TIFF."""

    def __init__(self, path: Path, stream: BinaryIO, tiff: TiffFile, read_as: ReadAs) -> None:
        self._path = path
        self._stream = stream
        self._tiff = tiff
        self._read_as = read_as
        total, shown, self._whole = _counted(stream)
        # Where there is nothing but previews, they are the pictures.
        self._previews = shown == 0
        self._total = total
        self._hidden = 1
        if total == 1 and self._whole:
            self._hidden = pages.frames_of(tiff, tiff.pages.first)
        pictures = shown or total
        self.count = pictures * self._hidden if self._whole else None

    def frames(self) -> Iterator[Frame]:
        """Every page from the first on, without previews."""
        if self._hidden > 1:
            yield from self._hidden_frames()
            return
        chain = directory.chain(self._stream)
        for index in itertools.count():
            with named(self._path, self._name(index)):
                link = next(chain, None)
                if link is None:
                    return
                if link.is_reduced and not self._previews:
                    continue
                frame = frame_of(self._page(link, index), self._read_as)
            yield frame

    def _page(self, link: Link, index: int) -> Pixels:
        """One page with a directory of its own."""
        if link.is_mask:
            raise PictureError(
                "is a mask of another page, which deal does not apply",
                remedy="mark those pixels with a nodata value instead",
            )
        page = pages.page_at(self._tiff, link, index)
        if '"truncated": true' in page.description and page.is_shaped:
            raise PictureError("hides further pictures behind it", remedy=pages.SAVE_EACH)
        return pages.read_page(self._tiff, page, self._stream, self._read_as.max_pixels)

    def _hidden_frames(self) -> Iterator[Frame]:
        """The only page, and the frames behind it that have no directories."""
        page = self._tiff.pages.first
        for index in range(self._hidden):
            with named(self._path, f"page {index + 1} of {self._hidden}"):
                most = self._read_as.max_pixels
                pixels = pages.read_page(self._tiff, page, self._stream, most, hidden=index)
                frame = frame_of(pixels, self._read_as)
            yield frame

    def _name(self, index: int) -> str:
        """What a page is called in an error; previews count too, as they do in other programs."""
        return f"page {index + 1} of {self._total}" if self._whole else f"page {index + 1}"


class _Writer:
    """The pages of a TIFF that is being written."""

    def __init__(self, path: Path, stream: BinaryIO, compression: str) -> None:
        self._path = path
        self._stream = stream
        self._compression = compression
        self._big = False
        self._link: int | None = None
        self.count = 0

    def add(self, frame: Frame) -> None:
        """Append one page, in the frame's own dtype and with its own tags."""
        metadata = frame.metadata
        array = grey.to_dtype(frame.values, frame.dtype, metadata.nodata)
        most = tiffs.most_bytes(array, metadata, self._compression)
        end = self._stream.seek(0, os.SEEK_END)
        try:
            if self.count == 0:
                stored_big = metadata.storage is not None and metadata.storage.big
                self._big = stored_big or most > tiffs.BIG_BYTES
            elif not self._big and end + most > tiffs.BIG_BYTES:
                self._link = planting.widen(self._stream)
                self._big = True
            self._link = tiffs.write_page(
                array,
                metadata,
                self._stream,
                compression=self._compression,
                big=self._big,
                link=self._link,
            )
        except OSError as error:
            with suppress(OSError):
                self._stream.truncate(end)
            cause = f"cannot be written ({error.strerror or error})"
            raise OutputError(
                cause, file=self._path, remedy="make room or choose another output folder"
            ) from error
        self.count += 1


def _holds_several(stream: BinaryIO) -> bool:
    """Whether a file holds several pictures.

    Raises:
        Exception: of any kind, where it is damaged or no TIFF.
    """
    stream.seek(0)
    if not stream.read(4).startswith(tiffs.SIGNATURES):
        return False
    links: list[Link] = []
    for link in directory.chain(stream):
        links.append(link)
        plain = [seen for seen in links if not (seen.is_reduced or seen.is_mask)]
        if len(plain) > 1 or len(links) == tiffs.MOST_PAGES:
            return True
    if len(links) != 1:
        return len(pages.pictures_among(links)) > 1
    words = directory.read_file(stream, (geotiff.DESCRIPTION,).__contains__)
    if all(tag.code != geotiff.DESCRIPTION for tag in words):
        return False  # nothing says that there are frames without directories
    import tifffile

    stream.seek(0)
    with tifffile.TiffFile(stream) as tiff:
        return pages.frames_of(tiff, tiff.pages.first) > 1


def _counted(stream: BinaryIO) -> tuple[int, int, bool]:
    """How many pages there are, how many of them are no previews, and whether those are all."""
    total = shown = 0
    try:
        for link in directory.chain(stream):
            total += 1
            shown += not link.is_reduced
    except ValueError:
        return total, shown, False
    return total, shown, True
