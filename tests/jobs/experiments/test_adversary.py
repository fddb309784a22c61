"""The experiment on the adversary: equal time is equal time, and its tables say what was found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deal_cli.jobs.experiments import adversary as experiment
from deal_cli.jobs.experiments import attack
from deal_cli.jobs.experiments.adversary import Arm, Experiment, attacked, train_all
from deal_cli.jobs.train.views import VALIDATION_TASKS
from deal_cli.model.network import Enhancer
from deal_cli.model.weights import save_enhancer

COST = {"random": 0.5, "adversarial": 2.0}  # seconds a step
TINY = """
steps = 10
crop = 32
border = 0
[network]
width = 4
blocks = [{ kind = "stm", kernel_in = 3, kernel_out = 3 }]
[generator]
width = 4
rounds = 2
[adversary]
pictures = 1
attacks = 2
"""


@pytest.fixture
def prepared(
    tmp_path: Path, draw_scenes: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Experiment:
    """An experiment whose trainings take no time and whose scores follow from their steps."""
    configs = tmp_path / "arms"
    configs.mkdir()
    for name in COST:
        (configs / f"{name}.toml").write_text(TINY, encoding="utf-8")
    data, clean = draw_scenes(22, 64, 80), draw_scenes(2, 140, 160, "clean")
    out = tmp_path / "out"
    out.mkdir()

    def run(self: Experiment, arm: Arm) -> float:
        made = {"seconds": arm.steps * COST[arm.name], "steps": arm.steps, "commit": "0123abc"}
        (out / f"{arm.folder}.json").write_text(json.dumps(made), encoding="utf-8")
        better = {"random": 0.0, "adversarial": 1.0}[arm.name] + arm.steps / 10 + arm.seed
        scores = dict.fromkeys(VALIDATION_TASKS, 30.0 + better) | {"stripe10": 20 + better}
        note = out / f"{arm.folder}.scores.json"
        note.write_text(json.dumps(scores), encoding="utf-8")
        return float(made["seconds"])  # type: ignore[arg-type]

    monkeypatch.setattr(Experiment, "run", run)
    return Experiment(configs, data, [clean], out)


def test_who_is_cheaper_gets_more_steps_for_the_same_time(prepared: Experiment) -> None:
    arms, seconds = train_all(prepared, ["adversarial", "random"], [22], [0, 1])
    assert {(arm.name, arm.equal, arm.steps) for arm in arms} == {
        ("adversarial", "steps", 10),
        ("random", "steps", 10),
        ("random", "time", 40),
    }
    assert {seconds[arm] for arm in arms if arm.equal == "time"} == {20.0}
    assert sum(arm.seed == 1 for arm in arms) == 3


def test_the_page_holds_every_table(prepared: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        experiment, "attack_table", lambda *_: [[20.0, 25.0], [30.0, 26.0], [19.0] * 2]
    )
    places = ["--data", prepared.data, "--clean", *prepared.clean, "--out", prepared.out]
    experiment.main([str(prepared.configs), *map(str, places), "--few", "20"])
    page = prepared.configs.with_suffix(".md").read_text(encoding="utf-8")
    for size in (22, 20):
        for part in ("steps", "time", "attacks"):
            assert f"<!-- {size}-{part} -->" in page
    # Two seeds on all pictures, one on twenty: 31.5 is the mean of 31 and 32.
    assert "| random | 10 | 0.1 | 30.39 ±0.50 | 21.50 ±0.50 | 31.50 ±0.50 |" in page
    assert "| random | 40 | 0.3 | 32.89 | 24.00 | 34.00 |" in page
    assert "| random | 30.00 | 26.00 | 26.00 |" in page
    assert page.count("- Commit: `0123abc`") == 6


def test_each_network_meets_its_own_attack_and_the_others(
    prepared: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attack, "ASCENT_STEPS", 2)
    arms = [Arm(name, 22, 0, 10, "steps") for name in COST]
    for arm in arms:
        network = Enhancer(experiment.load_toml(experiment.TrainConfig, config(prepared)).network)
        path = prepared.out / arm.folder / "last" / "enhancer.safetensors"
        save_enhancer(path, network.state_dict(), network.config, {})
    table = attacked(prepared, arms)
    assert len(table) == 3  # two networks, and nothing
    assert all(5 < psnr < 45 for row in table for psnr in row)
    assert attacked(prepared, arms) == table  # kept


def config(prepared: Experiment) -> Path:
    return prepared.configs / "random.toml"
