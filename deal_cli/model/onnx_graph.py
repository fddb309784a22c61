"""The enhancer as an ONNX graph with free batch, height and width, and its facts inside."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import deal_cli
from deal_cli.config import to_mapping
from deal_cli.errors import WeightsError
from deal_cli.model.network import Enhancer, folded, halo, input_edge

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
    """The facts inside a graph that this program exported.

    Raises:
        WeightsError: it is not a whole graph, was not exported by this program, or keeps its
            tensors in other files.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    remedy = "give --weights the .safetensors file"
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise WeightsError("is not a whole ONNX file", file=name, remedy=remedy) from error
    facts = {entry.key: entry.value for entry in model.metadata_props}
    if facts.get("format") != FORMAT:
        raise WeightsError("was not exported by this program", file=name, remedy=remedy)
    if not all(key in facts for key in FACTS):
        # The facts stand last in the file, and a cut between two of them is still a valid graph.
        raise WeightsError("is not a whole ONNX file", file=name, remedy=remedy)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        raise WeightsError("keeps its tensors in other files", file=name, remedy=remedy)
    return facts


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor inside a protobuf message, at any depth of nested graphs."""
    from google.protobuf.message import Message

    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for inner in (value,) if isinstance(value, Message) else value:
            if field.message_type.name == "TensorProto":
                yield inner
            else:
                yield from _tensors(inner)
