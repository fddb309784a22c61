"""Radiometric JPEGs: the counts that come out, whose they are, and the temperatures they mean."""

from __future__ import annotations

import io
import json
import math
import random
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cameras import BLACK_BODY
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from imaging.radiometric_files import (
    camera_record,
    counts,
    dji,
    dji_segments,
    fff,
    flir,
    flir_segments,
    jpeg,
    label,
    plain,
    png,
    raw_record,
    segment,
)
from PIL import Image

from deal_cli.errors import PictureError
from deal_cli.imaging.files import decode, encode, read_frame, write_frame
from deal_cli.imaging.formats.jpeg import maker_of
from deal_cli.imaging.frame import Resolution
from deal_cli.imaging.radiometry.calibration import (
    Planck,
    Radiometry,
    as_description,
    from_description,
)
from deal_cli.imaging.reading import ReadAs

COUNTS = counts()
SIZE = (COUNTS.shape[1], COUNTS.shape[0])
CAMERA = (32, camera_record())
MAKER_NOTE = 0x927C
AIR = (0.006569, 0.01262, -0.002276, -0.00667, 1.9)

#: Constants in the order of `Planck` before those of the air, counts, and the °C that flyr 5.1.0,
#: which shares no line with deal, makes of them.
REFERENCE = [
    (
        (18606.115, 0.028544675, 1477.2, 0.75, -6241, 0.97, 0, 35, 10, 30, 1, 0.87),
        (8478, 10886, 17367, 45704),
        (-15.001, 25.001, 90.003, 250.002),
    ),
    (
        (14018.854, 0.021726726, 1389.5, 0.75, -1735, 0.83, 0, 5, 38, 20, 1, 0.88),
        (4951, 7585, 14345, 42182),
        (-15.003, 24.999, 89.997, 250.001),
    ),
    (
        (19891.529, 0.013990105, 1477.5, 1, -5962, 0.85, 0.5, 5, -10, 10, 1, 0.76),
        (10983, 15578, 27991, 65535),
        (-15.0, 25.0, 90.0, 207.776),
    ),
    (
        (21641.144, 0.014146411, 1376.6, 1.65, -2529, 0.82, 0.5, 5, 10, 20, 0.95, 0.12),
        (10930, 17078, 33011, 65535),
        (-14.997, 25.0, 90.001, 176.732),
    ),
    (
        (16734.16, 0.033394816, 1392.2, 1.65, -3368, 0.93, 40, -20, 22, 10, 0.95, 0.4),
        (5832, 7907, 13326, 37063),
        (-15.005, 24.999, 90.005, 250.0),
    ),
    (
        (15754.578, 0.027410495, 1379.6, 1.65, -6672, 0.67, 2, -20, 22, 20, 1, 0.57),
        (9384, 11332, 16389, 38387),
        (-14.996, 24.993, 89.996, 250.001),
    ),
]

#: The real files: maker, (H, W) as exiftool tells it, and °C in the centre, lowest and highest as
#: flyr 5.1.0 reads them.
REAL: dict[str, tuple[str, tuple[int, int], tuple[float, float, float] | None]] = {
    "01 - 200_deg_neutral.jpg": ("FLIR", (120, 120), (53.9796, 31.6869, 87.3841)),
    "04 - AFCIs_Infrared.jpg": ("FLIR", (60, 80), (12.2810, 4.0252, 17.8723)),
    "12 - IR_moving_mercedes.jpg": ("FLIR", (240, 320), (4.7269, -16.9079, 19.3241)),
    "19 - Termografía.jpg": ("FLIR", (120, 120), (24.6175, 22.2348, 29.2615)),
    "DJI_H20T.JPG": ("DJI", (512, 640), None),
    "DJI_M3T.JPG": ("DJI", (512, 640), None),
    "FLIR_T640.jpg": ("FLIR", (480, 640), (34.4453, 25.4616, 97.8539)),
}


def flir_of(*records: tuple[int, bytes], order: str = ">") -> bytes:
    return jpeg(*flir_segments(fff(records, order)))


def with_parts(order: list[int]) -> bytes:
    """A FLIR file whose block is cut into five parts, of which these are there in this order."""
    parts = flir_segments(fff([CAMERA, (1, plain(COUNTS))]), room=1000)
    assert len(parts) == 5
    return jpeg(*(parts[number] for number in order))


def refused(data: bytes, **options: Any) -> str:
    with pytest.raises(PictureError) as caught:
        decode(data, "x.jpg", ReadAs(**options))
    return str(caught.value)


