"""Kill a run of `deal restore` at any moment and see that nothing is lost, half or done twice.

    python tests/faults/kill.py --kills 100 --seed 1

A tree of small pictures is restored once in peace, which gives the reference. Then again and
again into an empty folder, killed at a random moment and begun anew until it ends by itself.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import read_frame, write_frame
from deal_cli.imaging.frame import Frame
from deal_cli.networks import BlockConfig, NetworkConfig

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("", "Überflug 2", "deep/in the north")
KINDS = ((".png", "uint8"), (".tif", "uint16"), (".tif", "float32"), (".jpg", "uint8"))
KINDS += ((".png", "uint16"), (".bmp", "uint8"), (".npy", "float32"))
ANYWHERE = 0.25  # share of the kills that fall anywhere; the rest follow a finished file
STUBBORN = 0.25  # share of the resumed runs that are killed as well
PATIENCE = 120  # seconds


class LossError(Exception):
    """A file that is lost, half, done twice or left behind."""


@dataclass
class Tally:
    """What the kills met.

    Attributes:
        finished: files that were whole in the output folder at each kill, in order.
        remains: kills after which a temporary file lay about, for the next run to remove.
        too_late: runs that ended before their moment came.
    """

    finished: list[int] = field(default_factory=list)
    remains: int = 0
    too_late: int = 0

    def report(self, total: int) -> str:
        """The figures, a line each."""
        at_work = sum(0 < n < total for n in self.finished)
        kills = (
            f"{len(self.finished)} kills: {self.finished.count(0)} in start-up, {at_work} at work,"
            f" {self.finished.count(total)} after the last file;"
            f" {self.too_late} runs ended before theirs"
        )
        lines = [
            kills,
            f"{self.remains} kills left a temporary file, which the next run removed",
            f"finished of {total} at each: {' '.join(map(str, self.finished))}",
        ]
        return "\n".join(lines)


class Scene:
    """A tree of pictures, tiny weights, and what a run in peace makes of them."""

    def __init__(self, folder: Path, pictures: int) -> None:
        self.source, self.out = folder / "in", folder / "out"
        self._weights = folder / "tiny.safetensors"
        _draw(self.source, pictures)
        _save_weights(self._weights)
        self._before = _states(self.source)
        self.start().wait_well()  # what is not yet in the system's memory takes its time once
        shutil.rmtree(self.out)
        began = time.time()
        self.start().wait_well()
        self.seconds = time.time() - began
        self.reference = {name: read_frame(self.out / name) for name in _states(self.out)}
        names = {str(path) for path in self._before}
        if {str(path) for path in self.reference} != names:
            raise LossError(f"a run in peace makes {len(self.reference)} of {len(names)} files")
        shutil.rmtree(self.out)

    def kill(self, rng: random.Random) -> bool:
        """Begin a run and kill it; whether it was still running at that moment.

        The moment is any of its lifetime, or shortly after any of its files was finished: how
        long a start takes varies by more than the work lasts.
        """
        run = self.start()
        if rng.random() < ANYWHERE:
            return run.kill_after(rng.uniform(0, 1.05) * self.seconds)
        wanted = rng.randrange(len(self.reference))
        while run.is_running() and self._count() < wanted:
            time.sleep(0.002)
        return run.kill_after(rng.uniform(0, 3 * self.seconds / len(self.reference)))

    def _count(self) -> int:
        """Finished files; folders that appear meanwhile are a matter for the next look."""
        return sum(not p.name.startswith(".") and p.suffix != "" for p in self.out.rglob("*"))

    def start(self) -> Run:
        """Begin a run over the whole tree."""
        return Run(["-r", str(self.source), "-o", str(self.out), "--weights", str(self._weights)])

    def check_finished(self) -> dict[Path, tuple[int, int]]:
        """Every file that is there is whole and what it should be; their inodes and times."""
        found = {p: s for p, s in _states(self.out).items() if not p.name.startswith(".")}
        for name in found:
            if name not in self.reference:
                raise LossError(f"{name} was never asked for")
            frame, expected = read_frame(self.out / name), self.reference[name]
            if frame.dtype != expected.dtype or not np.array_equal(
                frame.values, expected.values, equal_nan=True
            ):
                raise LossError(f"{name} is another picture than in peace")
        return found

    def check_ended(self, finished: dict[Path, tuple[int, int]]) -> None:
        """All is there, nothing besides, and what was finished before has not been touched."""
        found = _states(self.out)
        if set(found) != set(self.reference):
            raise LossError(f"lost or left: {sorted(set(found) ^ set(self.reference))}")
        self.check_finished()
        twice = [name for name, state in finished.items() if found[name] != state]
        if twice:
            raise LossError(f"done twice: {twice}")
        if _states(self.source) != self._before:
            raise LossError("the inputs have changed")


class Run:
    """One `deal restore` in a process group of its own."""

    def __init__(self, arguments: Sequence[str]) -> None:
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        command = [sys.executable, "-m", "deal_cli", "restore", *arguments]
        self._process = subprocess.Popen(
            [*command, "--tone", "keep", "--backend", "cpu"],
            env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def kill_after(self, seconds: float) -> bool:
        """Whether it was still running then, and is no more."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
            return True
        self._check_end()
        return False

    def wait_well(self) -> None:
        """Until it has ended by itself, with exit code 0."""
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired as error:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise LossError(f"does not end within {PATIENCE} s") from error
        self._check_end()

    def _check_end(self) -> None:
        said = self._process.communicate()[0].decode("utf-8", "replace")
        if self._process.returncode != 0:
            raise LossError(f"exit code {self._process.returncode}: {said[-500:]}")


