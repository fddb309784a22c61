"""What a person sees while a job runs, on stderr; nothing when stderr is not a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Display:
    """A progress bar with lines of text above it."""

    def __init__(self, *, quiet: bool = False) -> None:
        # Paths are printed as they are, whatever they are called: ":fire:.png", "[/a].png".
        self._console = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """One unwrapped line."""
        self._console.print(text, markup=False)

    def progress(self, done: int, total: int, description: str = "") -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done, total=total, description=description)


class TrainDisplay(Display):
    """A running training: loss, PSNR and images a second beside the bar, validations above it."""

    _psnr = ""

    def step(self, step: int, steps: int, loss: float, rate: float) -> None:
        """After every step; `rate` in images a second."""
        self.progress(step, steps, f"loss {loss:.4f}  {rate:.0f} images/s{self._psnr}")

    def validated(self, step: int, score: float, psnr: Mapping[str, float], best: bool) -> None:
        """After every validation; PSNR in dB."""
        self._psnr = f"  {score:.2f} dB"
        tasks = "  ".join(f"{task} {value:.1f}" for task, value in psnr.items())
        self.say(f"step {step}: {score:.2f} dB{' (best)' if best else ''}  {tasks}")
