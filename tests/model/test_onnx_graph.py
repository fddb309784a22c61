"""The ONNX form: the same function at every size, its facts inside, and nothing but itself."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

import deal_cli
from deal_cli.config import BlockConfig, NetworkConfig, from_mapping
from deal_cli.errors import ExitCode, WeightsError
from deal_cli.model.network import Enhancer, receptive_radius
from deal_cli.model.onnx_graph import facts_of, to_onnx

DEAL = NetworkConfig(width=4, blocks=(BlockConfig("stm", 3, 3), BlockConfig("ssm", 5, 3, 2)))
PAPER = replace(DEAL, channels=3, stride=1, norm="batch", padding="reflect")
SHA256 = "0123456789abcdef" * 4


@dataclass(frozen=True)
class Exported:
    network: Enhancer
    data: bytes


@pytest.fixture(scope="module", params=[DEAL, PAPER], ids=["deal", "paper"])
def exported(
    request: pytest.FixtureRequest, random_network: Callable[[NetworkConfig, int], Enhancer]
) -> Exported:
    network = random_network(request.param, 1)
    return Exported(network, to_onnx(network, SHA256))


def refusal(data: bytes) -> str:
    with pytest.raises(WeightsError) as caught:
        facts_of(data, "some.onnx")
    assert caught.value.exit_code is ExitCode.UNAVAILABLE
    assert caught.value.file == "some.onnx"
    assert caught.value.remedy
    return caught.value.cause


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", [(16, 22), (48, 36), (130, 98)])
def test_the_graph_equals_torch_at_any_size(
    exported: Exported, batch: int, size: tuple[int, int]
) -> None:
    channels = exported.network.config.channels
    x = torch.rand(batch, 1, *size)
    with torch.no_grad():
        expected = exported.network(x.expand(-1, channels, -1, -1)).mean(1, keepdim=True).numpy()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(
        exported.data, options, providers=["CPUExecutionProvider"]
    )
    (restored,) = session.run(None, {"picture": x.numpy()})
    assert restored.dtype == np.float32
    assert restored.shape == x.shape
    difference = np.abs(restored - expected)
    # A spike may flip on the last bit: nearly every pixel agrees, not every one.
    assert np.quantile(difference, 0.99) < 1e-5
    assert np.sqrt(np.square(difference).mean()) < 1e-3
    assert np.abs(expected - x.numpy()).mean() > 0.01


def test_the_facts_of_the_network_are_inside(exported: Exported) -> None:
    config = exported.network.config
    facts = facts_of(exported.data, "some.onnx")
    assert from_mapping(NetworkConfig, json.loads(facts["config"]), where="") == config
    assert facts["version"] == deal_cli.__version__
    assert facts["weights_sha256"] == SHA256
    assert facts["precision"] == "float32"
    assert int(facts["stride"]) == config.stride
    assert int(facts["halo"]) % config.stride == 0
    assert 0 <= int(facts["halo"]) - receptive_radius(config) < config.stride
    assert int(facts["smallest"]) >= 16


def test_the_graph_is_valid_has_free_sizes_and_needs_no_other_file(exported: Exported) -> None:
    model = onnx.load_model_from_string(exported.data)
    onnx.checker.check_model(model, full_check=True)
    for value in (*model.graph.input, *model.graph.output):
        batch, channels, height, width = value.type.tensor_type.shape.dim
        assert channels.dim_value == 1
        assert all(edge.dim_param for edge in (batch, height, width))
    assert {entry.domain for entry in model.opset_import} == {""}


def test_the_graph_holds_nothing_for_gradients(exported: Exported) -> None:
    model = onnx.load_model_from_string(exported.data)
    assert not {"GreaterOrEqual", "LessOrEqual", "And"} & {n.op_type for n in model.graph.node}


def test_export_leaves_the_network_and_the_loggers_as_they_were(exported: Exported) -> None:
    assert all(p.requires_grad for p in exported.network.parameters())
    assert logging.getLogger("torch.onnx").level == logging.NOTSET


def test_export_writes_nothing_on_the_terminal() -> None:
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from deal_cli.config import *; from deal_cli.model.network import Enhancer\n"
        "from deal_cli.model.onnx_graph import to_onnx\n"
        "to_onnx(Enhancer(NetworkConfig(width=2, blocks=())), '0' * 64)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout == ""


# Refused ----------------------------------------------------------------------------------------


def test_a_truncated_graph_is_refused(exported: Exported) -> None:
    data = exported.data
    begin = data.index(b"deal-onnx/1") - 40
    for cut in (*range(0, begin, begin // 50), *range(begin, len(data), 7)):
        assert refusal(data[:cut]) in {
            "is not a whole ONNX file",
            "was not exported by this program",
        }


@pytest.mark.parametrize("data", [b"", b"not a graph", bytes(range(256)) * 8])
def test_what_is_no_graph_is_refused(data: bytes) -> None:
    refusal(data)


def test_a_foreign_graph_is_refused() -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [out])
    foreign = helper.make_model(graph).SerializeToString()
    assert refusal(foreign) == "was not exported by this program"


def external() -> TensorProto:
    tensor = TensorProto(name="secret", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


@pytest.mark.parametrize("place", ["initializer", "constant", "nested"])
def test_tensors_in_other_files_are_refused_wherever_they_are_named(
    exported: Exported, place: str
) -> None:
    model = onnx.load_model_from_string(exported.data)
    constant = helper.make_node("Constant", [], ["secret"], value=external())
    if place == "initializer":
        model.graph.initializer.append(external())
    elif place == "constant":
        model.graph.node.append(constant)
    else:
        inner = helper.make_graph([constant], "inner", [], [])
        model.graph.node.append(
            helper.make_node("If", ["c"], ["o"], then_branch=inner, else_branch=inner)
        )
    assert refusal(model.SerializeToString()) == "keeps its tensors in other files"


def restated(data: bytes, **facts: str) -> bytes:
    model = onnx.load_model_from_string(data)
    for entry in model.metadata_props:
        entry.value = facts.get(entry.key, entry.value)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("key", ["stride", "halo", "smallest", "precision"])
@pytest.mark.parametrize("value", ["", "-2", "1000000000000", "two", "\x1b[2J"])
def test_facts_that_contradict_the_configuration_are_refused(
    exported: Exported, key: str, value: str
) -> None:
    cause = refusal(restated(exported.data, **{key: value}))
    assert cause.startswith(f"states the {key} '")
    assert cause.isprintable()


@pytest.mark.parametrize("change", [{"time_steps": 10**9}, {"detail_radius": 10**9}, {"x": 1}])
def test_a_configuration_out_of_bounds_is_refused(
    exported: Exported, change: dict[str, int]
) -> None:
    config = json.loads(facts_of(exported.data, "")["config"])
    cause = refusal(restated(exported.data, config=json.dumps({**config, **change})))
    assert cause.startswith("its configuration cannot be read")


def test_a_fact_that_is_no_text_is_refused(exported: Exported) -> None:
    assert refusal(exported.data.replace(SHA256.encode(), b"\xff" * 64)) in {
        "is not a whole ONNX file",
        "does not say which weights it was exported from",
    }


def test_a_tensor_with_nan_is_refused(exported: Exported) -> None:
    model = onnx.load_model_from_string(exported.data)
    tensor = next(t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] = np.nan
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    assert refusal(model.SerializeToString()).startswith("holds a tensor with NaN")
