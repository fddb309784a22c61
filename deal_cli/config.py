"""Every setting of a training, as frozen dataclasses, and the most that is read from a file.

Standard library only: `deal --help` needs nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from deal_cli.errors import short
from deal_cli.networks import (
    LEAST_EDGE,
    MOST_WIDTH,
    NETWORKS,
    NetworkConfig,
    check_counts,
    smallest_edge,
)

#: Pixels a picture may have before it is refused unread, 400 megapixels: a small file can declare
#: a size that no memory holds.
MAX_PIXELS = 400_000_000

#: Bytes a weight file may have; the published network has 2 million numbers, a sixtieth of this.
MAX_WEIGHT_BYTES = 512 * 2**20

MOST_TONE_WIDTH = 256
MOST_ROUNDS = 32
MOST_ZOOM = 4
SSIM_EDGE = 11  # pixels


@dataclass(frozen=True)
class SamplerConfig:
    """How degradations are drawn for training (`model/sampler.py`).

    Attributes:
        count_odds: odds of 0, 1, 2, … degradations in one recipe.
        camera_order_odds: share of mixtures in the order of a camera; the rest is shuffled.
        severity_power: severity = least + (1 - least) * u ** power, u uniform in (0, 1); a power
            above 1 favours mild ones. In mixtures the power is 1.4 times as large.
        least_severity: below it a degradation cannot be told from a clean picture, and clean
            pictures have odds of their own.
        odds: relative odds of each operation; a table in a file replaces this one whole.
        average: in place of a sequence, the mean of all operations' pictures, which no camera
            makes: the "average of degradations" of the paper's ablation, for comparison only.
    """

    count_odds: tuple[float, ...] = (0.05, 0.65, 0.16, 0.09, 0.05)
    camera_order_odds: float = 0.8
    severity_power: float = 1.5
    least_severity: float = 0.06
    odds: Mapping[str, float] = field(
        default_factory=lambda: {
            "blur": 3.5,
            "motion": 0.7,
            "downsample": 4.5,
            "shading": 0.2,
            "stripe": 3.0,
            "row": 0.6,
            "dead": 0.6,
            "gaussian": 1.6,
            "shot": 0.4,
            "quantise": 0.2,
            "jpeg": 0.4,
        }
    )
    average: bool = False

    def __post_init__(self) -> None:
        for key in ("camera_order_odds", "least_severity"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"'{key}' is {short(getattr(self, key))}, not from 0 to 1")
        if not 0 <= self.severity_power < math.inf:
            raise ValueError(f"'severity_power' is {short(self.severity_power)}, not 0 or more")


@dataclass(frozen=True)
class GeneratorConfig:
    """Sizes and limits of the degradation generator N_G (`model/generator.py`).

    Attributes:
        rounds: R, the most operations in one attack.
        width: feature channels.
        bounds: what it chooses from, and the largest severity of each; a table in a file replaces
            this one whole. What hardly differs from a scene is bounded most: of shading as strong
            as it can be, N_G would choose nothing else. Contrast is left out: it is not the
            enhancer's to restore.
        budget: the largest sum of severities in one attack.
        least_kept: of the clean picture's information, the least share that an attack leaves, as
            the squared correlation of the two: N_G shall not win by erasing.
    """

    rounds: int = 4
    width: int = 16
    bounds: Mapping[str, float] = field(
        default_factory=lambda: {
            "blur": 0.8,
            "motion": 0.6,
            "downsample": 0.8,
            "shading": 0.35,
            "stripe": 1.0,
            "row": 1.0,
            "dead": 1.0,
            "gaussian": 1.0,
            "shot": 1.0,
            "quantise": 0.7,
            "jpeg": 0.8,
        }
    )
    budget: float = 2.5
    least_kept: float = 0.25

    def __post_init__(self) -> None:
        check_counts(self, rounds=MOST_ROUNDS, width=MOST_WIDTH)
        if not self.bounds or not all(0 < bound <= 1 for bound in self.bounds.values()):
            raise ValueError("'bounds' are not severities above 0 up to 1")
        if not 0 < self.budget < math.inf:
            raise ValueError(f"'budget' is {short(self.budget)}, not a number above 0")
        if not 0 <= self.least_kept < 1:
            raise ValueError(f"'least_kept' is {short(self.least_kept)}, not from 0 to below 1")

    @property
    def operations(self) -> tuple[str, ...]:
        """The names of what it chooses from, in their order."""
        return tuple(self.bounds)


@dataclass(frozen=True)
class AdversaryConfig:
    """The inner maximisation of a training (`jobs/train/game.py`).

    Attributes:
        active_from: share of the steps after which N_G takes part; until then N_E warms up.
        active_to: share of the steps after which N_E closes without it.
        fresh: whether N_G starts anew even where one lies beside the weights to start from.
        ascent_steps: k, steps of N_G at a time; with 0 it never learns.
        ascent_every: steps of N_E from one ascent to the next: an ascent costs as much as such a
            step, and N_E does not change much in a few.
        pictures: clean crops in one step of N_G.
        attacks: on each of them, whose mean harm is the measure for each one's.
        share: of N_E's batch that N_G degrades; the rest is sampled at random; 0 is no adversary.
        learning_rate: of N_G (Adam).
        diversity: weight of the entropy of N_G's choices, in units of the loss: what is worse for
            N_E by this much is e times as likely.
    """

    active_from: float = 0.1
    active_to: float = 0.9
    fresh: bool = False
    ascent_steps: int = 1
    ascent_every: int = 4
    pictures: int = 1
    attacks: int = 4
    share: float = 0.5
    learning_rate: float = 2e-3
    diversity: float = 0.15

    def __post_init__(self) -> None:
        if not 0 <= self.active_from <= self.active_to <= 1:
            span = f"{short(self.active_from)} to {short(self.active_to)}"
            raise ValueError(f"the adversary is active from {span}, not shares of the steps")
        if not 0 <= self.share <= 1:
            raise ValueError(f"'share' is {short(self.share)}, not from 0 to 1")
        for key, least in (
            ("ascent_steps", 0),
            ("ascent_every", 1),
            ("pictures", 1),
            ("attacks", 2),
        ):
            if getattr(self, key) < least:
                raise ValueError(f"'{key}' is {short(getattr(self, key))}, not {least} or more")
        for key in ("diversity", "learning_rate"):
            if not 0 <= getattr(self, key) < math.inf:
                raise ValueError(f"'{key}' is {short(getattr(self, key))}, not 0 or more")

    def active(self, steps: int) -> range:
        """The steps in which N_G takes part; at least one of however few, unless it never does."""
        if self.active_from == self.active_to or self.share == 0:
            return range(0)
        first = min(round(self.active_from * steps), steps - 1)
        return range(first, max(round(self.active_to * steps), first + 1))


@dataclass(frozen=True)
class ToneConfig:
    """One training of the tone predictor (`jobs/train/tone.py`), after the enhancer's.

    A training that starts from weights keeps theirs.

    Attributes:
        steps: of the optimiser; 0 trains no predictor.
        batch: thumbnails a step.
        width: feature channels.
        learning_rate: peak of the schedule.
        seed: of initial weights and of everything drawn.
    """

    steps: int = 3000
    batch: int = 32
    width: int = 16
    learning_rate: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts(self, width=MOST_TONE_WIDTH)
        for key in ("steps", "learning_rate", "seed"):
            if not 0 <= getattr(self, key) < math.inf:
                value = short(getattr(self, key))
                raise ValueError(f"'{key}' of the tone is {value}, not 0 or more")


@dataclass(frozen=True)
class GaugeConfig:
    """The training of a new gauge (`jobs/train/gauge.py`), before the enhancer's.

    It goes on learning beside the enhancer. A gauge that comes with weights is not begun anew.

    Attributes:
        crops: degraded crops that it learns from.
        steps: of its optimiser (AdamW, cosine).
        batch: crops a step.
        learning_rate: peak of the schedule.
        weight: of its error in the enhancer's loss.
    """

    crops: int = 30_000
    steps: int = 8000
    batch: int = 256
    learning_rate: float = 2e-3
    weight: float = 0.5

    def __post_init__(self) -> None:
        for key in ("crops", "steps", "learning_rate", "weight"):
            if not 0 <= getattr(self, key) < math.inf:
                value = short(getattr(self, key))
                raise ValueError(f"'{key}' of the gauge is {value}, not 0 or more")


@dataclass(frozen=True)
class TrainConfig:
    """One training of the enhancer and its adversary (`jobs/train/run.py`).

    Attributes:
        network: sizes of N_E.
        sampler: degradations drawn at random.
        generator: sizes and limits of N_G.
        adversary: when and how N_G takes part.
        tone: training of the tone predictor, after the enhancer's.
        gauge: training of the gauge, where the network has one.
        steps: of N_E's optimiser; the cosine schedule ends there (`--budget`).
        batch: crops a step, in each process.
        crop: edge of a crop in pixels, a multiple of the stride.
        border: pixels cut from each edge of every training picture.
        scale_odds: odds of taking a picture at full, .65 and half size.
        zoom: crops are taken up to so many times as large and reduced, so that no two are equally
            sharp: from a few sharpnesses alone a gauge learns these rather than degradations.
        grain_odds: odds of giving a clean crop noise that is its camera's own and stays.
        grain_sigma: the largest standard deviation of it, of the range; uniform up to there.
        spot_odds: odds of drawing small hot and cold things, as a lens shows them, into a crop:
            spots, a front of windows, or discs, bars and lines with hard edges.
        learning_rate: peak of the cosine schedule (AdamW) when training starts anew.
        fine_tuning_rate: the same when it starts from weights.
        warmup: share of the steps with a linear rise of the learning rate.
        weight_decay: of AdamW.
        clip: largest norm of the gradient.
        ema: decay of the averaged weights, which are the ones kept.
        objective: "log_mse", each picture's log squared error; "detailed", the same with small
            things of much contrast weighed more; "structural", the same as "log_mse" with a tenth
            of the log of 1 - SSIM; or "published", .75 L1 - 1.1 SSIM.
        validate_every: steps between validations; 0 is a tenth of all steps.
        validation_pictures: on how many pictures at most, evenly spaced among those there are.
        seed: of initial weights and of everything drawn (`--seed`).
        precision: "auto" is bfloat16 autocast where the hardware has it.
    """

    network: NetworkConfig = field(default_factory=lambda: NETWORKS["deal"])
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    adversary: AdversaryConfig = field(default_factory=AdversaryConfig)
    tone: ToneConfig = field(default_factory=ToneConfig)
    gauge: GaugeConfig = field(default_factory=GaugeConfig)
    steps: int = 20_000
    batch: int = 10
    crop: int = 128
    border: int = 16
    scale_odds: tuple[float, float, float] = (0.85, 0.1, 0.05)
    zoom: float = 1.2
    grain_odds: float = 0.35
    grain_sigma: float = 0.01
    spot_odds: float = 0.15
    learning_rate: float = 2e-3
    fine_tuning_rate: float = 4e-4
    warmup: float = 0.01
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.999
    objective: Literal["log_mse", "detailed", "structural", "published"] = "log_mse"
    validate_every: int = 0
    validation_pictures: int = 10
    seed: int = 0
    precision: Literal["auto", "bfloat16", "float32"] = "auto"

    def __post_init__(self) -> None:
        for config, keys in (
            (self, ("steps", "batch", "crop", "validation_pictures")),
            (self.tone, ("batch",)),
            (self.gauge, ("batch",)),
        ):
            for key in keys:
                if getattr(config, key) < 1:
                    raise ValueError(f"'{key}' is {short(getattr(config, key))}, not 1 or more")
        for key in ("border", "validate_every", "seed", "learning_rate", "fine_tuning_rate"):
            if not 0 <= getattr(self, key) < math.inf:
                raise ValueError(f"'{key}' is {short(getattr(self, key))}, not 0 or more")
        for key in ("spot_odds", "grain_odds", "grain_sigma"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"'{key}' is {short(getattr(self, key))}, not from 0 to 1")
        if not 1 <= self.zoom <= MOST_ZOOM:
            raise ValueError(f"'zoom' is {short(self.zoom)}, not from 1 to {MOST_ZOOM}")
        for key in ("ema", "warmup"):
            if not 0 <= getattr(self, key) < 1:
                raise ValueError(f"'{key}' is {short(getattr(self, key))}, not from 0 to below 1")
        if not self.clip > 0 or not 0 <= self.weight_decay < math.inf:
            raise ValueError("'clip' is not above 0, or 'weight_decay' not 0 or more")
        if self.objective in ("structural", "published") and self.crop < SSIM_EDGE:
            raise ValueError(f"'crop' is {self.crop}, less than the window of SSIM, {SSIM_EDGE}")
        for key, odds in (
            ("scale_odds", self.scale_odds),
            ("count_odds", self.sampler.count_odds),
            ("odds", tuple(self.sampler.odds.values())),
        ):
            if not sum(odds) > 0 or min(odds) < 0:
                raise ValueError(f"'{key}' are {short(list(odds))}, not odds of 0 and more")
        least = max(smallest_edge(self.network), LEAST_EDGE if self.network.gauge else 1)
        if self.crop < least:
            raise ValueError(f"'crop' is {self.crop}, less than the network wants, {least}")
        if self.crop % self.network.stride:
            stride = self.network.stride
            raise ValueError(
                f"'crop' is {self.crop}, no multiple of the network's stride, {stride}"
            )

    def validation_interval(self) -> int:
        """Steps between validations."""
        return self.validate_every or -(-self.steps // 10)
