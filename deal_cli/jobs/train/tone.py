"""Train the tone predictor: thumbnails of pictures whose contrast, offset and gamma were changed.

It needs no structure: large crops of the clean pictures, shrunk, through the `tone` operation or
left as they are. Half are left, since a predictor that is unsure of clean pictures is of no use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deal_cli.config import ToneConfig
from deal_cli.imaging.whole import make_folder, written_whole

if TYPE_CHECKING:
    from torch import Tensor

    from deal_cli.model.tone import TonePredictor

LEAST_CROP = 0.5  # of each edge of the picture
THINNING = 4  # pixels averaged along each edge before training
NOISE = 0.01  # largest standard deviation of the noise that a restored picture may still hold


def train_tone(
    pictures: Sequence[NDArray[np.float32]],
    config: ToneConfig,
    on_step: Callable[[int, int, float], None] | None = None,
) -> TonePredictor:
    """A predictor trained on clean pictures `(H, W)` in [0, 1]."""
    import torch

    from deal_cli.model.tone import TonePredictor, curve

    # A thumbnail's pixels are means of many: averaging some of them beforehand changes little.
    thinned = [
        torch.nn.functional.avg_pool2d(torch.from_numpy(picture)[None], THINNING)[0].numpy()
        for picture in pictures
    ]
    torch.manual_seed(config.seed)
    predictor = TonePredictor(config.width).train()
    optimiser = torch.optim.AdamW(predictor.parameters(), config.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps)
    for step in range(config.steps):
        rng = np.random.default_rng((config.seed, step))
        changed, clean, log_gain = _draw_batch(thinned, config.batch, rng)
        estimate = predictor(changed)
        error = (estimate[:, 0] - log_gain).abs()
        # The last output is the expected error: the likelihood of a Laplace distribution.
        log_error = estimate[:, 3].clamp(-5.0, 1.0)
        likelihood = (error * torch.exp(-log_error) + log_error).mean()
        loss = 10 * (curve(changed, estimate) - clean).abs().mean() + 0.1 * likelihood
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if on_step is not None:
            on_step(step + 1, config.steps, float(loss.detach()))
    return predictor.eval()


def copy_tone(init: str, folder: Path) -> None:
    """Keep the predictor that belongs to the weights `init` beside what is trained from them.

    Raises:
        WeightsError: it is damaged.
        OutputError: it cannot be written.
    """
    from deal_cli.model.weights import TONE, find, tone_of

    data = tone_of(find(init).path).path.read_bytes()
    make_folder(folder)
    with written_whole(folder / f"{TONE}.safetensors") as stream:
        stream.write(data)


def _draw_batch(
    pictures: Sequence[NDArray[np.float32]], batch: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Changed and clean thumbnails `(B, 1, 64, 64)`, and log of the gain between them `(B,)`."""
    import torch

    from deal_cli.model.degradations import apply, draw
    from deal_cli.model.tone import thumbnail

    clean = torch.cat([thumbnail(_large_crop(pictures, rng)) for _ in range(batch)])
    draws = [draw("tone", rng) for _ in range(batch)]
    severity = np.where(rng.random(batch) < 0.5, 0.0, np.sqrt(rng.random(batch)))
    changed = apply(clean, torch.from_numpy(severity.astype(np.float32)), draws)
    sigma = NOISE * torch.from_numpy(rng.random((batch, 1, 1, 1), np.float32))
    noise = torch.from_numpy(rng.standard_normal(changed.shape, np.float32))
    changed = (changed + sigma * noise).clamp(0, 1)
    kept = [1 - s * d.parameters["loss"] for s, d in zip(severity, draws, strict=True)]
    return changed, clean, torch.tensor([-math.log(k) for k in kept])


def _large_crop(
    pictures: Sequence[NDArray[np.float32]], rng: np.random.Generator
) -> NDArray[np.float32]:
    """At least half of each edge of a random picture, perhaps mirrored."""
    picture = pictures[int(rng.integers(len(pictures)))]
    height, width = (int(edge * rng.uniform(LEAST_CROP, 1)) for edge in picture.shape)
    top, left = (
        int(rng.integers(edge - part + 1))
        for edge, part in zip(picture.shape, (height, width), strict=True)
    )
    crop = picture[top : top + height, left : left + width]
    return np.flip(crop, axis=1) if rng.random() < 0.5 else crop
