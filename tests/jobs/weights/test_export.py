"""An ONNX file is written when it restores as torch does, and other programs can run it."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from command import ROOT, deal, refused
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from deal_cli.engine.backends import torch_backend
from deal_cli.engine.backends.choice import Choice, Request, open_backend
from deal_cli.engine.backends.contract import Facts
from deal_cli.engine.restorer import Settings, open_restorer
from deal_cli.engine.saturation import saturated
from deal_cli.errors import (
    DealError,
    ExitCode,
    PictureError,
    UsageError,
    VerificationError,
    WeightsError,
)
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import read_frame, write_frame
from deal_cli.imaging.frame import Frame
from deal_cli.jobs.weights import export as job
from deal_cli.jobs.weights.export import Exported, ExportRequest, export
from deal_cli.model import onnx_graph
from deal_cli.model.network import Enhancer
from deal_cli.model.onnx_facts import facts_of
from deal_cli.model.weights import load_enhancer, save_enhancer
from deal_cli.networks import NETWORKS, NetworkConfig

Pixels = NDArray[np.float32]
ODD = (47, 61)


@pytest.fixture(scope="module")
def weights(tiny: NetworkConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network whose correction is not zero."""
    path = tmp_path_factory.mktemp("weights") / "some.safetensors"
    torch.manual_seed(0)
    network = Enhancer(tiny)
    last = network.head[2]
    assert isinstance(last, nn.Conv2d)
    nn.init.normal_(last.weight, std=0.1)
    save_enhancer(path, network.state_dict(), tiny, {})
    return path


