"""What only a TIFF holds goes from TIFF to TIFF, as tifffile reads it."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tifffile

from deal_cli.errors import PictureError
from deal_cli.imaging.files import decode, encode
from deal_cli.imaging.formats import directory, tiff
from deal_cli.imaging.frame import Frame, Metadata
from deal_cli.imaging.resize import enlarge

RNG = np.random.default_rng(5)
GREY16 = RNG.integers(6000, 12000, (24, 40), dtype=np.uint16)
PIXEL_SCALE, TIEPOINTS, TRANSFORMATION, KEYS, RPC, NODATA = 33550, 33922, 34264, 34735, 50844, 42113

AREA_KEYS = (1, 1, 0, 2, 1024, 0, 1, 1, 1025, 0, 1, 1)
POINT_KEYS = (1, 1, 0, 2, 1024, 0, 1, 1, 1025, 0, 1, 2)
PLACE = [
    (PIXEL_SCALE, "d", 3, (0.5, 0.25, 0.0), True),
    (TIEPOINTS, "d", 6, (3.0, 5.0, 0.0, 500000.0, 4600000.0, 0.0), True),
    (KEYS, "H", 12, AREA_KEYS, True),
    (34736, "d", 1, 6378137.0, True),
    (34737, "s", 0, "WGS 84 / UTM zone 30N|", True),
    (42112, "s", 0, "<GDALMetadata><Item name='unit'>C</Item></GDALMetadata>", True),
    (NODATA, "s", 0, "-9999", True),
    (33723, 7, 9, b"\x1c\x02\x00\x00\x02\x00\x02hi", True),
    (65000, "H", 3, (1, 2, 65535), True),
    (65001, 7, 7, b"\x01private", True),
    (65002, 11, 2, (1.5, -2.5), True),
    (65003, 9, 1, -7, True),
]


def written(array: np.ndarray = GREY16, tags: Any = PLACE, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, metadata=None, extratags=tags, **options)
    return stream.getvalue()


def tags_of(data: bytes) -> dict[int, Any]:
    with tifffile.TiffFile(io.BytesIO(data)) as seen:
        return {tag.code: (tag.dtype, tag.count, tag.value) for tag in seen.pages.first.tags}


def through(data: bytes, scale: int = 1) -> dict[int, Any]:
    return tags_of(encode(enlarge(decode(data, "x"), scale), ".tif"))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_georeferences_and_private_tags_survive_with_their_types(order: str, big: bool) -> None:
    data = written(byteorder=order, bigtiff=big)
    before, after = tags_of(data), through(data)
    for code in [row[0] for row in PLACE]:
        assert after[code] == before[code], code


def test_a_second_passage_changes_nothing() -> None:
    once = encode(decode(written(), "x"), ".tif")
    assert encode(decode(once, "x"), ".tif") == once


@pytest.mark.parametrize("kind", [7, "I"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_iptc_keeps_its_bytes_whatever_they_are_declared_as(kind: Any, order: str) -> None:
    record = b"\x1c\x02\x05\x00\x04roof\x00\x00\x00"
    numbers = struct.unpack(order + "3I", record)
    tag = (33723, 7, 12, record, True) if kind == 7 else (33723, "I", 3, numbers, True)
    assert through(written(tags=[tag], byteorder=order))[33723][2] == record


def raw_tags(data: bytes, page: int = 0) -> dict[int, tuple[int, int, bytes]]:
    """Type, count and little-endian bytes of every tag, found by tifffile and by nobody else."""
    words = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 16: 8, 17: 8}
    with tifffile.TiffFile(io.BytesIO(data)) as seen:
        found = {}
        for tag in seen.pages[page].tags:
            assert tag.valuebytecount is not None
            raw = data[tag.valueoffset : tag.valueoffset + tag.valuebytecount]
            if seen.byteorder == ">" and tag.dtype in words:
                word = words[tag.dtype]
                raw = b"".join(raw[k : k + word][::-1] for k in range(0, len(raw), word))
            found[tag.code] = (int(tag.dtype), tag.count, raw)
    return found


ALL_KEYS = (
    *(1, 1, 1, 8, 1024, 0, 1, 1, 1025, 0, 1, 2, 1026, 34737, 22, 0, 2048, 0, 1, 4326),
    *(2057, 34736, 1, 0, 2059, 34736, 1, 1, 3072, 0, 1, 32630, 3076, 0, 1, 9001),
)
EVERYTHING = [
    *(row for row in PLACE if row[0] not in (KEYS, 34736, NODATA)),
    (KEYS, "H", len(ALL_KEYS), ALL_KEYS, True),
    (34736, "d", 2, (6378137.0, 298.257223563), True),
    (TRANSFORMATION, "d", 16, tuple(0.1 * k for k in range(16)), True),
    (RPC, "d", 92, tuple(np.random.default_rng(2).normal(size=92)), True),
    (NODATA, "s", 0, "-9999.0000000000000 ", True),
    (50708, "s", 0, "Altum", True),
    (65004, 6, 3, (-1, 2, -128), True),
    (65005, 8, 2, (-300, 300), True),
    (65006, 5, 2, (1, 3, 7, 11), True),
    (65007, 10, 1, (-1, 3), True),
    (65008, 12, 3, (float("nan"), float("-inf"), -0.0), True),
    (65009, "s", 0, b"latin \xe9", True),
]
WIDE = [(65010, 16, 2, (7, 2**40), True), (65011, 17, 1, -(2**40), True)]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("tile", [None, (32, 16)])
@pytest.mark.parametrize("dtype", ["uint16", "float32", "float64"])
def test_every_carried_tag_comes_back_bit_for_bit(
    order: str, big: bool, tile: tuple[int, int] | None, dtype: str
) -> None:
    tags = [*EVERYTHING, *(WIDE if big else [])]
    data = written(GREY16.astype(dtype), tags, byteorder=order, bigtiff=big, tile=tile)
    once = encode(decode(data, "x"), ".tif")
    assert once[:4] == (b"II+\0" if big else b"II*\0")
    before, after = raw_tags(data), raw_tags(once)
    for code in [row[0] for row in tags]:
        assert after[code] == before[code], code
    ours = {t.code: (t.kind, t.count, t.data) for t in directory.read_file(io.BytesIO(once))}
    assert {code: ours[code] for code in after} == after
    with tifffile.TiffFile(io.BytesIO(once)) as seen:
        page = seen.pages.first
        assert (page.tile if page.is_tiled else None) == tile
        np.testing.assert_array_equal(page.asarray(), GREY16.astype(dtype))
    assert encode(decode(once, "x"), ".tif") == once


def test_nodata_that_a_step_changed_is_what_is_written() -> None:
    frame = decode(written(), "x")
    for number, text in ((float("nan"), "nan"), (-1.5, "-1.5"), (None, None)):
        changed = replace(frame, metadata=replace(frame.metadata, nodata=number))
        tag = tags_of(encode(changed, ".tif")).get(NODATA)
        assert (tag and tag[2]) == text


def test_layout_and_stale_tags_are_the_written_files_own() -> None:
    stale = [
        (280, "H", 1, 6000, True),
        (281, "H", 1, 12000, True),
        (291, "H", 4, (1, 2, 3, 4), True),
        (340, "H", 1, 6000, True),
        (37724, 7, 4, b"8BIM", True),
        (50706, "B", 4, (1, 4, 0, 0), True),
        (50838, "I", 1, 9, True),
        (32997, "I", 1, 1, True),
    ]
    data = written(tags=stale, tile=(16, 32), compression="lzw", predictor=True)
    after = through(data, 2)
    assert not set(after) & {273, 278, 279, *(tag[0] for tag in stale)}
    assert (after[259][2], after[256][2], after[257][2]) == (8, 80, 48)
    assert (after[323][2], after[322][2]) == (16, 32)


def test_a_camera_named_by_dng_tags_is_still_named() -> None:
    tags = [(50708, "s", 0, "Altum", True), (50714, "H", 1, 4096, True)]
    after = through(written(tags=tags))
    assert after[50708][2] == "Altum"
    assert after[50714][2] == 4096


def test_previews_and_density_in_photoshops_resources_are_left_out() -> None:
    def resource(code: int, data: bytes) -> bytes:
        return b"8BIM" + struct.pack(">HHI", code, 0, len(data)) + data + bytes(len(data) % 2)

    iptc = resource(0x0404, b"\x1c\x02\x05\x00\x04roof")
    whole = resource(0x040C, b"preview") + iptc + resource(0x03ED, bytes(16))
    after = through(written(tags=[(34377, 7, len(whole), whole, True)]))
    assert after[34377][2] == iptc


@pytest.mark.parametrize("scale", [2, 4])
def test_an_enlarged_picture_lies_where_it_lay(scale: int) -> None:
    after = through(written(), scale)
    assert after[PIXEL_SCALE][2] == (0.5 / scale, 0.25 / scale, 0.0)
    assert after[TIEPOINTS][2] == (3.0 * scale, 5.0 * scale, 0.0, 500000.0, 4600000.0, 0.0)


def place(tags: dict[int, Any], x: float, y: float, point: bool) -> np.ndarray:
    """Where the corner-based pixel coordinates lie, by the GeoTIFF standard's own definition."""
    u, v = (x - 0.5, y - 0.5) if point else (x, y)
    if TRANSFORMATION in tags:
        matrix = np.array(tags[TRANSFORMATION][2]).reshape(4, 4)
        return (matrix @ [u, v, 0, 1])[:2]
    i, j, _, east, north, _ = tags[TIEPOINTS][2]
    step_x, step_y, _ = tags[PIXEL_SCALE][2]
    return np.array([east + (u - i) * step_x, north - (v - j) * step_y])


