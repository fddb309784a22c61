"""What the adversary is worth: the same training with and without it, at equal steps and time.

`python -m deal_cli.jobs.experiments.adversary docs/experiments/adversary --data train50 --clean
val20 test14` trains every configuration of the folder, on all pictures and on twenty, once for as
many steps as it says and once for as much processor time as `adversarial.toml` took, and writes the
tables of the page beside the folder. What is finished already is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deal_cli.config import TrainConfig
from deal_cli.engine.backends.choice import Request
from deal_cli.engine.restorer import Settings, open_restorer
from deal_cli.imaging.files import PICTURE_SUFFIXES
from deal_cli.jobs.evaluate.run import evaluate, methods_of
from deal_cli.jobs.experiments.attack import attack_table, transfer_table
from deal_cli.jobs.protocol.benchmark_page import commit_of, describe_machine, write_section
from deal_cli.jobs.protocol.cases import Selection, evenly_spaced
from deal_cli.jobs.train.views import VALIDATION_TASKS
from deal_cli.mapping import load_toml

REFERENCE = "adversarial"  # whose processor time the others get as well


@dataclass(frozen=True)
class Arm:
    """One training of the experiment."""

    name: str
    pictures: int
    seed: int
    steps: int
    equal: str  # "steps" or "time"

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.pictures}-{self.equal}-{self.seed}"


@dataclass(frozen=True)
class Experiment:
    """Where everything is."""

    configs: Path
    data: Path
    clean: Sequence[Path]
    out: Path

    def run(self, arm: Arm) -> float:
        """Train one arm, or go on with it, on one thread; its processor seconds."""
        run, note = self.out / arm.folder, self.out / f"{arm.folder}.json"
        if note.is_file():
            return float(json.loads(note.read_text(encoding="utf-8"))["seconds"])
        if run.exists():
            # Its time would be wrong if it were resumed.
            run.rename(run.with_suffix(f".{os.getpid()}.unfinished"))
        command = [sys.executable, "-m", "deal_cli", "train", "--init", "none", "-o", str(run)]
        command += ["--data", str(self._pictures(arm.pictures)), "--val", str(self.clean[0])]
        command += ["--config", str(self.configs / f"{arm.name}.toml"), "--seed", str(arm.seed)]
        command += ["--budget", f"{arm.steps}steps", "--backend", "cpu"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            raise SystemExit(f"{arm.folder}: {said}")
        seconds = usage.ru_utime + usage.ru_stime
        made = {"seconds": seconds, "steps": arm.steps, "commit": commit_of(Path())}
        note.write_text(json.dumps(made), encoding="utf-8")
        return seconds

    def commits(self, arms: Iterable[Arm]) -> str:
        """The commits that the arms were trained on."""
        notes = (self.out / f"{arm.folder}.json" for arm in arms)
        made = (json.loads(note.read_text(encoding="utf-8"))["commit"] for note in notes)
        return ", ".join(f"`{commit}`" for commit in dict.fromkeys(made))

    def _pictures(self, count: int) -> Path:
        """The folder of all pictures, or one of links to some, evenly spaced."""
        paths = sorted(p for p in self.data.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
        if count >= len(paths):
            return self.data
        folder = self.out / f"pictures-{count}"
        folder.mkdir(exist_ok=True)
        for path in evenly_spaced(paths, count):
            if not (folder / path.name).exists():
                (folder / path.name).symlink_to(path.absolute())
        return folder

    def scores(self, arm: Arm) -> dict[str, float]:
        """PSNR in dB of each task after the best gain and offset, of the newest weights."""
        note = self.out / f"{arm.folder}.scores.json"
        if not note.is_file():
            weights = str(self.out / arm.folder / "last" / "enhancer.safetensors")
            restorer, _ = open_restorer(Request("cpu", weights), Settings(tone="keep"))
            selection = Selection(tuple(self.clean), tasks=VALIDATION_TASKS)
            _, ours = methods_of(restorer, baselines=False)
            means = evaluate([ours], selection).means
            scores = {mean.task: mean.scores["psnr_after_fit"].mean for mean in means}
            note.write_text(json.dumps(scores), encoding="utf-8")
        table: dict[str, float] = json.loads(note.read_text(encoding="utf-8"))
        return table


def train_all(
    experiment: Experiment, names: Sequence[str], sizes: Sequence[int], seeds: Sequence[int]
) -> tuple[list[Arm], dict[Arm, float]]:
    """Every arm at equal steps, then those that had less time at equal time."""
    steps = {
        name: load_toml(TrainConfig, experiment.configs / f"{name}.toml").steps for name in names
    }
    arms = [
        Arm(name, size, seed, steps[name], "steps")
        for size in sizes
        for seed in (seeds if size == max(sizes) else seeds[:1])
        for name in names
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        seconds = dict(zip(arms, pool.map(experiment.run, arms), strict=True))
        more = []
        for arm in arms:
            whole = seconds[replace(arm, name=REFERENCE, steps=steps[REFERENCE])]
            if arm.name != REFERENCE:
                longer = round(arm.steps * whole / seconds[arm])
                more.append(replace(arm, steps=longer, equal="time"))
        seconds |= dict(zip(more, pool.map(experiment.run, more), strict=True))
    return arms + more, seconds


# White-box attacks -------------------------------------------------------------------------------


def attacked(experiment: Experiment, arms: Sequence[Arm]) -> list[list[float]]:
    """PSNR in dB of each arm's enhancer under an attack learnt on each arm's enhancer."""
    note = experiment.out / f"{arms[0].pictures}-attacks.json"
    if not note.is_file():
        config = load_toml(TrainConfig, experiment.configs / f"{REFERENCE}.toml")
        files = [str(experiment.out / arm.folder / "last" / "enhancer.safetensors") for arm in arms]
        made = attack_table(files, config, experiment.data, experiment.clean)
        note.write_text(json.dumps(made), encoding="utf-8")
    table: list[list[float]] = json.loads(note.read_text(encoding="utf-8"))
    return table


# Tables ------------------------------------------------------------------------------------------


def task_table(experiment: Experiment, arms: Sequence[Arm], seconds: dict[Arm, float]) -> str:
    """Mean over seeds of every task, their mean and the worst, with the spread over seeds."""
    tasks = [task for task in VALIDATION_TASKS if task != "clean"]
    lines = [
        f"| training | steps | minutes | mean | worst | clean | {' | '.join(tasks)} |",
        f"|---{'|---:' * (5 + len(tasks))}|",
    ]
    for name in dict.fromkeys(arm.name for arm in arms):
        same = [arm for arm in arms if arm.name == name]
        rows = [experiment.scores(arm) for arm in same]
        means = [float(np.mean([row[task] for task in tasks])) for row in rows]
        worst = [min(row[task] for task in tasks) for row in rows]
        cells = [_spread([row[task] for row in rows]) for task in ("clean", *tasks)]
        steps = round(float(np.mean([arm.steps for arm in same])))
        minutes = float(np.mean([seconds[arm] for arm in same])) / 60
        head = [name, str(steps), f"{minutes:.1f}", _spread(means), _spread(worst)]
        lines.append(f"| {' | '.join([*head, *cells])} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    """The mean, and half the range over seeds where there are several."""
    half = (max(values) - min(values)) / 2
    return f"{np.mean(values):.2f}" + (f" ±{half:.2f}" if len(values) > 1 else "")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("configs", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--clean", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/adversary"))
    parser.add_argument("--few", type=int, default=[20], nargs="*", help="smaller sets")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    given = parser.parse_args(arguments)
    experiment = Experiment(given.configs, given.data, given.clean, given.out)
    given.out.mkdir(parents=True, exist_ok=True)
    names = sorted(path.stem for path in given.configs.glob("*.toml"))
    every = sum(path.suffix.lower() in PICTURE_SUFFIXES for path in given.data.iterdir())
    sizes = [every, *(few for few in given.few if few < every)]
    arms, seconds = train_all(experiment, names, sizes, given.seeds)
    page = given.configs.with_suffix(".md")
    command = (
        f"python -m deal_cli.jobs.experiments.adversary {given.configs} --data {given.data.name}"
    )
    command += f" --clean {' '.join(folder.name for folder in given.clean)}"
    command += f" --few {' '.join(map(str, given.few))}".rstrip()
    command += f" --seeds {' '.join(map(str, given.seeds))}"
    for size in sizes:
        same = [arm for arm in arms if arm.pictures == size]
        origin = f"- Machine: {describe_machine()}; one thread a training\n"
        origin += f"- Commit: {experiment.commits(same)}\n- Command: `{command}`"
        for equal in ("steps", "time"):
            chosen = [arm for arm in same if arm.equal == equal or arm.name == REFERENCE]
            table = task_table(experiment, chosen, seconds)
            write_section(page, f"{size}-{equal}", f"{table}\n\n{origin}")
        chosen = [arm for arm in same if (arm.equal, arm.seed) == ("steps", given.seeds[0])]
        table = transfer_table([arm.name for arm in chosen], attacked(experiment, chosen))
        write_section(page, f"{size}-attacks", f"{table}\n\n{origin}")


if __name__ == "__main__":
    main()
