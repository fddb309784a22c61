"""N_G and N_E learn from each other; a run can be stopped and resumed to the bit.

`learns` is the test that the published training fails: a loop whose losses are detached.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from deal_cli.config import (
    AdversaryConfig,
    GaugeConfig,
    GeneratorConfig,
    SamplerConfig,
    ToneConfig,
    TrainConfig,
)
from deal_cli.engine.backends.choice import Choice
from deal_cli.errors import DealError, PictureError, UsageError, WeightsError
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import read_frame, write_frame
from deal_cli.jobs.train.budget import Budget, Pace
from deal_cli.jobs.train.dataset import build_pyramid, load_dataset
from deal_cli.jobs.train.game import Game, inner_maximisation, outer_minimisation, play_step
from deal_cli.jobs.train.run import TrainRequest, _measure_pace, train
from deal_cli.jobs.train.state import State, first_state, schedule
from deal_cli.jobs.train.tone import train_tone
from deal_cli.jobs.train.views import Plan
from deal_cli.mapping import load_toml
from deal_cli.model.generator import attack
from deal_cli.model.tensor_file import read_safetensors, write_safetensors
from deal_cli.model.weights import (
    load_enhancer,
    load_generator,
    load_tone,
    save_generator,
    save_tone,
)
from deal_cli.networks import BlockConfig, NetworkConfig

MakeScenes = Callable[..., Path]
Ascent = Callable[[Game, State], Any]


class Notes:
    """A watcher that writes down what it sees and interrupts after a step if told to."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        self._interrupt_after = interrupt_after
        self.plan: Plan | None = None
        self.losses: list[float] = []
        self.validations: list[tuple[int, bool]] = []
        self.ends: list[int] = []
        self.gauged: list[int] = []
        self.prepared: list[str] = []

    def preparing(self, what: str) -> None:
        assert self.plan is None
        self.prepared.append(what)

    def gauge_began(self, crops: int) -> None:
        assert self.plan is None
        self.gauged.append(crops)

    def planned(self, plan: Plan) -> None:
        self.plan = plan

    def step(self, step: int, steps: int, loss: float, rate: float) -> None:
        assert 1 <= step <= steps
        assert rate > 0
        self.losses.append(loss)
        if step == self._interrupt_after:
            os.kill(os.getpid(), signal.SIGINT)

    def validated(self, step: int, score: float, psnr: Mapping[str, float], best: bool) -> None:
        assert score == pytest.approx(np.mean([min(value, 55) for value in psnr.values()]))
        assert "contrast" not in psnr
        self.validations.append((step, best))

    def stopped(self, step: int, folder: Path) -> None:
        self.ends.append(step)

    def finished(self, best: int) -> None:
        self.ends.append(best)


@pytest.fixture
def config(tiny: NetworkConfig) -> TrainConfig:
    """Six steps of two crops of 32 pixels: two to warm up, two of the game, two to close."""
    return TrainConfig(
        network=tiny,
        generator=GeneratorConfig(rounds=2, width=4),
        adversary=AdversaryConfig(
            active_from=0.34, active_to=0.67, ascent_every=1, pictures=1, attacks=2
        ),
        tone=ToneConfig(steps=0),
        steps=6,
        batch=2,
        crop=32,
        border=0,
        validate_every=3,
        precision="float32",
    )


