"""The degradation generator N_G: looks at a clean picture and chooses what would hurt it most.

In each of R rounds it gives odds to every operation of a camera, or to none, and a severity to
each. What is drawn from them is a recipe of real operations that replays like any other
(`model/sampler.py`); the published generator blends all operations by a softmax, which makes ghosts
that no camera makes. Severities get their gradient through the operations and through the enhancer
behind them; the odds get theirs from the log odds of what was drawn, weighed by how much more harm
it did than other attacks on the same picture (Williams 1992, doi:10.1007/BF00992696; the others as
its baseline: Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for free").

arXiv 2503.00905, section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deal_cli.config import GeneratorConfig
from deal_cli.model.degradations import Draw, apply, draw
from deal_cli.model.sampler import Recipe, Step

SHRINK, SHRINKS = 0.8, 40  # of the severities of an attack that leaves too little, and how often
LOWEST_SPREAD = 0.2  # of a severity before its sigmoid: attacks of one kind never all look alike


@dataclass(frozen=True)
class Choice:
    """What one round drew for one picture: an operation's index, or none, and its chance.

    Attributes:
        index: into the configuration's operations; their number stands for none.
        chance: standard normal, which the severity's spread multiplies.
        draw: the operation's own parameters; None for none.
    """

    index: int
    chance: float
    draw: Draw | None


Choices = tuple[Choice, ...]  # one a round, for one picture


class Generator(nn.Module):
    """N_G: `(B, 1, H, W)` in [0, 1] -> a policy for each picture."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        width, count = config.width, len(config.operations)
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.policy = nn.Sequential(
            nn.Linear(8 * width, 8 * width),
            nn.ReLU(),
            nn.Linear(8 * width, config.rounds * (3 * count + 1)),
        )
        last = self.policy[2]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)  # at first every operation is as likely, half severe
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Policy:
        local = self.features(x - x.mean((1, 2, 3), keepdim=True)).flatten(2)
        out = self.policy(torch.cat([local.mean(2), local.amax(2)], 1))
        count = len(self.config.operations)
        out = out.view(len(x), self.config.rounds, 3 * count + 1)
        logits, mean, spread = out.split([count + 1, count, count], 2)
        return Policy(self.config, logits, mean, 1 + spread.tanh() * (1 - LOWEST_SPREAD))


@dataclass(frozen=True)
class Policy:
    """What N_G makes of a batch of pictures.

    Attributes:
        config: of the generator.
        logits: `(B, R, K + 1)`, log odds of each operation and of none.
        mean: `(B, R, K)`, of the severity before its sigmoid.
        spread: `(B, R, K)`, standard deviation about it, positive.
    """

    config: GeneratorConfig
    logits: Tensor
    mean: Tensor
    spread: Tensor

    def among(self, operations: Collection[str]) -> Policy:
        """The policy with the choice narrowed to some operations."""
        kept = torch.tensor([name in operations for name in self.config.operations] + [True])
        logits = self.logits.masked_fill(~kept.to(self.logits.device), -math.inf)
        return Policy(self.config, logits, self.mean, self.spread)

    def sample(self, rng: np.random.Generator) -> list[Choices]:
        """Choices for each picture; no operation twice in one."""
        odds = self.logits.detach().double().softmax(2).cpu().numpy()
        return [self._sample_one(rounds, rng) for rounds in odds]

    def _sample_one(self, rounds: np.ndarray, rng: np.random.Generator) -> Choices:
        none = len(self.config.operations)
        free = np.ones(none + 1)
        choices = []
        for odds in rounds:
            index = int(rng.choice(none + 1, p=odds * free / (odds * free).sum()))
            chance, drawn = float(rng.normal()), None
            if index != none:
                drawn = draw(self.config.operations[index], rng)
                free[index] = 0.0
            choices.append(Choice(index, chance, drawn))
        return tuple(choices)

    def log_odds(self, chosen: Sequence[Choices]) -> Tensor:
        """`(B,)`, log of the odds with which each picture's operations were chosen."""
        total = torch.zeros(len(chosen), device=self.logits.device)
        free = torch.zeros_like(self.logits[:, 0])
        rows = torch.arange(len(chosen), device=free.device)
        for r in range(self.config.rounds):
            index = torch.tensor([choices[r].index for choices in chosen], device=free.device)
            total = total + (self.logits[:, r] + free).log_softmax(1)[rows, index]
            taken = F.one_hot(index, free.shape[1]).to(torch.bool)
            taken[:, -1] = False
            free = free.masked_fill(taken, -math.inf)
        return total

    def severities(self, chosen: Sequence[Choices]) -> Tensor:
        """`(B, R)`, differentiable, within bounds and budget; 0 where nothing was chosen."""
        none = len(self.config.operations)
        index = torch.tensor([[c.index for c in choices] for choices in chosen])
        chance = torch.tensor([[c.chance for c in choices] for choices in chosen])
        bounds = torch.tensor([*self.config.bounds.values(), 0.0])[index].to(self.mean.device)
        index, chance = index.to(self.mean.device), chance.to(self.mean.device)
        pick = index.clamp_max(none - 1).unsqueeze(2)
        mean, spread = (t.gather(2, pick).squeeze(2) for t in (self.mean, self.spread))
        raw = (mean + spread * chance).sigmoid() * bounds
        total = raw.sum(1, keepdim=True)
        return raw * (self.config.budget / total.clamp_min(self.config.budget))

    def entropy(self) -> Tensor:
        """`(B,)`, of the choices in all rounds, in nats: log(K + 1) a round when they are even."""
        odds = self.logits.softmax(2)
        return -(odds * odds.clamp_min(1e-9).log()).sum((1, 2))


