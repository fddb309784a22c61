"""PSNR, SSIM, the affine fit and the hot spot: by hand, as properties, against other libraries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio
from torchmetrics.functional.image import structural_similarity_index_measure

from deal_cli.model.metrics import affine_fit, hot_spot_error, psnr, psnr_after_fit, ssim

SHAPES = st.tuples(st.integers(11, 24), st.integers(11, 24))
UNIT = st.floats(0, 1, width=32)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    shape = draw(SHAPES)
    return draw(arrays(np.float32, shape, elements=UNIT)), draw(
        arrays(np.float32, shape, elements=UNIT)
    )


def random_pair(seed: int, shape: tuple[int, int]) -> tuple[NDArray[np.float32], ...]:
    rng = np.random.default_rng(seed)
    clean = rng.random(shape).cumsum(axis=1)
    clean /= clean.max()
    noisy = np.clip(clean + rng.normal(0, 0.1, shape), 0, 1)
    return clean.astype(np.float32), noisy.astype(np.float32)


def torchmetrics_ssim(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The mean over the windows that lie fully inside; its own padding is another than ours."""
    x, y = (torch.from_numpy(np.ascontiguousarray(picture))[None, None] for picture in (a, b))
    _, similarity = structural_similarity_index_measure(
        x, y, sigma=1.5, data_range=1.0, return_full_image=True
    )
    return similarity[..., 5:-5, 5:-5].mean().item()


def test_psnr_of_a_tenth_everywhere_is_twenty_decibels() -> None:
    assert psnr(np.full((4, 6), 0.5), np.full((4, 6), 0.6)) == pytest.approx(20.0)


def test_psnr_of_one_wrong_pixel_in_a_hundred_is_twenty_decibels() -> None:
    wrong = np.zeros((10, 10))
    wrong[3, 4] = 1.0
    assert psnr(wrong, np.zeros((10, 10))) == pytest.approx(20.0)


def test_identical_pictures_score_seventy_decibels_and_one() -> None:
    picture, _ = random_pair(1, (20, 30))
    assert psnr(picture, picture) == pytest.approx(70.0)
    assert ssim(picture, picture) == pytest.approx(1.0)


def test_psnr_leaves_out_what_lies_in_the_border() -> None:
    wrong = np.zeros((12, 12))
    wrong[:2, :] = 1.0
    wrong[:, -2:] = 1.0
    assert psnr(wrong, np.zeros((12, 12)), border=2) == pytest.approx(70.0)
    assert psnr(wrong, np.zeros((12, 12)), border=1) < 20


def test_ssim_of_two_flat_pictures_is_their_luminance_term() -> None:
    # (2 · .2 · .4 + .0001) / (.04 + .16 + .0001), the structure term being 1
    assert ssim(np.full((13, 13), 0.2), np.full((13, 13), 0.4)) == pytest.approx(0.1601 / 0.2001)


