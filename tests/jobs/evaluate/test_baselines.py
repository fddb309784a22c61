"""The table of classical methods: complete, blind, and each better than nothing at its own task."""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.jobs.evaluate.baselines import BASELINES, Baseline
from deal_cli.jobs.protocol.tasks import Unit, degrade_for_task
from deal_cli.model.metrics import psnr, psnr_after_fit

ENLARGEMENTS = ("bicubic", "Lanczos")
OWN_TASK = {"noise": "noise", "stripes": "stripe05", "blur": "blur"}


def named(baseline: Baseline) -> str:
    return baseline.name


@cache
def scene(seed: int) -> Unit:
    picture = (draw_scene(seed, 144, 192).values / 255).astype(np.float32)
    picture.setflags(write=False)
    return picture


def degraded(clean: Unit, task: str) -> Unit:
    return degrade_for_task(clean, task, "drawn", "scene") / np.float32(255)


def test_every_method_has_a_name_of_its_own_and_a_known_purpose() -> None:
    purposes = {"noise", "low contrast", "stripes", "blur", "low resolution"}
    assert len({baseline.name for baseline in BASELINES}) == len(BASELINES)
    assert {purpose for baseline in BASELINES for purpose in baseline.made_for} == purposes
    assert all(baseline.settings and "\n" not in baseline.settings for baseline in BASELINES)


def test_the_page_names_every_method(root: Path) -> None:
    text = (root / "docs" / "baselines.md").read_text(encoding="utf-8")
    assert [baseline.name for baseline in BASELINES if baseline.name not in text] == []


@pytest.mark.parametrize("baseline", BASELINES, ids=named)
def test_only_the_enlargements_need_the_small_picture(baseline: Baseline) -> None:
    picture = degraded(scene(0), "sr4")
    small = np.ascontiguousarray(picture[::4, ::4])
    alone, both = baseline.restore(picture, None), baseline.restore(picture, small)
    assert both is not None
    assert both.shape == picture.shape
    if baseline.name in ENLARGEMENTS:
        assert alone is None
    else:
        np.testing.assert_array_equal(alone, both)


@pytest.mark.parametrize("baseline", BASELINES, ids=named)
def test_a_method_can_be_sent_to_another_process(baseline: Baseline) -> None:
    picture = scene(1)
    sent = pickle.loads(pickle.dumps(baseline))
    np.testing.assert_array_equal(
        sent.restore(picture, picture), baseline.restore(picture, picture)
    )


@pytest.mark.parametrize(
    "baseline", [b for b in BASELINES if set(b.made_for) & set(OWN_TASK)], ids=named
)
def test_a_method_mends_what_it_was_made_for(baseline: Baseline) -> None:
    clean = scene(2)
    for purpose in set(baseline.made_for) & set(OWN_TASK):
        before = degraded(clean, OWN_TASK[purpose])
        after = baseline.restore(before, None)
        assert after is not None
        assert psnr_after_fit(after, clean) > psnr_after_fit(before, clean) + 2


def test_the_contrast_methods_bring_contrast_back() -> None:
    clean = scene(1)
    before = degraded(clean, "contrast")
    for baseline in BASELINES:
        if "low contrast" in baseline.made_for:
            after = baseline.restore(before, None)
            assert after is not None
            assert before.std() * 1.2 < after.std() < clean.std() * 1.2


def test_the_enlargements_see_more_in_the_small_picture_than_repeating_it() -> None:
    from PIL import Image

    clean = scene(4)
    small = np.asarray(Image.fromarray(clean).resize((96, 72), Image.Resampling.BICUBIC))
    repeated = np.repeat(np.repeat(small, 2, axis=0), 2, axis=1)
    for baseline in BASELINES:
        if baseline.name in ENLARGEMENTS:
            large = baseline.restore(clean, np.clip(small, 0, 1))
            assert large is not None
            assert psnr(large, clean) > psnr(repeated, clean) + 1
