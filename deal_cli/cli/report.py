"""`deal report`: two folders side by side."""

from __future__ import annotations

import sys
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
    Split,
)
from deal_cli.config import MAX_PIXELS
from deal_cli.errors import ExitCode


def report(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="A picture, or a folder.")],
    after: Annotated[
        Path, typer.Argument(metavar="AFTER", help="The same, restored; names pair them.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.html", help="The page.")] = Path(
        "report.html"
    ),
    split: Split = False,
    recursive: Recursive = False,
    nodata: NoData = "auto",
    byte_order: ByteOrder = "auto",
    band: Band = None,
    luminance: Luminance = False,
    max_pixels: MaxPixels = MAX_PIXELS,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write one page that shows pictures before and after, whatever restored them."""
    from deal_cli.imaging.reading import ReadAs, parse_nodata
    from deal_cli.jobs.display import Display
    from deal_cli.jobs.report.run import ReportRequest
    from deal_cli.jobs.report.run import report as run

    read_as = ReadAs(luminance, max_pixels, parse_nodata(nodata), byte_order, band)
    request = ReportRequest(
        before, after, out, split, recursive, read_as, overwrite, (*sys.argv[1:],)
    )
    with Display(quiet=quiet) as display:
        made = run(request, display.progress)
        for error in made.failed:
            display.say(f"deal: {error}")
        if not quiet:
            for path in made.unpaired:
                display.say(f"deal: {path}: has no partner, left out")
            display.say(f"deal: {made.size}")
    typer.echo(out)
    if made.failed:
        raise typer.Exit(ExitCode.FAILED)
