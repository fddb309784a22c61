"""Lines are printed as they are, and only where somebody looks is there a bar."""

from __future__ import annotations

from pathlib import Path

import pytest

from deal_cli.jobs.batch.plan import Item
from deal_cli.jobs.display import Display, RestoreReport, TrainDisplay
from deal_cli.jobs.flight.flight import Kind
from deal_cli.jobs.restore.outcome import Outcome, Summary

NAMES = [":fire:.png", "[red]a[/].png", "[/b].png", "a" * 300 + ".png"]


@pytest.mark.parametrize("name", NAMES)
def test_a_line_is_printed_as_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Display() as display:
        display.say(f"deal: {name}: cause")
    captured = capsys.readouterr()
    assert captured.err == f"deal: {name}: cause\n"
    assert captured.out == ""


@pytest.mark.parametrize("name", NAMES)
def test_the_bar_shows_any_name(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Display() as display:
        display.progress(1, 2, name)
    assert name[:5] in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_the_frames_of_a_file_have_a_bar_of_their_own(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Display() as display:
        display.progress(1, 2, "folder")
        display.frames(3, None, f"{name}: looking")
        display.frames(4, 7, f"{name}: restoring")
        display.close_frames()
        display.close_frames()
    assert name[:5] in capsys.readouterr().err


def restored(frames: int | None) -> Outcome:
    """A picture, or a clip of so many frames, that was restored."""
    summary = Summary(4, 3, "uint8", Kind("8-bit", "4x3"), (0.0, 255.0), None, None, None, frames)
    return Outcome(Item(Path("a"), Path("b")), "restored", None, summary, 0.1)


@pytest.mark.parametrize(
    ("frames", "said"), [((None, None), "2  restored  "), ((None, 5), "2  restored  6 frames, ")]
)
def test_frames_are_counted_where_there_are_clips(
    frames: tuple[int | None, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Display() as display:
        report = RestoreReport(display, as_json=False, quiet=False, verbose=False)
        report.follow(outcome for outcome in map(restored, frames))
    *_, last = capsys.readouterr().err.splitlines()
    assert last.strip().startswith(said)
    assert last.endswith(" a second")
    assert ("frames" in last) == ("frames" in said)


def test_there_is_no_bar_where_stderr_is_not_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with TrainDisplay() as display:
        display.step(1, 2, 0.5, 10.0)
        display.validated(1, 30.0, {"clean": 50.0, "noise": 30.04}, True)
    assert capsys.readouterr().err == "step 1: 30.00 dB (best)  clean 50.0  noise 30.0\n"
