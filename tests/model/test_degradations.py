"""Every degradation: the identity at severity 0, replayable, differentiable, and of known size."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from deal_cli.model.degradations import (
    BLUR_SIGMA,
    COLUMN_SIGMA,
    DEAD_SHARE,
    FEWEST_BITS,
    LARGEST_FACTOR,
    LOWEST_QUALITY,
    MOTION_LENGTH,
    NOISE_SIGMA,
    OPERATIONS,
    ROW_SIGMA,
    Draw,
    apply,
    draw,
)

NAMES = list(OPERATIONS)
SMOOTH = ["tone", "blur", "motion", "shading", "stripe", "row", "gaussian", "shot"]


def scene(seed: int, height: int = 64, width: int = 96, batch: int = 1) -> Tensor:
    """Soft shapes with a little texture, `(batch, 1, height, width)` within [.1, .9]."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((batch, 1, height // 8, width // 8), np.float32))
    fine = torch.from_numpy(rng.random((batch, 1, height, width), np.float32))
    soft = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return 0.1 + 0.8 * (0.8 * soft + 0.2 * fine)


def at(x: Tensor, severity: float | Sequence[float], drawn: Draw | Sequence[Draw]) -> Tensor:
    draws = [drawn] * len(x) if isinstance(drawn, Draw) else drawn
    severities = [severity] * len(x) if isinstance(severity, float) else severity
    return apply(x, torch.tensor(severities, dtype=x.dtype), draws)


def drawn(name: str, seed: int = 0, /, **fixed: float) -> Draw:
    """A draw with some of its parameters fixed, within their ranges."""
    some = draw(name, np.random.default_rng(seed))
    assert fixed.keys() <= some.parameters.keys()
    return Draw(name, {**some.parameters, **fixed}, some.seed)


# Those whose draws can hide the severity: pixels that hardly die, factors that jump.
PLAIN: Mapping[str, Mapping[str, float]] = {
    "dead": {"share": 1.0},
    "downsample": {"whole": 0.0},
    "tone": {"loss": 0.5},
}


# What every operation promises ------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
@pytest.mark.parametrize("name", NAMES)
def test_severity_zero_is_the_identity(name: str, seed: int) -> None:
    x = scene(seed, 24, 32)
    x[..., 0, 0], x[..., 0, 1] = 0.0, 1.0
    assert torch.equal(at(x, 0.0, drawn(name, seed)), x)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), severity=st.floats(0, 1, width=32))
@pytest.mark.parametrize("name", NAMES)
def test_the_same_draw_makes_the_same_pixels_and_leaves_its_input_alone(
    name: str, seed: int, severity: float
) -> None:
    x = scene(seed, 24, 32)
    before = x.clone()
    once = at(x, severity, drawn(name, seed))
    assert torch.equal(at(x, severity, drawn(name, seed)), once)
    assert torch.equal(x, before)
    assert once.shape == x.shape
    assert once.dtype == x.dtype
    assert bool(once.isfinite().all())


