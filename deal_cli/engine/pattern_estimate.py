"""Finding the fixed pattern of a sequence, by robust statistics over its different views.

What the network removes from a single frame is the pattern and an error that moves with the
scene. Over many views the error averages out (a midmean a pixel), and what the network left,
because a single frame does not show it, is in the median over time of what remains: of column and
row means at the scale of stripes, and of fine detail at the scale of pixels. Scenes have edges in
few places at a time, so a median forgets them.

A part of the scene that stands still, such as a bonnet or a horizon, would be taken for pattern.
So views have to differ; a place with far more detail than the rest of the picture keeps it; and
what one half of the views says must be what the other half says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deal_cli.engine.pattern import TO_SIGMA, Pattern

MOST_FRAMES, MOST_PIXELS = 64, 2**25  # that are looked at, of all frames together
LEAST_VIEWS = 8
LIKENESS = 0.5  # correlation from which on two frames are one view
RELIABILITY = 0.5  # of the two halves, below which there is no pattern

VIEW_SIGMAS = (1.5, 6.0)  # pixels: the scale of detail by which views are told apart
COLUMN_SIGMA, ROW_SIGMA = 16.0, 8.0  # pixels: what is wider belongs to the scene
PIXEL_SIGMAS = (1.5, 4.0)  # pixels
SCENE_SIGMA = 1.5  # pixels: of the scene that a pixel's gain is measured on
ROUNDS = 2

CLIP = 4.0  # standard deviations of the pattern beyond which detail is the scene's
CROWD, CROWD_EDGE = 3.0, 9  # energy, against the picture's, and pixels that it is measured over
DEAD = 8.0  # standard deviations of the offset from which on a pixel is dead
UNRESPONSIVE, SURELY = 0.5, 0.12  # gain below which a pixel is dead, and its standard error
MEDIAN_ERROR = 1.2533  # of a median, in standard errors of a mean

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Finding:
    """A pattern, or why there is none; `reason` is for people either way."""

    pattern: Pattern | None
    reason: str


def sample_count(height: int, width: int) -> int:
    """How many frames of this size are worth looking at."""
    return min(MOST_FRAMES, max(LEAST_VIEWS, MOST_PIXELS // (height * width)))


def estimate(samples: Sequence[Values], restored: Sequence[Values], dtype: str) -> Finding:
    """The fixed pattern of a sequence.

    Args:
        samples: frames `(H, W)` from all over the sequence, in order, gaps filled.
        restored: the same frames, each restored by itself, tone kept.
        dtype: of the files.
    """
    chosen = different_views(restored)
    if len(chosen) < LEAST_VIEWS:
        one = "one view" if len(chosen) == 1 else f"{len(chosen)} different views"
        return Finding(
            None,
            f"too little motion to tell a fixed pattern from the scene ({one} in {len(samples)} "
            "frames looked at); frames are restored by themselves",
        )
    seen = np.stack([samples[at] for at in chosen])
    clean = np.stack([restored[at] for at in chosen])
    half = len(chosen) // 2
    offset = _offset(seen, clean)
    parts = slice(half), slice(half, None)
    halves = [_offset(seen[part], clean[part], rounds=1) for part in parts]
    together = float(np.corrcoef([one.ravel() for one in halves])[0, 1])
    reliability = 2 * together / (1 + together) if together > 0 else 0.0
    if not reliability >= RELIABILITY:
        return Finding(None, "no fixed pattern that all parts of the sequence agree on")
    pattern, noise = _with_gain(seen, clean, offset, dtype)
    if pattern.spread < noise / np.sqrt(len(chosen)) and not pattern.dead.any():
        return Finding(None, "no fixed pattern above the noise")
    return Finding(
        pattern,
        f"fixed pattern of {pattern.spread:.3g} (standard deviation) and "
        f"{int(pattern.dead.sum())} dead pixels from {len(chosen)} views",
    )


def different_views(restored: Sequence[Values]) -> list[int]:
    """The indices of frames that show different scenes, as far as their detail tells."""
    kept: list[int] = []
    details: list[Values] = []
    for at, frame in enumerate(restored):
        detail = _scene_detail(frame)
        if all(float(np.dot(detail, other)) < LIKENESS for other in details):
            kept.append(at)
            details.append(detail)
    return kept


def _scene_detail(frame: Values) -> Values:
    """Detail of unit length, every second pixel, without rows, columns and outliers."""
    import cv2

    fine, coarse = (cv2.GaussianBlur(frame, (0, 0), sigma) for sigma in VIEW_SIGMAS)
    detail = fine - coarse
    detail -= np.median(detail, axis=0)[None, :]
    detail -= np.median(detail, axis=1)[:, None]
    limit = 3 * TO_SIGMA * float(np.median(np.abs(detail)))
    flat = np.clip(detail, -limit, limit)[::2, ::2].ravel()
    flat -= flat.mean()
    unit: Values = flat / max(float(np.linalg.norm(flat)), 1e-12)
    return unit


def _offset(seen: Values, clean: Values, rounds: int = ROUNDS) -> Values:
    """The offset `(H, W)` of views `(N, H, W)` and what is restored of them, mean 0."""
    offset = _midmean(seen - clean)
    rest = seen - offset
    for _ in range(rounds):
        for axis, sigma in ((1, COLUMN_SIGMA), (2, ROW_SIGMA)):
            # A median within the frame first: things of the scene cover a part of a column.
            profiles = np.stack([_detail(p, sigma) for p in np.median(rest, axis=axis)])
            step = np.expand_dims(_agreed(profiles[:, None])[0], axis - 1)
            offset = offset + step
            rest -= step
        for sigma in PIXEL_SIGMAS:
            step = _uncrowded(_agreed(np.stack([_detail(view, sigma) for view in rest])))
            offset += step
            rest -= step
    offset -= offset.mean()
    return np.ascontiguousarray(offset, np.float32)


def _with_gain(seen: Values, clean: Values, offset: Values, dtype: str) -> tuple[Pattern, float]:
    """The pattern with gain and dead pixels, from how what remains follows the scene.

    And the usual deviation over time of what remains at a pixel: noise, and the scene's detail.
    """
    import cv2

    pivot = float(np.median(clean))
    scene = np.stack([cv2.GaussianBlur(view, (0, 0), SCENE_SIGMA) for view in clean])
    rest = seen - offset
    rest -= scene
    scene -= scene.mean(0)
    rest -= np.median(rest, axis=0)
    limit = 3 * TO_SIGMA * np.median(np.abs(rest), axis=0)
    noise = np.maximum(TO_SIGMA * np.median(np.abs(rest), axis=0), 1e-6)
    np.clip(rest, -limit, limit, out=rest)
    power = np.maximum((scene**2).sum(0), 1e-6)
    slope = (rest * scene).sum(0) / power
    error = noise / np.sqrt(power)
    typical = float(np.median(noise))
    unresponsive = (1 + slope < UNRESPONSIVE) & (error < SURELY)
    # Columns share an amplifier: their gain first, from all their pixels, then each pixel's own.
    weights = 1 / error**2
    column = (slope * weights).sum(0) / weights.sum(0)
    column = _shrunk(column - np.median(column), 1 / np.sqrt(weights.sum(0)))
    own = _shrunk(slope - column, error)
    gain = np.clip(1 + column + own, UNRESPONSIVE, 1 / UNRESPONSIVE).astype(np.float32)
    gain /= np.median(gain)
    # The offset was found about each pixel's own mean scene: move it to the pivot.
    level = cv2.GaussianBlur(clean.mean(0), (0, 0), SCENE_SIGMA)
    offset = offset - (gain - 1) * (level - np.float32(pivot))
    offset = offset - offset.mean()
    spike = offset - cv2.medianBlur(np.ascontiguousarray(offset, np.float32), 5)
    spread = TO_SIGMA * float(np.median(np.abs(spike)))
    dead = unresponsive | (np.abs(spike) > DEAD * max(spread, typical / np.sqrt(len(seen))))
    dead |= noise > DEAD * typical
    offset = np.where(dead, 0, offset).astype(np.float32)
    offset -= offset.mean()
    gain = np.where(dead, 1, gain).astype(np.float32)
    return Pattern(offset, gain, dead, pivot, len(seen), dtype), typical


def _detail(values: Values, sigma: float) -> Values:
    """What a Gaussian blur takes away, of a picture or of a profile `(W,)`."""
    import cv2

    picture = values if values.ndim == 2 else values[None]
    detail = picture - cv2.GaussianBlur(picture, (0, 0), sigma)
    return np.asarray(detail if values.ndim == 2 else detail[0], np.float32)


def _agreed(details: Values) -> Values:
    """The median over time of `(N, ...)`, less where it is no larger than its own error.

    Outliers among its places are the scene's.
    """
    middle = np.median(details, axis=0)
    spread = TO_SIGMA * np.median(np.abs(details - middle), axis=0)
    sigma = TO_SIGMA * float(np.median(np.abs(middle)))
    middle = np.where(np.abs(middle) <= CLIP * sigma, middle, 0)
    return _shrunk(middle, MEDIAN_ERROR * spread / np.sqrt(len(details)))


def _uncrowded(step: Values) -> Values:
    """The step without places that have far more of it than the picture: still scene detail."""
    import cv2

    energy = cv2.boxFilter(step**2, -1, (CROWD_EDGE, CROWD_EDGE))
    usual = max(float(np.median(energy)), 1e-12)
    weight = np.clip(2 - energy / (CROWD * usual), 0, 1)
    return np.asarray(step * weight, np.float32)


def _shrunk(values: Values, error: Values) -> Values:
    """Values less the share of them that their standard error explains."""
    share = np.maximum(0, 1 - error**2 / np.maximum(values**2, 1e-20))
    return np.asarray(values * share, np.float32)


def _midmean(stack: Values) -> Values:
    """The mean of the middle half over the first axis."""
    ordered = np.sort(stack, axis=0)
    quarter = len(stack) // 4
    middle: Values = ordered[quarter : len(stack) - quarter].mean(0)
    return middle
