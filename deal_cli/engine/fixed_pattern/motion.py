"""Whether a scene moves, and where in the picture it does not.

What stands still in a sequence may be the camera's fixed pattern or a scene that does not move;
only a scene that is seen to move tells one from the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deal_cli.engine.fixed_pattern.detail import TO_SIGMA, detail_of

LIKENESS = 0.5  # correlation from which on two frames are one view
VIEW_SIGMAS = (1.5, 6.0)  # pixels: the scale of detail by which views are told apart
NOISE_SIGMA = 1.0  # pixels: finer detail is noise, as far as it differs between frames
AREA = 17  # pixels: the edge of the squares that motion is judged in
LEAST_TEXTURE = 0.02  # of the picture that needs detail above noise to judge motion by
STILL = 0.25  # of the energy of a place's detail: where less moves, it stands still
OUTSTANDING = 3.0  # times the usual energy of what is the same: less may be left of a pattern

Values = NDArray[np.float32]


def different_views(restored: Sequence[Values]) -> list[int]:
    """The indices of frames that show different scenes, as far as their detail tells."""
    kept: list[int] = []
    details: list[Values] = []
    for at, frame in enumerate(restored):
        detail = _scene_detail(frame)
        if detail.any() and all(float(np.dot(detail, other)) < LIKENESS for other in details):
            kept.append(at)
            details.append(detail)
    return kept


def _scene_detail(frame: Values) -> Values:
    """Detail of unit length, every second pixel, without rows, columns and outliers; or zeros."""
    detail = _band(frame)
    detail -= np.median(detail, axis=0)[None, :]
    detail -= np.median(detail, axis=1)[:, None]
    limit = 3 * TO_SIGMA * float(np.median(np.abs(detail)))
    flat = np.clip(detail, -limit, limit)[::2, ::2].ravel()
    flat -= flat.mean()
    length = float(np.linalg.norm(flat))
    unit: Values = flat / length if 0 < length < np.inf else np.zeros_like(flat)
    return unit


def motion(seen: Values, clean: Values) -> tuple[float, Values]:
    """How much of the scene's detail moves between views, and where detail stands still.

    The fixed pattern has no part in what differs between frames, and noise has a known one: what
    it is in fine detail, it is in coarser detail by the filters' gain. What differs beyond that
    moves. What is the same in the restored frames, noise aside, stands still: detail of the scene,
    or the little of the pattern that the network left, which is much the same everywhere.

    Args:
        seen: views `(N, H, W)`.
        clean: what is restored of them.

    Returns:
        The median share of energy that moves, over places with detail above noise, NaN without
        any; and for each pixel 1 where detail stands still, 0 where not, `(H, W)`.
    """
    import cv2

    details = np.stack([_band(view) for view in clean])
    fine = np.stack([detail_of(view, NOISE_SIGMA) for view in seen])
    impulse = np.zeros((65, 65), np.float32)
    impulse[32, 32] = 1
    gain = float((_band(impulse) ** 2).sum() / (detail_of(impulse, NOISE_SIGMA) ** 2).sum())

    def area(values: Values) -> Values:
        return np.asarray(cv2.boxFilter(values, -1, (AREA, AREA)), np.float32)

    noise = gain * area(fine.var(0, ddof=1))
    differs = area(details.var(0, ddof=1))
    moving = np.maximum(differs - noise, 0)
    same = np.maximum(area(details.mean(0) ** 2) - differs / len(details), 0)
    share = moving / np.maximum(moving + same, 1e-20)
    textured = moving + same > noise
    usual = float(np.median(same))
    still = textured & (share < STILL) & (same > OUTSTANDING * usual)
    if textured.mean() < LEAST_TEXTURE:
        return float("nan"), still.astype(np.float32)
    return float(np.median(share[textured])), still.astype(np.float32)


def _band(frame: Values) -> Values:
    """Detail between `VIEW_SIGMAS`, `(H, W)`."""
    import cv2

    fine, coarse = (cv2.GaussianBlur(frame, (0, 0), sigma) for sigma in VIEW_SIGMAS)
    return np.asarray(fine - coarse, np.float32)
