"""What is no part of the scene is found where no file says it, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from deal_cli.errors import PictureError, UsageError
from deal_cli.imaging.absent import DETECTORS, find_absent
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import decode, encode
from deal_cli.imaging.frame import Frame, Metadata
from deal_cli.imaging.reading import ReadAs, parse_nodata

F4, U2, I2 = np.dtype(np.float32), np.dtype(np.uint16), np.dtype(np.int16)


def celsius(height: int = 60, width: int = 80, seed: int = 0) -> NDArray[np.float32]:
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).normal(0, 0.05, x.shape)
    return (20 + 5 * np.sin(x / 13) + 4 * np.cos(y / 9) + noise).astype(np.float32)


def kelvin_counts(height: int = 60, width: int = 80) -> NDArray[np.float32]:
    return np.rint((celsius(height, width) + 273.15) * 100).astype(np.float32)


@pytest.mark.parametrize("number", [-9999.0, -32768.0, -999.0, -3.4028235e38, 1e20])
@pytest.mark.parametrize("pixels", [1, 20, 2400])
def test_a_number_that_no_scene_has_stands_for_none(number: float, pixels: int) -> None:
    values = celsius()
    values.ravel()[-pixels:] = number
    absent = find_absent(values, F4, None)
    assert absent is not None
    np.testing.assert_array_equal(absent.mask.ravel(), np.arange(values.size) >= 4800 - pixels)
    assert str(pixels) in absent.told


@pytest.mark.parametrize("number", [0, 65535])
def test_a_collar_of_an_end_of_the_dtype_stands_for_none(number: int) -> None:
    values = kelvin_counts()
    values[:, :6] = number
    absent = find_absent(values, U2, None)
    assert absent is not None
    assert absent.told == f"360 pixels of {number}"
    assert absent.mask[:, :6].all()
    assert not absent.mask[:, 6:].any()


def test_two_numbers_at_once_are_both_found() -> None:
    values = kelvin_counts()
    values[:, :6], values[:3] = 0, 65535
    absent = find_absent(values, U2, None)
    assert absent is not None
    assert np.count_nonzero(absent.mask) == 3 * 80 + 57 * 6


def test_dead_pixels_stay_to_be_restored() -> None:
    values = kelvin_counts()
    values[10, 10], values[30, 40:42], values[50, 7] = 0, 0, 65535
    assert find_absent(values, U2, None) is None


def test_what_lies_near_the_others_is_a_measurement() -> None:
    frozen = celsius() - 20
    frozen[:9, :9] = 0  # melting ice in a scene about freezing
    assert find_absent(frozen, F4, None) is None
    hot = kelvin_counts()
    y, x = np.mgrid[:60, :80]
    hot += np.float32(60000) * np.exp(-((x - 40) ** 2 + (y - 30) ** 2) / 90)
    assert find_absent(np.minimum(hot, np.float32(65535)), U2, None) is None


def test_nothing_is_looked_for_in_eight_bits() -> None:
    values = np.full((40, 40), 200, np.float32)
    values[:, :6] = 0
    assert find_absent(values, np.dtype(np.uint8), None) is None


def test_a_picture_without_any_measurement_does_not_end_the_search_badly() -> None:
    assert find_absent(np.full((20, 20), np.nan, np.float32), F4, None) is None
    everywhere = find_absent(np.full((20, 20), -9999, np.float32), F4, None)
    assert everywhere is None  # all equal: nothing to be far from


@pytest.mark.parametrize(("width", "height"), DETECTORS[:4])
@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize("at", ["bottom", "top"])
def test_telemetry_is_found(width: int, height: int, rows: int, at: str) -> None:
    words = np.zeros((rows, width), np.float32)
    words[:, :40] = np.random.default_rng(1).integers(0, 60000, (rows, 40))
    scene = kelvin_counts(height, width)
    values = np.vstack([scene, words] if at == "bottom" else [words, scene])
    absent = find_absent(values, U2, None)
    assert absent is not None
    inside = np.zeros(values.shape, bool)
    inside[height:] = True
    np.testing.assert_array_equal(absent.mask, inside if at == "bottom" else inside[::-1])
    assert absent.told.startswith(f"{rows} row{'s' * (rows > 1)} of telemetry at the {at}")


def test_rows_of_the_scene_are_no_telemetry() -> None:
    assert find_absent(kelvin_counts(122, 160), U2, None) is None
    assert find_absent(kelvin_counts(61, 80), U2, None) is None


def test_a_declared_number_is_not_found_again() -> None:
    values = celsius()
    values[:5] = -9999
    assert find_absent(values, F4, -9999.0) is None


def test_a_user_overrules_what_is_found() -> None:
    values = celsius()
    values[:5] = -9999
    data = encode(Frame(values, F4), ".tif")
    assert decode(data, "x").absent is not None
    assert decode(data, "x", ReadAs(nodata="none")).absent is None
    given = decode(data, "x", ReadAs(nodata=-9999.0))
    assert given.absent is None
    assert given.metadata.nodata == -9999.0
    declared = encode(Frame(values, F4, Metadata(nodata=-9999.0)), ".tif")
    assert decode(declared, "x", ReadAs(nodata="none")).metadata.nodata is None


def test_a_word_that_is_no_number_is_refused() -> None:
    assert parse_nodata("-9999") == -9999.0
    assert parse_nodata("none") == "none"
    with pytest.raises(UsageError, match="auto, none or a number"):
        parse_nodata("nil")


def test_a_drawn_scene_is_all_measurement() -> None:
    frame = draw_scene(3, 96, 128)
    for dtype in (U2, I2, F4):
        assert find_absent(frame.values * 50, dtype, None) is None


def test_bytes_in_the_wrong_order_are_refused_or_turned() -> None:
    counts = kelvin_counts(120, 160).astype(np.uint16)
    swapped = encode(Frame(counts.byteswap().astype(np.float32), U2), ".png")
    with pytest.raises(PictureError, match="--byte-order swapped"):
        decode(swapped, "x")
    turned = decode(swapped, "x", ReadAs(byte_order="swapped"))
    np.testing.assert_array_equal(turned.values, counts)
    as_stored = decode(swapped, "x", ReadAs(byte_order="stored"))
    np.testing.assert_array_equal(as_stored.values, counts.byteswap())
