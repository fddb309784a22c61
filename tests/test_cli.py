"""Every command through the real entry point, in a process of its own, with every exit code."""

from __future__ import annotations

import json
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from command import ROOT, Result, deal, environment, refused
from PIL import Image

import deal_cli
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import read_frame, write_frame
from deal_cli.imaging.frame import Frame
from deal_cli.model.weights import load_enhancer

SAMPLES = sorted((ROOT / "docs" / "samples").iterdir())

TINY = """
steps = 2
batch = 1
crop = 32
border = 0
[tone]
steps = 0
[network]
width = 4
blocks = [{ kind = "stm", kernel_in = 3, kernel_out = 3 }]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small pictures of three dtypes: `a.png`, `b.tif` and `c.tif`."""
    folder = tmp_path_factory.mktemp("in")
    write_frame(draw_scene(0, 48, 64), folder / "a.png")
    write_frame(draw_scene(1, 48, 64, "uint16"), folder / "b.tif")
    degrees = (draw_scene(2, 48, 64, "uint16").values / 100).astype(np.float32)
    degrees[3, 4], degrees[5, 6] = np.nan, np.inf
    write_frame(Frame(degrees, np.dtype(np.float32)), folder / "c.tif")
    return folder


@pytest.fixture(scope="module")
def restored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """The samples restored as the README says, and the folder they went to."""
    out = tmp_path_factory.mktemp("samples") / "deep" / "out"
    return deal("restore", *SAMPLES, "-o", out), out


# --- help and version ----------------------------------------------------------------------------


def test_help_answers_within_half_a_second() -> None:
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        result = deal("--help")
        seconds.append(time.perf_counter() - started)
        assert result.returncode == 0
        assert {"restore", "train", "evaluate", "doctor"} <= set(result.stdout.split())
        if seconds[-1] < 0.5:
            return
    pytest.fail(f"the best of five took {min(seconds):.2f} s")


def test_version_is_that_of_the_package() -> None:
    result = deal("--version")
    assert (result.returncode, result.stdout) == (0, f"deal {deal_cli.__version__}\n")


@pytest.mark.parametrize(
    "command", ["restore", "degrade", "train", "evaluate", "export", "bench", "doctor"]
)
def test_every_command_has_help_of_its_own(command: str) -> None:
    result = deal(command, "-h")
    assert result.returncode == 0
    assert f"deal {command}" in result.stdout


def test_deal_alone_prints_its_help_and_no_error() -> None:
    result = deal()
    assert result.returncode == 2
    assert "restore" in result.stdout + result.stderr
    assert "deal: " not in result.stderr


# --- restore -------------------------------------------------------------------------------------


def test_the_samples_are_restored(restored: tuple[Result, Path]) -> None:
    result, out = restored
    assert result.returncode == 0, result.stderr
    assert len(SAMPLES) >= 3
    assert sorted(path.name for path in out.iterdir()) == [path.name for path in SAMPLES]
    for sample in SAMPLES:
        before, after = read_frame(sample), read_frame(out / sample.name)
        assert after.dtype == before.dtype
        assert after.values.shape == before.values.shape
        assert after.metadata == before.metadata
        assert not np.array_equal(after.values, before.values)


def test_the_samples_lose_their_stripes_and_noise(restored: tuple[Result, Path]) -> None:
    _, out = restored
    for sample in SAMPLES:
        before, after = (read_frame(path).values for path in (sample, out / sample.name))
        rough = [np.abs(np.diff(values, axis=1)).mean() for values in (before, after)]
        assert rough[1] < 0.8 * rough[0], sample.name


def test_the_files_hold_the_dtypes_that_the_samples_had(restored: tuple[Result, Path]) -> None:
    _, out = restored
    with Image.open(out / "stripes-8bit.png") as picture:
        assert picture.mode == "L"
    with Image.open(out / "noise-16bit.png") as picture:
        assert picture.mode.startswith("I;16")
    assert tifffile.imread(out / "temperature-float32.tif").dtype == np.float32


def test_what_was_chosen_is_said_on_stderr_and_nothing_on_stdout(
    restored: tuple[Result, Path],
) -> None:
    result, _ = restored
    assert result.stdout == ""
    first, *_, last = result.stderr.splitlines()
    assert first.startswith("deal: ")
    for word in ("backend", "float", "weights deal"):
        assert word in first
    assert last.split()[:2] == [str(len(SAMPLES)), "restored"]


