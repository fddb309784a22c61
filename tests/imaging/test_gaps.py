from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deal_cli.imaging.gaps import fill_gaps


def test_without_gaps_the_same_array_comes_back_unmasked() -> None:
    values = np.full((4, 4), 3e38, np.float32)
    filled, mask = fill_gaps(values)
    assert filled is values
    assert mask is None


def test_gaps_take_their_nearest_finite_neighbour_by_hand() -> None:
    values = np.array([[1, np.nan, np.nan, np.nan, 5], [1, np.inf, 9, -np.inf, 5]], np.float32)
    filled, mask = fill_gaps(values)
    assert mask is not None
    assert filled.tolist()[1] == [1, filled[1, 1], 9, filled[1, 3], 5]
    assert filled[0].tolist()[::2] == [1, 9, 5]
    assert np.isnan(values[0, 1])


def test_infinities_that_cancel_are_still_gaps() -> None:
    filled, mask = fill_gaps(np.array([[np.inf, -np.inf, 2.0]], np.float32))
    assert filled.tolist() == [[2, 2, 2]]
    assert mask is not None
    assert mask.tolist() == [[True, True, False]]


def test_a_picture_of_gaps_alone_becomes_zeros() -> None:
    filled, mask = fill_gaps(np.full((3, 4), np.nan, np.float32))
    assert (filled == 0).all()
    assert mask is not None
    assert mask.all()


@settings(deadline=None)
@given(hnp.arrays(np.float32, (7, 9), elements=st.sampled_from([1.0, 2.0, 3.0, np.nan, np.inf])))
def test_filling_invents_no_value_and_changes_no_finite_pixel(values: np.ndarray) -> None:
    filled, mask = fill_gaps(values)
    finite = np.isfinite(values)
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[finite], values[finite])
    assert (mask is None) == bool(finite.all())
    if finite.any():
        assert set(np.unique(filled)) <= set(np.unique(values[finite]))


def test_nodata_is_a_gap_like_any_other() -> None:
    values = np.array([[1, -9999, np.nan, 5, -9998.999]], np.float32)
    filled, mask = fill_gaps(values, -9999.0)
    assert mask is not None
    assert mask.tolist() == [[False, True, True, False, False]]
    assert filled.tolist() == [[1, 1, 5, 5, values[0, 4]]]
    assert fill_gaps(filled, -9999.0)[1] is None


def test_nodata_counts_as_what_float32_makes_of_it() -> None:
    for nodata in (-9999.1, -3.4028234663852886e38, 0.1, -1.7976931348623157e308):
        with np.errstate(over="ignore"):
            values = np.array([[2.0, np.float32(nodata)]], np.float32)
        filled, mask = fill_gaps(values, nodata)
        assert mask is not None
        assert filled.tolist() == [[2, 2]]


def test_nodata_that_is_no_number_or_is_not_there_changes_nothing() -> None:
    values = np.full((3, 3), 7.0, np.float32)
    for nodata in (None, np.nan, np.inf, -9999.0):
        filled, mask = fill_gaps(values, nodata)
        assert filled is values
        assert mask is None


def test_a_picture_of_nodata_alone_becomes_zeros() -> None:
    filled, mask = fill_gaps(np.full((3, 4), -9999.0, np.float32), -9999.0)
    assert (filled == 0).all()
    assert mask is not None
    assert mask.all()
