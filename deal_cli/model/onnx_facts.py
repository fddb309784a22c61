"""What is believed of an ONNX file: only what the graph itself, or its configuration, bears out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deal_cli.errors import WeightsError
from deal_cli.model.gauge import WAVES
from deal_cli.model.tensor_file import quoted
from deal_cli.model.weights import network_config
from deal_cli.networks import LEAST_EDGE, halo, input_edge

FORMAT = "deal-onnx/3"
FACTS = ("weights_sha256", "config", "size", "precision", "stride", "halo", "smallest")
ANY_SIZE = "any"
MOST_EDGE = 2048  # pixels of a fixed size

Precision = Literal["float32", "float16"]
Size = tuple[int, int]  # height, width


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
            raise WeightsError("was exported by another program, or by another version of this one")
        if not all(isinstance(facts.get(key), str) for key in FACTS):
            # The facts stand last in the file; a cut between two of them is still a valid graph.
            # What is no UTF-8 comes as bytes.
            raise WeightsError("is not a whole ONNX file")
        _check_facts(facts)
        _check_graph(model, facts)
    except WeightsError as error:
        raise WeightsError(error.cause, file=name, remedy=remedy) from error
    return facts


def fixed_size(facts: dict[str, str]) -> Size | None:
    """The only height and width that a graph with these facts takes; None: any."""
    found = re.fullmatch("([0-9]{1,4})x([0-9]{1,4})", facts["size"], re.ASCII)
    return (int(found[1]), int(found[2])) if found else None


def inputs_of(facts: dict[str, str]) -> list[str]:
    """What a graph with these facts takes: a gauge reads the whole picture beside a tile of it."""
    whole = network_config(facts["config"]).gauge and fixed_size(facts) is None
    return ["picture", "whole"] if whole else ["picture"]


def stated_halo(facts: dict[str, str]) -> tuple[int, int]:
    """Pixels above and beside a tile that reach into its result, of facts that were checked."""
    down, across = map(int, facts["halo"].split("x"))
    return down, across


def _check_facts(facts: dict[str, str]) -> None:
    """What the engine relies on follows from the configuration, which has bounds of its own."""
    try:
        config = network_config(facts["config"])
    except ValueError as error:
        cause = f"its configuration cannot be read ({quoted(error)})"
        raise WeightsError(cause) from error
    expected = {
        "stride": str(config.stride),
        "halo": "{}x{}".format(*halo(config)),
        "smallest": str(input_edge(config)),
    }
    for key, value in expected.items():
        if facts[key] != value:
            stated = quoted(facts[key], 40)
            raise WeightsError(f"states the {key} '{stated}', its configuration says {value}")
    if facts["precision"] not in ("float32", "float16"):
        stated = quoted(facts["precision"], 40)
        raise WeightsError(f"states the precision '{stated}', not float32 or float16")
    size = fixed_size(facts)
    edges = size or (() if facts["size"] == ANY_SIZE else (0,))
    if not all(LEAST_EDGE <= edge <= MOST_EDGE for edge in edges):
        stated = quoted(facts["size"], 40)
        raise WeightsError(
            f"states the size '{stated}', not HxW of {LEAST_EDGE} to {MOST_EDGE} pixels or any"
        )
    if not re.fullmatch("[0-9a-f]{64}", facts["weights_sha256"]):
        raise WeightsError("does not say which weights it was exported from")


def _check_graph(model: Any, facts: dict[str, str]) -> None:
    """One picture in, one out, of the size and the precision that the facts state.

    Standard operators alone, without loops; whole finite tensors.
    """
    import onnx

    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        raise WeightsError("keeps its tensors in other files")
    graph = model.graph
    size, precision = fixed_size(facts), facts["precision"]
    inputs = inputs_of(facts)
    if (_signature(graph.input, size), _signature(graph.output, size)) != (inputs, ["restored"]):
        shape = "(1, 1, {}, {})".format(*size) if size else "(B, 1, H, W)"
        named = " and ".join(f"'{name}'" for name in inputs)
        raise WeightsError(f"does not map float32 {named} {shape} to one 'restored'")
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
    kind = {"float32": onnx.TensorProto.FLOAT, "float16": onnx.TensorProto.FLOAT16}[precision]
    kinds = {getattr(onnx.TensorProto, kind) for kind in ("FLOAT", "INT64", "INT32", "BOOL")}
    for tensor in _tensors(model):
        # Convolutions alone have weights of four dimensions; a gauge's are in float32 throughout.
        exact = len(tensor.dims) == 4 and tuple(tensor.dims[:2]) != (len(WAVES), 1)
        if tensor.data_type not in ({kind} if exact else {*kinds, kind}):
            name = quoted(tensor.name, 60)
            raise WeightsError(f"holds a tensor of another kind than {precision} ('{name}')")
        try:
            values = onnx.numpy_helper.to_array(tensor)
        except (TypeError, ValueError) as error:
            cause = f"holds a tensor that is not whole ('{quoted(tensor.name, 60)}')"
            raise WeightsError(cause) from error
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            name = quoted(tensor.name, 60)
            raise WeightsError(f"holds a tensor with NaN or infinite numbers ('{name}')")


def _signature(values: Any, size: Size | None) -> list[str]:
    """The names of a graph's inputs or outputs; empty for one of another shape than it should have.

    That is float32 `(B, 1, H, W)` of any size, or `(1, 1, *size)`.
    """
    import onnx

    shape = [1, 1, *size] if size else [0, 1, 0, 0]  # 0: free
    names = []
    for value in values:
        kind = value.type.tensor_type
        stated = [edge.dim_value for edge in kind.shape.dim]
        fits = kind.elem_type == onnx.TensorProto.FLOAT and stated == shape
        names.append(value.name if fits else "")
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
