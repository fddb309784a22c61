"""Pixels without a number, filled for the network and only for it.

Dead pixels and masked regions reach float files as NaN or infinity. One of them inside a
convolution would spread over the whole receptive field, so they are filled from their neighbours
before the network and put back after it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def fill_gaps(
    values: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Fill NaN and infinite pixels with the value of the nearest finite pixel.

    Args:
        values: float32 `(H, W)`; never changed.

    Returns:
        The filled values and the mask of what was filled, bool `(H, W)`. Without gaps: the same
        array and None. A picture with no finite pixel at all is filled with zeros.
    """
    # The sum is finite if every pixel is, and asking it costs no mask.
    with np.errstate(invalid="ignore"):
        if np.isfinite(values.sum(dtype=np.float64)):
            return values, None
    mask = ~np.isfinite(values)
    if mask.all():
        return np.zeros_like(values), mask
    import cv2

    # Labels number the finite pixels (the zeros of the mask); each gap gets its nearest's label.
    _, labels = cv2.distanceTransformWithLabels(
        mask.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label: NDArray[Any] = np.empty(int(labels.max()) + 1, np.float32)
    by_label[labels[~mask]] = values[~mask]
    filled = values.copy()
    filled[mask] = by_label[labels[mask]]
    return filled, mask
