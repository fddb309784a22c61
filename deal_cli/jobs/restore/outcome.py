"""What became of each file that was to be restored, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from deal_cli.engine.backends.contract import Facts
from deal_cli.engine.fidelity.measure import Fidelity
from deal_cli.engine.fixed_pattern.estimate import Finding
from deal_cli.engine.ranges import LITTLE
from deal_cli.errors import DealError
from deal_cli.jobs.batch.plan import STREAM, Item
from deal_cli.jobs.flight.flight import Flown, Kind
from deal_cli.jobs.page.pack import Packed, Unshown


@dataclass(frozen=True)
class Summary:
    """What is worth saying of a restored picture or clip.

    Attributes:
        width: in pixels, as written.
        height: in pixels, as written.
        dtype: as written.
        kind: what it shares with others of its flight.
        range: the source values that the network saw as 0 and 1.
        tone: the map applied, if any.
        fidelity: how far it is from its source; of a clip, over all its frames.
        finding: what was found of its sequence's fixed pattern, where somebody looked.
        frames: of a clip; None of a picture.
        shown: for a report, the picture before and after, or some frames of a clip.
        used: how much of its range the source uses, 0 to 1; None where the range is measured.
        absent: which pixels hold no measurement though the file does not say so, in words.
    """

    width: int
    height: int
    dtype: str
    kind: Kind
    range: tuple[float, float]
    tone: dict[str, float] | None
    fidelity: Fidelity | None
    finding: Finding | None = None
    frames: int | None = None
    shown: tuple[Packed | Unshown, ...] = ()
    used: float | None = None
    absent: str | None = None

    @property
    def faint(self) -> bool:
        """Whether the picture uses little of its range, and was left so."""
        return self.tone is None and self.used is not None and self.used < LITTLE

    def __str__(self) -> str:
        low, high = self.range
        frames = "" if self.frames is None else f"{self.frames} frames "
        kept = "tone kept" if self.tone is None else "gain {gain:.2f} offset {offset:+.2f}"
        size = f"{frames}{self.width}x{self.height} {self.dtype}, range {low:g}:{high:g}, "
        told = size + kept.format(**self.tone or {})
        told = told if self.absent is None else f"{told}, without {self.absent}"
        return told if self.fidelity is None else f"{told}, {self.fidelity}"


@dataclass(frozen=True)
class Outcome:
    """What became of one input.

    Attributes:
        item: what was read, and where it went.
        status: "restored"; "skipped", the output existed; "failed" with an error; or "planned",
            when nothing is done but told.
        error: of a failed one.
        summary: of a restored one.
        seconds: its own time: reading, its share of the inference, writing.
    """

    item: Item
    status: Literal["restored", "skipped", "failed", "planned"]
    error: DealError | None = None
    summary: Summary | None = None
    seconds: float = 0.0

    def to_json(self, facts: Facts | None) -> dict[str, Any]:
        """One row; `facts` are those of the backend, when one was opened."""
        done = self.summary
        return {
            "input": str(self.item.source or STREAM),
            "output": str(self.item.target or STREAM),
            "status": self.status,
            "error": str(self.error) if self.error else None,
            "frames": done.frames if done else None,
            "width": done.width if done else None,
            "height": done.height if done else None,
            "dtype": done.dtype if done else None,
            "backend": facts.backend if facts else None,
            "precision": facts.precision if facts else None,
            "weights_sha256": facts.sha256 if facts else None,
            "range": list(done.range) if done else None,
            "range_used": round(done.used, 4) if done and done.used is not None else None,
            "tone": done.tone if done else None,
            "absent": done.absent if done else None,
            "fixed_pattern": done.finding.to_json() if done and done.finding else None,
            "fidelity": done.fidelity.to_json() if done and done.fidelity else None,
            "seconds": round(self.seconds, 6),
        }

    def flown(self) -> Flown:
        """The row of it in the table of its flight.

        Raises:
            ValueError: it was only planned.
        """
        if self.status == "planned":
            raise ValueError("nothing was done to it")
        done = self.summary
        return Flown(
            str(self.item.source or STREAM),
            self.status,
            self.seconds,
            done.kind if done else None,
            done.fidelity if done else None,
        )
