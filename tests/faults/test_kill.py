"""A run that is killed loses nothing; `kill.py` does the same a hundred times."""

from __future__ import annotations

import sys
from pathlib import Path

import kill
import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="needs process groups")
def test_a_run_killed_at_any_moment_goes_on_where_it_stopped(tmp_path: Path) -> None:
    tally, scene = kill.run(3, seed=6, folder=tmp_path, pictures=30)
    assert len(tally.finished) == 3, tally.report(len(scene.reference))
