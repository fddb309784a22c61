"""A picture before and after, as a report shows it: its numbers, and what became of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from deal_cli.engine.fidelity.measure import Fidelity, Numbers, Unit, as_written, measure
from deal_cli.errors import PictureError
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.gaps import find_gaps
from deal_cli.imaging.radiometry.celsius import in_celsius
from deal_cli.imaging.resize import SCALES, enlarge
from deal_cli.jobs.flight.group import ALARM, LEVELS, STEPS, Seen
from deal_cli.jobs.page.pack import Shown

#: What is worth a second look, as a share of the picture's own coldest to hottest: of 50 K, a mean
#: that moved by a quarter of a kelvin, or a hottest spot by 5 K.
MOVED_MEAN, MOVED_SPOT = 0.005, 0.1
#: What a picture spans at least for that: a flat one that moved by a step is none to look at.
LEAST_SPAN = {Unit.GREY: 40, Unit.COUNTS: 40, Unit.CELSIUS: 1}

Figures = tuple[tuple[str, str], ...]
Values = NDArray[np.float32]
Celsius = Callable[[Values], Values]


def show(
    name: str,
    before: Frame,
    after: Frame,
    fidelity: Fidelity | None,
    more: Figures = (),
    *,
    degrees: bool = False,
) -> Shown:
    """A restored picture beside what it was made of.

    Args:
        name: by which a person finds it.
        before: as it was read, at the size and in the unit of `after`.
        after: restored; it is shown as a file of its dtype holds it.
        fidelity: how far the two are apart; None where nothing was measured.
        more: further figures, label and value.
        degrees: whether the values are °C already.
    """
    seen = None if fidelity is None else Seen.of(name, fidelity)
    numbers = Numbers.of(after)
    unit = str(Unit.CELSIUS if degrees else numbers.unit)
    celsius = None if degrees else _thermometer(numbers)
    old, new = _written(before), _written(after)
    kind = ("picture", f"{after.width}x{after.height}, {after.dtype.name}, {unit}")
    return Shown(
        name=name,
        before=old,
        after=new,
        unit=unit,
        figures=(
            *(() if seen is None else _figures(seen)),
            *more,
            kind,
        ),
        warning=None if seen is None else _warning(seen),
        celsius=celsius,
    )


def show_degrees(name: str, before: Frame, after: Frame, more: Figures = ()) -> Shown:
    """The same of two pictures in °C, measured as they are written."""
    numbers = Numbers(Unit.CELSIUS, after.dtype)
    fidelity = measure(before.values, after.values, numbers, _gaps(before, after))
    return show(name, before, after, fidelity, more, degrees=True)


def compare(name: str, before: Frame, after: Frame) -> Shown:
    """Two pictures of one scene, however the second was made of the first.

    A smaller first picture is enlarged, and counts become degrees where the second holds those.

    Raises:
        PictureError: their sizes or numbers cannot be compared.
    """
    radiometry = before.metadata.radiometry
    calibrated = radiometry is not None and radiometry.planck is not None
    degrees = calibrated and after.dtype.kind == "f" and before.dtype.kind != "f"
    if degrees:
        before = in_celsius(before)
    for scale in SCALES[1:]:
        if (before.height * scale, before.width * scale) == (after.height, after.width):
            before = enlarge(before, scale)
    if (before.height, before.width) != (after.height, after.width):
        raise PictureError(
            f"{after.width}x{after.height} after, {before.width}x{before.height} before",
            remedy="give two pictures of one size, or one enlarged by 2 or 4",
        )
    if before.dtype != after.dtype:
        raise PictureError(
            f"{after.dtype} after, {before.dtype} before",
            remedy="give two pictures in the same numbers",
        )
    if degrees:
        return show_degrees(name, before, after)
    # What the second file lost of its calibration, the first may still tell.
    radiometry = after.metadata.radiometry or before.metadata.radiometry
    after = replace(after, metadata=replace(after.metadata, radiometry=radiometry))
    gaps = _gaps(before, after)
    return show(name, before, after, measure(before.values, after.values, Numbers.of(after), gaps))


def _gaps(before: Frame, after: Frame) -> NDArray[np.bool_] | None:
    """Where one of two pictures holds no measurement."""
    gaps = (find_gaps(f.values, f.metadata.nodata, f.absent) for f in (before, after))
    known = [mask for mask in gaps if mask is not None]
    return np.logical_or.reduce(known) if known else None


def _written(frame: Frame) -> Values:
    """The values as they are written, NaN where nothing was measured."""
    gaps = find_gaps(frame.values, frame.metadata.nodata, frame.absent)
    values = as_written(frame.values, frame.dtype)
    return values if gaps is None else np.where(gaps, np.float32(np.nan), values)


def _thermometer(numbers: Numbers) -> Celsius | None:
    """What makes temperatures of counts, where the picture says how."""
    planck = numbers.planck
    if planck is None:
        return None

    def celsius(values: Values) -> Values:
        degrees: Values = planck.celsius(values[None])[0]
        return degrees

    return celsius


def _figures(seen: Seen) -> Figures:
    step, level = (f" {words[seen.unit]}".rstrip() for words in (STEPS, LEVELS))
    hot, cold, far = seen.hottest_at, seen.coldest_at, seen.largest_at
    return (
        ("mean shift", f"{seen.shift_text()}{step}"),
        ("99.9 % within", f"{seen.change_text()}{step}"),
        ("largest change", f"{seen.largest_text()}{step} at {far.x},{far.y}"),
        ("hottest", f"{seen.hottest_text()}{level} at {hot.x},{hot.y}"),
        ("coldest", f"{seen.coldest_text()}{level} at {cold.x},{cold.y}"),
        ("outside its range", f"{seen.outside:,} {'pixel' if seen.outside == 1 else 'pixels'}"),
    )


def _warning(seen: Seen) -> str | None:
    """Why a person should look at this one first."""
    span = max(seen.hottest[0] - seen.coldest[0], LEAST_SPAN.get(seen.unit, 0))
    step, level = (f" {words[seen.unit]}".rstrip() for words in (STEPS, LEVELS))
    if abs(seen.hottest[1] - seen.hottest[0]) > MOVED_SPOT * span:
        return f"its hottest spot moved, {seen.hottest_text()}{level}"
    if abs(seen.coldest[1] - seen.coldest[0]) > MOVED_SPOT * span:
        return f"its coldest spot moved, {seen.coldest_text()}{level}"
    if abs(seen.shift) > MOVED_MEAN * span:
        return f"its mean moved by {seen.shift_text()}{step}"
    if seen.alarm > ALARM:
        far = seen.largest_at
        return f"changed by {seen.largest_text()}{step} at {far.x},{far.y}"
    return None
