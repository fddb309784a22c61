"""`deal restore`: pictures in, restored pictures out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from deal_cli.cli.options import (
    Backend,
    Band,
    ByteOrder,
    Luminance,
    MaxPixels,
    NoData,
    Overwrite,
    Quiet,
    Recursive,
    RowsAsJson,
    Split,
    ToneChoice,
    Weights,
)
from deal_cli.cli.saying import chosen
from deal_cli.config import MAX_PIXELS
from deal_cli.errors import DealError, ExitCode, UsageError


def restore(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Files, folders, patterns; @FILE, a list of files and folders; or -.",
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", help="A folder; for one input a picture's name, or -."),
    ] = None,
    recursive: Recursive = False,
    backend: Backend = "auto",
    weights: Weights = "deal",
    tone: ToneChoice = "keep",
    range_: Annotated[
        str,
        typer.Option(
            "--range",
            help="Values the network sees as 0 to 1: auto, image, dtype, LO:HI; or sequence, "
            "auto over all pictures of a folder, which follow one another.",
        ),
    ] = "auto",
    max_change: Annotated[
        str | None,
        typer.Option(
            metavar="VALUE[UNIT]",
            help="The most a pixel may change: 40 (its own numbers), 2%, 0.5K, 500mK.",
            show_default="no limit",
        ),
    ] = None,
    unit: Annotated[
        Literal["counts", "celsius"],
        typer.Option(help="What radiometric files are written in; celsius for FLIR's."),
    ] = "counts",
    fixed_pattern: Annotated[
        Literal["auto", "off"],
        typer.Option(
            help="auto: find what stands still in a sequence while the scene moves, and take it "
            "off every frame; off."
        ),
    ] = "auto",
    pattern: Annotated[
        Path | None, typer.Option(help="A fixed pattern that --save-pattern wrote, to take off.")
    ] = None,
    save_pattern: Annotated[
        Path | None, typer.Option(help="Keep the fixed pattern of the one sequence given.")
    ] = None,
    compression: Annotated[
        str, typer.Option(help="Of TIFFs: deflate, lzw, zstd or none; all lossless.")
    ] = "deflate",
    codec: Annotated[
        str | None,
        typer.Option(
            help="Of videos: ffv1, rawvideo, h264, hevc, mjpeg.", show_default="ffv1, lossless"
        ),
    ] = None,
    scale: Annotated[int, typer.Option(help="Enlarge by 1, 2 or 4 before restoring.")] = 1,
    strength: Annotated[
        float, typer.Option(help="Share of the way to the restored picture, 0 to 1.")
    ] = 1.0,
    nodata: NoData = "auto",
    byte_order: ByteOrder = "auto",
    band: Band = None,
    luminance: Luminance = False,
    max_pixels: MaxPixels = MAX_PIXELS,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write a page that shows them before and after."),
    ] = None,
    split: Split = False,
    overwrite: Overwrite = False,
    dry_run: Annotated[bool, typer.Option(help="Say what would be done, and do nothing.")] = False,
    as_json: RowsAsJson = False,
    quiet: Quiet = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Print a line a file.")] = False,
) -> None:
    """Restore pictures with the bundled weights, in their own dtype and numbers."""
    from deal_cli.engine.backends.choice import Request
    from deal_cli.engine.fidelity.bound import parse_bound
    from deal_cli.engine.ranges import parse_range
    from deal_cli.engine.restorer import Settings
    from deal_cli.imaging.reading import ReadAs, parse_nodata
    from deal_cli.jobs.display import Display, RestoreReport
    from deal_cli.jobs.page.page import check_page
    from deal_cli.jobs.report.run import RunPage, facts_of_engine, facts_of_run, facts_of_settings
    from deal_cli.jobs.restore.plan import RestoreRequest
    from deal_cli.jobs.restore.run import open_batch, rehearse

    sequence = range_ == "sequence"
    request = RestoreRequest(
        inputs=inputs,
        out=out,
        engine=Request(backend, weights),
        settings=Settings(
            range="auto" if sequence else parse_range(range_),
            tone=tone,
            strength=strength,
            bound=parse_bound(max_change) if max_change is not None else None,
        ),
        scale=scale,
        read_as=ReadAs(luminance, max_pixels, parse_nodata(nodata), byte_order, band),
        recursive=recursive,
        overwrite=overwrite,
        unit=unit,
        compression=compression,
        codec=codec,
        sequence=sequence,
        find_pattern=fixed_pattern == "auto",
        pattern=pattern,
        save_pattern=save_pattern,
        show=report is not None,
    )
    if split and report is None:
        raise UsageError("--split is of a report's page", remedy="give --report FILE.html")
    if as_json and (out == "-" or (out is None and inputs == ["-"])):
        raise UsageError("--json and the picture would share stdout", remedy="give -o a file")
    with Display(quiet=quiet) as display:
        told = RestoreReport(display, as_json=as_json, quiet=quiet, verbose=verbose)
        if report is not None:
            check_page(report, split=split, overwrite=overwrite)
        if dry_run:
            told.follow(rehearse(request))
        else:
            batch = open_batch(request)
            page = RunPage(report, split=split, overwrite=overwrite) if report else None
            facts = batch.restoration.restorer.backend.facts
            batch.restoration.progress = display.frames
            if not quiet:
                display.say(chosen(batch.choice, facts))
                batch.restoration.say = display.say
            outcomes = batch.run()
            if page is not None:
                made = (*facts_of_run(sys.argv[1:]), *facts_of_engine(batch.choice, facts))
                outcomes = page.follow(outcomes, (*made, *facts_of_settings(request)))
            told.follow(outcomes, len(batch.planned), facts)
            if page is not None and page.error is not None:
                raise page.error
            if page is not None and not quiet:
                display.say(f"deal: {report}: {page.size}")
            if save_pattern is not None and batch.restoration.unsaved is not None:
                cause = f"was not written: {batch.restoration.unsaved}"
                raise DealError(cause, file=save_pattern, remedy="give a clip in which things move")
    if told.failed:
        raise typer.Exit(ExitCode.FAILED)
