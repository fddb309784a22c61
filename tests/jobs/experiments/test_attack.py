"""Attacks are learnt on each enhancer and tried on all, and the page says what was run."""

from __future__ import annotations

from pathlib import Path

import pytest

from deal_cli.config import TrainConfig
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import write_frame
from deal_cli.jobs.experiments import attack
from deal_cli.model.network import Enhancer
from deal_cli.model.weights import save_enhancer
from deal_cli.networks import BlockConfig, NetworkConfig

TINY = NetworkConfig(width=4, blocks=(BlockConfig("stm", 3, 3),))
COLOUR = NetworkConfig(width=4, channels=3, blocks=(BlockConfig("ssm", 3, 3),))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "scenes"
    folder.mkdir()
    for seed in range(12):
        write_frame(draw_scene(seed, 160, 192), folder / f"{seed:02}.png")
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> list[str]:
    files = []
    for name, config in (("grey", TINY), ("colour", COLOUR)):
        path = tmp_path / f"{name}.safetensors"
        save_enhancer(path, Enhancer(config).state_dict(), config, {})
        files.append(str(path))
    return files


def test_a_table_of_every_enhancer_under_every_attack_is_written(
    pictures: Path, weights: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attack, "ASCENT_STEPS", 2)
    page = tmp_path / "page.md"
    places = ["--data", str(pictures), "--clean", str(pictures), "--page", str(page)]
    attack.main([*weights, *places])
    text = page.read_text(encoding="utf-8")
    assert "<!-- attacks -->" in text
    rows = [line for line in text.splitlines() if line.startswith(f"| {weights[0]}")]
    cells = [float(cell) for cell in rows[0].split("|")[2:-1]]
    assert all(5 < cell < 45 for cell in cells)
    assert cells[-1] == min(cells[:-1])  # the worst
    # A fresh enhancer changes nothing, so that its row is that of nothing.
    nothing = next(line for line in text.splitlines() if line.startswith("| nothing |"))
    assert [float(cell) for cell in nothing.split("|")[2:-1]] == pytest.approx(cells, abs=0.011)
    assert "--clean scenes" in text


def test_an_attack_on_an_enhancer_that_stands_still_harms_it_more_than_none_learnt(
    pictures: Path, weights: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(network=TINY)

    def under(steps: int) -> float:
        monkeypatch.setattr(attack, "ASCENT_STEPS", steps)
        return attack.attack_table(weights[:1], config, pictures, [pictures])[0][0]

    assert under(60) < under(0) - 0.5
