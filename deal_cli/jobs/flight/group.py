"""One row of a flight's table: files of one kind, added up as they come.

Figures are read in kelvin and °C where the files say how counts become temperatures, and in the
files' own unit elsewhere; a row never mixes the two. Digits are those that mean something.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from deal_cli.engine.fidelity.measure import Fidelity, Spot, Unit

NOTABLE_GREY = 1.0  # grey levels by which the mean of an 8-bit picture may move unmentioned
ALARM = 10.0  # times a picture's own noise: a change that is worth a look whatever else
FAR = 1.5  # times the median: a 99.9th percentile that is worth a name
NONE = "–"
STEPS = {Unit.GREY: "levels", Unit.COUNTS: "counts", Unit.OWN: "", Unit.CELSIUS: "K"}
LEVELS = {**STEPS, Unit.CELSIUS: "°C"}
PLACES = {Unit.CELSIUS: (3, 2, 1)}  # decimals of a shift, a change, a level
WHOLE = (2, 0, 0)


Reasons = list[tuple[str, str]]  # a file's name, and why it stands out


@dataclass(frozen=True)
class Seen:
    """A file's fidelity as a thermographer reads it.

    Attributes:
        name: the file's.
        unit: `CELSIUS` wherever all temperatures are known, else the file's own.
        shift: `mean_shift` in that unit, as `change`, its `p999_change`, and `largest`.
        largest_at: where the largest change is.
        alarm: the largest change in units of the picture's own noise.
        hottest: before and after, as `coldest`.
        hottest_at: where that was before, as `coldest_at`.
        outside: pixels outside the source's range; `beyond` by how much in the file's own unit.
    """

    name: str
    unit: Unit
    shift: float
    change: float
    largest: float
    largest_at: Spot
    alarm: float
    hottest: tuple[float, float]
    coldest: tuple[float, float]
    hottest_at: Spot
    coldest_at: Spot
    outside: int
    beyond: float

    @classmethod
    def of(cls, name: str, told: Fidelity) -> Seen:
        """The figures that a person wants of these."""
        warm = (
            *(told.mean_shift_k, told.p999_change_k, told.largest_change_k),
            *(told.hottest_before_c, told.hottest_after_c),
            *(told.coldest_before_c, told.coldest_after_c),
        )
        spots = (
            *(told.hottest_before, told.hottest_after),
            *(told.coldest_before, told.coldest_after),
        )
        figures = [figure for figure in warm if figure is not None]
        unit = Unit.CELSIUS
        if len(figures) < len(warm):
            figures = [told.mean_shift, told.p999_change, told.largest_change]
            figures += [spot.value for spot in spots]
            unit = told.unit
        shift, change, largest, hot, hot_after, cold, cold_after = figures
        return cls(
            name,
            unit,
            shift,
            change,
            largest,
            told.largest_at,
            abs(told.largest_change) / told.noise if told.noise else 0.0,
            (hot, hot_after),
            (cold, cold_after),
            told.hottest_before,
            told.coldest_before,
            told.outside,
            told.beyond,
        )

    @property
    def shifts(self) -> bool:
        """Whether the mean moved by more than nothing: than a step of what is shown, or a level."""
        if self.unit is Unit.GREY:
            return abs(self.shift) > NOTABLE_GREY
        return float(self.shift_text()) != 0

    @property
    def moves(self) -> bool:
        """Whether one sees that the hottest spot changed."""
        before, after = self.hottest_text().split(" → ")
        return before != after

    def shift_text(self) -> str:
        """A text such as "+0.003": thousandths of a kelvin, hundredths of a count."""
        return _signed(self.shift, self.unit)

    def change_text(self) -> str:
        """A text such as "0.84": hundredths of a kelvin, whole counts."""
        return _rounded(self.change, 1, self.unit)

    def largest_text(self) -> str:
        """A text such as "-8.67": hundredths of a kelvin, whole counts, with its sign."""
        text = _rounded(self.largest, 1, self.unit)
        return text if text.startswith("-") or float(text) == 0 else f"+{text}"

    def hottest_text(self) -> str:
        """A text such as "84.2 → 83.9": tenths of a degree, whole counts."""
        return " → ".join(_rounded(end, 2, self.unit) for end in self.hottest)

    def coldest_text(self) -> str:
        """Likewise."""
        return " → ".join(_rounded(end, 2, self.unit) for end in self.coldest)


@dataclass
class _Pick:
    """The file that is foremost in something; the first of several."""

    rank: float = -math.inf
    seen: Seen | None = None

    def offer(self, rank: float, seen: Seen) -> None:
        if rank > self.rank:
            self.rank, self.seen = rank, seen


@dataclass
class Group:
    """The files of one row; `unit` is that of their figures, None for files without any."""

    unit: Unit | None
    files: int = 0
    seconds: float = 0.0
    _measured: int = 0
    _outside: int = 0
    _shifts: float = 0.0  # their sum
    _changes: Counter[float] = field(default_factory=Counter)  # to four digits
    _shift: _Pick = field(default_factory=_Pick)
    _change: _Pick = field(default_factory=_Pick)
    _largest: _Pick = field(default_factory=_Pick)
    _alarm: _Pick = field(default_factory=_Pick)
    _hottest: _Pick = field(default_factory=_Pick)
    _coldest: _Pick = field(default_factory=_Pick)
    _moved: _Pick = field(default_factory=_Pick)
    _beyond: _Pick = field(default_factory=_Pick)

    def add(self, seconds: float, seen: Seen | None = None) -> None:
        """One more file, which took so long."""
        self.files += 1
        self.seconds += seconds
        if seen is None:
            return
        self._measured += 1
        self._outside += seen.outside
        self._shifts += seen.shift
        self._changes[float(f"{seen.change:.4g}")] += 1
        self._shift.offer(abs(seen.shift), seen)
        self._change.offer(seen.change, seen)
        self._largest.offer(abs(seen.largest), seen)
        self._alarm.offer(seen.alarm, seen)
        self._hottest.offer(seen.hottest[0], seen)
        self._coldest.offer(-seen.coldest[0], seen)
        self._moved.offer(abs(seen.hottest[1] - seen.hottest[0]), seen)
        if seen.outside:
            self._beyond.offer(seen.beyond, seen)

    def cells(self) -> dict[str, str]:
        """What the row says, by column."""
        cells = dict.fromkeys(
            ("unit", "shift", "change", "largest", "hottest", "coldest", "outside"), NONE
        )
        cells |= {"files": f"{self.files:,}", "s": f"{self.seconds:.1f}"}
        if self.unit is None or not (self._shift.seen and self._change.seen):
            return cells
        shift = _signed(self._shifts / self._measured, self.unit)
        change = _rounded(self._median(), 1, self.unit)
        if self._measured > 1:
            shift += f" ({self._shift.seen.shift_text()})"
            change += f" ({self._change.seen.change_text()})"
        cells |= {"unit": LEVELS[self.unit] or NONE, "shift": shift, "change": change}
        if self._largest.seen:
            cells["largest"] = self._largest.seen.largest_text()
        if self._hottest.seen and self._coldest.seen:
            cells["hottest"] = self._hottest.seen.hottest_text()
            cells["coldest"] = self._coldest.seen.coldest_text()
        return cells | {"outside": f"{self._outside:,}"}

    def alarm(self) -> tuple[float, str, str] | None:
        """The file whose largest change is farthest above its own noise, if far: how far, why."""
        seen = self._alarm.seen
        if seen is None or self.unit is None or self._alarm.rank <= ALARM:
            return None
        step = f" {STEPS[self.unit]}".rstrip()
        text = f"changed by {seen.largest_text()}{step} at {_place(seen.largest_at)}"
        return self._alarm.rank, seen.name, f"{text}, {self._alarm.rank:.0f} times its own noise"

    @property
    def ends(self) -> tuple[float, float] | None:
        """Its hottest and its coldest; None where nothing was measured."""
        hottest, coldest = self._hottest.seen, self._coldest.seen
        return (hottest.hottest[0], coldest.coldest[0]) if hottest and coldest else None

    def notable(self, hottest_of_all: bool = True, coldest_of_all: bool = True) -> Reasons:
        """Names of files that stand out of several, and why; of 8 bits only a moved mean.

        Args:
            hottest_of_all: whether no other row of this unit has a hotter file.
            coldest_of_all: likewise.
        """
        if self._measured < 2 or self.unit is None:
            return []
        step, level = (f" {word[self.unit]}".rstrip() for word in (STEPS, LEVELS))
        grey = self.unit is Unit.GREY
        told: Reasons = []
        hottest, coldest, moved = self._hottest.seen, self._coldest.seen, self._moved.seen
        if hottest and hottest_of_all and not grey:
            text = f"{hottest.hottest_text()}{level} at {_place(hottest.hottest_at)}"
            told.append((hottest.name, f"hottest of all, {text}"))
        if moved and moved is not hottest and moved.moves and not grey:
            text = f"{moved.hottest_text()}{level} at {_place(moved.hottest_at)}"
            told.append((moved.name, f"its hottest spot moved most, {text}"))
        if coldest and coldest_of_all and not grey:
            text = f"{coldest.coldest_text()}{level} at {_place(coldest.coldest_at)}"
            told.append((coldest.name, f"coldest of all, {text}"))
        if (shift := self._shift.seen) and shift.shifts:
            told.append((shift.name, f"mean shift {shift.shift_text()}{step}"))
        if (change := self._change.seen) and change.change > FAR * self._median() and not grey:
            told.append((change.name, f"99.9 % within {change.change_text()}{step}"))
        if (beyond := self._beyond.seen) and not grey:
            noun = "pixel" if beyond.outside == 1 else "pixels"
            told.append((beyond.name, f"{beyond.outside:,} {noun} outside its range"))
        return told

    def _median(self) -> float:
        """The lower median of the 99.9th percentiles."""
        passed = 0
        for value in sorted(self._changes):
            passed += self._changes[value]
            if 2 * passed >= self._measured:
                return value
        raise AssertionError("a median of nothing")


def _place(spot: Spot) -> str:
    return f"{spot.x},{spot.y}"


def _signed(value: float, unit: Unit) -> str:
    text = _rounded(value, 0, unit)
    return text if text.startswith("-") or float(text) == 0 else f"+{text}"


def _rounded(value: float, what: int, unit: Unit) -> str:
    """In its `PLACES`, never "-0"; some figures where nobody knows what a step is worth."""
    if unit is Unit.OWN:
        return f"{value:.5g}" if what == 2 else f"{value:.3g}"
    places = PLACES.get(unit, WHOLE)[what]
    return f"{round(value, places) + 0.0:.{places}f}"
