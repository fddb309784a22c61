"""`deal degrade`: what the adversary would do to a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deal_cli.cli.options import (
    Band,
    ByteOrder,
    Luminance,
    MaxPixels,
    NoData,
    Overwrite,
    Quiet,
    Recursive,
    RowsAsJson,
)
from deal_cli.config import MAX_PIXELS
from deal_cli.errors import ExitCode


def degrade(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Files, folders, patterns; @FILE, a list. None: scenes are drawn.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        str, typer.Option("--out", "-o", help="A folder; for one picture its name.")
    ] = "degraded",
    severity: Annotated[
        str | None,
        typer.Option(help="min, low, medium, high, max, or 0 to 1.", show_default="medium"),
    ] = None,
    ops: Annotated[
        str | None,
        typer.Option(help="What may be chosen, separated by commas: stripe,blur,tone."),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(help="Degraded pictures of each input; scenes.", show_default="1; 8 scenes"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of everything drawn.", show_default="0")
    ] = None,
    pairs: Annotated[
        bool, typer.Option(help="Write what was degraded too: OUT/clean, OUT/degraded.")
    ] = False,
    replay: Annotated[
        Path | None, typer.Option(help="A sidecar, to make the same pixels again.")
    ] = None,
    recursive: Recursive = False,
    backend: Annotated[str, typer.Option(help="auto, cuda, cuda:N or cpu.")] = "auto",
    weights: Annotated[
        str, typer.Option(help="Of the generator: a bundled name or a .safetensors file.")
    ] = "generator",
    nodata: NoData = "auto",
    byte_order: ByteOrder = "auto",
    band: Band = None,
    luminance: Luminance = False,
    max_pixels: MaxPixels = MAX_PIXELS,
    overwrite: Overwrite = False,
    as_json: RowsAsJson = False,
    quiet: Quiet = False,
) -> None:
    """Degrade pictures, or drawn scenes, as the degradation generator chooses."""
    from deal_cli.engine.backends.choice import Request
    from deal_cli.imaging.reading import ReadAs, parse_nodata
    from deal_cli.jobs.degrade.plan import DegradeRequest
    from deal_cli.jobs.degrade.run import open_batch
    from deal_cli.jobs.display import DegradeReport, Display

    request = DegradeRequest(
        inputs or (),
        out,
        Request(backend, weights),
        severity,
        ops,
        count,
        seed,
        pairs,
        replay,
        recursive,
        ReadAs(luminance, max_pixels, parse_nodata(nodata), byte_order, band),
        overwrite,
    )
    with Display(quiet=quiet) as display:
        report = DegradeReport(display, as_json=as_json, quiet=quiet)
        batch = open_batch(request)
        if not quiet:
            display.say(f"deal: {batch}")
        report.follow(batch.run(), len(batch.tasks))
    if report.failed:
        raise typer.Exit(ExitCode.FAILED)
