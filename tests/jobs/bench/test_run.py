"""Timing the network: rows, the page, what is left out, and the command itself."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command import ROOT, deal

from deal_cli.cli import app as cli
from deal_cli.config import MAX_PIXELS
from deal_cli.engine.backends import ceilings
from deal_cli.engine.backends.choice import Request
from deal_cli.engine.backends.contract import Backend, Batch, Facts, OutOfMemoryError
from deal_cli.errors import BackendError, UsageError, WeightsError
from deal_cli.imaging.tiling import plan_tiles
from deal_cli.jobs.bench import run as job
from deal_cli.jobs.bench.run import Bench, BenchRequest, bench, parse_size
from deal_cli.jobs.bench.table import Row, write_speed
from deal_cli.model.cost import network_cost
from deal_cli.networks import NETWORKS, NetworkConfig

FACTS = Facts("cpu", "a processor", "float32", "", "fake", "f" * 64, 2, (60, 40), 16)
ROW = Row(
    "cpu", "a processor", "float32", "fake", "f" * 64, 512, 640, 8, 5,
    0.25, (0.2, 1.5), 4.0, 2**29, 29.4, 0.45, 50.0, 18.0, 2.352,
)  # fmt: skip


class Fake(Backend):
    """Remembers what it was fed, and runs out of memory above some pixels."""

    def __init__(self, most: int = 2**40) -> None:
        super().__init__(FACTS)
        self.most, self.fed = most, list[Batch]()

    def run(self, x: Batch, whole: Batch | None = None) -> Batch:
        if x.size > self.most:
            raise OutOfMemoryError
        self.fed.append(x)
        return x


@pytest.fixture
def _small_ceilings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "MATRIX", {"cpu": 64})
    monkeypatch.setattr(ceilings, "CONVOLUTION", {"cpu": (1, 32, 8)})
    monkeypatch.setattr(ceilings, "COPY", {"cpu": 2**16})
    monkeypatch.setattr(ceilings, "SECONDS", 0.01)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, _small_ceilings: None, tiny: NetworkConfig) -> Fake:
    made = Fake()
    monkeypatch.setattr(job, "open_backend", lambda choice, request: made)
    monkeypatch.setattr(job, "_network_config", lambda weights: tiny)
    return made


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`deal bench` in this process: arguments -> exit code."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(*arguments: str | Path) -> int:
        line = ["bench", *map(str, arguments)]
        monkeypatch.setattr("sys.argv", ["deal", *line])
        with pytest.raises(SystemExit) as caught:
            cli.main(line)
        assert isinstance(caught.value.code, int)
        return caught.value.code

    return run


# --- what is asked for ---------------------------------------------------------------------------


def test_a_size_is_width_by_height() -> None:
    assert parse_size("640x512") == (640, 512)
    assert parse_size("16X17") == (16, 17)


@pytest.mark.parametrize(
    "text", ["", "640", "x512", "640x", "15x64", "64x15", "-64x64", "6.4x64", "64x64x1", "９9x99"]
)
def test_what_is_no_size_or_too_small_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--size takes WIDTHxHEIGHT"):
        parse_size(text)


def test_a_size_above_the_largest_picture_is_refused() -> None:
    with pytest.raises(UsageError, match="megapixels"):
        parse_size(f"20000x{MAX_PIXELS // 20000 + 1}")


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_has_a_picture_at_least(batch: int) -> None:
    with pytest.raises(UsageError, match="--batch 1 or more"):
        BenchRequest(Request(), None, batch)


def test_loads_go_from_small_to_large() -> None:
    loads = BenchRequest(Request()).loads()
    assert len(loads) == 6
    pixels = [width * height * batch for width, height, batch in loads]
    assert pixels == sorted(pixels)
    assert BenchRequest(Request(), (64, 32), 3).loads() == [(64, 32, 3)]
    assert {batch for *_, batch in BenchRequest(Request(), (64, 32)).loads()} == {1, 8}
    assert BenchRequest(Request(), None, 1).loads(only=(32, 64)) == [(64, 32, 1)]


def test_the_network_of_an_onnx_file_is_that_of_its_weights() -> None:
    file = str(ROOT / "weights" / "deal.onnx")
    config = job._network_config("deal")
    assert job._network_config(file) == config
    assert config in (NETWORKS["deal"], dataclasses.replace(NETWORKS["deal"], gauge=(), fusion=0))


# --- what is timed -------------------------------------------------------------------------------


def test_every_repeat_gets_other_pictures_and_none_is_flat(fake: Fake) -> None:
    result = bench(BenchRequest(Request("cpu"), (48, 32), 2), [].append)
    assert len(fake.fed) >= result.rows[0].repeats + 1
    pictures = [picture for batch in fake.fed for picture in batch]
    assert {batch.shape for batch in fake.fed} == {(2, 1, 32, 48)}
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    assert all(picture.std() > 0.01 for picture in pictures)
    assert all(picture.min() >= 0 and picture.max() <= 1 for picture in pictures)


def test_a_picture_above_a_tile_is_cut_as_the_restorer_cuts_it() -> None:
    rng = np.random.default_rng(0)
    fed = job._fed(FACTS, [job.random_scene(rng, 1024, 1280) for _ in range(2)])
    tiles = plan_tiles(1024, 1280, tile=(1024, 1024), halo=FACTS.halo, stride=FACTS.stride)
    assert [batch.shape for batch in fed] == [(2, 1, 1024, 680)] * len(tiles)
    two_cores = dataclasses.replace(FACTS, parallel=2)
    (both,) = job._fed(two_cores, [job.random_scene(rng, 1024, 1280)])
    assert both.shape == (2, 1, 1024, 680)


@pytest.mark.usefixtures("_small_ceilings")
def test_a_row_holds_together(fresh_weights: Path, tiny: NetworkConfig) -> None:
    said: list[str] = []
    request = BenchRequest(Request("cpu", str(fresh_weights)), (33, 17), 2)
    result = bench(request, said.append)
    (row,) = result.rows
    assert result.complete
    assert (row.backend, row.weights, row.width, row.height, row.batch) == (
        "cpu", "fresh", 33, 17, 2,
    )  # fmt: skip
    assert row.spread[0] <= row.seconds_per_image <= row.spread[1]
    assert row.images_per_second == pytest.approx(1 / row.seconds_per_image)
    assert row.repeats >= 2
    assert (row.peak_memory_bytes or 2**30) > 2**24
    cost = network_cost(tiny, 18, 34)  # the edges in whole cells
    assert row.gmacs == pytest.approx(cost.macs / 1e9)
    width = {"float32": 4, "bfloat16": 2}[row.precision]
    assert row.gigabytes == pytest.approx(width * (cost.activations + cost.parameters / 2) / 1e9)
    assert row.ceiling_gmacs_per_second is not None
    share = row.gmacs / row.seconds_per_image / row.ceiling_gmacs_per_second
    assert row.fraction_of_ceiling == pytest.approx(share)
    assert [line.startswith("deal: ") for line in said] == [True] * 3
    assert "ceilings" in said[-1]


def test_what_does_not_fit_into_memory_is_left_out_and_told(
    fake: Fake, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    fake.most = 4 * 32 * 32
    assert command("--backend", "cpu", "--size", "32x32", "--json") == 1
    captured = capsys.readouterr()
    assert [json.loads(line)["batch"] for line in captured.out.splitlines()] == [1]
    assert "32x32, batch 8: out of memory, left out" in captured.err


# --- every backend of a machine ------------------------------------------------------------------


def apart(monkeypatch: pytest.MonkeyPatch, outcomes: dict[str, tuple[int, int]]) -> Bench:
    """`deal bench --backend all` where a backend's process ends with a code after some rows."""

    def run(command: list[str], **options: object) -> SimpleNamespace:
        name = command[command.index("--backend") + 1]
        code, count = outcomes[name]
        line = json.dumps(dataclasses.replace(ROW, backend=name).to_json()) + "\n"
        return SimpleNamespace(returncode=code, stdout=line * count)

    monkeypatch.setattr(job, "subprocess", SimpleNamespace(run=run, PIPE=-1))
    monkeypatch.setattr(job, "_network_config", lambda weights: None)
    monkeypatch.setattr("deal_cli.engine.backends.choice._why_no_cuda", lambda index: "none here")
    return bench(BenchRequest(Request("all")), [].append)


