"""What an evaluation found, a row for each picture and method, and how it is told.

Means come with the interval that resampling the pictures gives (Efron & Tibshirani, "An
Introduction to the Bootstrap", 1993, chapter 13: percentiles), drawn from a fixed seed.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from deal_cli.errors import DealError
from deal_cli.jobs.evaluate.scores import Metric, Scores
from deal_cli.jobs.protocol.tasks import CONTRAST

if TYPE_CHECKING:
    from rich.table import Table

CONFIDENCE = 0.95
LEAST_PICTURES = 6  # of an interval: of fewer, resampling holds the mean far too seldom
RESAMPLES = 2000
SEED = 0
INPUT = "input"  # the method that does nothing
INTERVAL_AT = 3  # the column of the first figure's interval

Form = Literal["json", "csv", "markdown"]


@dataclass(frozen=True)
class Row:
    """One picture under one task as one method left it.

    Attributes:
        set: the name of the picture's folder.
        picture: its file name without the suffix.
        task: how it was degraded.
        method: `INPUT`, the name of weights, or that of a baseline.
        scores: every metric of the evaluation.
    """

    set: str
    picture: str
    task: str
    method: str
    scores: Scores


@dataclass(frozen=True)
class Estimate:
    """A mean over the pictures that have the figure.

    Attributes:
        mean: NaN where none has it.
        pictures: how many have it.
        low: with `high` the interval at 95 % confidence; None of fewer than `LEAST_PICTURES`.
    """

    mean: float
    pictures: int
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Mean:
    """What one method scores on one task, over its pictures."""

    task: str
    method: str
    pictures: int
    scores: dict[str, Estimate]


@dataclass(frozen=True)
class Evaluation:
    """Every row that was scored, and what anyone needs to repeat it.

    Attributes:
        rows: by task, picture and method, in the order asked for.
        metrics: the figures of every row.
        facts: weights, settings and selection, in plain values.
        failed: the files that could not be scored, and why.
    """

    rows: tuple[Row, ...]
    metrics: tuple[Metric, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    failed: tuple[DealError, ...] = ()

    @cached_property
    def means(self) -> tuple[Mean, ...]:
        """The means of each task and method over all its pictures, in the order of the rows."""
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            groups.setdefault((row.task, row.method), []).append(row)
        return tuple(
            Mean(task, method, len(rows), {m.name: _estimate(m, rows) for m in self.metrics})
            for (task, method), rows in groups.items()
        )

    @property
    def tasks(self) -> tuple[str, ...]:
        """In the order asked for."""
        return tuple(dict.fromkeys(row.task for row in self.rows))

    @property
    def methods(self) -> tuple[str, ...]:
        """In the order asked for, those that some picture has."""
        return tuple(dict.fromkeys(row.method for row in self.rows))

    def of(self, task: str, method: str) -> Mean | None:
        """The mean of one method on one task, if it has one."""
        found = (mean for mean in self.means if (mean.task, mean.method) == (task, method))
        return next(found, None)

    def selection(self) -> str:
        """What was scored, in one line."""
        pictures = max(mean.pictures for mean in self.means)
        sets = ", ".join(dict.fromkeys(row.set for row in self.rows))
        crop = self.facts.get("crop")
        size = "whole pictures" if crop is None else f"centre crop {crop} px"
        word = "picture" if pictures == 1 else "pictures"
        told = f"{pictures} {word} of {sets}; {size}"
        toned = self.facts.get("tone_of_contrast")
        if toned is not None and any(row.task == CONTRAST for row in self.rows):
            told += f"; tone {self.facts['tone']}, at `{CONTRAST}` {toned}"
        return told

    def text(self, form: Form) -> str:
        """All of it as a JSON document, the rows as CSV, or the means as a table in Markdown."""
        if form == "json":
            return json.dumps(self.to_json(), indent=2)
        return self.to_csv() if form == "csv" else self.markdown()

    def to_json(self) -> dict[str, Any]:
        """The facts, the means with their intervals, the rows and what failed, as plain values."""
        return {
            **self.facts,
            "means": [
                {
                    "task": mean.task,
                    "method": mean.method,
                    "pictures": mean.pictures,
                    **{name: _plain(vars(estimate)) for name, estimate in mean.scores.items()},
                }
                for mean in self.means
            ],
            "pictures": [{**_named(row), **_plain(row.scores)} for row in self.rows],
            "failed": [{"file": str(e.file), "error": str(e)} for e in self.failed],
        }

    def to_csv(self) -> str:
        """A line for each row; a figure that a picture has not got is left empty."""
        text = io.StringIO()
        names = [metric.name for metric in self.metrics]
        writer = csv.DictWriter(
            text, ["set", "picture", "task", "method", *names], lineterminator="\n"
        )
        writer.writeheader()
        for row in self.rows:
            writer.writerow({**_named(row), **_plain(row.scores)})
        return text.getvalue().rstrip("\n")

    def table(self, width: int) -> Table:
        """The means as a table for a terminal of so many characters.

        Columns that do not fit are left out, the interval first and then from the right, and named.
        """
        from rich.console import Console

        console = Console(width=10 * width, file=io.StringIO())
        columns = list(range(len(self._titles())))
        spared: list[int] = []
        while True:
            table = self._table([at for at in columns if at not in spared], spared)
            if console.measure(table).maximum <= width or len(spared) + 3 == len(columns):
                return table
            spared.append(INTERVAL_AT if not spared else columns[-len(spared)])

    def _table(self, kept: Sequence[int], spared: Sequence[int]) -> Table:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        titles = self._titles("\n")
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for at in kept:
            table.add_column(Text(titles[at]), justify="left" if at < 2 else "right", no_wrap=True)
        for task in self.tasks:
            rows = [self._cells(mean) for mean in self.means if mean.task == task]
            for first, cells in enumerate(rows):
                told = ["" if first and not at else cells[at] for at in kept]
                table.add_row(*map(Text, told))
            table.add_section()
        if spared:
            names = ", ".join(self._titles()[at] for at in sorted(spared))
            table.caption = f"not shown: {names}"
            table.caption_justify = "left"
        return table

    def markdown(self) -> str:
        """The means as a table in Markdown."""
        titles = self._titles()
        lines = [_line(titles), "|---|---|" + "---:|" * (len(titles) - 2)]
        lines += [_line(self._cells(mean)) for mean in self.means]
        return "\n".join(lines)

    def matrix(self, name: str) -> str:
        """One metric in Markdown: a line for each method, a column for each task, the best bold."""
        metric = next(metric for metric in self.metrics if metric.name == name)
        best = {task: self._best(task, metric) for task in self.tasks}
        lines = [
            _line([metric.headed(), *self.tasks]),
            "|---|" + "---:|" * len(self.tasks),
        ]
        for method in self.methods:
            cells = []
            for task in self.tasks:
                mean = self.of(task, method)
                told = metric.told(mean.scores[name].mean if mean else None)
                cells.append(f"**{told}**" if told != "–" and told == best[task] else told)
            lines.append(_line([method, *cells]))
        return "\n".join(lines)

    def _best(self, task: str, metric: Metric) -> str | None:
        """What the best method scores on a task, as it is told; what does nothing counts too."""
        scores = [mean.scores[metric.name].mean for mean in self.means if mean.task == task]
        known = [score for score in scores if math.isfinite(score)]
        if metric.better is None or not known:
            return None
        return metric.told(max(known) if metric.better == "up" else min(known))

    def _titles(self, between: str = " ") -> list[str]:
        """What stands above the cells of a mean; a title and its unit have `between` them."""
        first, *rest = (metric.headed(between) for metric in self.metrics)
        return ["task", "method", first, f"95 %{between}interval", *rest]

    def _cells(self, mean: Mean) -> list[str]:
        cells = [mean.task, mean.method]
        for at, metric in enumerate(self.metrics):
            estimate = mean.scores[metric.name]
            cells.append(metric.told(estimate.mean))
            if at == 0:
                ends = metric.told(estimate.low), metric.told(estimate.high)
                cells.append("[{}, {}]".format(*ends) if estimate.low is not None else "–")
        return cells


def _estimate(metric: Metric, rows: Sequence[Row]) -> Estimate:
    """The mean of a metric over rows, those that have it."""
    from scipy.stats import bootstrap

    values = np.array([row.scores[metric.name] for row in rows], np.float64)
    values = values[np.isfinite(values)]
    if metric.signed:
        values = np.abs(values)
    if values.size == 0:
        return Estimate(math.nan, 0)
    mean = float(values.mean())
    if values.size < LEAST_PICTURES:
        return Estimate(mean, values.size)
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return Estimate(mean, values.size, float(found.low), float(found.high))


def _named(row: Row) -> dict[str, str]:
    return {"set": row.set, "picture": row.picture, "task": row.task, "method": row.method}


def _plain(scores: Scores | dict[str, Any]) -> dict[str, float | None]:
    """Numbers of six decimals; None for what is none."""
    return {
        name: round(value, 6) if value is not None and math.isfinite(value) else None
        for name, value in scores.items()
    }


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
