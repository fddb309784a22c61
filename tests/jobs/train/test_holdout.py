"""What is kept for validation is whole scenes, of a size that leaves enough to train on."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.jobs.train.holdout import group_scenes, hold_out

Pictures = list[NDArray[np.float32]]
UNLIKE = (0, 1, 2, 4, 5, 12, 13, 15, 18)  # seeds of drawn scenes with a similarity below .28


def film(seed: int, frames: int) -> Pictures:
    """Up to twelve frames of one drawn scene, each three pixels further along it."""
    whole = draw_scene(seed, 132, 164).values / np.float32(255)
    return [whole[i : i + 96, i : i + 128] for i in range(0, 3 * frames, 3)]


def films(*lengths: int) -> Pictures:
    return [
        frame for seed, length in zip(UNLIKE, lengths, strict=False) for frame in film(seed, length)
    ]


def test_frames_of_one_scene_are_grouped_and_those_of_others_are_not() -> None:
    assert group_scenes(films(3, 1, 4, 2)).tolist() == [0, 0, 0, 1, 2, 2, 2, 2, 3, 3]


def test_a_scene_is_found_whatever_the_order() -> None:
    frames = films(3, 3, 3)
    order = [0, 3, 6, 1, 4, 7, 2, 5, 8]
    assert group_scenes([frames[i] for i in order]).tolist() == [0, 1, 2] * 3


@pytest.mark.parametrize("change", [lambda x: 1 - x, lambda x: 0.3 * x + 0.6], ids=["hot", "tone"])
def test_black_hot_and_tone_do_not_make_another_scene(change) -> None:  # type: ignore[no-untyped-def]
    (one, other), (elsewhere,) = film(0, 2), film(1, 1)
    assert group_scenes([one, elsewhere, change(other)]).tolist() == [0, 1, 0]


def test_pictures_of_different_sizes_are_compared() -> None:
    one, other = film(0, 1) + film(1, 1)
    larger = cv2.resize(one, (300, 200), interpolation=cv2.INTER_LINEAR)
    assert group_scenes([one, other, larger]).tolist() == [0, 1, 0]


def test_no_scene_is_on_both_sides() -> None:
    pictures = films(3, 5, 2, 2, 4, 1, 1, 3, 3)
    scenes, held = group_scenes(pictures), set(hold_out(pictures, 8).indices)
    for scene in set(scenes.tolist()):
        members = set(np.flatnonzero(scenes == scene).tolist())
        assert members <= held or not members & held


def test_about_a_sixth_is_held_out_and_said_in_words() -> None:
    holdout = hold_out(films(*[3] * 8), 8)
    assert holdout.words == "6 of 24 pictures, 2 of 8 scenes, are kept for validation"
    assert hold_out(films(*[1] * 9), 8).words.startswith("1 of 9 pictures, 1 of 9 scenes, is kept")


def test_one_scene_alone_gives_its_last_frames() -> None:
    holdout = hold_out(film(0, 12), 8)
    assert holdout.indices == (10, 11)
    assert holdout.words == (
        "the last 2 of 12 pictures are kept for validation, as they seem to be of one scene"
    )
    assert hold_out(film(0, 9), 8).words.startswith("the last one of 9 pictures is kept")


def test_scenes_too_large_to_be_kept_whole_give_the_last_frames() -> None:
    holdout = hold_out(films(6, 6), 8)
    assert holdout.indices == (10, 11)
    assert holdout.words.endswith("as none of 2 scenes is small enough to be kept whole")


def test_the_choice_is_the_same_every_time() -> None:
    pictures = films(2, 3, 1, 4, 2, 2)
    assert hold_out(pictures, 8) == hold_out([picture.copy() for picture in pictures], 8)


@given(st.lists(st.integers(0, 5), min_size=9, max_size=40))
def test_some_are_held_and_enough_are_left_whatever_the_pictures(seeds: list[int]) -> None:
    pictures = [np.random.default_rng(s).random((24, 24), np.float32) for s in seeds]
    held = hold_out(pictures, 8).indices
    assert 1 <= len(held) <= max(1, len(seeds) // 3)
    assert len(seeds) - len(held) >= 8
    assert list(held) == sorted(set(held))


def test_pictures_without_any_edge_at_this_size_are_no_scene_together() -> None:
    flat = [np.full((24, 24), level, np.float32) for level in (0.2, 0.8)]
    assert group_scenes(flat).tolist() == [0, 1]