@pytest.fixture(autouse=True)
def _quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves take a second to draw: where nobody looks at them, they are not."""
    if "curves" not in request.fixturenames:
        monkeypatch.setattr("deal_cli.jobs.train.run.write_curves", lambda *_, **__: None)


@pytest.fixture
def curves() -> None:
    """Asked for by a test that looks at the curves."""


@pytest.fixture
def data(draw_scenes: MakeScenes) -> Path:
    """Eight clean pictures to train on."""
    return draw_scenes(8, 64, 80)


@pytest.fixture
def val(draw_scenes: MakeScenes) -> Path:
    """One to validate on."""
    return draw_scenes(1, 48, 64, "val")


def tensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def equal(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


# --- the game ------------------------------------------------------------------------------------


def opening(config: TrainConfig) -> tuple[Game, State]:
    """A game on drawn scenes, before its first step; N_E is not the identity any more."""
    pyramids = [
        build_pyramid(draw_scene(seed, 64, 80).values / np.float32(255), config.crop)
        for seed in range(3)
    ]
    game = Game(config, pyramids, torch.device("cpu"))
    state, _ = first_state(config, None, game.device)
    torch.nn.init.normal_(state.network.head[2].weight, std=0.02)
    return game, state


def mean_harm(game: Game, state: State) -> float:
    """N_E's loss on 240 of N_G's samples, the same random numbers for every N_G."""
    config = replace(game.config, adversary=AdversaryConfig(pictures=60, attacks=4, diversity=0.0))
    still = copy.deepcopy(state)
    still.step = 1000
    return float(inner_maximisation(replace(game, config=config), still)["harm"])


def learns(ascent: Ascent, config: TrainConfig) -> None:
    """What every inner maximisation must do: move N_G alone, and raise the loss of a still N_E."""
    rules = AdversaryConfig(pictures=4, attacks=4, learning_rate=1e-2, diversity=0.05)
    game, state = opening(replace(config, adversary=rules))
    before = {name: p.detach().clone() for name, p in state.generator.named_parameters()}
    frozen = {name: p.detach().clone() for name, p in state.network.named_parameters()}
    harm = mean_harm(game, state)
    for step in range(60):
        state.step = step
        ascent(game, state)
        if step == 1:  # the first one moves the last layer, which starts at zero, alone
            for name, parameter in state.generator.named_parameters():
                gradient = parameter.grad
                assert gradient is not None, f"{name} has no gradient"
                assert gradient.abs().max() > 0, f"{name} has no gradient"
    for name, parameter in state.generator.named_parameters():
        assert not torch.equal(parameter, before[name]), f"{name} does not move"
    for name, parameter in state.network.named_parameters():
        assert torch.equal(parameter, frozen[name]), f"{name} of N_E moves"
        assert parameter.grad is None, f"{name} of N_E has a gradient"
    assert mean_harm(game, state) > harm + 0.1, "N_E's loss on N_G's samples does not rise"


def detached(game: Game, state: State) -> None:
    """A step of N_G as it was published: the losses are those of detached pictures."""
    clean = torch.rand(4, 1, 32, 32)
    policy = state.generator(clean)
    made = attack(clean, policy, policy.sample(game.rng(state.step, 0)))
    harm = game.harm(state.network, made.attacked.detach(), clean)
    loss = -harm.mean().detach().requires_grad_()
    state.ascent.zero_grad()
    loss.backward()
    state.ascent.step()


def test_the_generator_learns(config: TrainConfig) -> None:
    learns(inner_maximisation, config)


def test_a_loop_with_detached_losses_is_caught(config: TrainConfig) -> None:
    with pytest.raises(AssertionError, match="has no gradient"):
        learns(detached, config)


def test_a_generator_that_descends_is_caught(config: TrainConfig) -> None:
    def descent(game: Game, state: State) -> None:
        harm = game.harm
        object.__setattr__(game, "harm", lambda *pictures: -harm(*pictures))
        inner_maximisation(game, state)
        object.__setattr__(game, "harm", harm)

    with pytest.raises(AssertionError, match="does not rise"):
        learns(descent, config)


def test_a_step_of_the_enhancer_leaves_the_generator_alone(config: TrainConfig) -> None:
    game, state = opening(config)
    before = copy.deepcopy(state.generator.state_dict())
    first = state.network.head[2].weight.detach().clone()
    told, stop = outer_minimisation(game, state, adversarial=True)
    assert equal(state.generator.state_dict(), before)
    assert not torch.equal(state.network.head[2].weight, first)
    assert told["advantage"] == pytest.approx(told["loss_adversarial"] - told["loss_random"])
    assert told["loss"] == pytest.approx((told["loss_adversarial"] + told["loss_random"]) / 2)
    assert (state.step, stop) == (1, False)


def test_diversity_keeps_the_choices_even(config: TrainConfig) -> None:
    entropies = []
    for diversity in (0.0, 5.0):
        rules = AdversaryConfig(pictures=2, attacks=4, learning_rate=2e-2, diversity=diversity)
        game, state = opening(replace(config, adversary=rules))
        for step in range(60):
            state.step = step
            told = inner_maximisation(game, state)
        entropies.append(told["entropy"])
    assert entropies[0] < entropies[1] - 0.1
    assert entropies[1] > 0.9


def test_the_generator_ascends_before_every_so_many_steps(config: TrainConfig) -> None:
    rules = AdversaryConfig(ascent_every=3, pictures=1, attacks=2)
    game, state = opening(replace(config, adversary=rules))
    told = [play_step(game, state, active=True)[0] for _ in range(7)]
    assert ["harm" in row for row in told] == [True, False, False, True, False, False, True]
    assert all("advantage" in row for row in told)
    assert "advantage" not in play_step(game, state, active=False)[0]


@pytest.mark.parametrize("steps", [1, 2, 24, 1000])
def test_even_a_short_training_has_an_active_adversary(steps: int) -> None:
    active = AdversaryConfig().active(steps)
    assert len(active) >= 1
    assert active.start >= 0
    assert active.stop <= steps
    assert len(AdversaryConfig(share=0.0).active(steps)) == 0


def test_the_loss_falls(tmp_path: Path, data: Path, val: Path, config: TrainConfig) -> None:
    noise = SamplerConfig(count_odds=(0.0, 1.0), odds={"gaussian": 1.0}, severity_power=0.01)
    config = replace(
        config,
        sampler=noise,
        adversary=AdversaryConfig(share=0.0),
        steps=60,
        batch=4,
        learning_rate=1e-2,
        validate_every=60,
    )
    notes = Notes()
    train(TrainRequest(data, tmp_path / "run", val, config=config), notes)
    assert np.mean(notes.losses[-20:]) < np.mean(notes.losses[:5]) - 0.2


def test_the_rate_rises_then_follows_a_cosine() -> None:
    rates = [schedule(i / 1000, 0.1) for i in range(1001)]
    assert 0 < rates[0] < 0.02
    assert rates[100] == pytest.approx(1)
    assert rates[550] == pytest.approx(0.5)
    assert rates[1000] == pytest.approx(0, abs=1e-9)
    assert np.all(np.diff(rates[:101]) > 0)
    assert np.all(np.diff(rates[100:]) < 0)


# --- stopping and going on -----------------------------------------------------------------------


@pytest.mark.parametrize("stop", [1, 3, 4])  # to warm up, of the game, to close
def test_a_resumed_run_equals_one_that_was_not_stopped(
    stop: int, tmp_path: Path, data: Path, val: Path, config: TrainConfig
) -> None:
    at_once = TrainRequest(data, tmp_path / "at_once", val, config=config)
    train(at_once, Notes())
    in_two = replace(at_once, out=tmp_path / "in_two")
    notes = Notes(interrupt_after=stop)
    with pytest.raises(KeyboardInterrupt):
        train(in_two, notes)
    (made,) = notes.ends  # the step under way when the interruption came is made to its end
    assert made in (stop, stop + 1)
    torch.manual_seed(99)  # a new process starts elsewhere
    notes = Notes()
    train(replace(in_two, resume=True, config=TrainConfig()), notes)
    assert len(notes.losses) == 6 - made
    for name in ("last/state", "last/enhancer", "last/generator", "best/enhancer"):
        paths = [run.out / f"{name}.safetensors" for run in (at_once, in_two)]
        assert equal(*(tensors(path) for path in paths)), name
    kinds = {key.partition("/")[0] for key in tensors(at_once.out / "last/state.safetensors")}
    assert kinds == {"network", "ema", "optimiser", "generator", "ascent"}
    logs = [(run.out / "metrics.jsonl").read_text().splitlines() for run in (at_once, in_two)]
    rows = [[json.loads(line) for line in log] for log in logs]
    assert [row["step"] for row in rows[0]] == [0, 1, 2, 3, 4, 5, 6]
    for one, two in zip(*rows, strict=True):
        assert {**one, "images_per_second": 0} == {**two, "images_per_second": 0}


def test_what_was_logged_after_the_state_is_made_again(
    tmp_path: Path, data: Path, val: Path, config: TrainConfig
) -> None:
    request = TrainRequest(data, tmp_path / "run", val, config=config)
    with pytest.raises(KeyboardInterrupt):
        train(request, Notes(interrupt_after=2))
    log = request.out / "metrics.jsonl"
    with log.open("a") as file:
        file.write('{"step": 5, "loss": 1.0}\n{"step": 6, "lo')  # killed while it wrote
    train(replace(request, resume=True), Notes())
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4, 5, 6]


def test_an_interruption_in_the_last_step_is_one(
    tmp_path: Path, data: Path, val: Path, config: TrainConfig
) -> None:
    request = TrainRequest(data, tmp_path / "run", val, config=config)
    with pytest.raises(KeyboardInterrupt):
        train(request, Notes(interrupt_after=6))
    notes = Notes()
    train(replace(request, resume=True), notes)  # what follows the last step is still to be had
    assert notes.losses == []
    assert len(notes.ends) == 1


@pytest.mark.parametrize("damage", ["config", "network", "processes"])
def test_a_run_that_was_changed_is_not_resumed(
    damage: str, tmp_path: Path, data: Path, val: Path, config: TrainConfig
) -> None:
    request = TrainRequest(data, tmp_path / "run", val, config=config)
    with pytest.raises(KeyboardInterrupt):
        train(request, Notes(interrupt_after=1))
    path = request.out / "config.toml"
    text = path.read_text(encoding="utf-8")
    expected: tuple[type[DealError], str] = (UsageError, "is not valid TOML")
    if damage == "config":
        path.write_text(text[:30] + "[", encoding="utf-8")
    elif damage == "network":
        path.write_text(text.replace("width = 4", "width = 6"), encoding="utf-8")
        expected = (WeightsError, "does not fit the settings beside it")
    else:
        state = request.out / "last" / "state.safetensors"
        metadata, held = read_safetensors(state)
        write_safetensors(state, held, metadata | {"processes": "4"})
        expected = (UsageError, "was begun in 4 processes, not 1")
    refused(replace(request, resume=True), *expected)


def test_a_run_is_not_resumed_on_other_pictures(
    tmp_path: Path, data: Path, val: Path, config: TrainConfig
) -> None:
    request = TrainRequest(data, tmp_path / "run", val, config=config)
    with pytest.raises(KeyboardInterrupt):
        train(request, Notes(interrupt_after=1))
    write_frame(draw_scene(50, 64, 80), data / "another.png")
    refused(replace(request, resume=True), UsageError, "was begun on other pictures")


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    tmp_path: Path, data: Path, val: Path, config: TrainConfig
) -> None:
    results = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run = tmp_path / name
        train(TrainRequest(data, run, val, config=replace(config, seed=seed)), Notes())
        results.append(
            [tensors(run / "last" / f"{n}.safetensors") for n in ("enhancer", "generator")]
        )
    first, again, other = results
    assert all(equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(equal(a, b) for a, b in zip(first, other, strict=True))


# --- the run's folder ----------------------------------------------------------------------------


def test_the_folder_holds_all_that_a_run_leaves(
    tmp_path: Path, data: Path, val: Path, config: TrainConfig, curves: None
) -> None:
    run, notes = tmp_path / "run", Notes()
    config = replace(config, tone=ToneConfig(steps=2, batch=2, width=4))
    best = train(TrainRequest(data, run, val, config=config), notes)
    assert {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()} == {
        "config.toml",
        "curves.png",
        "metrics.jsonl",
        "grids/00000003.png",
        "grids/00000006.png",
        "last/enhancer.safetensors",
        "last/generator.safetensors",
        "last/state.safetensors",
        "best/enhancer.safetensors",
        "best/generator.safetensors",
        "best/tone.safetensors",
    }
    assert best == run / "best"
    assert load_toml(TrainConfig, run / "config.toml") == config

    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4, 5, 6]
    assert [row["loss"] for row in rows[1:]] == pytest.approx(notes.losses)
    adversary = {"advantage", "loss_adversarial", "entropy", "budget_use", "kept", "odds", "harm"}
    for row in rows:
        assert (adversary <= row.keys()) == (row["step"] in (3, 4)), row
        assert ({"score", "psnr_after_fit"} <= row.keys()) == (row["step"] in (0, 3, 6)), row
    assert sum(rows[3]["odds"].values()) == pytest.approx(1)
    assert [step for step, _ in notes.validations] == [0, 3, 6]
    assert notes.ends == [max(step for step, better in notes.validations if better)]
    assert notes.plan is not None
    assert (notes.plan.pictures, notes.plan.config.steps, notes.plan.done) == (8, 6, 0)
    assert notes.plan.seconds is not None
    assert notes.plan.seconds > 0

    weights = load_enhancer(str(best / "enhancer.safetensors"))
    assert weights.config == config.network
    assert weights.training["config"]["steps"] == 6
    assert weights.training["validation"]["step"] == notes.ends[0]
    assert load_tone(weights.file.path).width == 4
    assert load_generator(str(best / "generator.safetensors")).config == config.generator

    # Degraded, restored, attacked, restored, clean; two crops.
    grid = read_frame(run / "grids" / "00000003.png")
    assert (grid.height, grid.width) == (2 * 32, 5 * 32)
    assert grid.values.std() > 5


def test_losses_that_are_no_decibels_are_not_drawn_as_such(
    tmp_path: Path, data: Path, val: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "deal_cli.jobs.train.run.write_curves", lambda rows, *_, **__: drawn.extend(rows)
    )
    request = TrainRequest(data, tmp_path / "run", val, config=config)
    train(request, Notes())
    assert any("advantage" in row for row in drawn)
    drawn.clear()
    changed = replace(config, objective="published")
    train(replace(request, out=tmp_path / "other", config=changed), Notes())
    assert any("entropy" in row for row in drawn)
    assert not any({"loss", "advantage"} & row.keys() for row in drawn)


def test_without_validation_pictures_some_scenes_are_kept_for_it(
    tmp_path: Path, draw_scenes: MakeScenes, config: TrainConfig
) -> None:
    notes = Notes()
    train(TrainRequest(draw_scenes(10, 64, 80), tmp_path / "run", config=config), notes)
    assert notes.plan is not None
    assert notes.plan.pictures < 10
    assert "kept for validation" in notes.plan.split


# --- starting from weights -----------------------------------------------------------------------


@pytest.fixture
def given(
    tmp_path: Path, data: Path, val: Path, config: TrainConfig
) -> Callable[..., tuple[Path, Path]]:
    """A run that starts from another one's weights: `(**changes) -> (first, second)`, best each."""

    def make(**changes: Any) -> tuple[Path, Path]:
        start = replace(config, tone=ToneConfig(steps=2, batch=2, width=4))
        first = train(TrainRequest(data, tmp_path / "first", val, config=start), Notes())
        init = str(first / "enhancer.safetensors")
        request = TrainRequest(
            data, tmp_path / "second", val, init, config=replace(start, **changes)
        )
        return first, train(request, Notes())

    return make


