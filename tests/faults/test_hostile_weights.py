"""Weights from anywhere: refused with exit 3 and one line, with nothing executed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import hostile_weights
import pytest
import torch

from deal_cli.engine.backends.choice import Request
from deal_cli.engine.restorer import Settings, open_restorer
from deal_cli.errors import DealError, ExitCode, WeightsError
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.files import write_frame
from deal_cli.model.tone import TonePredictor
from deal_cli.model.weights import TONE_FORMAT, save_tone, write_safetensors

ROOT = Path(__file__).resolve().parents[2]
MOST_MEMORY = 1.5 * 2**30  # bytes: torch and ONNX Runtime, and room for no bomb

#: What a process of its own is worth: one of each way into the program.
THROUGH_THE_ENTRY_POINT = (
    "pickle",
    "truncated",
    "header-beyond-the-file",
    "nan",
    "bomb-time-steps",
    "bomb-control-characters",
    "of-another-program",
    "sparse",
    "onnx-external-nested",
    "onnx-halo-huge",
    *(["pipe"] if hasattr(os, "mkfifo") else []),
)


def opened(weights: Path, tone: str = "keep") -> None:
    backend = "onnx" if weights.suffix == ".onnx" else "cpu"
    open_restorer(Request(backend, str(weights)), Settings(tone=tone))  # type: ignore[arg-type]


def refusal(weights: Path, tone: str = "keep") -> str:
    """The one line about a file that was refused with exit 3."""
    with pytest.raises(DealError) as caught:
        opened(weights, tone)
    error = caught.value
    assert error.exit_code is ExitCode.UNAVAILABLE
    assert str(error.file).endswith(".safetensors" if tone != "keep" else weights.suffix)
    assert error.cause
    assert error.remedy
    line = str(error)
    assert line.isprintable()
    assert len(line) < 600
    return line


def test_sound_files_are_opened(hostile: dict[str, Path]) -> None:
    """Otherwise every refusal below would prove nothing."""
    folder = hostile["pickle"].parent
    opened(folder / "sound.safetensors")
    opened(folder / "sound.onnx")


def test_every_hostile_file_is_refused_by_name_and_takes_no_memory(
    hostile: dict[str, Path],
) -> None:
    assert len(hostile) > 80
    for kind, path in hostile.items():
        try:
            line = refusal(path)
        except BaseException:
            print(f"the file '{kind}'", file=sys.stderr)
            raise
        assert str(path) in line, kind
    assert not (hostile["pickle"].parent / hostile_weights.MARK).exists()
    if sys.platform == "linux":
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert peak is not None
        assert int(peak[1]) * 1024 < MOST_MEMORY


@pytest.mark.parametrize("kind", THROUGH_THE_ENTRY_POINT)
def test_the_command_exits_with_3_and_one_line(
    hostile: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    picture = tmp_path / "a.png"
    write_frame(draw_scene(0, 32, 32), picture)
    command = [sys.executable, "-m", "deal_cli", "restore", str(picture), "-o", str(tmp_path / "o")]
    done = subprocess.run(
        [*command, "--weights", str(hostile[kind])],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == ExitCode.UNAVAILABLE, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"deal: {hostile[kind]}: ")
    assert "; " in line
    assert not (tmp_path / "o").exists()
    assert not (hostile["pickle"].parent / hostile_weights.MARK).exists()


def test_the_tone_predictor_beside_the_weights_is_looked_at_as_well(
    hostile: dict[str, Path], tmp_path: Path
) -> None:
    weights = tmp_path / "w.safetensors"
    shutil.copyfile(hostile["pickle"].with_name("sound.safetensors"), weights)
    beside = tmp_path / "tone.safetensors"
    predictor = TonePredictor(2)
    save_tone(beside, predictor, {})
    opened(weights, tone="auto")
    state = predictor.state_dict()
    first = next(iter(state))
    for width in ("", "two", "0", "-2", "1.5", "3", "²", "10000000000", "9" * 5000, "\x1b[2J"):
        write_safetensors(beside, state, {"format": TONE_FORMAT, "width": width})
        assert refusal(weights, tone="auto").startswith(f"{beside}: ")
    for metadata in ({}, {"format": TONE_FORMAT}, {"format": "pt"}):
        write_safetensors(beside, state, metadata)
        refusal(weights, tone="auto")
    for tensors in ({}, {**state, "more": torch.zeros(1)}, {**state, first: state[first] * 1e39}):
        write_safetensors(beside, tensors, {"format": TONE_FORMAT, "width": "2"})
        refusal(weights, tone="auto")
    for data in (b"", b"noise", hostile["pickle"].read_bytes()):
        beside.write_bytes(data)
        refusal(weights, tone="auto")
    if hasattr(os, "mkfifo"):
        beside.unlink()
        os.mkfifo(beside)
        assert "pipe" in refusal(weights, tone="auto")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "\x1b[2J", "none.safetensors/w.safetensors"])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(WeightsError) as caught:
        open_restorer(Request("cpu", name), Settings(tone="keep"))
    assert str(caught.value).isprintable()
    assert caught.value.remedy


def test_a_device_is_never_read() -> None:
    device = Path("/dev/zero")
    if not device.exists():
        pytest.skip("needs a device that can be read for ever")
    with pytest.raises(WeightsError, match="is a pipe or device"):
        opened(device)
