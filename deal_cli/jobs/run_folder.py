"""What a training leaves on disk, and how it is taken up again.

`config.toml` (resolved), `metrics.jsonl`, `grids/`, `best/` and `last/`, each with
`enhancer.safetensors`; `last/` also holds `state.safetensors`: both networks, the optimiser's
moments and the step, which is all that an exact resume needs.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deal_cli.config import TrainConfig, from_mapping, to_mapping
from deal_cli.errors import UsageError, WeightsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from deal_cli.model.network import Enhancer

STATE_FORMAT = "deal-train-state/1"


@dataclass
class State:
    """Everything that changes during a run.

    Attributes:
        network: the newest weights.
        average: their exponential moving average, which is what is kept.
        step: optimiser steps done.
        best: highest validation score so far.
    """

    network: Enhancer
    average: Enhancer
    optimiser: torch.optim.AdamW
    step: int = 0
    best: float = -math.inf


class RunFolder:
    """The folder of one training."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def best(self) -> Path:
        return self.path / "best"

    def begin(self, config: TrainConfig) -> None:
        """Make the folder and write the resolved configuration.

        Raises:
            UsageError: the folder holds something already.
        """
        import tomli_w

        if self.path.exists() and any(self.path.iterdir()):
            remedy = "give --resume, or another --out"
            raise UsageError("is in use", file=self.path, remedy=remedy)
        self.path.mkdir(parents=True, exist_ok=True)
        text = tomli_w.dumps(to_mapping(config))
        (self.path / "config.toml").write_text(text, encoding="utf-8")

    def config(self) -> TrainConfig:
        """The configuration of a run that was begun.

        Raises:
            UsageError: there is none.
        """
        path = self.path / "config.toml"
        if not path.is_file():
            raise UsageError("is not a run", file=self.path, remedy="leave out --resume")
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return from_mapping(TrainConfig, table, where=str(path))

    def keep(
        self, state: State, config: TrainConfig, row: Mapping[str, Any], *, best: bool
    ) -> None:
        """Write the newest weights, the state beside them, and the best when these are."""
        from deal_cli.model.weights import save_enhancer, write_safetensors

        facts = {"config": to_mapping(config), "validation": dict(row)}
        for folder in ["last", *(["best"] if best else [])]:
            path = self.path / folder / "enhancer.safetensors"
            save_enhancer(path, state.average.state_dict(), config.network, facts)
        metadata = {"format": STATE_FORMAT, "step": str(state.step), "best": repr(state.best)}
        path = self.path / "last" / "state.safetensors"
        write_safetensors(path, dict(_tensors(state)), metadata)

    def log(self, row: Mapping[str, Any]) -> None:
        """Add a line to `metrics.jsonl`."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def load(self, state: State) -> None:
        """Put the saved state in place of a fresh one.

        Raises:
            UsageError: there is none.
            WeightsError: it is damaged or of another kind.
        """
        from deal_cli.model.weights import read_safetensors

        path = self.path / "last" / "state.safetensors"
        if not path.is_file():
            raise UsageError("holds no state yet", file=self.path, remedy="remove it, start anew")
        metadata, tensors = read_safetensors(path)
        if metadata.get("format") != STATE_FORMAT:
            raise WeightsError("is not the state of a training", file=path, remedy="start anew")
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            kind, _, key = name.partition("/")
            if kind == "optimiser":
                index, _, key = key.partition("/")
                moments.setdefault(int(index), {})[key] = tensor
            else:
                parts[kind][key] = tensor
        state.network.load_state_dict(parts["network"])
        state.average.load_state_dict(parts["average"])
        groups = state.optimiser.state_dict()["param_groups"]
        state.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        state.step, state.best = int(metadata["step"]), float(metadata["best"])


def _tensors(state: State) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a run by name."""
    for prefix, network in (("network", state.network), ("average", state.average)):
        for key, value in network.state_dict().items():
            yield f"{prefix}/{key}", value
    for index, moments in state.optimiser.state_dict()["state"].items():
        for key, value in moments.items():
            yield f"optimiser/{index}/{key}", value
