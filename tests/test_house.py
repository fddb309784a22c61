"""The house rules that a machine can hold: layers, quick imports, docstrings, pinned versions."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "deal_cli").rglob("*.py"))
HEAVY = ("torch", "cv2", "onnxruntime", "onnx", "av", "imagecodecs", "huggingface_hub")


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run a line of Python in a process of its own, at the top of the checkout."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_each_layer_imports_only_from_those_below_it() -> None:
    result = python("from importlinter.cli import lint_imports; exit(lint_imports(no_cache=True))")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("module", ["deal_cli.cli.app", "deal_cli.jobs", "deal_cli.imaging"])
def test_nothing_heavy_is_imported_before_it_is_used(module: str) -> None:
    result = python(f"import sys, {module}; print(sorted(set({HEAVY}) & set(sys.modules)))")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_pictures_are_read_and_written_without_torch() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "deal_cli" / "imaging").rglob("*.py"))
        if path.stem != "__init__"
    ]
    result = python(f"import sys, {', '.join(modules)}; print('torch' in sys.modules)")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_why_it_exists(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_no_module_is_named_for_nothing() -> None:
    assert not {path.stem for path in MODULES} & {"utils", "util", "common", "helpers", "misc"}


def test_the_readme_gives_the_command_that_ci_runs() -> None:
    """`.ci/run` takes the command from between these markers, and has none of its own."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^<!-- test -->\n(.*?)^<!-- /test -->$", readme, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    for part in ("python3 -m venv .venv", "-c constraints.txt", "-e '.[test]'", "pytest"):
        assert part in blocks[0]
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "pytest" not in script.read_text(encoding="utf-8")


def test_constraints_pin_every_dependency_and_theirs() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for pin in pins:
        assert [specifier.operator for specifier in pin.specifier] == ["=="], pin
        assert "+" not in str(pin.specifier), f"{pin} is a build of one machine"
    pinned = {canonicalize_name(pin.name) for pin in pins}
    assert len(pinned) == len(pins)
    assert _dependencies() - pinned == set()


def test_every_platform_has_one_onnx_runtime() -> None:
    wheels = [
        requirement
        for requirement in _declared()
        if requirement.name in ("onnxruntime", "onnxruntime-gpu")
    ]
    platforms = {
        ("linux", "x86_64"): "onnxruntime-gpu",
        ("win32", "AMD64"): "onnxruntime-gpu",
        ("linux", "aarch64"): "onnxruntime",
        ("win32", "ARM64"): "onnxruntime",
        ("darwin", "arm64"): "onnxruntime",
        ("darwin", "x86_64"): "onnxruntime",
    }
    for (system, machine), expected in platforms.items():
        environment = {"sys_platform": system, "platform_machine": machine}
        chosen = [
            wheel.name for wheel in wheels if wheel.marker and wheel.marker.evaluate(environment)
        ]
        assert chosen == [expected], (system, machine)


def _declared() -> list[Requirement]:
    """What `pyproject.toml` asks for, the extra for testing included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = project["dependencies"] + project["optional-dependencies"]["test"]
    return [Requirement(line) for line in asked]


def _dependencies() -> set[str]:
    """The names of everything installed for the package, torch's own builds for CUDA aside."""
    names: set[str] = set()
    pending = _declared()
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if name in names or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        names.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        needs = [Requirement(line) for line in distribution.requires or []]
        if name == "torch":
            needs = [need for need in needs if not _is_cuda(need.name)]
        pending += needs
    return names


def _is_cuda(name: str) -> bool:
    return name.startswith(("nvidia-", "cuda-", "triton"))
