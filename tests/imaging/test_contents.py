"""A glance at a file: picture, stack or video, whose counts; and never an exception."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from imaging.clips import encoded, scene
from imaging.radiometric_files import counts, dji, flir, jpeg
from PIL import Image

from deal_cli.imaging.contents import Contents, glance, picture_suffix

PICTURE = Contents()


def video(container: str) -> bytes:
    return encoded([[scene(0)], [scene(1)]], container=container)


def tiff(path: Path, *arrays: np.ndarray) -> Path:
    with tifffile.TiffWriter(path) as writer:
        for array in arrays:
            writer.write(array, metadata=None, contiguous=False)
    return path


def test_radiometric_jpegs_tell_their_maker(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    for data, maker in ((flir(), "FLIR"), (dji(counts(), (64, 48)), "DJI"), (jpeg(), None)):
        path.write_bytes(data)
        assert glance(path) == Contents(maker=maker)


def test_radiometric_jpegs_alone_are_written_under_another_suffix() -> None:
    assert picture_suffix(Contents(maker="FLIR")) == picture_suffix(Contents(maker="DJI")) == ".tif"
    for contents in (PICTURE, Contents(tiff=True), Contents("stack", tiff=True), Contents("video")):
        assert picture_suffix(contents) is None


def test_a_tiff_is_a_picture_or_a_stack(tmp_path: Path) -> None:
    assert glance(tiff(tmp_path / "one.tif", counts())) == Contents(tiff=True)
    assert glance(tiff(tmp_path / "two.tif", counts(), counts(8, 9))) == Contents(
        "stack", tiff=True
    )
    hidden = tmp_path / "hidden.tif"
    tifffile.imwrite(hidden, np.stack([counts()] * 3), imagej=True)
    assert glance(hidden) == Contents("stack", tiff=True)


@pytest.mark.parametrize("container", ["matroska", "avi", "mp4"])
def test_videos_are_told_by_their_content_whatever_their_name(
    container: str, tmp_path: Path
) -> None:
    for name in ("x.mkv", "x.png", "x"):
        path = tmp_path / name
        path.write_bytes(video(container))
        assert glance(path) == Contents("video")


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".gif"])
def test_other_pictures_are_pictures(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    Image.linear_gradient("L").save(path)
    assert glance(path) == PICTURE
    path.rename(tmp_path / "x.mkv")
    assert glance(tmp_path / "x.mkv") == PICTURE


def test_what_is_no_file_is_a_picture_that_its_reading_will_refuse(tmp_path: Path) -> None:
    (tmp_path / "empty.tif").touch()
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "broken.tif").symlink_to(tmp_path / "none")
    (tmp_path / "loop.tif").symlink_to(tmp_path / "loop.tif")
    os.mkfifo(tmp_path / "fifo.tif")
    places = [*tmp_path.iterdir(), tmp_path / "none.tif", tmp_path / ("x" * 5000)]
    places += [Path("/dev/null"), tmp_path / "empty.tif" / "below", Path("a\0b")]
    for place in places:
        assert glance(place) == PICTURE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "x.mkv"
    path.write_bytes(video("matroska"))
    path.chmod(0)
    assert glance(path) == PICTURE


@pytest.mark.parametrize("kind", ["flir", "dji", "stack", "matroska", "mp4"])
def test_every_cut_of_a_file_is_judged_without_an_exception(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    made = {
        "flir": lambda: flir(),
        "dji": lambda: dji(counts(), (64, 48)),
        "stack": lambda: tiff(tmp_path / "whole", counts(), counts()).read_bytes(),
    }
    data = made[kind]() if kind in made else video(kind)
    for end in [*range(48), *np.linspace(48, len(data), 60).astype(int)]:
        path.write_bytes(data[:end])
        assert isinstance(glance(path), Contents)
    assert glance(path) != PICTURE  # the whole of it


HEADS = [b"", b"II*\0", b"MM\0*", b"II+\0", b"\xff\xd8\xff", b"\x1a\x45\xdf\xa3", b"RIFF"]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(HEADS), st.binary(max_size=120))
def test_no_bytes_make_it_fail(
    tmp_path_factory: pytest.TempPathFactory, head: bytes, rest: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "glanced"
    path.write_bytes(head + rest)
    assert isinstance(glance(path), Contents)
