"""The evaluation protocol: the same pixels for everyone, scored as a user's file would be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from deal_cli.errors import OutputError, PictureError, UsageError
from deal_cli.imaging.frame import Frame
from deal_cli.jobs.benchmark_page import commit_of, describe_machine, write_section
from deal_cli.jobs.evaluate import (
    Clean,
    RunFacts,
    centre_crop,
    evaluate,
    means,
    score_pictures,
    select_pictures,
    write_benchmarks,
)

# Mean PSNR and SSIM of the degraded pictures themselves, ten of each folder, crops of 320 px.
INPUT = {
    "clean": (70.00, 1.0000),
    "stripe02": (34.11, 0.8115),
    "stripe05": (26.08, 0.4584),
    "stripe10": (20.22, 0.2173),
    "sr2": (43.42, 0.9741),
    "sr4": (36.19, 0.9300),
    "blur": (37.84, 0.9507),
    "noise": (28.03, 0.4830),
    "contrast": (23.27, 0.9205),
    "stripe_sr4": (27.31, 0.4989),
    "all": (24.03, 0.4388),
}


def identity(frame: Frame) -> Frame:
    return frame


def scene(height: int = 48, width: int = 64) -> NDArray[np.float32]:
    """A smooth picture between .25 and .75 on the levels of 8 bits, far from both ends."""
    y, x = np.mgrid[:height, :width]
    levels = np.rint(255 * (0.5 + 0.25 * np.sin(x / 7) * np.cos(y / 5)))
    return (levels / 255).astype(np.float32)


def levels(picture: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.clip(np.rint(picture * 255), 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of five small clean pictures, `a.png` to `e.png`."""
    pictures = tmp_path / "scenes"
    pictures.mkdir()
    for shift, name in enumerate("abcde"):
        Image.fromarray(levels(np.roll(scene(), shift, axis=1))).save(pictures / f"{name}.png")
    return pictures


@pytest.mark.data
def test_identity_scores_the_published_input_column(data: Path) -> None:
    result = evaluate(identity, [data / "val20", data / "test14"], per_set=10, crop=320)
    assert [mean.task for mean in result.means()] == list(INPUT)
    for mean in result.means():
        psnr, ssim = INPUT[mean.task]
        assert mean.pictures == 20
        assert mean.input == mean.restored
        assert mean.input.psnr == pytest.approx(psnr, abs=0.0051)
        assert mean.input.ssim == pytest.approx(ssim, abs=0.000051)


def test_centre_crop_is_the_middle() -> None:
    picture = np.arange(6 * 9).reshape(6, 9)
    np.testing.assert_array_equal(centre_crop(picture, 4), picture[1:5, 2:6])
    np.testing.assert_array_equal(centre_crop(picture, 7), picture[:, 1:8])
    np.testing.assert_array_equal(centre_crop(picture, 99), picture)


def test_pictures_are_evenly_spaced_by_name(folder: Path) -> None:
    assert [path.stem for path in select_pictures(folder, 3)] == ["a", "c", "e"]
    assert [path.stem for path in select_pictures(folder, 1)] == ["a"]
    assert [path.stem for path in select_pictures(folder, 99)] == list("abcde")


def test_rows_carry_every_picture_under_every_task_once(folder: Path) -> None:
    done: list[tuple[int, int]] = []
    result = evaluate(
        identity,
        [folder],
        ["noise", "clean"],
        2,
        32,
        on_progress=lambda now, whole: done.append((now, whole)),
    )
    assert [(row.set, row.stem, row.task) for row in result.rows] == [
        ("scenes", "a", "noise"),
        ("scenes", "e", "noise"),
        ("scenes", "a", "clean"),
        ("scenes", "e", "clean"),
    ]
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_restorer_sees_eight_bit_grey_levels(folder: Path) -> None:
    seen: list[Frame] = []

    def look(frame: Frame) -> Frame:
        seen.append(frame)
        return frame

    evaluate(look, [folder], ["clean"], 1, 32)
    (frame,) = seen
    assert frame.values.dtype == np.float32
    assert frame.dtype == np.uint8
    np.testing.assert_array_equal(frame.values, centre_crop(255 * scene(), 32).round())


def test_what_is_restored_is_scored_as_a_file_of_eight_bits(folder: Path) -> None:
    def nearly(frame: Frame) -> Frame:
        return replace(frame, values=frame.values + np.float32(0.4))

    (mean,) = evaluate(nearly, [folder], ["clean"], 5, 48).means()
    assert mean.restored.psnr == pytest.approx(70.0)


def test_an_offset_costs_psnr_but_nothing_after_the_fit(folder: Path) -> None:
    def brighter(frame: Frame) -> Frame:
        return replace(frame, values=frame.values + np.float32(26))

    (mean,) = evaluate(brighter, [folder], ["clean"], 5, 48).means()
    assert mean.restored.psnr == pytest.approx(-20 * np.log10(26 / 255))
    assert mean.restored.psnr_after_fit == pytest.approx(70.0)
    assert mean.input.psnr == pytest.approx(70.0)


def test_means_are_the_means_of_the_rows(folder: Path) -> None:
    result = evaluate(identity, [folder], ["noise"], 5, 48)
    (mean,) = result.means()
    assert mean.pictures == 5
    assert mean.input.psnr == pytest.approx(np.mean([row.input.psnr for row in result.rows]))
    assert mean.input.ssim == pytest.approx(np.mean([row.input.ssim for row in result.rows]))


