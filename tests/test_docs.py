"""Nothing that can be typed or set goes without a word in the documentation, and its links lead."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer
from command import ROOT, environment

from deal_cli.cli.app import app
from deal_cli.config import AdversaryConfig, GeneratorConfig, SamplerConfig, ToneConfig, TrainConfig
from deal_cli.errors import ExitCode
from deal_cli.imaging.files import PICTURE_SUFFIXES
from deal_cli.jobs.protocol.tasks import TASKS
from deal_cli.jobs.reference import ENVIRONMENT, FORMATS, attributes, reference
from deal_cli.networks import BlockConfig, NetworkConfig

CONFIGS = (
    TrainConfig,
    NetworkConfig,
    BlockConfig,
    SamplerConfig,
    GeneratorConfig,
    AdversaryConfig,
    ToneConfig,
)
LINKED = [ROOT / "README.md", ROOT / "weights/README.md", *sorted((ROOT / "docs").rglob("*.md"))]

#: Pages that are to be there, whatever else is.
PAGES = ("README", "reference", "tutorial", "recipes", "limits", "method", "benchmarks")


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command with its options, the short ones too."""
    group = typer.main.get_command(app)
    pending = [("deal", group)]
    while pending:
        name, command = pending.pop()
        yield name, [opt for p in command.params for opt in p.opts if opt.startswith("-")]
        above = "" if command is group else f"{name} "
        inner = getattr(command, "commands", {})
        pending += [(f"{above}{name}", command) for name, command in inner.items()]


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


def section(page: str, heading: str) -> str:
    """A page from a heading of any level up to the next one of its level."""
    level = heading.split()[0]
    return page.partition(f"\n{heading}\n")[2].partition(f"\n{level} ")[0]


@pytest.mark.parametrize("page", PAGES)
def test_the_page_is_there(page: str) -> None:
    assert len(pages().get(f"{page}.md", "")) > 200


# --- the reference -------------------------------------------------------------------------------


def test_the_reference_is_what_its_command_writes(tmp_path: Path) -> None:
    """Also in a narrow terminal, which `environment` is."""
    command = [sys.executable, "-m", "deal_cli.jobs.reference", str(tmp_path / "reference.md")]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True)
    made = (tmp_path / "reference.md").read_text(encoding="utf-8")
    assert made == (ROOT / "docs/reference.md").read_text(encoding="utf-8"), "write it again"
    assert made == reference(app)


@pytest.mark.parametrize(("command", "options"), list(commands()))
def test_every_command_and_option_is_in_the_reference(command: str, options: list[str]) -> None:
    told = section(pages()["reference.md"], "## Commands")
    if command not in ("deal", "weights"):  # the groups
        told = section(told, f"### `deal {command}`")
        assert told
    assert options or command in ("doctor", "weights", "weights verify")
    assert [option for option in options if not named(option, told)] == []


@pytest.mark.parametrize(("command", "options"), list(commands()))
def test_every_command_and_option_is_told_beside_the_reference(
    command: str, options: list[str], text: str
) -> None:
    if command != "deal":
        assert named(f"deal {command}", text.replace(pages()["reference.md"], ""))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_every_setting_has_a_meaning(config: type) -> None:
    keys = {field.name for field in dataclasses.fields(config)}
    assert set(attributes(config)) == keys
    told = section(pages()["reference.md"], "## Settings of a training")
    assert [key for key in keys if f"`{key}`" not in told and f"`[{key}]`" not in told] == []


def test_every_exit_code_has_a_meaning(text: str) -> None:
    assert set(attributes(ExitCode)) == {code.name for code in ExitCode}
    assert [code.value for code in ExitCode if not re.search(rf"\| *{code.value} *\|", text)] == []


def test_every_suffix_of_a_picture_has_a_format() -> None:
    assert tuple(FORMATS) == PICTURE_SUFFIXES


def test_every_variable_that_the_program_reads_is_in_the_reference() -> None:
    modules = (ROOT / "deal_cli").rglob("*.py")
    code = "\n".join(module.read_text(encoding="utf-8") for module in modules)
    read = re.findall(r"\b(?:environ(?:\.get)?|getenv)[\[(]\"(\w+)\"", code)
    assert set(read) == set(ENVIRONMENT)


def test_every_operation_of_the_sampler_and_every_task_is_named(text: str) -> None:
    assert [name for name in (*SamplerConfig().odds, *TASKS) if not named(name, text)] == []


# --- links and figures ---------------------------------------------------------------------------


@cache
def anchors(page: Path) -> frozenset[str]:
    """The names that a page's headings have in links, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    found: dict[str, int] = {}
    names = []
    for heading in re.findall(r"^#+ (.*)$", prose, re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        names.append(f"{name}-{found[name]}" if name in found else name)
        found[name] = found.get(name, 0) + 1
    return frozenset(names)


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


@pytest.mark.parametrize("page", ["tutorial", "recipes", "limits", "reference"])
def test_no_heading_of_the_page_is_without_words(page: str) -> None:
    assert re.findall(r"^#+ .*\n+(?=#{1,2} )", pages()[f"{page}.md"], re.MULTILINE) == []


def cited(point: str) -> str:
    """The text of everything that a point of the limits names as its source."""
    docs = ROOT / "docs"
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", point)
    tests = re.findall(r"`(tests/[\w/]+\.py)`", point)
    files = [*(docs / link for link in links), *(ROOT / test for test in tests)]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def test_the_figures_of_the_limits_stand_where_they_are_said_to() -> None:
    limits = pages()["limits.md"]
    points = re.split(r"\n(?=- |\n)", limits)
    strange = []
    for point in points:
        known = {float(number) for number in re.findall(r"\d*\.\d+|\d+", cited(point))}
        prose = re.sub(r"\]\([^)]*\)|`[^`]*`", "", point)
        for number in re.findall(r"(?<![\w.])\d*\.\d+", prose):
            if float(number) not in known:
                strange.append((number, point.strip()[:60]))
    assert strange == []


def test_the_figures_of_the_readme_are_those_of_the_benchmarks() -> None:
    """Those of the published checkpoint aside, which are of nothing in this repository."""
    readme, benchmarks = pages()["README.md"], pages()["benchmarks.md"]
    rows = [line.split("|")[1:-1] for line in benchmarks.splitlines() if line.startswith("| ")]
    known: dict[str, set[str]] = {}
    for task, *cells in rows:
        known.setdefault(task.strip(), set()).update(cell.strip(" *") for cell in cells)
    methods = [name for name in known if "[" not in name]
    table = readme.split("<!-- table -->")[1].split("<!-- /table -->")[0].strip().splitlines()[2:]
    assert len(table) == len(TASKS) + 1
    for line in table:
        task, *figures, classical, _ = (cell.strip(" *`") for cell in line.split("|")[1:-1])
        value, method = re.fullmatch(r"([\d.]+)\W* (.+)", classical).groups()  # type: ignore[union-attr]
        assert set(figures) <= known[task.split("`")[0]], line
        assert method in methods
        assert value in known[method], line
