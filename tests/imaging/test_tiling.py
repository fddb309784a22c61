from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deal_cli.imaging.tiling import Tile, plan_tiles

# height, width, tile, halo, stride, and the tiles
Plan = tuple[int, int, tuple[int, int], tuple[int, int], int, list[Tile]]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    stride = draw(st.sampled_from([1, 2, 4, 8]))
    height, width = (draw(st.integers(1, 60)) * stride for _ in range(2))
    halo = draw(st.tuples(st.integers(0, 12), st.integers(0, 12)))
    tall, wide = (
        2 * (-(-pixels // stride) * stride)
        + stride * draw(st.integers(1, 12))
        + draw(st.integers(0, stride - 1))
        for pixels in halo
    )
    tile = (tall, wide)
    tiles = plan_tiles(height, width, tile=tile, halo=halo, stride=stride)
    return height, width, tile, halo, stride, tiles


@given(plans())
def test_cores_partition_the_picture(plan: Plan) -> None:
    height, width, *_, tiles = plan
    painted = np.zeros((height, width), int)
    for tile in tiles:
        painted[tile.core] += 1
    assert (painted == 1).all()


@given(plans())
def test_every_core_has_its_halo_or_the_edge_of_the_picture(
    plan: Plan,
) -> None:
    height, width, _, (down, across), _, tiles = plan
    for t in tiles:
        assert t.y0 == 0 or t.core_y0 - t.y0 >= down
        assert t.x0 == 0 or t.core_x0 - t.x0 >= across
        assert t.y1 == height or t.y1 - t.core_y1 >= down
        assert t.x1 == width or t.x1 - t.core_x1 >= across


@given(plans())
def test_all_reads_have_one_shape_inside_the_picture_and_on_the_stride(
    plan: Plan,
) -> None:
    height, width, tile, _, stride, tiles = plan
    assert len({(t.y1 - t.y0, t.x1 - t.x0) for t in tiles}) == 1
    for t in tiles:
        assert 0 <= t.y0 < t.y1 <= height
        assert 0 <= t.x0 < t.x1 <= width
        assert t.y1 - t.y0 <= tile[0] or t.y1 - t.y0 == height
        assert t.x1 - t.x0 <= tile[1] or t.x1 - t.x0 == width
        assert all(edge % stride == 0 for edge in (t.y0, t.y1, t.x0, t.x1))


@given(plans())
def test_crop_is_the_core_seen_from_what_was_read(
    plan: Plan,
) -> None:
    height, width, *_, tiles = plan
    picture = np.arange(height * width).reshape(height, width)
    for tile in tiles:
        np.testing.assert_array_equal(picture[tile.source][tile.crop], picture[tile.core])


def test_a_row_of_three_tiles_by_hand() -> None:
    tiles = plan_tiles(4, 20, tile=(10, 10), halo=(4, 2), stride=2)
    assert [(t.x0, t.x1, t.core_x0, t.core_x1) for t in tiles] == [
        (0, 10, 0, 8),
        (6, 16, 8, 14),
        (10, 20, 14, 20),
    ]


@given(plans())
def test_no_tile_is_longer_than_so_many_must_be(plan: Plan) -> None:
    height, _, _, (halo, _), stride, tiles = plan
    halo = -(-halo // stride) * stride
    count = len({t.y0 for t in tiles})
    read = tiles[0].y1 - tiles[0].y0
    assert (read - stride) * count < height + 2 * halo * (count - 1) <= read * count


def test_a_picture_a_little_larger_than_a_tile_is_two_tiles_of_half_of_it() -> None:
    tiles = plan_tiles(1024, 1280, tile=(1024, 1024), halo=(172, 76), stride=2)
    assert [(t.x0, t.x1, t.core_x0, t.core_x1) for t in tiles] == [
        (0, 716, 0, 640),
        (564, 1280, 640, 1280),
    ]


def test_a_picture_no_larger_than_a_tile_is_one_tile_whatever_the_halo() -> None:
    (only,) = plan_tiles(64, 48, tile=(64, 64), halo=(500, 500), stride=4)
    assert only == Tile(0, 64, 0, 48, 0, 64, 0, 48)


@pytest.mark.parametrize(
    "arguments",
    [
        {"tile": (8, 8), "halo": (4, 4), "stride": 1},
        {"tile": (64, 9), "halo": (0, 3), "stride": 4},
        {"tile": (8, 0), "halo": (0, 0), "stride": 1},
        {"tile": (8, 8), "halo": (0, -1), "stride": 1},
        {"tile": (8, 8), "halo": (0, 0), "stride": 0},
    ],
)
def test_impossible_plans_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"halo"):
        plan_tiles(64, 64, **arguments)


def test_an_unpadded_picture_is_our_own_bug() -> None:
    with pytest.raises(AssertionError):
        plan_tiles(63, 64, tile=(32, 32), halo=(0, 0), stride=2)
