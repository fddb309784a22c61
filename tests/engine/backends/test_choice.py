"""Three backends for one network: what is chosen and why, and that they agree."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from command import ROOT
from numpy.typing import NDArray
from torch import nn

from deal_cli.engine.backends import hardware, onnx_backend, torch_backend
from deal_cli.engine.backends.choice import Choice, Purpose, Request, choose, open_backend
from deal_cli.engine.backends.contract import Backend, OutOfMemoryError
from deal_cli.engine.backends.onnx_backend import OnnxBackend, open_form
from deal_cli.engine.backends.torch_backend import TorchBackend
from deal_cli.errors import BackendError, DealError, ExitCode, WeightsError
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.model.network import Enhancer
from deal_cli.model.weights import load_enhancer, save_enhancer
from deal_cli.networks import BlockConfig, NetworkConfig, receptive_radius

CPU = torch.device("cpu")
CPU_PROVIDER = "CPUExecutionProvider"
Make = Callable[..., Enhancer]

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")


def picture(height: int = 48, width: int = 64) -> NDArray[np.float32]:
    """A striped scene `(1, 1, H, W)` in [0, 1]."""
    scene = draw_scene(3, height, width).values / np.float32(255)
    striped = scene + np.random.default_rng(0).normal(0, 0.05, (1, width))
    return np.clip(striped, 0, 1).astype(np.float32)[None, None]


def silent(network: Enhancer) -> Enhancer:
    """The network with a correction of zero."""
    last = network.head[2]
    assert isinstance(last, nn.Conv2d)
    nn.init.zeros_(last.weight)
    assert last.bias is not None
    nn.init.zeros_(last.bias)
    return network


@pytest.fixture
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without bfloat16."""
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: False)


