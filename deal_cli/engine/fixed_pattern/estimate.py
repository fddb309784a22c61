"""Finding the fixed pattern of a sequence, by robust statistics over its different views.

What the network removes from a single frame is the pattern and an error that moves with the
scene. Over many views the error averages out (a midmean a pixel), and what the network left,
because a single frame does not show it, is in the median over time of what remains: of column and
row means at the scale of stripes, and of fine detail at the scale of pixels. Scenes have edges in
few places at a time, so a median forgets them.

A part of the scene that stands still, such as a bonnet, a tracked target or a burnt-in text, would
be taken for pattern. So there has to be motion, shown by what differs between views beyond noise;
places where detail stands still keep it; and what one half of the views says must be what the
other half says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal_cli.engine.fixed_pattern.dead_pixels import DEAD, filled, find_spikes, small
from deal_cli.engine.fixed_pattern.detail import TO_SIGMA, detail_of
from deal_cli.engine.fixed_pattern.motion import LIKENESS, different_views, motion
from deal_cli.engine.fixed_pattern.pattern import Pattern

MOST_FRAMES, MOST_PIXELS = 64, 2**25  # that are looked at together
LEAST_VIEWS = 8
RELIABILITY = 0.5  # of the two halves, below which there is no pattern

MOVING = 0.35  # of the energy of detail, the least that has to move
COLUMN_SIGMA, ROW_SIGMA = 16.0, 8.0  # pixels: what is wider belongs to the scene
PIXEL_SIGMAS = (1.5, 4.0)  # pixels
SCENE_SIGMA = 1.5  # pixels: of the scene that a pixel's gain is measured on
ROUNDS = 2

CLIP = 4.0  # standard deviations of the pattern beyond which detail is the scene's
CROWD, CROWD_EDGE = 3.0, 9  # energy, against the picture's, and pixels that it is measured over
VARIED = 8.0  # deviations of the noise that a scene has to vary by for a pixel's gain to show
UNRESPONSIVE, SURELY = 0.5, 0.12  # gain below which a pixel is dead, and its standard error
MEDIAN_ERROR = 1.2533  # of a median, in standard errors of a mean

TOO_STILL = "too little motion to tell a fixed pattern from the scene"

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Finding:
    """A pattern, or why there is none; `reason` is for people either way."""

    pattern: Pattern | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Whether there is one, the standard deviation of its offset, dead pixels, views, why."""
        found = self.pattern
        return {
            "found": found is not None,
            "spread": round(found.spread, 6) if found else None,
            "dead": int(found.dead.sum()) if found else None,
            "views": found.views if found else None,
            "reason": self.reason,
        }


