"""How much a restored picture tells of the clean one: what an eye or a code could learn from it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deal_cli.model.metrics import Picture, check_shapes

LEVELS = 256  # grey levels that the data range is rounded to
VIF_SIDE = 41  # pixels: the least side of a picture with four scales
VIF_NOISE = 2.0  # variance of the eye's own noise, in squared levels of 0 to 255


def vif(picture: Picture, clean: Picture) -> float:
    """Return the visual information fidelity of `picture`, in the pixel domain, by torchmetrics.

    Four scales, a data range of 255 and a variance of the eye's noise of 2, as published: Sheikh &
    Bovik, "Image information and visual quality", IEEE Transactions on Image Processing 15(2),
    2006, doi:10.1109/TIP.2005.859378. It is computed in float32, which moves the figure by some
    1e-6, and by up to 1e-4 where large parts of the clean picture are exactly flat.

    Args:
        picture: `(H, W)`, `[0, 1]`, 41 px or more on each side.
        clean: the same shape and range; the order matters.

    Returns:
        0 where nothing of the clean picture is left, 1 where the pictures are identical, more where
        the contrast was raised without noise; NaN where `clean` is flat.

    Raises:
        ValueError: the shapes differ, or the pictures are smaller than 41 px on a side.
    """
    import torch
    from torchmetrics.functional.image import visual_information_fidelity

    check_shapes(picture, clean)
    height, width = clean.shape
    if min(height, width) < VIF_SIDE:
        raise ValueError(f"VIF needs {VIF_SIDE} px on each side, not {width}×{height}")
    # Only (co)variances count: about its median each picture loses little in float32, which is ten
    # times as fast as float64.
    x, y = (
        torch.from_numpy((255.0 * (values - np.median(values))).astype(np.float32))[None, None]
        for values in (picture.astype(np.float64), clean.astype(np.float64))
    )
    return float(visual_information_fidelity(x, y, sigma_n_sq=VIF_NOISE))


def mutual_information(picture: Picture, clean: Picture) -> float:
    """Return what a pixel of `picture` tells of the same pixel of `clean`, in bits.

    I(A; B) = H(A) + H(B) − H(A, B), with the entropies of both pictures at 256 grey levels. Qu,
    Zhang & Yan, "Information measure for performance of image fusion", Electronics Letters 38(7),
    2002, doi:10.1049/el:20020212, add it up over two sources; with the clean picture for both of
    them their figure is twice this one, which counts it once.

    Args:
        picture: `(H, W)`, `[0, 1]`; what lies outside is clipped.
        clean: the same shape and range; the order does not matter.

    Returns:
        0 where the pictures are independent, the entropy of `clean` where they are identical; at
        most 8.

    Raises:
        ValueError: the shapes differ.
    """
    check_shapes(picture, clean)
    a, b = _levels(picture), _levels(clean)
    # Rounding leaves about −1e-15 where there is nothing to tell.
    return max(_entropy(a) + _entropy(b) - _entropy(LEVELS * a + b), 0.0)


def entropy(picture: Picture) -> float:
    """Return the entropy of a picture's 256 grey levels, in bits, by scikit-image.

    Shannon, "A mathematical theory of communication", Bell System Technical Journal 27(3), 1948,
    doi:10.1002/j.1538-7305.1948.tb01338.x.

    Args:
        picture: `(H, W)`, `[0, 1]`; what lies outside is clipped.

    Returns:
        0 where the picture is flat, 8 where all levels are equally frequent.
    """
    return _entropy(_levels(picture))


def _levels(picture: Picture) -> NDArray[np.int64]:
    """Return the grey levels 0 to 255 of a picture, `(H, W)`."""
    levels: NDArray[np.int64] = np.rint((LEVELS - 1) * np.clip(picture, 0, 1)).astype(np.int64)
    return levels


def _entropy(codes: NDArray[np.int64]) -> float:
    """Return the entropy of whole numbers in bits, by how often each occurs."""
    from skimage.measure import shannon_entropy

    return float(shannon_entropy(codes))  # type: ignore[no-untyped-call]
