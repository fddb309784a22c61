"""`deal train`: weights for a camera of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deal_cli.errors import UsageError


def train(
    data: Annotated[Path, typer.Option(help="Folder of clean pictures.")],
    val: Annotated[
        Path | None,
        typer.Option(help="Clean pictures to choose weights by; else scenes of --data are kept."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the run; else runs/ and the name of --data."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.")] = None,
    init: Annotated[
        str | None,
        typer.Option(help="Weights to start from: a name, a file, or none.", show_default="deal"),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the run in --out.")] = False,
    budget: Annotated[
        str | None, typer.Option(help="A time or steps: 30m, 2h, 20000steps.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of everything drawn.", min=0, show_default="0")
    ] = None,
    backend: Annotated[str, typer.Option(help="auto, cuda, cuda:N or cpu.")] = "auto",
) -> None:
    """Train the enhancer against its adversary on a folder of clean pictures."""
    import dataclasses

    from deal_cli.config import TrainConfig
    from deal_cli.engine.backends.choice import Purpose, Request, choose
    from deal_cli.jobs.display import TrainDisplay
    from deal_cli.jobs.train.budget import Budget, parse_budget
    from deal_cli.jobs.train.run import TrainRequest
    from deal_cli.jobs.train.run import train as run
    from deal_cli.mapping import load_toml

    folder = out or Path("runs") / data.absolute().name
    if resume and (config, budget, seed, init) != (None, None, None, None):
        raise UsageError(
            "a resumed run keeps its own settings",
            file=folder,
            remedy="leave out --config, --budget, --seed and --init, or --resume",
        )
    settings = load_toml(TrainConfig, config) if config else TrainConfig()
    if seed is not None:
        settings = dataclasses.replace(settings, seed=seed)
    choice = choose(Request(backend), Purpose.TRAINING)
    start = None if init == "none" else init or "deal"
    limit = parse_budget(budget) if budget else Budget()
    request = TrainRequest(data, folder, val, start, resume, settings, limit, choice)
    with TrainDisplay() as display:
        best = run(request, display)
    if display.first:
        typer.echo(f"deal restore --weights {best / 'enhancer.safetensors'} -o restored INPUT...")
