"""Weight files: saved and loaded whole, found by name or path, and refused when not right."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deal_cli.errors import DealError, ExitCode, OutputError, WeightsError
from deal_cli.model import weights
from deal_cli.model.network import Enhancer
from deal_cli.model.weights import (
    bundled_checksums,
    find,
    load_enhancer,
    read_safetensors,
    save_enhancer,
    write_safetensors,
)
from deal_cli.networks import BlockConfig, NetworkConfig

CONFIG = NetworkConfig(width=4, blocks=(BlockConfig("stm", 3, 3), BlockConfig("ssm", 3, 5, 2)))
FACTS = {"steps": 7, "data": "drawn scenes"}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_enhancer(path, Enhancer(CONFIG).state_dict(), CONFIG, FACTS)
    return path


@pytest.fixture
def bundle(tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of bundled weights with `deal` and `paper`, and an empty working folder."""
    folder = tmp_path / "weights"
    folder.mkdir()
    digest = hashlib.sha256(saved.read_bytes()).hexdigest()
    for name in ("paper", "deal"):
        (folder / f"{name}.safetensors").write_bytes(saved.read_bytes())
    (folder / "SHA256SUMS").write_text(
        f"{digest}  paper.safetensors\n{digest}  deal.safetensors\n{digest}  tone.onnx\n"
    )
    monkeypatch.setattr(weights, "weights_folder", lambda: folder)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


def refusal(action: Callable[[], object]) -> str:
    """The message of the WeightsError, which has a cause, a file or a name, and a remedy."""
    with pytest.raises(WeightsError) as caught:
        action()
    assert caught.value.exit_code is ExitCode.UNAVAILABLE
    assert caught.value.cause
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Saved and loaded -------------------------------------------------------------------------------


def test_what_is_saved_is_what_is_loaded(saved: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = Enhancer(CONFIG)
    torch.nn.init.normal_(network.blocks[0].exchange.first.weight)
    save_enhancer(saved, network.state_dict(), CONFIG, FACTS)
    loaded = load_enhancer(str(saved))
    assert loaded.config == CONFIG
    assert loaded.training == FACTS
    assert loaded.file.name == "tiny"
    assert loaded.file.sha256 == hashlib.sha256(saved.read_bytes()).hexdigest()
    again = loaded.network()
    assert not again.training
    for key, tensor in network.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor)


def test_batch_statistics_are_saved_too(tmp_path: Path) -> None:
    config = replace(CONFIG, norm="batch")
    network = Enhancer(config).train()
    network(torch.rand(2, 1, 16, 16))
    save_enhancer(tmp_path / "w.safetensors", network.state_dict(), config, {})
    again = load_enhancer(str(tmp_path / "w.safetensors")).network()
    x = torch.rand(1, 1, 16, 16)
    assert torch.equal(again(x), network.eval()(x))


def test_weights_are_kept_in_float32(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_enhancer(path, Enhancer(CONFIG).bfloat16().state_dict(), CONFIG, {})
    _, tensors = read_safetensors(path)
    assert {t.dtype for t in tensors.values()} == {torch.float32}


def test_a_saved_file_leaves_no_other_file(saved: Path) -> None:
    assert list(saved.parent.iterdir()) == [saved]


def test_weights_that_cannot_be_written_are_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="cannot be written"):
        write_safetensors(tmp_path / "file" / "w.safetensors", {}, {})


# Refused ----------------------------------------------------------------------------------------


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.safetensors"
    assert refusal(lambda: load_enhancer(str(path))).startswith(f"{path}: no such file; ")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    message = refusal(lambda: load_enhancer(str(tmp_path / "folder.safetensors")))
    assert "is a folder, not weights" in message


def test_an_empty_file_is_refused(saved: Path) -> None:
    saved.write_bytes(b"")
    assert "is empty" in refusal(lambda: load_enhancer(str(saved)))


def test_a_file_too_large_for_weights_is_refused_unread(saved: Path) -> None:
    with saved.open("r+b") as stream:
        stream.truncate(weights.LARGEST + 1)
    started = time.perf_counter()
    assert "is 512 MiB, more than" in refusal(lambda: load_enhancer(str(saved)))
    assert time.perf_counter() - started < 0.1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.safetensors")
    path = str(tmp_path / "w.safetensors")
    assert "is a pipe or device, not weights" in refusal(lambda: load_enhancer(path))


@pytest.mark.parametrize("share", [0.001, 0.2, 0.9, 0.999])
def test_a_truncated_file_is_refused(saved: Path, share: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(share * len(data))])
    assert "is not a whole safetensors file" in refusal(lambda: load_enhancer(str(saved)))


@pytest.mark.parametrize("change", [{"width": 5}, {"blocks": CONFIG.blocks[:1]}, {"norm": "batch"}])
def test_tensors_of_another_architecture_are_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "w.safetensors"
    other = replace(CONFIG, **change)  # type: ignore[arg-type]
    save_enhancer(path, Enhancer(CONFIG).state_dict(), other, {})
    assert "do not fit the architecture" in refusal(lambda: load_enhancer(str(path)).network())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_tensors_that_are_not_finite_are_refused(saved: Path, value: float) -> None:
    state = Enhancer(CONFIG).state_dict()
    state["head.2.bias"][0] = value
    save_enhancer(saved, state, CONFIG, {})
    assert "NaN or infinite numbers ('head.2.bias')" in refusal(lambda: load_enhancer(str(saved)))


