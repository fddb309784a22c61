"""The verb: every method on the very same pictures, scored as the file of a user would be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deal_cli.errors import DealError, OutputError
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import write_frame
from deal_cli.imaging.frame import Frame
from deal_cli.jobs.evaluate.baselines import BASELINES
from deal_cli.jobs.evaluate.evaluation import Evaluation
from deal_cli.jobs.evaluate.run import Method, RunFacts, classical, evaluate, write_benchmarks
from deal_cli.jobs.protocol.benchmark_page import commit_of, describe_machine, write_section
from deal_cli.jobs.protocol.cases import Case, Selection
from deal_cli.model.metrics import psnr, ssim

# Mean PSNR and SSIM of the degraded pictures themselves, ten of each folder, crops of 320 px.
INPUT = {
    "clean": (70.00, 1.0000),
    "stripe02": (34.11, 0.8115),
    "stripe05": (26.08, 0.4584),
    "stripe10": (20.22, 0.2173),
    "sr2": (43.42, 0.9741),
    "sr4": (36.19, 0.9300),
    "blur": (37.84, 0.9507),
    "noise": (28.03, 0.4830),
    "contrast": (23.27, 0.9205),
    "stripe_sr4": (27.31, 0.4989),
    "all": (24.03, 0.4388),
}
NOTHING = Method("input", lambda case: case.degraded)
FACTS = RunFacts("a machine", "0123abc", "deal", "f" * 64, "deal evaluate --clean x")


def moved(by: float) -> Method:
    """A method that makes every picture brighter."""

    def restore(case: Case) -> Frame:
        return replace(case.degraded, values=case.degraded.values + np.float32(by))

    return Method("deal", restore)


def score_of(evaluation: Evaluation, task: str, method: str, name: str) -> float:
    mean = evaluation.of(task, method)
    assert mean is not None
    return mean.scores[name].mean


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three small clean pictures, `a.png` to `c.png`."""
    pictures = tmp_path / "scenes"
    pictures.mkdir()
    for seed, name in enumerate("abc"):
        picture = draw_scene(seed, 48, 64)
        # far from both ends, so that nothing below is clipped
        write_frame(
            replace(picture, values=np.rint(60 + picture.values / 2)), pictures / f"{name}.png"
        )
    return pictures


@pytest.mark.data
def test_pictures_left_alone_score_the_published_input_column(data: Path) -> None:
    selection = Selection((data / "val20", data / "test14"))
    cases = [case for subject in selection.subjects() for case in selection.cases(subject)]
    assert len(cases) == 20 * len(INPUT)
    for task, (wanted_psnr, wanted_ssim) in INPUT.items():
        pairs = [
            [frame.values / np.float32(255) for frame in (case.degraded, case.clean)]
            for case in cases
            if case.task == task
        ]
        assert np.mean([psnr(*pair) for pair in pairs]) == pytest.approx(wanted_psnr, abs=0.0051)
        assert np.mean([ssim(*pair) for pair in pairs]) == pytest.approx(wanted_ssim, abs=0.000051)


def test_every_picture_has_a_row_for_each_task_and_method(folder: Path) -> None:
    done: list[tuple[int, int]] = []
    selection = Selection((folder,), tasks=("noise", "clean"), per_set=2)
    result = evaluate(
        [NOTHING, moved(9)], selection, None, lambda now, whole: done.append((now, whole))
    )
    assert [(row.task, row.set, row.picture, row.method) for row in result.rows] == [
        (task, "scenes", stem, method)
        for task in ("noise", "clean")
        for stem in ("a", "c")
        for method in ("input", "deal")
    ]
    assert done == [(1, 2), (2, 2)]


def test_what_is_restored_is_scored_as_a_file_of_eight_bits(folder: Path) -> None:
    result = evaluate([moved(0.4)], Selection((folder,), tasks=("clean",)))
    assert score_of(result, "clean", "deal", "psnr") == pytest.approx(70.0)


def test_an_offset_costs_psnr_but_nothing_after_the_fit(folder: Path) -> None:
    result = evaluate([NOTHING, moved(26)], Selection((folder,), tasks=("clean",)))
    assert score_of(result, "clean", "deal", "psnr") == pytest.approx(-20 * np.log10(26 / 255))
    assert score_of(result, "clean", "deal", "psnr_after_fit") == pytest.approx(70.0)
    assert score_of(result, "clean", "deal", "hot_spot_error") == pytest.approx(26 / 255)
    assert score_of(result, "clean", "input", "psnr") == pytest.approx(70.0)
    assert score_of(result, "clean", "input", "hot_spot_error") == 0


def test_pairs_of_counts_are_scored_on_the_range_of_the_clean_ones(tmp_path: Path) -> None:
    clean = draw_scene(3, 48, 64, "uint16")
    for name, by in (("clean", 0), ("dirty", 25)):
        (tmp_path / name).mkdir()
        write_frame(replace(clean, values=clean.values + by), tmp_path / name / "a.tif")
    result = evaluate([NOTHING], Selection((tmp_path / "clean",), (tmp_path / "dirty",)))
    low, high = np.percentile(clean.values, (0.1, 99.9))
    span = (high - low) * 1.1
    assert score_of(result, "as found", "input", "psnr") == pytest.approx(
        20 * np.log10(span / 25), abs=0.05
    )
    assert score_of(result, "as found", "input", "psnr_after_fit") == pytest.approx(70)


