"""`deal evaluate`: scores."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deal_cli.cli.options import Backend, ToneChoice, Weights
from deal_cli.cli.saying import chosen
from deal_cli.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from deal_cli.engine.backends.contract import Facts
    from deal_cli.jobs.evaluate.evaluation import Form
    from deal_cli.jobs.evaluate.run import RunFacts


def evaluate(
    clean: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR...", help="Folders of clean pictures.", show_default=False),
    ] = None,
    degraded: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR...",
            help="Folders of degraded pictures: beside --clean, paired by name; alone, scored "
            "without clean ones.",
            show_default="the named degradations of --clean",
        ),
    ] = None,
    more: Annotated[list[Path] | None, typer.Argument(metavar="[DIR...]", hidden=True)] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="Named degradations, separated by commas.", show_default="all eleven"),
    ] = None,
    per_set: Annotated[
        int | None,
        typer.Option(
            help="Pictures of each folder, evenly spaced.",
            show_default="10; all with --degraded",
        ),
    ] = None,
    crop: Annotated[
        int | None,
        typer.Option(
            help="Edge of the centre crop in pixels.",
            show_default="320; whole pictures with --degraded",
        ),
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Score classical methods beside the weights.")
    ] = False,
    backend: Backend = "auto",
    weights: Weights = "deal",
    tone: ToneChoice = "keep",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print means, pictures and settings as JSON on stdout.")
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print a line for each picture and method on stdout.")
    ] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table in Markdown on stdout.")
    ] = False,
    write: Annotated[bool, typer.Option(help="Write the tables into docs/benchmarks.md.")] = False,
) -> None:
    """Score the weights, on named degradations of clean pictures or on pictures of your own."""
    from rich.console import Console

    from deal_cli.engine.backends.choice import Request
    from deal_cli.engine.restorer import Settings, open_restorer
    from deal_cli.jobs.display import Display
    from deal_cli.jobs.evaluate.run import evaluate as run
    from deal_cli.jobs.evaluate.run import facts_of, methods_of, write_benchmarks
    from deal_cli.jobs.protocol.cases import Selection
    from deal_cli.jobs.protocol.tasks import TASKS

    forms: dict[Form, bool] = {"json": as_json, "csv": as_csv, "markdown": as_markdown}
    if sum(forms.values()) > 1:
        raise UsageError("two forms for one stdout", remedy="give one of --json, --csv, --markdown")
    wanted = tuple(task.strip() for task in tasks.split(",")) if tasks else TASKS
    selection = Selection(*_folders(clean, degraded, more), wanted, per_set, crop)
    if selection.degraded and (tasks or write):
        flag = "--write" if write else "--tasks"
        remedy = f"leave out {flag}, or --degraded"
        raise UsageError(f"{flag} is for the named degradations", remedy=remedy)
    selection.subjects()  # a wrong folder is told before any weights are loaded
    settings = Settings(tone=tone)
    restorer, choice = open_restorer(Request(backend, weights), settings)
    engine, methods = restorer.backend.facts, methods_of(restorer, baselines=baselines, tone=tone)
    form = next((form for form, asked in forms.items() if asked), None)
    with Display(quiet=form is not None) as display:
        display.say(chosen(choice, engine))
        evaluation = run(methods, selection, facts_of(engine, settings), display.progress)
        for error in evaluation.failed:
            display.say(f"deal: {error}")
    if form is None:
        console = Console(highlight=False)
        console.print(evaluation.table(console.width))
        console.print(evaluation.selection(), markup=False)
    else:
        typer.echo(evaluation.text(form))
    if write:
        write_benchmarks(evaluation, Path("docs/benchmarks.md"), _run_facts(engine))
    if evaluation.failed:
        raise typer.Exit(ExitCode.FAILED)


def _folders(
    clean: Sequence[Path] | None, degraded: Sequence[Path] | None, more: Sequence[Path] | None
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Clean and degraded folders; several may follow one option where it is the only one."""
    if clean and degraded and more:
        raise UsageError(
            "is it clean or degraded?", file=more[0], remedy="repeat --clean or --degraded for it"
        )
    spread = tuple(more or ())
    first, second = tuple(clean or ()), tuple(degraded or ())
    return (first, second + spread) if second else (first + spread, ())


def _run_facts(facts: Facts) -> RunFacts:
    import shlex

    from deal_cli.jobs.evaluate.run import RunFacts
    from deal_cli.jobs.protocol.benchmark_page import commit_of, describe_machine

    command = shlex.join(["deal", *sys.argv[1:]])
    machine = f"{describe_machine()}; {facts.backend} backend, {facts.precision}"
    return RunFacts(machine, commit_of(Path()), facts.weights, facts.sha256, command)