@pytest.fixture(scope="module")
def plain(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """In float32, for any size."""
    out = tmp_path_factory.mktemp("plain") / "some.onnx"
    return export(ExportRequest(str(weights), True, out))


@pytest.fixture(scope="module")
def half(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    out = tmp_path_factory.mktemp("half") / "half.onnx"
    return export(ExportRequest(str(weights), True, out, "fp16"))


@pytest.fixture(scope="module")
def fixed(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """For 47x61, beside the weights and under their name."""
    folder = tmp_path_factory.mktemp("fixed")
    copy = folder / weights.name
    copy.write_bytes(weights.read_bytes())
    return export(ExportRequest(str(copy), True, folder / "some.onnx", fixed="47x61"))


def striped(height: int, width: int, seed: int = 0) -> Frame:
    clean = draw_scene(seed, height, width)
    stripes = np.random.default_rng(seed).normal(0, 12, (1, width))
    values = np.rint(clean.values + stripes).clip(0, 255).astype(np.float32)
    return dataclasses.replace(clean, values=values)


def restored(frame: Frame, weights: Path, backend: str = "auto") -> Pixels:
    restorer, _ = open_restorer(Request(backend, str(weights)), Settings(tone="keep"))
    return restorer.restore(frame).frame.values


def alone(frame: Frame, graph: Path) -> Pixels:
    """By ONNX Runtime with nothing around it."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    unit = frame.values[None, None] / np.float32(255)
    (out,) = session.run(None, {given.name: unit for given in session.get_inputs()})
    return np.asarray(out)[0, 0] * np.float32(255)


# --- as typed -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """`deal export --onnx` in an empty folder."""
    folder = tmp_path_factory.mktemp("here")
    return deal("export", "--onnx", cwd=folder), folder


def test_the_bundled_weights_are_written_here_as_deal_onnx(typed: tuple[Any, Path]) -> None:
    result, folder = typed
    assert result.returncode == 0, result.stderr
    assert [path.name for path in folder.iterdir()] == ["deal.onnx"]
    data = (folder / "deal.onnx").read_bytes()
    assert facts_of(data, "")["weights_sha256"] == load_enhancer("deal").file.sha256
    onnx.checker.check_model(onnx.load_model_from_string(data), full_check=True)


def test_one_line_says_what_was_written_and_how_well_it_agrees(typed: tuple[Any, Path]) -> None:
    result, folder = typed
    (line,) = result.stderr.splitlines()
    size = (folder / "deal.onnx").stat().st_size / 1e6
    assert f"wrote deal.onnx, {size:.2f} MB: float32, opset 18, takes pictures of any size" in line
    agreement = re.search(r"(\d+) dB from torch", line)
    assert agreement is not None
    assert int(agreement[1]) >= 60


def test_the_command_on_stdout_restores_with_it(typed: tuple[Any, Path]) -> None:
    result, folder = typed
    (line,) = result.stdout.splitlines()
    assert line == "deal restore --weights deal.onnx -o restored INPUT..."
    write_frame(striped(41, 53), folder / "a.png")
    words = shlex.split(line)[1:-1]
    done = deal(*words, "a.png", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "onnx backend (the weights are an ONNX file)" in done.stderr
    assert read_frame(folder / "restored" / "a.png").values.shape == (41, 53)


def test_the_program_in_the_documentation_restores_as_deal_does(
    typed: tuple[Any, Path], tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- program -->\n```python\n(.*?)```", page, re.DOTALL)
    assert found is not None
    assert len(found[1].splitlines()) <= 12
    assert "deal" not in found[1]
    program, model, source = tmp_path / "p.py", typed[1] / "deal.onnx", tmp_path / "odd.png"
    program.write_text(found[1], encoding="utf-8")
    write_frame(striped(61, 163), source)  # too short for a second look, which no graph has
    command = [sys.executable, "-I", str(program), str(model), str(source), str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    options = ["--backend", "onnx", "--tone", "keep", "-o", tmp_path / "b.png"]
    assert deal("restore", source, *options).returncode == 0
    before, ours, theirs = (
        np.asarray(Image.open(path), np.int16)
        for path in (source, tmp_path / "b.png", tmp_path / "a.png")
    )
    assert np.abs(ours - before).max() > 5
    assert np.abs(ours - theirs).max() <= 1


# --- the same pixels ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(16, 16), ODD, (62, 130)])  # too short for a second look
def test_the_engine_and_the_bare_graph_give_the_pixels_of_torch(
    plain: Exported, weights: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_backend, "lower_precision", lambda _: (torch.float32, ""))
    frame = striped(max(size[0], 32), max(size[1], 32))
    frame = dataclasses.replace(frame, values=frame.values[: size[0], : size[1]])
    by_torch = restored(frame, weights, "cpu")
    assert np.abs(by_torch - frame.values).mean() > 1
    np.testing.assert_allclose(restored(frame, plain.path), by_torch, atol=2e-3)
    bare, kept = alone(frame, plain.path), saturated(frame.values, frame.dtype)
    if kept is not None:
        bare[kept] = frame.values[kept]  # the engine's own doing
    np.testing.assert_allclose(bare, by_torch, atol=2e-3)


def test_float16_is_used_as_it_is_and_told(half: Exported, plain: Exported) -> None:
    assert half.form.precision == "float16"
    assert half.agreement >= 50
    facts = open_backend(Choice("onnx", 0, ""), Request("auto", str(half.path))).facts
    assert (facts.precision, facts.backend) == ("float16", "onnx")
    frame = striped(*ODD)
    difference = restored(frame, half.path) - restored(frame, plain.path)
    assert 0 < np.abs(difference).max() < 2


def test_a_fixed_size_restores_pictures_of_this_size(fixed: Exported, plain: Exported) -> None:
    frames = [striped(*ODD, seed) for seed in range(3)]
    restorer, _ = open_restorer(Request("auto", str(fixed.path)), Settings(tone="keep"))
    for frame, done in zip(frames, restorer.restore_batch(frames), strict=True):
        expected = restored(frame, plain.path)
        np.testing.assert_allclose(done.frame.values, expected, atol=2e-3)


def test_a_fixed_size_larger_than_a_tile_is_not_cut(fixed: Exported) -> None:
    settings = Settings(tone="keep", tile=32)
    restorer, _ = open_restorer(Request("auto", str(fixed.path)), settings)
    assert restorer.restore(striped(*ODD)).frame.values.shape == ODD


@pytest.mark.parametrize("size", [(48, 62), (61, 47), (94, 122)])
def test_a_fixed_size_refuses_pictures_of_another(fixed: Exported, size: tuple[int, int]) -> None:
    with pytest.raises(PictureError, match=r"takes 47x61 only") as caught:
        restored(striped(*size), fixed.path)
    assert caught.value.remedy == "export the weights without --fixed"
    assert caught.value.exit_code is ExitCode.FAILED  # of this picture: others are restored


def test_the_weights_themselves_do_not_become_what_lies_beside_them(fixed: Exported) -> None:
    """`--backend onnx` with the weights' own name means float32 and any size."""
    frame = striped(64, 80)
    assert restored(frame, fixed.path.with_suffix(".safetensors"), "onnx").shape == (64, 80)


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"onnx": False}, "--onnx is the format to give"),
        ({"out": Path("x.pt")}, "end -o in .onnx"),
        ({"opset": 14}, "15 to 26"),
        ({"opset": 27}, "15 to 26"),
        ({"fixed": "15x64"}, "--fixed"),
        ({"fixed": "64x2049"}, "--fixed"),
        ({"fixed": "640"}, "HxW"),
        ({"weights": "some.onnx"}, "is an ONNX file already"),
        ({"out": Path("there.onnx")}, "--overwrite"),
        ({"out": Path("folder.onnx"), "overwrite": True}, "give -o another name"),
    ],
    ids=str,
)
def test_what_cannot_be_carried_out_is_refused_before_anything_is_written(
    change: dict[str, Any],
    told: str,
    fresh_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.onnx").write_text("mine")
    Path("folder.onnx").mkdir()
    monkeypatch.setattr(job, "verified_graph", None)
    request = ExportRequest(str(fresh_weights), onnx=True)
    with pytest.raises(UsageError) as caught:
        export(dataclasses.replace(request, **change))
    assert told in str(caught.value)
    assert caught.value.exit_code is ExitCode.USAGE
    assert Path("there.onnx").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"there.onnx", "folder.onnx"}


