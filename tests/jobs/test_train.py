"""A training learns, can be stopped and resumed to the bit, and refuses what cannot be trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from deal_cli.config import (
    BlockConfig,
    NetworkConfig,
    SamplerConfig,
    ToneConfig,
    TrainConfig,
    load_toml,
)
from deal_cli.errors import DealError, PictureError, UsageError, WeightsError
from deal_cli.imaging.files import read_frame, write_frame
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.scenes import draw_scene
from deal_cli.jobs.train import TrainRequest, load_pictures, schedule, train
from deal_cli.jobs.train_tone import train_tone
from deal_cli.model.weights import load_enhancer, load_tone

MakeScenes = Callable[..., Path]


class Notes:
    """A watcher that writes down what it sees and interrupts after a step if told to."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        self._interrupt_after = interrupt_after
        self.losses: list[float] = []
        self.validations: list[tuple[int, bool]] = []

    def step(self, step: int, steps: int, loss: float, rate: float) -> None:
        assert 1 <= step <= steps
        assert rate > 0
        self.losses.append(loss)
        if step == self._interrupt_after:
            raise KeyboardInterrupt

    def validated(self, step: int, score: float, psnr: Mapping[str, float], best: bool) -> None:
        assert score == pytest.approx(np.mean([min(value, 55) for value in psnr.values()]))
        assert "contrast" not in psnr
        self.validations.append((step, best))


@pytest.fixture
def config(tiny: NetworkConfig) -> TrainConfig:
    """Six steps of two crops of 32 pixels."""
    return TrainConfig(
        network=tiny,
        tone=ToneConfig(steps=0),
        steps=6,
        batch=2,
        crop=32,
        border=0,
        validate_every=3,
        precision="float32",
    )


def tensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


# --- learning ------------------------------------------------------------------------------------


def test_the_loss_falls(tmp_path: Path, draw_scenes: MakeScenes, config: TrainConfig) -> None:
    noise = SamplerConfig(count_odds=(0.0, 1.0), odds={"gaussian": 1.0}, severity_power=0.01)
    config = replace(
        config, sampler=noise, steps=60, batch=4, learning_rate=1e-2, validate_every=60
    )
    notes = Notes()
    train(TrainRequest(draw_scenes(), tmp_path / "run", config=config), notes)
    assert np.mean(notes.losses[-20:]) < 0.9 * np.mean(notes.losses[:5])


def test_the_rate_rises_then_follows_a_cosine() -> None:
    rates = [schedule(i / 1000, 0.1) for i in range(1001)]
    assert 0 < rates[0] < 0.02
    assert rates[100] == pytest.approx(1)
    assert rates[550] == pytest.approx(0.5)
    assert rates[1000] == pytest.approx(0, abs=1e-9)
    assert np.all(np.diff(rates[:101]) > 0)
    assert np.all(np.diff(rates[100:]) < 0)


# --- stopping and going on -----------------------------------------------------------------------


def test_a_resumed_run_equals_one_that_was_not_stopped(
    tmp_path: Path, draw_scenes: MakeScenes, config: TrainConfig
) -> None:
    data = draw_scenes()
    at_once = TrainRequest(data, tmp_path / "at_once", config=config)
    train(at_once, Notes())
    in_two = replace(at_once, out=tmp_path / "in_two")
    with pytest.raises(KeyboardInterrupt):
        train(in_two, Notes(interrupt_after=3))
    torch.manual_seed(99)  # a new process starts elsewhere
    notes = Notes()
    train(replace(in_two, resume=True, config=TrainConfig()), notes)
    assert len(notes.losses) == 3
    for name in ("state", "enhancer"):
        one = tensors(tmp_path / "at_once" / "last" / f"{name}.safetensors")
        two = tensors(tmp_path / "in_two" / "last" / f"{name}.safetensors")
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)
    kinds = {key.partition("/")[0] for key in tensors(at_once.out / "last/state.safetensors")}
    assert kinds == {"network", "average", "optimiser"}


def test_an_interrupted_run_keeps_its_newest_weights(
    tmp_path: Path, draw_scenes: MakeScenes, config: TrainConfig
) -> None:
    request = TrainRequest(draw_scenes(), tmp_path / "run", config=config)
    with pytest.raises(KeyboardInterrupt):
        train(request, Notes(interrupt_after=2))
    assert sorted(path.name for path in (request.out / "last").iterdir()) == [
        "enhancer.safetensors",
        "state.safetensors",
    ]
    assert not request.out.joinpath("best").exists()
    assert load_enhancer(str(request.out / "last/enhancer.safetensors")).config == config.network


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    tmp_path: Path, draw_scenes: MakeScenes, config: TrainConfig
) -> None:
    data, results = draw_scenes(), []
    config = replace(config, steps=2, validate_every=2)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        best = train(
            TrainRequest(data, tmp_path / name, config=replace(config, seed=seed)), Notes()
        )
        results.append(tensors(best / "enhancer.safetensors"))
    first, again, other = results
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


