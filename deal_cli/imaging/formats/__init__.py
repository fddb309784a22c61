"""One file a format: bytes to pixels and metadata, and back.

Every reader is `read(stream, max_pixels) -> Pixels` and every writer
`write(array, metadata, stream)`; both get a binary stream at its start. What a reader raises that
is not a `PictureError` means that the file is damaged; `imaging.files` says so to the user.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from deal_cli.errors import PictureError
from deal_cli.imaging.frame import Metadata

METRES_PER_INCH = 0.0254
TRUNCATED_REMEDY = "copy or export it again"


@dataclass(frozen=True, eq=False)
class Pixels:
    """What a file holds, before anybody asks whether it is grey.

    Attributes:
        array: `(H, W)`, or `(H, W, C)` with the channels of `grey.to_values`.
        metadata: what the file says besides its pixels.
        tolerance: the difference between channels that the format's own rounding makes.
        bands: whether the file calls its channels measurements of their own, neither colours nor
            transparency.
    """

    array: NDArray[Any]
    metadata: Metadata = field(default_factory=Metadata)
    tolerance: int = 0
    bands: bool = False


def truncated() -> PictureError:
    """The error for a file that ends too early: half a picture is never returned."""
    return PictureError("is truncated", remedy=TRUNCATED_REMEDY)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse a size before memory is taken for it.

    Raises:
        PictureError: no pixels at all, or more than `max_pixels`.
    """
    if width < 1 or height < 1:
        raise PictureError("holds no pixels", remedy="check how it was made")
    if width * height > max_pixels:
        raise PictureError(
            f"is {width}x{height}, more than {max_pixels / 1e6:g} megapixels",
            remedy=f"give --max-pixels {width * height} to read it all the same",
        )


def as_text(data: bytes) -> str:
    """Text of a file that should be UTF-8 and in old files is Latin-1, without NUL."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.strip("\0").replace("\0", "\n")
