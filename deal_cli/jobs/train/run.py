"""Run a training: warm-up, active phase, closing phase, each a share of the steps.

Warm-up: N_E learns on degradations drawn at random. Active phase: N_G takes part
(`jobs/train/game.py`). Closing phase: N_E alone again. On the way the run is logged, validated and
kept, and afterwards the tone predictor is trained, where the weights to start from brought none.
"""

from __future__ import annotations

import copy
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deal_cli.config import TrainConfig
from deal_cli.engine.backends import hardware
from deal_cli.engine.backends.choice import Choice
from deal_cli.jobs.batch.interruption import Interruption
from deal_cli.jobs.train.budget import TONING, Budget, Costs, Pace, fitted
from deal_cli.jobs.train.curves import write_curves
from deal_cli.jobs.train.dataset import Dataset, build_pyramid, load_dataset
from deal_cli.jobs.train.game import (
    Game,
    inner_maximisation,
    outer_minimisation,
    play_step,
)
from deal_cli.jobs.train.gauge import seconds_of_gauge, train_gauge
from deal_cli.jobs.train.ranks import joined
from deal_cli.jobs.train.run_folder import RunFolder, Tally
from deal_cli.jobs.train.state import State, first_state
from deal_cli.jobs.train.tone import copy_tone, train_tone
from deal_cli.jobs.train.views import Plan, Watcher, sample_grid, validate
from deal_cli.mapping import to_mapping

GRID_ROWS = 6
FIRST_STEP = 4.0  # times as long as others the first may take, which warms up
ROWS = 200  # of metrics.jsonl, about, in a run of many steps


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
        if ranks.first:
            watcher.preparing("reading the pictures")
        dataset = load_dataset(request.data, request.val, config)
        pyramids = [build_pyramid(picture, config.crop) for picture in dataset.training]
        game = Game(config, pyramids, choice.torch_device(), ranks)
        seconds, row = None, None
        if request.resume:
            run.load(state, dataset.fingerprint(), ranks.size)
            start = f"step {state.step}"
        else:
            game, dataset, seconds, row = _begin(request, run, game, state, dataset, watcher)
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
) -> tuple[Game, Dataset, float, dict[str, Any] | None]:
    """Teach a new gauge, validate the first weights, settle how many steps, make the folder.

    Returns:
        The game with its steps, the pictures that there is time for, the seconds it will take, and
        the first row where it is written.
    """
    started, most = time.monotonic(), None
    if request.budget.seconds is not None:
        if game.ranks.first:
            watcher.preparing("timing a step on this machine")
        config, most = _fitted(request.budget.seconds, game, state, dataset)
        if config.validation_pictures < game.config.validation_pictures:
            dataset = load_dataset(request.data, request.val, config)
        game = replace(game, config=config)
    if state.new_gauge:
        if game.ranks.first:
            watcher.gauge_began(game.config.gauge.crops)
        train_gauge(game, state)
    gauged, row = time.monotonic(), None
    if game.ranks.first:
        watcher.preparing("validating the weights to start from")
        row = {"step": 0, **validate(state.ema, dataset.validation, game.device)}
        state.best_score = row["score"]
        with tempfile.TemporaryDirectory() as folder:  # only to know how long it takes
            rehearsal = RunFolder(Path(folder))
            rehearsal.log(row)
            _write_pictures(game, state, rehearsal)
    pace = _measure_pace(game, state, dataset, time.monotonic() - gauged)
    config = game.config
    if request.budget.seconds is not None and most is not None:
        room = TONING * request.budget.seconds
        if pace.tone > room:
            steps = max(1, int(config.tone.steps * room / pace.tone))
            config = replace(config, tone=replace(config.tone, steps=steps))
            pace = replace(pace, tone=room)
        pace = replace(pace, most=most - 1)
        spent = time.monotonic() - started
        steps = pace.steps_within(request.budget.seconds, config, spent)
        config = pace.paced(replace(config, steps=steps))
    config = game.ranks.agree(config)
    if row is not None:
        run.begin(config)
        if request.init is not None:
            copy_tone(request.init, run.best)
        run.log(row)
        run.keep(state, config, row, dataset.fingerprint(), game.ranks.size, best=True)
    return replace(game, config=config), dataset, pace.seconds(config), row


def _fitted(seconds: float, game: Game, state: State, dataset: Dataset) -> tuple[TrainConfig, int]:
    """The settings as a time allows them (see `budget.fitted`), measured on a copy of the state.

    Raises:
        UsageError: it allows no training; after one step where that is plain by then.
    """
    trial, config = copy.deepcopy(state), game.config
    started = time.monotonic()
    outer_minimisation(game, trial, adversarial=False)
    first = Costs((time.monotonic() - started) / FIRST_STEP, 0.0)
    fitted(config, seconds, game.ranks.agree(first))
    plain, active = _measure_steps(game, trial)
    started = time.monotonic()
    validate(state.ema, dataset.validation[:1], game.device)
    validation = time.monotonic() - started
    gauge = seconds_of_gauge(game, state) if state.new_gauge else 0.0
    return fitted(config, seconds, game.ranks.agree(Costs(max(plain, active), validation, gauge)))


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
    plain, active = _measure_steps(game, copy.deepcopy(state))
    tone, config = 0.0, game.config.tone
    if config.steps and not state.init:
        started = time.monotonic()
        train_tone(dataset.training, replace(config, steps=min(config.steps, 10)))
        tone = (time.monotonic() - started) * config.steps / min(config.steps, 10)
    return Pace(plain, active, validation, tone)


def _measure_steps(game: Game, trial: State) -> tuple[float, float]:
    """Seconds of a step of N_E alone and of one of the game; the state moves on."""
    rules = game.config.adversary
    plain = _second_time(lambda: outer_minimisation(game, trial, adversarial=False))
    active = plain
    if rules.active(game.config.steps):
        active = _second_time(lambda: outer_minimisation(game, trial, adversarial=True))
        if rules.ascent_steps:
            ascent = _second_time(lambda: inner_maximisation(game, trial))
            active += ascent * rules.ascent_steps / rules.ascent_every
    return plain, active


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
    from deal_cli.model.generator import attack

    config, rng = game.config, np.random.default_rng(game.config.seed)
    active = config.adversary.active(config.steps)
    with hardware.single_thread():
        clean = game.clean_crops(min(GRID_ROWS, config.batch), rng)
        degraded = [degrade_at_random(clean, config.sampler, rng)[0]]
        if active and state.step > active.start:
            policy = state.generator(clean)
            degraded.append(attack(clean, policy, policy.sample(rng)).attacked.detach())
    run.draw(state.step, sample_grid(state.ema, degraded, clean))
    span = (active.start, active.stop)
    rows = run.rows()
    if config.objective != "log_mse":  # its losses are no decibels
        losses = {"loss", "loss_random", "loss_adversarial", "advantage"}
        rows = [{key: row[key] for key in row.keys() - losses} for row in rows]
    write_curves(rows, run.path / "curves.png", steps=config.steps, active=span)