def test_a_run_starts_from_given_weights_and_the_generator_beside_them(
    given: Callable[..., tuple[Path, Path]],
) -> None:
    first, second = given(
        steps=1, fine_tuning_rate=0.0, weight_decay=0.0, adversary=AdversaryConfig(share=0.0)
    )
    for name in ("enhancer", "generator", "tone"):
        path = f"{name}.safetensors"
        assert equal(tensors(first / path), tensors(second / path))


def test_fine_tuning_has_a_rate_of_its_own_and_keeps_the_tone(
    given: Callable[..., tuple[Path, Path]],
) -> None:
    first, second = given(fine_tuning_rate=3e-4)
    settings = load_toml(TrainConfig, second.parent / "config.toml")
    assert settings.fine_tuning_rate == 3e-4  # as it was given: another run may start anew from it
    assert settings.learning_rate == TrainConfig().learning_rate
    assert settings.tone.steps == 2
    assert (first / "tone.safetensors").read_bytes() == (second / "tone.safetensors").read_bytes()


def test_the_best_are_the_given_weights_until_something_is_better(
    given: Callable[..., tuple[Path, Path]],
) -> None:
    first, second = given(steps=4, validate_every=2, fine_tuning_rate=3.0)  # ruins everything
    assert equal(*(tensors(best / "enhancer.safetensors") for best in (first, second)))
    rows = [json.loads(x) for x in (second.parent / "metrics.jsonl").read_text().splitlines()]
    scores = {row["step"]: row["score"] for row in rows if "score" in row}
    assert max(scores, key=lambda step: scores[step]) == 0


