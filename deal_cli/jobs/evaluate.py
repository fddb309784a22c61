"""Score a restorer on the protocol's degradations of clean pictures.

Each picture is cut to its centre and degraded by a task. What is restored is brought to 8 bits, as
a user's file would be, and both are compared with the clean picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from deal_cli.errors import PictureError, UsageError
from deal_cli.imaging.frame import Frame
from deal_cli.jobs.benchmark_page import section_of, write_section
from deal_cli.jobs.protocol import TASKS, Grey, Unit, check_tasks, degrade_for_task, to_grey
from deal_cli.model.metrics import psnr, psnr_after_fit, ssim

if TYPE_CHECKING:
    from rich.table import Table

PER_SET = 10  # pictures of each folder
CROP = 320  # side of the centre crop in pixels

Restore = Callable[[Frame], Frame]
Progress = Callable[[int, int], None]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Clean:
    """A clean picture in memory, named as the protocol seeds its degradations.

    Attributes:
        set: the name of its folder.
        stem: its file name without the suffix.
        unit: `(H, W)`, multiples of 1/255 in `[0, 1]`, 11 pixels or more on each side.
    """

    set: str
    stem: str
    unit: Unit


@dataclass(frozen=True)
class Scores:
    """How close a picture is to the clean one.

    Attributes:
        psnr: dB, at most 70.
        ssim: at most 1.
        psnr_after_fit: dB after the best gain and offset.
    """

    psnr: float
    ssim: float
    psnr_after_fit: float


@dataclass(frozen=True)
class Row:
    """One picture under one task: what went into the restorer and what came out, scored."""

    set: str
    stem: str
    task: str
    input: Scores
    restored: Scores


@dataclass(frozen=True)
class Mean:
    """The means of one task over its pictures."""

    task: str
    pictures: int
    input: Scores
    restored: Scores


@dataclass(frozen=True)
class Evaluation:
    """Every row that was scored, and the selection that anyone can repeat.

    Attributes:
        rows: a row for every picture and task, by task in the order asked for.
        per_set: pictures asked for of each folder.
        crop: side of the centre crop in pixels.
    """

    rows: tuple[Row, ...]
    per_set: int
    crop: int

    def means(self) -> tuple[Mean, ...]:
        """Return the means of each task over all its pictures, in the order of the tasks."""
        return means(self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return the selection, the means and the rows as plain lists and dictionaries."""
        return {
            "per_set": self.per_set,
            "crop": self.crop,
            "tasks": [asdict(mean) for mean in self.means()],
            "pictures": [asdict(row) for row in self.rows],
        }

    def table(self) -> Table:
        """Return the means as a table for the terminal, PSNR in dB."""
        from rich.table import Table

        table = Table(caption=self.selection())
        table.add_column("task")
        for title in ("input", "restored", "gain", "after fit"):
            table.add_column(title, justify="right")
        for mean in self.means():
            table.add_row(*_cells(mean))
        return table

    def markdown(self) -> str:
        """Return the means as a Markdown table, PSNR in dB."""
        lines = [
            "| task | input PSNR / SSIM | restored PSNR / SSIM | gain dB | after fit dB |",
            "|---|---:|---:|---:|---:|",
        ]
        lines += [f"| {' | '.join(_cells(mean))} |" for mean in self.means()]
        return "\n".join(lines)

    def selection(self) -> str:
        """Return what was scored, in one line."""
        pictures = len({(row.set, row.stem) for row in self.rows})
        sets = ", ".join(dict.fromkeys(row.set for row in self.rows))
        return f"{pictures} pictures of {sets}; centre crop {self.crop} px; PSNR in dB"


@dataclass(frozen=True)
class RunFacts:
    """What a published figure must say of its making.

    Attributes:
        machine: the processor or accelerator, in words.
        commit: the commit of the source, as Git names it.
        weights: the name of the weights.
        weights_sha256: the hash of the weights' file, in hexadecimal.
        command: the exact command line.
    """

    machine: str
    commit: str
    weights: str
    weights_sha256: str
    command: str


def centre_crop(picture: NDArray[Any], side: int) -> NDArray[Any]:
    """Return the middle `side × side` pixels of `(H, W)`; a shorter axis is kept whole."""
    height, width = picture.shape
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return picture[top : top + side, left : left + side]


def select_pictures(folder: Path, per_set: int) -> list[Path]:
    """Return at most `per_set` pictures of a folder, evenly spaced in the order of their names.

    Raises:
        UsageError: the folder does not exist or holds no picture, or `per_set` is not positive.
    """
    from deal_cli.imaging.files import PICTURE_SUFFIXES

    if per_set < 1:
        raise UsageError(f"{per_set} pictures a folder", remedy="give --per-set 1 or more")
    if not folder.is_dir():
        raise UsageError(
            "not a folder", file=folder, remedy="give --clean a folder of clean pictures"
        )
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    if not pictures:
        raise UsageError(
            "no picture in this folder", file=folder, remedy="give --clean another folder"
        )
    return evenly_spaced(pictures, per_set)


def evenly_spaced(items: Sequence[T], most: int) -> list[T]:
    """Return at most `most` of some items, the first and the last among them from two up."""
    count = min(most, len(items))
    return [items[int(i)] for i in np.linspace(0, len(items) - 1, count).round()]


