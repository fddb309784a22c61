"""Which pictures are scored: degraded by the protocol, paired by name, or as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deal_cli.errors import PictureError, UsageError
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import write_frame
from deal_cli.jobs.protocol.cases import FOUND, Selection, Subject, centre_crop, select_pictures
from deal_cli.jobs.protocol.tasks import degrade_for_task


def grey(values: np.ndarray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of five small clean pictures, `a.png` to `e.png`."""
    pictures = tmp_path / "scenes"
    pictures.mkdir()
    for seed, name in enumerate("abcde"):
        write_frame(draw_scene(seed, 48, 64), pictures / f"{name}.png")
    return pictures


def one(selection: Selection, at: int = 0):
    """The first case of a subject."""
    return selection.cases(selection.subjects()[at])[0]


def test_centre_crop_is_the_middle() -> None:
    picture = np.arange(6 * 9).reshape(6, 9)
    np.testing.assert_array_equal(centre_crop(picture, 4), picture[1:5, 2:6])
    np.testing.assert_array_equal(centre_crop(picture, 7), picture[:, 1:8])
    np.testing.assert_array_equal(centre_crop(picture, 99), picture)


def test_pictures_are_evenly_spaced_by_name(folder: Path) -> None:
    assert [path.stem for path in select_pictures(folder, 3)] == ["a", "c", "e"]
    assert [path.stem for path in select_pictures(folder, 1)] == ["a"]
    assert [path.stem for path in select_pictures(folder, 99)] == list("abcde")
    assert [path.stem for path in select_pictures(folder, None)] == list("abcde")


def test_clean_pictures_are_cropped_then_degraded_as_their_names_seed(folder: Path) -> None:
    case = one(Selection((folder,), tasks=("noise",), crop=32), 1)
    clean = draw_scene(1, 48, 64).values[8:40, 16:48]
    assert (case.set, case.stem, case.task) == ("scenes", "b", "noise")
    np.testing.assert_array_equal(case.clean.values, clean)
    expected = degrade_for_task(clean / np.float32(255), "noise", "scenes", "b")
    np.testing.assert_array_equal(case.degraded.values, expected)
    assert case.degraded.dtype == np.uint8
    assert case.small is None


def test_the_small_picture_behind_sr4_is_kept_beside_it(folder: Path) -> None:
    case = one(Selection((folder,), tasks=("sr4",)))
    assert case.small.values.shape == (12, 16)
    assert case.degraded.values.shape == case.clean.values.shape == (48, 64)


def test_the_protocol_takes_ten_crops_of_320_and_pairs_are_taken_whole(folder: Path) -> None:
    assert Selection((folder,)).side == 320
    assert Selection((folder,), (folder,)).side is None
    assert Selection((folder,), (folder,), crop=48).side == 48


def test_pairs_are_made_by_name_whatever_the_format(folder: Path, tmp_path: Path) -> None:
    dirty = draw_scene(1, 48, 64).values[::-1].astype(np.uint8)
    path = grey(dirty, tmp_path / "dirty" / "b.tif")
    selection = Selection((folder,), (path.parent,))
    (subject,) = selection.subjects()
    assert subject == Subject(path, folder / "b.png")
    (case,) = selection.cases(subject)
    assert (case.set, case.stem, case.task) == ("dirty", "b", FOUND)
    np.testing.assert_array_equal(case.degraded.values, dirty)
    np.testing.assert_array_equal(case.clean.values, draw_scene(1, 48, 64).values)


