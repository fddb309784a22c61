"""The protocol's degradations: each is what its name says, and the same pixels every time."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from deal_cli.errors import UsageError
from deal_cli.jobs.protocol.tasks import TASKS, degrade_for_task


def scene(height: int = 48, width: int = 64) -> NDArray[np.float32]:
    """A smooth picture between .25 and .75 on the levels of 8 bits, far from both ends."""
    y, x = np.mgrid[:height, :width]
    levels = np.rint(255 * (0.5 + 0.25 * np.sin(x / 7) * np.cos(y / 5)))
    return (levels / 255).astype(np.float32)


def levels(picture: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.clip(np.rint(picture * 255), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_gives_the_same_pixels_every_time(task: str) -> None:
    first, again = (degrade_for_task(scene(), task, "val20", "a") for _ in range(2))
    assert first.dtype == np.uint8
    assert first.shape == scene().shape
    np.testing.assert_array_equal(first, again)


def test_noise_depends_on_the_folder_and_the_stem() -> None:
    pictures = [
        degrade_for_task(scene(), "noise", *names)
        for names in (("val20", "a"), ("val20", "b"), ("test14", "a"))
    ]
    assert (pictures[0] != pictures[1]).any()
    assert (pictures[0] != pictures[2]).any()


def test_clean_is_the_picture_itself() -> None:
    np.testing.assert_array_equal(degrade_for_task(scene(), "clean", "s", "a"), levels(scene()))


@pytest.mark.parametrize(
    ("task", "sigma"), [("stripe02", 0.02), ("stripe05", 0.05), ("stripe10", 0.1)]
)
def test_stripes_are_one_offset_a_column(task: str, sigma: float) -> None:
    flat = np.full((20, 400), 0.5, np.float32)
    striped = degrade_for_task(flat, task, "s", "a") / 255
    assert (striped == striped[0]).all()
    assert np.std(striped[0]) == pytest.approx(sigma, rel=0.15)


def test_the_seed_is_the_checksum_of_folder_stem_and_task() -> None:
    flat = np.full((6, 8), 0.5, np.float32)
    rng = np.random.default_rng(zlib.crc32(b"val20__a|stripe05"))
    expected = levels(flat + rng.normal(0, 0.05, (1, 8)))
    np.testing.assert_array_equal(degrade_for_task(flat, "stripe05", "val20", "a"), expected)


def test_noise_has_its_sigma() -> None:
    flat = np.full((200, 200), 0.5, np.float32)
    noisy = degrade_for_task(flat, "noise", "s", "a") / 255
    assert np.std(noisy) == pytest.approx(0.04, rel=0.02)


def test_contrast_halves_every_deviation_from_the_mean() -> None:
    halves = np.full((8, 8), 0.25, np.float32)
    halves[:, 4:] = 0.75
    degraded = degrade_for_task(halves, "contrast", "s", "a")
    assert np.unique(degraded).tolist() == [96, 159]  # .375 and .625 of 255


def test_blur_agrees_with_scipy() -> None:
    degraded = degrade_for_task(scene(), "blur", "s", "a")
    reference = 255 * ndimage.gaussian_filter(scene().astype(np.float64), 1.5, mode="mirror")
    assert np.abs(degraded - reference).max() < 0.6


@pytest.mark.parametrize(("task", "factor"), [("sr2", 2), ("sr4", 4)])
def test_low_resolution_keeps_flat_and_slow_and_loses_fine(task: str, factor: int) -> None:
    fine = np.full((48, 48), 0.25, np.float32)
    fine[:, ::2] = 0.75
    lost = degrade_for_task(fine, task, "s", "a")
    assert np.abs(lost[:, 8:-8].astype(float) - 127.5).max() < 30
    flat = np.full((48, 48), 0.4, np.float32)
    assert (degrade_for_task(flat, task, "s", "a") == 102).all()
    kept = degrade_for_task(scene(), task, "s", "a")[8:-8, 8:-8] / 255
    assert np.abs(kept - scene()[8:-8, 8:-8]).max() < 0.01 * factor


def test_stripes_on_low_resolution_are_drawn_after_it() -> None:
    flat = np.full((16, 32), 0.5, np.float32)
    striped = degrade_for_task(flat, "stripe_sr4", "s", "a")
    assert (striped == striped[0]).all()
    assert len(np.unique(striped[0])) > 8


def test_all_together_lowers_contrast_and_adds_noise_columns_and_rows() -> None:
    flat = np.full((300, 400), 0.5, np.float32)
    degraded = degrade_for_task(flat, "all", "s", "a") / 255
    assert np.std(degraded.mean(axis=0)) == pytest.approx(0.04, rel=0.15)
    assert np.std(degraded.mean(axis=1)) == pytest.approx(0.01, rel=0.2)
    rest = degraded - degraded.mean(axis=0) - degraded.mean(axis=1, keepdims=True)
    assert np.std(rest) == pytest.approx(0.015, rel=0.05)
    halves = np.full((64, 300), 0.25, np.float32)
    halves[32:] = 0.75
    degraded = degrade_for_task(halves, "all", "s", "a") / 255
    assert degraded[40:].mean() - degraded[:24].mean() == pytest.approx(0.35, abs=0.01)


@given(st.sampled_from(TASKS), st.integers(1, 40), st.integers(1, 40), st.text(max_size=8))
def test_every_task_keeps_the_shape_of_any_picture(
    task: str, height: int, width: int, stem: str
) -> None:
    picture = np.linspace(0, 1, height * width, dtype=np.float32).reshape(height, width)
    assert degrade_for_task(picture, task, "s", stem).shape == (height, width)


def test_an_unknown_task_is_named_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'haze'; choose from clean, stripe02"):
        degrade_for_task(scene(), "haze", "s", "a")
