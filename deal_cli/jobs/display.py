"""What a person sees while a job runs, on stderr; nothing when stderr is not a terminal."""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import sys
import time
import traceback
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from deal_cli.errors import OutputError, PictureError, UsageError
from deal_cli.jobs.flight.flight import Flight
from deal_cli.jobs.train.budget import spoken

if TYPE_CHECKING:
    from deal_cli.engine.backends.contract import Facts
    from deal_cli.jobs.degrade.run import Outcome as DegradeOutcome
    from deal_cli.jobs.restore.outcome import Outcome, Summary
    from deal_cli.jobs.train.views import Plan

REFUSALS = (PictureError, OutputError, UsageError)  # their line tells all there is to know
CAUSES = 5  # kinds of failure named in a summary
LEAST_WIDTH = 100  # characters of the table of a flight, where a terminal or a log has fewer


class Display:
    """A progress bar with lines of text above it."""

    def __init__(self, *, quiet: bool = False) -> None:
        # Paths are printed as they are, whatever they are called: ":fire:.png", "[/a].png".
        self._console = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._progress.add_task("", total=None)
        self._frames: tuple[str, TaskID] | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """One unwrapped line."""
        self._console.print(text, markup=False)

    @property
    def width(self) -> int:
        """Characters of a line."""
        return self._console.width

    def progress(self, done: int, total: int | None, description: str = "") -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done, total=total, description=description)

    def frames(self, done: int, total: int | None, description: str) -> None:
        """Move the bar of the frames of one file, below that of the files.

        Args:
            done: frames so far.
            total: of the file, as far as it is known.
            description: the file and what happens to it; another one begins another bar.
        """
        if self._frames is None or self._frames[0] != description:
            self.close_frames()
            self._frames = description, self._progress.add_task(description, total=total)
        self._progress.update(self._frames[1], completed=done, total=total)

    def close_frames(self) -> None:
        """Take away the bar of the frames, when their file is done."""
        if self._frames is not None:
            self._progress.remove_task(self._frames[1])
            self._frames = None


