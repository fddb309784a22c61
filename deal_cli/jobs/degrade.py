"""Degrade pictures as the generator N_G would: realistic damage, with a record of what it was.

Every degraded picture has a sidecar (`jobs/sidecar.py`) that makes the same pixels again. A
picture's random numbers follow from the seed, its name and the number of its copy, so that they
depend neither on the order of the inputs nor on what else is degraded.
"""

from __future__ import annotations

import contextlib
import math
import os
import zlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deal_cli.config import MAX_PIXELS
from deal_cli.engine.backends import Choice, Purpose, Request, choose
from deal_cli.engine.degrader import Degraded, Degrader
from deal_cli.errors import DealError, OutputError, PictureError, UsageError, WeightsError
from deal_cli.imaging.files import (
    PICTURE_SUFFIXES,
    check_target,
    encode,
    read_frame,
    remove_remains,
    write_frame,
)
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.whole import exists, make_folder, written_whole
from deal_cli.jobs.pipeline import Passed, overlapped
from deal_cli.jobs.plan import (
    STREAM,
    Item,
    names_a_file,
    output_folder,
    plan_items,
    refuse_collisions,
)
from deal_cli.jobs.sidecar import Scene, Sidecar, read_sidecar

#: Shares of a whole attack, by name.
SEVERITIES = {"min": 0.02, "low": 0.25, "medium": 0.5, "high": 0.75, "max": 1.0}

GENERATOR = "generator"  # the bundled weights
SCENES = 8  # drawn where no input is given
CLEAN, DEGRADED = "clean", "degraded"  # the two folders of pairs


@dataclass(frozen=True)
class DegradeRequest:
    """What to degrade, how, and where to; None is the default, which a replay does without.

    Attributes:
        inputs: files, folders, patterns or lists (see `plan_items`); none: scenes are drawn, or
            the input that `replay` names is taken.
        out: a folder; for one picture a file.
        engine: backend, and the generator's weights.
        severity: a name in `SEVERITIES`, or a number from 0 to 1.
        operations: names separated by commas; N_G's choice where none are given.
        count: degraded pictures of each input, or of scenes.
        seed: of everything drawn.
        pairs: write what was degraded as well, in a folder beside.
        replay: a sidecar to follow instead of N_G.
        recursive: look into the folders below a folder as well.
        luminance: turn false colour into its luminance in place of refusing it.
        max_pixels: larger pictures are refused before they are decoded.
        overwrite: replace outputs that exist.
    """

    inputs: Sequence[str] = ()
    out: str = DEGRADED
    engine: Request = Request(weights=GENERATOR)
    severity: str | None = None
    operations: str | None = None
    count: int | None = None
    seed: int | None = None
    pairs: bool = False
    replay: Path | None = None
    recursive: bool = False
    luminance: bool = False
    max_pixels: int = MAX_PIXELS
    overwrite: bool = False


@dataclass(frozen=True)
class Task:
    """One degraded picture to make.

    Attributes:
        source: the file or scene to degrade.
        name: of the source below what led to it.
        copy: which of its degraded pictures, from 1.
        target: the file to write; its sidecar lies beside it.
        clean: where the source is written as well.
        error: why nothing can be made of it, when that is known already.
    """

    source: Path | Scene
    name: Path
    copy: int
    target: Path
    clean: Path | None = None
    error: DealError | None = None

    @property
    def sidecar(self) -> Path:
        return self.target.with_name(self.target.name + ".json")


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
    followed = _followed(request)
    severity = _share(request.severity or "medium")
    tasks = _plan(request, followed)
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
        for folder in {path.parent for task in self.tasks for path in _written(task)}:
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
            limit, luminance = self.request.max_pixels, self.request.luminance
            frame = read_frame(task.source, luminance=luminance, max_pixels=limit)
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
            rng = np.random.default_rng((seed, _checksum(task.name), task.copy))
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


