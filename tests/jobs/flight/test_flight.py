"""A flight in one table: figures that add up, names of the files to look at, and little else."""

from __future__ import annotations

import re
import statistics
import tracemalloc
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal_cli.engine.fidelity.measure import Fidelity, Spot, Unit
from deal_cli.imaging.frame import Frame, Metadata
from deal_cli.imaging.radiometry.calibration import Radiometry
from deal_cli.jobs.flight.flight import LISTED, ROWS, Flight, Flown, Kind

FLIR = Kind("FLIR counts", "640x480")
GREY = Kind("8-bit", "640x512")


def told(
    unit: Unit = Unit.COUNTS,
    shift: float = 0.5,
    change: float = 12.0,
    hottest: tuple[float, float] = (900.0, 890.0),
    coldest: tuple[float, float] = (10.0, 11.0),
    **more: Any,
) -> Fidelity:
    """The figures of a picture, hottest at 3,4 and coldest at 5,6."""
    spots = (*(Spot(x, 3, 4) for x in hottest), *(Spot(x, 5, 6) for x in coldest))
    far = (-2 * change, Spot(50.0, 7, 8), 10 * change)  # no more than a fifth of its noise
    found = Fidelity(unit, 100, shift, abs(shift), change, *far, *spots, outside=0, beyond=0.0)
    return replace(found, **more)


def warm(shift: float, change: float, hottest: tuple[float, float], **more: Any) -> Fidelity:
    """The same of a calibrated picture, in kelvin and °C."""
    kelvin = {"mean_shift_k": shift, "mean_change_k": abs(shift), "p999_change_k": change}
    kelvin["largest_change_k"] = -2 * change
    ends = {"hottest_before_c": hottest[0], "hottest_after_c": hottest[1]}
    return told(**kelvin, **ends, coldest_before_c=-3.14, coldest_after_c=-2.86, **more)


def flown(name: str, fidelity: Fidelity | None, kind: Kind = FLIR, seconds: float = 0.1) -> Flown:
    return Flown(name, "restored", seconds, kind, fidelity)


def flight(*files: Flown) -> Flight:
    made = Flight()
    for file in files:
        made.add(file)
    return made


def row(lines: list[str], start: str) -> list[str]:
    """The cells of the row that starts so."""
    (line,) = (line for line in lines if line.startswith(f" {start} "))
    return re.split(r"  +", line.strip())


def test_one_calibrated_file_is_one_line_in_degrees() -> None:
    lines = flight(flown("a.jpg", warm(-0.0414, 0.208, (84.24, 83.87), outside=1234))).lines()
    assert len(lines) == 4  # two of titles, a rule, the row
    assert row(lines, "FLIR counts 640x480") == [
        *("FLIR counts 640x480", "1", "°C", "-0.041", "0.21", "-0.42"),
        *("84.2 → 83.9", "-3.1 → -2.9", "1,234", "0.1"),
    ]


def test_figures_of_several_files_are_mean_median_and_worst() -> None:
    lines = flight(
        flown("a.jpg", told(shift=0.5, change=10, hottest=(800, 790))),
        flown("b.jpg", told(shift=-2.25, change=40, coldest=(-5, -4), outside=3, beyond=2.0)),
        flown("c.jpg", told(shift=0.25, change=11, hottest=(899, 700))),
    ).lines()
    assert row(lines, FLIR.name) == [
        *("FLIR counts 640x480", "3", "counts", "-0.50 (-2.25)", "11 (40)", "-80"),
        *("900 → 890", "-5 → -4", "3"),  # no room for seconds
    ]
    assert lines[4:] == [
        "Look at these first:",
        "  b.jpg: "
        + "; ".join(
            (
                "hottest of all, 900 → 890 counts at 3,4",
                "coldest of all, -5 → -4 counts at 5,6",
                "mean shift -2.25 counts",
                "99.9 % within 40 counts",
                "3 pixels outside its range",
            )
        ),
        "  c.jpg: its hottest spot moved most, 899 → 700 counts at 3,4",
    ]


def test_one_pixel_is_one_pixel() -> None:
    for outside, words in ((1, "1 pixel outside"), (1200, "1,200 pixels outside")):
        lines = flight(
            flown("a.jpg", told()), flown("b.jpg", told(outside=outside, beyond=2.0))
        ).lines()
        assert any(f"{words} its range" in line for line in lines)


def test_each_kind_has_a_row_and_no_row_mixes_units() -> None:
    lines = flight(
        flown("a.jpg", warm(0.001, 0.1, (30, 30))),
        flown("b.jpg", told(), Kind("FLIR counts", "320x240")),
        flown("c.jpg", told()),  # of a camera that does not tell its constants
        flown("d.png", told(Unit.GREY), GREY),
        flown("e.tif", told(Unit.OWN, 0.00123, 0.456, (36.61, 36.58)), Kind("float32", "4x4")),
        flown("f.tif", None, Kind("float32", "4x4")),  # nothing measured
    ).lines()
    rows = [line for line in lines[3:] if "→" in line or "–" in line]
    assert len(rows) == 6
    assert [line.split()[4] for line in rows[:3]] == ["°C", "counts", "counts"]
    assert row(lines, "8-bit 640x512")[2] == "levels"
    assert rows[4].split()[3:8] == ["–", "+0.00123", "0.456", "-0.912", "36.61"]
    assert rows[5].split() == ["float32", "4x4", "1", *7 * "–", "0.1"]


