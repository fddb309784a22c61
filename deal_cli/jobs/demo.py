"""A first minute: scenes are drawn, degraded ever more severely, restored, and shown on a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from deal_cli.engine.backends.choice import Request
from deal_cli.engine.degrader import Degrader
from deal_cli.engine.fidelity.measure import as_written
from deal_cli.engine.ranges import measure_range
from deal_cli.engine.restorer import Settings, open_restorer
from deal_cli.errors import UsageError
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import write_frame
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.whole import make_folder
from deal_cli.jobs.degrade.run import SEVERITIES
from deal_cli.jobs.page.pack import pack
from deal_cli.jobs.page.page import ReportWriter
from deal_cli.jobs.page.shown import show
from deal_cli.jobs.report.run import about, facts_of_engine, facts_of_run
from deal_cli.model.metrics import psnr

LEVELS = ("low", "medium", "high")
HEIGHT, WIDTH = 512, 640

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Example:
    """One drawn scene and what befalls it.

    Attributes:
        name: of its pictures.
        seed: of the scene and of the degradation.
        dtype: what its camera gives: pictures after gain control, or raw counts.
        operations: what the degradation generator may choose; None leaves it free.
    """

    name: str
    seed: int
    dtype: Literal["uint8", "uint16"] = "uint8"
    operations: tuple[str, ...] | None = None


EXAMPLES = (
    Example("stripes", 0, operations=("stripe",)),
    Example("noise", 1, "uint16", ("gaussian", "shot")),
    Example("low-resolution", 2, operations=("downsample",)),
    Example("mixture", 5),
)


@dataclass(frozen=True)
class Demonstration:
    """What was made.

    Attributes:
        page: that shows it.
        pictures: how many degraded pictures were restored.
        gain: how many dB nearer to their scenes they are, on the mean.
    """

    page: Path
    pictures: int
    gain: float

    def __str__(self) -> str:
        return f"{self.pictures} pictures, {self.gain:+.1f} dB nearer to their scenes on the mean"


def demo(
    engine: Request,
    out: Path,
    *,
    overwrite: bool = False,
    command: Sequence[str] = (),
    on_progress: Progress = lambda done, total: None,
) -> Demonstration:
    """Draw scenes, degrade each at three severities, restore them, and write a page.

    Args:
        engine: backend and weights.
        out: folder of `clean`, `degraded` and `restored` pictures and of `report.html`.
        overwrite: write into a folder that holds something.
        command: as it was typed.
        on_progress: called after each picture with the number done and the number of all.

    Raises:
        UsageError: the folder holds something.
        OutputError: it cannot be written to.
        BackendError: the backend asked for cannot be had.
        WeightsError: weights are missing or damaged.
    """
    if not overwrite and out.is_dir() and any(out.iterdir()):
        raise UsageError("holds files", file=out, remedy="give -o another folder, or --overwrite")
    make_folder(out)
    page, gains = out / "report.html", []
    with ReportWriter(page, overwrite=overwrite) as writer:
        restorer, choice = open_restorer(engine, Settings())
        degrader = _degrader()
        total = len(EXAMPLES) * len(LEVELS)
        for example in EXAMPLES:
            clean = draw_scene(example.seed, HEIGHT, WIDTH, example.dtype)
            _write(clean, out / "clean" / f"{example.name}.png")
            for level in LEVELS:
                name = f"{example.name}-{level}.png"
                rng = np.random.default_rng(example.seed)  # the same attack, ever more of it
                share = SEVERITIES[level]
                degraded = degrader.degrade(clean, rng, share, example.operations).frame
                restored = restorer.restore(degraded)
                _write(degraded, out / "degraded" / name)
                _write(restored.frame, out / "restored" / name)
                written = replace(
                    restored.frame, values=as_written(restored.frame.values, clean.dtype)
                )
                before, after = (_psnr(frame, clean) for frame in (degraded, written))
                told = ("PSNR to the scene", f"{before:.1f} → {after:.1f} dB")
                shown = show(name, degraded, restored.frame, restored.fidelity)
                writer.add(pack(replace(shown, figures=(told, *shown.figures))))
                gains.append(after - before)
                on_progress(len(gains), total)
        made = Demonstration(page, total, float(np.mean(gains)))
        facts = (*facts_of_run(command), *facts_of_engine(choice, restorer.backend.facts))
        writer.close(about("Drawn scenes, degraded and restored", facts, (str(made),)))
    return made


def _degrader() -> Degrader:
    import torch

    from deal_cli.model.weights import GENERATOR, load_generator

    return Degrader(torch.device("cpu"), load_generator(GENERATOR))


def _write(frame: Frame, path: Path) -> None:
    make_folder(path.parent)
    write_frame(frame, path)


def _psnr(frame: Frame, clean: Frame) -> float:
    """In dB, on the range of the clean picture."""
    low, high = measure_range(clean, "auto")
    span = np.float32(high - low)
    return psnr((frame.values - np.float32(low)) / span, (clean.values - np.float32(low)) / span)
