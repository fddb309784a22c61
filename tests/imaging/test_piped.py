"""Several pictures in one pipe are refused, one is not, whatever stands in it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from deal_cli.errors import PictureError
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import encode
from deal_cli.imaging.piped import refuse_several

KINDS = (".png", ".tif", ".jpg", ".bmp", ".npy")


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("other", KINDS[:3])
def test_a_second_picture_is_noticed(suffix: str, other: str) -> None:
    first, second = (encode(draw_scene(i, 40, 56), s) for i, s in enumerate((suffix, other)))
    refuse_several(first)
    if suffix in (".tif", ".jpg") and other != suffix:
        return  # a record of the camera's may follow those, of any kind
    with pytest.raises(PictureError, match="several pictures"):
        refuse_several(first + second)


def test_a_thumbnail_is_no_second_picture() -> None:
    small = encode(draw_scene(0, 32, 32), ".jpg")
    exif = Image.Exif()
    exif[0x927C] = small
    stream = io.BytesIO()
    Image.fromarray(np.uint8(draw_scene(1, 40, 40).values)).save(stream, "JPEG", exif=exif)
    refuse_several(stream.getvalue())


def test_whatever_is_no_picture_is_left_to_its_reader() -> None:
    for data in (b"", b"BM", b"\x93NUMPY", b"II*\0", b"GIF89a", b"\x89PNG\r\n\x1a\n"):
        refuse_several(data)
