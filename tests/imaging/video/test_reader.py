from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

av = pytest.importorskip("av")

from imaging.clips import (  # noqa: E402
    FULL,
    LIMITED,
    encoded,
    frames_of,
    neutral,
    scene,
)

from deal_cli.errors import PictureError  # noqa: E402
from deal_cli.imaging.video import ffv1  # noqa: E402
from deal_cli.imaging.video.reader import VIDEO_SUFFIXES, is_video, open_video  # noqa: E402

COUNT = 6
GREY = [[scene(index)] for index in range(COUNT)]
COUNTS = [[scene(index, "uint16")] for index in range(COUNT)]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Six frames of 8-bit grey, FFV1 in Matroska."""
    path = tmp_path / "clip.mkv"
    path.write_bytes(encoded(GREY))
    return path


def written(tmp_path: Path, data: bytes, name: str = "clip.mkv") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def refusal(path: Path, **options: Any) -> str:
    """The message of the only error there may be."""
    with pytest.raises(PictureError) as caught:
        frames_of(path, **options)
    assert caught.value.file == path
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("container", "codec", "pixel_format", "frames"),
    [
        *[("matroska", "ffv1", p, f) for p, f in (("gray", GREY), ("gray16le", COUNTS))],
        *[("avi", "ffv1", p, f) for p, f in (("gray", GREY), ("gray16le", COUNTS))],
        ("mp4", "ffv1", "gray16le", COUNTS),
        ("avi", "rawvideo", "gray", GREY),
        ("avi", "png", "gray", GREY),
        ("avi", "png", "gray16be", [[f[0].astype(">u2")] for f in COUNTS]),
    ],
)
def test_lossless_grey_is_read_exactly_and_again(
    tmp_path: Path, container: str, codec: str, pixel_format: str, frames: list[list[np.ndarray]]
) -> None:
    data = encoded(frames, container=container, codec=codec, pixel_format=pixel_format)
    path = written(tmp_path, data, "no suffix")
    with open_video(path) as video:
        assert video.count == COUNT
        assert video.facts.dtype == frames[0][0].dtype.newbyteorder("=")
        assert (video.facts.height, video.facts.width) == (48, 64)
        assert video.facts.rate == 25
        for _ in range(2):
            read = list(video.frames())
            assert len(read) == COUNT
            for frame, (expected,) in zip(read, frames, strict=True):
                assert frame.values.dtype == np.float32
                assert frame.dtype == video.facts.dtype
                np.testing.assert_array_equal(frame.values, expected)


def test_two_passes_at_a_time_do_not_disturb_each_other(clip: Path) -> None:
    with open_video(clip) as video:
        for one, other in zip(video.frames(), video.frames(), strict=True):
            np.testing.assert_array_equal(one.values, other.values)


def test_a_pass_that_is_left_early_is_closed_with_the_video(clip: Path) -> None:
    with open_video(clip) as video:
        frames = video.frames()
        next(frames)
    assert list(frames) == []


def test_raw_counts_in_an_avi_are_read(tmp_path: Path) -> None:
    """What a 16-bit camera's recorder writes: FFmpeg's own AVI with the four letters set."""
    data = bytearray(encoded(COUNTS, container="avi", codec="rawvideo", pixel_format="gray16le"))
    at = data.index(b"strf") + 8 + 16
    data[at : at + 4] = b"Y16 "
    frames = frames_of(written(tmp_path, bytes(data)))
    for frame, (expected,) in zip(frames, COUNTS, strict=True):
        np.testing.assert_array_equal(frame.values, expected)
        assert frame.dtype == np.uint16


@pytest.mark.parametrize(("bits", "order"), [(10, "le"), (12, "le"), (14, "be"), (16, "be")])
def test_deep_grey_keeps_its_own_numbers(bits: int, order: str) -> None:
    from imaging.clips import picture

    from deal_cli.imaging.video.pixels import picture_of

    numbers = np.array(
        [[0, 1, (1 << bits) - 1, 1 << (bits - 1)]], "<u2" if order == "le" else ">u2"
    )
    values, dtype = picture_of(picture([numbers], f"gray{bits}{order}", 1, 4))
    assert dtype == np.uint16
    assert values.tolist() == [[0, 1, (1 << bits) - 1, 1 << (bits - 1)]]


def of(planes: list[np.ndarray], pixel_format: str, colour_range: int = 0, **options: Any) -> Any:
    """The values of one frame, from its planes."""
    from imaging.clips import picture

    from deal_cli.imaging.video.pixels import picture_of

    height, width = planes[0].shape[0], planes[0].shape[1]
    width = width // 2 if pixel_format in ("yuyv422", "uyvy422") else width
    frame = picture(planes, pixel_format, height, width)
    frame.color_range = colour_range
    return picture_of(frame, **options)[0]


LUMA = np.array([[0, 16, 125, 235], [255, 89, 17, 234]], np.uint8)
#: By hand: (Y - 16) * 255 / 219.
SPREAD = [
    [-18.630136, 0.0, 126.91781, 255.0],
    [278.28767, 85.0, 1.1643835, 253.83562],
]


@pytest.mark.parametrize(
    ("pixel_format", "colour_range", "spread"),
    [
        ("yuv420p", 0, True),
        ("yuv420p", LIMITED, True),
        ("yuv420p", FULL, False),
        ("yuvj420p", 0, False),
        ("yuvj420p", FULL, False),
        ("gray", 0, False),
        ("gray", LIMITED, True),
        ("gray", FULL, False),
    ],
)
def test_limited_range_is_spread_exactly_and_full_range_left_alone(
    pixel_format: str, colour_range: int, spread: bool
) -> None:
    planes = [LUMA] if pixel_format == "gray" else neutral(LUMA)
    values = of(planes, pixel_format, colour_range)
    expected = np.array(SPREAD if spread else LUMA, np.float32)
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_deep_luma_is_spread_over_its_own_bits() -> None:
    """10 bits: 64 to 940 become 0 to 1023; 502 is the middle."""
    luma = np.array([[64, 940], [502, 65]], np.uint16)
    values = of(neutral(luma, 512), "yuv420p10le")
    np.testing.assert_allclose(values, [[0, 1023], [511.5, 1023 / 876]], rtol=1e-6)


def test_packed_and_half_packed_luma_is_found() -> None:
    yuyv = np.empty((2, 8), np.uint8)
    yuyv[:, 0::2], yuyv[:, 1::2] = LUMA, 128
    np.testing.assert_allclose(of([yuyv], "yuyv422"), SPREAD, rtol=1e-6)
    np.testing.assert_allclose(of([yuyv[:, ::-1]], "uyvy422"), np.fliplr(SPREAD), rtol=1e-6)
    np.testing.assert_allclose(
        of([LUMA, np.full((1, 4), 128, np.uint8)], "nv12"), SPREAD, rtol=1e-6
    )
    deep = (LUMA.astype(np.uint16) << 2) << 6
    values = of([deep, np.full((1, 4), 512 << 6, np.uint16)], "p010le")
    np.testing.assert_allclose(values, np.array(SPREAD) * (1023 / 255), rtol=1e-5)


def test_equal_channels_are_grey_and_others_false_colour() -> None:
    equal = np.repeat(LUMA[..., None], 3, axis=2)
    np.testing.assert_array_equal(of([equal], "rgb24"), LUMA)
    np.testing.assert_array_equal(of([LUMA, LUMA, LUMA], "gbrp"), LUMA)
    coloured = equal.copy()
    coloured[..., 0] //= 2
    with pytest.raises(PictureError, match="--luminance"):
        of([coloured], "bgr24")
    # bgr24: the halved channel is blue.
    luma = np.rint(0.886 * LUMA + 0.114 * (LUMA // 2))
    np.testing.assert_allclose(of([coloured], "bgr24", luminance=True), luma, atol=1)


def test_a_palette_of_greys_is_grey() -> None:
    palette = np.array([[0xFF000000 | k * 0x010101 for k in range(255, -1, -1)]], np.uint32)
    np.testing.assert_array_equal(of([LUMA, palette], "pal8"), 255 - LUMA.astype(int))


def test_rows_from_the_bottom_up_come_out_upright(tmp_path: Path) -> None:
    """Windows' raw RGB in AVI is stored upside down."""
    colours = [[np.repeat(scene(k)[..., None], 3, axis=2)] for k in range(2)]
    data = encoded(colours, container="avi", codec="rawvideo", pixel_format="bgr24")
    for frame, (expected,) in zip(frames_of(written(tmp_path, data)), colours, strict=True):
        np.testing.assert_array_equal(frame.values, expected[..., 0])


