"""Teach a new gauge to read severities, before the enhancer learns to be set by it.

Spectra of degraded crops are measured once and gone over many times, which an enhancer's own
training, where every crop is seen once, could not afford.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from deal_cli.config import TrainConfig
from deal_cli.engine import hardware
from deal_cli.jobs.train_state import State, schedule

if TYPE_CHECKING:
    from deal_cli.model.crops import Pyramid

TOGETHER = 32  # crops degraded at a time
GAUGE = 2  # so that it draws other numbers than the players of the game do


def train_gauge(pyramids: Sequence[Pyramid], config: TrainConfig, state: State) -> None:
    """Train the gauge of the state's network, and give its averaged weights the same one."""
    import torch

    from deal_cli.model.crops import coded, degrade_at_random, draw_clean
    from deal_cli.model.losses import misread
    from deal_cli.model.sampler import Recipe

    gauge, rules = state.network.gauge, config.gauge
    assert gauge is not None
    rng = np.random.default_rng((config.seed, GAUGE))
    spectra, recipes = [], list[Recipe]()
    with hardware.single_thread(), torch.no_grad():
        while len(recipes) < rules.crops and not config.sampler.average:
            clean = draw_clean(pyramids, TOGETHER, config, rng)
            degraded, drawn = degrade_at_random(clean, config.sampler, rng)
            spectra.append(gauge.spectrum(coded(degraded, rng).to(gauge.waves.device)))
            recipes += drawn
    if not recipes:
        return
    measured = torch.cat(spectra)
    readers = [*gauge.features.parameters(), *gauge.severities.parameters()]
    optimiser = torch.optim.AdamW(readers, rules.learning_rate)
    for step in range(rules.steps):
        for group in optimiser.param_groups:
            group["lr"] = rules.learning_rate * schedule(step / rules.steps, 0.0)
        at = rng.integers(len(recipes), size=rules.batch)
        read = gauge.read(measured[torch.from_numpy(at).to(measured.device)])
        loss = misread(read, [recipes[i] for i in at], config.network.gauge)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    assert state.ema.gauge is not None
    state.ema.gauge.load_state_dict(gauge.state_dict())
