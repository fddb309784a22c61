"""What a whole flight shows at its end: a line for each kind of picture, and whom to look at.

Four hundred rows are read by nobody. Here they are added up as they come: how far the pictures
moved, what became of the hottest and the coldest spot, and which few files stand out, by name.
Nothing is kept of a file but what it adds, so ten thousand take no more memory than a hundred.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from deal_cli.engine.fidelity.measure import Fidelity, Numbers, Unit
from deal_cli.imaging.frame import Frame
from deal_cli.jobs.flight.group import Group, Reasons, Seen

if TYPE_CHECKING:
    from rich.table import Table

WIDTH = 120  # characters that the table may take
ROWS = 12  # kinds of picture with a row of their own; further sizes share one
LISTED = 8  # files named below the table
OTHER_SIZES = "other sizes"
SPARED = (
    "s",
    "coldest",
    "outside",
    "largest",
)  # columns left out, in this order, where a line is too long
TITLES = {
    "kind": "kind",
    "files": "files",
    "unit": "unit",
    "shift": "mean shift\n(worst)",
    "change": "99.9 % within\n(worst)",
    "largest": "largest\nchange",
    "hottest": "hottest\nbefore → after",
    "coldest": "coldest\nbefore → after",
    "outside": "pixels\noutside",
    "s": "s",
}


@dataclass(frozen=True)
class Kind:
    """What pictures have in common that share a row: "FLIR counts", "8-bit"; "640x512"."""

    name: str
    size: str

    @classmethod
    def of(cls, frame: Frame) -> Kind:
        """The kind of a frame: camera, video or depth, and width by height."""
        size, radiometry = f"{frame.width}x{frame.height}", frame.metadata.radiometry
        if radiometry is not None:
            return cls(f"{radiometry.maker} {Numbers.of(frame).unit}", size)
        if frame.metadata.moment is not None:
            return cls("video", size)
        plain = {"uint8": "8-bit", "uint16": "16-bit"}
        return cls(plain.get(frame.dtype.name, frame.dtype.name), size)

    def __str__(self) -> str:
        return f"{self.name} {self.size}".strip()


@dataclass(frozen=True)
class Flown:
    """One file of the flight.

    Attributes:
        name: by which a person finds it.
        status: what became of it.
        seconds: its own time.
        kind: of a restored one.
        fidelity: of a restored one that holds any measurement.
    """

    name: str
    status: Literal["restored", "skipped", "failed"]
    seconds: float = 0.0
    kind: Kind | None = None
    fidelity: Fidelity | None = None


class Flight:
    """The files of a run, added up."""

    def __init__(self) -> None:
        self._groups: dict[tuple[Kind, Unit | None], Group] = {}
        self._others: dict[str, Group] = {}  # by status: skipped, failed

    def add(self, flown: Flown) -> None:
        """One more file."""
        if flown.status != "restored":
            self._others.setdefault(flown.status, Group(None)).add(flown.seconds)
            return
        seen = None if flown.fidelity is None else Seen.of(flown.name, flown.fidelity)
        key = flown.kind or Kind("pictures", ""), None if seen is None else seen.unit
        if key not in self._groups and len(self._groups) >= ROWS:
            key = Kind(key[0].name, OTHER_SIZES), key[1]
        self._groups.setdefault(key, Group(key[1])).add(flown.seconds, seen)

    def table(self, width: int = WIDTH) -> Table:
        """The flight as a table for a terminal of so many characters.

        Columns that do not fit are left out, `SPARED` says which.
        """
        from rich.console import Console

        console = Console(width=10 * WIDTH, file=io.StringIO())
        for spared in range(len(SPARED) + 1):
            made = self._table(SPARED[:spared])
            if console.measure(made).maximum <= width:
                break
        return made

    def lines(self, width: int = WIDTH) -> list[str]:
        """The table as text, and below it a short list of the files to look at first."""
        from rich.console import Console

        console = Console(
            width=10 * WIDTH, file=io.StringIO(), color_system=None, legacy_windows=False
        )
        with console.capture() as captured:
            console.print(self.table(width))
        text = [line.rstrip() for line in captured.get().splitlines()]
        return [line for line in text if line] + self._notable()

    def _table(self, spared: tuple[str, ...]) -> Table:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        made = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        names = [name for name in TITLES if name not in spared]
        for name in names:
            left = name in ("kind", "unit")
            made.add_column(TITLES[name], justify="left" if left else "right", no_wrap=True)
        rows = [(str(kind), group) for (kind, _), group in self._groups.items()]
        for label, group in [*rows, *self._others.items()]:
            cells = {"kind": label, **group.cells()}
            made.add_row(*(Text(cells[name]) for name in names))
        return made

    def _notable(self) -> list[str]:
        """A line for each file that stands out, the reasons beside it."""
        reasons: dict[str, list[str]] = {}
        alarms = [alarm for g in self._groups.values() if (alarm := g.alarm()) is not None]
        for _, name, reason in sorted(alarms, key=lambda alarm: -alarm[0]):
            reasons.setdefault(name, []).append(reason)
        # The first reason of every row before the second of any.
        for ranked in itertools.zip_longest(*self._standing_out()):
            for name, reason in filter(None, ranked):
                reasons.setdefault(name, []).append(reason)
        lines = [f"  {_printable(name)}: {'; '.join(why)}" for name, why in reasons.items()]
        if len(lines) > LISTED:
            lines = [*lines[:LISTED], f"  and {len(lines) - LISTED} more"]
        return ["Look at these first:", *lines] if lines else []

    def _standing_out(self) -> Iterator[Reasons]:
        """What stands out in every row; the hottest and the coldest are those of all rows."""
        ends: dict[Unit | None, list[tuple[float, float]]] = {}
        for (_, unit), group in self._groups.items():
            if group.ends is not None:
                ends.setdefault(unit, []).append(group.ends)
        for (_, unit), group in self._groups.items():
            hottest = group.ends and group.ends[0] == max(hot for hot, _ in ends[unit])
            coldest = group.ends and group.ends[1] == min(cold for _, cold in ends[unit])
            yield group.notable(bool(hottest), bool(coldest))


def _printable(name: str) -> str:
    """A name that no terminal acts on."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in name)
