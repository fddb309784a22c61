"""The ONNX form: the same function at every size, its facts inside, and nothing but itself."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

import deal_cli
from deal_cli.errors import ExitCode, VerificationError, WeightsError
from deal_cli.mapping import from_mapping, to_mapping
from deal_cli.model.gauge import WAVES
from deal_cli.model.network import Enhancer
from deal_cli.model.onnx_facts import FORMAT, facts_of, fixed_size, inputs_of, stated_halo
from deal_cli.model.onnx_graph import MOST_OPSET, OPSET, Form, least_opset, to_onnx
from deal_cli.networks import BlockConfig, NetworkConfig, receptive_radius

DEAL = NetworkConfig(
    width=4, blocks=(BlockConfig("stm", 3, 3, column=9), BlockConfig("ssm", 5, 3, 2))
)
GAUGED = replace(DEAL, gauge=("blur", "stripe", "gaussian"))
PAPER = replace(DEAL, channels=3, stride=1, norm="batch", padding="reflect")
SHA256 = "0123456789abcdef" * 4
FOREIGN = "was exported by another program, or by another version of this one"


@dataclass(frozen=True)
class Exported:
    network: Enhancer
    data: bytes


@pytest.fixture(scope="module", params=[DEAL, GAUGED, PAPER], ids=["deal", "gauged", "paper"])
def exported(
    request: pytest.FixtureRequest, random_network: Callable[[NetworkConfig, int], Enhancer]
) -> Exported:
    network = random_network(request.param, 1)
    return Exported(network, to_onnx(network, SHA256))


@pytest.fixture(scope="module")
def half(random_network: Callable[[NetworkConfig, int], Enhancer]) -> Exported:
    """In float16."""
    network = random_network(DEAL, 1)
    return Exported(network, to_onnx(network, SHA256, Form("float16")))


@pytest.fixture(scope="module")
def fixed(random_network: Callable[[NetworkConfig, int], Enhancer]) -> Exported:
    """For pictures of 33 by 46 pixels alone."""
    network = random_network(DEAL, 1)
    return Exported(network, to_onnx(network, SHA256, Form(size=(33, 46))))


def refusal(data: bytes) -> str:
    with pytest.raises(WeightsError) as caught:
        facts_of(data, "some.onnx")
    assert caught.value.exit_code is ExitCode.UNAVAILABLE
    assert caught.value.file == "some.onnx"
    assert caught.value.remedy
    return caught.value.cause


def mirrored(x: np.ndarray[Any, Any], stride: int) -> torch.Tensor:
    """Continued by its mirror image to whole cells of at least 16 pixels."""
    margins = [(0, max(16 - edge, -edge % stride)) for edge in x.shape[2:]]
    return torch.from_numpy(np.pad(x, ((0, 0), (0, 0), *margins), mode="reflect"))


def by_torch(
    network: Enhancer, x: np.ndarray[Any, Any], whole: np.ndarray[Any, Any] | None = None
) -> np.ndarray[Any, Any]:
    """What the network itself makes of grey pictures of any size."""
    channels, (height, width) = network.config.channels, x.shape[2:]
    with torch.no_grad():
        seen = mirrored(x, network.config.stride).expand(-1, channels, -1, -1)
        read = seen if whole is None else mirrored(whole, network.config.stride)
        restored = network(seen, read)
    return restored.mean(1, keepdim=True).numpy()[:, :, :height, :width]


def by_onnx_runtime(
    data: bytes, x: np.ndarray[Any, Any], whole: np.ndarray[Any, Any] | None = None
) -> np.ndarray[Any, Any]:
    """What the graph makes of pictures, or of tiles of the whole ones beside them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    given = {"picture": x, "whole": x if whole is None else whole}
    names = [value.name for value in session.get_inputs()]
    (restored,) = session.run(None, {name: given[name] for name in names})
    assert restored.dtype == np.float32
    assert restored.shape == x.shape
    return np.asarray(restored)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", [(16, 16), (16, 22), (47, 36), (130, 97), (7, 1)])