# Planck's law


def test_a_black_body_next_to_the_lens_is_planck_s_law_alone() -> None:
    # 17000 - 7000 = 10000; 16000 / (0.0125 * 10000) + 1 = 129; 1450 / ln 129 = 298.365 K
    found = BLACK_BODY.celsius(np.array([[17000]], np.float32))
    assert found.dtype == np.float32
    assert found.item() == pytest.approx(298.3654 - 273.15, abs=1e-3)


@pytest.mark.parametrize(("constants", "signal", "celsius"), REFERENCE)
def test_temperatures_are_those_of_an_independent_reader(
    constants: tuple[float, ...], signal: tuple[int, ...], celsius: tuple[float, ...]
) -> None:
    planck = Planck(*constants, *AIR)
    found = planck.celsius(np.array([signal], np.float32))
    np.testing.assert_allclose(found, [celsius], atol=0.002)


@pytest.mark.parametrize(("constants", "signal", "celsius"), REFERENCE)
def test_the_slope_is_that_of_the_temperatures(
    constants: tuple[float, ...], signal: tuple[int, ...], celsius: tuple[float, ...]
) -> None:
    planck = Planck(*constants, *AIR)
    here = np.array([signal], np.float64)
    rise = planck.celsius(here + 20).astype(float) - planck.celsius(here - 20)
    np.testing.assert_allclose(planck.kelvin_per_count(here), rise / 40, rtol=2e-3)


def test_counts_without_a_temperature_become_nan_and_others_do_not() -> None:
    low = np.array([[0, 6999, 7000, np.nan, 7001, 65535]], np.float32)
    for found in (BLACK_BODY.celsius(low), BLACK_BODY.kelvin_per_count(low)):
        assert np.isnan(found).tolist() == [[True, True, True, True, False, False]]
    # Below F = 1 the logarithm is undefined for counts that are too high as well.
    small = replace(BLACK_BODY, f=0.5, r1=160.0)
    assert np.isnan(small.celsius(np.array([[65535]], np.float32))).all()


def test_a_tall_picture_is_converted_like_its_rows() -> None:
    tall = np.random.default_rng(2).uniform(8000, 40000, (700, 3)).astype(np.float32)
    whole = BLACK_BODY.celsius(tall)
    np.testing.assert_array_equal(whole, np.vstack([BLACK_BODY.celsius(r[None]) for r in tall]))


@pytest.mark.parametrize(
    "changed",
    [
        {"emissivity": 0},
        {"emissivity": 1.1},
        {"r1": -1},
        {"b": math.nan},
        {"o": math.inf},
        {"humidity": 50},
        {"distance": -1},
        {"distance": 1e9},
        {"window_transmission": 0},
        {"atmospheric_celsius": -300},
        {"atmospheric_celsius": 1e6},
    ],
)
def test_constants_that_give_no_temperatures_are_no_calibration(changed: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="calibration"):
        replace(BLACK_BODY, **changed)


# JSON and descriptions

NUMBER = st.floats(0.001, 0.999)
CALIBRATIONS = st.builds(
    Planck,
    r1=st.floats(1e3, 1e5),
    r2=NUMBER,
    b=st.floats(1e3, 2e3),
    f=st.floats(0.5, 2),
    o=st.floats(-1e4, 0),
    emissivity=NUMBER,
    distance=st.floats(0, 100),
    reflected_celsius=st.floats(-200, 100),
    atmospheric_celsius=st.floats(-40, 60),
    window_celsius=st.floats(-40, 60),
    window_transmission=NUMBER,
    humidity=NUMBER,
    alpha1=st.just(0.006569),
    alpha2=st.just(0.01262),
    beta1=st.just(-0.002276),
    beta2=st.just(-0.00667),
    x=st.just(1.9),
)
FLIR = Radiometry("FLIR", BLACK_BODY)


@given(planck=CALIBRATIONS | st.none(), words=st.none() | st.text())
def test_radiometry_and_words_come_back_exactly(planck: Planck | None, words: str | None) -> None:
    told = Radiometry("FLIR", planck)
    assert Radiometry.from_json(told.to_json()) == told
    text = as_description(told, words)
    assert from_description(text) == (told, words)
    line = text.rpartition("\n")[2]
    assert line.startswith("deal-radiometry/1 {")
    assert line.isascii()


