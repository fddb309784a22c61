"""`deal evaluate`, `deal report` and `deal restore --report` through the real entry point."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from command import ROOT, deal, refused
from imaging.radiometric_files import flir

from deal_cli.errors import ExitCode
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import write_frame


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """A folder of two drawn scenes."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    for seed in range(2):
        write_frame(draw_scene(seed, 96, 128), folder / f"{seed}.png")
    return folder


def test_evaluate_prints_one_json_document_and_stripes_are_removed(scenes: Path) -> None:
    options = ("--tasks", "clean,stripe02", "--per-set", "2", "--crop", "96", "--json")
    result = deal("evaluate", "--clean", scenes, *options)
    assert result.returncode == 0, result.stderr
    scores = json.loads(result.stdout)
    assert (scores["per_set"], scores["crop"], scores["weights"]) == (2, 96, "deal")
    psnr = {(mean["task"], mean["method"]): mean["psnr"]["mean"] for mean in scores["means"]}
    assert list(psnr) == [
        (task, method) for task in ("clean", "stripe02") for method in ("input", "deal")
    ]
    assert psnr["clean", "input"] == 70
    assert psnr["clean", "deal"] > 35
    assert psnr["stripe02", "deal"] > psnr["stripe02", "input"] + 3
    assert len(scores["pictures"]) == 8


def test_evaluate_scores_pairs_of_ones_own_and_goes_on_past_a_bad_one(
    scenes: Path, tmp_path: Path
) -> None:
    made = deal("degrade", scenes, "-o", tmp_path / "set", "--pairs", "-q")
    assert made.returncode == 0, made.stderr
    degraded = tmp_path / "set" / "degraded"
    (degraded / "bad.png").write_bytes(b"no picture")
    clean = tmp_path / "set" / "clean"
    options = ("--weights", "deal-fast", "--csv")
    result = deal("evaluate", "--clean", clean, "--degraded", degraded, *options)
    assert result.returncode == 1
    assert "bad.png: has the name of no clean picture; name it as" in result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(row["picture"], row["method"]) for row in rows] == [
        (name, method) for name in "01" for method in ("input", "deal-fast")
    ]
    assert float(rows[1]["psnr"]) > float(rows[0]["psnr"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "no pictures; give --clean or --degraded a folder of them"),
        (("--json", "--csv", "--clean", "."), "two forms for one stdout; give one of --json"),
        (("--degraded", ".", "--tasks", "noise"), "--tasks is for the named degradations; leave"),
        (("--degraded", ".", "--write"), "--write is for the named degradations; leave"),
        (("--clean", "a", "--degraded", "b", "c"), "c: is it clean or degraded?; repeat --clean"),
        (("--clean", "nowhere"), "nowhere: not a folder; give --clean"),
    ],
)
def test_evaluate_refuses_what_makes_no_sense(
    tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = deal("evaluate", *options, cwd=tmp_path)
    assert refused(result, ExitCode.USAGE).startswith(message)


def test_restore_writes_a_page_of_what_it_did(scenes: Path, tmp_path: Path) -> None:
    (scenes / "bad.png").write_bytes(b"no picture")
    page = tmp_path / "page.html"
    options = ("-o", tmp_path / "out", "--weights", "deal-fast", "--report", page)
    result = deal("restore", scenes, *options)
    assert result.returncode == 1
    assert "page.html: 2 pictures" in result.stderr
    text = page.read_text(encoding="utf-8")
    for part in (f"{scenes.name}/0.png", "1.png", "bad.png", "deal-fast", "mean shift"):
        assert part in text
    again = deal("restore", scenes, *options)
    assert "page.html: exists" in refused(again, ExitCode.USAGE)


def test_restore_shows_three_frames_of_a_stack(tmp_path: Path) -> None:
    pages = np.stack([draw_scene(seed, 40, 48, "uint16").values for seed in range(4)])
    tifffile.imwrite(tmp_path / "stack.tif", pages.astype(np.uint16), photometric="minisblack")
    page = tmp_path / "page.html"
    options = ("-o", tmp_path / "out.tif", "--weights", "deal-fast", "--report", page, "--split")
    result = deal("restore", tmp_path / "stack.tif", *options)
    assert result.returncode == 0, result.stderr
    names = re.findall(r"stack\.tif, frame \d", page.read_text(encoding="utf-8"))
    assert list(dict.fromkeys(names)) == [f"stack.tif, frame {at}" for at in (1, 2, 4)]
    assert len(list((tmp_path / "page_files").iterdir())) == 3


def test_a_page_in_degrees_holds_degrees(tmp_path: Path) -> None:
    source = tmp_path / "FLIR0042.jpg"
    source.write_bytes(flir())
    page = tmp_path / "page.html"
    options = ("--unit", "celsius", "--weights", "deal-fast", "--report", page)
    result = deal("restore", source, "-o", tmp_path / "out", *options)
    assert result.returncode == 0, result.stderr
    assert r'"unit":"\u00b0C"' in page.read_text(encoding="utf-8")


def test_split_is_refused_without_a_report(scenes: Path, tmp_path: Path) -> None:
    result = deal("restore", scenes, "-o", tmp_path / "out", "--split")
    assert refused(result, ExitCode.USAGE).startswith(
        "--split is of a report's page; give --report"
    )


def test_report_compares_two_folders_and_prints_the_page(scenes: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = deal("report", scenes, scenes, "-o", page)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{page}\n"
    assert "2 pictures" in result.stderr
    refusal = refused(deal("report", scenes, scenes, "-o", page), ExitCode.USAGE)
    assert "page.html: exists" in refusal


def test_weights_named_as_another_method_are_refused(scenes: Path, tmp_path: Path) -> None:
    weights = tmp_path / "midway.safetensors"
    shutil.copyfile(ROOT / "weights" / "deal-fast.safetensors", weights)
    result = deal("evaluate", "--degraded", scenes, "--weights", weights)
    assert "weights named 'midway', as another method; rename" in refused(result, ExitCode.USAGE)


def test_a_name_that_no_system_takes_is_an_error_of_use(tmp_path: Path) -> None:
    long = "a" * 300
    for arguments in (("report", long, long), ("evaluate", "--clean", long)):
        message = refused(deal(*arguments, cwd=tmp_path), ExitCode.USAGE)
        assert "File name too long; check its name and permissions" in message