@pytest.mark.parametrize("point", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("scale", [2, 4])
def test_every_corner_of_the_map_stays(point: bool, affine: bool, scale: int) -> None:
    matrix = (0.5, 0.1, 0, 500000.0, 0.2, -0.25, 0, 4600000.0, 0, 0, 0, 0, 0, 0, 0, 1)
    keys = (KEYS, "H", 12, POINT_KEYS if point else AREA_KEYS, True)
    tags = [(TRANSFORMATION, "d", 16, matrix, True)] if affine else PLACE[:2]
    data = written(tags=[*tags, keys])
    before, after = tags_of(data), through(data, scale)
    for x, y in ((0, 0), (40, 0), (0, 24), (40, 24), (7.5, 3.25)):
        there = place(after, x * scale, y * scale, point)
        np.testing.assert_allclose(there, place(before, x, y, point), rtol=0, atol=1e-9)


def test_rational_polynomials_follow_the_pixels() -> None:
    numbers = [0.0, 0.0, 11.5, 19.5, 45.0, 7.0, 100.0, 12.0, 20.0, *([0.25] * 83)]
    after = through(written(tags=[(RPC, "d", 92, tuple(numbers), True)]), 2)[RPC][2]
    assert after[2:4] == (23.5, 39.5)  # the centre of the picture before and after
    assert after[7:9] == (24.0, 40.0)
    assert after[9:] == tuple(numbers[9:])


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("-9999", -9999.0),
        ("-3.4028235e+38", float(np.finfo(np.float32).min)),
        ("0", 0.0),
        (" -32768.0 ", -32768.0),
        ("nan", float("nan")),
        ("-1.#QNAN", float("nan")),
        ("none", None),
        ("", None),
    ],
)
def test_the_nodata_tag_is_understood(text: str, number: float | None) -> None:
    frame = decode(written(tags=[(NODATA, "s", 0, text, True)]), "x")
    if number is None or np.isnan(number):
        assert str(frame.metadata.nodata) == str(number)
    else:
        assert frame.metadata.nodata is not None
        assert np.float32(frame.metadata.nodata) == np.float32(number)
    again = decode(encode(frame, ".tif"), "x")
    assert again.metadata == frame.metadata


