"""What the tests of pictures share: one frame with all its metadata."""

from __future__ import annotations

import numpy as np
import pytest

from deal_cli.imaging.frame import Frame, Metadata, Resolution


@pytest.fixture
def exif_block() -> bytes:
    """An EXIF block with a rotated orientation, an exposure, maker's bytes and a position."""
    from PIL import Image

    exif = Image.Exif()
    exif[271], exif[274] = "FLIR", 6
    exif.get_ifd(0x8769)[33434] = 0.5
    exif.get_ifd(0x8769)[37500] = b"maker's own" * 3
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 30.0)
    return exif.tobytes().removeprefix(b"Exif\0\0")


@pytest.fixture
def labelled(exif_block: bytes) -> Frame:
    """A small 8-bit frame that carries every kind of metadata."""
    values = np.add.outer(np.arange(24), 4 * np.arange(32)).astype(np.float32)
    metadata = Metadata(
        resolution=Resolution(300, 150, "inch"),
        exif=exif_block,
        xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>",
        icc_profile=bytes(16) + b"GRAY" + bytes(200),
        description="toit côté nord",
    )
    return Frame(values, np.dtype(np.uint8), metadata)
