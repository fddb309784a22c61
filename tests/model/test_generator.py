"""N_G chooses real operations that replay, within its budget, and learns from what they do."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from deal_cli.config import GeneratorConfig
from deal_cli.model.degradations import draw
from deal_cli.model.generator import Choice, Generator, Policy, attack, kept
from deal_cli.model.sampler import Recipe, replay

CONFIG = GeneratorConfig(rounds=3, width=4)
NONE = len(CONFIG.operations)


def pictures(count: int = 4, edge: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((count, 1, edge, edge), np.float32))


def lively(config: GeneratorConfig = CONFIG, seed: int = 0) -> Generator:
    """A generator that looks at its pictures: nothing in it is zero."""
    torch.manual_seed(seed)
    generator = Generator(config)
    last = generator.policy[2]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.normal_(last.weight, std=0.5)
    return generator


def test_at_first_every_choice_is_as_likely() -> None:
    policy = Generator(CONFIG)(pictures())
    odds = policy.logits.softmax(2)
    assert odds.shape == (4, 3, NONE + 1)
    assert torch.allclose(odds, torch.full_like(odds, 1 / (NONE + 1)))
    assert policy.entropy().tolist() == pytest.approx([3 * math.log(NONE + 1)] * 4)


@pytest.mark.parametrize("seed", range(8))
def test_an_attack_replays_as_a_recipe_to_the_same_pixels(seed: int) -> None:
    x = pictures(seed=seed)
    policy = lively(seed=seed)(x)
    made = attack(x, policy, policy.sample(np.random.default_rng(seed)))
    for i, recipe in enumerate(made.recipes()):
        again = replay(x[i : i + 1], Recipe.from_json(recipe.to_json()))
        assert torch.allclose(again[0], made.attacked[i], atol=1e-6)


def test_the_same_rng_makes_the_same_choices_and_no_operation_comes_twice() -> None:
    policy = lively(replace(CONFIG, rounds=6))(pictures(40))
    chosen = policy.sample(np.random.default_rng(1))
    assert chosen == policy.sample(np.random.default_rng(1))
    assert chosen != policy.sample(np.random.default_rng(2))
    for choices in chosen:
        taken = [choice.index for choice in choices if choice.index != NONE]
        assert len(set(taken)) == len(taken)


def test_a_policy_among_some_operations_chooses_no_other() -> None:
    policy = lively()(pictures(40)).among({"stripe", "jpeg"})
    made = attack(pictures(40), policy, policy.sample(np.random.default_rng(0)))
    names = {step.draw.operation for recipe in made.recipes() for step in recipe.steps}
    assert names == {"stripe", "jpeg"}


def test_severities_stay_within_bounds_and_budget_and_none_is_none() -> None:
    bounds = {name: 0.1 + 0.08 * i for i, name in enumerate(CONFIG.operations)}
    policy = lively(replace(CONFIG, rounds=6, budget=0.7, bounds=bounds))(pictures(200))
    chosen = policy.sample(np.random.default_rng(1))
    severities = policy.severities(chosen).detach()
    most = torch.tensor([*bounds.values(), 0.0])
    index = torch.tensor([[choice.index for choice in choices] for choices in chosen])
    assert (severities <= most[index]).all()
    assert severities.min() >= 0
    assert severities.sum(1).max() == pytest.approx(0.7)
    assert torch.equal(severities > 0, index != NONE)


def test_what_an_attack_leaves_is_never_below_the_floor() -> None:
    flat_and_busy = pictures(60) * torch.linspace(0.02, 1, 60).view(-1, 1, 1, 1)
    shares = []
    for floor in (0.0, 0.5, 0.9):
        policy = lively(replace(CONFIG, budget=3.0, least_kept=floor))(flat_and_busy)
        made = attack(flat_and_busy, policy, policy.sample(np.random.default_rng(1)))
        share = kept(made.attacked.detach(), flat_and_busy)
        assert share.min() >= floor
        shares.append(float(share.min()))
    assert shares[0] < 0.5  # without a floor, some are erased


def test_what_is_kept_by_hand() -> None:
    x = torch.tensor([0.0, 0.0, 1.0, 1.0]).view(1, 1, 2, 2)
    other = torch.tensor([0.0, 1.0, 0.0, 1.0]).view(1, 1, 2, 2)  # at right angles to x
    assert kept(0.3 + 0.2 * x, x).item() == pytest.approx(1)
    assert kept(1 - x, x).item() == pytest.approx(1)
    assert kept(other, x).item() == pytest.approx(0)
    assert kept((x + other) / 2, x).item() == pytest.approx(0.5)
    assert kept(other, torch.full_like(x, 0.5)).item() == 1


def test_the_odds_of_choices_by_hand() -> None:
    config = GeneratorConfig(rounds=2, bounds={"blur": 1.0, "row": 1.0})
    logits = torch.log(torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]]]))
    policy = Policy(config, logits, torch.zeros(1, 2, 2), torch.ones(1, 2, 2))
    rng = np.random.default_rng(0)
    blur, row, none = (
        Choice(0, 0.0, draw("blur", rng)),
        Choice(1, 0.0, draw("row", rng)),
        Choice(2, 0.0, None),
    )
    # Blur was taken in the first round: only row and none are left in the second.
    expected = (
        ((blur, row), 0.5 * 0.6 / 0.9),
        ((blur, none), 0.5 * 0.3 / 0.9),
        ((none, blur), 0.02),
    )
    for choices, odds in expected:
        assert float(policy.log_odds([choices])[0]) == pytest.approx(math.log(odds), abs=1e-6)


def test_gradients_reach_the_odds_and_the_severity_of_every_operation() -> None:
    generator = lively()
    reached = torch.zeros(2, NONE)
    for seed in range(30):
        x = pictures(8, seed=seed)
        policy = generator(x)
        for tensor in (policy.logits, policy.mean):
            tensor.retain_grad()
        made = attack(x, policy, policy.sample(np.random.default_rng(seed)))
        worth = (made.attacked - x).square().mean((1, 2, 3))
        (worth.sum() + (worth.detach() * policy.log_odds(made.chosen)).sum()).backward()
        for i, tensor in enumerate((policy.logits, policy.mean)):
            assert tensor.grad is not None
            reached[i] += tensor.grad[..., :NONE].abs().sum((0, 1))
    assert (reached > 0).all(), CONFIG.operations
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())


def test_entropy_falls_when_one_choice_takes_over() -> None:
    logits = torch.zeros(2, 3, NONE + 1)
    logits[..., 0] = 20.0
    policy = Policy(CONFIG, logits, torch.zeros(2, 3, NONE), torch.ones(2, 3, NONE))
    assert policy.entropy().max() < 0.01


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rounds": 0}, "'rounds'"),
        ({"budget": 0.0}, "'budget'"),
        ({"bounds": {}}, "'bounds'"),
        ({"bounds": {"blur": 1.5}}, "'bounds'"),
        ({"least_kept": 1.0}, "'least_kept'"),
    ],
)
def test_limits_that_make_no_sense_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(CONFIG, **change)
