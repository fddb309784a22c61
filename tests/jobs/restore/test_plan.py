"""What a restoration would do with every file: under which suffix, in which unit, and whether."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from imaging.clips import encoded, scene
from imaging.radiometric_files import counts, dji, flir, jpeg

from deal_cli.errors import ExitCode, PictureError, UsageError
from deal_cli.imaging.contents import Contents
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import write_frame
from deal_cli.jobs.restore.plan import Planned, RestoreRequest, check_request, plan_restoration
from deal_cli.jobs.restore.run import rehearse


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a file of every kind."""
    monkeypatch.chdir(tmp_path)
    Path("flir.jpg").write_bytes(flir())
    Path("dji.JPG").write_bytes(dji(counts(), (64, 48)))
    Path("plain.jpg").write_bytes(jpeg())
    write_frame(draw_scene(0, 40, 48), Path("grey.png"))
    tifffile.imwrite("one.tiff", counts())
    with tifffile.TiffWriter("stack.tiff") as writer:
        for _ in range(3):
            writer.write(counts(), metadata=None, contiguous=False)
    for suffix, container in ((".mkv", "matroska"), (".mp4", "mp4"), (".avi", "avi")):
        Path(f"clip{suffix}").write_bytes(encoded([[scene(0)], [scene(1)]], container=container))
    return tmp_path


def plan(*inputs: str, out: str | None = "out", **options: Any) -> tuple[Planned, ...]:
    return plan_restoration(RestoreRequest(inputs, out, **options))


def targets(*inputs: str, **options: Any) -> list[str]:
    return [str(one.item.target) for one in plan(*inputs, **options)]


def refusal(*inputs: str, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        plan(*inputs, **options)
    assert caught.value.exit_code is ExitCode.USAGE
    return str(caught.value)


# --- suffixes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("flir.jpg", "flir.tif"),
        ("dji.JPG", "dji.tif"),
        ("plain.jpg", "plain.jpg"),
        ("grey.png", "grey.png"),
        ("one.tiff", "one.tiff"),
        ("stack.tiff", "stack.tiff"),
        ("clip.mkv", "clip.mkv"),
        ("clip.avi", "clip.avi"),
        ("clip.mp4", "clip.mkv"),  # which cannot hold the lossless codec
    ],
)
def test_every_kind_of_file_is_written_under_a_suffix_that_holds_it(
    name: str, written: str
) -> None:
    assert targets(name) == [f"out/{written}"]


def test_a_codec_that_lives_there_keeps_the_suffix() -> None:
    assert targets("clip.mp4", codec="h264") == ["out/clip.mp4"]
    assert targets("clip.avi", codec="h264") == ["out/clip.mkv"]


def test_content_and_not_the_name_decides() -> None:
    Path("flir.jpg").rename("flir.png")
    Path("clip.mp4").rename("film.png")
    assert targets("flir.png", "film.png") == ["out/flir.tif", "out/film.mkv"]
    assert [one.contents for one in plan("film.png", "stack.tiff", "flir.png", "dji.JPG")] == [
        Contents("video"),
        Contents("stack", tiff=True),
        Contents(maker="FLIR"),
        Contents(maker="DJI"),
    ]


def test_a_folder_is_searched_for_videos_too() -> None:
    Path("clip.mp4").unlink()  # which would be written over the other
    names = {Path(name).name for name in targets(".")}
    pictures = {"dji.tif", "flir.tif", "grey.png", "one.tiff", "plain.jpg", "stack.tiff"}
    assert names == pictures | {"clip.avi", "clip.mkv"}


def test_files_that_meet_under_a_new_suffix_are_refused() -> None:
    tifffile.imwrite("flir.tif", counts())
    told = refusal("flir.jpg", "flir.tif")
    assert "flir.jpg" in told
    assert "would both be written to out/flir.tif" in told
    assert "would both be written to out/clip.mkv" in refusal("clip.mp4", "clip.mkv")
    assert targets("clip.mp4", "clip.avi") == ["out/clip.mkv", "out/clip.avi"]


def test_a_new_suffix_that_falls_on_another_input_is_refused() -> None:
    tifffile.imwrite("flir.tif", counts())
    for overwrite in (False, True):
        told = refusal("flir.jpg", "flir.tif", out=".", overwrite=overwrite)
        assert "flir.tif" in told
    assert targets("flir.jpg", out=".") == ["flir.tif"]  # exists: skipped, not overwritten
    outcomes = list(rehearse(RestoreRequest(["flir.jpg"], ".")))
    assert [one.status for one in outcomes] == ["skipped"]


def test_a_file_named_as_the_output_keeps_its_name() -> None:
    assert targets("clip.mkv", out="made.avi") == ["made.avi"]
    assert targets("flir.jpg", out="made.png") == ["made.png"]
    assert "deal does not write .webm files" in refusal("clip.mkv", out="made.webm")


# --- standard output -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["clip.mkv", "stack.tiff"])
def test_many_frames_do_not_go_through_standard_output(name: str) -> None:
    told = refusal(name, out="-")
    assert f"{name}: holds many frames, which do not go through standard output" in told
    assert "give -o a file or a folder" in told