def test_pictures_in_memory_score_as_their_files_do(folder: Path) -> None:
    def worse(frame: Frame) -> Frame:
        return replace(frame, values=frame.values[::-1])

    done: list[tuple[int, int]] = []
    pictures = [
        Clean("scenes", stem, levels(np.roll(scene(), shift, axis=1)) / np.float32(255))
        for shift, stem in enumerate("abcde")
    ]
    rows = score_pictures(
        worse, pictures, ["noise", "clean"], lambda now, whole: done.append((now, whole))
    )
    result = evaluate(worse, [folder], ["noise", "clean"], 5, 320)
    assert rows == result.rows
    assert means(rows) == result.means()
    assert done == [(i, 10) for i in range(1, 11)]


def test_an_unknown_task_is_refused_for_pictures_in_memory() -> None:
    with pytest.raises(UsageError, match="no task named 'haze'"):
        score_pictures(identity, [Clean("s", "a", scene())], ["haze"])


def test_json_holds_the_selection_the_means_and_the_rows(folder: Path) -> None:
    result = evaluate(identity, [folder], ["noise"], 2, 32)
    loaded = json.loads(json.dumps(result.to_json()))
    assert (loaded["per_set"], loaded["crop"]) == (2, 32)
    assert loaded["tasks"][0]["task"] == "noise"
    assert loaded["pictures"][1]["stem"] == "e"
    assert loaded["pictures"][1]["restored"]["psnr"] == result.rows[1].restored.psnr


def test_the_table_shows_each_task_with_both_scores(folder: Path) -> None:
    console = Console(width=100, record=True, quiet=False, file=None)
    with console.capture() as capture:
        console.print(evaluate(identity, [folder], ["clean", "noise"], 2, 32).table())
    shown = capture.get()
    assert "70.00 / 1.0000" in shown
    assert "noise" in shown
    assert "2 pictures of scenes" in shown


def test_a_missing_or_empty_folder_is_an_error_of_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder; give --clean"):
        evaluate(identity, [tmp_path / "nowhere"])
    with pytest.raises(UsageError, match="no picture in this folder"):
        evaluate(identity, [tmp_path])


@pytest.mark.parametrize(
    ("folders", "tasks", "per_set", "crop", "message"),
    [
        (0, ["clean"], 1, 32, "no clean pictures"),
        (1, [], 1, 32, "no tasks"),
        (1, ["haze"], 1, 32, "no task named"),
        (1, ["clean"], 0, 32, "--per-set"),
        (1, ["clean"], 1, 10, "--crop"),
    ],
)
def test_nothing_to_do_is_an_error_of_use(
    folder: Path, folders: int, tasks: list[str], per_set: int, crop: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate(identity, [folder] * folders, tasks, per_set, crop)


def test_a_clean_picture_of_sixteen_bits_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 40), 9000, np.uint16)).save(tmp_path / "counts.png")
    with pytest.raises(PictureError, match=r"counts\.png: uint16 where .* 8-bit"):
        evaluate(identity, [tmp_path], ["clean"])


def test_a_picture_smaller_than_the_window_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 10), 9, np.uint8)).save(tmp_path / "thin.png")
    with pytest.raises(PictureError, match="smaller than 11 pixels"):
        evaluate(identity, [tmp_path], ["clean"])


FACTS = RunFacts("a machine", "0123abc", "deal", "f" * 64, "deal evaluate --clean x")


def test_benchmarks_are_written_into_their_own_section_only(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "docs" / "benchmarks.md"
    write_section(page, "speed", "fast")
    result = evaluate(identity, [folder], ["noise"], 2, 32)
    write_benchmarks(result, page, FACTS)
    once = page.read_text(encoding="utf-8")
    assert "<!-- speed -->\nfast\n<!-- /speed -->" in once
    assert once.count("<!-- restoration -->") == once.count("<!-- /restoration -->") == 1
    for fact in ("a machine", "0123abc", "deal", "f" * 64, "deal evaluate --clean x"):
        assert fact in once
    assert f"| noise | {result.means()[0].input.psnr:.2f} / " in once
    write_benchmarks(result, page, FACTS)
    assert page.read_text(encoding="utf-8") == once
    write_benchmarks(result, page, replace(FACTS, machine="another"))
    changed = page.read_text(encoding="utf-8")
    assert changed == once.replace("a machine", "another")
    assert [path.name for path in page.parent.iterdir()] == ["benchmarks.md"]


def test_other_weights_have_a_section_of_their_own(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    result = evaluate(identity, [folder], ["noise"], 1, 32)
    write_benchmarks(result, page, FACTS)
    first = page.read_text(encoding="utf-8")
    write_benchmarks(result, page, replace(FACTS, weights="mine --> <b>"))
    both = page.read_text(encoding="utf-8")
    assert both.startswith(first.rstrip())
    assert "<!-- restoration mine_--___b_ -->\n## Restoration with `mine --> <b>`" in both


def test_a_section_without_its_end_is_refused_and_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("<!-- speed -->\nmine\n", encoding="utf-8")
    with pytest.raises(OutputError, match="lacks one of its markers"):
        write_section(page, "speed", "yours")
    assert page.read_text(encoding="utf-8") == "<!-- speed -->\nmine\n"


def test_a_page_that_cannot_be_written_is_an_error_of_output(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        write_section(tmp_path / "file" / "benchmarks.md", "speed", "fast")


def test_the_machine_and_the_commit_have_words(tmp_path: Path) -> None:
    assert "cores" in describe_machine()
    assert commit_of(tmp_path) == "unknown"
