"""BMP: 8-bit grey."""

from __future__ import annotations

import os
import struct
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from deal_cli.errors import PictureError
from deal_cli.imaging.formats import METRES_PER_INCH, Pixels, bounds, check_size, truncated
from deal_cli.imaging.frame import Metadata, Resolution

SIGNATURE = b"BM"


def read(stream: BinaryIO, max_pixels: int) -> Pixels:
    """Read one BMP; palettes come out as 8-bit grey or RGB.

    Raises:
        PictureError: truncated, 1 bit a pixel, or too large.
    """
    from PIL.BmpImagePlugin import BmpImageFile

    declared = struct.unpack("<2xI", stream.read(6))[0]
    if stream.seek(0, os.SEEK_END) < declared:
        raise truncated()
    stream.seek(0)
    # The plugin itself, not Image.open, whose limit on pixels is global and not ours.
    picture = BmpImageFile(stream)
    check_size(*picture.size, max_pixels)
    tile = picture.tile[0]
    held = stream.seek(0, os.SEEK_END) - tile.offset
    assert isinstance(tile.args, tuple)
    if tile.codec_name == "raw":
        bounds.check_bytes(tile.args[1] * (picture.height - 1), held, 1)
    else:
        bounds.check_bytes(picture.width * picture.height, held, bounds.RUN_LENGTHS)
    if tile.args[0] in ("1", "P;1"):
        raise PictureError(
            "has 1 bit a pixel, nothing to restore", remedy="give the grey picture itself"
        )
    density = picture.info.get("dpi")
    resolution = None
    if density and all(density):
        # Per metre in the file, as Pillow's own constant has it.
        x, y = (round(v * 39.3701) / 100 for v in density)
        resolution = Resolution(x, y, "centimetre")
    grey = picture if picture.mode in ("L", "RGB", "RGBA") else picture.convert("RGB")
    return Pixels(np.asarray(grey), Metadata(resolution=resolution))


def write(array: NDArray[Any], metadata: Metadata, stream: BinaryIO) -> None:
    """Write `(H, W)` uint8 as uncompressed grey BMP with its pixel density."""
    from PIL import Image

    per_inch = (0.0, 0.0)
    density = metadata.resolution
    if density is not None and density.unit != "none":
        factor = 1.0 if density.unit == "inch" else METRES_PER_INCH * 100
        # The file holds whole numbers of 31 bits per metre.
        x, y = (min(v * factor, 5e7) for v in (density.x, density.y))
        per_inch = (x, y)
    Image.fromarray(array).save(stream, "BMP", dpi=per_inch)
