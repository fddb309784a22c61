"""Repeats against a clock that is set by hand, and the memory of a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from command import environment

from deal_cli.engine.backends import measuring
from deal_cli.engine.backends.measuring import peak_memory, repeat


class Clock:
    """Stands still except where it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(measuring, "time", made)
    return made


@pytest.mark.parametrize(
    ("seconds", "warm", "timed"),
    [
        (0.001, 3, 100),  # enough
        (0.1, 3, 10),  # a second of them
        (0.3, 3, 5),  # at least five
        (0.6, 2, 5),
        (2.5, 1, 3),  # 7.5 s are more than six
        (40.0, 1, 2),  # never a single one
    ],
)
def test_runs_go_on_for_a_second_and_five_but_not_for_ever(
    clock: Clock, seconds: float, warm: int, timed: int
) -> None:
    inputs: list[int] = []

    def prepare() -> int:
        clock.now += 5  # is not timed
        inputs.append(len(inputs))
        return inputs[-1]

    seen: list[int] = []

    def work(item: int) -> None:
        clock.now += seconds + 1e-6 * item
        seen.append(item)

    taken = repeat(prepare, work)
    assert taken == pytest.approx([seconds + 1e-6 * (warm + i) for i in range(timed)], abs=1e-9)
    assert seen == list(range(warm + timed))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not say")
def test_the_peak_of_memory_is_that_of_the_process_and_does_not_sink() -> None:
    """Not that of the process which started it: this one has torch in it."""
    code = (
        "from deal_cli.engine.backends.measuring import peak_memory as peak\n"
        "before = peak()\n"
        "block = bytearray(b'x') * 2**26\n"
        "during = peak()\n"
        "del block\n"
        "print(before, during, peak())"
    )
    ballast = bytearray(b"x") * 2**27
    command = [sys.executable, "-c", code]
    made = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    before, during, after = map(int, made.stdout.split())
    assert 2**20 < before < len(ballast)
    assert 2**26 - 2**22 < during - before < 2**26 + 2**24
    assert after > during - 2**22  # Linux counts pages in batches
    assert (peak_memory() or 0) > len(ballast)
