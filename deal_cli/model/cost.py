"""What one picture costs a network: multiply-adds and bytes, from the shapes alone.

Convolutions and products of matrices are counted, by torch's own counter. Norms, which inference
folds away, biases, pooling, spikes and other element-wise steps are left out.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from deal_cli.model.forms import folded
from deal_cli.model.network import Enhancer
from deal_cli.networks import NetworkConfig


@dataclass(frozen=True)
class Cost:
    """The cost of one pass.

    Attributes:
        macs: multiply-adds, those with the padding around a picture included.
        parameters: numbers that are learnt.
        activations: numbers that the convolutions read and write, each layer for itself.
    """

    macs: int
    parameters: int
    activations: int

    def traffic(self, value_bytes: int, batch: int = 1) -> float:
        """Bytes to and from memory for one picture of a batch, at so many bytes a number.

        The least that a network takes whose every convolution reads its input once and writes its
        output once, with all else done on the way; the parameters are read once a batch.
        """
        return value_bytes * (self.activations + self.parameters / batch)


def network_cost(config: NetworkConfig, height: int, width: int) -> Cost:
    """The cost of one picture, `(1, C, height, width)`, in the form that restores.

    Norms are folded and the convolution behind the spikes runs once, not once a time step.
    """
    with torch.device("meta"):
        network = folded(Enhancer(config))
    return module_cost(network, (1, config.channels, height, width))


def module_cost(module: nn.Module, shape: tuple[int, int, int, int]) -> Cost:
    """The cost of one pass of an input `(B, C, H, W)`; nothing is computed but shapes."""
    module = copy.deepcopy(module).to("meta")
    activations = 0

    def count(_: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal activations
        activations += inputs[0].numel() + output.numel()

    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(count)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.empty(shape, device="meta"))
    macs = counter.get_total_flops() // 2
    return Cost(macs, sum(p.numel() for p in module.parameters()), activations)
