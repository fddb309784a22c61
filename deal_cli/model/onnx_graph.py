"""The enhancer as an ONNX graph with free batch, height and width, and its facts inside."""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import deal_cli
from deal_cli.config import to_mapping
from deal_cli.errors import WeightsError
from deal_cli.model.network import Enhancer, folded, halo, input_edge
from deal_cli.model.tensor_file import quoted
from deal_cli.model.weights import network_config

FORMAT = "deal-onnx/1"
OPSET = 18
FACTS = ("weights_sha256", "config", "precision", "stride", "halo", "smallest")


class _Grey(nn.Module):
    """One channel in, one channel out, whatever the network has."""

    def __init__(self, network: Enhancer) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture: Tensor) -> Tensor:
        channels = self.network.config.channels
        if channels > 1:
            picture = picture.expand(-1, channels, -1, -1)
        restored: Tensor = self.network(picture)
        return restored.mean(1, keepdim=True) if channels > 1 else restored


def to_onnx(network: Enhancer, weights_sha256: str) -> bytes:
    """The graph `picture (B, 1, H, W) -> restored (B, 1, H, W)`, float32, in one file.

    H and W are multiples of the stride, which the metadata name.
    """
    import onnx

    config = network.config
    size = 32 * config.stride
    with _quiet():
        program = torch.onnx.export(
            _Grey(folded(network)).eval(),
            (torch.rand(2, 1, size, size + config.stride),),
            input_names=["picture"],
            output_names=["restored"],
            dynamic_shapes={"picture": {0: "batch", 2: "height", 3: "width"}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    facts = {
        "format": FORMAT,
        "version": deal_cli.__version__,
        "weights_sha256": weights_sha256,
        "config": json.dumps(to_mapping(config)),
        "input_range": "[0, 1]",
        "precision": "float32",
        "channels": "1",
        "stride": str(config.stride),
        "halo": str(halo(config)),
        "smallest": str(input_edge(config)),
    }
    onnx.helper.set_model_props(model, facts)
    buffer = io.BytesIO()
    onnx.save_model(model, buffer)
    return buffer.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which warns of its own internals and of packages it does not need."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def facts_of(data: bytes, name: Path | str) -> dict[str, str]:
    """The facts inside a graph that this program exported, each agreeing with the others.

    Raises:
        WeightsError: it is not a whole graph, was not exported by this program, states facts that
            contradict its configuration, keeps its tensors in other files, or holds what no export
            of an enhancer does.
    """
    import onnx

    remedy = "give --weights the .safetensors file"
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own kind of error, which onnx does not pass on
        raise WeightsError("is not a whole ONNX file", file=name, remedy=remedy) from error
    try:
        facts = {entry.key: entry.value for entry in model.metadata_props}
        if facts.get("format") != FORMAT:
            raise WeightsError("was not exported by this program")
        if not all(isinstance(facts.get(key), str) for key in FACTS):
            # The facts stand last in the file; a cut between two of them is still a valid graph.
            # What is no UTF-8 comes as bytes.
            raise WeightsError("is not a whole ONNX file")
        _check_facts(facts)
        _check_graph(model)
    except WeightsError as error:
        raise WeightsError(error.cause, file=name, remedy=remedy) from error
    return facts


def _check_facts(facts: dict[str, str]) -> None:
    """What the engine relies on follows from the configuration, which has bounds of its own."""
    try:
        config = network_config(facts["config"])
    except ValueError as error:
        cause = f"its configuration cannot be read ({quoted(error)})"
        raise WeightsError(cause) from error
    expected = {
        "precision": "float32",
        "stride": str(config.stride),
        "halo": str(halo(config)),
        "smallest": str(input_edge(config)),
    }
    for key, value in expected.items():
        if facts[key] != value:
            stated = quoted(facts[key], 40)
            raise WeightsError(f"states the {key} '{stated}', its configuration says {value}")
    if not re.fullmatch("[0-9a-f]{64}", facts["weights_sha256"]):
        raise WeightsError("does not say which weights it was exported from")


def _check_graph(model: Any) -> None:
    """One picture in, one out; standard operators alone, without loops; whole finite tensors."""
    import onnx

    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        raise WeightsError("keeps its tensors in other files")
    graph = model.graph
    if _signature(graph.input) != ["picture"] or _signature(graph.output) != ["restored"]:
        raise WeightsError("does not map one float32 'picture' (B, 1, H, W) to one 'restored'")
    words = (
        w
        for node in graph.node
        for w in (node.op_type, node.domain, node.name, *node.input, *node.output)
    )
    if not all(isinstance(word, str) for word in words):
        raise WeightsError("names what is no UTF-8")  # such a name comes as bytes
    if not any("restored" in node.output for node in graph.node):
        raise WeightsError("computes nothing")
    domains = {node.domain for node in graph.node} | {entry.domain for entry in model.opset_import}
    foreign = sorted(domains - {"", "ai.onnx"})
    if foreign:
        raise WeightsError(f"uses operators of another kind than ONNX's own ({quoted(foreign)})")
    nested = (a for node in graph.node for a in node.attribute if a.HasField("g") or a.graphs)
    if next(nested, None) or model.functions or model.training_info or graph.sparse_initializer:
        raise WeightsError("holds graphs within graphs, which no export of an enhancer does")
    kinds = {getattr(onnx.TensorProto, kind) for kind in ("FLOAT", "INT64", "INT32", "BOOL")}
    for tensor in _tensors(model):
        if tensor.data_type not in kinds:
            raise WeightsError(f"holds a tensor of another kind ('{quoted(tensor.name, 60)}')")
        try:
            values = onnx.numpy_helper.to_array(tensor)
        except (TypeError, ValueError) as error:
            cause = f"holds a tensor that is not whole ('{quoted(tensor.name, 60)}')"
            raise WeightsError(cause) from error
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            name = quoted(tensor.name, 60)
            raise WeightsError(f"holds a tensor with NaN or infinite numbers ('{name}')")


def _signature(values: Any) -> list[str]:
    """The names of a graph's inputs or outputs that are float32 `(B, 1, H, W)` of any size."""
    import onnx

    names = []
    for value in values:
        kind = value.type.tensor_type
        edges = list(kind.shape.dim)
        fits = kind.elem_type == onnx.TensorProto.FLOAT and len(edges) == 4
        if fits and edges[1].dim_value == 1 and not any(edges[i].dim_value for i in (0, 2, 3)):
            names.append(value.name)
        else:
            names.append("")
    return names


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor inside a protobuf message, at any depth of nested graphs."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for inner in (value,) if hasattr(value, "ListFields") else value:
            if field.message_type.name == "TensorProto":
                yield inner
            else:
                yield from _tensors(inner)
