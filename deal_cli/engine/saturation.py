"""Where a picture is saturated: the camera saw more, or less, than it could count.

A plateau at the greatest or the least value says so. It is no measurement that could be restored,
and what is found around it (columns of a stripe, a blur) does not hold for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

EDGE = 3  # pixels, of the least square that a plateau fills


def saturated(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[np.bool_] | None:
    """The plateaus of the greatest and of the least value; None where there are none.

    A pixel counts that lies in a square of nine of the very same value, so that noise which is
    clipped here and there is none of it: that is restored.

    Args:
        values: `(H, W)`, as read.
        dtype: of the file: of eight bits only 0 and 255 are ends.
    """
    import cv2

    finite = np.isfinite(values)
    if not finite.any():
        return None
    ends = (0.0, 255.0) if dtype == np.uint8 else _extremes(values, finite)
    found: NDArray[np.bool_] | None = None
    for end in ends:
        at = values == np.float32(end)
        if np.count_nonzero(at) < EDGE**2:
            continue
        square = np.ones((EDGE, EDGE), np.uint8)
        within = cv2.erode(at.astype(np.uint8), square, borderType=cv2.BORDER_CONSTANT)
        if within.any():
            plateau = cv2.dilate(within, square).astype(bool)
            found = plateau if found is None else found | plateau
    return found


def _extremes(values: NDArray[np.float32], finite: NDArray[np.bool_]) -> tuple[float, ...]:
    low, high = float(values[finite].min()), float(values[finite].max())
    return (low, high) if low < high else ()
