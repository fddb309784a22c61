"""How long a training may take, and how many steps that makes on this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from deal_cli.config import TrainConfig
from deal_cli.errors import UsageError

LEAST_STEPS = 24  # of a training that is given in time: fewer teach nothing
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
    """

    plain: float
    active: float
    validation: float
    tone: float

    def seconds(self, config: TrainConfig) -> float:
        """How long a whole training takes."""
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


def spoken(seconds: float) -> str:
    """A time in words, such as `1 h 25 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
