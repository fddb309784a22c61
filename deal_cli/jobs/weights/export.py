"""Weights as an ONNX file for other programs, kept only when it restores as torch does.

The graph is written, read back as a stranger's would be, and run in ONNX Runtime on drawn scenes
beside the network in torch in float32: alone and in a batch, at sizes that it was not traced with.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deal_cli.engine.backends.contract import Backend, Batch
from deal_cli.engine.backends.onnx_backend import open_graph
from deal_cli.errors import UsageError, VerificationError, WeightsError
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.whole import exists, make_folder, written_whole

if TYPE_CHECKING:
    from deal_cli.model.network import Enhancer
    from deal_cli.model.onnx_facts import Precision, Size
    from deal_cli.model.onnx_graph import Form
    from deal_cli.model.weights import EnhancerWeights

#: dB between ONNX Runtime and torch in float32, below which a graph is not kept.
FLOORS: dict[Precision, float] = {"float32": 60.0, "float16": 50.0}
PRECISIONS: dict[str, Precision] = {"fp32": "float32", "fp16": "float16"}
SIZES: tuple[Size, ...] = ((16, 16), (97, 131), (192, 256))  # pixels; odd ones are mirrored
SMALLEST_SCENE = 32  # pixels
SUFFIX = ".onnx"


@dataclass(frozen=True)
class ExportRequest:
    """What to export, as typed.

    Attributes:
        weights: a bundled name or a safetensors file.
        onnx: whether the format was named; there is only one.
        out: the file to write; None: the weights' name in the current folder.
        precision: "fp32" or "fp16".
        opset: version of ONNX's operators; None: the one that is best supported.
        fixed: "HxW", the only size that the graph shall take.
        overwrite: replace the file if it exists.
    """

    weights: str = "deal"
    onnx: bool = False
    out: Path | None = None
    precision: str = "fp32"
    opset: int | None = None
    fixed: str | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Exported:
    """What was written, and how well it agrees with torch in float32, in dB."""

    path: Path
    size: int
    form: Form
    agreement: float

    def __str__(self) -> str:
        form = self.form
        taken = "one of {}x{}".format(*form.size) if form.size else "pictures of any size"
        return (
            f"wrote {self.path}, {self.size / 1e6:.2f} MB: {form.precision}, opset {form.opset},"
            f" takes {taken}, {self.agreement:.0f} dB from torch in float32"
        )

    @property
    def command(self) -> str:
        """What restores pictures with it."""
        return f"deal restore --weights {shlex.quote(str(self.path))} -o restored INPUT..."


def export(request: ExportRequest) -> Exported:
    """Write weights as an ONNX file.

    Raises:
        UsageError: no format or a strange one, size or opset, or an output that exists.
        WeightsError: the weights are not usable.
        VerificationError: the graph does not restore as torch does; nothing is written.
        OutputError: it cannot be written.
    """
    if not request.onnx:
        raise UsageError("no format is given", remedy="--onnx is the format to give")
    from deal_cli.model.onnx_graph import Form
    from deal_cli.model.weights import load_enhancer

    size = None if request.fixed is None else _parse_size(request.fixed)
    if Path(request.weights).suffix == SUFFIX:
        remedy = "give --weights the .safetensors file"
        raise UsageError("is an ONNX file already", file=request.weights, remedy=remedy)
    target = request.out or Path(Path(request.weights).stem + SUFFIX)
    if target.suffix != SUFFIX:
        raise UsageError("is no name of an ONNX file", file=target, remedy="end -o in .onnx")
    weights = load_enhancer(request.weights)
    if target.is_dir() or (not request.overwrite and exists(target)):
        remedy = "give -o another name" + ("" if target.is_dir() else ", or --overwrite")
        raise UsageError("exists", file=target, remedy=remedy)
    form = Form(PRECISIONS[request.precision], size)
    if request.opset is not None:
        form = Form(form.precision, size, _checked_opset(request.opset, weights))
    data, agreement = verified_graph(weights, form)
    make_folder(target.parent)
    with written_whole(target) as stream:
        stream.write(data)
    return Exported(target, len(data), form, agreement)


def verified_graph(weights: EnhancerWeights, form: Form) -> tuple[bytes, float]:
    """The graph of weights, and the least PSNR in dB between it and torch in float32.

    Raises:
        VerificationError: it cannot be run, or is farther from torch than `FLOORS` allow.
    """
    from deal_cli.model.onnx_graph import to_onnx

    network, file = weights.network(), weights.file
    data = to_onnx(network, file.sha256, form)
    remedy = None if form.precision == "float32" else "use --precision fp32"
    try:
        backend = open_graph(data, file.name, file.sha256, file.path, ["CPUExecutionProvider"])
    except WeightsError as error:
        cause = f"as an ONNX file, {error.cause}"
        raise VerificationError(cause, file=file.path, remedy=remedy) from error
    agreement, floor = _agreement(network, backend, form.size), FLOORS[form.precision]
    if not agreement >= floor:
        cause = f"as an ONNX file is {agreement:.1f} dB from torch in float32, below {floor:g}"
        raise VerificationError(cause, file=file.path, remedy=remedy)
    return data, agreement


def _agreement(network: Enhancer, backend: Backend, size: Size | None) -> float:
    """The least PSNR in dB between two forms of a network over sizes and pictures.

    The last picture of each size goes through the graph alone as well, and where the network has a
    gauge, a quarter of each picture goes with the whole beside it.
    """
    import torch

    from deal_cli.model.forms import folded
    from deal_cli.networks import input_edge

    config = network.config
    reference = folded(network)
    errors = []
    for height, width in (size,) if size else SIZES:
        x = _pictures(height, width)
        margins = [
            (0, -(-max(edge, input_edge(config)) // config.stride) * config.stride - edge)
            for edge in (height, width)
        ]
        mirrored = torch.from_numpy(np.pad(x, ((0, 0), (0, 0), *margins), mode="reflect"))
        with torch.inference_mode():
            pictures = mirrored.expand(-1, config.channels, -1, -1).split(1)
            whole = torch.cat([reference(picture).mean(1, keepdim=True) for picture in pictures])
        expected = whole.numpy()[[0, 1, 2, 2], :, :height, :width]
        restored = np.concatenate([backend.run(x), backend.run(x[2:])])
        errors.append(np.square(restored.astype(np.float64) - expected).mean((1, 2, 3)))
    if backend.facts.reads_whole:
        x = _pictures(*SIZES[-1])
        tiles = np.ascontiguousarray(x[:, :, : x.shape[2] // 2, : x.shape[3] // 2])
        with torch.inference_mode():
            expected = reference(torch.from_numpy(tiles), torch.from_numpy(x)).numpy()
        restored = backend.run(tiles, x)
        errors.append(np.square(restored.astype(np.float64) - expected).mean((1, 2, 3)))
    return float(-10 * np.log10(np.maximum(np.max(np.concatenate(errors)), 1e-12)))


def _pictures(height: int, width: int) -> Batch:
    """Drawn scenes, clean, striped, and striped and noisy, `(3, 1, height, width)` in [0, 1]."""
    edges = max(height, SMALLEST_SCENE), max(width, SMALLEST_SCENE)
    clean = draw_scene(0, *edges).values[:height, :width] / np.float32(255)
    rng = np.random.default_rng(0)
    striped = clean + rng.normal(0, 0.05, (1, width))
    noisy = striped + rng.normal(0, 0.03, clean.shape)
    return np.stack([clean, striped, noisy])[:, None].clip(0, 1).astype(np.float32)


def _parse_size(text: str) -> Size:
    """Height and width from a text such as 480x640.

    Raises:
        UsageError: it is something else, or of a size that no graph is made for.
    """
    from deal_cli.model.onnx_facts import MOST_EDGE
    from deal_cli.networks import LEAST_EDGE

    found = re.fullmatch("([0-9]{1,5})x([0-9]{1,5})", text)
    height, width = (int(found[1]), int(found[2])) if found else (0, 0)
    if not LEAST_EDGE <= min(height, width) <= max(height, width) <= MOST_EDGE:
        raise UsageError(
            f"'{text}' for --fixed",
            remedy=f"it takes HxW, height and width of {LEAST_EDGE} to {MOST_EDGE} pixels",
        )
    return height, width


def _checked_opset(opset: int, weights: EnhancerWeights) -> int:
    """An opset that a network can be written in.

    Raises:
        UsageError: it is another.
    """
    from deal_cli.model.onnx_graph import MOST_OPSET, least_opset

    least = least_opset(weights.config)
    if not least <= opset <= MOST_OPSET:
        remedy = f"these weights can be written in {least} to {MOST_OPSET}"
        raise UsageError(f"{opset} for --opset", remedy=remedy)
    return opset
