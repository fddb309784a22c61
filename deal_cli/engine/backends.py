"""One network behind three backends: CUDA and CPU (torch), and ONNX Runtime.

`choose` turns a request into a choice, for every command; `open_backend` loads weights for it. An
explicit choice that cannot be had is an error, never a silent fallback; `auto` says why it chose.
Lower precision is used only where the processor has it *and* a check against float32 on
real-looking pictures passes.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from deal_cli.engine import hardware
from deal_cli.errors import BackendError, PictureError, WeightsError

if TYPE_CHECKING:
    import torch

    from deal_cli.model.network import Enhancer

Batch = NDArray[np.float32]  # (B, 1, H, W) in [0, 1]

PRECISION_FLOOR = 50.0  # dB against float32, below which lower precision is not used


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


@dataclass(frozen=True)
class Facts:
    """What is known of an opened backend.

    Attributes:
        backend: "cuda", "onnx" or "cpu".
        device: the accelerator's or processor's name; for ONNX Runtime its execution provider.
        precision: "float32", "bfloat16" or "float16".
        note: why that precision, in words.
        weights: name of the weights; `sha256` of their file.
        stride: edges of a tile are multiples of it.
        halo: receptive radius in pixels, rounded up to the stride.
        smallest: the least edge of a tile in pixels.
        path: of the weights' file, beside which a tone predictor may lie.
        parallel: pictures of a batch that are worked on at the same time.
        only: the height and width of the only pictures that a graph with a fixed size takes.
    """

    backend: str
    device: str
    precision: str
    note: str
    weights: str
    sha256: str
    stride: int
    halo: int
    smallest: int
    path: Path = Path()
    parallel: int = 1
    only: tuple[int, int] | None = None

    def check_size(self, height: int, width: int) -> None:
        """Make sure that pictures of a size can be restored.

        Raises:
            PictureError: the weights are a graph for pictures of another size.
        """
        if self.only is not None and self.only != (height, width):
            raise PictureError(
                f"is {height}x{width} (height x width), and {self.path.name} takes"
                " {}x{} only".format(*self.only),
                remedy="export the weights without --fixed",
            )


class OutOfMemoryError(Exception):
    """The backend could not hold a tile; a smaller one may do."""


class Backend(ABC):
    """A loaded network: `run` maps `(B, 1, H, W)` float32 in [0, 1] to the same shape."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    @abstractmethod
    def run(self, x: Batch) -> Batch:
        """The restored pictures, in float32; edges are multiples of the stride.

        Raises:
            OutOfMemoryError: the batch does not fit.
        """


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
        return _open_onnx(request.weights)
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


@final
class TorchBackend(Backend):
    """The network in torch, on the CPU or a CUDA device, in the lowest precision that is safe."""

    def __init__(
        self,
        network: Enhancer,
        device: torch.device,
        name: str,
        sha256: str,
        path: Path = Path(),
    ) -> None:
        import torch

        from deal_cli.model.network import folded, halo, input_edge

        config = network.config
        self._threads = hardware.threads() if device.type == "cpu" else 1
        self._pool = ThreadPoolExecutor(self._threads, "network")
        self._channels = config.channels
        self._device = device
        reference = placed(folded(network), device, torch.float32)
        dtype, note = lower_precision(device)
        self._network = reference
        if dtype is not torch.float32:
            lower = placed(folded(network), device, dtype)
            agreement = self._agreement(reference, lower)
            if agreement >= PRECISION_FLOOR:
                self._network = lower
                note = f"{note}, {agreement:.0f} dB from float32"
            else:
                note = f"{dtype} is {agreement:.0f} dB from float32, below {PRECISION_FLOOR:.0f}"
        super().__init__(
            Facts(
                backend=device.type,
                device=hardware.cpu_name()
                if device.type == "cpu"
                else torch.cuda.get_device_name(device),
                precision=str(next(self._network.parameters()).dtype).removeprefix("torch."),
                note=note,
                weights=name,
                sha256=sha256,
                stride=config.stride,
                halo=halo(config),
                smallest=input_edge(config),
                path=path,
                parallel=self._threads,
            )
        )

    def run(self, x: Batch) -> Batch:
        if self._threads == 1 or len(x) == 1:
            return self._run(x, self._threads)
        # A core a picture: together on one picture, cores wait for each other at every layer.
        parts = np.array_split(x, min(len(x), self._threads))
        return np.concatenate(list(self._pool.map(lambda part: self._run(part, 1), parts)))

    def _run(self, x: Batch, threads: int) -> Batch:
        import torch

        if self._device.type == "cpu":
            torch.set_num_threads(threads)  # of the calling thread
        try:
            with torch.inference_mode():
                picture = torch.from_numpy(x).to(self._device)
                return self._restore(self._network, picture).cpu().numpy()
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise OutOfMemoryError from error
        except RuntimeError as error:
            if any(words in str(error) for words in ("allocate memory", "not enough memory")):
                raise OutOfMemoryError from error
            raise

    def _restore(self, network: Enhancer, x: torch.Tensor) -> torch.Tensor:
        """The global skip is added in float32; the correction comes in the network's precision."""
        correction = network.correction(x.expand(-1, self._channels, -1, -1))
        return x + correction.float().mean(1, keepdim=True)

    def _agreement(self, reference: Enhancer, lower: Enhancer) -> float:
        """PSNR in dB between two precisions of the network on real-looking degraded pictures."""
        import torch

        with torch.inference_mode():
            x = torch.from_numpy(_check_pictures()).to(self._device)
            difference = self._restore(reference, x) - self._restore(lower, x)
        return float(-10 * torch.log10(difference.double().square().mean().clamp_min(1e-12)))


