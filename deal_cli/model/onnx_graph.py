"""The enhancer as an ONNX graph: any picture in, the restored one out, and its facts inside.

What a picture needs around it on the way, edges mirrored up to the network's grid and a lower
precision that leaves the picture itself alone, is part of the graph: whoever runs it hands over
float32 `(B, 1, H, W)` in [0, 1] of any size and gets the same back.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import deal_cli
from deal_cli.errors import VerificationError
from deal_cli.mapping import to_mapping
from deal_cli.model.forms import folded, in_precision
from deal_cli.model.network import Enhancer
from deal_cli.model.onnx_facts import ANY_SIZE, FORMAT, Precision, Size
from deal_cli.networks import NetworkConfig, halo, input_edge

OPSET = 18
#: Of the graphs that lie beside weights.
SUFFIXES: dict[Precision, str] = {"float32": ".onnx", "float16": ".fp16.onnx"}
MOST_OPSET = 26


@dataclass(frozen=True)
class Form:
    """What kind of graph is wanted.

    Attributes:
        precision: of the weights and of what is computed with them; in and out it is float32.
        size: the only height and width it takes, one picture at a time; None: any, in batches.
        opset: version of ONNX's operators.
    """

    precision: Precision = "float32"
    size: Size | None = None
    opset: int = OPSET


def least_opset(config: NetworkConfig) -> int:
    """The oldest operators a network can be written in: mirrored convolutions want newer ones."""
    return 15 if config.padding == "zeros" and config.channels == 1 else OPSET


class _Grey(nn.Module):
    """One channel of any size in, the same out, whatever the network has and wants."""

    def __init__(self, network: Enhancer) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture: Tensor, whole: Tensor | None = None) -> Tensor:
        config = self.network.config
        x = _mirrored(_mirrored(picture, 2, config), 3, config)
        if whole is not None:
            whole = _mirrored(_mirrored(whole, 2, config), 3, config)
        correction = self.network.correction(x.expand(-1, config.channels, -1, -1), whole).float()
        if config.channels > 1:
            correction = correction.mean(1, keepdim=True)
        if x is not picture:
            correction = correction[:, :, : picture.shape[2], : picture.shape[3]]
        return picture + correction


def _mirrored(x: Tensor, dim: int, config: NetworkConfig) -> Tensor:
    """`x` continued by its mirror image to the network's grid and smallest edge, as by the engine.

    The edge may be a symbol of the exporter's; what is computed of it becomes part of the graph.
    """
    edge = x.shape[dim]
    cells = (torch.sym_max(edge, input_edge(config)) + config.stride - 1) // config.stride
    if isinstance(edge, int) and edge == cells * config.stride:
        return x
    index = torch.arange(cells * config.stride)
    period = torch.full((1,), torch.sym_max(2 * edge - 2, 1))
    index = torch.remainder(index, period)
    return x.index_select(dim, torch.minimum(index, period - index))


def to_onnx(network: Enhancer, weights_sha256: str, form: Form | None = None) -> bytes:
    """The graph `picture (B, 1, H, W) -> restored (B, 1, H, W)`, float32 in [0, 1], in one file.

    Where the network has a gauge and the size is free, there is a second input, `whole (B, 1, H',
    W')`: the picture that `picture` is a tile of, or the same again.

    Raises:
        VerificationError: the exporter that is installed does not know the opset.
    """
    import onnx

    form = form or Form()
    config = network.config
    size = 2 * input_edge(config) + 1
    shape = (1, 1, *form.size) if form.size else (2, 1, size, size + 2)
    free = {"picture": {0: "batch", 2: "height", 3: "width"}}
    pictures = [torch.rand(shape)]
    if config.gauge and form.size is None:
        free["whole"] = {0: "batch", 2: "whole_height", 3: "whole_width"}
        pictures.append(torch.rand(2, 1, size + 4, size + 6))
    with _quiet():
        program = torch.onnx.export(
            _Grey(in_precision(folded(network), getattr(torch, form.precision))).eval(),
            tuple(pictures),
            input_names=["picture", "whole"][: len(pictures)],
            output_names=["restored"],
            dynamic_shapes=None if form.size else free,
            opset_version=form.opset,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    if [entry.version for entry in model.opset_import] != [form.opset]:
        raise VerificationError(
            f"torch {torch.__version__} cannot write opset {form.opset}",
            remedy="leave out --opset",
        )
    facts = {
        "format": FORMAT,
        "version": deal_cli.__version__,
        "weights_sha256": weights_sha256,
        "config": json.dumps(to_mapping(config)),
        "input_range": "[0, 1]",
        "channels": "1",
        "size": "{}x{}".format(*form.size) if form.size else ANY_SIZE,
        "precision": form.precision,
        "stride": str(config.stride),
        "halo": "{}x{}".format(*halo(config)),
        "smallest": str(input_edge(config)),
    }
    graph = model.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        part.ClearField("metadata_props")  # the exporter's traces, with paths of this machine
    onnx.helper.set_model_props(model, facts)
    buffer = io.BytesIO()
    onnx.save_model(model, buffer)
    return buffer.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which warns of its own internals and of packages it does not need."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
