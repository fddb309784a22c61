"""One training in two processes, as `torchrun` starts them, and interruptions between steps."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command import ROOT, environment

from deal_cli.engine.backends.choice import Choice
from deal_cli.jobs.batch.interruption import Interruption
from deal_cli.jobs.train.ranks import Ranks, joined
from deal_cli.model.tensor_file import read_safetensors
from deal_cli.model.weights import load_enhancer, load_generator

TWO = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]

TINY = """
validate_every = 1000000
batch = 2
crop = 32
border = 0
[tone]
steps = 0
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

STEPS = """
import sys
from pathlib import Path
import torch
from deal_cli.config import TrainConfig
from deal_cli.mapping import load_toml
from deal_cli.engine.backends.choice import Choice
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.jobs.train.dataset import build_pyramid
from deal_cli.jobs.train.ranks import joined
from deal_cli.jobs.train.game import Game, play_step
from deal_cli.jobs.train.state import first_state

torch.set_num_threads(1)
folder = Path(sys.argv[1])
config = load_toml(TrainConfig, folder / "config.toml")
with joined(Choice("cpu", 0, "")) as (ranks, choice):
    pyramids = [build_pyramid(draw_scene(0, 64, 80).values / 255, config.crop)]
    game = Game(config, pyramids, choice.torch_device(), ranks)
    state, _ = first_state(config, None, game.device)
    losses, stops = [], []
    for step in range(3):
        # The second process alone is told to stop, in the last step.
        told, stop = play_step(game, state, active=True, stop=(ranks.rank, step) == (1, 2))
        losses.append(told["loss"])
        stops.append(stop)
    everything = torch.cat([p.flatten() for m in (state.network, state.generator)
                            for p in m.parameters()])
    torch.save((losses, stops, everything), folder / f"{ranks.rank}.pt")
"""


def under_torchrun(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TWO, *map(str, arguments)],
        cwd=ROOT,
        env={**environment(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(TINY, encoding="utf-8")
    return path


def test_two_processes_see_other_crops_and_keep_the_same_weights(
    tmp_path: Path, config: Path
) -> None:
    script = tmp_path / "steps.py"
    script.write_text(STEPS, encoding="utf-8")
    result = under_torchrun(script, tmp_path)
    assert result.returncode == 0, result.stderr
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert one[0] != two[0]
    assert one[1] == two[1] == [False, False, True]
    assert torch.equal(one[2], two[2])


def test_the_same_command_trains_in_two_processes(
    tmp_path: Path, config: Path, draw_scenes: Callable[..., Path]
) -> None:
    run, data, val = tmp_path / "run", draw_scenes(8, 64, 80), draw_scenes(1, 48, 64, "val")
    command = ["-m", "deal_cli", "train", "--data", data, "--val", val, "--init", "none"]
    options = ["--config", config, "--budget", "24steps", "--backend", "cpu", "-o", run]
    result = under_torchrun(*command, *options)
    assert result.returncode == 0, result.stderr
    weights = run / "best" / "enhancer.safetensors"
    assert result.stdout.splitlines() == [f"deal restore --weights {weights} -o restored INPUT..."]
    assert result.stderr.count("24 steps of 2 crops of 32 pixels in each of 2 processes") == 1
    rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(25))
    assert load_enhancer(str(weights)).training["validation"]["step"] <= 24
    assert load_generator(str(weights.with_name("generator.safetensors"))).config.rounds == 2


def test_alone_nothing_is_averaged() -> None:
    tensor = torch.tensor([1.0, 2.0])
    with joined(Choice("cpu", 0, "")) as (ranks, choice):
        assert ranks == Ranks(0, 1)
        assert ranks.average([tensor], stop=True)
        assert not ranks.average([tensor])
        assert ranks.agree("word") == "word"
        assert choice.kind == "cpu"
    assert tensor.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_noted_however_often_it_is_passed_on(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert not interruption.wanted
        for again in (number, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), again)
            assert interruption.wanted
    assert signal.getsignal(number) is before


def test_who_asks_again_a_while_later_wants_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Interruption, "SAME_WISH", 0.0)
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)  # a scheduler's: it waits
        assert interruption.wanted
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("whom", ["all", "agent"])
def test_two_processes_that_are_told_to_stop_keep_their_state(
    whom: str, tmp_path: Path, config: Path, draw_scenes: Callable[..., Path]
) -> None:
    run, data, val = tmp_path / "run", draw_scenes(8, 64, 80), draw_scenes(1, 48, 64, "val")
    command = ["-m", "deal_cli", "train", "--data", data, "--val", val, "--init", "none"]
    options = ["--config", config, "--budget", "100000steps", "--backend", "cpu", "-o", run]
    process = subprocess.Popen(
        [*TWO, *map(str, command), *map(str, options)],
        cwd=ROOT,
        env={**environment(), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    log, deadline = run / "metrics.jsonl", time.monotonic() + 120
    while not (log.is_file() and "loss" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    if whom == "all":  # as a scheduler does
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=100)
    kept = re.search(r"is kept as of step (\d+)", stderr)
    assert kept, stderr
    metadata, _ = read_safetensors(run / "last" / "state.safetensors")
    assert metadata["step"] == kept[1]
    assert int(kept[1]) > 0
