"""The fixed pattern of a camera: what it takes off a frame, whose frames, and how it is kept."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import save_file

from deal_cli.engine.fidelity.bound import Bound
from deal_cli.engine.fixed_pattern.pattern import Pattern, load_pattern
from deal_cli.engine.restorer import Restorer, Settings, Shared
from deal_cli.engine.view import View
from deal_cli.errors import ExitCode, OutputError, PictureError, UsageError
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.frame import Frame, Metadata
from deal_cli.imaging.gaps import fill_gaps
from deal_cli.imaging.resize import enlarge

SIZE = HEIGHT, WIDTH = 96, 128
MakeBackend = Callable[..., Any]


def pattern(
    offset: Any, gain: Any = 1.0, dead: Any = False, pivot: float = 0.0, dtype: str = "uint16"
) -> Pattern:
    values = np.asarray(offset, np.float32)
    return Pattern(
        values,
        np.broadcast_to(np.float32(gain), values.shape).copy(),
        np.broadcast_to(np.asarray(dead, np.bool_), values.shape).copy(),
        pivot,
        8,
        dtype,
    )


def drawn(seed: int = 0, dead: float = 0.0, **options: Any) -> Pattern:
    """Columns, rows and pixels, as a camera has them."""
    rng = np.random.default_rng(seed)
    offset = rng.normal(0, 80, WIDTH) + rng.normal(0, 25, (HEIGHT, 1)) + rng.normal(0, 50, SIZE)
    gain = 1 + rng.normal(0, 0.02, WIDTH) + rng.normal(0, 0.01, SIZE)
    return pattern(offset - offset.mean(), gain, rng.random(SIZE) < dead, 8000.0, **options)


def seen_by(camera: Pattern, scene: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the camera makes of a scene: the formula of the module's docstring, in float64."""
    wide = scene.astype(np.float64)
    seen = camera.gain * (wide - camera.pivot) + camera.pivot + camera.offset
    return np.where(camera.dead, 2000, seen).astype(np.float32)


def counts(values: NDArray[np.float32]) -> Frame:
    return Frame(values, np.dtype(np.uint16))


# --- taking it off -------------------------------------------------------------------------------


def test_a_pattern_comes_off_by_hand() -> None:
    # 110 is 10 above the pivot; twice that and 5 more is 125. 90 is 10 below: half, and 3 less.
    camera = pattern([[5, -3]], [[2, 0.5]], pivot=100)
    seen = np.array([[125, 92]], np.float32)
    assert camera.remove(seen).tolist() == [[110, 90]]
    assert seen.tolist() == [[125, 92]]  # a frame is never changed


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.floats(0.5, 2.0),
    st.floats(0, 65535),
)
def test_what_the_camera_adds_comes_off_again(
    seed: int, shape: tuple[int, int], gain: float, pivot: float
) -> None:
    rng = np.random.default_rng(seed)
    scene = rng.uniform(0, 65535, shape).astype(np.float32)
    camera = pattern(rng.normal(0, 300, shape), gain, pivot=pivot)
    np.testing.assert_allclose(camera.remove(seen_by(camera, scene)), scene, atol=0.1)


def test_a_frame_of_several_bands_comes_off_like_a_small_one() -> None:
    rng = np.random.default_rng(0)
    scene = rng.uniform(6000, 9000, (700, 400)).astype(np.float32)
    camera = pattern(rng.normal(0, 80, scene.shape), 1.25, pivot=8000)
    np.testing.assert_allclose(camera.remove(seen_by(camera, scene)), scene, atol=0.01)


