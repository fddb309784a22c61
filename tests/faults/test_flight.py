"""A mixed flight of forty small files; `flight.py` draws four hundred."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("av")

import flight


def test_every_file_of_a_mixed_flight_is_accounted_for(tmp_path: Path) -> None:
    options = ("--weights", "deal-fast", "--backend", "cpu")
    drawn, run, found = flight.fly(tmp_path, 40, (96, 64), 10, options)
    assert not found, "\n".join([*found, *run.said])
    assert len({Path(one.name).stem.partition("-")[2] for one in drawn}) == 17  # kinds
    if sys.platform == "linux":
        assert 50 < run.peak < 1500
