"""Classical methods: what all of them keep, cases worked by hand, and other libraries' results."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from deal_cli.imaging.classical import filters as classical
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.model.metrics import psnr

Unit = NDArray[np.float32]
Method = Callable[[Unit], Unit]
Enlarge = Callable[[Unit, tuple[int, int]], Unit]

METHODS = [
    classical.non_local_means,
    classical.clahe,
    classical.median,
    classical.percentile_stretch,
    classical.unsharp_mask,
]
ENLARGEMENTS = [classical.bicubic, classical.lanczos]
SHAPES = [(11, 11), (11, 13), (47, 64)]


@cache
def scene(seed: int) -> Unit:
    picture = (draw_scene(seed, 96, 128).values / 255).astype(np.float32)
    picture.setflags(write=False)
    return picture


@pytest.mark.parametrize("shape", SHAPES)
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
    assert not np.shares_memory(restored, picture)


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("method", METHODS)
def test_a_flat_picture_stays_flat(method: Method, level: float) -> None:
    flat = method(np.full((11, 13), level, np.float32))
    assert np.ptp(flat) < 1e-6
    if method is not classical.clahe:
        assert flat == pytest.approx(level, abs=1e-6)


@pytest.mark.parametrize("method", [classical.non_local_means, classical.clahe])
def test_more_than_eight_bits_come_out_of_sixteen(method: Method) -> None:
    counts = draw_scene(2, 96, 128, "uint16").values
    picture = (counts - counts.min()) / np.ptp(counts)
    picture += np.random.default_rng(3).normal(0, 0.01, picture.shape)
    assert len(np.unique(method(np.clip(picture, 0, 1).astype(np.float32)))) > 2000


def test_non_local_means_takes_most_of_the_noise_at_any_strength() -> None:
    clean = scene(0)
    for sigma, gain in ((0.02, 2), (0.04, 4), (0.08, 6)):
        noise = np.random.default_rng(4).normal(0, sigma, clean.shape)
        noisy = np.clip(clean + noise, 0, 1).astype(np.float32)
        assert psnr(classical.non_local_means(noisy), clean) > psnr(noisy, clean) + gain


def test_non_local_means_leaves_a_clean_scene_nearly_alone() -> None:
    clean = scene(1)
    assert psnr(classical.non_local_means(clean), clean) > 45


def test_clahe_of_eight_bits_is_opencvs() -> None:
    import cv2

    grey = draw_scene(3, 96, 128).values.astype(np.uint8)
    expected = cv2.createCLAHE(classical.CLIP, (8, 8)).apply(grey)
    restored = classical.clahe(np.float32(grey) / np.float32(255))
    np.testing.assert_allclose(255 * restored, expected, atol=1e-3)


def test_clahe_raises_the_contrast_of_a_flattened_scene() -> None:
    clean = scene(4)
    flattened = clean.mean() + 0.3 * (clean - clean.mean())
    assert classical.clahe(flattened).std() > 1.3 * flattened.std()


def test_median_by_hand() -> None:
    picture = np.full((11, 11), 0.4, np.float32)
    picture[4, 6] = 1.0  # a dead pixel is one of nine
    picture[:, 0] = 0.2  # a whole column is three of nine, and six of nine at the picture's edge
    restored = classical.median(picture)
    assert restored[4, 6] == np.float32(0.4)
    assert restored[5, :2].tolist() == [np.float32(0.2), np.float32(0.4)]


def test_percentile_stretch_of_a_ramp_by_hand() -> None:
    # Of 201 levels the .5 percentile is the second and the 99.5 percentile the last but one.
    ramp = np.linspace(0.3, 0.7, 201, dtype=np.float32).reshape(3, 67)
    expected = np.clip((np.arange(201) - 1) / 198, 0, 1).reshape(3, 67)
    np.testing.assert_allclose(classical.percentile_stretch(ramp), expected, atol=1e-5)


def test_unsharp_mask_agrees_with_scikit_image() -> None:
    from skimage import filters

    picture = scene(5)
    inner = np.s_[8:-8, 8:-8]  # the two libraries mirror the edge differently
    expected = filters.unsharp_mask(
        picture, classical.SHARPEN_SIGMA, classical.SHARPEN_AMOUNT, preserve_range=True
    )
    restored = classical.unsharp_mask(picture)[inner]
    np.testing.assert_allclose(restored, np.clip(expected, 0, 1)[inner], atol=2e-5)


def test_unsharp_mask_undoes_part_of_a_blur() -> None:
    import cv2

    clean = scene(6)
    blurred = np.asarray(cv2.GaussianBlur(clean, (0, 0), 1.5), np.float32)
    assert psnr(classical.unsharp_mask(blurred), clean) > psnr(blurred, clean) + 1.5


@pytest.mark.parametrize("enlarge", ENLARGEMENTS)
@pytest.mark.parametrize("shape", [(24, 32), (48, 64), (45, 70)])
def test_an_enlarged_ramp_is_a_ramp_away_from_the_edges(
    enlarge: Enlarge, shape: tuple[int, int]
) -> None:
    down, across = np.mgrid[:12, :16].astype(np.float32)
    small = 0.1 + 0.02 * down + 0.03 * across
    before = small.copy()
    large = enlarge(small, shape)
    # The centre of pixel i of the large picture lies at (i + ½) / scale − ½ of the small one.
    y, x = ((np.arange(n) + 0.5) * m / n - 0.5 for n, m in zip(shape, small.shape, strict=True))
    expected = 0.1 + 0.02 * y[:, None] + 0.03 * x[None]
    inner = np.s_[shape[0] // 4 : -(shape[0] // 4), shape[1] // 4 : -(shape[1] // 4)]
    np.testing.assert_allclose(large[inner], expected[inner], atol=1e-3)
    assert (large.shape, large.dtype) == (shape, np.float32)
    np.testing.assert_array_equal(small, before)


@pytest.mark.parametrize("enlarge", ENLARGEMENTS)
def test_an_enlarged_step_stays_within_the_range(enlarge: Enlarge) -> None:
    step = np.zeros((11, 12), np.float32)
    step[:, 6:] = 1
    large = enlarge(step, (44, 48))
    assert (large.min(), large.max()) == (0, 1)
    assert enlarge(np.full((11, 12), 0.3, np.float32), (44, 48)) == pytest.approx(0.3, abs=1e-6)