def sample_count(height: int, width: int) -> int:
    """How many frames of this size are looked at; 0 where so many as are needed are too large."""
    fitting = min(MOST_FRAMES, MOST_PIXELS // (height * width))
    return fitting if fitting >= LEAST_VIEWS else 0


@np.errstate(all="ignore")  # floats may hold anything; what comes of it fails the checks
def estimate(samples: Sequence[Values], restored: Sequence[Values], dtype: str) -> Finding:
    """The fixed pattern of a sequence.

    Args:
        samples: frames `(H, W)` from all over the sequence, in order, gaps filled; eight or more.
        restored: the same frames, each restored by itself, tone kept.
        dtype: of the files.
    """
    chosen = different_views(restored)
    looked = f"{len(samples)} frames looked at"
    if len(chosen) < LEAST_VIEWS:
        views = "one view" if len(chosen) < 2 else f"{len(chosen)} different views"
        return Finding(None, f"{TOO_STILL} ({views} in {looked})")
    seen = np.stack([samples[at] for at in chosen])
    clean = np.stack([restored[at] for at in chosen])
    moving, still = motion(seen, clean)
    if not moving >= MOVING:
        share = f"{moving:.0%} of its detail moves" if moving > 0 else "nothing moves beyond noise"
        return Finding(None, f"{TOO_STILL} ({share} in {looked})")
    half = len(chosen) // 2
    offset = _offset(seen, clean, still)
    parts = slice(half), slice(half, None)
    halves = [_offset(seen[part], clean[part], still, rounds=1).ravel() for part in parts]
    together = _likeness(*halves)
    reliability = 2 * together / (1 + together) if together > 0 else 0.0
    if not reliability >= RELIABILITY:
        return Finding(None, "no fixed pattern that all parts of the sequence agree on")
    pattern, noise = _with_gain(seen, clean, offset, still, dtype)
    if pattern.spread < noise / np.sqrt(len(chosen)) and not pattern.dead.any():
        return Finding(None, "no fixed pattern above the noise")
    return Finding(
        pattern,
        f"fixed pattern of {pattern.spread:.3g} (standard deviation) and "
        f"{int(pattern.dead.sum())} dead pixels from {len(chosen)} views",
    )


def _offset(seen: Values, clean: Values, still: Values, rounds: int = ROUNDS) -> Values:
    """The offset `(H, W)` of views `(N, H, W)` and what is restored of them, mean 0.

    Where detail stands still, the network's word alone counts.
    """
    offset = _midmean(seen - clean)
    rest = seen - offset
    axes = ((1, COLUMN_SIGMA), (2, ROW_SIGMA))
    varied = {axis for axis, sigma in axes if _is_varied(np.median(clean, axis=axis), sigma)}
    for _ in range(rounds):
        for axis, sigma in axes:
            if axis in varied:
                # A median within the frame first: things of the scene cover a part of a column.
                profiles = np.stack([detail_of(p, sigma) for p in np.median(rest, axis=axis)])
                step = np.expand_dims(_agreed(profiles[:, None])[0], axis - 1)
                offset = offset + step
                rest -= step
        for sigma in PIXEL_SIGMAS:
            step = _uncrowded(_agreed(np.stack([detail_of(view, sigma) for view in rest])))
            step *= 1 - still
            for axis, _ in axes:
                if axis not in varied:
                    step -= np.median(step, axis=axis - 1, keepdims=True)
            offset += step
            rest -= step
    offset -= offset.mean()
    return np.ascontiguousarray(offset, np.float32)


def _is_varied(profiles: Values, sigma: float) -> bool:
    """Whether profiles `(N, L)` of the restored views differ, as they do not along a level pan.

    A horizon is a line in every frame of one, and would be taken for a row of the pattern.
    """
    kept: list[Values] = []
    for profile in profiles:
        detail = detail_of(profile, sigma)
        length = float(np.linalg.norm(detail))
        if length > 0 and all(float(np.dot(detail / length, one)) < LIKENESS for one in kept):
            kept.append(detail / length)
    return len(kept) >= min(LEAST_VIEWS, len(profiles) // 2)


def _with_gain(
    seen: Values, clean: Values, offset: Values, still: Values, dtype: str
) -> tuple[Pattern, float]:
    """The pattern with gain and dead pixels, from how what remains follows the scene.

    And the usual deviation over time of what remains at a pixel: noise, and the scene's detail.
    """
    import cv2

    pivot = float(np.median(clean))
    # A dead pixel must not be in the scene that its neighbours are measured on.
    spikes, skirted = find_spikes(offset, seen.mean(0))
    scene = np.stack(
        [cv2.GaussianBlur(filled(view, spikes), (0, 0), SCENE_SIGMA) for view in clean]
    )
    rest = seen - offset
    rest -= scene
    scene -= scene.mean(0)
    rest -= np.median(rest, axis=0)
    limit = 3 * TO_SIGMA * np.median(np.abs(rest), axis=0)
    noise = np.maximum(TO_SIGMA * np.median(np.abs(rest), axis=0), 1e-6)
    np.clip(rest, -limit, limit, out=rest)
    power = np.maximum((scene**2).sum(0), 1e-6)
    error = noise / np.sqrt(power)
    # What the network got wrong of the scene is in both, and weighs more where it varies little.
    known = power > len(seen) * (VARIED * noise) ** 2
    slope = np.where(known, (rest * scene).sum(0) / power, 0)
    typical = float(np.median(noise))
    unresponsive = known & (1 + slope < UNRESPONSIVE) & (error < SURELY)
    # Columns share an amplifier: their gain first, from all their pixels, then each pixel's own.
    weights = np.where(known, 1 / error**2, 1e-12)
    column = (slope * weights).sum(0) / weights.sum(0)
    column = _shrunk(column - np.median(column), 1 / np.sqrt(weights.sum(0)))
    own = np.where(known, _shrunk(slope - column, error), 0)
    gain = np.clip(1 + column + own, UNRESPONSIVE, 1 / UNRESPONSIVE).astype(np.float32)
    gain /= np.median(gain)
    # The offset was found about each pixel's own mean scene: move it to the pivot.
    level = cv2.GaussianBlur(filled(clean.mean(0), spikes), (0, 0), SCENE_SIGMA)
    offset = offset - (gain - 1) * (level - np.float32(pivot))
    # Pixels that flicker alone, or do not follow the scene, beside those that stand out.
    around = cv2.medianBlur(np.ascontiguousarray(noise, np.float32), 5)
    alone = noise > DEAD * np.maximum(around, typical)
    dead = spikes | (small(alone | unresponsive) & ~skirted)
    dead &= still == 0
    offset = np.where(dead, 0, offset).astype(np.float32)
    offset -= offset.mean()
    gain = np.where(dead, 1, gain).astype(np.float32)
    return Pattern(offset, gain, dead, pivot, len(seen), dtype), typical


def _likeness(one: Values, other: Values) -> float:
    """The correlation of two flat arrays of mean 0; 0 where one of them is constant."""
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float(np.dot(one, other)) / lengths if 0 < lengths < np.inf else 0.0


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