def test_the_graph_equals_torch_at_any_size(
    exported: Exported, batch: int, size: tuple[int, int]
) -> None:
    x = np.random.default_rng(0).random((batch, 1, *size), np.float32)
    expected = by_torch(exported.network, x)
    difference = np.abs(by_onnx_runtime(exported.data, x) - expected)
    # A spike may flip on the last bit: nearly every pixel agrees, not every one.
    assert np.quantile(difference, 0.99) < 1e-5
    assert np.sqrt(np.square(difference).mean()) < 1e-3
    assert np.abs(expected - x).mean() > 0.01


@pytest.mark.parametrize("size", [(16, 22), (47, 36)])
def test_a_graph_in_float16_takes_and_gives_float32_and_is_near_torch(
    half: Exported, size: tuple[int, int]
) -> None:
    x = np.random.default_rng(0).random((2, 1, *size), np.float32)
    difference = by_onnx_runtime(half.data, x) - by_torch(half.network, x)
    # Random weights make spikes of everything; trained ones are held to 50 dB by the export.
    assert np.sqrt(np.square(difference).mean()) < 0.03
    assert np.abs(difference).max() > 1e-6


def test_the_picture_itself_never_passes_through_float16(half: Exported) -> None:
    model = onnx.load_model_from_string(half.data)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16 and tensor.dims:  # weights, not constants
            zero = np.zeros(tuple(tensor.dims), np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(zero, tensor.name))
    x = np.random.default_rng(0).random((1, 1, 32, 32), np.float32)
    assert np.array_equal(by_onnx_runtime(model.SerializeToString(), x), x)


def test_all_weights_of_a_graph_in_float16_are_float16(half: Exported) -> None:
    tensors = onnx.load_model_from_string(half.data).graph.initializer
    weights = [t.data_type for t in tensors if len(t.dims) == 4]
    assert len(weights) == sum(isinstance(m, torch.nn.Conv2d) for m in half.network.modules())
    assert set(weights) == {TensorProto.FLOAT16}


def test_a_graph_of_a_fixed_size_equals_torch_and_has_no_free_edge(fixed: Exported) -> None:
    x = np.random.default_rng(0).random((1, 1, 33, 46), np.float32)
    difference = by_onnx_runtime(fixed.data, x) - by_torch(fixed.network, x)
    assert np.sqrt(np.square(difference).mean()) < 1e-3
    model = onnx.load_model_from_string(fixed.data)
    onnx.checker.check_model(model, full_check=True)
    for value in (*model.graph.input, *model.graph.output):
        edges = value.type.tensor_type.shape.dim
        assert [edge.dim_value for edge in edges] == [1, 1, 33, 46]
    assert not {"Shape", "Range", "Mod"} & {node.op_type for node in model.graph.node}
    assert fixed_size(facts_of(fixed.data, "some.onnx")) == (33, 46)


def test_a_fixed_size_on_the_grid_needs_no_mirror() -> None:
    data = to_onnx(Enhancer(NetworkConfig(width=2, blocks=())), SHA256, Form(size=(32, 48)))
    operators = {node.op_type for node in onnx.load_model_from_string(data).graph.node}
    assert "Conv" in operators
    assert not {"Gather", "Slice"} & operators


@pytest.mark.parametrize("opset", [15, MOST_OPSET])
def test_the_first_and_the_last_opset_give_the_same_pixels(opset: int) -> None:
    network = Enhancer(NetworkConfig(width=2, blocks=(BlockConfig("ssm", 3, 3),)))
    torch.nn.init.normal_(network.head[2].weight, std=0.1)  # type: ignore[arg-type]
    assert least_opset(network.config) == 15
    data = to_onnx(network, SHA256, Form(opset=opset))
    assert [e.version for e in onnx.load_model_from_string(data).opset_import] == [opset]
    facts_of(data, "some.onnx")
    x = np.random.default_rng(0).random((2, 1, 17, 22), np.float32)
    np.testing.assert_allclose(by_onnx_runtime(data, x), by_torch(network, x), atol=1e-5)


def test_an_opset_that_the_exporter_does_not_reach_is_told(capfd: Any) -> None:
    network = Enhancer(replace(PAPER, width=2, blocks=()))
    assert least_opset(network.config) == OPSET
    with pytest.raises(VerificationError, match="cannot write opset 17"):
        to_onnx(network, SHA256, Form(opset=17))
    assert capfd.readouterr() == ("", "")


