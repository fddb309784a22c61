"""A line for ordinary pictures, a closer look for the bulk of those that a few pixels stretch."""

from __future__ import annotations

import numpy as np
import pytest

from deal_cli.engine.ranges import measure_view
from deal_cli.engine.view import FADE, View, fitted
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.frame import Frame

F4 = np.dtype(np.float32)


def scene(peak: float, sigma: float = 4.0) -> Frame:
    y, x = np.mgrid[:240, :320]
    values = 20 + 1.5 * np.sin(x / 13 + y / 29) + np.cos(y / 9 - x / 23)
    hot = np.exp(-((x - 250) ** 2 + (y - 60) ** 2) / (2 * sigma**2))
    return Frame((values + peak * hot).astype(np.float32), F4)


def test_an_ordinary_picture_is_seen_on_one_line() -> None:
    for seed in range(6):
        assert measure_view(draw_scene(seed, 120, 160), "auto").closer is None
    assert measure_view(scene(0), "auto").closer is None
    assert measure_view(scene(20), "auto").closer is None


@pytest.mark.parametrize("peak", [150, 1000, 3000])
def test_the_bulk_under_a_flame_is_looked_at_again(peak: float) -> None:
    view = measure_view(scene(peak), "auto")
    assert view.closer is not None
    assert view.closer.high < 40
    assert view.closer.low > 10
    assert view.high > 0.3 * peak


def test_a_range_that_is_given_stays_one_line() -> None:
    assert measure_view(scene(1000), (15.0, 30.0)) == View(15.0, 30.0)


def test_the_closer_look_comes_in_gradually() -> None:
    weights = [
        view.weight if (view := fitted(0, bulks, 0.5, 1.0)).closer else 0.0
        for bulks in np.linspace(10, 30, 81)
    ]
    assert weights[0] == 0
    assert weights[-1] == 1
    assert max(np.diff(weights)) < 0.05


def test_nothing_outside_the_line_is_moved_outwards() -> None:
    view = View(0.0, 10.0)
    values = np.array([-2.0, -0.1, 5.0, 10.2, 12.0], np.float32)
    outwards = np.array([-1.0, -1.0, 1.0, 1.0, 1.0], np.float32)
    view.fade(outwards, values)
    assert outwards[[0, 4]].tolist() == [0, 0]
    assert outwards[2] == 1
    assert 0 < outwards[3] < 1
    assert outwards[3] == pytest.approx(1 - 0.2 / (FADE * 10), rel=1e-4)
    inwards = np.array([3.0, 1.0, 1.0, -1.0, -3.0], np.float32)
    kept = inwards.copy()
    view.fade(inwards, values)
    np.testing.assert_array_equal(inwards, kept)


def test_a_closer_look_is_not_trusted_where_it_is_saturated() -> None:
    view = View(0.0, 100.0, View(10.0, 20.0))
    trust = view.trust(np.array([10.0, 15.0, 20.0, 90.0], np.float32))
    assert trust.tolist() == [0, 1, 0, 0]
