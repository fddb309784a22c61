"""What this installation can do, and what is wrong with it."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

import deal_cli
from deal_cli.engine.backends import hardware
from deal_cli.engine.backends.choice import Purpose, Request, choose, open_backend
from deal_cli.errors import DealError

PACKAGES = ("torch", "onnx", "numpy", "opencv-python-headless", "pillow", "tifffile", "imagecodecs")


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes:
        state: "ok"; "absent" for what this machine simply does not have; "wrong" for what should
            work and does not.
        remedy: what mends it, when wrong.
    """

    name: str
    state: Literal["ok", "absent", "wrong"]
    detail: str
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Every finding, from the versions to a picture through each backend."""
    yield Finding("deal", "ok", f"{deal_cli.__version__} on Python {platform.python_version()}")
    yield from _packages()
    yield Finding("system", "ok", platform.platform(terse=True))
    yield Finding("processor", "ok", _processor())
    yield from _weights()
    for name in ("cuda", "onnx", "cpu"):
        yield _backend(name)


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        try:
            yield Finding(name, "ok", metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding(name, "wrong", "is not installed", "reinstall deal-cli")
    found = {n: _version(n) for n in ("onnxruntime-gpu", "onnxruntime") if _version(n)}
    detail = ", ".join(f"{name} {version}" for name, version in found.items())
    if len(found) == 1:
        yield Finding("onnxruntime", "ok", detail)
    elif found:  # both own the same module, and the one installed last wins
        remedy = "pip uninstall onnxruntime onnxruntime-gpu, then reinstall one"
        yield Finding("onnxruntime", "wrong", f"two packages in one place: {detail}", remedy)
    else:
        yield Finding("onnxruntime", "wrong", "is not installed", "reinstall deal-cli")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    known = ("amx_bf16", "avx512_bf16", "bf16", "avx512f", "avx2", "asimd")
    features = [flag for flag in known if flag in hardware.cpu_flags()]
    cores = hardware.physical_cores()
    return f"{hardware.cpu_name()}, {cores} cores; {' '.join(features) or 'features not listed'}"


def _weights() -> Iterator[Finding]:
    from deal_cli.model.weights import bundled_checksums, find

    try:
        names = bundled_checksums()
    except DealError as error:
        yield Finding("weights", "wrong", error.cause, error.remedy or "")
        return
    for name in names:
        stem, _, suffix = name.rpartition(".")
        try:
            file = find(stem, f".{suffix}")
            yield Finding(f"weights {name}", "ok", f"SHA-256 {file.sha256[:16]}… as bundled")
        except (DealError, OSError) as error:
            yield Finding(f"weights {name}", "wrong", str(error), "reinstall deal-cli")


def _backend(name: str) -> Finding:
    """One small picture through a backend."""
    import numpy as np

    request = Request(backend=name)
    try:
        backend = open_backend(choose(request, Purpose.INFERENCE), request)
        edge = backend.facts.smallest
        backend.run(np.full((1, 1, edge, edge), 0.5, np.float32))
    except DealError as error:
        expected = name == "cuda" and not hardware.has_nvidia()
        state: Literal["absent", "wrong"] = "absent" if expected else "wrong"
        return Finding(f"backend {name}", state, error.cause, error.remedy or "")
    facts = backend.facts
    return Finding(f"backend {name}", "ok", f"{facts.device}, {facts.precision} ({facts.note})")