def test_without_clean_pictures_stripes_show_in_the_columns(folder: Path) -> None:
    stripes = 8 * np.random.default_rng(0).standard_normal((1, 64))

    def striped(case: Case) -> Frame:
        return replace(case.degraded, values=(case.degraded.values + stripes).astype(np.float32))

    result = evaluate([NOTHING, Method("striped", striped)], Selection(degraded=(folder,)))
    before, after = (
        score_of(result, "as found", method, "column_residual") for method in ("input", "striped")
    )
    assert after > before + 0.02
    assert "psnr" not in result.rows[0].scores


def test_one_bad_file_stops_no_other_and_is_told(folder: Path) -> None:
    (folder / "bad.png").write_bytes(b"no picture")
    Image.fromarray(np.full((48, 64), 9000, np.uint16)).save(folder / "counts.png")
    result = evaluate([NOTHING], Selection((folder,), tasks=("clean",)))
    assert {row.picture for row in result.rows} == {"a", "b", "c"}
    assert [error.file.name for error in result.failed] == ["bad.png", "counts.png"]


def test_where_every_file_is_bad_the_first_cause_is_raised(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 40), 9000, np.uint16)).save(tmp_path / "counts.png")
    with pytest.raises(DealError, match=r"counts\.png: uint16 where .* 8-bit"):
        evaluate([NOTHING], Selection((tmp_path,), tasks=("clean",)))


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda baseline: baseline.name)
def test_classical_methods_work_on_counts_and_leave_what_is_out_of_range(baseline) -> None:
    counts = draw_scene(2, 48, 64, "uint16")
    counts.values[20, 30] = 60000  # far beyond what is seen as 1
    case = Case("s", "a", "as found", counts)
    made = classical(baseline).restore(case)
    if made is None:  # an enlargement, and nothing was small
        assert baseline.made_for == ("low resolution",)
        return
    assert made.values.shape == (48, 64)
    assert made.dtype == np.uint16
    assert made.values[20, 30] > 50000
    assert 6000 < np.median(made.values) < 11000


def test_an_enlargement_has_nothing_to_say_of_other_tasks(folder: Path) -> None:
    enlarging = [classical(one) for one in BASELINES if one.name in ("bicubic", "Lanczos")]
    assert len(enlarging) == 2
    result = evaluate([NOTHING, *enlarging], Selection((folder,), tasks=("sr2", "noise")))
    assert [result.of("noise", method.name) for method in enlarging] == [None, None]
    assert score_of(result, "sr2", "bicubic", "psnr") > 25


# The benchmarks page ------------------------------------------------------------------------------


@pytest.fixture
def noisy(folder: Path) -> Evaluation:
    return evaluate([NOTHING, moved(0)], Selection((folder,), tasks=("noise",), per_set=2))


def test_benchmarks_are_written_into_their_own_section_only(
    noisy: Evaluation, tmp_path: Path
) -> None:
    page = tmp_path / "docs" / "benchmarks.md"
    write_section(page, "speed", "fast")
    write_benchmarks(noisy, page, FACTS)
    once = page.read_text(encoding="utf-8")
    assert "<!-- speed -->\nfast\n<!-- /speed -->" in once
    assert once.count("<!-- restoration -->") == once.count("<!-- /restoration -->") == 1
    for fact in ("a machine", "0123abc", "deal", "f" * 64, "deal evaluate --clean x"):
        assert fact in once
    assert f"| noise | input | {score_of(noisy, 'noise', 'input', 'psnr'):.2f} | –" in once
    write_benchmarks(noisy, page, FACTS)
    assert page.read_text(encoding="utf-8") == once
    write_benchmarks(noisy, page, replace(FACTS, machine="another"))
    changed = page.read_text(encoding="utf-8")
    assert changed == once.replace("a machine", "another")
    assert [path.name for path in page.parent.iterdir()] == ["benchmarks.md"]


def test_classical_methods_have_tables_of_their_own(folder: Path, tmp_path: Path) -> None:
    methods = [NOTHING, moved(0), replace(moved(9), name="brighter")]
    found = evaluate(methods, Selection((folder,), tasks=("noise",), per_set=2))
    write_benchmarks(found, tmp_path / "page.md", FACTS)
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    first, second = page.split("### Beside classical methods")
    assert "brighter" not in first
    assert "| PSNR dB ↑ | noise |" in second
    assert "| brighter |" in second


def test_other_weights_have_a_section_of_their_own(noisy: Evaluation, tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    write_benchmarks(noisy, page, FACTS)
    first = page.read_text(encoding="utf-8")
    write_benchmarks(noisy, page, replace(FACTS, weights="mine --> <b>"))
    both = page.read_text(encoding="utf-8")
    assert both.startswith(first.rstrip())
    assert "<!-- restoration mine_--___b_ -->\n## Restoration with `mine --> <b>`" in both


def test_a_section_without_its_end_is_refused_and_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("<!-- speed -->\nmine\n", encoding="utf-8")
    with pytest.raises(OutputError, match="lacks one of its markers"):
        write_section(page, "speed", "yours")
    assert page.read_text(encoding="utf-8") == "<!-- speed -->\nmine\n"


def test_a_page_that_cannot_be_written_is_an_error_of_output(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        write_section(tmp_path / "file" / "benchmarks.md", "speed", "fast")


def test_the_machine_and_the_commit_have_words(tmp_path: Path) -> None:
    assert "cores" in describe_machine()
    assert commit_of(tmp_path) == "unknown"
