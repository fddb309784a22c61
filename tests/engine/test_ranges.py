"""Which values become 0 and 1: of one picture, and of a sequence as it comes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from deal_cli.engine import ranges
from deal_cli.engine.ranges import RangePolicy, SequenceRange, measure_range
from deal_cli.errors import UsageError
from deal_cli.imaging.frame import Frame, Metadata

LEVELS = np.arange(2500, dtype=np.float32).reshape(50, 50)  # 0 … 2499, each once


def frame(values: Any, dtype: str = "float32", nodata: float | None = None) -> Frame:
    return Frame(np.asarray(values, np.float32), np.dtype(dtype), Metadata(nodata=nodata))


def together(frames: list[Frame], policy: RangePolicy) -> tuple[float, float] | None:
    measured = SequenceRange(policy)
    for one in frames:
        measured.add(one)
    found = measured.result()
    return found and found.range


# --- one picture ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "policy", "expected"),
    [
        (frame([[3, 200]], "uint8"), "auto", (0, 255)),
        (frame([[3, 200]], "uint8"), "dtype", (0, 255)),
        (frame([[3, 200]], "uint8"), "image", (3, 200)),
        (frame([[3, 200]], "uint16"), "dtype", (0, 65535)),
        (frame([[-3, 200]], "int16"), "dtype", (-32768, 32767)),
        (frame([[-3, 200]], "int16"), "image", (-3, 200)),
        (frame([[20.5, 31.25]]), "image", (20.5, 31.25)),
        (frame([[3, 200]], "uint8"), (10.0, 20.0), (10, 20)),
        (frame([[20.5, 31.25]]), (-40.0, 120.0), (-40, 120)),
        # Percentiles .1 and 99.9 of 2500 numbers are the third and the 2498th: 2 and 2497, widened
        # by 5 % of 2495 = 124.75.
        (frame(LEVELS, "uint16"), "auto", (-122.75, 2621.75)),
        (frame(LEVELS), "auto", (-122.75, 2621.75)),
        (frame(LEVELS - 500, "int16"), "auto", (-622.75, 2121.75)),
    ],
)
def test_the_range_is_what_the_policy_says(
    source: Frame, policy: Any, expected: tuple[float, float]
) -> None:
    assert measure_range(source, policy) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_float_picture_has_no_full_range(dtype: str) -> None:
    with pytest.raises(UsageError, match="--range image or --range LO:HI"):
        measure_range(frame([[1, 2]], dtype), "dtype")


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.int32,
        arrays.array_shapes(min_dims=2, max_dims=2, max_side=60),
        elements=st.integers(0, 65535),
    )
)
def test_percentiles_of_counts_are_those_of_numpy(values: NDArray[np.int32]) -> None:
    low, high = np.percentile(values, (0.1, 99.9), method="inverted_cdf")
    margin = 0.05 * (high - low)
    measured = measure_range(frame(values, "uint16"), "auto")
    assert measured == pytest.approx((low - margin, high + margin), abs=1e-6)


@pytest.mark.parametrize("top", [65535.4, 65535.99, 65535.996])
def test_an_enlarged_picture_of_counts_that_overshoots_has_a_range(top: float) -> None:
    values = np.linspace(-100.3, top, 2000).reshape(40, 50)
    low, high = measure_range(frame(values, "uint16"), "auto")
    assert low < -100
    assert high > 65535


# --- many frames as one --------------------------------------------------------------------------


@st.composite
def sequences(draw: st.DrawFn) -> list[Frame]:
    """Frames of one height and dtype, with gaps and a number that stands for none."""
    dtype = draw(st.sampled_from(["uint8", "uint16", "int16", "float32", "float64"]))
    height = draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([3, 200, 30000]))
    nodata = draw(st.sampled_from([None, 0.0, 7.0]))
    holes = draw(st.sampled_from([0.0, 0.3, 1.0]))
    frames = []
    for width in draw(st.lists(st.integers(1, 40), min_size=1, max_size=6)):
        values = rng.normal(rng.choice([0, 100, 40000]), spread, (height, width))
        if dtype.startswith("float"):
            values[rng.random(values.shape) < holes] = rng.choice([np.nan, np.inf, -np.inf])
        else:
            limits = np.iinfo(dtype)
            values = np.rint(values).clip(limits.min, limits.max)
        if nodata is not None:
            values[rng.random(values.shape) < holes] = nodata
        frames.append(frame(values, dtype, nodata))
    return frames


@settings(max_examples=150, deadline=None)
@given(sequences(), st.sampled_from(["auto", "image", "dtype", (-40.0, 120.0)]))
def test_frames_one_by_one_have_the_range_of_all_side_by_side(
    frames: list[Frame], policy: RangePolicy
) -> None:
    beside = np.concatenate([one.values for one in frames], axis=1)
    whole = frame(beside, frames[0].dtype.name, frames[0].metadata.nodata)
    if policy == "dtype" and whole.dtype.kind == "f":
        with pytest.raises(UsageError, match="--range image or --range LO:HI"):
            together(frames, policy)
        return
    assert together(frames, policy) == measure_range(whole, policy)


def test_a_sequence_by_hand() -> None:
    # 0 … 2499 in two frames, the second with a hole; 9999 counts for nothing.
    halves = [frame(LEVELS[:25], "uint16", 9999), frame(LEVELS[25:].copy(), "uint16", 9999)]
    halves[1].values[3, 4] = 9999
    assert together(halves, "image") == (0, 2499)
    assert together(halves[:1], "auto") == pytest.approx((1 - 62.3, 1248 + 62.35), abs=0.1)
    low, high = together(halves, "auto") or (0, 0)
    assert (low, high) == pytest.approx((2 - 124.75, 2497 + 124.75))


@pytest.mark.parametrize("dtype", ["int16", "uint16", "uint8"])
def test_the_ends_of_a_dtype_are_counted(dtype: str) -> None:
    limits = np.iinfo(dtype)
    ends = [frame([[limits.min, limits.max]], dtype), frame([[limits.max, limits.min]], dtype)]
    for policy in ("auto", "image"):
        wide = frame([[limits.min, limits.max, limits.max, limits.min]], dtype)
        assert together(ends, policy) == measure_range(wide, policy)  # type: ignore[arg-type]


def test_no_frame_has_no_range_and_gaps_alone_have_none_to_measure() -> None:
    assert SequenceRange("auto").result() is None
    assert SequenceRange((1.0, 2.0)).result() is None
    gaps = [frame(np.full((3, 4), np.nan)), frame([[np.inf]])]
    for policy in ("auto", "image"):
        assert together(gaps, policy) == (0, 0)  # type: ignore[arg-type]
        assert together([*gaps, frame([[5]])], policy) == (5, 5)  # type: ignore[arg-type]
    assert together(gaps, (1.0, 2.0)) == (1, 2)


def test_floats_of_a_long_sequence_are_thinned_and_their_range_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranges, "SAMPLES", 5000)
    monkeypatch.setattr(ranges, "THINNED", 400)
    rng = np.random.default_rng(0)
    measured = SequenceRange("auto")
    frames = [rng.normal(20, 5, (40, 50)) for _ in range(60)]
    for values in frames:
        measured.add(frame(values))
        assert sum(part.size for part in measured._kept) <= 5000
    found = measured.result()
    low, high = found.range if found else (0, 0)
    expected = measure_range(frame(np.concatenate(frames)), "auto")
    assert (low, high) == pytest.approx(expected, abs=3)
    # Every frame has as many samples as any other, early or late.
    sizes = [part.size for part in measured._kept]
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == 60


def test_a_long_sequence_of_floats_keeps_a_narrow_hot_thing_in_its_range() -> None:
    rng = np.random.default_rng(0)
    scene = rng.normal(20, 0.1, (512, 640)).astype(np.float32)
    scene[:, 300:304] = 80  # a pipe, of less than one column in a hundred
    together = SequenceRange("auto")
    for _ in range(70):
        together.add(Frame(scene, np.dtype(np.float32)))
    found = together.result()
    measured = found and found.range
    assert measured is not None
    assert measured == pytest.approx(
        measure_range(Frame(scene, np.dtype(np.float32)), "auto"), abs=0.5
    )
