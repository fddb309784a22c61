"""Pictures for the documentation, made of drawn scenes and the bundled weights.

`python -m deal_cli.jobs.illustrations docs` makes `before-after.png`, three degradations of the
protocol above what is restored of them, and `severities.png`, attacks of N_G at five severities
likewise.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deal_cli.engine.backends.choice import Request
from deal_cli.engine.degrader import Degrader
from deal_cli.engine.restorer import Restorer, Settings, open_restorer
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import write_frame
from deal_cli.imaging.frame import Frame
from deal_cli.jobs.degrade.run import SEVERITIES
from deal_cli.jobs.protocol.tasks import degrade_for_task

TASKS = ("stripe10", "noise", "stripe_sr4")
HEIGHT, WIDTH, GAP = 256, 320, 6
SCENES = 3  # of the severities


def before_and_after(restorer: Restorer) -> list[list[Frame]]:
    """A row of degraded pictures above a row of restored ones."""
    before = []
    for seed, task in enumerate(TASKS):
        scene = draw_scene(seed, HEIGHT, WIDTH).values / np.float32(255)
        degraded = degrade_for_task(scene, task, "drawn", str(seed)).astype(np.float32)
        before.append(Frame(degraded, np.dtype(np.uint8)))
    return [before, _restored(restorer, before)]


def severities(restorer: Restorer) -> list[list[Frame]]:
    """For each scene: the same attack from least to most severe, above what is restored of it."""
    import torch

    from deal_cli.model.weights import GENERATOR, load_generator

    degrader = Degrader(torch.device("cpu"), load_generator(GENERATOR))
    rows = []
    for seed in range(SCENES):
        scene = draw_scene(seed, HEIGHT, WIDTH)
        before = [
            degrader.degrade(scene, np.random.default_rng(seed), severity).frame
            for severity in SEVERITIES.values()
        ]
        rows += [before, _restored(restorer, before)]
    return rows


def _restored(restorer: Restorer, frames: Sequence[Frame]) -> list[Frame]:
    return [restorer.restore(frame).frame for frame in frames]


def _sheet(rows: Sequence[Sequence[Frame]]) -> Frame:
    """Rows of pictures with white gaps between them."""
    values = _spaced([_spaced([frame.values for frame in row], 1) for row in rows], 0)
    return Frame(values, np.dtype(np.uint8))


def _spaced(parts: Sequence[NDArray[np.float32]], axis: int) -> NDArray[np.float32]:
    shape = list(parts[0].shape)
    shape[axis] = GAP
    gap = np.full(shape, 255, np.float32)
    return np.concatenate([piece for part in parts for piece in (gap, part)][1:], axis=axis)


def main(folder: Path) -> None:
    """Write both pictures."""
    restorer, _ = open_restorer(Request(), Settings(tone="keep"))
    write_frame(_sheet(before_and_after(restorer)), folder / "before-after.png")
    write_frame(_sheet(severities(restorer)), folder / "severities.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
