"""Damage pictures by the thousand and see that each is read or refused, and nothing else.

    python tests/faults/mutate.py --count 20000 --seed 1 --keep findings

A worker process takes the cases, so that a crash, a hang or a bomb is caught, blamed on its file
and survived. The same seed gives the same files.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mutators import SUFFIXES
from seeds import seeds

ROOT = Path(__file__).resolve().parents[2]
MOST_SECONDS = 10.0  # a case
MOST_MEMORY = 2**30  # bytes, the process's own included

Case = dict[str, Any]


class Worker:
    """A process that examines one case after the other; a new one takes over when it dies."""

    def __init__(self, seed: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="deal-mutate-")
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        command = [sys.executable, str(Path(__file__).with_name("examine.py"))]
        self._process = subprocess.Popen(
            [*command, str(seed), self._folder.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        assert self._process.stdout is not None
        self._answers = selectors.DefaultSelector()
        self._answers.register(self._process.stdout, selectors.EVENT_READ)
        self._fresh = True

    def examine(self, case: Case) -> Case:
        """What became of a case; "crash" and "hang" end the worker."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        started = time.perf_counter()
        patience = MOST_SECONDS + (60 if self._fresh else 0)  # it imports and warms up first
        try:
            self._process.stdin.write((json.dumps(case) + "\n").encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            return self._died(case, started)
        if not self._answers.select(patience):
            self.stop()
            return {**case, "outcome": "hang", "seconds": patience, "peak": 0}
        line = self._process.stdout.readline()
        if not line:
            return self._died(case, started)
        self._fresh = False
        answer: Case = json.loads(line)
        if answer["peak"] > MOST_MEMORY:
            answer |= {"outcome": "fault", "detail": f"takes {answer['peak'] / 2**20:.0f} MiB"}
        elif answer["seconds"] > MOST_SECONDS:
            answer |= {"outcome": "fault", "detail": f"takes {answer['seconds']:.1f} s"}
        return answer

    def _died(self, case: Case, started: float) -> Case:
        words = self.stop().decode("utf-8", "replace")[:1000]
        detail = f"exit status {self._process.returncode} {words}"
        seconds = time.perf_counter() - started
        return {**case, "outcome": "crash", "detail": detail, "seconds": seconds, "peak": 0}

    def stop(self) -> bytes:
        """End the process, whatever it is at; its last words."""
        self._process.kill()
        self._answers.close()
        _, words = self._process.communicate()
        self._folder.cleanup()
        return words or b""


@dataclass
class Tally:
    """What became of the cases."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[Case] = field(default_factory=list)
    slowest: Case = field(default_factory=lambda: {"seconds": 0.0})
    largest: Case = field(default_factory=lambda: {"peak": 0})
    seconds: float = 0.0

    def add(self, answer: Case) -> None:
        """Count one answer."""
        name, number = answer.get("path") or answer.get("sound"), answer.get("number", 0)
        suffix = Path(name).suffix if name else SUFFIXES[number % len(SUFFIXES)]
        answer = {**answer, "suffix": suffix}
        self.outcomes[suffix, answer["outcome"]] += 1
        if answer["outcome"] not in ("read", "refused"):
            self.faults.append(answer)
        self.slowest = max(self.slowest, answer, key=lambda a: a["seconds"])
        self.largest = max(self.largest, answer, key=lambda a: a["peak"])

    def report(self) -> str:
        """The figures, a line each."""
        total = self.outcomes.total()
        lines = [f"{total} cases in {self.seconds:.0f} s"]
        for suffix in sorted({s for s, _ in self.outcomes}):
            counts = {o: n for (s, o), n in sorted(self.outcomes.items()) if s == suffix}
            lines.append(f"{suffix:5} " + "  ".join(f"{o} {n}" for o, n in counts.items()))
        lines.append(f"slowest {self.slowest['seconds']:.2f} s: {_name(self.slowest)}")
        lines.append(f"peak memory {self.largest['peak'] / 2**20:.0f} MiB: {_name(self.largest)}")
        kinds: dict[str, list[Case]] = {}
        for fault in self.faults:
            detail = re.sub(r"\d+", "N", str(fault.get("detail", "")))[:60]
            kinds.setdefault(f"{fault.get('suffix')} {fault['outcome']} {detail}", []).append(fault)
        for alike in kinds.values():
            first = min(alike, key=lambda fault: len(str(fault)))
            told = f"{first['outcome']}: {first.get('detail', '')}"
            lines.append(f"{len(alike)} like {_name(first)}: {told}")
        lines.append(f"{len(self.faults)} faults of {len(kinds)} kinds")
        return "\n".join(lines)


def run(cases: Iterable[Case], seed: int = 0, seconds: float = float("inf")) -> Tally:
    """Examine cases until they or the time run out, or somebody interrupts."""
    tally = Tally()
    started = time.monotonic()
    worker = None
    with contextlib.suppress(KeyboardInterrupt):
        for case in cases:
            if time.monotonic() - started > seconds:
                break
            worker = worker or Worker(seed)
            answer = worker.examine(case)
            tally.add(answer)
            if answer["outcome"] in ("crash", "hang"):
                worker = None
    if worker is not None:
        worker.stop()
    tally.seconds = time.monotonic() - started
    return tally


def sound() -> list[Case]:
    """The files that damage begins with, undamaged."""
    return [{"sound": name} for name in seeds()]


def _name(case: Case) -> str:
    return str(
        case.get("path")
        or case.get("sound")
        or f"case {case.get('number')}{case.get('suffix', '')}"
    )


def keep(tally: Tally, seed: int, folder: Path) -> None:
    """Write the files that were not read or refused as they should be."""
    from examine import Cases

    folder.mkdir(parents=True, exist_ok=True)
    cases = Cases(seed)
    for fault in tally.faults:
        if "sound" in fault:
            (folder / fault["sound"]).write_bytes(cases.files[fault["sound"]])
        else:
            suffix, data = cases.make(fault["number"])
            (folder / f"{seed}-{fault['number']}{suffix}").write_bytes(data)
    lines = [json.dumps({"seed": seed, **fault}) for fault in tally.faults]
    (folder / f"{seed}.jsonl").write_text("\n".join([*lines, ""]), encoding="utf-8")


def main() -> int:
    """Run by hand: 0 when nothing was found, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="cases")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after these")
    parser.add_argument("--keep", type=Path, help="folder for the files that reveal a fault")
    asked = parser.parse_args()
    numbers = range(asked.first, asked.first + asked.count)
    cases = [*sound(), *({"number": n} for n in numbers)]
    tally = run(cases, asked.seed, 60 * asked.minutes)
    print(tally.report())
    if asked.keep and tally.faults:
        keep(tally, asked.seed, asked.keep)
    return bool(tally.faults)


if __name__ == "__main__":
    sys.exit(main())
