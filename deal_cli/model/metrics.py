"""How close a restored picture is to the clean one: PSNR, SSIM, and both tones made equal.

The figures are for 8-bit grey pictures scaled to `[0, 1]`, so a peak of 1. The mean squared error
is floored, so that two identical pictures have a finite PSNR and averages stay meaningful.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SSIM_BORDER = 5  # pixels of the map cut on every side: where the window reaches over the edge
MSE_FLOOR = 1e-7  # identical pictures score 70 dB
WINDOW_RADIUS = 5  # an 11×11 window
WINDOW_SIGMA = 1.5  # σ in pixels
K1, K2 = 0.01, 0.03

Picture = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True)
class AffineFit:
    """The gain and offset that bring one picture closest to another."""

    gain: float
    offset: float

    def apply(self, picture: Picture) -> NDArray[np.float64]:
        """Return `gain · picture + offset` in float64, clipped nowhere."""
        return self.gain * picture.astype(np.float64) + self.offset


def psnr(a: Picture, b: Picture, border: int = 0) -> float:
    """Return the peak signal-to-noise ratio of two pictures in dB.

    Args:
        a: `(H, W)`, `[0, 1]`.
        b: the same shape and range; the order does not matter.
        border: pixels left out on every side.

    Returns:
        dB for a peak of 1; at most 70, where the pictures are identical.

    Raises:
        ValueError: the shapes differ, or nothing is left within the borders.
    """
    difference = _inner(a, border, b) - _inner(b, border, a)
    error = max(float(np.mean(difference**2)), MSE_FLOOR)
    return float(-10.0 * np.log10(error))


def ssim(a: Picture, b: Picture, border: int = SSIM_BORDER) -> float:
    """Return the mean structural similarity of two pictures.

    An 11×11 Gaussian window with σ 1.5 px, K .01 and .03, and population covariances, as in Wang
    et al., "Image quality assessment: from error visibility to structural similarity", IEEE
    Transactions on Image Processing 13(4), 2004, doi:10.1109/TIP.2003.819861.

    Args:
        a: `(H, W)`, `[0, 1]`.
        b: the same shape and range; the order does not matter.
        border: pixels of the similarity map left out on every side. Where less than 5, the windows
            that reach over the edge see the picture mirrored.

    Returns:
        at most 1, where the pictures are identical.

    Raises:
        ValueError: the shapes differ, or nothing is left within the borders.
    """
    _inner(a, border, b)
    x, y = a.astype(np.float64), b.astype(np.float64)
    mean_x, mean_y = _windowed(x), _windowed(y)
    variance_x = _windowed(x * x) - mean_x**2
    variance_y = _windowed(y * y) - mean_y**2
    covariance = _windowed(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + K1**2) / (mean_x**2 + mean_y**2 + K1**2)
    structure = (2 * covariance + K2**2) / (variance_x + variance_y + K2**2)
    similarity = luminance * structure
    return float(np.mean(_inner(similarity, border, similarity)))


def affine_fit(restored: Picture, clean: Picture, border: int = 0) -> AffineFit:
    """Return the gain and offset that bring `restored` closest to `clean` in least squares.

    Args:
        restored: `(H, W)`, `[0, 1]`.
        clean: the same shape and range.
        border: pixels left out of the fit on every side.

    Returns:
        the fit; a flat `restored` has gain 0 and the mean of `clean` for its offset.

    Raises:
        ValueError: the shapes differ, or nothing is left within the borders.
    """
    x, y = _inner(restored, border, clean), _inner(clean, border, restored)
    mean_x, mean_y = float(x.mean()), float(y.mean())
    variance = float(np.mean((x - mean_x) ** 2))
    # Rounding alone leaves about 1e-32 in a flat picture; one grey level in one pixel leaves 1e-12.
    if variance < 1e-20:
        return AffineFit(0.0, mean_y)
    gain = float(np.mean((x - mean_x) * (y - mean_y))) / variance
    return AffineFit(gain, mean_y - gain * mean_x)


def psnr_after_fit(restored: Picture, clean: Picture, border: int = 0) -> float:
    """Return the PSNR of `restored` in dB after its best gain and offset.

    It judges structure apart from tone. The fit sees the pixels that are scored, so the result is
    never below `psnr(restored, clean, border)`.

    Args:
        restored: `(H, W)`, `[0, 1]`.
        clean: the same shape and range.
        border: pixels left out on every side, of the fit and of the score.

    Raises:
        ValueError: the shapes differ, or nothing is left within the borders.
    """
    return psnr(affine_fit(restored, clean, border).apply(restored), clean, border)


def _inner(picture: Picture, border: int, other: Picture) -> NDArray[np.float64]:
    """Return what lies within the borders, `(H − 2·border, W − 2·border)`, in float64."""
    if picture.ndim != 2 or picture.shape != other.shape:
        raise ValueError(f"two (H, W) pictures of one shape: {picture.shape} and {other.shape}")
    height, width = picture.shape
    if border < 0 or min(height, width) <= 2 * border:
        raise ValueError(f"nothing is left of {width}×{height} within borders of {border} px")
    return picture[border : height - border, border : width - border].astype(np.float64)


def _windowed(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Gaussian-weighted mean around every pixel, the picture mirrored at its edges."""
    taps = np.exp(-0.5 * (np.arange(-WINDOW_RADIUS, WINDOW_RADIUS + 1) / WINDOW_SIGMA) ** 2)
    taps /= taps.sum()
    padded = np.pad(picture, WINDOW_RADIUS, mode="symmetric")
    height, width = picture.shape
    rows = np.zeros((height, padded.shape[1]))
    for shift, tap in enumerate(taps):
        rows += tap * padded[shift : shift + height]
    result = np.zeros((height, width))
    for shift, tap in enumerate(taps):
        result += tap * rows[:, shift : shift + width]
    return result
