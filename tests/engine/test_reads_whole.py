"""A network with a gauge: every tile is set by the whole picture, whatever computes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from deal_cli.engine import restorer
from deal_cli.engine.backends import hardware, torch_backend
from deal_cli.engine.backends.contract import Backend
from deal_cli.engine.backends.onnx_backend import open_graph
from deal_cli.engine.backends.torch_backend import TorchBackend
from deal_cli.engine.restorer import READ_PIXELS, TILE, Restorer, Settings
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.frame import Frame
from deal_cli.model.forms import grown
from deal_cli.model.network import Enhancer
from deal_cli.model.onnx_graph import Form, to_onnx
from deal_cli.networks import NetworkConfig

CPU = torch.device("cpu")
KEEP = Settings(tone="keep", range=(0.0, 255.0))
READ = ("blur", "stripe", "gaussian")
SHA256 = "0123456789abcdef" * 4
Make = Callable[..., Enhancer]
Pixels = NDArray[np.float32]


@pytest.fixture(autouse=True)
def _in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without bfloat16, and one pass over the picture."""
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: False)
    monkeypatch.setattr(restorer, "shared_offsets", lambda *_: None, raising=False)


def with_gauge(network: Enhancer) -> Enhancer:
    """The same with a gauge that has learnt something: random numbers set every feature."""
    network = grown(network, replace(network.config, gauge=READ, fusion=3)).eval()
    assert network.gauge is not None
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for layer in (
            network.gauge.features[0],
            network.gauge.features[2],
            network.gauge.severities,
        ):
            assert isinstance(layer, nn.Linear)
            nn.init.kaiming_normal_(layer.weight)
        nn.init.normal_(network.gauge.modulation.weight, std=0.05)
        nn.init.normal_(network.gauge.modulation.bias, std=0.1)
        nn.init.normal_(network.gauge.matrices, std=0.05)
    return network


@pytest.fixture(scope="module")
def gauged(tiny_network: Make) -> Enhancer:
    return with_gauge(tiny_network())


def in_torch(network: Enhancer) -> Backend:
    return TorchBackend(network, CPU, "tiny", "")


@cache
def graph(network: Enhancer) -> bytes:
    return to_onnx(network, SHA256)


def in_onnx_runtime(network: Enhancer) -> Backend:
    providers = ["CPUExecutionProvider"]
    return open_graph(graph(network), "tiny", SHA256, Path("tiny.onnx"), providers)


