"""What a video's container says of itself before any frame is decoded: its kind and its end.

FFmpeg reads a file that was cut off up to the cut and says nothing. The container says how long it
should be, so a cut is found here, exactly and in no time.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO, Literal

from deal_cli.errors import PictureError

#: The kinds of container, by the names of FFmpeg's formats.
Container = Literal["avi", "matroska", "mov"]

#: What an ISO file's brand says where it holds a still picture (HEIF, AVIF, Canon's CR3).
_STILLS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis", b"crx ")

#: The boxes that a QuickTime file may begin with.
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")

#: Bytes of an AVI in which the description of its first stream begins.
_AVI_HEAD = 4096

_SEGMENT = b"\x18\x53\x80\x67"


def container_of(head: bytes) -> Container | None:
    """The kind of container that a file's first 16 bytes belong to; None where it is no video's."""
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[4:8] in _BOXES and head[8:12] not in _STILLS:
        return "mov"
    return None


def ends_early(stream: BinaryIO, kind: Container) -> bool:
    """Whether a file is shorter than it says; a recording that never says is not.

    Raises:
        PictureError: an MP4 or MOV without its index, of which no frame can be found.
    """
    size = stream.seek(0, io.SEEK_END)
    check = {"avi": _riff, "matroska": _ebml, "mov": _boxes}[kind]
    return check(stream, size)


def _riff(stream: BinaryIO, size: int) -> bool:
    at = 0
    while at + 8 <= size:
        stream.seek(at)
        name, length = struct.unpack("<4sI", stream.read(8))
        if name != b"RIFF" or length in (0, 0xFFFFFFFF):
            return False
        at += 8 + length + length % 2
    return at > size + 1  # the last chunk's padding may be missing


def _ebml(stream: BinaryIO, size: int) -> bool:
    at = 4
    length = _vint(stream, at)
    if length is None:
        return False
    at = length[1] + length[0]
    stream.seek(at)
    if stream.read(4) != _SEGMENT:
        return at >= size
    length = _vint(stream, at + 4)
    return length is not None and length[1] + length[0] > size


def _vint(stream: BinaryIO, at: int) -> tuple[int, int] | None:
    """An EBML size and where it ends; None where it is unknown, as in a live recording."""
    stream.seek(at)
    data = stream.read(8)
    if not data or not data[0]:
        return None
    width = 9 - data[0].bit_length()
    bits = 7 * width
    value = int.from_bytes(data[:width], "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else (value, at + width)


def _boxes(stream: BinaryIO, size: int) -> bool:
    at, indexed = 0, False
    while at + 8 <= size:
        stream.seek(at)
        length, name = struct.unpack(">I4s", stream.read(8))
        indexed |= name == b"moov"
        if length == 1:
            length = int.from_bytes(stream.read(8), "big")
        if length == 0:
            at = size
        elif length < 8:
            break
        at += length
    if not indexed:
        raise PictureError(
            "has no index (moov): it was cut off or never finished, and no frame can be found",
            remedy="copy it again, or repair it with the recorder's own tool",
        )
    return at > size


def raw_counts_size(stream: BinaryIO) -> tuple[int, int] | None:
    """Height and width of the first stream of an AVI, if its frames are bare 16-bit counts.

    Recorders of 16-bit cameras name them `Y16 `, which FFmpeg does not know.
    """
    stream.seek(0)
    head = stream.read(_AVI_HEAD)
    at = head.find(b"strf")
    if at < 0 or len(head) < at + 28 or head[at + 24 : at + 28] != b"Y16 ":
        return None
    width, height = struct.unpack_from("<ii", head, at + 12)
    return abs(height), abs(width)
