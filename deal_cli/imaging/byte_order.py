"""Whether sixteen bits were stored the wrong way round.

A raw dump saved as PNG, a header that tells the wrong order: both give a picture that reads without
complaint and looks like noise, since the lesser byte of every number counts 256 times too much. A
scene is smooth, along its rows or down its columns; if it is so only with its bytes swapped, they
are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SMOOTH = 0.45  # mean step between neighbours, in mean distances from the median
RATIO = 2.5  # times as rough as it is stored: swapping the bytes of a scene never makes it smoother
CLIPPED = (2, 98)  # percentiles: dead pixels are no part of a scene
PIXELS = 2**18  # of a picture, that are looked at
LEAST_EDGE = 16  # pixels of a picture that can be judged
LEAST_LEVELS = 8  # of the greater byte, where the lesser never changes


def looks_swapped(array: NDArray[Any]) -> bool:
    """Whether whole numbers `(H, W)` of sixteen bits are a scene with their bytes swapped only."""
    if array.dtype.kind not in "iu" or array.dtype.itemsize != 2 or min(array.shape) < LEAST_EDGE:
        return False
    rows = max(2, min(len(array), PIXELS // array.shape[1]))
    first = (len(array) - rows) // 2
    seen = np.ascontiguousarray(array[first : first + rows])
    lesser = seen & 0xFF
    if (lesser == lesser.flat[0]).all():
        # Numbers that never leave one value of the greater byte, which is in the lesser's place.
        return bool(lesser.flat[0] != 0 and len(np.unique(seen)) >= LEAST_LEVELS)
    swapped = _roughness(seen.byteswap())
    return 0 < swapped < SMOOTH and _roughness(seen) > RATIO * swapped


def _roughness(array: NDArray[Any]) -> float:
    """How far neighbours are apart along the smoother axis, in mean distances from the median."""
    values = array.astype(np.float32)
    np.clip(values, *np.percentile(values, CLIPPED), out=values)
    spread = float(np.abs(values - np.median(values)).mean())
    if not spread > 0:
        return 0.0
    steps = (float(np.abs(np.diff(values, axis=axis)).mean()) for axis in (0, 1))
    return min(steps) / spread