def test_the_facts_of_the_network_are_inside(exported: Exported) -> None:
    config = exported.network.config
    facts = facts_of(exported.data, "some.onnx")
    assert from_mapping(NetworkConfig, json.loads(facts["config"]), where="") == config
    assert facts["version"] == deal_cli.__version__
    assert facts["weights_sha256"] == SHA256
    assert facts["precision"] == "float32"
    assert facts["size"] == "any"
    assert facts["input_range"] == "[0, 1]"
    assert facts["channels"] == "1"
    assert int(facts["stride"]) == config.stride
    for pixels, radius in zip(stated_halo(facts), receptive_radius(config), strict=True):
        assert pixels % config.stride == 0
        assert 0 <= pixels - radius < config.stride
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


def test_the_graph_tells_nothing_of_the_machine_it_was_made_on(exported: Exported) -> None:
    paths = [str(Path(module.__file__).parent) for module in (deal_cli, torch) if module.__file__]
    assert not [path for path in (*paths, ".py") if path.encode() in exported.data]


def test_export_leaves_the_network_and_the_loggers_as_they_were(exported: Exported) -> None:
    assert all(p.requires_grad for p in exported.network.parameters())
    assert logging.getLogger("torch.onnx").level == logging.NOTSET


def test_export_writes_nothing_on_the_terminal() -> None:
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from deal_cli.networks import *; from deal_cli.model.network import Enhancer\n"
        "from deal_cli.model.onnx_graph import to_onnx\n"
        "to_onnx(Enhancer(NetworkConfig(width=2, blocks=())), '0' * 64)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout == ""


# A gauge ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["float32", "float16"])
def gauged(
    request: pytest.FixtureRequest, random_network: Callable[[NetworkConfig, int], Enhancer]
) -> Exported:
    """With a gauge that says something, for any size."""
    network = random_network(GAUGED, 1)
    return Exported(network, to_onnx(network, SHA256, Form(request.param)))


@pytest.fixture(scope="module", params=["float32", "float16"])
def gauged_fixed(
    request: pytest.FixtureRequest, random_network: Callable[[NetworkConfig, int], Enhancer]
) -> Exported:
    """The same for pictures of 33 by 46 pixels alone."""
    network = random_network(GAUGED, 1)
    return Exported(network, to_onnx(network, SHA256, Form(request.param, (33, 46))))