def test_a_format_that_is_not_read_is_named() -> None:
    with pytest.raises(PictureError, match="rgb565le"):
        of([np.zeros((2, 4), np.uint16)], "rgb565le")


def tinted(share: float, far: int) -> list[np.ndarray]:
    """A grey picture, this share of whose chroma samples lie this far from neutral."""
    planes = neutral(scene(0))
    chroma = planes[1].copy()
    chroma.flat[: round(share * chroma.size)] = 128 + far
    return [planes[0], chroma, planes[2]]


def test_chroma_that_a_codec_explains_is_no_colour() -> None:
    of(tinted(1.0, -1), "yuv420p")
    of(tinted(1.0, 4), "yuv420p")
    of(tinted(0.009, 90), "yuv420p")
    for share, far in ((0.02, 90), (0.02, -5), (1.0, 20)):
        with pytest.raises(PictureError, match="false colour"):
            of(tinted(share, far), "yuv420p")
        of(tinted(share, far), "yuv420p", luminance=True)


def test_false_colour_in_mid_video_names_its_frame(tmp_path: Path) -> None:
    frames = [neutral(scene(0)), neutral(scene(1)), tinted(0.5, 60)]
    path = written(tmp_path, encoded(frames, pixel_format="yuv420p"))
    assert "frame 3 is in false colour" in refusal(path)
    assert len(frames_of(path, luminance=True)) == 3


