"""Many small files in one run: does memory stay flat, and does the network wait for the disk?

    python tests/faults/many.py --files 10000 --size 160x120

Draws the files, restores them with one `deal restore --json`, reads the memory of that process as
its rows come, and compares its rate with the network's own, taken in this process before and after
on batches of the same size from memory. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from deal_cli.engine.backends.choice import Request  # noqa: E402
from deal_cli.engine.restorer import Settings, open_restorer  # noqa: E402
from deal_cli.imaging.drawn.scenes import draw_scene  # noqa: E402
from deal_cli.imaging.files import encode  # noqa: E402

MIB = 2**20
SCENES = 16  # different ones; the files repeat them


@dataclass(frozen=True)
class Run:
    """What one restoration took: MiB by files done, and pictures a second after start-up."""

    memory: dict[int, float]
    peak: float
    rate: float


def fill(folder: Path, files: int, height: int, width: int) -> None:
    """Write `files` noisy scenes, 8-bit PNG."""
    rng = np.random.default_rng(0)
    pictures = []
    for seed in range(SCENES):
        scene = draw_scene(seed, height, width)
        scene.values[...] = np.clip(scene.values + rng.normal(0, 8, scene.values.shape), 0, 255)
        pictures.append(encode(scene, ".png"))
    for number in range(files):
        (folder / f"frame{number}.png").write_bytes(pictures[number % SCENES])


def restore(source: Path, target: Path, marks: set[int], request: Request) -> Run:
    """Run `deal restore` and watch it."""
    command = [sys.executable, "-m", "deal_cli", "restore", source, "-o", target, "--json", "-q"]
    command += ["--weights", request.weights, "--backend", request.backend]
    process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    settle, memory, started, done = min(marks), dict[int, float](), 0.0, 0
    for done, line in enumerate(process.stdout, 1):
        row = json.loads(line)
        assert row["status"] == "restored", row
        if done == settle:
            started = time.perf_counter()
        if done in marks:
            memory[done] = _status(process.pid, "VmRSS")
            peak = _status(process.pid, "VmHWM")
    finished = time.perf_counter()
    assert process.wait() == 0
    return Run(memory, peak, (done - settle) / (finished - started))


def network_rate(height: int, width: int, request: Request, seconds: float = 10) -> float:
    """Pictures a second of the network alone, from memory to memory, in the restorer's batches."""
    restorer, _ = open_restorer(request, Settings(tone="keep"))
    batch = restorer.capacity(height, width)
    pictures = np.random.default_rng(0).random((batch, 1, height, width), np.float32)
    restorer.backend.run(pictures)
    started, runs = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        restorer.backend.run(pictures)
        runs += 1
    return runs * batch / (time.perf_counter() - started)


def _status(pid: int, key: str) -> float:
    """A figure of /proc/PID/status in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024 / MIB
    raise KeyError(key)


def main() -> None:
    """Print memory by files, the rates, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--size", default="160x120", help="WIDTHxHEIGHT")
    parser.add_argument("--weights", default="deal")
    parser.add_argument("--backend", default="auto")
    options = parser.parse_args()
    request = Request(options.backend, options.weights)
    width, height = map(int, options.size.split("x"))
    settle = max(1, min(100, options.files // 5))  # files after which start-up is over
    marks = {settle, *range(1000, options.files, 1000), options.files - 1}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in"), Path(folder, "out")
        source.mkdir()
        fill(source, options.files, height, width)
        before = network_rate(height, width, request)
        run = restore(source, target, marks, request)
        after = network_rate(height, width, request)
        assert len(list(target.iterdir())) == options.files
        shutil.rmtree(target)
    for files, mib in run.memory.items():
        print(f"{files:6} files: {mib:.0f} MiB")
    network = (before + after) / 2
    print(f"peak {run.peak:.0f} MiB")
    print(f"restore {run.rate:.1f} a second, network {before:.1f} and {after:.1f}")
    print(f"ratio {run.rate / network:.3f}")


if __name__ == "__main__":
    main()
