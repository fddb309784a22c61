"""Training pairs: crops of clean pictures, free augmentations, degradations at random.

Everything is drawn from the `rng` that is passed in, so that batch number n of a run is the same
whether the run came there at once or was resumed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deal_cli.config import SamplerConfig, TrainConfig
from deal_cli.model.sampler import Recipe, average, replay, sample

CONTRAST = (0.4, 1.8)  # of the free tone augmentation, log-uniform
MEAN = (0.2, 0.8)
GRAIN_SOFT_ODDS, GRAIN_SOFTNESS = 0.5, 1.0  # share of grain that a camera has smoothed; σ in pixels
FWHM_PER_SIGMA = 2.3548  # of a Gaussian
SPOTS = (2, 24)  # drawn into a crop, where any are
SPOT_FWHM = (1.8, 6.0)  # pixels, log-uniform: a point behind a lens, and a little more
SPOT_CONTRAST = (0.04, 0.8)  # uniform; one in four is colder than what is around it
FRONT_ODDS = 0.25  # of drawing a front of windows in their place
SHAPE_ODDS = 0.35  # of drawing discs, bars and lines
SHAPES = (2, 8)
RADIUS = (2.0, 20.0)  # pixels, log-uniform, of a disc or of half a bar's length
THICKNESS = (0.8, 6.0)  # pixels, log-uniform
HARD_ODDS = 0.4  # share of shapes whose every pixel is within or without
RIM = (0.5, 2.0)  # pixels in which the others end
PITCH = (4.0, 16.0)  # pixels from window to window, log-uniform
PANE = (0.3, 0.7)  # share of it that a window takes
PANE_BLUR = (0.4, 0.9)  # pixels, σ: a pixel's own width, and a lens
EIGHT_BIT_ODDS = 0.7  # share of the inputs that are rounded to 8 bits, as most files are

Pyramid = tuple[NDArray[np.float32], ...]  # one picture at each of the training scales


def draw_clean(
    pyramids: Sequence[Pyramid], count: int, config: TrainConfig, rng: np.random.Generator
) -> Tensor:
    """Clean crops `(count, 1, crop, crop)`, float32 in [0, 1]."""
    crops = [_clean_crop(pyramids, config, rng) for _ in range(count)]
    return torch.from_numpy(np.stack(crops)[:, None])


def degrade_at_random(
    clean: Tensor, config: SamplerConfig, rng: np.random.Generator
) -> tuple[Tensor, list[Recipe]]:
    """Every crop of `(B, 1, H, W)` through a recipe of its own, and the recipes.

    An average of all operations follows none.
    """
    if not len(clean):
        return clean, []
    if config.average:
        return torch.cat([average(crop, config, rng) for crop in clean.split(1)]), []
    degraded, recipes = [], []
    for crop in clean.split(1):
        recipes.append(sample(config, rng))
        degraded.append(replay(crop, recipes[-1]))
    return torch.cat(degraded), recipes


def coded(degraded: Tensor, rng: np.random.Generator) -> Tensor:
    """Crops as their files would hold them: most rounded to 8 bits."""
    rounded = torch.from_numpy(rng.random(len(degraded)) < EIGHT_BIT_ODDS).view(-1, 1, 1, 1)
    return torch.where(rounded.to(degraded.device), (degraded * 255).round() / 255, degraded)


def _clean_crop(
    pyramids: Sequence[Pyramid], config: TrainConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    crop = _augment(_detailed_crop(pyramids, config, rng), rng)
    if rng.random() < config.spot_odds:
        drawn = rng.random()
        others = _shapes if drawn < FRONT_ODDS + SHAPE_ODDS else _spots
        things = _front if drawn < FRONT_ODDS else others
        crop = np.clip(crop + things(crop.shape[0], rng), 0.0, 1.0)
    if rng.random() < config.grain_odds:
        # Below this a camera's noise is part of its pictures, and removing it is not asked for.
        sigma = config.grain_sigma * rng.random()
        crop = np.clip(crop + sigma * _grain(crop.shape, rng), 0.0, 1.0)
    return np.ascontiguousarray(crop, np.float32)


def _detailed_crop(
    pyramids: Sequence[Pyramid], config: TrainConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The more detailed of two random crops: sky and road teach little."""
    odds = np.array(config.scale_odds)
    candidates = []
    for _ in range(2):
        pyramid = pyramids[int(rng.integers(len(pyramids)))]
        picture = pyramid[rng.choice(len(pyramid), p=odds / odds.sum())]
        edge = config.crop
        if config.zoom > 1:
            most = min(config.crop * config.zoom, *picture.shape)
            edge = int(rng.integers(config.crop, int(most) + 1))
        top, left = (int(rng.integers(longer - edge + 1)) for longer in picture.shape)
        crop = picture[top : top + edge, left : left + edge]
        candidates.append(crop if edge == config.crop else _reduced(crop, config.crop, rng))
    return max(candidates, key=lambda c: float(np.abs(np.diff(c, axis=1)).mean()))


