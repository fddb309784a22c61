from __future__ import annotations

import contextlib
import io
import os
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deal_cli.errors import OutputError, PictureError, UsageError
from deal_cli.imaging.files import (
    PICTURE_SUFFIXES,
    decode,
    encode,
    read_frame,
    suffix_for,
    write_frame,
    written_whole,
)
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.reading import ReadAs

LOSSLESS = [
    *[(".png", d) for d in ("uint8", "uint16")],
    *[(".tif", d) for d in ("uint8", "uint16", "int16", "float32", "float64")],
    *[(".npy", d) for d in ("uint8", "uint16", "int16", "float32", "float64")],
    (".bmp", "uint8"),
]
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=20)


def frame_of(array: np.ndarray) -> Frame:
    return Frame(array.astype(np.float32), array.dtype)


def picture(dtype: str, height: int = 40, width: int = 56) -> Frame:
    rng = np.random.default_rng(7)
    return frame_of(rng.integers(0, 256, (height, width)).astype(dtype))


@pytest.mark.parametrize(("suffix", "dtype"), LOSSLESS)
def test_lossless_formats_give_back_every_pixel_and_the_dtype(suffix: str, dtype: str) -> None:
    of_float = st.floats(width=32, allow_nan=False, allow_infinity=False)
    elements = of_float if dtype.startswith("float") else None

    @settings(max_examples=25, deadline=None)
    @given(hnp.arrays(np.dtype(dtype), SHAPES, elements=elements))
    def check(array: np.ndarray) -> None:
        back = decode(encode(frame_of(array), suffix), "picture")
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back.values, array)

    check()


def test_png_is_what_pillow_reads() -> None:
    from PIL import Image

    array = np.random.default_rng(0).integers(0, 65536, (33, 47), dtype=np.uint16)
    with Image.open(io.BytesIO(encode(frame_of(array), ".png"))) as seen:
        np.testing.assert_array_equal(np.asarray(seen), array)


def test_jpeg_of_a_smooth_picture_stays_within_two_grey_levels() -> None:
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    back = decode(encode(frame_of(smooth), ".jpg"), "smooth.jpg")
    assert back.dtype == np.uint8
    assert np.abs(back.values - smooth).max() <= 2


def test_integers_are_rounded_half_to_even_and_clipped() -> None:
    values = np.array([[-3.0, 0.5, 1.5, 2.4999, 254.5, 255.4, 999.0]], np.float32)
    back = decode(encode(Frame(values, np.dtype(np.uint8)), ".png"), "x")
    assert back.values.tolist() == [[0, 0, 2, 2, 254, 255, 255]]


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_nan_and_infinity_survive_in_float_files(suffix: str) -> None:
    values = np.full((9, 9), 21.5, np.float32)
    values[2, 3], values[4, 5], values[6, 7] = np.nan, np.inf, -np.inf
    back = decode(encode(Frame(values, np.dtype(np.float32)), suffix), "x")
    np.testing.assert_array_equal(back.values, values)


def test_nan_in_a_picture_of_integers_is_our_own_bug() -> None:
    with pytest.raises(AssertionError):
        encode(Frame(np.full((2, 2), np.nan, np.float32), np.dtype(np.uint8)), ".png")


@pytest.mark.parametrize(
    "name", ["a b.tiff", "Termografía 19.png", "熱.jpg", "UP.BMP", "no suffix"]
)
def test_content_decides_not_the_name(tmp_path: Path, name: str) -> None:
    frame = picture("uint16")
    (tmp_path / name).write_bytes(encode(frame, ".png"))
    back = read_frame(tmp_path / name)
    assert back.dtype == np.uint16
    np.testing.assert_array_equal(back.values, frame.values)