def test_dead_pixels_come_from_their_neighbours() -> None:
    y, x = np.mgrid[:21, :25].astype(np.float32)
    scene = 60000 + 8 * x + 3 * y  # where float32 is coarse
    dead = np.zeros(scene.shape, np.bool_)
    dead[4, 5] = dead[10, 12] = dead[10, 13] = dead[16, 20] = True
    camera = pattern(np.zeros(scene.shape), dead=dead)
    filled = camera.remove(np.where(dead, 12, scene).astype(np.float32))
    np.testing.assert_array_equal(filled[~dead], scene[~dead])
    # The mean of neighbours all around is a ramp's own value; two dead ones lean on each other.
    assert filled[4, 5] == pytest.approx(scene[4, 5], abs=0.05)
    assert filled[10, 12] == pytest.approx(scene[10, 12], abs=8)
    assert filled[10, 13] == pytest.approx(scene[10, 13], abs=8)


@pytest.mark.parametrize("place", [(0, 0), (20, 24), (0, 12), (10, 24)])
def test_a_dead_pixel_at_the_edge_comes_from_within(place: tuple[int, int]) -> None:
    scene = np.full((21, 25), 7000, np.float32)
    dead = np.zeros(scene.shape, np.bool_)
    dead[place] = True
    scene[place] = 0
    filled = pattern(np.zeros(scene.shape), dead=dead).remove(scene)
    np.testing.assert_allclose(filled, 7000, atol=0.01)


def test_dead_neighbours_and_gaps_do_not_take_part_and_gaps_stay() -> None:
    scene = np.full((21, 25), 7000, np.float32)
    dead = np.zeros(scene.shape, np.bool_)
    dead[9:12, 9:12] = True
    seen = np.where(dead, 65535, scene).astype(np.float32)
    seen[10, 8] = np.nan
    seen[12, 10] = np.inf
    seen[9, 9] = np.nan  # dead and a gap
    filled = pattern(np.zeros(scene.shape), dead=dead).remove(seen)
    gaps = ~np.isfinite(seen)
    np.testing.assert_allclose(filled[~gaps], 7000, atol=0.01)
    np.testing.assert_array_equal(filled[gaps], seen[gaps])


def test_a_crowd_of_dead_pixels_beyond_reach_is_left_as_it_is() -> None:
    camera = pattern(np.full((9, 9), 3.0), dead=True)
    assert (camera.remove(np.full((9, 9), 10, np.float32)) == 7).all()


def test_spread_is_the_standard_deviation_of_the_offset() -> None:
    assert pattern([[3, -3], [-3, 3]]).spread == 3


# --- whose frames --------------------------------------------------------------------------------


def test_frames_of_another_size_or_dtype_are_refused() -> None:
    camera = drawn()
    small = draw_scene(0, HEIGHT, WIDTH + 1, "uint16")
    with pytest.raises(PictureError, match="is 129x96, and the pattern 128x96") as caught:
        camera.check(small)
    assert "--pattern" in str(caught.value)
    with pytest.raises(PictureError, match="holds uint8 pixels, and the pattern is of uint16"):
        camera.check(draw_scene(0, HEIGHT, WIDTH))


@pytest.mark.parametrize("seed", range(4))
def test_a_frame_of_the_camera_shows_all_of_the_pattern_whatever_the_scene(seed: int) -> None:
    camera = drawn(dead=0.002)
    scene = draw_scene(seed, HEIGHT, WIDTH, "uint16").values
    noise = np.random.default_rng(seed).normal(0, 15, SIZE).astype(np.float32)
    seen = np.rint(seen_by(camera, scene) + noise)
    assert camera.presence(seen)[0] == pytest.approx(1, abs=0.1)
    camera.check(counts(seen))


@pytest.mark.parametrize("seed", range(4))
def test_a_frame_without_the_pattern_or_of_another_camera_is_refused(seed: int) -> None:
    camera = drawn()
    scene = draw_scene(seed, HEIGHT, WIDTH, "uint16").values
    other = seen_by(drawn(seed + 1), scene)  # 128 columns agree by a tenth or so by chance
    for seen, chance in ((scene, 0.05), (other, 0.2), (np.full(SIZE, 8000, np.float32), 0.01)):
        assert camera.presence(seen)[0] == pytest.approx(0, abs=chance)
        with pytest.raises(PictureError, match=r"does not show the fixed pattern \(a share of 0"):
            camera.check(counts(seen))