def _reduced(crop: NDArray[np.float32], edge: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A crop at a smaller size, by one of three filters, each of which leaves another sharpness."""
    import cv2

    filters = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
    small = cv2.resize(crop, (edge, edge), interpolation=filters[int(rng.integers(3))])
    return np.asarray(small.clip(0.0, 1.0), np.float32)


def _augment(crop: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Flips, transposition, inversion and tone, all of which a clean picture may have."""
    if rng.random() < 0.5:
        crop = crop[::-1]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    if rng.random() < 0.5:
        crop = crop.T
    if rng.random() < 0.3:  # black-hot
        crop = 1 - crop
    if rng.random() < 0.6:
        gain = float(np.exp(rng.uniform(*np.log(CONTRAST))))
        mean = float(rng.uniform(*MEAN))
        crop = np.clip((crop - crop.mean()) * gain + mean, 0.0, 1.0)
    return crop


def _grain(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise of standard deviation 1, white or as a camera's own filters have left it."""
    import cv2

    noise = rng.standard_normal(shape, np.float32)
    if rng.random() < GRAIN_SOFT_ODDS:
        softness = float(rng.uniform(0.3, GRAIN_SOFTNESS))
        noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), softness), np.float32)
        noise /= max(float(noise.std()), 1e-6)
    return noise


def _spots(edge: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Small hot and cold things as a lens draws them, `(edge, edge)`, to be added to a crop.

    The fifty pictures hold hardly any, and what a network has never seen it takes for noise or
    for a dead pixel. A dead pixel has no skirt; these have.
    """
    line = np.arange(edge)
    field = np.zeros((edge, edge), np.float32)
    for _ in range(int(rng.integers(SPOTS[0], SPOTS[1] + 1))):
        sigma = float(np.exp(rng.uniform(*np.log(SPOT_FWHM)))) / FWHM_PER_SIGMA
        contrast = float(rng.uniform(*SPOT_CONTRAST))
        sign = 1 if rng.random() < 0.75 else -1
        across, down = (
            np.exp(-0.5 * ((line - rng.uniform(0, edge)) / sigma) ** 2) for _ in range(2)
        )
        field += (sign * contrast * np.outer(down, across)).astype(np.float32)
    return field


def _shapes(edge: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Discs, bars and lines with edges as hard as pixels have them, as `_spots`.

    A railing, a cable, the rim of a hot pipe: sharp cameras show them one or two pixels wide, with
    steps where an edge is slanted. Soft truth alone teaches to smooth both away.
    """
    y, x = np.mgrid[:edge, :edge].astype(np.float64)
    field = np.zeros((edge, edge), np.float32)
    for _ in range(int(rng.integers(SHAPES[0], SHAPES[1] + 1))):
        across, down = x - rng.uniform(0, edge), y - rng.uniform(0, edge)
        radius = float(np.exp(rng.uniform(*np.log(RADIUS))))
        if rng.random() < 0.4:
            depth = radius - np.hypot(across, down)
        else:
            angle = rng.uniform(0, np.pi) if rng.random() < 0.7 else rng.choice((0.0, np.pi / 2))
            along = across * np.cos(angle) + down * np.sin(angle)
            aside = down * np.cos(angle) - across * np.sin(angle)
            half = float(np.exp(rng.uniform(*np.log(THICKNESS)))) / 2
            depth = np.minimum(half - np.abs(aside), 2 * radius - np.abs(along))
        rim = 1e-6 if rng.random() < HARD_ODDS else rng.uniform(*RIM)
        warmth = rng.choice((-1, 1)) * rng.uniform(*SPOT_CONTRAST)
        field += (warmth * np.clip(depth / rim + 0.5, 0, 1)).astype(np.float32)
    return field


def _front(edge: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Rows of equal windows over a part of a crop, as `_spots`.

    Regular small things fall in with what enlarging and JPEG leave in a picture, and roads and
    trees hold none: without these a network sharpens every house front.
    """

    def panes() -> NDArray[np.float64]:
        """`(edge, N)`, how much of each pixel along an axis belongs to each of N windows."""
        from scipy.special import ndtr

        pitch = float(np.exp(rng.uniform(*np.log(PITCH))))
        starts = rng.uniform(0, pitch) + np.arange(0, edge, pitch)
        along, blur = np.arange(edge)[:, None], rng.uniform(*PANE_BLUR)
        stops = starts + pitch * rng.uniform(*PANE)
        return np.asarray(ndtr((along - starts) / blur) - ndtr((along - stops) / blur))

    down, across = panes(), panes()
    rows, columns = down.shape[1], across.shape[1]
    warmth = (
        rng.choice((-1, 1)) * rng.uniform(*SPOT_CONTRAST) * rng.uniform(0.3, 1, (rows, columns))
    )
    warmth[int(rng.integers(1, rows + 1)) :] = 0
    warmth[:, int(rng.integers(1, columns + 1)) :] = 0
    return np.asarray(down @ warmth @ across.T, np.float32)
