"""Files of many pages, with tifffile as the independent writer and reader."""

from __future__ import annotations

import io
import struct
import tempfile
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deal_cli.errors import OutputError, PictureError
from deal_cli.imaging.files import decode
from deal_cli.imaging.formats import directory, planting, tiff
from deal_cli.imaging.frame import Frame, Metadata, Resolution, Storage
from deal_cli.imaging.radiometry.calibration import Radiometry
from deal_cli.imaging.reading import ReadAs
from deal_cli.imaging.stack import create_stack, is_stack, open_stack

RNG = np.random.default_rng(29)
GREY8 = RNG.integers(0, 256, (24, 40), dtype=np.uint8)
GREY16 = RNG.integers(6000, 12000, (24, 40), dtype=np.uint16)
PAGES = RNG.integers(6000, 12000, (5, 24, 40), dtype=np.uint16)
CELSIUS = RNG.normal(20, 5, (24, 40)).astype(np.float32)


#: What tifffile writes where nothing is known, as the standard demands something.
NO_DENSITY = Resolution(1, 1, "none")


def frame(array: np.ndarray, **metadata: Any) -> Frame:
    metadata.setdefault("resolution", NO_DENSITY)
    return Frame(array.astype(np.float32), array.dtype, Metadata(**metadata))


def stored(path: Path, *frames: Frame, **options: Any) -> bytes:
    with create_stack(path, **options) as writer:
        for one in frames:
            writer.add(one)
    return path.read_bytes()


def loaded(path: Path, **options: Any) -> list[Frame]:
    with open_stack(path, ReadAs(**options)) as clip:
        return list(clip.frames())


def pages_of(path: Path, *arrays: np.ndarray, options: Any = ()) -> bytes:
    """A file as tifffile writes it, page by page; `options` are further ones for each page."""
    extra = list(options) or [{}] * len(arrays)
    with tifffile.TiffWriter(path) as writer:
        for array, own in zip(arrays, extra, strict=True):
            writer.write(array, **{"metadata": None, "contiguous": False, **own})
    return path.read_bytes()


def stacked(array: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def until_error(path: Path, **options: Any) -> tuple[list[Frame], str]:
    """The frames before the one that cannot be read, and what is said of that."""
    frames: list[Frame] = []
    with open_stack(path, ReadAs(**options)) as clip, pytest.raises(PictureError) as caught:
        frames.extend(clip.frames())
    assert caught.value.file == path
    assert caught.value.remedy
    return frames, caught.value.cause


# --- what makes a stack ---------------------------------------------------------------------


PREVIEW, MASK = {"subfiletype": 1}, {"subfiletype": 4}
BEHIND_EACH_OTHER = [
    ([GREY16], [{}], False),
    ([GREY16, GREY16[::2]], [{}, {}], True),
    ([GREY16, GREY8], [{}, {}], True),
    ([GREY16, GREY16[::4]], [{}, PREVIEW], False),
    ([GREY16[::4], GREY16], [PREVIEW, {}], False),
    ([GREY16[::4], GREY16, GREY16], [PREVIEW, {}, {}], True),
    ([GREY16, GREY8 > 99], [{}, MASK], False),
    ([GREY16, GREY16, GREY8 > 99], [{}, {}, MASK], True),
    ([GREY16, GREY16], [PREVIEW, PREVIEW], True),
    ([GREY16], [PREVIEW], False),
]


@pytest.mark.parametrize(("arrays", "options", "expected"), BEHIND_EACH_OTHER)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_pages_make_a_stack_and_previews_and_masks_do_not(
    arrays: list[np.ndarray], options: list[Any], expected: bool, order: Any, big: bool
) -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, byteorder=order, bigtiff=big) as writer:
        for array, own in zip(arrays, options, strict=True):
            writer.write(array, metadata=None, contiguous=False, **own)
    stream.seek(3)
    assert is_stack(stream) is expected
    assert stream.tell() == 3
    if expected:
        with pytest.raises(PictureError, match="more than one picture"):
            decode(stream.getvalue(), "x")
    elif MASK in options:
        with pytest.raises(PictureError, match="has a mask"):
            decode(stream.getvalue(), "x")
    else:
        picture = arrays[-1] if options[0] == PREVIEW else arrays[0]
        np.testing.assert_array_equal(decode(stream.getvalue(), "x").values, picture)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"truncate": True},
        {"imagej": True},
        {"imagej": True, "truncate": True},
        {"ome": True},
        {"metadata": None},
        {"truncate": True, "byteorder": ">"},
        {"imagej": True, "truncate": True, "byteorder": ">"},
    ],
)
def test_frames_that_hide_behind_a_page_make_a_stack(
    options: dict[str, Any], tmp_path: Path
) -> None:
    alone = {k: v for k, v in options.items() if k != "truncate"}
    assert not is_stack(io.BytesIO(stacked(PAGES[0], **alone)))
    data = stacked(PAGES, **options)
    assert is_stack(io.BytesIO(data))
    path = tmp_path / "x.tif"
    path.write_bytes(data)
    with open_stack(path) as clip:
        assert clip.count == len(PAGES)
        for _ in range(2):  # a second pass gives the same
            frames = list(clip.frames())
            np.testing.assert_array_equal([f.values for f in frames], PAGES)
    assert {f.dtype.name for f in frames} == {"uint16"}
    assert {f.metadata.description for f in frames} == {None}