@pytest.mark.parametrize("absent", [-1.7976931348623157e308, -9999.1, -3.4028234663852886e38])
def test_nodata_of_float64_comes_back_to_the_last_bit(absent: float) -> None:
    degrees = RNG.normal(20, 5, (8, 9))
    degrees[2:4, 3:6] = absent
    data = written(degrees, [(NODATA, "s", 0, repr(absent), True)])
    back = tifffile.imread(io.BytesIO(encode(decode(data, "x"), ".tif")))
    assert back.dtype == np.float64
    assert (back[2:4, 3:6] == absent).all()
    assert ((back == absent) == (degrees == absent)).all()


def test_nodata_of_inverted_grey_is_turned_over_with_the_pixels() -> None:
    grey = RNG.integers(1, 255, (8, 9)).astype(np.uint8)
    grey[0, 0] = 0
    data = written(grey, [(NODATA, "s", 0, "0", True)], photometric="miniswhite")
    frame = decode(data, "x")
    assert frame.values[0, 0] == frame.metadata.nodata == 255
    assert through(data)[NODATA][2] == "255"


def test_enlarging_leaves_nodata_as_blocks() -> None:
    degrees = np.full((6, 6), 20.0, np.float32)
    degrees[2, 3] = -9999
    frame = decode(written(degrees, [(NODATA, "s", 0, "-9999", True)]), "x")
    large = enlarge(frame, 2).values
    assert (large[4:6, 6:8] == -9999).all()
    assert (large == -9999).sum() == 4
    assert large[large != -9999].tolist() == pytest.approx([20.0] * 140)


