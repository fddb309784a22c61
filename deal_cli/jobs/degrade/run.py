"""Degrade pictures as the generator N_G would: realistic damage, with a record of what it was.

Every degraded picture has a sidecar (`jobs/degrade/sidecar.py`) that makes the same pixels again. A
picture's random numbers follow from the seed, its name and the number of its copy, so that they
depend neither on the order of the inputs nor on what else is degraded.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deal_cli.engine.backends.choice import Choice, Purpose, choose
from deal_cli.engine.degrader import Degraded, Degrader
from deal_cli.errors import DealError, OutputError, PictureError, UsageError, WeightsError
from deal_cli.imaging.files import (
    check_target,
    encode,
    read_frame,
    remove_remains,
    write_frame,
)
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.whole import exists, make_folder, written_whole
from deal_cli.jobs.batch.pipeline import Passed, overlapped
from deal_cli.jobs.degrade.plan import (
    GENERATOR,
    DegradeRequest,
    Task,
    checksum,
    followed_by,
    plan_tasks,
)
from deal_cli.jobs.degrade.sidecar import Scene, Sidecar, read_sidecar

#: Shares of a whole attack, by name.
SEVERITIES = {"min": 0.02, "low": 0.25, "medium": 0.5, "high": 0.75, "max": 1.0}


@dataclass(frozen=True)
class Summary:
    """What is worth saying of a degraded picture; PSNR in dB, infinite where nothing changed."""

    width: int
    height: int
    dtype: str
    severity: float
    operations: tuple[tuple[str, float], ...]
    psnr: float


@dataclass(frozen=True)
class Outcome:
    """What became of one task.

    Attributes:
        task: what was degraded, and where it went.
        status: "degraded"; "skipped", the output existed; "failed" with an error.
        error: of a failed one.
        summary: of a degraded one.
        seconds: its own time.
    """

    task: Task
    status: Literal["degraded", "skipped", "failed"]
    error: DealError | None = None
    summary: Summary | None = None
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """One flat row; no input is a drawn scene, no PSNR an unchanged picture."""
        task, done = self.task, self.summary
        steps = done.operations if done else ()
        return {
            "input": None if isinstance(task.source, Scene) else str(task.source),
            "output": str(task.target),
            "status": self.status,
            "error": str(self.error) if self.error else None,
            "width": done.width if done else None,
            "height": done.height if done else None,
            "dtype": done.dtype if done else None,
            "severity": done.severity if done else None,
            "operations": [{"operation": name, "severity": s} for name, s in steps],
            "psnr": round(done.psnr, 4) if done and math.isfinite(done.psnr) else None,
            "seconds": round(self.seconds, 6),
        }


def open_batch(request: DegradeRequest) -> Batch:
    """Plan the outputs and load the generator, unless a sidecar takes its place.

    Raises:
        UsageError: what was asked for makes no sense, or see `plan_items`.
        BackendError: the backend asked for cannot be had.
        WeightsError: the generator's weights are not usable.
    """
    followed = followed_by(request)
    severity = _share(request.severity or "medium")
    tasks = plan_tasks(request, followed)
    operations = request.operations
    names = None if operations is None else frozenset(n.strip() for n in operations.split(","))
    choice = choose(request.engine, Purpose.DEGRADATION)
    if followed:
        degrader, sha256 = Degrader(choice.torch_device()), followed.weights_sha256
    else:
        from deal_cli.model.weights import load_generator

        sha256 = _sha256(request.engine.weights)
        degrader = Degrader(choice.torch_device(), load_generator(request.engine.weights))
        degrader.check_operations(names or ())
    return Batch(request, tasks, degrader, choice, severity, names, sha256, followed)


@dataclass(frozen=True)
class Batch:
    """Planned degradations with the generator loaded, or a sidecar to follow."""

    request: DegradeRequest
    tasks: tuple[Task, ...]
    degrader: Degrader
    choice: Choice
    severity: float
    operations: frozenset[str] | None
    sha256: str
    followed: Sidecar | None

    def __str__(self) -> str:
        how = f"{self.choice.kind} backend ({self.choice.reason})"
        if self.followed:
            return f"{how}, replaying {self.request.replay}"
        return f"{how}, weights {Path(self.request.engine.weights).stem} {self.sha256[:12]}"

    def run(self) -> Generator[Outcome]:
        """Degrade the pictures in order, yielding what became of each.

        Raises:
            DealError: what no other picture would survive either.
        """
        for folder in {path.parent for task in self.tasks for path in task.written}:
            remove_remains(folder)
        # Each picture is degraded in a way of its own, so they are worked on where they are
        # written, two at a time; between reading and that there is nothing to do.
        for passed in overlapped(self.tasks, self._read, list, self._make, lambda _: 1):
            yield _outcome(passed)

    def _read(self, task: Task) -> Frame | None:
        """The picture to degrade; None when its output exists."""
        if task.error:
            raise task.error
        if not self.request.overwrite:
            if exists(task.target):
                return None
            _refuse_foreign(task.sidecar)
        if isinstance(task.source, Scene):
            frame = task.source.draw()
        else:
            frame = read_frame(task.source, self.request.read_as)
        check_target(frame, task.target)
        return frame

    def _make(self, task: Task, frame: Frame) -> Summary:
        """Degrade and write: the picture last, so that it is there when all is."""
        degraded, severity, seed = self._degrade(task, frame)
        if task.clean:
            self._write_clean(frame, task.clean)
        make_folder(task.target.parent)
        recipe, dtype = degraded.recipe, frame.dtype.name
        Sidecar(task.source, dtype, degraded.range, severity, seed, self.sha256, recipe).write(
            task.sidecar
        )
        write_frame(degraded.frame, task.target)
        applied = tuple((step.draw.operation, step.severity) for step in recipe.steps)
        return Summary(frame.width, frame.height, dtype, severity, applied, degraded.psnr)

    def _degrade(self, task: Task, frame: Frame) -> tuple[Degraded, float, int]:
        """The degraded picture, and the severity and seed that it is to be recorded with."""
        told = self.followed
        if told is None:
            seed = self.request.seed or 0
            rng = np.random.default_rng((seed, checksum(task.name), task.copy))
            return (
                self.degrader.degrade(frame, rng, self.severity, self.operations),
                self.severity,
                seed,
            )
        recorded = not self.request.inputs
        if recorded and frame.dtype.name != told.dtype:
            raise PictureError(
                f"is {frame.dtype.name}, not {told.dtype} as the sidecar says of it",
                remedy="give the picture as INPUT, to be degraded on its own range",
            )
        range_ = told.range if recorded else None
        return self.degrader.replay(frame, told.recipe, range_), told.severity, told.seed

    def _write_clean(self, frame: Frame, path: Path) -> None:
        """Write the picture itself, unless a run that was stopped has done so already.

        Raises:
            OutputError: another file is there, or the system refuses.
        """
        data = encode(frame, path.suffix)
        make_folder(path.parent)
        if not self.request.overwrite and exists(path):
            with contextlib.suppress(OSError):
                if path.read_bytes() == data:
                    return
            raise OutputError(
                "exists and is another picture",
                file=path,
                remedy="give -o another folder, or --overwrite",
            )
        with written_whole(path) as stream:
            stream.write(data)


def _share(severity: str) -> float:
    """The share of a whole attack that a name or a number stands for.

    Raises:
        UsageError: it is neither.
    """
    try:
        share = SEVERITIES[severity] if severity in SEVERITIES else float(severity)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        names = ", ".join(SEVERITIES)
        raise UsageError(
            f"'{severity}' for --severity", remedy=f"it takes {names}, or a number from 0 to 1"
        )
    return share


def _sha256(weights: str) -> str:
    """The checksum of the generator's file.

    Raises:
        WeightsError: there is none.
    """
    from deal_cli.model.weights import find

    try:
        return find(weights).sha256
    except WeightsError as error:
        if error.file is not None:
            raise
        remedy = f"--weights takes {GENERATOR}, or the generator.safetensors of a `deal train`"
        raise WeightsError(error.cause, remedy=remedy) from error


def _refuse_foreign(sidecar: Path) -> None:
    """Make sure that a file in a sidecar's place is one, as a stopped run may have left it.

    Raises:
        OutputError: it is not.
    """
    if exists(sidecar):
        try:
            read_sidecar(sidecar)
        except UsageError as error:
            raise OutputError(
                "exists and is no sidecar of deal",
                file=sidecar,
                remedy="give -o another folder, or --overwrite",
            ) from error


def _outcome(passed: Passed[Task, Summary]) -> Outcome:
    task, error = passed.item, passed.error
    if error is not None:
        if error.file is None:
            error.file = task.target if isinstance(task.source, Scene) else task.source
        return Outcome(task, "failed", error, seconds=passed.seconds)
    if passed.kept is None:
        return Outcome(task, "skipped", seconds=passed.seconds)
    return Outcome(task, "degraded", None, passed.kept, passed.seconds)
