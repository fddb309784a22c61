"""Weight files as nobody should hand them to `deal restore --weights`, one a kind of malice.

`make(folder)` writes them all. The pickles, were they ever loaded, would leave a file called
`MARK` in that folder.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper

from deal_cli.mapping import to_mapping
from deal_cli.model import weights
from deal_cli.model.network import Enhancer
from deal_cli.model.onnx_graph import to_onnx
from deal_cli.model.tensor_file import write_safetensors
from deal_cli.model.weights import save_enhancer
from deal_cli.networks import BlockConfig, NetworkConfig

MARK = "unpickled"
CONFIG = NetworkConfig(width=4, blocks=(BlockConfig("stm", 3, 3), BlockConfig("ssm", 3, 3)))
HUGE = 2**40

#: Settings that a file may state and that nothing in its tensors would contradict, or that would
#: take all memory before they were compared.
BOMBS: dict[str, dict[str, Any]] = {
    "width": {"width": 10**9},
    "channels": {"channels": 10**6},
    "stride": {"stride": 10**6},
    "time-steps": {"time_steps": 10**12},
    "detail-radius": {"detail_radius": 10**9},
    "dilation": {"blocks": [{"kind": "stm", "kernel_in": 3, "kernel_out": 3, "dilation": 10**8}]},
    "kernel": {"blocks": [{"kind": "stm", "kernel_in": 10**9 + 1, "kernel_out": 3}]},
    "column": {"blocks": [{"kind": "stm", "kernel_in": 3, "kernel_out": 3, "column": 10**9 + 1}]},
    "blocks": {"blocks": [{"kind": "stm", "kernel_in": 3, "kernel_out": 3}] * 5000},
    "reach": {"blocks": [{"kind": "stm", "kernel_in": 63, "kernel_out": 63, "dilation": 32}] * 64},
    "wide-as-allowed": {
        "width": 512,
        "blocks": [{"kind": "ssm", "kernel_in": 3, "kernel_out": 3}] * 64,
        "stride": 1,
    },
    "negative": {"width": -1},
    "digits": {"width": 10**3000},
    "control-characters": {"\x1b[2J\n\n" * 1000: 1},
}


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def make(folder: Path) -> dict[str, Path]:
    """Write every hostile file; what is wrong with it -> its path. `sound` are two good ones."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Enhancer(CONFIG)
    save_enhancer(folder / "sound.safetensors", network.state_dict(), CONFIG, {})
    (folder / "sound.onnx").write_bytes(to_onnx(network, "0" * 64))
    made: dict[str, Path] = {}
    for name, data in _pickles(folder):
        made[name] = folder / f"{name}.safetensors"
        made[name].write_bytes(data)
    for name, data in _containers((folder / "sound.safetensors").read_bytes()):
        made[name] = folder / f"{name}.safetensors"
        made[name].write_bytes(data)
    for name, metadata, tensors in _contents(network):
        made[name] = folder / f"{name}.safetensors"
        write_safetensors(made[name], tensors, metadata)
    for name, data in _graphs((folder / "sound.onnx").read_bytes()):
        made[name] = folder / f"{name}.onnx"
        made[name].write_bytes(data)
    made["folder"] = folder / "folder.safetensors"
    made["folder"].mkdir()
    made["sparse"] = folder / "sparse.safetensors"
    with made["sparse"].open("wb") as stream:
        stream.truncate(weights.LARGEST + 1)  # takes no room on the disk
    if hasattr(os, "mkfifo"):
        made["pipe"] = folder / "pipe.safetensors"
        os.mkfifo(made["pipe"])
        made["pipe-onnx"] = folder / "pipe.onnx"
        os.mkfifo(made["pipe-onnx"])
    return made


def _pickles(folder: Path) -> Iterator[tuple[str, bytes]]:
    bomb = Bomb(folder / MARK)
    yield "pickle", pickle.dumps(bomb)
    torch.save({"network": bomb}, folder / "torch.pt")
    yield "torch-checkpoint", (folder / "torch.pt").read_bytes()
    # A length that suits the header's eight bytes, and a pickle behind it.
    body = pickle.dumps(bomb)
    yield "pickle-behind-a-length", struct.pack("<Q", len(body)) + body


