"""Score a restorer on named degradations of clean pictures, the same pixels for everyone.

Each picture is cut to its centre, degraded by a task with random numbers that depend only on the
names of its folder, its file and the task, and brought back to 8 bits. What is restored is brought
to 8 bits too, as a user's file would be, and both are compared with the clean picture.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal_cli.errors import PictureError, UsageError
from deal_cli.imaging.frame import Frame
from deal_cli.jobs.benchmark_page import write_section
from deal_cli.model.metrics import psnr, psnr_after_fit, ssim

if TYPE_CHECKING:
    from rich.table import Table

TASKS = (
    "clean",
    "stripe02",
    "stripe05",
    "stripe10",
    "sr2",
    "sr4",
    "blur",
    "noise",
    "contrast",
    "stripe_sr4",
    "all",
)
PER_SET = 10  # pictures of each folder
CROP = 320  # side of the centre crop in pixels

Grey = NDArray[np.uint8]
Unit = NDArray[np.float32]
Restore = Callable[[Frame], Frame]
Progress = Callable[[int, int], None]


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
        tasks = dict.fromkeys(row.task for row in self.rows)
        return tuple(self._mean(task) for task in tasks)

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

    def _mean(self, task: str) -> Mean:
        rows = [row for row in self.rows if row.task == task]
        return Mean(
            task,
            len(rows),
            _mean_scores([row.input for row in rows]),
            _mean_scores([row.restored for row in rows]),
        )


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


def degrade_for_task(clean: Unit, task: str, set_name: str, stem: str) -> Grey:
    """Return a clean picture degraded as `task` says, always to the same pixels.

    Args:
        clean: `(H, W)`, `[0, 1]`.
        task: one of `TASKS`.
        set_name: the name of the picture's folder; with `stem` and `task` it seeds the noise.
        stem: the picture's file name without its suffix.

    Returns:
        `(H, W)`, grey levels 0…255.

    Raises:
        UsageError: there is no such task.
    """
    check_tasks([task])
    rng = np.random.default_rng(zlib.crc32(f"{set_name}__{stem}|{task}".encode()))
    return _to_grey(255.0 * np.clip(_degrade(clean, task, rng), 0.0, 1.0))


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
    count = min(per_set, len(pictures))
    return [pictures[int(i)] for i in np.linspace(0, len(pictures) - 1, count).round()]


def check_tasks(tasks: Iterable[str]) -> None:
    """Raise a UsageError that names the known tasks where one of `tasks` is not among them."""
    for task in tasks:
        if task not in TASKS:
            raise UsageError(f"no task named {task!r}", remedy=f"choose from {', '.join(TASKS)}")


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
    pictures = [path for folder in folders for path in select_pictures(folder, per_set)]
    order = list(dict.fromkeys(tasks))
    rows: list[Row] = []
    for path in pictures:
        clean = _read_clean(path, crop)
        for task in order:
            rows.append(_score(restore, clean, task, path))
            if on_progress is not None:
                on_progress(len(rows), len(pictures) * len(order))
    rows.sort(key=lambda row: order.index(row.task))
    return Evaluation(tuple(rows), per_set, crop)


def write_benchmarks(evaluation: Evaluation, path: Path, facts: RunFacts) -> None:
    """Write the restoration section of the benchmarks page, leaving the rest of it alone.

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
    text = "\n\n".join(["## Restoration", explanation, evaluation.markdown(), origin])
    write_section(path, "restoration", text)


def _degrade(x: Unit, task: str, rng: np.random.Generator) -> NDArray[np.floating[Any]]:
    """Return the degraded picture before clipping; the draws come in the order written here."""
    height, width = x.shape
    columns, rows = (1, width), (height, 1)
    match task:
        case "stripe02":
            return x + rng.normal(0, 0.02, columns)
        case "stripe05":
            return x + rng.normal(0, 0.05, columns)
        case "stripe10":
            return x + rng.normal(0, 0.10, columns)
        case "sr2":
            return _resampled(x, 2)
        case "sr4":
            return _resampled(x, 4)
        case "blur":
            return _blurred(x)
        case "noise":
            return x + rng.normal(0, 0.04, x.shape)
        case "contrast":
            return _flattened(x, 0.5)
        case "stripe_sr4":
            return _resampled(x, 4) + rng.normal(0, 0.04, columns)
        case "all":
            soft = _resampled(_flattened(x, 0.7), 2)
            noisy = soft + rng.normal(0, 0.015, x.shape)
            return noisy + rng.normal(0, 0.04, columns) + rng.normal(0, 0.01, rows)
        case _:
            return x


def _resampled(x: Unit, factor: int) -> Unit:
    """Return the picture made smaller by `factor` and brought back, bicubic both ways."""
    from PIL import Image

    height, width = x.shape
    small = (max(1, width // factor), max(1, height // factor))
    bicubic = Image.Resampling.BICUBIC
    picture = Image.fromarray(np.ascontiguousarray(x, dtype=np.float32))
    return np.asarray(picture.resize(small, bicubic).resize((width, height), bicubic))


def _blurred(x: Unit) -> Unit:
    """Return the picture under a Gaussian of σ 1.5 px."""
    import cv2

    return np.asarray(cv2.GaussianBlur(x, (0, 0), 1.5), dtype=np.float32)


def _flattened(x: Unit, contrast: float) -> Unit:
    """Return the picture with its deviations from the mean scaled by `contrast`."""
    mean = x.mean()
    return np.asarray(mean + contrast * (x - mean), dtype=np.float32)


def _read_clean(path: Path, crop: int) -> Unit:
    """Return the middle of a clean picture, `(H, W)`, `[0, 1]`."""
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
    return np.asarray(clean, dtype=np.float32)


def _score(restore: Restore, clean: Unit, task: str, path: Path) -> Row:
    """Degrade, restore and score one picture."""
    degraded = degrade_for_task(clean, task, path.parent.absolute().name, path.stem)
    restored = restore(Frame(degraded.astype(np.float32), np.dtype(np.uint8)))
    return Row(
        path.parent.absolute().name,
        path.stem,
        task,
        _scores(degraded, clean),
        _scores(_to_grey(restored.values), clean),
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


def _to_grey(levels: NDArray[np.floating[Any]]) -> Grey:
    """Return grey levels as a file of 8 bits holds them, rounded and clipped to 0…255."""
    grey: Grey = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return grey


def _cells(mean: Mean) -> tuple[str, ...]:
    """Return one row of a table of means."""
    return (
        mean.task,
        f"{mean.input.psnr:.2f} / {mean.input.ssim:.4f}",
        f"{mean.restored.psnr:.2f} / {mean.restored.ssim:.4f}",
        f"{mean.restored.psnr - mean.input.psnr:+.2f}",
        f"{mean.restored.psnr_after_fit:.2f}",
    )
