"""Photoshop's image resources: the place where IPTC lives in JPEG, and sometimes in TIFF.

The same list also holds previews of the picture and its density. These would contradict a
restored picture, so they are left out, and the rest is carried byte for byte.
"""

from __future__ import annotations

import struct

_SIGNATURE = b"8BIM"

#: Density, and two kinds of thumbnail.
_STALE = frozenset({0x03ED, 0x0409, 0x040C})


def without_previews(resources: bytes) -> bytes:
    """The resources but for previews and density; as far as they can be read."""
    kept = bytearray()
    position = 0
    while resources[position : position + 4] == _SIGNATURE and position + 12 <= len(resources):
        (code, name_length) = struct.unpack_from(">HB", resources, position + 4)
        # The name and the data are each padded to an even length.
        at = position + 6 + (name_length + 2) // 2 * 2
        if at + 4 > len(resources):
            break
        size = struct.unpack_from(">I", resources, at)[0]
        if at + 4 + size > len(resources):
            break
        end = at + 4 + size + size % 2
        if code not in _STALE:
            kept += resources[position:end].ljust(end - position, b"\0")
        position = end
    return bytes(kept)
