"""Train the enhancer: sampled degradations on crops of clean pictures.

A run is a folder: `config.toml` (resolved), `metrics.jsonl`, `grids/` (degraded, restored, clean),
`best/enhancer.safetensors` (best validation), `last/` (newest weights and, beside them, what an
exact resume needs). Batch n is drawn from the seed and n alone, so a run that was stopped and
resumed on the same kind of machine with the same number of threads makes the same weights as one
that was not.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deal_cli.config import TrainConfig, from_mapping, to_mapping
from deal_cli.errors import PictureError, UsageError, WeightsError
from deal_cli.imaging.frame import Frame

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from deal_cli.model.crops import Pyramid
    from deal_cli.model.network import Enhancer

SCALES = (1.0, 0.65, 0.5)  # of the training pictures; halved pictures are the sharp ones
VALIDATION_PICTURES, VALIDATION_CROP = 10, 320
CLEAN_CEILING = 55.0  # dB; above it, doing less harm to clean pictures counts no more
# The last convolution learns slower: its first steps shift whole pictures, and the quickest way to
# less loss is then to silence the ReLU in front of it, for good.
HEAD_RATE = 0.1
STATE_FORMAT = "deal-train-state/1"


class Display(Protocol):
    """What shows a running training."""

    def step(self, step: int, steps: int, loss: float, rate: float) -> None: ...
    def validated(self, step: int, score: float, psnr: Mapping[str, float], best: bool) -> None: ...


@dataclass(frozen=True)
class TrainRequest:
    """What to train, on what, and where to.

    Attributes:
        data: folder of clean pictures.
        out: the run's folder.
        val: folder of clean pictures to choose by; without it the newest weights are the best.
        init: bundled name or file of the weights to start from; None starts anew.
        resume: go on with the run in `out`.
        config: settings; a resumed run keeps its own.
    """

    data: Path
    out: Path
    val: Path | None = None
    init: str | None = None
    resume: bool = False
    config: TrainConfig = TrainConfig()


@dataclass
class State:
    """Everything that changes during a run."""

    network: Enhancer
    average: Enhancer
    optimiser: torch.optim.AdamW
    step: int = 0
    best: float = -math.inf


def train(request: TrainRequest, display: Display) -> Path:
    """Run a training to its last step and return the folder of its best weights.

    Raises:
        UsageError: the data do not allow a training, or `out` is in use.
        PictureError: a training picture cannot be read.
        WeightsError: the weights to start from, or the state to resume, are not usable.
    """
    import torch

    from deal_cli.engine.hardware import physical_cores

    config = _resolved_config(request)
    torch.set_num_threads(physical_cores())
    pyramids = load_pyramids(request.data, config)
    state = _first_state(request, config)
    _write_config(request.out, config)
    if request.resume:
        _load_state(request.out / "last", state)
    autocast = _autocast(config)
    metrics = request.out / "metrics.jsonl"
    started, first = time.monotonic(), state.step
    while state.step < config.steps:
        loss = _train_step(state, pyramids, config, autocast)
        rate = (state.step - first) * config.batch / (time.monotonic() - started)
        display.step(state.step, config.steps, loss, rate)
        if state.step % config.validate_every == 0 or state.step == config.steps:
            _finish_interval(request, config, state, metrics, loss, rate, display)
    return request.out / "best"


def load_pyramids(folder: Path, config: TrainConfig) -> list[Pyramid]:
    """Every picture of a folder in [0, 1] at each training scale, its border cut.

    Raises:
        UsageError: no folder, no pictures, or pictures smaller than a crop.
        PictureError: a picture cannot be read.
    """
    import cv2

    from deal_cli.imaging.files import PICTURE_SUFFIXES, read_frame

    if not folder.is_dir():
        raise UsageError("is not a folder", file=folder, remedy="--data takes a folder of pictures")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
    if not paths:
        raise UsageError("holds no pictures", file=folder, remedy="give --data another folder")
    pyramids = []
    for path in paths:
        picture = _unit_range(read_frame(path), path)
        inner = picture[config.border :, config.border :]
        inner = inner[: -config.border or None, : -config.border or None]
        levels = [
            inner
            if scale == 1
            else cv2.resize(inner, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            for scale in SCALES
        ]
        fitting = tuple(level for level in levels if min(level.shape) >= config.crop)
        if len(fitting) < len(SCALES):
            raise UsageError(
                f"{picture.shape[1]}x{picture.shape[0]} is too small for crops of {config.crop}",
                file=path,
                remedy="set a smaller crop or border in --config",
            )
        pyramids.append(fitting)
    return pyramids


def _unit_range(frame: Frame, path: Path) -> NDArray[np.float32]:
    """The picture in [0, 1]: 8-bit by its type, others between its percentiles .1 and 99.9."""
    if frame.dtype == np.uint8:
        return frame.values / np.float32(255)
    low, high = np.percentile(frame.values[np.isfinite(frame.values)], (0.1, 99.9))
    if not high > low:
        raise PictureError("holds one value only", file=path, remedy="take it out of --data")
    return np.clip(np.nan_to_num((frame.values - low) / (high - low)), 0, 1).astype(np.float32)


def _train_step(
    state: State,
    pyramids: list[Pyramid],
    config: TrainConfig,
    autocast: Callable[[], Any],
) -> float:
    """The outer minimisation: one step of N_E on freshly sampled degradations."""
    import torch

    from deal_cli.model import crops, losses

    rng = np.random.default_rng((config.seed, state.step))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # many small operations: handing them out costs more than it gains
    degraded, clean = crops.draw_batch(pyramids, config, rng)
    torch.set_num_threads(threads)
    if state.network.config.channels == 3:
        degraded, clean = (x.expand(-1, 3, -1, -1) for x in (degraded, clean))
    for group in state.optimiser.param_groups:
        rate = config.learning_rate * schedule(state.step / config.steps, config.warmup)
        group["lr"] = rate * group["share"]
    state.network.train()
    with autocast():
        correction = state.network.correction(degraded)
    restored = degraded + correction.float()
    loss = losses.relative_l1(restored, clean, degraded)
    if config.ssim_weight:
        loss = loss + config.ssim_weight * (1 - losses.ssim(restored, clean))
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), config.clip)
    state.optimiser.step()
    state.step += 1
    _average(state, config)
    return float(loss.detach())


def schedule(progress: float, warmup: float) -> float:
    """Share of the peak learning rate: a linear rise, then a cosine to zero."""
    if progress < warmup:
        return (progress + 1e-3) / (warmup + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def _average(state: State, config: TrainConfig) -> None:
    """Move the averaged weights towards the newest; a short memory at first."""
    import torch

    decay = min(config.ema, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        ours, newest = state.average.state_dict(), state.network.state_dict()
        for key, value in ours.items():
            if value.dtype.is_floating_point:
                value.lerp_(newest[key], 1 - decay)
            else:
                value.copy_(newest[key])


def _finish_interval(
    request: TrainRequest,
    config: TrainConfig,
    state: State,
    metrics: Path,
    loss: float,
    rate: float,
    display: Display,
) -> None:
    """Validate the averaged weights, keep them, and write down how they did."""
    row: dict[str, Any] = {"step": state.step, "loss": loss, "images_per_second": rate}
    better = True
    if request.val is not None:
        row |= validate(state.average, request.val)
        better = row["score"] > state.best
        state.best = max(state.best, row["score"])
        display.validated(state.step, row["score"], row["psnr_after_fit"], better)
    _save(request.out / "last", state, config, row)
    if better:
        from deal_cli.model.weights import save_enhancer

        path = request.out / "best" / "enhancer.safetensors"
        save_enhancer(
            path, state.average.state_dict(), config.network, _training_facts(config, row)
        )
    with metrics.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def validate(network: Enhancer, folder: Path) -> dict[str, Any]:
    """PSNR of every task after the best gain and offset, and their mean as the score."""
    from deal_cli.jobs.evaluate import TASKS, evaluate

    restore = _float32_restorer(network)
    tasks = [task for task in TASKS if task != "contrast"]  # tone is not the network's
    evaluation = evaluate(restore, [folder], tasks, VALIDATION_PICTURES, VALIDATION_CROP)
    psnr = {mean.task: mean.restored.psnr_after_fit for mean in evaluation.means()}
    score = float(np.mean([min(value, CLEAN_CEILING) for value in psnr.values()]))
    return {"score": score, "psnr_after_fit": psnr}


def _float32_restorer(network: Enhancer) -> Callable[[Frame], Frame]:
    import torch

    network.eval()
    channels = network.config.channels

    def restore(frame: Frame) -> Frame:
        x = torch.from_numpy(frame.values / np.float32(255)).expand(1, channels, -1, -1)
        with torch.inference_mode():
            restored = network(x).mean(1)[0]
        return replace(frame, values=restored.numpy() * np.float32(255))

    return restore


def _autocast(config: TrainConfig) -> Callable[[], Any]:
    """bfloat16 autocast, or nothing, as the configuration and the processor say."""
    import torch

    from deal_cli.engine.hardware import has_bfloat16

    lower = config.precision == "bfloat16" or (config.precision == "auto" and has_bfloat16())
    return lambda: torch.autocast("cpu", torch.bfloat16, enabled=lower)


def _resolved_config(request: TrainRequest) -> TrainConfig:
    """The request's settings, or those of the run it goes on with."""
    import tomllib

    path = request.out / "config.toml"
    if request.resume:
        if not path.is_file():
            raise UsageError("is not a run to resume", file=request.out, remedy="leave out --resume")
        return from_mapping(TrainConfig, tomllib.loads(path.read_text("utf-8")), where=str(path))
    if request.out.exists() and any(request.out.iterdir()):
        raise UsageError("is in use", file=request.out, remedy="give --resume, or another --out")
    return request.config


