"""What the tests of the networks share: one thread, and weights that keep every path alive."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from deal_cli.model.network import Enhancer, Scale
from deal_cli.networks import NetworkConfig


@pytest.fixture(autouse=True)
def _same_everywhere() -> Iterator[None]:
    """The same random tensors in any order of tests; one thread, for the tensors are small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def random_network() -> Callable[[NetworkConfig, int], Enhancer]:
    """`(config, seed)` -> an enhancer with weights, norms and batch statistics as after training.

    Nothing is zero: not the last convolution, not a bias, not a running mean, not what a gauge
    sets features by.
    """

    def make(config: NetworkConfig, seed: int) -> Enhancer:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = Enhancer(config).eval()
            for module in network.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                    if module.bias is not None:
                        nn.init.uniform_(module.bias, 0.0, 0.2)
                elif isinstance(module, nn.BatchNorm2d):
                    assert module.running_mean is not None
                    assert module.running_var is not None
                    nn.init.uniform_(module.weight, 0.5, 1.0)
                    nn.init.uniform_(module.bias, -0.1, 0.2)
                    nn.init.uniform_(module.running_mean, -0.2, 0.2)
                    nn.init.uniform_(module.running_var, 0.5, 2.0)
                elif isinstance(module, Scale):
                    nn.init.uniform_(module.weight, 0.1, 0.6)
            if network.gauge is not None:
                nn.init.normal_(network.gauge.modulation.weight, std=0.05)
                nn.init.uniform_(network.gauge.modulation.bias, -0.1, 0.2)
                if network.gauge.blend is not None:
                    nn.init.normal_(network.gauge.matrices, std=0.1 / config.width**0.5)
            last = network.head[2]
            assert isinstance(last, nn.Conv2d)
            nn.init.normal_(last.weight, std=0.02 / config.width**0.5)  # tanh is not saturated
        return network

    return make