@pytest.mark.parametrize("name", NAMES)
def test_a_draw_keeps_to_the_ranges_of_its_operation(name: str) -> None:
    rng = np.random.default_rng(1)
    draws = [draw(name, rng) for _ in range(50)]
    assert len({d.seed for d in draws}) == 50
    for key, (low, high) in OPERATIONS[name].parameters.items():
        assert all(low <= d.parameters[key] <= high for d in draws)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_equals_its_pictures_one_by_one(name: str) -> None:
    x = scene(2, 40, 48, batch=3)
    draws = [drawn(name, seed) for seed in range(3)]
    severities = [0.3, 0.0, 0.9]
    singles = [at(x[i : i + 1], [severities[i]], [draws[i]]) for i in range(3)]
    torch.testing.assert_close(at(x, severities, draws), torch.cat(singles), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_makes_other_pixels(name: str) -> None:
    x = scene(3)
    assert not torch.equal(at(x, 0.7, drawn(name, 1)), at(x, 0.7, drawn(name, 2))) or name in {
        "quantise",  # nothing is drawn for these
        "jpeg",
    }


@pytest.mark.parametrize("severity", [0.25, 0.5, 0.85])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_the_severity_and_the_picture(name: str, severity: float) -> None:
    size = (96, 128) if name == "dead" else (32, 40)  # few pixels die at just this severity
    x = scene(4, *size).requires_grad_()
    s = torch.tensor([severity], requires_grad=True)
    out = apply(x, s, [drawn(name, 5, **PLAIN.get(name, {}))])
    loss = (out - scene(4, *size)).abs().sum()
    to_picture, to_severity = torch.autograd.grad(loss, [x, s])
    for gradient in (to_picture, to_severity):
        assert bool(gradient.isfinite().all())
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_asking_for_gradients_does_not_change_the_pixels(name: str) -> None:
    x, some = scene(5), drawn(name, 6)
    out = apply(x.clone().requires_grad_(), torch.tensor([0.6], requires_grad=True), [some])
    torch.testing.assert_close(out.detach(), at(x, 0.6, some), rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_more_severity_means_more_error(name: str, seed: int) -> None:
    x = scene(seed)
    some = drawn(name, seed, **PLAIN.get(name, {}))
    errors = [float((at(x, s, some) - x).abs().mean()) for s in (0.0, 0.2, 0.5, 0.8, 1.0)]
    assert errors[0] == 0.0
    assert errors == sorted(errors)
    assert errors[1] < errors[-1]


@pytest.mark.parametrize("severity", [0.33, 0.71])
@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_of_smooth_operations_equal_finite_differences(
    name: str, severity: float
) -> None:
    x = scene(6, 8, 8, batch=2).double().requires_grad_()
    s = torch.tensor([severity, severity / 2], dtype=torch.float64, requires_grad=True)
    draws = [drawn(name, 7), drawn(name, 8)]
    weight = torch.rand_like(x).detach()

    def total(picture: Tensor, severity: Tensor) -> Tensor:
        return (apply(picture, severity, draws) * weight).sum()

    assert torch.autograd.gradcheck(total, (x, s), fast_mode=True)
    assert torch.autograd.gradcheck(total, (x.detach(), s))


@pytest.mark.parametrize("name", ["downsample", "quantise", "jpeg"])
def test_the_picture_gradient_of_coding_and_sampling_passes_straight_through(name: str) -> None:
    x = scene(7).requires_grad_()
    (gradient,) = torch.autograd.grad(at(x, 0.5, drawn(name, 1)).sum(), x)
    assert torch.equal(gradient, torch.ones_like(x))


# Scene and optics -------------------------------------------------------------------------------


def test_lost_contrast_keeps_the_mean_and_shrinks_the_deviation() -> None:
    x = scene(8).double()
    out = at(x, 0.5, drawn("tone", loss=0.8, offset=0.0, log_gamma=0.0))
    assert out.mean().item() == pytest.approx(x.mean().item(), abs=1e-7)
    assert (out.std() / x.std()).item() == pytest.approx(1 - 0.5 * 0.8, abs=1e-6)


def test_an_offset_of_tone_moves_every_pixel_alike() -> None:
    x = scene(9)
    out = at(x, 0.5, drawn("tone", loss=0.0, offset=0.2, log_gamma=0.0))
    torch.testing.assert_close(out, x + 0.1)


def test_gamma_two_squares_the_picture() -> None:
    x = scene(10)
    # e^(s g) = 2
    out = at(x, 2 * math.log(2), drawn("tone", loss=0.0, offset=0.0, log_gamma=0.5))
    torch.testing.assert_close(out, x**2)


def moments(spot: Tensor, angle: float) -> tuple[float, float]:
    """Second moments of a spot along a direction and across it, in pixels²."""
    height, width = spot.shape[-2:]
    v, u = torch.meshgrid(
        torch.arange(height) - height // 2.0, torch.arange(width) - width // 2.0, indexing="ij"
    )
    along = u * math.cos(angle) + v * math.sin(angle)
    across = v * math.cos(angle) - u * math.sin(angle)
    return float((spot * along**2).sum()), float((spot * across**2).sum())


def point() -> Tensor:
    x = torch.zeros(1, 1, 65, 65, dtype=torch.float64)
    x[..., 32, 32] = 1.0
    return x


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0])
@pytest.mark.parametrize(("stretch", "ratio"), [(0.4, 1.0), (1.0, 1.0), (1.6, 1.6)])
def test_a_blurred_point_has_the_variance_that_was_drawn(
    sigma: float, stretch: float, ratio: float
) -> None:
    spot = at(point(), sigma / BLUR_SIGMA, drawn("blur", angle=0.7, stretch=stretch))
    assert spot.sum().item() == pytest.approx(1.0)
    along, across = moments(spot[0, 0], 0.7)
    assert along == pytest.approx(sigma**2, rel=0.01)
    assert across == pytest.approx((sigma / ratio) ** 2, rel=0.01)


