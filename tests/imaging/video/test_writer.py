from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

av = pytest.importorskip("av")

from imaging.clips import encoded, frames_of, neutral, scene  # noqa: E402

from deal_cli.errors import OutputError, PictureError, UsageError  # noqa: E402
from deal_cli.imaging.frame import Frame, Metadata  # noqa: E402
from deal_cli.imaging.video.codecs import (  # noqa: E402
    CODECS,
    check_video_target,
    output_suffix,
)
from deal_cli.imaging.video.reader import VideoFacts, open_video  # noqa: E402
from deal_cli.imaging.video.writer import create_video  # noqa: E402

EVERY = [(n, s, d) for n, c in CODECS.items() for s in c.suffixes for d in c.pixels]
LOSSLESS = ("ffv1", "rawvideo")


def clip(dtype: str = "uint8", moments: Sequence[Fraction | None] = (None,) * 6) -> list[Frame]:
    return [
        Frame(scene(k, dtype).astype(np.float32), np.dtype(dtype), Metadata(moment=moment))
        for k, moment in enumerate(moments)
    ]


def facts(dtype: str = "uint8", **more: Any) -> VideoFacts:
    return VideoFacts(64, 48, np.dtype(dtype), **more)


def write(path: Path, frames: Sequence[Frame], like: VideoFacts | None, **options: Any) -> None:
    with create_video(path, like, **options) as out:
        for frame in frames:
            out.add(frame)


def steps(rate: Fraction, first: int = 0) -> list[Fraction]:
    return [(first + k) / rate for k in range(6)]


@pytest.mark.parametrize(("codec", "suffix", "dtype"), EVERY)
def test_what_is_written_is_read_back(tmp_path: Path, codec: str, suffix: str, dtype: str) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, clip(dtype), facts(dtype), codec=codec)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    frames = frames_of(path)
    assert len(frames) == 6
    for k, frame in enumerate(frames):
        assert frame.dtype == np.dtype(dtype)
        error = np.abs(frame.values - scene(k, dtype))
        assert error.max() <= (0 if codec in LOSSLESS else 8)
        assert error.mean() <= (0 if codec in LOSSLESS else 1.5)


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_ffv1_gives_back_every_number_there_is(tmp_path: Path, suffix: str) -> None:
    every = np.random.default_rng(0).permutation(65536).astype(np.uint16)
    for values in (every.reshape(128, 512), every[:256].astype(np.uint8).reshape(1, 256)):
        frame = Frame(values.astype(np.float32), values.dtype)
        write(tmp_path / f"a{suffix}", [frame], None)
        (back,) = frames_of(tmp_path / f"a{suffix}")
        assert back.dtype == values.dtype
        np.testing.assert_array_equal(back.values, values)


def test_ffv1_is_written_with_checksums(tmp_path: Path) -> None:
    write(tmp_path / "a.mkv", clip("uint16"), facts("uint16"))
    data = bytearray((tmp_path / "a.mkv").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "a.mkv").write_bytes(data)
    with pytest.raises(PictureError, match="checksum"):
        frames_of(tmp_path / "a.mkv")


def test_integers_are_rounded_half_to_even_and_clipped(tmp_path: Path) -> None:
    values = np.array([[-18.6, 0.5, 1.5, 2.4999, 254.5, 255.4, 278.3, 7.0]], np.float32)
    write(tmp_path / "a.mkv", [Frame(values, np.dtype(np.uint8))], None)
    assert frames_of(tmp_path / "a.mkv")[0].values.tolist() == [[0, 0, 2, 2, 254, 255, 255, 7]]


@pytest.mark.parametrize("codec", ["h264", "hevc", "mjpeg"])
def test_lossy_codecs_say_that_they_hold_full_range_and_no_colour(
    tmp_path: Path, codec: str
) -> None:
    path = tmp_path / "a.mkv"
    write(path, clip(), facts(), codec=codec)
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            assert frame.color_range == 2
            for plane in frame.planes[1:]:
                rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
                assert np.abs(rows[:, : plane.width].astype(int) - 128).max() <= 1


def test_limited_range_goes_in_and_full_range_comes_out(tmp_path: Path) -> None:
    """Black is 16 and white 235 on the way in; 0 and 255 in the result, which says so."""
    luma = np.full((48, 64), 16, np.uint8)
    luma[:, 32:] = 235
    source = tmp_path / "a.avi"
    data = encoded([neutral(luma)], container="avi", codec="rawvideo", pixel_format="yuv420p")
    source.write_bytes(data)
    write(tmp_path / "b.mkv", frames_of(source), None)
    (back,) = frames_of(tmp_path / "b.mkv")
    np.testing.assert_array_equal(np.unique(back.values), [0, 255])