def test_strength_zero_gives_identical_pixels_and_quiet_says_nothing(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = deal("restore", *sorted(folder.iterdir()), "-o", out, "--strength", "0", "-q")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    for source in folder.iterdir():
        before, after = read_frame(source), read_frame(out / source.name)
        assert after.dtype == before.dtype
        assert np.array_equal(after.values, before.values, equal_nan=True)


def test_what_exists_is_skipped_and_said_so(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "a.png"
    mine.write_bytes(b"mine")
    result = deal("restore", folder / "a.png", folder / "b.tif", "-o", tmp_path, "--tone", "keep")
    assert result.returncode == 0
    assert mine.read_bytes() == b"mine"
    _, *table, restored, skipped = result.stderr.splitlines()
    assert [line.split()[:3] for line in table if "skipped" in line] == [["skipped", "1", "–"]]
    assert restored.split()[:2] == ["1", "restored"]
    assert skipped.split(maxsplit=2)[2] == "they exist; --overwrite replaces them"


def test_overwrite_replaces_and_out_may_be_a_file(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "result.tif"
    target.write_bytes(b"mine")
    options = ("--overwrite", "--tone", "keep", "--scale", "2", "--range", "0:255", "-v")
    result = deal("restore", folder / "a.png", "-o", target, *options)
    assert result.returncode == 0, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["result.tif"]
    assert tifffile.imread(target).shape == (96, 128)
    assert tifffile.imread(target).dtype == np.uint8
    (line,) = (line for line in result.stderr.splitlines() if line.startswith(str(target)))
    assert line.startswith(f"{target}: restored, 128x96 uint8, range 0:255, tone kept, ")


def test_one_broken_file_among_good_ones_is_exit_1_with_one_line(
    folder: Path, tmp_path: Path
) -> None:
    deep = tmp_path / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    broken, out = deep / "broken [x] :fire: £.png", tmp_path / "out"
    broken.write_bytes((folder / "a.png").read_bytes()[:300])
    shutil.copyfile(folder / "a.png", tmp_path / "z.png")
    result = deal("restore", folder / "a.png", broken, tmp_path / "z.png", "-o", out)
    assert result.returncode == 1
    assert result.stdout == ""
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "z.png"]
    chosen, error, *table, done, failed = result.stderr.splitlines()
    assert error.startswith(f"deal: {broken}: ")
    cause, _, remedy = error.removeprefix(f"deal: {broken}: ").partition("; ")
    assert cause
    assert remedy
    assert chosen.startswith("deal: ")
    assert done.split()[:2] == ["2", "restored"]
    assert failed.split()[:2] == ["1", "failed"]
    assert cause in failed
    assert [line.split()[:2] for line in table[3:]] == [["8-bit", "64x48"], ["failed", "1"]]


# --- exit 2: usage -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no.png", "-o", "out"], "no.png: no such file"),
        (["n" * 100 + "/" + "o" * 100 + "/" + "p" * 100 + ".png", "-o", "out"], "no such file"),
        (["n" * 300 + ".png", "-o", "out"], "cannot be looked up"),
        (["a.png", "sub/a.png", "-o", "out"], "both be written to out"),
        (["a.png", "-o", "."], "overwritten by its own result"),
        (["a.png", "b.tif", "-o", "one.png"], "one.png: is one file for 2 pictures"),
        (["a.png"], "no output named; give -o a folder"),
        (["-", "--json"], "--json and the picture would share stdout; give -o a file"),
        (["*.jpeg", "-o", "out"], "no file matches"),
        (["@a.txt", "-o", "out"], "cannot be read"),
        (["a.png", "-o", "out.webp"], "deal does not write .webp files"),
        (["a.png", "-o", "out", "--max-pixels", "0"], "a limit of 0"),
        (["-o", "out"], "missing argument 'INPUT'"),
        (["a.png", "-o", "out", "--frobnicate"], "no such option: --frobnicate"),
        (["a.png", "-o", "out", "--range", "10:5"], "a range of 10:5"),
        (["a.png", "-o", "out", "--range", "wide"], "'wide' for --range"),
        (["a.png", "-o", "out", "--range", "1:x"], "'1:x' for --range"),
        (
            ["a.png", "-o", "out", "--tone", "loud"],
            "'loud' is not one of 'auto', 'keep', 'restore'",
        ),
        (["a.png", "-o", "out", "--scale", "3"], "a scale of 3; --scale takes 1, 2 or 4"),
        (["a.png", "-o", "out", "--scale", "big"], "invalid value for '--scale'"),
        (["a.png", "-o", "out", "--strength", "2"], "a strength of 2.0"),
        (
            ["a.png", "-o", "out", "--max-change", "much"],
            "a largest change of 'much'; --max-change",
        ),
        (["a.png", "-o", "out", "--max-change", "-3"], "a largest change of '-3'; --max-change"),
        (
            ["a.png", "-o", "out", "--compression", "zip"],
            "a compression 'zip'; --compression takes",
        ),
        (["a.png", "-o", "out", "--codec", "vp9"], "a codec 'vp9'; --codec takes"),
        (["a.png", "-o", "out", "--unit", "kelvin"], "'kelvin' is not one of 'counts', 'celsius'"),
        (["a.png", "-o", "out", "--unit", "celsius"], "does not say how its numbers become"),
        (["a.png", "-o", "out", "--pattern", "no.pattern"], "no.pattern: "),
        (["a.png", "-o", "out", "--pattern", "b.tif"], "b.tif: "),
        (
            ["a.png", "-o", "out", "--save-pattern", "p"],
            "p: would be of no sequence; give one clip",
        ),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_cannot_be_done_as_typed_is_exit_2(
    arguments: list[str], words: str, folder: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    shutil.copytree(folder, here)
    shutil.copytree(folder, here / "sub")
    before = sorted(here.rglob("*"))
    line = refused(deal("restore", *arguments, cwd=here), 2)
    assert words in line
    assert "; " in line
    assert sorted(here.rglob("*")) == before


def test_an_unknown_command_is_exit_2() -> None:
    assert "resotre" in refused(deal("resotre"), 2)


def test_an_unknown_key_of_a_configuration_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("batchh = 3", encoding="utf-8")
    line = refused(deal("train", "--data", tmp_path, "--config", path), 2)
    assert line == f"{path}: unknown key 'batchh'; did you mean 'batch'?"


# --- exit 3: backends and weights ----------------------------------------------------------------


def test_an_unknown_backend_is_exit_3(folder: Path, tmp_path: Path) -> None:
    result = deal("restore", folder / "a.png", "-o", tmp_path / "out", "--backend", "tpu")
    assert "'tpu'; --backend takes auto, cuda, cuda:N, onnx or cpu" in refused(result, 3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_that_is_not_there_is_exit_3_and_never_another_backend(
    folder: Path, tmp_path: Path
) -> None:
    result = deal("restore", folder / "a.png", "-o", tmp_path / "out", "--backend", "cuda")
    assert "CUDA" in refused(result, 3)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["missing", "unknown", "pickle", "truncated"])
def test_weights_that_cannot_be_used_are_exit_3(kind: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / f"{kind}.safetensors"
    if kind == "pickle":
        path = tmp_path / "model.pth"
        path.write_bytes(pickle.dumps({"weight": [1.0]}))
    elif kind == "truncated":
        path.write_bytes((ROOT / "weights" / "deal.safetensors").read_bytes()[:100_000])
    name = "nameless" if kind == "unknown" else str(path)
    out = tmp_path / "out"
    line = refused(deal("restore", folder / "a.png", "-o", out, "--weights", name), 3)
    assert name in line
    assert "; " in line
    assert not out.exists()


# --- exit 130: interrupted -----------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_an_interrupted_batch_is_exit_130_and_leaves_whole_files(tmp_path: Path) -> None:
    sources, out = tmp_path / "in", tmp_path / "out"
    sources.mkdir()
    for i in range(100):
        write_frame(draw_scene(0, 96, 128), sources / f"{i:03}.png")
    command = [sys.executable, "-m", "deal_cli", "restore", *sorted(sources.iterdir())]
    process = subprocess.Popen(
        [*map(str, command), "-o", str(out), "--tone", "keep"],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (out.is_dir() and any(out.glob("*.png"))) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert stderr.splitlines()[1:] == ["deal: interrupted; finished files are whole"]
    finished = sorted(out.iterdir())
    assert 1 <= len(finished) < 100
    assert all(path.suffix == ".png" and read_frame(path).width == 128 for path in finished)


# --- the other commands --------------------------------------------------------------------------


def test_doctor_finds_a_healthy_installation() -> None:
    result = deal("doctor")
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("torch", "weights deal.safetensors", "backend cpu", "backend onnx"):
        assert f"ok      {name}" in result.stdout
    assert result.stderr == ""


# Tensors this small are slow on several threads, which wait for each other on a busy machine.
ONE_THREAD = {**environment(), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def fifty(tmp_path: Path) -> Path:
    """A plain folder of frames to train on: nine of them, of 8 and 16 bits."""
    data = tmp_path / "fifty"
    data.mkdir()
    for seed in range(9):
        frame = draw_scene(seed, 64, 80, "uint16" if seed % 2 else "uint8")
        write_frame(frame, data / f"{seed}.png")
    (tmp_path / "config.toml").write_text(TINY, encoding="utf-8")
    return data


def test_train_makes_weights_and_says_how_to_use_them(fifty: Path, tmp_path: Path) -> None:
    options = ("--config", "config.toml", "--init", "none", "--budget", "3steps", "--seed", "5")
    command = ("train", "--data", fifty.name, *options, "--backend", "cpu")
    result = deal(*command, cwd=tmp_path, env=ONE_THREAD)
    assert result.returncode == 0, result.stderr
    weights = Path("runs", "fifty", "best", "enhancer.safetensors")
    said = result.stdout.strip()
    assert said == f"deal restore --weights {weights} -o restored INPUT..."
    restore = said.replace("INPUT...", "fifty/0.png").split()[1:]
    said = result.stderr
    assert "deal: 8 pictures to train on; 1 of 9 pictures" in said
    assert "deal: 3 steps of 1 crop of 32 pixels, from fresh weights" in said
    assert "deal: 0 to warm up, 3 against the adversary, 0 to close" in said
    resolved = (tmp_path / "runs" / "fifty" / "config.toml").read_text(encoding="utf-8")
    assert "steps = 3" in resolved
    assert "seed = 5" in resolved
    assert load_enhancer(str(tmp_path / weights)).config.width == 4
    assert deal(*restore, "--tone", "keep", cwd=tmp_path).returncode == 0
    assert (tmp_path / "restored" / "0.png").is_file()


def test_train_says_that_a_new_gauge_learns_first(fifty: Path, tmp_path: Path) -> None:
    gauge = 'gauge = ["stripe", "gaussian"]'
    text = TINY.replace("[network]", f"[network]\n{gauge}")
    assert gauge in text
    text += "\n[gauge]\ncrops = 40\nsteps = 4\nbatch = 8\n"
    (tmp_path / "gauged.toml").write_text(text, encoding="utf-8")
    options = ("--config", "gauged.toml", "--init", "none", "--budget", "3steps", "-o", "run")
    result = deal("train", "--data", "fifty", *options, cwd=tmp_path, env=ONE_THREAD)
    assert result.returncode == 0, result.stderr
    assert "deal: the gauge learns to read severities, from 40 crops" in result.stderr
    weights = load_enhancer(str(tmp_path / "run" / "best" / "enhancer.safetensors"))
    assert weights.config.gauge == ("stripe", "gaussian")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_an_interrupted_training_is_exit_130_and_goes_on(fifty: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "deal_cli", "train", "--data", fifty, "-o", run]
    options = ["--config", tmp_path / "config.toml", "--init", "none", "--budget", "400steps"]
    process = subprocess.Popen(
        [*map(str, command), *map(str, options)],
        cwd=ROOT,
        env=ONE_THREAD,
        stderr=subprocess.PIPE,
        text=True,
    )
    log, deadline = run / "metrics.jsonl", time.monotonic() + 120
    while not (log.is_file() and log.read_text().count("\n") > 3) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert f"deal: {run} is kept as of step" in stderr
    assert stderr.splitlines()[-1].startswith("deal: interrupted")
    text = (run / "config.toml").read_text(encoding="utf-8")
    (run / "config.toml").write_text(text.replace("steps = 400", "steps = 40", 1))
    result = deal("train", "--data", fifty, "-o", run, "--resume", env=ONE_THREAD)
    assert result.returncode == 0, result.stderr
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == sorted(set(steps))


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--backend", "onnx"], 3, "ONNX Runtime cannot train; use --backend cuda or"),
        (["--budget", "tomorrow"], 2, "a budget of 'tomorrow'; --budget takes"),
        (["--resume", "--budget", "3steps"], 2, "a resumed run keeps its own settings"),
        (["--resume"], 2, "is not a run"),
        (["--init", "nothing"], 3, "no bundled weights are called 'nothing'"),
        (["--val", "empty"], 2, "empty: holds no pictures; give --val another folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_training_that_cannot_be_is_refused_before_it_starts(
    options: list[str], code: int, words: str, fifty: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    line = refused(deal("train", "--data", "fifty", *options, cwd=tmp_path), code)
    assert words in line
    assert not (tmp_path / "runs").exists()