def _write_config(out: Path, config: TrainConfig) -> None:
    import tomli_w

    out.mkdir(parents=True, exist_ok=True)
    (out / "config.toml").write_text(tomli_w.dumps(to_mapping(config)), encoding="utf-8")


def _first_state(request: TrainRequest, config: TrainConfig) -> State:
    """A network with fresh or given weights, and its optimiser."""
    import copy

    import torch

    from deal_cli.model.network import Enhancer
    from deal_cli.model.weights import load_enhancer

    torch.manual_seed(config.seed)
    network = Enhancer(config.network)
    if request.init is not None:
        weights = load_enhancer(request.init)
        if weights.config != config.network:
            raise WeightsError(
                "is of another architecture than the configuration",
                file=weights.file.path,
                remedy="set [network] in --config as the file has it",
            )
        network = weights.network()
    network = network.to(memory_format=torch.channels_last)
    last = {id(p) for p in network.head[2].parameters()}
    groups = [
        {"params": [p for p in network.parameters() if id(p) not in last], "share": 1.0},
        {"params": [p for p in network.parameters() if id(p) in last], "share": HEAD_RATE},
    ]
    optimiser = torch.optim.AdamW(groups, config.learning_rate, weight_decay=config.weight_decay)
    return State(network, copy.deepcopy(network), optimiser)


