"""Teach a new gauge to read severities, before the enhancer learns to be set by it.

Spectra of degraded crops are measured once and gone over many times, which an enhancer's own
training, where every crop is seen once, could not afford.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from deal_cli.engine.backends import hardware
from deal_cli.jobs.train.game import Game
from deal_cli.jobs.train.state import State, schedule

if TYPE_CHECKING:
    from torch import Tensor

    from deal_cli.model.gauge import Gauge

TOGETHER = 32  # crops degraded at a time
GAUGE = 2  # so that it draws other numbers than the players of the game do


def seconds_of_gauge(game: Game, state: State) -> float:
    """About how long a new gauge takes to be taught, most of which is drawing crops."""
    gauge, rng = state.network.gauge, np.random.default_rng(game.config.seed)
    assert gauge is not None
    _examples(game, gauge, rng)  # the first takes longer
    started = time.monotonic()
    _examples(game, gauge, rng)
    return (time.monotonic() - started) * game.config.gauge.crops / TOGETHER


def train_gauge(game: Game, state: State) -> None:
    """Train the gauge of the state's network, and give its averaged weights the same one.

    Each process of several draws crops of its own; what they have learnt is averaged.
    """
    import torch

    from deal_cli.model.losses import misread

    config, gauge = game.config, state.network.gauge
    rules = config.gauge
    assert gauge is not None
    if config.sampler.average or not rules.crops:  # an average has nothing to read
        return
    rng = np.random.default_rng((config.seed, game.ranks.rank, GAUGE))
    batches = [_examples(game, gauge, rng) for _ in range(-(-rules.crops // TOGETHER))]
    spectra, true = (torch.cat(parts) for parts in zip(*batches, strict=True))
    readers = [*gauge.features.parameters(), *gauge.severities.parameters()]
    optimiser = torch.optim.AdamW(readers, rules.learning_rate)
    for step in range(rules.steps):
        for group in optimiser.param_groups:
            group["lr"] = rules.learning_rate * schedule(step / rules.steps, 0.0)
        at = torch.from_numpy(rng.integers(len(true), size=rules.batch)).to(true.device)
        loss = misread(gauge.read(spectra[at]), true[at])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    game.ranks.average([parameter.data for parameter in gauge.parameters()])
    assert state.ema.gauge is not None
    state.ema.gauge.load_state_dict(gauge.state_dict())


def _examples(game: Game, gauge: Gauge, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Spectra of some degraded crops, and the severities that they were degraded with."""
    import torch

    from deal_cli.model.crops import coded, degrade_at_random
    from deal_cli.model.sampler import severities

    with hardware.single_thread(), torch.no_grad():
        clean = game.clean_crops(TOGETHER, rng)
        degraded, recipes = degrade_at_random(clean, game.config.sampler, rng)
        spectra = gauge.spectrum(coded(degraded, rng))
    return spectra, severities(recipes, game.config.network.gauge).to(spectra.device)
