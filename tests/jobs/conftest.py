"""What the tests of the jobs share: weights of a tiny network, one thread, and drawn scenes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from stand_in_hub import StandInHub

from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import write_frame
from deal_cli.jobs.weights.hub import LEFT_OUT
from deal_cli.model.network import Enhancer
from deal_cli.model.weights import save_enhancer
from deal_cli.networks import BlockConfig, NetworkConfig

TINY = NetworkConfig(width=4, blocks=(BlockConfig("stm", 3, 3),))


@pytest.fixture(autouse=True)
def _small_tensors(one_thread: None) -> None:
    """Every test here computes on one thread."""


@pytest.fixture(scope="session")
def tiny() -> NetworkConfig:
    """A network of one block and four channels."""
    return TINY


@pytest.fixture(scope="session")
def fresh_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of untrained weights, whose correction is zero: every picture comes back as it was."""
    path = tmp_path_factory.mktemp("weights") / "fresh.safetensors"
    torch.manual_seed(0)
    save_enhancer(path, Enhancer(TINY).state_dict(), TINY, {})
    return path


@pytest.fixture
def draw_scenes(tmp_path: Path) -> Callable[..., Path]:
    """`(count, height, width)` -> a folder of clean 8-bit scenes."""

    def make(count: int = 2, height: int = 96, width: int = 128, name: str = "scenes") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for seed in range(count):
            write_frame(draw_scene(seed, height, width), folder / f"{seed}.png")
        return folder

    return make


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub's cache, which is not there yet."""
    for name, value in LEFT_OUT.items():  # before the library is imported
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def hub(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    """A stand-in for the Hub, in the place of it in this process."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    with StandInHub() as hub:
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield hub
        close_session()
