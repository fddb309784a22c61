"""What the enhancer is trained on.

The published objective is `.75 L1 - 1.1 SSIM` (arXiv 2503.00905, section 3.4). Ours is each
picture's log squared error, so that every decibel counts alike: degradations differ by a factor of
thirty in error, and under a plain mean the loud ones (stripes) starve the quiet ones (blur,
sampling). L1 would not do: where a blurred picture is flat, nothing is gained by touching
it, and L1 charges every touch at full price, so that nothing is ever sharpened.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
DETAIL_WINDOW = 9  # pixels, that a small thing is set against
DETAIL_CONTRAST, DETAIL_WEIGHT = 0.2, 20.0  # of the range, and what that much counts for
READABLE = 0.1  # of a severity; errors above it count in proportion, below it squared
FLOOR = 3e-6  # squared error, 55 dB: what is better than this counts as done
SSIM_SHARE, SSIM_FLOOR = 0.1, 2e-3  # of `structural`: what SSIM counts for, and what is done


def log_mse(restored: Tensor, clean: Tensor) -> Tensor:
    """`(B,)`, the log of each picture's mean squared error; `(B, C, H, W)` in [0, 1]."""
    error = (restored - clean).square().mean((1, 2, 3))
    return (error + FLOOR).log()


def detailed(restored: Tensor, clean: Tensor) -> Tensor:
    """`(B,)`, as `log_mse`, with small things of the clean picture weighed by their contrast.

    A hot spot of three pixels is a thousandth of what a crop's mean squared error is made of, and
    all that a thermographer looks for.
    """
    around = F.avg_pool2d(clean, DETAIL_WINDOW, 1, DETAIL_WINDOW // 2, count_include_pad=False)
    contrast = ((clean - around).abs() / DETAIL_CONTRAST).clamp_max(1)
    weight = 1 + DETAIL_WEIGHT * contrast
    error = (restored - clean).square() * weight
    return (error.sum((1, 2, 3)) / weight.sum((1, 2, 3)) + FLOOR).log()


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """`(B,)`, SSIM of `(B, C, H, W)` in [0, 1] (Wang et al. 2004, doi:10.1109/TIP.2003.819861)."""
    line = torch.arange(SSIM_WINDOW, device=a.device, dtype=a.dtype) - SSIM_WINDOW // 2
    line = torch.exp(-0.5 * (line / SSIM_SIGMA) ** 2)
    line = line / line.sum()
    channels = a.shape[1]
    row = line.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    column = line.view(1, 1, -1, 1).expand(channels, 1, -1, 1)

    def blur(x: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(x, row, groups=channels), column, groups=channels)

    mean_a, mean_b = blur(a), blur(b)
    var_a = blur(a * a) - mean_a**2
    var_b = blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + SSIM_C1) / (mean_a**2 + mean_b**2 + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (var_a + var_b + SSIM_C2)
    return (luminance * structure).mean((1, 2, 3))


def structural(restored: Tensor, clean: Tensor) -> Tensor:
    """`(B,)`, `log_mse` and a tenth of the log of what SSIM lacks of 1, both relative errors.

    SSIM is of windows, each by its own contrast: it asks for flat places to be right as well as
    edges, and squared error asks for little but edges.
    """
    lacking = 1 - ssim(restored, clean)
    return log_mse(restored, clean) + SSIM_SHARE * (lacking + SSIM_FLOOR).log()


def published(restored: Tensor, clean: Tensor) -> Tensor:
    """`(B,)`, the published objective of N_E, `.75 L1 - 1.1 SSIM`, shifted to 0 at its optimum."""
    return 0.75 * (restored - clean).abs().mean((1, 2, 3)) + 1.1 * (1.0 - ssim(restored, clean))


def misread(read: Tensor, true: Tensor) -> Tensor:
    """How far severities `(B, K)` are from the true ones (Huber); 0 where there are none."""
    if not len(true):
        return read.sum() * 0
    return F.smooth_l1_loss(read, true.to(read), beta=READABLE)
