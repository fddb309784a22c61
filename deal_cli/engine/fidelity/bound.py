"""A bound on what a restoration may change: no pixel further from its source than that.

`--max-change` turns fidelity from something told into something kept. The bound is given in the
file's own numbers, in a share of the range that the network saw, or in kelvin where the file says
how its counts become temperatures; it holds for what is written, after rounding.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deal_cli.engine.fidelity.measure import Numbers, as_written
from deal_cli.errors import PictureError, UsageError
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.radiometry.calibration import Planck
from deal_cli.imaging.tiling import bands

TRIES = 40  # at shrinking a limit in counts until it keeps a bound in kelvin
_GIVEN = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?) ?(%|mK|K|°?C|counts?|levels?|)")

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Bound:
    """What `--max-change` says; 0 lets nothing change.

    Attributes:
        value: not negative.
        unit: "own", the file's own numbers; "%", of the range that became 0 to 1; or "K".
    """

    value: float
    unit: Literal["own", "%", "K"] = "own"

    def __str__(self) -> str:
        return f"{self.value:g}{'' if self.unit == 'own' else self.unit}"

    def limit(self, frame: Frame, span: float) -> np.float32 | Values:
        """The most that a pixel may change, in the frame's own numbers.

        Args:
            frame: the source, after any enlargement.
            span: of the range map, high - low, in the frame's own numbers.

        Returns:
            One number, or for kelvin one for each pixel, float32 `(H, W)`: the larger the slope
            of the calibration, the fewer counts. 0 where a pixel has no temperature.

        Raises:
            PictureError: kelvin, and the frame has no calibration.
        """
        if self.unit == "own":
            return _rounded_down(self.value)
        if self.unit == "%":
            return _rounded_down(self.value / 100 * span)
        numbers = Numbers.of(frame)
        if numbers.planck is None:
            raise PictureError(
                f"does not say how its numbers become temperatures, so that {self} means nothing",
                remedy="give --max-change in its own numbers, such as 40, or in %, such as 2%",
            )
        if frame.dtype.kind != "f":
            return _from_table(frame.values, frame.dtype, numbers.planck, self.value)
        limits = np.empty_like(frame.values)
        for rows in bands(*limits.shape):
            counts = frame.values[rows].astype(np.float64)
            limits[rows] = _counts_within(counts, numbers.planck, self.value)
        return limits


def parse_bound(text: str) -> Bound:
    """`40`, `40counts`, `2%`, `0.5K`, `500mK` or `0.5C`.

    Raises:
        UsageError: something else, or a negative bound.
    """
    given = _GIVEN.fullmatch(text.strip())
    remedy = "--max-change takes the file's own numbers, a share of the range or kelvin: 40, 2%, "
    if given is None:
        raise UsageError(f"a largest change of '{text}'", remedy=f"{remedy}0.5K, 500mK")
    value, unit = float(given[1]), given[2]
    if value < 0 or not math.isfinite(value):
        raise UsageError(
            f"a largest change of '{text}'", remedy="--max-change takes 0 and more, such as 40"
        )
    if unit == "mK":
        return Bound(value / 1000, "K")
    if unit in ("K", "C", "°C"):
        return Bound(value, "K")
    return Bound(value, "%" if unit == "%" else "own")


def apply_bound(
    out: Values, source: Values, limit: np.float32 | Values, dtype: np.dtype[Any]
) -> None:
    """Draw every pixel back to within its limit of the source, as both will be written.

    Args:
        out: `(H, W)`, the result; changed in place.
        source: `(H, W)`, what it was made of, in the same numbers.
        limit: see `Bound.limit`; one number or `(H, W)`.
        dtype: of the file that is written. With integers the source is rounded and the limit cut
            to whole numbers first, so that rounding the result does not pass it; a float is the
            nearest one within the limit.
    """
    most: Values = np.broadcast_to(np.asarray(limit, np.float32), out.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in bands(*out.shape):
            if dtype.kind == "f":
                _clip_floats(out[rows], source[rows], most[rows])
                continue
            base, reach = as_written(source[rows], dtype), np.floor(most[rows])
            np.clip(out[rows], base - reach, base + reach, out=out[rows])


def _clip_floats(out: Values, source: Values, most: Values) -> None:
    """Draw floats back in place; where none passes its limit this is one comparison."""
    over = np.abs(out - source) > most * np.float32(1 - 2**-20)
    if not over.any():
        return
    base, reach = source[over].astype(np.float64), most[over].astype(np.float64)
    low, high = (base - reach).astype(np.float32), (base + reach).astype(np.float32)
    # The nearest float32 may lie on the far side.
    low = np.where(low < base - reach, np.nextafter(low, np.float32(np.inf)), low)
    high = np.where(high > base + reach, np.nextafter(high, np.float32(-np.inf)), high)
    out[over] = np.clip(out[over], low, high)


def _from_table(values: Values, dtype: np.dtype[Any], planck: Planck, kelvin: float) -> Values:
    """The limits of whole counts: computed once for every count there is."""
    limits = np.empty_like(values)
    low, high = (int(end) for end in as_written(np.array([values.min(), values.max()]), dtype))
    table = _counts_within(np.arange(low, high + 1, dtype=np.float64)[None], planck, kelvin)[0]
    for rows in bands(*values.shape):
        levels = as_written(values[rows], dtype) - np.float32(low)
        limits[rows] = table.take(levels.astype(np.intp))
    return limits


def _counts_within(counts: NDArray[np.float64], planck: Planck, kelvin: float) -> Values:
    """How many counts either way keep the temperature within so many kelvin; both `(H, W)`.

    The slope at a count gives a first limit. The calibration is curved, steeper towards the cold,
    so that this is a little too much there; it is shrunk until it holds on both sides.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        here = planck.celsius(counts).astype(np.float64)
        limit = kelvin / planck.kelvin_per_count(counts).astype(np.float64)
        limit[~np.isfinite(limit)] = 0.0
        for _ in range(TRIES):
            change = np.maximum(
                np.abs(here - planck.celsius(counts - limit)),
                np.abs(here - planck.celsius(counts + limit)),
            )
            over = ~(change <= kelvin) & (limit > 0)
            if not over.any():
                break
            # Beyond the end of the calibration there is no temperature to go by.
            limit[over] *= np.where(np.isfinite(change), 0.9999 * kelvin / change, 0.5)[over]
        else:
            limit[over] = 0.0
        return np.nextafter(limit.astype(np.float32), np.float32(0))


def _rounded_down(value: float) -> np.float32:
    """The nearest float32 that is not greater."""
    with np.errstate(over="ignore"):
        near = np.float32(value)
    return np.nextafter(near, np.float32(0)) if float(near) > value else near