def test_rows_of_all_backends_come_together_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    result = apart(monkeypatch, {"onnx": (0, 1), "cpu": (0, 2)})
    assert result.complete
    assert [row.backend for row in result.rows] == ["onnx", "cpu", "cpu"]
    assert result.rows[1] == ROW


@pytest.mark.parametrize("code", [1, 3, -9])
def test_a_backend_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    result = apart(monkeypatch, {"onnx": (code, 0), "cpu": (0, 1)})
    assert [row.backend for row in result.rows] == ["cpu"]
    assert not result.complete


def test_no_backend_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match="no backend could be timed"):
        apart(monkeypatch, {"onnx": (3, 0), "cpu": (3, 0)})


def test_an_interruption_of_one_is_one_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        apart(monkeypatch, {"onnx": (130, 0), "cpu": (0, 1)})


def test_bad_weights_are_told_once() -> None:
    with pytest.raises(WeightsError, match="no such file"):
        bench(BenchRequest(Request("all", "missing.safetensors")), [].append)


# --- the page ------------------------------------------------------------------------------------


def test_the_section_on_speed_is_replaced_and_tells_its_making(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "benchmarks.md"
    rows = [ROW, dataclasses.replace(ROW, batch=1, fraction_of_ceiling=None)]
    write_speed(rows, page, ["bench", "--weights", "my file"])
    text = page.read_text(encoding="utf-8")
    cells = "| cpu | float32 | 640x512 | 8 | 250 (200–1,500) | 4 | 512 MiB | 29.4 | 0.45 | 235% |"
    assert cells in text.splitlines()
    assert text.count("`fake`, SHA-256") == text.count("- cpu backend: a processor, float32") == 1
    assert "50 GMAC/s and 18 GB/s" in text
    assert "- Command: `deal bench --weights 'my file'`" in text
    write_speed(rows, page, ["bench", "--weights", "my file"])
    assert page.read_text(encoding="utf-8") == text


def test_the_command_prints_a_table_and_writes_the_page_of_its_folder(
    fake: Fake,
    command: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "40")
    assert command("--backend", "cpu", "--size", "32x32", "--batch", "1", "--write") == 0
    captured = capsys.readouterr()
    assert {"cpu", "float32", "32x32"} <= set(captured.out.split())
    assert "deal: cpu backend" in captured.err
    page = (tmp_path / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert "deal bench --backend cpu --size 32x32 --batch 1 --write" in page
    assert "| cpu | float32 | 32x32 | 1 |" in page


# --- the real command ----------------------------------------------------------------------------


def test_only_rows_come_on_stdout(fresh_weights: Path, tmp_path: Path) -> None:
    arguments = ("--size", "32x32", "--batch", "1", "--weights", fresh_weights, "--json")
    result = deal("bench", "--backend", "cpu", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (row,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert list(row) == [field.name for field in dataclasses.fields(Row)]
    assert row["fraction_of_ceiling"] > 0
    assert all(line.startswith("deal: ") for line in result.stderr.splitlines())
    assert list(tmp_path.iterdir()) == []


def test_every_backend_of_this_machine_is_timed_in_a_process_of_its_own() -> None:
    result = deal("bench", "--size", "32x32", "--batch", "1", "--json")
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert {"onnx", "cpu"} <= {row["backend"] for row in rows}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--size", "640"), 2),
        (("--size", "15x64"), 2),
        (("--batch", "0"), 2),
        (("--backend", "tpu"), 3),
        (("--backend", "cuda:99"), 3),
        (("--backend", "cpu", "--weights", "missing.onnx"), 3),
    ],
)
def test_what_cannot_be_had_is_refused(
    arguments: tuple[str, ...],
    code: int,
    command: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(*arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
