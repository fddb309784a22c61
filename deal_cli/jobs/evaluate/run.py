"""Score the weights, and the classical methods beside them, on degraded pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import deal_cli
from deal_cli.engine.backends.contract import Facts
from deal_cli.engine.ranges import measure_range
from deal_cli.engine.restorer import Restorer, Settings
from deal_cli.errors import DealError, UsageError
from deal_cli.imaging.frame import Frame
from deal_cli.jobs.batch.pipeline import told
from deal_cli.jobs.evaluate.baselines import BASELINES, Baseline
from deal_cli.jobs.evaluate.evaluation import INPUT, Evaluation, Row
from deal_cli.jobs.evaluate.scores import BLIND, REFERENCED, score
from deal_cli.jobs.protocol.benchmark_page import section_of, write_section
from deal_cli.jobs.protocol.cases import Case, Selection
from deal_cli.jobs.protocol.tasks import CONTRAST

#: Tables that the benchmarks page has of all methods.
MATRICES = ("psnr", "psnr_after_fit", "ssim", "vif", "edge_preservation", "hot_spot_error")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Method:
    """What is scored.

    Attributes:
        name: in rows and tables.
        restore: the restored picture of a case; None where it has nothing to say of it.
    """

    name: str
    restore: Callable[[Case], Frame | None]


@dataclass(frozen=True)
class RunFacts:
    """What a published figure must say of its making.

    Attributes:
        machine: the processor or accelerator, in words.
        commit: the commit of the source, as Git names it.
        weights: the name of the weights.
        weights_sha256: the hash of the weights' file, in hexadecimal.
        command: the exact command line.
    """

    machine: str
    commit: str
    weights: str
    weights_sha256: str
    command: str


def methods_of(restorer: Restorer, *, baselines: bool, tone: str = "keep") -> tuple[Method, ...]:
    """What does nothing, the weights, and the classical methods if they are asked for.

    Lost contrast is nothing that a kept tone could restore: of the named tasks this one alone is
    restored with `auto` where the others keep theirs.

    Raises:
        UsageError: the weights have the name of another method.
    """
    name = restorer.backend.facts.weights
    if name in (INPUT, *(one.name for one in BASELINES)):
        raise UsageError(f"weights named '{name}', as another method", remedy="rename their file")
    toned = restorer.with_tone("auto") if tone == "keep" else restorer

    def restore(case: Case) -> Frame:
        return (toned if case.task == CONTRAST else restorer).restore(case.degraded).frame

    ours = Method(name, restore)
    nothing = Method(INPUT, lambda case: case.degraded)
    return (nothing, ours, *(classical(one) for one in BASELINES if baselines))


def evaluate(
    methods: Sequence[Method],
    selection: Selection,
    facts: dict[str, Any] | None = None,
    on_progress: Progress | None = None,
) -> Evaluation:
    """Score some methods on the pictures of a selection.

    Args:
        methods: what is scored, each on the very same pictures.
        selection: which pictures, and how they are degraded.
        facts: what the evaluation is to tell of the methods' making.
        on_progress: called after each picture with the number done and the number of all.

    Returns:
        the scores of every picture under every task and method, and the files that failed.

    Raises:
        UsageError: see `Selection.subjects`.
        DealError: every single file failed: the first cause.
    """
    subjects = selection.subjects()
    rows: list[Row] = []
    failed: list[DealError] = []
    for done, subject in enumerate(subjects, 1):
        try:
            rows += [row for case in selection.cases(subject) for row in _scored(case, methods)]
        except Exception as failure:
            error = told(failure)
            error.file = error.file or subject.path
            failed.append(error)
        if on_progress is not None:
            on_progress(done, len(subjects))
    if not rows:
        raise failed[0]
    order = {task: at for at, task in enumerate(dict.fromkeys(selection.tasks))}
    rows.sort(key=lambda row: order.get(row.task, 0))
    blind = not selection.protocol and not selection.clean
    made = {**(facts or {}), "crop": selection.side, "per_set": selection.most}
    return Evaluation(tuple(rows), BLIND if blind else REFERENCED, made, tuple(failed))


def facts_of(engine: Facts, settings: Settings) -> dict[str, Any]:
    """What a reader of the figures needs to know of our own method."""
    return {
        "version": deal_cli.__version__,
        "weights": engine.weights,
        "weights_sha256": engine.sha256,
        "backend": engine.backend,
        "precision": engine.precision,
        "tone": settings.tone,
        "tone_of_contrast": "auto" if settings.tone == "keep" else settings.tone,
    }


def write_benchmarks(evaluation: Evaluation, path: Path, facts: RunFacts) -> None:
    """Write the section on restoration with these weights, leaving the rest of the page alone.

    Args:
        evaluation: the scores.
        path: the page; it is made where there is none.
        facts: what the figures depend on.

    Raises:
        OutputError: the page cannot be written.
    """
    explanation = (
        f"{evaluation.selection()} ([metrics.md](metrics.md) says what each figure is,"
        " [baselines.md](baselines.md) what the classical methods are)."
    )
    origin = "\n".join(
        [
            f"- Machine: {facts.machine}",
            f"- Commit: `{facts.commit}`",
            f"- Weights: `{facts.weights}`, SHA-256 `{facts.weights_sha256}`",
            f"- Command: `{facts.command}`",
        ]
    )
    section, heading = section_of("restoration", facts.weights)
    ours = (INPUT, facts.weights)
    shown = Evaluation(
        tuple(row for row in evaluation.rows if row.method in ours),
        evaluation.metrics,
        evaluation.facts,
    )
    parts = [heading, explanation, shown.markdown()]
    if len(evaluation.methods) > len(ours):
        parts.append("### Beside classical methods")
        parts.append("Each is blind, as the weights are; bold is the best of a column.")
        parts += [evaluation.matrix(name) for name in MATRICES]
    write_section(path, section, "\n\n".join([*parts, origin]))


def _scored(case: Case, methods: Sequence[Method]) -> list[Row]:
    """A row for each method that has something to say of a case."""
    rows = []
    for method in methods:
        frame = method.restore(case)
        if frame is not None:
            scores = score(frame.values, case)
            rows.append(Row(case.set, case.stem, case.task, method.name, scores))
    return rows


def classical(baseline: Baseline) -> Method:
    """A classical method, which knows pictures in [0, 1] alone, on a picture's own numbers.

    What lies outside the range that the network would see is beyond its reach, and stays.
    """

    def restore(case: Case) -> Frame | None:
        source = case.degraded.values
        low, high = measure_range(case.degraded, "auto")
        if high <= low:
            return case.degraded
        span = np.float32(high - low)
        unit = np.clip((source - np.float32(low)) / span, 0, 1)
        small = None
        if case.small is not None:
            small = np.clip((case.small.values - np.float32(low)) / span, 0, 1)
        made = baseline.restore(unit, small)
        return None if made is None else Frame(source + span * (made - unit), case.degraded.dtype)

    return Method(baseline.name, restore)
