"""DJI's radiometric JPEGs: raw counts of 16 bits, little-endian, over several APP3 segments.

Nothing around the counts tells their size: it is a sensor's, even where the visible picture is
larger. How they become temperatures is known to DJI's own programs alone.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from deal_cli.errors import PictureError
from deal_cli.imaging.formats import TRUNCATED_REMEDY, check_size, directory
from deal_cli.imaging.radiometry.calibration import Radiometry

#: Bytes of a segment that show whether it is somebody else's.
HEAD = 8

#: How APP3 segments start that other programs write: metadata of Kodak's, stereo JPEG's.
_OTHERS = (b"Meta\0\0", b"META\0\0", b"Exif\0\0", b"_JPSJPS_")

#: Width and height in pixels of the sensors.
SENSORS = ((160, 120), (256, 192), (336, 256), (640, 480), (640, 512), (1280, 1024))

_MAKE = 271


def is_part(body: bytes) -> bool:
    """Whether an APP3 segment that starts like this (`HEAD` bytes) may be a part of the counts."""
    return not body.startswith(_OTHERS)


def made(block: bytes) -> bool:
    """Whether an EXIF block says that DJI made the picture."""
    try:
        makes = directory.read_block(block, {_MAKE}.__contains__)
    except ValueError:
        return False
    return any(tag.data.rstrip(b"\0 ") == b"DJI" for tag in makes if tag.code == _MAKE)


def read(
    bodies: Iterable[bytes], size: tuple[int, int] | None, max_pixels: int
) -> tuple[NDArray[np.uint16], Radiometry]:
    """The raw counts of a DJI file.

    Args:
        bodies: its APP3 segments in the file's order, without those of others (`is_part`).
        size: width and height of the visible picture in pixels, where known.
        max_pixels: more are refused before memory is taken for them.

    Returns:
        Counts `(H, W)`, and the maker: the calibration is not in the file.

    Raises:
        PictureError: too large, or not one picture of exactly one known size.
    """
    data = b"".join(bodies)
    width, height = _size(len(data), size)
    check_size(width, height, max_pixels)
    counts = np.frombuffer(data, "<u2").reshape(height, width)
    return counts.astype(np.uint16), Radiometry("DJI")


def _size(held: int, visible: tuple[int, int] | None) -> tuple[int, int]:
    """Width and height of counts of so many bytes: a sensor's, or the visible picture's.

    Raises:
        PictureError: neither fits, or both and they differ.
    """
    fitting = {size for size in SENSORS if 2 * size[0] * size[1] == held}
    # A picture that a viewer has turned by a right angle keeps the counts of the sensor.
    if visible and 2 * visible[0] * visible[1] == held and visible[::-1] not in fitting:
        fitting.add(visible)
    if len(fitting) != 1:
        raise PictureError(
            f"is damaged or of an unknown camera ({held} bytes of DJI counts fit no known size)",
            remedy=TRUNCATED_REMEDY,
        )
    return fitting.pop()