@pytest.mark.parametrize("words", ["roof", "a longer description of the roof"])
def test_a_layout_is_found_behind_a_persons_words_and_in_any_order(words: str) -> None:
    # tifffile writes two descriptions then.
    data = stacked(PAGES, truncate=True, description=words)
    told = b'"shape": [5, 24, 40]', b'"truncated": true'
    turned = data.replace(b", ".join(told), b", ".join(told[::-1]))
    for one in (data, turned):
        assert is_stack(io.BytesIO(one))
        with pytest.raises(PictureError, match="more than one"):
            decode(one, "x")
    alone = decode(stacked(GREY16, description=words), "x")
    assert alone.metadata.description == words


@pytest.mark.parametrize("truncate", [False, True])
def test_a_hyperstack_is_read_in_the_order_of_the_file(truncate: bool, tmp_path: Path) -> None:
    array = RNG.integers(0, 65535, (3, 2, 2, 8, 9), dtype=np.uint16)
    path = tmp_path / "x.tif"
    path.write_bytes(stacked(array, imagej=True, truncate=truncate, metadata={"axes": "TZCYX"}))
    frames = loaded(path)
    np.testing.assert_array_equal([f.values for f in frames], array.reshape(-1, 8, 9))


@pytest.mark.parametrize(
    "data", [b"", b"II*\0", b"II*\0\0\0\0\0", b"\x89PNG\r\n\x1a\n" + bytes(20)]
)
def test_what_is_damaged_or_of_another_kind_is_no_stack(data: bytes) -> None:
    assert not is_stack(io.BytesIO(data))


def test_every_cut_of_a_stack_is_judged_without_an_exception(tmp_path: Path) -> None:
    data = pages_of(tmp_path / "x.tif", GREY16, GREY8)
    for cut in range(0, len(data), 7):
        is_stack(io.BytesIO(data[:cut]))
    for at in range(400):
        is_stack(io.BytesIO(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]))


def test_the_only_picture_of_a_file_that_says_more_follow_is_not_read_alone(tmp_path: Path) -> None:
    data = pages_of(tmp_path / "x.tif", GREY16, GREY8)
    second = list(directory.chain(io.BytesIO(data)))[1].offset
    with pytest.raises(PictureError, match="truncated"):
        decode(data[: second - 2], "x")


# --- reading --------------------------------------------------------------------------------


