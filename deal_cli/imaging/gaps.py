"""Pixels without a number, filled for the network and only for it.

Dead pixels and masked regions reach float files as NaN or infinity, and maps as a number that
stands for none. One of them inside a convolution would spread over the whole receptive field, so
they are filled from their neighbours before the network and put back after it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal_cli.imaging.frame import Absent
from deal_cli.imaging.tiling import bands


def find_gaps(
    values: NDArray[np.float32], nodata: float | None = None, absent: Absent | None = None
) -> NDArray[np.bool_] | None:
    """The mask of the pixels that `fill_gaps` fills; None where there are none."""
    mask = None if absent is None else absent.mask
    # The sum is finite if every pixel is, and asking it costs no mask.
    with np.errstate(invalid="ignore", over="ignore"):
        if not np.isfinite(values.sum(dtype=np.float64)):
            holes = ~np.isfinite(values)
            mask = holes if mask is None else mask | holes
    if nodata is not None and np.isfinite(nodata):
        with np.errstate(over="ignore"):
            declared = values == np.float32(nodata)
        if declared.any():
            mask = declared if mask is None else mask | declared
    return mask


def fill_gaps(
    values: NDArray[np.float32], nodata: float | None = None, absent: Absent | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Fill pixels without a measurement with the value of the nearest one that has one.

    Args:
        values: float32 `(H, W)`; never changed.
        nodata: a number that stands for none, beside NaN and the infinities (`Metadata.nodata`);
            pixels count that equal it as float32.
        absent: further pixels that hold none (`Frame.absent`).

    Returns:
        The filled values and the mask of what was filled, bool `(H, W)`. Without gaps: the same
        array and None. A picture with no measured pixel at all is filled with zeros.
    """
    mask = find_gaps(values, nodata, absent)
    if mask is None:
        return values, None
    if mask.all():
        return np.zeros_like(values), mask
    import cv2

    # Labels number the measured pixels (the zeros of the mask); each gap gets its nearest's label.
    _, labels = cv2.distanceTransformWithLabels(
        mask.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label: NDArray[Any] = np.empty(int(labels.max()) + 1, np.float32)
    by_label[labels[~mask]] = values[~mask]
    filled = values.copy()
    filled[mask] = by_label[labels[mask]]
    return filled, mask


def keep_off_nodata(
    out: NDArray[np.float32],
    source: NDArray[np.float32],
    dtype: np.dtype[Any],
    nodata: float | None,
    gaps: NDArray[np.bool_] | None,
) -> None:
    """Move measured pixels that would be written as the number that stands for none by one.

    Args:
        out: `(H, W)`, about to be written as `dtype`; changed in place.
        source: `(H, W)`, what it was made of, in the same numbers.
        dtype: of the file; a float is never written as its neighbour.
        nodata: the number that stands for none.
        gaps: the mask of the pixels without a measurement, which are left alone.
    """
    if nodata is None or dtype.kind not in "iu":
        return
    limits = np.iinfo(dtype)
    for rows in bands(*out.shape):
        band = out[rows]
        lost = np.clip(np.rint(band), limits.min, limits.max) == np.float32(nodata)
        if gaps is not None:
            lost &= ~gaps[rows]
        if lost.any():
            # Back to the side it came from, where the dtype has one.
            up = (source[rows] > nodata) & (nodata < limits.max) | (nodata <= limits.min)
            band[lost] = np.where(up, nodata + 1, nodata - 1)[lost]
