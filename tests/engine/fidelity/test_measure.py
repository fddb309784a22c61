"""What a restoration did to a measurement, in figures, and the bound that it may be held to."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from cameras import SMALL
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from deal_cli.engine.fidelity import measure as fidelity
from deal_cli.engine.fidelity.bound import Bound, apply_bound, parse_bound
from deal_cli.engine.fidelity.measure import Numbers, Spot, Unit, as_written, measure
from deal_cli.errors import PictureError, UsageError
from deal_cli.imaging.frame import Frame, Metadata
from deal_cli.imaging.grey import to_dtype
from deal_cli.imaging.radiometry.calibration import Planck, Radiometry

DTYPES = ("uint8", "uint16", "int16", "float32", "float64")
FLIR = Metadata(radiometry=Radiometry("FLIR", SMALL))


def values(rows: Any) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


def numbers(dtype: str, metadata: Metadata | None = None) -> Numbers:
    return Numbers.of(Frame(values([[0]]), np.dtype(dtype), metadata or Metadata()))


# --- the figures ---------------------------------------------------------------------------------


def test_the_figures_of_a_small_picture_by_hand() -> None:
    source = values([[10, 20, 30], [40, 20, 10]])
    result = values([[11.2, 20, 28], [43, 20.5, 6]])  # written as 11, 20, 28, 43, 20, 6
    told = measure(source, result, numbers("uint8"))
    assert told is not None
    assert told.unit is Unit.GREY
    assert told.pixels == 6
    assert told.mean_shift == pytest.approx((1 + 0 - 2 + 3 + 0 - 4) / 6)
    assert told.mean_change == pytest.approx(10 / 6)
    assert told.p999_change == 4
    assert (told.hottest_before, told.hottest_after) == (Spot(40, 0, 1), Spot(43, 0, 1))
    assert (told.coldest_before, told.coldest_after) == (Spot(10, 0, 0), Spot(6, 2, 1))
    assert (told.outside, told.beyond) == (2, 4)
    assert told.mean_shift_k is told.p999_change_k is told.hottest_after_c is None
    assert str(told) == "mean shift -0.33, 99.9 % within 4 grey levels, 2 outside its range"


def test_gaps_count_for_nothing() -> None:
    source = values([[np.nan, 2, -9999], [4, np.inf, 6]])
    result = source + values([[0, 1, 500], [0, 0, -1]])
    gaps = ~np.isfinite(source) | (source == -9999)
    told = measure(source, result, numbers("float32"), gaps)
    assert told is not None
    assert (told.pixels, told.mean_shift, told.p999_change) == (3, 0, 1)
    assert (told.hottest_before, told.coldest_before) == (Spot(6, 2, 1), Spot(2, 1, 0))
    assert (told.hottest_after, told.coldest_after) == (Spot(5, 2, 1), Spot(3, 1, 0))
    assert told.outside == 0
    assert str(told) == "mean shift +0, 99.9 % within 1"


def test_a_picture_of_gaps_alone_has_no_figures() -> None:
    empty = np.full((3, 4), np.nan, np.float32)
    assert measure(empty, empty, numbers("float32"), np.isnan(empty)) is None


def test_of_equally_hot_pixels_the_first_in_row_order_is_told() -> None:
    source = np.zeros((400, 300), np.float32)  # of several bands
    source[399, 0] = source[250, 7] = source[250, 9] = 5
    source[3, 299] = source[300, 1] = -5
    for gaps in (None, source == 1):
        told = measure(source, source, numbers("int16"), gaps)
        assert told is not None
        assert told.hottest_before == told.hottest_after == Spot(5, 7, 250)
        assert told.coldest_before == told.coldest_after == Spot(-5, 299, 3)
    told = measure(source, source, numbers("int16"), source == 5)
    assert told is not None
    assert told.hottest_before == Spot(0, 0, 0)


def test_an_enlarged_picture_that_does_not_change_has_no_change() -> None:
    source = values([[-3.4, 0.5, 1.5, 254.6, 271.0]])  # bicubic overshoot, halves
    told = measure(source, as_written(source, np.dtype("uint8")), numbers("uint8"))
    assert told is not None
    assert (told.mean_change, told.p999_change, told.outside) == (0, 0, 0)
    assert told.hottest_before == Spot(255, 3, 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_compared_is_what_is_written(dtype: str) -> None:
    source = np.random.default_rng(0).normal(100, 9e4, (300, 7)).astype(np.float32)
    kept = source.copy()
    written = as_written(source, np.dtype(dtype))
    np.testing.assert_array_equal(written, to_dtype(source, np.dtype(dtype)).astype(np.float32))
    np.testing.assert_array_equal(source, kept)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.float32], Any, str]:
    """Source, result, gaps or None, dtype."""
    shape = draw(st.tuples(st.integers(1, 60), st.integers(1, 60)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from(DTYPES))
    levels = draw(st.sampled_from([2, 30, 250]))
    source = rng.integers(0, levels, shape).astype(np.float32)
    result = (source + rng.standard_cauchy(shape) * draw(st.sampled_from([0, 0.3, 9]))).astype(
        np.float32
    )
    gaps = None
    if draw(st.booleans()):
        gaps = rng.random(shape) < draw(st.sampled_from([0.0, 0.2, 0.95]))
        source[gaps] = result[gaps] = 7777 if dtype[0] in "iu" else np.nan
    return source, result, gaps, dtype


@settings(deadline=None)
@given(pictures(), st.sampled_from([50, 2**16]))
def test_the_figures_are_those_of_plain_numpy(
    picture: tuple[NDArray[np.float32], NDArray[np.float32], Any, str], band: int
) -> None:
    source, result, gaps, dtype = picture
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fidelity, "BAND_PIXELS", band)
        told = measure(source, result, numbers(dtype), gaps)
    kept = np.ones(source.shape, bool) if gaps is None else ~gaps
    if not kept.any():
        assert told is None
        return
    assert told is not None
    old, new = source.astype(np.float64), result.astype(np.float64)
    if dtype[0] in "iu":
        limits = np.iinfo(dtype)
        old, new = (np.clip(np.round(x), limits.min, limits.max) for x in (old, new))
    change = (new - old)[kept]
    assert told.pixels == change.size
    assert told.mean_shift == pytest.approx(
        change.mean(), rel=1e-5, abs=1e-6 + told.mean_change / 1e6
    )
    assert told.mean_change == pytest.approx(np.abs(change).mean(), rel=1e-5, abs=1e-6)
    tail = np.percentile(np.abs(change), 99.9, method="inverted_cdf")
    assert told.p999_change == pytest.approx(tail, rel=1e-6)
    for before, after, at, least in (
        (told.hottest_before, told.hottest_after, np.argmax, -np.inf),
        (told.coldest_before, told.coldest_after, np.argmin, np.inf),
    ):
        for spot, x in ((before, old), (after, new)):
            y, column = np.unravel_index(at(np.where(kept, x, least)), x.shape)
            assert spot == Spot(x[y, column], column, y)
    low, high = old[kept].min(), old[kept].max()
    far = np.maximum(new - high, low - new)[kept]
    assert told.outside == (far > 0).sum()
    assert told.beyond == pytest.approx(max(far.max(), 0))


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_calibrated_frame_is_told_in_kelvin_too(dtype: str) -> None:
    rng = np.random.default_rng(3)
    source = np.rint(rng.normal(15000, 400, (90, 80))).astype(np.float32)
    result = source + rng.normal(2, 6, source.shape).astype(np.float32)
    told = measure(source, result, numbers(dtype, FLIR))
    assert told is not None
    assert told.unit is Unit.COUNTS
    kind = np.dtype(dtype)
    before, after = (SMALL.celsius(as_written(x, kind)).astype(float) for x in (source, result))
    assert told.mean_shift_k == pytest.approx((after - before).mean(), abs=1e-6)
    assert told.mean_change_k == pytest.approx(np.abs(after - before).mean(), abs=1e-6)
    tail = np.percentile(np.abs(after - before), 99.9, method="inverted_cdf")
    assert told.p999_change_k == pytest.approx(tail, abs=1e-5)
    ends = (told.hottest_before_c, told.hottest_after_c, told.coldest_before_c)
    assert ends == pytest.approx((before.max(), after.max(), before.min()))
    slope = SMALL.kelvin_per_count(values([[told.hottest_before.value]]))[0, 0]
    assert told.p999_change_k == pytest.approx(slope * told.p999_change, rel=0.3)
    assert str(told).startswith("mean shift +0.01")
    assert re.search(r", 99\.9 % within 0\.1\d K", str(told))


def test_counts_without_a_temperature_do_not_hide_those_that_have_one() -> None:
    source = values([[0, 15000, 15100, 15200]])  # 0 is far below what the camera calls 0 K
    result = values([[3, 15001, 15101, 15201]])
    told = measure(source, result, numbers("uint16", FLIR))
    assert told is not None
    assert told.coldest_before_c is None
    assert told.hottest_before_c is not None
    assert told.mean_shift_k is not None
    assert 0.005 < told.mean_shift_k < 0.02
    nowhere = measure(source[:, :1], result[:, :1], numbers("uint16", FLIR))
    assert nowhere is not None
    assert nowhere.mean_shift_k is nowhere.p999_change_k is None


def test_units_are_what_the_frame_says() -> None:
    assert numbers("uint8").unit is Unit.GREY
    assert numbers("uint16").unit is numbers("int16").unit is Unit.COUNTS
    assert numbers("float32").unit is Unit.OWN
    uncalibrated = numbers("uint16", Metadata(radiometry=Radiometry("DJI")))
    assert (uncalibrated.unit, uncalibrated.planck) == (Unit.COUNTS, None)


def test_the_row_is_flat_and_plain() -> None:
    told = measure(values([[0.1, 0.2]]), values([[0.1, 0.5]]), numbers("float32"))
    assert told is not None
    row = json.loads(json.dumps(told.to_json(), allow_nan=False))
    assert all(not isinstance(value, dict | list) for value in row.values())
    assert row["unit"] == "own numbers"
    assert (row["hottest_before"], row["hottest_before_x"], row["hottest_before_y"]) == (0.2, 1, 0)
    assert row["p999_change"] == 0.3
    assert row["mean_shift_k"] is None


def test_numbers_too_large_for_their_difference_are_no_crash() -> None:
    told = measure(values([[-3e38, 3e38]]), values([[3e38, -3e38]]), numbers("float32"))
    assert told is not None
    assert told.to_json()["p999_change"] is None


# --- the bound -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("40", Bound(40.0)),
        ("40counts", Bound(40.0)),
        ("1 count", Bound(1.0)),
        ("3levels", Bound(3.0)),
        (".5", Bound(0.5)),
        ("1e3", Bound(1000.0)),
        ("0", Bound(0.0)),
        ("2%", Bound(2.0, "%")),
        ("0.5K", Bound(0.5, "K")),
        (" 500 mK ", Bound(0.5, "K")),
        ("0.5C", Bound(0.5, "K")),
        ("0.5°C", Bound(0.5, "K")),
    ],
)
def test_bounds_are_read(text: str, bound: Bound) -> None:
    assert parse_bound(text) == bound
    assert parse_bound(str(bound)) == bound


@pytest.mark.parametrize(
    "text", ["", "K", "-1", "-0.5K", "1e999", "nan", "inf", "0,5K", "5k", "5MK", "1 2", "4px"]
)
def test_what_is_no_bound_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"'{text}'")) as raised:
        parse_bound(text)
    assert raised.value.remedy is not None
    assert "--max-change takes" in raised.value.remedy


@settings(deadline=None)
@given(
    st.sampled_from(DTYPES),
    st.floats(0, 1e6),
    st.sampled_from(["own", "%"]),
    st.data(),
)
def test_no_written_pixel_is_further_from_its_source_than_the_bound(
    dtype: str, value: float, unit: Any, data: st.DataObject
) -> None:
    kind = np.dtype(dtype)
    # Sources as enlargement leaves them: not whole, and past the dtype's ends.
    wide = st.floats(-7e4, 7e4, width=32)
    picture = arrays.arrays(np.float32, (3, 5), elements=wide)
    source, out = data.draw(picture), data.draw(picture)
    given_out = out.copy()
    bound, span = Bound(value, unit), 123.4
    apply_bound(out, source, bound.limit(Frame(source, kind), span), kind)
    most = value if unit == "own" else value / 100 * span
    before, after = (to_dtype(x, kind).astype(np.float64) for x in (source, out))
    assert (np.abs(after - before) <= most).all()
    untouched = np.abs(given_out - before) <= (most if kind.kind == "f" else np.floor(most))
    near = np.isclose(np.abs(given_out - before), most, rtol=1e-5, atol=1e-30)
    assert (out == given_out)[untouched & ~near].all()


@pytest.mark.parametrize("value", [0.1, 0.00027816, 1e-50, 1e40])
def test_a_bound_between_two_float32_is_the_lower(value: float) -> None:
    source, out = values([[0.0, 0.0]]), values([[3.0, -3.0]])
    kind = np.dtype("float32")
    apply_bound(out, source, Bound(value).limit(Frame(source, kind), 1.0), kind)
    assert (np.abs(out.astype(np.float64)) <= value).all()
    assert np.abs(out).max() == pytest.approx(min(value, 3.0), rel=1e-6, abs=1e-44)


def test_less_than_a_step_lets_no_integer_change() -> None:
    source, out = values([[10, 20]]), values([[10.6, 35]])
    kind = np.dtype("uint16")
    apply_bound(out, source, Bound(0.9).limit(Frame(source, kind), 100), kind)
    assert out.tolist() == source.tolist()


def test_the_bound_leaves_gaps_as_they_are() -> None:
    source = values([[np.nan, np.inf, 5]])
    out = values([[np.nan, np.inf, 9]])
    apply_bound(out, source, np.float32(1), np.dtype("float32"))
    np.testing.assert_array_equal(out, values([[np.nan, np.inf, 6]]))


@settings(deadline=None)
@given(
    st.floats(0.0, 400.0),
    st.sampled_from(["uint16", "float32"]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.2, 0.95, 1.0]),
)
def test_a_bound_in_kelvin_holds_for_the_temperatures_themselves(
    kelvin: float, dtype: str, seed: int, emissivity: float
) -> None:
    rng = np.random.default_rng(seed)
    planck = Planck(**{**vars(SMALL), "emissivity": emissivity})
    source = np.rint(rng.uniform(9000, 60000, (8, 9))).astype(np.float32)
    out = source + rng.normal(0, 5000, source.shape).astype(np.float32)
    frame = Frame(source, np.dtype(dtype), Metadata(radiometry=Radiometry("FLIR", planck)))
    apply_bound(out, source, Bound(kelvin, "K").limit(frame, 1.0), frame.dtype)
    written = to_dtype(out, frame.dtype).astype(np.float32)
    before, after = planck.celsius(source), planck.celsius(written)
    known = np.isfinite(before)
    assert (written == source)[~known].all()
    np.testing.assert_array_less(np.abs(after - before)[known], kelvin + 1e-3)


def test_a_bound_in_kelvin_is_about_its_slope_in_counts() -> None:
    source = np.linspace(13000, 17000, 50, dtype=np.float32)[None]
    frame = Frame(source, np.dtype("uint16"), FLIR)
    limit = Bound(0.5, "K").limit(frame, 1.0)
    counts = 0.5 / SMALL.kelvin_per_count(np.rint(source))
    np.testing.assert_allclose(limit, counts, rtol=0.02)
    assert (limit <= counts).all()


def test_a_large_bound_in_kelvin_does_not_freeze_the_picture() -> None:
    source = np.full((1, 1), 15000, np.float32)
    limit = Bound(250, "K").limit(Frame(source, np.dtype("uint16"), FLIR), 1.0)
    assert limit[0, 0] > 1000  # type: ignore[index]


@pytest.mark.parametrize("metadata", [Metadata(), Metadata(radiometry=Radiometry("DJI"))])
def test_kelvin_without_a_calibration_is_refused(metadata: Metadata) -> None:
    frame = Frame(values([[1, 2]]), np.dtype("uint16"), metadata)
    with pytest.raises(PictureError, match=r"0\.5K") as raised:
        Bound(0.5, "K").limit(frame, 1.0)
    assert "--max-change" in str(raised.value)
