"""The network in ONNX Runtime: a graph as it is, or the ONNX form of other weights."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from deal_cli.engine.backends import hardware
from deal_cli.engine.backends.agreement import PRECISION_FLOOR, agreement, check_pictures
from deal_cli.engine.backends.contract import Backend, Batch, Facts, OutOfMemoryError
from deal_cli.errors import BackendError, WeightsError

if TYPE_CHECKING:
    from deal_cli.model.onnx_facts import Precision
    from deal_cli.model.weights import EnhancerWeights

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
# Trying every algorithm, its default, takes seconds for the first picture of each size.
CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}


@final
class OnnxBackend(Backend):
    """The network in ONNX Runtime, on the execution provider that it really uses."""

    def __init__(self, session: Any, facts: Facts, single: Any = None) -> None:
        """`session` has all threads for one picture; `single` has one, for a core a picture."""
        super().__init__(facts)
        self._session, self._single = session, single
        self._pool = ThreadPoolExecutor(facts.parallel, "network")

    def run(self, x: Batch, whole: Batch | None = None) -> Batch:
        self.facts.check_size(*x.shape[2:])
        out = np.empty(x.shape, np.float32)
        given = {"picture": x}
        if self.facts.reads_whole:
            given["whole"] = x if whole is None else whole
        try:
            if self._single is not None and len(x) > 1:
                list(self._pool.map(lambda at: _run_into(self._single, given, out, at), _each(x)))
            else:
                # A graph for one size takes one picture at a time.
                for at in _each(x) if self.facts.only else (slice(None),):
                    _run_into(self._session, given, out, at)
        except Exception as error:  # of several classes that have no parent of their own
            if "allocate memory" in str(error):
                raise OutOfMemoryError from error
            raise
        return out


def _each(x: Batch) -> list[slice]:
    """Every picture of a batch by itself."""
    return [slice(at, at + 1) for at in range(len(x))]


def _run_into(session: Any, given: Mapping[str, Batch], out: Batch, at: slice) -> None:
    """Restore some pictures of a batch into the place where they shall be."""
    part = out[at]
    binding = session.io_binding()
    for name, batch in given.items():
        binding.bind_cpu_input(name, np.ascontiguousarray(batch[at]))
    binding.bind_output("restored", "cpu", 0, np.float32, part.shape, part.ctypes.data)
    session.run_with_iobinding(binding)


def open_onnx(name_or_file: str) -> OnnxBackend:
    """An ONNX file as it is, or the ONNX form of bundled or trained weights.

    Raises:
        BackendError: ONNX Runtime cannot be imported.
        WeightsError: the weights are not usable.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(
            f"onnxruntime cannot be imported ({error})", remedy="reinstall it, or use --backend cpu"
        ) from error
    from deal_cli.model.weights import find, load_enhancer

    cuda = CUDA in onnxruntime.get_available_providers() and hardware.has_nvidia()
    providers = [CUDA, CPU] if cuda else [CPU]
    if Path(name_or_file).suffix == ".onnx":
        file = find(name_or_file, ".onnx")
        return open_graph(file.path.read_bytes(), file.name, file.sha256, file.path, providers)
    return open_form(load_enhancer(name_or_file), providers)


def open_form(weights: EnhancerWeights, providers: list[str]) -> OnnxBackend:
    """The ONNX form of weights: in float16 on a GPU, where it agrees with float32, else in that."""
    file = weights.file

    def opened(precision: Precision, providers: list[str]) -> OnnxBackend:
        data = _form(weights, precision)
        return open_graph(data, file.name, file.sha256, file.path, providers)

    full = opened("float32", providers)
    if full.facts.device != CUDA:
        return full
    try:
        half, x = opened("float16", providers), check_pictures()
        distance = agreement(full.run(x), half.run(x))
    except (WeightsError, OutOfMemoryError) as error:
        note = f"float16 cannot be used ({error})"
    else:
        note = f"float16 is {distance:.0f} dB from float32, to be used from {PRECISION_FLOOR:.0f}"
        if distance >= PRECISION_FLOOR:
            full = half
    full.facts = replace(full.facts, note=note)
    return full


