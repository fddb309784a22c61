"""`deal restore` on what a camera writes, through the real command: counts, stacks, videos."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from command import Result, deal, environment, refused

av = pytest.importorskip("av")

from faults import flight  # noqa: E402
from imaging import clips, radiometric_files  # noqa: E402
from imaging.radiometric_files import CAMERA  # noqa: E402

from deal_cli.imaging.files import read_frame  # noqa: E402

SIZE = WIDTH, HEIGHT = 80, 64
FAST = ("--weights", "deal-fast", "--backend", "cpu")

#: Files that cannot be restored, and what is said of each.
BAD = {
    "bands.tif": "has 5 bands, each a picture of its own; give --band 1 to 5",
    "changing.avi": "frame 4 is 32x48, those before it 64x48; cut the video there",
    "cut.mkv": "is truncated after",
    "nothing.avi": "is damaged: its first frame cannot be read; copy or export it again",
    "stripped.jpg": "is a FLIR file without the camera's raw counts; copy it from the camera",
}


def rows(result: Result) -> dict[str, dict[str, Any]]:
    """The rows of `--json` by the name of their input."""
    return {Path(row["input"]).name: row for row in map(json.loads, result.stdout.splitlines())}


def celsius(counts: np.ndarray) -> np.ndarray:
    """°C by the four steps of `docs/radiometry.md`, with the numbers of the drawn camera."""
    emissivity, distance, window, humidity = (CAMERA[at] for at in (32, 36, 52, 60))
    r1, b, f, o, r2 = (CAMERA[at] for at in (88, 92, 96, 776, 780))
    alpha1, alpha2, beta1, beta2, x = (CAMERA[at] for at in (112, 116, 120, 124, 128))
    air = CAMERA[44] - 273.15
    water = 1.5587 + 0.06939 * air - 0.00027816 * air**2 + 0.00000068455 * air**3
    water = humidity * np.exp(water)
    half = np.sqrt(distance / 2)
    tau = x * np.exp(-half * (alpha1 + beta1 * np.sqrt(water)))
    tau += (1 - x) * np.exp(-half * (alpha2 + beta2 * np.sqrt(water)))
    reflected, near, glass = (r1 / (r2 * (np.exp(b / CAMERA[at]) - f)) - o for at in (40, 44, 48))
    seen = counts / (emissivity * tau * window * tau)
    seen = seen - (1 - emissivity) / emissivity * reflected
    seen -= (1 - tau) / (emissivity * tau) * near
    seen -= (1 - window) / (emissivity * tau * window) * glass
    seen -= (1 - tau) / (emissivity * tau * window * tau) * near
    return b / np.log(r1 / (r2 * (seen + o)) + f) - 273.15


@pytest.fixture(scope="module")
def scenes() -> flight.Scenes:
    """Striped and noisy scenes."""
    return flight.Scenes(SIZE, 5)


@pytest.fixture(scope="module")
def source(scenes: flight.Scenes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of every kind, good ones and those of `BAD`."""
    folder = tmp_path_factory.mktemp("flight")
    sensor = flight.Scenes(flight.DJI_SENSOR, 6)
    moving = scenes.film(9)
    files = {
        "flir.jpg": flight.flir(scenes.counts(spread=80)),
        "dji.jpg": radiometric_files.dji(sensor.counts(), (320, 240)),
        "levels.png": flight.stored(scenes.levels(), ".png"),
        "counts.tif": flight.stored(scenes.counts(spread=80), ".tif"),
        "stack.tif": flight.stack([scenes.counts() for _ in range(5)]),
        "film.avi": flight.film(moving),
        "phone.mp4": flight.film(moving, "mp4"),
    }
    files |= {one.name: one.data for one in flight.bad_files(scenes) if one.name in BAD}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def restored(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """All of it restored in one command, and the folder it went to."""
    out = tmp_path_factory.mktemp("restored")
    return deal("restore", source, "-o", out, "--json", *FAST), out


# --- one command, every kind ---------------------------------------------------------------------


def test_each_bad_file_is_named_in_one_line_and_the_rest_is_restored(
    restored: tuple[Result, Path],
) -> None:
    result, out = restored
    assert result.returncode == 1, result.stderr
    told, lines = rows(result), result.stderr.splitlines()
    assert {name for name, row in told.items() if row["status"] == "failed"} == set(BAD)
    for name, words in BAD.items():
        (line,) = (line for line in lines if line.startswith("deal: ") and name in line)
        assert line == f"deal: {told[name]['error']}"
        assert f"{name}: {words}" in line
    made = {"flir.tif", "dji.tif", "levels.png", "counts.tif", "stack.tif", "film.avi", "phone.mkv"}
    assert {path.name for path in out.iterdir()} == made
    assert [line.split()[:2] for line in lines[-2:]] == [["7", "restored"], ["5", "failed"]]


def test_one_table_tells_of_every_kind(restored: tuple[Result, Path]) -> None:
    result, _ = restored
    lines = result.stderr.splitlines()
    (head,) = (at for at, line in enumerate(lines) if line.split()[:2] == ["kind", "files"])
    table = [line.split() for line in lines[head + 2 : head + 8]]
    kinds = [" ".join(row[:-1][:3]) for row in table]
    for kind in (f"FLIR counts {WIDTH}x{HEIGHT}", "DJI counts 256x192", f"video {WIDTH}x{HEIGHT}"):
        assert any(text.startswith(kind) for text in kinds), kinds
    units = {row[0]: row[row.index("°C")] for row in table if "°C" in row}
    assert set(units) == {"FLIR"}
    assert ["failed", "5"] in [row[:2] for row in table]


def test_a_radiometric_file_becomes_a_tiff_of_counts_with_its_labels(
    source: Path, restored: tuple[Result, Path]
) -> None:
    result, out = restored
    told = rows(result)["flir.jpg"]
    assert told["output"] == str(out / "flir.tif")
    assert (told["dtype"], told["width"], told["height"]) == ("uint16", WIDTH, HEIGHT)
    with tifffile.TiffFile(out / "flir.tif") as tiff:
        page = tiff.pages[0]
        counts = page.asarray()
        assert (counts.dtype, counts.shape) == (np.uint16, (HEIGHT, WIDTH))
        assert page.tags["Make"].value == "FLIR Systems AB"
        assert page.tags["Orientation"].value == 6
        exif = page.tags["ExifTag"].value
        assert (exif["PixelXDimension"], exif["PixelYDimension"]) == SIZE
        place = page.tags["GPSTag"].value
        assert (place["GPSLatitudeRef"], place["GPSLatitude"]) == ("N", (48, 1, 51, 1, 30, 1))
        assert bytes(page.tags["XMP"].value) == flight.XMP
    before = read_frame(source / "flir.jpg").values
    assert np.corrcoef(counts.ravel(), before.ravel())[0, 1] > 0.9
    assert not np.array_equal(counts, before)
    assert told["fidelity"]["hottest_before"] == before.max()
    assert told["fidelity"]["hottest_before_c"] == pytest.approx(celsius(before.max()), abs=0.01)
    assert tifffile.imread(out / "dji.tif").shape == flight.DJI_SENSOR[::-1]


def test_a_stack_comes_back_as_a_stack(source: Path, restored: tuple[Result, Path]) -> None:
    result, out = restored
    before, after = tifffile.imread(source / "stack.tif"), tifffile.imread(out / "stack.tif")
    assert (after.shape, after.dtype) == ((5, HEIGHT, WIDTH), np.uint16)
    told = rows(result)["stack.tif"]
    assert (told["frames"], told["output"]) == (5, str(out / "stack.tif"))
    for one, other in zip(before, after, strict=True):
        assert not np.array_equal(one, other)
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.9
    assert told["range"][0] <= np.percentile(before, 1)
    assert told["range"][1] >= np.percentile(before, 99)


@pytest.mark.parametrize(("name", "made"), [("film.avi", "film.avi"), ("phone.mp4", "phone.mkv")])
def test_a_video_becomes_ffv1_of_as_many_frames(
    name: str, made: str, restored: tuple[Result, Path]
) -> None:
    result, out = restored
    told = rows(result)[name]
    assert (told["frames"], told["output"], told["dtype"]) == (9, str(out / made), "uint8")
    with av.open(str(out / made)) as video:
        assert video.streams.video[0].codec_context.name == "ffv1"
        frames = [frame.to_ndarray(format="gray") for frame in video.decode(video=0)]
    assert len(frames) == 9
    assert {frame.shape for frame in frames} == {(HEIGHT, WIDTH)}


# --- degrees -------------------------------------------------------------------------------------


def test_degrees_are_planck_s_of_the_restored_counts_and_others_fail(
    source: Path, restored: tuple[Result, Path], tmp_path: Path
) -> None:
    names = ("dji.jpg", "flir.jpg", "levels.png", "counts.tif")
    files = [source / name for name in names]
    result = deal("restore", *files, "-o", tmp_path, "--unit", "celsius", "--json", *FAST)
    assert result.returncode == 1, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["flir.tif"]
    told = rows(result)
    assert told["flir.jpg"]["dtype"] == "float32"
    assert {row["status"] for name, row in told.items() if name != "flir.jpg"} == {"failed"}
    for name in ("levels.png", "counts.tif"):
        assert "does not say how its numbers become temperatures" in told[name]["error"]
    degrees = tifffile.imread(tmp_path / "flir.tif")
    assert degrees.dtype == np.float32
    counts = tifffile.imread(restored[1] / "flir.tif").astype(np.float64)
    # The network's last digits, not yet rounded, are in the degrees and not in the counts.
    np.testing.assert_allclose(degrees, celsius(counts), atol=0.02, rtol=0)


def test_the_calibration_survives_in_a_restored_tiff(
    restored: tuple[Result, Path], tmp_path: Path
) -> None:
    counts = restored[1] / "flir.tif"
    options = ("--unit", "celsius", "--strength", "0", "-q", *FAST)
    result = deal("restore", counts, "-o", tmp_path / "degrees.tif", *options)
    assert (result.returncode, result.stderr) == (0, "")
    degrees = tifffile.imread(tmp_path / "degrees.tif")
    assert degrees.dtype == np.float32
    expected = celsius(tifffile.imread(counts).astype(np.float64))
    np.testing.assert_allclose(degrees, expected, atol=1e-3, rtol=0)


def test_degrees_of_a_camera_of_unknown_calibration_alone_are_exit_2(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    line = refused(deal("restore", source / "dji.jpg", "-o", out, "--unit", "celsius"), 2)
    assert line.startswith(f"{source / 'dji.jpg'}: holds counts of a DJI camera")
    assert "leave out --unit" in line
    assert not out.exists()


def test_counts_do_not_become_a_jpeg(source: Path, tmp_path: Path) -> None:
    result = deal("restore", source / "flir.jpg", "-o", tmp_path / "x.jpg", "-q", *FAST)
    line = refused(result, 1)
    assert "x.jpg: .jpg cannot hold uint16 pixels" in line
    assert ".tif" in line.partition("; ")[2]
    assert not list(tmp_path.iterdir())


# --- a bound, and how TIFFs are packed -----------------------------------------------------------


def changes(source: Path, out: Path, name: str, made: str | None = None) -> np.ndarray:
    """How far each pixel moved, in the file's own numbers."""
    before, after = read_frame(source / name), read_frame(out / (made or name))
    return np.abs(after.values.astype(np.float64) - before.values)


def test_a_bound_in_own_numbers_holds_for_every_pixel(
    source: Path, restored: tuple[Result, Path], tmp_path: Path
) -> None:
    names = ("flir.jpg", "levels.png", "counts.tif", "stack.tif")
    options = ("--max-change", "3", "--compression", "zstd", *FAST)
    result = deal("restore", *(source / name for name in names), "-o", tmp_path, *options)
    assert result.returncode == 0, result.stderr
    for name, made in (("flir.jpg", "flir.tif"), ("levels.png", None), ("counts.tif", None)):
        assert changes(source, restored[1], name, made).max() > 3, name
        assert changes(source, tmp_path, name, made).max() == 3, name
    stacks = (tifffile.imread(folder / "stack.tif") for folder in (source, tmp_path))
    assert np.abs(np.subtract(*(one.astype(int) for one in stacks))).max() == 3
    for name in ("flir.tif", "counts.tif", "stack.tif"):
        with tifffile.TiffFile(tmp_path / name) as tiff:
            assert {page.compression.name for page in tiff.pages} == {"ZSTD"}


def test_a_bound_in_percent_is_of_the_range(source: Path, tmp_path: Path) -> None:
    options = ("--max-change", "0.4%", "--compression", "none", "--range", "7000:9500", *FAST)
    result = deal("restore", source / "counts.tif", "-o", tmp_path, *options)
    assert result.returncode == 0, result.stderr
    assert changes(source, tmp_path, "counts.tif").max() == 10  # of 2,500
    with tifffile.TiffFile(tmp_path / "counts.tif") as tiff:
        assert tiff.pages[0].compression.name == "NONE"


def test_a_bound_in_kelvin_holds_and_fails_what_has_no_temperatures(
    source: Path, restored: tuple[Result, Path], tmp_path: Path
) -> None:
    files = (source / "flir.jpg", source / "levels.png")
    result = deal("restore", *files, "-o", tmp_path, "--max-change", "0.05K", "--json", *FAST)
    assert result.returncode == 1, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["flir.tif"]
    error = rows(result)["levels.png"]["error"]
    assert "does not say how its numbers become temperatures, so that 0.05K means nothing" in error
    counts = read_frame(source / "flir.jpg").values.astype(np.float64)
    before = celsius(counts)
    free, bound = (
        np.abs(celsius(tifffile.imread(folder / "flir.tif").astype(np.float64)) - before).max()
        for folder in (restored[1], tmp_path)
    )
    count = (celsius(counts + 1) - before).max()
    assert free > 0.05 + count
    assert 0.05 - count < bound <= 0.05


# --- videos --------------------------------------------------------------------------------------


def test_a_video_may_be_written_as_h264(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.mp4"
    result = deal("restore", source / "film.avi", "-o", out, "--codec", "h264", *FAST)
    assert result.returncode == 0, result.stderr
    with av.open(str(out)) as video:
        assert video.streams.video[0].codec_context.name == "h264"
        assert sum(1 for _ in video.decode(video=0)) == 9


def test_without_pyav_a_video_names_its_extra_and_pictures_are_done(
    source: Path, tmp_path: Path
) -> None:
    stub = tmp_path / "stub"
    stub.mkdir()
    (stub / "av.py").write_text("raise ImportError('no PyAV here')\n", encoding="utf-8")
    mine = environment()
    env = {**mine, "PYTHONPATH": os.pathsep.join([str(stub), mine["PYTHONPATH"]])}
    files = (source / "film.avi", source / "levels.png", source / "stack.tif")
    result = deal("restore", *files, "-o", tmp_path / "out", *FAST, env=env)
    assert result.returncode == 1, result.stderr
    (line,) = (line for line in result.stderr.splitlines() if "film.avi" in line)
    assert line.startswith(f"deal: {source / 'film.avi'}: ")
    assert "pip install 'deal-cli[video]'" in line
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {"levels.png", "stack.tif"}


# --- sequences and their fixed pattern -----------------------------------------------------------


def test_frames_of_a_folder_share_a_range_and_a_second_run_resumes(
    scenes: flight.Scenes, tmp_path: Path
) -> None:
    folder, out = tmp_path / "frames", tmp_path / "out"
    folder.mkdir()
    for k in range(6):  # each warmer than the one before: none has the range of another
        pixels = scenes.counts() + np.uint16(400 * k)
        (folder / f"{k}.tif").write_bytes(flight.stored(pixels, ".tif"))
    command = ("restore", folder, "-o", out, "--range", "sequence", "--json", *FAST)
    first = deal(*command)
    assert first.returncode == 0, first.stderr
    ranges = [row["range"] for row in rows(first).values()]
    assert len(ranges) == 6
    assert ranges == ranges[:1] * 6
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "4.tif").unlink()
    second = deal(*command)
    assert second.returncode == 0, second.stderr
    told = rows(second)
    assert {name for name, row in told.items() if row["status"] == "skipped"} == {
        f"{k}.tif" for k in (0, 1, 2, 3, 5)
    }
    assert told["4.tif"]["range"] == ranges[0]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == whole


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """`moving.tif` of a shutterless camera and its clean frames; `static.tif`, `other.tif`."""
    folder = tmp_path_factory.mktemp("camera")
    seen, clean = flight.Scenes((128, 96), 7).moving(20, step=16, spread=60)
    (folder / "moving.tif").write_bytes(flight.stack(seen[:18]))
    (folder / "next.tif").write_bytes(flight.stored(seen[19], ".tif"))
    rng = np.random.default_rng(1)
    still = seen[0] + rng.integers(0, 9, (10, *seen[0].shape), dtype=np.uint16)
    (folder / "static.tif").write_bytes(flight.stack(still))
    (folder / "other.tif").write_bytes(flight.stored(clean[3], ".tif"))
    return folder, clean


def off(made: np.ndarray, clean: np.ndarray) -> float:
    """The mean distance of columns from the truth, without the level."""
    columns = (made.astype(np.float64) - clean).mean(axis=-2)
    return float(np.abs(columns - columns.mean(-1, keepdims=True)).mean())


def test_a_pattern_is_found_saved_and_taken_off_other_pictures(
    camera: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    folder, clean = camera
    pattern = tmp_path / "camera.pattern"
    options = ("-o", tmp_path / "a", "--save-pattern", pattern, "--json", *FAST)
    found = deal("restore", folder / "moving.tif", *options)
    assert found.returncode == 0, found.stderr
    assert rows(found)["moving.tif"]["fixed_pattern"]["found"] is True
    assert pattern.is_file()
    options = ("-o", tmp_path / "b", "--fixed-pattern", "off", "--json", *FAST)
    left = deal("restore", folder / "moving.tif", *options)
    assert left.returncode == 0, left.stderr
    assert rows(left)["moving.tif"]["fixed_pattern"] is None
    with_it, without = (tifffile.imread(tmp_path / name / "moving.tif") for name in "ab")
    assert off(with_it, clean[:18]) < 0.5 * off(without, clean[:18])
    files = (folder / "next.tif", folder / "other.tif")
    options = ("-o", tmp_path / "c", "--pattern", pattern, "--json", *FAST)
    given = deal("restore", *files, *options)
    assert given.returncode == 1, given.stderr
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["next.tif"]
    seen = tifffile.imread(folder / "next.tif")
    made = tifffile.imread(tmp_path / "c" / "next.tif")
    assert off(made, clean[19]) < 0.3 * off(seen, clean[19])
    error = rows(given)["other.tif"]["error"]
    assert "does not show the fixed pattern" in error
    assert "leave out --pattern" in error


def test_no_pattern_is_saved_of_a_clip_that_stands_still(
    camera: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    pattern = tmp_path / "camera.pattern"
    options = ("-o", tmp_path / "out", "--save-pattern", pattern, *FAST)
    result = deal("restore", camera[0] / "static.tif", *options)
    assert result.returncode == 1, result.stderr
    line = result.stderr.splitlines()[-1]
    assert line.startswith(f"deal: {pattern}: was not written: too little motion")
    assert "(one view in 10 frames looked at)" in line
    assert line.endswith("; give a clip in which things move")
    assert not pattern.exists()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["static.tif"]


def test_a_clip_is_never_refused_for_a_pattern_that_was_found_in_itself(tmp_path: Path) -> None:
    # Waves that pass: what all frames have in common is in none of them.
    waves = [clips.scene(k, height=64, width=96) for k in range(8)]
    (tmp_path / "waves.avi").write_bytes(flight.film(waves))
    result = deal("restore", tmp_path / "waves.avi", "-o", tmp_path / "out", *FAST)
    assert result.returncode == 0, result.stderr
