"""What the tests of the engine share: one thread, a tiny network and a backend in plain numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from deal_cli.engine.backends.contract import Backend, Batch, Facts, OutOfMemoryError
from deal_cli.model.network import Enhancer, Scale
from deal_cli.networks import BlockConfig, NetworkConfig

FACTS = Facts(
    backend="numpy",
    device="a test",
    precision="float32",
    note="exact",
    weights="none",
    sha256="",
    stride=2,
    halo=(4, 4),
    smallest=16,
)


class NumpyBackend(Backend):
    """A function in place of a network, which keeps the shapes it saw.

    Beyond `largest` pixels of an edge, or `most` pixels of a tile, it is out of memory.
    """

    def __init__(
        self, function: Callable[[Batch], Batch], largest: int, most: int, facts: Facts
    ) -> None:
        super().__init__(facts)
        self._function = function
        self._largest, self._most = largest, most
        self.tried: list[tuple[int, int]] = []
        self.seen: list[Batch] = []

    def run(self, x: Batch, whole: Batch | None = None) -> Batch:
        assert x.dtype == np.float32
        assert x.ndim == 4
        assert np.isfinite(x).all()
        assert x.min() >= 0
        assert x.max() <= 1
        self.tried.append((x.shape[2], x.shape[3]))
        if max(x.shape[2:]) > self._largest or x[0, 0].size > self._most:
            raise OutOfMemoryError
        self.seen.append(x.copy())
        return self._function(x)


MakeBackend = Callable[..., NumpyBackend]


@pytest.fixture
def numpy_backend() -> MakeBackend:
    """`(function, largest=…, most=…, **facts)` -> a backend that runs the function."""

    def make(
        function: Callable[[Batch], Batch] = lambda x: x,
        largest: int = 10_000,
        most: int = 10**8,
        **facts: object,
    ) -> NumpyBackend:
        changed = replace(FACTS, **facts)  # type: ignore[arg-type]
        return NumpyBackend(function, largest, most, changed)

    return make


@pytest.fixture(autouse=True)
def _small_tensors(one_thread: None) -> None:
    """Every test here computes on one thread."""


@pytest.fixture(scope="session")
def tiny_network() -> Callable[..., Enhancer]:
    """`(blocks=…)` -> a network of four channels, about as lively as a trained one.

    Nothing is zero: not the last convolution, not a bias.
    """

    def make(*blocks: BlockConfig) -> Enhancer:
        blocks = blocks or (
            BlockConfig("stm", 3, 3, 1, column=9),
            BlockConfig("ssm", 3, 3, 2),
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = Enhancer(NetworkConfig(width=4, blocks=blocks)).eval()
            for module in network.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                    if module.bias is not None:
                        nn.init.uniform_(module.bias, 0.0, 0.2)
                elif isinstance(module, Scale):
                    nn.init.uniform_(module.weight, 0.1, 0.6)
        return network

    return make
