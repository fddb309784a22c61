"""N_G chooses real operations that replay, within its budget, and learns from what they do."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from deal_cli.config import GeneratorConfig
from deal_cli.model.degradations import draw
from deal_cli.model.generator import Choice, Generator, Policy, compose, recipe
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
    assert float(policy.entropy().detach()) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(8))
def test_an_attack_replays_as_a_recipe_to_the_same_pixels(seed: int) -> None:
    x = pictures(seed=seed)
    policy = lively(seed=seed)(x)
    attacks = policy.sample(np.random.default_rng(seed))
    severities = policy.severities(attacks)
    attacked = compose(x, severities, attacks)
    for i, attack in enumerate(attacks):
        text = recipe(attack, severities[i].tolist()).to_json()
        again = replay(x[i : i + 1], Recipe.from_json(text))
        assert torch.allclose(again[0], attacked[i], atol=1e-6)


def test_the_same_rng_makes_the_same_attacks_and_no_operation_comes_twice() -> None:
    policy = lively(replace(CONFIG, rounds=6))(pictures(40))
    attacks = policy.sample(np.random.default_rng(1))
    assert attacks == policy.sample(np.random.default_rng(1))
    assert attacks != policy.sample(np.random.default_rng(2))
    for attack in attacks:
        chosen = [choice.index for choice in attack if choice.index != NONE]
        assert len(set(chosen)) == len(chosen)


def test_severities_stay_within_the_budget_and_none_is_none() -> None:
    policy = lively(replace(CONFIG, rounds=6, budget=0.7))(pictures(40))
    attacks = policy.sample(np.random.default_rng(1))
    severities = policy.severities(attacks).detach()
    assert severities.min() >= 0
    assert severities.sum(1).max() <= 0.7 + 1e-6
    chosen = torch.tensor([[choice.index != NONE for choice in attack] for attack in attacks])
    assert torch.equal(severities > 0, chosen)


def test_the_odds_of_an_attack_by_hand() -> None:
    config = GeneratorConfig(rounds=2, operations=("blur", "row"))
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
    for attack, odds in expected:
        assert float(policy.log_odds([attack])[0]) == pytest.approx(math.log(odds), abs=1e-6)


def test_gradients_reach_the_odds_and_the_severity_of_every_operation() -> None:
    generator = lively()
    reached = torch.zeros(2, NONE)
    for seed in range(30):
        x = pictures(8, seed=seed)
        policy = generator(x)
        for tensor in (policy.logits, policy.mean):
            tensor.retain_grad()
        attacks = policy.sample(np.random.default_rng(seed))
        attacked = compose(x, policy.severities(attacks), attacks)
        worth = (attacked - x).square().mean((1, 2, 3))
        (worth.sum() + (worth.detach() * policy.log_odds(attacks)).sum()).backward()
        for i, tensor in enumerate((policy.logits, policy.mean)):
            assert tensor.grad is not None
            reached[i] += tensor.grad[..., :NONE].abs().sum((0, 1))
    assert (reached > 0).all(), CONFIG.operations
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())


def test_entropy_falls_when_one_choice_takes_over() -> None:
    logits = torch.zeros(2, 3, NONE + 1)
    logits[..., 0] = 20.0
    policy = Policy(CONFIG, logits, torch.zeros(2, 3, NONE), torch.ones(2, 3, NONE))
    assert float(policy.entropy()) < 0.01
