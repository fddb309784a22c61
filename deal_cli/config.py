"""Every setting of the program, as frozen dataclasses, and what its values may be.

Standard library only: `deal --help` needs nothing else.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from deal_cli.errors import short

#: Pixels a picture may have before it is refused unread, 400 megapixels: a small file can declare
#: a size that no memory holds.
MAX_PIXELS = 400_000_000

#: Bytes a weight file may have; the published network has 2 million numbers, a sixtieth of this.
MAX_WEIGHT_BYTES = 512 * 2**20

# The largest network. A configuration also comes from inside a weight file, where nobody vouches
# for it: what its tensors cannot bear witness to (steps, dilations, radii) must not exhaust a
# machine, and every halo must leave a tile of the restorer a core.
MOST_CHANNELS = 4
MOST_WIDTH = 512
MOST_STRIDE = 8
MOST_TIME_STEPS = 32
MOST_BLOCKS = 64
MOST_KERNEL = 63
MOST_DILATION = 32
MOST_DETAIL_RADIUS = 64
MOST_REACH = 432  # pixels
MOST_TONE_WIDTH = 256
MOST_ROUNDS = 32
MOST_ZOOM = 4
MOST_FUSION = 64
SSIM_EDGE = 11  # pixels


def _check_counts(config: Any, **most: int) -> None:
    """Each key is a whole number from 1 up to the most that is named."""
    for key, limit in most.items():
        value = getattr(config, key)
        if value < 1:
            raise ValueError(f"'{key}' is {short(value)}, not a number from 1 up")
        if value > limit:
            raise ValueError(f"'{key}' is {short(value)}, more than {limit}")


@dataclass(frozen=True)
class BlockConfig:
    """One block of the dual-interaction network.

    Attributes:
        kind: "stm" (scale transform module) or "ssm" (spiking-guided separation module).
        kernel_in: edge of the convolution from the main path to the residual path, in pixels of
            the network's own grid.
        kernel_out: edge of the convolution back from the residual path (never dilated).
        dilation: of the first convolution.
        column: height of the column context, a convolution along the columns of the residual path,
            each feature for itself; 1 is none. What a whole column shares, and its neighbours do
            not, is the camera's: a stripe. Weights of a network without column contexts can be
            trained on with them: they begin as nothing.
    """

    kind: Literal["stm", "ssm"]
    kernel_in: int
    kernel_out: int
    dilation: int = 1
    column: int = 1

    def __post_init__(self) -> None:
        for key in ("kernel_in", "kernel_out", "column"):
            if getattr(self, key) < 1 or getattr(self, key) % 2 == 0:
                value = short(getattr(self, key))
                raise ValueError(f"'{key}' is {value}, not an odd number from 1 up")
        _check_counts(
            self,
            kernel_in=MOST_KERNEL,
            kernel_out=MOST_KERNEL,
            dilation=MOST_DILATION,
            column=MOST_KERNEL,
        )

    @property
    def reach(self) -> tuple[int, int]:
        """Cells of the network's grid that the block looks down and across from each of its own."""
        across = 2 + self.dilation * (self.kernel_in // 2) + self.kernel_out // 2
        return across + self.column // 2, across


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the enhancer N_E; weights that a training starts from must have the same.

    Attributes:
        channels: of the picture (1 for thermal; 3 in the published network).
        width: feature channels.
        stride: pixel-unshuffle factor in front of the blocks; picture sizes are multiples of it.
        norm: "batch" as published, or "scale": one learnt factor a channel on each residual branch.
        padding: "reflect" as published, or "zeros".
        detail_radius: half the edge, in cells of the stride, of the local mean that is taken from
            the picture and fed beside it; 0 feeds the picture itself, as published.
        time_steps: T of the spiking modules.
        gauge: the operations whose severities are read from the whole picture, to set features by
            (`model/gauge.py`); none is no gauge. Weights without one can be trained on with it: it
            begins as nothing.
        fusion: learnt matrices that the gauge blends, to mix the features in front of each
            convolution; 0 mixes nothing.
        blocks: from input to output.
    """

    channels: int = 1
    width: int = 32
    stride: int = 2
    norm: Literal["batch", "scale"] = "scale"
    padding: Literal["reflect", "zeros"] = "zeros"
    time_steps: int = 4
    detail_radius: int = 4
    gauge: tuple[str, ...] = ()
    fusion: int = 0
    blocks: tuple[BlockConfig, ...] = (
        BlockConfig("stm", 5, 3, 1, column=33),
        BlockConfig("ssm", 7, 5, 1, column=33),
        BlockConfig("ssm", 7, 5, 2, column=33),
        BlockConfig("stm", 7, 5, 1),
    )

    def __post_init__(self) -> None:
        _check_counts(
            self,
            channels=MOST_CHANNELS,
            width=MOST_WIDTH,
            stride=MOST_STRIDE,
            time_steps=MOST_TIME_STEPS,
        )
        radius = self.detail_radius
        if not 0 <= radius <= MOST_DETAIL_RADIUS:
            raise ValueError(
                f"'detail_radius' is {short(radius)}, not a number from 0 to {MOST_DETAIL_RADIUS}"
            )
        if not 0 <= self.fusion <= MOST_FUSION:
            value = short(self.fusion)
            raise ValueError(f"'fusion' is {value}, not a number from 0 to {MOST_FUSION}")
        if self.fusion and not self.gauge:
            raise ValueError("'fusion' wants a 'gauge', which blends its matrices")
        if len(self.gauge) > MOST_BLOCKS:
            raise ValueError(f"'gauge' reads {len(self.gauge)} operations, more than {MOST_BLOCKS}")
        if len(self.blocks) > MOST_BLOCKS:
            raise ValueError(f"there are {len(self.blocks)} 'blocks', more than {MOST_BLOCKS}")
        reach = self.stride * (radius + sum(max(block.reach) for block in self.blocks))
        if reach > MOST_REACH:
            raise ValueError(
                f"the 'blocks' look {reach} pixels away, more than {MOST_REACH}:"
                " take smaller kernels, dilations or a smaller stride"
            )


#: What the gauges of the presets read; shading is too smooth for their windows.
READ = (
    "blur",
    "motion",
    "downsample",
    "stripe",
    "row",
    "dead",
    "gaussian",
    "shot",
    "quantise",
    "jpeg",
)

NETWORKS: Mapping[str, NetworkConfig] = types.MappingProxyType(
    {
        "deal": NetworkConfig(gauge=READ, fusion=8),
        "deal-fast": NetworkConfig(
            width=16,
            gauge=READ,
            fusion=8,
            blocks=(BlockConfig("ssm", 3, 3, 2, column=33), BlockConfig("stm", 3, 3, 1)),
        ),
        "paper": NetworkConfig(
            channels=3,
            width=32,
            stride=1,
            norm="batch",
            padding="reflect",
            detail_radius=0,
            blocks=(
                BlockConfig("stm", 7, 5, 1),
                BlockConfig("ssm", 7, 5, 2),
                BlockConfig("ssm", 11, 7, 2),
                BlockConfig("stm", 11, 5, 1),
            ),
        ),
    }
)


@dataclass(frozen=True)
class SamplerConfig:
    """How degradations are drawn for training (`model/sampler.py`).

    Attributes:
        count_odds: odds of 0, 1, 2, … degradations in one recipe.
        camera_order_odds: share of mixtures in the order of a camera; the rest is shuffled.
        severity_power: severity = least + (1 - least) * u ** power, u uniform in (0, 1); a power
            above 1 favours mild ones.
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
        _check_counts(self, rounds=MOST_ROUNDS, width=MOST_WIDTH)
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
    """The inner maximisation of a training (`jobs/game.py`).

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
    """One training of the tone predictor (`jobs/train_tone.py`), after the enhancer's.

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
        _check_counts(self, width=MOST_TONE_WIDTH)
        if self.steps < 0:
            raise ValueError(f"'steps' of the tone is {short(self.steps)}, not 0 or more")


@dataclass(frozen=True)
class GaugeConfig:
    """The training of a new gauge (`jobs/train_gauge.py`), before the enhancer's.

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
        for key in ("crops", "steps", "weight"):
            if not 0 <= getattr(self, key) < math.inf:
                value = short(getattr(self, key))
                raise ValueError(f"'{key}' of the gauge is {value}, not 0 or more")


@dataclass(frozen=True)
class TrainConfig:
    """One training of the enhancer and its adversary (`jobs/train.py`).

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
        spot_odds: odds of drawing small hot and cold things, as a lens shows them, into a crop.
        learning_rate: peak of the cosine schedule (AdamW) when training starts anew.
        fine_tuning_rate: the same when it starts from weights.
        warmup: share of the steps with a linear rise of the learning rate.
        weight_decay: of AdamW.
        clip: largest norm of the gradient.
        ema: decay of the averaged weights, which are the ones kept.
        objective: "log_mse", each picture's log squared error; "detailed", the same with small
            things of much contrast weighed more; or "published", .75 L1 - 1.1 SSIM.
        validate_every: steps between validations; 0 is a tenth of all steps.
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
    objective: Literal["log_mse", "detailed", "published"] = "log_mse"
    validate_every: int = 0
    seed: int = 0
    precision: Literal["auto", "bfloat16", "float32"] = "auto"

    def __post_init__(self) -> None:
        for config, keys in (
            (self, ("steps", "batch", "crop")),
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
        if self.objective == "published" and self.crop < SSIM_EDGE:
            raise ValueError(f"'crop' is {self.crop}, less than the window of SSIM, {SSIM_EDGE}")
        for key, odds in (
            ("scale_odds", self.scale_odds),
            ("count_odds", self.sampler.count_odds),
            ("odds", tuple(self.sampler.odds.values())),
        ):
            if not sum(odds) > 0 or min(odds) < 0:
                raise ValueError(f"'{key}' are {short(list(odds))}, not odds of 0 and more")
        if self.crop % self.network.stride:
            stride = self.network.stride
            raise ValueError(
                f"'crop' is {self.crop}, no multiple of the network's stride, {stride}"
            )

    def validation_interval(self) -> int:
        """Steps between validations."""
        return self.validate_every or -(-self.steps // 10)
