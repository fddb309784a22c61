"""Restore files: plan every output before any work, then read, restore and write them.

One bad file never stops the others: what failed is reported with its cause, the rest is done.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from deal_cli.config import MAX_PIXELS
from deal_cli.engine.backends import Choice, Request
from deal_cli.engine.contract import Facts
from deal_cli.engine.restorer import Restored, Restorer, Settings, open_restorer
from deal_cli.errors import DealError, UsageError
from deal_cli.imaging.files import (
    check_target,
    decode,
    encode,
    read_frame,
    remove_remains,
    suffix_for,
    write_frame,
)
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.resize import SCALES, enlarge
from deal_cli.imaging.whole import exists, make_folder
from deal_cli.jobs.pipeline import Passed, overlapped
from deal_cli.jobs.plan import STREAM, Item, plan_items


@dataclass(frozen=True)
class RestoreRequest:
    """What to restore, how, and where to.

    Attributes:
        inputs: files, folders, patterns, lists or `-` (see `plan_items`).
        out: a folder, a file or `-`.
        engine: backend and weights.
        settings: range, tone, strength.
        scale: 1, 2 or 4: bicubic enlargement before restoring.
        luminance: turn false colour into its luminance in place of refusing it.
        recursive: look into the folders below a folder as well.
        overwrite: replace outputs that exist.
        max_pixels: larger pictures are refused before they are decoded.
    """

    inputs: Sequence[str]
    out: str | None
    engine: Request = Request()
    settings: Settings = Settings()
    scale: int = 1
    luminance: bool = False
    recursive: bool = False
    overwrite: bool = False
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True)
class Summary:
    """What is worth saying of a restored picture; `tone` is the map applied, if any."""

    width: int
    height: int
    dtype: str
    range: tuple[float, float]
    tone: dict[str, float] | None

    def __str__(self) -> str:
        low, high = self.range
        kept = "tone kept" if self.tone is None else "gain {gain:.2f} offset {offset:+.2f}"
        size = f"{self.width}x{self.height} {self.dtype}, range {low:g}:{high:g}, "
        return size + kept.format(**self.tone or {})


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
        """One flat row; `facts` are those of the backend, when one was opened."""
        done = self.summary
        return {
            "input": str(self.item.source or STREAM),
            "output": str(self.item.target or STREAM),
            "status": self.status,
            "error": str(self.error) if self.error else None,
            "width": done.width if done else None,
            "height": done.height if done else None,
            "dtype": done.dtype if done else None,
            "backend": facts.backend if facts else None,
            "precision": facts.precision if facts else None,
            "weights_sha256": facts.sha256 if facts else None,
            "range": list(done.range) if done else None,
            "tone": done.tone if done else None,
            "seconds": round(self.seconds, 6),
        }


def plan_batch(request: RestoreRequest) -> tuple[Item, ...]:
    """Every picture to restore, before any work; the backend is not touched.

    Raises:
        UsageError: see `plan_items`; or a scale, strength or range that makes no sense.
    """
    _check_numbers(request)
    return plan_items(
        request.inputs, request.out, recursive=request.recursive, overwrite=request.overwrite
    )


def rehearse(request: RestoreRequest) -> Generator[Outcome]:
    """What a batch would do with every input, as far as can be told without reading it.

    Raises:
        UsageError: see `plan_batch`.
    """
    for item in plan_batch(request):
        if item.error:
            yield Outcome(item, "failed", item.error)
        else:
            skipped = not request.overwrite and exists(item.target)
            yield Outcome(item, "skipped" if skipped else "planned")


def open_batch(request: RestoreRequest) -> Batch:
    """Plan the outputs and load the backend.

    Raises:
        UsageError: see `plan_batch`.
        BackendError: the backend asked for cannot be had.
        WeightsError: the weights are not usable.
    """
    items = plan_batch(request)
    restorer, choice = open_restorer(request.engine, request.settings)
    return Batch(request, items, restorer, choice)


@dataclass(frozen=True)
class Batch:
    """A planned restoration with its backend loaded."""

    request: RestoreRequest
    items: tuple[Item, ...]
    restorer: Restorer
    choice: Choice

    def run(self) -> Generator[Outcome]:
        """Restore the pictures in order, yielding what became of each.

        Raises:
            DealError: what no other picture would survive either, such as a full device.
        """
        for folder in {item.target.parent for item in self.items if item.target}:
            remove_remains(folder)
        for passed in overlapped(
            self.items,
            self._read,
            self.restorer.restore_batch,
            self._write,
            self._capacity,
            self.restorer.abandon,
        ):
            yield _outcome(passed)

    def _read(self, item: Item) -> Frame | None:
        """The picture to restore, enlarged; None when its output exists."""
        if item.error:
            raise item.error
        if not self.request.overwrite and exists(item.target):
            return None
        luminance, limit = self.request.luminance, self.request.max_pixels
        if item.source is None:
            frame = decode(self._stdin, STREAM, luminance=luminance, max_pixels=limit)
        else:
            frame = read_frame(item.source, luminance=luminance, max_pixels=limit)
        check_target(frame, item.target or self._suffix(item))
        return enlarge(frame, self.request.scale, max_pixels=limit)

    def _write(self, item: Item, restored: Restored) -> Summary:
        frame, tone = restored.frame, restored.tone
        if item.target is None:
            sys.stdout.buffer.write(encode(frame, self._suffix(item)))
            sys.stdout.buffer.flush()
        else:
            make_folder(item.target.parent)
            write_frame(frame, item.target)
        applied = {"gain": tone.gain, "offset": tone.offset, "gamma": tone.gamma} if tone else None
        return Summary(frame.width, frame.height, frame.dtype.name, restored.range, applied)

    def _capacity(self, frame: Frame) -> int:
        return self.restorer.capacity(frame.height, frame.width)

    def _suffix(self, item: Item) -> str:
        """The format for standard output: the input's own."""
        if item.source is None:
            return suffix_for(self._stdin)
        with item.source.open("rb") as stream:
            return suffix_for(stream.read(64))

    @cached_property
    def _stdin(self) -> bytes:
        return sys.stdin.buffer.read()


def _outcome(passed: Passed[Item, Summary]) -> Outcome:
    item, error = passed.item, passed.error
    if error is not None:
        if error.file is None:
            error.file = item.source or STREAM
        return Outcome(item, "failed", error, seconds=passed.seconds)
    if passed.kept is None:
        return Outcome(item, "skipped", seconds=passed.seconds)
    return Outcome(item, "restored", None, passed.kept, passed.seconds)


def _check_numbers(request: RestoreRequest) -> None:
    """Make sure that scale, strength, range and limit make sense.

    Raises:
        UsageError: one does not.
    """
    settings = request.settings
    if request.scale not in SCALES:
        raise UsageError(f"a scale of {request.scale}", remedy="--scale takes 1, 2 or 4")
    if not 0.0 <= settings.strength <= 1.0:
        raise UsageError(f"a strength of {settings.strength}", remedy="--strength takes 0 to 1")
    if request.max_pixels < 1:
        raise UsageError(f"a limit of {request.max_pixels}", remedy="--max-pixels takes 1 and more")
    if isinstance(settings.range, tuple):
        low, high = settings.range
        if not (low < high and math.isfinite(high - low)):
            raise UsageError(
                f"a range of {low:g}:{high:g}", remedy="--range takes two numbers, LO below HI"
            )