def test_a_negative_variance_is_refused(tmp_path: Path) -> None:
    config = replace(CONFIG, norm="batch")
    state = Enhancer(config).state_dict()
    next(v for k, v in state.items() if k.endswith("running_var"))[1] = -1
    save_enhancer(tmp_path / "w.safetensors", state, config, {})
    message = refusal(lambda: load_enhancer(str(tmp_path / "w.safetensors")))
    assert "holds a negative variance" in message


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int32, torch.uint8])
def test_tensors_of_another_dtype_are_refused(saved: Path, dtype: torch.dtype) -> None:
    metadata, tensors = read_safetensors(saved)
    write_safetensors(saved, {k: v.to(dtype) for k, v in tensors.items()}, metadata)
    assert "not F32" in refusal(lambda: load_enhancer(str(saved)))


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth"])
def test_a_pickle_is_refused_and_never_unpickled(tmp_path: Path, bundle: Path, name: str) -> None:
    mark = tmp_path / "unpickled"
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Bomb(mark)))
    assert "pickled checkpoints are never opened" in refusal(lambda: load_enhancer(str(path)))
    assert not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists(), "the test would not have noticed"


def test_a_torch_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    torch.save({"network": Enhancer(CONFIG).state_dict()}, path)
    assert "is not a whole safetensors file" in refusal(lambda: load_enhancer(str(path)))


def test_safetensors_of_another_program_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_safetensors(path, {"a": torch.zeros(3)}, {})
    assert "holds 'unknown', not an enhancer" in refusal(lambda: load_enhancer(str(path)))
    write_safetensors(path, {"a": torch.zeros(3)}, {"format": "deal-tone/1"})
    assert "holds 'deal-tone/1', not an enhancer" in refusal(lambda: load_enhancer(str(path)))


@pytest.mark.parametrize(
    "config",
    [
        None,
        "not JSON",
        "[]",
        "3",
        json.dumps({"widht": 4}),
        json.dumps({"width": "four"}),
        json.dumps({"width": 0}),
        json.dumps({"blocks": [{"kind": "stm"}]}),
        json.dumps({"time_steps": 10**9}),
        json.dumps({"\x1b[2J" * 1000: 1}),
        "[" * 100_000,
        json.dumps({"blocks": [{"kind": "stm", "kernel_in": 4, "kernel_out": 3}]}),
    ],
)
def test_a_configuration_that_cannot_be_read_is_refused(tmp_path: Path, config: str | None) -> None:
    path = tmp_path / "w.safetensors"
    metadata = {"format": weights.ENHANCER_FORMAT}
    if config is not None:
        metadata["config"] = config
    write_safetensors(path, Enhancer(CONFIG).state_dict(), metadata)
    message = refusal(lambda: load_enhancer(str(path)))
    assert "its configuration cannot be read" in message
    assert message.count(str(path)) == 1
    assert message.isprintable()
    assert len(message) < 400


# Found ------------------------------------------------------------------------------------------


def test_a_bundled_name_is_found_and_verified(bundle: Path) -> None:
    file = find("deal")
    assert file.path == bundle / "deal.safetensors"
    assert file.name == "deal"
    assert load_enhancer("deal").config == CONFIG


def test_an_unknown_name_is_refused_and_the_known_ones_are_listed(bundle: Path) -> None:
    message = refusal(lambda: find("dael"))
    assert message.startswith("no bundled weights are called 'dael'; ")
    assert message.endswith("one of: deal, paper")


def test_the_tone_predictor_is_not_listed_among_the_enhancers(bundle: Path) -> None:
    with (bundle / "SHA256SUMS").open("a", encoding="utf-8") as sums:
        sums.write(f"{'0' * 64}  tone.safetensors\n")
    assert refusal(lambda: find("dael")).endswith("one of: deal, paper")


def test_a_tampered_bundled_file_is_refused(bundle: Path) -> None:
    path = bundle / "deal.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    assert refusal(lambda: load_enhancer("deal")).startswith(
        f"{path}: does not match its checksum; "
    )
    assert find("paper").name == "paper"


def test_a_bundled_file_that_is_gone_is_refused(bundle: Path) -> None:
    (bundle / "deal.safetensors").unlink()
    assert refusal(lambda: find("deal")).endswith("no such file; reinstall deal-cli")


def test_a_list_of_checksums_that_is_damaged_is_refused(bundle: Path) -> None:
    (bundle / "SHA256SUMS").write_bytes(b"no list\nat\n\xff")
    assert "is no list of checksums" in refusal(bundled_checksums)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_bundled_name_comes_before_what_happens_to_be_called_so(bundle: Path, kind: str) -> None:
    here = Path("deal")
    here.mkdir() if kind == "folder" else here.write_text("notes")
    assert find("deal").path == bundle / "deal.safetensors"


def test_a_file_needs_no_suffix(bundle: Path, saved: Path) -> None:
    path = saved.rename(saved.with_suffix(""))
    assert load_enhancer(str(path)).config == CONFIG


def test_a_path_is_found_where_nothing_is_bundled(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> Path:
        raise WeightsError("no bundled weights found", remedy="reinstall deal-cli")

    monkeypatch.setattr(weights, "weights_folder", none)
    assert find(str(saved)).path == saved
    with pytest.raises(DealError, match="no bundled weights found"):
        find("deal")
