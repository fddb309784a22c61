"""From a decoder to one grey Frame, or to one error that names the file and the page."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deal_cli.errors import PictureError
from deal_cli.imaging.files import decode
from deal_cli.imaging.formats import Pixels
from deal_cli.imaging.formats.directory import OutsideFileError
from deal_cli.imaging.frame import Metadata
from deal_cli.imaging.reading import LONGEST_REASON, ReadAs, frame_of, named
from deal_cli.imaging.stack import open_stack
from deal_cli.imaging.video.reader import open_video

NEAR_GREY = np.array([[[9, 10, 11], [50, 50, 50]]], np.uint8)


def test_what_a_format_rounds_apart_is_grey_within_its_tolerance_alone() -> None:
    frame = frame_of(Pixels(NEAR_GREY, tolerance=2))
    assert (frame.values.shape, frame.dtype) == ((1, 2), np.uint8)
    with pytest.raises(PictureError, match="false colour"):
        frame_of(Pixels(NEAR_GREY, tolerance=1))
    assert frame_of(Pixels(NEAR_GREY), ReadAs(luminance=True)).values[0, 1] == 50


def test_a_profile_of_colours_goes_with_them_and_that_of_greys_stays() -> None:
    grey, colour = (bytes(16) + kind + bytes(99) for kind in (b"GRAY", b"RGB "))
    metadata = Metadata(icc_profile=colour, description="roof")
    three = Pixels(NEAR_GREY, metadata, tolerance=2)
    assert frame_of(three).metadata == replace(metadata, icc_profile=None)
    assert frame_of(Pixels(NEAR_GREY[..., 0], metadata)).metadata == metadata
    metadata = replace(metadata, icc_profile=grey)
    assert frame_of(replace(three, metadata=metadata)).metadata == metadata


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PictureError("is empty", remedy="fill it"), "is empty; fill it"),
        (OutsideFileError("a tag"), "is truncated; copy or export it again"),
        (MemoryError(), "does not fit into memory; cut it into smaller pictures"),
        (OSError(errno.EIO, "bad disk"), "cannot be read (bad disk); check its permissions and "),
        (OSError("short"), "is damaged or truncated (short); copy or export it again"),
        (OSError(errno.EINVAL, "no seek"), "is damaged or truncated (no seek); copy or "),
        (ValueError("odd\nvery"), "is damaged or truncated (odd); copy or export it again"),
        (ValueError(), "is damaged or truncated (ValueError); copy or export it again"),
        (ValueError("x" * 999), f"is damaged or truncated ({'x' * LONGEST_REASON}); copy or "),
    ],
)
def test_whatever_goes_wrong_names_the_file_and_the_page(error: Exception, told: str) -> None:
    for page in ("", "page 2 of 3"):
        with pytest.raises(PictureError) as caught, named("a.tif", page):
            raise error
        assert str(caught.value).startswith(f"a.tif: {page} {told}" if page else f"a.tif: {told}")
        assert caught.value.__cause__ is error


def test_files_stacks_and_videos_tell_a_missing_file_and_a_folder_alike(tmp_path: Path) -> None:
    for opened in (open_stack, open_video):
        for path, told in ((tmp_path / "none.tif", "no such file"), (tmp_path, "is a folder")):
            with pytest.raises(PictureError, match=told) as caught, opened(path):
                pass
            assert caught.value.file == path
    with pytest.raises(PictureError) as caught:
        decode(b"", "standard input")
    assert str(caught.value).startswith("standard input: is empty; ")
