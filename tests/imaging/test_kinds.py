"""Each row of `docs/files.md`: which pixels are done rightly, and which are refused and why."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from deal_cli.errors import PictureError
from deal_cli.imaging.contents import glance
from deal_cli.imaging.files import decode, read_frame, suffix_for, write_frame
from deal_cli.imaging.video.clip_files import create_clip, open_clip

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(17)
LEVELS = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
COUNTS = RNG.integers(6000, 12000, (20, 30), dtype=np.uint16)


def tiff(array: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **{"metadata": None, **options})
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def pillow(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(stream, kind, **options)
    return stream.getvalue()


def palette(colours: list[int], kind: str, **options: Any) -> bytes:
    image = Image.fromarray(LEVELS % 4).convert("P")
    image.putpalette(colours)
    return pillow(image, kind, **options)


def few_bits(bits: int) -> bytes:
    """A grey PNG of 2 or 4 bits a pixel."""
    per_byte = 8 // bits
    samples = (LEVELS[:, :28] >> (8 - bits)).reshape(20, -1, per_byte)
    shifts = np.arange(per_byte)[::-1] * bits
    packed = (samples.astype(np.uint8) << shifts).sum(-1).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    parts = [b"\x89PNG\r\n\x1a\n"]
    header = struct.pack(">IIBBBBB", 28, 20, bits, 0, 0, 0, 0)
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        check = struct.pack(">I", zlib.crc32(kind + body))
        parts.append(struct.pack(">I", len(body)) + kind + body + check)
    return b"".join(parts)


GREYS = [0, 0, 0, 85, 85, 85, 170, 170, 170, 255, 255, 255]
COLOURS = [0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255]
OPAQUE = np.full_like(LEVELS, 255)
CLEAR = OPAQUE.copy()
CLEAR[4, 4] = 0
CELSIUS = RNG.normal(20, 5, (20, 30))

DONE = [
    ("8-bit grey", pillow(LEVELS, "PNG"), LEVELS),
    ("8-bit grey", pillow(LEVELS, "BMP"), LEVELS),
    ("8-bit grey", tiff(LEVELS), LEVELS),
    ("16-bit grey", imagecodecs.png_encode(COUNTS), COUNTS),
    ("16-bit grey", tiff(COUNTS), COUNTS),
    ("16-bit grey", npy(COUNTS), COUNTS),
    ("10, 12 or 14 bits", tiff(COUNTS >> 2, compression=None, bitspersample=12), COUNTS >> 2),
    ("int16", tiff((COUNTS - 9000).astype(np.int16)), (COUNTS - 9000).astype(np.int16)),
    ("float32", tiff(CELSIUS.astype(np.float32)), CELSIUS.astype(np.float32)),
    ("float32", npy(CELSIUS.astype(np.float32)), CELSIUS.astype(np.float32)),
    ("float64", tiff(CELSIUS), CELSIUS.astype(np.float32).astype(np.float64)),
    ("2 or 4 bits in PNG", few_bits(2), (LEVELS[:, :28] >> 6) * 85),
    ("2 or 4 bits in PNG", few_bits(4), (LEVELS[:, :28] >> 4) * 17),
    ("palette of greys", palette(GREYS, "PNG"), LEVELS % 4 * 85),
    ("palette of greys", palette(GREYS, "TIFF"), LEVELS % 4 * 85),
    ("palette of greys", palette(GREYS, "BMP"), LEVELS % 4 * 85),
    ("equal colour channels", pillow(np.stack([LEVELS] * 3, -1), "PNG"), LEVELS),
    ("equal colour channels", tiff(np.stack([COUNTS] * 3, -1), photometric="rgb"), COUNTS),
    ("opaque alpha", pillow(np.stack([LEVELS, OPAQUE], -1), "PNG"), LEVELS),
    ("opaque alpha", pillow(np.stack([LEVELS] * 3 + [OPAQUE], -1), "PNG"), LEVELS),
    ("opaque alpha", tiff(np.stack([LEVELS] * 3 + [OPAQUE], -1), extrasamples=[2]), LEVELS),
    ("MINISWHITE, 8-bit", tiff(255 - LEVELS, photometric="miniswhite"), LEVELS),
]

PREVIEW = {"subfiletype": 1}
PAGES = [
    ("several pages", [(COUNTS, {}), (COUNTS[::-1], {})]),
    ("several pages", [(LEVELS, {}), (COUNTS, {}), (COUNTS[:9, :9], {})]),
    ("several pages", [(COUNTS, {}), (COUNTS[::2, ::2], PREVIEW), (COUNTS[::-1], {})]),
]

REFUSED = [
    ("float16", tiff(CELSIUS.astype(np.float16)), "float16", "float32"),
    ("float16", npy(CELSIUS.astype(np.float16)), "float16", "float32"),
    ("int8, 32-bit or 64-bit", tiff(COUNTS.astype(np.uint32)), "uint32", "float32"),
    ("int8, 32-bit or 64-bit", tiff(COUNTS.astype(np.int32)), "int32", "float32"),
    ("int8, 32-bit or 64-bit", npy(COUNTS.astype(np.int64)), "int64", "float32"),
    ("int8, 32-bit or 64-bit", npy(LEVELS.astype(np.int8)), "int8", "8-bit"),
    ("float64 too fine", npy(1e12 + 1e-3 * CELSIUS), "too coarse", "subtract"),
    ("palette of colours", palette(COLOURS, "PNG"), "false colour", "--luminance"),
    ("palette of colours", palette(COLOURS, "TIFF"), "false colour", "--luminance"),
    ("palette of colours", palette(COLOURS, "BMP"), "false colour", "--luminance"),
    (
        "false colour",
        pillow(RNG.integers(0, 256, (9, 9, 3), np.uint8), "PNG"),
        "false colour",
        "--",
    ),
    ("transparent", pillow(np.stack([LEVELS, CLEAR], -1), "PNG"), "transparent", "alpha"),
    ("transparent", pillow(LEVELS, "PNG", transparency=int(LEVELS[0, 0])), "transparent", "alpha"),
    ("transparent", tiff(np.stack([LEVELS] * 3 + [CLEAR], -1), extrasamples=[2]), "trans", "alpha"),
    ("1 bit", pillow(Image.fromarray(LEVELS).convert("1"), "PNG"), "1 bit", "grey"),
    ("1 bit", palette(GREYS[:6], "PNG", bits=1), "1 bit", "grey"),
    ("1 bit", pillow(Image.fromarray(LEVELS).convert("1"), "BMP"), "1 bit", "grey"),
    ("1 bit", tiff(LEVELS > 99), "1 bit", "8-bit"),
    ("2 or 4 bits in TIFF", tiff(LEVELS >> 4, bitspersample=4), "4 bit", "8-bit"),
    ("CMYK", pillow(Image.fromarray(LEVELS).convert("CMYK"), "JPEG"), "CMYK", "grey"),
    ("CMYK", tiff(np.stack([LEVELS] * 4, -1), photometric="separated"), "SEPARATED", "grey"),
    ("MINISWHITE, 16-bit", tiff(COUNTS, photometric="miniswhite"), "zero is white", "MINISBLACK"),
    (
        "animated PNG",
        pillow(
            Image.fromarray(LEVELS), "PNG", save_all=True, append_images=[Image.new("L", (30, 20))]
        ),
        "more than one",
        "each frame",
    ),
    (
        "more bands",
        tiff(
            np.stack([COUNTS + band for band in range(5)], -1).astype(COUNTS.dtype),
            photometric="minisblack",
            planarconfig="contig",
        ),
        "5 bands",
        "--band 1 to 5",
    ),
    (
        "more bands",
        tiff(
            np.stack([COUNTS + band for band in range(5)]).astype(COUNTS.dtype),
            photometric="minisblack",
            planarconfig="separate",
        ),
        "5 bands",
        "--band 1 to 5",
    ),
    ("12-bit or lossless JPEG", imagecodecs.ljpeg_encode(COUNTS), "JPEG", "PNG or TIFF"),
    ("GIF", pillow(LEVELS, "GIF"), "not a picture", "PNG"),
]


@pytest.mark.parametrize(("row", "data", "expected"), DONE)
def test_a_kind_that_is_done_goes_through_unchanged(
    row: str, data: bytes, expected: np.ndarray, tmp_path: Path
) -> None:
    suffix = suffix_for(data)
    source, target = tmp_path / f"source{suffix}", tmp_path / f"target{suffix}"
    source.write_bytes(data)
    write_frame(read_frame(source), target)
    back = read_frame(target)
    assert back.dtype == expected.dtype, row
    np.testing.assert_array_equal(back.values, expected.astype(np.float32))
    if suffix == ".tif":
        np.testing.assert_array_equal(tifffile.imread(target), expected)


@pytest.mark.parametrize(("row", "pages"), PAGES)
def test_each_page_goes_through_unchanged_and_previews_are_passed_over(
    row: str, pages: list[tuple[np.ndarray, dict[str, int]]], tmp_path: Path
) -> None:
    source, target = tmp_path / "source.tif", tmp_path / "target.tif"
    with tifffile.TiffWriter(source) as writer:
        for page, options in pages:
            writer.write(page, metadata=None, contiguous=False, **options)
    contents = glance(source)
    assert contents.kind == "stack", row
    with open_clip(source, contents) as clip, create_clip(target, clip) as writer:
        for frame in clip.frames():
            writer.add(frame)
    expected = [page for page, options in pages if not options]
    with tifffile.TiffFile(target) as written:
        assert len(written.pages) == len(expected)
        for page, seen in zip(expected, written.pages, strict=True):
            assert seen.dtype == page.dtype
            np.testing.assert_array_equal(seen.asarray(), page)


@pytest.mark.parametrize(("row", "data", "cause", "remedy"), REFUSED)
def test_a_kind_that_is_refused_says_why_and_what_mends_it(
    row: str, data: bytes, cause: str, remedy: str, tmp_path: Path
) -> None:
    path = tmp_path / "picture"
    path.write_bytes(data)
    assert glance(path).kind == "picture"
    with pytest.raises(PictureError) as caught:
        read_frame(path)
    assert caught.value.remedy, row
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("row", sorted({row[0] for row in (*DONE, *PAGES, *REFUSED)}))
def test_every_kind_has_its_row_in_the_documentation(row: str) -> None:
    page = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| {re.escape(row)} \|", page, re.MULTILINE)


def test_palettes_of_eight_bits_in_tiff_are_not_taken_for_black() -> None:
    image = tiff(LEVELS % 4, photometric="palette", colormap=np.tile(np.arange(256), (3, 1)))
    with tifffile.TiffFile(io.BytesIO(image)) as seen:
        assert int(np.max(seen.pages.first.colormap)) == 255
    np.testing.assert_array_equal(decode(image, "x").values, LEVELS % 4)
