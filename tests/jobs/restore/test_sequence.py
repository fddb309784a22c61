"""What frames of a sequence have in common: one range, one tone, and a pattern or none."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deal_cli.engine.backends.choice import Request
from deal_cli.engine.fixed_pattern.estimate import sample_count
from deal_cli.engine.fixed_pattern.pattern import Pattern
from deal_cli.engine.ranges import measure_range
from deal_cli.engine.restorer import Restorer, Settings, Shared, open_restorer
from deal_cli.engine.view import View
from deal_cli.errors import UsageError
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.frame import Frame, Metadata
from deal_cli.imaging.resize import enlarge
from deal_cli.jobs.restore.sequence import kind_of, survey, without_pattern
from deal_cli.model.tone import Tone

HEIGHT, WIDTH = 64, 80
KEEP = Settings(tone="keep")


class Asked:
    """A predictor that proposes one tone after the other, and keeps what it was shown."""

    def __init__(self, *tones: Tone) -> None:
        self.tones = tones
        self.seen: list[NDArray[np.float32]] = []

    def predict(self, values: NDArray[np.float32], low: float, high: float) -> Tone:
        self.seen.append(values.copy())
        return self.tones[(len(self.seen) - 1) % len(self.tones)]


def tone(gain: float, confident: bool = True, pivot: float = 0.5) -> Tone:
    return Tone(gain, 0.1 * gain, 0.9, pivot, confident)


@pytest.fixture
def plain(fresh_weights: Path) -> Restorer:
    """What gives every frame back as it is."""
    return open_restorer(Request("cpu", str(fresh_weights)), KEEP)[0]


def asking(plain: Restorer, policy: Any, *tones: Tone) -> tuple[Restorer, Asked]:
    asked = Asked(*tones)
    return Restorer(plain.backend, Settings(tone=policy), asked), asked  # type: ignore[arg-type]


def views(count: int, dtype: Any = "uint16", step: int = 9, seed: int = 0) -> list[Frame]:
    """A view that moves across a drawn scene."""
    canvas = draw_scene(seed, 3 * HEIGHT, WIDTH + step * count, dtype)
    return [
        replace(canvas, values=canvas.values[48 + at :][:HEIGHT, step * at : step * at + WIDTH])
        for at in range(count)
    ]


def faint(count: int) -> list[Frame]:
    """Views of 8 bits that use a fortieth of their range, so that there is room for contrast."""
    return [
        replace(frame, values=np.rint(100 + frame.values / 40)) for frame in views(count, "uint8")
    ]


def striped(seed: int = 1, height: int = HEIGHT, width: int = WIDTH) -> Pattern:
    rng = np.random.default_rng(seed)
    offset = rng.normal(0, 80, width) + rng.normal(0, 50, (height, width))
    offset = (offset - offset.mean()).astype(np.float32)
    ones, none = np.ones_like(offset), np.zeros(offset.shape, np.bool_)
    return Pattern(offset, ones, none, 8000.0, 9, "uint16")


def seen_through(pattern: Pattern, frames: Sequence[Frame]) -> list[Frame]:
    return [replace(one, values=np.rint(one.values + pattern.offset)) for one in frames]


# --- the range -----------------------------------------------------------------------------------


def test_a_sequence_has_the_range_of_all_its_frames(plain: Restorer) -> None:
    frames = views(12)
    found = survey(frames, plain, "auto").main
    assert found is not None
    beside = Frame(np.concatenate([f.values for f in frames], 1), frames[0].dtype)
    assert found.shared.view.range == measure_range(beside, "auto")
    assert found.shared.tone is None


@pytest.mark.parametrize("policy", ["image", (100.0, 9000.0)])
def test_the_policy_of_the_range_is_kept(policy: Any, plain: Restorer) -> None:
    frames = views(3)
    found = survey(frames, plain, policy).main
    assert found is not None
    values = np.stack([f.values for f in frames])
    expected = policy if policy != "image" else (values.min(), values.max())
    assert found.shared.view.range == expected


def test_a_policy_that_does_not_fit_the_frames_is_told(plain: Restorer) -> None:
    with pytest.raises(UsageError, match="--range image"):
        survey([Frame(np.ones((4, 5), np.float32), np.dtype(np.float32))], plain, "dtype")


def test_no_frames_have_nothing_in_common(plain: Restorer) -> None:
    found = survey(iter(()), plain, "auto")
    assert found.main is None
    assert found.of(views(1)[0]) is None


def test_gaps_alone_have_no_range_and_are_no_error(plain: Restorer) -> None:
    gaps = [Frame(np.full((40, 50), np.nan, np.float32), np.dtype(np.float32))] * 3
    found = survey(gaps, plain, "auto").main
    assert found is not None
    assert found.shared.view.range == (0, 0)
    assert found.finding is None
    assert np.isnan(plain.restore_batch(gaps, found.shared)[0].frame.values).all()


def test_frames_of_other_sizes_and_dtypes_are_sequences_of_their_own(plain: Restorer) -> None:
    deep, flat = views(3), views(3, "uint8")
    small = [replace(f, values=f.values[:40] + 5000) for f in views(3)]
    mixed = [frame for three in zip(deep, flat, small, strict=True) for frame in three]
    found = survey(mixed, plain, "image")
    assert set(found.kinds) == {
        (HEIGHT, WIDTH, "uint16"),
        (HEIGHT, WIDTH, "uint8"),
        (40, WIDTH, "uint16"),
    }
    for frames in (deep, flat, small):
        common = found.of(frames[0])
        assert common is not None
        alone = survey(frames, plain, "image").main
        assert alone is not None
        assert common.shared == alone.shared
    main = found.main
    assert main is found.of(deep[2])
    assert kind_of(deep[0]) == (HEIGHT, WIDTH, "uint16")


def test_sixteen_kinds_have_ranges_and_others_are_restored_by_themselves(plain: Restorer) -> None:
    frames = [
        Frame(np.full((32, 32 + at), 100.0 + at, np.float32), np.dtype(np.uint16))
        for at in range(40)
    ]
    found = survey([*frames, *frames], plain, "image")
    for frame in frames[:16]:
        common = found.of(frame)
        assert common is not None
        assert common.shared.view.range == (frame.values[0, 0], frame.values[0, 0])
    assert [found.of(frame) for frame in frames[16:]] == [None] * 24


def test_the_restored_frames_are_those_of_a_batch_with_what_they_share() -> None:
    restorer, _ = open_restorer(Request("cpu", "deal-fast"), KEEP)
    frames = views(4)
    found = survey(frames, restorer, "auto", find_pattern=False).main
    assert found is not None
    assert found.finding is None
    assert found.shared.view.range not in [measure_range(frame, "auto") for frame in frames]
    together = restorer.restore_batch(frames, found.shared)
    policy = replace(KEEP, range=found.shared.view.range)
    same = Restorer(restorer.backend, policy)
    for frame, restored in zip(frames, together, strict=True):
        assert restored.range == found.shared.view.range
        alone = same.restore(frame).frame.values
        np.testing.assert_allclose(restored.frame.values, alone, atol=0.5)
    assert not np.array_equal(together[0].frame.values, frames[0].values)
    structure = restorer.restore_structure(frames, found.shared)
    np.testing.assert_allclose(structure[1], together[1].frame.values, atol=0.5)


# --- the tone ------------------------------------------------------------------------------------


def tone_of(restorer: Restorer, frames: Sequence[Frame], **options: Any) -> Tone | None:
    found = survey(frames, restorer, "auto", find_pattern=False, **options).main
    assert found is not None
    return found.shared.tone


def test_the_tone_of_a_sequence_is_the_median_of_what_its_frames_ask_for(plain: Restorer) -> None:
    tones = [tone(gain, pivot=gain / 10) for gain in (2, 9, 3, 2.5, 1)]
    restorer, asked = asking(plain, "restore", *tones)
    found = tone_of(restorer, faint(5))
    assert len(asked.seen) == 5
    assert found == replace(tone(2.5), pivot=0.25)
    restorer, _ = asking(plain, "restore", *tones)
    frames = faint(5)
    for restored in restorer.restore_batch(frames, Shared(View(0, 255), found)):
        assert restored.tone == found


@pytest.mark.parametrize(("sure", "given"), [(2, False), (3, True), (5, True), (0, False)])
def test_a_minority_of_frames_that_ask_for_contrast_gets_none(
    sure: int, given: bool, plain: Restorer
) -> None:
    tones = [tone(2 + at, at < sure) for at in range(5)]
    restorer, _ = asking(plain, "auto", *tones)
    found = tone_of(restorer, faint(5))
    assert (found is not None) is given
    if found:
        assert found.gain == np.median([2 + at for at in range(sure)])
        assert (found.offset, found.gamma) == (0, 1)  # contrast alone


def test_half_of_the_frames_is_no_majority(plain: Restorer) -> None:
    restorer, _ = asking(plain, "auto", tone(2), tone(2, False))
    assert tone_of(restorer, views(4, "uint8")) is None


def test_counts_keep_their_tone_and_nobody_is_asked(plain: Restorer) -> None:
    restorer, asked = asking(plain, "auto", tone(2))
    assert tone_of(restorer, views(3, "uint16")) is None
    assert not asked.seen
    assert tone_of(plain, views(3, "uint8")) is None


def test_the_tone_is_that_of_frames_as_they_will_be_restored(plain: Restorer) -> None:
    restorer, asked = asking(plain, "restore", tone(2))
    pattern, clean = striped(), views(2)
    frames = seen_through(pattern, clean)
    tone_of(restorer, frames, given=pattern, enlarged=lambda frame: enlarge(frame, 2))
    for frame, shown in zip(clean, asked.seen, strict=True):
        assert shown.shape == (2 * HEIGHT, 2 * WIDTH)
        large = enlarge(frame, 2).values
        assert np.abs(shown - large).mean() < 1  # rounding; the pattern is of 95


def test_a_long_sequence_asks_few_frames_from_all_over_it(plain: Restorer) -> None:
    restorer, asked = asking(plain, "restore", tone(2))
    flat = [Frame(np.full((32, 32), at, np.float32), np.dtype(np.uint16)) for at in range(1000)]
    tone_of(restorer, flat)
    places = [int(shown[0, 0]) for shown in asked.seen]
    assert len(places) == 9
    assert places[0] == 0
    assert places[-1] >= 1000 - 64
    assert np.ptp(np.diff(places)) <= 64  # every sixty-fourth frame was kept


# --- the pattern ---------------------------------------------------------------------------------


def test_the_pattern_of_a_moving_camera_is_found_and_comes_off() -> None:
    restorer, _ = open_restorer(Request("cpu", "deal-fast"), KEEP)
    clean = views(24)
    frames = seen_through(striped(), clean)
    found = survey(frames, restorer, "auto").main
    assert found is not None
    assert found.finding is not None
    assert found.finding.pattern is not None
    assert "fixed pattern of" in found.finding.reason
    freed = without_pattern(frames[3], found.finding.pattern)
    assert freed.original is frames[3].values
    before = np.std(frames[3].values - clean[3].values)
    assert np.std(freed.values - clean[3].values) < 0.5 * before


def test_a_camera_that_stands_still_says_so(plain: Restorer) -> None:
    found = survey(views(1) * 12, plain, "auto").main
    assert found is not None
    assert found.finding is not None
    assert found.finding.pattern is None
    assert "too little motion" in found.finding.reason


def test_nobody_looks_for_a_pattern_that_is_not_wanted_or_known(plain: Restorer) -> None:
    frames = seen_through(striped(), views(12))
    unwanted = survey(frames, plain, "auto", find_pattern=False).main
    assert unwanted is not None
    assert unwanted.finding is None
    known = striped()
    common = survey(frames, plain, "auto", given=known).main
    assert common is not None
    assert common.finding is None


def test_a_pattern_leaves_gaps_where_they_were(plain: Restorer) -> None:
    pattern = striped()
    (frame,) = seen_through(pattern, views(1))
    frame.values[3, 4] = 0
    frame = replace(frame, metadata=Metadata(nodata=0.0))
    freed = without_pattern(frame, pattern)
    assert freed.original is frame.values
    assert freed.metadata == frame.metadata
    np.testing.assert_allclose(
        np.delete(freed.values, 3, 0), np.delete(views(1)[0].values, 3, 0), atol=1
    )
    assert 6000 < freed.values[3, 4] < 13000  # filled for the network
    (done,) = plain.restore_batch([freed], Shared(View(6000, 12000), None))
    np.testing.assert_array_equal(done.frame.values == 0, frame.values == 0)


# --- samples and memory --------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 7, 128, 129, 1000])
def test_few_frames_are_kept_however_long_the_sequence(count: int, plain: Restorer) -> None:
    alive: weakref.WeakSet[Frame] = weakref.WeakSet()
    most = 0

    def frames() -> Iterator[Frame]:
        nonlocal most
        for at in range(count):
            frame = Frame(np.full((32, 32), at, np.float32), np.dtype(np.uint16))
            alive.add(frame)
            most = max(most, len(alive))
            yield frame
            del frame

    told: list[tuple[int, int | None, str]] = []
    survey(frames(), plain, "image", progress=lambda *one: told.append(one))
    assert min(count, 64) <= most <= 2 * sample_count(32, 32) + 2
    assert [done for done, _, text in told if "looking" in text] == list(range(1, count + 1))
    assert not alive


def test_no_frames_are_kept_that_nobody_will_look_at(plain: Restorer) -> None:
    alive: weakref.WeakSet[Frame] = weakref.WeakSet()

    def frames() -> Iterator[Frame]:
        for at in range(40):
            frame = Frame(np.full((32, 32), at, np.float32), np.dtype(np.uint16))
            alive.add(frame)
            assert len(alive) <= 2
            yield frame

    survey(frames(), plain, "image", find_pattern=False)