def test_what_a_pattern_was_taken_off_shows_it_no_more() -> None:
    camera = drawn()
    seen = seen_by(camera, draw_scene(0, HEIGHT, WIDTH, "uint16").values)
    assert camera.presence(camera.remove(seen))[0] == pytest.approx(0, abs=0.1)


def test_gaps_and_dead_pixels_hide_nothing_of_the_pattern() -> None:
    camera = drawn(dead=0.01)
    seen = seen_by(camera, draw_scene(0, HEIGHT, WIDTH, "uint16").values)
    seen[:20, :30] = np.nan
    assert camera.presence(seen)[0] == pytest.approx(0.95, abs=0.1)


# --- restoring what it was taken off -------------------------------------------------------------


def freed(camera: Pattern, scene: NDArray[np.float32], **metadata: Any) -> Frame:
    """A frame as the jobs hand it on: without the pattern, and with what was read."""
    seen = np.rint(seen_by(camera, scene))
    return Frame(camera.remove(seen), np.dtype(np.uint16), Metadata(**metadata), seen)


def shrunk(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """A network that draws everything to the middle."""
    return 0.9 * x + np.float32(0.05)


SHARED = Shared(View(6000.0, 14000.0), None)
KEEP = Settings(tone="keep")


def test_strength_zero_gives_the_file_back_bit_for_bit_even_with_a_pattern(
    numpy_backend: MakeBackend,
) -> None:
    frame = freed(drawn(dead=0.01), draw_scene(0, HEIGHT, WIDTH, "uint16").values)
    restorer = Restorer(numpy_backend(shrunk), replace(KEEP, strength=0))
    (done,) = restorer.restore_batch([frame], SHARED)
    np.testing.assert_array_equal(done.frame.values, frame.original)
    assert done.frame.original is None
    assert done.fidelity is not None
    assert (done.fidelity.mean_change, done.fidelity.outside) == (0, 0)


def test_without_a_correction_the_result_is_the_frame_without_the_pattern(
    numpy_backend: MakeBackend,
) -> None:
    camera = drawn()
    frame = freed(camera, draw_scene(0, HEIGHT, WIDTH, "uint16").values)
    (done,) = Restorer(numpy_backend(), KEEP).restore_batch([frame], SHARED)
    np.testing.assert_array_equal(done.frame.values, frame.values)
    # How far that is from the file is told, pattern and all.
    assert done.fidelity is not None
    assert frame.original is not None
    change = np.abs(np.rint(frame.values) - frame.original).mean()
    assert done.fidelity.mean_change == pytest.approx(change, rel=1e-3)
    assert change > 50


def test_half_the_strength_is_half_way_from_the_file(numpy_backend: MakeBackend) -> None:
    frame = freed(drawn(), draw_scene(0, HEIGHT, WIDTH, "uint16").values)
    assert frame.original is not None
    backend = numpy_backend(shrunk)
    (whole,) = Restorer(backend, KEEP).restore_batch([frame], SHARED)
    (half,) = Restorer(backend, replace(KEEP, strength=0.5)).restore_batch([frame], SHARED)
    middle = (whole.frame.values + frame.original) / 2
    np.testing.assert_allclose(half.frame.values, middle, atol=0.01)


def test_the_network_sees_the_frame_without_the_pattern(numpy_backend: MakeBackend) -> None:
    camera, backend = drawn(), numpy_backend()
    scene = draw_scene(0, HEIGHT, WIDTH, "uint16").values
    Restorer(backend, KEEP).restore_batch([freed(camera, scene)], SHARED)
    unit = backend.seen[0][0, 0, :HEIGHT, :WIDTH]
    np.testing.assert_allclose(unit, ((scene - 6000) / 8000).clip(0, 1), atol=1e-3)


@pytest.mark.parametrize("most", [0.0, 30.0])
def test_the_bound_holds_against_what_was_read(most: float, numpy_backend: MakeBackend) -> None:
    frame = freed(drawn(dead=0.01), draw_scene(0, HEIGHT, WIDTH, "uint16").values)
    assert frame.original is not None
    restorer = Restorer(numpy_backend(shrunk), replace(KEEP, bound=Bound(most)))
    (done,) = restorer.restore_batch([frame], SHARED)
    moved = np.abs(np.rint(done.frame.values) - frame.original)
    assert moved.max() <= most
    assert (moved == most).mean() > 0.5


def test_gaps_come_back_as_they_were_read(numpy_backend: MakeBackend) -> None:
    camera = drawn()
    seen = np.rint(seen_by(camera, draw_scene(0, HEIGHT, WIDTH, "uint16").values))
    seen[10:14, 20:26] = 0
    filled, _ = fill_gaps(seen, 0.0)
    frame = Frame(camera.remove(filled), np.dtype(np.uint16), Metadata(nodata=0.0), seen)
    (done,) = Restorer(numpy_backend(shrunk), KEEP).restore_batch([frame], SHARED)
    np.testing.assert_array_equal(done.frame.values == 0, seen == 0)
    assert done.fidelity is not None
    assert done.fidelity.pixels == seen.size - 24


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_gaps_of_floats_come_back_too(hole: float, numpy_backend: MakeBackend) -> None:
    camera = drawn(dtype="float32")
    seen = seen_by(camera, draw_scene(0, HEIGHT, WIDTH, "uint16").values)
    seen[10:14, 20:26] = hole
    filled, _ = fill_gaps(seen)
    frame = Frame(camera.remove(filled), np.dtype(np.float32), original=seen)
    (done,) = Restorer(numpy_backend(shrunk), KEEP).restore_batch([frame], SHARED)
    np.testing.assert_array_equal(done.frame.values[10:14, 20:26], np.full((4, 6), hole))
    assert np.isfinite(done.frame.values).sum() == seen.size - 24
    frame = replace(frame, values=frame.values.copy())
    restorer = Restorer(numpy_backend(shrunk), replace(KEEP, strength=0))
    np.testing.assert_array_equal(restorer.restore_batch([frame], SHARED)[0].frame.values, seen)


@pytest.mark.parametrize("scale", [2, 4])
def test_what_was_read_is_enlarged_with_what_is_without_the_pattern(
    scale: int, numpy_backend: MakeBackend
) -> None:
    camera = drawn()
    seen = np.rint(seen_by(camera, draw_scene(0, HEIGHT, WIDTH, "uint16").values))
    seen[10:14, 20:26] = 0
    filled, _ = fill_gaps(seen, 0.0)
    metadata = Metadata(nodata=0.0)
    large = enlarge(Frame(camera.remove(filled), np.dtype(np.uint16), metadata, seen), scale)
    assert large.original is not None
    alone = enlarge(Frame(seen, np.dtype(np.uint16), metadata), scale)
    np.testing.assert_array_equal(large.original, alone.values)
    without = enlarge(Frame(camera.remove(filled), np.dtype(np.uint16)), scale)
    np.testing.assert_array_equal(large.values, without.values)
    restorer = Restorer(numpy_backend(shrunk), replace(KEEP, strength=0))
    (done,) = restorer.restore_batch([large], SHARED)
    np.testing.assert_array_equal(done.frame.values == 0, alone.values == 0)
    away = np.abs(done.frame.values - alone.values)
    assert away.max() <= 1  # from where a bicubic overshoot would have been written as nodata
    assert (away > 0).mean() < 0.001


# --- a file of it --------------------------------------------------------------------------------


def test_a_pattern_that_is_saved_is_loaded_again_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "camera.safetensors"
    saved = drawn(dead=0.01)
    saved.save(path)
    loaded = load_pattern(path)
    np.testing.assert_array_equal(loaded.offset, saved.offset)
    np.testing.assert_array_equal(loaded.gain, saved.gain)
    np.testing.assert_array_equal(loaded.dead, saved.dead)
    assert loaded.dead.dtype == np.bool_
    assert (loaded.pivot, loaded.views, loaded.dtype) == (saved.pivot, saved.views, saved.dtype)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_pattern_cannot_be_saved_over_a_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        drawn().save(tmp_path)
    assert not list(tmp_path.parent.glob("*.partial"))


def facts(**changed: str | None) -> dict[str, str]:
    told = {
        "format": "deal-pattern/1",
        "height": "4",
        "width": "6",
        "pivot": "8000.0",
        "views": "9",
        "dtype": "uint16",
        **changed,
    }
    return {name: value for name, value in told.items() if value is not None}


def tensors(**changed: torch.Tensor | None) -> dict[str, torch.Tensor]:
    held = {
        "offset": torch.zeros(4, 6),
        "gain": torch.ones(4, 6),
        "dead": torch.zeros(4, 6),
        **changed,
    }
    return {name: tensor for name, tensor in held.items() if tensor is not None}


def refusal(path: Path) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load_pattern(path)
    assert caught.value.file == path
    assert caught.value.exit_code is ExitCode.USAGE
    assert "--save-pattern" in str(caught.value.remedy)
    return caught.value


def test_the_file_that_the_refusals_are_made_of_is_a_pattern(tmp_path: Path) -> None:
    path = tmp_path / "x"
    save_file(tensors(), path, facts())
    assert load_pattern(path).offset.shape == (4, 6)


@pytest.mark.parametrize(
    ("told", "held", "cause"),
    [
        ({"format": "deal/1"}, {}, "is no fixed pattern"),
        ({"format": None}, {}, "is no fixed pattern"),
        *(
            ({name: None}, {}, "does not say what it is of")
            for name in ("height", "width", "pivot", "views", "dtype")
        ),
        ({"height": "four"}, {}, "does not say"),
        ({"pivot": "eight"}, {}, "does not say"),
        ({"views": "9.5"}, {}, "does not say"),
        ({"height": "5"}, {}, "4x6, not 5x6"),
        ({"height": "9" * 18, "width": "9" * 18}, {}, "4x6"),
        ({"height": "9" * 5000}, {}, "does not say"),  # more digits than Python converts
        ({"pivot": "nan"}, {}, "gain that is none"),
        ({"pivot": "inf"}, {}, "gain that is none"),
        ({}, {"gain": torch.zeros(4, 6)}, "gain that is none"),
        ({}, {"gain": torch.full((4, 6), -1.0)}, "gain that is none"),
        ({}, {"gain": None}, "'gain' is missing"),
        ({}, {"offset": torch.full((4, 6), torch.nan)}, "NaN or infinite"),
        ({}, {"offset": torch.zeros(4, 6, dtype=torch.float64)}, "not F32"),
        ({}, {"dead": torch.zeros(24)}, "24, not 4x6"),
        ({}, {"more": torch.zeros(1)}, "not part of it"),
    ],
)
def test_a_file_that_holds_something_else_is_refused_by_name(
    told: dict[str, Any], held: dict[str, Any], cause: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    save_file(tensors(**held), path, facts(**told))
    assert cause in str(refusal(path))


def test_a_missing_file_a_folder_and_weights_are_refused_by_name(
    root: Path, tmp_path: Path
) -> None:
    refusal(tmp_path / "none.safetensors")
    refusal(tmp_path)
    assert refusal(root / "weights" / "deal-fast.safetensors").cause == "is no fixed pattern"


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "camera.safetensors"
    drawn().save(path)
    data = path.read_bytes()
    for end in (0, 4, 8, 40, 300, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:end])
        refusal(path)


class Loud:
    """Something that acts when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".npy", ".pkl"])
def test_nothing_is_unpickled(suffix: str, tmp_path: Path) -> None:
    path, mark = tmp_path / f"x{suffix}", tmp_path / "mark"
    path.write_bytes(pickle.dumps(Loud(mark)))
    refusal(path)
    torch.save(Loud(mark), path)
    refusal(path)
    assert not mark.exists()
    with path.open("rb") as stream:
        torch.load(stream, weights_only=False)
    assert mark.exists()  # and it would have acted
