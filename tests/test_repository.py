"""What people look for in a repository: how to cite it, and an image to run it in."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import deal_cli

ROOT = Path(__file__).resolve().parent.parent


def citation() -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    return made


def instructions() -> list[tuple[str, str]]:
    """Every instruction of the Dockerfile, its lines joined, comments left out."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", "", text)
    pairs = (line.partition(" ") for line in joined.splitlines() if line)
    return [(name, rest.strip()) for name, _, rest in pairs]


def given(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def test_the_citation_names_this_version_its_licence_and_the_paper() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    made = citation()
    assert made["cff-version"] == "1.2.0"
    assert made["version"] == deal_cli.__version__
    assert made["license"] == project["license"]
    assert [author["name"] for author in made["authors"]] == [
        author["name"] for author in project["authors"]
    ]
    paper = made["preferred-citation"]
    assert "Data-Efficient Adversarial Learning" in paper["title"]
    assert {"arXiv:2503.00905"} == {each["value"] for each in paper["identifiers"]}
    assert all(author["family-names"] and author["given-names"] for author in paper["authors"])


def test_the_readme_cites_the_paper_as_the_citation_file_does() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```bibtex\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    paper = citation()["preferred-citation"]
    names = " and ".join(f"{a['family-names']}, {a['given-names']}" for a in paper["authors"])
    assert names in block
    assert paper["title"].partition(": ")[2] in block
    assert "2503.00905" in block
    assert deal_cli.__version__ in block


def test_everything_the_image_copies_is_in_the_repository() -> None:
    copied = [shlex.split(rest) for rest in given("COPY") if "--from" not in rest]
    sources = {source.rstrip("/") for words in copied for source in words[:-1]}
    assert all((ROOT / source).exists() for source in sources), sources
    built = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = built["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], "pyproject.toml", "constraints.txt"}
    needed |= {built["project"]["readme"], *built["project"]["license-files"]}
    assert needed <= sources


def test_a_wheel_is_built_of_nothing_but_what_the_image_copies(tmp_path: Path) -> None:
    """The step of the image that needs no network, on its own copy."""
    for rest in given("COPY"):
        if "--from" in rest:
            continue
        for source in shlex.split(rest)[:-1]:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tmp_path / source)
            else:
                shutil.copy(ROOT / source, tmp_path / source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "made"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    assert len(list((tmp_path / "made").glob("*.whl"))) == 1


@pytest.mark.parametrize("step", given("RUN"))
def test_every_step_of_the_image_is_a_shell_command(step: str) -> None:
    result = subprocess.run(["sh", "-n", "-c", step], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_image_installs_the_versions_that_are_tested_for_either_device() -> None:
    (pip,) = (step for step in given("RUN") if "[video]" in step)
    assert "-c constraints.txt" in pip
    (torch,) = (step for step in given("RUN") if "index-url" in step)
    assert torch.startswith('if [ "$DEVICE" = cpu ]')
    assert "DEVICE=cpu" in given("ARG")
    pinned = subprocess.run(
        ["sh", "-c", "grep '^torch==' constraints.txt"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    assert len(pinned) == 1


def test_the_image_runs_deal_as_nobody_of_importance_in_data() -> None:
    order = [name for name, _ in instructions()]
    last = len(order) - 1 - order[::-1].index("FROM")
    ending = instructions()[last:]
    names = [name for name, _ in ending]
    (user,) = (rest for name, rest in ending if name == "USER")
    assert user not in ("root", "0")
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert names.index("RUN") < names.index("USER")
    assert ("WORKDIR", "/data") in ending
    assert ("VOLUME", "/data") in ending
    (entry,) = (rest for name, rest in ending if name == "ENTRYPOINT")
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert json.loads(entry)[0] in scripts["project"]["scripts"]
