"""Files appear whole; what killed runs left is removed, and what living ones write is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deal_cli.imaging.files import remove_remains, written_whole

WRITER = """
import sys
from pathlib import Path
from deal_cli.imaging.files import written_whole
with written_whole(Path(sys.argv[1])) as stream:
    stream.write(b"half")
    stream.flush()
    print("writing", flush=True)
    sys.stdin.readline()
    stream.write(b" and half")
"""


def writer(path: Path) -> subprocess.Popen[str]:
    """A second process that has half a file written and waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "writing"
    return process


def test_the_file_of_a_living_writer_stays_and_becomes_whole(tmp_path: Path) -> None:
    process = writer(tmp_path / "a.png")
    assert remove_remains(tmp_path) == 0
    process.communicate("go\n")
    assert process.returncode == 0
    assert (tmp_path / "a.png").read_bytes() == b"half and half"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_the_remains_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    process = writer(tmp_path / "Dächer\n1.png")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(list(tmp_path.iterdir())) == 1
    assert remove_remains(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_nothing_else_is_removed(tmp_path: Path) -> None:
    names = [".deal", ".a.deal-12345678.tmp.png", "a.deal-12345678.tmp", ".a.deal-1234567g.tmp"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / ".folder.deal-12345678.tmp").mkdir()
    if os.name != "nt":
        (tmp_path / ".link.deal-12345678.tmp").symlink_to(tmp_path / names[0])
        os.mkfifo(tmp_path / ".fifo.deal-12345678.tmp")
    before = sorted(tmp_path.iterdir())
    assert remove_remains(tmp_path) == 0
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_cannot_be_read_is_no_error(tmp_path: Path) -> None:
    assert remove_remains(tmp_path / "none") == 0
    (tmp_path / "file").touch()
    assert remove_remains(tmp_path / "file") == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no open file")
def test_a_file_removed_before_its_lock_is_made_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    calls = []

    def slow(stream: object, operation: int) -> None:
        if not calls:
            (temporary,) = tmp_path.iterdir()
            temporary.unlink()
        calls.append(operation)

    monkeypatch.setattr(fcntl, "flock", slow)
    with written_whole(tmp_path / "a") as stream:
        stream.write(b"whole")
    assert len(calls) == 2
    assert (tmp_path / "a").read_bytes() == b"whole"


@pytest.mark.skipif(os.name == "nt", reason="Windows has other locks")
def test_a_file_system_without_locks_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def none(stream: object, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", none)
    with written_whole(tmp_path / "a") as stream:
        stream.write(b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"
    (tmp_path / ".a.deal-12345678.tmp").touch()
    assert remove_remains(tmp_path) == 0
