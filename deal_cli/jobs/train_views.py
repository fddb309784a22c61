"""What is seen of a training while it runs: validation scores, sample grids and curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deal_cli.engine.backends import TorchBackend
from deal_cli.engine.restorer import Restorer, Settings
from deal_cli.jobs.evaluate import Clean, means, score_pictures
from deal_cli.jobs.protocol import TASKS

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from deal_cli.model.network import Enhancer

VALIDATION_TASKS = tuple(task for task in TASKS if task != "contrast")  # tone is not the network's
CEILING = 55.0  # dB; above it a task is done: doing less harm to clean pictures counts no more


def validate(network: Enhancer, pictures: Sequence[Clean], device: torch.device) -> dict[str, Any]:
    """PSNR in dB of every task after the best gain and offset, and their mean as the score.

    What a task has above `CEILING` does not count.
    """
    restorer = Restorer(TorchBackend(network, device, "training", ""), Settings(tone="keep"))
    rows = score_pictures(lambda frame: restorer.restore(frame).frame, pictures, VALIDATION_TASKS)
    psnr = {mean.task: mean.restored.psnr_after_fit for mean in means(rows)}
    score = float(np.mean([min(value, CEILING) for value in psnr.values()]))
    return {"score": score, "psnr_after_fit": psnr}


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
