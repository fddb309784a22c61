"""Time and memory of this process, as measured."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

WARM_UP = 3  # runs, which load kernels and raise the clock
LEAST, MOST = 5, 100  # runs that are timed


def repeat(
    prepare: Callable[[], T],
    work: Callable[[T], object],
    *,
    seconds: float = 1.0,
    limit: float = 6.0,
) -> list[float]:
    """Seconds that `work` takes on a fresh input from `prepare`, for every run after a warm-up.

    Runs go on until there are five and they took `seconds`, but not beyond a hundred, nor, from
    the second on, beyond `limit`. The warm-up is three runs, fewer when they took `seconds`.
    Making inputs is not timed; `work` returns when it is done.
    """

    def run() -> float:
        item = prepare()
        started = time.perf_counter()
        work(item)
        return time.perf_counter() - started

    spent = 0.0
    for _ in range(WARM_UP):
        spent += run()
        if spent >= seconds:
            break
    taken = [run()]
    while len(taken) < 2 or (
        sum(taken) < limit and len(taken) < MOST and (len(taken) < LEAST or sum(taken) < seconds)
    ):
        taken.append(run())
    return taken


def peak_memory() -> int | None:
    """The most memory this process ever held, in bytes; None where the system does not say.

    Linux tells it of the program that runs now; `getrusage` there, of what started it too.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
