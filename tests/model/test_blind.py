"""Figures without a clean picture: worked by hand, and on drawn scenes with known faults."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.jobs.protocol.tasks import degrade_for_task
from deal_cli.model.blind import column_residual, noise_estimate, roughness, row_residual

Unit = NDArray[np.float32]

SEEDS = range(5)
PICTURES = arrays(np.float32, (5, 7), elements=st.floats(0, 1, width=32))


def scene(seed: int, height: int = 200, width: int = 256) -> Unit:
    return draw_scene(seed, height, width).values / np.float32(255)


def grain(seed: int, shape: tuple[int, int]) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0, 1, shape)


def test_roughness_worked_by_hand() -> None:
    # Along the rows |.4 − .1| + |.2 − .3| = .4, down the columns |.3 − .1| + |.2 − .4| = .4; the
    # values add up to 1.
    assert roughness(np.array([[0.1, 0.4], [0.3, 0.2]])) == pytest.approx(0.8)


def test_roughness_of_a_flat_picture_is_nothing_and_of_a_black_one_unknown() -> None:
    assert roughness(np.full((6, 6), 0.4, np.float32)) == 0.0
    assert math.isnan(roughness(np.zeros((6, 6), np.float32)))


@pytest.mark.parametrize("task", ["noise", "stripe05"])
def test_noise_and_stripes_raise_roughness(task: str) -> None:
    clean = scene(0)
    degraded = degrade_for_task(clean, task, "set", "stem").astype(np.float32) / 255
    assert roughness(degraded) > 2 * roughness(clean)


def test_blurring_lowers_roughness_too() -> None:
    clean = scene(0)
    blurred = degrade_for_task(clean, "blur", "set", "stem").astype(np.float32) / 255
    assert roughness(blurred) < roughness(clean)


@settings(max_examples=40, deadline=None)
@given(PICTURES)
def test_roughness_is_at_most_four_and_does_not_see_gain_or_side(picture: Unit) -> None:
    if picture.any():
        rough = roughness(picture)
        assert 0.0 <= rough <= 4.0 + 1e-9
        assert roughness(picture.T) == pytest.approx(rough)
        assert roughness(0.5 * picture.astype(np.float64)) == pytest.approx(rough)


def test_one_stripe_worked_by_hand() -> None:
    # One column of 20 stands .2 out of a flat picture: deviation .2 · √(1/20 · 19/20) = .043589.
    picture = np.full((7, 20), 0.3)
    picture[:, 12] += 0.2
    assert column_residual(picture) == pytest.approx(0.043589, abs=1e-6)
    assert row_residual(picture) == 0.0
    assert row_residual(picture.T) == pytest.approx(0.043589, abs=1e-6)


def test_a_stripe_over_less_than_half_the_height_is_not_seen() -> None:
    picture = np.full((9, 20), 0.3)
    picture[:4, 12] += 0.2
    assert column_residual(picture) == 0.0


def test_a_band_wider_than_four_pixels_is_not_seen() -> None:
    narrow, wide = np.full((9, 40), 0.3), np.full((9, 40), 0.3)
    narrow[:, 20:24] += 0.2
    wide[:, 20:25] += 0.2
    assert column_residual(narrow) > 0.05
    assert column_residual(wide) == 0.0


@pytest.mark.parametrize("seed", SEEDS)
def test_stripes_on_a_drawn_scene_give_their_own_deviation(seed: int) -> None:
    clean = scene(seed).astype(np.float64)
    stripes = 0.05 * grain(seed, (1, clean.shape[1]))
    sigma = float(stripes.std())
    assert column_residual(clean) < 0.002
    assert column_residual(clean + stripes) == pytest.approx(0.97 * sigma, rel=0.08)
    assert row_residual(clean + stripes) < 0.002


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_hardly_shows_as_stripes(seed: int) -> None:
    # The median down 200 rows leaves √(π/2 / 200) = .09 of the noise, .0035; besides, uprights over
    # less than half of the height begin to show.
    picture = scene(seed) + 0.04 * grain(seed, (200, 256))
    assert column_residual(picture) < 0.008
    assert row_residual(picture) < 0.008


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_on_a_drawn_scene_is_estimated_to_a_twentieth(seed: int) -> None:
    clean = scene(seed)
    noisy = clean + 0.04 * grain(seed, (200, 256))
    assert noise_estimate(noisy) == pytest.approx(0.04, rel=0.05)
    assert noise_estimate(clean) < 0.003


def test_stripes_are_no_noise() -> None:
    clean = scene(1)
    striped = clean + 0.05 * grain(1, (1, 256))
    assert noise_estimate(striped) == pytest.approx(noise_estimate(clean), abs=2e-3)


def test_a_narrow_picture_has_no_noise_estimate() -> None:
    assert math.isnan(noise_estimate(np.eye(4, dtype=np.float32)))
    assert noise_estimate(np.eye(5, dtype=np.float32)) > 0


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_a_flat_picture_has_no_stripes_and_no_noise(level: float) -> None:
    flat = np.full((12, 12), level, np.float32)
    assert column_residual(flat) == 0.0
    assert row_residual(flat) == 0.0
    assert noise_estimate(flat) == pytest.approx(0.0, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(PICTURES, st.floats(-0.5, 0.5))
def test_residuals_and_noise_do_not_see_an_offset(picture: Unit, offset: float) -> None:
    a = picture.astype(np.float64)
    assert column_residual(a + offset) == pytest.approx(column_residual(a), abs=1e-9)
    assert row_residual(a) == column_residual(a.T)
    assert math.isfinite(noise_estimate(a))
