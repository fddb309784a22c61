"""Restore files: plan every output before any work, then read, restore and write one by one.

One bad file never stops the others: what failed is reported with its cause, the rest is done.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deal_cli.engine.backends import Choice, Request
from deal_cli.engine.restorer import Restored, Restorer, Settings, open_restorer
from deal_cli.errors import DealError, ExitCode, OutputError, PictureError, UsageError
from deal_cli.imaging.files import PICTURE_SUFFIXES, check_target, read_frame, write_frame
from deal_cli.imaging.resize import enlarge


@dataclass(frozen=True)
class RestoreRequest:
    """What to restore, how, and where to.

    Attributes:
        inputs: picture files.
        out: a folder; or a file, with one input and a picture's suffix.
        engine: backend and weights.
        settings: range, tone, strength.
        scale: 1, 2 or 4: bicubic enlargement before restoring.
        luminance: turn false colour into its luminance in place of refusing it.
        overwrite: replace outputs that exist.
    """

    inputs: Sequence[Path]
    out: Path
    engine: Request = Request()
    settings: Settings = Settings()
    scale: int = 1
    luminance: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of one input.

    Attributes:
        status: "restored"; "skipped" when the output existed; "failed" with an error.
        restored: what the engine decided; None unless restored.
        seconds: from opening the input to the finished output.
    """

    input: Path
    output: Path
    status: Literal["restored", "skipped", "failed"]
    error: DealError | None = None
    restored: Restored | None = None
    seconds: float = 0.0

    def describe(self) -> str:
        """Size, dtype, range and tone in one line; empty unless restored."""
        if self.restored is None:
            return ""
        frame, (low, high), tone = self.restored.frame, self.restored.range, self.restored.tone
        kept = "tone kept" if tone is None else f"gain {tone.gain:.2f} offset {tone.offset:+.2f}"
        return f"{frame.width}x{frame.height} {frame.dtype}, range {low:g}:{high:g}, {kept}"


@dataclass(frozen=True)
class Batch:
    """A planned restoration with its backend loaded."""

    request: RestoreRequest
    pairs: tuple[tuple[Path, Path], ...]
    restorer: Restorer
    choice: Choice

    def run(self) -> Iterator[Outcome]:
        """Restore the pictures in order, yielding what became of each.

        Raises:
            DealError: what no other picture would survive either, such as a full device.
        """
        for source, target in self.pairs:
            yield self._restore(source, target)

    def _restore(self, source: Path, target: Path) -> Outcome:
        if target.exists() and not self.request.overwrite:
            return Outcome(source, target, "skipped")
        started = time.perf_counter()
        try:
            frame = read_frame(source, luminance=self.request.luminance)
            check_target(frame, target)
            restored = self.restorer.restore(enlarge(frame, self.request.scale))
            _make_folder(target.parent)
            write_frame(restored.frame, target)
        except MemoryError:
            remedy = "cut it into smaller pictures"
            lack = PictureError("does not fit into memory", file=source, remedy=remedy)
            return Outcome(source, target, "failed", error=lack)
        except DealError as error:
            if error.exit_code is ExitCode.UNAVAILABLE:
                raise
            if error.file is None:
                error.file = source
            return Outcome(source, target, "failed", error=error)
        seconds = time.perf_counter() - started
        return Outcome(source, target, "restored", restored=restored, seconds=seconds)


def open_batch(request: RestoreRequest) -> Batch:
    """Plan the outputs and load the backend.

    Raises:
        UsageError: see `plan_outputs`; or a strength or range that makes no sense.
        BackendError: the backend asked for cannot be had.
        WeightsError: the weights are not usable.
    """
    _check_settings(request.settings)
    pairs = plan_outputs(request.inputs, request.out, overwrite=request.overwrite)
    restorer, choice = open_restorer(request.engine, request.settings)
    return Batch(request, pairs, restorer, choice)


def plan_outputs(
    inputs: Sequence[Path], out: Path, *, overwrite: bool
) -> tuple[tuple[Path, Path], ...]:
    """The output of every input, before anything is touched.

    Raises:
        UsageError: an input that does not exist or is a folder, two inputs for one output, an
            output that is its own input, or an `out` that is a file with more than one input.
    """
    for path in inputs:
        kind = _kind(path)
        if kind == "nothing":
            raise UsageError("no such file", file=path, remedy="check the path")
        if kind == "folder":
            raise UsageError("is a folder", file=path, remedy=f"name its pictures: {path}/*")
    kind = _kind(out)
    to_file = out.suffix.lower() in PICTURE_SUFFIXES and kind != "folder"
    if to_file and len(inputs) > 1:
        raise UsageError(
            f"is one file for {len(inputs)} inputs", file=out, remedy="give -o a folder"
        )
    if not to_file and kind == "file":
        raise UsageError("is not a folder", file=out, remedy="give -o a folder or a picture's name")
    pairs = tuple((path, out if to_file else out / path.name) for path in inputs)
    sources: dict[Path, Path] = {}
    for source, target in pairs:
        key = Path(os.path.normcase(target.resolve()))
        if key in sources:
            raise UsageError(
                f"and {sources[key]} would both be written to {target}",
                file=source,
                remedy="restore them into different folders",
            )
        if target.resolve() == source.resolve() and not overwrite:
            raise UsageError(
                "would be overwritten by its own result",
                file=source,
                remedy="give -o another folder, or --overwrite",
            )
        sources[key] = source
    return pairs


def _kind(path: Path) -> Literal["nothing", "file", "folder"]:
    """What there is at a path.

    Raises:
        UsageError: the system does not say: the name is too long, or its folder is closed to us.
    """
    try:
        if path.is_dir():
            return "folder"
        return "file" if path.exists() else "nothing"
    except OSError as error:
        cause = f"cannot be looked up ({error.strerror})"
        raise UsageError(cause, file=path, remedy="check the path") from error


def _make_folder(folder: Path) -> None:
    """Make the folder of an output.

    Raises:
        OutputError: the system refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        cause = f"cannot be made ({error.strerror})"
        raise OutputError(cause, file=folder, remedy="give -o another folder") from error


def _check_settings(settings: Settings) -> None:
    if not 0.0 <= settings.strength <= 1.0:
        raise UsageError(f"a strength of {settings.strength}", remedy="--strength takes 0 to 1")
    if isinstance(settings.range, tuple):
        low, high = settings.range
        if not (low < high and math.isfinite(high - low)):
            raise UsageError(
                f"a range of {low:g}:{high:g}", remedy="--range takes two numbers, LO below HI"
            )
