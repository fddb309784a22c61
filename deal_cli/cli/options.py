"""Options that several commands share, each said once."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Backend = Annotated[
    str, typer.Option(help="auto, cuda, cuda:N, onnx or cpu. auto says what it chose.")
]
Weights = Annotated[
    str, typer.Option(help="deal, deal-fast, paper, or a .safetensors or .onnx file.")
]
ToneChoice = Annotated[
    Literal["auto", "keep", "restore"],
    typer.Option(
        help="keep gain and offset; auto: more contrast in 8-bit pictures that surely lost it; "
        "restore: in all."
    ),
]


Recursive = Annotated[
    bool, typer.Option("--recursive", "-r", help="Look into folders below a folder.")
]
Luminance = Annotated[bool, typer.Option(help="Turn false colour into its luminance.")]
MaxPixels = Annotated[int, typer.Option(help="Refuse larger pictures before decoding them.")]
NoData = Annotated[
    str,
    typer.Option(
        metavar="VALUE",
        help="What stands where nothing was measured: a number; auto, what files declare and what "
        "is found; none, every number is a measurement.",
    ),
]
ByteOrder = Annotated[
    Literal["auto", "stored", "swapped"],
    typer.Option(
        help="Of 16-bit pictures; auto refuses what is a picture only with its bytes swapped."
    ),
]
Band = Annotated[
    int | None,
    typer.Option(help="Which of several bands to take, from 1.", show_default="the only one"),
]
Overwrite = Annotated[bool, typer.Option(help="Replace outputs that exist.")]
Split = Annotated[
    bool, typer.Option("--split", help="Put the page's pictures beside it, for hundreds of them.")
]
RowsAsJson = Annotated[
    bool, typer.Option("--json", help="Print a JSON object a picture on stdout.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]
