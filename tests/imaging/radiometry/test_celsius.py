"""Counts become degrees: NaN where there are none, float32, and never without a calibration."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cameras import BLACK_BODY

from deal_cli.errors import PictureError
from deal_cli.imaging.frame import Frame, Metadata, Resolution
from deal_cli.imaging.radiometry.calibration import Planck, Radiometry
from deal_cli.imaging.radiometry.celsius import check_celsius, in_celsius


def of_celsius(degrees: float) -> float:
    """The counts of a black body."""
    return 16000 / (0.0125 * (math.exp(1450 / (degrees + 273.15)) - 1)) + 7000


def frame(values: Any, planck: Planck | None = BLACK_BODY, **metadata: Any) -> Frame:
    told = Metadata(radiometry=Radiometry("FLIR", planck), **metadata)
    return Frame(np.array(values, np.float32), np.dtype(np.uint16), told)


def test_counts_of_a_black_body_become_its_temperature() -> None:
    made = in_celsius(frame([[of_celsius(t) for t in (-20, 0, 36.6, 150)]]))
    np.testing.assert_allclose(made.values, [[-20, 0, 36.6, 150]], atol=0.01)
    assert made.dtype == np.float32
    assert made.values.dtype == np.float32


def test_counts_that_no_temperature_gives_are_nan() -> None:
    values = [[7000, 6999, 0, -5, np.nan, of_celsius(20)]]
    made = in_celsius(frame(values)).values
    assert np.isnan(made[0, :5]).all()
    assert made[0, 5] == pytest.approx(20, abs=0.01)


def test_what_stands_for_no_measurement_is_nan_and_no_number_any_more() -> None:
    warm = of_celsius(20)
    source = frame([[20000, warm, 0]], nodata=20000.0, description="roof")
    made = in_celsius(source)
    assert np.isnan(made.values[0]).tolist() == [True, False, True]
    assert made.metadata.nodata is None
    assert source.values[0, 0] == 20000  # a frame is never changed
    assert np.isfinite(in_celsius(frame([[20000, warm]])).values).all()  # a count like any other


@pytest.mark.parametrize("nodata", [math.nan, math.inf, -9999.0, None])
def test_a_nodata_value_that_no_count_can_be_changes_nothing(nodata: float | None) -> None:
    values = [[of_celsius(20), of_celsius(30)]]
    made = in_celsius(frame(values, nodata=nodata))
    np.testing.assert_allclose(made.values, [[20, 30]], atol=0.01)
    assert made.metadata.nodata is None


def test_everything_else_that_the_file_says_is_kept() -> None:
    density = Resolution(300, 150, "inch")
    source = frame([[9000]], description="roof", resolution=density, exif=b"MM\0*")
    made = in_celsius(source)
    kept = made.metadata
    assert (kept.description, kept.resolution, kept.exif) == ("roof", density, b"MM\0*")
    assert kept.radiometry == source.metadata.radiometry


@pytest.mark.parametrize(
    ("metadata", "whose"),
    [
        (Metadata(), "its numbers become"),
        (Metadata(radiometry=Radiometry("DJI", None)), "DJI's counts become"),
    ],
)
def test_without_a_calibration_there_are_no_degrees(metadata: Metadata, whose: str) -> None:
    source = Frame(np.zeros((2, 3), np.float32), np.dtype(np.uint16), metadata)
    with pytest.raises(PictureError, match=f"does not say how {whose} temperatures") as caught:
        in_celsius(source)
    assert "--unit" in str(caught.value.remedy)


def test_what_can_become_degrees_is_told_before_it_is_restored() -> None:
    source = frame([[9000]], nodata=3.0)
    checked = check_celsius(source)
    assert checked.dtype == np.float32
    assert checked.values is source.values
    with pytest.raises(PictureError, match="DJI's counts become temperatures"):
        check_celsius(replace(source, metadata=Metadata(radiometry=Radiometry("DJI", None))))