# --- the run's folder ----------------------------------------------------------------------------


def test_the_folder_holds_all_that_a_run_leaves(
    tmp_path: Path, draw_scenes: MakeScenes, config: TrainConfig
) -> None:
    run, notes = tmp_path / "run", Notes()
    val = draw_scenes(1, 48, 64, "val")
    config = replace(config, tone=ToneConfig(steps=2, batch=2, width=4))
    best = train(TrainRequest(draw_scenes(), run, val, config=config), notes)
    assert {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()} == {
        "config.toml",
        "metrics.jsonl",
        "grids/00000003.png",
        "grids/00000006.png",
        "last/enhancer.safetensors",
        "last/state.safetensors",
        "best/enhancer.safetensors",
        "best/tone.safetensors",
    }
    assert best == run / "best"
    assert load_toml(TrainConfig, run / "config.toml") == config

    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [3, 6]
    assert rows[0]["loss"] == pytest.approx(np.mean(notes.losses[:3]))
    assert rows[0].keys() >= {"images_per_second", "score", "psnr_after_fit"}
    assert [step for step, _ in notes.validations] == [3, 6]
    assert notes.validations[0][1]

    weights = load_enhancer(str(best / "enhancer.safetensors"))
    assert weights.config == config.network
    assert weights.training["config"]["steps"] == 6
    assert weights.training["validation"]["step"] in (3, 6)
    assert load_tone(weights.file.path).width == 4

    grid = read_frame(run / "grids" / "00000003.png")  # degraded, restored, clean; two crops
    assert (grid.height, grid.width) == (2 * 32, 3 * 32)
    assert grid.values.std() > 5


def test_without_validation_the_newest_weights_are_the_best(
    tmp_path: Path, draw_scenes: MakeScenes, config: TrainConfig
) -> None:
    best = train(TrainRequest(draw_scenes(), tmp_path / "run", config=config), Notes())
    newest = tensors(tmp_path / "run" / "last" / "enhancer.safetensors")
    kept = tensors(best / "enhancer.safetensors")
    assert all(torch.equal(newest[key], kept[key]) for key in newest)
    assert not (best / "tone.safetensors").exists()


def test_a_run_starts_from_given_weights(
    tmp_path: Path, draw_scenes: MakeScenes, config: TrainConfig
) -> None:
    data = draw_scenes()
    first = train(TrainRequest(data, tmp_path / "first", config=config), Notes())
    given = str(first / "enhancer.safetensors")
    still = replace(config, steps=1, learning_rate=0.0, weight_decay=0.0)
    second = train(TrainRequest(data, tmp_path / "second", init=given, config=still), Notes())
    before, after = tensors(Path(given)), tensors(second / "enhancer.safetensors")
    assert all(torch.equal(before[key], after[key]) for key in before)


# --- refusals ------------------------------------------------------------------------------------


def refused(request: TrainRequest, kind: type[DealError], words: str) -> None:
    """The request is refused before a step is made and before a folder is."""
    existed = request.out.exists()
    with pytest.raises(kind, match=words) as caught:
        train(request, Notes(interrupt_after=1))
    assert caught.value.remedy
    assert request.out.exists() == existed


def test_a_folder_in_use_is_refused(
    tmp_path: Path, draw_scenes: MakeScenes, config: TrainConfig
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "notes.txt").write_text("mine", encoding="utf-8")
    refused(TrainRequest(draw_scenes(), run, config=config), UsageError, "run: is in use")
    assert [path.name for path in run.iterdir()] == ["notes.txt"]


def test_resuming_what_is_no_run_is_refused(tmp_path: Path, draw_scenes: MakeScenes) -> None:
    request = TrainRequest(draw_scenes(), tmp_path / "run", resume=True)
    refused(request, UsageError, "is not a run")


def test_resuming_from_a_damaged_state_is_refused(
    tmp_path: Path, draw_scenes: MakeScenes, config: TrainConfig
) -> None:
    request = TrainRequest(draw_scenes(), tmp_path / "run", config=config)
    train(request, Notes())
    state = request.out / "last" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    refused(replace(request, resume=True), WeightsError, "state.safetensors")


def test_pictures_that_are_missing_are_refused(tmp_path: Path, config: TrainConfig) -> None:
    run = tmp_path / "run"
    refused(TrainRequest(tmp_path / "no", run, config=config), UsageError, "no: is not a folder")
    (tmp_path / "empty").mkdir()
    request = TrainRequest(tmp_path / "empty", run, config=config)
    refused(request, UsageError, "empty: holds no pictures")


