"""The losses: against scikit-image, and worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from deal_cli.model.losses import (
    DETAIL_WEIGHT,
    FLOOR,
    SSIM_FLOOR,
    SSIM_SHARE,
    detailed,
    log_mse,
    published,
    ssim,
    structural,
)


def flat(value: float, size: int = 12, batch: int = 1) -> Tensor:
    return torch.full((batch, 1, size, size), value, dtype=torch.float64)


def pair(shape: tuple[int, ...], noise: float = 0.1) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(sum(shape))
    clean = rng.random(shape).cumsum(-1)
    clean /= clean.max()
    noisy = np.clip(clean + rng.normal(0, noise, shape), 0, 1)
    return torch.from_numpy(noisy), torch.from_numpy(clean)


@pytest.mark.parametrize("shape", [(11, 11), (40, 33)])
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.3])
def test_ssim_agrees_with_scikit_image(shape: tuple[int, int], noise: float) -> None:
    noisy, clean = pair(shape, noise)
    reference = structural_similarity(
        noisy.numpy(),
        clean.numpy(),
        gaussian_weights=True,
        sigma=1.5,
        truncate=3.5,
        use_sample_covariance=False,
        data_range=1.0,
    )
    assert ssim(noisy[None, None], clean[None, None]).item() == pytest.approx(reference, abs=1e-9)


def test_ssim_of_a_batch_is_each_picture_s_mean_over_its_channels() -> None:
    noisy, clean = pair((2, 3, 20, 24))
    singles = [
        [ssim(noisy[i, j, None, None], clean[i, j, None, None]) for j in range(3)] for i in (0, 1)
    ]
    means = torch.stack([torch.cat(channels).mean() for channels in singles])
    torch.testing.assert_close(ssim(noisy, clean), means)


def test_ssim_in_float32_is_one_for_equal_pictures_and_has_finite_gradients() -> None:
    x = torch.rand(1, 1, 24, 24, requires_grad=True)
    score = ssim(x, torch.full_like(x, 0.5))
    (gradient,) = torch.autograd.grad(score, x)
    assert bool(gradient.isfinite().all())
    assert ssim(x, x).item() == pytest.approx(1.0, abs=1e-6)


def test_log_mse_worked_by_hand() -> None:
    # A difference of .1 everywhere: a squared error of .01, 20 dB.
    assert log_mse(flat(0.6), flat(0.5)).item() == pytest.approx(math.log(0.01 + FLOOR))


def test_log_mse_of_a_batch_is_each_picture_s() -> None:
    restored, clean = pair((4, 1, 16, 16))
    singles = [log_mse(restored[i, None], clean[i, None]) for i in range(4)]
    torch.testing.assert_close(log_mse(restored, clean), torch.cat(singles))


def test_log_mse_counts_a_decibel_alike_in_quiet_and_loud_pictures() -> None:
    quiet = log_mse(flat(0.02), flat(0.0)) - log_mse(flat(0.01), flat(0.0))
    loud = log_mse(flat(0.4), flat(0.0)) - log_mse(flat(0.2), flat(0.0))
    assert quiet.item() == pytest.approx(loud.item(), rel=0.02)


def test_log_mse_has_a_finite_gradient_at_its_optimum() -> None:
    x = flat(0.5).requires_grad_()
    (gradient,) = torch.autograd.grad(log_mse(x, flat(0.5)), x)
    assert bool((gradient == 0).all())


def test_the_published_loss_is_zero_at_its_optimum_and_above_elsewhere() -> None:
    x = torch.rand(2, 1, 20, 20, dtype=torch.float64)
    assert published(x, x).tolist() == pytest.approx([0.0, 0.0], abs=1e-12)
    for other in (x * 0.9, x + 0.05, 1 - x):
        assert published(other, x).min() > 0.01


def test_the_published_loss_of_two_flat_pictures_worked_by_hand() -> None:
    # SSIM is the luminance term (2 · .2 · .4 + .0001) / (.04 + .16 + .0001).
    expected = 0.75 * 0.2 + 1.1 * (1 - 0.1601 / 0.2001)
    assert published(flat(0.2), flat(0.4)).item() == pytest.approx(expected)


def test_small_things_weigh_more_in_the_detailed_objective_and_flat_pictures_alike() -> None:
    even = flat(0.5, 20)
    torch.testing.assert_close(detailed(even + 0.1, even), log_mse(even + 0.1, even))
    spot = even.clone()
    spot[0, 0, 10, 10] = 1.0
    here, there = spot.clone(), spot.clone()
    here[0, 0, 10, 10] -= 0.2
    there[0, 0, 2, 2] -= 0.2
    assert log_mse(here, spot).item() == pytest.approx(log_mse(there, spot).item())
    ratio = ((detailed(here, spot).exp() - FLOOR) / (detailed(there, spot).exp() - FLOOR)).item()
    assert ratio == pytest.approx(1 + DETAIL_WEIGHT)


def test_the_structural_objective_of_two_flat_pictures_worked_by_hand() -> None:
    lacking = 1 - 0.1601 / 0.2001  # see above
    expected = math.log(0.04 + FLOOR) + SSIM_SHARE * math.log(lacking + SSIM_FLOOR)
    assert structural(flat(0.2), flat(0.4)).item() == pytest.approx(expected)


def test_the_structural_objective_tells_errors_of_one_size_apart_by_their_window() -> None:
    rng = np.random.default_rng(1)
    picture = torch.full((1, 1, 48, 48), 0.5, dtype=torch.float64)
    picture[..., 24:] += torch.from_numpy(rng.normal(0, 0.2, (48, 24)))  # half calm, half busy
    error = torch.from_numpy(rng.normal(0, 0.02, (48, 24)))
    calm, busy = picture.clone(), picture.clone()
    calm[..., :24] += error
    busy[..., 24:] += error
    assert log_mse(calm, picture).item() == pytest.approx(log_mse(busy, picture).item())
    assert structural(calm, picture) > structural(busy, picture)


def test_the_structural_objective_has_a_finite_gradient_at_its_optimum() -> None:
    x = torch.rand(1, 1, 24, 24, requires_grad=True)
    (gradient,) = torch.autograd.grad(structural(x, x.detach().clone()), x)
    assert bool(gradient.isfinite().all())
