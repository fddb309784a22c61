"""The backends beside the paper's network as one would first write it, in turn, on this machine.

`python -m deal_cli.jobs.experiments.paired docs/benchmarks.md` times one picture on each, round by
round, so that what slows the machine for a while slows all of them, and writes the section `paired`
of the page. Each has a process of its own, as a user would have. The plain network computes in
float32 on whole tensors of shape (time, batch, channels, height, width), one spiking step after
another, with its batch norms unfolded.
"""

from __future__ import annotations

import multiprocessing
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import product
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from deal_cli.engine.backends import hardware
from deal_cli.engine.backends.choice import Choice, Request, open_backend
from deal_cli.jobs.bench.run import random_scene
from deal_cli.jobs.protocol.benchmark_page import commit_of, describe_machine, write_section
from deal_cli.model.gauge import Setting
from deal_cli.model.network import CEILING, DECAY, UNSET, Enhancer, SpikingSeparation
from deal_cli.networks import NETWORKS

HEIGHT, WIDTH = 512, 640
ROUNDS = 9
PAUSE = 0.5  # seconds, in which the threads of the last one go to sleep
PLAIN = "plain paper network"

Picture = NDArray[np.float32]  # (1, 1, H, W) in [0, 1]
Run = Callable[[Picture], object]
Timed = Callable[[Picture, Picture], float]  # seconds of the second, after the first


class UnrolledSeparation(nn.Module):
    """An SSM whose neurons keep every time step, and whose 1 x 1 convolution runs on each."""

    def __init__(self, module: SpikingSeparation) -> None:
        super().__init__()
        self.exchange, self.mix, self.norm = module.exchange, module.mix, module.norm
        self.time_steps = module.time_steps

    def forward(self, h: Tensor, r: Tensor, setting: Setting = UNSET) -> tuple[Tensor, Tensor]:
        """Paths `(h, r)`, each `(B, width, H, W)`, to the next `(h, r)`."""
        d, r = self.exchange(h, r, setting)
        inputs = d.unsqueeze(0).repeat(self.time_steps, 1, 1, 1, 1)
        spikes = torch.zeros_like(inputs)
        membrane = spike = torch.zeros_like(d)
        for step in range(self.time_steps):
            membrane = DECAY * (membrane - spike) + inputs[step]
            spike = torch.round(torch.clamp(membrane, 0.0, CEILING))
            spikes[step] = spike
        steps = self.norm(self.mix(spikes.flatten(0, 1)))
        return F.relu(steps.unflatten(0, (self.time_steps, -1)).mean(0) + h), r


def plain_network() -> Enhancer:
    """The published network, unrolled, with random weights: `(B, 3, H, W)` to the same."""
    network = Enhancer(NETWORKS["paper"]).eval()
    for at, block in enumerate(network.blocks):
        if isinstance(block, SpikingSeparation):
            network.blocks[at] = UnrolledSeparation(block)
    return network


def open_run(weights: str, backend: str) -> tuple[str, Run]:
    """The name of a contender, and what restores a picture with it."""
    if weights == PLAIN:
        network = plain_network()

        def plain(x: Picture) -> object:
            with torch.inference_mode():
                return network(torch.from_numpy(x).expand(-1, 3, -1, -1)).numpy()

        torch.set_num_threads(hardware.threads())
        return PLAIN, plain
    opened = open_backend(Choice(backend, 0, "paired"), Request(backend, weights))
    return f"{weights}, {backend}, {opened.facts.precision}", opened.run


def serve(weights: str, backend: str, parent: Connection) -> None:
    """A contender's process: two pictures in, the seconds of the second out, until it is told."""
    name, run = open_run(weights, backend)
    parent.send(name)
    while (pair := parent.recv()) is not None:
        run(pair[0])
        started = time.perf_counter()
        run(pair[1])
        parent.send(time.perf_counter() - started)


@contextmanager
def contenders() -> Iterator[dict[str, Timed]]:
    """What is timed, each in a process, by name."""
    context, runs, ends = multiprocessing.get_context("spawn"), dict[str, Timed](), []
    for weights, backend in ((PLAIN, ""), *product(("deal", "deal-fast"), ("cpu", "onnx"))):
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(weights, backend, there), daemon=True)
        process.start()
        runs[here.recv()] = partial(_ask, here)
        ends.append((here, process))
    try:
        yield runs
    finally:
        for here, process in ends:
            here.send(None)
            process.join()


def _ask(worker: Connection, first: Picture, second: Picture) -> float:
    time.sleep(PAUSE)
    worker.send((first, second))
    return float(worker.recv())


def time_in_turn(
    runs: Mapping[str, Timed], rounds: int, size: tuple[int, int]
) -> dict[str, list[float]]:
    """Seconds of each run in each round, on fresh pictures of a height and width."""
    rng = np.random.default_rng(0)
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):  # the first warms up
        for name, run in runs.items():
            pair = [random_scene(rng, *size).values[None, None] / np.float32(255) for _ in "ab"]
            seconds = run(*pair)
            if turn:
                taken[name].append(seconds)
    return taken


def table(taken: Mapping[str, Sequence[float]]) -> str:
    """Milliseconds and pictures a second, and how often the plain network's time holds each."""
    lines = ["| network | ms a picture | a second | times faster |", "|---|---:|---:|---:|"]
    for name, seconds in taken.items():
        median = statistics.median(seconds)
        ratios = [a / b for a, b in zip(taken[PLAIN], seconds, strict=True)]
        lines.append(
            f"| {name} | {1e3 * median:.0f} ({1e3 * min(seconds):.0f}–{1e3 * max(seconds):.0f})"
            f" | {1 / median:.3g} | {statistics.median(ratios):.1f} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Time all, and write the page that is named, or tell the table where none is."""
    with contenders() as runs:
        text = table(time_in_turn(runs, ROUNDS, (HEIGHT, WIDTH)))
    if not arguments:
        sys.stdout.write(text + "\n")
        return
    explanation = (
        f"One picture of {WIDTH}x{HEIGHT} at a time, in turn, {ROUNDS} rounds: medians, and the"
        " least to the most in brackets; *times faster* is the median of the rounds' ratios."
    )
    command = shlex.join(["python", "-m", "deal_cli.jobs.experiments.paired", *arguments])
    origin = (
        f"- Machine: {describe_machine()}",
        f"- Commit: `{commit_of(Path())}`",
        f"- Command: `{command}`",
    )
    parts = ("## Beside the paper's network", explanation, text, "\n".join(origin))
    write_section(Path(arguments[0]), "paired", "\n\n".join(parts))


if __name__ == "__main__":
    main(sys.argv[1:])