def test_a_time_becomes_steps_that_are_stored(
    tmp_path: Path, data: Path, val: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = Pace(plain=10.0, active=10.0, validation=0.0, tone=0.0)
    monkeypatch.setattr("deal_cli.jobs.train.run._measure_pace", lambda *_: pace)
    request = TrainRequest(data, tmp_path / "run", val, config=config, budget=Budget(seconds=305))
    notes = Notes()
    train(request, notes)
    assert load_toml(TrainConfig, request.out / "config.toml").steps == 30
    assert len(notes.losses) == 30


def test_a_budget_shortens_a_gauge_that_would_take_most_of_it(
    tmp_path: Path, data: Path, val: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught: list[int] = []
    monkeypatch.setattr("deal_cli.jobs.train.run.seconds_of_gauge", lambda *_: 400.0)
    monkeypatch.setattr(
        "deal_cli.jobs.train.run.train_gauge",
        lambda game, _: taught.append(game.config.gauge.crops),
    )
    pace = Pace(plain=10.0, active=10.0, validation=0.0, tone=0.0)
    monkeypatch.setattr("deal_cli.jobs.train.run._measure_pace", lambda *_: pace)
    gauged = replace(config, network=replace(config.network, gauge=("stripe", "blur")))
    request = TrainRequest(data, tmp_path / "run", val, config=gauged, budget=Budget(seconds=300))
    train(request, Notes())
    assert taught == [int(30_000 * 0.3 * 300 / 400)]
    assert load_toml(TrainConfig, request.out / "config.toml").gauge.crops == taught[0]


def test_a_budget_that_buys_nothing_is_refused_before_anything_is_made(
    tmp_path: Path, data: Path, val: Path, config: TrainConfig
) -> None:
    request = TrainRequest(data, tmp_path / "run", val, config=config, budget=Budget(seconds=0.01))
    notes = Notes()
    with pytest.raises(UsageError, match="a budget of 0 s is less than 24 steps take") as caught:
        train(request, notes)
    assert "give --budget" in str(caught.value)
    assert notes.prepared == ["reading the pictures", "timing a step on this machine"]
    assert not request.out.exists()


def test_measuring_the_pace_leaves_both_players_alone(
    data: Path, val: Path, config: TrainConfig
) -> None:
    game, state = opening(config)
    before = [copy.deepcopy(m.state_dict()) for m in (state.network, state.generator, state.ema)]
    pace = _measure_pace(game, state, load_dataset(data, val, config), 1.0)
    assert min(pace.plain, pace.active) > 0
    after = [m.state_dict() for m in (state.network, state.generator, state.ema)]
    assert all(equal(a, b) for a, b in zip(before, after, strict=True))
    assert state.step == 0


# --- refusals ------------------------------------------------------------------------------------


def refused(request: TrainRequest, kind: type[DealError], words: str) -> None:
    """The request is refused before a step is made and before a folder is."""
    existed, notes = request.out.exists(), Notes()
    with pytest.raises(kind, match=words) as caught:
        train(request, notes)
    assert caught.value.remedy
    assert request.out.exists() == existed
    assert notes.losses == []


def test_a_folder_in_use_is_refused(tmp_path: Path, data: Path, config: TrainConfig) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "notes.txt").write_text("mine", encoding="utf-8")
    refused(TrainRequest(data, run, config=config), UsageError, "run: is in use")
    assert [path.name for path in run.iterdir()] == ["notes.txt"]


def test_a_folder_that_cannot_be_made_is_refused(
    tmp_path: Path, data: Path, config: TrainConfig
) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    request = TrainRequest(data, tmp_path / "file" / "run", config=config)
    refused(request, UsageError, "file: is not a folder")


def test_resuming_what_is_no_run_is_refused(tmp_path: Path, data: Path) -> None:
    refused(TrainRequest(data, tmp_path / "run", resume=True), UsageError, "is not a run")


def test_resuming_from_a_damaged_state_is_refused(
    tmp_path: Path, data: Path, val: Path, config: TrainConfig
) -> None:
    request = TrainRequest(data, tmp_path / "run", val, config=config)
    train(request, Notes())
    state = request.out / "last" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    refused(replace(request, resume=True), WeightsError, "state.safetensors")


def test_pictures_that_do_not_allow_a_training_are_refused(
    tmp_path: Path, data: Path, config: TrainConfig
) -> None:
    (data / "broken.png").write_bytes((data / "0.png").read_bytes()[:100])
    refused(TrainRequest(data, tmp_path / "run", config=config), PictureError, "broken.png")


def test_weights_of_another_architecture_are_refused(
    tmp_path: Path, data: Path, val: Path, config: TrainConfig, fresh_weights: Path
) -> None:
    other = replace(config, network=NetworkConfig(width=4, blocks=(BlockConfig("ssm", 3, 3),)))
    request = TrainRequest(data, tmp_path / "run", val, str(fresh_weights), config=other)
    refused(request, WeightsError, "fresh.safetensors: is of another architecture")


def test_a_fresh_generator_is_not_the_one_beside_the_weights(
    given: Callable[..., tuple[Path, Path]],
) -> None:
    still = AdversaryConfig(ascent_steps=0, pictures=1, attacks=2)
    first, kept = given(steps=1, seed=7, adversary=still, validate_every=1)
    before = tensors(first / "generator.safetensors")
    assert equal(before, tensors(kept.parent / "last" / "generator.safetensors"))
    for best in (first, kept):
        shutil.rmtree(best.parent)
    _, fresh = given(steps=1, seed=7, adversary=replace(still, fresh=True), validate_every=1)
    assert not equal(before, tensors(fresh.parent / "last" / "generator.safetensors"))


def test_a_generator_of_another_size_is_left_out(
    tmp_path: Path, data: Path, val: Path, config: TrainConfig
) -> None:
    first = train(TrainRequest(data, tmp_path / "first", val, config=config), Notes())
    wider = replace(config, generator=GeneratorConfig(rounds=2, width=6))
    notes, init = Notes(), str(first / "enhancer.safetensors")
    save_tone_beside(first)
    train(TrainRequest(data, tmp_path / "second", val, init, config=wider), notes)
    assert notes.plan is not None
    assert notes.plan.start == f"the weights {init}"


def save_tone_beside(best: Path) -> None:
    from deal_cli.model.tone import TonePredictor

    save_tone(best / "tone.safetensors", TonePredictor(4), {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 0}, "'steps' is 0"),
        ({"batch": 0}, "'batch' is 0"),
        ({"crop": 0}, "'crop' is 0"),
        ({"crop": 33}, "'crop' is 33, no multiple of the network's stride, 2"),
        ({"validate_every": -1}, "'validate_every' is -1"),
        ({"seed": -1}, "'seed' is -1"),
        ({"learning_rate": -1.0}, "'learning_rate' is -1"),
        ({"fine_tuning_rate": float("inf")}, "'fine_tuning_rate' is inf"),
        ({"ema": 1.0}, "'ema' is 1"),
        ({"clip": 0.0}, "'clip'"),
        ({"crop": 10, "objective": "published"}, "less than the window of SSIM"),
        ({"scale_odds": (0.0, 0.0, 0.0)}, "'scale_odds'"),
        ({"sampler": SamplerConfig(count_odds=(-1.0, 2.0))}, "'count_odds'"),
    ],
    ids=str,
)
def test_settings_that_no_training_can_have_are_refused(
    change: dict[str, Any], words: str, config: TrainConfig
) -> None:
    with pytest.raises(ValueError, match=words):
        replace(config, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"sampler": SamplerConfig(odds={"blurr": 1.0})},
        {"generator": GeneratorConfig(bounds={"blurr": 1.0})},
        {"network": NetworkConfig(width=4, gauge=("blurr",))},
    ],
    ids=str,
)
def test_an_unknown_degradation_names_the_nearest(
    change: dict[str, Any], tmp_path: Path, data: Path, config: TrainConfig
) -> None:
    request = TrainRequest(data, tmp_path / "run", config=replace(config, **change))
    refused(request, UsageError, "unknown degradation 'blurr'")


