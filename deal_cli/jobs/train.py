"""Train the enhancer: the outer minimisation, on sampled degradations of clean pictures.

Batch n is drawn from the seed and n alone, so a run that was stopped and resumed on the same kind
of machine with the same number of threads makes the same weights as one that was not. The tone
predictor, which needs seconds, follows at the end.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deal_cli.config import TrainConfig
from deal_cli.engine import hardware
from deal_cli.engine.backends import Choice, TorchBackend, placed
from deal_cli.engine.restorer import Restorer, Settings, measure_range
from deal_cli.errors import UsageError, WeightsError
from deal_cli.imaging.files import PICTURE_SUFFIXES, read_frame, write_frame
from deal_cli.imaging.frame import Frame
from deal_cli.jobs.evaluate import TASKS, evaluate
from deal_cli.jobs.run_folder import RunFolder, State
from deal_cli.jobs.train_tone import train_tone

if TYPE_CHECKING:
    import torch

    from deal_cli.model.crops import Pyramid
    from deal_cli.model.network import Enhancer

SCALES = (1.0, 0.65, 0.5)  # of the training pictures; halved pictures are the sharp ones
VALIDATION_PICTURES, VALIDATION_CROP = 10, 320
VALIDATION_TASKS = tuple(task for task in TASKS if task != "contrast")  # tone is not the network's
CLEAN_CEILING = 55.0  # dB; above it, doing less harm to clean pictures counts no more
GRID_ROWS = 6
# The last convolution learns slower: its first steps shift whole pictures, and the quickest way to
# less loss is then to do nothing at all.
HEAD_RATE = 0.5


class Watcher(Protocol):
    """What shows a running training."""

    def step(self, step: int, steps: int, loss: float, rate: float) -> None:
        """After every step; `rate` in images a second."""

    def validated(self, step: int, score: float, psnr: Mapping[str, float], best: bool) -> None:
        """After every validation; PSNR in dB."""


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
        choice: CUDA or CPU.
    """

    data: Path
    out: Path
    val: Path | None = None
    init: str | None = None
    resume: bool = False
    config: TrainConfig = TrainConfig()
    choice: Choice = Choice("cpu", 0, "by default")


def train(request: TrainRequest, watcher: Watcher) -> Path:
    """Run a training to its last step and return the folder of its best weights.

    Raises:
        UsageError: the data do not allow a training, or `out` is in use.
        PictureError: a training picture cannot be read.
        WeightsError: the weights to start from, or the state to resume, are not usable.
    """
    import torch

    run = RunFolder(request.out)
    config = run.config() if request.resume else request.config
    device = request.choice.torch_device()
    torch.set_num_threads(hardware.threads())
    _check(config, request.val)
    pictures = load_pictures(request.data, config)
    pyramids = [build_pyramid(picture) for picture in pictures]
    state = _first_state(config, request.init, device)
    if request.resume:
        run.load(state)
        if request.val is None and math.isfinite(state.best):
            raise UsageError(
                "was validated so far", file=request.out, remedy="give --val again to resume it"
            )
    else:
        run.begin(config)
    try:
        _minimise(request, config, state, run, pyramids, device, watcher)
    except KeyboardInterrupt:
        run.keep(state, config, {"step": state.step}, best=False)
        raise
    if config.tone.steps:
        train_tone(pictures, config.tone, run.best / "tone.safetensors")
    return run.best


def _check(config: TrainConfig, val: Path | None) -> None:
    """Find now what would otherwise end the run when its folder is made and hours are spent.

    Raises:
        UsageError: a number that no training can have, an unknown degradation, an empty `val`.
        PictureError: a picture of `val` cannot be used.
    """
    from deal_cli.model.sampler import sample

    for part, keys in (
        (config, ("steps", "batch", "crop", "validate_every")),
        (config.tone, ("batch", "width")),
    ):
        for key in keys:
            if getattr(part, key) < 1:
                raise UsageError(f"'{key}' is {getattr(part, key)}", remedy="it takes 1 and more")
    for key, odds in (
        ("scale_odds", config.scale_odds),
        ("count_odds", config.sampler.count_odds),
        ("odds", tuple(config.sampler.odds.values())),
    ):
        if not sum(odds) > 0 or min(odds) < 0:
            raise UsageError(f"'{key}' is {list(odds)}", remedy="give odds of 0 and more")
    stride = config.network.stride
    if config.crop % stride:
        remedy = f"set a multiple of the network's stride, {stride}"
        raise UsageError(f"'crop' is {config.crop}", remedy=remedy)
    sample(config.sampler, np.random.default_rng(0))
    if val is not None:
        evaluate(lambda frame: frame, [val], ("clean",), VALIDATION_PICTURES, VALIDATION_CROP)


