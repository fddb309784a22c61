"""Forms of one enhancer are one function: folded, grown, in another precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from deal_cli.model.forms import folded, grown, in_precision
from deal_cli.model.network import Enhancer, Scale
from deal_cli.networks import NETWORKS, BlockConfig, NetworkConfig, receptive_radius

Make = Callable[[NetworkConfig, int], Enhancer]

SMALL = NetworkConfig(
    width=6,
    blocks=(BlockConfig("stm", 3, 5, 1, column=5), BlockConfig("ssm", 5, 3, 2)),
)
SMALL_PAPER = replace(SMALL, channels=3, stride=1, norm="batch", padding="reflect")


@pytest.mark.parametrize("preset", ["paper", "deal"])
def test_folded_network_equals_the_unfolded_one(preset: str, random_network: Make) -> None:
    network = in_precision(random_network(NETWORKS[preset], 3), torch.float64)
    x = torch.rand(1, network.config.channels, 28, 32, dtype=torch.float64)
    with torch.no_grad():
        expected = network(x)
        torch.testing.assert_close(folded(network)(x), expected, rtol=0, atol=1e-9)
        single = folded(network.float())(x.float()).double()
    assert (expected - x).abs().mean() > 0.03
    # In float32 a spike may flip on the last bit, and what follows it moves a little.
    assert (single - expected).square().mean().sqrt() < 5e-3


def test_folding_leaves_the_network_as_it_was(random_network: Make) -> None:
    network = random_network(SMALL_PAPER, 4).train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    copy = folded(network)
    assert network.training
    assert all(p.requires_grad for p in network.parameters())
    assert not any(p.requires_grad for p in copy.parameters())
    assert not any(isinstance(m, nn.BatchNorm2d | Scale) for m in copy.modules())
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[key])


@pytest.mark.parametrize("preset", ["paper", "deal"])
def test_bfloat16_runs_and_stays_near_float32(preset: str, random_network: Make) -> None:
    network = folded(random_network(NETWORKS[preset], 8))
    x = torch.rand(1, network.config.channels, 16, 24)
    with torch.no_grad():
        expected = network.correction(x)
        lower = in_precision(network, torch.bfloat16)
        correction = lower.correction(x.to(torch.bfloat16))
    assert correction.dtype == torch.bfloat16
    assert bool(correction.isfinite().all())
    correlation = torch.corrcoef(torch.stack([correction.float().flatten(), expected.flatten()]))
    assert correlation[0, 1] > 0.9


@pytest.mark.gpu
@pytest.mark.parametrize("config", [SMALL, SMALL_PAPER], ids=["deal", "paper"])
def test_a_network_folds_where_it_is_also_on_a_gpu(
    config: NetworkConfig, random_network: Make
) -> None:
    network = random_network(config, 9).double().cuda()
    x = torch.rand(1, config.channels, 20, 24, dtype=torch.float64).cuda()
    with torch.no_grad():
        torch.testing.assert_close(folded(network)(x), network(x), rtol=0, atol=1e-9)


def without_columns(config: NetworkConfig) -> NetworkConfig:
    return replace(config, blocks=tuple(replace(block, column=1) for block in config.blocks))


@pytest.mark.parametrize("width", [1, 6])
def test_a_grown_network_is_the_same_function_until_its_contexts_learn(
    width: int, random_network: Make
) -> None:
    config = replace(SMALL, width=width)
    small = random_network(without_columns(config), 3)
    large = grown(small, config).eval()
    assert large.config == config
    x = torch.rand(2, 1, 24, 32)
    torch.testing.assert_close(large(x), small(x), rtol=0, atol=0)
    large(x).square().mean().backward()
    context = large.blocks[0].exchange.column.conv.weight.grad  # type: ignore[union-attr]
    assert isinstance(context, Tensor)
    assert context.abs().sum() > 0


def test_fine_detail_grows_from_nothing_and_reaches_no_farther(random_network: Make) -> None:
    small = random_network(SMALL, 4).double()
    large = grown(small, replace(SMALL, fine=6)).double().eval()
    x = torch.rand(1, 1, 96, 96, dtype=torch.float64)
    torch.testing.assert_close(large(x), small(x), rtol=0, atol=0)
    assert large.fine is not None
    torch.nn.init.normal_(large.fine.last.weight)
    torch.testing.assert_close(folded(large)(x), large(x), rtol=0, atol=1e-9)
    assert not torch.equal(large(x), small(x))
    x.requires_grad_()
    large(x)[0, 0, 48, 48].backward()
    assert x.grad is not None
    seen = x.grad[0, 0].nonzero() - 48
    down, across = receptive_radius(large.config)
    assert seen[:, 0].abs().max() <= down
    assert seen[:, 1].abs().max() <= across
    with pytest.raises(ValueError, match="more than what can grow"):
        grown(large, replace(SMALL, fine=8))


@pytest.mark.parametrize(
    "config",
    [
        replace(SMALL, width=8),
        replace(SMALL, time_steps=3),
        replace(SMALL, blocks=SMALL.blocks[:1]),
        replace(SMALL, blocks=(*SMALL.blocks, *SMALL.blocks[:1])),
        replace(SMALL, blocks=(replace(SMALL.blocks[0], dilation=2), *SMALL.blocks[1:])),
        replace(SMALL, blocks=(replace(SMALL.blocks[0], column=7), *SMALL.blocks[1:])),
        without_columns(SMALL),
    ],
)
def test_nothing_else_can_grow(config: NetworkConfig) -> None:
    with pytest.raises(ValueError, match="more than what can grow"):
        grown(Enhancer(SMALL), config)
