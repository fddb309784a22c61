"""Safetensors as containers: compared before they are loaded, and written whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from deal_cli.errors import OutputError, WeightsError
from deal_cli.model.network import Enhancer
from deal_cli.model.tensor_file import (
    LARGEST_HEADER,
    opened,
    quoted,
    read_safetensors,
    shapes_of,
    write_safetensors,
)
from deal_cli.networks import NETWORKS, BlockConfig, NetworkConfig, halo

LARGEST = NetworkConfig(
    channels=4, width=512, stride=8, blocks=(BlockConfig("ssm", 1, 1),) * 20, detail_radius=1
)


@pytest.mark.parametrize("config", NETWORKS.values())
def test_a_described_network_has_the_shapes_of_a_real_one(config: NetworkConfig) -> None:
    real = {name: tuple(t.shape) for name, t in Enhancer(config).state_dict().items()}
    assert dict(shapes_of(lambda: Enhancer(config))) == real


def test_describing_a_network_takes_no_memory_and_draws_no_numbers() -> None:
    resource = pytest.importorskip("resource", reason="needs the memory a process has had")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    state = torch.get_rng_state()
    shapes = shapes_of(lambda: nn.Linear(10**6, 10**6))
    assert shapes["weight"] == (10**6, 10**6)
    assert len(shapes_of(lambda: Enhancer(LARGEST))) > 200
    assert torch.equal(torch.get_rng_state(), state)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_describing_a_network_imports_nothing_more() -> None:
    code = (
        "import sys; from deal_cli.model.network import Enhancer\n"
        "from deal_cli.networks import NETWORKS; from deal_cli.model.tensor_file import shapes_of\n"
        "before = set(sys.modules)\n"
        "for config in NETWORKS.values(): shapes_of(lambda: Enhancer(config))\n"
        "print(len(set(sys.modules) - before))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20


def test_the_largest_halo_leaves_a_tile_its_core() -> None:
    """1024 pixels a tile, 32 of them between its halos."""
    blocks = (BlockConfig("stm", 63, 31, 1),)
    farthest = NetworkConfig(stride=8, detail_radius=6, blocks=blocks)
    with pytest.raises(ValueError, match="pixels away"):
        NetworkConfig(stride=8, detail_radius=7, blocks=blocks)
    assert 2 * max(halo(farthest)) + 32 <= 1024


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 10**6), noise=st.binary(max_size=8), cut=st.integers(0, 8))
def test_damage_is_refused_or_read_and_never_anything_else(
    tmp_path_factory: pytest.TempPathFactory, at: int, noise: bytes, cut: int
) -> None:
    sound = save({"a": torch.ones(3), "b": torch.zeros(2, 2)}, {"format": "pt"})
    at %= len(sound)
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    path.write_bytes(sound[:at] + noise + sound[at + cut :])
    refused = None
    try:
        with opened(path) as content:
            content.tensors_like({"a": (3,), "b": (2, 2)})
    except WeightsError as error:
        refused = error
    assert refused is None or (str(refused).isprintable() and refused.remedy)


def test_a_long_header_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes((LARGEST_HEADER + 1).to_bytes(8, "little") + b"{" * (LARGEST_HEADER + 1))
    with pytest.raises(WeightsError, match="a header of 4194305 bytes"):
        read_safetensors(path)


def test_a_failure_while_writing_leaves_the_old_file_and_no_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.safetensors"
    write_safetensors(path, {"a": torch.ones(3)}, {})
    before = path.read_bytes()

    def full(_: object, name: Path, __: object) -> None:
        name.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OutputError, match="No space left"):
        write_safetensors(path, {"a": torch.zeros(3)}, {})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_file_says_is_quoted_on_one_short_line() -> None:
    assert quoted("plain words") == "plain words"
    assert quoted("a\n\n b\x1b[2J\x07\u202e") == "a b [2J"
    assert quoted("x" * 10**6) == "x" * 120 + "…"