@dataclass(frozen=True)
class Attack:
    """N_G(x; θ): pictures as attacked, and how.

    Attributes:
        attacked: `(B, 1, H, W)` in [0, 1].
        severities: `(B, R)`.
        chosen: of each picture.
    """

    attacked: Tensor
    severities: Tensor
    chosen: Sequence[Choices]

    def recipes(self) -> list[Recipe]:
        """Each picture's attack as plain numbers, which `replay` turns into the same pixels."""
        return [
            Recipe(
                tuple(
                    Step(choice.draw, float(severity))
                    for choice, severity in zip(choices, severities, strict=True)
                    if choice.draw is not None
                )
            )
            for choices, severities in zip(self.chosen, self.severities.tolist(), strict=True)
        ]


def attack(x: Tensor, policy: Policy, chosen: Sequence[Choices]) -> Attack:
    """Every picture `(B, 1, H, W)` through its own choices; gradients reach the severities.

    Where less than `least_kept` of a picture would be left, all its severities are lessened until
    it is: a projection into what N_G is allowed, as in projected gradient ascent (Madry et al.
    2018, arXiv 1706.06083).
    """
    severities = policy.severities(chosen).to(x.device)
    attacked = _compose(x, severities, chosen)
    for _ in range(SHRINKS):
        erased = (kept(attacked.detach(), x) < policy.config.least_kept).nonzero().flatten()
        if not len(erased):
            break
        severities = severities.index_copy(0, erased, severities[erased] * SHRINK)
        again = _compose(x[erased], severities[erased], [chosen[i] for i in erased.tolist()])
        attacked = attacked.index_copy(0, erased, again)
    return Attack(attacked, severities, chosen)


def kept(attacked: Tensor, x: Tensor) -> Tensor:
    """`(B,)` in [0, 1], the squared correlation of attacked and clean pictures."""
    a, b = (t.flatten(1) - t.flatten(1).mean(1, keepdim=True) for t in (attacked, x))
    # Pictures of one value keep all they have.
    scale = (a.square().sum(1) * b.square().sum(1)).clamp_min(1e-12)
    share = (a * b).sum(1).square() / scale
    return torch.where(b.square().mean(1) < 1e-8, torch.ones_like(share), share)


def _compose(x: Tensor, severities: Tensor, chosen: Sequence[Choices]) -> Tensor:
    """Pictures through their operations, the pixels of `replay`, round by round."""
    for r in range(severities.shape[1]):
        groups: dict[str, list[int]] = {}
        for i, choices in enumerate(chosen):
            drawn = choices[r].draw
            if drawn is not None:
                groups.setdefault(drawn.operation, []).append(i)
        for members in groups.values():
            draws = [d for i in members if (d := chosen[i][r].draw) is not None]
            index = torch.tensor(members, device=x.device)
            x = x.index_copy(0, index, apply(x[index], severities[index, r], draws))
    return x.clamp(0.0, 1.0)
