"""How a TIFF stores its pixels: compression, tiles and the size of its offsets."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
import tifffile

from deal_cli.imaging.files import decode, encode
from deal_cli.imaging.formats import directory, planting, tiff
from deal_cli.imaging.formats.directory import Tag
from deal_cli.imaging.frame import Frame, Metadata, Storage
from deal_cli.imaging.resize import enlarge

RNG = np.random.default_rng(41)
GREY16 = RNG.integers(6000, 12000, (37, 53), dtype=np.uint16)
NOISE = RNG.integers(0, 2**16, (100, 130), dtype=np.uint16)


def written(array: np.ndarray, metadata: Metadata | None = None, **options: Any) -> bytes:
    stream = io.BytesIO()
    tiff.write(array, metadata or Metadata(), stream, **options)
    return stream.getvalue()


def tiled(side: tuple[int, int], big: bool = False) -> Metadata:
    return Metadata(storage=Storage(side, big))


def page_of(data: bytes) -> tifffile.TiffPage:
    with tifffile.TiffFile(io.BytesIO(data)) as seen:
        page = seen.pages.first
        np.testing.assert_array_equal(page.asarray(), decode(data, "x").values)
        return page


@pytest.mark.parametrize(
    ("compression", "code", "predictor"),
    [("deflate", 8, 2), ("lzw", 5, 2), ("zstd", 50000, 2), ("none", 1, 1)],
)
@pytest.mark.parametrize("metadata", [Metadata(), tiled((16, 32)), tiled((64, 64), big=True)])
def test_a_compression_is_the_one_asked_for(
    compression: str, code: int, predictor: int, metadata: Metadata
) -> None:
    data = written(GREY16, metadata, compression=compression)
    page = page_of(data)
    assert (page.compression, page.predictor) == (code, predictor)
    assert decode(data, "x").metadata.storage == metadata.storage
    np.testing.assert_array_equal(decode(data, "x").values, GREY16)


def test_deflate_is_what_is_written_unasked() -> None:
    assert tiff.DEFAULT_COMPRESSION in tiff.COMPRESSIONS
    assert written(GREY16) == written(GREY16, compression="deflate")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("tile", [None, (16, 16), (48, 32), (256, 256)])
def test_tiles_and_offsets_are_those_of_the_source(
    order: Any, big: bool, tile: tuple[int, int] | None
) -> None:
    stream = io.BytesIO()
    tifffile.imwrite(stream, GREY16, byteorder=order, bigtiff=big, tile=tile, metadata=None)
    frame = decode(stream.getvalue(), "x")
    for one in (frame, enlarge(frame, 2)):
        data = encode(one, ".tif")
        page = page_of(data)
        assert page.is_tiled == (tile is not None)
        assert tile is None or (page.tilelength, page.tilewidth) == tile
        assert data[:4] == (b"II+\0" if big else b"II*\0")


@pytest.mark.parametrize("tile", [(17, 16), (16, 8), (0, 16), (2**16, 2**16)])
def test_tiles_that_would_be_against_the_standard_or_sense_become_strips(
    tile: tuple[int, int],
) -> None:
    data = written(GREY16, tiled(tile))
    assert not page_of(data).is_tiled
    assert len(data) < 2 * GREY16.nbytes


@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_other_formats_pass_the_storage_over(suffix: str) -> None:
    frame = Frame(GREY16.astype(np.float32), GREY16.dtype, tiled((16, 16), big=True))
    plain = Frame(frame.values, frame.dtype)
    assert encode(frame, suffix) == encode(plain, suffix)
    assert decode(encode(frame, suffix), "x").metadata.storage is None


@pytest.mark.parametrize("compression", tiff.COMPRESSIONS)
@pytest.mark.parametrize("array", [NOISE, NOISE.astype(np.uint8), NOISE[:1, :1], NOISE[:, :1]])
@pytest.mark.parametrize("tile", [None, (16, 16), (128, 64)])
def test_no_page_takes_more_than_is_reckoned_with(
    compression: str, array: np.ndarray, tile: tuple[int, int] | None
) -> None:
    metadata = Metadata(
        xmp=bytes(5000), icc_profile=bytes(7000), description="x" * 9000, storage=Storage(tile)
    )
    size = len(written(array, metadata, compression=compression))
    assert size <= tiff.most_bytes(array, metadata, compression)


def test_a_planted_page_behind_another_is_found_with_all_its_tags() -> None:
    stream = io.BytesIO()
    first = [Tag(65000, 7, 9, b"nine bits"), Tag(65001, 3, 1, b"\7\0")]
    second = [Tag(65000, 7, 2, b"no"), Tag(65002, 16, 1, struct.pack("<Q", 5))]
    tifffile.imwrite(stream, GREY16, metadata=None, byteorder="<")
    link = planting.plant(stream, first)
    start = stream.seek(0, io.SEEK_END)
    tifffile.imwrite(stream, NOISE, metadata=None, byteorder="<", rowsperstrip=9)
    planting.plant(stream, second, start=start, link=link)
    planting.widen(stream)
    stream.seek(0)
    with tifffile.TiffFile(stream) as seen:
        assert seen.is_bigtiff
        pages = list(seen.pages)
        assert [len(page.dataoffsets) for page in pages] == [1, 12]
        np.testing.assert_array_equal(pages[0].asarray(), GREY16)
        np.testing.assert_array_equal(pages[1].asarray(), NOISE)
    links = list(directory.chain(stream))
    told = [{t.code: t for t in directory.read_file(stream, offset=k.offset)} for k in links]
    assert [told[0][t.code] for t in first] == first
    # It was a classic page once.
    assert told[1][65002] == Tag(65002, 4, 1, struct.pack("<I", 5))