def test_a_network_with_mirrored_convolutions_names_its_own_opsets(tmp_path: Path) -> None:
    config = NetworkConfig(width=2, blocks=(), padding="reflect")
    path = tmp_path / "w.safetensors"
    save_enhancer(path, Enhancer(config).state_dict(), config, {})
    with pytest.raises(UsageError, match=r"17 for --opset; these weights .* 18 to 26"):
        export(ExportRequest(str(path), True, tmp_path / "w.onnx", opset=17))


def test_usage_is_refused_with_exit_code_2(tmp_path: Path) -> None:
    assert "--onnx is the format to give" in refused(deal("export", cwd=tmp_path), 2)
    (tmp_path / "deal.onnx").write_text("mine")
    line = refused(deal("export", "--onnx", cwd=tmp_path), 2)
    assert line.startswith("deal.onnx: exists; ")
    assert "--overwrite" in line
    assert (tmp_path / "deal.onnx").read_text() == "mine"
    line = refused(deal("export", "--onnx", "--precision", "fp8", cwd=tmp_path), 2)
    assert "fp16" in line


def test_weights_that_are_not_usable_are_refused_with_exit_code_3(tmp_path: Path) -> None:
    line = refused(deal("export", "--onnx", "--weights", "none.safetensors", cwd=tmp_path), 3)
    assert line.startswith("none.safetensors: no such file")
    with pytest.raises(WeightsError, match="not an enhancer"):
        export(ExportRequest("tone", True, tmp_path / "tone.onnx"))
    assert list(tmp_path.iterdir()) == []


# --- verified -------------------------------------------------------------------------------------


