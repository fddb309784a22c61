"""Finding the fixed pattern of a sequence: what is found, how well, and when there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from deal_cli.engine.backends.choice import Request
from deal_cli.engine.fixed_pattern.estimate import Finding, estimate, sample_count
from deal_cli.engine.fixed_pattern.motion import different_views
from deal_cli.engine.fixed_pattern.pattern import Pattern
from deal_cli.engine.ranges import SequenceRange
from deal_cli.engine.restorer import Restorer, Settings, Shared, open_restorer
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.frame import Frame

SIZE = HEIGHT, WIDTH = 160, 200
CANVAS = 480, 640
PIVOT = 8000.0
NOISE = 15.0  # counts, from frame to frame
SPAN = 2500.0  # counts of a scene, by which PSNR is told

Stack = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Camera:
    """seen = gain * (scene - PIVOT) + PIVOT + offset; dead pixels are black or white."""

    offset: Stack
    gain: Stack
    dead: NDArray[np.bool_]

    def offset_at(self, pivot: float) -> Stack:
        """The same camera's offset about another pivot."""
        return self.offset + (self.gain - 1) * np.float32(pivot - PIVOT)

    def sees(self, scenes: Stack, noise: float = NOISE, seed: int = 0) -> Stack:
        """Counts `(N, H, W)`."""
        rng = np.random.default_rng(seed)
        seen = self.gain * (scenes - PIVOT) + PIVOT + self.offset
        black = np.random.default_rng(1).random(SIZE) < 0.5
        seen = np.where(self.dead, np.where(black, 4500, 14000), seen)
        return np.rint(seen + rng.normal(0, noise, seen.shape)).astype(np.float32)


@cache
def camera(seed: int) -> Camera:
    """One without a shutter: drifting columns, rows, pixels, gain and dead ones."""
    rng = np.random.default_rng(seed)
    columns = np.zeros(WIDTH)
    for at, step in enumerate(rng.normal(0, 80, WIDTH)):
        columns[at] = 0.5 * columns[at - 1] + 0.866 * step  # σ 80
    offset = columns + rng.normal(0, 25, (HEIGHT, 1)) + rng.normal(0, 50, SIZE)
    gain = 1 + rng.normal(0, 0.02, WIDTH) + rng.normal(0, 0.01, SIZE)
    return Camera(
        (offset - offset.mean()).astype(np.float32),
        gain.astype(np.float32),
        rng.random(SIZE) < 0.002,
    )


PERFECT = Camera(np.zeros(SIZE, np.float32), np.ones(SIZE, np.float32), np.zeros(SIZE, np.bool_))


@cache
def moving(seed: int, count: int = 48) -> Stack:
    """Clean counts `(count, H, W)`: a view that wanders over a drawn scene."""
    rng = np.random.default_rng(seed)
    canvas = draw_scene(seed, *CANVAS, "uint16").values
    room = np.subtract(CANVAS, SIZE)
    place, speed = room / 2, np.zeros(2)
    views = []
    for _ in range(count):
        speed = 0.8 * speed + rng.normal(0, 9, 2)
        place = place + speed
        speed = np.where((place < 0) | (place > room), -speed, speed)
        place = np.clip(place, 0, room)
        y, x = place.astype(int)
        views.append(canvas[y : y + HEIGHT, x : x + WIDTH])
    return np.stack(views)


@cache
def restorer() -> Restorer:
    return open_restorer(Request("cpu", "deal-fast"), Settings(tone="keep"))[0]


def frames_of(values: Stack, dtype: str = "uint16") -> list[Frame]:
    return [Frame(one, np.dtype(dtype)) for one in values]


def shared_by(frames: Sequence[Frame]) -> Shared:
    together = SequenceRange("auto")
    for frame in frames:
        together.add(frame)
    measured = together.result()
    assert measured is not None
    return Shared(measured, None)


def restored(frames: Sequence[Frame], shared: Shared) -> Stack:
    return np.stack(restorer().restore_structure(frames, shared))


@dataclass(frozen=True)
class Studied:
    """A sequence with what single-frame restoration and the estimate make of it."""

    seen: Stack
    single: Stack
    shared: Shared
    finding: Finding

    @property
    def pattern(self) -> Pattern:
        assert self.finding.pattern is not None, self.finding.reason
        return self.finding.pattern


def study(seen: Stack, dtype: str = "uint16") -> Studied:
    frames = frames_of(seen, dtype)
    shared = shared_by(frames)
    single = restored(frames, shared)
    return Studied(seen, single, shared, estimate(seen, single, dtype))


