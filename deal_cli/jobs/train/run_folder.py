"""What a training leaves on disk, and how it is taken up again.

`config.toml` (resolved), `metrics.jsonl`, `curves.png`, `grids/`, `best/` and `last/`, each with
`enhancer.safetensors` and `generator.safetensors`; `last/` also holds `state.safetensors`: both
players, their optimisers' moments and the step, which is all that an exact resume needs.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal_cli.config import TrainConfig
from deal_cli.errors import UsageError, WeightsError
from deal_cli.imaging.files import write_frame, written_whole
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.whole import exists, make_folder
from deal_cli.jobs.train.state import State
from deal_cli.mapping import load_toml, to_mapping

if TYPE_CHECKING:
    from torch import Tensor

STATE_FORMAT = "deal-train-state/2"
NETWORKS, OPTIMISERS = ("network", "ema", "generator"), ("optimiser", "ascent")


class Tally:
    """The means of what steps tell, over the steps that told it."""

    def __init__(self) -> None:
        self._values: defaultdict[str, list[Any]] = defaultdict(list)

    def add(self, told: Mapping[str, Any]) -> None:
        """What one step tells: numbers, or tables of numbers."""
        for key, value in told.items():
            self._values[key].append(value)

    def means(self) -> dict[str, Any]:
        """Every number's mean, tables entry by entry."""
        return {
            key: {part: float(np.mean([row[part] for row in values])) for part in values[0]}
            if isinstance(values[0], Mapping)
            else float(np.mean(values))
            for key, values in self._values.items()
        }


class RunFolder:
    """The folder of one training."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def best(self) -> Path:
        return self.path / "best"

    def refuse_use(self) -> None:
        """Make sure that nothing is there yet, and that something can be.

        Raises:
            UsageError: the folder holds something already, or cannot be made.
        """
        nearest = next(path for path in (self.path, *self.path.absolute().parents) if exists(path))
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            cause = "is not a folder" if not nearest.is_dir() else "cannot be written to"
            raise UsageError(cause, file=nearest, remedy="give another --out")
        if nearest == self.path and any(self.path.iterdir()):
            remedy = "give --resume, or another --out"
            raise UsageError("is in use", file=self.path, remedy=remedy)

    def begin(self, config: TrainConfig) -> None:
        """Make the folder and write the resolved configuration.

        Raises:
            OutputError: the system refuses.
        """
        import tomli_w

        make_folder(self.path)
        with written_whole(self.path / "config.toml") as stream:
            stream.write(tomli_w.dumps(to_mapping(config)).encode())

    def config(self) -> TrainConfig:
        """The configuration of a run that was begun.

        Raises:
            UsageError: there is none.
        """
        path = self.path / "config.toml"
        if not path.is_file():
            raise UsageError("is not a run", file=self.path, remedy="leave out --resume")
        return load_toml(TrainConfig, path)

    def keep(
        self,
        state: State,
        config: TrainConfig,
        row: Mapping[str, Any],
        pictures: str,
        processes: int,
        *,
        best: bool,
    ) -> None:
        """Write the newest weights, the state beside them, and the best when these are.

        Args:
            state: of the training.
            config: resolved.
            row: what was measured last.
            pictures: their fingerprint, which a resumed run must have again.
            processes: how many share the work; likewise.
            best: whether these are the best weights so far.
        """
        from deal_cli.model.weights import save_enhancer, save_generator, write_safetensors

        facts = {"config": to_mapping(config), "validation": dict(row)}
        for folder in [self.path / "last", *([self.best] if best else [])]:
            network = state.ema.state_dict()
            save_enhancer(folder / "enhancer.safetensors", network, config.network, facts)
            save_generator(folder / "generator.safetensors", state.generator, facts)
        metadata = {
            "format": STATE_FORMAT,
            "init": state.init,
            "step": str(state.step),
            "best_score": repr(state.best_score),
            "pictures": pictures,
            "processes": str(processes),
        }
        path = self.path / "last" / "state.safetensors"
        write_safetensors(path, dict(_tensors(state)), metadata)

    def log(self, row: Mapping[str, Any]) -> None:
        """Add a line to `metrics.jsonl`."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`."""
        lines = (self.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def draw(self, step: int, levels: NDArray[np.float32]) -> None:
        """Write a grid of samples `(H, W)`, grey levels."""
        make_folder(self.path / "grids")
        write_frame(Frame(levels, np.dtype(np.uint8)), self.path / "grids" / f"{step:08}.png")

    def load(self, state: State, pictures: str, processes: int) -> None:
        """Put the saved state in place of a fresh one, and forget what was logged after it.

        Raises:
            UsageError: there is none, or it was trained on other pictures or by more processes.
            WeightsError: it is damaged or of another kind.
        """
        from deal_cli.model.tensor_file import quoted, read_safetensors

        path = self.path / "last" / "state.safetensors"
        if not path.is_file():
            raise UsageError("holds no state yet", file=self.path, remedy="remove it, start anew")
        metadata, tensors = read_safetensors(path)
        if metadata.get("format") != STATE_FORMAT:
            raise WeightsError("is not the state of a training", file=path, remedy="start anew")
        if metadata.get("pictures") != pictures:
            remedy = "give the same --data and --val, unchanged, or start anew in another --out"
            raise UsageError("was begun on other pictures", file=self.path, remedy=remedy)
        if metadata.get("processes") != str(processes):
            cause = f"was begun in {metadata.get('processes')} processes, not {processes}"
            raise UsageError(cause, file=self.path, remedy="resume it in as many")
        try:
            _fill(state, metadata, tensors)
        except (KeyError, ValueError, RuntimeError) as error:
            reason = quoted(str(error).partition("\n")[0])
            cause = f"does not fit the settings beside it ({reason})"
            remedy = "undo what was changed in config.toml"
            raise WeightsError(cause, file=path, remedy=remedy) from error
        self._forget_after(state.step)

    def _forget_after(self, step: int) -> None:
        """Drop the lines of steps that a resumed run makes again."""
        path = self.path / "metrics.jsonl"
        if path.is_file():
            kept = [row for row in _whole_rows(path) if row["step"] <= step]
            with written_whole(path) as stream:
                stream.write("".join(json.dumps(row) + "\n" for row in kept).encode())


def _fill(state: State, metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
    """Put what was saved into both players and their optimisers.

    Raises:
        KeyError, ValueError, RuntimeError: it is not what was saved of such a state.
    """
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in (*NETWORKS, *OPTIMISERS)}
    for name, tensor in tensors.items():
        kind, _, key = name.partition("/")
        parts[kind][key] = tensor
    for name in NETWORKS:
        getattr(state, name).load_state_dict(parts[name])
    for name in OPTIMISERS:
        optimiser = getattr(state, name)
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in parts[name].items():
            index, _, moment = key.partition("/")
            moments.setdefault(int(index), {})[moment] = tensor
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": moments, "param_groups": groups})
    state.init, state.step = metadata["init"], int(metadata["step"])
    state.best_score = float(metadata["best_score"])


def _whole_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a log up to one that was cut short."""
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return


def _tensors(state: State) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a run by name."""
    for name in NETWORKS:
        for key, value in getattr(state, name).state_dict().items():
            yield f"{name}/{key}", value
    for name in OPTIMISERS:
        for index, moments in getattr(state, name).state_dict()["state"].items():
            for key, value in moments.items():
                yield f"{name}/{index}/{key}", value