def scene(height: int, width: int, seed: int = 0, noise: float = 8.0) -> Frame:
    """A drawn scene whose left half is noisy: its tiles alone would be read otherwise."""
    values = draw_scene(seed, max(height, 32), max(width, 32)).values[:height, :width].copy()
    half = values[:, : width // 2]
    half += np.random.default_rng(seed).normal(0, noise, half.shape).astype(np.float32)
    return Frame(np.clip(values, 0, 255), np.dtype(np.float32))


def restored(backend: Backend, source: Frame, **settings: Any) -> Pixels:
    return Restorer(backend, replace(KEEP, **settings)).restore(source).frame.values / np.float32(
        255
    )


class Asked(Backend):
    """Another backend, which keeps what it was handed."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner.facts)
        self._inner = inner
        self.wholes: list[Pixels | None] = []
        self.tiles: list[tuple[int, ...]] = []

    def run(self, x: Pixels, whole: Pixels | None = None) -> Pixels:
        self.wholes.append(whole)
        self.tiles.append(x.shape)
        return self._inner.run(x, whole)


@pytest.mark.parametrize("make", [in_torch, in_onnx_runtime])
def test_tiles_of_any_size_equal_the_whole_picture(
    make: Callable[[Enhancer], Backend], gauged: Enhancer
) -> None:
    backend, source = Asked(make(gauged)), scene(151, 213)
    assert backend.facts.reads_whole
    at_once = restored(backend, source)
    assert backend.wholes == [None]
    assert np.abs(at_once - source.values / 255).mean() > 0.01
    for tile in (112, 128, 160):
        backend.wholes.clear()
        tiled = restored(backend, source, tile=tile)
        difference = np.abs(tiled - at_once)
        assert len(backend.wholes) >= 1
        assert all(w is not None and w.shape[1:] == (1, 152, 214) for w in backend.wholes)
        # A spike on the edge of a rounding may fall on its other side, in a few pixels.
        assert np.percentile(difference, 99) <= 1e-5
        assert np.sqrt(np.square(difference).mean()) <= 1e-4


def test_tiles_that_read_themselves_alone_would_differ(gauged: Enhancer) -> None:
    class Short(Asked):
        def run(self, x: Pixels, whole: Pixels | None = None) -> Pixels:
            return super().run(x)

    source = scene(151, 213)
    at_once, tiled = (restored(Short(in_torch(gauged)), source, tile=tile) for tile in (TILE, 112))
    assert np.percentile(np.abs(tiled - at_once), 99) > 1e-3


@pytest.mark.parametrize("make", [in_torch, in_onnx_runtime])
@pytest.mark.parametrize("size", [(150, 200), (1, 40), (17, 15)])
def test_a_large_picture_is_read_by_its_middle(
    make: Callable[[Enhancer], Backend],
    size: tuple[int, int],
    gauged: Enhancer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(restorer, "READ_PIXELS", size[0] * size[1] // 4)
    backend, source = Asked(make(gauged)), scene(*size)
    restored(backend, source)
    (whole,) = backend.wholes
    assert whole is not None
    # Half of each edge, in the middle, on the grid and 16 pixels at least.
    edges = [max(16, -(-(edge // 2) // 2) * 2) for edge in size]
    assert whole.shape == (1, 1, *edges)


def test_a_picture_of_more_than_a_million_pixels_is_set_by_its_middle() -> None:
    """By hand: 1280 x 1664 has 2.03 times 2^20 pixels, so its middle is 898 x 1167 of it."""
    torch.manual_seed(0)
    network = Enhancer(NetworkConfig(width=1, blocks=())).eval()
    nn.init.normal_(network.head[2].weight, std=0.5)  # type: ignore[arg-type]
    network = with_gauge(network)
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 255, (1280, 1664)).astype(np.float32)
    values[191:1089, 248:1416] = values[191:1089, 248:1416] / 8 + 100
    backend = Asked(in_torch(network))
    made = restored(backend, Frame(values, np.dtype(np.float32)))
    x = torch.from_numpy(values / np.float32(255))[None, None]
    assert x.numel() > READ_PIXELS
    assert network.gauge is not None
    with torch.inference_mode():
        # 1167 columns are continued to the grid, with the picture's own next one.
        by_middle = network(x, x[:, :, 191:1089, 248:1416])
        by_all = network(x)
    assert np.abs(made - by_middle[0, 0].numpy()).max() <= 1e-4
    assert (by_all - by_middle).abs().mean() > 1e-3
    assert {None if whole is None else whole.shape[1:] for whole in backend.wholes} == {
        (1, 898, 1168)
    }
    assert len(backend.tiles) > 0


@pytest.mark.parametrize("make", [in_torch, in_onnx_runtime])
@pytest.mark.parametrize("tile", [TILE, 112])
def test_each_picture_of_a_batch_is_set_by_itself(
    make: Callable[[Enhancer], Backend],
    tile: int,
    gauged: Enhancer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hardware, "threads", lambda: 2)
    monkeypatch.setattr(torch_backend, "PART_PIXELS", 2**16)
    frames = [scene(130, 140, seed, noise=20.0 * seed) for seed in range(3)]
    restorer_ = Restorer(make(gauged), replace(KEEP, tile=tile))
    together = restorer_.restore_batch(frames)
    alone: Sequence[Pixels] = [restorer_.restore(frame).frame.values for frame in frames]
    for one, other in zip(together, alone, strict=True):
        difference = np.abs(one.frame.values - other) / 255
        assert np.percentile(difference, 99) <= 1e-5
        assert np.sqrt(np.square(difference).mean()) <= 1e-4


@pytest.mark.parametrize("make", [in_torch, in_onnx_runtime])
def test_wholes_of_another_size_than_the_tiles_stay_with_their_tiles(
    make: Callable[[Enhancer], Backend], gauged: Enhancer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "threads", lambda: 2)
    monkeypatch.setattr(torch_backend, "PART_PIXELS", 2 * 32 * 48)
    rng = np.random.default_rng(0)
    x = rng.random((5, 1, 32, 48), np.float32)
    whole = np.linspace(0.2, 1, 5, dtype=np.float32)[:, None, None, None] * rng.random(
        (5, 1, 64, 40), np.float32
    )
    backend = make(gauged)
    together = backend.run(x, whole)
    singly = np.concatenate([backend.run(x[i : i + 1], whole[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(together, singly, atol=1e-4)
    assert np.abs(together - backend.run(x, whole[::-1].copy())).mean() > 1e-3


def test_a_graph_of_one_size_reads_its_picture(gauged: Enhancer) -> None:
    data = to_onnx(gauged, SHA256, Form(size=(48, 66)))
    backend = open_graph(data, "tiny", SHA256, Path("tiny.onnx"), ["CPUExecutionProvider"])
    assert not backend.facts.reads_whole
    x = np.random.default_rng(0).random((2, 1, 48, 66), np.float32)
    np.testing.assert_allclose(backend.run(x), in_torch(gauged).run(x), atol=1e-4)


def test_a_network_without_a_gauge_is_never_handed_the_whole(tiny_network: Make) -> None:
    backend = Asked(in_torch(tiny_network()))
    assert not backend.facts.reads_whole
    restored(backend, scene(151, 213), tile=112)
    assert set(map(type, backend.wholes)) == {type(None)}
