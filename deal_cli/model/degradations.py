"""What a thermal camera does to a clean picture, one pure function an operation.

An operation maps `x (B, 1, H, W)` in [0, 1], a severity `(B, 1, 1, 1)` in [0, 1] and its drawn
parameters to a picture of the same shape. Severity 0 is the identity. Gradients reach the picture
and the severity: exactly where the operation is smooth; for sampling, quantisation and JPEG the
picture's gradient passes straight through and the severity's is a difference quotient.

Nothing here draws from a shared random source: parameters are drawn by `draw` with a `rng` and
carry a seed for their noise fields, so the same `Draw` makes the same pixels again, on any device
and in any batch.

`OPERATIONS` stands in the order of a camera: scene contrast, optics, sampling, shading, detector
gain and offset, dead pixels, noise, quantisation, compression.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Range = tuple[float, float]
Parameters = Mapping[str, Tensor]  # each (B, 1, 1, 1)
Apply = Callable[[Tensor, Tensor, Parameters, Sequence[int]], Tensor]

COLUMN_SIGMA = 0.2  # standard deviation of column stripes at severity 1, in units of the range
ROW_SIGMA = 0.1
SHADING_SPAN = 0.4  # peak to peak
NOISE_SIGMA = 0.15
DEAD_SHARE = 0.02  # of all places, at severity 1; a cluster is of one to four pixels
BLUR_SIGMA = 4.0  # in pixels
BLUR_RADIUS = 12  # of the kernel, in pixels
MOTION_LENGTH = 20.0  # in pixels
LARGEST_FACTOR = 6.0  # of down-sampling
FEWEST_BITS = 4.0
LOWEST_QUALITY = 10.0  # of JPEG


@dataclass(frozen=True)
class Operation:
    """A named degradation: its function and the range each parameter is drawn from."""

    name: str
    apply: Apply
    parameters: Mapping[str, Range]


@dataclass(frozen=True)
class Draw:
    """One operation as drawn: enough, with a severity, to make the same pixels again.

    Attributes:
        operation: a name in `OPERATIONS`.
        parameters: values within the operation's ranges.
        seed: of its noise fields.
    """

    operation: str
    parameters: Mapping[str, float]
    seed: int


def draw(name: str, rng: np.random.Generator) -> Draw:
    """Parameters of the operation `name`, uniform within their ranges, and a seed."""
    ranges = OPERATIONS[name].parameters
    values = {key: float(rng.uniform(low, high)) for key, (low, high) in ranges.items()}
    return Draw(name, values, int(rng.integers(2**31)))


def apply(x: Tensor, severity: Tensor, draws: Sequence[Draw]) -> Tensor:
    """One operation on a batch: the same kind for all pictures, each with a draw of its own.

    Args:
        x: `(B, 1, H, W)` in [0, 1].
        severity: `(B,)` in [0, 1].
        draws: B draws of one operation.

    Returns:
        `(B, 1, H, W)`, not clipped: noise may lead outside [0, 1].
    """
    operation = OPERATIONS[draws[0].operation]
    assert len(draws) == len(x) and all(d.operation == operation.name for d in draws)
    parameters = {
        key: torch.tensor([d.parameters[key] for d in draws], device=x.device).view(-1, 1, 1, 1)
        for key in operation.parameters
    }
    return operation.apply(x, severity.view(-1, 1, 1, 1), parameters, [d.seed for d in draws])


# Scene ------------------------------------------------------------------------------------------


def _tone(x: Tensor, s: Tensor, p: Parameters, seeds: Sequence[int]) -> Tensor:
    """Lost contrast about the picture's mean, an offset and a gamma."""
    base = x.clamp_min(1e-4)  # the power has no slope at zero
    x = x + (base ** torch.exp(s * p["log_gamma"]) - base)
    mean = x.mean((1, 2, 3), keepdim=True)
    return x + s * (p["offset"] - p["loss"] * (x - mean))


# Optics -----------------------------------------------------------------------------------------


