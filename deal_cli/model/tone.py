"""Tone apart from structure: how much contrast, offset and gamma a picture has lost.

How much contrast the scene had is not in the picture, so the enhancer is not asked. A small
predictor looks at a thumbnail and its quantiles, proposes one global map, and says how sure it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

THUMBNAIL = 64  # pixels, square whatever the picture's shape
QUANTILES = 33
LEAST_GAIN = 1.3  # dead zone: a smaller gain is not worth touching a picture for
# Expected errors of log gain by which a gain must exceed the dead zone. Not what a normal error
# would want: scenes of low contrast by nature, such as fields from the air, look like lost ones.
CERTAINTY = 3.5


@dataclass(frozen=True)
class Tone:
    """One affine-and-gamma map: `((v - pivot) * gain + pivot + offset) ** gamma` on [0, 1].

    Attributes:
        gain: about `pivot`, the mean of the picture it was predicted from.
        offset: in units of the range.
        gamma: exponent, applied last.
        pivot: in units of the range.
        confident: whether contrast was surely lost.
    """

    gain: float
    offset: float
    gamma: float
    pivot: float
    confident: bool

    def contrast_only(self) -> Tone:
        """The gain alone, which keeps the picture's mean: what is least of a guess."""
        return replace(self, offset=0.0, gamma=1.0)

    def within(self, darkest: float, brightest: float, least: float, most: float) -> Tone:
        """The same with as much less gain and offset as clips nothing.

        Args:
            darkest: the end of a picture, in units of the range, as `brightest`.
            brightest: both stay between `least` and `most`, if they are there.
            least: what a file can hold, in units of the range.
            most: likewise.
        """
        offset = min(max(self.offset, min(0.0, least - darkest)), max(0.0, most - brightest))
        limits = [self.gain]
        if brightest > self.pivot:
            limits.append((most - self.pivot - offset) / (brightest - self.pivot))
        if darkest < self.pivot:
            limits.append((self.pivot + offset - least) / (self.pivot - darkest))
        gain = max(min(limits), min(self.gain, 1.0))
        return (
            self
            if (gain, offset) == (self.gain, self.offset)
            else replace(self, gain=gain, offset=offset)
        )

    def apply(self, unit: NDArray[np.float32]) -> NDArray[np.float32]:
        """The map on values in units of the range; monotonic, also outside [0, 1]."""
        linear = (unit - np.float32(self.pivot)) * np.float32(self.gain)
        linear += np.float32(self.pivot + self.offset)
        if self.gamma == 1.0:
            return linear
        # The power needs [0, 1]; what lies outside goes on with slope 1.
        inside = np.clip(linear, 0, 1)
        return np.asarray(inside ** np.float32(self.gamma) + (linear - inside), np.float32)


class TonePredictor(nn.Module):
    """Thumbnails `(B, 1, 64, 64)` in [0, 1] -> `(B, 4)`: log gain, offset, log gamma, log error."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.width = width
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, width * 2, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width * 2, width * 2, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.estimate = nn.Sequential(
            nn.Linear(width * 4 + QUANTILES, 64), nn.ReLU(), nn.Linear(64, 4)
        )
        last = self.estimate[2]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, thumbnail: Tensor) -> Tensor:
        local = self.features(thumbnail).flatten(2)
        levels = torch.linspace(0, 1, QUANTILES, device=thumbnail.device)
        quantiles = torch.quantile(thumbnail.flatten(1), levels, dim=1).T
        out: Tensor = self.estimate(torch.cat([local.mean(2), local.amax(2), quantiles], 1))
        return out

    @torch.inference_mode()
    def predict(self, values: NDArray[np.float32], low: float, high: float) -> Tone:
        """The tone of one picture `(H, W)`, whose range `low` to `high` is [0, 1]."""
        torch.set_num_threads(1)  # of this thread; it is soon done, and others have work
        small = thumbnail(values)
        unit = ((small - low) / (high - low)).clamp(0, 1)
        log_gain, offset, log_gamma, log_error = self(unit)[0].tolist()
        sure = log_gain - CERTAINTY * np.exp(log_error) > np.log(LEAST_GAIN)
        return Tone(
            gain=float(np.exp(log_gain)),
            offset=offset,
            gamma=float(np.exp(log_gamma)),
            pivot=float(unit.mean()),
            confident=bool(sure),
        )


def thumbnail(values: NDArray[np.float32]) -> Tensor:
    """A picture `(H, W)` as `(1, 1, 64, 64)`, each pixel the mean of its area."""
    # A large picture is thinned first: its thumbnail's pixels stay means of many.
    step = max(1, min(values.shape) // (8 * THUMBNAIL))
    thin = torch.from_numpy(np.ascontiguousarray(values[::step, ::step]))
    return F.adaptive_avg_pool2d(thin[None, None], THUMBNAIL)


def curve(thumb: Tensor, estimate: Tensor) -> Tensor:
    """The predicted map on thumbnails, differentiable: `(B, 1, 64, 64)` and `(B, 4)`."""
    log_gain, offset, log_gamma = (estimate[:, i].view(-1, 1, 1, 1) for i in range(3))
    pivot = thumb.mean((1, 2, 3), keepdim=True)
    linear = (thumb - pivot) * log_gain.exp() + pivot + offset
    return linear.clamp(1e-4, 1.0) ** log_gamma.exp()
