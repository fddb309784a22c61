"""The examination names what this machine can do and what is wrong with it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest

import deal_cli
from deal_cli.jobs import doctor
from deal_cli.jobs.doctor import Finding, examine
from deal_cli.model import weights


def by_name(findings: Iterable[Finding]) -> dict[str, Finding]:
    listed = list(findings)
    assert len({finding.name for finding in listed}) == len(listed)
    return {finding.name: finding for finding in listed}


@pytest.fixture(scope="module")
def findings() -> dict[str, Finding]:
    return by_name(examine())


@pytest.fixture
def copied_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the bundled weights in the place of them."""
    folder = tmp_path / "weights"
    shutil.copytree(weights.weights_folder(), folder)
    monkeypatch.setattr(weights, "weights_folder", lambda: folder)
    return folder


def test_every_part_is_examined(findings: dict[str, Finding]) -> None:
    bundled = {f"weights {name}" for name in weights.bundled_checksums()}
    assert {"weights deal.safetensors", "weights deal.onnx", "weights tone.safetensors"} <= bundled
    assert findings.keys() >= {
        *("deal", "torch", "onnx", "numpy", "onnxruntime", "system", "processor"),
        *("backend cuda", "backend onnx", "backend cpu"),
        *bundled,
    }


def test_a_healthy_installation_has_nothing_wrong(findings: dict[str, Finding]) -> None:
    wrong = [finding for finding in findings.values() if finding.state == "wrong"]
    assert wrong == []
    assert all(finding.detail for finding in findings.values())


def test_versions_are_those_installed(findings: dict[str, Finding]) -> None:
    assert findings["torch"].detail == metadata.version("torch")
    assert deal_cli.__version__ in findings["deal"].detail


def test_a_backend_tells_its_device_and_precision(findings: dict[str, Finding]) -> None:
    assert "ExecutionProvider" in findings["backend onnx"].detail
    assert "float" in findings["backend cpu"].detail


def test_no_cuda_is_absent_and_not_wrong(findings: dict[str, Finding]) -> None:
    assert findings["backend cuda"].state in ("ok", "absent")


@pytest.mark.parametrize("name", ["deal.safetensors", "tone.safetensors"])
def test_damaged_weights_are_wrong(name: str, copied_weights: Path) -> None:
    path = copied_weights / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    finding = by_name(doctor._weights())[f"weights {name}"]
    assert finding.state == "wrong"
    assert "does not match its checksum" in finding.detail
    assert finding.remedy


def test_missing_weights_are_wrong(copied_weights: Path) -> None:
    (copied_weights / "deal.safetensors").unlink()
    assert by_name(doctor._weights())["weights deal.safetensors"].state == "wrong"
    assert doctor._backend("cpu").state == "wrong"


def test_weights_that_are_not_there_at_all_are_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deal_cli").mkdir()
    monkeypatch.setattr(deal_cli, "__file__", str(tmp_path / "deal_cli" / "__init__.py"))
    found = by_name(examine())
    assert found["weights"].state == "wrong"
    assert found["weights"].remedy == "reinstall deal-cli"


def test_a_package_that_is_missing_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def without(name: str) -> str:
        if name == "tifffile" or name.startswith("onnxruntime"):
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(doctor.metadata, "version", without)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = by_name(doctor._packages())
    assert found["tifffile"].state == found["onnxruntime"].state == "wrong"
    backend = doctor._backend("onnx")
    assert backend.state == "wrong"
    assert "onnxruntime" in backend.detail


def test_two_packages_of_onnx_runtime_in_one_place_are_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version = metadata.version
    monkeypatch.setattr(
        doctor.metadata,
        "version",
        lambda name: "1.0" if name.startswith("onnxruntime") else version(name),
    )
    finding = by_name(doctor._packages())["onnxruntime"]
    assert finding.state == "wrong"
    assert "pip uninstall" in finding.remedy