@pytest.mark.parametrize("border", [0, 20])
def test_pictures_that_are_too_small_are_refused(
    border: int, tmp_path: Path, draw_scenes: MakeScenes, config: TrainConfig
) -> None:
    # At half size 62 pixels leave 31, and 96 without a border of 20 leave 28.
    data = draw_scenes(1, 62 if border == 0 else 96, 200)
    request = TrainRequest(data, tmp_path / "run", config=replace(config, border=border))
    refused(request, UsageError, r"0.png: 200x\d+ is too small for crops of 32")


def test_pictures_of_just_the_size_are_taken(draw_scenes: MakeScenes, config: TrainConfig) -> None:
    (picture,) = load_pictures(draw_scenes(1, 64, 64), config)
    assert picture.shape == (64, 64)
    (inner,) = load_pictures(draw_scenes(1, 84, 90, "more"), replace(config, border=10))
    assert inner.shape == (64, 70)


def test_a_picture_of_one_value_is_refused(
    tmp_path: Path, draw_scenes: MakeScenes, config: TrainConfig
) -> None:
    data = draw_scenes()
    flat = Frame(np.full((96, 96), 7000, np.float32), np.dtype(np.uint16))
    write_frame(flat, data / "flat.png")
    request = TrainRequest(data, tmp_path / "run", config=config)
    refused(request, UsageError, "flat.png: holds one value only")


def test_a_picture_that_cannot_be_read_is_refused_by_name(
    tmp_path: Path, draw_scenes: MakeScenes, config: TrainConfig
) -> None:
    data = draw_scenes()
    (data / "broken.png").write_bytes((data / "0.png").read_bytes()[:100])
    request = TrainRequest(data, tmp_path / "run", config=config)
    refused(request, PictureError, "broken.png")


def test_weights_of_another_architecture_are_refused(
    tmp_path: Path, draw_scenes: MakeScenes, config: TrainConfig, fresh_weights: Path
) -> None:
    other = replace(config, network=NetworkConfig(width=4, blocks=(BlockConfig("ssm", 3, 3),)))
    request = TrainRequest(draw_scenes(), tmp_path / "run", init=str(fresh_weights), config=other)
    refused(request, WeightsError, "fresh.safetensors: is of another architecture")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 0}, "'steps' is 0"),
        ({"batch": 0}, "'batch' is 0"),
        ({"crop": 0}, "'crop' is 0"),
        ({"crop": 33}, "'crop' is 33; set a multiple of the network's stride, 2"),
        ({"validate_every": 0}, "'validate_every' is 0"),
        ({"sampler": SamplerConfig(odds={"blurr": 1.0})}, "did you mean 'blur'"),
    ],
    ids=str,
)
def test_settings_that_no_training_can_have_are_refused(
    change: dict[str, object],
    words: str,
    tmp_path: Path,
    draw_scenes: MakeScenes,
    config: TrainConfig,
) -> None:
    changed = replace(config, **change)  # type: ignore[arg-type]
    refused(TrainRequest(draw_scenes(), tmp_path / "run", config=changed), UsageError, words)


def test_validation_pictures_that_are_missing_or_of_another_kind_are_refused(
    tmp_path: Path, draw_scenes: MakeScenes, config: TrainConfig
) -> None:
    request = TrainRequest(draw_scenes(), tmp_path / "run", tmp_path / "no", config=config)
    refused(request, UsageError, "no: not a folder")
    val = tmp_path / "val"
    val.mkdir()
    write_frame(draw_scene(0, 48, 64, "uint16"), val / "counts.png")
    refused(replace(request, val=val), PictureError, "counts.png: uint16")


# --- the tone predictor --------------------------------------------------------------------------


def test_the_tone_predictor_moves_and_comes_back_from_its_file(tmp_path: Path) -> None:
    pictures = [draw_scene(seed, 96, 128).values / np.float32(255) for seed in range(2)]
    path, steps = tmp_path / "tone.safetensors", []
    config = ToneConfig(steps=20, batch=4, width=4)
    predictor = train_tone(pictures, config, path, lambda *step: steps.append(step))
    assert [step[:2] for step in steps] == [(i + 1, 20) for i in range(20)]
    assert np.isfinite([step[2] for step in steps]).all()
    # The last layer starts at zero, where every tone is the identity.
    assert all(parameter.abs().max() > 1e-3 for parameter in predictor.parameters())
    read = load_tone(tmp_path / "enhancer.safetensors")
    tones = [p.predict(pictures[0], 0.0, 1.0) for p in (predictor, read)]
    assert tones[0] == tones[1]
    assert tones[0].gain != 1.0
