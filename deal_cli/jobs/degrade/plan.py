"""What `deal degrade` is going to make: every task before any work, or a sidecar's own."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deal_cli.engine.backends.choice import Request
from deal_cli.errors import DealError, UsageError
from deal_cli.imaging.contents import glance, picture_suffix
from deal_cli.imaging.files import PICTURE_SUFFIXES
from deal_cli.imaging.reading import AS_FOUND, ReadAs
from deal_cli.jobs.batch.plan import (
    STREAM,
    Item,
    names_a_file,
    output_folder,
    plan_items,
    refuse_collisions,
)
from deal_cli.jobs.degrade.sidecar import Scene, Sidecar, read_sidecar

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
        severity: a name in `SEVERITIES` of `jobs/degrade/run.py`, or a number from 0 to 1.
        operations: names separated by commas; N_G's choice where none are given.
        count: degraded pictures of each input, or of scenes.
        seed: of everything drawn.
        pairs: write what was degraded as well, in a folder beside.
        replay: a sidecar to follow instead of N_G.
        recursive: look into the folders below a folder as well.
        read_as: what to take the numbers of the files for.
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
    read_as: ReadAs = AS_FOUND
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

    @property
    def written(self) -> list[Path]:
        """Every file that is written."""
        return [self.target, self.sidecar, *([self.clean] if self.clean else [])]


def plan_tasks(request: DegradeRequest, followed: Sidecar | None) -> tuple[Task, ...]:
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
        for path in task.written
    ]
    refuse_collisions(written, overwrite=None)
    return tuple(tasks)


def _of_files(request: DegradeRequest) -> Iterator[Task]:
    count, out = request.count or 1, Path(request.out)
    if count > 1:
        output_folder(request.out, count)
    items = plan_items(
        request.inputs,
        request.out,
        recursive=request.recursive,
        overwrite=None,
        suffix_of=_suffix_of,
    )
    for item in items:
        assert item.source is not None
        assert item.target is not None
        below = Path() if item.target == out else item.target.relative_to(out).parent
        name = below / item.source.name
        for copy in range(1, 2 if item.error else count + 1):
            yield Task(item.source, name, copy, _numbered(item.target, copy), None, item.error)


def _of_scenes(request: DegradeRequest) -> Iterator[Task]:
    count = SCENES if request.count is None else request.count
    for number in range(1, count + 1):
        name = Path(f"scene_{number:04d}.png")
        seed = np.random.SeedSequence((request.seed or 0, checksum(name))).generate_state(1)[0]
        yield Task(Scene(int(seed)), name, 1, _single_or_in(request.out, name, count))


def _recorded(request: DegradeRequest, followed: Sidecar) -> Task:
    """The picture that a sidecar was written for, under the name the sidecar gives it."""
    assert request.replay is not None
    source, name = followed.source, Path(request.replay.stem)
    if name.suffix.lower() not in PICTURE_SUFFIXES:
        name = Path("scene.png" if isinstance(source, Scene) else source.name)
        suffix = _suffix_of(source) if isinstance(source, Path) else None
        name = name.with_suffix(suffix or name.suffix)
    if isinstance(source, Path) and not _is_file(source):
        raise UsageError(
            f"was made of {source}, which is not there",
            file=request.replay,
            remedy="give the picture as INPUT",
        )
    return Task(source, name, 1, _single_or_in(request.out, name, 1))


def _suffix_of(source: Path) -> str | None:
    """The suffix that the degraded copy of a file gets; None for its own."""
    return picture_suffix(glance(source))


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


def checksum(name: Path) -> int:
    """A number of a name, the same on every machine."""
    return zlib.crc32(os.fsencode(name.as_posix()))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def followed_by(request: DegradeRequest) -> Sidecar | None:
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
