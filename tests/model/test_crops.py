"""Training pairs: their shape and range, and that the rng alone decides them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.signal import find_peaks

from deal_cli.config import SamplerConfig, TrainConfig
from deal_cli.model import crops
from deal_cli.model.crops import EIGHT_BIT_ODDS, Pyramid, coded, degrade_at_random, draw_clean
from deal_cli.model.sampler import replay, sample

CONFIG = TrainConfig(crop=32, spot_odds=0.0, zoom=1.0)
UNTOUCHED = SamplerConfig(count_odds=(1.0,))


def pyramids(count: int = 3) -> list[Pyramid]:
    rng = np.random.default_rng(0)
    sizes = ((80, 100), (52, 65), (40, 50))
    return [tuple(rng.random(size, np.float32) for size in sizes) for _ in range(count)]


def test_crops_have_the_configured_shape_and_stay_in_range_when_degraded() -> None:
    rng = np.random.default_rng(1)
    clean = draw_clean(pyramids(), 6, CONFIG, rng)
    degraded = coded(degrade_at_random(clean, CONFIG.sampler, rng)[0], rng)
    for tensor in (degraded, clean):
        assert tensor.shape == (6, 1, 32, 32)
        assert tensor.dtype == torch.float32
        assert tensor.min() >= 0
        assert tensor.max() <= 1
    assert not torch.equal(degraded, clean)


def test_the_same_rng_draws_the_same_crops_and_degradations() -> None:
    def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng(seed)
        clean = draw_clean(pyramids(), 4, CONFIG, rng)
        return clean, coded(degrade_at_random(clean, CONFIG.sampler, rng)[0], rng)

    one, again, other = (batch(seed) for seed in (2, 2, 3))
    assert torch.equal(one[0], again[0])
    assert torch.equal(one[1], again[1])
    assert not torch.equal(one[1], other[1])


def test_the_pictures_are_left_alone() -> None:
    pictures = pyramids()
    before = [level.copy() for pyramid in pictures for level in pyramid]
    draw_clean(pictures, 6, CONFIG, np.random.default_rng(4))
    levels = [level for pyramid in pictures for level in pyramid]
    assert all(np.array_equal(a, b) for a, b in zip(before, levels, strict=True))


def test_no_crops_are_degraded_to_none() -> None:
    none = torch.empty(0, 1, 8, 8)
    degraded, recipes = degrade_at_random(none, UNTOUCHED, np.random.default_rng(0))
    assert degraded.shape == none.shape
    assert recipes == []


def test_every_crop_comes_with_the_recipe_that_made_it() -> None:
    rng = np.random.default_rng(9)
    clean = draw_clean(pyramids(), 5, CONFIG, rng)
    config = SamplerConfig(count_odds=(0.0, 1.0))
    degraded, recipes = degrade_at_random(clean, config, rng)
    assert [len(recipe.steps) for recipe in recipes] == [1] * 5
    for crop, made, recipe in zip(clean.split(1), degraded.split(1), recipes, strict=True):
        assert torch.equal(replay(crop, recipe), made)


def test_most_inputs_are_rounded_to_eight_bits_and_nothing_else() -> None:
    rng = np.random.default_rng(5)
    clean = draw_clean(pyramids(), 60, CONFIG, rng)
    degraded = coded(degrade_at_random(clean, UNTOUCHED, rng)[0], rng)
    rounded = [not torch.equal(d, c) for d, c in zip(degraded, clean, strict=True)]
    assert (degraded - clean).abs().max() <= 0.5 / 255 + 1e-6
    assert np.mean(rounded) == pytest.approx(EIGHT_BIT_ODDS, abs=0.15)
    levels = degraded[torch.tensor(rounded)] * 255
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)


def test_the_average_blends_every_operation_alike() -> None:
    clean = draw_clean(pyramids(), 3, CONFIG, np.random.default_rng(0))
    config = SamplerConfig(average=True, odds={"row": 1.0, "gaussian": 1.0, "blur": 0.0})
    made, recipes = degrade_at_random(clean, config, np.random.default_rng(1))
    assert recipes == []  # a blend follows none
    rng = np.random.default_rng(1)
    for crop, blend in zip(clean.split(1), made.split(1), strict=True):
        alone = [
            replay(crop, sample(SamplerConfig(count_odds=(0.0, 1.0), odds={name: 1.0}), rng))
            for name in ("row", "gaussian")
        ]
        torch.testing.assert_close(blend, (alone[0] + alone[1]) / 2)


def test_the_more_detailed_of_two_crops_is_taken() -> None:
    flat = np.full((40, 40), 0.5, np.float32)
    busy = np.random.default_rng(0).random((40, 40), np.float32)
    clean = draw_clean(
        [(flat, flat, flat), (busy, busy, busy)], 60, CONFIG, np.random.default_rng(6)
    )
    # Flat, but for grain, only where both candidates are: one time in four.
    assert (clean.std((1, 2, 3)) < 0.02).float().mean().item() == pytest.approx(0.25, abs=0.15)


def test_scales_without_odds_are_not_drawn() -> None:
    levels = tuple(np.full((40, 40), value, np.float32) for value in (0.3, 0.5, 0.7))
    config = replace(CONFIG, scale_odds=(0.0, 0.0, 1.0), spot_odds=0.0)
    untoned = draw_clean([levels], 30, config, np.random.default_rng(7)).mean((1, 2, 3))
    # At the third scale alone: .7, .3 when inverted, or the mean that was drawn instead.
    assert ((untoned - 0.5).abs() > 1e-3).float().mean() > 0.9
    assert torch.isclose(untoned, torch.tensor(0.7)).sum() > 3


def test_crops_are_turned_and_mirrored() -> None:
    ramp = np.linspace(0.2, 0.8, 32, dtype=np.float32)[None, :].repeat(32, 0)
    clean = draw_clean([(ramp,) * 3], 60, CONFIG, np.random.default_rng(8))
    across = (clean[..., -1] - clean[..., 0]).mean((1, 2))
    down = (clean[..., -1, :] - clean[..., 0, :]).mean((1, 2))
    for slope in (across, -across, down, -down):
        assert (slope > 0.1).any()
    assert ((across.abs() > 0.1) ^ (down.abs() > 0.1)).all()


def test_spots_have_the_skirt_of_a_lens_and_the_odds_rule_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crops, "SHAPE_ODDS", 0.0)
    flat = [tuple(np.full(size, 0.5, np.float32) for size in ((80, 100), (52, 65), (40, 50)))]

    def roughness(odds: float) -> torch.Tensor:
        config = replace(CONFIG, spot_odds=odds)
        clean = draw_clean(flat, 40, config, np.random.default_rng(3))
        return (clean - clean.mean((2, 3), keepdim=True)).abs().amax((1, 2, 3))

    assert roughness(0.0).max() < 0.05  # grain alone
    spots = roughness(1.0)
    assert (spots > 0.05).float().mean() > 0.9
    config = replace(CONFIG, spot_odds=1.0, grain_odds=0.0)
    for crop in draw_clean(flat, 40, config, np.random.default_rng(3))[:, 0].numpy():
        # Nowhere is one pixel alone: its neighbours have a quarter of its contrast, or more.
        peak = np.abs(crop - np.median(crop))
        peak[[0, -1]] = peak[:, [0, -1]] = 0
        y, x = np.unravel_index(peak.argmax(), peak.shape)
        around = (peak[y - 1, x] + peak[y + 1, x] + peak[y, x - 1] + peak[y, x + 1]) / 4
        assert around > peak[y, x] / 4 or peak[y, x] < 0.06


def test_fronts_are_windows_at_equal_steps_with_soft_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops, "FRONT_ODDS", 1.0)
    monkeypatch.setattr(crops, "PITCH", (8.0, 16.0))
    flat = [(np.full((80, 100), 0.5, np.float32),) * 3]
    config = replace(CONFIG, crop=64, spot_odds=1.0, grain_odds=0.0)
    rows = 0
    for crop in draw_clean(flat, 40, config, np.random.default_rng(4))[:, 0].numpy():
        front = np.abs(crop - np.median(crop))
        # A step from pixel to pixel is a jump nowhere: each has a width of its own.
        assert np.abs(np.diff(crop)).max() < 0.85 * crops.SPOT_CONTRAST[1]
        across = front.max(0)
        peaks = find_peaks(across, height=0.2 * across.max())[0]
        if len(peaks) > 2:
            rows += 1
            assert np.ptp(np.diff(peaks)) <= 2
    assert rows > 10


def test_zoomed_crops_are_of_every_size_up_to_the_most_and_of_the_configured_shape() -> None:
    # A ramp across the picture tells how much of it a crop shows.
    ramp = np.tile(np.linspace(0, 1, 100, dtype=np.float32), (80, 1))
    config = replace(CONFIG, zoom=2.0, scale_odds=(1.0, 0.0, 0.0))
    drawn = draw_clean([(ramp, ramp, ramp)], 400, config, np.random.default_rng(8)).numpy()
    assert drawn.shape == (400, 1, 32, 32)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    plain = draw_clean([(ramp,) * 3], 400, replace(config, zoom=1.0), np.random.default_rng(8))
    steps = np.abs(np.diff(drawn, axis=3)).mean((1, 2, 3))
    flat = np.abs(np.diff(plain.numpy(), axis=3)).mean((1, 2, 3))
    # Tone changes a ramp's slope in both; the zoom, and nothing else, makes it twice as steep.
    assert steps.mean() > 1.3 * flat.mean()


def test_a_zoom_larger_than_the_picture_takes_what_there_is() -> None:
    config = replace(CONFIG, zoom=4.0)
    drawn = draw_clean(pyramids(), 20, config, np.random.default_rng(9))
    assert drawn.shape == (20, 1, 32, 32)
    assert torch.isfinite(drawn).all()


def test_grain_is_of_the_camera_and_its_odds_and_size_rule_it() -> None:
    flat = np.full((40, 50), 0.5, np.float32)
    config = replace(CONFIG, grain_odds=1.0, grain_sigma=0.02)

    def spread(config: TrainConfig) -> np.ndarray:
        drawn = draw_clean([(flat, flat, flat)], 200, config, np.random.default_rng(10))
        return np.asarray(drawn.numpy().std((1, 2, 3)))

    assert spread(replace(config, grain_odds=0.0)).max() == pytest.approx(0, abs=1e-6)
    # Uniform up to the most, whether a camera has smoothed it or not; ends of the range cut some.
    assert spread(config).max() < 0.022
    assert spread(config).mean() == pytest.approx(0.01, abs=0.002)
    assert (spread(replace(config, grain_odds=0.5)) < 1e-6).mean() == pytest.approx(0.5, abs=0.12)


def test_shapes_are_drawn_with_hard_and_with_soft_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops, "HARD_ODDS", 1.0)
    hard = crops._shapes(64, np.random.default_rng(0))
    monkeypatch.setattr(crops, "HARD_ODDS", 0.0)
    soft = crops._shapes(64, np.random.default_rng(0))
    assert len(np.unique(hard)) < 2**8 < len(np.unique(soft))
    assert (hard == 0).any()
