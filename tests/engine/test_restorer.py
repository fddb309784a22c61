"""From Frame to Frame: the range, the correction, the tiles and the tone around any backend."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from torch import nn

from deal_cli.engine.backends import hardware
from deal_cli.engine.backends.choice import Choice, Request, open_backend
from deal_cli.engine.backends.contract import Backend, Facts, OutOfMemoryError
from deal_cli.engine.backends.torch_backend import TorchBackend
from deal_cli.engine.ranges import measure_range
from deal_cli.engine.restorer import Restorer, Settings, open_restorer
from deal_cli.errors import BackendError
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.frame import Frame, Metadata, Resolution
from deal_cli.model.network import Enhancer
from deal_cli.model.tone import Tone

CPU = torch.device("cpu")
DTYPES = ("uint8", "uint16", "int16", "float32", "float64")
KEEP = Settings(tone="keep")
Make = Callable[..., Enhancer]
MakeBackend = Callable[..., Any]


def frame(values: Any, dtype: str = "float32") -> Frame:
    return Frame(np.asarray(values, np.float32), np.dtype(dtype))


def counts(height: int = 40, width: int = 56, dtype: str = "uint16", seed: int = 0) -> Frame:
    """Whole numbers over the dtype's range, or degrees."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return frame(rng.normal(20, 8, (height, width)), dtype)
    limits = np.iinfo(kind)
    return frame(rng.integers(limits.min, limits.max, (height, width), endpoint=True), dtype)


