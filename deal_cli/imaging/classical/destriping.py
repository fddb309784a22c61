"""Classical destriping of one picture: what removes column stripes without any training.

Stripes are what differs between a column and its neighbours all the way down. The methods differ
in what they take for the scene's own difference. Each is blind, its settings fixed;
`docs/baselines.md` says how they were chosen. Rows are stripes of the transposed picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Unit = NDArray[np.float32]
Exact = NDArray[np.float64]

PROFILE_SIGMA = 6.0  # px: of the Gaussian that smooths the profile of column medians
ROW_WINDOW = 41  # px: of the median along each row
WAVELET, LEVELS = "db15", 4
DAMPING = 1.0  # σ of the damped band, in cycles down the padded column
ROW_RADIUS, ROW_EPSILON = 8, 0.16  # px, and squared units of the range
COLUMN_EPSILON = 0.1
MIDWAY_SIGMAS = tuple(0.5 * step for step in range(17))  # px: 0 … 8


def column_median(picture: Unit) -> Unit:
    """Return the picture less what its column medians have over a smooth profile of them.

    The profile is smoothed by a Gaussian of σ 6 px. The simplest destriper there is, kin to moment
    matching, with medians in place of means.

    Args:
        picture: `(H, W)`, `[0, 1]`.

    Returns:
        `(H, W)`, `[0, 1]`.

    Source: Gadallah, Csillag and Smith, "Destriping multisensor imagery with moment matching",
    International Journal of Remote Sensing 21(12), 2000, doi:10.1080/01431160050030592.
    """
    from scipy.ndimage import gaussian_filter1d

    profile = np.median(picture, axis=0).astype(np.float64)
    return _clipped(picture - (profile - gaussian_filter1d(profile, PROFILE_SIGMA)))


def residual_median(picture: Unit) -> Unit:
    """Return the picture less the median, down each column, of what stands out of its rows.

    What stands out of a row is its difference from the median of the 41 px around. Edges of the
    scene cross a column at a few heights and do not move its median, where those that cross the
    profile of `column_median` do.

    Args:
        picture: `(H, W)`, `[0, 1]`.

    Returns:
        `(H, W)`, `[0, 1]`.
    """
    from scipy.ndimage import median_filter

    residual = picture - median_filter(picture, (1, ROW_WINDOW))
    return _clipped(picture - np.median(residual, axis=0))


def wavelet_fourier(picture: Unit) -> Unit:
    """Return the picture without the slow part, down the column, of its vertical details.

    Four levels of Daubechies' wavelet with 15 vanishing moments; on each, the detail coefficients
    that hold vertical structure lose the frequencies around zero down the column, by
    `1 − exp(−k² / 2σ²)` with σ 1. The picture is mirrored above and below by half its height.

    Args:
        picture: `(H, W)`, `[0, 1]`.

    Returns:
        `(H, W)`, `[0, 1]`.

    Source: Münch, Trtik, Marone and Stampanoni, "Stripe and ring artifact removal with combined
    wavelet–Fourier filtering", Optics Express 17(10), 2009, doi:10.1364/OE.17.008567.
    """
    import pywt

    height, width = picture.shape
    margin = height // 2
    rest = np.pad(picture.astype(np.float64), ((margin, margin), (0, 0)), mode="symmetric")
    details = []
    for _ in range(LEVELS):
        rest, level = pywt.dwt2(rest, WAVELET)
        details.append(level)
    for horizontal, vertical, diagonal in reversed(details):
        # An odd size leaves one row or column more than the level above has.
        rest = rest[: vertical.shape[0], : vertical.shape[1]]
        rest = pywt.idwt2((rest, (horizontal, _damped(vertical), diagonal)), WAVELET)
    return _clipped(rest[margin : margin + height, :width])


def guided_filter_1d(picture: Unit) -> Unit:
    """Return the picture less the stripes that two guided filters of one dimension find.

    The first smooths along the rows, 17 px at a time, guided by the picture itself. The second
    looks down the columns of what that left out, over a window as high as the picture, and keeps
    what depends linearly on the smooth picture: a gain and an offset of the column.

    Args:
        picture: `(H, W)`, `[0, 1]`.

    Returns:
        `(H, W)`, `[0, 1]`.

    Source: Cao, Yang and Tisse, "Effective strip noise removal for low-textured infrared images
    based on 1-D guided filtering", IEEE Transactions on Circuits and Systems for Video Technology
    26(12), 2016, doi:10.1109/TCSVT.2015.2493443.
    """
    exact = picture.astype(np.float64)
    smooth = _guided(exact, exact, ROW_RADIUS, ROW_EPSILON, axis=1)
    radius = picture.shape[0] // 2
    stripes = _guided(exact - smooth, smooth, radius, COLUMN_EPSILON, axis=0)
    return _clipped(exact - stripes)


def midway(picture: Unit) -> Unit:
    """Return the picture with each column's histogram midway between those of its neighbours.

    The levels of a column, in their order, become the Gaussian-weighted mean of the sorted columns
    around it; equal levels stay equal. σ is the one of 0, .5 … 8 px that leaves the least total
    variation from column to column.

    Args:
        picture: `(H, W)`, `[0, 1]`.

    Returns:
        `(H, W)`, `[0, 1]`.

    Source: Tendero, Landeau and Gilles, "Non-uniformity correction of infrared images by midway
    equalization", Image Processing On Line 2, 2012, doi:10.5201/ipol.2012.glmt-mire.
    """
    from scipy.ndimage import gaussian_filter1d

    columns = picture.T
    order = np.argsort(columns, axis=1, kind="stable")
    levels = np.take_along_axis(columns, order, axis=1).astype(np.float64)
    candidates = (
        _ranked(gaussian_filter1d(levels, sigma, axis=0) if sigma else levels, levels, order)
        for sigma in MIDWAY_SIGMAS
    )
    best = min(candidates, key=lambda tried: float(np.abs(np.diff(tried, axis=0)).sum()))
    return _clipped(best.T)


def _damped(details: Exact) -> Exact:
    """Return wavelet details `(h, w)` without the frequencies around zero down each column."""
    frequency = np.fft.rfftfreq(len(details), 1 / len(details))
    kept = 1 - np.exp(-(frequency**2) / (2 * DAMPING**2))
    spectrum = np.fft.rfft(details, axis=0) * kept[:, None]
    return np.fft.irfft(spectrum, len(details), axis=0)


def _guided(picture: Exact, guide: Exact, radius: int, epsilon: float, axis: int) -> Exact:
    """Return what of `picture` is linear in `guide` within windows along one axis.

    Args:
        picture: `(H, W)`.
        guide: `(H, W)`.
        radius: of the windows, in px; the picture is mirrored at its edges.
        epsilon: what the guide's variance must exceed to count, in squared units of the range.
        axis: along which the windows lie.

    Source: He, Sun and Tang, "Guided image filtering", IEEE Transactions on Pattern Analysis and
    Machine Intelligence 35(6), 2013, doi:10.1109/TPAMI.2012.213.
    """
    from scipy.ndimage import uniform_filter1d

    def mean(values: Exact) -> Exact:
        return np.asarray(uniform_filter1d(values, 2 * radius + 1, axis=axis))

    mean_picture, mean_guide = mean(picture), mean(guide)
    covariance = mean(picture * guide) - mean_picture * mean_guide
    variance = mean(guide * guide) - mean_guide**2
    gain = covariance / (np.maximum(variance, 0) + epsilon)
    return mean(gain) * guide + mean(mean_picture - gain * mean_guide)


def _ranked(target: Exact, levels: Exact, order: NDArray[np.intp]) -> Exact:
    """Return columns whose pixels have taken the target levels of their ranks.

    Args:
        target: `(W, H)`, each row rising: what the ranks of a column become.
        levels: `(W, H)`, each row the sorted levels of a column; equal ones share their ranks.
        order: `(W, H)`, where in its column each rank lies.

    Returns:
        `(W, H)`, the transposed picture.
    """
    first = np.ones(levels.shape, np.bool_)
    first[:, 1:] = levels[:, 1:] != levels[:, :-1]
    starts = np.flatnonzero(first)
    counts = np.diff(np.append(starts, levels.size))
    shared = np.repeat(np.add.reduceat(target.ravel(), starts) / counts, counts)
    columns = np.empty_like(levels)
    np.put_along_axis(columns, order, shared.reshape(levels.shape), axis=1)
    return columns


def _clipped(values: NDArray[np.floating[Any]]) -> Unit:
    """Return the values held in `[0, 1]`, as float32."""
    return np.asarray(np.clip(values, 0, 1), np.float32)
