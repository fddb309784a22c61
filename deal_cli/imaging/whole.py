"""Files that appear whole or not at all, and the remains of runs that were killed meanwhile.

A file is written under a temporary name beside its target and renamed when it is complete. While
that lasts it is locked, so that another run can tell a living writer's file from the remains of a
dead one: the system lets go of a lock when its process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from deal_cli.errors import OutputError

if sys.platform != "win32":
    import fcntl

_TEMPORARY = re.compile(r"\..{0,32}\.deal-[0-9a-f]{8}\.tmp", re.DOTALL)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A binary stream, readable and writable, that becomes `path` when its block ends well.

    Until then it is a hidden temporary file in the same folder; on any failure it is removed and
    whatever `path` was before stays.

    Raises:
        OutputError: the operating system refuses.
    """
    try:
        temporary, stream = _locked(path)
        try:
            with stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
                if os.name != "nt":
                    # Renamed before the lock goes: nobody can take it for remains.
                    temporary.replace(path)
            if os.name == "nt":
                # Windows renames no open file.
                temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        cause = f"cannot be written ({error.strerror or error})"
        raise OutputError(
            cause, file=path, remedy="choose another output folder or make room in this one"
        ) from error


def exists(target: Path | None) -> bool:
    """Whether there is something at an output already, be it a broken link.

    Raises:
        OutputError: the system does not say.
    """
    try:
        return target is not None and (target.exists() or target.is_symlink())
    except OSError as error:
        cause = f"cannot be looked up ({error.strerror})"
        raise OutputError(cause, file=target, remedy="give -o another folder") from error


def make_folder(folder: Path) -> None:
    """Make the folder of an output.

    Raises:
        OutputError: the system refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        cause = f"cannot be made ({error.strerror})"
        raise OutputError(cause, file=folder, remedy="give -o another folder") from error


def remove_remains(folder: Path) -> int:
    """Remove the temporary files that killed runs left in a folder, and return their number.

    Those of runs that are still writing stay, and so do those that the system does not let go.
    """
    removed = 0
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir()):
            if _TEMPORARY.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    _remove_unlocked(path)
                    removed += 1
    return removed


def _locked(path: Path) -> tuple[Path, BinaryIO]:
    """A new temporary file for a target, open and locked where the file system has locks."""
    while True:
        # Part of the name tells a user whose remains these are; all of it might be too long.
        temporary = path.parent / f".{path.stem[:32]}.deal-{secrets.token_hex(4)}.tmp"
        stream = temporary.open("x+b")
        if sys.platform == "win32":
            return temporary, stream
        with contextlib.suppress(OSError):
            fcntl.flock(stream, fcntl.LOCK_EX)
        if os.fstat(stream.fileno()).st_nlink:
            return temporary, stream
        # Removed as remains between its making and its locking: once more.
        stream.close()


def _remove_unlocked(path: Path) -> None:
    """Remove a file that nobody has locked.

    Raises:
        OSError: somebody has, it is no file, or the system refuses.
    """
    if sys.platform == "win32":
        path.unlink()  # refused while it is open anywhere
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a file")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(descriptor)
