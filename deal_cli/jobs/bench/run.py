"""Time the network on this machine, and set it against what the machine can do at best.

What is timed is `Backend.run`, from memory to memory, on the very batches of tiles that the
restorer makes of some pictures; pictures above a tile are therefore cut, with halos, as a user's
are. What the restorer does around it (range, gaps, cutting, the source's own numbers) is the same
for every backend and left out: half a millisecond for 320 x 256 on a core where the network takes
two hundred, but a share that grows with the speed of the backend.

Every backend has a process of its own, and its rows go from small to large, so that the peak of
memory in a row is not that of a larger one, nor of another backend.
"""

from __future__ import annotations

import dataclasses
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from numpy.random import Generator

from deal_cli.config import MAX_PIXELS
from deal_cli.engine.backends.ceilings import measure_ceilings
from deal_cli.engine.backends.choice import Choice, Purpose, Request, choose, open_backend
from deal_cli.engine.backends.contract import Backend, Batch, Facts, OutOfMemoryError
from deal_cli.engine.backends.measuring import peak_memory, repeat
from deal_cli.engine.restorer import Restorer, Settings
from deal_cli.errors import BackendError, ExitCode, UsageError
from deal_cli.imaging.frame import Frame
from deal_cli.jobs.bench.table import Row
from deal_cli.networks import NetworkConfig

SIZES = ((320, 256), (640, 512), (1280, 1024))  # width, height
BATCHES = (1, 8)
LEAST_EDGE = 16  # pixels
GRAIN = 32  # pixels of a scene's largest shapes
NOISE = 0.03  # of the range

Say = Callable[[str], None]


@dataclass(frozen=True)
class BenchRequest:
    """What to time.

    Attributes:
        request: the backend, "all" for every one that this machine has, and the weights.
        size: width and height of the pictures; None for all of `SIZES`.
        batch: pictures of a batch; None for all of `BATCHES`.
    """

    request: Request
    size: tuple[int, int] | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"a batch of {self.batch} pictures", remedy="give --batch 1 or more")

    def loads(self, only: tuple[int, int] | None = None) -> list[tuple[int, int, int]]:
        """Width, height and batch of every row, from few pixels to many.

        A graph for pictures of one height and width `only` is timed with those, unless asked.
        """
        size = self.size or (only and (only[1], only[0]))
        sizes = SIZES if size is None else (size,)
        batches = BATCHES if self.batch is None else (self.batch,)
        loads = [(*size, batch) for size in sizes for batch in batches]
        return sorted(loads, key=lambda load: (load[0] * load[1] * load[2], load))