def test_a_generator_file_is_not_taken_for_an_enhancer(tmp_path: Path) -> None:
    from deal_cli.model.generator import Generator

    path = tmp_path / "generator.safetensors"
    save_generator(path, Generator(GeneratorConfig(width=4)), {})
    with pytest.raises(WeightsError, match="not an enhancer"):
        load_enhancer(str(path))


# --- the gauge -----------------------------------------------------------------------------------


@pytest.fixture
def gauged(config: TrainConfig) -> TrainConfig:
    """The same training of a network with a gauge, whose new one learns from 40 crops first."""
    network = replace(config.network, gauge=("stripe", "blur", "gaussian"))
    return replace(config, network=network, gauge=GaugeConfig(crops=40, steps=5, batch=8))


def of_gauge(path: Path) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in tensors(path).items() if key.startswith("gauge.")}


def test_a_network_with_a_gauge_is_trained_and_goes_on_to_the_bit(
    tmp_path: Path, data: Path, val: Path, gauged: TrainConfig
) -> None:
    at_once = TrainRequest(data, tmp_path / "at_once", val, config=gauged)
    notes = Notes()
    train(at_once, notes)
    assert notes.gauged == [40]
    assert len(notes.losses) == 6
    in_two = replace(at_once, out=tmp_path / "in_two")
    with pytest.raises(KeyboardInterrupt):
        train(in_two, Notes(interrupt_after=3))
    torch.manual_seed(99)  # a new process starts elsewhere
    notes = Notes()
    train(replace(in_two, resume=True, config=TrainConfig()), notes)
    assert notes.gauged == []  # it has learnt
    for name in ("last/state", "last/enhancer", "last/generator", "best/enhancer"):
        paths = [run.out / f"{name}.safetensors" for run in (at_once, in_two)]
        assert equal(*(tensors(path) for path in paths)), name
    logs = [(run.out / "metrics.jsonl").read_text().splitlines() for run in (at_once, in_two)]
    rows = [[json.loads(line) for line in log] for log in logs]
    for one, two in zip(*rows, strict=True):
        assert {**one, "images_per_second": 0} == {**two, "images_per_second": 0}
    weights = load_enhancer(str(at_once.out / "last" / "enhancer.safetensors"))
    assert weights.config.gauge == ("stripe", "blur", "gaussian")
    made = of_gauge(weights.file.path)
    assert made["gauge.modulation.weight"].any()  # the enhancer is being set


