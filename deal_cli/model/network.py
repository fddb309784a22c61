"""The enhancer N_E: the dual-interaction network of DEAL (arXiv 2503.00905, section 3.3).

A main path h and a running residual path r exchange features in every block. A scale transform
module (STM) is convolutional throughout; a spiking-guided separation module (SSM) sends r through
leaky integrate-and-fire (LIF) neurons, whose steps tell sharp structure from smooth.

The LIF neurons see the same input at every time step, so their mean spike is a fixed element-wise
staircase of that input. It is accumulated over time in one 4-D tensor and everything linear behind
it is applied once: the same function as the unrolled form, at a fraction of the memory, and it
exports with free height and width.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deal_cli.model.gauge import Gauge, Reading, Setting
from deal_cli.networks import BlockConfig, NetworkConfig

DETAIL_GAIN = 4.0  # brings detail to the size of the level
DECAY = 0.25  # of a LIF neuron's membrane between time steps
CEILING = 4.0  # most spikes a neuron sends in one time step
LEAK = 0.1  # slope below zero in front of the last convolution under `norm = "scale"`
EXCHANGED = 4  # convolutions of an `Exchange`
FIRST_SCALE = 0.1  # of each residual branch under `norm = "scale"`
UNSET = Setting()


class Enhancer(nn.Module):
    """N_E: `(B, C, H, W)` in [0, 1] -> the same shape; H and W are multiples of the stride."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        picture = config.channels * config.stride**2
        cells = Cells(config)
        self.stem = nn.Sequential(
            cells,
            _conv(config, 3, channels=cells.channels),
            nn.ReLU(inplace=True),
            _conv(config, 3),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.ModuleList(
            {"stm": ScaleTransform, "ssm": SpikingSeparation}[block.kind](config, block)
            for block in config.blocks
        )
        last = _conv(config, 3, out=picture)
        # Without batch statistics a ReLU here goes silent on every picture without noise, and no
        # gradient ever reaches what blur and low resolution would teach.
        batch = config.norm == "batch"
        active = nn.ReLU(inplace=True) if batch else nn.LeakyReLU(LEAK, inplace=True)
        self.head = nn.Sequential(
            _conv(config, 3), active, last, nn.Tanh(), nn.PixelShuffle(config.stride)
        )
        self.fine = FineDetail(config) if config.fine else None
        if config.norm == "scale":
            self._initialise(last)
        self.gauge: Gauge | None = None
        if config.gauge:
            parts = [EXCHANGED] * len(config.blocks) + [1]  # the head's first convolution is set
            self.gauge = Gauge(len(config.gauge), parts, config.width, config.fusion)

    def _initialise(self, last: nn.Conv2d) -> None:
        """Start at a correction of zero, with features that keep the signal's size.

        Without batch statistics nothing else keeps it (He et al. 2015,
        doi:10.1109/ICCV.2015.123).
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, ColumnContext):
                nn.init.zeros_(module.conv.weight)
        nn.init.zeros_(last.weight)
        if self.fine is not None:
            nn.init.zeros_(self.fine.last.weight)

    def forward(self, x: Tensor, whole: Tensor | None = None) -> Tensor:
        return x + self.correction(x, whole)

    def correction(self, x: Tensor, whole: Tensor | None = None) -> Tensor:
        """What the network adds to `x`: `(B, C, H, W)` in (-1, 1), in the dtype of its weights.

        Args:
            x: the picture, or a part of it.
            whole: what a gauge reads, the picture that `x` is of; None: `x` is whole.
        """
        reading = None if self.gauge is None else self.gauge(x if whole is None else whole)
        return self.correction_as_read(x, reading)

    def correction_as_read(self, x: Tensor, reading: Reading | None) -> Tensor:
        """As `correction`, with what the gauge has read; None for a network without one."""
        settings = [UNSET] * (len(self.blocks) + 1) if reading is None else reading.settings
        split, *stem = self.stem
        cells = h = split(x)
        for layer in stem:
            h = layer(h)
        r = h
        for block, setting in zip(self.blocks, settings, strict=False):
            h, r = block(h, r, setting)
        first, active, last, bounded, joined = self.head
        h = active(settings[-1].modulated(first(settings[-1].fused(h, 0))))
        if self.fine is None:
            return cast("Tensor", joined(bounded(last(h))))
        return cast("Tensor", bounded(joined(last(h)) + self.fine(cells, h)))


class FineDetail(nn.Module):
    """What the blocks, on their coarser grid, have no room for: detail at the picture's own pixels.

    The blocks hold `width / stride²` features a pixel. A thin line and the noise beside it want
    more than that to be told apart, but a small neighbourhood only. Four convolutions at full size
    see the detail, and half-way what the blocks know of the place. It begins as nothing, so that
    trained weights can grow it.

    `cells` (of `Cells`) and the head's features `(B, width, H, W)` -> `(B, C, sH, sW)`.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.picture = config.channels * config.stride**2
        self.stride, fine = config.stride, config.fine
        self.first = _conv(config, 3, channels=config.channels, out=fine)
        self.second = _conv(config, 3, channels=fine, out=fine)
        self.known = _conv(config, 1, out=fine * self.stride**2)
        self.third = _conv(config, 3, channels=fine, out=fine)
        self.last = _conv(config, 3, channels=fine, out=config.channels)

    def forward(self, cells: Tensor, features: Tensor) -> Tensor:
        detail = F.pixel_shuffle(cells[:, : self.picture], self.stride)
        fine = F.relu(self.first(detail), inplace=True)
        fine = _joined(self.second(fine), F.pixel_shuffle(self.known(features), self.stride))
        fine = F.relu(self.third(fine), inplace=True)
        correction: Tensor = self.last(fine)
        return correction


class Cells(nn.Module):
    """The picture as cells of `stride` pixels, in the dtype of the network.

    `(B, C, H, W)` -> `(B, C * stride², H / stride, W / stride)`; with a `detail_radius`, detail and
    level apart: cells less their local mean, and C more channels that hold this mean. Detail is a
    few hundredths of the range and rides on a level of a half. Fed together, the level drowns the
    gradient of everything quiet (a jitter of the weights moves whole pictures), and bfloat16 takes
    the detail's last bits. The difference is therefore taken in the precision of the input.
    """

    dtype_of: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.stride, self.radius = config.stride, config.detail_radius
        self.channels = config.channels * (self.stride**2 + (self.radius > 0))
        self.register_buffer("dtype_of", torch.empty(0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        cells = F.pixel_unshuffle(x, self.stride)
        if self.radius:
            level, edge, reach = F.avg_pool2d(x, self.stride), 2 * self.radius + 1, self.radius
            level = F.avg_pool2d(level, (edge, 1), 1, (reach, 0), count_include_pad=False)
            level = F.avg_pool2d(level, (1, edge), 1, (0, reach), count_include_pad=False)
            detail = cells.unflatten(1, (-1, self.stride**2)) - level.unsqueeze(2)
            cells = torch.cat([DETAIL_GAIN * detail.flatten(1, 2), level - 0.5], 1)
        return cells.to(self.dtype_of.dtype)


class ScaleTransform(nn.Module):
    """STM: paths `(h, r)`, each `(B, width, H, W)`, to the next `(h, r)`."""

    def __init__(self, config: NetworkConfig, block: BlockConfig) -> None:
        super().__init__()
        self.exchange = Exchange(config, block, normed=True)
        self.norm = _norm(config)

    def forward(self, h: Tensor, r: Tensor, setting: Setting = UNSET) -> tuple[Tensor, Tensor]:
        d, r = self.exchange(h, r, setting)
        return _joined(self.norm(d), h), r


class SpikingSeparation(nn.Module):
    """SSM: as the STM, with LIF neurons between the residual path and the main path."""

    def __init__(self, config: NetworkConfig, block: BlockConfig) -> None:
        super().__init__()
        self.time_steps = config.time_steps
        # As published, only the branch behind the spikes has a batch norm.
        self.exchange = Exchange(config, block, normed=config.norm != "batch")
        self.mix = nn.Conv2d(config.width, config.width, 1, bias=False)
        self.norm = _norm(config)

    def forward(self, h: Tensor, r: Tensor, setting: Setting = UNSET) -> tuple[Tensor, Tensor]:
        d, r = self.exchange(h, r, setting)
        if self.training and isinstance(self.norm, nn.BatchNorm2d):
            # The statistics of a batch norm are those of single time steps.
            spikes = torch.cat(lif_spikes(d, self.time_steps))
            steps = self.norm(self.mix(spikes)).unflatten(0, (self.time_steps, -1))
            return _joined(steps.mean(0), h), r
        return _joined(self.norm(self.mix(mean_spike(d, self.time_steps))), h), r


class Exchange(nn.Module):
    """What both modules share: `(h, r)` -> `(d, r)`, with d on its way back to the main path."""

    def __init__(self, config: NetworkConfig, block: BlockConfig, *, normed: bool) -> None:
        super().__init__()
        # Learnt scales belong on residual branches; inside a branch only a batch norm does.
        inner = normed and config.norm == "batch"
        self.first = _conv(config, 3)
        self.first_norm = _norm(config) if inner else nn.Identity()
        self.second = _conv(config, 3)
        self.second_norm = _norm(config) if normed else nn.Identity()
        self.inward = _conv(config, block.kernel_in, dilation=block.dilation)
        self.inward_norm = _norm(config) if normed else nn.Identity()
        wanted = block.column > 1
        self.column: nn.Module = ColumnContext(config, block.column) if wanted else nn.Identity()
        self.outward = _conv(config, block.kernel_out)

    def forward(self, h: Tensor, r: Tensor, setting: Setting) -> tuple[Tensor, Tensor]:
        u = setting.modulated(self.first_norm(self.first(setting.fused(h, 0))))
        u = F.relu(u, inplace=True)
        u = _joined(self.second_norm(self.second(setting.fused(u, 1))), h)
        r = _joined(self.inward_norm(self.inward(setting.fused(u, 2))), r)
        r = self.column(r)
        return self.outward(setting.fused(r, 3)), r


class ColumnContext(nn.Module):
    """What lies above and below in the same column, feature by feature: `(B, width, H, W)`, kept.

    It begins as the identity, so that trained weights can grow it.
    """

    def __init__(self, config: NetworkConfig, height: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            config.width,
            config.width,
            (height, 1),
            padding=(height // 2, 0),
            groups=config.width,
            bias=False,
            padding_mode=config.padding,
        )
        nn.init.zeros_(self.conv.weight)

    def forward(self, r: Tensor) -> Tensor:
        context: Tensor = self.conv(r)
        return context.add_(r)

    def whole(self) -> nn.Conv2d:
        """The same as one convolution, whose middle tap holds the sum."""
        conv = copy.deepcopy(self.conv)
        with torch.no_grad():
            conv.weight[:, :, conv.kernel_size[0] // 2] += 1
        return conv


class Scale(nn.Module):
    """One learnt factor a channel: a residual branch without batch statistics."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), FIRST_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight.to(x.dtype).view(-1, 1, 1)  # stays in bfloat16 under autocast


def _joined(branch: Tensor, path: Tensor) -> Tensor:
    """`relu(branch + path)` in the place of the branch: memory costs more than arithmetic here."""
    return F.relu(branch.add_(path), inplace=True)


def lif_spikes(d: Tensor, time_steps: int) -> list[Tensor]:
    """The unrolled LIF neurons: spikes s_0 … s_{T-1} (whole numbers 0 to 4) under constant input.

    `m_0 = d`, `m_t = .25 (m_{t-1} - s_{t-1}) + d`, `s_t = round(clamp(m_t, 0, 4))`, with the
    straight-through gradient inside the clamp and none through the reset.
    """
    spikes: list[Tensor] = []
    membrane = d
    for step in range(time_steps):
        if step:
            membrane = DECAY * (membrane - spikes[-1].detach()) + d
        clamped = membrane.clamp(0.0, CEILING)
        spikes.append(clamped + (clamped.round() - clamped).detach())
    return spikes


def mean_spike(d: Tensor, time_steps: int) -> Tensor:
    """The mean over time of `lif_spikes`, value and gradient, without keeping the steps.

    The gradient of every step with respect to d is a number that depends on the clamps alone
    (`g_t = 1 + .25 g_{t-1}`, counted where the membrane lies within them), so it is summed on the
    way and attached at the end.
    """
    with torch.no_grad():
        membrane, slope = d, 1.0
        total = spike = d.clamp(0.0, CEILING).round_()
        gradient = _within(d) if d.requires_grad else None
        for step in range(1, time_steps):
            membrane = membrane.sub_(spike) if step > 1 else d - spike
            membrane = membrane.mul_(DECAY).add_(d)
            slope = 1.0 + DECAY * slope
            spike = membrane.clamp(0.0, CEILING).round_()
            total = total.add_(spike) if step > 1 else total + spike
            if gradient is not None:
                gradient.add_(_within(membrane), alpha=slope)
        mean = total.div_(time_steps)
    if gradient is None:
        return mean
    # d - d is exactly zero, so the value is the staircase and the slope is the gradient.
    return mean + (d - d.detach()) * (gradient / time_steps)


def _within(membrane: Tensor) -> Tensor:
    """1 where the clamp of the spike function passes a gradient, else 0."""
    return ((membrane >= 0.0) & (membrane <= CEILING)).to(membrane.dtype)


def _norm(config: NetworkConfig) -> nn.Module:
    return nn.BatchNorm2d(config.width) if config.norm == "batch" else Scale(config.width)


def _conv(
    config: NetworkConfig,
    kernel: int,
    *,
    channels: int | None = None,
    out: int | None = None,
    dilation: int = 1,
) -> nn.Conv2d:
    """A convolution with bias that keeps height and width; `width` to `width` by default."""
    return nn.Conv2d(
        config.width if channels is None else channels,
        config.width if out is None else out,
        kernel,
        padding=dilation * (kernel // 2),
        dilation=dilation,
        padding_mode=config.padding,
    )
