"""Radiometric JPEGs: the camera's raw counts in place of the visible picture, whoever made them.

The EXIF block and the density of such a file describe the visible picture, which is often larger
than the counts: what they say in pixels is changed here to hold for the counts. The orientation
holds for both, for cameras turn neither.

FLIR's note in EXIF goes: its offsets count from the header of the block, so that it would tell
wrong measurements behind another header, and what it says is in the calibration. DJI's note has no
such offsets.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from deal_cli.imaging.formats import Pixels, exif
from deal_cli.imaging.frame import Metadata
from deal_cli.imaging.radiometry import dji, flir

_APP1, _APP3 = 0xE1, 0xE3

#: EXIF's tags, in its first directory and in EXIF's own, of a width and of a height in pixels, and
#: of pixels per length.
_WIDTHS, _HEIGHTS, _DENSITIES = (256, 40962), (257, 40963), (282, 283, 41486, 41487)
_BELOW = 0x8769
_FORMS = {3: "H", 4: "I"}
_RATIONAL = 5


def read(
    bodies: list[tuple[int, bytes]],
    metadata: Metadata,
    visible: tuple[int, int] | None,
    max_pixels: int,
) -> Pixels | None:
    """The raw counts of a JPEG.

    Args:
        bodies: marker and content of its segments, in their order.
        metadata: what it says of its visible picture.
        visible: width and height of that in pixels, where known.
        max_pixels: more counts are refused before memory is taken for them.

    Returns:
        uint16 `(H, W)` counts with metadata that hold for them; None for an ordinary JPEG.

    Raises:
        PictureError: radiometric, and damaged, too large or without counts that can be read.
    """
    labels = [body for marker, body in bodies if marker == _APP1]
    others = [body for marker, body in bodies if marker == _APP3 and dji.is_part(body[: dji.HEAD])]
    if any(flir.is_part(body[: flir.HEAD]) for body in labels):
        counts, radiometry = flir.read(labels, max_pixels)
    elif others and metadata.exif is not None and dji.made(metadata.exif):
        counts, radiometry = dji.read(others, visible, max_pixels)
    else:
        return None
    block = metadata.exif
    if radiometry.maker == "FLIR":
        block = block and exif.without_maker_note(block)
    metadata = replace(metadata, radiometry=radiometry, exif=block)
    height, width = counts.shape
    return Pixels(counts, _fitted(metadata, visible or (width, height), (width, height)))


def _fitted(metadata: Metadata, before: tuple[int, int], after: tuple[int, int]) -> Metadata:
    """Metadata of a picture of one size, width and height, told of another.

    The counts keep the printed size where they have the shape of the picture.
    """
    scale = Fraction(after[0], before[0]) if before[0] else Fraction(1)
    if scale == 0 or before[1] * scale != after[1]:
        scale = Fraction(1)
    density = metadata.resolution
    if density is not None and density.unit != "none":
        density = replace(density, x=float(density.x * scale), y=float(density.y * scale))
    block = metadata.exif and _resized(metadata.exif, after, scale)
    return replace(metadata, resolution=density, exif=block)


def _resized(block: bytes, size: tuple[int, int], scale: Fraction) -> bytes:
    """An EXIF block with other sizes, and densities `scale` times as large, changed in place."""
    changed = bytearray(block)
    order = "<" if block.startswith(b"II") else ">"
    # A block that is malformed somewhere is changed as far as it can be read.
    with contextlib.suppress(struct.error):
        for code, kind, count, field in _tags(block, order):
            if code in (*_WIDTHS, *_HEIGHTS) and count == 1 and kind in _FORMS:
                number = size[code in _HEIGHTS]
                # Numbers of two bytes stand for sizes that two bytes hold.
                if kind == 4 or number < 2**16:
                    struct.pack_into(order + _FORMS[kind], changed, field, number)
            elif code in _DENSITIES and count == 1 and kind == _RATIONAL:
                at = struct.unpack_from(order + "I", block, field)[0]
                above, below = struct.unpack_from(order + "II", block, at)
                density = Fraction(above, below) * scale if below else Fraction(0)
                if density and max(density.numerator, density.denominator) < 2**32:
                    struct.pack_into(order + "II", changed, at, *density.as_integer_ratio())
    return bytes(changed)


def _tags(block: bytes, order: str) -> Iterator[tuple[int, int, int, int]]:
    """Code, kind, count and place of the value of each tag of the two directories.

    Raises:
        struct.error: a directory lies outside the block.
    """
    directories = [struct.unpack_from(order + "I", block, 4)[0]]
    for at in directories:
        total = struct.unpack_from(order + "H", block, at)[0]
        for entry in range(at + 2, at + 2 + 12 * total, 12):
            code, kind, count = struct.unpack_from(order + "HHI", block, entry)
            if code == _BELOW and len(directories) == 1:
                directories.append(struct.unpack_from(order + "I", block, entry + 8)[0])
            yield code, kind, count, entry + 8
