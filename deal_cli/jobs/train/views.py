"""What is seen of a training: its plan, what happens on the way, validation and sample grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from deal_cli.config import TrainConfig
from deal_cli.engine.backends.torch_backend import TorchBackend
from deal_cli.engine.restorer import Restorer, Settings
from deal_cli.imaging.frame import Frame
from deal_cli.jobs.protocol.tasks import TASKS, Clean, degrade_for_task, to_grey
from deal_cli.model.metrics import psnr_after_fit

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from deal_cli.model.network import Enhancer

VALIDATION_TASKS = tuple(task for task in TASKS if task != "contrast")  # tone is not the network's
CEILING = 55.0  # dB; above it a task is done: doing less harm to clean pictures counts no more


@dataclass(frozen=True)
class Plan:
    """What a training is about to do.

    Attributes:
        pictures: how many clean pictures it trains on.
        split: how the validation pictures were had, in words.
        start: what the weights are before the first step, in words.
        config: resolved.
        done: steps that were made before, in a run that goes on.
        seconds: how long it will take; None when nothing was measured.
        device: what computes.
        processes: how many share the work.
    """

    pictures: int
    split: str
    start: str
    config: TrainConfig
    done: int
    seconds: float | None
    device: str
    processes: int


class Watcher(Protocol):
    """What shows a running training."""

    def preparing(self, what: str) -> None:
        """Before something that takes its time and comes before the first step."""

    def planned(self, plan: Plan) -> None:
        """Before the first step."""

    def gauge_began(self, crops: int) -> None:
        """Before the plan, where a new gauge learns from so many crops first."""

    def step(self, step: int, steps: int, loss: float, rate: float) -> None:
        """After every step; `rate` in images a second."""

    def validated(self, step: int, score: float, psnr: dict[str, float], best: bool) -> None:
        """After every validation; PSNR in dB."""

    def stopped(self, step: int, folder: Path) -> None:
        """After an interruption, when everything is kept."""

    def finished(self, best: int) -> None:
        """After the last step: which one the best weights are of."""


def validate(network: Enhancer, pictures: Sequence[Clean], device: torch.device) -> dict[str, Any]:
    """PSNR in dB of every task after the best gain and offset, and their mean as the score.

    What a task has above `CEILING` does not count.
    """
    restorer = Restorer(TorchBackend(network, device, "training", ""), Settings(tone="keep"))
    psnr = {task: _mean_psnr(restorer, pictures, task) for task in VALIDATION_TASKS}
    score = float(np.mean([min(value, CEILING) for value in psnr.values()]))
    return {"score": score, "psnr_after_fit": psnr}


def _mean_psnr(restorer: Restorer, pictures: Sequence[Clean], task: str) -> float:
    """The mean PSNR in dB of restored pictures, rounded to 8 bits, after the best fit of each."""
    values = []
    for clean in pictures:
        degraded = degrade_for_task(clean.unit, task, clean.set, clean.stem)
        restored = restorer.restore(Frame(degraded.astype(np.float32), np.dtype(np.uint8))).frame
        unit = to_grey(restored.values).astype(np.float32) / np.float32(255)
        values.append(psnr_after_fit(unit, clean.unit))
    return float(np.mean(values))


def sample_grid(
    network: Enhancer, degraded: Sequence[Tensor], clean: Tensor
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Rows of crops: each of `degraded` beside what N_E makes of it, then the clean one.

    All are `(B, 1, H, W)` in [0, 1]; the grid is `(B H, (2 n + 1) W)` in grey levels.
    """
    import torch

    columns = []
    with torch.inference_mode():
        for x in degraded:
            seen = x.expand(-1, network.config.channels, -1, -1)
            columns += [x, network.eval()(seen).mean(1, keepdim=True)]
        grid = torch.cat([*columns, clean], 3).clamp(0, 1)
    levels: np.ndarray[Any, np.dtype[np.float32]] = grid.reshape(-1, grid.shape[3]).cpu().numpy()
    return levels * np.float32(255)
