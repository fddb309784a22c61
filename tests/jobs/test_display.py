"""Lines are printed as they are, and only where somebody looks is there a bar."""

from __future__ import annotations

import pytest

from deal_cli.jobs.display import Display, TrainDisplay

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


def test_there_is_no_bar_where_stderr_is_not_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with TrainDisplay() as display:
        display.step(1, 2, 0.5, 10.0)
        display.validated(1, 30.0, {"clean": 50.0, "noise": 30.04}, True)
    assert capsys.readouterr().err == "step 1: 30.00 dB (best)  clean 50.0  noise 30.0\n"
