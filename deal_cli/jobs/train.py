"""Train the enhancer N_E against the degradation generator N_G: the game of the paper.

    min over ω of L(N_E(N_G(x; θ*); ω), x),   θ* = argmax over θ of L

Warm-up: N_E learns on degradations drawn at random. Active phase: before each step of N_E, N_G
makes k steps of ascent through the frozen N_E, or before every few, and a share of N_E's batch are
fresh attacks.
Closing phase: N_E alone again. Every phase is a share of the steps.

What step n draws depends on the seed, the process and n alone, so a run that was stopped and
resumed on the same kind of processor with as many threads and processes makes the same weights as
one that was not. On a GPU, whose sums come in any order, it makes nearly the same.

arXiv 2503.00905, section 3.4 and algorithm 1; the game as a whole is that of adversarial training
(Madry et al. 2018, arXiv 1706.06083).
"""

from __future__ import annotations

import contextlib
import copy
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deal_cli.config import TrainConfig
from deal_cli.engine import hardware
from deal_cli.engine.backends import Choice
from deal_cli.engine.torch_backend import lower_precision
from deal_cli.jobs.budget import Budget, Pace
from deal_cli.jobs.curves import write_curves
from deal_cli.jobs.dataset import Dataset, build_pyramid, load_dataset
from deal_cli.jobs.ranks import Interruption, Ranks, joined
from deal_cli.jobs.run_folder import RunFolder, Tally
from deal_cli.jobs.train_gauge import train_gauge
from deal_cli.jobs.train_state import State, first_state
from deal_cli.jobs.train_tone import copy_tone, train_tone
from deal_cli.jobs.train_views import Plan, Watcher, sample_grid, validate
from deal_cli.mapping import to_mapping

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from deal_cli.model.crops import Pyramid
    from deal_cli.model.gauge import Reading
    from deal_cli.model.generator import Attack, Policy
    from deal_cli.model.network import Enhancer

GRID_ROWS = 6
ROWS = 200  # of metrics.jsonl, about, in a run of many steps
INNER, OUTER = 0, 1  # so that the two problems never draw the same numbers


@dataclass(frozen=True)
class TrainRequest:
    """What to train, on what, and where to.

    Attributes:
        data: folder of clean pictures.
        out: the run's folder.
        val: folder of clean pictures to choose by; without it some scenes of `data` are kept back.
        init: bundled name or file of the weights to start from; None starts anew.
        resume: go on with the run in `out`.
        config: settings; a resumed run keeps its own.
        budget: steps or seconds, in place of the configuration's steps.
        choice: CUDA or CPU.
    """

    data: Path
    out: Path
    val: Path | None = None
    init: str | None = None
    resume: bool = False
    config: TrainConfig = TrainConfig()
    budget: Budget = Budget()
    choice: Choice = Choice("cpu", 0, "by default")


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


# The game ----------------------------------------------------------------------------------------


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
        x = _clean(game, rules.pictures, rng).repeat_interleave(rules.attacks, 0)
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

    config = game.config
    rng = game.rng(state.step, OUTER)
    count = max(1, round(config.adversary.share * config.batch)) if adversarial else 0
    with hardware.single_thread(), torch.no_grad():
        clean = _clean(game, config.batch, rng)
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
        error = config.gauge.weight * misread(read, recipes, config.network.gauge)
    losses = game.harm(network, degraded, clean, reading)
    state.optimiser.zero_grad(set_to_none=True)
    (losses.mean() + error).backward()
    parameters = [p for p in state.network.parameters() if p.grad is not None]
    stop = game.ranks.average([p.grad for p in parameters if p.grad is not None], stop)
    torch.nn.utils.clip_grad_norm_(parameters, config.clip)
    state.optimiser.step()
    statistics = [b for b in state.network.buffers() if b.is_floating_point() and b.numel()]
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


def _clean(game: Game, count: int, rng: np.random.Generator) -> Tensor:
    from deal_cli.model.crops import draw_clean

    return draw_clean(game.pyramids, count, game.config, rng).to(game.device)


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


