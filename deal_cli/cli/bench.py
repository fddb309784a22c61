"""`deal bench`: pictures a second."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from deal_cli.cli.options import Weights
from deal_cli.errors import ExitCode


def bench(
    backend: Annotated[
        str, typer.Option(help="all that this machine has; or auto, cuda, cuda:N, onnx, cpu.")
    ] = "all",
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH", help="Width and height.", show_default="320x256, 640x512, 1280x1024"
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Pictures of a batch.", show_default="1 and 8")
    ] = None,
    weights: Weights = "deal",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object a row on stdout.")
    ] = False,
    write: Annotated[bool, typer.Option(help="Write the table into docs/benchmarks.md.")] = False,
) -> None:
    """Time the network on this machine, and set it against the machine's best."""
    from deal_cli.engine.backends.choice import Request
    from deal_cli.jobs.bench.run import BenchRequest, parse_size
    from deal_cli.jobs.bench.run import bench as run
    from deal_cli.jobs.bench.table import print_rows, write_speed

    edges = parse_size(size) if size is not None else None
    request = BenchRequest(Request(backend, weights), edges, batch)
    result = run(request, lambda text: typer.echo(text, err=True))
    print_rows(result.rows, as_json=as_json)
    if write and result.rows:
        write_speed(result.rows, Path("docs/benchmarks.md"), sys.argv[1:])
    if not result.complete:
        raise typer.Exit(ExitCode.FAILED)
