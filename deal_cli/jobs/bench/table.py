"""The rows of a timing: as JSON, as a table, and as the benchmarks page's section on speed."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deal_cli.jobs.protocol.benchmark_page import (
    commit_of,
    describe_machine,
    section_of,
    write_section,
)

if TYPE_CHECKING:
    from rich.table import Table

WIDTH = 100  # characters that the table needs
COLUMNS = (
    "backend",
    "precision",
    "size",
    "batch",
    "ms a picture",
    "a second",
    "peak memory",
    "GMAC",
    "GB",
    "of ceiling",
)


@dataclass(frozen=True)
class Row:
    """One load on one backend.

    Attributes:
        backend: "cuda", "onnx" or "cpu"; `device` and `precision` as the engine names them.
        weights: their name; `weights_sha256` of their file.
        height: of each picture in pixels, as `width`; `batch` pictures went together.
        repeats: runs that were timed.
        seconds_per_image: the median; `spread` holds the least and the most.
        images_per_second: its inverse.
        peak_memory_bytes: on CUDA, what torch held on the device in this row; else the most that
            the process held up to the end of it, the program itself included; None where unknown.
        gmacs: billions of multiply-adds that a picture needs, halos of tiles left out.
        gigabytes: the least traffic of a picture with memory, each convolution for itself.
        ceiling_gmacs_per_second: the best that this process measured at this precision.
        ceiling_gigabytes_per_second: the same of a copy, read and written.
        fraction_of_ceiling: multiply-adds a second by that ceiling.
    """

    backend: str
    device: str
    precision: str
    weights: str
    weights_sha256: str
    height: int
    width: int
    batch: int
    repeats: int
    seconds_per_image: float
    spread: tuple[float, float]
    images_per_second: float
    peak_memory_bytes: int | None
    gmacs: float
    gigabytes: float
    ceiling_gmacs_per_second: float | None = None
    ceiling_gigabytes_per_second: float | None = None
    fraction_of_ceiling: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The row as plain numbers, texts and lists."""
        return dataclasses.asdict(self)


def print_rows(rows: Sequence[Row], *, as_json: bool) -> None:
    """Print the rows on stdout: a JSON object a line, or a table."""
    from rich.console import Console

    if as_json:
        sys.stdout.writelines(json.dumps(row.to_json()) + "\n" for row in rows)
    else:
        console = Console()
        console.width = max(console.width, WIDTH)  # figures are wrapped rather than cut off
        console.print(table(rows))


def table(rows: Iterable[Row]) -> Table:
    """The rows for a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for at, title in enumerate(COLUMNS):
        made.add_column(title, justify="left" if at < 2 else "right")
    for row in rows:
        made.add_row(*_cells(row))
    return made


def write_speed(rows: Sequence[Row], path: Path, arguments: Sequence[str]) -> None:
    """Write the section on speed of the benchmarks page, leaving the rest of it alone.

    Args:
        rows: in the order of the table.
        path: the page; it is made where there is none.
        arguments: of the command line that made them.

    Raises:
        OutputError: the page cannot be written.
    """
    lines = [" | ".join(COLUMNS), "|".join(["---"] * 2 + ["---:"] * (len(COLUMNS) - 2))]
    lines += [" | ".join(_cells(row)) for row in rows]
    weights = dict.fromkeys(f"`{row.weights}`, SHA-256 `{row.weights_sha256}`" for row in rows)
    origin = [
        f"- Machine: {describe_machine()}",
        *dict.fromkeys(_ceiling(row) for row in rows),
        f"- Commit: `{commit_of(Path())}`",
        f"- Weights: {'; '.join(weights)}",
        f"- Command: `{shlex.join(['deal', *arguments])}`",
    ]
    explanation = (
        "The network alone, from memory to memory, on random scenes: medians, and the least to the"
        " most in brackets. What each column means: [speed.md](speed.md)."
    )
    rows_text = "\n".join(f"| {line} |" for line in lines)
    section, heading = section_of("speed", rows[0].weights)
    parts = [heading, explanation, rows_text, "\n".join(origin)]
    write_section(path, section, "\n\n".join(parts))


def _cells(row: Row) -> tuple[str, ...]:
    """One row of a table; times in milliseconds, memory in mebibytes."""
    peak, share = row.peak_memory_bytes, row.fraction_of_ceiling
    least, most = row.spread
    return (
        row.backend,
        row.precision,
        f"{row.width}x{row.height}",
        str(row.batch),
        f"{_short(1e3 * row.seconds_per_image)} ({_short(1e3 * least)}–{_short(1e3 * most)})",
        _short(row.images_per_second),
        "unknown" if peak is None else f"{peak / 2**20:.0f} MiB",
        _short(row.gmacs),
        _short(row.gigabytes),
        "unknown" if share is None else f"{share:.0%}",
    )


def _short(value: float) -> str:
    """Three figures of a number, more where it is large."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ceiling(row: Row) -> str:
    """What the rows of a backend were set against."""
    where = f"- {row.backend} backend: {row.device}, {row.precision}"
    if row.ceiling_gmacs_per_second is None or row.ceiling_gigabytes_per_second is None:
        return f"{where}; its ceilings are unknown"
    return (
        f"{where}; ceilings {_short(row.ceiling_gmacs_per_second)} GMAC/s and"
        f" {_short(row.ceiling_gigabytes_per_second)} GB/s copied"
    )
