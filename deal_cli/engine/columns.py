"""Stripes over whole columns: what every part of a column agrees on is the camera's.

A network sees some sixty pixels of a column, and a level that it cannot tell from the scene there
it leaves in part. Over the whole height the two part: what the network takes off a column at many
heights alike is an offset of that column. Taken off at once, it leaves the network an easier
picture for a second look. Whether a column agrees with itself is measured, not assumed: by how well
the offsets found in half of the rows foretell those found in the other half.

A pole, a door frame, the edge of a building are uprights of the scene. An upright stands in a part
of its column's rows, and it stands alone: stripes have all columns. So what some stretch of a
column does not show is not taken off it, nor what is far from what the other columns have.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 16  # rows, by turns in one half and in the other: pixels nearer than that err alike
LEAST_ROWS = 64  # shorter columns the network sees whole
STRETCHES = 8  # of a column, top to bottom
LACKING = 3  # of them without the offset, from which on it is no stripe
PRESENT = 0.2  # of the offset, that a stretch shows where it has it
SURE = 4.0  # standard errors of a stretch, above which an offset must show in it
APART = 4.0  # standard deviations of the columns' offsets, beyond which none is believed
NORMAL = 1.4826  # standard deviations of normal numbers in their median distance from the median
LEAST_OFFSET = 0.0012  # of the range, root mean square: less than a third of a grey level

Values = NDArray[np.float32]


def shared_offsets(correction: Values, span: np.float32) -> Values | None:
    """The offset that each column shares over its height, to be taken off it.

    Args:
        correction: `(H, W)`, source less what the network made of it.
        span: of the range, in the same numbers.

    Returns:
        `(W,)` in the same numbers, shrunk towards nought by what the halves disagree on; None
        where it is not worth a second look.
    """
    if correction.shape[0] < LEAST_ROWS:
        return None
    first = np.arange(correction.shape[0]) // BLOCK % 2 == 0
    # Means, a hundred times cheaper than medians, tell most pictures without stripes.
    halves = correction[first].mean(0), correction[~first].mean(0)
    if not _worth(correction.mean(0), reliability(*halves), span):
        return None
    halves = np.median(correction[first], 0), np.median(correction[~first], 0)
    offsets, share = np.median(correction, 0), reliability(*halves)
    offsets = _without_uprights(correction, offsets)
    if not _worth(offsets, share, span):
        return None
    shrunk: Values = offsets * np.float32(share)
    return shrunk


def _without_uprights(correction: Values, offsets: Values) -> Values:
    """The offsets `(W,)` of columns without what is part of the scene."""
    parts = np.array_split(correction, STRETCHES)
    shown = np.stack([np.median(part, 0) for part in parts])  # (STRETCHES, W)
    error = NORMAL * np.median(np.abs(shown - offsets))
    absent = shown * np.sign(offsets) < PRESENT * np.abs(offsets)
    partial = (absent.sum(0) >= LACKING) & (np.abs(offsets) > SURE * error)
    kept = np.where(partial, np.float32(0), offsets)
    centre = np.median(kept)
    most = APART * NORMAL * np.median(np.abs(kept - centre))
    believed: Values = np.clip(kept, centre - most, centre + most)
    return believed


def reliability(first: Values, second: Values) -> float:
    """How much of what two halves measured is real, 0 to 1, for the mean of both.

    Spearman 1910, doi:10.1111/j.2044-8295.1910.tb00206.x; Brown 1910, 10.1111/….tb00207.x.
    """
    a, b = (half.astype(np.float64) - half.mean(dtype=np.float64) for half in (first, second))
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    if not scale > 0:
        return 0.0
    agreement = max(0.0, float((a * b).sum()) / scale)
    return 2 * agreement / (1 + agreement)


def _worth(offsets: Values, share: float, span: np.float32) -> bool:
    """Whether offsets, as far as they are real, are large enough to be seen."""
    return share * float(np.std(offsets, dtype=np.float64)) > LEAST_OFFSET * float(span)
