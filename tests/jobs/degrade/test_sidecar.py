"""Sidecars: written and read back to the same degradation, and never believed."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deal_cli.errors import UsageError
from deal_cli.jobs.degrade.sidecar import FORMAT, Scene, Sidecar, read_sidecar
from deal_cli.model.degradations import OPERATIONS, draw
from deal_cli.model.sampler import Recipe, Step

SHA = "0123456789abcdef" * 4


def sidecar(source: Path | Scene) -> Sidecar:
    rng = np.random.default_rng(0)
    recipe = Recipe(tuple(Step(draw(name, rng), float(rng.random())) for name in OPERATIONS))
    return Sidecar(source, "uint8", (0.0, 255.0), 0.75, 3, SHA, recipe)


@pytest.mark.parametrize("name", ["a.png", "@a.png", "[a]*.png", "ü\udc80 b.png"])
def test_a_sidecar_is_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    told = sidecar(tmp_path.resolve() / "in" / name)
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "a.png.json"
    told.write(path)
    assert read_sidecar(path) == told
    assert json.loads(path.read_text(encoding="utf-8"))["input"] == f"../in/{name}"


def test_a_scene_is_read_as_it_was_written(tmp_path: Path) -> None:
    told = sidecar(Scene(5, 48, 64))
    told.write(tmp_path / "s.json")
    assert read_sidecar(tmp_path / "s.json") == told


def test_inputs_and_outputs_may_be_moved_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old" / "out").mkdir(parents=True)
    (tmp_path / "old" / "a.png").touch()
    monkeypatch.chdir(tmp_path / "old")
    sidecar(Path("a.png")).write(Path("out/a.png.json"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").rename("new")
    source = read_sidecar(Path("new/out/a.png.json")).source
    assert isinstance(source, Path)
    assert source.samefile(tmp_path / "new" / "a.png")


Change = Callable[[dict[str, Any]], object]
STEP = {"draw": {"operation": "row", "parameters": {}, "seed": 1}, "severity": 0.5}

BAD: dict[str, tuple[Change, str]] = {
    "another format": (lambda t: t.update(format="deal-tone/1"), "no sidecar"),
    "no format": (lambda t: t.pop("format"), "no sidecar"),
    "an unknown key": (lambda t: t.update(sed=1), "'seed'"),
    "a key too few": (lambda t: t.pop("range"), "'range' is missing"),
    "a step without severity": (lambda t: t["steps"][0].pop("severity"), "'severity' is missing"),
    "a step without seed": (lambda t: t["steps"][0]["draw"].pop("seed"), "Draw"),
    "a range upside down": (lambda t: t.update(range=[2, 1]), "upside down"),
    "three numbers for a range": (lambda t: t.update(range=[1, 2, 3]), "range"),
    "an infinite range": (lambda t: t.update(range=[0, float("inf")]), "Infinity"),
    "no number": (lambda t: t.update(range=[0, float("nan")]), "NaN"),
    "an endless number": (lambda t: t.update(seed=10**400), "too long"),
    "too severe": (lambda t: t.update(severity=1.5), "severity"),
    "true for a severity": (lambda t: t.update(severity=True), "severity"),
    "a seed below 0": (lambda t: t.update(seed=-1), "seed"),
    "no checksum": (lambda t: t.update(weights_sha256="../.."), "weights"),
    "no origin": (lambda t: t.pop("input"), "neither"),
    "two origins": (lambda t: t.update(scene={"seed": 1}), "neither"),
    "a number for an input": (lambda t: t.update(input=3), "input"),
    "an input with a NUL": (lambda t: t.update(input="a\0b"), "input"),
    "no steps": (lambda t: t.pop("steps"), "steps"),
    "too many steps": (lambda t: t.update(steps=[STEP] * 65), "steps"),
    "a step that is a text": (lambda t: t.update(steps=["row"]), "step"),
    "an unknown operation": (lambda t: t["steps"][0]["draw"].update(operation="rwo"), "'row'"),
    "a strange parameter": (
        lambda t: t["steps"][0]["draw"]["parameters"].update(x=1.0),
        "parameters of 'tone'",
    ),
    "a missing parameter": (lambda t: t["steps"][0]["draw"]["parameters"].pop("loss"), "tone"),
    "a parameter out of bounds": (
        lambda t: t["steps"][0]["draw"]["parameters"].update(loss=1e9),
        "'loss' of 'tone'",
    ),
    "a text for a parameter": (
        lambda t: t["steps"][0]["draw"]["parameters"].update(loss="x"),
        "loss",
    ),
    "a step too severe": (lambda t: t["steps"][0].update(severity=1.01), "'tone'"),
    "a step below 0": (lambda t: t["steps"][0].update(severity=-0.1), "'tone'"),
    "a step's seed below 0": (lambda t: t["steps"][0]["draw"].update(seed=-1), "'tone'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_refused_with_its_file(tmp_path: Path, case: str) -> None:
    path = tmp_path / "a.png.json"
    sidecar(tmp_path / "a.png").write(path)
    change, cause = BAD[case]
    table = copy.deepcopy(json.loads(path.read_text(encoding="utf-8")))
    change(table)
    path.write_text(json.dumps(table), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_sidecar(path)
    assert cause in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.remedy or "Draw" in str(caught.value)


@pytest.mark.parametrize(
    "scene",
    [
        {"seed": 1, "height": 8, "width": 64},
        {"seed": 1, "height": 8192, "width": 8192},
        {"seed": 1, "height": 64, "width": 10**9},
        {"seed": -1},
        {"seed": 1.5},
        {"seed": 1, "dtype": "uint16"},
        {"sed": 1},
        [],
    ],
)
def test_a_scene_that_cannot_be_drawn_is_refused(tmp_path: Path, scene: object) -> None:
    path = tmp_path / "s.json"
    sidecar(Scene(1)).write(path)
    table = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**table, "scene": scene}), encoding="utf-8")
    with pytest.raises(UsageError):
        read_sidecar(path)
    path.write_text(json.dumps({**table, "dtype": "float32"}), encoding="utf-8")
    with pytest.raises(UsageError):
        read_sidecar(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"format": "' + FORMAT.encode() + b'"}' + b" " * 2**20,
    ],
)
def test_what_is_no_sidecar_at_all_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(UsageError) as caught:
        read_sidecar(path)
    assert "--replay" in str(caught.value)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.json"):
        with pytest.raises(UsageError, match="is no file"):
            read_sidecar(path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(UsageError, match="is no file"):
            read_sidecar(tmp_path / "fifo")
