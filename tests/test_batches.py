"""Whole folders through the real command: trees, streams, rows, and every kind of bad input."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from command import deal, environment, refused
from PIL import Image

from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import decode, encode, read_frame, write_frame
from deal_cli.imaging.frame import Frame, Metadata
from deal_cli.model.network import Enhancer
from deal_cli.model.weights import save_enhancer
from deal_cli.networks import BlockConfig, NetworkConfig

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX files and signals")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Options for tests of files, not of pixels: tiny weights whose correction is zero."""
    config = NetworkConfig(width=4, blocks=(BlockConfig("stm", 3, 3),))
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(0)
    save_enhancer(path, Enhancer(config).state_dict(), config, {})
    return ("--weights", str(path), "--tone", "keep", "--backend", "cpu")


@pytest.fixture(scope="module")
def picture() -> bytes:
    """One small PNG."""
    return encode(draw_scene(0, 48, 64), ".png")


def rows(stdout: str) -> dict[str, dict[str, object]]:
    """The rows of `--json` by the name of their input."""
    return {Path(row["input"]).name: row for row in map(json.loads, stdout.splitlines())}


# --- trees and streams ---------------------------------------------------------------------------


def test_a_tree_is_mirrored_and_a_second_run_does_nothing_twice(
    tmp_path: Path, quick: tuple[str, ...], picture: bytes
) -> None:
    names = ["frame10.png", "frame9.png", "s/x.png", "roof, north/Dach ü.png", "[a] 中文/:b:.png"]
    for name in names:
        path = tmp_path / "d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
    first = deal("restore", "-r", "d", "-o", "t", "--json", *quick, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    made = sorted(path for path in (tmp_path / "t").rglob("*") if path.is_file())
    assert {path.relative_to(tmp_path / "t").as_posix() for path in made} == set(names)
    assert [Path(name).name for name in rows(first.stdout)][-4:-2] == ["frame9.png", "frame10.png"]
    times = [path.stat().st_mtime_ns for path in made]
    second = deal("restore", "-r", "d", "-o", "t", "--json", *quick, cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert {row["status"] for row in rows(second.stdout).values()} == {"skipped"}
    assert [path.stat().st_mtime_ns for path in made] == times


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".bmp", ".npy"])
def test_a_picture_goes_from_stdin_to_stdout_in_its_own_format(
    suffix: str, quick: tuple[str, ...]
) -> None:
    data = encode(draw_scene(0, 48, 64), suffix)
    result = deal("restore", "-", *quick, "-q", input=data, encoding=None, errors=None)
    assert (result.returncode, result.stderr) == (0, b"")
    restored = decode(result.stdout, "stdout")  # type: ignore[arg-type]
    difference = np.abs(restored.values - decode(data, "stdin").values).max()
    assert difference <= (3 if suffix == ".jpg" else 0)


def test_what_is_no_picture_on_stdin_is_named(quick: tuple[str, ...]) -> None:
    result = deal("restore", "-", "-q", *quick, input="hello")
    told = refused(result, 1)
    assert told.startswith("-: is not a picture")


def test_stdout_holds_rows_and_nothing_else(
    tmp_path: Path, quick: tuple[str, ...], picture: bytes
) -> None:
    (tmp_path / "a.png").write_bytes(picture)
    (tmp_path / "b.png").write_bytes(b"not one")
    result = deal("restore", "a.png", "b.png", "-o", "out", "--json", *quick, cwd=tmp_path)
    assert result.returncode == 1
    told = rows(result.stdout)
    assert (told["a.png"]["status"], told["b.png"]["status"]) == ("restored", "failed")
    assert (told["a.png"]["backend"], told["a.png"]["precision"]) != (None, None)
    assert [line for line in result.stderr.splitlines() if line.startswith("deal: b.png: ")]