def smoothed(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of 3 × 3 pixels, zeros beyond the edge: a filter of radius 1."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = x.shape[2:]
    parts = [padded[..., i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.asarray(sum(parts) / np.float32(9), np.float32)


def smoothed_cells(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """As a network of stride 2 sees it: each pixel becomes the mean of its 2 × 2 cell."""
    cells = x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).mean((3, 5))
    return np.asarray(cells.repeat(2, 2).repeat(2, 3), np.float32)


class Smoother(Backend):
    """`smoothed`, with the least halo that its radius and a stride of 2 allow."""

    def __init__(self) -> None:
        super().__init__(
            Facts("numpy", "", "float32", "", "", "", stride=2, halo=(2, 2), smallest=4)
        )

    def run(
        self, x: NDArray[np.float32], whole: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        return smoothed(x)


def lively(network: Enhancer) -> TorchBackend:
    return TorchBackend(network, CPU, "tiny", "")


@pytest.fixture
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without bfloat16."""
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: False)


# --- nothing is lost -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_strength_zero_gives_identical_pixels(dtype: str, numpy_backend: MakeBackend) -> None:
    source = counts(dtype=dtype)
    restorer = Restorer(numpy_backend(lambda x: 1 - x), Settings(tone="keep", strength=0))
    result = restorer.restore(source).frame
    assert result.dtype == source.dtype
    assert np.array_equal(result.values, source.values)


def test_strength_zero_keeps_nan_infinity_and_what_lies_outside_the_range(
    numpy_backend: MakeBackend,
) -> None:
    values = counts(dtype="float32").values
    values[3, 4], values[5, 6], values[7, 8], values[9, 10] = np.nan, np.inf, -np.inf, 1e6
    before = values.copy()
    settings = Settings(range=(18.0, 22.0), tone="keep", strength=0)
    result = Restorer(numpy_backend(lambda x: x / 2), settings).restore(frame(values)).frame
    assert np.array_equal(result.values, before, equal_nan=True)
    assert np.array_equal(values, before, equal_nan=True)


def test_strength_zero_undoes_tone_too(numpy_backend: MakeBackend) -> None:
    source = counts(dtype="uint8")
    restorer = Restorer(numpy_backend(), Settings(tone="restore", strength=0), Predictor(True))
    assert np.array_equal(restorer.restore(source).frame.values, source.values)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_backend_that_changes_nothing_gives_identical_pixels(
    dtype: str, numpy_backend: MakeBackend
) -> None:
    source = counts(dtype=dtype)
    assert np.array_equal(
        Restorer(numpy_backend(), KEEP).restore(source).frame.values, source.values
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 100), (17, 33), (16, 16), (31, 2)])
def test_any_size_comes_back_in_its_size(
    shape: tuple[int, int], numpy_backend: MakeBackend
) -> None:
    source = counts(*shape)
    backend = numpy_backend()
    settings = replace(KEEP, range="dtype")
    result = Restorer(backend, settings).restore(source).frame
    assert np.array_equal(result.values, source.values)
    assert all(edge >= 16 and edge % 2 == 0 for seen in backend.tried for edge in seen)


def test_beyond_the_edge_the_network_sees_a_mirror(numpy_backend: MakeBackend) -> None:
    backend = numpy_backend()
    values = np.arange(255, dtype=np.float32).reshape(15, 17)
    Restorer(backend, replace(KEEP, range=(0.0, 255.0))).restore(frame(values))
    (seen,) = backend.seen
    expected = np.pad(values, ((0, 1), (0, 1)), mode="reflect") / 255
    np.testing.assert_allclose(seen[0, 0], expected, atol=1e-7)


def test_dtype_and_metadata_pass_through(numpy_backend: MakeBackend) -> None:
    source = replace(
        counts(), metadata=Metadata(resolution=Resolution(300, 300, "inch"), description="roof")
    )
    result = Restorer(numpy_backend(smoothed), KEEP).restore(source).frame
    assert result.metadata == source.metadata
    assert result.dtype == np.uint16


def test_a_constant_picture_is_left_alone(numpy_backend: MakeBackend) -> None:
    backend = numpy_backend(lambda x: 1 - x)
    source = frame(np.full((20, 20), 7000), "uint16")
    assert np.array_equal(Restorer(backend, KEEP).restore(source).frame.values, source.values)
    assert backend.tried == []


def test_a_picture_without_any_number_is_left_alone(numpy_backend: MakeBackend) -> None:
    source = frame(np.full((20, 20), np.nan))
    result = Restorer(numpy_backend(lambda x: 1 - x), KEEP).restore(source).frame
    assert np.isnan(result.values).all()


# --- the correction ------------------------------------------------------------------------------


def test_the_correction_is_added_in_the_source_s_own_numbers(numpy_backend: MakeBackend) -> None:
    # Range 1000 … 3000: .25 becomes .25² = .0625, so 1500 moves by 2000 · (.0625 − .25) = −375.
    values = np.full((16, 16), 1500.0)
    values[0, :4] = [1000, 2000, 3000, 2600]
    settings = Settings(range=(1000.0, 3000.0), tone="keep")
    out = Restorer(numpy_backend(lambda x: x * x), settings).restore(frame(values)).frame.values
    assert out[5, 5] == pytest.approx(1125)
    np.testing.assert_allclose(out[0, :4], [1000, 1500, 3000, 2280], rtol=1e-6)


def test_nothing_outside_the_range_is_clipped(numpy_backend: MakeBackend) -> None:
    # What lies outside is 0 or 1 for the network and moves by its correction, 2000 · .05 = 100,
    # but no farther out: what is not seen is not sharpened.
    values = np.full((16, 16), 1500.0)
    values[0, :3] = [-40, 3500, 65000]
    settings = Settings(range=(1000.0, 3000.0), tone="keep")
    backend = numpy_backend(lambda x: x + np.float32(0.05))
    out = Restorer(backend, settings).restore(frame(values)).frame.values
    np.testing.assert_allclose(out[0, :3], [60, 3500, 65000], rtol=1e-6)
    assert backend.seen[0][0, 0, 0, :3].tolist() == [0, 1, 1]


@pytest.mark.parametrize(("strength", "expected"), [(1.0, 1700), (0.5, 1600), (0.25, 1550)])
def test_strength_is_the_share_of_the_correction(
    strength: float, expected: float, numpy_backend: MakeBackend
) -> None:
    settings = Settings(range=(1000.0, 3000.0), tone="keep", strength=strength)
    backend = numpy_backend(lambda x: x + np.float32(0.1))
    out = Restorer(backend, settings).restore(frame(np.full((16, 16), 1500.0)))
    np.testing.assert_allclose(out.frame.values, expected, rtol=1e-6)
    assert out.range == (1000, 3000)


def test_sixteen_bits_stay_sixteen_bits_under_bfloat16(
    tiny_network: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: True)
    network = tiny_network()
    last = network.head[2]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    backend = lively(network)
    source = counts(48, 64)
    assert backend.facts.precision == "bfloat16"
    assert len(np.unique(source.values)) > 2900
    assert np.array_equal(Restorer(backend, KEEP).restore(source).frame.values, source.values)


# --- pixels without a number ---------------------------------------------------------------------


def test_nan_and_infinity_stay_where_they_are_and_do_not_spread(
    numpy_backend: MakeBackend,
) -> None:
    clean = draw_scene(1, 40, 56).values
    values = clean.copy()
    gaps = {(3, 4): np.nan, (20, 30): np.inf, (20, 31): -np.inf, (39, 55): np.nan}
    for place, value in gaps.items():
        values[place] = value
    restorer = Restorer(numpy_backend(smoothed), replace(KEEP, range=(0.0, 255.0)))
    out = restorer.restore(frame(values)).frame.values
    for place, value in gaps.items():
        assert np.array_equal(out[place], value, equal_nan=True)
    assert (~np.isfinite(out)).sum() == len(gaps)
    # What the filter of radius 1 cannot reach from a gap is as without gaps.
    expected = restorer.restore(frame(clean)).frame.values
    far = np.ones(values.shape, np.bool_)
    for y, x in gaps:
        far[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = False
    np.testing.assert_array_equal(out[far], expected[far])


def test_gaps_do_not_move_the_range(numpy_backend: MakeBackend) -> None:
    values = draw_scene(1, 40, 56).values.copy()
    low, high = measure_range(frame(values), "image")
    values[0, :8] = [np.nan, np.inf, -np.inf, np.nan, np.inf, -np.inf, np.nan, np.nan]
    assert measure_range(frame(values), "image") == (low, high)


# --- tiles ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("in_float32")
def test_tiles_equal_the_whole_picture(tiny_network: Make) -> None:
    backend = lively(tiny_network())
    source = counts(151, 213, "uint16")
    settings = replace(KEEP, range="dtype")  # nothing lies outside
    whole = Restorer(backend, settings).restore(source).frame.values
    assert np.abs(whole - source.values).mean() > 100
    tiled = Restorer(backend, replace(settings, tile=96)).restore(source)
    largest = np.abs(whole - source.values).max()
    assert np.abs(tiled.frame.values - whole).max() / largest <= 1e-5


@pytest.mark.usefixtures("in_float32")
def test_tiles_equal_the_whole_picture_with_the_bundled_weights() -> None:
    backend = open_backend(Choice("cpu", 0, ""), Request())
    scene = draw_scene(5, 500, 420)
    stripes = np.random.default_rng(0).normal(0, 8, (1, 420))
    source = frame(np.clip(np.rint(scene.values + stripes), 0, 255), "uint8")
    whole = Restorer(backend, KEEP).restore(source).frame.values
    assert np.abs(whole - source.values).mean() > 3
    tile = 2 * max(backend.facts.halo) + 64
    assert tile < 420
    tiled = Restorer(backend, replace(KEEP, tile=tile)).restore(source).frame.values
    difference = np.abs(tiled - whole) / 255
    # A spike on the edge of a rounding may fall on its other side, in a few pixels.
    assert np.percentile(difference, 99) <= 1e-5
    assert np.sqrt((difference**2).mean()) <= 1e-5


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(12, 40))
def test_tiles_of_any_size_equal_the_whole_of_any_picture(
    height: int, width: int, tile: int
) -> None:
    source = counts(height, width, "float32")
    given_range = replace(KEEP, range=(0.0, 40.0))
    whole = Restorer(Smoother(), given_range).restore(source).frame.values
    tiled = Restorer(Smoother(), replace(given_range, tile=tile)).restore(source)
    np.testing.assert_allclose(tiled.frame.values, whole, atol=1e-4)


def test_tiles_start_on_the_stride(numpy_backend: MakeBackend) -> None:
    source = counts(61, 83, "float32")
    whole = Restorer(numpy_backend(smoothed_cells), KEEP).restore(source).frame.values
    backend = numpy_backend(smoothed_cells)
    tiled = Restorer(backend, replace(KEEP, tile=31)).restore(source).frame.values
    assert set(backend.tried) == {(26, 28)}
    np.testing.assert_allclose(tiled, whole, atol=1e-4)


# --- out of memory -------------------------------------------------------------------------------


def test_out_of_memory_halves_the_tile_and_the_result_is_the_same(
    numpy_backend: MakeBackend,
) -> None:
    source = counts(200, 300, "float32")
    whole = Restorer(numpy_backend(smoothed), KEEP).restore(source).frame.values
    backend = numpy_backend(smoothed, largest=100)
    out = Restorer(backend, KEEP).restore(source).frame.values
    np.testing.assert_allclose(out, whole, atol=1e-4)
    # 300 at once, then at most 150, then at most 75 pixels to an edge: two by three tiles, then
    # three by five, each as short as so many can be.
    assert backend.tried[:2] == [(200, 300), (104, 106)]
    assert set(backend.tried[2:]) == {(72, 68)}


def test_tiles_are_halved_below_their_taller_halo(numpy_backend: MakeBackend) -> None:
    def blurred_down(x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The mean over 41 rows and 3 columns, away from the edges of what is read."""
        return np.asarray(uniform_filter(x, (0, 0, 41, 3), mode="nearest"))

    source = counts(300, 400, "float32")
    whole = Restorer(numpy_backend(blurred_down), KEEP).restore(source).frame.values
    backend = numpy_backend(blurred_down, most=80 * 52, halo=(20, 2))
    out = Restorer(backend, KEEP).restore(source).frame.values
    np.testing.assert_allclose(out, whole, atol=1e-3)
    # At most 400, 200, 100 and 50 pixels to an edge, but for the 72 rows that two halos of 20 and
    # a core need.
    tried = list(dict.fromkeys(backend.tried))
    assert tried[:2] == [(300, 400), (170, 136)]
    assert tried[-1] == (70, 48)


def test_nothing_of_the_batch_that_did_not_fit_is_held_while_its_pictures_go_alone(
    numpy_backend: MakeBackend,
) -> None:
    fed: list[weakref.ref[NDArray[np.float32]]] = []

    def alone(x: NDArray[np.float32]) -> NDArray[np.float32]:
        gc.collect()
        assert not [batch for batch in fed if batch() is not None]
        if len(x) > 1:
            begun = x.copy()
            fed.append(weakref.ref(begun))
            raise OutOfMemoryError
        return x

    pair = [counts(40, 48, "float32"), counts(40, 48, "float32", seed=1)]
    assert len(Restorer(numpy_backend(alone), KEEP).restore_batch(pair)) == 2
    assert len(fed) == 1


def test_a_tile_found_too_large_is_not_tried_again_on_the_next_picture(
    numpy_backend: MakeBackend,
) -> None:
    backend = numpy_backend(smoothed, largest=100)
    restorer = Restorer(backend, KEEP)
    restorer.restore(counts(200, 300, "float32"))
    backend.tried.clear()
    restorer.restore(counts(200, 300, "float32", seed=1))
    assert set(backend.tried) == {(72, 68)}


def test_work_goes_on_from_the_tile_that_failed(numpy_backend: MakeBackend) -> None:
    source = counts(60, 256, "float32")  # too short for a second look
    backend = numpy_backend(smoothed)
    whole = Restorer(backend, KEEP).restore(source).frame.values
    failing = numpy_backend(smoothed)
    run = failing.run

    def run_until_full(
        x: NDArray[np.float32], whole: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        if len(failing.seen) == 2 and x.shape[3] > 50:  # memory ends during the third tile
            failing._largest = 50
        return np.asarray(run(x))

    failing.run = run_until_full
    out = Restorer(failing, replace(KEEP, tile=96)).restore(source).frame.values
    np.testing.assert_allclose(out, whole, atol=1e-4)
    # Three tiles of 92 with halos of 4 keep 88, 84 and 84 pixels: 172 of 256 columns were done
    # when the third failed. Of the two rows of smaller tiles, only those beyond 172 are run.
    assert failing.tried[:3] == [(60, 92)] * 3
    beyond = failing.tried[3:]
    assert max(beyond[0]) <= 48
    assert len(set(beyond)) == 1
    assert len(beyond) == 2 * 3


def test_a_machine_that_holds_no_tile_is_an_error_with_a_remedy(
    numpy_backend: MakeBackend,
) -> None:
    with pytest.raises(BackendError, match="out of memory with tiles of") as caught:
        Restorer(numpy_backend(largest=20), KEEP).restore(counts(200, 300))
    assert caught.value.exit_code == 3
    assert caught.value.remedy


# --- the tone ------------------------------------------------------------------------------------


class Predictor(nn.Module):
    """Doubles contrast about a quarter of the range, and keeps what it was asked."""

    def __init__(self, confident: bool) -> None:
        super().__init__()
        self.tone = Tone(gain=2.0, offset=0.1, gamma=1.0, pivot=0.25, confident=confident)
        self.asked: list[tuple[float, float]] = []

    def predict(self, values: NDArray[np.float32], low: float, high: float) -> Tone:
        self.asked.append((low, high))
        return self.tone


@pytest.mark.parametrize(
    ("policy", "dtype", "confident", "applied"),
    [
        ("keep", "uint8", True, False),
        ("auto", "uint8", True, True),
        ("auto", "uint8", False, False),
        ("auto", "uint16", True, False),
        ("auto", "float32", True, False),
        ("restore", "uint8", False, True),
        ("restore", "uint16", False, True),
        ("restore", "float32", True, True),
    ],
)
def test_tone_is_applied_where_the_policy_says(
    policy: Any, dtype: str, confident: bool, applied: bool, numpy_backend: MakeBackend
) -> None:
    predictor: Any = Predictor(confident)
    source = counts(dtype=dtype)
    if dtype == "uint8":  # of which a third is used
        source = frame(80 + source.values // 3, dtype)
    result = Restorer(numpy_backend(), Settings(tone=policy), predictor).restore(source)
    assert (result.tone is None) != applied
    assert np.array_equal(result.frame.values, source.values) != applied


def test_auto_restores_the_contrast_and_leaves_the_mean(numpy_backend: MakeBackend) -> None:
    # About .25 of 0 … 255, which is 63.75: 73.75 becomes 83.75; an offset and gamma are guesses.
    predictor: Any = Predictor(True)
    predictor.tone = replace(predictor.tone, gamma=0.8)
    source = frame(np.full((16, 16), 73.75), "uint8")
    result = Restorer(numpy_backend(), Settings(tone="auto"), predictor).restore(source)
    np.testing.assert_allclose(result.frame.values, 83.75, rtol=1e-6)
    assert result.tone == replace(predictor.tone, offset=0.0, gamma=1.0)
    asked = Restorer(numpy_backend(), Settings(tone="restore"), predictor).restore(source)
    assert asked.tone is predictor.tone


def test_tone_is_one_map_in_units_of_the_range(numpy_backend: MakeBackend) -> None:
    # (v − .25) · 2 + .25 + .1 on the range 1000 … 3000: 1500 is .25 and becomes .35, so 1700;
    # 5000 is 2 and becomes 3.85, so 8700: nothing is clipped.
    values = np.full((16, 16), 1500.0)
    values[0, :2] = [1000, 5000]
    predictor: Any = Predictor(True)
    settings = Settings(range=(1000.0, 3000.0), tone="restore")
    out = Restorer(numpy_backend(), settings, predictor).restore(frame(values)).frame.values
    assert out[5, 5] == pytest.approx(1700)
    np.testing.assert_allclose(out[0, :2], [700, 8700], rtol=1e-6)
    assert predictor.asked == [(1000, 3000)]


def test_tone_leaves_gaps_as_they_are(numpy_backend: MakeBackend) -> None:
    values = counts(dtype="float32").values
    values[3, 4], values[5, 6] = np.nan, np.inf
    predictor: Any = Predictor(True)
    out = Restorer(numpy_backend(), Settings(tone="restore"), predictor).restore(frame(values))
    assert np.isnan(out.frame.values[3, 4])
    assert np.isposinf(out.frame.values[5, 6])
    assert (~np.isfinite(out.frame.values)).sum() == 2


def test_a_kept_tone_needs_no_predictor(
    numpy_backend: MakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: object) -> None:
        raise AssertionError("the predictor is loaded")

    monkeypatch.setattr("deal_cli.engine.restorer.open_backend", lambda *_: numpy_backend())
    monkeypatch.setattr("deal_cli.model.weights.load_tone", missing)
    _, choice = open_restorer(Request("cpu"), KEEP)
    assert choice.kind == "cpu"
    with pytest.raises(AssertionError, match="is loaded"):
        open_restorer(Request("cpu"), Settings(tone="auto"))


# --- nodata --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("float32", -3.4028235e38), ("uint16", 0.0), ("int16", -9999.0)]
)
def test_what_stands_for_no_measurement_stays_and_moves_neither_range_nor_neighbours(
    dtype: str, nodata: float, numpy_backend: MakeBackend
) -> None:
    values = draw_scene(0, 64, 80, "uint16").values
    masked = values.copy()
    masked[:20, :30] = nodata
    absent = np.zeros(values.shape, np.bool_)
    absent[:20, :30] = True
    source = Frame(masked, np.dtype(dtype), Metadata(nodata=nodata))
    assert measure_range(source, "image") == (values[~absent].min(), values[~absent].max())
    backend = numpy_backend(smoothed)
    restored = Restorer(backend, KEEP).restore(source).frame.values
    assert (restored[absent] == np.float32(nodata)).all()
    inner = ~absent
    inner[[0, -1]] = inner[:, [0, -1]] = False  # the filter darkens the edges
    assert np.abs(restored - values)[inner].max() < np.ptp(values) / 2


@pytest.mark.parametrize("nodata", [0, 100, 255])
def test_no_measured_pixel_becomes_the_number_that_stands_for_none(
    nodata: int, numpy_backend: MakeBackend
) -> None:
    values = np.array([[nodata, 1, 99, 101, 254, 60] * 8] * 16, np.float32)
    source = Frame(values, np.dtype(np.uint8), Metadata(nodata=float(nodata)))
    backend = numpy_backend(lambda x: np.full_like(x, nodata / 255))
    moved = Restorer(backend, KEEP).restore(source).frame.values
    measured = values != nodata
    assert (moved[~measured] == nodata).all()
    assert (np.clip(np.rint(moved[measured]), 0, 255) != nodata).all()
    assert np.abs(moved[measured] - nodata).max() <= 1


# --- batches -------------------------------------------------------------------------------------


def test_a_batch_gives_each_picture_what_it_gets_alone(tiny_network: Make) -> None:
    frames = [counts(50, 130, seed=seed) for seed in range(5)]
    frames.append(frame(np.full((50, 130), 7.0)))  # nothing to restore
    restorer = Restorer(lively(tiny_network()), replace(KEEP, tile=96))
    together = restorer.restore_batch(frames)
    for source, restored in zip(frames, together, strict=True):
        alone = restorer.restore(source)
        assert restored.range == alone.range
        span = max(restored.range[1] - restored.range[0], 1.0)
        assert np.abs(restored.frame.values - alone.frame.values).max() <= 1e-5 * span
    assert not np.array_equal(together[0].frame.values, frames[0].values)


def test_a_batch_that_does_not_fit_is_done_one_by_one(numpy_backend: MakeBackend) -> None:
    def fits_alone(x: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(x) > 1:
            raise OutOfMemoryError
        return 1 - x

    frames = [counts(seed=seed) for seed in range(3)]
    restorer = Restorer(numpy_backend(fits_alone), KEEP)
    for source, restored in zip(frames, restorer.restore_batch(frames), strict=True):
        alone = Restorer(numpy_backend(lambda x: 1 - x), KEEP).restore(source)
        assert np.array_equal(restored.frame.values, alone.frame.values)


def test_small_pictures_go_together_and_large_ones_alone(numpy_backend: MakeBackend) -> None:
    restorer = Restorer(numpy_backend(), KEEP)
    assert restorer.capacity(120, 160) > 4
    assert restorer.capacity(1, 1) < 1000
    assert restorer.capacity(1024, 1280) == 1


def test_an_abandoned_picture_gives_up_at_its_next_tile(numpy_backend: MakeBackend) -> None:
    restorer = Restorer(numpy_backend(), replace(KEEP, tile=64))
    backend = restorer.backend
    restorer.backend = numpy_backend(lambda x: (restorer.abandon(), x)[1])  # type: ignore[func-returns-value]
    with pytest.raises(BackendError, match="abandoned"):
        restorer.restore(counts(200, 200))
    assert len(restorer.backend.seen) == 1  # type: ignore[attr-defined]
    restorer.backend = backend
