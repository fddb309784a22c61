"""The enhancer: its size, what it sees, and its spikes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from torch import Tensor, nn

from deal_cli.model.forms import in_precision
from deal_cli.model.gauge import Setting
from deal_cli.model.network import (
    DETAIL_GAIN,
    Cells,
    Enhancer,
    Scale,
    SpikingSeparation,
    lif_spikes,
    mean_spike,
)
from deal_cli.networks import (
    NETWORKS,
    BlockConfig,
    NetworkConfig,
    input_edge,
    receptive_radius,
    smallest_edge,
)

Make = Callable[[NetworkConfig, int], Enhancer]

SMALL = NetworkConfig(
    width=6,
    stride=2,
    blocks=(BlockConfig("stm", 3, 5, 1, column=5), BlockConfig("ssm", 5, 3, 2)),
)
SMALL_GAUGED = replace(SMALL, gauge=("blur", "stripe", "gaussian"))
SMALL_PAPER = replace(SMALL, channels=3, stride=1, norm="batch", padding="reflect")

KERNELS = st.sampled_from([1, 3, 5])
CONFIGS = st.builds(
    NetworkConfig,
    width=st.just(1),
    stride=st.integers(1, 3),
    norm=st.sampled_from(["batch", "scale"]),
    padding=st.sampled_from(["reflect", "zeros"]),
    time_steps=st.integers(1, 5),
    detail_radius=st.integers(0, 3),
    blocks=st.lists(
        st.builds(
            BlockConfig,
            st.sampled_from(["stm", "ssm"]),
            KERNELS,
            KERNELS,
            st.integers(1, 3),
            st.sampled_from([1, 3, 7]),
        ),
        max_size=2,
    ).map(tuple),
)


# Size -------------------------------------------------------------------------------------------


def test_paper_has_the_published_number_of_parameters() -> None:
    network = Enhancer(NETWORKS["paper"])
    assert sum(p.numel() for p in network.parameters()) == 572_323


def test_paper_sees_45_pixels_far() -> None:
    assert receptive_radius(NETWORKS["paper"]) == (45, 45)


def test_column_contexts_see_farther_down_than_across() -> None:
    down, across = receptive_radius(NETWORKS["deal"])
    assert (down, across) == (75 + 3 * 2 * 16, 75)


# What it sees -----------------------------------------------------------------------------------


def reach(config: NetworkConfig) -> tuple[int, int]:
    """The farthest distances, down and across, at which a point of light shows in the correction.

    In a network of ones nothing cancels, no neuron is silent and every spike fires: on black
    ground, the output is above zero exactly where a path of convolutions leads. Padding does not
    alter how far that is; mirrored, the ground stays even up to the border. A gauge reads all of
    the picture, and what it reads stands still here.
    """
    network = (
        Enhancer(replace(config, width=1, padding="reflect", gauge=(), fusion=0)).double().eval()
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.ones_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, Scale):
            nn.init.ones_(module.weight)
    light = 1.0
    if config.detail_radius:
        # Of detail and local mean, the mean reaches farther; its ground is -.5.
        first = network.stem[1]
        assert isinstance(first, nn.Conv2d)
        assert first.bias is not None
        nn.init.zeros_(first.weight[:, : -config.channels])
        nn.init.constant_(first.bias, 0.5 * 9 * config.channels)
        light = float(config.stride * (2 * config.detail_radius + 1)) ** 2
    size = [2 * radius + 3 * config.stride for radius in receptive_radius(config)]
    size = [edge - edge % config.stride for edge in size]
    middle = torch.tensor([edge // 2 - edge // 2 % config.stride for edge in size])
    farthest = torch.zeros(2, dtype=torch.int64)
    for phase in range(config.stride):
        x = torch.zeros(1, config.channels, *size, dtype=torch.float64)
        at = middle + phase
        x[:, 0, at[0], at[1]] = light
        with torch.no_grad():
            lit = network.correction(x)[0].amax(0).nonzero()
        assert lit.min() > 0, "the picture is too small for the proof"
        assert (lit < torch.tensor(size) - 1).all(), "the picture is too small for the proof"
        farthest = torch.maximum(farthest, (lit - at).abs().amax(0))
    return int(farthest[0]), int(farthest[1])


@pytest.mark.parametrize("preset", ["paper", "deal"])
def test_receptive_radius_is_the_farthest_pixel_that_alters_an_output(preset: str) -> None:
    assert reach(NETWORKS[preset]) == receptive_radius(NETWORKS[preset])


@settings(max_examples=15, deadline=None)
@given(CONFIGS)
def test_receptive_radius_holds_for_every_configuration(config: NetworkConfig) -> None:
    assert reach(config) == receptive_radius(config)


@pytest.mark.parametrize("preset", ["paper", "deal"])
def test_no_change_beyond_the_receptive_radius_alters_an_output(
    preset: str, random_network: Make
) -> None:
    config = replace(NETWORKS[preset], width=4)
    network = in_precision(random_network(config, 1), torch.float64)
    radius = torch.tensor(receptive_radius(config))
    size = 2 * radius + 6
    size += size % config.stride
    at = size // 2
    x = torch.rand(1, config.channels, *size, dtype=torch.float64)
    reading = network.gauge(x) if network.gauge is not None else None  # of all there is
    for phase in range(config.stride):
        row, column = at + phase
        changed = x.clone()
        changed[:, :, row, column] += 5.0
        with torch.no_grad():
            corrections = [network.correction_as_read(each, reading) for each in (changed, x)]
            alters = (changed + corrections[0] - x - corrections[1])[0].abs().amax(0)
        assert alters[row, column] > 0
        distance = ((alters > 1e-12).nonzero() - at - phase).abs().amax(0)
        assert (distance > radius // 4).all()
        assert (distance <= radius).all()


# Cells ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_local_mean_agrees_with_scipy_away_from_the_border(stride: int) -> None:
    config = replace(SMALL, channels=1, stride=stride, detail_radius=2)
    x = torch.rand(1, 1, 12 * stride, 14 * stride, dtype=torch.float64)
    low = Cells(config)(x)[0, -1].numpy() + 0.5
    # The mean over five cells is one of 5 · stride pixels, taken at the middle of each cell.
    means = uniform_filter(x[0, 0].numpy(), 5 * stride, origin=-((stride + 1) % 2))
    reference = means[(stride - 1) // 2 :: stride, (stride - 1) // 2 :: stride]
    np.testing.assert_allclose(low[2:-2, 2:-2], reference[2:-2, 2:-2], atol=1e-12)


def test_an_even_picture_has_no_detail_up_to_its_border() -> None:
    out = Cells(replace(SMALL, channels=3))(torch.full((1, 3, 12, 16), 0.7))
    assert out.shape == (1, 3 * 4 + 3, 6, 8)
    torch.testing.assert_close(out[:, :-3], torch.zeros(1, 12, 6, 8))
    torch.testing.assert_close(out[:, -3:], torch.full((1, 3, 6, 8), 0.2))


def test_detail_and_local_mean_make_the_picture_again() -> None:
    x = torch.rand(2, 3, 12, 16)
    out = Cells(replace(SMALL, channels=3))(x)
    low = torch.nn.functional.interpolate(out[:, -3:] + 0.5, scale_factor=2.0)
    again = torch.nn.functional.pixel_shuffle(out[:, :-3], 2) / DETAIL_GAIN + low
    torch.testing.assert_close(again, x)


# Spikes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("current", "spikes"),
    [
        # membranes .44, .55, .3275, .521875
        (0.44, [0, 1, 0, 1]),
        # 1.42, 1.525, 1.30125, 1.4953125
        (1.42, [1, 2, 1, 1]),
        # 2.56, 2.45, 2.6725, 2.478125
        (2.56, [3, 2, 3, 2]),
        # below the clamp: -1, -1.25, -1.3125, …
        (-1.0, [0, 0, 0, 0]),
        # above it: 5, 5.25, 5.3125, …
        (5.0, [4, 4, 4, 4]),
    ],
)
def test_spikes_worked_by_hand(current: float, spikes: list[int]) -> None:
    d = torch.tensor([current], dtype=torch.float64)
    assert [int(s) for s in lif_spikes(d, 4)] == spikes
    assert mean_spike(d, 4).item() == sum(spikes) / 4


@pytest.mark.parametrize(
    ("current", "slope"),
    [
        # 1, 1.25, 1.3125, 1.328125: each step's own, and a quarter of the one before
        (1.42, 4.890625 / 4),
        (-1.0, 0.0),
        (5.0, 0.0),
    ],
)
@pytest.mark.parametrize("form", ["unrolled", "collapsed"])
def test_straight_through_gradient_worked_by_hand(current: float, slope: float, form: str) -> None:
    d = torch.tensor([current], dtype=torch.float64, requires_grad=True)
    mean = mean_spike(d, 4) if form == "collapsed" else torch.stack(lif_spikes(d, 4)).mean(0)
    (gradient,) = torch.autograd.grad(mean.sum(), d)
    assert gradient.item() == pytest.approx(slope, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.float32, st.integers(1, 64), elements=st.floats(-3, 8, width=32)), st.integers(1, 6)
)
def test_collapsed_spikes_equal_the_unrolled_ones_in_value_and_gradient(
    current: NDArray[np.float32], time_steps: int
) -> None:
    d = torch.from_numpy(current).requires_grad_()
    weight = torch.linspace(0.5, 2.0, d.numel())
    unrolled = torch.stack(lif_spikes(d, time_steps)).mean(0)
    collapsed = mean_spike(d, time_steps)
    torch.testing.assert_close(collapsed, unrolled, rtol=0, atol=1e-6)
    (expected,) = torch.autograd.grad((unrolled * weight).sum(), d)
    (gradient,) = torch.autograd.grad((collapsed * weight).sum(), d)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(mean_spike(d.detach(), time_steps), collapsed.detach())


def test_collapsed_spikes_leave_their_input_alone() -> None:
    d = torch.linspace(-1, 6, 50)
    before = d.clone()
    mean_spike(d, 4)
    assert torch.equal(d, before)


def unrolled(module: SpikingSeparation, h: Tensor, r: Tensor, setting: Setting) -> Tensor:
    """The spiking module as the paper writes it: norm and mix at every time step."""
    d, _ = module.exchange(h, r, setting)
    steps = [module.norm(module.mix(s)) for s in lif_spikes(d, module.time_steps)]
    return torch.relu(torch.stack(steps).mean(0) + h)


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("config", [SMALL, SMALL_PAPER], ids=["scale", "batch"])
def test_spiking_module_equals_its_unrolled_form(
    config: NetworkConfig, modulated: bool, random_network: Make
) -> None:
    module = random_network(config, 2).double().blocks[1]
    assert isinstance(module, SpikingSeparation)
    h, r = torch.rand(2, 2, 6, 10, 12, dtype=torch.float64) * 2
    modulation = torch.rand(2, 2, 6, 1, 1, dtype=torch.float64) if modulated else None
    setting = Setting(modulation)
    with torch.no_grad():
        out, _ = module(h, r, setting)
        expected = unrolled(module, h, r, setting)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-9)


def test_batch_norm_of_a_spiking_module_sees_every_time_step() -> None:
    module = SpikingSeparation(SMALL_PAPER, SMALL_PAPER.blocks[1]).train()
    assert isinstance(module.norm, nn.BatchNorm2d)
    h, r = torch.rand(2, 2, 6, 10, 12) * 4
    module(h, r)
    with torch.no_grad():
        d, _ = module.exchange(h, r, Setting())
        mixed = torch.stack([module.mix(s) for s in lif_spikes(d, 4)])
    assert module.norm.running_var is not None
    variance = mixed.transpose(0, 2).flatten(1).var(1)  # (width, …), unbiased as torch keeps it
    torch.testing.assert_close(module.norm.running_var, 0.9 + 0.1 * variance)


# The whole --------------------------------------------------------------------------------------


def test_correction_of_a_new_network_is_zero() -> None:
    x = torch.rand(2, 1, 16, 24)
    network = Enhancer(NETWORKS["deal"])
    assert torch.equal(network(x), x)


def test_a_new_network_learns_from_its_first_step() -> None:
    network = Enhancer(SMALL)
    network(torch.rand(1, 1, 16, 16)).square().mean().backward()
    last = [m for m in network.modules() if isinstance(m, nn.Conv2d)][-1]
    assert last.weight.grad is not None
    assert last.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "config", [SMALL, SMALL_GAUGED, SMALL_PAPER], ids=["deal", "gauged", "paper"]
)
def test_every_parameter_receives_a_gradient(config: NetworkConfig, random_network: Make) -> None:
    network = random_network(config, 5).train()
    network(torch.rand(2, config.channels, 24, 24)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    "config", [SMALL, SMALL_GAUGED, SMALL_PAPER], ids=["deal", "gauged", "paper"]
)
@settings(max_examples=5, deadline=None)
@given(height=st.integers(8, 20), width=st.integers(8, 20))
def test_height_and_width_are_free(config: NetworkConfig, height: int, width: int) -> None:
    shape = (1, config.channels, height * config.stride, width * config.stride)
    with torch.no_grad():
        assert Enhancer(config).eval()(torch.rand(shape)).shape == shape


@settings(max_examples=15, deadline=None)
@given(CONFIGS)
def test_the_smallest_edge_is_the_least_that_can_be_mirrored(config: NetworkConfig) -> None:
    config = replace(config, padding="reflect")
    network = Enhancer(config).eval()
    edge = smallest_edge(config)
    with torch.no_grad():
        assert network(torch.rand(1, config.channels, edge, edge)).shape[-1] == edge
        less = edge - config.stride
        with pytest.raises(RuntimeError, match=r"[Pp]adding size should be less"):
            network(torch.rand(1, config.channels, less, less))


@pytest.mark.parametrize(
    "config", [SMALL, SMALL_GAUGED, SMALL_PAPER], ids=["deal", "gauged", "paper"]
)
def test_a_batch_equals_its_pictures_one_by_one(
    config: NetworkConfig, random_network: Make
) -> None:
    network = in_precision(random_network(config, 6), torch.float64)
    x = torch.rand(3, config.channels, 20, 24, dtype=torch.float64)
    with torch.no_grad():
        singles = torch.cat([network(x[i : i + 1]) for i in range(3)])
        # A gauge reads in float32.
        atol = 1e-5 if config.gauge else 1e-9
        torch.testing.assert_close(network(x), singles, rtol=0, atol=atol)


def test_correction_stays_between_minus_one_and_one(random_network: Make) -> None:
    with torch.no_grad():
        correction = random_network(SMALL, 7).correction(torch.rand(1, 1, 16, 16) * 50)
    assert correction.abs().max() <= 1.0


def test_a_network_of_zeros_around_pictures_takes_any_whole_cells() -> None:
    config = NetworkConfig(width=2, blocks=(BlockConfig("ssm", 7, 5, 3, column=33),))
    assert smallest_edge(config) == config.stride == 2
    assert input_edge(config) == 16
    with torch.no_grad():
        assert Enhancer(config).eval()(torch.rand(1, 1, 2, 4)).shape == (1, 1, 2, 4)
