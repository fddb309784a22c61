"""The real entry point, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
Result = subprocess.CompletedProcess[str]


def environment() -> dict[str, str]:
    """This process's, with the checkout in front of any installed package and a narrow terminal."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "40", "PYTHONIOENCODING": "utf-8"}


def deal(*arguments: str | Path, cwd: Path = ROOT, **options: Any) -> Result:
    """Run `deal` to its end; `options` are those of `subprocess.run`."""
    command = [sys.executable, "-m", "deal_cli", *map(str, arguments)]
    options = {"env": environment(), "encoding": "utf-8", "errors": "surrogateescape", **options}
    return subprocess.run(command, cwd=cwd, capture_output=True, check=False, **options)


def refused(result: Result, code: int) -> str:
    """The only line on stderr of a command that was refused with `code`."""
    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("deal: ")
    return lines[0].removeprefix("deal: ")
