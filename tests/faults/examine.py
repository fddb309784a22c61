"""One damaged picture through reader and writer, in a process that may die of it.

The worker takes cases on its standard input, a line of JSON each, and answers each with a line of
JSON. What decoders print goes to a file of the worker's, so that not a byte of it goes unnoticed.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from mutators import SUFFIXES, mutated
from seeds import seeds

from deal_cli.errors import OutputError, PictureError, UsageError
from deal_cli.imaging.files import read_frame, write_frame
from deal_cli.imaging.frame import Frame

EXPECTED = (PictureError, UsageError, OutputError)
WRONG_SUFFIX = dict(zip(SUFFIXES, SUFFIXES[1:] + SUFFIXES[:1], strict=True))
WRITTEN = "written"
JPEG_ROUNDING = 6.0  # grey levels on the mean: noise at quality 95
MOST_MEMORY = 6 * 2**30  # bytes of address space: a bomb must not take the machine with it


class FaultError(Exception):
    """What must never come of a file, however damaged."""


class Cases:
    """The damaged file of every number, the same for the same seed on every machine."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.files = seeds()

    def make(self, number: int) -> tuple[str, bytes]:
        """Suffix and bytes of one case; the formats take turns."""
        rng = random.Random(f"{self._seed}/{number}")
        suffix = SUFFIXES[number % len(SUFFIXES)]
        own = [(name, data) for name, data in self.files.items() if name.endswith(suffix)]
        name, data = rng.choice(own)
        others = [d for n, d in own if n != name] if rng.random() < 0.7 else None
        others = others or list(self.files.values())
        return suffix, mutated(rng, suffix, data, others)


def examine(folder: Path, suffix: str, data: bytes) -> str:
    """What becomes of a file: "refused" or "read", as it should be.

    Args:
        folder: an empty folder, which is empty again afterwards.
        suffix: of the file's format.
        data: the file.

    Raises:
        FaultError: an unexpected exception, remains in the folder, or another picture after it
            was written and read again.
    """
    right, wrong = folder / f"in{suffix}", folder / f"in{WRONG_SUFFIX[suffix]}"
    frame = _read(right, data)
    other = _read(wrong, data)
    if (frame is None) != (other is None) or (frame and other and not _same(frame, other, 0.0)):
        raise FaultError("a name changes what is read")
    if frame is None:
        return "refused"
    _check_frame(frame)
    _write_and_read_again(folder, suffix, frame)
    return "read"


def _read(path: Path, data: bytes) -> Frame | None:
    path.write_bytes(data)
    try:
        return read_frame(path)
    except EXPECTED as error:
        _check_line(error)
        return None
    except BaseException as error:
        raise FaultError(f"reading raises {type(error).__name__}: {error}") from error
    finally:
        path.unlink()


def _check_line(error: Exception) -> None:
    line = str(error)
    if not line.isprintable() or len(line) > 1000:
        raise FaultError(f"the error is no short printable line: {line[:300]!r}")
    if isinstance(error, PictureError) and not (error.file and error.remedy):
        raise FaultError(f"the error lacks file or remedy: {line!r}")


def _check_frame(frame: Frame) -> None:
    values = frame.values
    if values.ndim != 2 or values.dtype != np.float32 or values.size == 0:
        raise FaultError(f"a frame of shape {values.shape} and type {values.dtype}")
    if frame.dtype.kind in "iu":
        limits = np.iinfo(frame.dtype)
        fits = np.isfinite(values).all() and limits.min <= values.min()
        if not (fits and values.max() <= limits.max):
            raise FaultError(f"values beyond {frame.dtype}")


def _write_and_read_again(folder: Path, suffix: str, frame: Frame) -> None:
    target = folder / f"{WRITTEN}{suffix}"
    try:
        try:
            write_frame(frame, target)
        except EXPECTED as error:
            _check_line(error)
            _check_remains(folder, [])
            return
        except BaseException as error:
            raise FaultError(f"writing raises {type(error).__name__}: {error}") from error
        _check_remains(folder, [target.name])
        try:
            again = read_frame(target)
        except BaseException as error:
            raise FaultError(f"what was written cannot be read: {error}") from error
        if not _same(frame, again, JPEG_ROUNDING if suffix == ".jpg" else 0.0):
            raise FaultError("what was written is another picture")
    finally:
        for path in folder.iterdir():
            path.unlink()


def _check_remains(folder: Path, expected: list[str]) -> None:
    found = [path.name for path in folder.iterdir()]
    if found != expected:
        raise FaultError(f"the folder holds {found}, not {expected}")


def _same(one: Frame, other: Frame, tolerance: float) -> bool:
    if one.dtype != other.dtype or one.values.shape != other.values.shape:
        return False
    if tolerance:
        return float(np.abs(one.values - other.values).mean()) <= tolerance
    return np.array_equal(one.values, other.values, equal_nan=True)


def work(seed: int, folder: Path) -> None:
    """Answer cases until the standard input ends; the folder is empty, and empty afterwards."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    faulthandler.enable(os.fdopen(os.dup(2), "w", encoding="utf-8"))
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        os.fsync = lambda fd: None  # the disk is not what is tested, and takes most of the time
        cases = Cases(seed)
        _warm_up(folder)
        _printed(said.fileno())
        for line in sys.stdin:
            reply = _answer(json.loads(line), cases, folder)
            words = _printed(said.fileno())
            if words:
                reply |= {"outcome": "fault", "detail": f"something is printed: {words!r}"}
            replies.write(json.dumps(reply) + "\n")
            replies.flush()


def _printed(said: int) -> str:
    """What decoders have printed since the last question, in C and still buffered as well."""
    sys.stdout.flush()
    sys.stderr.flush()
    if sys.platform != "win32":
        ctypes.CDLL(None).fflush(None)
    os.lseek(said, 0, os.SEEK_SET)
    words = os.read(said, 300).decode("utf-8", "replace")
    os.ftruncate(said, 0)
    os.lseek(said, 0, os.SEEK_SET)
    return words


def _answer(case: dict[str, Any], cases: Cases, folder: Path) -> dict[str, Any]:
    if "path" in case:
        path = Path(case["path"])
        suffix, data = path.suffix, path.read_bytes()
    elif "sound" in case:
        suffix, data = Path(case["sound"]).suffix, cases.files[case["sound"]]
    else:
        suffix, data = cases.make(case["number"])
    _forget_peak()
    started = time.perf_counter()
    try:
        reply = {"outcome": examine(folder, suffix, data)}
    except FaultError as error:
        reply = {"outcome": "fault", "detail": str(error)[:500]}
    seconds = time.perf_counter() - started
    return {**case, **reply, "suffix": suffix, "seconds": seconds, "peak": _peak()}


def _warm_up(folder: Path) -> None:
    """Import every codec, so that the first cases are not the slowest; then limit the memory."""
    for name, data in seeds().items():
        with contextlib.suppress(FaultError):  # they are cases of their own
            examine(folder, Path(name).suffix, data)
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))


def _forget_peak() -> None:
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """The most memory held since `_forget_peak`, in bytes; 0 where the system does not tell."""
    if sys.platform != "linux":
        return 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    work(int(sys.argv[1]), Path(sys.argv[2]))
