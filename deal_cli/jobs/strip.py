"""A before-and-after picture of drawn scenes, each with a degradation of its own.

`python -m deal_cli.jobs.strip docs/before-after.png` makes the one in the README.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deal_cli.engine.backends import Request
from deal_cli.engine.restorer import Settings, open_restorer
from deal_cli.imaging.files import write_frame
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.scenes import draw_scene
from deal_cli.jobs.protocol import degrade_for_task

TASKS = ("stripe10", "noise", "stripe_sr4")
HEIGHT, WIDTH, GAP = 256, 320, 6


def before_and_after(path: Path) -> None:
    """Write a row of degraded pictures above a row of restored ones."""
    restorer, _ = open_restorer(Request(), Settings(tone="keep"))
    before, after = [], []
    for seed, task in enumerate(TASKS):
        scene = draw_scene(seed, HEIGHT, WIDTH).values / np.float32(255)
        degraded = degrade_for_task(scene, task, "drawn", str(seed)).astype(np.float32)
        before.append(degraded)
        after.append(restorer.restore(Frame(degraded, np.dtype(np.uint8))).frame.values)
    values = np.concatenate([_row(before), np.full((GAP, _row(after).shape[1]), 255), _row(after)])
    write_frame(Frame(values.astype(np.float32), np.dtype(np.uint8)), path)


def _row(pictures: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Pictures side by side with white gaps between them."""
    gap = np.full((HEIGHT, GAP), 255, np.float32)
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return np.concatenate(parts, axis=1)


if __name__ == "__main__":
    before_and_after(Path(sys.argv[1]))