def _form(weights: EnhancerWeights, precision: Precision) -> bytes:
    """The graph that lies beside weights where it is theirs, else a new one, some seconds later."""
    from deal_cli.model.onnx_facts import facts_of
    from deal_cli.model.onnx_graph import SUFFIXES, Form, to_onnx
    from deal_cli.model.weights import find

    file = weights.file
    beside = file.path.with_suffix(SUFFIXES[precision])
    if beside.is_file():
        data = find(str(beside), ".onnx").path.read_bytes()
        # What another version wrote, or is damaged, is no graph of these weights.
        with contextlib.suppress(WeightsError):
            if _is_form_of(file.sha256, precision, facts_of(data, beside)):
                return data
    return to_onnx(weights.network(), file.sha256, Form(precision))


def _is_form_of(sha256: str, precision: Precision, facts: dict[str, str]) -> bool:
    """Whether a graph is made of weights, in a precision, for pictures of any size."""
    stated = (facts["weights_sha256"], facts["precision"], facts["size"])
    return stated == (sha256, precision, "any")


def open_graph(
    data: bytes, name: str, sha256: str, path: Path, providers: list[str]
) -> OnnxBackend:
    """An ONNX graph as a backend, on the first of the execution providers that is to be had.

    Raises:
        WeightsError: it is no graph of this program, or does not do what it states.
    """
    import onnxruntime

    from deal_cli.model.onnx_facts import facts_of, fixed_size, inputs_of, stated_halo

    facts = facts_of(data, path)
    only = fixed_size(facts)

    def start(threads: int) -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads
        # Without fallback: on an error ONNX Runtime would print and try another provider.
        return onnxruntime.InferenceSession(
            data,
            options,
            providers=[(each, CUDA_OPTIONS if each == CUDA else {}) for each in providers],
            enable_fallback=False,
        )

    try:
        session = start(hardware.threads())
        # A provider whose libraries are missing is left out, with no more than a warning.
        device = session.get_providers()[0]
        threads = hardware.threads() if device == CPU else 1
        single = start(1) if threads > 1 else None
    except Exception as error:  # ONNX Runtime raises a class of its own for each kind of bad graph
        reason = str(error).partition("\n")[0]
        raise WeightsError(
            f"ONNX Runtime cannot load it ({reason})",
            file=path,
            remedy="give --weights the .safetensors file",
        ) from error
    known = Facts(
        backend="onnx",
        device=device,
        precision=facts["precision"],
        note="as exported",
        weights=name,
        sha256=sha256,
        # A fixed size is mirrored to the stride inside the graph.
        stride=1 if only else int(facts["stride"]),
        halo=stated_halo(facts),
        smallest=1 if only else int(facts["smallest"]),
        path=path,
        parallel=threads,
        only=only,
        reads_whole=inputs_of(facts) != ["picture"],
    )
    _check_onnx(session, known)
    return OnnxBackend(session, known, single)


def _check_onnx(session: Any, facts: Facts) -> None:
    """Run a graph once: what it declares is not yet what it does.

    Raises:
        WeightsError: it does not map pictures to pictures.
    """
    height, width = facts.only or (facts.smallest, facts.smallest + facts.stride)
    picture = np.full((1, 1, height, width), 0.5, np.float32)
    remedy = "give --weights the .safetensors file"
    try:
        given = {each.name: picture for each in session.get_inputs()}
        restored = session.run(["restored"], given)[0]
    except Exception as error:  # see above
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"cannot be run ({reason})", file=facts.path, remedy=remedy) from error
    fits = restored.shape == picture.shape and restored.dtype == picture.dtype
    if not fits or not np.isfinite(restored).all():
        raise WeightsError("does not map pictures to pictures", file=facts.path, remedy=remedy)
