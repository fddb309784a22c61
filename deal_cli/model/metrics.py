"""How close a restored picture is to the clean one, pixel by pixel and at its hottest spot.

The figures are for grey pictures in units of the data range, so a peak of 1. The mean squared error
is floored, so that two identical pictures have a finite PSNR and averages stay meaningful.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SSIM_BORDER = 5  # pixels of the map cut on every side: where the window reaches over the edge
MSE_FLOOR = 1e-7  # identical pictures score 70 dB
WINDOW = 11  # pixels: the Gaussian window of SSIM on each side

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
    """Return the mean structural similarity of two pictures, by scikit-image in float64.

    An 11×11 Gaussian window with σ 1.5 px, K .01 and .03, and population covariances, as in Wang
    et al., "Image quality assessment: from error visibility to structural similarity", IEEE
    Transactions on Image Processing 13(4), 2004, doi:10.1109/TIP.2003.819861.

    Args:
        a: `(H, W)`, `[0, 1]`, 11 px or more on each side.
        b: the same shape and range; the order does not matter.
        border: pixels of the similarity map left out on every side. Where less than 5, the windows
            that reach over the edge see the picture mirrored.

    Returns:
        at most 1, where the pictures are identical.

    Raises:
        ValueError: the shapes differ, the pictures are smaller than the window, or nothing is left
            within the borders.
    """
    from skimage.metrics import structural_similarity

    _inner(a, border, b)
    if min(a.shape) < WINDOW:
        raise ValueError(f"SSIM needs {WINDOW} px on each side, not {a.shape[1]}×{a.shape[0]}")
    _, similarity = structural_similarity(  # type: ignore[no-untyped-call]
        a.astype(np.float64),
        b.astype(np.float64),
        gaussian_weights=True,
        sigma=1.5,  # scikit-image cuts it at 3.5 σ: 5 px to each side of the middle
        use_sample_covariance=False,
        data_range=1.0,
        full=True,
    )
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


def hot_spot_error(picture: Picture, clean: Picture, window: int = 3) -> float:
    """Return how much hotter the hottest spot of `picture` is than the hottest one of `clean`.

    A spot is the mean of a square window that lies fully inside the picture. The two spots need not
    lie at the same place: only how hot they are counts.

    Args:
        picture: `(H, W)`, `[0, 1]`, the warmer the greater.
        clean: the same shape and range.
        window: the side of a spot in pixels.

    Returns:
        a difference in units of the data range: positive where something hotter than anything in
        the scene was invented, negative where the hottest spot was dimmed.

    Raises:
        ValueError: the shapes differ, or the pictures are smaller than the window.
    """
    check_shapes(picture, clean)
    if not 1 <= window <= min(clean.shape):
        height, width = clean.shape
        raise ValueError(f"no window of {window} px lies inside a picture of {width}×{height}")
    return _hottest(picture, window) - _hottest(clean, window)


def check_shapes(a: Picture, b: Picture) -> None:
    """Raise a ValueError that names the shapes unless both are `(H, W)` and the same."""
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(f"two (H, W) pictures of one shape: {a.shape} and {b.shape}")


def _hottest(picture: Picture, window: int) -> float:
    """Return the greatest mean of any window inside the picture."""
    values = picture.astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(values, (window, window))
    return float(windows.mean(axis=(-2, -1)).max())


def _inner(picture: Picture, border: int, other: Picture) -> NDArray[np.float64]:
    """Return what lies within the borders, `(H − 2·border, W − 2·border)`, in float64."""
    check_shapes(picture, other)
    height, width = picture.shape
    if border < 0 or min(height, width) <= 2 * border:
        raise ValueError(f"nothing is left of {width}×{height} within borders of {border} px")
    return picture[border : height - border, border : width - border].astype(np.float64)
