"""VIF, mutual information and entropy: by hand, as properties, and against other libraries."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image
from scipy.special import rel_entr
from sewar.full_ref import vifp
from skimage.metrics import normalized_mutual_information
from torchmetrics.functional.image import visual_information_fidelity

from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.jobs.protocol.tasks import degrade_for_task
from deal_cli.model.information import entropy, mutual_information, vif

Unit = NDArray[np.float32]

SIDE = 96  # pixels: small enough for float64 at any number of tests
TASKS = ("noise", "stripe05", "blur")
PICTURES = arrays(np.float32, (5, 6), elements=st.floats(-0.125, 1.125, width=32))


def scene(seed: int) -> Unit:
    return draw_scene(seed, SIDE, SIDE).values / np.float32(255)


def real(data: Path, name: str) -> Unit:
    with Image.open(data / "val20" / name) as image:
        picture = np.asarray(image.convert("L"), np.float32) / 255
    return picture[200 : 200 + SIDE, 250 : 250 + SIDE]


def degraded(clean: Unit, task: str) -> Unit:
    return degrade_for_task(clean, task, "set", "stem").astype(np.float32) / 255


def random_pair(seed: int) -> tuple[Unit, Unit]:
    rng = np.random.default_rng(seed)
    clean = rng.random((SIDE, 60), np.float32)
    return (0.7 * clean + 0.3 * rng.random(clean.shape, np.float32)), clean


def sewar_vif(picture: Unit, clean: Unit) -> float:
    return float(vifp(255.0 * clean.astype(np.float64), 255.0 * picture.astype(np.float64)))


def divergence(picture: Unit, clean: Unit) -> float:
    """Bits between the joint distribution and what it would be if the pictures were independent."""
    levels = (np.rint(255 * np.clip(values, 0, 1)).ravel() for values in (picture, clean))
    joint, _, _ = np.histogram2d(*levels, bins=256, range=((-0.5, 255.5), (-0.5, 255.5)))
    joint /= joint.sum()
    independent = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    return float(rel_entr(joint, independent).sum() / math.log(2))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_both_agree_with_others_on_random_pictures(seed: int) -> None:
    picture, clean = random_pair(seed)
    assert vif(picture, clean) == pytest.approx(sewar_vif(picture, clean), abs=1e-4)
    assert mutual_information(picture, clean) == pytest.approx(divergence(picture, clean))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", [1, 5])
def test_both_agree_with_others_on_drawn_scenes(seed: int, task: str) -> None:
    clean = scene(seed)
    picture = degraded(clean, task)
    assert vif(picture, clean) == pytest.approx(sewar_vif(picture, clean), abs=1e-4)
    assert mutual_information(picture, clean) == pytest.approx(divergence(picture, clean))


@pytest.mark.data
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ["ir20_03.png", "ir20_14.png"])
def test_both_agree_with_others_on_real_pictures(data: Path, name: str, task: str) -> None:
    clean = real(data, name)
    picture = degraded(clean, task)
    assert vif(picture, clean) == pytest.approx(sewar_vif(picture, clean), abs=1e-4)
    assert mutual_information(picture, clean) == pytest.approx(divergence(picture, clean))


@pytest.mark.parametrize("task", TASKS)
def test_vif_in_single_precision_is_that_in_double_precision(task: str) -> None:
    clean = scene(3)
    picture = degraded(clean, task)
    x, y = (torch.from_numpy(255 * values.astype(np.float64)) for values in (picture, clean))
    doubled = visual_information_fidelity(x[None, None], y[None, None], sigma_n_sq=2.0).item()
    assert vif(picture, clean) == pytest.approx(doubled, abs=2e-5)


def test_vif_of_a_picture_with_itself_is_one_and_of_a_flat_one_nothing() -> None:
    clean = scene(4)
    assert vif(clean, clean) == pytest.approx(1.0, abs=1e-6)
    assert vif(np.full_like(clean, 0.4), clean) == pytest.approx(0.0, abs=1e-6)


def test_vif_does_not_see_an_offset_and_rises_with_contrast() -> None:
    clean = scene(4)
    assert vif(clean + np.float32(0.1), clean) == pytest.approx(1.0, abs=1e-4)
    assert vif(0.5 * clean, clean) < 0.9
    assert vif(1.5 * clean, clean) > 1.05


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_vif_has_nothing_to_say_of_a_flat_clean_picture(level: float) -> None:
    flat = np.full((41, 50), level, np.float32)
    assert math.isnan(vif(flat, flat))
    assert math.isnan(vif(scene(0)[:41, :50], flat))


def test_vif_falls_as_noise_grows() -> None:
    clean = scene(6)
    noise = np.random.default_rng(0).normal(0, 1, clean.shape)
    scores = [vif(clean + sigma * noise, clean) for sigma in (0.0, 0.01, 0.03, 0.1)]
    assert scores == sorted(scores, reverse=True)


def test_vif_needs_four_scales() -> None:
    with pytest.raises(ValueError, match="VIF needs 41 px on each side, not 60×40"):
        vif(np.zeros((40, 60)), np.zeros((40, 60)))


def test_mutual_information_worked_by_hand() -> None:
    # Two black and two white pixels: one bit. Half of the white ones turned black in the picture:
    # the pairs are (0, 0) ½, (0, 1) ¼, (1, 1) ¼. H(picture) = ¾ log2 4/3 + ¼ log2 4 = .81128,
    # H(clean) = 1, H(both) = ½ + ½ + ½ = 1.5.
    clean = np.array([[0.0, 0.0], [1.0, 1.0]])
    picture = np.array([[0.0, 0.0], [0.0, 1.0]])
    assert entropy(clean) == 1.0
    assert entropy(picture) == pytest.approx(0.81128, abs=1e-5)
    assert mutual_information(picture, clean) == pytest.approx(0.31128, abs=1e-5)


def test_mutual_information_agrees_with_that_of_scikit_image() -> None:
    clean = np.rint(255 * scene(2)).astype(np.float32) / 255
    picture = np.float32(0.8) * clean
    clean[0, :2] = picture[0, :2] = (0.0, 1.0)  # its 256 bins are then the grey levels
    # It normalises: (H(A) + H(B)) / H(A, B).
    a, b = entropy(picture), entropy(clean)
    levels = (np.rint(255 * values) for values in (picture, clean))
    normalised = normalized_mutual_information(*levels, bins=256)
    expected = (a + b) * (1 - 1 / normalised)
    assert mutual_information(picture, clean) == pytest.approx(expected, abs=1e-4)


def test_entropy_is_eight_bits_where_every_level_is_as_frequent() -> None:
    levels = np.arange(256, dtype=np.float32).reshape(16, 16) / 255
    assert entropy(levels) == 8.0
    assert mutual_information(levels, levels) == 8.0
    assert mutual_information(1 - levels, levels) == 8.0


def test_values_outside_the_range_count_as_its_ends() -> None:
    assert entropy(np.array([[-0.2, 0.0], [1.0, 1.3]])) == 1.0


def test_a_flat_picture_tells_nothing() -> None:
    flat = np.full((20, 20), 0.4, np.float32)
    assert entropy(flat) == 0.0
    assert mutual_information(flat, flat) == 0.0
    assert mutual_information(flat, scene(0)[:20, :20]) == 0.0


@settings(max_examples=40, deadline=None)
@given(PICTURES, PICTURES)
def test_mutual_information_is_symmetric_and_no_more_than_either_entropy(a: Unit, b: Unit) -> None:
    shared = mutual_information(a, b)
    assert shared == pytest.approx(mutual_information(b, a), abs=1e-9)
    assert 0.0 <= shared <= min(entropy(a), entropy(b)) + 1e-9


@settings(max_examples=40, deadline=None)
@given(PICTURES)
def test_what_a_picture_tells_of_itself_is_its_entropy(picture: Unit) -> None:
    assert mutual_information(picture, picture) == pytest.approx(entropy(picture), abs=1e-9)
    assert 0.0 <= entropy(picture) <= 8.0


@pytest.mark.parametrize("metric", [vif, mutual_information])
def test_pictures_of_two_shapes_are_refused(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(ValueError, match="one shape"):
        metric(np.zeros((50, 50)), np.zeros((50, 51)))