@pytest.mark.parametrize(
    "rate", [Fraction(60), Fraction(30000, 1001), Fraction(25), Fraction(9), Fraction(1, 2)]
)
@pytest.mark.parametrize(
    ("suffix", "codec", "error"),
    [(".mkv", None, Fraction(1, 2000)), (".avi", None, 0), (".mp4", "h264", 0)],
)
def test_moments_and_the_rate_are_kept(
    tmp_path: Path, rate: Fraction, suffix: str, codec: str | None, error: Fraction
) -> None:
    path = tmp_path / f"a{suffix}"
    moments = steps(rate)
    write(path, clip(moments=moments), facts(rate=rate, time_base=1 / rate), codec=codec)
    with open_video(path) as video:
        for frame, moment in zip(video.frames(), moments, strict=True):
            assert frame.metadata.moment is not None
            assert abs(frame.metadata.moment - moment) <= error
        assert video.facts.rate is not None
        assert float(video.facts.rate) == pytest.approx(float(rate), rel=1e-3)


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", None), (".avi", None), (".mp4", "h264")])
def test_an_uneven_pace_and_a_late_start_are_kept(
    tmp_path: Path, suffix: str, codec: str | None
) -> None:
    path = tmp_path / f"a{suffix}"
    moments = [Fraction(k, 50) for k in (10, 11, 15, 16, 30, 31)]
    write(
        path,
        clip(moments=moments),
        facts(rate=Fraction(50), time_base=Fraction(1, 50)),
        codec=codec,
    )
    read = [frame.metadata.moment for frame in frames_of(path)]
    # An AVI begins at zero.
    late = moments[0] if suffix == ".avi" else 0
    assert read == [moment - late for moment in moments]


def test_frames_without_a_moment_follow_at_the_rate(tmp_path: Path) -> None:
    write(tmp_path / "a.avi", clip(), facts(rate=Fraction(10)))
    assert [f.metadata.moment for f in frames_of(tmp_path / "a.avi")] == steps(Fraction(10))


def test_two_frames_of_one_moment_both_come_out(tmp_path: Path) -> None:
    moments = [Fraction(0), Fraction(0), Fraction(1, 25), Fraction(1, 50), Fraction(3, 25)]
    frames = clip(moments=moments)
    write(tmp_path / "a.mkv", frames, facts(time_base=Fraction(1, 1000)))
    read = frames_of(tmp_path / "a.mkv")
    for frame, source in zip(read, frames, strict=True):
        np.testing.assert_array_equal(frame.values, source.values)
    times = [f.metadata.moment for f in read if f.metadata.moment is not None]
    assert times == sorted(set(times))


def test_tags_and_the_rotation_are_kept(tmp_path: Path) -> None:
    tags = {"title": "toit côté nord", "creation_time": "2024-01-02T03:04:05.000000Z"}
    for name, codec in (("a.mp4", "h264"), ("b.mkv", None)):
        write(tmp_path / name, clip(), facts(tags=tags, rotation=90), codec=codec)
        with open_video(tmp_path / name) as video:
            assert video.facts.tags == tags
            assert video.facts.rotation == 90
            assert next(video.frames()).values.shape == (48, 64)


@pytest.mark.parametrize(
    ("source", "codec", "expected"),
    [
        (".avi", None, ".avi"),
        (".MKV", None, ".mkv"),
        (".mp4", None, ".mkv"),
        (".mov", None, ".mkv"),
        (".webm", None, ".mkv"),
        ("", None, ".mkv"),
        (".mp4", "h264", ".mp4"),
        (".MOV", "hevc", ".mov"),
        (".avi", "h264", ".mkv"),
        (".avi", "mjpeg", ".avi"),
    ],
)
def test_the_container_is_kept_where_the_codec_can_live(
    source: str, codec: str | None, expected: str
) -> None:
    assert output_suffix(source, codec) == expected