@dataclass(frozen=True)
class Bench:
    """The rows that could be had, and whether those are all."""

    rows: tuple[Row, ...]
    complete: bool


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of `640x512`.

    Raises:
        UsageError: it is no size, smaller than 16 pixels, or larger than any picture may be.
    """
    match = re.fullmatch("([0-9]{1,9})[xX]([0-9]{1,9})", text)
    remedy = "--size takes WIDTHxHEIGHT, such as 640x512"
    if match is None:
        raise UsageError(f"'{text}' is no size", remedy=remedy)
    width, height = int(match[1]), int(match[2])
    if min(width, height) < LEAST_EDGE:
        raise UsageError(f"'{text}' is smaller than {LEAST_EDGE} pixels", remedy=remedy)
    if width * height > MAX_PIXELS:
        raise UsageError(f"'{text}' is more than {MAX_PIXELS / 1e6:g} megapixels", remedy=remedy)
    return width, height


def bench(request: BenchRequest, say: Say) -> Bench:
    """Time every load on the backends asked for; `say` gets the facts, a line each.

    Raises:
        BackendError: a backend asked for by name cannot be had, or none can.
        WeightsError: the weights are missing, damaged or of another kind.
    """
    asked = request.request
    if asked.backend != "all":
        return _bench_one(request, choose(asked, Purpose.INFERENCE), say)
    _network_config(asked.weights)  # an error of theirs is told once
    choices = []
    for name in ("cuda", "onnx", "cpu"):
        try:
            choices.append(choose(Request(name, asked.weights), Purpose.INFERENCE))
        except BackendError as error:
            say(f"deal: {name} backend left out: {error.cause}")
    if len(choices) == 1:
        return _bench_one(request, choices[0], say)
    parts = [_bench_apart(request, choice.kind, say) for choice in choices]
    rows = tuple(row for part in parts for row in part.rows)
    if not rows:
        raise BackendError("no backend could be timed", remedy="see the lines above")
    return Bench(rows, all(part.complete for part in parts))


def _bench_apart(request: BenchRequest, backend: str, say: Say) -> Bench:
    """The rows of one backend, from a process of its own, which tells its facts itself."""
    arguments = ["--backend", backend, "--weights", request.request.weights, "--json"]
    if request.size is not None:
        arguments += ["--size", "{}x{}".format(*request.size)]
    if request.batch is not None:
        arguments += ["--batch", str(request.batch)]
    # -P: what lies in the working folder is not to be imported.
    command = [sys.executable, "-P", "-m", "deal_cli", "bench", *arguments]
    result = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=False)
    if result.returncode == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if result.returncode < 0:
        say(f"deal: {backend} backend: ended by signal {-result.returncode}, its rows are lost")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return Bench(
        tuple(Row(**{**row, "spread": tuple(row["spread"])}) for row in rows),
        result.returncode == ExitCode.OK,
    )


def _bench_one(request: BenchRequest, choice: Choice, say: Say) -> Bench:
    """The rows of one backend, in this process; ceilings last, for they take memory too."""
    weights = request.request.weights
    backend = open_backend(choice, Request(choice.kind, weights))
    facts, config = backend.facts, _network_config(weights)
    say(
        f"deal: {facts.backend} backend ({choice.reason}): {facts.device}, {facts.precision}"
        f" ({facts.note}), weights {facts.weights} {facts.sha256[:12]}"
    )
    device = _device(facts, choice)
    loads, rows = request.loads(facts.only), []
    for load in loads:
        name = "{}x{}, batch {}".format(*load)
        try:
            rows.append(_time(backend, config, load, device))
        except OutOfMemoryError:
            say(f"deal: {facts.backend} backend: {name}: out of memory, left out")
        else:
            say(f"deal: {facts.backend} backend: {name}: {rows[-1].images_per_second:.3g} a second")
    return Bench(tuple(_judge(rows, device, say)), len(rows) == len(loads))


def _time(
    backend: Backend,
    config: NetworkConfig,
    load: tuple[int, int, int],
    device: torch.device | None,
) -> Row:
    """One row, without its ceilings."""
    from deal_cli.model.cost import network_cost
    from deal_cli.networks import input_edge

    width, height, batch = load
    facts, rng = backend.facts, np.random.default_rng(0)
    cuda = facts.backend == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)

    def work(parts: list[Batch]) -> None:
        for part in parts:
            backend.run(part)

    def prepare() -> list[Batch]:
        return _fed(facts, [random_scene(rng, height, width) for _ in range(batch)])

    taken = repeat(prepare, work)
    least, stride = input_edge(config), config.stride
    tall, wide = (-(-max(edge, least) // stride) * stride for edge in (height, width))
    cost = network_cost(config, tall, wide)
    median = statistics.median(taken) / batch
    if cuda:
        peak: int | None = torch.cuda.max_memory_allocated(device)
    else:
        peak = None if device is None or device.type == "cuda" else peak_memory()
    return Row(
        backend=facts.backend,
        device=facts.device,
        precision=facts.precision,
        weights=facts.weights,
        weights_sha256=facts.sha256,
        height=height,
        width=width,
        batch=batch,
        repeats=len(taken),
        seconds_per_image=median,
        spread=(min(taken) / batch, max(taken) / batch),
        images_per_second=1 / median,
        peak_memory_bytes=peak,
        gmacs=cost.macs / 1e9,
        gigabytes=cost.traffic(getattr(torch, facts.precision).itemsize, batch) / 1e9,
    )


def _judge(rows: Sequence[Row], device: torch.device | None, say: Say) -> Sequence[Row]:
    """The rows with the ceilings of the device, where torch reaches it."""
    if device is None or not rows:
        return rows
    ceilings = measure_ceilings(device)
    say(f"deal: ceilings of this machine: {ceilings}")
    best, copy = ceilings.best(rows[0].precision), ceilings.copy / 1e9
    if best is None:  # ONNX Runtime runs float16 where no hardware multiplies it
        return [dataclasses.replace(row, ceiling_gigabytes_per_second=copy) for row in rows]
    return [
        dataclasses.replace(
            row,
            ceiling_gmacs_per_second=best / 1e9,
            ceiling_gigabytes_per_second=copy,
            fraction_of_ceiling=1e9 * row.gmacs / row.seconds_per_image / best,
        )
        for row in rows
    ]


def _device(facts: Facts, choice: Choice) -> torch.device | None:
    """Where a backend computes, as torch names it; None where torch does not reach it."""
    if facts.backend != "onnx":
        return choice.torch_device()
    if facts.device == "CPUExecutionProvider":
        return torch.device("cpu")
    return torch.device("cuda", 0) if torch.cuda.is_available() else None


def _network_config(weights: str) -> NetworkConfig:
    """The sizes of the network in a weight file of either kind."""
    from deal_cli.model.onnx_facts import facts_of
    from deal_cli.model.weights import find, load_enhancer, network_config

    if Path(weights).suffix != ".onnx":
        return load_enhancer(weights).config
    file = find(weights, ".onnx")
    return network_config(facts_of(file.path.read_bytes(), file.path)["config"])


@final
class _Recorder(Backend):
    """Keeps what the restorer feeds a backend, and restores nothing."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self.fed: list[Batch] = []

    def run(self, x: Batch, whole: Batch | None = None) -> Batch:
        self.fed.append(x)
        return x


def _fed(facts: Facts, frames: Sequence[Frame]) -> list[Batch]:
    """The batches that a backend gets from the restorer for pictures of one size."""
    recorder = _Recorder(facts)
    Restorer(recorder, Settings(tone="keep")).restore_batch(frames)
    return recorder.fed


def random_scene(rng: Generator, height: int, width: int) -> Frame:
    """A smooth random 8-bit scene with noise: numbers that are never alike, as a camera's."""
    import cv2

    coarse = rng.random((height // GRAIN + 2, width // GRAIN + 2), np.float32)
    scene = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    scene = scene + NOISE * rng.standard_normal(scene.shape, np.float32)
    values = np.rint(255 * np.clip(scene, 0, 1)).astype(np.float32)
    return Frame(values, np.dtype(np.uint8))