def _plan(request: DegradeRequest, followed: Sidecar | None) -> tuple[Task, ...]:
    """Every degraded picture to make, before any work.

    Raises:
        UsageError: see `plan_items`; or a count or seed that makes no sense.
    """
    if STREAM in request.inputs or request.out == STREAM:
        raise UsageError("a pipe has no room for a sidecar", remedy="give files and a folder")
    for option, value, least in (("--count", request.count, 1), ("--seed", request.seed, 0)):
        if value is not None and value < least:
            raise UsageError(f"{value} for {option}", remedy=f"it takes {least} and more")
    if request.inputs:
        tasks = list(_of_files(request))
    elif followed:
        tasks = [_recorded(request, followed)]
    else:
        tasks = list(_of_scenes(request))
    if request.pairs:
        folder = output_folder(request.out, 2 * len(tasks))
        tasks = [_paired(task, folder) for task in tasks]
    written = [
        Item(task.source, path, task.error)
        for task in tasks
        if isinstance(task.source, Path)
        for path in _written(task)
    ]
    refuse_collisions(written, overwrite=None)
    return tuple(tasks)


def _of_files(request: DegradeRequest) -> Iterator[Task]:
    count, out = request.count or 1, Path(request.out)
    if count > 1:
        output_folder(request.out, count)
    items = plan_items(request.inputs, request.out, recursive=request.recursive, overwrite=None)
    for item in items:
        assert item.source is not None
        assert item.target is not None
        name = Path(item.source.name) if item.target == out else item.target.relative_to(out)
        for copy in range(1, 2 if item.error else count + 1):
            yield Task(item.source, name, copy, _numbered(item.target, copy), None, item.error)


def _of_scenes(request: DegradeRequest) -> Iterator[Task]:
    count = SCENES if request.count is None else request.count
    for number in range(1, count + 1):
        name = Path(f"scene_{number:04d}.png")
        seed = np.random.SeedSequence((request.seed or 0, _checksum(name))).generate_state(1)[0]
        yield Task(Scene(int(seed)), name, 1, _single_or_in(request.out, name, count))


def _recorded(request: DegradeRequest, followed: Sidecar) -> Task:
    """The picture that a sidecar was written for, under the name the sidecar gives it."""
    assert request.replay is not None
    source, name = followed.source, Path(request.replay.stem)
    if name.suffix.lower() not in PICTURE_SUFFIXES:
        name = Path("scene.png" if isinstance(source, Scene) else source.name)
    if isinstance(source, Path) and not _is_file(source):
        raise UsageError(
            f"was made of {source}, which is not there",
            file=request.replay,
            remedy="give the picture as INPUT",
        )
    return Task(source, name, 1, _single_or_in(request.out, name, 1))


def _single_or_in(out: str, name: Path, count: int) -> Path:
    """Where a picture goes: the file that `out` is, for one, or into the folder."""
    if count == 1 and names_a_file(Path(out)):
        return Path(out)
    return output_folder(out, count) / name


def _paired(task: Task, folder: Path) -> Task:
    """The task with its two pictures in the two folders of pairs."""
    name = task.target.relative_to(folder)
    return replace(task, target=folder / DEGRADED / name, clean=folder / CLEAN / name)


def _numbered(path: Path, copy: int) -> Path:
    return path if copy == 1 else path.with_name(f"{path.stem}_{copy}{path.suffix}")


def _written(task: Task) -> list[Path]:
    return [task.target, task.sidecar, *([task.clean] if task.clean else [])]


def _checksum(name: Path) -> int:
    return zlib.crc32(os.fsencode(name.as_posix()))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _followed(request: DegradeRequest) -> Sidecar | None:
    """The sidecar to replay, when one is given.

    Raises:
        UsageError: it is none, or something else is asked for that it settles.
    """
    if request.replay is None:
        return None
    settled = {
        "--severity": request.severity,
        "--ops": request.operations,
        "--count": request.count,
        "--seed": request.seed,
        "--weights": None if request.engine.weights == GENERATOR else request.engine.weights,
    }
    given = [option for option, value in settled.items() if value is not None]
    if given:
        raise UsageError(
            "a replay does what its sidecar says",
            file=request.replay,
            remedy=f"leave out {', '.join(given)}, or --replay",
        )
    return read_sidecar(request.replay)


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
