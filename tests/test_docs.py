"""Nothing that can be typed or set goes without a word in the documentation."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer
from command import ROOT, environment

from deal_cli.cli import app
from deal_cli.config import (
    AdversaryConfig,
    BlockConfig,
    GeneratorConfig,
    NetworkConfig,
    SamplerConfig,
    ToneConfig,
    TrainConfig,
)
from deal_cli.errors import ExitCode
from deal_cli.jobs.protocol import TASKS

CONFIGS = (
    TrainConfig,
    NetworkConfig,
    BlockConfig,
    SamplerConfig,
    GeneratorConfig,
    AdversaryConfig,
    ToneConfig,
)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command with its options, the short ones too."""
    group = typer.main.get_command(app)
    yield "deal", [opt for p in group.params for opt in p.opts if opt.startswith("-")]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        yield name, [opt for p in command.params for opt in p.opts if opt.startswith("-")]


def pages() -> dict[str, str]:
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


@pytest.fixture(scope="module")
def text() -> str:
    """All the documentation."""
    return "\n".join(pages().values())


def named(word: str, text: str) -> bool:
    """Whether a word stands in a text, not as a part of a longer one."""
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text) is not None


@pytest.mark.parametrize("page", ["README.md", "cli.md", "method.md", "benchmarks.md"])
def test_the_page_is_there(page: str) -> None:
    assert len(pages().get(page, "")) > 200


@pytest.mark.parametrize(("command", "options"), list(commands()))
def test_every_command_and_option_is_named(command: str, options: list[str], text: str) -> None:
    if command != "deal":
        assert named(f"deal {command}", text)
    assert options or command == "doctor"
    assert [option for option in options if not named(option, text)] == []


def test_the_reference_is_what_its_command_writes() -> None:
    command = [sys.executable, "-m", "typer", "deal_cli.cli", "utils", "docs", "--name", "deal"]
    made = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, encoding="utf-8", check=True
    )
    assert made.stdout.strip() == (ROOT / "docs/cli.md").read_text(encoding="utf-8").strip()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_every_setting_is_named(config: type, text: str) -> None:
    keys = [field.name for field in dataclasses.fields(config)]
    assert [key for key in keys if f"`{key}`" not in text and f"`[{key}]`" not in text] == []


def test_every_operation_of_the_sampler_and_every_task_is_named(text: str) -> None:
    assert [name for name in (*SamplerConfig().odds, *TASKS) if not named(name, text)] == []


def test_every_exit_code_is_named(text: str) -> None:
    assert [code.value for code in ExitCode if not re.search(rf"\| *{code.value} *\|", text)] == []


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not target.startswith("mailto:"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