def load_pictures(folder: Path, config: TrainConfig) -> list[NDArray[np.float32]]:
    """Every picture of a folder in [0, 1], its border cut.

    Raises:
        UsageError: no folder, no pictures, or a picture that is too small or all one value.
        PictureError: a picture cannot be read.
    """
    if not folder.is_dir():
        raise UsageError("is not a folder", file=folder, remedy="--data takes a folder of pictures")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
    if not paths:
        raise UsageError("holds no pictures", file=folder, remedy="give --data another folder")
    return [_load_picture(path, config) for path in paths]


def _load_picture(path: Path, config: TrainConfig) -> NDArray[np.float32]:
    frame = read_frame(path)
    low, high = measure_range(frame, "auto")
    if not high > low:
        raise UsageError("holds one value only", file=path, remedy="take it out of --data")
    inner = frame.values[config.border : frame.height - config.border]
    inner = inner[:, config.border : frame.width - config.border]
    if min(inner.shape) * min(SCALES) < config.crop:
        size = f"{frame.width}x{frame.height}"
        remedy = "set a smaller crop or border in --config"
        raise UsageError(
            f"{size} is too small for crops of {config.crop}", file=path, remedy=remedy
        )
    unit: NDArray[np.float32] = np.clip(np.nan_to_num((inner - low) / (high - low)), 0, 1)
    return unit.astype(np.float32)


def build_pyramid(picture: NDArray[np.float32]) -> Pyramid:
    """A picture `(H, W)` at each training scale."""
    import cv2

    return tuple(
        np.asarray(
            cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.float32
        )
        for scale in SCALES
    )


def schedule(progress: float, warmup: float) -> float:
    """Share of the peak learning rate at a share of the steps: a linear rise, then a cosine."""
    if progress < warmup:
        return (progress + 1e-3) / (warmup + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def _first_state(config: TrainConfig, init: str | None, device: torch.device) -> State:
    """A network with fresh or given weights, and its optimiser."""
    import torch

    from deal_cli.model.network import Enhancer
    from deal_cli.model.weights import load_enhancer

    torch.manual_seed(config.seed)
    network = Enhancer(config.network)
    if init is not None:
        weights = load_enhancer(init)
        if weights.config != config.network:
            remedy = "set [network] in --config as the file has it"
            raise WeightsError("is of another architecture", file=weights.file.path, remedy=remedy)
        network = weights.network()
    network = placed(network, device, torch.float32)
    last = {id(p) for p in network.head[2].parameters()}
    groups = [
        {"params": [p for p in network.parameters() if id(p) not in last], "share": 1.0},
        {"params": [p for p in network.parameters() if id(p) in last], "share": HEAD_RATE},
    ]
    optimiser = torch.optim.AdamW(groups, config.learning_rate, weight_decay=config.weight_decay)
    return State(network, copy.deepcopy(network), optimiser)


def _minimise(
    request: TrainRequest,
    config: TrainConfig,
    state: State,
    run: RunFolder,
    pyramids: Sequence[Pyramid],
    device: torch.device,
    watcher: Watcher,
) -> None:
    """Minimise L(N_E(degraded; ω), clean) over ω, until the last step."""
    autocast = _autocast(config, device)
    started, first, losses = time.monotonic(), state.step, []
    while state.step < config.steps:
        losses.append(_step(state, pyramids, config, device, autocast))
        rate = (state.step - first) * config.batch / (time.monotonic() - started)
        watcher.step(state.step, config.steps, losses[-1], rate)
        if state.step % config.validate_every == 0 or state.step == config.steps:
            row = {
                "step": state.step,
                "loss": float(np.mean(losses)),
                "images_per_second": rate,
                **(validate(state.average, request.val, device) if request.val else {}),
            }
            losses.clear()
            better = row.get("score", math.inf) > state.best or request.val is None
            if request.val:
                state.best = max(state.best, row["score"])
                watcher.validated(state.step, row["score"], row["psnr_after_fit"], better)
            run.keep(state, config, row, best=better)
            run.log(row)
            _write_grid(
                run.path / "grids" / f"{state.step:08}.png", state, pyramids, config, device
            )


def _step(
    state: State,
    pyramids: Sequence[Pyramid],
    config: TrainConfig,
    device: torch.device,
    autocast: Callable[[], Any],
) -> float:
    """One step of N_E on freshly sampled degradations; its loss."""
    import torch

    from deal_cli.model import losses

    degraded, clean = _batch(pyramids, config, np.random.default_rng((config.seed, state.step)))
    degraded, clean = degraded.to(device), clean.to(device)
    rate = config.learning_rate * schedule(state.step / config.steps, config.warmup)
    for group in state.optimiser.param_groups:
        group["lr"] = rate * group["share"]
    state.network.train()
    with autocast():
        correction = state.network.correction(degraded)
    restored = degraded + correction.float()
    objective = {"log_mse": losses.log_mse, "published": losses.published}[config.objective]
    loss = objective(restored, clean)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), config.clip)
    state.optimiser.step()
    state.step += 1
    _average(state, config)
    return float(loss.detach())