# One run -----------------------------------------------------------------------------------------


def train(request: TrainRequest, watcher: Watcher) -> Path:
    """Run a training to its last step and return the folder of its best weights.

    Raises:
        UsageError: the data do not allow a training, or `out` is in use.
        PictureError: a training picture cannot be read.
        WeightsError: the weights to start from, or the state to resume, are not usable.
        KeyboardInterrupt: it was interrupted; everything is kept.
    """
    import torch

    from deal_cli.model.sampler import check_operations, sample
    from deal_cli.model.weights import TONE, save_tone

    run = RunFolder(request.out)
    config = run.config() if request.resume else request.config
    if request.budget.steps is not None:
        config = replace(config, steps=request.budget.steps)
    if not request.resume:
        run.refuse_use()
    check_operations([*config.generator.operations, *config.network.gauge])
    sample(config.sampler, np.random.default_rng(0))  # it checks its own
    torch.set_num_threads(hardware.threads())
    hardware.keep_freed_memory()
    with joined(request.choice) as (ranks, choice):
        init = None if request.resume else request.init
        state, start = first_state(config, init, choice.torch_device())
        dataset = load_dataset(request.data, request.val, config)
        pyramids = [build_pyramid(picture, config.crop) for picture in dataset.training]
        game = Game(config, pyramids, choice.torch_device(), ranks)
        seconds, row = None, None
        if request.resume:
            run.load(state, dataset.fingerprint(), ranks.size)
            start = f"step {state.step}"
        else:
            game, seconds, row = _begin(request, run, game, state, dataset, watcher)
        if ranks.first:
            watcher.planned(_plan(game, state, dataset, start, seconds))
        if row is not None:
            watcher.validated(0, row["score"], row["psnr_after_fit"], True)
        _play(game, state, run, dataset, watcher)
        if ranks.first:
            if config.tone.steps and not state.init:
                predictor = train_tone(dataset.training, config.tone)
                save_tone(
                    run.best / f"{TONE}.safetensors", predictor, {"config": to_mapping(config.tone)}
                )
            watcher.finished(max(run.rows(), key=lambda row: row.get("score", -math.inf))["step"])
    return run.best


def _begin(
    request: TrainRequest,
    run: RunFolder,
    game: Game,
    state: State,
    dataset: Dataset,
    watcher: Watcher,
) -> tuple[Game, float, dict[str, Any] | None]:
    """Teach a new gauge, validate the first weights, settle how many steps, make the folder.

    Returns:
        The game with its steps, the seconds it will take, and the first row where it is written.
    """
    started = time.monotonic()
    if state.new_gauge:
        if game.ranks.first:
            watcher.gauge_began(game.config.gauge.crops)
        train_gauge(game.pyramids, game.config, state)
    gauged, row = time.monotonic(), None
    if game.ranks.first:
        row = {"step": 0, **validate(state.ema, dataset.validation, game.device)}
        state.best_score = row["score"]
        with tempfile.TemporaryDirectory() as folder:  # only to know how long it takes
            rehearsal = RunFolder(Path(folder))
            rehearsal.log(row)
            _write_pictures(game, state, rehearsal)
    pace = _measure_pace(game, state, dataset, time.monotonic() - gauged)
    config = game.config
    if request.budget.seconds is not None:
        spent = time.monotonic() - started
        steps = pace.steps_within(request.budget.seconds, config, spent)
        config = replace(config, steps=steps)
    config = game.ranks.agree(config)
    if row is not None:
        run.begin(config)
        if request.init is not None:
            copy_tone(request.init, run.best)
        run.log(row)
        run.keep(state, config, row, dataset.fingerprint(), game.ranks.size, best=True)
    return replace(game, config=config), pace.seconds(config), row


def _plan(game: Game, state: State, dataset: Dataset, start: str, seconds: float | None) -> Plan:
    return Plan(
        len(dataset.training),
        dataset.split,
        start,
        game.config,
        state.step,
        seconds,
        hardware.device_name(game.device),
        game.ranks.size,
    )


