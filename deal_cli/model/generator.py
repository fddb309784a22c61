"""The degradation generator N_G: looks at a clean picture and chooses what would hurt it most.

In each of R rounds it gives odds to every operation of a camera, or to none, and a severity to
each. What is drawn from them is a recipe of real operations that replays like any other
(`model/sampler.py`); the published generator blends all operations by a softmax, which makes ghosts
that no camera makes. Severities get their gradient through the operations; the odds get theirs from
the log odds of what was drawn, weighed by the harm it did (Williams 1992,
doi:10.1007/BF00992696).

arXiv 2503.00905, section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deal_cli.config import GeneratorConfig
from deal_cli.model.degradations import Draw, apply, draw
from deal_cli.model.sampler import Recipe, Step


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


Attack = tuple[Choice, ...]  # one choice a round, for one picture


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
        return Policy(self.config, logits, mean, 1 + spread.tanh() * 0.9)


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

    def sample(self, rng: np.random.Generator) -> list[Attack]:
        """An attack a picture; no operation twice in one."""
        odds = self.logits.detach().double().softmax(2).cpu().numpy()
        return [self._sample_one(rounds, rng) for rounds in odds]

    def _sample_one(self, rounds: np.ndarray, rng: np.random.Generator) -> Attack:
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

    def log_odds(self, attacks: Sequence[Attack]) -> Tensor:
        """`(B,)`, log of the odds with which each picture's operations were chosen."""
        total = torch.zeros(len(attacks), device=self.logits.device)
        free = torch.zeros_like(self.logits[:, 0])
        rows = torch.arange(len(attacks), device=free.device)
        for r in range(self.config.rounds):
            index = torch.tensor([attack[r].index for attack in attacks], device=free.device)
            total = total + (self.logits[:, r] + free).log_softmax(1)[rows, index]
            taken = F.one_hot(index, free.shape[1]).to(torch.bool)
            taken[:, -1] = False
            free = free.masked_fill(taken, -math.inf)
        return total

    def severities(self, attacks: Sequence[Attack]) -> Tensor:
        """`(B, R)` in [0, 1], differentiable, within the budget; 0 where nothing was chosen."""
        none = len(self.config.operations)
        index = torch.tensor([[c.index for c in attack] for attack in attacks])
        chance = torch.tensor([[c.chance for c in attack] for attack in attacks])
        index, chance = index.to(self.mean.device), chance.to(self.mean.device)
        pick = index.clamp_max(none - 1).unsqueeze(2)
        mean, spread = (t.gather(2, pick).squeeze(2) for t in (self.mean, self.spread))
        raw = (mean + spread * chance).sigmoid() * (index < none)
        total = raw.sum(1, keepdim=True)
        return raw * (self.config.budget / total.clamp_min(self.config.budget))

    def entropy(self) -> Tensor:
        """Of the choices: of each picture's odds, and of the batch's mean odds; in [0, 1]."""
        odds = self.logits.softmax(2)
        most = math.log(odds.shape[2])
        own = -(odds * odds.clamp_min(1e-9).log()).sum(2).mean()
        mean = odds.mean((0, 1))
        common = -(mean * mean.clamp_min(1e-9).log()).sum()
        return 0.5 * (own + common) / most


def compose(x: Tensor, severities: Tensor, attacks: Sequence[Attack]) -> Tensor:
    """N_G(x; θ): every picture through its own attack, `(B, 1, H, W)` in [0, 1].

    The pixels are those of `replay(x, recipe)`; gradients reach the severities and x.
    """
    for r in range(severities.shape[1]):
        groups: dict[str, list[int]] = {}
        for i, attack in enumerate(attacks):
            chosen = attack[r].draw
            if chosen is not None:
                groups.setdefault(chosen.operation, []).append(i)
        for members in groups.values():
            draws = [d for i in members if (d := attacks[i][r].draw) is not None]
            index = torch.tensor(members, device=x.device)
            x = x.index_copy(0, index, apply(x[index], severities[index, r], draws))
    return x.clamp(0.0, 1.0)


def recipe(attack: Attack, severities: Sequence[float]) -> Recipe:
    """An attack as plain numbers."""
    chosen = zip(attack, severities, strict=True)
    return Recipe(tuple(Step(c.draw, float(s)) for c, s in chosen if c.draw is not None))
