"""What a run left becomes weights that the program finds by name and trusts."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from deal_cli.config import GeneratorConfig
from deal_cli.engine.backends.choice import Purpose, Request, choose, open_backend
from deal_cli.errors import WeightsError
from deal_cli.jobs.weights import bundle as job
from deal_cli.jobs.weights.bundle import bundle
from deal_cli.model import weights
from deal_cli.model.generator import Generator
from deal_cli.model.tone import TonePredictor
from deal_cli.model.weights import (
    find,
    load_enhancer,
    load_generator,
    load_tone,
    save_generator,
    save_tone,
)
from deal_cli.networks import NetworkConfig


@pytest.fixture(scope="module")
def bundled(fresh_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights, bundled once: the exporter takes its time."""
    run = tmp_path_factory.mktemp("run")
    (run / "best").mkdir()
    shutil.copyfile(fresh_weights, run / "best" / "enhancer.safetensors")
    save_tone(run / "best" / "tone.safetensors", TonePredictor(4), {})
    save_generator(run / "best" / "generator.safetensors", Generator(GeneratorConfig(width=4)), {})
    folder = tmp_path_factory.mktemp("weights")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(job, "DEFAULT", "tiny")
    bundle(run, folder, "tiny", generator=True)
    monkeypatch.undo()
    return folder


@pytest.fixture(autouse=True)
def _in_place_of_ours(bundled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "weights_folder", lambda: bundled)


def test_a_bundle_is_whole(bundled: Path) -> None:
    assert {path.name for path in bundled.iterdir()} == {
        "SHA256SUMS",
        "generator.safetensors",
        "tiny.safetensors",
        "tiny.onnx",
        "tiny.fp16.onnx",
        "tone.safetensors",
    }


def test_the_bundled_name_is_found_and_agrees_with_its_checksum(
    bundled: Path, tiny: NetworkConfig
) -> None:
    for suffix in (".safetensors", ".onnx"):
        file = find("tiny", suffix)
        assert file.path == bundled / f"tiny{suffix}"
        assert weights.bundled_checksums()[file.path.name] == file.sha256
    assert load_enhancer("tiny").config == tiny
    assert load_tone(find("tiny").path).width == 4
    assert load_generator("generator").config.width == 4


def test_the_graph_is_the_network_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from deal_cli.model import onnx_graph

    def again(*_: object) -> bytes:
        raise AssertionError("the bundled graph is not used")

    monkeypatch.setattr(onnx_graph, "to_onnx", again)
    request = Request("onnx", "tiny")
    backend = open_backend(choose(request, Purpose.INFERENCE), request)
    x = np.random.default_rng(0).random((1, 1, 32, 40), np.float32)
    np.testing.assert_allclose(backend.run(x), x, atol=1e-6)
    assert backend.facts.sha256 == find("tiny").sha256


def test_a_damaged_file_is_not_trusted(
    bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundled, copy)
    monkeypatch.setattr(weights, "weights_folder", lambda: copy)
    path = copy / "tiny.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(WeightsError, match="checksum"):
        load_enhancer("tiny")


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(WeightsError, match="tiny"):
        find("deal")


@pytest.mark.parametrize("default", ["deal", "second"])
def test_a_generator_stays_unless_its_successor_is_asked_for(
    default: str,
    bundled: Path,
    fresh_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job, "DEFAULT", default)  # as a further enhancer, and as the default
    folder, run = tmp_path / "weights", tmp_path / "run"
    shutil.copytree(bundled, folder)
    (run / "best").mkdir(parents=True)
    shutil.copyfile(fresh_weights, run / "best" / "enhancer.safetensors")
    save_generator(run / "best" / "generator.safetensors", Generator(GeneratorConfig(width=5)), {})
    before = (folder / "generator.safetensors").read_bytes()
    bundle(run, folder, "second")
    assert (folder / "generator.safetensors").read_bytes() == before
    assert {"second.safetensors", "second.onnx"} < {path.name for path in folder.iterdir()}
    assert "second.fp16.onnx" in (folder / "SHA256SUMS").read_text(encoding="utf-8")
