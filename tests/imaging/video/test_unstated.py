"""What a video does not state, or where nobody looks: pixel shape, range, names of pixels."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from imaging.clips import frames_of

from deal_cli.errors import PictureError
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.video.h264 import is_monochrome
from deal_cli.imaging.video.matroska import set_pixel_aspect
from deal_cli.imaging.video.reader import VideoFacts, open_video
from deal_cli.imaging.video.writer import create_video


def counts(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.rint(29000 + 1500 * np.sin(x / 9) + 900 * np.cos(y / 7)).astype(np.uint16)


@pytest.mark.parametrize("aspect", [Fraction(16, 15), Fraction(1, 2), Fraction(59, 54)])
@pytest.mark.parametrize("size", [(48, 64), (512, 640)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_shape_of_pixels_is_kept_in_matroska(
    tmp_path: Path, aspect: Fraction, size: tuple[int, int], dtype: str
) -> None:
    values = (counts(*size) / (1 if dtype == "uint16" else 130)).astype(dtype).astype(np.float32)
    facts = VideoFacts(
        size[1], size[0], np.dtype(dtype), "gray", "ffv1", 1, Fraction(10), None, aspect
    )
    with create_video(tmp_path / "x.mkv", facts) as writer:
        for _ in range(3):
            writer.add(Frame(values, np.dtype(dtype)))
    with open_video(tmp_path / "x.mkv") as video:
        assert video.facts.aspect == aspect
        for frame in video.frames():
            np.testing.assert_array_equal(frame.values, values)


def test_a_file_without_room_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for content in (b"", b"\x1a\x45\xdf\xa3", bytes(300), b"\x18\x53\x80\x67\xff" + bytes(40)):
        path.write_bytes(content)
        with path.open("r+b") as stream:
            assert not set_pixel_aspect(stream, Fraction(2), 64, 48)
        assert path.read_bytes() == content


def encoded(path: Path, pixels: str, grey: np.ndarray) -> Path:
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = grey.shape[1], grey.shape[0], pixels
        stream.options = {"qp": "0"}
        picture = av.VideoFrame.from_ndarray(grey, "gray").reformat(format=pixels)
        if pixels == "gray":
            picture = av.VideoFrame.from_ndarray(grey, "gray")
        for _ in range(3):
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def test_monochrome_h264_has_all_levels_where_it_does_not_say(tmp_path: Path) -> None:
    grey = (counts(48, 64) / 128).astype(np.uint8)
    for frame in frames_of(encoded(tmp_path / "m.mp4", "gray", grey)):
        assert np.abs(frame.values - grey).max() <= 1


def test_colour_h264_is_no_monochrome(tmp_path: Path) -> None:
    path = encoded(tmp_path / "c.mp4", "yuv420p", (counts(48, 64) / 128).astype(np.uint8))
    with av.open(path) as container:
        assert not is_monochrome(container.streams.video[0].codec_context.extradata)


@pytest.mark.parametrize("data", [None, b"", b"\1", b"\1" + bytes(40), b"\0\0\1\x67\x64", bytes(9)])
def test_what_is_no_parameter_set_says_nothing(data: bytes | None) -> None:
    assert not is_monochrome(data)


def raw_avi(path: Path, words: np.ndarray) -> Path:
    """A raw AVI of 16 bits a pixel without a name, as FFmpeg writes one."""
    with av.open(path, "w") as container:
        stream = container.add_stream("rawvideo", rate=10)
        stream.width, stream.height, stream.pix_fmt = words.shape[1], words.shape[0], "gray16le"
        picture = av.VideoFrame.from_ndarray(words, "gray16le")
        for _ in range(3):
            container.mux(stream.encode(picture))
    return path


@pytest.mark.parametrize("span", [1, 40])
def test_words_without_a_name_are_counts(tmp_path: Path, span: int) -> None:
    words = (7000 + (counts(48, 64).astype(int) - 29000) // span).astype(np.uint16)
    for frame in frames_of(raw_avi(tmp_path / "x.avi", words)):
        np.testing.assert_array_equal(frame.values, words)


def test_colours_of_five_bits_are_colours(tmp_path: Path) -> None:
    y, x = np.mgrid[:48, :64]
    red, green, blue = x // 2, y // 2, 31 - x // 2
    path = raw_avi(tmp_path / "x.avi", (red << 10 | green << 5 | blue).astype(np.uint16))
    with pytest.raises(PictureError, match="false colour"):
        frames_of(path)