def _blur(x: Tensor, s: Tensor, p: Parameters, seeds: Sequence[int]) -> Tensor:
    """Gaussian blur; `stretch` is the ratio of its two widths (1 is isotropic)."""
    v, u = _grid(BLUR_RADIUS, x)
    cos, sin = torch.cos(p["angle"]), torch.sin(p["angle"])
    # Half of the draws are isotropic: the lens; the others smear along one direction.
    stretch = p["stretch"].clamp_min(1.0)
    across = (s * BLUR_SIGMA).clamp_min(1e-3)  # this narrow is exactly the identity
    along = across / stretch
    distance = ((u * cos + v * sin) / across) ** 2 + ((v * cos - u * sin) / along) ** 2
    return _filter(x, torch.exp(-0.5 * distance))


def _motion(x: Tensor, s: Tensor, p: Parameters, seeds: Sequence[int]) -> Tensor:
    """Motion along a straight line of up to `MOTION_LENGTH` pixels."""
    v, u = _grid(BLUR_RADIUS, x)
    cos, sin = torch.cos(p["angle"]), torch.sin(p["angle"])
    along, across = u * cos + v * sin, v * cos - u * sin
    half = s * MOTION_LENGTH / 2
    weight = (half + 0.5 - along.abs()).clamp(0, 1) * (1 - across.abs()).clamp_min(0)
    # A line thinner than a pixel still touches its neighbours: blend in from the identity.
    return x + (s / 0.05).clamp_max(1) * (_filter(x, weight) - x)


# Sampling ---------------------------------------------------------------------------------------


def _downsample(x: Tensor, s: Tensor, p: Parameters, seeds: Sequence[int]) -> Tensor:
    """A coarser detector: down (area or bicubic) and up again (bicubic).

    Half of the draws are whole factors, as between detectors of one family.
    """

    def at(severity: Tensor) -> Tensor:
        factor = 1 + severity * (LARGEST_FACTOR - 1)
        factor = torch.where(p["whole"] > 0.5, factor.round(), factor)
        return torch.cat(
            [
                _resample(x[i : i + 1].detach(), float(factor[i]), area=bool(p["area"][i] > 0.7))
                for i in range(len(x))
            ]
        )

    return _straight_through(x, s, at, step=0.1)


def _resample(x: Tensor, factor: float, *, area: bool) -> Tensor:
    size = height, width = x.shape[-2:]
    small = max(1, round(height / factor)), max(1, round(width / factor))
    if small == size:
        return x
    if area:
        x = F.adaptive_avg_pool2d(x, small)
    else:
        x = F.interpolate(x, small, mode="bicubic", antialias=True)
    return F.interpolate(x, size, mode="bicubic", antialias=True)


# Detector ---------------------------------------------------------------------------------------


def _shading(x: Tensor, s: Tensor, p: Parameters, seeds: Sequence[int]) -> Tensor:
    """Smooth non-uniformity: a tilt and a vignette, each offset and gain."""
    height, width = x.shape[-2:]
    v = torch.linspace(-1, 1, height, device=x.device).view(1, 1, -1, 1)
    u = torch.linspace(-1, 1, width, device=x.device).view(1, 1, 1, -1)
    tilt = (u * torch.cos(p["angle"]) + v * torch.sin(p["angle"])) / 2
    bowl = ((u - p["centre_u"]) ** 2 + (v - p["centre_v"]) ** 2) / 2 - 1 / 3
    field = SHADING_SPAN * (tilt * (1 - p["bowl"].abs()) + bowl * p["bowl"])
    return x + s * field * ((1 - p["gain"]) + p["gain"] * x)


