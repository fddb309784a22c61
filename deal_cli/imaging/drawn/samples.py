"""The three degraded pictures of `docs/samples`, drawn and spoiled here.

`python -m deal_cli.imaging.drawn.samples docs/samples` makes them again, pixel for pixel.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.random import Generator

from deal_cli.imaging.drawn.scenes import Canvas, draw_scene
from deal_cli.imaging.files import write_frame
from deal_cli.imaging.frame import Frame

HEIGHT, WIDTH = 384, 512


def write_samples(folder: Path) -> list[Path]:
    """Write the samples into a folder, which is made if need be, and return their paths.

    - `stripes-8bit.png`: grey levels with the column stripes of an uncooled camera;
    - `noise-16bit.png`: counts, out of focus and noisy;
    - `temperature-float32.tif`: degrees Celsius with faint stripes and noise.

    Raises:
        OutputError: the folder cannot be written to.
    """
    samples = {
        "stripes-8bit.png": _striped_levels(),
        "noise-16bit.png": _noisy_counts(),
        "temperature-float32.tif": _temperatures(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in samples.items():
        write_frame(frame, folder / name)
    return [folder / name for name in samples]


def _striped_levels() -> Frame:
    clean = draw_scene(4, HEIGHT, WIDTH, "uint8")
    return replace(clean, values=_stripes(clean.values, 9.0, np.random.default_rng(1)))


def _noisy_counts() -> Frame:
    import cv2

    rng = np.random.default_rng(2)
    clean = draw_scene(1, HEIGHT, WIDTH, "uint16")
    blurred = cv2.GaussianBlur(clean.values, (0, 0), 1.2)
    return replace(clean, values=blurred + _noise(rng, 40.0))


def _temperatures() -> Frame:
    rng = np.random.default_rng(3)
    counts = draw_scene(0, HEIGHT, WIDTH, "uint16").values
    degrees = (counts - 7000) * np.float32(0.018) - np.float32(6)
    values = _stripes(degrees, 0.6, rng) + _noise(rng, 0.25)
    # To a hundredth of a degree, finer than any camera, so that the file stays small.
    return Frame(np.round(values, 2).astype(np.float32), np.dtype(np.float32))


def _stripes(values: Canvas, sigma: float, rng: Generator) -> Canvas:
    """Column stripes of gain and offset; `sigma` in the values' units."""
    offset = rng.normal(0, sigma, (1, WIDTH)).astype(np.float32)
    gain = 1 + rng.normal(0, 0.02, (1, WIDTH)).astype(np.float32)
    mean = values.mean()
    striped: Canvas = mean + gain * (values - mean) + offset
    return striped


def _noise(rng: Generator, sigma: float) -> Canvas:
    return sigma * rng.standard_normal((HEIGHT, WIDTH), np.float32)


if __name__ == "__main__":
    write_samples(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/samples"))