@cache
def studied(camera_seed: int, scene_seed: int) -> Studied:
    return study(camera(camera_seed).sees(moving(scene_seed)))


def psnr(made: Stack, clean: Stack, span: float = SPAN) -> float:
    return float(20 * np.log10(span / np.sqrt(((made - clean) ** 2).mean())))


def with_pattern(seen: Stack, pattern: Pattern, shared: Shared, dtype: str = "uint16") -> Stack:
    """Restored after the pattern was taken off."""
    frames = frames_of(seen, dtype)
    return restored([replace(f, values=pattern.remove(f.values)) for f in frames], shared)


# --- a camera that moves -------------------------------------------------------------------------


def test_offset_and_dead_pixels_of_a_moving_camera_are_found() -> None:
    found, true = studied(1, 1).pattern, camera(1)
    alive = ~(found.dead | true.dead)
    truth = true.offset_at(found.pivot)
    assert np.corrcoef(found.offset[alive], truth[alive])[0, 1] >= 0.95
    # Not only its shape: a pattern of half or twice the size would correlate too.
    assert np.polyfit(truth[alive], found.offset[alive], 1)[0] == pytest.approx(1, abs=0.06)
    assert (found.dead & true.dead).sum() >= 0.95 * true.dead.sum()
    assert (found.dead & ~true.dead).mean() < 0.001
    assert found.dtype == "uint16"
    assert found.views >= 30


def test_a_pattern_moves_no_temperature_and_its_gain_no_contrast() -> None:
    found = studied(1, 1).pattern
    assert found.offset.mean(dtype=np.float64) == pytest.approx(0, abs=0.01)
    assert np.median(found.gain) == pytest.approx(1, abs=1e-4)
    seen = studied(1, 1).seen[0]
    alive = ~found.dead
    assert found.remove(seen)[alive].mean() == pytest.approx(seen[alive].mean(), abs=5)


def test_the_gain_of_columns_is_found_as_far_as_the_scene_tells() -> None:
    for camera_seed, scene_seed in ((1, 1), (4, 5)):
        found, true = studied(camera_seed, scene_seed).pattern, camera(camera_seed)
        assert np.corrcoef(found.gain.mean(0), true.gain.mean(0))[0, 1] > 0.6


def test_the_gain_that_is_found_is_nearer_than_none() -> None:
    found, true = studied(4, 5).pattern, camera(4)
    alive = ~(found.dead | true.dead)
    assert (found.gain - true.gain)[alive].std() < true.gain[alive].std()


def test_frames_without_the_pattern_are_restored_better_by_three_decibels() -> None:
    one, clean = studied(1, 1), moving(1)[:6]
    single = psnr(one.single[:6], clean)
    assert psnr(with_pattern(one.seen[:6], one.pattern, one.shared), clean) >= single + 3


def test_the_pattern_of_one_clip_serves_another_of_the_same_camera() -> None:
    clean = moving(2, 6)
    seen = camera(1).sees(clean, seed=7)
    frames = frames_of(seen)
    shared = shared_by(frames)
    pattern = studied(1, 1).pattern
    for frame in frames:
        pattern.check(frame)
        assert pattern.presence(frame.values)[0] == pytest.approx(1, abs=0.1)
    single = psnr(restored(frames, shared), clean)
    assert psnr(with_pattern(seen, pattern, shared), clean) >= single + 3


def test_eight_bit_clips_have_a_pattern_too() -> None:
    counts = camera(1).sees(moving(0, 32))
    low, high = np.percentile(counts, (0.5, 99.5))
    gain = 235 / (high - low)

    def levels(values: Stack) -> Stack:
        return (values - np.float32(low)) * np.float32(gain) + 10

    one = study(np.rint(levels(counts)).clip(0, 255), "uint8")
    found, true = one.pattern, camera(1)
    alive = ~(found.dead | true.dead)
    truth = gain * true.offset_at((found.pivot - 10) / gain + low)
    assert np.corrcoef(found.offset[alive], truth[alive])[0, 1] >= 0.95
    assert (found.dead & true.dead).sum() >= 0.95 * true.dead.sum()
    assert (found.dead & ~true.dead).mean() < 0.001
    clean, seen = levels(moving(0, 32)[:6]), one.seen[:6]
    single = psnr(one.single[:6], clean, 255)
    assert psnr(with_pattern(seen, found, one.shared, "uint8"), clean, 255) >= single + 3
    assert found.dtype == "uint8"


