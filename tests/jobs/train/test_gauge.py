"""A new gauge learns what it is taught, before the enhancer is set by it."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from deal_cli.config import GaugeConfig, SamplerConfig, TrainConfig
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.jobs.train.dataset import build_pyramid
from deal_cli.jobs.train.game import Game
from deal_cli.jobs.train.gauge import seconds_of_gauge, train_gauge
from deal_cli.jobs.train.state import State, first_state
from deal_cli.model.crops import Pyramid, coded, degrade_at_random, draw_clean
from deal_cli.model.sampler import severities
from deal_cli.networks import NetworkConfig

READ = ("stripe", "gaussian")
ODDS = {"stripe": 1.0, "gaussian": 1.0, "blur": 0.3}
CONFIG = TrainConfig(
    network=NetworkConfig(width=2, blocks=(), gauge=READ),
    sampler=SamplerConfig(count_odds=(0.1, 0.6, 0.3), odds=ODDS),
    gauge=GaugeConfig(crops=640, steps=300, batch=64),
    crop=64,
    border=0,
)


@pytest.fixture(scope="module")
def pyramids() -> list[Pyramid]:
    scenes = (draw_scene(seed, 96, 128).values / np.float32(255) for seed in range(6))
    return [build_pyramid(scene, CONFIG.crop) for scene in scenes]


@pytest.fixture(scope="module")
def taught(pyramids: list[Pyramid]) -> tuple[State, dict[str, Tensor]]:
    """A state whose new gauge has learnt, and the network as it was before."""
    state, _ = first_state(CONFIG, None, torch.device("cpu"))
    before = copy.deepcopy(state.network.state_dict())
    train_gauge(Game(CONFIG, pyramids, torch.device("cpu")), state)
    return state, before


def test_how_long_it_takes_is_told_by_the_crops_that_are_drawn(pyramids: list[Pyramid]) -> None:
    state, _ = first_state(CONFIG, None, torch.device("cpu"))
    few, many = (
        seconds_of_gauge(Game(config, pyramids, torch.device("cpu")), state)
        for config in (CONFIG, replace(CONFIG, gauge=replace(CONFIG.gauge, crops=64_000)))
    )
    assert 0 < few < many / 10


def test_a_new_network_has_a_new_gauge(taught: tuple[State, dict[str, Tensor]]) -> None:
    assert taught[0].new_gauge


def test_a_gauge_reads_noise_and_stripes_better_than_their_mean(
    pyramids: list[Pyramid], taught: tuple[State, dict[str, Tensor]]
) -> None:
    gauge = taught[0].network.gauge
    assert gauge is not None
    rng = np.random.default_rng(99)  # crops and recipes that it has not seen
    clean = draw_clean(pyramids, 200, CONFIG, rng)
    degraded, recipes = degrade_at_random(clean, CONFIG.sampler, rng)
    true = severities(recipes, READ)
    with torch.no_grad():
        read = gauge(coded(degraded, rng)).severities
    off = (read - true).abs().mean(0)
    guessed = (true - true.mean(0)).abs().mean(0)
    assert (off < 0.6 * guessed).all(), (off, guessed)


def test_only_what_reads_has_moved_and_the_averaged_weights_have_it_too(
    taught: tuple[State, dict[str, Tensor]],
) -> None:
    state, before = taught
    after, averaged = state.network.state_dict(), state.ema.state_dict()
    moved = {key for key in before if not torch.equal(after[key], before[key])}
    readers = ("gauge.features", "gauge.severities")
    assert moved == {key for key in before if key.startswith(readers)}
    assert all(torch.equal(after[key], averaged[key]) for key in after)
    assert not after["gauge.modulation.weight"].any()


def test_the_same_seed_gives_the_same_gauge(pyramids: list[Pyramid]) -> None:
    short = replace(CONFIG, gauge=GaugeConfig(crops=32, steps=3, batch=8))
    gauges = []
    for seed in (0, 0, 1):
        config = replace(short, seed=seed)
        state, _ = first_state(config, None, torch.device("cpu"))
        train_gauge(Game(config, pyramids, torch.device("cpu")), state)
        assert state.network.gauge is not None
        gauges.append(state.network.gauge.severities.weight)
    assert torch.equal(gauges[0], gauges[1])
    assert not torch.equal(gauges[0], gauges[2])


@pytest.mark.parametrize("nothing", ["crops", "average"])
def test_without_recipes_a_gauge_stays_as_it_was(nothing: str, pyramids: list[Pyramid]) -> None:
    config = replace(CONFIG, gauge=replace(CONFIG.gauge, crops=0))
    if nothing == "average":
        config = replace(CONFIG, sampler=replace(CONFIG.sampler, average=True))
    state, _ = first_state(config, None, torch.device("cpu"))
    before = copy.deepcopy(state.network.state_dict())
    train_gauge(Game(config, pyramids, torch.device("cpu")), state)
    assert all(torch.equal(v, before[k]) for k, v in state.network.state_dict().items())


@pytest.mark.parametrize(
    ("key", "value"),
    [("crops", -1), ("steps", -1), ("weight", -0.5), ("weight", float("nan")), ("weight", np.inf)],
)
def test_settings_that_no_gauge_can_have_are_refused(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"'{key}' of the gauge"):
        GaugeConfig(**{key: value})  # type: ignore[arg-type]


def test_a_gauge_learns_from_one_crop_a_step_or_more() -> None:
    with pytest.raises(ValueError, match="'batch' is 0"):
        TrainConfig(gauge=GaugeConfig(batch=0))
