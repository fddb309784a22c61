"""What a user can do wrong, and the exit code each mistake owns.

Every message reads ``FILE: cause; remedy`` on one line: what was wrong, with which file, and which
flag or command mends it. Only ``cli.py`` prints it and exits.
"""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class ExitCode(IntEnum):
    """The exit codes of every ``deal`` command.

    Attributes:
        OK: all done.
        FAILED: something was tried and failed; the rest is done.
        USAGE: nothing was tried: no such file or option, an unknown key, two inputs for one output.
        UNAVAILABLE: no such backend, device or usable weights.
        INTERRUPTED: stopped by Ctrl-C or SIGTERM; finished files are whole.
    """

    OK = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    INTERRUPTED = 130


class DealError(Exception):
    """A mistake with a name, a cause and a remedy.

    Args:
        cause: what is wrong, in a few words, without a full stop.
        file: the file or folder it is wrong with, when there is one.
        remedy: the flag or command that mends it.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(
        self, cause: str, *, file: Path | str | None = None, remedy: str | None = None
    ) -> None:
        self.cause = cause
        self.file = file
        self.remedy = remedy
        super().__init__(cause)

    def __str__(self) -> str:
        where = f"{self.file}: " if self.file is not None else ""
        mend = f"; {self.remedy}" if self.remedy else ""
        text = " ".join(f"{where}{self.cause}{mend}".split())
        # Names and causes may come from anybody's file; a terminal must not act on them.
        return _CONTROLS.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


class PictureError(DealError):
    """A picture cannot be read, or is of a kind that cannot be restored rightly."""


class OutputError(DealError):
    """A result cannot be written."""


class VerificationError(DealError):
    """A result was made and did not pass its own check; it is not kept."""


class UsageError(DealError):
    """The command as typed cannot be carried out; nothing was tried."""

    exit_code = ExitCode.USAGE


class BackendError(DealError):
    """The backend or device asked for cannot be had."""

    exit_code = ExitCode.UNAVAILABLE


class WeightsError(DealError):
    """Weights are missing, damaged, or belong to another architecture."""

    exit_code = ExitCode.UNAVAILABLE


def short(value: object) -> str:
    """A value of unknown make for a message of one line."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a huge number"
    return text if len(text) <= 60 else text[:60] + "…"
