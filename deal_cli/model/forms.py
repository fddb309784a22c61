"""The same enhancer in other forms: larger to train on, folded to run, in another precision."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn

from deal_cli.model.network import ColumnContext, Enhancer, Scale, ScaleTransform, SpikingSeparation
from deal_cli.networks import NetworkConfig


def grown(network: Enhancer, config: NetworkConfig) -> Enhancer:
    """The same function as a network that has all that can grow of `config` too.

    Column contexts, the gauge, its matrices and fine detail begin as nothing.

    Raises:
        ValueError: something else differs, or what is there is not in `config`.
    """
    bare = [[replace(b, column=1) for b in c.blocks] for c in (network.config, config)]
    pairs = zip(network.config.blocks, config.blocks, strict=False)
    if (
        replace(
            network.config,
            blocks=config.blocks,
            gauge=config.gauge,
            fusion=config.fusion,
            fine=config.fine,
        )
        != config
        or bare[0] != bare[1]
        or network.config.gauge not in ((), config.gauge)
        or network.config.fusion not in (0, config.fusion)
        or network.config.fine not in (0, config.fine)
        or any(old.column not in (1, new.column) for old, new in pairs)
    ):
        raise ValueError("the networks differ in more than what can grow")
    larger = Enhancer(config)
    larger.load_state_dict(network.state_dict(), strict=False)
    return larger


def folded(network: Enhancer) -> Enhancer:
    """A frozen copy for inference, with every norm folded into the convolution in front of it."""
    network = copy.deepcopy(network).eval()
    for block in network.blocks:
        assert isinstance(block, ScaleTransform | SpikingSeparation)
        exchange = block.exchange
        for conv in ("first", "second", "inward"):
            norm = f"{conv}_norm"
            setattr(exchange, conv, _fold(getattr(exchange, conv), getattr(exchange, norm)))
            setattr(exchange, norm, nn.Identity())
        if isinstance(exchange.column, ColumnContext):
            exchange.column = exchange.column.whole()
        if isinstance(block, SpikingSeparation):
            block.mix = _fold(block.mix, block.norm)
        else:
            exchange.outward = _fold(exchange.outward, block.norm)
        block.norm = nn.Identity()
    # Frozen, the spikes need no gradient of their own: half of the work behind them.
    return network.requires_grad_(False)


def in_precision(network: Enhancer, dtype: torch.dtype) -> Enhancer:
    """The same network in another precision, but for its gauge: spectra span eight decades."""
    gauge, network.gauge = network.gauge, None  # there and back would cut its digits
    network = network.to(dtype)
    network.gauge = None if gauge is None else gauge.float()
    return network


def _fold(conv: nn.Conv2d, norm: nn.Module) -> nn.Conv2d:
    """`norm(conv(x))` as one convolution, computed in float64."""
    if isinstance(norm, nn.Identity):
        return conv
    if isinstance(norm, Scale):
        gain = norm.weight.double()
        shift = torch.zeros_like(gain)
    else:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None and norm.running_var is not None
        gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        shift = norm.bias.double() - norm.running_mean.double() * gain
    bias = conv.bias.double() if conv.bias is not None else torch.zeros_like(shift)
    folded_conv = copy.deepcopy(conv)
    weight = conv.weight.double() * gain.view(-1, 1, 1, 1)
    folded_conv.weight = nn.Parameter(weight.to(conv.weight.dtype))
    folded_conv.bias = nn.Parameter((bias * gain + shift).to(conv.weight.dtype))
    return folded_conv
