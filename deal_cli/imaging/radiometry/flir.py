"""FLIR's radiometric JPEGs: raw counts and calibration in a block of records, "FFF".

The block is cut into APP1 segments, each of which tells its number and that of the last one. Its
header, its directory and each of its records may have a byte order of their own. What the records
mean is known from ExifTool's table of FLIR tags (exiftool.org/TagNames/FLIR.html).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deal_cli.errors import PictureError
from deal_cli.imaging.formats import TRUNCATED_REMEDY, check_size, png
from deal_cli.imaging.radiometry.calibration import FREEZING, Planck, Radiometry

#: Bytes of a segment that show whether it is a part of a block: "FLIR", NUL, a version, its number,
#: the number of the last part, and in the first part the block's own mark.
HEAD = 12

_PREFIX = b"FLIR\0"
_MARKS = (b"FFF\0", b"AFF\0")
_HEADER = 64
_VERSIONS = range(100, 200)
_ENTRY = "HHIIII"
_ENTRY_BYTES = 32
_MOST_RECORDS = 1000
_RAW, _CAMERA = 1, 32
_RAW_HEADER = 32
_JPEG_MARK = b"\xff\xd8"

#: Where the float32 numbers of a camera's record are, and Planck's offset, an int32. Temperatures
#: are in kelvin there.
_PLACES = {
    "emissivity": 32,
    "distance": 36,
    "reflected_celsius": 40,
    "atmospheric_celsius": 44,
    "window_celsius": 48,
    "window_transmission": 52,
    "humidity": 60,
    "r1": 88,
    "b": 92,
    "f": 96,
    "alpha1": 112,
    "alpha2": 116,
    "beta1": 120,
    "beta2": 124,
    "x": 128,
    "r2": 780,
}
_OFFSET = 776
_CAMERA_BYTES = 784


@dataclass(frozen=True)
class _Record:
    """One record and its byte order, "<" or ">"."""

    data: bytes
    order: str

    def number(self, kind: str, at: int) -> float:
        """The number at an offset; struct.error outside the record."""
        return float(struct.unpack_from(self.order + kind, self.data, at)[0])


def is_part(body: bytes) -> bool:
    """Whether an APP1 segment that starts like this (`HEAD` bytes) is a part of FLIR's records."""
    if not body.startswith(_PREFIX) or len(body) < HEAD:
        return False
    return body[6] > 0 or body[8:HEAD] in _MARKS


def read(bodies: Iterable[bytes], max_pixels: int) -> tuple[NDArray[np.uint16], Radiometry]:
    """The raw counts and the calibration of a FLIR file.

    Args:
        bodies: its APP1 segments, in any order, of which `is_part` says so for one at least.
        max_pixels: more are refused before memory is taken for them.

    Returns:
        Counts `(H, W)` as the sensor lies, whatever way the visible picture has been turned, and
        the calibration, None in place of which constants can be that give no temperatures.

    Raises:
        PictureError: damaged, without raw counts, counts packed as JPEG, or too large.
    """
    records = _records(_joined([b for b in bodies if b.startswith(_PREFIX) and len(b) >= 8]))
    if _RAW not in records:
        raise PictureError(
            "is a FLIR file without the camera's raw counts",
            remedy="copy it from the camera itself: programs that edit pictures drop them",
        )
    return _counts(records[_RAW], max_pixels), Radiometry("FLIR", _planck(records.get(_CAMERA)))


def _damaged(why: str) -> PictureError:
    return PictureError(f"is damaged (its FLIR records {why})", remedy=TRUNCATED_REMEDY)


def _joined(bodies: list[bytes]) -> bytes:
    """The whole block from its parts.

    Raises:
        PictureError: a part is missing, there twice, or of another block.
    """
    last = {body[7] for body in bodies}
    parts = {body[6]: body[8:] for body in bodies}
    if len(last) > 1 or len(parts) < len(bodies) or sorted(parts) != [*range(max(last) + 1)]:
        raise _damaged("lack a part, or have one twice")
    return b"".join(parts[number] for number in sorted(parts))