def told(**changed: Any) -> dict[str, Any]:
    """What the JSON of a calibration tells, with one of the constants changed."""
    told = json.loads(FLIR.to_json())
    told["planck"] |= changed
    return told  # type: ignore[no-any-return]


MALFORMED = [
    "",
    "{",
    "[]",
    "null",
    '"FLIR"',
    "[" * 100_000,
    '{"maker": "FLIR"}',
    '{"maker": "Canon", "planck": null}',
    '{"maker": null, "planck": null}',
    '{"maker": ["FLIR"], "planck": null}',
    '{"maker": "DJI", "maker": "FLIR", "planck": null}',
    '{"maker": "FLIR", "planck": null, "serial": 1}',
    '{"maker": "FLIR", "planck": []}',
    json.dumps(told(extra=1)),
    json.dumps({**told(), "planck": {k: v for k, v in told()["planck"].items() if k != "r1"}}),
    *(json.dumps(told(r1=v)) for v in (None, True, "1", [1], -1, 10**400, math.nan, math.inf)),
    json.dumps(told(r1=0.5)).replace("0.5", "1e999"),
]


@pytest.mark.parametrize("text", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_radiometry_is_refused_and_stays_a_description(text: str) -> None:
    with pytest.raises(ValueError, match="malformed radiometry"):
        Radiometry.from_json(text)
    described = f"roof\ndeal-radiometry/1 {text}"
    assert from_description(described) == (None, described)


@pytest.mark.parametrize("text", ["", "roof", "deal-radiometry/2 {}", "x deal-radiometry/1 {}"])
def test_an_ordinary_description_stays_what_it_is(text: str) -> None:
    assert from_description(text) == (None, text)
    behind = f"{as_description(FLIR, None)}\nroof"
    assert from_description(behind) == (None, behind)


# FLIR


@pytest.mark.parametrize("header", ["<", ">"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packing", ["plain", "png", "swapped png"])
def test_counts_of_flir_are_read_whatever_their_order(
    header: str, order: str, packing: str
) -> None:
    raw = plain(COUNTS, order)
    if packing != "plain":
        raw = raw_record(png(COUNTS, swapped=packing == "swapped png"), SIZE, order)
    frame = decode(flir_of((32, camera_record(order)), (1, raw), order=header), "x")
    assert frame.dtype == np.uint16
    np.testing.assert_array_equal(frame.values, COUNTS)
    assert frame.metadata.radiometry is not None
    assert frame.metadata.radiometry.maker == "FLIR"
    assert frame.metadata.radiometry.planck == Planck(
        *(14861.56, 0.032336067, 1395.6, 1.0, -992.0),
        *(0.95, 2.0, 22.0, 10.0, 21.0, 0.9, 0.45),
        *AIR,
    )


def test_a_flat_png_has_the_order_of_most_cameras() -> None:
    flat = np.full((5, 7), 9001, np.uint16)
    raw = raw_record(png(flat, swapped=True), (7, 5))
    np.testing.assert_array_equal(decode(flir_of((1, raw)), "x").values, flat)


def test_parts_of_a_block_may_come_in_any_order() -> None:
    order = [0, 1, 2, 3, 4]
    for seed in range(5):
        random.Random(seed).shuffle(order)
        np.testing.assert_array_equal(decode(with_parts(order), "x").values, COUNTS)


@pytest.mark.parametrize(
    "order", [[0, 1, 2, 3], [1, 2, 3, 4], [0, 2, 3, 4], [4], [0, 1, 1, 2, 3, 4]]
)
def test_a_block_that_lacks_a_part_is_refused(order: list[int]) -> None:
    assert "lack a part" in refused(with_parts(order))


def test_parts_of_two_blocks_are_refused() -> None:
    longer = flir_segments(fff([CAMERA, (1, plain(COUNTS))]), room=3000)
    shorter = flir_segments(fff([CAMERA, (1, plain(COUNTS))]), room=1000)
    assert "damaged" in refused(jpeg(*shorter[:4], longer[-1]))


def test_without_raw_counts_a_flir_file_names_the_remedy() -> None:
    said = refused(flir_of(CAMERA))
    assert "without the camera's raw counts; copy it from the camera itself" in said
    assert "without" in refused(flir_of())


def test_counts_packed_as_jpeg_are_refused() -> None:
    packed = raw_record(b"\xff\xd8\xff\xf7" + bytes(200), SIZE)
    assert "as JPEG, which deal does not unpack; export" in refused(flir_of(CAMERA, (1, packed)))


EIGHT_BITS = io.BytesIO()
Image.fromarray(COUNTS.astype(np.uint8)).save(EIGHT_BITS, "PNG")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        plain(COUNTS)[:20],
        plain(COUNTS)[:-1],
        raw_record(png(COUNTS, swapped=True), (32, 25)),
        raw_record(png(COUNTS, swapped=True)[:-30], SIZE),
        raw_record(EIGHT_BITS.getvalue(), SIZE),
        raw_record(b"", (0, 24)),
        raw_record(b"", (60000, 60000)),
        raw_record(png(COUNTS, swapped=True), (60000, 1)),
    ],
    ids=range(9),
)
def test_hostile_raw_counts_are_refused(raw: bytes) -> None:
    refused(flir_of(CAMERA, (1, raw)))


def test_more_counts_than_allowed_are_refused_with_the_flag_that_allows_them() -> None:
    for data in (flir(), dji(COUNTS, SIZE)):
        assert "--max-pixels 768" in refused(data, max_pixels=767)
        assert decode(data, "x", ReadAs(max_pixels=768)).values.size == 768


@pytest.mark.parametrize(
    ("at", "number"),
    [(20, 0), (20, 2**31), (24, 2**32 - 1), (24, 4150), (28, 2**32 - 1), (28, 1001), (76, 2**31)],
)
def test_hostile_headers_are_refused(at: int, number: int) -> None:
    block = bytearray(fff([CAMERA, (1, plain(COUNTS))]))
    block[at : at + 4] = number.to_bytes(4, "big")
    assert "damaged" in refused(jpeg(*flir_segments(bytes(block))))


def test_a_header_cut_short_is_refused() -> None:
    for length in range(4, 64, 7):
        cut = fff([CAMERA])[:length]
        assert "damaged" in refused(jpeg(segment(0xE1, b"FLIR\0\1\0\0" + cut)))


@pytest.mark.parametrize(
    "records",
    [
        [(1, plain(COUNTS))],
        [(32, camera_record()[:700]), (1, plain(COUNTS))],
        [(32, camera_record(at32=0.0)), (1, plain(COUNTS))],
        [(32, camera_record(at88=math.nan)), (1, plain(COUNTS))],
    ],
)
def test_counts_are_read_where_the_calibration_is_unusable(
    records: list[tuple[int, bytes]],
) -> None:
    frame = decode(flir_of(*records), "x")
    np.testing.assert_array_equal(frame.values, COUNTS)
    assert frame.metadata.radiometry == Radiometry("FLIR")


def test_humidity_in_percent_and_an_unset_window_are_understood() -> None:
    record = camera_record(at60=45.0, at48=0.0, at52=1.0)
    frame = decode(flir_of((32, record), (1, plain(COUNTS))), "x")
    assert frame.metadata.radiometry is not None
    planck = frame.metadata.radiometry.planck
    assert planck is not None
    assert planck.humidity == 0.45
    same = replace(planck, window_celsius=20.0)
    np.testing.assert_array_equal(planck.celsius(frame.values), same.celsius(frame.values))


# DJI


@pytest.mark.parametrize(
    ("shape", "visible"),
    [
        ((120, 160), (160, 120)),
        ((120, 160), (120, 160)),  # turned by a viewer
        ((120, 160), (320, 240)),  # enlarged by the camera
        ((256, 336), (640, 480)),
        ((30, 40), (40, 30)),  # of an unknown sensor
    ],
)
def test_counts_of_dji_have_the_size_of_the_sensor(
    shape: tuple[int, int], visible: tuple[int, int]
) -> None:
    drawn = counts(*shape)
    frame = decode(dji(drawn, visible), "x")
    assert frame.dtype == np.uint16
    np.testing.assert_array_equal(frame.values, drawn)
    assert frame.metadata.radiometry == Radiometry("DJI")


@pytest.mark.parametrize(
    ("shape", "visible"), [((30, 40), (64, 48)), ((120, 160), (192, 100)), ((121, 160), (160, 120))]
)
def test_counts_of_dji_that_fit_no_size_or_two_are_refused(
    shape: tuple[int, int], visible: tuple[int, int]
) -> None:
    assert "fit no known size" in refused(dji(counts(*shape), visible))


def test_segments_of_others_are_not_taken_for_counts() -> None:
    assert "false colour" in refused(dji(COUNTS, SIZE, make="Canon"))
    assert "false colour" in refused(jpeg(*dji_segments(COUNTS), size=SIZE))
    kodak = segment(0xE3, b"Meta\0\0II*\0")
    assert "false colour" in refused(jpeg(kodak, exif=label("DJI")))
    assert "false colour" in refused(jpeg(exif=label("DJI")))
    assert "false colour" in refused(jpeg(exif=label("FLIR Systems AB")))
    with_both = jpeg(kodak, *dji_segments(COUNTS), size=SIZE, exif=label("DJI"))
    np.testing.assert_array_equal(decode(with_both, "x").values, COUNTS)


def test_counts_of_flir_come_before_segments_of_dji() -> None:
    block = flir_segments(fff([CAMERA, (1, plain(COUNTS))]))
    data = jpeg(*dji_segments(COUNTS[:4]), *block, exif=label("DJI"))
    np.testing.assert_array_equal(decode(data, "x").values, COUNTS)
    assert maker_of(io.BytesIO(jpeg(*block, exif=label("DJI")))) == "FLIR"


# What is told beside the counts


def test_what_the_file_says_of_its_visible_picture_holds_for_the_counts() -> None:
    comment = segment(0xFE, b"roof, north")
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>")
    block = flir_segments(fff([CAMERA, (1, plain(COUNTS))]))
    before = label("FLIR Systems AB")
    data = jpeg(xmp, *block, comment, exif=before, dpi=(100, 100), icc_profile=bytes(200))
    metadata = decode(data, "x").metadata
    assert metadata.description == "roof, north"
    assert metadata.xmp == b"<x:xmpmeta/>"
    assert metadata.icc_profile is None
    assert metadata.resolution == Resolution(50, 50, "inch")
    assert metadata.exif is not None
    written = before.tobytes().removeprefix(b"Exif\0\0")
    assert len(metadata.exif) == len(written)
    seen = Image.Exif()
    seen.load(b"Exif\0\0" + metadata.exif)
    assert (seen[271], seen[274], seen[282], seen[283]) == ("FLIR Systems AB", 6, 36, 36)
    below = seen.get_ifd(0x8769)
    assert (below[40962], below[40963]) == SIZE


def test_the_note_of_flir_goes_and_that_of_dji_stays() -> None:
    for data, kept in ((flir(), False), (dji(COUNTS, SIZE), True)):
        frame = decode(data, "x")
        for suffix in (".tif", ".png"):
            exif = decode(encode(frame, suffix), "x").metadata.exif
            assert exif is not None
            seen = Image.Exif()
            seen.load(b"Exif\0\0" + exif)
            below = seen.get_ifd(0x8769)
            assert (MAKER_NOTE in below) is kept
            assert (below[40962], below[40963]) == SIZE


def test_densities_stay_where_the_counts_have_another_shape() -> None:
    block = flir_segments(fff([CAMERA, (1, plain(COUNTS))]))
    data = jpeg(*block, size=(48, 64), exif=label("FLIR", (48, 64)), dpi=(100, 100))
    metadata = decode(data, "x").metadata
    assert metadata.resolution == Resolution(100, 100, "inch")
    assert metadata.exif is not None
    seen = Image.Exif()
    seen.load(b"Exif\0\0" + metadata.exif)
    assert seen[282] == 72
    assert seen.get_ifd(0x8769)[40962] == SIZE[0]


def test_malformed_exif_does_not_stop_the_counts() -> None:
    block = flir_segments(fff([CAMERA, (1, plain(COUNTS))]))
    whole = label("FLIR").tobytes()
    for cut in range(6, len(whole), 9):
        data = jpeg(*block, segment(0xE1, whole[:cut]))
        np.testing.assert_array_equal(decode(data, "x").values, COUNTS)


# Whose a file is, at a glance


class Counting(io.BytesIO):
    """Counts the bytes that are read."""

    total = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.total += len(data)
        return data


def test_the_maker_is_found_in_a_few_bytes() -> None:
    large = counts(512, 640)
    for data, maker, most in (
        (flir(large), "FLIR", 100),
        (dji(large, (640, 512)), "DJI", 1000),
        (jpeg(size=(2000, 1500), exif=label("DJI")), None, 200),
        (jpeg(*dji_segments(large), exif=label("Canon")), None, 1000),
        (png(COUNTS, swapped=False), None, 2),
        (b"\xff\xd8" + b"\xff" * 100_000, None, 5000),
        (b"", None, 0),
    ):
        stream = Counting(data)
        assert maker_of(stream) == maker
        assert stream.total <= most


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 0, 1, 2, 4], [4]])
def test_the_maker_is_found_though_parts_are_missing(order: list[int]) -> None:
    assert maker_of(io.BytesIO(with_parts(order))) == "FLIR"


