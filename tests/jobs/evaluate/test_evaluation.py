"""Rows added up and told: means, intervals, JSON, CSV and tables."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import norm

from deal_cli.errors import PictureError
from deal_cli.jobs.evaluate.evaluation import Evaluation, Row
from deal_cli.jobs.evaluate.scores import Metric

PSNR = Metric("psnr", "PSNR", "dB", 2, "up")
SIX = [20.0, 20, 20, 30, 30, 30]
SPOT = Metric("hot_spot_error", "hot spot", "%", 2, "down", percent=True, signed=True)


def evaluation(
    values: list[float], spots: list[float] | None = None, **facts: object
) -> Evaluation:
    rows = [
        Row("s", str(at), "noise", method, {"psnr": value + more, "hot_spot_error": spot})
        for at, (value, spot) in enumerate(zip(values, spots or [0.0] * len(values), strict=True))
        for method, more in (("input", 0.0), ("deal", 10.0))
    ]
    return Evaluation(tuple(rows), (PSNR, SPOT), dict(facts))


def test_a_mean_is_that_of_its_rows() -> None:
    mean = evaluation([20, 30, 40]).of("noise", "deal")
    assert mean is not None
    assert mean.pictures == 3
    assert mean.scores["psnr"].mean == pytest.approx(40)


def test_the_interval_of_many_values_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(1).normal(30, 4, 400)
    found = evaluation(list(values)).of("noise", "input")
    assert found is not None
    half = norm.ppf(0.975) * values.std() / 20
    estimate = found.scores["psnr"]
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.06)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.06)


def test_the_interval_is_the_same_every_time_and_none_of_few_pictures() -> None:
    assert evaluation(SIX).means == evaluation(SIX).means
    few = evaluation(SIX[:5]).of("noise", "input")
    assert few is not None
    assert (few.scores["psnr"].low, few.scores["psnr"].high) == (None, None)


def test_a_mean_says_of_how_many_pictures_it_is() -> None:
    mean = evaluation([20, 30], [math.nan, 0.02]).of("noise", "input")
    assert mean is not None
    assert [mean.scores[name].pictures for name in ("psnr", "hot_spot_error")] == [2, 1]


def test_errors_of_either_sign_do_not_cancel() -> None:
    mean = evaluation([20, 20], [0.04, -0.02]).of("noise", "input")
    assert mean is not None
    assert mean.scores["hot_spot_error"].mean == pytest.approx(0.03)


def test_a_figure_that_a_picture_has_not_got_counts_for_nothing() -> None:
    found = evaluation([20, 30], [math.nan, 0.02])
    mean = found.of("noise", "input")
    assert mean is not None
    assert mean.scores["hot_spot_error"].mean == pytest.approx(0.02)
    assert found.to_json()["pictures"][0]["hot_spot_error"] is None
    assert next(csv.DictReader(io.StringIO(found.to_csv())))["hot_spot_error"] == ""


def test_json_holds_facts_means_with_intervals_rows_and_failures() -> None:
    whole = evaluation([20, 30], weights="deal")
    failed = PictureError("is damaged", file="x.png")  # type: ignore[arg-type]
    loaded = json.loads(Evaluation(whole.rows, whole.metrics, whole.facts, (failed,)).text("json"))
    assert loaded["weights"] == "deal"
    assert loaded["means"][1]["method"] == "deal"
    assert loaded["means"][1]["psnr"]["mean"] == 35
    assert loaded["means"][1]["psnr"] == {"mean": 35, "pictures": 2, "low": None, "high": None}
    assert loaded["pictures"][3] == {
        "set": "s",
        "picture": "1",
        "task": "noise",
        "method": "deal",
        "psnr": 40,
        "hot_spot_error": 0,
    }
    assert loaded["failed"] == [{"file": "x.png", "error": "x.png: is damaged"}]


def test_csv_has_a_line_for_each_picture_and_method() -> None:
    rows = list(csv.DictReader(io.StringIO(evaluation([20, 30]).text("csv"))))
    assert [(row["picture"], row["method"], float(row["psnr"])) for row in rows] == [
        ("0", "input", 20),
        ("0", "deal", 30),
        ("1", "input", 30),
        ("1", "deal", 40),
    ]


def test_markdown_has_a_line_for_each_task_and_method() -> None:
    lines = evaluation(SIX, [0.01, 0.02] * 3).text("markdown").splitlines()
    assert lines[0] == "| task | method | PSNR dB ↑ | 95 % interval | hot spot % ↓ |"
    assert lines[2].startswith("| noise | input | 25.00 | [21.")
    assert lines[2].endswith(" | 1.50 |")


def test_a_matrix_has_the_best_of_each_column_in_bold() -> None:
    lines = evaluation([20, 30]).matrix("psnr").splitlines()
    assert lines[0] == "| PSNR dB ↑ | noise |"
    assert lines[2:] == ["| input | 25.00 |", "| deal | **35.00** |"]
    assert evaluation([20, 30], [0.01, 0.02]).matrix("hot_spot_error").count("**1.50**") == 2


@pytest.mark.parametrize(
    ("width", "spared"),
    [(100, ""), (40, "not shown: 95 % interval"), (28, "not shown: 95 % interval, hot spot % ↓")],
)
def test_the_table_leaves_out_what_does_not_fit_and_says_so(width: int, spared: str) -> None:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(evaluation(SIX).table(width))
    shown = " ".join(capture.get().split())
    assert "25.00" in shown
    assert "…" not in shown
    assert ("[21." in shown) == (not spared)
    assert spared in shown


def test_what_was_scored_is_told_in_a_line() -> None:
    assert evaluation([20, 30], crop=32).selection() == "2 pictures of s; centre crop 32 px"
    assert evaluation([20]).selection() == "1 picture of s; whole pictures"