def _records(block: bytes) -> dict[int, _Record]:
    """The first record of each type.

    Raises:
        PictureError: the block or its directory is damaged, or the first record of its type is not
            inside the block.
    """
    if len(block) < _HEADER or block[:4] not in _MARKS:
        raise _damaged("have no header")
    order = ">" if struct.unpack_from(">I", block, 20)[0] in _VERSIONS else "<"
    version, start, total = struct.unpack_from(order + "III", block, 20)
    if version not in _VERSIONS:
        raise _damaged("have no header")
    if total > _MOST_RECORDS or start + total * _ENTRY_BYTES > len(block):
        raise _damaged("have no directory")
    records: dict[int, _Record] = {}
    for at in range(start, start + total * _ENTRY_BYTES, _ENTRY_BYTES):
        kind, _, _, _, offset, length = struct.unpack_from(order + _ENTRY, block, at)
        if kind not in (_RAW, _CAMERA) or kind in records:
            continue
        if offset + length > len(block):
            raise _damaged("have lost their end")
        data = block[offset : offset + length]
        # Every record starts with a small number that shows its byte order.
        records[kind] = _Record(data, "<" if data[1:2] <= data[:1] else ">")
    return records


def _counts(record: _Record, max_pixels: int) -> NDArray[np.uint16]:
    """The counts `(H, W)` of the record of raw counts.

    Raises:
        PictureError: too large, packed as JPEG, or fewer than the record says.
    """
    header = record.data[:_RAW_HEADER]
    if len(header) < _RAW_HEADER:
        raise _damaged("have lost their end")
    width, height = struct.unpack_from(record.order + "HH", header, 2)
    check_size(width, height, max_pixels)
    data = record.data[_RAW_HEADER:]
    if data.startswith(png.SIGNATURE):
        counts = png.read(io.BytesIO(data), max_pixels).array
        if counts.shape != (height, width) or counts.dtype != np.uint16:
            raise _damaged("and the PNG in them contradict each other")
        return _in_order(counts)
    if data.startswith(_JPEG_MARK):
        raise PictureError(
            "keeps its raw counts as JPEG, which deal does not unpack",
            remedy="export the counts to a 16-bit TIFF with the camera's own program",
        )
    if len(data) < 2 * width * height:
        raise _damaged("hold too few counts")
    plain = np.frombuffer(data, record.order + "u2", width * height)
    return plain.reshape(height, width).astype(np.uint16)


def _in_order(counts: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Counts of a PNG with their bytes put right.

    Most of FLIR's cameras write little-endian samples into PNG, which is big-endian; nothing in
    the file tells which do. Of the two orders the wrong one makes the lower byte the higher, and
    so noise of the picture: the order with the smaller steps between neighbours is the right one,
    and the swapped one where both are alike.
    """
    swapped = counts.byteswap()
    return counts if _steps(counts) < _steps(swapped) else swapped


def _steps(counts: NDArray[np.uint16]) -> int:
    """The sum of the steps between neighbours in each row."""
    return sum(int(np.abs(np.diff(row.astype(np.int32))).sum(dtype=np.int64)) for row in counts)


def _planck(record: _Record | None) -> Planck | None:
    """The calibration of the camera's record; None where there is none that gives temperatures."""
    if record is None or len(record.data) < _CAMERA_BYTES:
        return None
    told = {name: _shortest(record.number("f", at)) for name, at in _PLACES.items()}
    told["o"] = record.number("i", _OFFSET)
    for name in (n for n in told if n.endswith("celsius")):
        told[name] = round(told[name] - FREEZING, 4)
    if told["humidity"] > 2:  # some cameras write percent
        told["humidity"] /= 100
    try:
        return Planck(**told)
    except ValueError:
        return None


def _shortest(value: float) -> float:
    """A float32 as the number that was meant: the shortest decimal that is the same float32."""
    return float(str(np.float32(value)))