def distance(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    return float(np.sqrt(np.square(one - other).mean()))


def inputs(data: bytes) -> list[str]:
    return [value.name for value in onnx.load_model_from_string(data).graph.input]


def striped(size: tuple[int, int], seed: int) -> np.ndarray[Any, Any]:
    """Two pictures that a gauge reads otherwise than white noise."""
    rng = np.random.default_rng(seed)
    return np.float32(0.5) + rng.normal(0, 0.05, (2, 1, 1, size[1])).astype(np.float32).repeat(
        size[0], 2
    )


@pytest.mark.parametrize("size", [(16, 16), (47, 37), (130, 97)])
def test_a_graph_with_a_gauge_sets_a_tile_by_the_whole_as_torch_does(
    gauged: Exported, size: tuple[int, int]
) -> None:
    tile = np.random.default_rng(0).random((2, 1, 24, 31), np.float32)
    whole = striped(size, 1)
    assert inputs(gauged.data) == ["picture", "whole"]
    # Random weights make spikes of everything; see above.
    near = 1e-3 if facts_of(gauged.data, "")["precision"] == "float32" else 0.03
    made = by_onnx_runtime(gauged.data, tile, whole)
    assert distance(made, by_torch(gauged.network, tile, whole)) < near
    # What is read matters, more than the precision does.
    assert distance(made, by_onnx_runtime(gauged.data, tile)) > 0.01


def test_a_graph_of_one_size_with_a_gauge_reads_its_picture(gauged_fixed: Exported) -> None:
    x = np.random.default_rng(0).random((1, 1, 33, 46), np.float32)
    assert inputs(gauged_fixed.data) == ["picture"]
    facts = facts_of(gauged_fixed.data, "")
    near = 1e-3 if facts["precision"] == "float32" else 0.03
    assert distance(by_onnx_runtime(gauged_fixed.data, x), by_torch(gauged_fixed.network, x)) < near


def test_a_gauge_stays_in_float32_in_a_graph_in_float16(gauged: Exported) -> None:
    if facts_of(gauged.data, "")["precision"] == "float32":
        pytest.skip("of graphs in float16")
    tensors = onnx.load_model_from_string(gauged.data).graph.initializer
    of_gauge = [t for t in tensors if "gauge" in t.name]
    assert len(of_gauge) >= 8  # three layers and a half with their biases
    assert {t.data_type for t in of_gauge} == {TensorProto.FLOAT}
    weights = [t for t in tensors if len(t.dims) == 4 and tuple(t.dims[:2]) != (len(WAVES), 1)]
    assert len(weights) == sum(isinstance(m, torch.nn.Conv2d) for m in gauged.network.modules())
    assert {t.data_type for t in weights} == {TensorProto.FLOAT16}


def test_a_graph_without_a_gauge_takes_the_picture_alone(half: Exported) -> None:
    assert inputs(half.data) == ["picture"]
    assert inputs_of(facts_of(half.data, "")) == ["picture"]


def test_inputs_that_do_not_fit_the_configuration_are_refused(
    gauged: Exported, gauged_fixed: Exported, half: Exported
) -> None:
    both = "does not map float32 'picture' and 'whole' (B, 1, H, W) to one 'restored'"
    alone = "does not map float32 'picture' (B, 1, H, W) to one 'restored'"

    def of_another(exported: Exported, gauge: tuple[str, ...]) -> bytes:
        config = replace(exported.network.config, gauge=gauge)
        return restated(exported.data, config=json.dumps(to_mapping(config)))

    assert refusal(of_another(gauged, ())) == alone
    assert refusal(of_another(half, ("blur",))) == both
    assert refusal(restated(gauged_fixed.data, size="any")) == both
    assert refusal(restated(gauged.data, size="33x46")).startswith(
        "does not map float32 'picture' (1, 1, 33, 46)"
    )
    model = onnx.load_model_from_string(gauged.data)
    model.graph.input[1].name = "other"
    assert refusal(model.SerializeToString()) == both
    del model.graph.input[1:]
    assert refusal(model.SerializeToString()) == both


# Refused ----------------------------------------------------------------------------------------


def test_a_truncated_graph_is_refused(exported: Exported) -> None:
    data = exported.data
    begin = data.index(FORMAT.encode()) - 40
    for cut in (*range(0, begin, begin // 50), *range(begin, len(data), 7)):
        assert refusal(data[:cut]) in {
            "is not a whole ONNX file",
            FOREIGN,
        }


@pytest.mark.parametrize("data", [b"", b"not a graph", bytes(range(256)) * 8])
def test_what_is_no_graph_is_refused(data: bytes) -> None:
    refusal(data)


def test_a_foreign_graph_is_refused() -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [out])
    foreign = helper.make_model(graph).SerializeToString()
    assert refusal(foreign) == FOREIGN


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


@pytest.mark.parametrize("key", ["stride", "halo", "smallest", "precision", "size"])
@pytest.mark.parametrize("value", ["", "-2", "1000000000000", "two", "\x1b[2J"])
def test_facts_that_contradict_the_configuration_are_refused(
    exported: Exported, key: str, value: str
) -> None:
    cause = refusal(restated(exported.data, **{key: value}))
    assert cause.startswith(f"states the {key} '")
    assert cause.isprintable()


@pytest.mark.parametrize("size", ["8x64", "64x4096", "64x", "x", "99999x64", "６４x64", "64x64\n"])
def test_a_size_out_of_bounds_is_refused(exported: Exported, size: str) -> None:
    assert refusal(restated(exported.data, size=size)).startswith("states the size '")


def test_a_stated_size_or_precision_that_the_graph_has_not_is_refused(
    exported: Exported, half: Exported, fixed: Exported
) -> None:
    for data in (
        restated(exported.data, size="64x64"),
        restated(fixed.data, size="33x48"),
        restated(fixed.data, size="any"),
    ):
        assert refusal(data).startswith("does not map float32 'picture'")
    for data in (
        restated(exported.data, precision="float16"),
        restated(half.data, precision="float32"),
    ):
        assert refusal(data).startswith("holds a tensor of another kind than float")


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
