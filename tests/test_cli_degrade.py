"""`deal degrade` through the real entry point, in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import Result, deal, refused

from deal_cli.config import GeneratorConfig
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import read_frame, write_frame
from deal_cli.imaging.frame import Frame, Metadata
from deal_cli.model.generator import Generator
from deal_cli.model.weights import save_generator


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`g.safetensors` of an untrained N_G; `in/a.png`, `in/bad.png` and 16 bits in `in/b.tif`."""
    folder = tmp_path_factory.mktemp("degrade")
    torch.manual_seed(0)
    save_generator(folder / "g.safetensors", Generator(GeneratorConfig(width=2)), {})
    (folder / "in").mkdir()
    write_frame(draw_scene(0, 48, 64), folder / "in/a.png")
    counts = draw_scene(1, 48, 64, "uint16")
    told = Metadata(description="roof, north side")
    write_frame(Frame(counts.values, counts.dtype, told), folder / "in/b.tif")
    (folder / "in/bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return folder


def run(folder: Path, *arguments: str) -> Result:
    return deal("degrade", *arguments, "--weights", "g.safetensors", cwd=folder)


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def degraded(folder: Path) -> Result:
    """All of `in` in `out`, a broken file among it."""
    return run(folder, "in", "-o", "out", "--severity", "high", "--count", "2", "--json")


def test_a_broken_file_among_good_ones_is_told_and_the_others_are_done(degraded: Result) -> None:
    assert degraded.returncode == 1, degraded.stderr
    status = {row["output"]: row["status"] for row in rows(degraded)}
    good = ["a.png", "a_2.png", "b.tif", "b_2.tif"]
    assert {str(Path("out", name)) for name in good} == {
        k for k, v in status.items() if v != "failed"
    }
    assert "bad.png: is truncated" in degraded.stderr
    assert "      4  degraded  mean PSNR " in degraded.stderr
    assert "      2  failed " in degraded.stderr


def test_a_row_says_what_was_done(folder: Path, degraded: Result) -> None:
    (row,) = [row for row in rows(degraded) if row["output"].endswith("b_2.tif")]
    before, after = (read_frame(folder / row[key]) for key in ("input", "output"))
    told = json.loads((folder / f"{row['output']}.json").read_bytes())
    low, high = told["range"]
    error = (after.values - before.values).astype(np.float64) / (high - low)
    assert row["psnr"] == pytest.approx(-10 * np.log10(np.square(error).mean()), abs=1e-3)
    assert (row["width"], row["height"], row["dtype"]) == (64, 48, "uint16")
    assert row["operations"] == [
        {"operation": step["draw"]["operation"], "severity": step["severity"]}
        for step in told["steps"]
    ]
    assert row["severity"] == told["severity"] == 0.75
    assert row["error"] is None
    assert row["seconds"] > 0


@pytest.mark.usefixtures("degraded")
def test_sixteen_bits_and_metadata_stay(folder: Path) -> None:
    after = read_frame(folder / "out/b.tif")
    assert after.dtype == np.uint16
    assert after.metadata.description == "roof, north side"
    assert len(np.unique(after.values)) > 256


@pytest.mark.usefixtures("degraded")
@pytest.mark.parametrize("name", ["a_2.png", "b.tif"])
def test_a_sidecar_replays_bit_for_bit(folder: Path, name: str) -> None:
    result = deal("degrade", "--replay", f"../out/{name}.json", "-o", "x", cwd=folder / "in")
    assert result.returncode == 0, result.stderr
    assert (folder / "in/x" / name).read_bytes() == (folder / "out" / name).read_bytes()


@pytest.mark.usefixtures("degraded")
def test_what_exists_is_skipped_and_nothing_is_said_when_quiet(folder: Path) -> None:
    result = run(folder, "in/a.png", "-o", "out")
    assert result.returncode == 0
    assert "      1  skipped " in result.stderr
    result = run(folder, "in/a.png", "-o", "out", "--overwrite", "-q", "--severity", "high")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_scenes_are_drawn_degraded_and_replayed_where_no_input_is_given(folder: Path) -> None:
    options = ["--severity", "max", "--count", "2", "--pairs", "--ops", "tone,stripe"]
    result = run(folder, *options)
    assert result.returncode == 0, result.stderr
    places = [folder / "degraded" / kind / "scene_0002.png" for kind in ("clean", "degraded")]
    clean, hurt = (read_frame(path).values for path in places)
    assert clean.shape == (512, 640)
    assert not np.array_equal(clean, hurt)
    sidecar = f"{places[1]}.json"
    result = deal("degrade", "--replay", sidecar, "-o", "again.png", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert (folder / "again.png").read_bytes() == places[1].read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--severity", "worst"], 2, "it takes min, low, medium, high, max, or a number"),
        (["--ops", "blurr"], 2, "did you mean 'blur'?"),
        (["--replay", "in/a.png"], 2, "in/a.png: "),
        (["-"], 2, "a pipe has no room for a sidecar"),
        (["--backend", "onnx"], 3, "use --backend cuda or --backend cpu"),
        (["--backend", "tpu"], 3, "--backend takes auto"),
    ],
)
def test_what_cannot_be_done_has_a_code_and_a_remedy(
    folder: Path, arguments: list[str], code: int, told: str
) -> None:
    needed = ["--weights", "g.safetensors"] if "--ops" in arguments else []
    result = deal("degrade", *arguments, *needed, "-o", "none", cwd=folder)
    assert told in refused(result, code)
    assert not (folder / "none").exists()


def test_the_bundled_generator_degrades_as_typed(tmp_path: Path) -> None:
    result = deal("degrade", "--severity", "max", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "degraded").glob("scene_*.png"))) == 8
    assert all(row["operations"] and row["psnr"] < 40 for row in rows(result))
