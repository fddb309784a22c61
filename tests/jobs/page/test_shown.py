"""A picture before and after, with what became of it in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cameras import BLACK_BODY

from deal_cli.errors import PictureError
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.frame import Frame, Metadata
from deal_cli.imaging.radiometry.calibration import Radiometry
from deal_cli.imaging.radiometry.celsius import in_celsius
from deal_cli.jobs.page.shown import compare

COUNTS = draw_scene(0, 48, 64, "uint16")
CALIBRATED = replace(COUNTS, metadata=Metadata(radiometry=Radiometry("FLIR", BLACK_BODY)))


def warmer(frame: Frame, by: float) -> Frame:
    return replace(frame, values=frame.values + np.float32(by))


def test_the_numbers_shown_are_those_of_the_files() -> None:
    shown = compare("a.tif", COUNTS, warmer(COUNTS, 30))
    np.testing.assert_array_equal(shown.before, COUNTS.values)
    np.testing.assert_array_equal(shown.after, COUNTS.values + 30)
    assert (shown.name, shown.unit, shown.celsius) == ("a.tif", "counts", None)
    assert dict(shown.figures)["picture"] == "64x48, uint16, counts"
    assert dict(shown.figures)["mean shift"] == "+30.00 counts"
    assert shown.warning == "its mean moved by +30.00 counts"


def test_a_restored_picture_is_shown_as_its_file_holds_it() -> None:
    picture = draw_scene(1, 48, 64)
    restored = replace(picture, values=picture.values * 1.2 - 10.3)
    shown = compare("a.png", picture, restored)
    np.testing.assert_array_equal(shown.after, np.clip(np.rint(restored.values), 0, 255))


def test_the_pixel_that_moved_farthest_is_told_with_its_place() -> None:
    after = replace(CALIBRATED, values=CALIBRATED.values.copy())
    after.values[7, 9] -= 300
    kelvin = BLACK_BODY.celsius(after.values)[7, 9] - BLACK_BODY.celsius(CALIBRATED.values)[7, 9]
    told = dict(compare("a.tif", CALIBRATED, after).figures)["largest change"]
    assert told == f"{kelvin:.2f} K at 9,7"


def test_a_picture_that_stayed_itself_needs_no_second_look() -> None:
    shown = compare("a.tif", COUNTS, COUNTS)
    assert shown.warning is None
    assert dict(shown.figures)["99.9 % within"] == "0 counts"


@pytest.mark.parametrize(("end", "word"), [("argmax", "hottest"), ("argmin", "coldest")])
def test_a_spot_that_moved_is_worth_a_look(end: str, word: str) -> None:
    spot = replace(COUNTS, values=COUNTS.values.copy())
    at = getattr(spot.values, end)()
    span = np.ptp(spot.values)
    spot.values.ravel()[at] += span * (0.2 if word == "hottest" else -0.2)
    old, new = COUNTS.values.ravel()[at], spot.values.ravel()[at]
    shown = compare("a.tif", COUNTS, spot)
    assert shown.warning == f"its {word} spot moved, {old:.0f} → {new:.0f} counts"


def test_counts_of_a_calibrated_camera_are_told_in_degrees_too() -> None:
    plain = replace(warmer(CALIBRATED, 5), metadata=Metadata())  # an output that lost it
    shown = compare("a.tif", CALIBRATED, plain)
    assert shown.celsius is not None
    values = CALIBRATED.values.ravel()[:9]
    np.testing.assert_allclose(shown.celsius(values), BLACK_BODY.celsius(values[None])[0])
    assert dict(shown.figures)["mean shift"].endswith(" K")


def test_counts_before_become_degrees_where_degrees_are_after() -> None:
    degrees = replace(in_celsius(CALIBRATED), metadata=Metadata())
    shown = compare("a.tif", CALIBRATED, degrees)
    np.testing.assert_array_equal(shown.before, degrees.values)
    assert (shown.unit, shown.celsius) == ("°C", None)
    assert dict(shown.figures)["mean shift"] == "0.000 K"


def test_a_pixel_without_a_measurement_is_none_of_the_numbers() -> None:
    holes = Frame(COUNTS.values.copy(), np.dtype(np.float32), Metadata(nodata=-9999.0))
    holes.values[5, 6] = -9999
    shown = compare("a.tif", holes, holes)
    assert np.isnan(shown.before[5, 6])
    assert np.isnan(shown.after[5, 6])
    assert np.isfinite(shown.before).sum() == shown.before.size - 1


@pytest.mark.parametrize("scale", [2, 4])
def test_a_smaller_picture_is_enlarged_to_its_restoration(scale: int) -> None:
    large = draw_scene(0, 48 * scale, 64 * scale, "uint16")
    assert compare("a.tif", COUNTS, large).before.shape == large.values.shape


def test_pictures_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(PictureError, match="48x48 after, 64x48 before; give two pictures of one"):
        compare("a.tif", COUNTS, draw_scene(0, 48, 48, "uint16"))
    with pytest.raises(PictureError, match="uint8 after, uint16 before"):
        compare("a.tif", COUNTS, draw_scene(0, 48, 64))
    with pytest.raises(PictureError, match="float32 after, uint16 before"):
        compare("a.tif", COUNTS, replace(COUNTS, dtype=np.dtype(np.float32)))
