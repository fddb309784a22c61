"""`deal weights`: list, verify and pull."""

from __future__ import annotations

from typing import Annotated

import typer

from deal_cli.cli.exits import fail_all
from deal_cli.cli.options import Quiet
from deal_cli.errors import DealError

app = typer.Typer(
    help="List and verify the bundled weights, and fetch others.", no_args_is_help=True
)


@app.command("list")
def list_weights(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object a file on stdout.")
    ] = False,
) -> None:
    """List the bundled weights, as their files say what they are."""
    from deal_cli.jobs.weights.run import Examined, examine, print_rows

    found = [*examine()]
    print_rows([row for row in found if isinstance(row, Examined)], as_json=as_json)
    fail_all([error for error in found if isinstance(error, DealError)])


@app.command("verify")
def verify_weights(
    given: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME_OR_FILE",
            help="Bundled names, and files of your own. None: all that are bundled.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Verify that weights have their checksums and load as what they say they are."""
    from deal_cli.jobs.weights.run import examine

    failed = []
    for found in examine(given or ()):
        if isinstance(found, DealError):
            failed.append(found)
        else:
            typer.echo(found)
    fail_all(failed)


@app.command("pull")
def pull_weights(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the file NAME.safetensors.")],
    repo: Annotated[str, typer.Option(metavar="OWNER/NAME", help="A model repository of the Hub.")],
    revision: Annotated[
        str, typer.Option(metavar="COMMIT", help="All 40 hex digits of a commit, which stays.")
    ],
    sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="What the file's SHA-256 has to be.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Fetch weights from the Hugging Face Hub, unless they are in its cache, and print the path."""
    from deal_cli.jobs.display import Display
    from deal_cli.jobs.weights.run import PullRequest, pull

    request = PullRequest(name, repo, revision, sha256)
    with Display(quiet=quiet) as display:
        display.progress(0, None, "fetching")
        pulled = pull(request)
        if not quiet:
            display.say(f"deal: {pulled}")
    typer.echo(pulled.path)