@pytest.mark.parametrize("name", ["a b.tif", "Termografía.png", "熱.npy", "x" * 250 + ".tif"])
def test_any_name_can_be_written(tmp_path: Path, name: str) -> None:
    write_frame(picture("uint8"), tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    np.testing.assert_array_equal(read_frame(tmp_path / name).values, picture("uint8").values)


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [
        *[(".png", "uint8"), (".png", "uint16"), (".tif", "uint16"), (".tif", "float32")],
        *[(".jpg", "uint8"), (".bmp", "uint8"), (".npy", "float32")],
    ],
)
def test_a_file_cut_anywhere_is_refused(suffix: str, dtype: str, labelled: Frame) -> None:
    values = picture(dtype, 64, 64).values
    whole = encode(replace(labelled, values=values, dtype=np.dtype(dtype)), suffix)
    cuts = {*np.linspace(0, len(whole) - 1, 60).astype(int), *range(len(whole) - 30, len(whole))}
    for cut in sorted(cuts):
        with pytest.raises(PictureError, match="x: "):
            decode(whole[:cut], "x")


@pytest.mark.parametrize(("suffix", "dtype"), [*LOSSLESS, (".jpg", "uint8")])
def test_damage_is_refused_or_read_and_never_anything_else(
    suffix: str, dtype: str, labelled: Frame
) -> None:
    values = picture(dtype, 16, 16).values
    whole = encode(replace(labelled, values=values, dtype=np.dtype(dtype)), suffix)

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, len(whole) - 1), st.binary(min_size=1, max_size=8))
    def check(at: int, noise: bytes) -> None:
        damaged = whole[:at] + noise + whole[at + len(noise) :]
        with contextlib.suppress(PictureError):
            frame = decode(damaged, "x", ReadAs(luminance=True, max_pixels=10**6))
            assert frame.values.ndim == 2
            assert frame.values.dtype == np.float32

    check()


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"GIF89a", b"II", b"\x89PNG", b"BM", b"<svg/>", bytes(5000)]
)
def test_what_is_no_picture_is_named_with_a_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.png"
    path.write_bytes(content)
    with pytest.raises(PictureError) as caught:
        read_frame(path)
    assert caught.value.file == path
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="no such file"):
        read_frame(tmp_path / "none.png")
    with pytest.raises(PictureError, match="folder"):
        read_frame(tmp_path)
    with pytest.raises(PictureError, match="cannot be read"):
        read_frame(tmp_path / ("x" * 300))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path, what in (
            (tmp_path / "fifo", "a FIFO"),
            (tmp_path / "socket", "a socket"),
            (Path("/dev/zero"), "a device"),
        ):
            with pytest.raises(PictureError, match=f"is {what}, not a file") as caught:
                read_frame(path)
            assert "-" in str(caught.value.remedy)
            assert caught.value.file == path


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.tiff", "a.jpg", "a.jpeg", "a.bmp", "a.npy"])
def test_content_without_a_name_has_a_suffix(name: str) -> None:
    data = encode(picture("uint8"), Path(name).suffix)
    expected = {".tiff": ".tif", ".jpeg": ".jpg"}.get(Path(name).suffix, Path(name).suffix)
    assert suffix_for(data) == suffix_for(data[:16]) == expected


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"{}"])
def test_content_that_is_no_picture_has_no_suffix(content: bytes) -> None:
    with pytest.raises(PictureError):
        suffix_for(content)


def test_a_declared_size_beyond_the_limit_is_refused_unread() -> None:
    for suffix in PICTURE_SUFFIXES:
        with pytest.raises(PictureError, match="megapixels"):
            decode(encode(picture("uint8"), suffix), "x", ReadAs(max_pixels=40 * 56 - 1))
        assert (
            decode(encode(picture("uint8"), suffix), "x", ReadAs(max_pixels=40 * 56)).height == 40
        )


def test_pillows_own_limit_does_not_stop_a_large_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for suffix in PICTURE_SUFFIXES:
        assert decode(encode(picture("uint8"), suffix), "x").width == 56


