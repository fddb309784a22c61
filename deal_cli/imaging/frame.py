"""One picture on its way through the program: the source's own numbers and what must survive.

A `Frame` is what files become and what becomes files again. Its values are never rescaled for
display: 16-bit counts stay counts, degrees stay degrees.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from deal_cli.imaging.radiometry.calibration import Radiometry


@dataclass(frozen=True)
class Resolution:
    """Pixel density as the file states it: pixels per `unit` along x and y."""

    x: float
    y: float
    unit: str  # "inch", "centimetre" or "none" (an aspect ratio only)


@dataclass(frozen=True)
class Storage:
    """How a file stores its pixels, as far as its copy should do the same.

    Attributes:
        tile: height and width of the tiles; None where it has strips.
        big: whether offsets take 64 bits.
    """

    tile: tuple[int, int] | None = None
    big: bool = False


@dataclass(frozen=True)
class Metadata:
    """What a file says about its pixels, kept byte for byte.

    Attributes:
        resolution: pixels per length.
        exif: an EXIF block, GPS included, without the thumbnail of the unrestored picture.
        xmp: an XMP packet.
        icc_profile: a colour profile.
        description: what a person wrote about the picture.
        native: the format that wrote it and what only a file of that format holds, ready for its
            writer to put in; other writers pass it over.
        nodata: the value that stands where nothing was measured, as precise as the file has it.
        storage: how the file stores its pixels, for a writer of the same format.
        radiometry: how counts become temperatures, from a radiometric file.
        moment: when a frame of a video is shown, in seconds from the video's beginning.
    """

    resolution: Resolution | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    icc_profile: bytes | None = None
    description: str | None = None
    native: tuple[str, bytes] | None = None
    nodata: float | None = None
    storage: Storage | None = None
    radiometry: Radiometry | None = None
    moment: Fraction | None = None


@dataclass(frozen=True, eq=False)
class Absent:
    """Pixels that hold no measurement though their file does not say so.

    Attributes:
        mask: `(H, W)`.
        told: what they are, such as "20 pixels of -9999".
    """

    mask: NDArray[np.bool_]
    told: str


@dataclass(frozen=True, eq=False)
class Frame:
    """One thermal picture.

    Attributes:
        values: float32 `(H, W)`, the source's own numbers (grey levels, counts, degrees);
            NaN and infinities stand where the source has them.
        dtype: the source's dtype; the written file has it again.
        metadata: what the file said besides its pixels.
        original: `(H, W)`, the values as they were read, where a fixed pattern was taken off
            `values` since; those are finite then.
        absent: pixels that hold no measurement, beside NaN and `metadata.nodata`.
    """

    values: NDArray[np.float32]
    dtype: np.dtype
    metadata: Metadata = field(default_factory=Metadata)
    original: NDArray[np.float32] | None = None
    absent: Absent | None = None

    def celsius(self) -> NDArray[np.float32]:
        """`(H, W)`, the temperatures of the object in °C, by the calibration of its file.

        Raises:
            PictureError: the file tells no calibration.
        """
        from deal_cli.imaging.radiometry.celsius import in_celsius

        return in_celsius(self).values

    @property
    def height(self) -> int:
        return int(self.values.shape[0])

    @property
    def width(self) -> int:
        return int(self.values.shape[1])
