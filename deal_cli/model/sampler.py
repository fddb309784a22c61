"""Random recipes of degradations: sampled here, applied in `model/degradations.py`.

A recipe is plain numbers: written to JSON and replayed, it makes the same pixels.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from deal_cli.config import SamplerConfig
from deal_cli.errors import UsageError
from deal_cli.model.degradations import OPERATIONS, Draw, apply, draw


@dataclass(frozen=True)
class Step:
    """One operation of a recipe, with its severity in [0, 1]."""

    draw: Draw
    severity: float


@dataclass(frozen=True)
class Recipe:
    """A sequence of operations, applied from first to last."""

    steps: tuple[Step, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self)["steps"])

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        return cls(tuple(Step(Draw(**s["draw"]), s["severity"]) for s in json.loads(text)))


def sample(config: SamplerConfig, rng: np.random.Generator) -> Recipe:
    """A recipe as `config` says: how many operations, which, how severe, in which order.

    Raises:
        UsageError: `config.odds` names no operation of ours.
    """
    check_operations(config.odds)
    names = [name for name in OPERATIONS if config.odds.get(name, 0.0) > 0.0]
    odds = np.array([config.odds[name] for name in names])
    count_odds = np.array(config.count_odds[: len(names) + 1])
    if not count_odds.sum() > 0:
        cause = f"'count_odds' want more degradations than the {len(names)} that have odds"
        raise UsageError(cause, remedy="give odds to fewer, or to more of them in 'odds'")
    count = int(rng.choice(len(count_odds), p=count_odds / count_odds.sum()))
    chosen = rng.choice(names, size=count, replace=False, p=odds / odds.sum()).tolist()
    if rng.random() < config.camera_order_odds:
        chosen = sorted(chosen, key=list(OPERATIONS).index)
    # In mixtures each degradation is milder, or the strongest would drown the others.
    power = config.severity_power * (1.0 if count < 2 else 1.4)
    least = config.least_severity
    severities = least + (1 - least) * rng.random(count) ** power
    steps = zip(chosen, severities, strict=True)
    return Recipe(tuple(Step(draw(str(name), rng), float(s)) for name, s in steps))


def severities(recipes: Sequence[Recipe], operations: Sequence[str]) -> Tensor:
    """`(B, K)`, how severe each of K operations is in each recipe; 0 where it is none of it."""
    table = torch.zeros(len(recipes), len(operations))
    for row, recipe in zip(table, recipes, strict=True):
        for step in recipe.steps:
            if step.draw.operation in operations:
                at = operations.index(step.draw.operation)
                row[at] = max(float(row[at]), step.severity)
    return table


def check_operations(names: Iterable[str]) -> None:
    """Raise a UsageError that names the nearest operation of ours where one is not known."""
    for name in names:
        if name not in OPERATIONS:
            near = difflib.get_close_matches(name, OPERATIONS, n=1, cutoff=0.0)[0]
            raise UsageError(f"unknown degradation '{name}'", remedy=f"did you mean '{near}'?")


def average(x: Tensor, config: SamplerConfig, rng: np.random.Generator) -> Tensor:
    """The mean of all operations' pictures, each of a severity of its own, clipped to [0, 1]."""
    alone = replace(config, count_odds=(0.0, 1.0))
    names = [name for name, odds in config.odds.items() if odds > 0.0]
    recipes = [sample(replace(alone, odds={name: 1.0}), rng) for name in names]
    return torch.stack([replay(x, recipe) for recipe in recipes]).mean(0)


def replay(x: Tensor, recipe: Recipe) -> Tensor:
    """`(B, 1, H, W)` in [0, 1] through the recipe, every picture alike, clipped to [0, 1]."""
    for step in recipe.steps:
        severity = torch.full((len(x),), step.severity, device=x.device)
        x = apply(x, severity, [step.draw] * len(x))
    return x.clamp(0.0, 1.0)
