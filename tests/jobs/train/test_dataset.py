"""The pictures of a training are checked by name before it starts, and split by scene."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deal_cli.config import TrainConfig
from deal_cli.errors import DealError, PictureError, UsageError
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import read_frame, write_frame
from deal_cli.imaging.frame import Frame
from deal_cli.jobs.train.dataset import SCALES, build_pyramid, load_dataset
from deal_cli.jobs.train.holdout import group_scenes

MakeScenes = Callable[..., Path]
CONFIG = TrainConfig(crop=32, border=0)


def write_film(folder: Path, seed: int, frames: int) -> None:
    """Frames of one drawn scene, each three pixels further along it."""
    folder.mkdir(exist_ok=True)
    whole = draw_scene(seed, 96 + 3 * frames, 128 + 3 * frames)
    for i in range(frames):
        values = whole.values[3 * i : 3 * i + 96, 3 * i : 3 * i + 128]
        write_frame(replace(whole, values=values), folder / f"scene{seed}_{i}.png")


# --- what is loaded ------------------------------------------------------------------------------


def test_pictures_come_in_natural_order_in_unit_range_without_their_border(
    draw_scenes: MakeScenes,
) -> None:
    data, val = draw_scenes(12), draw_scenes(1, name="val")
    dataset = load_dataset(data, val, replace(CONFIG, border=10))
    assert dataset.names == tuple(f"{i}.png" for i in range(12))
    for name, picture in zip(dataset.names, dataset.training, strict=True):
        assert picture.dtype == np.float32
        expected = read_frame(data / name).values[10:-10, 10:-10] / np.float32(255)
        np.testing.assert_array_equal(picture, expected)


def test_sixteen_bits_and_floats_are_stretched_to_the_unit_range(
    draw_scenes: MakeScenes,
) -> None:
    data, val = draw_scenes(7), draw_scenes(1, name="val")
    counts = draw_scene(20, 96, 128, "uint16")
    write_frame(counts, data / "counts.png")
    degrees = Frame(draw_scene(21, 96, 128).values / 8 - 10, np.dtype(np.float32))
    write_frame(degrees, data / "degrees.tif")
    dataset = load_dataset(data, val, CONFIG)
    by_name = dict(zip(dataset.names, dataset.training, strict=True))
    for name in ("counts.png", "degrees.tif"):
        assert 0 <= by_name[name].min() < 0.1
        assert 0.9 < by_name[name].max() <= 1


def test_pixels_without_a_number_take_their_neighbour_s(draw_scenes: MakeScenes) -> None:
    data, val = draw_scenes(8), draw_scenes(1, name="val")
    values = draw_scene(20, 96, 128).values / 8
    values[40, 50] = np.nan
    write_frame(Frame(values, np.dtype(np.float32)), data / "gap.tif")
    dataset = load_dataset(data, val, CONFIG)
    picture = dataset.training[dataset.names.index("gap.tif")]
    assert np.isfinite(picture).all()
    assert picture[40, 50] in (picture[40, 49], picture[40, 51], picture[39, 50], picture[41, 50])


def test_hidden_and_other_files_are_ignored(draw_scenes: MakeScenes) -> None:
    data, val = draw_scenes(8), draw_scenes(1, name="val")
    for folder in (data, val):
        (folder / "._0.png").write_bytes(b"not a picture")
        (folder / "notes.txt").write_bytes(b"mine")
    assert len(load_dataset(data, val, CONFIG).training) == 8


def test_copies_are_left_out_whatever_their_format(draw_scenes: MakeScenes) -> None:
    data, val = draw_scenes(8), draw_scenes(1, name="val")
    shutil.copy(data / "0.png", data / "copy.png")
    write_frame(read_frame(data / "1.png"), data / "again.tif")
    assert load_dataset(data, val, CONFIG).names == (
        *("0.png", "1.png", "2.png", "3.png", "4.png", "5.png", "6.png", "7.png"),
    )


# --- validation ----------------------------------------------------------------------------------


def test_validation_pictures_are_centre_crops_of_eight_bit_levels(
    draw_scenes: MakeScenes,
) -> None:
    data, val = draw_scenes(8), draw_scenes(1, 340, 400, "val")
    dataset = load_dataset(data, val, replace(CONFIG, border=10))
    (clean,) = dataset.validation
    assert (clean.set, clean.stem, clean.unit.dtype) == ("val", "0", np.float32)
    expected = read_frame(val / "0.png").values[10:330, 40:360] / np.float32(255)
    np.testing.assert_array_equal(clean.unit, expected)
    assert dataset.split == f"validation on 1 picture of {val}"


def test_validation_takes_ten_evenly_spaced_pictures_of_a_folder(
    draw_scenes: MakeScenes,
) -> None:
    data, val = draw_scenes(8), draw_scenes(19, 32, 40, "val")
    dataset = load_dataset(data, val, CONFIG)
    assert [clean.stem for clean in dataset.validation] == [str(i) for i in range(0, 19, 2)]
    assert dataset.split == f"validation on 10 pictures of {val}"


def test_validation_pictures_of_sixteen_bits_are_rounded_to_eight(
    tmp_path: Path, draw_scenes: MakeScenes
) -> None:
    val = tmp_path / "val"
    val.mkdir()
    write_frame(draw_scene(0, 48, 64, "uint16"), val / "counts.png")
    (clean,) = load_dataset(draw_scenes(8), val, CONFIG).validation
    levels = np.rint(clean.unit * 255)
    np.testing.assert_array_equal(clean.unit, levels.astype(np.float32) / np.float32(255))
    assert np.ptp(levels) > 100


def test_without_val_whole_scenes_are_kept_out_of_training(tmp_path: Path) -> None:
    data = tmp_path / "films"
    for seed in range(6):
        write_film(data, seed, 2)
    dataset = load_dataset(data, None, replace(CONFIG, border=4))
    assert dataset.split == "2 of 12 pictures, 1 of 6 scenes, are kept for validation"
    kept = {clean.stem for clean in dataset.validation}
    assert len({stem.partition("_")[0] for stem in kept}) == 1
    assert {name.removesuffix(".png") for name in dataset.names} == {
        path.stem for path in data.iterdir()
    } - kept
    for clean in dataset.validation:
        assert clean.set == "films"
        expected = read_frame(data / f"{clean.stem}.png").values[4:-4, 4:-4] / np.float32(255)
        np.testing.assert_array_equal(clean.unit, expected)


def test_copies_do_not_reach_both_sides(draw_scenes: MakeScenes) -> None:
    data = draw_scenes(9)
    for path in list(data.iterdir()):
        shutil.copy(path, data / f"copy_{path.name}")
    dataset = load_dataset(data, None, CONFIG)
    assert len(dataset.training) == 8
    assert len(dataset.validation) == 1
    assert not any(np.array_equal(dataset.validation[0].unit, one) for one in dataset.training)


def test_of_a_large_scene_ten_pictures_are_looked_at(tmp_path: Path) -> None:
    data = tmp_path / "films"
    for seed in range(4):
        write_film(data, seed, 12)
    dataset = load_dataset(data, None, CONFIG)
    assert len(dataset.validation) == 10
    assert len(dataset.training) == 36
    assert dataset.split == (
        "12 of 48 pictures, 1 of 4 scenes, are kept for validation, on 10 of them"
    )


@pytest.mark.data
def test_no_scene_of_the_real_pictures_is_on_both_sides(data: Path) -> None:
    dataset = load_dataset(data / "train50", None, TrainConfig())
    assert len(dataset.training) >= 8
    assert len(dataset.validation) == 10
    paths = sorted((data / "train50").iterdir())
    pictures = [read_frame(path).values[16:-16, 16:-16] / np.float32(255) for path in paths]
    scene = dict(zip((path.stem for path in paths), group_scenes(pictures).tolist(), strict=True))
    learnt = {scene[Path(name).stem] for name in dataset.names}
    assert learnt.isdisjoint(scene[clean.stem] for clean in dataset.validation)
    assert dataset.split == (
        "12 of 50 pictures, 2 of 6 scenes, are kept for validation, on 10 of them"
    )


# --- scales --------------------------------------------------------------------------------------


def test_a_pyramid_holds_a_picture_at_every_scale() -> None:
    pyramid = build_pyramid(np.ones((100, 200), np.float32), 32)
    assert [level.shape for level in pyramid] == [(100, 200), (65, 130), (50, 100)]


@pytest.mark.parametrize(
    ("edge", "edges"), [(64, [64, 42, 32]), (50, [50, 32, 32]), (49, [49, 32, 32]), (32, [32] * 3)]
)
def test_a_scale_that_holds_no_crop_is_replaced_by_the_next_larger(
    edge: int, edges: list[int]
) -> None:
    pyramid = build_pyramid(np.ones((edge, 90), np.float32), 32)
    assert len(pyramid) == len(SCALES)
    assert [level.shape[0] for level in pyramid] == edges


# --- refusals ------------------------------------------------------------------------------------


def refused(
    data: Path, val: Path | None, words: str, kind: type[DealError] = UsageError, **change: int
) -> None:
    with pytest.raises(kind, match=words) as caught:
        load_dataset(data, val, replace(CONFIG, **change))  # type: ignore[arg-type]
    assert caught.value.remedy
    assert caught.value.file


def test_a_folder_that_is_missing_or_empty_is_refused_with_its_flag(
    tmp_path: Path, draw_scenes: MakeScenes
) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "no", None, "no: is not a folder; give --data a folder")
    refused(tmp_path / "empty", None, "empty: holds no pictures; give --data another")
    data = draw_scenes(8)
    refused(data, tmp_path / "no", "no: is not a folder; give --val a folder")
    refused(data, tmp_path / "empty", "empty: holds no pictures; give --val another")
    refused(data / "0.png", None, "is not a folder")


def test_a_picture_that_cannot_be_read_is_refused_by_name(draw_scenes: MakeScenes) -> None:
    data, val = draw_scenes(9), draw_scenes(1, name="val")
    broken = (data / "0.png").read_bytes()[:100]
    (val / "1.png").write_bytes(broken)
    refused(data, val, r"val.1\.png", PictureError)
    (data / "broken.png").write_bytes(broken)
    refused(data, None, r"broken\.png", PictureError)


@pytest.mark.parametrize(
    ("level", "dtype"), [(0, "uint8"), (90, "uint8"), (7000, "uint16"), (np.nan, "float32")]
)
def test_a_picture_of_one_value_is_refused(
    level: float, dtype: str, draw_scenes: MakeScenes
) -> None:
    data, val = draw_scenes(9), draw_scenes(1, name="val")
    flat = Frame(np.full((96, 96), level, np.float32), np.dtype(dtype))
    write_frame(flat, val / "flat.tif")
    refused(data, val, r"flat\.tif: holds one value only; take it out of --val")
    write_frame(flat, data / "flat.tif")
    refused(data, None, r"flat\.tif: holds one value only; take it out of --data")


def test_a_picture_of_one_value_within_its_border_is_refused(draw_scenes: MakeScenes) -> None:
    data = draw_scenes(9)
    values = np.zeros((96, 96), np.float32)
    values[:3] = 200
    write_frame(Frame(values, np.dtype(np.uint8)), data / "edge.png")
    refused(data, None, "edge.png: holds one value only", border=4)


def test_a_picture_smaller_than_a_crop_within_its_border_is_refused(
    draw_scenes: MakeScenes,
) -> None:
    data = draw_scenes(9, 40, 48)
    assert load_dataset(data, None, replace(CONFIG, border=4)).training[0].shape == (32, 40)
    refused(data, None, "0.png: 48x40 is too small for crops of 42; set a smaller crop", crop=42)
    words = "0.png: 48x40 is too small for crops of 32 within a border of 5"
    refused(data, None, words, border=5)
    refused(data, None, "too small", border=60)


def test_a_validation_picture_smaller_than_the_window_is_refused(
    tmp_path: Path, draw_scenes: MakeScenes
) -> None:
    val = tmp_path / "val"
    val.mkdir()
    thin = Frame(draw_scene(0, 48, 64).values[:, :10], np.dtype(np.uint8))
    write_frame(thin, val / "thin.png")
    refused(draw_scenes(8), val, r"thin\.png: 10x48 is smaller than 11 pixels; take it out")


def test_too_few_pictures_are_refused_with_what_is_needed(draw_scenes: MakeScenes) -> None:
    data, val = draw_scenes(7), draw_scenes(1, name="val")
    need = "at least 8 different ones are needed to train on"
    refused(data, val, f"scenes: holds 7 pictures, and {need}; add more to it$")
    refused(data, None, f"holds 7 pictures, and {need} and one more to validate on; add more to it")
    refused(val, None, f"holds 1 picture, and {need}")
    shutil.copy(data / "0.png", data / "copy.png")
    refused(data, val, f"holds 8 pictures, but only 7 different ones, and {need}")
    write_frame(draw_scene(7, 96, 128), data / "7.png")
    assert len(load_dataset(data, val, CONFIG).training) == 8
    refused(data, None, "or give --val a folder of others$")


def test_pictures_that_are_all_the_same_are_refused(draw_scenes: MakeScenes) -> None:
    data = draw_scenes(1)
    for i in range(1, 12):
        shutil.copy(data / "0.png", data / f"{i}.png")
    refused(data, None, "holds 12 pictures that are all the same, and at least 8 different ones")