@pytest.mark.parametrize(
    ("codec", "container", "options"),
    [
        ("libx264", "mp4", {"bf": "3", "crf": "12"}),
        ("libx264", "avi", {"crf": "12"}),
        ("libx264", "matroska", {"bf": "3", "g": "3", "crf": "12"}),
        ("libx265", "mov", {"x265-params": "log-level=none:crf=12"}),
        ("mpeg4", "avi", {"bf": "2", "qmax": "3"}),
        ("mpeg4", "mp4", {"qmax": "3"}),
        ("mjpeg", "avi", {"qmax": "2"}),
        ("libvpx-vp9", "webm", {"crf": "8"}),
        ("ffv1", "matroska", {"level": "1"}),
        ("ffv1", "matroska", {"slicecrc": "0"}),
        ("ffv1", "matroska", {"g": "4"}),
        ("huffyuv", "avi", {}),
    ],
)
def test_what_common_encoders_write_is_whole(
    tmp_path: Path, codec: str, container: str, options: dict[str, str]
) -> None:
    frames = [neutral(scene(index)) for index in range(20)]
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    if codec == "huffyuv":
        pixel_format = "yuv422p"
        frames = [[y, u.repeat(2, axis=0), v.repeat(2, axis=0)] for y, u, v in frames]
    data = encoded(
        frames, codec=codec, container=container, pixel_format=pixel_format, options=options
    )
    read = frames_of(written(tmp_path, data))
    assert len(read) == 20
    full = codec == "mjpeg"
    for frame, planes in zip(read, frames, strict=True):
        luma = planes[0].astype(float)
        expected = luma if full else (luma - 16) * 255 / 219
        assert np.abs(frame.values - expected).mean() < 4


def test_moments_are_exact_and_the_pace_may_vary(tmp_path: Path) -> None:
    times = [5, 6, 9, 17, 18, 30]
    data = encoded(GREY, container="mp4", times=times, base=Fraction(1, 30), rate=Fraction(30))
    path = written(tmp_path, data)
    moments = [frame.metadata.moment for frame in frames_of(path)]
    first = moments[0]
    assert first is not None
    assert [m - first for m in moments if m is not None] == [Fraction(t - 5, 30) for t in times]
    with open_video(path) as video:
        assert video.facts.time_base is not None
        assert all((m / video.facts.time_base).denominator == 1 for m in moments if m is not None)


def test_the_ntsc_rate_is_a_fraction(tmp_path: Path) -> None:
    rate = Fraction(30000, 1001)
    data = encoded(GREY, container="mp4", base=1 / rate, rate=rate)
    path = written(tmp_path, data)
    with open_video(path) as video:
        assert video.facts.rate == rate
        assert [f.metadata.moment for f in video.frames()] == [k / rate for k in range(COUNT)]