def test_what_the_metadata_hold_is_written_once_and_exif_beside_it(exif_block: bytes) -> None:
    frame = decode(written(description="roof", resolution=(10, 20)), "x")
    frame = replace(frame, metadata=replace(frame.metadata, exif=exif_block))
    data = encode(frame, ".tif")
    with tifffile.TiffFile(io.BytesIO(data)) as seen:
        tags = seen.pages.first.tags
        codes = [tag.code for tag in tags]
        assert codes == sorted(set(codes))
        assert tags[270].value == "roof"
        assert tags[271].value == "FLIR"
        assert tags[34665].value["ExposureTime"] == 0.5
        assert tags[34853].value["GPSLatitudeRef"] == "N"
        assert tags[TIEPOINTS].value[3] == 500000.0


def test_a_large_result_is_a_big_tiff_with_all_its_tags(
    monkeypatch: pytest.MonkeyPatch, exif_block: bytes
) -> None:
    monkeypatch.setattr(tiff, "BIG_BYTES", GREY16.nbytes - 1)
    data = written(resolution=(10, 20), description="roof")
    frame = decode(data, "x")
    frame = replace(frame, metadata=replace(frame.metadata, exif=exif_block))
    big = encode(frame, ".tif")
    assert big[:4] == b"II+\0"
    before, after = tags_of(data), tags_of(big)
    assert {code: after[code] for code, *_ in PLACE} == {code: before[code] for code, *_ in PLACE}
    assert after[34665][2]["ExposureTime"] == 0.5
    again = decode(big, "x")
    np.testing.assert_array_equal(again.values, GREY16)
    assert again.metadata == decode(encode(again, ".tif"), "x").metadata
    for cut in range(len(big) - 60, len(big)):
        with pytest.raises(PictureError):
            decode(big[:cut], "x")
    monkeypatch.setattr(tiff, "BIG_BYTES", 2**40)
    assert encode(again, ".tif")[:4] == b"II+\0"  # as its source was
    small = replace(again, metadata=replace(again.metadata, storage=None))
    assert encode(small, ".tif")[:4] == b"II*\0"


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"junk",
        b"II*\0",
        b"II*\0\x08\0\0\0\xff\xff",
        b"II*\0\xff\0\0\0",
        b"MM\0*\0\0\0\x08\0\1",
    ],
)
def test_a_malformed_native_block_does_not_stop_a_picture(block: bytes) -> None:
    metadata = Metadata(native=("tiff", block), exif=block)
    frame = Frame(GREY16.astype(np.float32), GREY16.dtype, metadata)
    for seen in (frame, enlarge(frame, 2)):
        assert decode(encode(seen, ".tif"), "x").values.shape == seen.values.shape


def with_entry(data: bytes, code: int, entry: bytes) -> bytes:
    """A little-endian classic TIFF with the type, count and value of a tag's entry replaced."""
    patched = bytearray(data)
    at = struct.unpack_from("<I", data, 4)[0]
    for place in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], 12):
        if struct.unpack_from("<H", data, place)[0] == code:
            patched[place + 2 : place + 12] = entry
    return bytes(patched)


