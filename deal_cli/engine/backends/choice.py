"""One network behind three backends: CUDA and CPU (torch), and ONNX Runtime.

`choose` turns a request into a choice, for every command; `open_backend` loads weights for it. An
explicit choice that cannot be had is an error, never a silent fallback; `auto` says why it chose.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deal_cli.engine.backends.contract import Backend
from deal_cli.errors import BackendError

if TYPE_CHECKING:
    import torch


class Purpose(enum.Enum):
    """What a backend is wanted for."""

    INFERENCE = "inference"
    TRAINING = "training"
    DEGRADATION = "degradation"


@dataclass(frozen=True)
class Request:
    """What the user asked for: `auto`, `cuda`, `cuda:N`, `onnx` or `cpu`, and which weights."""

    backend: str = "auto"
    weights: str = "deal"


@dataclass(frozen=True)
class Choice:
    """What will be used, and why.

    Attributes:
        kind: "cuda", "onnx" or "cpu".
        device: index of the CUDA device.
        reason: in words, for the user.
    """

    kind: str
    device: int
    reason: str

    def torch_device(self) -> torch.device:
        """Where torch runs it."""
        import torch

        return torch.device("cuda", self.device) if self.kind == "cuda" else torch.device("cpu")


def choose(request: Request, purpose: Purpose) -> Choice:
    """The backend for a request.

    Raises:
        BackendError: what was asked for by name cannot be had, or cannot serve the purpose.
    """
    name, _, index = request.backend.partition(":")
    if name not in {"auto", "cuda", "onnx", "cpu"} or (
        index and not (name == "cuda" and index.isdecimal())
    ):
        raise BackendError(
            f"no backend is called '{request.backend}'",
            remedy="--backend takes auto, cuda, cuda:N, onnx or cpu",
        )
    onnx_file = Path(request.weights).suffix == ".onnx"
    if purpose is not Purpose.INFERENCE and (name == "onnx" or onnx_file):
        verb = "train" if purpose is Purpose.TRAINING else "degrade"
        if onnx_file:
            remedy = "give the .safetensors file"
            raise BackendError(f"an ONNX file cannot {verb}", file=request.weights, remedy=remedy)
        raise BackendError(
            f"ONNX Runtime cannot {verb}", remedy="use --backend cuda or --backend cpu"
        )
    if onnx_file and name in {"cuda", "cpu"}:
        raise BackendError(
            f"the {name} backend cannot run an ONNX file",
            file=request.weights,
            remedy="use --backend onnx",
        )
    if name == "onnx" or onnx_file:
        return Choice("onnx", 0, "asked for" if name == "onnx" else "the weights are an ONNX file")
    if name == "cpu":
        return Choice("cpu", 0, "asked for")
    missing = _why_no_cuda(int(index or 0))
    if name == "cuda":
        if missing:
            raise BackendError(missing, remedy="use --backend cpu, or see `deal doctor`")
        return Choice("cuda", int(index or 0), "asked for")
    return Choice("cpu", 0, missing) if missing else Choice("cuda", 0, "CUDA device found")


def open_backend(choice: Choice, request: Request) -> Backend:
    """Load the request's weights into the chosen backend.

    Raises:
        BackendError: the backend cannot be started.
        WeightsError: the weights are missing, damaged or of another kind.
    """
    if choice.kind == "onnx":
        from deal_cli.engine.backends.onnx_backend import open_onnx

        return open_onnx(request.weights)
    from deal_cli.engine.backends.torch_backend import TorchBackend
    from deal_cli.model.weights import load_enhancer

    weights = load_enhancer(request.weights)
    network, file = weights.network(), weights.file
    try:
        return TorchBackend(network, choice.torch_device(), file.name, file.sha256, file.path)
    except RuntimeError as error:  # torch's out of memory and missing kernels among them
        raise BackendError(
            f"the {choice.kind} backend cannot start ({str(error).splitlines()[0]})",
            remedy="use --backend cpu" if choice.kind == "cuda" else "use --backend onnx",
        ) from error


def _why_no_cuda(index: int) -> str:
    """What stands in the way of a CUDA device; empty when nothing does."""
    import torch

    if torch.version.cuda is None:
        return "this build of torch has no CUDA"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    if index >= torch.cuda.device_count():
        return f"there is no CUDA device {index}, only {torch.cuda.device_count()}"
    return ""
