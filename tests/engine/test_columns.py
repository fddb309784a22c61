"""What whole columns share is taken off; what they do not, is not."""

from __future__ import annotations

from typing import final

import numpy as np
import pytest
from numpy.typing import NDArray

from deal_cli.engine.backends.contract import Backend, Facts
from deal_cli.engine.columns import BLOCK, LEAST_OFFSET, LEAST_ROWS, reliability, shared_offsets
from deal_cli.engine.restorer import Restorer, Settings
from deal_cli.imaging.frame import Frame

SHAPE = (240, 160)
ONE = np.float32(1)


@final
class HalfWay(Backend):
    """Takes half of every column's deviation from the picture's mean, and counts its looks."""

    def __init__(self) -> None:
        facts = Facts("cpu", "test", "float32", "", "half-way", "", 1, (0, 0), 1)
        super().__init__(facts)
        self.looks = 0

    def run(
        self, x: NDArray[np.float32], whole: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        self.looks += 1
        columns = x.mean(2, keepdims=True)
        return x - (columns - columns.mean(3, keepdims=True)) / 2


def stripes(seed: int = 0, sigma: float = 0.05) -> NDArray[np.float32]:
    offsets = np.random.default_rng(seed).normal(0, sigma, SHAPE[1]).astype(np.float32)
    return offsets - offsets.mean()


def noise(seed: int, sigma: float) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, sigma, SHAPE).astype(np.float32)


def test_offsets_that_whole_columns_share_are_found() -> None:
    found = shared_offsets(stripes() + noise(1, 0.02), ONE)
    assert found is not None
    assert np.abs(found - stripes()).max() < 4 * 1.25 * 0.02 / np.sqrt(SHAPE[0])


def test_offsets_are_found_in_the_numbers_of_the_source() -> None:
    unit = shared_offsets(np.tile(stripes(), (99, 1)), ONE)
    counts = shared_offsets(np.tile(stripes(), (99, 1)) * 5000, np.float32(5000))
    assert unit is not None
    assert counts is not None
    np.testing.assert_allclose(counts, unit * 5000, rtol=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.05])
def test_noise_is_no_offset(sigma: float) -> None:
    assert shared_offsets(noise(2, sigma), ONE) is None


def test_what_two_halves_of_a_column_contradict_each_other_in_is_no_offset() -> None:
    turn = np.where(np.arange(SHAPE[0]) // BLOCK % 2 == 0, 1, -1).astype(np.float32)
    assert shared_offsets(stripes() * turn[:, None], ONE) is None


def test_a_thing_that_fills_less_than_half_of_a_column_is_no_offset() -> None:
    correction = np.zeros(SHAPE, np.float32)
    correction[:90, 70:80] = 0.3
    assert shared_offsets(correction, ONE) is None


def test_short_columns_and_faint_offsets_are_not_worth_it() -> None:
    assert shared_offsets(np.tile(stripes(), (LEAST_ROWS - 1, 1)), ONE) is None
    assert shared_offsets(np.tile(stripes(), (LEAST_ROWS, 1)), ONE) is not None
    faint = stripes() / stripes().std() * np.float32(LEAST_OFFSET)
    assert shared_offsets(np.tile(faint * np.float32(0.9), (240, 1)), ONE) is None
    assert shared_offsets(np.tile(faint * np.float32(1.1), (240, 1)), ONE) is not None


def test_reliability_follows_the_formula_of_spearman_and_brown() -> None:
    a = np.array([1, -1, 1, -1], np.float32)
    b = np.array([1, 1, -1, -1], np.float32)
    assert reliability(a, a) == pytest.approx(1)
    assert reliability(a, b) == 0
    assert reliability(a, -a) == 0
    # A correlation of a half between the halves is two thirds for both together.
    half = (a + np.sqrt(3).astype(np.float32) * b) / 2
    assert reliability(a, half) == pytest.approx(2 / 3)
    assert reliability(a, np.ones_like(a)) == 0


def restored(values: NDArray[np.float32], strength: float = 1.0) -> tuple[Frame, int]:
    backend = HalfWay()
    frame = Frame(values, np.dtype(np.float32))
    settings = Settings(range=(0.0, 1.0), tone="keep", strength=strength)
    return Restorer(backend, settings).restore(frame).frame, backend.looks


def test_a_striped_picture_gets_a_second_look_without_what_was_found() -> None:
    frame, looks = restored(0.5 + np.tile(stripes(), (SHAPE[0], 1)))
    assert looks == 2
    # Each look takes half of what there is: a half is left for the second, a quarter after it.
    np.testing.assert_allclose(frame.values - 0.5, np.tile(stripes() / 4, (SHAPE[0], 1)), atol=1e-6)


def test_a_picture_without_stripes_is_looked_at_once() -> None:
    _, looks = restored(np.clip(0.5 + noise(3, 0.02), 0, 1))
    assert looks == 1


def test_a_second_look_at_strength_zero_still_gives_the_picture_back() -> None:
    values = 0.5 + np.tile(stripes(), (SHAPE[0], 1))
    frame, looks = restored(values, strength=0.0)
    assert looks == 2
    np.testing.assert_array_equal(frame.values, values)


def test_only_the_striped_pictures_of_a_batch_are_looked_at_again() -> None:
    backend = HalfWay()
    striped = 0.5 + np.tile(stripes(), (SHAPE[0], 1))
    frames = [Frame(v, np.dtype(np.float32)) for v in (np.full(SHAPE, 0.5, np.float32), striped)]
    frames[0].values[0, 0] = 0.6
    alone, _ = restored(striped)
    both = Restorer(backend, Settings(range=(0.0, 1.0), tone="keep")).restore_batch(frames)
    np.testing.assert_allclose(both[1].frame.values, alone.values, atol=1e-6)
    assert np.abs(both[0].frame.values - frames[0].values).max() < 1e-3


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("rows", [slice(0, 150), slice(60, 240), slice(30, 210)])
def test_what_a_part_of_a_column_shows_is_not_taken_off(width: int, rows: slice) -> None:
    correction = stripes(sigma=0.004) + noise(1, 0.004)
    correction[rows, 70 : 70 + width] += 0.06
    found = shared_offsets(correction, ONE)
    assert found is not None
    left = found - stripes(sigma=0.004)
    assert np.abs(left[70 : 70 + width]).max() < 0.06 / 2
    assert np.abs(np.delete(left, range(70, 70 + width))).max() < 0.003


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_an_upright_from_top_to_bottom_loses_no_more_than_stripes_explain(width: int) -> None:
    correction = stripes(sigma=0.004) + noise(1, 0.004)
    correction[:, 70 : 70 + width] += 0.06
    found = shared_offsets(correction, ONE)
    assert found is not None
    assert np.abs(found[70 : 70 + width]).max() < 0.06 / 2
