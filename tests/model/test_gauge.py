"""The gauge: what its spectrum sees, what it is taught, and how it sets the enhancer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from torch import Tensor

from deal_cli.model.degradations import draw
from deal_cli.model.forms import grown, in_precision
from deal_cli.model.gauge import (
    EDGE,
    FREQUENCIES,
    WAVES,
    Gauge,
    Reading,
    Setting,
    tapered_cosines,
)
from deal_cli.model.losses import misread
from deal_cli.model.network import Enhancer
from deal_cli.model.sampler import Recipe, Step, severities
from deal_cli.networks import LEAST_EDGE, BlockConfig, NetworkConfig

Make = Callable[[NetworkConfig, int], Enhancer]

READ = ("blur", "stripe", "gaussian")
BARE = NetworkConfig(width=4, blocks=(BlockConfig("stm", 3, 3, column=5), BlockConfig("ssm", 3, 3)))
GAUGED = replace(BARE, gauge=READ)
FUSED = replace(GAUGED, fusion=2)
LEVEL = 0.5


def gauge() -> Gauge:
    return Gauge(len(READ), (4, 4, 1), width=4, fusion=2)


def same_settings(one: Reading, other: Reading) -> bool:
    pairs = zip(one.settings, other.settings, strict=True)
    return all(
        a is not None and b is not None and torch.equal(a, b)
        for mine, theirs in pairs
        for a, b in ((mine.modulation, theirs.modulation), (mine.fusion, theirs.fusion))
    )


def mean_and_log(x: Tensor) -> tuple[Tensor, Tensor]:
    """The logs of mean energies and the means of log energies, `(B, 10, 10)`, unscaled."""
    unscaled = (gauge().spectrum(x) - 4) * 3
    assert unscaled.shape == (len(x), 2 * FREQUENCIES)
    squares = []
    for half in unscaled.split(FREQUENCIES, 1):
        whole = torch.cat([torch.full((len(x), 1), -torch.inf), half], 1)  # the mean is left out
        squares.append(whole.unflatten(1, (len(WAVES), len(WAVES))))
    return squares[0], squares[1]


# The spectrum -----------------------------------------------------------------------------------


def test_all_tapered_cosines_but_the_first_are_blind_to_a_constant_and_all_have_unit_norm() -> None:
    cosines = tapered_cosines().squeeze(1)
    assert cosines.shape == (len(WAVES), EDGE)
    torch.testing.assert_close(cosines.square().sum(1), torch.ones(len(WAVES)))
    torch.testing.assert_close(cosines[1:].sum(1), torch.zeros(len(WAVES) - 1))
    assert cosines[0].sum() > 1


def test_the_spectrum_of_white_noise_is_flat_and_its_energy_is_the_variance() -> None:
    # A sum with weights of unit norm has the variance of one pixel, .05² = .0025. The logarithm of
    # the square of a normal number has the mean -ln 2 - .5772 (Euler's constant).
    x = LEVEL + 0.05 * torch.randn(1, 1, 900, 900)
    mean, log = (part.flatten()[1:] for part in mean_and_log(x))
    assert (mean - math.log(0.0025)).abs().max() < 0.25
    assert mean.mean().item() == pytest.approx(math.log(0.0025), abs=0.03)
    assert (log - (math.log(0.0025) - 1.2704)).abs().max() < 0.25
    assert log.mean().item() == pytest.approx(math.log(0.0025) - 1.2704, abs=0.05)


@pytest.mark.parametrize("wave", WAVES[1:])
def test_the_spectrum_of_a_pure_cosine_has_its_peak_there(wave: int) -> None:
    at = torch.arange(168) + 0.5
    cosine = 0.2 * torch.cos(math.pi * wave * at / EDGE)
    across = (LEVEL + cosine).expand(1, 1, 160, -1)
    # The taper parts waves that are two apart; of the slowest, which lie closer, the next may win.
    beside = 1 if wave < 4 else 0
    for x, alone in ((across, 0), (across.transpose(2, 3), 1)):
        mean, _ = mean_and_log(x)
        down_and_across = divmod(int(mean.flatten().argmax()), len(WAVES))
        assert down_and_across[alone] == 0
        assert abs(down_and_across[1 - alone] - WAVES.index(wave)) <= beside


def test_the_spectrum_of_a_turned_picture_is_the_turned_spectrum() -> None:
    x = torch.rand(2, 1, 40, 64)
    for one, turned in zip(mean_and_log(x), mean_and_log(x.transpose(2, 3)), strict=True):
        torch.testing.assert_close(turned, one.transpose(1, 2))


def test_pictures_finer_than_rounding_to_8_bits_are_read_as_if_rounded() -> None:
    # White noise of the variance of rounding, 1 / 12 of a level: of 640 x 640 pixels, so that the
    # means of its 6,241 windows stand.
    level = 1 / 255
    rounding = LEVEL + level / 12**0.5 * torch.randn(1, 1, 640, 640)
    flat = torch.full((1, 1, 640, 640), LEVEL)
    finer = LEVEL + level / 100 * torch.randn(1, 1, 640, 640)
    expected = gauge().spectrum(rounding)
    for picture in (flat, finer):  # to .7 in the log, where they would be 2.5 and 1.6 away
        torch.testing.assert_close(gauge().spectrum(picture), expected, rtol=0, atol=0.7 / 3)


SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=EDGE, max_side=40)
UNIT = st.floats(0, 1, width=32)


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float32, SHAPES, elements=UNIT)
    | st.tuples(SHAPES, UNIT).map(lambda given: np.full(*given, np.float32))
)
def test_the_reading_of_any_picture_is_finite(picture: NDArray[np.float32]) -> None:
    assert 0 <= picture.min() <= picture.max() <= 1
    x, reader = torch.from_numpy(picture)[None, None], gauge()
    reading = reader(x)
    assert reader.spectrum(x).isfinite().all()
    assert reading.severities.isfinite().all()
    assert [setting.modulation.shape for setting in reading.settings] == [(1, 2, 4, 1, 1)] * 3
    fusions = [setting.fusion.shape for setting in reading.settings]
    assert fusions == [(1, 4, 4, 4), (1, 4, 4, 4), (1, 1, 4, 4)]


def test_the_least_picture_that_a_network_sees_fills_a_window() -> None:
    assert LEAST_EDGE >= EDGE


def test_a_gauge_stays_in_float32_whatever_the_network_is_in(random_network: Make) -> None:
    x = torch.rand(1, 1, 32, 32)
    network = random_network(FUSED, 1)
    assert network.gauge is not None
    expected = network.gauge(x)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        lower = in_precision(random_network(FUSED, 1), dtype)
        assert lower.gauge is not None
        assert {p.dtype for p in lower.gauge.parameters()} == {torch.float32}
        assert {p.dtype for p in lower.blocks.parameters()} == {dtype}
        assert same_settings(lower.gauge(x), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert same_settings(network.gauge(x), expected)


# What it is taught ------------------------------------------------------------------------------


def recipe(*steps: tuple[str, float]) -> Recipe:
    rng = np.random.default_rng(0)
    return Recipe(tuple(Step(draw(name, rng), severity) for name, severity in steps))


def test_severities_are_the_largest_of_each_operation_and_others_are_left_out() -> None:
    recipes = [
        recipe(("stripe", 0.25), ("blur", 0.5), ("stripe", 0.75), ("stripe", 0.5)),
        recipe(("jpeg", 0.9), ("gaussian", 1.0)),
        recipe(),
    ]
    expected = torch.tensor([[0.5, 0.75, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    assert torch.equal(severities(recipes, READ), expected)
    assert torch.equal(severities(recipes, READ[::-1]), expected.flip(1))
    assert severities([], READ).shape == (0, 3)


def test_a_perfect_reading_is_not_off_and_neither_is_one_of_no_recipes() -> None:
    recipes = [recipe(("stripe", 0.25), ("blur", 0.5)), recipe()]
    assert misread(severities(recipes, READ), severities(recipes, READ)) == 0
    read = torch.rand(2, 3, requires_grad=True)
    nothing = misread(read, severities([], READ))
    assert nothing == 0
    nothing.backward()
    assert read.grad is not None
    assert not read.grad.any()


def test_misreading_worked_by_hand() -> None:
    # Off by .3: .3 - .05; off by .05, which is within .1: .5 · .05² / .1; four numbers read well.
    recipes = [recipe(("stripe", 0.25), ("blur", 0.5)), recipe()]
    read = torch.tensor([[0.5, 0.55, 0.0], [0.05, 0.0, 0.0]])
    assert misread(read, severities(recipes, READ)).item() == pytest.approx((0.25 + 0.0125) / 6)


# How it sets the enhancer -----------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [GAUGED, FUSED])
def test_a_new_gauge_changes_nothing(random_network: Make, wanted: NetworkConfig) -> None:
    bare = random_network(BARE, 2)
    gauged = grown(bare, wanted).eval()
    assert gauged.config == wanted
    x = torch.rand(2, 1, 24, 32)
    with torch.no_grad():
        assert (bare(x) - x).abs().mean() > 0.01
        torch.testing.assert_close(gauged(x), bare(x), rtol=0, atol=0)
        torch.testing.assert_close(gauged(x, 1 - x / 2), bare(x), rtol=0, atol=0)


def test_a_gauge_that_is_there_grows_matrices_and_changes_nothing(random_network: Make) -> None:
    gauged = random_network(GAUGED, 2)
    fused = grown(gauged, FUSED).eval()
    x = torch.rand(2, 1, 24, 32)
    with torch.no_grad():
        torch.testing.assert_close(fused(x), gauged(x), rtol=0, atol=0)
    with pytest.raises(ValueError, match="more than what can grow"):
        grown(fused, GAUGED)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 7), st.integers(1, 6))
def test_fused_features_in_front_of_a_convolution_are_a_convolution_of_its_own(
    batch: int, width: int, height: int, across: int
) -> None:
    """`W * (x + M x) = (W (1 + M)) * x` (Li et al. 2021): each picture has its own kernels."""
    fusion = torch.randn(batch, 2, width, width, dtype=torch.float64)
    x = torch.randn(batch, width, height, across, dtype=torch.float64)
    kernel = torch.randn(3, width, 3, 3, dtype=torch.float64)
    fused = F.conv2d(Setting(fusion=fusion).fused(x, 1), kernel, padding=1)
    for picture, matrix, expected in zip(x, fusion[:, 1], fused, strict=True):
        own = torch.einsum("omij,mn->onij", kernel, torch.eye(width, dtype=x.dtype) + matrix)
        torch.testing.assert_close(F.conv2d(picture[None], own, padding=1)[0], expected)


def test_a_part_that_nothing_is_set_of_is_as_it_was_learnt() -> None:
    x = torch.rand(1, 4, 6, 5)
    assert Setting().fused(x, 0) is x
    assert Setting().modulated(x) is x


@pytest.mark.parametrize("learnt", [GAUGED, FUSED])
def test_a_gauge_that_has_learnt_sets_the_enhancer_by_the_whole_picture(
    random_network: Make, learnt: NetworkConfig
) -> None:
    network = random_network(learnt, 2)
    x, other = torch.rand(1, 1, 24, 32), torch.rand(1, 1, 40, 16) / 2
    assert network.gauge is not None
    with torch.no_grad():
        alone, set_by_other = network(x), network(x, other)
        assert torch.equal(network(x, x), alone)
        by_hand = x + network.correction_as_read(x, network.gauge(other))
    assert torch.equal(set_by_other, by_hand)
    assert (set_by_other - alone).abs().mean() > 1e-3


def test_a_gauge_that_is_there_is_kept_when_contexts_grow(random_network: Make) -> None:
    small = random_network(
        replace(GAUGED, blocks=tuple(replace(b, column=1) for b in GAUGED.blocks)), 3
    )
    large = grown(small, GAUGED).eval()
    x = torch.rand(1, 1, 24, 32)
    with torch.no_grad():
        torch.testing.assert_close(large(x), small(x), rtol=0, atol=0)


@pytest.mark.parametrize("other", [(), READ[:2], READ[::-1], (*READ, "jpeg")])
def test_another_gauge_does_not_grow_from_one_that_is_there(other: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="more than what can grow"):
        grown(Enhancer(GAUGED), replace(GAUGED, gauge=other))


def test_a_gauge_of_too_many_operations_is_refused() -> None:
    with pytest.raises(ValueError, match="'gauge' reads 101 operations"):
        NetworkConfig(gauge=("blur",) * 101)


def test_matrices_without_a_gauge_or_out_of_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="'fusion' wants a 'gauge'"):
        NetworkConfig(fusion=2)
    for fusion in (-1, 65):
        with pytest.raises(ValueError, match=f"'fusion' is {fusion}, not a number from 0 to 64"):
            NetworkConfig(gauge=READ, fusion=fusion)


def touched(network: Enhancer, part: str) -> list[bool]:
    """Whether each parameter of a part of the gauge has a gradient."""
    gradients = [p.grad for name, p in network.named_parameters() if name.startswith(part)]
    assert gradients
    return [gradient is not None and bool(gradient.any()) for gradient in gradients]


def test_an_error_of_reading_reaches_the_layers_that_read_and_no_others() -> None:
    network = Enhancer(FUSED)
    assert network.gauge is not None
    recipes = [recipe(("stripe", 0.25), ("blur", 0.5)), recipe(("gaussian", 1.0))]
    read = network.gauge(torch.rand(2, 1, 32, 32)).severities
    misread(read, severities(recipes, READ)).backward()
    assert all(touched(network, "gauge.features"))
    assert all(touched(network, "gauge.severities"))
    for part in ("gauge.modulation", "gauge.blend", "gauge.matrices", "blocks"):
        assert not any(touched(network, part))


def test_the_loss_of_the_enhancer_reaches_what_sets_it_from_its_first_step(
    random_network: Make,
) -> None:
    network = grown(random_network(BARE, 4), FUSED)
    network(torch.rand(2, 1, 32, 32)).square().mean().backward()
    assert all(touched(network, "gauge.modulation"))
    assert all(touched(network, "gauge.matrices"))
    # Nothing is set yet, so what is read is of no matter until these have moved.
    assert not any(touched(network, "gauge.severities"))
    assert not any(touched(network, "gauge.blend"))
    learnt = random_network(FUSED, 4)
    learnt(torch.rand(2, 1, 32, 32)).square().mean().backward()
    assert all(touched(learnt, "gauge"))