@pytest.mark.parametrize("shape", [(11, 11), (40, 64), (65, 33)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_psnr_agrees_with_scikit_image_and_ssim_with_torchmetrics(
    shape: tuple[int, int], seed: int
) -> None:
    clean, noisy = (picture.astype(np.float64) for picture in random_pair(seed, shape))
    assert ssim(clean, noisy) == pytest.approx(torchmetrics_ssim(clean, noisy), abs=1e-9)
    assert psnr(clean, noisy) == pytest.approx(
        peak_signal_noise_ratio(clean, noisy, data_range=1.0), abs=1e-9
    )


def test_ssim_with_no_border_is_the_mean_of_the_whole_mirrored_map() -> None:
    clean, noisy = (picture.astype(np.float64) for picture in random_pair(5, (30, 20)))
    whole = torchmetrics_ssim(*(np.pad(picture, 5, mode="symmetric") for picture in (clean, noisy)))
    assert ssim(clean, noisy, border=0) == pytest.approx(whole, abs=1e-9)
    within = torchmetrics_ssim(clean[3:-3, 3:-3], noisy[3:-3, 3:-3])
    assert ssim(clean, noisy, border=8) == pytest.approx(within, abs=1e-9)


def test_ssim_of_single_precision_is_that_of_double_precision() -> None:
    clean, noisy = random_pair(7, (24, 24))
    doubled = ssim(clean.astype(np.float64), noisy.astype(np.float64))
    assert ssim(clean, noisy) == doubled


def test_affine_fit_finds_the_gain_and_offset_it_was_given() -> None:
    clean, _ = random_pair(2, (16, 17))
    fit = affine_fit((clean.astype(np.float64) - 0.2) / 0.5, clean)
    assert (fit.gain, fit.offset) == pytest.approx((0.5, 0.2))


def test_affine_fit_agrees_with_numpy_least_squares() -> None:
    clean, noisy = random_pair(3, (16, 17))
    gain, offset = np.polyfit(noisy.astype(np.float64).ravel(), clean.astype(np.float64).ravel(), 1)
    fit = affine_fit(noisy, clean)
    assert (fit.gain, fit.offset) == pytest.approx((gain, offset))


def test_affine_fit_of_a_flat_picture_is_the_mean_of_the_clean_one() -> None:
    clean, _ = random_pair(4, (12, 12))
    fit = affine_fit(np.full((12, 12), 0.3, np.float32), clean)
    assert (fit.gain, fit.offset) == pytest.approx((0.0, float(clean.mean(dtype=np.float64))))


def test_psnr_after_fit_does_not_see_tone() -> None:
    clean, _ = random_pair(6, (16, 16))
    assert psnr_after_fit(0.3 * clean.astype(np.float64) + 0.4, clean) == pytest.approx(70.0)


def test_hot_spot_error_worked_by_hand() -> None:
    clean, picture = np.full((6, 8), 0.2), np.full((6, 8), 0.2)
    clean[1:4, 1:4] = 0.8  # a spot of exactly one window: its mean is .8
    picture[2, 5] = 1.1  # one hot pixel: (8 · .2 + 1.1) / 9 = .3
    assert hot_spot_error(picture, clean) == pytest.approx(0.3 - 0.8)
    assert hot_spot_error(clean, picture) == pytest.approx(0.8 - 0.3)
    assert hot_spot_error(picture, clean, window=1) == pytest.approx(1.1 - 0.8)
    # Squares of 4 pixels: .8 in the spot, (3 · .2 + 1.1) / 4 = .425 about the pixel.
    assert hot_spot_error(picture, clean, window=2) == pytest.approx(0.425 - 0.8)


def test_hot_spot_error_does_not_ask_where_the_spot_lies() -> None:
    clean, _ = random_pair(8, (20, 24))
    assert hot_spot_error(clean[::-1, ::-1], clean) == pytest.approx(0.0, abs=1e-12)


def test_a_corner_is_no_spot_of_its_own() -> None:
    # The windows lie inside, so the one about the corner's pixel holds 8 cold ones.
    corner = np.zeros((5, 5))
    corner[0, 0] = 0.9
    assert hot_spot_error(corner, np.zeros((5, 5))) == pytest.approx(0.1)


def test_a_picture_smaller_than_the_spot_is_refused() -> None:
    assert hot_spot_error(np.ones((3, 3)), np.zeros((3, 3))) == 1.0
    with pytest.raises(ValueError, match="no window of 3 px lies inside a picture of 5×2"):
        hot_spot_error(np.ones((2, 5)), np.zeros((2, 5)))


@settings(max_examples=40, deadline=None)
@given(pairs(), st.floats(-0.5, 0.5))
def test_hot_spot_error_turns_its_sign_and_follows_an_offset(
    pair: tuple[NDArray[np.float32], NDArray[np.float32]], offset: float
) -> None:
    a, b = (picture.astype(np.float64) for picture in pair)
    error = hot_spot_error(a, b)
    assert hot_spot_error(b, a) == -error
    assert hot_spot_error(a + offset, b) == pytest.approx(error + offset, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_psnr_after_fit_is_never_below_psnr(
    pair: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    assert psnr_after_fit(*pair) >= psnr(*pair) - 1e-6


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_metrics_do_not_depend_on_the_order_and_stay_in_range(
    pair: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    a, b = pair
    assert psnr(a, b) == psnr(b, a)
    assert ssim(a, b) == pytest.approx(ssim(b, a), abs=1e-12)
    assert 0.0 <= psnr(a, b) <= 70.0 + 1e-9
    assert -1.0 <= ssim(a, b) <= 1.0 + 1e-9


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_metrics_do_not_change_when_both_pictures_are_turned(
    pair: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    a, b = pair
    assert ssim(np.rot90(a), np.rot90(b)) == pytest.approx(ssim(a, b), abs=1e-9)
    assert psnr(np.rot90(a), np.rot90(b)) == pytest.approx(psnr(a, b), abs=1e-9)


@pytest.mark.parametrize("metric", [psnr, ssim, psnr_after_fit, hot_spot_error])
def test_pictures_of_two_shapes_are_refused(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(ValueError, match="one shape"):
        metric(np.zeros((12, 12)), np.zeros((12, 13)))


def test_a_picture_within_its_borders_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing is left"):
        ssim(np.zeros((10, 30)), np.zeros((10, 30)))


def test_a_picture_smaller_than_the_window_of_ssim_is_refused() -> None:
    with pytest.raises(ValueError, match="SSIM needs 11 px on each side, not 30×10"):
        ssim(np.zeros((10, 30)), np.zeros((10, 30)), border=0)
