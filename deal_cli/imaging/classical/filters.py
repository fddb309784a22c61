"""Classical restoration of one picture: the methods that a network is to be measured against.

Each is blind: its settings are fixed, or measured on the picture itself, and nothing tells it what
became of the picture. Where the work is done in whole numbers there are sixteen bits of them, so
that no method is beaten by its own rounding. `docs/baselines.md` says how the settings were chosen.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Unit = NDArray[np.float32]

PATCH = 5  # px: side of the patches that non-local means compares
SEARCH = 21  # px: side of the window in which it looks for them
CLIP = 1.0  # a histogram's bins hold at most this many times their mean
TILES = 8  # along each side of the picture
SHIFTS = 16  # passes of CLAHE, each shifted by a sixteenth of a grey level
PERCENTILE = 0.5  # %, at either end
SHARPEN_SIGMA = 1.5  # px
SHARPEN_AMOUNT = 1.5

FULL = 65535.0  # the largest of 16 bits


def non_local_means(picture: Unit) -> Unit:
    """Return the picture with each pixel the mean of those whose surroundings look alike.

    OpenCV's fast version with sums of absolute differences, the one that takes 16 bits; 5×5 px
    patches within 21×21 px, and the picture's own noise for the strength.

    Args:
        picture: `(H, W)`, `[0, 1]`, 11 px or more a side.

    Returns:
        `(H, W)`, `[0, 1]`, in steps of 1/65535; where no noise is found, a copy.

    Source: Buades, Coll and Morel, "A non-local algorithm for image denoising", CVPR 2005,
    doi:10.1109/CVPR.2005.38.
    """
    import cv2

    sigma = _noise(picture)
    if sigma == 0:
        return picture.copy()
    counts = np.rint(FULL * np.clip(picture, 0, 1)).astype(np.uint16)
    strength = [max(FULL * sigma, 1.0)]
    smooth = cv2.fastNlMeansDenoising(counts, strength, None, PATCH, SEARCH, cv2.NORM_L1)
    return np.asarray(smooth / np.float32(FULL), np.float32)


def clahe(picture: Unit) -> Unit:
    """Return the picture under contrast-limited adaptive histogram equalisation (CLAHE).

    OpenCV's, with 8×8 tiles and histograms of 256 bins. Its 16-bit form has 65536 bins, which
    leave so few pixels to a bin that the limit is either always met or never. So the 8-bit form is
    applied to the picture shifted by each sixteenth of a grey level, and the mean is taken: twelve
    bits come in. On a picture of 8 bits all passes are the same.

    Args:
        picture: `(H, W)`, `[0, 1]`, 11 px or more a side.

    Returns:
        `(H, W)`, `[0, 1]`.

    Source: Pizer et al., "Adaptive histogram equalization and its variations", Computer Vision,
    Graphics, and Image Processing 39(3), 1987, doi:10.1016/S0734-189X(87)80186-X; the limit by
    tiles is Zuiderveld's, Graphics Gems IV, 1994.
    """
    import cv2

    equaliser = cv2.createCLAHE(CLIP, (TILES, TILES))
    levels = 255 * np.clip(picture, 0, 1)
    total = np.zeros(picture.shape, np.float32)
    for shift in (np.arange(SHIFTS, dtype=np.float32) + 0.5) / SHIFTS:
        total += equaliser.apply(np.floor(levels + shift).astype(np.uint8))
    return np.asarray(total / (255 * SHIFTS), np.float32)


def median(picture: Unit) -> Unit:
    """Return the median of the 3×3 px around every pixel, the edge's pixels repeated.

    Args:
        picture: `(H, W)`, `[0, 1]`.

    Returns:
        `(H, W)`, `[0, 1]`.

    Source: Huang, Yang and Tang, "A fast two-dimensional median filtering algorithm", IEEE
    Transactions on Acoustics, Speech, and Signal Processing 27(1), 1979.
    """
    import cv2

    return np.asarray(cv2.medianBlur(picture, 3), np.float32)


def percentile_stretch(picture: Unit) -> Unit:
    """Return the picture with its .5 and 99.5 percentiles at 0 and 1, clipped beyond.

    Args:
        picture: `(H, W)`, `[0, 1]`.

    Returns:
        `(H, W)`, `[0, 1]`; a copy where both percentiles are the same level.
    """
    low, high = np.percentile(picture, (PERCENTILE, 100 - PERCENTILE))
    if high <= low:
        return picture.copy()
    return np.asarray(np.clip((picture - low) / (high - low), 0, 1), np.float32)


def unsharp_mask(picture: Unit) -> Unit:
    """Return the picture with 1.5 times its difference from its own blur (σ 1.5 px) added.

    Args:
        picture: `(H, W)`, `[0, 1]`.

    Returns:
        `(H, W)`, `[0, 1]`.
    """
    import cv2

    blurred = cv2.GaussianBlur(picture, (0, 0), SHARPEN_SIGMA)
    sharp = picture + SHARPEN_AMOUNT * (picture - blurred)
    return np.asarray(np.clip(sharp, 0, 1), np.float32)


def bicubic(small: Unit, shape: tuple[int, int]) -> Unit:
    """Return a small picture enlarged by cubic convolution (a = −.5, Pillow's).

    Args:
        small: `(h, w)`, `[0, 1]`.
        shape: `(H, W)` of the result, as large or larger.

    Returns:
        `(H, W)`, `[0, 1]`.

    Source: Keys, "Cubic convolution interpolation for digital image processing", IEEE Transactions
    on Acoustics, Speech, and Signal Processing 29(6), 1981, doi:10.1109/TASSP.1981.1163711.
    """
    from PIL import Image

    return _resized(small, shape, Image.Resampling.BICUBIC)


def lanczos(small: Unit, shape: tuple[int, int]) -> Unit:
    """Return a small picture enlarged by a sinc that is windowed to three lobes (Pillow's).

    Args:
        small: `(h, w)`, `[0, 1]`.
        shape: `(H, W)` of the result, as large or larger.

    Returns:
        `(H, W)`, `[0, 1]`.

    Source: Duchon, "Lanczos filtering in one and two dimensions", Journal of Applied Meteorology
    18(8), 1979, doi:10.1175/1520-0450(1979)018<1016:LFIOAT>2.0.CO;2.
    """
    from PIL import Image

    return _resized(small, shape, Image.Resampling.LANCZOS)


def _resized(small: Unit, shape: tuple[int, int], kernel: int) -> Unit:
    """Return the picture in another size `(H, W)` by one of Pillow's kernels, clipped."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(small, np.float32))
    height, width = shape
    large = np.asarray(picture.resize((width, height), Image.Resampling(kernel)))
    return np.asarray(np.clip(large, 0, 1), np.float32)


def _noise(picture: Unit) -> float:
    """Return σ of the noise by scikit-image's wavelet estimate; 0 where there is nothing to see.

    Source: Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika
    81(3), 1994, doi:10.1093/biomet/81.3.425.
    """
    from skimage import restoration

    estimate: Callable[[Unit], float] = restoration.estimate_sigma
    with warnings.catch_warnings():
        # Where every wavelet coefficient is zero, it warns of the median of none and gives NaN.
        warnings.simplefilter("ignore", RuntimeWarning)
        sigma = float(estimate(picture))
    return sigma if sigma > 0 else 0.0