def _batch(
    pyramids: Sequence[Pyramid], config: TrainConfig, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """`(degraded, clean)`, each `(B, C, crop, crop)` with the network's number of channels."""
    import torch

    from deal_cli.model.crops import draw_batch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # many small operations: sharing them out costs more than it gains
    degraded, clean = draw_batch(pyramids, config, rng)
    torch.set_num_threads(threads)
    channels = config.network.channels
    return degraded.expand(-1, channels, -1, -1), clean.expand(-1, channels, -1, -1)


def _average(state: State, config: TrainConfig) -> None:
    """Move the averaged weights towards the newest; a short memory at first."""
    import torch

    decay = min(config.ema, (1 + state.step) / (10 + state.step))
    newest = state.network.state_dict()
    with torch.no_grad():
        for key, value in state.average.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(newest[key], 1 - decay)
            else:
                value.copy_(newest[key])


def validate(network: Enhancer, folder: Path, device: torch.device) -> dict[str, Any]:
    """PSNR in dB of every task after the best gain and offset, and their mean as the score."""
    backend = TorchBackend(network, device, "training", "")
    restorer = Restorer(backend, Settings(tone="keep"))
    evaluation = evaluate(
        lambda frame: restorer.restore(frame).frame,
        [folder],
        VALIDATION_TASKS,
        VALIDATION_PICTURES,
        VALIDATION_CROP,
    )
    psnr = {mean.task: mean.restored.psnr_after_fit for mean in evaluation.means()}
    score = float(np.mean([min(value, CLEAN_CEILING) for value in psnr.values()]))
    return {"score": score, "psnr_after_fit": psnr}


def _write_grid(
    path: Path,
    state: State,
    pyramids: Sequence[Pyramid],
    config: TrainConfig,
    device: torch.device,
) -> None:
    """A picture to look at: rows of degraded, restored and clean, the same crops every time."""
    import torch

    degraded, clean = _batch(pyramids, config, np.random.default_rng(config.seed))
    with torch.inference_mode():
        restored = state.average.eval()(degraded.to(device)).cpu()
    columns = torch.cat([degraded, restored, clean], 3).mean(1)[:GRID_ROWS].clamp(0, 1)
    path.parent.mkdir(exist_ok=True)
    values = columns.reshape(-1, columns.shape[2]).numpy() * np.float32(255)
    write_frame(Frame(values, np.dtype(np.uint8)), path)


def _autocast(config: TrainConfig, device: torch.device) -> Callable[[], Any]:
    """bfloat16 autocast, or nothing, as the configuration and the hardware say."""
    import torch

    fast = device.type == "cuda" or hardware.has_bfloat16()
    lower = config.precision == "bfloat16" or (config.precision == "auto" and fast)
    return lambda: torch.autocast(device.type, torch.bfloat16, enabled=lower)
