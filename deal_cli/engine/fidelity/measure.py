"""How far a restored picture is from its source: what a measurement lost, in its own unit.

A network may move what a thermographer reads off: the mean, the hottest spot, the range. Nothing
here corrects that; it is told, for every picture, in figures small enough for a row. What is
compared is what will be *written*: both pictures rounded to the dtype of the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal_cli.imaging.frame import Frame
from deal_cli.imaging.radiometry.calibration import Planck

BAND_PIXELS = 2**16  # worked on at a time: what a core's cache holds several times over
NOISE_PIXELS = 2**18  # that noise is estimated from, about
MEDIAN_SIZE = 0.6745  # of normal numbers of standard deviation 1
RARE = 1000  # one pixel of so many changes by more than `p999_change`

Values = NDArray[np.float32]


class Unit(StrEnum):
    """What one step of a picture's numbers is called.

    `CELSIUS` is for whoever shows the figures in degrees: no `Fidelity` has it, for deal cannot
    know that a float file holds degrees, and its own are written after the counts are measured.
    """

    GREY = "grey levels"
    COUNTS = "counts"
    OWN = "own numbers"
    CELSIUS = "°C"


@dataclass(frozen=True)
class Numbers:
    """What the numbers of a written file are.

    Attributes:
        unit: their name.
        dtype: what they are rounded to.
        planck: the calibration of counts; None where there is none.
    """

    unit: Unit
    dtype: np.dtype[Any]
    planck: Planck | None = None

    @classmethod
    def of(cls, frame: Frame) -> Numbers:
        """Those of a frame that is written as it is."""
        radiometry = frame.metadata.radiometry
        planck = None if radiometry is None else radiometry.planck
        if frame.dtype == np.uint8:
            return cls(Unit.GREY, frame.dtype, planck)
        counted = frame.dtype.kind != "f" or radiometry is not None
        return cls(Unit.COUNTS if counted else Unit.OWN, frame.dtype, planck)


@dataclass(frozen=True)
class Spot:
    """One pixel: its value in the file's own unit, column `x` and row `y`."""

    value: float
    x: int
    y: int


@dataclass(frozen=True)
class Fidelity:
    """How a result differs from its source, over the pixels that hold a measurement.

    All in the file's own unit but for the last eight, which are in kelvin and °C and None where
    the file has no calibration (or one that makes no temperature of these counts).

    Attributes:
        unit: the unit's name.
        pixels: how many were measured.
        mean_shift: mean of result - source.
        mean_change: mean of |result - source|.
        p999_change: the least value that 99.9 % of the pixels' |result - source| do not exceed.
        largest_change: result - source where it is farthest from 0.
        largest_at: the source there, the first of several in row order.
        noise: standard deviation of the source's own noise, stripes included, or what rounding
            leaves of it.
        hottest_before: the greatest value of the source, the first of several in row order.
        hottest_after: that of the result, wherever it lies.
        coldest_before: likewise the least of the source.
        coldest_after: likewise the least of the result.
        outside: how many pixels of the result lie outside the source's least to greatest.
        beyond: how far outside at most.
        mean_shift_k: `mean_shift` as temperatures, pixel by pixel, as the three that follow.
    """

    unit: Unit
    pixels: int
    mean_shift: float
    mean_change: float
    p999_change: float
    largest_change: float
    largest_at: Spot
    noise: float
    hottest_before: Spot
    hottest_after: Spot
    coldest_before: Spot
    coldest_after: Spot
    outside: int
    beyond: float
    mean_shift_k: float | None = None
    mean_change_k: float | None = None
    p999_change_k: float | None = None
    largest_change_k: float | None = None
    hottest_before_c: float | None = None
    hottest_after_c: float | None = None
    coldest_before_c: float | None = None
    coldest_after_c: float | None = None

    def __str__(self) -> str:
        if self.mean_shift_k is not None and self.p999_change_k is not None:
            shift, change = _signed(self.mean_shift_k, 3), f"{self.p999_change_k:.2f} K"
        elif self.unit is Unit.OWN:
            shift, change = f"{self.mean_shift:+.3g}", f"{self.p999_change:.3g}"
        else:
            shift, change = _signed(self.mean_shift, 2), f"{self.p999_change:.0f} {self.unit}"
        text = f"mean shift {shift}, 99.9 % within {change}"
        return f"{text}, {self.outside} outside its range" if self.outside else text

    @property
    def moved(self) -> bool:
        """Whether anything moved beyond rounding."""
        scale = max(abs(self.hottest_before.value), abs(self.coldest_before.value))
        return abs(self.largest_change) > scale * float(np.finfo(np.float32).eps)

    def to_json(self) -> dict[str, Any]:
        """One flat row of plain numbers, each as short as float32 allows; None where unknown."""
        row: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, Spot):
                row |= {name: _plain(value.value), f"{name}_x": value.x, f"{name}_y": value.y}
            elif isinstance(value, float):
                row[name] = _plain(value)
            else:
                row[name] = str(value) if isinstance(value, Unit) else value
        return row


