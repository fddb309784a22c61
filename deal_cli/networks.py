"""Sizes of the enhancer N_E: of any network, and of the three that have a name.

Standard library only: `deal --help` needs nothing else.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from deal_cli.errors import short

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
MOST_FUSION = 64

LEAST_EDGE = 16  # pixels: the windows of a gauge


def check_counts(config: Any, **most: int) -> None:
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
        check_counts(
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
        fine: features of the branch at the picture's own size, beside the blocks on the coarser
            grid of the stride; 0 is none. Weights without it can be trained on with it: it begins
            as nothing.
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
    fine: int = 0
    blocks: tuple[BlockConfig, ...] = (
        BlockConfig("stm", 5, 3, 1, column=33),
        BlockConfig("ssm", 7, 5, 1, column=33),
        BlockConfig("ssm", 7, 5, 2, column=33),
        BlockConfig("stm", 7, 5, 1),
    )

    def __post_init__(self) -> None:
        check_counts(
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
        if not 0 <= self.fine <= MOST_WIDTH:
            value = short(self.fine)
            raise ValueError(f"'fine' is {value}, not a number from 0 to {MOST_WIDTH}")
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


def receptive_radius(config: NetworkConfig) -> tuple[int, int]:
    """The farthest distances, in pixels down and across, at which an input can change an output.

    A pixel unshuffle makes one cell of `stride` pixels: a change at one end of a cell reaches the
    far end of the cell that lies the convolutions' radius away.
    """
    inner = [block.reach for block in config.blocks]
    down, across = (
        config.stride * (5 + config.detail_radius + sum(reach[axis] for reach in inner)) - 1
        for axis in (0, 1)
    )
    return down, across


def halo(config: NetworkConfig) -> tuple[int, int]:
    """Pixels that a tile reads above and beside its core: the receptive radii in whole cells."""
    down, across = (
        -(-radius // config.stride) * config.stride for radius in receptive_radius(config)
    )
    return down, across


def input_edge(config: NetworkConfig) -> int:
    """The least edge, in pixels, that a picture is extended to before the network sees it."""
    return max(LEAST_EDGE, smallest_edge(config))


def smallest_edge(config: NetworkConfig) -> int:
    """The least edge of a picture, in pixels: no convolution may mirror more than there is."""
    if config.padding == "zeros":
        return config.stride
    padding = [1]  # of the first and last convolutions
    for block in config.blocks:
        padding += [block.dilation * (block.kernel_in // 2), block.kernel_out // 2]
        padding += [block.column // 2]
    return config.stride * (max(padding) + 1)


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