def _training_facts(config: TrainConfig, row: Mapping[str, Any]) -> dict[str, Any]:
    return {"config": to_mapping(config), "validation": dict(row)}


def _save(folder: Path, state: State, config: TrainConfig, row: Mapping[str, Any]) -> None:
    """Write the newest averaged weights, and everything an exact resume needs."""
    from deal_cli.model.weights import save_enhancer, write_safetensors

    facts = _training_facts(config, row)
    save_enhancer(folder / "enhancer.safetensors", state.average.state_dict(), config.network, facts)
    metadata = {"format": STATE_FORMAT, "step": str(state.step), "best": repr(state.best)}
    write_safetensors(folder / "state.safetensors", dict(_state_tensors(state)), metadata)


def _state_tensors(state: State) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a run by name: both networks and the optimiser's moments."""
    for prefix, network in (("network", state.network), ("average", state.average)):
        for key, value in network.state_dict().items():
            yield f"{prefix}/{key}", value
    for index, moments in state.optimiser.state_dict()["state"].items():
        for key, value in moments.items():
            yield f"optimiser/{index}/{key}", value


def _load_state(folder: Path, state: State) -> None:
    """Put a saved state in place of a fresh one."""
    from deal_cli.model.weights import read_safetensors

    path = folder / "state.safetensors"
    metadata, tensors = read_safetensors(path)
    if metadata.get("format") != STATE_FORMAT:
        raise WeightsError("is not the state of a training", file=path, remedy="start a new run")
    moments: dict[int, dict[str, Tensor]] = {}
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}}
    for name, tensor in tensors.items():
        kind, key = name.split("/", 1)
        if kind == "optimiser":
            index, key = key.split("/", 1)
            moments.setdefault(int(index), {})[key] = tensor
        else:
            parts[kind][key] = tensor
    state.network.load_state_dict(parts["network"])
    state.average.load_state_dict(parts["average"])
    groups = state.optimiser.state_dict()["param_groups"]
    state.optimiser.load_state_dict({"state": moments, "param_groups": groups})
    state.step, state.best = int(metadata["step"]), float(metadata["best"])
