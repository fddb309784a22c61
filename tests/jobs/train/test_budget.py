"""A time becomes as many steps as this machine makes in it."""

from __future__ import annotations

import pytest

from deal_cli.config import AdversaryConfig, TrainConfig
from deal_cli.errors import UsageError
from deal_cli.jobs.train.budget import (
    LEAST_STEPS,
    VALIDATING,
    Budget,
    Costs,
    Pace,
    fitted,
    parse_budget,
    spoken,
)

HALF = AdversaryConfig(active_from=0.25, active_to=0.75)


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("20000steps", Budget(steps=20000)),
        ("1 step", Budget(steps=1)),
        ("30m", Budget(seconds=1800)),
        ("1h30m", Budget(seconds=5400)),
        ("90s", Budget(seconds=90)),
        ("1.5h", Budget(seconds=5400)),
    ],
)
def test_a_budget_is_a_time_or_steps(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["", "30", "0steps", "0m", "-5m", "tomorrow", "30m20steps", "5d"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="a budget of") as caught:
        parse_budget(text)
    assert "30m, 20000steps" in str(caught.value)


def test_the_time_of_a_training_by_hand() -> None:
    pace = Pace(plain=1.0, active=3.0, validation=10.0, tone=7.0)
    config = TrainConfig(steps=100, adversary=HALF, validate_every=50)
    assert pace.seconds(config) == 50 * 1 + 50 * 3 + 2 * 10 + 7


@pytest.mark.parametrize("seconds", [300, 1000, 86_400])
def test_as_many_steps_as_fit_and_hardly_more(seconds: float) -> None:
    pace = Pace(plain=0.5, active=1.5, validation=2.0, tone=30.0)
    config = TrainConfig(adversary=HALF)

    def time(steps: int) -> float:
        return pace.seconds(TrainConfig(steps=steps, adversary=HALF))

    steps = pace.steps_within(seconds, config)
    assert time(steps) <= seconds < time(steps + 12)  # of which one may validate once more


def test_a_time_for_next_to_nothing_is_refused() -> None:
    pace = Pace(plain=1.0, active=1.0, validation=0.0, tone=0.0)
    with pytest.raises(UsageError, match="a budget of 20 s is time for 20 steps"):
        pace.steps_within(20, TrainConfig())


def test_times_in_words() -> None:
    assert [spoken(s) for s in (4.6, 89, 90, 1800, 5100)] == [
        "5 s",
        "89 s",
        "2 min",
        "30 min",
        "1 h 25 min",
    ]


@pytest.mark.parametrize("seconds", [60, 180, 1800, 86_400])
@pytest.mark.parametrize("validation", [0.2, 5.0])
def test_validation_takes_a_share_of_the_time_whatever_it_costs(
    seconds: float, validation: float
) -> None:
    config, most = fitted(TrainConfig(), seconds, Costs(0.5, validation))
    taken = config.validation_pictures * most * validation
    assert taken <= max(VALIDATING * seconds, 2 * validation)
    assert most >= 2
    assert 1 <= config.validation_pictures <= 10


def test_the_least_budget_that_is_named_is_enough() -> None:
    costs = Costs(2.0, 3.0, gauge=600.0)
    with pytest.raises(UsageError, match="less than 24 steps take") as caught:
        fitted(TrainConfig(), 20, costs)
    named = int(str(caught.value).split("--budget ")[1].split("s")[0])
    config, most = fitted(TrainConfig(), named, costs)
    gauge = costs.gauge * config.gauge.crops / 30_000
    spent = LEAST_STEPS * costs.step + most * config.validation_pictures * costs.validation + gauge
    assert spent <= named


def test_no_more_validations_than_there_is_time_for() -> None:
    config = TrainConfig(steps=1000)
    assert Pace(1, 1, 1, 0, most=3).paced(config).validation_interval() == 334
    assert Pace(1, 1, 1, 0, most=10).paced(config) == config
    assert Pace(1, 1, 1, 0).paced(config) == config
