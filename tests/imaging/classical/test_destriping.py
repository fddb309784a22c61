"""Destripers: what all of them keep, what they take off a scene, and cases worked by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from deal_cli.imaging.classical import destriping
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.model.metrics import psnr, psnr_after_fit

Unit = NDArray[np.float32]
Method = Callable[[Unit], Unit]

METHODS = [
    destriping.column_median,
    destriping.residual_median,
    destriping.wavelet_fourier,
    destriping.guided_filter_1d,
    destriping.midway,
]
SEEDS = (0, 1, 2)


@cache
def scene(seed: int) -> Unit:
    picture = (draw_scene(seed, 192, 256).values / 255).astype(np.float32)
    picture.setflags(write=False)
    return picture


def striped(clean: Unit, sigma: float, seed: int) -> Unit:
    stripes = np.random.default_rng(seed).normal(0, sigma, (1, clean.shape[1]))
    return np.clip(clean + stripes, 0, 1).astype(np.float32)


@pytest.mark.parametrize("shape", [(11, 11), (11, 13), (13, 11), (47, 64)])
@pytest.mark.parametrize("method", METHODS)
def test_shape_range_and_input_are_kept(method: Method, shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(1).random(shape, np.float32)
    before = picture.copy()
    restored = method(picture)
    assert (restored.shape, restored.dtype) == (shape, np.float32)
    assert restored.min() >= 0
    assert restored.max() <= 1
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(method(picture), restored)


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("method", METHODS)
def test_a_flat_picture_stays_as_it_was(method: Method, level: float) -> None:
    flat = np.full((11, 13), level, np.float32)
    np.testing.assert_allclose(method(flat), flat, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_most_of_the_stripes_come_off_a_scene(method: Method) -> None:
    # 3 dB are half of the squared error.
    for seed in SEEDS:
        clean = scene(seed)
        degraded = striped(clean, 0.05, seed)
        gain = psnr_after_fit(method(degraded), clean) - psnr_after_fit(degraded, clean)
        assert gain > 3


@pytest.mark.parametrize(
    ("method", "kept"),
    [
        (destriping.column_median, 37),
        (destriping.residual_median, 46),
        (destriping.wavelet_fourier, 31),
        (destriping.guided_filter_1d, 33),
        (destriping.midway, 60),
    ],
)
def test_what_a_clean_scene_keeps(method: Method, kept: float) -> None:
    assert np.mean([psnr(method(scene(seed)), scene(seed)) for seed in SEEDS]) > kept


@pytest.mark.parametrize("method", METHODS)
def test_stripes_on_a_flat_scene_nearly_vanish(method: Method) -> None:
    degraded = striped(np.full((64, 96), 0.5, np.float32), 0.05, 7)
    columns = method(degraded).mean(axis=0)
    assert np.abs(np.diff(columns)).mean() < 0.2 * np.abs(np.diff(degraded[0])).mean()


@pytest.mark.parametrize("method", METHODS)
def test_even_steps_down_the_picture_are_left_alone(method: Method) -> None:
    rows = np.linspace(0.2, 0.8, 40, dtype=np.float32)[:, None] * np.ones((1, 30), np.float32)
    np.testing.assert_allclose(method(rows), rows, atol=1e-5)


def test_column_median_of_constant_columns_is_their_smooth_profile() -> None:
    # One column of .9 among .3: a Gaussian spreads its surplus of .6 and peaks at 1 / (σ √2π).
    picture = np.full((11, 101), 0.3, np.float32)
    picture[:, 50] = 0.9
    restored = destriping.column_median(picture)
    peak = 0.6 / (destriping.PROFILE_SIGMA * np.sqrt(2 * np.pi))
    assert restored[:, 50] == pytest.approx(0.3 + peak, abs=1e-4)
    assert restored.sum() == pytest.approx(picture.sum(), rel=1e-5)
    assert np.ptp(restored, axis=0).max() == 0


def test_residual_median_takes_a_single_bright_column_off_whole() -> None:
    picture = np.tile(np.linspace(0.2, 0.6, 60, dtype=np.float32), (21, 1))
    degraded = picture.copy()
    degraded[:, 30] += 0.3
    # The column is one of 41: their median moves by at most half a step of the ramp.
    np.testing.assert_allclose(
        destriping.residual_median(degraded)[:, 21:39], picture[:, 21:39], atol=0.4 / 59
    )


def test_residual_median_does_not_see_what_crosses_less_than_half_a_column() -> None:
    picture = np.full((21, 60), 0.4, np.float32)
    picture[3:12, 20:24] = 0.9
    np.testing.assert_array_equal(destriping.residual_median(picture), picture)


def test_midway_of_two_columns_is_halfway_between_their_sorted_levels() -> None:
    # Between two mirrored columns the widest Gaussian weighs both alike and leaves no variation.
    left = np.array([0.5, 0.1, 0.3] * 4, np.float32)
    right = np.array([0.3, 0.5, 0.7] * 4, np.float32)
    restored = destriping.midway(np.stack([left, right], axis=1))
    assert restored[:3, 0] == pytest.approx([0.6, 0.2, 0.4], abs=1e-5)
    assert restored[:3, 1] == pytest.approx([0.2, 0.4, 0.6], abs=1e-5)


def test_midway_gives_equal_levels_of_a_column_equal_levels() -> None:
    degraded = np.rint(20 * striped(scene(3), 0.1, 3)) / np.float32(20)
    restored = destriping.midway(degraded.astype(np.float32))
    for column, mended in zip(degraded.T, restored.T, strict=True):
        assert len(np.unique(mended)) <= len(np.unique(column))
        order = np.argsort(column, kind="stable")
        assert (np.diff(mended[order]) >= 0).all()


def test_wavelet_fourier_leaves_no_stripe_of_a_single_column() -> None:
    picture = np.full((64, 96), 0.4, np.float32)
    picture[:, 48] = 0.6
    restored = destriping.wavelet_fourier(picture)
    assert np.abs(restored - restored.mean()).max() < 0.02


def test_guided_filter_finds_a_gain_of_the_column() -> None:
    down = np.linspace(0.1, 0.9, 200, dtype=np.float32)[:, None]
    picture = np.tile(down, (1, 61))
    picture[:, 30] *= 1.05
    restored = destriping.guided_filter_1d(picture)
    error = np.abs(restored - down)[:, 30]
    assert error.mean() < 0.45 * np.abs(picture - down)[:, 30].mean()
