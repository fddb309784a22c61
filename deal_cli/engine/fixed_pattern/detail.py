"""Fine detail of a picture or a profile: what is left of it beside its blurred self."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TO_SIGMA = 1.4826  # times the median of the absolute values of a Gaussian: its deviation

Values = NDArray[np.float32]


def detail_of(values: Values, sigma: float) -> Values:
    """What a Gaussian blur of σ pixels takes away, of a picture `(H, W)` or a profile `(L,)`."""
    import cv2

    picture = values if values.ndim == 2 else values[None]
    detail = picture - cv2.GaussianBlur(picture, (0, 0), sigma)
    return np.asarray(detail if values.ndim == 2 else detail[0], np.float32)
