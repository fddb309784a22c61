"""Which source values the network sees as 0 and 1, of a picture or of a whole sequence.

How wide the bulk of a picture is, is the geometric mean of its pixels' distances from their median:
a few pixels add little to it, however far they are, and the fewer the less, so that there is no
share of the pixels at which a hot thing begins to count.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deal_cli.engine.view import View, fitted
from deal_cli.errors import UsageError
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.gaps import find_gaps
from deal_cli.imaging.tiling import bands

PERCENTILES = (0.1, 99.9)
USED = (0.5, 99.5)  # percentiles between which a picture uses its range
LITTLE = 0.4  # of the range: who uses less may have lost contrast, who uses more has not
WIDENING = 0.05  # of the percentiles' span, on either side
BULK = 4.0  # geometric mean distances: that of even numbers is .18 of their range, their bulk .74
LEAST_DISTANCE = 1e-5  # of the range, and half a count: what is flat is not looked at more closely
RANKS = tuple(rank + 0.5 for rank in range(100))  # per cent: where the pixels are
LEVELS = 2**16  # that whole numbers of sixteen bits can take
SAMPLES, THINNED = 2**22, 2**17  # floats kept of a sequence, and the most of one frame

Values = NDArray[np.float32]
RangePolicy = Literal["auto", "image", "dtype"] | tuple[float, float]


def parse_range(text: str) -> RangePolicy:
    """`auto`, `image`, `dtype`, or `LO:HI`.

    Raises:
        UsageError: something else.
    """
    if text in ("auto", "image", "dtype"):
        return text  # type: ignore[return-value]
    low, separator, high = text.partition(":")
    try:
        if separator:
            return float(low), float(high)
    except ValueError:
        pass
    remedy = "it takes auto, image, dtype, sequence or LO:HI"
    raise UsageError(f"'{text}' for --range", remedy=remedy)


def measure_range(frame: Frame, policy: RangePolicy) -> tuple[float, float]:
    """The source values that become 0 and 1, as `measure_view`."""
    return measure_view(frame, policy).range


def measure_view(frame: Frame, policy: RangePolicy) -> View:
    """How the network sees a picture.

    Args:
        frame: the picture.
        policy: "auto" (the type's range for 8 bits, percentiles .1 and 99.9 widened by 5 %
            otherwise, with a closer look at the bulk where a few pixels would have it all),
            "image" (least to most), "dtype" (the type's full range), or the values.

    Raises:
        UsageError: "dtype" with a float picture, which has no full range.
    """
    fixed = _fixed(frame.dtype, policy)
    if fixed is not None:
        return View(*fixed)
    measured = _measured(frame)
    if measured.size == 0:
        return View(0.0, 0.0)
    if policy == "image":
        return View(float(measured.min()), float(measured.max()))
    whole = frame.dtype.kind in "iu"
    return _fitted(_percentiles(measured, whole=whole), whole=whole)


def used_share(values: Values, low: float, high: float) -> float:
    """How much of a range a picture uses, 0 to 1: from its percentile .5 to 99.5."""
    least, most = np.clip(np.percentile(values[np.isfinite(values)], USED), low, high)
    return float(most - least) / (high - low)


class SequenceRange:
    """The view of many frames together, added up as they come."""

    def __init__(self, policy: RangePolicy) -> None:
        self._policy = policy
        self._dtype: np.dtype | None = None
        self._counts = np.zeros(LEVELS, np.int64)
        self._kept: list[Values] = []
        self._share = 1.0
        self._rng = np.random.default_rng(0)
        self._ends = np.inf, -np.inf

    def add(self, frame: Frame) -> None:
        """One more frame, of the dtype of the first."""
        self._dtype = frame.dtype
        if _fixed(frame.dtype, self._policy) is not None:
            return
        measured = _measured(frame)
        if measured.size == 0:
            return
        low, high = self._ends
        self._ends = min(low, float(measured.min())), max(high, float(measured.max()))
        if self._policy == "image":
            return
        if frame.dtype.kind in "iu":
            least = _least(frame.dtype)
            for rows in bands(*measured.shape):
                levels = np.clip(measured[rows] - np.float32(least), 0, LEVELS - 1)
                self._counts += np.bincount(levels.astype(np.intp).ravel(), minlength=LEVELS)
            return
        # At random places, for those of a grid may all lie beside a narrow thing.
        wanted = max(1, round(min(measured.size, THINNED) * self._share))
        flat = measured.ravel()
        if wanted < len(flat):
            flat = flat[self._rng.integers(len(flat), size=wanted)]
        self._kept.append(self._rng.permutation(flat))
        if sum(len(part) for part in self._kept) > SAMPLES:  # half of each from now on
            self._kept = [part[: max(1, len(part) // 2)].copy() for part in self._kept]
            self._share /= 2

    def result(self) -> View | None:
        """How the network sees each of them; None before any frame."""
        if self._dtype is None:
            return None
        fixed = _fixed(self._dtype, self._policy)
        if fixed is not None:
            return View(*fixed)
        low, high = self._ends
        if not low <= high:
            return View(0.0, 0.0)
        if self._policy == "image":
            return View(low, high)
        if self._dtype.kind in "iu":
            ends = np.flatnonzero(self._counts)
            counts = self._counts[ends[0] : ends[-1] + 1]
            return _fitted(_ranked(counts, int(ends[0]) + _least(self._dtype)), whole=True)
        values = np.concatenate(self._kept)[None]
        return _fitted(_percentiles(values, whole=False), whole=False)


def _fixed(dtype: np.dtype, policy: RangePolicy) -> tuple[float, float] | None:
    """The range that does not depend on the pixels, if it does not.

    Raises:
        UsageError: "dtype" with floats.
    """
    if isinstance(policy, tuple):
        return policy
    if policy == "dtype" or (policy == "auto" and dtype == np.uint8):
        if dtype.kind not in "iu":
            raise UsageError(
                f"{dtype} has no full range", remedy="use --range image or --range LO:HI"
            )
        return float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    return None


def _measured(frame: Frame) -> Values:
    """The pixels that hold a measurement, `(H, W)` or `(1, N)`."""
    gaps = find_gaps(frame.values, frame.metadata.nodata, frame.absent)
    return frame.values if gaps is None else frame.values[~gaps][None]


def _fitted(ranked: NDArray[np.float64], *, whole: bool) -> View:
    """The view for values of these percentiles: `PERCENTILES`, then `RANKS`."""
    low, high, ranks = float(ranked[0]), float(ranked[1]), ranked[2:]
    margin = WIDENING * (high - low)
    centre = float(np.median(ranks))
    least = max(LEAST_DISTANCE * (high - low), 0.5 if whole else 0.0)
    distances = np.maximum(np.abs(ranks - centre), least)
    bulk = BULK * float(np.exp(np.log(distances).mean())) if least > 0 else 0.0
    return fitted(low - margin, high + margin, centre, bulk)


def _least(dtype: np.dtype) -> int:
    return int(np.iinfo(dtype).min)


def _percentiles(values: Values, *, whole: bool) -> NDArray[np.float64]:
    """`PERCENTILES` and `RANKS` of values; of whole numbers from a histogram, without a copy."""
    if not whole:
        ranks = (*PERCENTILES, *RANKS)
        found = np.percentile(values, ranks, method="inverted_cdf")
        return np.asarray(found, np.float64)
    least = int(values.min())
    # Enlarged counts lie between whole numbers, and float32 may round the greatest up to the next.
    counts = np.zeros(int(values.max()) - least + 2, np.int64)
    for rows in bands(*values.shape):
        levels = (values[rows] - np.float32(least)).astype(np.int64)
        counts += np.bincount(levels.ravel(), minlength=len(counts))
    return _ranked(counts, least)


def _ranked(counts: NDArray[np.int64], least: int) -> NDArray[np.float64]:
    """`PERCENTILES` and `RANKS` of whole numbers that were counted, the first being `least`."""
    ranks = np.ceil(np.array((*PERCENTILES, *RANKS)) / 100 * counts.sum())
    return np.asarray(np.searchsorted(np.cumsum(counts), ranks) + least, np.float64)
