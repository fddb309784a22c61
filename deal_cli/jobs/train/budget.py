"""How long a training may take, and how many steps that makes on this machine."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from deal_cli.config import TrainConfig
from deal_cli.errors import UsageError

LEAST_STEPS = 24  # of a training that is given in time: fewer teach nothing
VALIDATING, GAUGING, TONING = 0.2, 0.3, 0.15  # shares of a time that the parts may take at most
LEAST_CROPS, LEAST_GAUGE_STEPS = 512, 200  # that a new gauge learns from, and in
_TIME = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
_STEPS = re.compile(r"(\d+) ?(?:steps?)")


@dataclass(frozen=True)
class Budget:
    """Either steps or seconds."""

    steps: int | None = None
    seconds: float | None = None


def parse_budget(text: str) -> Budget:
    """`20000steps`, `30m`, `2h`, `1h30m` or `90s`.

    Raises:
        UsageError: something else.
    """
    steps, time = _STEPS.fullmatch(text.strip()), _TIME.fullmatch(text.strip())
    if steps and int(steps[1]) > 0:
        return Budget(steps=int(steps[1]))
    if time:
        parts = (float(part or 0) for part in time.groups())
        seconds = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=True))
        if seconds > 0:
            return Budget(seconds=seconds)
    raise UsageError(
        f"a budget of '{text}'", remedy="--budget takes a time or steps: 30m, 20000steps"
    )


@dataclass(frozen=True)
class Pace:
    """Seconds that each part of a training takes on this machine, as measured.

    Attributes:
        plain: a step of N_E alone.
        active: a step of the game: N_G's ascent and N_E's step.
        validation: one validation, with what is written then.
        tone: the whole training of the tone predictor.
        most: validations that there is time for; None for as many as the settings want.
    """

    plain: float
    active: float
    validation: float
    tone: float
    most: int | None = None

    def paced(self, config: TrainConfig) -> TrainConfig:
        """The settings with no more validations than there is time for."""
        if self.most is None or -(-config.steps // config.validation_interval()) <= self.most:
            return config
        return replace(config, validate_every=-(-config.steps // self.most))

    def seconds(self, config: TrainConfig) -> float:
        """How long a whole training takes."""
        config = self.paced(config)
        active = len(config.adversary.active(config.steps))
        steps = active * self.active + (config.steps - active) * self.plain
        validations = -(-config.steps // config.validation_interval())
        return steps + validations * self.validation + self.tone

    def steps_within(self, seconds: float, config: TrainConfig, spent: float = 0.0) -> int:
        """The most steps that a training of these settings makes in a time.

        Args:
            seconds: of the whole training.
            config: its settings.
            spent: seconds of these that are over already.

        Raises:
            UsageError: too few to be worth it.
        """
        left = max(0.0, seconds - spent)
        low, high = 0, int(left / min(self.plain, self.active)) + 1
        while high - low > 1:
            middle = (low + high) // 2
            fits = self.seconds(replace(config, steps=middle)) <= left
            low, high = (middle, high) if fits else (low, middle)
        if low < LEAST_STEPS:
            raise UsageError(
                f"a budget of {spoken(seconds)} is time for {low} steps on this machine",
                remedy="give --budget more, or a smaller batch or crop in --config",
            )
        return low


@dataclass(frozen=True)
class Costs:
    """Seconds that the parts of a training would take at full size, as measured.

    Attributes:
        step: of the dearer kind.
        validation: of one picture.
        gauge: to teach a new one, if there is one.
    """

    step: float
    validation: float
    gauge: float = 0.0


def fitted(config: TrainConfig, seconds: float, costs: Costs) -> tuple[TrainConfig, int]:
    """Settings whose parts fit into a time, and how many validations do, the first included.

    Raises:
        UsageError: not even the shortest training that teaches anything fits.
    """
    rules = config.gauge
    gauge = costs.gauge * min(1.0, LEAST_CROPS / max(rules.crops, 1))
    least = LEAST_STEPS * costs.step + 2 * costs.validation + gauge
    if least > seconds:
        raise UsageError(
            f"a budget of {spoken(seconds)} is less than {LEAST_STEPS} steps take on this machine",
            remedy=f"give --budget {math.ceil(1.25 * least)}s or more,"
            " or a smaller batch or crop in --config",
        )
    room = min(VALIDATING * seconds, seconds - LEAST_STEPS * costs.step - gauge)
    one = max(costs.validation, 1e-6)
    pictures = max(1, min(config.validation_pictures, int(room / 2 / one)))
    most = max(2, int(room / (pictures * one)))
    left = seconds - LEAST_STEPS * costs.step - pictures * most * costs.validation
    share = min(GAUGING * seconds, left) / costs.gauge if costs.gauge else 1.0
    if share < 1:
        crops = max(LEAST_CROPS, int(share * rules.crops))
        steps = max(LEAST_GAUGE_STEPS, int(share * rules.steps))
        rules = replace(rules, crops=crops, steps=steps)
    return replace(config, validation_pictures=pictures, gauge=rules), most


def spoken(seconds: float) -> str:
    """A time in words, such as `1 h 25 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
