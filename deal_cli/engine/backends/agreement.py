"""Whether two forms of a network restore alike: lower precision is used only where they do."""

from __future__ import annotations

import numpy as np

from deal_cli.engine.backends.contract import Batch
from deal_cli.imaging.drawn.scenes import draw_scene

PRECISION_FLOOR = 50.0  # dB against float32, below which lower precision is not used
LEAST_ERROR = 1e-12  # mean square; what is alike to the last bit is 120 dB apart


def check_pictures() -> Batch:
    """Drawn scenes, one clean and one striped and noisy, `(2, 1, 192, 256)` in [0, 1]."""
    clean = draw_scene(0, 192, 256).values / np.float32(255)
    rng = np.random.default_rng(0)
    noisy = clean + rng.normal(0, 0.05, (1, 256)) + rng.normal(0, 0.02, clean.shape)
    return np.stack([clean, np.clip(noisy, 0, 1).astype(np.float32)])[:, None]


def agreement(expected: Batch, restored: Batch) -> float:
    """PSNR in dB between two restorations of the same pictures; not a number where one has none."""
    error = np.square(restored.astype(np.float64) - expected).mean()
    return float(-10 * np.log10(np.maximum(error, LEAST_ERROR)))
