"""What a network costs, against hand-worked cases."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from deal_cli.model.cost import Cost, module_cost, network_cost
from deal_cli.model.forms import folded
from deal_cli.model.network import Enhancer
from deal_cli.networks import NETWORKS, BlockConfig, NetworkConfig

SMALL = NetworkConfig(
    width=4, blocks=(BlockConfig("stm", 5, 3), BlockConfig("ssm", 3, 3, 2)), norm="batch"
)


def test_one_convolution_by_hand() -> None:
    conv = nn.Conv2d(2, 3, 5, padding=2)
    cost = module_cost(conv, (1, 2, 10, 20))
    # 200 pixels, 3 of 2 channels, 25 taps; 150 weights and 3 biases; 2 channels in, 3 out
    assert cost == Cost(macs=200 * 3 * 2 * 25, parameters=153, activations=200 * 5)
    assert cost.traffic(4) == 4 * (1000 + 153)
    assert cost.traffic(2, batch=3) == 2 * (1000 + 51)


def test_a_stride_and_groups_take_their_share() -> None:
    cost = module_cost(nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=2), (1, 4, 8, 8))
    assert cost.macs == 4 * 4 * 4 * (2 * 9)
    assert cost.activations == 4 * 64 + 4 * 16


def test_the_published_network_is_as_large_as_its_checkpoint() -> None:
    """Method notes state 572,323 parameters and 578 thousand multiply-adds a pixel.

    That is the unrolled form, whose convolution behind the spikes runs in each of four steps, with
    every bias and number of a norm as one more. What restores runs it once: 571 thousand.
    """
    config = NETWORKS["paper"]
    network = Enhancer(config)
    shape, pixels = (1, 3, 48, 64), 48 * 64
    unrolled = module_cost(network.train(), shape)
    assert unrolled.parameters == 572_323
    assert unrolled.macs == 577_216 * pixels
    weights = sum(m.weight.numel() for m in network.modules() if isinstance(m, nn.Conv2d))
    assert 577_216 + unrolled.parameters - weights == 578_467
    assert network_cost(config, 48, 64).macs == 571_072 * pixels
    assert 577_216 - 571_072 == 2 * 3 * 32 * 32  # two such modules, three steps more


def test_a_network_costs_what_its_folded_form_does_and_in_proportion_to_the_picture() -> None:
    cost = network_cost(SMALL, 64, 48)
    assert cost == module_cost(folded(Enhancer(SMALL)), (1, 1, 64, 48))
    assert network_cost(SMALL, 128, 96).macs == 4 * cost.macs
    assert network_cost(SMALL, 128, 96).activations == 4 * cost.activations


def test_a_gauge_and_its_matrices_cost_little_by_hand() -> None:
    cells = 32 * 24
    windows = 7 * 5  # of 16 pixels, 8 apart
    for preset in ("deal", "deal-fast"):
        config = NETWORKS[preset]
        gauged = network_cost(replace(config, fusion=0), 64, 48)
        bare = network_cost(replace(config, gauge=(), fusion=0), 64, 48)
        # 198 numbers, 64 features twice, 10 severities, and a scale and a shift a feature and site.
        sites = len(config.blocks) + 1
        layers = [(198, 64), (64, 64), (64, 10), (74, sites * 2 * config.width)]
        assert gauged.parameters - bare.parameters == sum((i + 1) * o for i, o in layers)
        # Ten cosines down every eighth row of every column, and ten across what they have left.
        read = 10 * 16 * 7 * 48 + 100 * 16 * windows
        assert gauged.macs - bare.macs == read + sum(i * o for i, o in layers)
        assert gauged.macs - bare.macs < bare.macs / 30
        fused, size = network_cost(config, 64, 48), config.width**2
        places = 4 * len(config.blocks) + 1
        matrices = 8 * places * size
        assert fused.parameters - gauged.parameters == 75 * 8 + matrices
        assert fused.macs - gauged.macs == 74 * 8 + matrices + places * size * cells
        assert fused.activations == bare.activations


def test_counting_leaves_a_module_as_it_was() -> None:
    network = Enhancer(SMALL).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    module_cost(network, (2, 1, 32, 32))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