@pytest.mark.parametrize(
    ("code", "entry"),
    [
        (282, struct.pack("<HII", 3, 1, 72)),
        (282, struct.pack("<HII", 2, 1, 72)),
        (296, struct.pack("<HII", 99, 1, 72)),
        (34853, struct.pack("<HII", 4, 1, 0xFFFFFF)),
        (34853, struct.pack("<HII", 4, 1, 3)),
        (270, struct.pack("<HII", 1, 2, 7)),
        (PIXEL_SCALE, struct.pack("<HII", 3, 2, 7)),
        (KEYS, struct.pack("<HII", 1, 3, 7)),
        (NODATA, struct.pack("<HII", 4, 1, 7)),
    ],
)
def test_a_malformed_tag_is_left_out_and_the_picture_read(code: int, entry: bytes) -> None:
    place = [*PLACE, (34853, "I", 1, 8, True)]
    data = with_entry(written(tags=place, description="x", resolution=(7, 7)), code, entry)
    frame = enlarge(decode(data, "x"), 2)
    assert decode(encode(frame, ".tif"), "x").values.shape == (48, 80)


def test_overlapping_tags_do_not_fill_the_memory() -> None:
    data = written(tags=[(65000 + k, 7, 4, b"abcd", True) for k in range(300)])
    for k in range(300):
        data = with_entry(data, 65000 + k, struct.pack("<HII", 7, len(data) - 8, 8))
    frame = decode(data, "x")
    assert frame.metadata.native is None
    np.testing.assert_array_equal(frame.values, GREY16)


def test_tags_of_a_page_behind_its_preview_are_that_pages() -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        make = [(271, "s", 0, "FLIR", True)]
        writer.write(GREY16[::4, ::4], metadata=None, subfiletype=1, extratags=make)
        writer.write(GREY16, metadata=None, extratags=PLACE)
    after = through(stream.getvalue())
    assert after[TIEPOINTS][2][3] == 500000.0
    assert after[271][2] == "FLIR"
    assert 254 not in after or after[254][2] == 0


def test_eight_byte_integers_become_four_byte_ones_in_a_classic_file() -> None:
    tags = [(65010, 16, 2, (7, 8), True), (65011, 17, 1, -3, True), (65012, 16, 1, 2**40, True)]
    frame = decode(written(tags=tags, bigtiff=True), "x")
    frame = replace(frame, metadata=replace(frame.metadata, storage=None))
    after = tags_of(encode(frame, ".tif"))
    assert after[65010] == (4, 2, (7, 8))
    assert after[65011] == (9, 1, -3)
    assert 65012 not in after


def test_other_formats_pass_the_tags_of_a_tiff_over() -> None:
    frame = decode(written(), "x")
    for suffix in (".png", ".npy"):
        back = decode(encode(frame, suffix), "x")
        assert back.metadata.native is None
        np.testing.assert_array_equal(back.values, GREY16)


def test_what_imagej_says_of_its_numbers_is_kept_and_its_layout_is_not() -> None:
    counts = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)
    lines = "ImageJ=1.53t\nimages=1\nunit=mm\ncf=0\nc0=-273.15\nc1=0.01\nvunit=C\nmin=0\n"
    stream = io.BytesIO()
    tifffile.imwrite(stream, counts, description=lines, metadata=None)
    frame = decode(stream.getvalue(), "x")
    with tifffile.TiffFile(io.BytesIO(encode(frame, ".tif"))) as tiff:
        told = tiff.pages.first.description
    kept = ["ImageJ=1.53t", "unit=mm", "cf=0", "c0=-273.15", "c1=0.01", "vunit=C"]
    assert told.splitlines() == kept
    degrees = replace(frame, dtype=np.dtype(np.float32))
    with tifffile.TiffFile(io.BytesIO(encode(degrees, ".tif"))) as tiff:
        assert "c0=" not in tiff.pages.first.description


@pytest.mark.parametrize("code", [51043, 51044, 51058, 51081, 51105, 65000])
def test_tags_of_the_picture_itself_are_kept_among_those_of_its_layout(code: int) -> None:
    stream = io.BytesIO()
    rate = (code, 10, 1, (30, 1), True) if code == 51044 else (code, 2, 0, "abc", True)
    tifffile.imwrite(stream, np.zeros((32, 32), np.uint16), extratags=[rate], metadata=None)
    with tifffile.TiffFile(io.BytesIO(encode(decode(stream.getvalue(), "x"), ".tif"))) as tiff:
        assert code in tiff.pages.first.tags
