"""The checksums of FFV1, which FFmpeg's decoder reads, logs and then passes over.

A frame whose checksum fails comes out of that decoder as if it were whole, with the damaged slice
taken from the frame before. Each slice of version 3 ends with its length and a CRC-32
(RFC 9043, section 4.8), so they are checked here.
"""

from __future__ import annotations

import zlib

#: Length and checksum of a slice, in bytes: 3 without a checksum, 5 more with one.
_PLAIN, _CHECKED = 3, 8

#: FFV1 takes the bits of a byte from the highest, zlib from the lowest.
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

#: What zlib starts and ends with where FFV1's register starts and ends at zero.
_ZERO = 0xFFFFFFFF


def is_whole(packet: bytes) -> bool:
    """Whether a packet of FFV1, version 3, is what its encoder wrote.

    A stream without checksums passes where the lengths of its slices add up.
    """
    checked = _slices(packet, _CHECKED)
    if checked is not None and all(_remainder(slice_) == _ZERO for slice_ in checked):
        return True
    return _slices(packet, _PLAIN) is not None


def _slices(packet: bytes, footer: int) -> list[bytes] | None:
    """The slices of a packet, last first, or None where their lengths do not add up to it."""
    slices = []
    end = len(packet)
    while end > 0:
        at = end - footer
        start = at - int.from_bytes(packet[max(at, 0) : max(at, 0) + 3], "big")
        if at < 0 or start < 0:
            return None
        slices.append(packet[start:end])
        end = start
    return slices or None


def _remainder(data: bytes) -> int:
    return zlib.crc32(data.translate(_REVERSED), _ZERO)
