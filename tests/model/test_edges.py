"""Edge preservation and edge intensity: worked by hand, and as properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from skimage.filters import sobel

from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.jobs.protocol.tasks import degrade_for_task
from deal_cli.model.edges import edge_intensity, edge_preservation

Unit = NDArray[np.float32]

# Multiples of 1/32: then no edge is lost in rounding.
GRID = st.integers(0, 32).map(lambda level: level / 32)
PICTURES = arrays(np.float32, (5, 6), elements=GRID)


def scene(seed: int) -> Unit:
    return draw_scene(seed, 96, 128).values / np.float32(255)


def test_half_the_contrast_worked_by_hand() -> None:
    # The strengths are half everywhere, in the middle of their sigmoid: ½. Its value at 1 is
    # 1 / (1 + e^−7.5) = .999447. All directions are kept: ½ / .999447 = .500277.
    clean = scene(0)
    assert edge_preservation(0.5 * clean + 0.2, clean) == pytest.approx(0.500277, abs=1e-5)


def test_a_hot_pixel_against_a_ramp_worked_by_hand() -> None:
    # Around a pixel of 1 the Sobel gradients are 2 on its four sides, pointing at it, and √2 on its
    # four corners, along the diagonals. The ramp's are 8 · ¼ = 2 along the rows everywhere.
    # Left and right: same strength, same direction: 1.
    # Above and below: turned by 90°, A = 0: 1 / (1 + e^17.6) = 2.3e-8, nothing.
    # Corners: G = √2 / 2 = .70711, 1 / (1 + e^(−15 · .20711)) = .95716, over .999447: .95769;
    #   turned by 45°, A = ½, 1 / (1 + e^6.6) = .0013585, over 1 / (1 + e^−4.4) = .98787: .0013752;
    #   the product is .0013170.
    # Weighted: (2·2·1 + 2·2·0 + 4·√2·.0013170) / (4·2 + 4·√2) = 4.00745 / 13.65685 = .293439.
    clean, ramp = np.zeros((7, 7)), np.tile(np.arange(7) / 4, (7, 1))
    clean[3, 3] = 1.0
    assert edge_preservation(ramp, clean) == pytest.approx(0.293439, abs=1e-5)


def test_a_ramp_turned_by_a_right_angle_keeps_nothing() -> None:
    ramp = np.tile(np.linspace(0, 1, 20), (20, 1))
    assert edge_preservation(ramp.T, ramp) == pytest.approx(0.0, abs=1e-7)


def test_a_ramp_turned_by_eighteen_degrees_keeps_half() -> None:
    # A = 1 − 18/90 = .8, in the middle of its sigmoid: ½, over its value at 1, .98787: .50614.
    # The few pixels at the border see the ramp mirrored.
    y, x = np.mgrid[:200, :200] / 200
    turned = x * math.cos(math.pi / 10) + y * math.sin(math.pi / 10)
    assert edge_preservation(turned, x) == pytest.approx(0.50614, abs=0.01)


def test_a_negative_keeps_its_edges() -> None:
    # An orientation is a direction without a sign.
    clean = np.random.default_rng(0).integers(0, 33, (20, 20)) / 32
    assert edge_preservation(1 - clean, clean) == pytest.approx(1.0)


@pytest.mark.parametrize("task", ["noise", "stripe05", "blur", "contrast"])
def test_every_degradation_loses_edges(task: str) -> None:
    clean = scene(1)
    degraded = degrade_for_task(clean, task, "set", "stem").astype(np.float32) / 255
    assert 0.2 < edge_preservation(degraded, clean) < 0.8


@settings(max_examples=40, deadline=None)
@given(PICTURES)
def test_identical_pictures_score_exactly_one(picture: Unit) -> None:
    assume(edge_intensity(picture) > 0)
    assert edge_preservation(picture, picture) == pytest.approx(1.0, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(PICTURES, PICTURES)
def test_edge_preservation_is_a_share_that_turning_the_pictures_does_not_change(
    picture: Unit, clean: Unit
) -> None:
    assume(edge_intensity(clean) > 0)
    score = edge_preservation(picture, clean)
    assert 0.0 <= score <= 1.0 + 1e-12
    turned = edge_preservation(np.rot90(picture), np.rot90(clean))
    assert turned == pytest.approx(score, abs=1e-9)
    assert edge_preservation(picture + 0.25, clean) == pytest.approx(score, abs=1e-9)


def test_a_clean_picture_without_edges_has_no_figure() -> None:
    flat = np.full((12, 12), 0.3, np.float32)
    assert math.isnan(edge_preservation(flat, flat))
    assert math.isnan(edge_preservation(scene(0)[:12, :12], flat))


def test_a_flat_picture_keeps_no_edges() -> None:
    # 1 / (1 + e^7.5) = .00055 is what the sigmoid leaves of a strength of 0.
    clean = scene(0)
    assert edge_preservation(np.full_like(clean, 0.3), clean) == pytest.approx(0.00055, abs=1e-5)


def test_pictures_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        edge_preservation(np.zeros((12, 12)), np.zeros((12, 13)))


def test_edge_intensity_of_a_ramp_of_one_level_a_pixel_is_eight() -> None:
    # In the first and the last of 64 columns the mirrored ramp rises half as much.
    ramp = np.tile(np.arange(64) / 255, (9, 1))
    assert edge_intensity(ramp) == pytest.approx(8 * 63 / 64)
    assert edge_intensity(ramp.T) == pytest.approx(8 * 63 / 64)


def test_edge_intensity_agrees_with_scikit_image() -> None:
    # Its kernels are divided by 4, and its strength is a mean over the two directions: by √2.
    picture = scene(2).astype(np.float64)
    expected = 255 * 4 * math.sqrt(2) * float(sobel(picture).mean())
    assert edge_intensity(picture) == pytest.approx(expected)


def test_edge_intensity_of_a_flat_picture_is_nothing() -> None:
    assert edge_intensity(np.full((5, 5), 0.7, np.float32)) == 0.0
