"""Dead pixels: what tells them from small things of the scene, and what takes their place.

A dead pixel stands out alone, or in a cluster of a few. A thing behind a lens has a skirt around
it, however small it is, and a burnt-in text has strokes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deal_cli.engine.fixed_pattern.detail import TO_SIGMA

DEAD, SKIRT = 8.0, 2.5  # standard deviations of the offset, of a dead pixel and of a skirt
SKIRT_SHARE = 0.3  # of a pixel's own, that a neighbour in its skirt stands out by
LARGEST_DEAD = 4  # pixels of a cluster; what is larger was drawn over the frame, or is a target

#: Pixels around a dead one that take its place, and how they count: σ in pixels.
NEIGHBOURHOOD, NEIGHBOUR_SIGMA = 7, 1.0

Values = NDArray[np.float32]


def find_spikes(offset: Values, mean: Values) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Pixels that stand out of a fixed pattern's offset alone, and those that have a skirt.

    Args:
        offset: of the pattern, `(H, W)`.
        mean: of the frames over time, `(H, W)`, which shows a skirt that the network has flattened.
    """
    import cv2

    stand_out = _stand_out(offset)
    skirted = _skirted(stand_out) | _skirted(_stand_out(mean))
    # What a strong one pulls along beside it is not dead.
    shadow = SKIRT_SHARE * cv2.dilate(stand_out, np.ones((5, 5), np.uint8))
    return (stand_out > np.maximum(DEAD, shadow)) & ~skirted, skirted


def small(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask without clusters that are larger than those of dead pixels."""
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] <= LARGEST_DEAD
    kept: NDArray[np.bool_] = mask & small[labels]
    return kept


def filled(values: Values, dead: NDArray[np.bool_]) -> Values:
    """The picture `(H, W)` with the mean of its live neighbours, near ones first, in a dead pixel.

    NaN and infinities stay. Without dead pixels it is the same array.
    """
    if not dead.any():
        return values
    import cv2

    alive = (~dead & np.isfinite(values)).astype(np.float32)
    known = np.where(alive > 0, values, 0)
    size = (NEIGHBOURHOOD, NEIGHBOURHOOD)
    # Differences from the mean, for float32 is coarse beside sixteen bits.
    level = float(known.sum(dtype=np.float64) / max(alive.sum(), 1))
    total = cv2.GaussianBlur((known - np.float32(level)) * alive, size, NEIGHBOUR_SIGMA)
    weight = cv2.GaussianBlur(alive, size, NEIGHBOUR_SIGMA)
    mended = dead & (weight > 1e-4) & np.isfinite(values)
    out = values.copy()
    out[mended] = (total[mended] / weight[mended]) + np.float32(level)
    return out


def _stand_out(values: Values) -> Values:
    """How far a pixel stands out of its neighbours', in the picture's usual deviations."""
    import cv2

    spike = np.abs(values - cv2.medianBlur(np.ascontiguousarray(values, np.float32), 5))
    usual: Values = spike / max(TO_SIGMA * float(np.median(spike)), 1e-6)
    return usual


def _skirted(spikes: Values) -> NDArray[np.bool_]:
    """Pixels that stand out together with more neighbours than a cluster of dead ones has."""
    import cv2

    around = cv2.dilate(spikes, np.ones((3, 3), np.uint8))
    outstanding = spikes > np.maximum(SKIRT, SKIRT_SHARE * around)
    skirted: NDArray[np.bool_] = outstanding & ~small(outstanding)
    return skirted
