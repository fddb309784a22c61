"""Which pictures of a training are kept for validation: whole scenes, so that none is learnt.

Frames of one scene are so alike that a network which has learnt some knows the others; a validation
on those would choose what remembers best. Scenes are found by what their edges look like, coarsely,
which neither gain, offset nor white-hot against black-hot changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_PICTURES = 10  # that are worth holding out for their number
SHARE = 6  # one picture in so many is held out
LARGEST_SHARE = 3  # whole scenes may take one in so many

CELLS, CELL_EDGE, ORIENTATIONS = 6, 4, 4  # cells along an edge, pixels of one, bins of 180 degrees
# Both were chosen on 50 pictures of streets from a moving car (M3FD, its eleven scenes told apart
# by eye): pictures of two scenes reach a similarity of .64, and some of one scene fall to .37. Too
# low a threshold joins scenes and only costs choice; too high a one lets a scene be on both sides.
# At these the pictures make six groups and one picture alone leaves its scene. Other pictures: the
# frames of a film have .9, drawn scenes .5 at most and .2 mostly.
SIMILAR = 0.5
# Names mostly follow time, and a picture next to another needs less to be of its scene.
NEIGHBOURS_SIMILAR = 0.35

Pictures = Sequence[NDArray[np.float32]]


@dataclass(frozen=True)
class Holdout:
    """What is kept for validation.

    Attributes:
        indices: of the pictures, ascending; one or more.
        words: how they were chosen, in one sentence without a full stop.
    """

    indices: tuple[int, ...]
    words: str


def hold_out(pictures: Pictures, least: int) -> Holdout:
    """Choose about a sixth of the pictures, at most about ten, in whole scenes.

    The scenes least like any other go first: where the grouping errs, they are the last to have a
    part on the other side. The choice depends on the pictures and their order alone, so that
    trainings with different seeds are validated on the same ones.

    Args:
        pictures: `(H, W)` each, `[0, 1]`, of any sizes, in the natural order of their names.
        least: pictures that must be left, less than there are.
    """
    count = len(pictures)
    aim = max(1, min(MOST_PICTURES, round(count / SHARE), count - least))
    most = max(1, min(count // LARGEST_SHARE, count - least))
    similarity = _similarity(pictures)
    labels = _link(similarity)
    scenes = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    if len(scenes) == 1:
        return _last(count, aim, "they seem to be of one scene")
    held: list[NDArray[np.intp]] = []
    for scene in sorted(scenes, key=lambda scene: _nearest(similarity, scene)):
        taken = sum(map(len, held))
        if taken < aim and taken + len(scene) <= most:
            held.append(scene)
    if not held:
        return _last(count, aim, f"none of {len(scenes)} scenes is small enough to be kept whole")
    indices = sorted(int(i) for scene in held for i in scene)
    words = (
        f"{len(indices)} of {count} pictures, {len(held)} of {len(scenes)} scenes,"
        f" {_are(len(indices))} kept for validation"
    )
    return Holdout(tuple(indices), words)


def group_scenes(pictures: Pictures) -> NDArray[np.intp]:
    """The number of each picture's scene, `(N,)`, from 0 in the order of their first pictures.

    Args:
        pictures: `(H, W)` each, `[0, 1]`, of any sizes, in the natural order of their names.
    """
    return _link(_similarity(pictures))


def _last(count: int, aim: int, reason: str) -> Holdout:
    """The last pictures in a row: frames that were taken next to each other leak least so."""
    which = f"the last {aim}" if aim > 1 else "the last one"
    words = f"{which} of {count} pictures {_are(aim)} kept for validation, as {reason}"
    return Holdout(tuple(range(count - aim, count)), words)


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _similarity(pictures: Pictures) -> NDArray[np.float32]:
    """`(N, N)`, -1 to 1."""
    described = np.stack([_describe(picture) for picture in pictures])
    return np.asarray(described @ described.T, np.float32)


def _describe(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much of an edge there is in each cell and orientation, as a vector of length 1.

    Histograms of oriented gradients (Dalal and Triggs, CVPR 2005, doi:10.1109/CVPR.2005.177),
    for whole pictures. Every street is dark above and bright below, so that plain thumbnails of
    different ones are as alike as those of one.
    """
    import cv2

    edge = CELLS * CELL_EDGE
    small = cv2.resize(picture, (edge, edge), interpolation=cv2.INTER_AREA)
    across, down = cv2.Sobel(small, cv2.CV_32F, 1, 0), cv2.Sobel(small, cv2.CV_32F, 0, 1)
    # The root keeps one bright car from being all that a picture is known by.
    strength = np.sqrt(np.hypot(across, down))
    angle = np.arctan2(down, across) % np.pi / np.pi  # of neither direction: black-hot is the same
    bins = (angle * ORIENTATIONS).astype(int) % ORIENTATIONS
    by_bin = np.where(bins == np.arange(ORIENTATIONS)[:, None, None], strength, 0)
    cells = by_bin.reshape(ORIENTATIONS, CELLS, CELL_EDGE, CELLS, CELL_EDGE).mean((2, 4))
    vector = cells.ravel() - cells.mean()
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-6), np.float32)


def _link(similarity: NDArray[np.float32]) -> NDArray[np.intp]:
    """Single linkage: who is like one of a scene is of that scene."""
    count = len(similarity)
    linked = similarity > SIMILAR
    first = np.arange(count - 1)
    near = similarity[first, first + 1] > NEIGHBOURS_SIMILAR
    linked[first, first + 1] |= near
    linked[first + 1, first] |= near
    labels = np.full(count, -1, np.intp)
    for seed in range(count):
        if labels[seed] >= 0:
            continue
        label, reached = labels.max() + 1, np.array([seed])
        while len(reached):
            labels[reached] = label
            reached = np.flatnonzero(linked[reached].any(0) & (labels < 0))
    return labels


def _nearest(similarity: NDArray[np.float32], scene: NDArray[np.intp]) -> float:
    """How like the most similar picture of another scene is."""
    others = np.delete(similarity[scene], scene, axis=1)
    return float(others.max())
