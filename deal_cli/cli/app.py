"""The program `deal`: its commands, in the order that `deal --help` lists them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

import deal_cli
from deal_cli.cli import exits, weights
from deal_cli.cli.bench import bench
from deal_cli.cli.degrade import degrade
from deal_cli.cli.demo import demo
from deal_cli.cli.doctor import doctor
from deal_cli.cli.evaluate import evaluate
from deal_cli.cli.export import export
from deal_cli.cli.report import report
from deal_cli.cli.restore import restore
from deal_cli.cli.train import train

app = typer.Typer(
    name="deal",
    help="Restore thermal infrared pictures: stripes, noise, blur, low resolution, low contrast.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"deal {deal_cli.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=_print_version,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    """What stands in front of every command."""


for command in (restore, report, demo, degrade, train, export, evaluate, bench, doctor):
    app.command()(command)
app.add_typer(weights.app, name="weights")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the code the outcome owns."""
    exits.run(app, arguments)