@pytest.mark.parametrize(
    ("container", "codec", "pixel_format"),
    [
        ("matroska", "ffv1", "gray"),
        ("avi", "ffv1", "gray"),
        ("avi", "mjpeg", "yuvj420p"),
        ("mp4", "libx264", "yuv420p"),
    ],
)
def test_a_video_cut_anywhere_is_refused(
    tmp_path: Path, container: str, codec: str, pixel_format: str
) -> None:
    frames = [neutral(f[0]) if codec != "ffv1" else f for f in GREY]
    data = encoded(frames, container=container, codec=codec, pixel_format=pixel_format)
    # Behind an AVI's frames stands nothing but its index, behind an MP4's index nothing but tags.
    ends = {"avi": b"idx1", "mp4": b"udta"}
    last = data.index(ends[container]) - 4 if container in ends else len(data)
    for size in [*range(0, last, max(1, len(data) // 60)), last - 1]:
        refusal(written(tmp_path, data[:size]))


def test_a_cut_says_how_many_frames_are_whole(tmp_path: Path) -> None:
    data = encoded(GREY, container="avi")
    at = data.index(b"00dc", data.index(b"movi"))
    for _ in range(3):
        at += 8 + struct.unpack_from("<I", data, at + 4)[0]
        at += at % 2
    message = refusal(written(tmp_path, data[: at + 40]))
    assert "truncated after 3 whole frames" in message
    assert "-frames:v 3" in message
    assert "the container says 6" in refusal(written(tmp_path, data[:at]))


def test_an_avi_whose_index_alone_is_missing_is_read(tmp_path: Path) -> None:
    data = encoded(GREY, container="avi")
    assert len(frames_of(written(tmp_path, data[: data.index(b"idx1")]))) == COUNT


def test_an_mp4_without_its_index_says_so(tmp_path: Path) -> None:
    data = encoded(GREY, container="mp4")
    assert "moov" in refusal(written(tmp_path, data[: data.index(b"moov") - 4]))


def test_a_recording_that_never_said_how_long_it_is_is_read(tmp_path: Path) -> None:
    """Matroska written to a pipe: a segment without a size, no duration, no index."""
    import io

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    stream = Pipe()
    with av.open(stream, "w", format="matroska") as out:
        video: Any = out.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "gray"
        for (array,) in GREY:
            out.mux(video.encode(av.VideoFrame.from_ndarray(array, "gray")))
        out.mux(video.encode(None))
    path = written(tmp_path, stream.getvalue())
    frames = frames_of(path)
    assert len(frames) == COUNT


def test_a_changed_bit_of_ffv1_is_never_passed_on(tmp_path: Path) -> None:
    """FFmpeg's decoder conceals it: without our own check every one of these would be read."""
    data = encoded(GREY)
    exact = [f[0] for f in GREY]
    rng = np.random.default_rng(0)
    refused = 0
    for at in rng.integers(0, len(data), 120):
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(rng.integers(8))
        try:
            read = frames_of(written(tmp_path, bytes(damaged)))
        except PictureError:
            refused += 1
            continue
        for frame in read:
            assert any(np.array_equal(frame.values, values) for values in exact)
    assert refused > 100


@pytest.mark.parametrize(
    ("container", "codec", "pixel_format"),
    [
        ("matroska", "ffv1", "gray16le"),
        ("avi", "mpeg4", "yuv420p"),
        ("mp4", "libx264", "yuv420p"),
        ("mov", "mjpeg", "yuvj420p"),
    ],
)
def test_damage_of_any_kind_is_one_kind_of_error(
    tmp_path: Path, container: str, codec: str, pixel_format: str
) -> None:
    frames = COUNTS if codec == "ffv1" else [neutral(f[0]) for f in GREY]
    data = encoded(frames, container=container, codec=codec, pixel_format=pixel_format)
    rng = np.random.default_rng(1)
    for _ in range(80):
        damaged = bytearray(data)
        for at in rng.integers(0, len(data), rng.integers(1, 12)):
            damaged[at] = int(rng.integers(256))
        if rng.random() < 0.3:
            start = int(rng.integers(len(data)))
            del damaged[start : start + int(rng.integers(1, 400))]
        with contextlib.suppress(PictureError):
            frames_of(written(tmp_path, bytes(damaged)), luminance=True, max_pixels=10**6)


def test_a_checksum_is_checked_by_hand() -> None:
    """A slice of three bytes, its length, no error, and the CRC-32 that RFC 9043 defines."""

    def crc(data: bytes) -> int:
        register = 0
        for byte in data:
            register ^= byte << 24
            for _ in range(8):
                register = (register << 1) ^ (0x104C11DB7 if register >> 31 else 0)
        return register

    body = b"abc" + (3).to_bytes(3, "big") + b"\0"
    packet = body + crc(body).to_bytes(4, "big")
    assert ffv1.is_whole(packet)
    assert ffv1.is_whole(packet * 2)
    assert ffv1.is_whole(b"abc" + (3).to_bytes(3, "big"))  # without a checksum
    for at in range(len(packet)):
        assert not ffv1.is_whole(packet[:at] + bytes([packet[at] ^ 4]) + packet[at + 1 :])
    assert not ffv1.is_whole(packet[1:])
    assert not ffv1.is_whole(b"")
    assert zlib.crc32(body) != crc(body)


def test_a_change_of_size_names_its_frame(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    with av.open(str(path), "w", format="avi") as out:
        stream: Any = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        packets = []
        for index in range(4):
            side = 64 if index < 3 else 32
            encoder: Any = av.CodecContext.create("mjpeg", "w")
            encoder.width, encoder.height, encoder.pix_fmt = side, 48, "yuvj420p"
            encoder.time_base = Fraction(1, 25)
            frame = av.VideoFrame.from_ndarray(scene(index, width=side), "gray").reformat(
                format="yuvj420p"
            )
            frame.pts = 0
            for packet in encoder.encode(frame) + encoder.encode(None):
                packet.stream, packet.pts, packet.dts = stream, index, index
                packet.time_base = Fraction(1, 25)
                packets.append(packet)
        out.mux(packets)
    assert "frame 4 is 32x48, those before it 64x48" in refusal(path)


def test_no_frames_and_no_video_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.avi"
    with av.open(str(empty), "w", format="avi") as out:
        video: Any = out.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "gray"
        out.start_encoding()
    refusal(empty)
    sound = tmp_path / "sound.mkv"
    with av.open(str(sound), "w", format="matroska") as out:
        audio: Any = out.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        out.mux(audio.encode(frame))
        out.mux(audio.encode(None))
    assert "holds no video stream" in refusal(sound)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"\x1a\x45\xdf\xa3", b"GIF89a" + bytes(99)])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    refusal(written(tmp_path, content))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.mkv")
    assert "is a folder" in refusal(tmp_path)


def test_content_tells_a_video() -> None:
    for container in ("avi", "matroska", "mp4", "mov"):
        codec, pixels = ("mjpeg", "yuvj420p") if container == "mov" else ("ffv1", "gray")
        frames = [neutral(f[0]) for f in GREY] if container == "mov" else GREY
        data = encoded(frames, container=container, codec=codec, pixel_format=pixels)
        assert is_video(data[:16])
    for head in (
        b"\x89PNG\r\n\x1a\n" + bytes(8),
        b"II*\0" + bytes(12),
        b"\xff\xd8\xff\xe0" + bytes(12),
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"RIFF\0\0\0\0WAVEfmt ",
        b"\0\0\0\x18ftypheic\0\0\0\0",
        b"",
    ):
        assert not is_video(head)
    assert ".mkv" in VIDEO_SUFFIXES


@pytest.mark.parametrize("codec", ["ffv1", "mjpeg"])
def test_too_large_frames_are_refused_before_they_are_decoded(tmp_path: Path, codec: str) -> None:
    frames = GREY if codec == "ffv1" else [neutral(f[0]) for f in GREY]
    pixels = "gray" if codec == "ffv1" else "yuvj420p"
    path = written(tmp_path, encoded(frames, codec=codec, pixel_format=pixels))
    assert "--max-pixels 3072" in refusal(path, max_pixels=3071)
    assert len(frames_of(path, max_pixels=3072)) == COUNT


def test_without_pyav_its_extra_is_named(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert "pip install 'deal-cli[video]'" in refusal(clip)


def test_a_name_is_never_taken_for_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("concat:a|b.mkv")
    path.write_bytes(encoded(GREY))
    assert len(frames_of(path)) == COUNT


def test_damage_says_nothing_on_the_terminal(tmp_path: Path) -> None:
    data = bytearray(
        encoded([neutral(f[0]) for f in GREY], codec="libx264", pixel_format="yuv420p")
    )
    data[len(data) // 2 :: 7] = bytes(len(data[len(data) // 2 :: 7]))
    path = written(tmp_path, bytes(data))
    code = (
        "import pathlib, sys; from deal_cli.imaging.video.reader import open_video\n"
        "from deal_cli.errors import PictureError\n"
        "try:\n"
        "    with open_video(pathlib.Path(sys.argv[1])) as video: list(video.frames())\n"
        "except PictureError: print('refused')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert (done.stdout.strip(), done.stderr) == ("refused", "")


@pytest.mark.data
def test_the_real_clip_is_grey_in_limited_range(data: Path) -> None:
    path = data / "video" / "fixed_pattern.avi"
    with open_video(path) as video:
        assert (video.facts.codec, video.facts.pixel_format) == ("mpeg4", "yuv420p")
        assert (video.count, video.facts.rate) == (599, 60)
        last = None
        for number, frame in enumerate(video.frames()):
            assert frame.values.shape == (480, 640)
            assert frame.metadata.moment == Fraction(number, 60)
            last = number
        assert last == 598
