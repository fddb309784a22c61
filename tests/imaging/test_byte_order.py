"""A scene with its bytes swapped is told from a scene, from noise, and from damage."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from deal_cli.imaging.byte_order import looks_swapped
from deal_cli.imaging.drawn.scenes import draw_scene


def counts(seed: int, span: float, base: float = 7000) -> NDArray[np.uint16]:
    unit = draw_scene(seed, 96, 128).values / 255
    return np.rint(base + span * unit).astype(np.uint16)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("span", [4000, 12000, 50000])
def test_a_swapped_scene_is_noticed_and_a_scene_is_not(seed: int, span: float) -> None:
    right = counts(seed, span)
    assert not looks_swapped(right)
    assert looks_swapped(right.byteswap())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("span", [60, 900, 4000])
def test_damage_is_not_taken_for_swapped_bytes(seed: int, span: float) -> None:
    rng = np.random.default_rng(seed)
    scene = counts(seed, span).astype(np.float64)
    columns = scene + rng.normal(0, 0.2 * span, (1, 128))
    rows = columns + rng.normal(0, 0.1 * span, (96, 1))
    noise = scene + rng.normal(0, 0.3 * span, scene.shape)
    dead = np.where(rng.random(scene.shape) < 0.02, rng.choice((0, 65535), scene.shape), scene)
    for damaged in (columns, rows, noise, dead):
        assert not looks_swapped(damaged.clip(0, 65535).astype(np.uint16))


def test_signed_counts_are_looked_at_and_others_not() -> None:
    swapped = counts(0, 4000).byteswap()
    assert looks_swapped(swapped.view(np.int16))
    assert not looks_swapped(swapped.astype(np.float32))
    assert not looks_swapped((swapped >> 8).astype(np.uint8))


def test_eight_bits_in_the_greater_byte_are_a_scene() -> None:
    grey = np.rint(draw_scene(1, 96, 128).values).astype(np.uint16)
    assert not looks_swapped(grey * 256)
    assert not looks_swapped(grey * 257)
    assert looks_swapped(grey * 256 + 7)  # the greater byte never changes, in the lesser's place