def test_grey_pictures_with_nothing_remarkable_stay_one_row() -> None:
    files = [flown(f"{n}.png", told(Unit.GREY, 0.9, 5 * n, outside=n), GREY) for n in range(9)]
    assert len(flight(*files).lines()) == 4
    lines = flight(*files, flown("lost.png", told(Unit.GREY, -7.5), GREY)).lines()
    assert lines[4:] == ["Look at these first:", "  lost.png: mean shift -7.50 levels"]


def test_what_was_skipped_or_failed_is_counted() -> None:
    made = flight(flown("a.png", told(Unit.GREY), GREY), Flown("b.png", "failed", 0.2))
    for _ in range(1200):
        made.add(Flown("c.png", "skipped"))
    lines = made.lines()
    assert row(lines, "skipped")[:2] == ["skipped", "1,200"]
    assert row(lines, "failed")[:2] == ["failed", "1"]


def test_what_changed_far_beyond_its_noise_is_named_first_with_its_place() -> None:
    quiet = told(largest_change=-99.0, noise=10.0)
    loud = told(largest_change=-101.0, noise=10.0, largest_at=Spot(0.0, 12, 34))
    lines = flight(flown("a.jpg", quiet), flown("b.jpg", loud)).lines()
    assert lines[5] == "  b.jpg: changed by -101 counts at 12,34, 10 times its own noise"
    assert flight(flown("b.jpg", loud)).lines()[4:] == [
        "Look at these first:",
        lines[5],
    ]


def test_the_hottest_of_all_is_that_of_all_kinds() -> None:
    other = Kind("FLIR counts", "320x240")
    lines = flight(
        *(flown(f"{n}.jpg", told(hottest=(800 + n, 800))) for n in range(2)),
        *(flown(f"{n}.tif", told(hottest=(900 + n, 900)), other) for n in range(2)),
    ).lines()
    named = [line for line in lines if "hottest of all" in line]
    assert len(named) == 1
    assert named[0].startswith("  1.tif: ")


def test_a_flight_of_nothing_is_a_table_of_nothing() -> None:
    assert len(Flight().lines()) == 3


def test_nothing_is_minus_zero() -> None:
    lines = flight(flown("a.jpg", warm(-0.0001, 0.0, (-0.04, 0.04)))).lines()
    assert row(lines, FLIR.name)[3:7] == ["0.000", "0.00", "0.00", "0.0 → 0.0"]


def test_a_narrow_terminal_gets_fewer_columns_and_no_line_is_wrapped() -> None:
    made = flight(flown("a.jpg", warm(0.001, 0.1, (30, 30))), flown("b.jpg", warm(2, 1, (9, 9))))
    wide, narrow = made.lines(), made.lines(90)
    assert "coldest" in wide[0]
    assert "coldest" not in narrow[0]
    assert "hottest" in narrow[0]
    assert max(map(len, narrow[:4])) <= 90
    assert len([line for line in narrow if line.startswith(" FLIR")]) == 1


@pytest.mark.parametrize("name", ["[red]a[/].jpg", ":fire:.jpg", "a\x1b[2J.jpg", "[/b].jpg"])
def test_names_are_told_as_they_are_and_do_nothing(name: str) -> None:
    lines = flight(flown("a.jpg", told(hottest=(1, 1))), flown(name, told())).lines()
    assert any(name.replace("\x1b", "\\x1b") in line for line in lines)
    assert not any("\x1b" in line for line in lines)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=60))
def test_the_median_is_that_of_all_files(changes: list[int]) -> None:
    lines = flight(*(flown("a", told(change=float(change))) for change in changes)).lines()
    cell = row(lines, FLIR.name)[4].split()[0]
    assert int(cell) == statistics.median_low(changes)


def test_ten_thousand_files_are_a_short_table_in_little_memory() -> None:
    rng = np.random.default_rng(0)
    made = Flight()
    tracemalloc.start()
    for n in range(10_000):
        size = f"{rng.integers(4, 4000)}x{rng.integers(4, 4000)}"
        noise, at = rng.normal(size=3), float(rng.uniform(0, 60))
        fidelity = warm(noise[0], abs(noise[1]), (at, at + noise[2]), outside=1)
        made.add(flown(f"flight/{n:05}.jpg", fidelity, Kind("FLIR counts", size)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20
    lines = made.lines()
    assert len(lines) <= 3 + ROWS + 1 + 1 + LISTED + 1
    assert row(lines, "FLIR counts other sizes")[1] == f"{10_000 - ROWS:,}"


@pytest.mark.parametrize(
    ("dtype", "metadata", "kind"),
    [
        ("uint8", Metadata(), "8-bit 5x3"),
        ("uint16", Metadata(), "16-bit 5x3"),
        ("float32", Metadata(), "float32 5x3"),
        ("uint16", Metadata(radiometry=Radiometry("DJI")), "DJI counts 5x3"),
        ("uint8", Metadata(moment=Fraction(1, 30)), "video 5x3"),
    ],
)
def test_kinds_have_the_names_a_person_uses(dtype: str, metadata: Metadata, kind: str) -> None:
    assert str(Kind.of(Frame(np.zeros((3, 5), np.float32), np.dtype(dtype), metadata))) == kind