def test_where_the_scene_has_no_detail_the_pattern_is_as_good_as_elsewhere() -> None:
    found, true, clean = studied(1, 1).pattern, camera(1), moving(1)
    error = found.offset - true.offset_at(found.pivot)
    alive = ~(found.dead | true.dead)
    detail = clean.std(0)
    quiet = detail < np.median(detail)
    assert error[alive & quiet].std() < 0.3 * true.offset.std()
    assert error[alive & ~quiet].std() < 0.3 * true.offset.std()


# --- none where there is none --------------------------------------------------------------------


@pytest.mark.parametrize(("scene", "noise"), [(0, NOISE), (1, 0.0), (3, 80.0)])
def test_a_moving_camera_without_a_pattern_has_none(scene: int, noise: float) -> None:
    finding = study(PERFECT.sees(moving(scene, 32), noise)).finding
    assert finding.pattern is None
    assert "no fixed pattern" in finding.reason


@pytest.mark.parametrize("one", [camera(1), PERFECT], ids=["pattern", "none"])
def test_a_static_camera_has_too_little_motion(one: Camera) -> None:
    finding = study(one.sees(np.repeat(moving(1)[:1], 12, 0))).finding
    assert finding.pattern is None
    assert "too little motion" in finding.reason
    assert "(one view in 12 frames looked at)" in finding.reason


def test_seven_views_are_too_few_and_eight_are_not() -> None:
    one = studied(1, 1)
    views = different_views(one.single)
    few = estimate(one.seen[views[:7]], one.single[views[:7]], "uint16")
    assert few.pattern is None
    assert "too little motion" in few.reason
    assert "(7 different views in 7 frames looked at)" in few.reason
    enough = estimate(one.seen[views[:8]], one.single[views[:8]], "uint16").pattern
    assert enough is not None
    assert enough.views == 8


def test_no_frames_are_no_views() -> None:
    assert estimate([], [], "uint16").pattern is None


def test_frames_of_one_value_have_no_pattern_and_no_warning() -> None:
    flat = np.full((12, *SIZE), 8000, np.float32)
    assert estimate(flat, flat, "uint16").pattern is None


def test_a_pattern_that_the_halves_of_a_clip_do_not_share_is_none() -> None:
    clean = moving(1)
    seen = np.concatenate([camera(1).sees(clean[:24]), camera(2).sees(clean[24:])])
    finding = estimate(seen, clean, "uint16")  # as if restored perfectly
    assert finding.pattern is None
    assert "no fixed pattern" in finding.reason


# --- what stands still in the picture ------------------------------------------------------------