def measure(
    source: Values, result: Values, numbers: Numbers, gaps: NDArray[np.bool_] | None = None
) -> Fidelity | None:
    """What became of a picture, in a few passes over bands of rows.

    Args:
        source: `(H, W)` before the restoration, after any enlargement.
        result: `(H, W)`, what will be written.
        numbers: what the written numbers are.
        gaps: the mask of the pixels without a measurement, which count for nothing; every other
            pixel is finite.

    Returns:
        None where no pixel holds a measurement.
    """
    assert source.shape == result.shape
    before, after = _Extremes(), _Extremes()
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for rows, kept in _bands(source.shape, gaps):
            before.add(as_written(source[rows], numbers.dtype), rows, kept)
            after.add(as_written(result[rows], numbers.dtype), rows, kept)
        if before.pixels == 0:
            return None
        high, low = before.hottest.value, before.coldest.value
        beyond = max(after.hottest.value - high, low - after.coldest.value, 0.0)
        ends = (min(low, after.coldest.value), max(high, after.hottest.value))
        thermometer = _thermometer(numbers, *ends)
        own, kelvin, outside = _Changes(before.pixels), _Changes(before.pixels), 0
        for rows, kept in _bands(source.shape, gaps):
            old = _measured(as_written(source[rows], numbers.dtype), kept)
            new = _measured(as_written(result[rows], numbers.dtype), kept)
            if beyond:
                outside += int(np.count_nonzero(new > high) + np.count_nonzero(new < low))
            own.add(new - old, source[rows].shape[1], rows, kept)
            if thermometer is not None:
                change = thermometer.read(new) - thermometer.read(old)
                kelvin.add(change if thermometer.whole else change[np.isfinite(change)])
        farthest = Spot(float(source[own.place[1], own.place[0]]), *own.place)
        spots = (before.hottest, after.hottest, before.coldest, after.coldest)
        noise = estimate_noise(source, numbers.dtype, gaps)
        warmth = _temperatures(numbers, kelvin, thermometer, (farthest.value, own.largest), spots)
    changes = (*own.figures(), own.largest)
    return Fidelity(
        numbers.unit, before.pixels, *changes, farthest, noise, *spots, outside, beyond, *warmth
    )


