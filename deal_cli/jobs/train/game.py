"""The game of the paper: the enhancer N_E against the degradation generator N_G.

    min over ω of L(N_E(N_G(x; θ*); ω), x),   θ* = argmax over θ of L

Before each step of N_E, or before every few, N_G makes k steps of ascent through the frozen N_E,
and a share of N_E's batch are fresh attacks.

What step n draws depends on the seed, the process and n alone, so a run that was stopped and
resumed on the same kind of processor with as many threads and processes makes the same weights as
one that was not. On a GPU, whose sums come in any order, it makes nearly the same.

arXiv 2503.00905, section 3.4 and algorithm 1; the game as a whole is that of adversarial training
(Madry et al. 2018, arXiv 1706.06083).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deal_cli.config import TrainConfig
from deal_cli.engine.backends import hardware
from deal_cli.engine.backends.torch_backend import lower_precision
from deal_cli.jobs.train.ranks import Ranks
from deal_cli.jobs.train.state import State

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from deal_cli.model.crops import Pyramid
    from deal_cli.model.gauge import Reading
    from deal_cli.model.generator import Attack, Policy
    from deal_cli.model.network import Enhancer

INNER, OUTER = 0, 1  # so that the two problems never draw the same numbers


@dataclass(frozen=True)
class Game:
    """What does not change while N_E and N_G play."""

    config: TrainConfig
    pyramids: Sequence[Pyramid]
    device: torch.device
    ranks: Ranks = Ranks()

    def rng(self, step: int, problem: int, turn: int = 0) -> np.random.Generator:
        """The random source of one step, the same however the run came there."""
        return np.random.default_rng((self.config.seed, self.ranks.rank, step, problem, turn))

    def clean_crops(self, count: int, rng: np.random.Generator) -> Tensor:
        """`(count, 1, crop, crop)` in [0, 1], on the device."""
        from deal_cli.model.crops import draw_clean

        return draw_clean(self.pyramids, count, self.config, rng).to(self.device)

    def harm(
        self,
        network: Enhancer,
        degraded: Tensor,
        clean: Tensor,
        reading: Reading | None = None,
    ) -> Tensor:
        """L(N_E(degraded), clean), `(B,)`; what a gauge has read may be given."""
        from deal_cli.model import losses

        channels = self.config.network.channels
        if reading is None and network.gauge is not None:
            reading = network.gauge(degraded)
        with self._autocast():
            seen = degraded.expand(-1, channels, -1, -1)
            correction = network.correction_as_read(seen, reading)
        restored = degraded + correction.float()
        objective = {
            "log_mse": losses.log_mse,
            "detailed": losses.detailed,
            "structural": losses.structural,
            "published": losses.published,
        }
        return objective[self.config.objective](restored, clean.expand_as(restored))

    def _autocast(self) -> AbstractContextManager[Any]:
        """bfloat16 autocast, or nothing, as the configuration and the hardware say."""
        import torch

        precision = self.config.precision
        fast = lower_precision(self.device)[0] is torch.bfloat16
        lower = precision == "bfloat16" or (precision == "auto" and fast)
        return torch.autocast(self.device.type, torch.bfloat16, enabled=lower)


def inner_maximisation(game: Game, state: State, turn: int = 0) -> dict[str, Any]:
    """One step of N_G: θ goes up L(N_E(N_G(x; θ); ω), x), through an N_E that stands still.

    The gradient of the severities comes back through N_E and the operations. That of the choices is
    the gradient of their log odds, weighed by how much more an attack harms than the others on the
    same picture do. The entropy of the choices is added, so that they do not collapse onto one.
    """
    import torch

    rules = game.config.adversary
    rng = game.rng(state.step, INNER, turn)
    with hardware.single_thread():
        x = game.clean_crops(rules.pictures, rng).repeat_interleave(rules.attacks, 0)
        policy = state.generator(x)
        attack = _attack(x, policy, rng)
    with frozen(state.network):
        harm = game.harm(state.network, attack.attacked, x)
    entropy = policy.entropy()
    gain = (
        harm.mean()
        + (_advantage(harm.detach(), rules.attacks) * policy.log_odds(attack.chosen)).mean()
        + rules.diversity * entropy.mean()
    )
    parameters = list(state.generator.parameters())
    gradients = torch.autograd.grad(-gain, parameters)
    game.ranks.average(gradients)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    torch.nn.utils.clip_grad_norm_(parameters, game.config.clip)
    for group in state.ascent.param_groups:
        group["lr"] = rules.learning_rate
    state.ascent.step()
    return _told(policy, attack, x) | {"harm": float(harm.detach().mean())}


def outer_minimisation(
    game: Game, state: State, *, adversarial: bool, stop: bool = False
) -> tuple[dict[str, Any], bool]:
    """One step of N_E: ω goes down L on fresh attacks, mixed with degradations drawn at random.

    Returns:
        The losses, and whether any process was told to stop.
    """
    import torch

    from deal_cli.model.crops import coded, degrade_at_random
    from deal_cli.model.losses import misread
    from deal_cli.model.sampler import severities

    config = game.config
    rng = game.rng(state.step, OUTER)
    count = max(1, round(config.adversary.share * config.batch)) if adversarial else 0
    with hardware.single_thread(), torch.no_grad():
        clean = game.clean_crops(config.batch, rng)
        drawn, recipes = degrade_at_random(clean[count:], config.sampler, rng)
        if count:
            attack = _attack(clean[:count], state.generator(clean[:count]), rng)
            drawn, recipes = torch.cat([attack.attacked, drawn]), attack.recipes() + recipes
        degraded = coded(drawn, rng)
    state.set_rate(config)
    network, reading = state.network.train(), None
    error = torch.zeros((), device=game.device)
    if network.gauge is not None:
        reading = network.gauge(degraded)
        read = reading.severities[: len(recipes)]  # averages, which are last, follow no recipes
        error = config.gauge.weight * misread(read, severities(recipes, config.network.gauge))
    losses = game.harm(network, degraded, clean, reading)
    state.optimiser.zero_grad(set_to_none=True)
    (losses.mean() + error).backward()
    parameters = [p for p in state.network.parameters() if p.grad is not None]
    stop = game.ranks.average([p.grad for p in parameters if p.grad is not None], stop)
    torch.nn.utils.clip_grad_norm_(parameters, config.clip)
    state.optimiser.step()
    norms = [m for m in state.network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    statistics = [b for norm in norms for b in norm.buffers() if b.is_floating_point()]
    if statistics:  # of batch norms, which every process has gathered of its own crops
        game.ranks.average(statistics)
    state.step += 1
    state.update_ema(config.ema)
    told = {"loss": float(losses.detach().mean())}
    if 0 < count < config.batch:
        attacked, random = losses.detach().split([count, config.batch - count])
        told["loss_adversarial"], told["loss_random"] = float(attacked.mean()), float(random.mean())
        told["advantage"] = told["loss_adversarial"] - told["loss_random"]
    return told, stop


def play_step(game: Game, state: State, *, active: bool, stop: bool = False) -> tuple[Any, bool]:
    """Play once: k steps of N_G, when it is its turn, then one of N_E; what is told of both."""
    rules, told = game.config.adversary, dict[str, Any]()
    if active and state.step % rules.ascent_every == 0:
        for turn in range(rules.ascent_steps):
            told = inner_maximisation(game, state, turn)
    losses, stop = outer_minimisation(game, state, adversarial=active, stop=stop)
    return told | losses, stop


def _attack(x: Tensor, policy: Policy, rng: np.random.Generator) -> Attack:
    from deal_cli.model.generator import attack

    return attack(x, policy, policy.sample(rng))


def _advantage(harm: Tensor, attacks: int) -> Tensor:
    """`(B,)`, harm less the mean harm of the other attacks on the same picture."""
    groups = harm.view(-1, attacks)
    others = (groups.sum(1, keepdim=True) - groups) / (attacks - 1)
    return (groups - others).flatten()


def _told(policy: Policy, attack: Attack, x: Tensor) -> dict[str, Any]:
    """Whether N_G collapses (entropy, 1 is even), spends its budget, and leaves something."""
    from deal_cli.model.generator import kept

    odds = policy.logits.detach().softmax(2).mean((0, 1))
    names = (*policy.config.operations, "none")
    most = policy.config.rounds * math.log(len(names))
    return {
        "entropy": float(policy.entropy().detach().mean()) / most,
        "budget_use": float(attack.severities.detach().sum(1).mean()) / policy.config.budget,
        "kept": float(kept(attack.attacked.detach(), x).mean()),
        "odds": dict(zip(names, odds.tolist(), strict=True)),
    }


@contextlib.contextmanager
def frozen(network: Enhancer) -> Iterator[None]:
    """N_E as it is: no gradient of its weights, no change of its batch statistics."""
    network.eval().requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
