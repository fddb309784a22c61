"""The named degradations of the evaluation protocol, the same pixels for anyone.

The random numbers of a picture under a task depend only on the names of its folder, its file and
the task, and what comes out is brought back to 8 bits.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal_cli.errors import UsageError

CONTRAST = "contrast"  # the one task that no restoration of structure mends

TASKS = (
    "clean",
    "stripe02",
    "stripe05",
    "stripe10",
    "sr2",
    "sr4",
    "blur",
    "noise",
    CONTRAST,
    "stripe_sr4",
    "all",
)

Grey = NDArray[np.uint8]
Unit = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Clean:
    """A clean picture in memory, named as its degradations are seeded.

    Attributes:
        set: the name of its folder.
        stem: its file name without the suffix.
        unit: `(H, W)`, multiples of 1/255 in `[0, 1]`, 11 pixels or more on each side.
    """

    set: str
    stem: str
    unit: Unit


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
    rng = np.random.default_rng(
        zlib.crc32(f"{set_name}__{stem}|{task}".encode(errors="surrogateescape"))
    )
    return to_grey(255.0 * np.clip(_degrade(clean, task, rng), 0.0, 1.0))


def small_for_task(clean: Unit, task: str) -> Grey | None:
    """Return the small picture behind `sr2` and `sr4`, as a file of 8 bits holds it.

    Args:
        clean: `(H, W)`, `[0, 1]`.
        task: one of `TASKS`.

    Returns:
        `(H // f, W // f)`, grey levels 0…255; None for every other task.
    """
    factor = {"sr2": 2, "sr4": 4}.get(task)
    return None if factor is None else to_grey(255.0 * np.clip(_reduced(clean, factor), 0.0, 1.0))


def check_tasks(tasks: Iterable[str]) -> None:
    """Raise a UsageError that names the known tasks where one of `tasks` is not among them."""
    for task in tasks:
        if task not in TASKS:
            raise UsageError(f"no task named {task!r}", remedy=f"choose from {', '.join(TASKS)}")


def to_grey(levels: NDArray[np.floating[Any]]) -> Grey:
    """Return grey levels as a file of 8 bits holds them, rounded and clipped to 0…255.

    Args:
        levels: `(H, W)`, of any range.

    Returns:
        `(H, W)`.
    """
    grey: Grey = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return grey


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
    height, width = x.shape
    return _bicubic(_reduced(x, factor), (width, height))


def _reduced(x: Unit, factor: int) -> Unit:
    """Return the picture made smaller by `factor`, bicubic."""
    height, width = x.shape
    return _bicubic(x, (max(1, width // factor), max(1, height // factor)))


def _bicubic(x: Unit, size: tuple[int, int]) -> Unit:
    """Return the picture at another width and height."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(x, dtype=np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC))


def _blurred(x: Unit) -> Unit:
    """Return the picture under a Gaussian of σ 1.5 px."""
    import cv2

    return np.asarray(cv2.GaussianBlur(x, (0, 0), 1.5), dtype=np.float32)


def _flattened(x: Unit, contrast: float) -> Unit:
    """Return the picture with its deviations from the mean scaled by `contrast`."""
    mean = x.mean()
    return np.asarray(mean + contrast * (x - mean), dtype=np.float32)