@pytest.mark.parametrize(
    ("name", "dtype", "codec", "remedy"),
    [
        ("a.mp4", "uint8", None, "--codec h264"),
        ("a.mp4", "uint16", None, "write to .mkv"),
        ("a.avi", "uint8", "h264", "write to .mp4"),
        ("a.mkv", "uint16", "h264", "--codec ffv1"),
        ("a.avi", "uint16", "rawvideo", "--codec ffv1"),
        ("a.mkv", "float32", None, ".tif"),
        ("a.gif", "uint8", None, ".mkv"),
        ("a", "uint8", None, ".mkv"),
        ("a.mkv", "uint8", "vp9", "ffv1 rawvideo h264 hevc mjpeg"),
    ],
)
def test_a_target_that_cannot_be_is_refused_before_any_work(
    tmp_path: Path, name: str, dtype: str, codec: str | None, remedy: str
) -> None:
    with pytest.raises(UsageError) as caught:
        check_video_target(tmp_path / name, np.dtype(dtype), codec)
    assert remedy in str(caught.value)
    with pytest.raises(UsageError):
        write(tmp_path / name, clip(), facts(dtype), codec=codec)
    assert list(tmp_path.iterdir()) == []


def test_an_odd_size_needs_another_codec(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="odd size \\(63x48\\)"):
        check_video_target(tmp_path / "a.mkv", np.dtype(np.uint8), "h264", (48, 63))
    frame = Frame(scene(0, width=63, height=47).astype(np.float32), np.dtype(np.uint8))
    with pytest.raises(UsageError):
        write(tmp_path / "a.mkv", [frame], None, codec="hevc")
    assert list(tmp_path.iterdir()) == []
    for codec in ("ffv1", "rawvideo", "mjpeg"):
        write(tmp_path / "a.mkv", [frame], None, codec=codec)
        assert frames_of(tmp_path / "a.mkv")[0].values.shape == (47, 63)


@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".mp4"])
def test_a_failure_leaves_the_old_file_and_no_remains(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"kept")

    def interrupted(error: BaseException, count: int) -> None:
        with create_video(path, facts(), codec="h264" if suffix == ".mp4" else None) as out:
            for frame in clip()[:count]:
                out.add(frame)
            raise error

    for count in (0, 1, 6):
        with pytest.raises(KeyboardInterrupt):
            interrupted(KeyboardInterrupt(), count)
        with pytest.raises(PictureError):
            interrupted(PictureError("is damaged"), count)
    assert path.read_bytes() == b"kept"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import contextlib
    import io

    from deal_cli.errors import OutputError
    from deal_cli.imaging.video import writer as video_writer
    from deal_cli.imaging.whole import written_whole

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    @contextlib.contextmanager
    def full(path: Path) -> Any:
        with written_whole(path):
            yield Full()

    monkeypatch.setattr(video_writer, "written_whole", full)
    with pytest.raises(OutputError, match="No space left") as caught:
        write(tmp_path / "a.mkv", clip("uint16") * 20, facts("uint16"))
    assert caught.value.file == tmp_path / "a.mkv"
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_write_and_a_change_of_size_are_output_errors(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no frames"):
        write(tmp_path / "a.mkv", [], facts())
    other = Frame(np.zeros((8, 8), np.float32), np.dtype(np.uint8))
    with pytest.raises(OutputError, match="8x8 uint8, the first 64x48 uint8"):
        write(tmp_path / "a.mkv", [*clip(), other], facts())
    with pytest.raises(OutputError, match="uint16"):
        write(tmp_path / "a.mkv", [*clip(), *clip("uint16")], facts())
    assert list(tmp_path.iterdir()) == []


def test_without_pyav_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(OutputError, match="needs PyAV") as caught:
        write(tmp_path / "a.mkv", clip(), facts())
    assert "pip install 'deal-cli[video]'" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_this_pyav_lacks_is_an_output_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CODECS, "h264", replace(CODECS["h264"], encoder="libnone"))
    with pytest.raises(OutputError, match="has no libnone"):
        write(tmp_path / "a.mkv", clip(), facts(), codec="h264")
    assert list(tmp_path.iterdir()) == []


def test_encoders_say_nothing_on_the_terminal(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, numpy as np\n"
        "from deal_cli.imaging.frame import Frame\n"
        "from deal_cli.imaging.video.codecs import CODECS\n"
        "from deal_cli.imaging.video.writer import create_video\n"
        "frame = Frame(np.zeros((64, 64), np.float32), np.dtype(np.uint8))\n"
        "for codec in CODECS:\n"
        "    with create_video(pathlib.Path(sys.argv[1]) / 'a.mkv', codec=codec) as out:\n"
        "        out.add(frame)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_importing_imports_no_pyav() -> None:
    code = "import sys, deal_cli.imaging.video.writer; print('av' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
