"""Files become Frames here, and Frames become files, and nowhere else.

The kind of a file is found from its content, because real folders hold `.tiff` files that are PNG
inside; the kind that is written is the suffix's. A file is read whole or refused, and is written
whole or not at all.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from deal_cli.errors import PictureError, UsageError
from deal_cli.imaging import grey
from deal_cli.imaging.formats import TRUNCATED_REMEDY, Pixels, bmp, jpeg, npy, png, tiff
from deal_cli.imaging.formats.tiff import COMPRESSIONS, DEFAULT_COMPRESSION
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.reading import AS_FOUND, ReadAs, frame_of, named
from deal_cli.imaging.whole import remove_remains, written_whole

__all__ = [
    "COMPRESSIONS",
    "DEFAULT_COMPRESSION",
    "HEAD",
    "PICTURE_SUFFIXES",
    "check_target",
    "decode",
    "encode",
    "read_frame",
    "refuse_unread",
    "remove_remains",
    "suffix_for",
    "write_frame",
    "written_whole",
]

#: The suffixes of the pictures that can be read and written.
PICTURE_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".npy")

_WRITERS = {
    ".png": png.write,
    ".jpg": jpeg.write,
    ".jpeg": jpeg.write,
    ".bmp": bmp.write,
    ".npy": npy.write,
}

#: What a file of each kind starts with, its reader, and the suffix it should have.
_READERS = (
    (png.SIGNATURE, png.read, ".png"),
    *((signature, tiff.read, ".tif") for signature in tiff.SIGNATURES),
    (jpeg.SIGNATURE, jpeg.read, ".jpg"),
    (npy.SIGNATURE, npy.read, ".npy"),
    (bmp.SIGNATURE, bmp.read, ".bmp"),
)

TS_PACKET = 188  # bytes of a packet of an MPEG transport stream
HEAD = 512  # bytes that tell what a file is
_INTO_MKV = "put it into another container: ffmpeg -i FILE -c copy FILE.mkv"
_EXPORT = "export its frames as 16-bit TIFF or as radiometric JPEG with the maker's program"

#: What is known and not read: where in a file, what it starts with there, its name, a way out.
_UNREAD = (
    (0, b"FFF\0", "a FLIR file or sequence (FFF, SEQ, CSQ)", _EXPORT),
    (0, b"AFF\0", "a FLIR file or sequence (AFF)", _EXPORT),
    (0, b"\0\0\1\xba", "an MPEG program stream, a container", _INTO_MKV),
    (0, b"FLV\1", "a Flash video, a container", _INTO_MKV),
    (0, b"0&\xb2u", "a Windows Media video, a container", _INTO_MKV),
    (8, b"WEBP", "a WebP picture", "save it as PNG"),
    (4, b"ftypheic", "a HEIF picture", "save it as PNG"),
    (4, b"ftypavif", "an AVIF picture", "save it as PNG"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 picture", "save it as PNG or TIFF"),
    (0, b"\xff\x0a", "a JPEG XL picture", "save it as PNG or TIFF"),
    (0, b"SIMPLE  =", "a FITS file", "save its picture as TIFF"),
)

#: What is no file, and must not be opened to wait for, or to set going.
_NO_FILES = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

_HELD = {
    ".png": ("uint8", "uint16"),
    ".jpg": ("uint8",),
    ".jpeg": ("uint8",),
    ".bmp": ("uint8",),
}


def read_frame(path: Path, read_as: ReadAs = AS_FOUND) -> Frame:
    """Read one picture of a single grey channel, or of equal channels.

    Args:
        path: a PNG, TIFF, JPEG, BMP or `.npy` file, whatever it is called.
        read_as: what to take its numbers for.

    Returns:
        Values `(H, W)` in the file's own numbers, its dtype and metadata. float64 passes through
        float32 (see `grey.to_values`).

    Raises:
        PictureError: missing, no file, unreadable, empty, truncated, damaged, or of a kind that
            cannot be restored rightly.
    """
    with named(path), _opened(path) as stream:
        return _decode(stream, read_as)


def suffix_for(data: bytes) -> str:
    """The suffix that a picture of this content should have, such as `.png`.

    Raises:
        PictureError: no kind of picture that deal reads.
    """
    return _kind(data)[1]


def decode(data: bytes, name: Path | str, read_as: ReadAs = AS_FOUND) -> Frame:
    """Read one picture from the bytes of a file; `name` stands for it in errors.

    Otherwise like `read_frame`.
    """
    with named(name):
        return _decode(io.BytesIO(data), read_as)


def write_frame(frame: Frame, path: Path, *, compression: str = DEFAULT_COMPRESSION) -> None:
    """Write a picture in the format of the path's suffix and in its own dtype.

    Lossless but for JPEG (quality 95). Integers are rounded half to even and clipped to their
    range. An existing file is replaced in one step.

    Args:
        frame: the picture.
        path: the file.
        compression: of a TIFF, one of `COMPRESSIONS`; other formats have their own.

    Raises:
        UsageError: a suffix that is unknown or that cannot hold the dtype (see `check_target`).
        OutputError: the file cannot be written; nothing is left behind.
    """
    check_target(frame, path)
    with written_whole(path) as stream:
        _encode(frame, path.suffix.lower(), stream, compression)


def encode(frame: Frame, suffix: str, *, compression: str = DEFAULT_COMPRESSION) -> bytes:
    """The bytes that `write_frame` would write to a file with this suffix.

    Raises:
        UsageError: a suffix that is unknown or that cannot hold the dtype.
    """
    check_target(frame, suffix)
    stream = io.BytesIO()
    _encode(frame, suffix.lower(), stream, compression)
    return stream.getvalue()


def check_target(frame: Frame, target: Path | str) -> None:
    """Make sure that a picture can be written as a target's suffix says, before any work on it.

    Args:
        frame: the picture.
        target: the path to write, or a suffix alone.

    Raises:
        UsageError: an unknown suffix, or one whose format cannot hold the frame's dtype.
    """
    suffix = (target.suffix if isinstance(target, Path) else target).lower()
    if suffix not in PICTURE_SUFFIXES:
        raise UsageError(
            f"is not a kind of picture that deal writes ({suffix or 'no suffix'})",
            file=target,
            remedy=f"name it with one of {' '.join(PICTURE_SUFFIXES)}",
        )
    held = _HELD.get(suffix, grey.DTYPES)
    if frame.dtype.name not in held:
        better = "write to .png or .tif" if frame.dtype.name == "uint16" else "write to .tif"
        raise UsageError(
            f"{suffix} cannot hold {frame.dtype.name} pixels", file=target, remedy=better
        )


def _opened(path: Path) -> BinaryIO:
    """Open a file and nothing else, without waiting for anybody.

    Raises:
        PictureError: a FIFO, a socket or a device.
        OSError: the system refuses.
    """

    def without_waiting(name: str, flags: int) -> int:
        for extra in ("O_NONBLOCK", "O_NOCTTY"):
            flags |= getattr(os, extra, 0)
        try:
            descriptor = os.open(name, flags)
        except OSError:
            # A socket cannot be opened, nor, on Windows, a folder.
            _check_file(path.stat().st_mode, path)
            raise
        try:
            _check_file(os.fstat(descriptor).st_mode, path)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    return io.BufferedReader(io.FileIO(path, "rb", opener=without_waiting))


def _check_file(mode: int, path: Path) -> None:
    """Refuse what is no regular file, by its mode.

    Raises:
        PictureError: a FIFO, a socket or a device.
        IsADirectoryError: a folder.
    """
    if stat.S_ISDIR(mode):
        raise IsADirectoryError
    what = _NO_FILES.get(stat.S_IFMT(mode))
    if what is not None:
        raise PictureError(
            f"is {what}, not a file", file=path, remedy="pipe what it gives to `deal restore -`"
        )


def _kind(head: bytes) -> tuple[Callable[[BinaryIO, int], Pixels], str]:
    """The reader and the suffix for content that starts like this.

    Raises:
        PictureError: nothing at all, or nothing that deal reads.
    """
    if not head:
        raise PictureError("is empty", remedy=TRUNCATED_REMEDY)
    for signature, reader, suffix in _READERS:
        if head.startswith(signature):
            return reader, suffix
    refuse_unread(head)
    raise PictureError(
        "is not a picture that deal reads", remedy="give a PNG, TIFF, JPEG, BMP or .npy file"
    )


def refuse_unread(head: bytes) -> None:
    """Refuse content that starts like something known that is not read.

    Args:
        head: the first `HEAD` bytes.

    Raises:
        PictureError: it does; it says what it is and what to do.
    """
    for at, signature, what, remedy in _UNREAD:
        if head[at:].startswith(signature):
            raise PictureError(f"is {what}, which deal does not read", remedy=remedy)
    for first in (0, 4):  # of Blu-ray's, each packet follows a time of four bytes
        if head[first :: TS_PACKET + first][:3] == b"GGG":
            what = "an MPEG transport stream, a container"
            raise PictureError(f"is {what} that deal does not read", remedy=_INTO_MKV)


def _decode(stream: BinaryIO, read_as: ReadAs) -> Frame:
    head = stream.read(HEAD)
    stream.seek(0)
    return frame_of(_kind(head)[0](stream, read_as.max_pixels), read_as)


def _encode(frame: Frame, suffix: str, stream: BinaryIO, compression: str) -> None:
    array = grey.to_dtype(frame.values, frame.dtype, frame.metadata.nodata)
    if suffix in (".tif", ".tiff"):
        tiff.write(array, frame.metadata, stream, compression=compression)
    else:
        _WRITERS[suffix](array, frame.metadata, stream)
