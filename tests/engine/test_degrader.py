"""Frame in, degraded Frame out: the source's own numbers, and what was drawn is what is done."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from deal_cli.config import GeneratorConfig
from deal_cli.engine.degrader import TONE, Degraded, Degrader
from deal_cli.errors import PictureError, UsageError, WeightsError
from deal_cli.imaging.drawn.scenes import draw_scene
from deal_cli.imaging.frame import Frame, Metadata
from deal_cli.jobs.degrade.run import SEVERITIES
from deal_cli.model.degradations import OPERATIONS, Draw
from deal_cli.model.generator import Generator
from deal_cli.model.sampler import Recipe, Step
from deal_cli.model.weights import load_generator

CPU = torch.device("cpu")
TINY = GeneratorConfig(width=2)


def make(config: GeneratorConfig = TINY, *, none: float = 0.0) -> Degrader:
    """With a generator whose log odds of choosing nothing are `none`, all else even."""
    torch.manual_seed(0)
    generator = Generator(config).eval()
    last = generator.policy[2]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        count = len(config.operations)
        last.bias.view(config.rounds, 3 * count + 1)[:, count] = none
    return Degrader(CPU, generator)


def degrade(
    frame: Frame,
    severity: float = 1.0,
    operations: Collection[str] | None = None,
    seed: int = 0,
    degrader: Degrader | None = None,
) -> Degraded:
    rng = np.random.default_rng(seed)
    return (degrader or make()).degrade(frame, rng, severity, operations)


def counts(height: int = 48, width: int = 64) -> Frame:
    return draw_scene(1, height, width, "uint16")


def names(degraded: Degraded) -> list[str]:
    return [step.draw.operation for step in degraded.recipe.steps]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_what_is_recorded_is_what_was_done(dtype: str) -> None:
    frame = replace(draw_scene(0, 48, 64), dtype=np.dtype(dtype))
    for seed in range(5):
        done = degrade(frame, 0.7, seed=seed)
        again = Degrader(CPU).replay(frame, Recipe.from_json(done.recipe.to_json()), done.range)
        assert np.array_equal(again.frame.values, done.frame.values)
        assert again.psnr == done.psnr


def test_severity_zero_is_the_identity() -> None:
    for seed in range(8):
        frame = counts()
        done = degrade(frame, 0.0, [*GeneratorConfig().operations, TONE], seed)
        assert np.array_equal(done.frame.values, frame.values)
        assert done.psnr == math.inf
        assert len(done.recipe.steps) > 1


def test_severities_are_shares_of_the_same_attack() -> None:
    whole, half = (degrade(counts(), v).recipe.steps for v in (1.0, 0.5))
    assert [step.draw for step in half] == [step.draw for step in whole]
    assert [step.severity for step in half] == [step.severity / 2 for step in whole]


@pytest.mark.parametrize("name", GeneratorConfig().operations)
def test_a_named_operation_is_applied_even_where_the_generator_would_do_nothing(name: str) -> None:
    done = degrade(counts(), operations=[name], degrader=make(none=40.0))
    assert names(done) == [name]
    assert not np.array_equal(done.frame.values, counts().values)


def test_no_picture_comes_out_untouched() -> None:
    for seed in range(10):
        assert names(degrade(counts(), seed=seed, degrader=make(none=40.0)))


def test_tone_comes_first_and_as_severe_as_asked_for() -> None:
    done = degrade(counts(), 0.6, [TONE, "stripe"])
    assert names(done) == [TONE, "stripe"]
    assert done.recipe.steps[0].severity == 0.6
    assert names(degrade(counts(), 0.6, [TONE])) == [TONE]


def test_enough_of_the_picture_itself_is_left() -> None:
    """Of the whole picture, which is larger than the view that was looked at."""
    config = GeneratorConfig(width=2, budget=8.0, least_kept=0.6)
    frame, degrader = draw_scene(0, 300, 400), make(config)
    for seed in range(3):
        done = degrade(
            frame, operations=["gaussian", "row", "stripe"], seed=seed, degrader=degrader
        )
        kept = np.corrcoef(done.frame.values.ravel(), frame.values.ravel())[0, 1] ** 2
        assert kept >= 0.55  # 0.6 before grey levels are rounded and clipped


def test_psnr_is_that_of_the_written_numbers_on_the_range() -> None:
    frame = counts()
    done = degrade(frame)
    low, high = done.range
    error = (done.frame.values - frame.values).astype(np.float64) / (high - low)
    assert done.psnr == pytest.approx(-10 * np.log10(np.mean(error**2)))
    assert np.array_equal(done.frame.values, np.rint(done.frame.values))


def test_pixels_outside_the_range_move_with_their_neighbours() -> None:
    """A hot spot above the range is not cut down to it."""
    values = counts().values.copy()
    values[10, 10] = 60000
    shift = Recipe((Step(Draw(TONE, {"loss": 0.0, "offset": -0.1, "log_gamma": 0.0}, 0), 1.0),))
    done = Degrader(CPU).replay(Frame(values, np.dtype(np.uint16)), shift)
    low, high = done.range
    assert done.frame.values[10, 10] == pytest.approx(60000 - 0.1 * (high - low), abs=1)


def gapped() -> NDArray[np.float32]:
    values = counts().values / 100
    values[3, 4], values[5, 6], values[7] = np.nan, np.inf, -9999
    return values.astype(np.float32)


def test_gaps_stay_as_and_where_they_are() -> None:
    values = gapped()
    done = degrade(Frame(values, np.dtype(np.float32), Metadata(nodata=-9999)))
    gaps = ~np.isfinite(values) | (values == -9999)
    assert np.array_equal(done.frame.values[gaps], values[gaps], equal_nan=True)
    assert np.isfinite(done.frame.values[~gaps]).all()
    assert (done.frame.values[~gaps] > -1000).all()
    assert math.isfinite(done.psnr)


def test_no_measured_count_becomes_the_number_for_none() -> None:
    values = np.tile(np.arange(100, 164, dtype=np.float32), (48, 1))
    values[:, 30] = 0
    values[:4] = 131  # nodata
    frame = Frame(values, np.dtype(np.uint16), Metadata(nodata=131))
    done = degrade(frame, operations=["gaussian", "dead"])
    gaps = values == 131
    assert np.array_equal(done.frame.values == 131, gaps)


def test_a_picture_of_one_value_comes_back_with_nothing_recorded() -> None:
    frame = Frame(np.full((8, 9), 7.5, np.float32), np.dtype(np.float32))
    done = degrade(frame)
    assert np.array_equal(done.frame.values, frame.values)
    assert done.recipe == Recipe(())


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 5), (700, 2), (257, 300)])
def test_every_size_is_degraded(size: tuple[int, int]) -> None:
    values = np.random.default_rng(0).integers(0, 256, size).astype(np.float32)
    for seed in range(3):
        done = degrade(Frame(values, np.dtype(np.uint8)), seed=seed)
        assert done.frame.values.shape == size


def test_what_is_too_long_for_jpeg_is_refused_or_spared_it() -> None:
    degrader = make(GeneratorConfig(width=2, bounds={"row": 1.0, "jpeg": 1.0}), none=-40.0)
    frame = Frame(np.arange(70_000, dtype=np.float32)[:, None] / 300, np.dtype(np.uint8))
    assert names(degrade(frame, degrader=degrader)) == ["row"]
    with pytest.raises(PictureError, match="too long for JPEG"):
        degrade(frame, operations=["jpeg"], degrader=degrader)
    with pytest.raises(PictureError, match="too long for JPEG"):
        Degrader(CPU).replay(frame, Recipe((Step(Draw("jpeg", {}, 0), 0.5),)))


def test_a_range_too_wide_for_float32_is_refused() -> None:
    values = np.linspace(-3e38, 3e38, 64, dtype=np.float64).astype(np.float32).reshape(8, 8)
    with pytest.raises(PictureError, match="float32"):
        degrade(Frame(values, np.dtype(np.float32)))


def test_a_generator_gone_wild_is_refused() -> None:
    degrader = make(none=math.inf)
    with pytest.raises(WeightsError, match="no numbers"):
        degrade(counts(), degrader=degrader)


def test_unknown_operations_are_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="strip") as caught:
        make().check_operations(["strip"])
    assert "'stripe'" in str(caught.value)
    few = make(GeneratorConfig(width=2, bounds={"row": 1.0}))
    few.check_operations(["row", TONE])
    with pytest.raises(UsageError, match="does not choose 'blur'") as caught:
        few.check_operations(["blur"])
    assert "row, tone" in str(caught.value)
    make().check_operations(OPERATIONS)


def test_out_of_memory_is_told_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("deal_cli.model.sampler.apply", full)
    with pytest.raises(PictureError, match="does not fit into memory"):
        degrade(counts())


def test_the_bundled_attacks_go_from_barely_visible_to_severe_step_by_step() -> None:
    degrader = Degrader(torch.device("cpu"), load_generator("generator"))
    means = []
    for severity in SEVERITIES.values():
        psnr = [
            degrader.degrade(draw_scene(seed, 192, 256), np.random.default_rng(seed), severity).psnr
            for seed in range(8)
        ]
        means.append(float(np.mean(psnr)))
    assert means[0] > 35
    assert means[-1] < 24
    assert all(worse < better for better, worse in itertools.pairwise(means)), means


@pytest.mark.gpu
def test_a_gpu_makes_nearly_the_pixels_of_the_processor() -> None:
    scene, generator = draw_scene(0, 96, 128), load_generator("generator")
    made = [
        Degrader(torch.device(device), generator).degrade(scene, np.random.default_rng(1), 0.7)
        for device in ("cpu", "cuda")
    ]
    assert made[0].recipe == made[1].recipe
    difference = np.abs(made[0].frame.values - made[1].frame.values)
    assert np.mean(difference <= 1) > 0.999