@pytest.mark.parametrize("severity", [0.25, 0.5, 1.0])
@pytest.mark.parametrize(("angle", "axis"), [(0.0, -1), (math.pi / 2, -2)])
def test_motion_smears_a_point_into_a_line_of_the_drawn_length(
    severity: float, angle: float, axis: int
) -> None:
    spot = at(point(), severity, drawn("motion", angle=angle))
    line = spot.movedim(axis, -1)[0, 0, 32]
    assert line.sum().item() == pytest.approx(1.0, abs=1e-5)  # nothing beside the line
    assert 1 / line.max().item() == pytest.approx(severity * MOTION_LENGTH, rel=1e-5)
    assert line.allclose(line.flip(0))


@pytest.mark.parametrize("angle", [0.3, 1.2, 2.5])
def test_motion_along_any_direction_has_the_variance_of_a_line(angle: float) -> None:
    spot = at(point(), 0.8, drawn("motion", angle=angle))
    along, across = moments(spot[0, 0], angle)
    assert along == pytest.approx((0.8 * MOTION_LENGTH) ** 2 / 12, rel=0.05)
    assert across < 0.5


@pytest.mark.parametrize("name", ["blur", "motion", "downsample", "jpeg", "quantise"])
def test_a_flat_picture_stays_flat(name: str) -> None:
    x = torch.full((1, 1, 32, 40), 128 / 256)
    tolerance = 1 / 255 if name == "jpeg" else 1e-6
    for seed in range(3):
        out = at(x, 0.6, drawn(name, seed))
        assert out.std() < 1e-6
        assert out.mean().item() == pytest.approx(
            0.5, abs=0.5 / 16 if name == "quantise" else tolerance
        )