def bonnet(contrast: float) -> tuple[Stack, NDArray[np.bool_]]:
    """The lower quarter of every frame: a warm bonnet with three spots; and where it is."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    covered = y > HEIGHT * 0.75 + 6 * np.sin(x / 25)
    warmth = np.full(SIZE, 8300, np.float32)
    for centre in (40, 110, 160):
        warmth[(x - centre) ** 2 + (y - 140) ** 2 < 81] += contrast
    return warmth, covered


@cache
def behind_a_bonnet(contrast: float) -> tuple[Studied, Stack]:
    warmth, covered = bonnet(contrast)
    clean = np.where(covered, warmth, moving(0))
    return study(camera(1).sees(clean)), clean


def test_what_stands_still_does_not_spoil_the_rest() -> None:
    one, clean = behind_a_bonnet(600)
    rest = ~bonnet(600)[1]
    found, true = one.pattern, camera(1)
    alive = rest & ~(found.dead | true.dead)
    truth = true.offset_at(found.pivot)
    assert np.corrcoef(found.offset[alive], truth[alive])[0, 1] >= 0.93
    assert (found.dead & ~true.dead & rest).mean() < 0.001
    single = psnr(one.single[:4, rest], clean[:4, rest])
    made = with_pattern(one.seen[:4], found, one.shared)
    assert psnr(made[:, rest], clean[:4, rest]) >= single + 2


def test_what_stands_still_becomes_pattern_by_a_small_share_only() -> None:
    one, clean = behind_a_bonnet(600)
    covered = bonnet(600)[1]
    found, true = one.pattern, camera(1)
    alive = covered & ~(found.dead | true.dead)
    error = (found.offset - true.offset_at(found.pivot))[alive]
    assert error.std() < 0.12 * 600
    assert (found.gain - true.gain)[alive].std() < 2 * true.gain.std()
    assert (found.dead & ~true.dead & covered).sum() <= 2
    made = with_pattern(one.seen[:4], found, one.shared)
    single = psnr(one.single[:4, covered], clean[:4, covered])
    assert psnr(made[:, covered], clean[:4, covered]) > single - 0.5


def panned(seed: int, count: int = 48) -> Stack:
    """A view that moves to the right alone, so that a level horizon stands still."""
    canvas = draw_scene(seed, CANVAS[0], WIDTH + 12 * count, "uint16").values
    rows = slice(100, 100 + HEIGHT)
    return np.stack([canvas[rows, 12 * at : 12 * at + WIDTH] for at in range(count)])


def test_a_level_horizon_in_a_pan_is_no_pattern() -> None:
    clean = panned(1)
    one = study(PERFECT.sees(clean))
    if one.finding.pattern is not None:
        assert one.pattern.spread < NOISE
        single = psnr(one.single[:6], clean[:6])
        made = with_pattern(one.seen[:6], one.pattern, one.shared)
        assert psnr(made, clean[:6]) > single - 1


def test_a_pan_shows_the_pattern_all_the_same() -> None:
    clean = panned(1)
    one = study(camera(1).sees(clean))
    single = psnr(one.single[:6], clean[:6])
    assert psnr(with_pattern(one.seen[:6], one.pattern, one.shared), clean[:6]) >= single + 3


# --- parts ---------------------------------------------------------------------------------------


def test_frames_that_show_the_same_are_one_view() -> None:
    clean = moving(1)
    assert different_views(clean[[0, 0, 20, 20, 0, 40, 20]]) == [0, 2, 5]
    warmer = clean[[0, 0]] + np.array([0, 500], np.float32)[:, None, None]
    assert different_views(warmer) == [0]
    assert different_views([]) == []


def test_stripes_and_noise_do_not_make_views_alike_or_different() -> None:
    clean = moving(1)[[0, 0, 0, 20, 40]]
    rng = np.random.default_rng(0)
    noisy = clean + rng.normal(0, 5, clean.shape) + camera(1).offset.mean(0)
    assert different_views(noisy.astype(np.float32)) == [0, 3, 4]


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(160, 200, 64), (512, 640, 64), (1024, 1280, 25), (2048, 2048, 8), (2100, 2100, 0)],
)
def test_the_larger_frames_are_the_fewer_are_looked_at(
    height: int, width: int, expected: int
) -> None:
    assert sample_count(height, width) == expected


# --- what is not a pattern -----------------------------------------------------------------------


def straight_lines() -> Stack:
    """A module of straight lines, `(H, W)`, 0 and 1: nearly all of it is rows and columns."""
    lines = np.zeros(SIZE, np.float32)
    lines[10:-10, 10::30] = lines[10:-10, 11::30] = 1
    lines[40:60, 15::30] = 1
    return lines


@pytest.mark.parametrize("contrast", [50, 100, -80])
def test_a_still_scene_of_lines_in_noise_is_no_pattern(contrast: float) -> None:
    noise = np.random.default_rng(7).normal(0, 60, (32, *SIZE))
    one = study(np.rint(8000 + contrast * straight_lines() + noise).astype(np.float32))
    assert one.finding.pattern is None
    assert "too little motion" in one.finding.reason


@pytest.mark.parametrize("jitter", [0.0, 0.5])
def test_a_target_that_the_camera_follows_stays(jitter: float) -> None:
    clean, rng = moving(1, 32), np.random.default_rng(2)
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    target = np.zeros_like(clean)
    for frame in target:
        y, x = 64 + jitter * rng.normal(), 80 + jitter * rng.normal()
        frame += 3000 * np.exp(-((v - y) ** 2 + (u - x) ** 2) / 2)
    one = study(camera(3).sees(clean + target))
    made = with_pattern(one.seen, one.pattern, one.shared)
    kept = [frame[62:67, 78:83].max() for frame in made]
    true = [frame[62:67, 78:83].max() for frame in clean + target]
    assert not (one.pattern.dead & ~camera(3).dead)[58:71, 74:87].any()
    assert np.median(np.array(kept) - true) > -0.15 * 3000


def test_a_burnt_in_text_is_not_taken_for_dead_pixels() -> None:
    clean = moving(1, 32)
    seen = camera(3).sees(clean)
    text = np.zeros(SIZE, np.bool_)
    text[8:16, 20] = text[8:16, 26] = text[12, 20:27] = text[8, 30:36] = True
    seen[:, text] = clean.max() + 500
    found = study(seen).pattern
    assert not (found.dead & text).any()