def _measure_pace(game: Game, state: State, dataset: Dataset, validation: float) -> Pace:
    """Seconds of each part, from two steps of each kind on a copy of the state."""
    trial, rules = copy.deepcopy(state), game.config.adversary
    plain = _second_time(lambda: outer_minimisation(game, trial, adversarial=False))
    against = _second_time(lambda: outer_minimisation(game, trial, adversarial=True))
    ascent = _second_time(lambda: inner_maximisation(game, trial)) if rules.ascent_steps else 0.0
    active = against + ascent * rules.ascent_steps / rules.ascent_every
    tone, config = 0.0, game.config.tone
    if config.steps and not state.init:
        started = time.monotonic()
        train_tone(dataset.training, replace(config, steps=min(config.steps, 10)))
        tone = (time.monotonic() - started) * config.steps / min(config.steps, 10)
    return Pace(plain, active, validation, tone)


def _second_time(work: Callable[[], object]) -> float:
    """Seconds that something takes when it is done again; the first time warms up."""
    work()
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _play(game: Game, state: State, run: RunFolder, dataset: Dataset, watcher: Watcher) -> None:
    """Play the game to its last step: log, validate and keep on the way."""
    config, ranks, pictures = game.config, game.ranks, dataset.fingerprint()
    active = config.adversary.active(config.steps)
    every, interval = config.validation_interval(), max(1, config.steps // ROWS)
    started, first, tally, stop = time.monotonic(), state.step, Tally(), False
    with Interruption() as interruption:
        while state.step < config.steps and not stop:
            told, stop = play_step(
                game, state, active=state.step in active, stop=interruption.wanted
            )
            if not ranks.first:
                continue
            tally.add(told)
            made = (state.step - first) * config.batch * ranks.size
            rate = made / (time.monotonic() - started)
            watcher.step(state.step, config.steps, told["loss"], rate)
            due = state.step % every == 0 or state.step == config.steps
            if not (due or stop or state.step % interval == 0):
                continue
            row = {"step": state.step, **tally.means(), "images_per_second": rate}
            tally, better = Tally(), False
            if stop:  # before anything that takes its time
                run.keep(state, config, row, pictures, ranks.size, best=False)
            if due:
                row |= validate(state.ema, dataset.validation, game.device)
                better = row["score"] > state.best_score
                state.best_score = max(state.best_score, row["score"])
                watcher.validated(state.step, row["score"], row["psnr_after_fit"], better)
            run.log(row)
            if due:
                run.keep(state, config, row, pictures, ranks.size, best=better)
                _write_pictures(game, state, run)
        # All wait for the one that writes: who ends sooner is taken for a failure.
        if ranks.agree(stop or interruption.wanted):
            if ranks.first:
                watcher.stopped(state.step, run.path)
            raise KeyboardInterrupt


def _write_pictures(game: Game, state: State, run: RunFolder) -> None:
    """The curves so far, and crops, the same every time, before and after."""
    from deal_cli.model.crops import degrade_at_random

    config, rng = game.config, np.random.default_rng(game.config.seed)
    active = config.adversary.active(config.steps)
    with hardware.single_thread():
        clean = _clean(game, min(GRID_ROWS, config.batch), rng)
        degraded = [degrade_at_random(clean, config.sampler, rng)[0]]
        if active and state.step > active.start:
            degraded.append(_attack(clean, state.generator(clean), rng).attacked.detach())
    run.draw(state.step, sample_grid(state.ema, degraded, clean))
    span = (active.start, active.stop)
    rows = run.rows()
    if config.objective != "log_mse":  # its losses are no decibels
        losses = {"loss", "loss_random", "loss_adversarial", "advantage"}
        rows = [{key: row[key] for key in row.keys() - losses} for row in rows]
    write_curves(rows, run.path / "curves.png", steps=config.steps, active=span)


@contextlib.contextmanager
def frozen(network: Enhancer) -> Iterator[None]:
    """N_E as it is: no gradient of its weights, no change of its batch statistics."""
    network.eval().requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
