"""`deal export`: weights as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    weights: Annotated[
        str, typer.Option(help="deal, deal-fast, paper, or a .safetensors file.")
    ] = "deal",
    onnx: Annotated[bool, typer.Option("--onnx", help="The format to write: ONNX.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file; else the weights' name and .onnx, here."),
    ] = None,
    precision: Annotated[
        Literal["fp32", "fp16"], typer.Option(help="Of weights and computation.")
    ] = "fp32",
    opset: Annotated[
        int | None, typer.Option(help="Version of ONNX's operators, 15 to 26.", show_default="18")
    ] = None,
    fixed: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="The only height and width to take, one picture at a time.",
            show_default="any size and batch",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a file that exists.")] = False,
) -> None:
    """Write weights as an ONNX file that other programs can run, once it is verified."""
    from deal_cli.jobs.display import Display
    from deal_cli.jobs.weights.export import ExportRequest
    from deal_cli.jobs.weights.export import export as run

    request = ExportRequest(weights, onnx, out, precision, opset, fixed, overwrite)
    with Display() as display:
        display.progress(0, None, "exporting")
        exported = run(request)
        display.say(f"deal: {exported}")
    typer.echo(exported.command)
