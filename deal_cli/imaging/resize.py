"""Enlargement before restoring: the network sharpens, a bicubic kernel sets the size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from deal_cli.imaging.frame import Frame
from deal_cli.imaging.gaps import fill_gaps

SCALES = (1, 2, 4)


def enlarge(frame: Frame, scale: int) -> Frame:
    """A picture enlarged by a bicubic kernel (a = -0.5, Pillow's), in the source's own numbers.

    Args:
        frame: values float32 `(H, W)`; NaN and infinities stay where they are, as blocks of
            `scale` x `scale` pixels.
        scale: 1, 2 or 4.

    Returns:
        Values float32 `(H * scale, W * scale)`. The pixel density of the metadata grows with the
        scale, so that the picture keeps its printed size. An aspect ratio stays.

    Raises:
        ValueError: another scale.
    """
    if scale not in SCALES:
        raise ValueError(f"scale is 1, 2 or 4, not {scale}")
    if scale == 1:
        return frame
    from PIL import Image

    filled, mask = fill_gaps(frame.values)
    size = (frame.width * scale, frame.height * scale)
    values: NDArray[np.float32] = np.array(
        Image.fromarray(filled).resize(size, Image.Resampling.BICUBIC)
    )
    if mask is not None:
        for y, x in np.ndindex(scale, scale):
            values[y::scale, x::scale][mask] = frame.values[mask]
    metadata, density = frame.metadata, frame.metadata.resolution
    if density is not None and density.unit != "none":
        density = replace(density, x=density.x * scale, y=density.y * scale)
        metadata = replace(metadata, resolution=density)
    return replace(frame, values=values, metadata=metadata)
