"""Recipes: drawn as the configuration says, and replayed from JSON to the same pixels."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deal_cli.config import SamplerConfig
from deal_cli.errors import UsageError
from deal_cli.model.degradations import OPERATIONS, apply
from deal_cli.model.sampler import Recipe, replay, sample

ORDER = list(OPERATIONS)
EVEN = SamplerConfig(odds=dict.fromkeys(OPERATIONS, 1.0))


def recipes(config: SamplerConfig, count: int, seed: int = 0) -> list[Recipe]:
    rng = np.random.default_rng(seed)
    return [sample(config, rng) for _ in range(count)]


def names(recipe: Recipe) -> list[str]:
    return [step.draw.operation for step in recipe.steps]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_recipe_replayed_from_json_makes_the_same_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    recipe = sample(replace(EVEN, count_odds=(0, 1, 1, 1, 1)), rng)
    x = torch.from_numpy(rng.random((2, 1, 24, 32), np.float32))
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert torch.equal(replay(x, again), replay(x, recipe))


def test_a_recipe_in_json_is_plain_numbers_and_names() -> None:
    (recipe,) = recipes(replace(EVEN, count_odds=(0, 0, 1)), 1)
    first, second = json.loads(recipe.to_json())
    assert first["draw"]["operation"] == recipe.steps[0].draw.operation
    assert first["severity"] == recipe.steps[0].severity
    assert second["draw"]["seed"] == recipe.steps[1].draw.seed


def test_the_same_rng_draws_the_same_recipes() -> None:
    assert recipes(EVEN, 20, seed=3) == recipes(EVEN, 20, seed=3)
    assert recipes(EVEN, 20, seed=3) != recipes(EVEN, 20, seed=4)


def test_an_operation_with_no_odds_is_never_drawn() -> None:
    odds = {"blur": 1.0, "stripe": 0.0, "row": 2.0}
    drawn = {n for r in recipes(SamplerConfig(odds=odds), 500) for n in names(r)}
    assert drawn == {"blur", "row"}


def test_odds_are_relative() -> None:
    config = SamplerConfig(odds={"blur": 3.0, "row": 1.0}, count_odds=(0.0, 1.0))
    seen = Counter(names(r)[0] for r in recipes(config, 2000))
    assert seen["blur"] / 2000 == pytest.approx(0.75, abs=0.04)


def test_odds_for_no_operation_of_ours_are_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown degradation 'strpe'; did you mean 'stripe'"):
        sample(SamplerConfig(odds={"strpe": 1.0}), np.random.default_rng(0))


def test_counts_follow_their_odds() -> None:
    config = replace(EVEN, count_odds=(1.0, 2.0, 4.0, 1.0))
    seen = Counter(len(r.steps) for r in recipes(config, 4000))
    assert set(seen) == {0, 1, 2, 3}
    for count, share in enumerate((0.125, 0.25, 0.5, 0.125)):
        assert seen[count] / 4000 == pytest.approx(share, abs=0.03)


def test_no_recipe_holds_an_operation_twice() -> None:
    config = replace(EVEN, count_odds=(0, 0, 0, 0, 1))
    assert all(len(set(names(r))) == 4 for r in recipes(config, 300))


def test_counts_beyond_the_number_of_operations_are_not_drawn() -> None:
    config = SamplerConfig(odds={"blur": 1.0}, count_odds=(0.2, 0.2, 0.2, 0.2, 0.2))
    assert {len(r.steps) for r in recipes(config, 200)} == {0, 1}


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_the_stated_share_of_mixtures_is_in_the_order_of_a_camera(share: float) -> None:
    config = replace(EVEN, count_odds=(0, 0, 1), camera_order_odds=share)
    ordered = [names(r) == sorted(names(r), key=ORDER.index) for r in recipes(config, 3000, seed=5)]
    # Of the pairs in any order, half are in a camera's by chance.
    assert np.mean(ordered) == pytest.approx(share + (1 - share) / 2, abs=0.035)


def test_no_severity_lies_below_the_least() -> None:
    config = replace(EVEN, count_odds=(0, 1), least_severity=0.3)
    severities = [r.steps[0].severity for r in recipes(config, 200)]
    assert min(severities) >= 0.3
    assert max(severities) <= 1.0


def test_severities_lie_between_zero_and_one_and_follow_their_power() -> None:
    config = replace(EVEN, count_odds=(0, 1), severity_power=2.0, least_severity=0.0)
    severities = np.array([r.steps[0].severity for r in recipes(config, 3000)])
    assert severities.min() >= 0
    assert severities.max() <= 1
    # P(u² < 1/4) = 1/2
    assert np.mean(severities < 0.25) == pytest.approx(0.5, abs=0.04)


def test_degradations_in_mixtures_are_milder() -> None:
    alone = [r.steps[0].severity for r in recipes(replace(EVEN, count_odds=(0, 1)), 2000)]
    mixed = [r.steps[0].severity for r in recipes(replace(EVEN, count_odds=(0, 0, 1)), 2000)]
    assert np.mean(mixed) < np.mean(alone) - 0.05


def test_counts_that_no_recipe_can_have_are_refused() -> None:
    config = SamplerConfig(odds={"blur": 1.0}, count_odds=(0.0, 0.0, 1.0))
    with pytest.raises(UsageError, match="more degradations than the 1 that have odds"):
        sample(config, np.random.default_rng(0))


def test_an_empty_recipe_only_clips() -> None:
    (recipe,) = recipes(replace(EVEN, count_odds=(1.0,)), 1)
    x = torch.linspace(-0.5, 1.5, 64).view(1, 1, 8, 8)
    assert recipe == Recipe(())
    assert torch.equal(replay(x, recipe), x.clamp(0, 1))


def test_replay_applies_every_step_in_order_and_clips_once() -> None:
    (recipe,) = recipes(replace(EVEN, count_odds=(0, 0, 0, 1)), 1, seed=6)
    x = torch.rand(2, 1, 16, 16)
    expected = x
    for step in recipe.steps:
        expected = apply(expected, torch.tensor([step.severity] * 2), [step.draw] * 2)
    assert torch.equal(replay(x, recipe), expected.clamp(0, 1))