SOUND = [
    flir(),
    flir_of(CAMERA, (1, raw_record(png(COUNTS, swapped=True), SIZE)), order="<"),
    with_parts([2, 0, 1, 4, 3]),
    dji(COUNTS, SIZE),
]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_is_refused_with_a_reason_and_nothing_else(data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(SOUND)))
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(damaged) - 1) | st.integers(0, 400))
        damaged[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.none() | st.integers(0, len(damaged)))
    assert maker_of(io.BytesIO(damaged[:cut])) in ("FLIR", "DJI", None)
    try:
        frame = decode(bytes(damaged[:cut]), "x")
    except PictureError as error:
        said: object = error.remedy
    else:
        said = frame.values.size
    assert said


@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=300), first=st.booleans())
def test_any_bytes_behind_flir_s_mark_are_refused_or_none_of_its_own(
    body: bytes, first: bool
) -> None:
    mark = b"FFF\0" if first else b""
    assume(not body.startswith((b"FFF\0", b"AFF\0")))
    data = jpeg(segment(0xE1, b"FLIR\0\1\0\0" + mark + body))
    said = refused(data)
    assert ("FLIR" in said) if first else ("false colour" in said)


# The real files


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_real_files_give_counts_of_the_camera_s_size(data: Path, name: str) -> None:
    path = data / "rjpeg" / name
    maker, shape, celsius = REAL[name]
    frame = read_frame(path)
    assert frame.values.shape == shape
    assert frame.dtype == np.uint16
    with path.open("rb") as stream:
        assert maker_of(stream) == maker
    # Neighbours are alike: neither bytes nor rows are out of step.
    for axis in (0, 1):
        steps = np.abs(np.diff(frame.values, axis=axis))
        assert np.median(steps) < np.ptp(frame.values) / 50
    radiometry = frame.metadata.radiometry
    assert radiometry is not None
    assert radiometry.maker == maker
    assert (radiometry.planck is None) == (celsius is None)
    if radiometry.planck is not None:
        found = radiometry.planck.celsius(frame.values)
        centre = found[shape[0] // 2, shape[1] // 2]
        np.testing.assert_allclose((centre, found.min(), found.max()), celsius, atol=1e-3)
    assert frame.metadata.exif is not None
    seen = Image.Exif()
    seen.load(b"Exif\0\0" + frame.metadata.exif)
    below = seen.get_ifd(0x8769)
    assert (below[40963], below[40962]) == shape
    assert (MAKER_NOTE in below) == (maker == "DJI")


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_a_restored_tiff_tells_no_measurement_that_the_camera_did_not(
    data: Path, tmp_path: Path, name: str
) -> None:
    if shutil.which("exiftool") is None:
        pytest.skip("needs exiftool, an independent reader")

    def told(path: Path) -> dict[str, str]:
        command = ["exiftool", "-j", "-G1", "-n", "-EXIF:all", "-MakerNotes:all", str(path)]
        found = subprocess.run(command, check=True, capture_output=True).stdout
        groups = ("ExifIFD:", "GPS:", "FLIR:", "DJI:", "MakerUnknown:")
        return {k: v for k, v in json.loads(found)[0].items() if k.startswith(groups)}

    target = tmp_path / "x.tif"
    write_frame(read_frame(data / "rjpeg" / name), target)
    before, after = told(data / "rjpeg" / name), told(target)
    assert after
    assert not any(key.startswith("FLIR:") for key in after)
    sizes = {"ExifIFD:ExifImageWidth", "ExifIFD:ExifImageHeight"}
    assert {key: after[key] for key in after.keys() - sizes} == {
        key: before[key] for key in after.keys() - sizes
    }


@pytest.mark.data
@pytest.mark.parametrize("name", [name for name, found in REAL.items() if found[2]])
def test_real_temperatures_are_those_of_flyr(data: Path, name: str) -> None:
    flyr = pytest.importorskip("flyr", reason="needs flyr, an independent reader")
    frame = read_frame(data / "rjpeg" / name)
    assert frame.metadata.radiometry is not None
    assert frame.metadata.radiometry.planck is not None
    found = frame.metadata.radiometry.planck.celsius(frame.values)
    expected = flyr.unpack(str(data / "rjpeg" / name)).celsius
    np.testing.assert_allclose(found, expected, atol=1e-3)