@final
class OnnxBackend(Backend):
    """The network in ONNX Runtime, on the execution provider that it really uses."""

    def __init__(self, session: Any, facts: Facts) -> None:
        super().__init__(facts)
        self._session = session

    def run(self, x: Batch) -> Batch:
        from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

        self.facts.check_size(*x.shape[2:])
        # A graph for one size takes one picture at a time.
        parts = np.split(x, len(x)) if self.facts.only else [x]
        try:
            restored = [self._session.run(None, {"picture": part})[0] for part in parts]
        except RuntimeException as error:
            if "allocate memory" in str(error):
                raise OutOfMemoryError from error
            raise
        return np.asarray(np.concatenate(restored), np.float32)


def _open_onnx(name_or_file: str) -> OnnxBackend:
    """An ONNX file as it is, or the ONNX form of bundled or trained weights."""
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(
            f"onnxruntime cannot be imported ({error})", remedy="reinstall it, or use --backend cpu"
        ) from error
    from deal_cli.model.onnx_facts import facts_of
    from deal_cli.model.weights import find, load_enhancer

    if Path(name_or_file).suffix == ".onnx":
        file = find(name_or_file, ".onnx")
        data = file.path.read_bytes()
    else:
        weights = load_enhancer(name_or_file)
        file = weights.file
        beside = weights.file.path.with_suffix(".onnx")
        data = find(str(beside), ".onnx").path.read_bytes() if beside.is_file() else b""
        if not data or not _is_form_of(file.sha256, facts_of(data, beside)):
            from deal_cli.model.onnx_graph import to_onnx

            data = to_onnx(weights.network(), file.sha256)
    wanted = ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers() and hardware.has_nvidia():
        wanted.insert(0, "CUDAExecutionProvider")
    return open_graph(data, file.name, file.sha256, file.path, wanted)


def _is_form_of(sha256: str, facts: dict[str, str]) -> bool:
    """Whether a graph is what weights are by themselves: in float32, for pictures of any size."""
    stated = (facts["weights_sha256"], facts["precision"], facts["size"])
    return stated == (sha256, "float32", "any")


def open_graph(
    data: bytes, name: str, sha256: str, path: Path, providers: list[str]
) -> OnnxBackend:
    """An ONNX graph as a backend, on the first of the execution providers that is to be had.

    Raises:
        WeightsError: it is no graph of this program, or does not do what it states.
    """
    import onnxruntime

    from deal_cli.model.onnx_facts import facts_of, fixed_size

    facts = facts_of(data, path)
    only = fixed_size(facts)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = hardware.threads()
    try:
        # Without fallback: on an error ONNX Runtime would print and try another provider.
        session = onnxruntime.InferenceSession(
            data, options, providers=providers, enable_fallback=False
        )
    except Exception as error:  # ONNX Runtime raises a class of its own for each kind of bad graph
        reason = str(error).partition("\n")[0]
        raise WeightsError(
            f"ONNX Runtime cannot load it ({reason})",
            file=path,
            remedy="give --weights the .safetensors file",
        ) from error
    backend = OnnxBackend(
        session,
        Facts(
            backend="onnx",
            device=session.get_providers()[0],
            precision=facts["precision"],
            note="as exported",
            weights=name,
            sha256=sha256,
            # A fixed size is mirrored to the stride inside the graph.
            stride=1 if only else int(facts["stride"]),
            halo=int(facts["halo"]),
            smallest=1 if only else int(facts["smallest"]),
            path=path,
            only=only,
        ),
    )
    _check_onnx(backend)
    return backend


def _check_onnx(backend: OnnxBackend) -> None:
    """Run a graph once: what it declares is not yet what it does.

    Raises:
        WeightsError: it does not map pictures to pictures.
    """
    facts = backend.facts
    height, width = facts.only or (facts.smallest, facts.smallest + facts.stride)
    picture = np.full((1, 1, height, width), 0.5, np.float32)
    remedy = "give --weights the .safetensors file"
    try:
        restored = backend.run(picture)
    except Exception as error:  # see above
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"cannot be run ({reason})", file=facts.path, remedy=remedy) from error
    if restored.shape != picture.shape or not np.isfinite(restored).all():
        raise WeightsError("does not map pictures to pictures", file=facts.path, remedy=remedy)


def placed(network: Enhancer, device: torch.device, dtype: torch.dtype) -> Enhancer:
    """The network on a device, in channels-last layout, which convolutions there like best."""
    import torch

    network = network.to(device, dtype)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return network


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


def lower_precision(device: torch.device) -> tuple[torch.dtype, str]:
    """The fastest dtype the device computes in, and what says so."""
    import torch

    if device.type == "cuda":
        if torch.cuda.get_device_capability(device) >= (8, 0):
            return torch.bfloat16, "the device computes in bfloat16"
        if torch.cuda.get_device_capability(device) >= (7, 0):
            return torch.float16, "the device computes in float16"
    elif hardware.has_bfloat16():
        return torch.bfloat16, "the processor computes in bfloat16"
    return torch.float32, "no lower precision in hardware"


def _check_pictures() -> Batch:
    """Drawn scenes, one clean and one striped and noisy, `(2, 1, 192, 256)` in [0, 1]."""
    from deal_cli.imaging.scenes import draw_scene

    clean = draw_scene(0, 192, 256).values / np.float32(255)
    rng = np.random.default_rng(0)
    noisy = clean + rng.normal(0, 0.05, (1, 256)) + rng.normal(0, 0.02, clean.shape)
    return np.stack([clean, np.clip(noisy, 0, 1).astype(np.float32)])[:, None]
