"""The curves of a training are one PNG, whatever its rows hold and lack."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageColor

from deal_cli.errors import OutputError
from deal_cli.jobs.protocol.tasks import TASKS
from deal_cli.jobs.train import curves
from deal_cli.jobs.train.curves import write_curves
from deal_cli.model import degradations

STEPS, EVERY, ACTIVE = 40_000, 1000, (10_000, 34_000)
OPERATIONS = tuple(degradations.OPERATIONS)
ALWAYS = {"step", "loss", "images_per_second", "score", "psnr_after_fit"}


def full_rows() -> list[dict[str, Any]]:
    """What a long run with an adversary logs: it learns, is attacked, and learns again."""
    rng = np.random.default_rng(0)
    appetite = rng.normal(0, 0.7, len(OPERATIONS) + 1)
    rows: list[dict[str, Any]] = []
    for step in range(EVERY, STEPS + 1, EVERY):
        learnt = 1 - math.exp(-step / 6000)
        loss = -3.9 - 2.1 * learnt + rng.normal(0, 0.03)
        row: dict[str, Any] = {"step": step, "loss": loss, "images_per_second": 480.0}
        if ACTIVE[0] < step <= ACTIVE[1]:
            played = (step - ACTIVE[0]) / (ACTIVE[1] - ACTIVE[0])
            advantage = 0.5 * (1 - math.exp(-8 * played)) - 0.2 * played + rng.normal(0, 0.02)
            appetite += rng.normal(0, 0.15, len(appetite))
            odds = np.exp(appetite) / np.exp(appetite).sum()
            row |= {
                "loss": loss + advantage / 2,
                "loss_random": loss,
                "loss_adversarial": loss + advantage,
                "advantage": advantage,
                "entropy": -float((odds * np.log(odds)).sum()) / math.log(len(odds)),
                "budget_use": min(1.0, 0.55 + 0.4 * played + rng.normal(0, 0.01)),
                "kept": 0.93 - 0.2 * played + rng.normal(0, 0.01),
                "odds": dict(zip((*OPERATIONS, "none"), odds.tolist(), strict=True)),
            }
        if step % (2 * EVERY) == 0:
            psnr = {
                task: 24 + 1.3 * index + 6 * learnt + rng.normal(0, 0.1)
                for index, task in enumerate(sorted(TASKS, reverse=True))
            }
            row |= {"score": float(np.mean(list(psnr.values()))), "psnr_after_fit": psnr}
        rows.append(row)
    return rows


def draw(rows: list[dict[str, Any]], path: Path, active: tuple[int, int] = ACTIVE) -> Image.Image:
    """Write the curves and read them back, every pixel."""
    write_curves(rows, path, steps=STEPS, active=active)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.size == (1600, 900)
        return picture.convert("RGB")


def test_full_rows_are_drawn_into_one_png(tmp_path: Path) -> None:
    picture = draw(full_rows(), tmp_path / "curves.png")
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]
    shown = {colour for _, colour in picture.getcolors(1600 * 900) or []}
    assert {ImageColor.getrgb(colour) for colour in curves.COLOURS} <= shown


def test_a_run_without_an_adversary_is_drawn(tmp_path: Path) -> None:
    rows = [{key: row[key] for key in ALWAYS & row.keys()} for row in full_rows()]
    without = draw(rows, tmp_path / "without.png", active=(0, 0))
    planned = draw(rows, tmp_path / "planned.png")
    assert without.tobytes() != planned.tobytes()  # the phase is shaded before it begins


@pytest.mark.parametrize("index", [0, 19])
def test_one_row_is_drawn(tmp_path: Path, index: int) -> None:
    empty = draw([], tmp_path / "empty.png")
    assert draw(full_rows()[index : index + 1], tmp_path / "one.png").tobytes() != empty.tobytes()


def test_any_key_may_be_missing_in_any_row(tmp_path: Path) -> None:
    rows = full_rows()[11:33]
    keys = sorted(set().union(*rows))
    for key, row in zip(keys, rows, strict=False):
        row.pop(key, None)
    draw(rows, tmp_path / "curves.png")
    draw([{"step": EVERY}, {}], tmp_path / "nothing.png")


def test_values_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    rows = full_rows()[10:20]
    clean = draw(rows, tmp_path / "clean.png")
    worse = {"step": 20_500, "loss": math.nan, "score": -math.inf, "advantage": None}
    assert draw([*rows, worse], tmp_path / "worse.png").tobytes() == clean.tobytes()


def test_of_two_rows_of_one_step_the_later_counts(tmp_path: Path) -> None:
    rows = full_rows()[10:20]
    clean = draw(rows, tmp_path / "clean.png")
    again = [{**rows[4], "loss": 5.0, "score": 99.0}, *rows]
    assert draw(again, tmp_path / "again.png").tobytes() == clean.tobytes()


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        draw(full_rows()[:2], tmp_path / "missing" / "curves.png")
    assert list(tmp_path.iterdir()) == []


def test_matplotlib_is_imported_to_draw_only_and_pyplot_never(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from deal_cli.jobs.train.curves import write_curves
print("matplotlib" in sys.modules)
path = Path({str(tmp_path / "curves.png")!r})
write_curves([{{"step": 1, "loss": 0.0}}], path, steps=2, active=(0, 0))
print("matplotlib" in sys.modules, "matplotlib.pyplot" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["False", "True", "False"], result.stderr