def test_a_rehearsal_loads_nothing_and_writes_nothing(tmp_path: Path, picture: bytes) -> None:
    for name in ("a.png", "b.png", "out/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture)
    before = sorted(tmp_path.rglob("*"))
    options = ("-o", "out", "--dry-run", "--weights", "no such weights")
    result = deal("restore", "a.png", "b.png", *options, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"a.png -> {Path('out/a.png')}",
        f"b.png -> {Path('out/b.png')} (exists, skipped)",
    ]
    (row,) = rows(deal("restore", "a.png", *options, "--json", cwd=tmp_path).stdout).values()
    assert (row["status"], row["backend"]) == ("planned", None)
    assert sorted(tmp_path.rglob("*")) == before


def test_colours_are_for_terminals_that_want_them(
    tmp_path: Path, quick: tuple[str, ...], picture: bytes
) -> None:
    (tmp_path / "a.png").write_bytes(picture)
    env = {**environment(), "NO_COLOR": "1", "FORCE_COLOR": ""}
    result = deal("restore", "a.png", "-o", "out", *quick, cwd=tmp_path, env=env)
    assert result.returncode == 0
    assert "\x1b" not in result.stderr


# --- bad input, each among good ------------------------------------------------------------------


def test_every_kind_of_bad_input_is_named_and_the_rest_is_done(
    tmp_path: Path, quick: tuple[str, ...], picture: bytes
) -> None:
    bad = tmp_path / "in"
    bad.mkdir()
    large = encode(draw_scene(1, 480, 640, "uint16"), ".png")
    (bad / "good.png").write_bytes(picture)
    (bad / "empty.png").touch()
    (bad / "text.png").write_text("not a picture", encoding="utf-8")
    for kilobyte in range(1, len(large) // 1024 + 1):
        (bad / f"cut{kilobyte}.png").write_bytes(large[: kilobyte * 1024])
    Image.fromarray(np.zeros((60, 60, 4), np.uint8), "RGBA").save(bad / "alpha.png")
    Image.new("1", (40, 40)).save(bad / "bits.png")
    Image.new("CMYK", (40, 40)).save(bad / "print.jpg")
    pages = np.arange(3 * 40 * 40, dtype=np.uint16).reshape(3, 40, 40)
    tifffile.imwrite(bad / "stack.tif", pages, photometric="minisblack")
    (bad / "cut.tif").write_bytes((bad / "stack.tif").read_bytes()[:7000])
    bands = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(bad / "bands.tif", pages[0][..., None] + np.arange(5, dtype="u2"), **bands)
    (bad / "folder.png").mkdir()
    if sys.platform != "win32":
        os.mkfifo(bad / "pipe.png")
        (bad / "nowhere.png").symlink_to(tmp_path / "gone.png")
    result = deal("restore", "in", "-o", "out", "--json", *quick, cwd=tmp_path, timeout=120)
    assert result.returncode == 1, result.stderr
    told = rows(result.stdout)
    assert set(told) == {path.name for path in bad.iterdir()}
    assert told.pop("good.png")["status"] == "restored"
    stack = told.pop("stack.tif")
    assert (stack["status"], stack["frames"], stack["dtype"]) == ("restored", 3, "uint16")
    assert np.array_equal(tifffile.imread(tmp_path / "out" / "stack.tif"), pages)
    assert {row["status"] for row in told.values()} == {"failed"}
    assert len(told) > 30
    lines = [line for line in result.stderr.splitlines() if line.startswith("deal: in")]
    assert stack["fixed_pattern"] is None  # three frames are too few to look for one
    assert len(lines) == len(told)
    for row in told.values():
        assert f"deal: {row['error']}" in lines
        cause, _, remedy = str(row["error"]).removeprefix(f"{row['input']}: ").partition("; ")
        assert cause
        assert remedy
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good.png", "stack.tif"}


def test_a_thousand_broken_files_do_not_hide_ten_good_ones(
    tmp_path: Path, quick: tuple[str, ...], picture: bytes
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(1010):
        (folder / f"{i}.png").write_bytes(picture if i % 101 == 0 else picture[: i % 500])
    result = deal("restore", "in", "-o", "out", *quick, cwd=tmp_path, timeout=120)
    assert result.returncode == 1
    assert len(list((tmp_path / "out").iterdir())) == 10
    assert len([line for line in result.stderr.splitlines() if line.startswith("deal: in")]) == 1000
    *_, restored, failed = result.stderr.splitlines()
    assert restored.split()[:2] == ["10", "restored"]
    assert failed.split()[:2] == ["1000", "failed"]
    assert "is truncated" in failed


@pytest.mark.parametrize("size", [(1, 1), (3, 100_000), (100_000, 3), (2, 2)], ids=str)
def test_odd_sizes_are_restored(size: tuple[int, int], tmp_path: Path) -> None:
    width, height = size
    values = np.random.default_rng(0).integers(0, 65536, (height, width)).astype(np.float32)
    write_frame(Frame(values, np.dtype(np.uint16), Metadata()), tmp_path / "odd.png")
    result = deal("restore", "odd.png", "-o", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    restored = read_frame(tmp_path / "out" / "odd.png")
    assert (restored.width, restored.height, restored.dtype) == (width, height, np.uint16)


def test_a_size_above_the_limit_is_refused_undecoded_and_named_with_the_flag(
    tmp_path: Path, quick: tuple[str, ...], picture: bytes
) -> None:
    (tmp_path / "a.png").write_bytes(picture)
    options = ("-o", "out", *quick, "-q", "--max-pixels")
    told = refused(deal("restore", "a.png", *options, "3071", cwd=tmp_path), 1)
    assert told.startswith("a.png: is 64x48")
    assert "--max-pixels" in told
    assert deal("restore", "a.png", *options, "3072", cwd=tmp_path).returncode == 0
    told = refused(
        deal("restore", "a.png", *options, "3072", "--scale", "2", "--overwrite", cwd=tmp_path), 1
    )
    assert "--max-pixels" in told


def bound_by_permissions() -> None:
    """Take from root what lets it read closed files; others are bound already."""
    if os.geteuid() == 0:
        drop, capabilities = 24, (1, 2)  # PR_CAPBSET_DROP of CAP_DAC_OVERRIDE, _READ_SEARCH
        for capability in capabilities:
            assert ctypes.CDLL(None).prctl(drop, capability, 0, 0, 0) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's capabilities")
def test_files_and_folders_without_permission_are_named(
    tmp_path: Path, quick: tuple[str, ...], picture: bytes
) -> None:
    folder = tmp_path / "in"
    (folder / "closed").mkdir(parents=True)
    for name in ("a.png", "secret.png", "closed/b.png"):
        (folder / name).write_bytes(picture)
    (tmp_path / "locked").mkdir(mode=0o500)
    (folder / "secret.png").chmod(0)
    (folder / "closed").chmod(0)
    options = {"cwd": tmp_path, "preexec_fn": bound_by_permissions}
    result = deal("restore", "-r", "in", "-o", "out", "--json", *quick, **options)
    unwritable = deal("restore", "in/a.png", "-o", "locked/out", "-q", *quick, **options)
    (folder / "closed").chmod(0o700)
    assert result.returncode == 1, result.stderr
    told = {name: row["status"] for name, row in rows(result.stdout).items()}
    assert told == {"a.png": "restored", "secret.png": "failed", "closed": "failed"}
    assert "deal: in/secret.png: cannot be read (Permission denied); check its" in result.stderr
    assert "deal: in/closed: cannot be listed (Permission denied); check its" in result.stderr
    assert "locked/out: cannot be made (Permission denied)" in refused(unwritable, 1)


@POSIX
def test_a_full_disk_fails_what_does_not_fit_and_leaves_nothing_half_written(
    tmp_path: Path, quick: tuple[str, ...], picture: bytes
) -> None:
    import resource

    (tmp_path / "small.png").write_bytes(picture)
    write_frame(draw_scene(1, 480, 640, "uint16"), tmp_path / "large.png")

    def no_more_than_64_kilobytes() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))

    result = deal(
        *("restore", "large.png", "small.png", "-o", "out", *quick),
        cwd=tmp_path,
        preexec_fn=no_more_than_64_kilobytes,
    )
    assert result.returncode == 1
    (line,) = (line for line in result.stderr.splitlines() if "large.png" in line)
    assert line.startswith(f"deal: {Path('out/large.png')}: cannot be written (")
    assert "make room" in line
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["small.png"]


def test_the_input_folder_is_written_into_only_when_told_to(
    tmp_path: Path, quick: tuple[str, ...], picture: bytes
) -> None:
    (tmp_path / "a.png").write_bytes(picture)
    told = refused(deal("restore", ".", "-o", ".", *quick, cwd=tmp_path), 2)
    assert "--overwrite" in told
    result = deal("restore", ".", "-o", ".", "--overwrite", *quick, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


# --- interruptions -------------------------------------------------------------------------------


@POSIX
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_batch_goes_on_where_it_stopped(
    name: str, tmp_path: Path, quick: tuple[str, ...], picture: bytes
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for i in range(400):
        (folder / f"{i}.png").write_bytes(picture)
    command = [sys.executable, "-m", "deal_cli", "restore", "in", "-o", "out", "--json", *quick]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(getattr(signal, name))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr.splitlines()[-1] == b"deal: interrupted; finished files are whole"
    finished = sorted(out.iterdir())
    assert 1 <= len(finished) < 400
    assert all(path.suffix == ".png" and read_frame(path).width == 64 for path in finished)
    result = deal("restore", "in", "-o", "out", *quick, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(list(out.iterdir())) == 400
    skipped = result.stderr.splitlines()[-1].split()
    assert skipped[:2] == [str(len(finished)), "skipped"]


@POSIX
def test_rows_that_nobody_reads_end_the_batch_without_a_traceback(
    tmp_path: Path, quick: tuple[str, ...], picture: bytes
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(50):
        (folder / f"{i}.png").write_bytes(picture)
    command = [sys.executable, "-m", "deal_cli", "restore", "in", "-o", "out", "--json", *quick]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        stderr = process.stderr.read()
        assert process.wait(60) == 1
    assert b"Traceback" not in stderr
    assert stderr.splitlines()[-1].startswith(b"deal: nobody reads stdout")


def test_a_folder_that_vanishes_meanwhile_fails_its_files_alone(
    tmp_path: Path, quick: tuple[str, ...], picture: bytes
) -> None:
    for place, count in (("goes", 1500), ("stays", 50)):
        (tmp_path / place).mkdir()
        for i in range(count):
            (tmp_path / place / f"{place}{i}.png").write_bytes(picture)
    command = ["restore", "goes", "stays", "-o", "out", "--json", *quick]
    with subprocess.Popen(
        [sys.executable, "-m", "deal_cli", *command],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        shutil.rmtree(tmp_path / "goes")
        told = rows(first + process.stdout.read())
        assert process.wait(60) == 1
    assert len(told) == 1550
    assert all(told[f"stays{i}.png"]["status"] == "restored" for i in range(50))
    failed = [row for row in told.values() if row["status"] == "failed"]
    assert failed
    assert all("no such file" in str(row["error"]) for row in failed)
    done = {path.name for path in (tmp_path / "out").iterdir()}
    assert done == {name for name, row in told.items() if row["status"] == "restored"}


def test_gaps_that_no_tag_declares_stay_and_are_told(
    tmp_path: Path, quick: tuple[str, ...]
) -> None:
    values = np.full((60, 80), 20, np.float32) + np.arange(80, dtype=np.float32) / 10
    values[:, :5] = -9999
    tifffile.imwrite(tmp_path / "gaps.tif", values)
    done = deal("restore", "gaps.tif", "-o", "out", "--json", *quick, cwd=tmp_path)
    assert done.returncode == 0
    assert "gaps.tif: 300 pixels of -9999" in done.stderr
    assert "--nodata none" in done.stderr
    assert json.loads(done.stdout)["absent"] == "300 pixels of -9999"
    assert (tifffile.imread(tmp_path / "out/gaps.tif")[:, :5] == -9999).all()
    done = deal("restore", "gaps.tif", "-o", "o2", "--nodata", "none", *quick, cwd=tmp_path)
    assert "pixels of" not in done.stderr


def test_faint_pictures_are_counted_and_the_flag_is_named(
    tmp_path: Path, quick: tuple[str, ...]
) -> None:
    Image.fromarray(np.uint8(draw_scene(0, 48, 64).values / 5 + 90)).save(tmp_path / "faint.png")
    Image.fromarray(np.uint8(draw_scene(1, 48, 64).values)).save(tmp_path / "full.png")
    done = deal("restore", ".", "-o", "out", "--json", *quick, cwd=tmp_path)
    assert "1 of 2 use little of their range, as they did: --tone restore" in done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows[0]["range_used"] < 0.4 < rows[1]["range_used"]


def test_what_did_not_move_is_counted(tmp_path: Path, quick: tuple[str, ...]) -> None:
    Image.fromarray(np.uint8(draw_scene(0, 48, 64).values)).save(tmp_path / "a.png")
    done = deal("restore", "a.png", "-o", "out", *quick, cwd=tmp_path)
    assert "1 left as they were, nothing moved beyond rounding" in done.stderr


def test_files_of_kinds_that_are_not_read_are_named_and_the_others_done(
    tmp_path: Path, quick: tuple[str, ...], picture: bytes
) -> None:
    (tmp_path / "a.png").write_bytes(picture)
    (tmp_path / "flight.seq").write_bytes(b"FFF\0" + bytes(60))
    (tmp_path / "notes.txt").write_text("hello")
    done = deal("restore", ".", "-o", "out", *quick, cwd=tmp_path)
    assert done.returncode == 1
    assert "flight.seq: is a .seq file, which deal does not read" in done.stderr
    assert "notes" not in done.stderr
    assert (tmp_path / "out/a.png").exists()


def test_an_address_is_named_as_it_was_given(tmp_path: Path) -> None:
    done = deal("restore", "rtsp://cam/stream", "-o", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "rtsp://cam/stream: is an address" in done.stderr


def test_two_pictures_in_one_pipe_are_refused(quick: tuple[str, ...], picture: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deal_cli", "restore", "-", "-o", "-", *quick],
        input=picture * 2,
        capture_output=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 1
    assert b"several pictures" in done.stderr
    assert not done.stdout


def test_a_transport_stream_is_named_as_a_container(tmp_path: Path, quick: tuple[str, ...]) -> None:
    (tmp_path / "c.ts").write_bytes((b"G" + bytes(187)) * 8)
    done = deal("restore", "c.ts", "-o", "c.mkv", *quick, cwd=tmp_path)
    assert done.returncode == 2
    assert "transport stream, a container" in done.stderr
    assert "-c copy" in done.stderr


def test_a_refused_file_has_no_traceback_in_verbose_either(
    tmp_path: Path, quick: tuple[str, ...], picture: bytes
) -> None:
    (tmp_path / "a.png").write_bytes(picture[: len(picture) // 2])
    done = deal("restore", "a.png", "-o", "out", "-v", *quick, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
