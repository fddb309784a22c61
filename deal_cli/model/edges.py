"""What became of the edges: whether they are still there, as strong and in the same direction."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from deal_cli.model.metrics import Picture, check_shapes

Map = NDArray[np.float64]

# How steeply, and about which value, a loss of strength and of orientation counts, as published.
STRENGTH_SLOPE, STRENGTH_MIDDLE = -15.0, 0.5
ORIENTATION_SLOPE, ORIENTATION_MIDDLE = -22.0, 0.8


def edge_preservation(picture: Picture, clean: Picture) -> float:
    """Return how well the edges of `clean` are kept in `picture`: Q^AB/F with one source.

    At every pixel the gradients of both pictures are compared: the weaker strength over the
    stronger one, and the angle between their directions. Each goes through a sigmoid, and their
    product is averaged over the picture with the clean picture's edge strengths as weights.
    Xydeas & Petrović, "Objective image fusion performance measure", Electronics Letters 36(4),
    2000, doi:10.1049/el:20000267, with the clean picture for both sources A and B.

    The published factors Γ_g = .9994 and Γ_α = .9879 are the values of the sigmoids at 1.
    Multiplied by them, identical pictures score .975. Here each sigmoid is divided by its value at
    1, so that they score 1: a figure is 1.026 times the published one.

    Args:
        picture: `(H, W)`, `[0, 1]`.
        clean: the same shape and range; the order matters.

    Returns:
        0 to 1, where all edges are kept; NaN where `clean` has no edge.

    Raises:
        ValueError: the shapes differ.
    """
    check_shapes(picture, clean)
    x, y = _gradient(clean)
    px, py = _gradient(picture)
    weights, strengths = np.hypot(x, y), np.hypot(px, py)
    if not weights.any():
        return math.nan
    stronger = np.maximum(weights, strengths)
    kept = np.minimum(weights, strengths) / np.where(stronger > 0, stronger, 1.0)
    # An edge has no sign here: a negative has the orientations of its picture.
    angle = np.arctan2(np.abs(x * py - y * px), np.abs(x * px + y * py))
    aligned = 1.0 - angle / (math.pi / 2)
    quality = _sigmoid(kept, STRENGTH_SLOPE, STRENGTH_MIDDLE) * _sigmoid(
        aligned, ORIENTATION_SLOPE, ORIENTATION_MIDDLE
    )
    return float(np.sum(weights * quality) / np.sum(weights))


def edge_intensity(picture: Picture) -> float:
    """Return the mean strength of the gradient, in grey levels of 8 bits.

    The Sobel kernels (1 2 1 across −1 0 1) are not divided: where the picture rises by one level of
    255 a pixel along its rows, the strength is 8. It is the figure that fusion benchmarks call EI:
    Zhang, Ye & Xiao, "VIFB: a visible and infrared image fusion benchmark", CVPR Workshops, 2020,
    doi:10.1109/CVPRW50498.2020.00060.

    Args:
        picture: `(H, W)`, `[0, 1]`.

    Returns:
        0 where the picture is flat.
    """
    return float(255.0 * np.mean(np.hypot(*_gradient(picture))))


def _gradient(picture: Picture) -> tuple[Map, Map]:
    """Return how the picture rises along its rows and down its columns, mirrored at the edges."""
    from scipy.ndimage import sobel

    values = picture.astype(np.float64)
    return sobel(values, axis=1, mode="reflect"), sobel(values, axis=0, mode="reflect")


def _sigmoid(share: Map, slope: float, middle: float) -> Map:
    """Return a share of 0 to 1 made to count little below `middle` and fully above; 1 stays 1."""
    at_one = 1.0 / (1.0 + math.exp(slope * (1.0 - middle)))
    sigmoid: Map = 1.0 / (1.0 + np.exp(slope * (share - middle))) / at_one
    return sigmoid