def test_weights_without_a_gauge_grow_one_and_keep_it(
    tmp_path: Path, data: Path, val: Path, config: TrainConfig, gauged: TrainConfig
) -> None:
    bare = train(TrainRequest(data, tmp_path / "bare", val, config=config), Notes())
    init = str(bare / "enhancer.safetensors")
    still = replace(gauged, fine_tuning_rate=0.0, adversary=AdversaryConfig(share=0.0))
    notes = Notes()
    request = TrainRequest(data, tmp_path / "grown", val, init, config=still)
    grown = train(request, notes)
    assert notes.gauged == [40]
    assert notes.plan is not None
    assert "grown to [network]" in notes.plan.start
    before, after = tensors(Path(init)), tensors(grown / "enhancer.safetensors")
    assert equal({key: after[key] for key in before}, before)
    assert {key.partition(".")[0] for key in after.keys() - before.keys()} == {"gauge"}

    notes = Notes()
    init = str(grown / "enhancer.safetensors")
    kept = train(TrainRequest(data, tmp_path / "kept", val, init, config=still), notes)
    assert notes.gauged == []  # a gauge that comes with weights is not begun anew
    assert equal(of_gauge(Path(init)), of_gauge(kept / "enhancer.safetensors"))


def test_weights_with_a_gauge_are_not_for_a_network_without(
    tmp_path: Path, data: Path, val: Path, config: TrainConfig, gauged: TrainConfig
) -> None:
    best = train(TrainRequest(data, tmp_path / "run", val, config=gauged), Notes())
    init = str(best / "enhancer.safetensors")
    request = TrainRequest(data, tmp_path / "other", val, init, config=config)
    refused(request, WeightsError, "is of another architecture")


