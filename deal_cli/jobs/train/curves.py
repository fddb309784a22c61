"""The curves of a training as one picture, so that a run can be judged at a glance.

What is drawn is what `metrics.jsonl` holds, in the units of the field: a logarithm of the mean
squared error is shown in dB. The upper row is the outer minimisation, the lower one the inner
maximisation: what the adversary gains, what it spends, and what it chooses.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deal_cli.imaging.files import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES, DPI = (16.0, 9.0), 100
DB_PER_NEPER = 10 / math.log(10)  # of a power: what a natural logarithm of an MSE is in dB
LABEL_GAP = 0.066  # between two labels at the right edge, as a share of the panel's height

# Okabe and Ito's colours, which the colour-blind tell apart, without the yellow that white drowns.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
SHADE, QUIET, TEXT = "#E9EDF2", "#8A8A8A", "#333333"


@dataclass(frozen=True)
class _Line:
    """A named curve: steps and values, both finite and as many of the one as of the other."""

    name: str
    steps: list[float]
    values: list[float]


def write_curves(
    rows: Sequence[Mapping[str, Any]], path: Path, *, steps: int, active: tuple[int, int]
) -> None:
    """Draw the rows of a training's log into a PNG of 1600 x 900 pixels, whole or not at all.

    Args:
        rows: what `metrics.jsonl` holds: "step"; "loss", "loss_random", "loss_adversarial" and
            "advantage" in natural logarithms of the MSE; "score" and "psnr_after_fit" (by task)
            in dB; "entropy", "budget_use", "kept" and "odds" (by operation) in [0, 1]. Any key may
            be missing, and a value that is not finite is left out. Of two rows of one step, the
            later counts.
        path: the PNG.
        steps: planned number of steps; the axes go that far.
        active: first and last step with an active adversary; there is none when the last is not
            above the first.

    Raises:
        OutputError: the file cannot be written; nothing is left behind.
    """
    by_step = {row["step"]: row for row in rows if "step" in row}
    data = _render([by_step[step] for step in sorted(by_step)], steps, active)
    with written_whole(path) as stream:
        stream.write(data)


def _render(rows: Sequence[Mapping[str, Any]], steps: int, active: tuple[int, int]) -> bytes:
    """The bytes of the PNG, from rows in the order of their steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.patches import Patch
    from matplotlib.ticker import EngFormatter, MaxNLocator

    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)  # inches
    figure = Figure(figsize=INCHES, dpi=DPI, layout=layout, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    adversarial = active[1] > active[0]
    idle = "the adversary has not played yet" if adversarial else "no adversary in this run"
    end = max([steps, 1, *(row["step"] for row in rows)])
    draws: tuple[Callable[[Axes], None], ...] = (
        lambda axes: _draw_losses(axes, rows),
        lambda axes: _draw_score(axes, rows),
        lambda axes: _draw_tasks(axes, rows),
        lambda axes: _draw_advantage(axes, rows, idle),
        lambda axes: _draw_state(axes, rows, idle),
        lambda axes: _draw_odds(axes, rows, active[0], idle),
    )
    for draw, axes in zip(draws, figure.subplots(2, 3).flat, strict=True):
        axes.set_xlim(0, end)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel("step")
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if adversarial:
            axes.axvspan(*active, color=SHADE, linewidth=0, zorder=0)
        draw(axes)
    if adversarial:
        key = Patch(color=SHADE, label=f"adversary active, steps {active[0]} to {active[1]}")
        figure.legend(handles=[key], loc="outside upper left", frameon=False)
    buffer = io.BytesIO()
    canvas.print_figure(buffer, dpi=DPI, format="png")
    return buffer.getvalue()


def _draw_losses(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    axes.set_title("Training error", loc="left")
    axes.set_ylabel("error on degraded crops, dB (lower is better)")
    keys = {"all": "loss", "random": "loss_random", "adversarial": "loss_adversarial"}
    lines = [_line(name, rows, key, DB_PER_NEPER) for name, key in keys.items()]
    _draw_lines(axes, lines, "no data")


def _draw_score(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    axes.set_title("Validation score", loc="left")
    axes.set_ylabel("mean PSNR over tasks, dB (higher is better)")
    line = _line("", rows, "score")
    _draw_lines(axes, [line], "no validation in this run")
    if line.values:
        step, best = max(zip(line.steps, line.values, strict=True), key=lambda point: point[1])
        axes.plot(step, best, "*", color=COLOURS[1], markersize=15, markeredgecolor="white")
        axes.set_title(f"best: {best:.2f} dB at step {step:.0f}", loc="right", fontsize=9)


def _draw_tasks(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    axes.set_title("Validation by task", loc="left")
    axes.set_ylabel("PSNR after fit, dB (higher is better)")
    _draw_lines(axes, _lines(rows, "psnr_after_fit"), "no validation in this run")


def _draw_advantage(axes: Axes, rows: Sequence[Mapping[str, Any]], idle: str) -> None:
    axes.set_title("Adversary's advantage", loc="left")
    axes.set_ylabel("adversarial − random error, dB")
    line = _line("", rows, "advantage", DB_PER_NEPER)
    if line.values:
        axes.axhline(0, color=QUIET, linewidth=1)
    _draw_lines(axes, [line], idle)


def _draw_state(axes: Axes, rows: Sequence[Mapping[str, Any]], idle: str) -> None:
    axes.set_title("Adversary's state", loc="left")
    axes.set_ylabel("share of the largest possible")
    axes.set_ylim(-0.02, 1.02)
    keys = {"evenness of\nchoices": "entropy", "budget used": "budget_use"}
    keys["information\nkept"] = "kept"
    _draw_lines(axes, [_line(name, rows, key) for name, key in keys.items()], idle)


def _draw_odds(axes: Axes, rows: Sequence[Mapping[str, Any]], first: int, idle: str) -> None:
    """Bands as high as the shares, each as long as the interval that its row is the mean of."""
    axes.set_title("Adversary's choices", loc="left")
    axes.set_ylabel("share of the operations chosen")
    axes.set_ylim(0, 1)
    names = list(dict.fromkeys(name for row in rows for name in row.get("odds", ())))
    names = [name for name in names if name != "none"] + ["none"] * ("none" in names)
    chosen = [row for row in rows if row.get("odds")]
    if not names:
        return _say(axes, idle)
    edges = [float(row["step"]) for row in chosen]
    before = [float(row["step"]) for row in rows if row["step"] < edges[0]]
    edges.insert(0, min(max([first, *before]), edges[0]))
    low, marks = [0.0] * len(edges), []
    for index, name in enumerate(names):
        shares = [_number(row["odds"].get(name)) or 0.0 for row in chosen]
        high = [base + share for base, share in zip(low, [shares[0], *shares], strict=True)]
        lap, place = divmod(index, len(COLOURS) - 1)
        colour = QUIET if name == "none" else COLOURS[place]
        axes.fill_between(
            edges,
            low,
            high,
            step="pre",
            facecolor=colour,
            alpha=0.45 if lap else 0.85,
            edgecolor="white",
            linewidth=0.5,
        )
        marks.append((f"{name} {shares[-1]:.0%}", edges[-1], (low[-1] + high[-1]) / 2, colour))
        low = high
    _label_ends(axes, marks)
    return None


def _draw_lines(axes: Axes, lines: Iterable[_Line], otherwise: str) -> None:
    """Draw curves with their names at the right, or say why there are none."""
    marks = []
    for index, line in enumerate(lines):
        if not line.values:
            continue
        lap, place = divmod(index, len(COLOURS))
        colour, style = COLOURS[place], "--" if lap else "-"
        # With few points a curve is nearly nothing; with many, dots hide it.
        marker = "o" if len(line.values) <= 30 else ""
        axes.plot(line.steps, line.values, style, marker=marker, color=colour, markersize=3.5)
        if line.name:
            marks.append((line.name, line.steps[-1], line.values[-1], colour))
    if not axes.lines:
        return _say(axes, otherwise)
    return _label_ends(axes, marks)


def _label_ends(axes: Axes, marks: Sequence[tuple[str, float, float, str]]) -> None:
    """Write `(text, x, y, colour)` right of the last x, level with y where there is room."""
    if not marks:
        return
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top)
    marks = sorted(marks, key=lambda mark: mark[2])
    gaps = [
        LABEL_GAP * (1 + max(a[0].count("\n"), b[0].count("\n")))
        for a, b in itertools.pairwise(marks)
    ]
    places = [(y - bottom) / (top - bottom) for _, _, y, _ in marks]
    for index, gap in enumerate(gaps):
        places[index + 1] = max(places[index + 1], places[index] + gap)
    places[-1] = min(places[-1], 1.0)
    for index, gap in reversed(list(enumerate(gaps))):
        places[index] = min(places[index], places[index + 1] - gap)
    right = max(x for _, x, _, _ in marks) / axes.get_xlim()[1] + 0.05
    for (text, x, y, colour), place in zip(marks, places, strict=True):
        axes.annotate(
            text,
            (x, y),
            (right, place),
            textcoords="axes fraction",
            va="center",
            color=TEXT,
            fontsize=9,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 1,
                "linestyle": ":",  # not to be taken for the curve's future
                "relpos": (0, 0.5),
                "shrinkA": 0,
                "shrinkB": 2,
            },
        )


def _say(axes: Axes, text: str) -> None:
    """Write in the middle of a panel without data why it has none."""
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.set_ylabel("")
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=QUIET)


def _lines(rows: Sequence[Mapping[str, Any]], key: str) -> list[_Line]:
    """One curve for each name in the mappings under a key, in the order of their appearance."""
    names = dict.fromkeys(name for row in rows for name in row.get(key, ()))
    flat = [{"step": row["step"], **row.get(key, {})} for row in rows]
    return [_line(name, flat, name) for name in names]


def _line(name: str, rows: Sequence[Mapping[str, Any]], key: str, factor: float = 1.0) -> _Line:
    """The finite values under a key, times a factor."""
    points = [(float(row["step"]), _number(row.get(key))) for row in rows]
    found = [(step, value * factor) for step, value in points if value is not None]
    return _Line(name, [step for step, _ in found], [value for _, value in found])


def _number(value: Any) -> float | None:
    """A finite number, or None for anything else."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
