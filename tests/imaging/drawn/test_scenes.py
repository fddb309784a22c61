from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command import ROOT

from deal_cli.imaging.drawn.samples import write_samples
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import read_frame

SAMPLES = ROOT / "docs" / "samples"


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_seed_draws_the_same_scene_again_and_another_seed_another(dtype: str) -> None:
    first = draw_scene(5, 96, 128, dtype)  # type: ignore[arg-type]
    np.testing.assert_array_equal(draw_scene(5, 96, 128, dtype).values, first.values)  # type: ignore[arg-type]
    assert (draw_scene(6, 96, 128, dtype).values != first.values).mean() > 0.5  # type: ignore[arg-type]


def test_scenes_leave_numpys_global_random_state_alone() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr] # noqa: NPY002
    draw_scene(1, 64, 64)
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index,union-attr] # noqa: NPY002


@pytest.mark.parametrize("seed", range(6))
def test_levels_span_most_of_eight_bits_and_are_whole(seed: int) -> None:
    frame = draw_scene(seed)
    assert frame.values.shape == (512, 640)
    assert frame.dtype == np.uint8
    assert frame.values.dtype == np.float32
    assert (frame.values == np.rint(frame.values)).all()
    assert frame.values.min() >= 0
    assert frame.values.max() <= 255
    assert np.ptp(np.percentile(frame.values, (1, 99.9))) > 180


@pytest.mark.parametrize("seed", range(6))
def test_counts_lie_where_a_fourteen_bit_camera_has_them(seed: int) -> None:
    values = draw_scene(seed, dtype="uint16").values
    assert draw_scene(seed, dtype="uint16").dtype == np.uint16
    assert 6700 <= values.min() < 7400
    assert 8500 < values.max() <= 12000
    assert (values == np.rint(values)).all()


@pytest.mark.parametrize("size", [(32, 32), (32, 400), (333, 41), (1024, 96)])
def test_any_size_can_be_drawn(size: tuple[int, int]) -> None:
    for seed in range(8):
        assert np.isfinite(draw_scene(seed, *size).values).all()


def test_a_scene_too_small_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="32x32"):
        draw_scene(0, 31, 640)


def test_the_samples_are_what_their_names_say(tmp_path: Path) -> None:
    paths = write_samples(tmp_path / "samples")
    assert [p.name for p in paths] == [
        "stripes-8bit.png",
        "noise-16bit.png",
        "temperature-float32.tif",
    ]
    assert [read_frame(p).dtype.name for p in paths] == ["uint8", "uint16", "float32"]
    degrees = read_frame(paths[2]).values
    assert -20 < np.median(degrees) < 40
    assert sum(p.stat().st_size for p in paths) < 3e6


def test_the_samples_of_the_documentation_are_those_that_the_script_draws(tmp_path: Path) -> None:
    fresh = write_samples(tmp_path)
    assert sorted(p.name for p in SAMPLES.iterdir()) == sorted(p.name for p in fresh)
    for path in fresh:
        kept = read_frame(SAMPLES / path.name)
        # Another build of OpenCV may round a blurred pixel the other way.
        np.testing.assert_allclose(
            np.median(np.abs(kept.values - read_frame(path).values)), 0, atol=0.02
        )