def estimate_noise(
    source: Values, dtype: np.dtype[Any], gaps: NDArray[np.bool_] | None = None
) -> float:
    """The standard deviation of a picture's noise, in its own unit.

    From the median size of second differences along rows and down columns, the greater of both, so
    that stripes are part of it; edges are too few to count. Never less than what rounding leaves.
    """
    height, width = source.shape
    step = max(1, height * width // NOISE_PIXELS)
    found = [math.sqrt(1 / 12) if dtype.kind in "iu" else 0.0]
    for axis in (0, 1):
        if source.shape[axis] < 3:
            continue
        lines = np.s_[:, ::step] if axis == 0 else np.s_[::step]
        curved = np.diff(source[lines], 2, axis)
        if gaps is not None:
            touched = sum(
                gaps[lines].take(range(at, source.shape[axis] - 2 + at), axis) for at in range(3)
            )
            curved = curved[~np.asarray(touched, bool)]
        if curved.size:
            found.append(float(np.median(np.abs(curved))) / (MEDIAN_SIZE * math.sqrt(6)))
    return max(found)


def as_written(values: Values, dtype: np.dtype[Any]) -> Values:
    """The values as a file of the dtype will hold them, still float32 and of the same shape.

    Integers are rounded half to even and clipped to the dtype's range. Floats are returned as
    they are, without a copy.
    """
    if dtype.kind == "f":
        return values
    limits = np.iinfo(dtype)
    rounded: Values = np.rint(values)
    return np.clip(rounded, limits.min, limits.max, out=rounded)


def _temperatures(
    numbers: Numbers,
    kelvin: _Changes,
    thermometer: _Thermometer | None,
    farthest: tuple[float, float],
    spots: tuple[Spot, ...],
) -> tuple[float | None, ...]:
    """The last eight of a `Fidelity`; `farthest` is the pixel that changed most, and by what."""
    if thermometer is None or not kelvin.pixels:
        return (None,) * 8
    old = float(as_written(np.array(farthest[:1], np.float32), numbers.dtype)[0])
    values = [old, old + farthest[1], *(spot.value for spot in spots)]
    cold, warm, *degrees = thermometer.read(np.array(values, np.float32)).tolist()
    known = [float(t) if np.isfinite(t) else None for t in (warm - cold, *degrees)]
    return (*kelvin.figures(), *known)


class _Extremes:
    """The least and the greatest value and where they first lie, in row order."""

    def __init__(self) -> None:
        self.pixels = 0
        self.hottest = Spot(-np.inf, 0, 0)
        self.coldest = Spot(np.inf, 0, 0)

    def add(self, band: Values, rows: slice, kept: NDArray[np.bool_] | None) -> None:
        flat = _measured(band, kept)
        if not flat.size:
            return
        self.pixels += flat.size
        for at in (int(flat.argmax()), int(flat.argmin())):
            value = float(flat[at])
            if value > self.hottest.value:
                self.hottest = _spot(value, at, band.shape[1], rows, kept)
            if value < self.coldest.value:
                self.coldest = _spot(value, at, band.shape[1], rows, kept)


class _Changes:
    """Mean, mean size and 99.9th percentile of the size of changes that come in bands.

    The percentile needs only the largest thousandth, so no more than that is held for long.
    """

    def __init__(self, pixels: int) -> None:
        self.pixels = 0
        self._total = self._sizes = 0.0
        self._most = pixels // RARE + 1
        self._held: list[Values] = []
        self._count = 0
        self._floor = np.float32(-1)  # the least that is held, once there are enough
        self.largest, self.place = 0.0, (0, 0)  # and its column and row

    def add(
        self,
        change: Values,
        width: int = 0,
        rows: slice = slice(0, 0),
        kept: NDArray[np.bool_] | None = None,
    ) -> None:
        """Changes `(N,)`, overwritten; and where they are, for whoever asks for the place."""
        self.pixels += change.size
        if change.size and width:
            at = max((int(change.argmax()), int(change.argmin())), key=lambda i: abs(change[i]))
            if abs(change[at]) > abs(self.largest) or self.pixels == change.size:
                spot = _spot(0.0, at, width, rows, kept)
                self.largest, self.place = float(change[at]), (spot.x, spot.y)
        self._total += float(change.sum(dtype=np.float64))
        np.abs(change, out=change)
        self._sizes += float(change.sum(dtype=np.float64))
        large = change[~(change <= self._floor)]  # what is no number among them
        self._held.append(large)
        self._count += large.size
        if self._count >= 2 * self._most:
            held = self._largest(self._most)
            self._held, self._count, self._floor = [held], held.size, held[0]

    def figures(self) -> tuple[float, float, float]:
        """`mean_shift`, `mean_change` and `p999_change`."""
        last = self._largest(self.pixels // RARE + 1)[0]
        return self._total / self.pixels, self._sizes / self.pixels, float(last)

    def _largest(self, number: int) -> Values:
        """So many of the largest, the least of them first."""
        held = np.concatenate(self._held)
        largest: Values = np.partition(held, held.size - number)[held.size - number :]
        return largest


class _Thermometer:
    """Temperatures of written values: of whole counts from a table, else one by one."""

    def __init__(self, planck: Planck, table: tuple[float, float] | None) -> None:
        self._planck = planck
        self._low = np.float32(table[0] if table else 0)
        self._table: Values | None = None
        self.whole = False  # whether every value has a temperature
        if table:
            self._table = self._celsius(np.arange(table[0], table[1] + 1, dtype=np.float32))
            self.whole = bool(np.isfinite(self._table).all())

    def read(self, values: Values) -> Values:
        """Degrees Celsius `(N,)`; NaN where the calibration makes none of a value."""
        if self._table is None:
            return self._celsius(values)
        return self._table.take((values - self._low).astype(np.intp))

    def _celsius(self, values: Values) -> Values:
        degrees: Values = self._planck.celsius(values[None])[0]
        return degrees


def _thermometer(numbers: Numbers, low: float, high: float) -> _Thermometer | None:
    if numbers.planck is None:
        return None
    return _Thermometer(numbers.planck, (low, high) if numbers.dtype.kind != "f" else None)


def _bands(
    shape: tuple[int, ...], gaps: NDArray[np.bool_] | None
) -> Iterator[tuple[slice, NDArray[np.bool_] | None]]:
    """Bands of rows, each with the mask of what was measured in it; None where all was."""
    step = max(1, BAND_PIXELS // shape[1])
    for start in range(0, shape[0], step):
        rows = slice(start, start + step)
        yield rows, None if gaps is None else ~gaps[rows]


def _measured(band: Values, kept: NDArray[np.bool_] | None) -> Values:
    """The measured pixels of a band in row order, `(N,)`."""
    return band.ravel() if kept is None else band[kept]


def _spot(value: float, at: int, width: int, rows: slice, kept: NDArray[np.bool_] | None) -> Spot:
    """The place of the `at`-th measured pixel of a band."""
    place = at if kept is None else int(np.flatnonzero(kept)[at])
    return Spot(value, place % width, rows.start + place // width)


def _plain(value: float) -> float | None:
    """The shortest number that is the same float32; None where it is none."""
    return float(str(np.float32(value))) if np.isfinite(value) else None


def _signed(value: float, places: int) -> str:
    """So many decimals with a sign, never "-0"."""
    return f"{round(value, places) + 0.0:+.{places}f}"
