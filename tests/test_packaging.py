"""What is built is whole: the wheel carries the weights and finds them where it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOCATE = """
import deal_cli
from deal_cli.model.weights import weights_folder
print(deal_cli.__file__)
print(weights_folder())
"""


def run(*command: str, cwd: Path, path: Path | None = None) -> str:
    environment = {**os.environ, "PYTHONPATH": str(path)} if path else dict(os.environ)
    result = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without the network by way of the source archive."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), cwd=ROOT)
    assert len(list(folder.glob("*.tar.gz"))) == 1
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed in it and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-index", "--quiet", "--target", str(folder)]
    run(sys.executable, "-m", "pip", "install", *options, str(wheel), cwd=folder)
    return folder


def weights() -> set[str]:
    """The names of the weight files of the checkout."""
    return {path.name for path in (ROOT / "weights").iterdir() if path.is_file()}


def test_the_wheel_holds_the_code_the_weights_and_the_licence(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert weights()
    assert {f"deal_cli/weights/{name}" for name in weights()} <= names
    assert {
        str(path.relative_to(ROOT).as_posix()) for path in (ROOT / "deal_cli").rglob("*.py")
    } <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "docs/", "weights/"))]


def test_the_wheel_names_its_command_and_its_version(wheel: Path) -> None:
    from deal_cli import __version__

    assert wheel.name == f"deal_cli-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "deal = deal_cli.cli.app:main" in archive.read(name).decode()


def test_an_installed_wheel_finds_its_weights(installed: Path, tmp_path: Path) -> None:
    package, folder = run(sys.executable, "-c", LOCATE, cwd=tmp_path, path=installed).split("\n")[
        :2
    ]
    assert Path(package).is_relative_to(installed)
    assert Path(folder) == installed / "deal_cli" / "weights"
    assert {path.name for path in Path(folder).iterdir()} == weights()


def test_a_checkout_finds_its_weights(tmp_path: Path) -> None:
    package, folder = run(sys.executable, "-c", LOCATE, cwd=tmp_path, path=ROOT).split("\n")[:2]
    assert Path(package).is_relative_to(ROOT)
    assert Path(folder) == ROOT / "weights"
