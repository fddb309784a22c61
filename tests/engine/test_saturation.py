"""Plateaus of the ends stay; single pixels and noise at the ends do not."""

from __future__ import annotations

import numpy as np

from deal_cli.engine.saturation import saturated

U1, U2 = np.dtype(np.uint8), np.dtype(np.uint16)


def test_a_plateau_of_eight_bits_is_found_whole() -> None:
    values = np.full((20, 30), 90, np.float32)
    values[5:9, 6:12] = 255
    found = saturated(values, U1)
    assert found is not None
    np.testing.assert_array_equal(found, values == 255)


def test_single_pixels_and_lines_at_the_end_are_no_plateau() -> None:
    values = np.full((20, 30), 90, np.float32)
    values[4, 4], values[10], values[15:17, 3:5] = 255, 255, 0
    assert saturated(values, U1) is None


def test_the_ends_of_counts_are_the_least_and_the_greatest() -> None:
    values = np.random.default_rng(0).integers(7000, 8000, (20, 30)).astype(np.float32)
    values[2:6, 2:6] = 9000
    found = saturated(values, U2)
    assert found is not None
    np.testing.assert_array_equal(found, values == 9000)


def test_a_flat_picture_and_one_without_numbers_have_none() -> None:
    assert saturated(np.full((9, 9), 7.0, np.float32), U2) is None
    assert saturated(np.full((9, 9), np.nan, np.float32), np.dtype(np.float32)) is None