def run(kills: int, seed: int, folder: Path, pictures: int = 50) -> tuple[Tally, Scene]:
    """Kill and begin anew until there were that many kills.

    Raises:
        LossError: the first thing that is wrong; the folder shows it.
    """
    rng = random.Random(seed)
    scene = Scene(folder, pictures)
    tally = Tally()
    while len(tally.finished) < kills:
        finished: dict[Path, tuple[int, int]] = {}
        while True:
            before = finished
            if not scene.kill(rng):
                tally.too_late += 1
                break
            finished = scene.check_finished()
            if any(finished.get(name) != state for name, state in before.items()):
                raise LossError("done twice before a second kill")
            tally.finished.append(len(finished))
            tally.remains += any(p.name.startswith(".") for p in _states(scene.out))
            if rng.random() > STUBBORN or len(tally.finished) >= kills:
                scene.start().wait_well()
                break
        scene.check_ended(finished)
        shutil.rmtree(scene.out)
    return tally, scene


def _draw(folder: Path, pictures: int) -> None:
    rng = np.random.default_rng(0)
    for i in range(pictures):
        below = folder / FOLDERS[i % len(FOLDERS)]
        below.mkdir(parents=True, exist_ok=True)
        suffix, dtype = KINDS[i % len(KINDS)]
        scene = draw_scene(i, 288, 384, "uint16" if dtype != "uint8" else "uint8")
        noisy = np.rint(scene.values + rng.normal(0, 3, scene.values.shape)).astype(np.float32)
        noisy = np.clip(noisy, 0, 255 if dtype == "uint8" else 65535)
        values = noisy / np.float32(100) if dtype == "float32" else noisy
        write_frame(
            Frame(values, np.dtype(dtype)), below / f"Bild {i} côté {'é' * (i % 3)}{suffix}"
        )


def _save_weights(path: Path) -> None:
    import torch

    from deal_cli.model.network import Enhancer
    from deal_cli.model.weights import save_enhancer

    torch.manual_seed(0)
    config = NetworkConfig(width=4, blocks=(BlockConfig("stm", 3, 3),))
    network = Enhancer(config)
    torch.nn.init.normal_(network.head[2].weight, std=0.05)  # its correction is not zero
    save_enhancer(path, network.state_dict(), config, {})


def _states(folder: Path) -> dict[Path, tuple[int, int]]:
    """Inode and time of every file in a tree, by its path below the folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    stats = {path.relative_to(folder): path.stat() for path in files}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


def main() -> int:
    """Run by hand: 0 when nothing was lost, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=50)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="deal-kill-"))
    try:
        tally, scene = run(asked.kills, asked.seed, folder, asked.pictures)
    except LossError as error:
        print(f"{error}\nsee {folder}")
        return 1
    print(f"a run in peace takes {scene.seconds:.1f} s")
    print(tally.report(len(scene.reference)))
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
