"""How far a clip is from its source: the figures of its frames, added up."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deal_cli.engine.fidelity.many import FidelityOfMany
from deal_cli.engine.fidelity.measure import Fidelity, Numbers, Spot, Unit, measure

LEVELS = Numbers(Unit.GREY, np.dtype(np.uint8))
Pair = tuple[NDArray[np.float32], NDArray[np.float32]]


def figures(source: object, result: object) -> Fidelity:
    told = measure(np.array(source, np.float32), np.array(result, np.float32), LEVELS)
    assert told is not None
    return told


def added(*frames: Fidelity) -> Fidelity | None:
    many = FidelityOfMany()
    for one in frames:
        many.add(one)
    return many.result()


def test_two_frames_by_hand() -> None:
    first = figures([[10, 20, 30, 40]], [[11, 20, 28, 43]])  # +1, 0, -2, +3
    second = figures([[50, 5]], [[44, 9]])  # -6, +4
    told = added(first, second)
    assert told is not None
    assert told.pixels == 6
    assert told.mean_shift == pytest.approx((1 - 2 + 3 - 6 + 4) / 6)
    assert told.mean_change == pytest.approx(16 / 6)
    assert told.p999_change == 6
    assert (told.hottest_before, told.hottest_after) == (Spot(50, 0, 0), Spot(44, 0, 0))
    assert (told.coldest_before, told.coldest_after) == (Spot(5, 1, 0), Spot(9, 1, 0))
    assert (told.outside, told.beyond) == (1, 3)
    assert told.mean_shift_k is None
    assert told.unit is Unit.GREY


def test_no_frame_has_no_figures_and_one_has_its_own() -> None:
    assert added() is None
    one = figures([[1, 2]], [[3, 2]])
    assert added(one) == one


WARM: dict[str, Any] = {
    "mean_shift_k": 0.5,
    "mean_change_k": 1.5,
    "p999_change_k": 2.0,
    "largest_change_k": 3.0,
    "hottest_before_c": 80.0,
    "hottest_after_c": 79.0,
    "coldest_before_c": -5.0,
    "coldest_after_c": -4.0,
}


def test_kelvin_is_added_where_every_frame_has_it() -> None:
    warm = replace(figures([[10, 20]], [[11, 20]]), **WARM)
    hotter = replace(warm, pixels=6, mean_shift_k=-0.5, hottest_before_c=90.0, coldest_after_c=-9.0)
    told = added(warm, hotter)
    assert told is not None
    assert told.mean_shift_k == pytest.approx((2 * 0.5 - 6 * 0.5) / 8)
    assert (told.mean_change_k, told.p999_change_k) == (1.5, 2)
    assert (told.hottest_before_c, told.hottest_after_c) == (90, 79)
    assert (told.coldest_before_c, told.coldest_after_c) == (-5, -9)


@pytest.mark.parametrize("lacking", [*WARM, None])
def test_where_a_frame_lacks_a_figure_in_kelvin_there_are_none(lacking: str | None) -> None:
    plain = figures([[10, 20]], [[11, 20]])
    warm = replace(plain, **WARM)
    less = replace(plain, **(WARM | {lacking: None})) if lacking else plain
    for frames in itertools.permutations((warm, less, warm)):
        assert added(*frames) == replace(plain, pixels=6)


def test_frames_of_different_units_are_not_added_up() -> None:
    levels = figures([[10, 20]], [[11, 20]])
    counts = replace(levels, unit=Unit.COUNTS)
    assert added(levels, counts) is None
    assert added(counts, counts, levels, counts) is None
    assert added(counts, counts) == replace(counts, pixels=4)


@st.composite
def clips(draw: st.DrawFn) -> list[Pair]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    width = draw(st.integers(1, 20))
    pairs = []
    for height in draw(st.lists(st.integers(1, 20), min_size=1, max_size=6)):
        source = rng.integers(0, 256, (height, width)).astype(np.float32)
        change = np.rint(rng.normal(0, 9, source.shape)).astype(np.float32)
        pairs.append((source, (source + change).clip(0, 255)))
    return pairs


@settings(max_examples=60, deadline=None)
@given(clips(), st.randoms(use_true_random=False))
def test_means_and_extremes_are_those_of_all_pixels_in_any_order(
    clip: list[Pair], random: object
) -> None:
    whole = figures(*(np.concatenate(part) for part in zip(*clip, strict=True)))
    each = [figures(*pair) for pair in clip]
    random.shuffle(each)  # type: ignore[attr-defined]
    told = added(*each)
    assert told is not None
    assert told.pixels == whole.pixels
    assert told.mean_shift == pytest.approx(whole.mean_shift, abs=1e-4)
    assert told.mean_change == pytest.approx(whole.mean_change, abs=1e-4)
    for name in ("hottest_before", "hottest_after", "coldest_before", "coldest_after"):
        assert getattr(told, name).value == getattr(whole, name).value
    assert told.p999_change == max(one.p999_change for one in each) >= whole.p999_change
    assert told.outside == sum(one.outside for one in each) >= whole.outside
    assert told.beyond == max(one.beyond for one in each) >= whole.beyond