@pytest.fixture
def in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with bfloat16; torch emulates it where there is none."""
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: True)


# --- the choice ----------------------------------------------------------------------------------


@without_gpu
@pytest.mark.parametrize("purpose", Purpose)
def test_auto_without_cuda_takes_the_processor_and_says_why(purpose: Purpose) -> None:
    choice = choose(Request(), purpose)
    assert choice.kind == "cpu"
    assert "CUDA" in choice.reason
    assert choice.torch_device() == CPU


@without_gpu
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_cuda_asked_for_and_not_there_is_an_error_with_a_remedy(name: str) -> None:
    with pytest.raises(BackendError) as caught:
        choose(Request(name), Purpose.INFERENCE)
    assert caught.value.exit_code == ExitCode.UNAVAILABLE == 3
    assert "--backend cpu" in (caught.value.remedy or "")


def test_a_cuda_device_beyond_the_last_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose(Request("cuda:1"), Purpose.INFERENCE).device == 1
    assert choose(Request(), Purpose.TRAINING).kind == "cuda"
    with pytest.raises(BackendError, match="no CUDA device 2"):
        choose(Request("cuda:2"), Purpose.INFERENCE)


@pytest.mark.parametrize("name", ["", "gpu", "cuda:x", "cuda:-1", "cpu:0", "onnx:0", "CPU"])
def test_an_unknown_backend_is_an_error_that_names_the_known_ones(name: str) -> None:
    with pytest.raises(BackendError, match="auto, cuda, cuda:N, onnx or cpu") as caught:
        choose(Request(name), Purpose.INFERENCE)
    assert f"'{name}'" in str(caught.value)


@pytest.mark.parametrize(
    "request_", [Request("onnx"), Request("auto", "w.onnx")], ids=["backend", "weights"]
)
@pytest.mark.parametrize(
    ("purpose", "verb"), [(Purpose.TRAINING, "train"), (Purpose.DEGRADATION, "degrade")]
)
def test_onnx_runtime_can_do_nothing_but_restore(
    request_: Request, purpose: Purpose, verb: str
) -> None:
    with pytest.raises(BackendError, match=f"cannot {verb}"):
        choose(request_, purpose)


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_an_onnx_file_is_refused_by_torch(name: str) -> None:
    with pytest.raises(BackendError, match="--backend onnx"):
        choose(Request(name, "w.onnx"), Purpose.INFERENCE)


def test_an_onnx_file_chooses_onnx_runtime_and_says_so() -> None:
    choice = choose(Request("auto", "w.onnx"), Purpose.INFERENCE)
    assert choice == Choice("onnx", 0, "the weights are an ONNX file")


@pytest.mark.parametrize("name", ["onnx", "cpu"])
def test_an_explicit_choice_is_kept(name: str) -> None:
    assert choose(Request(name), Purpose.INFERENCE) == Choice(name, 0, "asked for")


# --- torch ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("in_float32")
def test_in_float32_the_backend_is_the_network(tiny_network: Make) -> None:
    network, x = tiny_network(), picture()
    backend = TorchBackend(network, CPU, "tiny", "")
    with torch.inference_mode():
        expected = network(torch.from_numpy(x)).numpy()
    assert backend.facts.precision == "float32"
    assert np.abs(expected - x).max() > 0.01
    np.testing.assert_allclose(backend.run(x), expected, atol=1e-5)


@pytest.mark.usefixtures("in_float32")
def test_the_backend_leaves_the_network_it_was_given_as_it_was(tiny_network: Make) -> None:
    network = tiny_network().train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    TorchBackend(network, CPU, "tiny", "").run(picture())
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


@pytest.mark.usefixtures("in_bfloat16")
def test_the_global_skip_stays_in_float32_under_bfloat16(tiny_network: Make) -> None:
    backend = TorchBackend(silent(tiny_network()), CPU, "tiny", "")
    x = np.linspace(0.1, 0.9, 32 * 32, dtype=np.float32).reshape(1, 1, 32, 32)
    assert backend.facts.precision == "bfloat16"
    assert not np.array_equal(torch.from_numpy(x).bfloat16().float().numpy(), x)
    assert np.array_equal(backend.run(x), x)


@pytest.mark.usefixtures("in_bfloat16")
def test_bfloat16_close_to_float32_is_used_and_the_note_says_how_close(tiny_network: Make) -> None:
    facts = TorchBackend(silent(tiny_network()), CPU, "tiny", "").facts
    assert facts.precision == "bfloat16"
    assert "120 dB from float32" in facts.note


@pytest.mark.usefixtures("in_bfloat16")
def test_bfloat16_far_from_float32_is_not_used_and_the_note_says_so(
    tiny_network: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_backend, "PRECISION_FLOOR", 500.0)
    network, x = tiny_network(), picture()
    backend = TorchBackend(network, CPU, "tiny", "")
    assert backend.facts.precision == "float32"
    assert "below 500" in backend.facts.note
    with torch.inference_mode():
        expected = network(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(backend.run(x), expected, atol=1e-5)


@pytest.mark.usefixtures("in_bfloat16")
def test_a_network_that_gives_no_number_is_not_used_in_bfloat16(tiny_network: Make) -> None:
    network = tiny_network()
    last = network.head[2]
    assert isinstance(last, nn.Conv2d)
    nn.init.constant_(last.weight, torch.nan)
    assert TorchBackend(network, CPU, "broken", "").facts.precision == "float32"


@pytest.mark.usefixtures("in_float32")
def test_a_network_of_three_channels_takes_and_gives_grey() -> None:
    torch.manual_seed(0)
    network = Enhancer(NetworkConfig(channels=3, width=4, blocks=(BlockConfig("stm", 3, 3),)))
    nn.init.normal_(network.head[2].weight, std=0.1)  # type: ignore[arg-type]
    x = picture()
    with torch.inference_mode():
        colours = network.eval()(torch.from_numpy(x).expand(-1, 3, -1, -1))
    backend = TorchBackend(network, CPU, "colour", "")
    np.testing.assert_allclose(backend.run(x), colours.mean(1, keepdim=True).numpy(), atol=1e-5)


@pytest.mark.usefixtures("in_float32")
def test_facts_of_tiles_are_multiples_of_the_stride(tiny_network: Make) -> None:
    network = tiny_network()
    facts = TorchBackend(network, CPU, "tiny", "abc").facts
    assert facts.stride == 2
    assert facts.smallest % 2 == 0
    for pixels, radius in zip(facts.halo, receptive_radius(network.config), strict=True):
        assert pixels % 2 == 0
        assert 0 <= pixels - radius < 2
    assert (facts.backend, facts.weights, facts.sha256) == ("cpu", "tiny", "abc")


@pytest.mark.usefixtures("in_float32")
def test_a_batch_in_torch_is_its_pictures_one_by_one(
    tiny_network: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "threads", lambda: 3)
    monkeypatch.setattr(torch_backend, "PART_PIXELS", 2 * 64 * 48)
    backend = TorchBackend(tiny_network(), CPU, "tiny", "")
    batch = np.concatenate([picture(64, 48), 1 - picture(64, 48), picture(64, 48) / 2] * 3)
    singly = np.concatenate([backend.run(x[None]) for x in batch])
    np.testing.assert_allclose(backend.run(batch), singly, atol=1e-5)


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate"
                     " memory: you tried to allocate 9 bytes. Error code 12 (Cannot allocate"
                     " memory)"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    ],
    ids=["cuda", "linux", "windows"],
)  # fmt: skip
def test_torch_out_of_memory_is_told_apart(
    error: Exception, tiny_network: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = TorchBackend(tiny_network(), CPU, "tiny", "")

    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(backend, "_restore", full)
    with pytest.raises(OutOfMemoryError):
        backend.run(picture())


@pytest.mark.usefixtures("in_float32")
def test_another_error_of_torch_is_not_taken_for_lack_of_memory(
    tiny_network: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = TorchBackend(tiny_network(), CPU, "tiny", "")

    def broken(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(backend, "_restore", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        backend.run(picture())


# --- ONNX Runtime --------------------------------------------------------------------------------


class Session:
    """An ONNX Runtime session that fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def io_binding(self) -> Mock:
        return Mock()

    def run_with_iobinding(self, _: Mock) -> None:
        raise self._error