def _stripe(x: Tensor, s: Tensor, p: Parameters, seeds: Sequence[int]) -> Tensor:
    """Column fixed-pattern noise: offset and gain of each column, drifting slowly down it."""
    height, width = x.shape[-2:]
    noise = _normal(seeds, (4, width), x)  # offset, gain, amplitude and phase of the drift
    offset, gain, swing, phase = (noise[:, i : i + 1].unsqueeze(1) for i in range(4))
    # Some read-outs repeat in groups: columns share part of their offset with their neighbour.
    offset = offset + p["pairing"] * (offset.roll(1, -1) - offset)
    v = torch.linspace(0, 1, height, device=x.device).view(1, 1, -1, 1)
    drift = torch.sin(2 * math.pi * (p["waves"] * v + phase))
    offset = offset + p["drift"] * swing * drift
    weight = p["gain"].clamp_min(0)  # half of the draws are offsets alone
    field = offset * (1 - weight) + gain * weight * 2 * (x - p["pivot"])
    return x + s * COLUMN_SIGMA * field


def _row(x: Tensor, s: Tensor, p: Parameters, seeds: Sequence[int]) -> Tensor:
    """Row noise: an offset of each row."""
    return x + s * ROW_SIGMA * _normal(seeds, (x.shape[-2], 1), x).unsqueeze(1)


def _dead(x: Tensor, s: Tensor, p: Parameters, seeds: Sequence[int]) -> Tensor:
    """Dead, hot and stuck pixels, alone or in clusters of up to four.

    Every candidate dies at a severity of its own, within a short ramp that carries the gradient.
    """
    fields = []
    for seed, share, cluster in zip(
        seeds, p["share"].flatten().tolist(), p["cluster"].flatten().tolist(), strict=True
    ):
        rng = np.random.default_rng(seed)
        height, width = x.shape[-2:]
        onset = np.full((height, width), 2.0, np.float32)
        value = np.zeros((height, width), np.float32)
        count = rng.poisson(height * width * DEAD_SHARE * share)
        where = rng.integers(0, (height, width), (count, 2))
        begin = rng.uniform(0, 1, count)
        stuck = np.clip(rng.uniform(-0.6, 1.6, count), 0, 1)  # most are fully dead or hot
        steps = rng.integers(0, 2, (count, 3, 2))
        for j in range(4):  # pixels of a cluster
            take = slice(None) if j == 0 else rng.random(count) < cluster / 2
            step = 0 if j == 0 else steps[:, j - 1][take]
            row, column = ((where[take] + step) % (height, width)).T
            onset[row, column], value[row, column] = begin[take], stuck[take]
        fields.append(np.stack([onset, value]))
    onset_t, value_t = torch.from_numpy(np.stack(fields)).to(x.device).unsqueeze(2).unbind(1)
    return x + ((s - onset_t) / 0.02).clamp(0, 1) * (value_t - x)


def _gaussian(x: Tensor, s: Tensor, p: Parameters, seeds: Sequence[int]) -> Tensor:
    """White noise that does not depend on the signal, as a microbolometer's."""
    return x + s * NOISE_SIGMA * _normal(seeds, x.shape[-2:], x).unsqueeze(1)


def _shot(x: Tensor, s: Tensor, p: Parameters, seeds: Sequence[int]) -> Tensor:
    """Signal-dependent noise, as a cooled photon detector's: variance in proportion to x."""
    sigma = NOISE_SIGMA * (x.clamp(0, 1) + p["floor"]).sqrt()
    return x + s * sigma * _normal(seeds, x.shape[-2:], x).unsqueeze(1)


# Coding -----------------------------------------------------------------------------------------


def _quantise(x: Tensor, s: Tensor, p: Parameters, seeds: Sequence[int]) -> Tensor:
    """Fewer grey levels: 8 bits down to `FEWEST_BITS`, in even steps of the level's size."""

    def at(severity: Tensor) -> Tensor:
        # Linear in the exponent, from a step too small to see; the identity at severity 0.
        step = (severity * 2.0 ** -(FEWEST_BITS + 4 * (1 - severity))).clamp_min(1e-9)
        return torch.where(severity > 0, (x / step).round() * step, x).detach()

    return _straight_through(x, s, at, step=0.05)