def test_pages_may_differ_in_size_dtype_and_tags(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    nodata = [(42113, "s", 0, "-9999", True)]
    options = [
        {"description": "first", "extratags": [(271, "s", 0, "FLIR", True)], "tile": (16, 32)},
        {"description": "second", "resolution": (10, 20), "compression": "lzw", "software": False},
        {"extratags": nodata},
        {},
    ]
    pages_of(path, GREY16, GREY8[:9], CELSIUS, np.stack([GREY8] * 3, -1), options=options)
    frames = loaded(path)
    assert [f.dtype.name for f in frames] == ["uint16", "uint8", "float32", "uint8"]
    for got, expected in zip(frames, (GREY16, GREY8[:9], CELSIUS, GREY8), strict=True):
        np.testing.assert_array_equal(got.values, expected)
    told = [f.metadata for f in frames]
    assert [m.description for m in told] == ["first", "second", None, None]
    assert [m.nodata for m in told] == [None, None, -9999, None]
    assert [m.storage for m in told] == [Storage((16, 32)), None, None, None]
    assert told[1].resolution is not None
    assert told[0].exif is not None
    assert told[1].exif is None


def test_previews_are_passed_over_and_counted_in_names(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    arrays = [GREY16[::4], GREY16, GREY16[::4], GREY16 + 1, GREY16.astype(np.uint32)]
    pages_of(path, *arrays, options=[PREVIEW, {}, PREVIEW, {}, {}])
    with open_stack(path) as clip:
        assert clip.count == 3
    frames, cause = until_error(path)
    np.testing.assert_array_equal([f.values for f in frames], [GREY16, GREY16 + 1])
    assert cause.startswith("page 5 of 5 holds uint32 pixels")


def test_pages_that_hide_others_among_further_pages_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(GREY8)
        writer.write(PAGES, truncate=True)
    assert is_stack(io.BytesIO(path.read_bytes()))
    frames, cause = until_error(path)
    assert len(frames) == 1
    assert cause == "page 2 of 2 hides further pictures behind it"


def test_a_colour_page_follows_the_rules_of_colour_pictures(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    colours = RNG.integers(0, 256, (9, 8, 3), dtype=np.uint8)
    pages_of(path, GREY8, colours)
    frames, cause = until_error(path)
    assert len(frames) == 1
    assert cause.startswith("page 2 of 2 is in false colour")
    assert loaded(path, luminance=True)[1].values.shape == (9, 8)


def test_a_mask_among_pages_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    pages_of(path, GREY16, GREY16, GREY8 > 99, options=[{}, {}, MASK])
    frames, cause = until_error(path)
    assert len(frames) == 2
    assert cause.startswith("page 3 of 3 is a mask")


def test_five_bands_are_refused_by_name_and_one_can_be_chosen(tmp_path: Path) -> None:
    bands = np.stack([GREY16 + np.uint16(band) for band in range(5)], -1)
    for planes in ("contig", "separate"):
        array = bands if planes == "contig" else bands.transpose(2, 0, 1)
        data = stacked(array, photometric="minisblack", planarconfig=planes, metadata=None)
        assert not is_stack(io.BytesIO(data))
        with pytest.raises(PictureError, match="has 5 bands") as caught:
            decode(data, "roof.tif")
        assert str(caught.value).startswith("roof.tif: ")
        chosen = decode(data, "roof.tif", ReadAs(band=3))
        np.testing.assert_array_equal(chosen.values, GREY16 + np.float32(2))
        with pytest.raises(PictureError, match="no band 6"):
            decode(data, "roof.tif", ReadAs(band=6))


# --- hostile files --------------------------------------------------------------------------


def relinked(data: bytes, page: int, offset: int) -> bytes:
    """A little-endian classic TIFF in which a page's link leads somewhere else."""
    at = list(directory.chain(io.BytesIO(data)))[page].offset
    link = at + 2 + 12 * struct.unpack_from("<H", data, at)[0]
    return data[:link] + struct.pack("<I", offset) + data[link + 4 :]


@pytest.mark.parametrize("back_to", [0, 1, 2])
def test_a_chain_without_an_end_is_damaged(back_to: int, tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    data = pages_of(path, *PAGES[:3])
    links = [link.offset for link in directory.chain(io.BytesIO(data))]
    path.write_bytes(relinked(data, 2, links[back_to]))
    with open_stack(path) as clip:
        assert clip.count is None
    frames, cause = until_error(path)
    np.testing.assert_array_equal([f.values for f in frames], PAGES[:3])
    assert cause.startswith("page 4 is damaged")
    assert "without end" in cause


def test_a_stack_cut_in_its_middle_gives_the_pages_before(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    data = pages_of(path, *PAGES)
    links = [link.offset for link in directory.chain(io.BytesIO(data))]
    path.write_bytes(data[: links[3] + 20])
    assert is_stack(io.BytesIO(path.read_bytes()))
    frames, cause = until_error(path)
    np.testing.assert_array_equal([f.values for f in frames], PAGES[:3])
    assert cause == "page 4 is truncated"
    # tifffile writes a page's directory before its pixels.
    path.write_bytes(data[: links[4] - 100])
    frames, cause = until_error(path)
    assert len(frames) == 3
    assert cause == "page 4 is truncated"


@pytest.mark.parametrize("options", [{}, {"imagej": True}])
def test_hidden_frames_that_are_cut_off_are_missed(options: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    data = stacked(PAGES, truncate=True, **options)
    path.write_bytes(data[: len(data) - 2 * PAGES[0].nbytes - 1])
    assert is_stack(io.BytesIO(path.read_bytes()))
    frames, cause = until_error(path)
    np.testing.assert_array_equal([f.values for f in frames], PAGES[:2])
    assert cause == "page 3 of 5 is truncated"


def test_a_picture_that_kept_its_stacks_description_is_one_picture() -> None:
    data = stacked(PAGES, imagej=True, truncate=True)
    alone = data[: len(data) - 4 * PAGES[0].nbytes]
    assert not is_stack(io.BytesIO(alone))
    np.testing.assert_array_equal(decode(alone, "x").values, PAGES[0])


def test_a_file_without_pages_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    for data in (b"II*\0" + bytes(12), b"II*\0" + bytes((200, 0, 0, 0)), b"junk", b""):
        path.write_bytes(data)
        with pytest.raises(PictureError) as caught, open_stack(path):
            pass
        assert caught.value.file == path
    with pytest.raises(PictureError, match="no such file"), open_stack(tmp_path / "absent.tif"):
        pass


@pytest.mark.parametrize("field", [(256, 257), (322, 323)])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_page_of_a_huge_size_takes_no_memory(
    field: tuple[int, int], compression: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "x.tif"
    own = {"tile": (16, 16), "compression": compression}
    data = bytearray(pages_of(path, GREY16, GREY16, options=[{}, own]))
    at = list(directory.chain(io.BytesIO(data)))[1].offset
    for place in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], 12):
        if struct.unpack_from("<H", data, place)[0] in field:
            struct.pack_into("<HII", data, place + 2, 4, 1, 10**9)
    path.write_bytes(data)
    tracemalloc.start()
    try:
        frames, cause = until_error(path)
        assert tracemalloc.get_traced_memory()[1] < 20e6
        assert len(frames) == 1
        assert cause.startswith("page 2 of 2 is 1000000000x1000000000")
        if field == (322, 323):
            _, cause = until_error(path, max_pixels=10**19)
            assert "truncated" in cause
            assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_a_large_tile_in_a_few_bytes_is_refused(tmp_path: Path) -> None:
    data = bytearray(stacked(GREY16, tile=(32, 48), compression="deflate", metadata=None))
    at = struct.unpack_from("<I", data, 4)[0]
    for place in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], 12):
        if struct.unpack_from("<H", data, place)[0] in (322, 323):
            struct.pack_into("<HII", data, place + 2, 4, 1, 16000)
    with pytest.raises(PictureError, match="declares 512000000 bytes"):
        decode(bytes(data), "x")


# --- writing --------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", tiff.COMPRESSIONS)
def test_every_compression_is_lossless_and_predicts_what_it_can(
    compression: str, tmp_path: Path
) -> None:
    arrays = [GREY8, GREY16, GREY16.astype(np.int16), CELSIUS, CELSIUS.astype(np.float64)]
    tiled = Storage((32, 16))
    frames = [frame(a, storage=s) for a in arrays for s in (None, tiled)]
    path = tmp_path / "x.tif"
    stored(path, *frames, compression=compression)
    code = {"deflate": 8, "lzw": 5, "zstd": 50000, "none": 1}[compression]
    with tifffile.TiffFile(path) as seen:
        assert len(seen.pages) == len(frames)
        for page, one in zip(seen.pages, frames, strict=True):
            assert isinstance(page, tifffile.TiffPage)
            np.testing.assert_array_equal(page.asarray(), one.values)
            assert page.asarray().dtype == one.dtype
            assert page.compression == code
            predictor = 1 if compression == "none" else 3 if one.dtype.kind == "f" else 2
            assert page.predictor == predictor
            assert page.is_tiled == (one.metadata.storage is not None)
    for got, one in zip(loaded(path), frames, strict=True):
        assert got.metadata == one.metadata
        np.testing.assert_array_equal(got.values, one.values)


@pytest.mark.parametrize("compression", ["deflate", "lzw", "none"])
@pytest.mark.parametrize("big", [False, True])
def test_pillow_reads_the_same_pages(compression: str, big: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    arrays = [GREY8, GREY16, CELSIUS, GREY8[:7]]
    storages = [None, Storage((16, 48)), Storage((32, 16)), None]
    frames = [
        frame(a, storage=replace(s or Storage(), big=big))
        for a, s in zip(arrays, storages, strict=True)
    ]
    stored(path, *frames, compression=compression)
    with Image.open(path) as seen:
        assert getattr(seen, "n_frames", 1) == 4
        for k, array in enumerate(arrays):
            seen.seek(k)
            np.testing.assert_array_equal(np.asarray(seen), array)


def test_every_page_keeps_its_own_tags_bit_for_bit(exif_block: bytes, tmp_path: Path) -> None:
    source, target = tmp_path / "source.tif", tmp_path / "target.tif"
    options = [
        {
            "description": f"page {k}",
            "resolution": (10 + k, 20),
            "iccprofile": bytes(16) + b"GRAY" + bytes([k] * 9),
            "extratags": [
                (33550, "d", 3, (0.5 + k, 0.25, 0.0), True),
                (33922, "d", 6, (3.0, 5.0, 0.0, 500000.0 + k, 4600000.0, 0.0), True),
                (34735, "H", 4 + 4 * k, (1, 1, 0, k, *([1024, 0, 1, 1] * k)), True),
                (42113, "s", 0, f"-{k}.50", True),
                (65001, 7, 3 + 9 * k, bytes([k]) * (3 + 9 * k), True),
                (700, 1, 7, b"<xmp %d>" % k, True),
                (272, "s", 0, f"camera {k}", True),
            ],
        }
        for k in range(4)
    ]
    pages_of(source, *PAGES[:4], options=options)
    frames = loaded(source)
    frames[2] = replace(frames[2], metadata=replace(frames[2].metadata, exif=exif_block))
    stored(target, *frames)
    before, after = source.read_bytes(), target.read_bytes()
    links = [list(directory.chain(io.BytesIO(data))) for data in (before, after)]
    for k, (one, two) in enumerate(zip(*links, strict=True)):
        tags = {t.code: t for t in directory.read_file(io.BytesIO(after), offset=two.offset)}
        for tag in directory.read_file(io.BytesIO(before), offset=one.offset):
            if tag.code in (270, 272, 33550, 33922, 34735, 42113, 65001, 700, 34675, 282, 283):
                assert k == 2 or tags[tag.code] == tag, tag.code
    with tifffile.TiffFile(target) as seen:
        for k, page in enumerate(seen.pages):
            assert isinstance(page, tifffile.TiffPage)
            assert page.tags[33922].value[3] == 500000.0 + k
            assert page.tags[42113].value == f"-{k}.50"
            assert page.tags[270].value == f"page {k}"
            assert (34853 in page.tags) == (k == 2)
            assert k == 2 or page.tags[272].value == f"camera {k}"
            np.testing.assert_array_equal(page.asarray(), PAGES[k])
        assert seen.pages[2].tags[34665].value["ExposureTime"] == 0.5
    again = tmp_path / "again.tif"
    stored(again, *loaded(target))
    assert again.read_bytes() == after


def test_a_big_source_makes_a_big_stack(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    wide = [(65010, 16, 2, (7, 2**40), True)]
    source = stacked(PAGES[0], bigtiff=True, metadata=None, extratags=wide)
    one = decode(source, "x")
    assert stored(path, one, frame(GREY8))[:4] == b"II+\0"
    with tifffile.TiffFile(path) as seen:
        assert seen.pages[0].tags[65010].value == (7, 2**40)
        np.testing.assert_array_equal(seen.pages[1].asarray(), GREY8)
    assert [f.metadata.storage for f in loaded(path)] == [Storage(big=True)] * 2


@pytest.mark.parametrize("compression", ["deflate", "none"])
@pytest.mark.parametrize("pages", [1, 3, 4])
def test_a_stack_that_outgrows_four_gigabytes_turns_big_and_keeps_all(
    compression: str,
    pages: int,
    exif_block: bytes,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    options = {"resolution": Resolution(7, 9, "inch"), "description": "roof", "exif": exif_block}
    frames = [frame(page, **options, storage=Storage((16, 16))) for page in PAGES]
    classic, path = tmp_path / "classic.tif", tmp_path / "big.tif"
    assert stored(classic, *frames, compression=compression)[:4] == b"II*\0"
    most = tiff.most_bytes(PAGES[0], frames[0].metadata, compression)
    begun = len(stored(path, *frames[:pages], compression=compression))
    monkeypatch.setattr(tiff, "BIG_BYTES", begun + most - 1)
    widened, widen = [], planting.widen

    def counting(stream: BinaryIO) -> int:
        widened.append(stream.tell())
        return widen(stream)

    monkeypatch.setattr(planting, "widen", counting)
    assert stored(path, *frames, compression=compression)[:4] == b"II+\0"
    assert widened == [begun]
    with tifffile.TiffFile(path) as seen:
        np.testing.assert_array_equal([page.asarray() for page in seen.pages], PAGES)
        assert seen.pages[0].tags[34665].value["ExposureTime"] == 0.5
        assert seen.pages[4].tags[34853].value["GPSLatitudeRef"] == "N"
    for got, one in zip(loaded(path), loaded(classic), strict=True):
        assert got.metadata == replace(one.metadata, storage=Storage((16, 16), big=True))
        np.testing.assert_array_equal(got.values, one.values)


def test_a_stack_that_failed_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"

    def failing() -> Iterator[Frame]:
        yield frame(GREY8)
        raise PictureError("is damaged")

    def fed() -> None:
        with create_stack(path) as writer:
            for one in failing():
                writer.add(one)

    with pytest.raises(PictureError, match="is damaged"):
        fed()
    with pytest.raises(OutputError, match="no picture"):
        stored(path)
    with pytest.raises(OutputError, match="cannot be written"):
        stored(tmp_path / "absent" / "x.tif", frame(GREY8))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(stream: BinaryIO, *args: Any, **options: Any) -> None:
        stream.write(b"half a page")
        raise OSError(28, "No space left on device")

    path = tmp_path / "x.tif"
    with create_stack(path) as writer:
        for one in (frame(GREY8), frame(GREY16)):
            with monkeypatch.context() as patch:
                patch.setattr(tifffile, "imwrite", full)
                with pytest.raises(OutputError, match="No space left") as caught:
                    writer.add(one)
            assert caught.value.file == path
            writer.add(one)
    whole = path.read_bytes()
    assert stored(path, frame(GREY8), frame(GREY16)) == whole
    assert [f.dtype.name for f in loaded(path)] == ["uint8", "uint16"]


def test_one_page_at_a_time_is_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    page = frame(RNG.integers(0, 65535, (256, 256), dtype=np.uint16))
    stored(path, page, page)
    loaded(path)  # imports what imports take
    tracemalloc.start()
    try:
        with create_stack(path) as writer:
            for _ in range(300):
                writer.add(page)
        written = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        with open_stack(path) as clip:
            assert clip.count == 300
            assert sum(f.width for f in clip.frames()) == 300 * 256
        read = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert max(written, read) < 20 * page.values.nbytes


def test_radiometry_goes_with_counts_in_words_and_with_degrees_as_a_unit(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    told: dict[str, Any] = {"radiometry": Radiometry("FLIR"), "description": "roof"}
    alone: dict[str, Any] = {"radiometry": Radiometry("FLIR")}
    stored(path, frame(GREY16, **told), frame(CELSIUS, **told), frame(GREY16, **alone))
    counts, degrees, bare = loaded(path)
    assert counts.metadata == Metadata(NO_DENSITY, **told)
    assert bare.metadata == Metadata(NO_DENSITY, **alone)
    assert degrees.metadata.description == "roof"
    assert degrees.metadata.radiometry is None
    with tifffile.TiffFile(path) as seen:
        assert seen.pages[0].tags[270].value.startswith("roof\n")
        assert 42112 not in seen.pages[0].tags
        assert seen.pages[1].tags[42112].value == (
            '<GDALMetadata><Item name="UNITTYPE" sample="0" role="unittype">degC</Item>'
            "</GDALMetadata>"
        )


def test_radiometry_stands_behind_the_words_of_exif(tmp_path: Path) -> None:
    text = b"north roof\0"
    words = directory.build_block([directory.Tag(270, 2, len(text), text)])
    stored(tmp_path / "x.tif", frame(GREY16, radiometry=Radiometry("DJI"), exif=words))
    back = loaded(tmp_path / "x.tif")[0].metadata
    assert back.radiometry == Radiometry("DJI")
    assert back.description == "north roof"


def test_a_unit_that_is_told_already_is_kept(tmp_path: Path) -> None:
    own = "<GDALMetadata><Item name='unit'>C</Item></GDALMetadata>"
    data = stacked(CELSIUS, metadata=None, extratags=[(42112, "s", 0, own, True)])
    one = decode(data, "x")
    one = replace(one, metadata=replace(one.metadata, radiometry=Radiometry("FLIR")))
    stored(tmp_path / "x.tif", one)
    with tifffile.TiffFile(tmp_path / "x.tif") as seen:
        assert seen.pages[0].tags[42112].value == own


PAGE = st.tuples(
    st.sampled_from(["uint8", "uint16", "int16", "float32", "float64"]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([None, (16, 16), (32, 16), (17, 16)]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(PAGE, min_size=1, max_size=5), st.booleans(), st.sampled_from(tiff.COMPRESSIONS))
def test_any_pages_come_back_as_they_were(pages: list[Any], big: bool, compression: str) -> None:
    rng = np.random.default_rng(len(pages))
    frames = [
        frame(rng.integers(0, 256, (h, w)).astype(dtype), storage=Storage(tile, big))
        for dtype, h, w, tile in pages
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.tif"
        stored(path, *frames, compression=compression)
        with path.open("rb") as stream:
            assert is_stack(stream) == (len(pages) > 1)
        back = loaded(path)
        with tifffile.TiffFile(path) as seen:
            assert seen.is_bigtiff == big
            arrays = [page.asarray() for page in seen.pages]
    for array, got, one in zip(arrays, back, frames, strict=True):
        assert one.metadata.storage is not None
        tile = one.metadata.storage.tile
        kept = Storage(None if tile == (17, 16) else tile, big)
        assert got.metadata.storage == (kept if kept != Storage() else None)
        assert got.dtype == one.dtype == array.dtype
        np.testing.assert_array_equal(got.values, one.values)
        np.testing.assert_array_equal(array, one.values)