def test_onnx_runtime_out_of_memory_is_told_apart(numpy_backend: Callable[..., Backend]) -> None:
    facts = numpy_backend().facts
    # A bound run raises Python's own class, with this before and after the cause.
    full = RuntimeError(
        "Error in execution: Non-zero status code returned while running Conv node."
        " BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 9"
    )
    with pytest.raises(OutOfMemoryError):
        OnnxBackend(Session(full), facts).run(picture())
    broken = Session(RuntimeError("Error in execution: Non-zero status code"))
    with pytest.raises(RuntimeError, match="status"):
        OnnxBackend(broken, facts).run(picture())


@pytest.fixture(scope="module")
def bundled_onnx() -> OnnxBackend:
    request = Request("onnx")
    backend = open_backend(choose(request, Purpose.INFERENCE), request)
    assert isinstance(backend, OnnxBackend)
    return backend


def test_the_provider_that_is_reported_is_the_one_in_use(bundled_onnx: OnnxBackend) -> None:
    assert bundled_onnx.facts.device == bundled_onnx._session.get_providers()[0]
    assert bundled_onnx.facts.backend == "onnx"


def test_both_backends_of_the_bundled_weights_state_the_same_facts(
    bundled_onnx: OnnxBackend,
) -> None:
    torch_facts = open_backend(Choice("cpu", 0, ""), Request()).facts
    for name in ("weights", "sha256", "stride", "halo", "smallest"):
        assert getattr(bundled_onnx.facts, name) == getattr(torch_facts, name)


@pytest.mark.usefixtures("in_float32")
def test_onnx_runtime_agrees_with_torch_on_a_striped_scene(bundled_onnx: OnnxBackend) -> None:
    x = picture(120, 160)
    by_torch = open_backend(Choice("cpu", 0, ""), Request()).run(x)
    by_onnx = bundled_onnx.run(x)
    difference = np.abs(by_onnx.astype(np.float64) - by_torch)
    assert np.abs(by_torch - x).mean() > 0.01
    # A spike that falls on the other side of a rounding moves a few pixels, never many.
    assert -10 * np.log10((difference**2).mean() + 1e-15) >= 60
    assert np.percentile(difference, 99.9) <= 1e-3


def test_a_batch_in_onnx_runtime_is_its_pictures_one_by_one(
    bundled_onnx: OnnxBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "threads", lambda: 3)
    cores = open_form(load_enhancer("deal"), [CPU_PROVIDER])
    assert cores.facts.parallel == 3
    batch = np.concatenate([picture(64, 48), 1 - picture(64, 48), picture(64, 48) / 2] * 2)
    singly = np.concatenate([bundled_onnx.run(x[None]) for x in batch])
    assert np.abs(singly[0] - singly[1]).max() > 0.1
    np.testing.assert_allclose(cores.run(batch), singly, atol=1e-4)