@pytest.mark.parametrize("scale", [2, 4])
def test_a_smaller_degraded_picture_is_enlarged_and_kept(
    folder: Path, tmp_path: Path, scale: int
) -> None:
    small = draw_scene(0, 96, 128).values[: 48 // scale, : 64 // scale].astype(np.uint8)
    path = grey(small, tmp_path / "small" / "a.png")
    case = one(Selection((folder,), (path.parent,)))
    assert case.degraded.values.shape == (48, 64)
    np.testing.assert_array_equal(case.small.values, small)


def test_pictures_alone_have_no_clean_one(folder: Path) -> None:
    selection = Selection(degraded=(folder,))
    case = one(selection, 4)
    assert len(selection.subjects()) == 5
    assert (case.stem, case.task, case.clean) == ("e", FOUND, None)


def test_pixels_without_a_measurement_take_their_nearest_value(tmp_path: Path) -> None:
    import tifffile

    values = draw_scene(0, 48, 64, "uint16").values
    values[3, 3] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", values)
    case = one(Selection(degraded=(tmp_path,)))
    assert np.isfinite(case.degraded.values).all()


def test_a_degraded_picture_without_its_clean_one_fails_alone(folder: Path, tmp_path: Path) -> None:
    dirty = tmp_path / "dirty"
    for name in ("a", "z"):
        grey(np.zeros((48, 64), np.uint8), dirty / f"{name}.png")
    selection = Selection((folder,), (dirty,))
    first, last = selection.subjects()
    assert selection.cases(first)
    with pytest.raises(PictureError, match=r"z\.png: has the name of no clean picture; name it"):
        selection.cases(last)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((48, 60), np.uint8), "60x48, and its clean picture .* 64x48; give pairs of one"),
        (np.zeros((48, 64), np.uint16), "uint16, and its clean picture .* uint8; give pairs in"),
        (np.zeros((48, 10), np.uint8), "smaller than 11 pixels"),
    ],
)
def test_a_pair_that_does_not_fit_is_refused(
    folder: Path, tmp_path: Path, values: np.ndarray, message: str
) -> None:
    path = grey(values, tmp_path / "dirty" / "a.png")
    selection = Selection((folder,), (path.parent,))
    with pytest.raises(PictureError, match=message):
        one(selection)


def test_a_clean_picture_of_sixteen_bits_is_none_of_the_protocol(tmp_path: Path) -> None:
    grey(np.full((40, 40), 9000, np.uint16), tmp_path / "counts.png")
    with pytest.raises(PictureError, match=r"counts\.png: uint16 where .* 8-bit"):
        one(Selection((tmp_path,)))
    assert one(Selection(degraded=(tmp_path,))).degraded.dtype == np.uint16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clean": ()}, "no pictures; give --clean"),
        ({"tasks": ()}, "no tasks"),
        ({"tasks": ("haze",)}, "no task named 'haze'"),
        ({"per_set": 0}, "--per-set"),
        ({"crop": 10}, "--crop"),
    ],
)
def test_nothing_to_do_is_an_error_of_use(folder: Path, change: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Selection(**{"clean": (folder,), **change}).subjects()


@pytest.mark.parametrize("flag", ["clean", "degraded"])
def test_a_missing_or_empty_folder_is_an_error_of_use(tmp_path: Path, flag: str) -> None:
    with pytest.raises(UsageError, match=f"not a folder; give --{flag}"):
        Selection(**{flag: (tmp_path / "nowhere",)}).subjects()
    with pytest.raises(UsageError, match=f"no picture in this folder; give --{flag}"):
        Selection(**{flag: (tmp_path,)}).subjects()


def test_two_clean_pictures_of_one_name_are_an_error_of_use(folder: Path, tmp_path: Path) -> None:
    other = grey(np.zeros((48, 64), np.uint8), tmp_path / "more" / "a.png").parent
    with pytest.raises(UsageError, match=r"more.a\.png: has the name of .*scenes.a\.png"):
        Selection((folder, other), (folder,)).subjects()


def test_no_pair_at_all_is_an_error_of_use(folder: Path, tmp_path: Path) -> None:
    path = grey(np.zeros((48, 64), np.uint8), tmp_path / "dirty" / "x.png")
    with pytest.raises(UsageError, match=r"x\.png: has the name of no clean picture, nor has any"):
        Selection((folder,), (path.parent,)).subjects()


def test_a_pair_with_pixels_that_were_not_measured_is_refused(tmp_path: Path) -> None:
    import tifffile

    for name in ("clean", "dirty"):
        values = draw_scene(0, 48, 64, "uint16").values
        if name == "dirty":
            values[3, 3] = np.nan
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "a.tif", values)
    with pytest.raises(PictureError, match=r"a\.tif: 1 pixels hold no measurement"):
        one(Selection((tmp_path / "clean",), (tmp_path / "dirty",)))
