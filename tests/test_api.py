"""The door for programs: equal to the command, safe to share, light to import; its page runs."""

from __future__ import annotations

import contextlib
import io
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from command import ROOT
from imaging.radiometric_files import flir
from PIL import Image

import deal_cli as deal
from deal_cli.imaging.drawn.scenes import draw_scene

FAST = "deal-fast"


def counts(seed: int = 0, shape: tuple[int, int] = (64, 80)) -> np.ndarray[Any, np.dtype[Any]]:
    """A drawn scene in 16 bits, with a camera's noise."""
    scene = draw_scene(7, *shape, "uint16").values
    noise = np.random.default_rng(seed).normal(0, 12, shape)
    return np.rint(scene + noise).astype(np.uint16)


@pytest.fixture(scope="module")
def restorer() -> deal.Restorer:
    return deal.open_restorer(weights=FAST, backend="cpu")


def command(*arguments: Path | str) -> None:
    options = ["--weights", FAST, "--backend", "cpu", "--tone", "keep", "-q"]
    line = [sys.executable, "-m", "deal_cli", "restore", *map(str, arguments), *options]
    made = subprocess.run(line, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr


def test_an_array_is_restored_as_the_command_restores_its_file(
    restorer: deal.Restorer, tmp_path: Path
) -> None:
    stack = np.stack([counts(seed) for seed in range(3)])
    tifffile.imwrite(tmp_path / "one.tif", counts())
    tifffile.imwrite(tmp_path / "many.tif", stack, photometric="minisblack")
    Image.fromarray((counts() // 40).astype(np.uint8)).save(tmp_path / "grey.png")
    command(
        tmp_path / "one.tif", tmp_path / "many.tif", tmp_path / "grey.png", "-o", tmp_path / "out"
    )
    made = tmp_path / "out"
    assert np.array_equal(tifffile.imread(made / "one.tif"), restorer(counts()))
    assert np.array_equal(tifffile.imread(made / "many.tif"), restorer(stack))
    grey = np.asarray(Image.open(tmp_path / "grey.png"))
    assert np.array_equal(np.asarray(Image.open(made / "grey.png")), restorer(grey))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_dtype_and_shape_come_back_and_the_source_stays(
    restorer: deal.Restorer, dtype: str
) -> None:
    given = (counts() // (1 if dtype != "uint8" else 40)).astype(dtype)
    before = given.copy()
    made, fidelity = restorer(given, with_fidelity=True)
    assert made.dtype == given.dtype
    assert made.shape == given.shape
    assert np.array_equal(given, before)
    assert fidelity is not None
    assert fidelity.pixels == given.size
    assert not np.array_equal(made, given)


def test_gaps_of_an_array_stay(restorer: deal.Restorer) -> None:
    given = counts().astype(np.float32)
    given[5:9, 7:30] = np.nan
    assert np.array_equal(np.isnan(restorer(given)), np.isnan(given))


def test_a_restorer_pickles_and_threads_may_share_it(restorer: deal.Restorer) -> None:
    expected = restorer(counts())
    assert np.array_equal(pickle.loads(pickle.dumps(restorer))(counts()), expected)
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(m, expected) for m in pool.map(restorer, [counts()] * 8))


def test_a_frame_brings_its_calibration_and_what_is_written_is_never_replaced(
    restorer: deal.Restorer, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(flir(counts()))
    frame = deal.read(tmp_path / "a.jpg")
    restored = restorer(frame)
    assert restored.metadata == frame.metadata
    assert np.abs(restored.celsius() - frame.celsius()).mean() < 1
    deal.write(restored, tmp_path / "b.tif")
    with pytest.raises(deal.DealError, match=r"b\.tif: exists"):
        deal.write(restored, tmp_path / "b.tif")
    deal.write(restored, tmp_path / "b.tif", overwrite=True)


def test_files_have_their_outcomes_and_a_bad_one_stops_no_other(
    restorer: deal.Restorer, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", counts())
    (tmp_path / "b.tif").write_bytes(b"II*\0 is none")
    for expected in (["restored", "failed"], ["skipped", "failed"]):
        outcomes = deal.restore_files(
            [tmp_path / "a.tif", tmp_path / "b.tif"], tmp_path / "out", restorer=restorer
        )
        assert [outcome.status for outcome in outcomes] == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strength": 2.0}, "--strength"),
        ({"scale": 3}, "--scale"),
        ({"max_change": "much"}, "--max-change"),
        ({"range": (5, 5)}, "--range"),
        ({"weights": "none.safetensors"}, "none.safetensors"),
    ],
)
def test_options_are_refused_with_the_words_of_the_command(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(deal.DealError, match=words):
        deal.open_restorer(**options)


@pytest.mark.parametrize("shape", [(5,), (2, 3, 8, 8), (0, 8, 8)])
def test_a_shape_that_is_no_picture_is_refused(
    restorer: deal.Restorer, shape: tuple[int, ...]
) -> None:
    with pytest.raises(deal.DealError):
        restorer(np.zeros(shape, np.uint16))


def test_the_import_is_light_and_knows_its_names() -> None:
    code = (
        "import sys, deal_cli; assert 'numpy' not in sys.modules;"
        " assert {'open_restorer', 'read'} <= set(dir(deal_cli)); deal_cli.read;"
        " print(sorted({'torch', 'onnxruntime', 'av'} & set(sys.modules)))"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert made.stdout.strip() == "[]"
    with pytest.raises(AttributeError):
        deal.no_such_name  # noqa: B018


def test_the_page_runs_as_a_reader_would_type_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("FLIR0042.jpg").write_bytes(flir(counts()))
    Path("flight").mkdir()
    tifffile.imwrite("flight/a.tif", counts())
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        exec("\n".join(blocks), {"counts": counts()})
    assert "restored flight/a.tif restored/a.tif" in told.getvalue()
    assert "missing.png: no such file" in told.getvalue()
    assert Path("clean/FLIR0042.tif").is_file()
