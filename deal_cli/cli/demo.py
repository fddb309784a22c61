"""`deal demo`: a first minute."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from deal_cli.cli.options import Backend, Weights


def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the pictures and the page.")
    ] = Path("deal-demo"),
    backend: Backend = "auto",
    weights: Weights = "deal",
    overwrite: Annotated[bool, typer.Option(help="Write into a folder that holds files.")] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Draw scenes, degrade and restore them, and show that on a page: a first minute."""
    from deal_cli.engine.backends.choice import Request
    from deal_cli.jobs.demo import demo as run
    from deal_cli.jobs.display import Display

    with Display() as display:
        engine = Request(backend, weights)
        made = run(
            engine,
            out,
            overwrite=overwrite,
            command=sys.argv[1:],
            on_progress=display.progress,
        )
        display.say(f"deal: {made}")
    typer.echo(made.page)
    if open_:
        typer.launch(str(made.page))