def test_pictures_do() -> None:
    assert plan("flir.jpg", out="-")[0].item.target is None
    assert plan("-", out="-")[0].contents == Contents()


# --- degrees -------------------------------------------------------------------------------------


def test_degrees_of_dji_alone_are_a_mistake_in_the_command() -> None:
    told = refusal("dji.JPG", unit="celsius")
    assert "dji.JPG: holds counts of a DJI camera, whose calibration is not documented" in told
    assert "leave out --unit" in told
    assert "dji.JPG" in refusal("dji.JPG", "plain.jpg", unit="celsius")


@pytest.mark.parametrize("name", ["plain.jpg", "grey.png", "clip.mkv"])
def test_degrees_of_what_tells_no_calibration_are_one_too(name: str) -> None:
    assert f"{name}: does not say how its numbers become temperatures" in refusal(
        name, unit="celsius"
    )


def test_one_file_that_gives_degrees_leaves_the_others_their_own_errors() -> None:
    planned = plan("dji.JPG", "flir.jpg", "grey.png", unit="celsius")
    assert [type(one.item.error) for one in planned] == [PictureError, type(None), PictureError]
    assert [str(one.item.error.file) for one in planned if one.item.error] == [
        "dji.JPG",
        "grey.png",
    ]
    request = RestoreRequest(["dji.JPG", "flir.jpg"], "out", unit="celsius")
    assert [one.status for one in rehearse(request)] == ["failed", "planned"]


@pytest.mark.parametrize("name", ["one.tiff", "stack.tiff", "flir.jpg"])
def test_tiffs_may_hold_a_calibration_and_are_looked_into_later(name: str) -> None:
    assert plan(name, unit="celsius")[0].item.error is None


# --- a pattern to save ---------------------------------------------------------------------------

SAVED = Path("camera.safetensors")


@pytest.mark.parametrize(
    ("inputs", "options", "told"),
    [
        (["clip.mkv"], {"pattern": Path("x")}, "no pattern would be found to be saved"),
        (["clip.mkv"], {"find_pattern": False}, "no pattern would be found to be saved"),
        (["clip.mkv", "stack.tiff"], {}, "would be of 2 sequences"),
        (["grey.png"], {}, "would be of no sequence"),
        (["clip.mkv", "grey.png"], {"sequence": True}, "would be of 2 sequences"),
        (["grey.png", "below/grey.png"], {"sequence": True}, "would be of 2 sequences"),
        (["-"], {"sequence": True, "out": "made.tif"}, "would be of no sequence"),
    ],
)
def test_a_pattern_is_saved_of_just_one_sequence(
    inputs: list[str], options: dict[str, Any], told: str
) -> None:
    Path("below").mkdir()
    write_frame(draw_scene(1, 40, 48), Path("below/grey.png"))
    if len(inputs) > 1:
        options = {**options, "recursive": True}
    if "below/grey.png" in inputs:
        for name in ("clip.mkv", "clip.mp4", "clip.avi", "stack.tiff"):
            Path(name).unlink()
        inputs = ["."]
    assert told in refusal(*inputs, save_pattern=SAVED, **options)


def test_one_clip_or_one_folder_is_a_sequence() -> None:
    assert plan("clip.mkv", save_pattern=SAVED)
    assert plan("clip.mkv", "grey.png", save_pattern=SAVED)
    assert plan("grey.png", "one.tiff", save_pattern=SAVED, sequence=True)


def test_a_saved_pattern_is_replaced_only_when_that_is_asked_for() -> None:
    SAVED.touch()
    told = refusal("clip.mkv", save_pattern=SAVED)
    assert told.startswith(f"{SAVED}: exists; give --overwrite")
    assert plan("clip.mkv", save_pattern=SAVED, overwrite=True)


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"codec": "divx"}, "a codec 'divx'; --codec takes ffv1"),
        ({"codec": ""}, "--codec takes"),
        ({"codec": "FFV1"}, "--codec takes"),
        ({"compression": "jpeg"}, "a compression 'jpeg'; --compression takes"),
        ({"compression": ""}, "--compression takes"),
    ],
)
def test_names_that_are_none_are_refused_with_those_there_are(
    changed: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageError) as caught:
        check_request(replace(RestoreRequest(["grey.png"], "out"), **changed))
    assert told in str(caught.value)


def test_names_that_there_are_are_taken() -> None:
    for codec in (None, "ffv1", "h264", "hevc", "mjpeg", "rawvideo"):
        check_request(RestoreRequest(["clip.mkv"], "out", codec=codec))
    for compression in ("none", "deflate", "lzw", "zstd"):
        check_request(RestoreRequest(["one.tiff"], "out", compression=compression))


def test_what_is_missing_is_a_mistake_and_nothing_is_touched(here: Path) -> None:
    before = sorted(here.iterdir())
    assert "none.mkv: no such file" in refusal("none.mkv")
    plan("clip.mkv", "flir.jpg", save_pattern=SAVED)
    assert sorted(here.iterdir()) == before
    assert np.array_equal(tifffile.imread("one.tiff"), counts())
