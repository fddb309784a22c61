"""Files as other programs write them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from deal_cli.errors import OutputError, PictureError
from deal_cli.imaging.files import decode, encode
from deal_cli.imaging.frame import Frame, Metadata, Resolution
from deal_cli.imaging.reading import ReadAs

RNG = np.random.default_rng(11)
GREY8 = RNG.integers(0, 256, (37, 53), dtype=np.uint8)
GREY16 = RNG.integers(6000, 12000, (37, 53), dtype=np.uint16)
CELSIUS = RNG.normal(20, 5, (37, 53)).astype(np.float32)


def tiff(array: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def pillow(array: np.ndarray, kind: str, mode: str | None = None, **options: Any) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("array", [GREY8, GREY16, GREY16.astype(np.int16), CELSIUS])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "zstd"])
@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiffs_of_every_storage_are_read(
    array: np.ndarray, compression: str | None, predictor: bool, order: str
) -> None:
    for extra in ({"rowsperstrip": 5}, {"tile": (16, 16)}):
        data = tiff(
            array,
            compression=compression,
            predictor=predictor and compression is not None,
            byteorder=order,
            **extra,
        )
        frame = decode(data, "x.tif")
        assert frame.dtype == array.dtype
        np.testing.assert_array_equal(frame.values, array)


def test_big_tiff_is_read() -> None:
    frame = decode(tiff(GREY16, bigtiff=True, resolution=(10, 20), resolutionunit=3), "x")
    np.testing.assert_array_equal(frame.values, GREY16)
    assert frame.metadata.resolution == Resolution(10, 20, "centimetre")


def test_written_tiffs_are_deflated_behind_the_predictor_of_their_kind() -> None:
    for array, predictor in ((GREY8, 2), (GREY16, 2), (CELSIUS, 3)):
        with tifffile.TiffFile(io.BytesIO(encode(Frame(array, array.dtype), ".tif"))) as seen:
            assert seen.pages.first.compression == 8
            assert seen.pages.first.predictor == predictor
            np.testing.assert_array_equal(seen.asarray(), array)


def test_inverted_grey_is_read_as_it_is_seen() -> None:
    frame = decode(tiff(255 - GREY8, photometric="miniswhite"), "x")
    np.testing.assert_array_equal(frame.values, GREY8)


def test_inverted_counts_are_refused_rather_than_turned_round() -> None:
    with pytest.raises(PictureError, match="zero is white"):
        decode(tiff(GREY16, photometric="miniswhite"), "x")


def test_a_preview_beside_the_picture_is_passed_over() -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(GREY16, metadata=None)
        writer.write(GREY16[::4, ::4], metadata=None, subfiletype=1)
    np.testing.assert_array_equal(decode(stream.getvalue(), "x").values, GREY16)


def test_a_sparse_tiff_is_not_filled_with_zeros() -> None:
    data = bytearray(tiff(GREY16, rowsperstrip=5, compression="lzw", metadata=None))
    with tifffile.TiffFile(io.BytesIO(data)) as seen:
        counts = seen.pages.first.tags[279]
        struct.pack_into("<H" if counts.dtype == 3 else "<I", data, counts.valueoffset, 0)
    with pytest.raises(PictureError, match="truncated"):
        decode(bytes(data), "x")


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (tiff(np.stack([GREY8, GREY8])), "more than one picture"),
        (tiff(np.stack([GREY8, GREY8]), imagej=True), "more than one picture"),
        (tiff(np.stack([GREY8, GREY8]), truncate=True), "more than one picture"),
        (tiff(GREY8 > 99), "1 bit"),
        (tiff(GREY8.astype(np.int32)), "int32"),
        (tiff(GREY8.astype(np.uint32)), "uint32"),
        (tiff(GREY8.astype(np.complex64)), "complex64"),
        (tiff(CELSIUS.astype(np.float16)), "float16"),
        (tiff(np.stack([GREY8] * 4, -1), photometric="separated"), "SEPARATED"),
        (pillow(GREY8, "PNG", "1"), "1 bit"),
        (pillow(GREY8, "BMP", "1"), "1 bit"),
        (pillow(GREY8, "JPEG", "CMYK"), "CMYK"),
    ],
)
def test_kinds_that_cannot_be_restored_are_named(data: bytes, cause: str) -> None:
    with pytest.raises(PictureError, match=cause) as caught:
        decode(data, "x")
    assert caught.value.remedy


@pytest.mark.parametrize(
    "array", [np.zeros((4, 5, 3), np.uint8), np.zeros(7), np.zeros((0, 4)), np.zeros((), int)]
)
def test_arrays_that_are_not_one_picture_are_refused(array: np.ndarray) -> None:
    stream = io.BytesIO()
    np.save(stream, array)
    with pytest.raises(PictureError):
        decode(stream.getvalue(), "x.npy")


def test_pickled_arrays_are_never_opened() -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([[print, 1]], dtype=object), allow_pickle=True)
    with pytest.raises(PictureError, match="objects"):
        decode(stream.getvalue(), "x.npy")


@pytest.mark.parametrize("array", [GREY16.astype(">u2"), np.asfortranarray(CELSIUS), CELSIUS[::2]])
def test_arrays_of_any_order_are_read(array: np.ndarray) -> None:
    stream = io.BytesIO()
    np.save(stream, array)
    frame = decode(stream.getvalue(), "x.npy")
    assert frame.dtype == array.dtype.newbyteorder("=")
    assert frame.values.flags.c_contiguous
    np.testing.assert_array_equal(frame.values, array)


def test_float64_comes_back_as_float64_to_the_precision_of_float32() -> None:
    degrees = RNG.normal(300, 20, (20, 30))
    stream = io.BytesIO()
    np.save(stream, degrees)
    back = decode(encode(decode(stream.getvalue(), "x.npy"), ".npy"), "x.npy")
    assert back.dtype == np.float64
    np.testing.assert_allclose(back.values, degrees, rtol=6e-8)


@pytest.mark.parametrize("offset", [1e12, 1e300])
def test_float64_that_float32_is_too_coarse_for_is_refused(offset: float) -> None:
    stream = io.BytesIO()
    np.save(stream, offset * (1 + 1e-9 * RNG.normal(size=(8, 8))))
    with pytest.raises(PictureError, match="too coarse"):
        decode(stream.getvalue(), "x.npy")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_equal_channels_are_grey(kind: str) -> None:
    for mode in ("RGB", "RGBA", "P") if kind != "TIFF" else ("RGB", "RGBA", "LA"):
        frame = decode(pillow(GREY8, kind, mode), "x")
        assert frame.dtype == np.uint8
        np.testing.assert_array_equal(frame.values, GREY8)


def test_sixteen_bit_equal_channels_stay_sixteen_bit() -> None:
    for data in (
        imagecodecs.png_encode(np.stack([GREY16] * 3, -1)),
        tiff(np.stack([GREY16] * 3, -1), photometric="rgb"),
        tiff(np.stack([GREY16] * 3), photometric="rgb", planarconfig="separate"),
    ):
        frame = decode(data, "x")
        assert frame.dtype == np.uint16
        np.testing.assert_array_equal(frame.values, GREY16)


def test_false_colour_is_refused_and_its_luma_is_rec_601() -> None:
    colours = np.zeros((2, 2, 3), np.uint8)
    colours[0, 0], colours[0, 1], colours[1, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    for data in (pillow(colours, "PNG"), pillow(colours, "BMP"), tiff(colours, photometric="rgb")):
        with pytest.raises(PictureError, match="--luminance"):
            decode(data, "x")
        assert decode(data, "x", ReadAs(luminance=True)).values.tolist() == [[76, 150], [29, 0]]


def test_one_level_apart_is_colour_in_png_and_rounding_in_jpeg() -> None:
    nearly = np.stack([GREY8, GREY8, GREY8], -1)
    nearly[5, 5, 2] ^= 1
    with pytest.raises(PictureError, match="false colour"):
        decode(pillow(nearly, "PNG"), "x")
    smooth = np.stack([np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)] * 3, -1)
    assert decode(pillow(smooth, "JPEG", quality=95), "x").values.shape == (64, 64)


def test_transparency_is_refused_and_opacity_is_not() -> None:
    rgba = np.dstack([GREY8, GREY8, GREY8, np.full_like(GREY8, 255)])
    np.testing.assert_array_equal(decode(pillow(rgba, "PNG"), "x").values, GREY8)
    rgba[3, 3, 3] = 254
    with pytest.raises(PictureError, match="transparent"):
        decode(pillow(rgba, "PNG"), "x")
    with pytest.raises(PictureError, match="transparent"):
        decode(pillow(GREY8, "PNG", transparency=int(GREY8[0, 0])), "x")


def test_a_palette_of_colours_is_colour() -> None:
    image = Image.fromarray(GREY8 % 4).convert("P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    for kind in ("PNG", "TIFF", "BMP"):
        stream = io.BytesIO()
        image.save(stream, kind)
        with pytest.raises(PictureError, match="false colour"):
            decode(stream.getvalue(), "x")


def test_a_profile_for_colours_does_not_follow_a_picture_that_became_grey() -> None:
    profile = bytes(16) + b"RGB " + bytes(200)
    data = pillow(GREY8, "JPEG", "RGB", icc_profile=profile)
    assert decode(data, "x").metadata.icc_profile is None


@pytest.mark.parametrize("unit", ["inch", "centimetre", "none"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".bmp"])
def test_pixel_density_survives_in_every_unit_that_the_format_has(suffix: str, unit: str) -> None:
    source = Metadata(resolution=Resolution(40, 30, unit))
    once = decode(encode(Frame(GREY8.astype("f4"), GREY8.dtype, source), suffix), "x")
    density = once.metadata.resolution
    if suffix == ".bmp" and unit == "none":
        assert density is None
        return
    assert density is not None
    if unit == "inch" and density.unit == "centimetre":
        density = Resolution(density.x * 2.54, density.y * 2.54, "inch")
    assert density.unit == unit
    assert (density.x, density.y) == pytest.approx((40, 30), abs=0.02)
    assert decode(encode(once, suffix), "x").metadata == once.metadata


def test_a_picture_longer_than_a_jpeg_can_be_is_an_output_error() -> None:
    frame = Frame(np.zeros((1, 65501), np.float32), np.dtype(np.uint8))
    with pytest.raises(OutputError, match="65500") as caught:
        encode(frame, ".jpg")
    assert ".png" in str(caught.value)
    assert decode(encode(frame, ".png"), "x").width == 65501


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".bmp", ".npy"])
@pytest.mark.parametrize("density", [1e-9, 0.0, 1e12])
def test_an_absurd_density_does_not_stop_a_picture(suffix: str, density: float) -> None:
    source = Metadata(resolution=Resolution(density, density, "inch"))
    data = encode(Frame(GREY8.astype("f4"), GREY8.dtype, source), suffix)
    assert decode(data, "x").values.shape == GREY8.shape


def test_jpeg_without_a_unit_takes_its_density_from_exif() -> None:
    exif = Image.Exif()
    exif[282], exif[283], exif[296] = 96.0, 48.0, 2
    frame = decode(pillow(GREY8, "JPEG", exif=exif), "x")
    assert frame.metadata.resolution == Resolution(96, 48, "inch")


def test_png_text_is_read_in_all_three_kinds_of_chunk() -> None:
    whole = pillow(GREY8, "PNG")
    for kind, body in (
        (b"tEXt", b"Description\0caf\xe9"),
        (b"zTXt", b"Description\0\0" + zlib.compress(b"caf\xe9")),
        (b"iTXt", b"Description\0\1\0fr\0\0" + zlib.compress("café".encode())),
    ):
        size, check = struct.pack(">I", len(body)), struct.pack(">I", zlib.crc32(kind + body))
        frame = decode(whole[:33] + size + kind + body + check + whole[33:], "x")
        assert frame.metadata.description == "café"


def test_a_compressed_text_that_unpacks_without_end_is_left_out() -> None:
    whole = pillow(GREY8, "PNG")
    body = b"Description\0\0" + zlib.compress(bytes(64 * 2**20))
    chunk = (
        struct.pack(">I", len(body))
        + b"zTXt"
        + body
        + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    )
    assert decode(whole[:33] + chunk + whole[33:], "x").metadata.description is None


def test_progressive_jpeg_with_a_preview_in_its_exif_is_refused_when_cut() -> None:
    block = io.BytesIO()
    Image.fromarray(GREY8[:8, :8]).save(block, "JPEG")
    exif = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + block.getvalue()
    whole = pillow(GREY8, "JPEG", progressive=True, exif=exif)
    assert decode(whole, "x").values.shape == GREY8.shape
    for cut in range(len(whole) - 1, 700, -37):
        with pytest.raises(PictureError):
            decode(whole[:cut], "x")


def test_a_second_picture_behind_the_first_in_a_jpeg_is_not_read() -> None:
    whole = pillow(GREY8, "JPEG")
    assert decode(whole + pillow(GREY16[:4, :4] >> 8, "PNG"), "x").values.shape == GREY8.shape


def test_a_broken_exif_block_does_not_stop_a_tiff_from_being_written() -> None:
    frame = Frame(GREY8.astype("f4"), GREY8.dtype, Metadata(exif=b"MM\0*\0\0\xff\xff"))
    np.testing.assert_array_equal(decode(encode(frame, ".tif"), "x").values, GREY8)


def test_metadata_too_long_for_jpeg_is_left_out_and_the_picture_written() -> None:
    long = Metadata(exif=bytes(70000), xmp=bytes(70000), description="x" * 70000)
    frame = decode(encode(Frame(GREY8.astype("f4"), GREY8.dtype, long), ".jpg"), "x")
    assert frame.metadata == Metadata()


def test_nothing_but_the_error_reaches_stderr(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = tiff(GREY16, compression="lzw")
    for cut in (20, 300, len(data) - 1):
        with pytest.raises(PictureError):
            decode(data[:cut], "x")
    bad = Metadata(icc_profile=b"not a profile", exif=b"II*\0\x08\0\0\0\xff\0" + bytes(400))
    for suffix in (".png", ".jpg", ".tif"):
        decode(encode(Frame(GREY8.astype("f4"), GREY8.dtype, bad), suffix), "x")
    whole = bytearray(encode(Frame(GREY8.astype("f4"), GREY8.dtype), ".png"))
    whole[len(whole) // 2] ^= 1
    with pytest.raises(PictureError, match="checksum"):
        decode(bytes(whole), "x")
    assert capfd.readouterr().err == ""
