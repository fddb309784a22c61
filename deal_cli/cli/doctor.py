"""`deal doctor`: what this machine can do, and what is wrong."""

from __future__ import annotations

from deal_cli.errors import DealError


def doctor() -> None:
    """Examine backends, devices, processor, weights and versions, and say what is wrong."""
    from rich.console import Console

    from deal_cli.jobs.doctor import examine

    console = Console(highlight=False, soft_wrap=True)
    signs = {"ok": "[green]ok[/]    ", "absent": "[dim]absent[/]", "wrong": "[red]wrong[/] "}
    wrong = 0
    for finding in examine():
        wrong += finding.state == "wrong"
        remedy = f"; {finding.remedy}" if finding.remedy else ""
        console.print(f"{signs[finding.state]}  {finding.name:22}  ", end="")
        console.print(f"{finding.detail}{remedy}", markup=False)
    if wrong:
        raise DealError(f"{wrong} wrong", remedy="see the lines above")