def test_a_step_teaches_the_gauge_to_read_and_the_enhancer_to_be_set(gauged: TrainConfig) -> None:
    game, state = opening(gauged)
    before = copy.deepcopy(state.network.state_dict())
    outer_minimisation(game, state, adversarial=False)
    moved = {k for k, v in state.network.state_dict().items() if not torch.equal(v, before[k])}
    assert {key for key in before if key.startswith("gauge.")} <= moved


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_averages_beside_attacks_teach_the_gauge_nothing(share: float, gauged: TrainConfig) -> None:
    """They follow no recipe; the attacks do."""
    rules = replace(gauged.adversary, share=share)
    config = replace(gauged, batch=4, adversary=rules, sampler=SamplerConfig(average=True))
    game, state = opening(config)
    told, _ = outer_minimisation(game, state, adversarial=share > 0)
    assert np.isfinite(told["loss"])
    assert state.network.gauge is not None
    gradient = state.network.gauge.severities.weight.grad
    assert gradient is not None
    assert bool(gradient.any()) == (share > 0)


# --- the tone predictor --------------------------------------------------------------------------


def test_the_tone_predictor_moves_and_comes_back_from_its_file(tmp_path: Path) -> None:
    pictures = [draw_scene(seed, 96, 128).values / np.float32(255) for seed in range(2)]
    steps: list[tuple[int, int, float]] = []
    config = ToneConfig(steps=20, batch=4, width=4)
    predictor = train_tone(pictures, config, lambda *step: steps.append(step))
    save_tone(tmp_path / "tone.safetensors", predictor, {})
    assert [step[:2] for step in steps] == [(i + 1, 20) for i in range(20)]
    assert np.isfinite([step[2] for step in steps]).all()
    # The last layer starts at zero, where every tone is the identity.
    assert all(parameter.abs().max() > 1e-3 for parameter in predictor.parameters())
    read = load_tone(tmp_path / "enhancer.safetensors")
    tones = [p.predict(pictures[0], 0.0, 1.0) for p in (predictor, read)]
    assert tones[0] == tones[1]
    assert tones[0].gain != 1.0


# --- a GPU ---------------------------------------------------------------------------------------


@pytest.mark.gpu
def test_a_gpu_plays_keeps_and_goes_on(
    tmp_path: Path, data: Path, val: Path, config: TrainConfig
) -> None:
    choice = Choice("cuda", 0, "asked for")
    request = TrainRequest(data, tmp_path / "run", val, config=config, choice=choice)
    with pytest.raises(KeyboardInterrupt):
        train(request, Notes(interrupt_after=3))
    notes = Notes()
    best = train(replace(request, resume=True), notes)
    assert 2 <= len(notes.losses) <= 3
    assert np.isfinite(notes.losses).all()
    assert load_enhancer(str(best / "enhancer.safetensors")).config == config.network