# Sampling ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [2, 4])
def test_bicubic_sampling_agrees_with_pillow(factor: int) -> None:
    x = scene(11, 64, 96)
    some = drawn("downsample", area=0.0, whole=1.0)
    out = at(x, (factor - 1) / (LARGEST_FACTOR - 1), some)[0, 0].numpy()
    picture = Image.fromarray(x[0, 0].numpy())
    small = picture.resize((96 // factor, 64 // factor), Image.Resampling.BICUBIC)
    reference = np.asarray(small.resize((96, 64), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(out, reference, rtol=0, atol=1e-4)


def test_area_sampling_averages_whole_cells() -> None:
    x = scene(12, 32, 32)
    out = at(x, 0.2, drawn("downsample", area=1.0, whole=1.0))
    cells = x[0, 0].view(16, 2, 16, 2).mean((1, 3)).numpy()
    reference = np.asarray(Image.fromarray(cells).resize((32, 32), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(out[0, 0].numpy(), reference, rtol=0, atol=1e-4)


def test_whole_factors_are_whole() -> None:
    x = scene(13, 60, 60)
    whole = drawn("downsample", area=0.0, whole=1.0)
    assert torch.equal(at(x, 0.25, whole), at(x, 0.2, whole))  # 2.25 and 2
    fraction = drawn("downsample", area=0.0, whole=0.0)
    assert not torch.equal(at(x, 0.25, fraction), at(x, 0.2, fraction))


# Detector ---------------------------------------------------------------------------------------


def test_stripes_have_the_stated_deviation_and_do_not_change_down_a_column() -> None:
    x = torch.full((1, 1, 4, 20_000), 0.4)
    out = at(x, 0.5, drawn("stripe", gain=0.0, drift=0.0, pairing=0.0)) - x
    assert torch.equal(out.amax(2), out.amin(2))
    assert out[0, 0, 0].std().item() == pytest.approx(0.5 * COLUMN_SIGMA, rel=0.03)
    assert out.mean().item() == pytest.approx(0.0, abs=0.01)


def test_stripes_of_neighbouring_columns_are_independent_unless_paired() -> None:
    x = torch.full((1, 1, 1, 20_000), 0.4)

    def correlation(pairing: float) -> float:
        line = (at(x, 0.5, drawn("stripe", gain=0.0, drift=0.0, pairing=pairing)) - x).flatten()
        return float(torch.corrcoef(torch.stack([line[1:], line[:-1]]))[0, 1])

    assert correlation(0.0) == pytest.approx(0.0, abs=0.03)
    # offsets (a + b) / 2: neighbours share one of two
    assert correlation(0.5) == pytest.approx(0.5, abs=0.03)


def test_stripes_of_gain_vanish_at_their_pivot_and_grow_away_from_it() -> None:
    some = drawn("stripe", gain=0.5, drift=0.0, pairing=0.0, pivot=0.5)
    offset = drawn("stripe", gain=0.0, drift=0.0, pairing=0.0, pivot=0.5)
    pivot, bright, dark = (torch.full((1, 1, 1, 500), value) for value in (0.5, 0.9, 0.1))
    torch.testing.assert_close(
        at(pivot, 0.5, some) - pivot, (at(pivot, 0.5, offset) - pivot) / 2, rtol=0, atol=1e-6
    )
    rise = (at(bright, 0.5, some) - bright) - (at(pivot, 0.5, some) - pivot)
    fall = (at(dark, 0.5, some) - dark) - (at(pivot, 0.5, some) - pivot)
    assert rise.abs().mean() > 0.01
    torch.testing.assert_close(rise, -fall, rtol=0, atol=1e-6)


def test_drift_bends_a_stripe_slowly() -> None:
    x = torch.full((1, 1, 200, 300), 0.4)
    out = at(x, 0.5, drawn("stripe", gain=0.0, drift=0.5, pairing=0.0, waves=1.0)) - x
    assert out.std(2).mean() > 0.1 * out.std(3).mean()
    assert out.diff(dim=2).abs().mean() < 0.02 * out.diff(dim=3).abs().mean()


def test_row_noise_is_one_offset_a_row() -> None:
    x = torch.full((1, 1, 20_000, 3), 0.4)
    out = at(x, 0.5, drawn("row")) - x
    assert torch.equal(out.amax(3), out.amin(3))
    assert out[0, 0, :, 0].std().item() == pytest.approx(0.5 * ROW_SIGMA, rel=0.03)


def test_white_noise_has_the_stated_deviation_and_no_structure() -> None:
    x = scene(14, 200, 200)
    out = (at(x, 0.5, drawn("gaussian")) - x)[0, 0]
    assert out.std().item() == pytest.approx(0.5 * NOISE_SIGMA, rel=0.03)
    assert out.mean(0).std().item() == pytest.approx(0.5 * NOISE_SIGMA / math.sqrt(200), rel=0.2)
    assert (out[1:] * out[:-1]).mean().abs() < 0.02 * out.var()
    assert (out[:, 1:] * out[:, :-1]).mean().abs() < 0.02 * out.var()


@pytest.mark.parametrize("level", [0.04, 0.25, 0.64])
def test_shot_noise_has_a_variance_in_proportion_to_the_signal(level: float) -> None:
    x = torch.full((1, 1, 200, 200), level)
    out = at(x, 0.5, drawn("shot", floor=0.0)) - x
    assert out.std().item() == pytest.approx(0.5 * NOISE_SIGMA * math.sqrt(level), rel=0.03)


@pytest.mark.parametrize("severity", [0.3, 0.6, 1.0])
def test_the_stated_share_of_pixels_dies(severity: float) -> None:
    x = torch.full((1, 1, 500, 500), 0.37)
    alone = at(x, severity, drawn("dead", share=1.0, cluster=0.0)) != x
    assert alone.float().mean().item() == pytest.approx(severity * DEAD_SHARE, rel=0.06)
    few = at(x, severity, drawn("dead", share=0.1, cluster=0.0)) != x
    assert few.float().mean().item() == pytest.approx(0.1 * severity * DEAD_SHARE, rel=0.2)


def test_dead_pixels_stay_dead_as_severity_rises() -> None:
    x = torch.full((1, 1, 200, 200), 0.37)
    some = drawn("dead", share=1.0)
    mild, strong = at(x, 0.4, some) != x, at(x, 0.9, some) != x
    assert bool((strong | ~mild).all())


def test_clusters_of_dead_pixels_have_at_most_four() -> None:
    x = torch.full((1, 1, 400, 400), 0.37)
    alone = at(x, 1.0, drawn("dead", share=0.1, cluster=0.0)) != x
    cluster = at(x, 1.0, drawn("dead", share=0.1, cluster=1.0)) != x
    assert int(alone.sum()) < int(cluster.sum()) <= 4 * int(alone.sum())


def test_a_dead_pixel_keeps_nothing_of_the_scene() -> None:
    some = drawn("dead", share=1.0)
    one, other = (torch.full((1, 1, 300, 300), level) for level in (0.37, 0.61))
    out_one, out_other = at(one, 1.0, some), at(other, 1.0, some)
    dead = (out_one != one) & (out_other != other)
    assert out_one[dead].min() >= 0
    assert out_one[dead].max() <= 1
    same = torch.isclose(out_one[dead], out_other[dead], atol=1e-6)
    assert same.float().mean() > 0.95  # all but those within their ramp
    extreme = (out_one[dead] < 1e-6) | (out_one[dead] > 1 - 1e-6)
    assert extreme.float().mean() > 0.5


def test_shading_is_smooth_and_without_gain_does_not_see_the_scene() -> None:
    one, other = scene(15), scene(16)
    some = drawn("shading", gain=0.0)
    field = at(one, 0.8, some) - one
    torch.testing.assert_close(field, at(other, 0.8, some) - other, rtol=0, atol=1e-6)
    assert field.abs().max() > 0.01
    for axis in (2, 3):
        assert field.diff(n=2, dim=axis).abs().max() < 1e-3


# Coding -----------------------------------------------------------------------------------------


def test_the_strongest_quantisation_leaves_the_stated_bits() -> None:
    out = at(torch.linspace(0, 1, 5000).view(1, 1, 50, 100), 1.0, drawn("quantise"))
    levels = out.unique() * 2**FEWEST_BITS
    torch.testing.assert_close(levels, levels.round())
    assert len(levels) == 2**FEWEST_BITS + 1


@given(severity=st.floats(0, 2.0**-10, width=32))
@settings(deadline=None)
def test_the_faintest_quantisation_cannot_be_seen(severity: float) -> None:
    x = scene(17, 16, 16)
    assert (at(x, severity, drawn("quantise")) - x).abs().max() < 1e-5


def test_jpeg_agrees_with_pillow() -> None:
    x = scene(18)
    out = at(x, 0.5, drawn("jpeg"))[0, 0].numpy()
    file = io.BytesIO()
    grey = Image.fromarray((x[0, 0] * 255).round().to(torch.uint8).numpy())
    grey.save(file, "JPEG", quality=round(100 - 0.5 * (100 - LOWEST_QUALITY)))
    reference = np.asarray(Image.open(file)) / 255
    np.testing.assert_allclose(out, reference, rtol=0, atol=2.5 / 255)


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_the_same_draw_makes_the_same_pixels_on_a_gpu(name: str) -> None:
    x, some = scene(19), drawn(name, 9)
    out = apply(x.cuda(), torch.tensor([0.6]).cuda(), [some]).cpu()
    close = torch.isclose(out, at(x, 0.6, some), rtol=0, atol=1e-4)
    assert close.float().mean() > 0.999  # a level may round the other way
