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
Overwrite = Annotated[bool, typer.Option(help="Replace outputs that exist.")]
Split = Annotated[
    bool, typer.Option("--split", help="Put the page's pictures beside it, for hundreds of them.")
]
RowsAsJson = Annotated[
    bool, typer.Option("--json", help="Print a JSON object a picture on stdout.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]