def evaluate(
    restore: Restore,
    folders: Sequence[Path],
    tasks: Sequence[str] = TASKS,
    per_set: int = PER_SET,
    crop: int = CROP,
    on_progress: Progress | None = None,
) -> Evaluation:
    """Score a restorer on degraded pictures of clean folders.

    Args:
        restore: gives back a restored picture for a degraded 8-bit one, of the same size.
        folders: folders of clean 8-bit grey pictures.
        tasks: some of `TASKS`; each once.
        per_set: pictures of each folder, evenly spaced.
        crop: side of the centre crop in pixels.
        on_progress: called after each score with the number done and the number of all.

    Returns:
        the scores of every picture under every task.

    Raises:
        UsageError: an unknown task, or a folder without pictures, or nothing to do.
        PictureError: a clean picture that cannot be read or is not 8-bit grey.
    """
    if not folders:
        raise UsageError("no clean pictures", remedy="give --clean a folder of clean pictures")
    if not tasks:
        raise UsageError("no tasks", remedy=f"choose from {', '.join(TASKS)}")
    if crop <= 10:
        raise UsageError(f"a crop of {crop} px", remedy="give --crop 11 or more")
    check_tasks(tasks)
    paths = [path for folder in folders for path in select_pictures(folder, per_set)]
    pictures = [_read_clean(path, crop) for path in paths]
    return Evaluation(score_pictures(restore, pictures, tasks, on_progress), per_set, crop)


def score_pictures(
    restore: Restore,
    pictures: Sequence[Clean],
    tasks: Sequence[str],
    on_progress: Progress | None = None,
) -> tuple[Row, ...]:
    """Score a restorer on clean pictures in memory.

    Args:
        restore: gives back a restored picture for a degraded 8-bit one, of the same size.
        pictures: what to degrade.
        tasks: some of `TASKS`; each once.
        on_progress: called after each score with the number done and the number of all.

    Returns:
        a row for every picture and task, by task in the order asked for.

    Raises:
        UsageError: an unknown task.
    """
    check_tasks(tasks)
    order = list(dict.fromkeys(tasks))
    rows: list[Row] = []
    for clean in pictures:
        for task in order:
            rows.append(_score(restore, clean, task))
            if on_progress is not None:
                on_progress(len(rows), len(pictures) * len(order))
    rows.sort(key=lambda row: order.index(row.task))
    return tuple(rows)


def means(rows: Sequence[Row]) -> tuple[Mean, ...]:
    """Return the means of each task over all its pictures, in the order of the tasks."""
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        by_task.setdefault(row.task, []).append(row)
    return tuple(
        Mean(
            task,
            len(some),
            _mean_scores([row.input for row in some]),
            _mean_scores([row.restored for row in some]),
        )
        for task, some in by_task.items()
    )


def write_benchmarks(evaluation: Evaluation, path: Path, facts: RunFacts) -> None:
    """Write the section on restoration with these weights, leaving the rest of the page alone.

    Args:
        evaluation: the scores.
        path: the page; it is made where there is none.
        facts: what the figures depend on.

    Raises:
        OutputError: the page cannot be written.
    """
    explanation = (
        f"{evaluation.selection()}. PSNR / SSIM are means over the pictures; "
        "*after fit* is the PSNR after the best gain and offset."
    )
    origin = "\n".join(
        [
            f"- Machine: {facts.machine}",
            f"- Commit: `{facts.commit}`",
            f"- Weights: `{facts.weights}`, SHA-256 `{facts.weights_sha256}`",
            f"- Command: `{facts.command}`",
        ]
    )
    section, heading = section_of("restoration", facts.weights)
    text = "\n\n".join([heading, explanation, evaluation.markdown(), origin])
    write_section(path, section, text)


def _read_clean(path: Path, crop: int) -> Clean:
    """Return the middle of a clean picture."""
    from deal_cli.imaging.files import read_frame

    frame = read_frame(path)
    if frame.dtype != np.uint8:
        raise PictureError(
            f"{frame.dtype} where the clean pictures are 8-bit grey",
            file=path,
            remedy="give --clean a folder of 8-bit pictures",
        )
    clean = centre_crop(frame.values, crop) / np.float32(255)
    if min(clean.shape) <= 10:
        raise PictureError("smaller than 11 pixels", file=path, remedy="give a larger picture")
    return Clean(path.parent.absolute().name, path.stem, np.asarray(clean, dtype=np.float32))


def _score(restore: Restore, clean: Clean, task: str) -> Row:
    """Degrade, restore and score one picture."""
    degraded = degrade_for_task(clean.unit, task, clean.set, clean.stem)
    restored = restore(Frame(degraded.astype(np.float32), np.dtype(np.uint8)))
    return Row(
        clean.set,
        clean.stem,
        task,
        _scores(degraded, clean.unit),
        _scores(to_grey(restored.values), clean.unit),
    )


def _scores(picture: Grey, clean: Unit) -> Scores:
    """Return the scores of an 8-bit picture."""
    unit = picture.astype(np.float32) / np.float32(255)
    return Scores(psnr(unit, clean), ssim(unit, clean), psnr_after_fit(unit, clean))


def _mean_scores(scores: Sequence[Scores]) -> Scores:
    """Return the mean of each score."""
    return Scores(
        float(np.mean([score.psnr for score in scores])),
        float(np.mean([score.ssim for score in scores])),
        float(np.mean([score.psnr_after_fit for score in scores])),
    )


def _cells(mean: Mean) -> tuple[str, ...]:
    """Return one row of a table of means."""
    return (
        mean.task,
        f"{mean.input.psnr:.2f} / {mean.input.ssim:.4f}",
        f"{mean.restored.psnr:.2f} / {mean.restored.ssim:.4f}",
        f"{mean.restored.psnr - mean.input.psnr:+.2f}",
        f"{mean.restored.psnr_after_fit:.2f}",
    )