class _Rate(ProgressColumn):
    """How many a second, over the last while."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g}/s")


class RestoreReport:
    """A batch as it goes: errors and the summary on stderr, rows or a rehearsal on stdout."""

    def __init__(self, display: Display, *, as_json: bool, quiet: bool, verbose: bool) -> None:
        self._display = display
        self._as_json, self._quiet, self._verbose = as_json, quiet, verbose
        self._counts: Counter[str] = Counter()
        self._causes: Counter[str] = Counter()
        self._flight = Flight()
        self._pictures = 0  # restored, frames of clips among them
        self._unmoved = self._faint = 0  # files
        self._absent: list[tuple[Outcome, str]] = []

    @property
    def failed(self) -> int:
        """How many files failed so far."""
        return self._counts["failed"]

    def follow(
        self, outcomes: Generator[Outcome], total: int | None = None, facts: Facts | None = None
    ) -> None:
        """Report every outcome, and the batch as a whole at its end."""
        started = time.monotonic()
        self._display.progress(0, total)
        with contextlib.closing(outcomes):
            for done, outcome in enumerate(outcomes, 1):
                self._report(outcome, facts)
                self._display.close_frames()
                self._display.progress(done, total, str(outcome.item.source or "-"))
        if self._quiet or self._counts["planned"]:
            return
        if self._counts["restored"]:
            for line in self._flight.lines(max(self._display.width, LEAST_WIDTH)):
                self._display.say(line)
        for line in self._summary(time.monotonic() - started):
            self._display.say(line)

    def _report(self, outcome: Outcome, facts: Facts | None) -> None:
        self._counts[outcome.status] += 1
        if outcome.status != "planned":
            self._flight.add(outcome.flown())
        if outcome.summary is not None:
            self._count(outcome, outcome.summary)
        if self._as_json:
            _print(json.dumps(outcome.to_json(facts)))
        elif facts is None and outcome.error is None:  # a rehearsal
            exists = " (exists, skipped)" if outcome.status == "skipped" else ""
            _print(f"{outcome.item.source or '-'} -> {outcome.item.target or '-'}{exists}")
        if outcome.error is not None:
            self._causes[outcome.error.cause] += 1
            self._display.say(f"deal: {outcome.error}")
            if self._verbose and not isinstance(outcome.error, REFUSALS):
                lines = traceback.format_exception(outcome.error.__cause__ or outcome.error)
                self._display.say("".join(lines).rstrip())
        elif self._verbose:
            told = outcome.summary or "exists"
            seconds, output = outcome.seconds, outcome.item.target or "-"
            self._display.say(f"{output}: {outcome.status}, {told}, {seconds:.2f} s")

    def _count(self, outcome: Outcome, summary: Summary) -> None:
        self._pictures += summary.frames or 1
        self._unmoved += summary.fidelity is not None and not summary.fidelity.moved
        self._faint += summary.faint
        if summary.absent is not None:
            self._absent.append((outcome, summary.absent))

    def _summary(self, seconds: float) -> list[str]:
        """A line for each thing that became of pictures: how many, and what is worth knowing."""
        frames = f"{self._pictures} frames, " if self._pictures != self._counts["restored"] else ""
        done = f"{frames}{seconds:.1f} s, {self._pictures / seconds:.3g} a second"
        if self._unmoved:
            done += f"; {self._unmoved} left as they were, nothing moved beyond rounding"
        return [*self._remarks(), *_counted(self._counts, self._causes, {"restored": done})]

    def _remarks(self) -> Iterator[str]:
        """What a user may want to do differently, a line a kind."""
        files = self._counts["restored"]
        if self._faint:
            yield (
                f"deal: {self._faint} of {files} use little of their range, as they did:"
                " --tone restore stretches them"
            )
        if self._absent:
            first, what = self._absent[0]
            others = len(self._absent) - 1
            more = f" (and in {others} more)" if others else ""
            yield (
                f"deal: {first.item.source or '-'}{more}: {what} taken for no measurement and left"
                " as they are; --nodata none if they are one"
            )


class DegradeReport:
    """Degraded pictures as they come: errors and the summary on stderr, rows on stdout."""

    def __init__(self, display: Display, *, as_json: bool, quiet: bool) -> None:
        self._display = display
        self._as_json, self._quiet = as_json, quiet
        self._counts: Counter[str] = Counter()
        self._causes: Counter[str] = Counter()
        self._psnr: list[float] = []

    @property
    def failed(self) -> int:
        """How many pictures failed so far."""
        return self._counts["failed"]

    def follow(self, outcomes: Generator[DegradeOutcome], total: int) -> None:
        """Report every outcome, and all of them at the end."""
        started = time.monotonic()
        with contextlib.closing(outcomes):
            for done, outcome in enumerate(outcomes, 1):
                self._report(outcome)
                self._display.progress(done, total, str(outcome.task.target))
        if not self._quiet:
            seconds = time.monotonic() - started
            mean = f"mean PSNR {statistics.fmean(self._psnr):.2f} dB, " if self._psnr else ""
            note = f"{mean}{seconds:.1f} s"
            for line in _counted(self._counts, self._causes, {"degraded": note}):
                self._display.say(line)

    def _report(self, outcome: DegradeOutcome) -> None:
        self._counts[outcome.status] += 1
        if self._as_json:
            _print(json.dumps(outcome.to_json()))
        if outcome.error is not None:
            self._causes[outcome.error.cause] += 1
            self._display.say(f"deal: {outcome.error}")
        if outcome.summary is not None and math.isfinite(outcome.summary.psnr):
            self._psnr.append(outcome.summary.psnr)


def _counted(counts: Mapping[str, int], causes: Counter[str], done: Mapping[str, str]) -> list[str]:
    """A line for each thing that became of pictures: how many, and what is worth knowing."""
    common = causes.most_common(CAUSES)
    told = ", ".join(f"{n} {cause}" if len(common) > 1 else cause for cause, n in common)
    notes = {
        **done,
        "skipped": "they exist; --overwrite replaces them",
        "failed": told + (", …" if len(causes) > CAUSES else ""),
    }
    return [f"{counts[key]:7}  {key:8}  {note}" for key, note in notes.items() if counts[key]]


def _print(line: str) -> None:
    """One line on stdout, at once.

    Raises:
        OutputError: nobody reads it.
    """
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError as error:
        # What is left in the buffer must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        remedy = "finished files are whole; read it to its end"
        raise OutputError("nobody reads stdout any more", remedy=remedy) from error


class TrainDisplay(Display):
    """A running training: what it will do, then loss and PSNR beside the bar."""

    _psnr = ""
    first = False  # whether this is the process that talks

    def preparing(self, what: str) -> None:
        """Before something that takes its time and comes before the first step."""
        self.progress(0, None, what)

    def gauge_began(self, crops: int) -> None:
        """Before the plan, where a new gauge learns from so many crops first."""
        self.say(f"deal: the gauge learns to read severities, from {crops} crops")

    def planned(self, plan: Plan) -> None:
        """Before the first step."""
        self.first = True
        config, active = plan.config, plan.config.adversary.active(plan.config.steps)
        self.say(f"deal: {plan.pictures} pictures to train on; {plan.split}")
        several = f" in each of {plan.processes} processes" if plan.processes > 1 else ""
        number = "1 crop" if config.batch == 1 else f"{config.batch} crops"
        crops = f"{number} of {config.crop} pixels{several}"
        steps = f"{config.steps - plan.done} of {config.steps}" if plan.done else config.steps
        self.say(f"deal: {steps} steps of {crops}, from {plan.start}")
        if active:
            phases = f"{active.start} to warm up, {len(active)} against the adversary"
            self.say(f"deal: {phases}, {config.steps - active.stop} to close")
        if plan.seconds is not None:
            self.say(f"deal: about {spoken(plan.seconds)} on {plan.device}")

    def step(self, step: int, steps: int, loss: float, rate: float) -> None:
        """After every step; `rate` in images a second."""
        self.progress(step, steps, f"loss {loss:.4f}  {rate:.0f} images/s{self._psnr}")

    def validated(self, step: int, score: float, psnr: Mapping[str, float], best: bool) -> None:
        """After every validation; PSNR in dB."""
        self._psnr = f"  {score:.2f} dB"
        tasks = "  ".join(f"{task} {value:.1f}" for task, value in psnr.items())
        self.say(f"step {step}: {score:.2f} dB{' (best)' if best else ''}  {tasks}")

    def stopped(self, step: int, folder: Path) -> None:
        """After an interruption, when everything is kept."""
        self.say(f"deal: {folder} is kept as of step {step}; --resume goes on from there")

    def finished(self, best: int) -> None:
        """After the last step: which one the best weights are of."""
        if best == 0:
            self.say("deal: no step scored above the weights it started from: best/ holds those")
