"""Damaged pictures are read or refused, with one line and nothing else; `mutate.py` does more."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import mutate
import pytest

FINDINGS = sorted((Path(__file__).parent / "findings").glob("*.*"))
SECONDS = 20


def test_every_sound_file_is_read_or_refused() -> None:
    tally = mutate.run(mutate.sound())
    assert tally.outcomes.total() > 70
    assert not tally.faults, tally.report()


def test_every_file_that_revealed_a_fault_is_read_or_refused() -> None:
    assert FINDINGS
    tally = mutate.run({"path": str(path)} for path in FINDINGS)
    assert tally.outcomes.total() == len(FINDINGS)
    assert not tally.faults, tally.report()


def test_no_pixel_is_made_up_for_a_file_that_lacks_some() -> None:
    lacking = [path for path in FINDINGS if path.name.startswith("refused-")]
    assert lacking
    tally = mutate.run({"path": str(path)} for path in lacking)
    assert {outcome for _, outcome in tally.outcomes} == {"refused"}, tally.outcomes


def test_damage_of_any_kind_is_read_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    tally = mutate.run(({"number": n} for n in count()), seed=0, seconds=SECONDS)
    with capsys.disabled():
        print(f"\n{tally.report()}")
    assert not tally.faults, tally.report()
    assert tally.outcomes.total() > 100