def _containers(sound: bytes) -> Iterator[tuple[str, bytes]]:
    """Safetensors whose header lies about the file."""
    length = struct.unpack_from("<Q", sound)[0]
    header, body = json.loads(sound[8 : 8 + length]), sound[8 + length :]
    name = next(key for key in header if key != "__metadata__")

    def packed(text: bytes, stated: int | None = None) -> bytes:
        return struct.pack("<Q", len(text) if stated is None else stated) + text + body

    def changed(**values: Any) -> bytes:
        return packed(json.dumps({**header, name: {**header[name], **values}}).encode())

    text = sound[8 : 8 + length]
    yield "empty", b""
    yield "truncated", sound[:-100]
    yield "truncated-header", sound[: length // 2]
    yield "longer", sound + b"more"
    yield "header-beyond-the-file", packed(text, 10**6)
    yield "header-of-exabytes", packed(text, 2**63)
    yield "header-not-json", packed(b"\xff" * length)
    yield "header-nested", packed(b"[" * 100_000)
    yield "offsets-overlapping", changed(data_offsets=[0, 8])
    yield "offsets-negative", changed(data_offsets=[-4, 12])
    yield "offsets-beyond-the-file", changed(data_offsets=[HUGE, 2 * HUGE])
    yield "shape-overflowing", changed(shape=[2**62, 8])
    twice = json.dumps({name: {**header[name], "shape": [1, 2, 3]}})[1:-1].encode()
    yield "key-twice", packed(text.rstrip()[:-1] + b"," + twice + b"}")


def _contents(network: Enhancer) -> Iterator[tuple[str, dict[str, str], dict[str, torch.Tensor]]]:
    """Whole safetensors that hold what they must not."""
    tensors = network.state_dict()
    plain = to_mapping(CONFIG)
    first = next(iter(tensors))

    def stating(config: Any) -> dict[str, str]:
        text = config if isinstance(config, str) else json.dumps(config)
        return {"format": weights.ENHANCER_FORMAT, "config": text}

    good = stating(plain)
    yield "of-another-program", {"format": "pt"}, tensors
    yield "without-metadata", {}, tensors
    yield "without-configuration", {"format": weights.ENHANCER_FORMAT}, tensors
    yield "configuration-nested", stating("[" * 100_000), tensors
    yield "configuration-a-list", stating([1]), tensors
    yield "format-with-control-characters", {"format": "\x1b[2J\a" * 500}, tensors
    yield "of-another-width", stating({**plain, "width": 5}), tensors
    yield "more-blocks-than-tensors", stating({**plain, "blocks": plain["blocks"] * 2}), tensors
    yield "no-tensors", good, {}
    yield "one-tensor-more", good, {**tensors, "\x1b[31mmore": torch.zeros(3)}
    yield "one-tensor-less", good, {k: v for k, v in tensors.items() if k != first}
    for name, value in (("nan", torch.nan), ("infinite", torch.inf)):
        yield name, good, {**tensors, first: torch.full_like(tensors[first], value)}
    for dtype in (torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool):
        kind = f"of-dtype-{str(dtype).removeprefix('torch.')}"
        yield kind, good, {k: v.to(dtype) for k, v in tensors.items()}
    for name, change in BOMBS.items():
        yield f"bomb-{name}", stating({**plain, **change}), tensors
    batch = NetworkConfig(width=4, blocks=(BlockConfig("stm", 3, 3),), norm="batch")
    state = {k: v.float() for k, v in Enhancer(batch).state_dict().items()}
    key = next(k for k in state if k.endswith("running_var"))
    negative = {**state, key: -torch.ones_like(state[key])}
    yield "negative-variance", stating(to_mapping(batch)), negative


def _graphs(sound: bytes) -> Iterator[tuple[str, bytes]]:
    """ONNX files that were tampered with."""

    def changed(change: Callable[[onnx.ModelProto], object]) -> bytes:
        model = onnx.load_model_from_string(sound)
        change(model)
        return bytes(model.SerializeToString())

    def stating(**facts: str) -> bytes:
        def change(model: onnx.ModelProto) -> None:
            for entry in model.metadata_props:
                entry.value = facts.get(entry.key, entry.value)

        return changed(change)

    outside = TensorProto(name="secret", data_type=TensorProto.FLOAT, dims=[4])
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="../../etc/passwd")
    constant = helper.make_node("Constant", [], ["secret"], value=outside)
    inner = helper.make_graph([constant], "inner", [], [])
    harmless = helper.make_graph([helper.make_node("Relu", ["picture"], ["y"])], "inner", [], [])
    more = helper.make_tensor_value_info("more", TensorProto.FLOAT, [1])
    nan = helper.make_tensor("nan", TensorProto.FLOAT, [1], [float("nan")])
    short = TensorProto(name="short", data_type=TensorProto.FLOAT, dims=[HUGE], raw_data=b"1234")
    half = helper.make_tensor("half", TensorProto.FLOAT16, [1], [1.0])
    double = helper.make_tensor("double", TensorProto.DOUBLE, [1], [1.0])
    foreign = helper.make_node("Custom", ["picture"], ["c"], domain="com.example")
    branch = {"then_branch": inner, "else_branch": inner}
    function = helper.make_function(
        "com.example",
        "Custom",
        ["x"],
        ["y"],
        [helper.make_node("Relu", ["x"], ["y"])],
        [helper.make_opsetid("", 18)],
    )

    def fixed(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 64

    def fixed_and_stated(model: onnx.ModelProto) -> None:
        for value in (*model.graph.input, *model.graph.output):
            for edge, pixels in zip(value.type.tensor_type.shape.dim, (1, 1, 64, 64), strict=True):
                edge.dim_value = pixels
        for node in model.graph.node:
            if node.op_type == "Range":  # the size is another inside
                node.op_type = "Sub"
                del node.input[2:]
        for entry in model.metadata_props:
            entry.value = "64x64" if entry.key == "size" else entry.value

    def integers(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64

    def renamed(model: onnx.ModelProto) -> None:
        model.graph.output[0].name = "other"

    relu = helper.make_model(helper.make_graph([], "g", [more], [more])).SerializeToString()
    yield "onnx-empty", b""
    yield "onnx-noise", bytes(range(256)) * 8
    yield "onnx-truncated", sound[: len(sound) // 2]
    yield "onnx-cut-facts", sound[:-100]
    yield "onnx-of-another-program", relu
    yield "onnx-stride-of-text", stating(stride="two")
    yield "onnx-stride-huge", stating(stride=str(10**9))
    yield "onnx-halo-negative", stating(halo="-64x-64")
    yield "onnx-halo-huge", stating(halo=f"{10**12}x{10**12}")
    yield "onnx-smallest-huge", stating(smallest=str(10**9))
    yield "onnx-precision", stating(precision="\x1b[2Jfloat8")
    yield "onnx-float16-in-name", stating(precision="float16")
    yield "onnx-size-in-name", stating(size="64x64")
    yield "onnx-size-huge", stating(size="9999x9999")
    yield "onnx-size-of-text", stating(size="\x1b[2Jall")
    yield "onnx-of-no-weights", stating(weights_sha256="none")
    for name, change in BOMBS.items():
        config = json.dumps({**to_mapping(CONFIG), **change})
        yield f"onnx-bomb-{name}", stating(config=config)
    yield "onnx-external", changed(lambda m: m.graph.initializer.append(outside))
    yield "onnx-external-constant", changed(lambda m: m.graph.node.append(constant))
    nested = helper.make_node("If", ["c"], ["o"], **branch)
    yield "onnx-external-nested", changed(lambda m: m.graph.node.append(nested))
    loop = helper.make_node("Loop", ["", ""], ["o"], body=harmless)
    yield "onnx-loop", changed(lambda m: m.graph.node.append(loop))
    yield "onnx-foreign-operator", changed(lambda m: m.graph.node.append(foreign))
    opset = helper.make_opsetid("com.example", 1)
    yield "onnx-foreign-opset", changed(lambda m: m.opset_import.append(opset))
    yield "onnx-function", changed(lambda m: m.functions.append(function))
    yield "onnx-second-input", changed(lambda m: m.graph.input.append(more))
    yield "onnx-second-output", changed(lambda m: m.graph.output.append(more))
    yield "onnx-fixed-size", changed(fixed)
    yield "onnx-fixed-size-otherwise", changed(fixed_and_stated)
    yield "onnx-half", changed(lambda m: m.graph.initializer.append(half))
    yield "onnx-of-integers", changed(integers)
    yield "onnx-other-output", changed(renamed)
    yield "onnx-nan", changed(lambda m: m.graph.initializer.append(nan))
    yield "onnx-tensor-not-whole", changed(lambda m: m.graph.initializer.append(short))
    yield "onnx-of-doubles", changed(lambda m: m.graph.initializer.append(double))
    yield "onnx-operator-not-utf8", sound.replace(b"LeakyRelu", b"LeakyRel\xff")
    yield "onnx-without-nodes", changed(lambda m: m.graph.ClearField("node"))
