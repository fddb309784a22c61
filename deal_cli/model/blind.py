"""What can be said of a picture without its clean version: stripes, noise and roughness.

None of these figures knows what belongs to the scene. They are for comparing what was made of one
and the same picture, beside looking at it.
"""

from __future__ import annotations

import math

import numpy as np

from deal_cli.model.metrics import Picture

STRIPE_WINDOW = 9  # pixels: stripes up to 4 px wide stand out of the median
NOISE_WIDTH = 5  # pixels: scikit-image takes less for the colours of a pixel


def roughness(picture: Picture) -> float:
    """Return how much neighbouring pixels differ, relative to the picture's level.

    ρ = (‖h∗I‖₁ + ‖hᵀ∗I‖₁) / ‖I‖₁ with h = [1, −1], where both pixels lie inside the picture. Hayat
    et al., "Statistical algorithm for nonuniformity correction in focal-plane arrays", Applied
    Optics 38(5), 1999, doi:10.1364/AO.38.000772.

    Lower is smoother. Noise, stripes, edges and texture all raise it, and blurring lowers it as
    well as any restoration does; a higher mean level lowers it too.

    Args:
        picture: `(H, W)`, `[0, 1]`.

    Returns:
        0 where the picture is flat, 4 at most where no value is negative; NaN where it is 0
        everywhere.
    """
    values = picture.astype(np.float64)
    level = np.sum(np.abs(values))
    if level == 0:
        return math.nan
    along, down = (np.sum(np.abs(np.diff(values, axis=axis))) for axis in (1, 0))
    return float((along + down) / level)


def column_residual(picture: Picture) -> float:
    """Return how strong column stripes are, as a standard deviation over the columns.

    From every pixel the median of the 9 pixels around it in its row is subtracted, with the picture
    mirrored at its edges. What is left is reduced to its median down every column, which the
    scene's edges and noise hardly move. This project's own figure.

    Lower is better, where the scene has no uprights that stand out over most of its height. Stripes
    that differ from column to column by σ give about .96 σ, and a clean drawn scene less than .001;
    those wider than 4 px, and those that change down the picture, are seen in part or not at all.

    Args:
        picture: `(H, W)`, `[0, 1]`.

    Returns:
        σ in units of the data range; 0 where no column stands out.
    """
    from scipy.ndimage import median_filter

    values = picture.astype(np.float64)
    residual = values - median_filter(values, size=(1, STRIPE_WINDOW), mode="reflect")
    return float(np.std(np.median(residual, axis=0)))


def row_residual(picture: Picture) -> float:
    """Return how strong row stripes are: the column residual of the picture on its side.

    Args:
        picture: `(H, W)`, `[0, 1]`.

    Returns:
        σ in units of the data range; 0 where no row stands out.
    """
    return column_residual(picture.T)


def noise_estimate(picture: Picture) -> float:
    """Return the strength of the noise, by scikit-image from the finest diagonal wavelets.

    The median size of the db2 wavelet's diagonal coefficients that are not 0, over .6745: Donoho &
    Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 81(3), 1994,
    doi:10.1093/biomet/81.3.425.

    Lower is less grain. It is right for noise that is independent from pixel to pixel. It does not
    see stripes or blotches, counts fine texture and the rounding to grey levels as noise (.0012 to
    .002 in clean drawn scenes), and falls where the picture is blurred.

    Args:
        picture: `(H, W)`, `[0, 1]`.

    Returns:
        σ in units of the data range; 0 where nothing varies along the diagonals; NaN where the
        picture is narrower than 5 px.
    """
    import pywt
    from skimage.restoration import estimate_sigma

    values = picture.astype(np.float64)
    if values.shape[1] < NOISE_WIDTH:
        return math.nan
    # scikit-image warns where it is left without coefficients.
    if not np.any(pywt.dwtn(values, "db2")["dd"]):
        return 0.0
    return float(estimate_sigma(values))  # type: ignore[no-untyped-call]