def _jpeg(x: Tensor, s: Tensor, p: Parameters, seeds: Sequence[int]) -> Tensor:
    """JPEG at quality 100 down to `LOWEST_QUALITY`."""
    import cv2

    def at(severity: Tensor) -> Tensor:
        coded = []
        for picture, amount in zip(x.detach(), severity.flatten().tolist(), strict=True):
            grey = (picture[0].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
            quality = round(100 - amount * (100 - LOWEST_QUALITY))
            _, data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])
            back = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
            assert back is not None
            coded.append(torch.from_numpy(back.astype(np.float32) / 255))
        result = torch.stack(coded).unsqueeze(1).to(x.device)
        return torch.where(severity > 0, result, x.detach())

    return _straight_through(x, s, at, step=0.1)


# Tools ------------------------------------------------------------------------------------------


def _straight_through(
    x: Tensor, s: Tensor, at: Callable[[Tensor], Tensor], *, step: float
) -> Tensor:
    """`at(s)`, whose gradient is the identity in x and a difference quotient in s."""
    out = at(s.detach())
    if x.requires_grad:
        out = out + (x - x.detach())
    if s.requires_grad:
        low = (s.detach() - step / 2).clamp(0, 1 - step)
        slope = (at(low + step) - at(low)) / step
        out = out + (s - s.detach()) * slope
    return out


def _normal(seeds: Sequence[int], shape: Sequence[int], like: Tensor) -> Tensor:
    """Standard normal fields `(B, *shape)`, one a seed, the same on every device."""
    fields = [np.random.default_rng(seed).standard_normal(shape, np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(fields)).to(like.device)


def _grid(radius: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets (v, u) of a square kernel, `(1, 1, 2 radius + 1, 2 radius + 1)`, in pixels."""
    line = torch.arange(-radius, radius + 1.0, device=like.device)
    return line.view(1, 1, -1, 1), line.view(1, 1, 1, -1)


def _filter(x: Tensor, weight: Tensor) -> Tensor:
    """Each picture through its own kernel `(B, 1, K, K)`, normalised, edges repeated."""
    batch, _, height, width = x.shape
    radius = weight.shape[-1] // 2
    kernel = weight / weight.sum((2, 3), keepdim=True)
    padded = F.pad(x, (radius,) * 4, mode="replicate").view(1, batch, height + 2 * radius, -1)
    return F.conv2d(padded, kernel, groups=batch).view(batch, 1, height, width)


_ANGLE = (0.0, math.pi)
OPERATIONS: Mapping[str, Operation] = {
    operation.name: operation
    for operation in (
        Operation(
            "tone", _tone, {"loss": (0.0, 0.8), "offset": (-0.1, 0.1), "log_gamma": (-0.3, 0.3)}
        ),
        Operation("blur", _blur, {"angle": _ANGLE, "stretch": (0.0, 2.0)}),
        Operation("motion", _motion, {"angle": _ANGLE}),
        Operation("downsample", _downsample, {"area": (0.0, 1.0), "whole": (0.0, 1.0)}),
        Operation(
            "shading",
            _shading,
            {
                "angle": (-math.pi, math.pi),
                "bowl": (-1.0, 1.0),
                "centre_u": (-0.3, 0.3),
                "centre_v": (-0.3, 0.3),
                "gain": (0.0, 1.0),
            },
        ),
        Operation(
            "stripe",
            _stripe,
            {
                "gain": (-0.5, 0.5),
                "pivot": (0.0, 1.0),
                "drift": (-0.5, 0.5),
                "waves": (0.1, 1.0),
                "pairing": (-0.3, 0.5),
            },
        ),
        Operation("row", _row, {}),
        Operation("dead", _dead, {"share": (0.1, 1.0), "cluster": (0.0, 1.0)}),
        Operation("gaussian", _gaussian, {}),
        Operation("shot", _shot, {"floor": (0.0, 0.3)}),
        Operation("quantise", _quantise, {}),
        Operation("jpeg", _jpeg, {}),
    )
}