@pytest.mark.parametrize(
    ("dtype", "name", "remedy"),
    [
        ("float32", "a.png", "write to .tif"),
        ("uint16", "a.jpg", "write to .png or .tif"),
        ("uint16", "a.bmp", "write to .png or .tif"),
        ("int16", "a.png", "write to .tif"),
        ("uint8", "a.gif", ".png .tif"),
        ("uint8", "a", ".png .tif"),
    ],
)
def test_a_target_that_cannot_hold_the_dtype_is_a_usage_error(
    tmp_path: Path, dtype: str, name: str, remedy: str
) -> None:
    with pytest.raises(UsageError) as caught:
        write_frame(picture(dtype), tmp_path / name)
    assert remedy in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_while_writing_leaves_the_old_file_and_no_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.png"
    write_frame(picture("uint8"), path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left") as caught:
        write_frame(picture("uint16"), path)
    assert caught.value.file == path
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_interruption_while_writing_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with written_whole(tmp_path / "a.png") as stream:
            stream.write(b"half")
            (temporary,) = tmp_path.iterdir()
            assert temporary.suffix == ".tmp"
            assert temporary.name.startswith(".a.deal-")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_or_occupied_target_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file"):
        write_frame(picture("uint8"), tmp_path / "none" / "a.png")
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OutputError):
        write_frame(picture("uint8"), tmp_path / "a.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_written_files_follow_the_umask_like_any_other(tmp_path: Path) -> None:
    write_frame(picture("uint8"), tmp_path / "a.png")
    (tmp_path / "b").touch()
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("source", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("target", [".png", ".tif", ".jpg"])
def test_metadata_survives_between_formats_that_hold_it(
    labelled: Frame, source: str, target: str
) -> None:
    from PIL import Image

    first = decode(encode(labelled, source), "first")
    back = decode(encode(first, target), "back").metadata
    assert back.xmp == labelled.metadata.xmp
    assert back.icc_profile == labelled.metadata.icc_profile
    assert back.description == labelled.metadata.description
    density = back.resolution
    assert density is not None
    per_inch = 2.54 if density.unit == "centimetre" else 1
    assert (density.x * per_inch, density.y * per_inch) == pytest.approx((300, 150), abs=0.02)
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + (back.exif or b""))
    assert (exif[271], exif[274]) == ("FLIR", 6)
    assert exif.get_ifd(0x8769)[33434] == 0.5
    assert exif.get_ifd(0x8769)[37500] == b"maker's own" * 3
    assert exif.get_ifd(0x8825)[2] == (48.0, 51.0, 30.0)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_metadata_survives_byte_for_byte_where_the_format_holds_blocks(
    labelled: Frame, suffix: str
) -> None:
    assert decode(encode(labelled, suffix), "x").metadata.exif == labelled.metadata.exif


def test_the_orientation_is_kept_and_not_applied(labelled: Frame) -> None:
    back = decode(encode(labelled, ".png"), "x")
    assert back.values.shape == labelled.values.shape


def test_reading_and_writing_import_no_codec_before_they_are_used() -> None:
    import subprocess
    import sys

    code = (
        "import sys, deal_cli.imaging.files, deal_cli.imaging.drawn.scenes;"
        "print({'torch', 'cv2', 'PIL', 'tifffile', 'imagecodecs'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.data
def test_real_counts_are_read_as_sixteen_bits_and_written_back_unchanged(
    data: Path, tmp_path: Path
) -> None:
    import imagecodecs

    paths = sorted((data / "raw16").iterdir())
    assert len(paths) == 10
    for path in paths:
        frame = read_frame(path)
        assert frame.dtype == np.uint16
        for name in ("a.png", "a.tif", "a.npy"):
            write_frame(frame, tmp_path / name)
            again = read_frame(tmp_path / name)
            assert again.dtype == np.uint16
            np.testing.assert_array_equal(
                again.values.astype(np.uint16), imagecodecs.png_decode(path.read_bytes())
            )


@pytest.mark.data
def test_real_files_named_tiff_that_are_png_are_read(data: Path) -> None:
    paths = sorted((data / "sequence16").glob("*.tiff"))
    assert len(paths) == 12
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG")
        frame = read_frame(path)
        assert frame.dtype == np.uint16
        assert frame.values.shape == (512, 640)


@pytest.mark.data
def test_real_false_colour_is_refused_unless_luminance_is_asked_for(
    data: Path, tmp_path: Path
) -> None:
    from PIL import Image

    # What a program that edits pictures leaves of a camera's: the visible one and its labels.
    path = tmp_path / "edited.jpg"
    with Image.open(data / "rjpeg" / "FLIR_T640.jpg") as visible:
        visible.save(path, exif=visible.getexif(), quality=95)
    with pytest.raises(PictureError, match="--luminance"):
        read_frame(path)
    frame = read_frame(path, ReadAs(luminance=True))
    assert frame.values.shape == (480, 640)
    assert frame.metadata.exif
