"""Enlargement before restoring: the network sharpens, a bicubic kernel sets the size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from deal_cli.config import MAX_PIXELS
from deal_cli.errors import PictureError
from deal_cli.imaging.formats import chunks, exif, geotiff, png
from deal_cli.imaging.frame import Absent, Frame, Metadata
from deal_cli.imaging.gaps import fill_gaps

SCALES = (1, 2, 4)


def enlarge(frame: Frame, scale: int, *, max_pixels: int = MAX_PIXELS) -> Frame:
    """A picture enlarged by a bicubic kernel (a = -0.5, Pillow's), in the source's own numbers.

    Args:
        frame: values float32 `(H, W)`; pixels without a measurement stay where they are, as
            blocks of `scale` x `scale` pixels.
        scale: 1, 2 or 4.
        max_pixels: a larger result is refused before memory is taken for it.

    Returns:
        Values float32 `(H * scale, W * scale)`. What the metadata say of sizes and places in
        pixels follows, so that the picture keeps its printed size and its place on the map. An
        aspect ratio stays.

    Raises:
        PictureError: the result would have more than `max_pixels`.
        ValueError: another scale.
    """
    if scale not in SCALES:
        raise ValueError(f"scale is 1, 2 or 4, not {scale}")
    if scale == 1:
        return frame
    size = (frame.width * scale, frame.height * scale)
    if size[0] * size[1] > max_pixels:
        raise PictureError(
            f"would be {size[0]}x{size[1]}, more than {max_pixels / 1e6:g} megapixels",
            remedy=f"give a smaller --scale, or --max-pixels {size[0] * size[1]}",
        )
    nodata, metadata = frame.metadata.nodata, _enlarged(frame.metadata, scale)
    absent = frame.absent
    if absent is not None:
        absent = replace(absent, mask=absent.mask.repeat(scale, 0).repeat(scale, 1))
    enlarged = replace(frame, metadata=metadata, absent=absent)
    if frame.original is None:
        return replace(enlarged, values=_bicubic(frame.values, scale, nodata, frame.absent))
    # Pixels without a measurement were filled when the pattern was taken off the others.
    original = _bicubic(frame.original, scale, nodata, frame.absent)
    return replace(enlarged, values=_bicubic(frame.values, scale), original=original)


def _bicubic(
    values: NDArray[np.float32],
    scale: int,
    nodata: float | None = None,
    absent: Absent | None = None,
) -> NDArray[np.float32]:
    """The values `(H * scale, W * scale)`, with pixels without a measurement as blocks."""
    from PIL import Image

    filled, mask = fill_gaps(values, nodata, absent)
    size = (values.shape[1] * scale, values.shape[0] * scale)
    large: NDArray[np.float32] = np.array(
        Image.fromarray(filled).resize(size, Image.Resampling.BICUBIC)
    )
    if mask is not None:
        for y, x in np.ndindex(scale, scale):
            large[y::scale, x::scale][mask] = values[mask]
    return large


def _enlarged(metadata: Metadata, scale: int) -> Metadata:
    """The metadata of a picture enlarged `scale` times."""
    density, native = metadata.resolution, metadata.native
    if density is not None and density.unit != "none":
        density = replace(density, x=density.x * scale, y=density.y * scale)
    if native is not None and native[0] == geotiff.FORMAT:
        native = (native[0], geotiff.enlarged(native[1], scale))
    elif native is not None and native[0] == png.FORMAT:
        native = (native[0], chunks.enlarged(native[1], scale))
    block = metadata.exif and exif.enlarged(metadata.exif, scale)
    return replace(metadata, resolution=density, native=native, exif=block)