def test_pictures_in_another_order_of_memory_are_restored_as_they_are(
    bundled_onnx: OnnxBackend,
) -> None:
    x = np.concatenate([picture(64, 48), 1 - picture(64, 48)])
    turned = np.asfortranarray(x)
    assert not turned.flags.c_contiguous
    np.testing.assert_array_equal(bundled_onnx.run(turned), bundled_onnx.run(x))


@pytest.mark.skipif(hardware.has_nvidia(), reason="there is a GPU here")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_where_a_provider_is_left_out_the_next_one_has_its_own_precision_and_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hardware, "threads", lambda: 3)
    facts = open_form(load_enhancer("deal"), [onnx_backend.CUDA, CPU_PROVIDER]).facts
    assert (facts.device, facts.precision, facts.parallel) == (CPU_PROVIDER, "float32", 3)


@pytest.mark.parametrize("beside", [b"no graph", None])
def test_what_lies_beside_weights_and_is_not_theirs_is_left_alone(
    beside: bytes | None, tiny_network: Make, tmp_path: Path
) -> None:
    file, network = tmp_path / "mine.safetensors", tiny_network()
    save_enhancer(file, network.state_dict(), network.config, {})
    other = (ROOT / "weights" / "deal.onnx").read_bytes() if beside is None else beside
    file.with_suffix(".onnx").write_bytes(other)
    request = Request("onnx", str(file))
    backend = open_backend(choose(request, Purpose.INFERENCE), request)
    assert backend.facts.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    by_torch = open_backend(Choice("cpu", 0, ""), Request("cpu", str(file))).run(picture())
    assert -10 * np.log10(((backend.run(picture()) - by_torch) ** 2).mean() + 1e-15) >= 50


@pytest.mark.parametrize(("floor", "precision"), [(50.0, "float16"), (500.0, "float32")])
def test_onnx_runtime_on_a_gpu_takes_float16_where_it_agrees_with_float32(
    floor: float, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The processor stands in for the GPU, which runs the same graphs.
    monkeypatch.setattr(onnx_backend, "CUDA", CPU_PROVIDER)
    monkeypatch.setattr(onnx_backend, "PRECISION_FLOOR", floor)
    facts = open_form(load_enhancer("deal"), [CPU_PROVIDER]).facts
    assert facts.precision == precision
    assert f"to be used from {floor:.0f}" in facts.note


def test_float16_that_cannot_be_had_leaves_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_backend, "CUDA", CPU_PROVIDER)
    real = onnx_backend.open_graph

    def no_half(data: bytes, *arguments: Any) -> OnnxBackend:
        backend = real(data, *arguments)
        if backend.facts.precision == "float16":
            raise WeightsError("cannot be run (no such kernel)")
        return backend

    monkeypatch.setattr(onnx_backend, "open_graph", no_half)
    facts = open_form(load_enhancer("deal"), [CPU_PROVIDER]).facts
    assert facts.precision == "float32"
    assert "no such kernel" in facts.note


@pytest.mark.gpu
def test_cuda_agrees_with_the_processor_on_a_striped_scene() -> None:
    x = picture(120, 160)
    by_cuda = open_backend(Choice("cuda", 0, ""), Request()).run(x)
    by_cpu = open_backend(Choice("cpu", 0, ""), Request()).run(x)
    assert -10 * np.log10(((by_cuda - by_cpu) ** 2).mean() + 1e-15) >= 50


# --- weights that are not usable -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.onnx", None),
        ("cut.onnx", b"\x08\x08\x12\x07pytorch"),
        ("text.onnx", b"not a graph at all"),
        ("missing.safetensors", None),
        ("cut.safetensors", b"\x40\0\0\0\0\0\0\0{}"),
    ],
)
def test_weights_that_are_not_whole_are_refused_by_name(
    name: str, content: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    request = Request("auto", str(path))
    with pytest.raises(WeightsError, match=name) as caught:
        open_backend(choose(request, Purpose.INFERENCE), request)
    assert caught.value.exit_code == 3


def test_onnx_runtime_that_cannot_be_imported_is_a_missing_backend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DealError, match="onnxruntime") as caught:
        open_backend(Choice("onnx", 0, ""), Request("onnx"))
    assert caught.value.exit_code == 3