def test_what_float16_cannot_hold_is_not_written_and_the_exit_code_is_1(
    tmp_path: Path,
) -> None:
    config = NetworkConfig(width=2, blocks=())
    network = Enhancer(config)
    nn.init.constant_(network.stem[1].weight, 1e6)  # type: ignore[arg-type]
    path = tmp_path / "large.safetensors"
    save_enhancer(path, network.state_dict(), config, {})
    done = deal("export", "--onnx", "--weights", path, "--precision", "fp16", cwd=tmp_path)
    line = refused(done, 1)
    assert line.startswith(f"{path}: as an ONNX file, holds a tensor with NaN or infinite numbers")
    assert line.endswith("; use --precision fp32")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("spoilt", ["another network", "no number"])
def test_a_graph_that_restores_otherwise_is_not_written(
    spoilt: str, plain: Exported, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load(plain.path)
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 4:
            values = onnx.numpy_helper.to_array(tensor)
            large = values * np.float32(1.1 if spoilt == "another network" else 1e30)
            tensor.CopyFrom(onnx.numpy_helper.from_array(large, tensor.name))
    monkeypatch.setattr(onnx_graph, "to_onnx", lambda *_: model.SerializeToString())
    out = tmp_path / "some.onnx"
    out.write_text("the one before")
    with pytest.raises(VerificationError, match=r"as an ONNX file") as caught:
        export(ExportRequest(str(weights), True, out, overwrite=True))
    assert caught.value.exit_code is ExitCode.FAILED
    assert out.read_text() == "the one before"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(("worst", "kept"), [(60.1, True), (59.9, False)])
def test_the_worst_of_all_pictures_decides(
    worst: float, kept: bool, fresh_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The correction of these weights is zero: what the backend adds is what it is off by."""

    class Off:
        def __init__(self) -> None:
            self.facts = Facts("onnx", "", "float32", "", "", "", 2, (0, 0), 16)
            self.shapes: set[tuple[int, ...]] = set()

        def run(self, x: Pixels, whole: Pixels | None = None) -> Pixels:
            self.shapes.add(x.shape)
            off = np.zeros_like(x)
            if x.shape == (3, 1, 97, 131):
                off[1] = 10 ** (-worst / 20)
            return x + off

    backend = Off()
    monkeypatch.setattr(onnx_graph, "to_onnx", lambda *_: b"")
    monkeypatch.setattr(job, "open_graph", lambda *_: backend)
    loaded = load_enhancer(str(fresh_weights))
    if kept:
        _, agreement = job.verified_graph(loaded, onnx_graph.Form())
        assert agreement == pytest.approx(worst, abs=0.05)
    else:
        with pytest.raises(VerificationError, match=r"59\.9 dB .* below 60"):
            job.verified_graph(loaded, onnx_graph.Form())
    sizes = ((16, 16), (97, 131), (192, 256))
    assert backend.shapes == {(batch, 1, *size) for batch in (1, 3) for size in sizes}


def test_an_output_that_cannot_be_written_is_told(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "verified_graph", lambda *_: (b"graph", 99.0))
    (tmp_path / "file").write_text("")
    with pytest.raises(DealError, match="cannot be made") as caught:
        export(ExportRequest(str(weights), True, tmp_path / "file" / "a.onnx"))
    assert caught.value.exit_code is ExitCode.FAILED


@pytest.mark.parametrize("name", ["deal", "deal-fast"])
def test_the_bundled_graph_is_what_is_exported_today(
    name: str, typed: tuple[Any, Path], tmp_path: Path
) -> None:
    path = typed[1] / "deal.onnx"
    if name != "deal":
        path = export(ExportRequest(name, True, tmp_path / "today.onnx")).path
    bundled, today = (onnx.load(file).graph for file in (ROOT / "weights" / f"{name}.onnx", path))
    assert [node.op_type for node in bundled.node] == [node.op_type for node in today.node]
    for ours, theirs in zip(bundled.initializer, today.initializer, strict=True):
        assert ours == theirs


@pytest.mark.parametrize("name", ["deal", "deal-fast"])
def test_bundled_weights_are_those_of_their_preset(name: str) -> None:
    config = load_enhancer(name).config
    assert config in (NETWORKS[name], dataclasses.replace(NETWORKS[name], gauge=(), fusion=0))
