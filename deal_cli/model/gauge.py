"""What the whole picture tells of how it was degraded, before any of it is restored.

How wide a blur is, or how coarse the detector was, cannot be told from sixty pixels: a soft thing
that is sharply seen and a sharp one that is softly seen look alike. Over a whole picture the two
part, since a camera's own noise and the finest edges bear the mark of everything that came after
them. A gauge measures the picture's spectrum, reads from it how severe each degradation is, which
it is taught by name, and sets the enhancer by what it reads: it scales and shifts features
(feature-wise linear modulation, Perez et al. 2018, arXiv 1709.07871) and mixes those in front of
each convolution by a matrix that it blends from a few learnt ones (dynamic channel fusion, Li et
al. 2021, arXiv 2103.08756), so that one network is many specialists. Reading is less than
1 % of the enhancer's work, mixing 5 to 10 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EDGE = 16  # pixels of the windows whose cosine transforms make the spectrum
STEP = 8  # pixels between windows
WAVES = (0, 1, 2, 3, 4, 6, 8, 10, 12, 15)  # half waves in a window, down and across
FREQUENCIES = len(WAVES) ** 2 - 1  # all but the mean, which is tone
LEAST_ENERGY = 1e-7  # squares of the range
# What rounding to 8 bits leaves in every frequency. Finer pictures are read as if they were so
# rounded: most of those that a gauge learns from are, and beyond what it has learnt it would guess.
FLOOR = math.log(1 / 255**2 / 12)
LOG_BIAS = 1.27  # by which the mean log energy of white noise lies below its log mean energy
WIDTH = 64  # features


@dataclass(frozen=True)
class Setting:
    """How a part of the network is set for each picture; without anything it is as it was learnt.

    Attributes:
        modulation: `(B, 2, width, 1, 1)`, what scales (less 1) and shifts features.
        fusion: `(B, convolutions, width, width)`, what mixes the features in front of each
            convolution (less the identity).
    """

    modulation: Tensor | None = None
    fusion: Tensor | None = None

    def modulated(self, x: Tensor) -> Tensor:
        """Features `(B, width, H, W)`, scaled and shifted."""
        if self.modulation is None:
            return x
        gain, shift = self.modulation.to(x.dtype).unbind(1)
        return torch.addcmul(shift, x, 1 + gain)

    def fused(self, x: Tensor, convolution: int) -> Tensor:
        """Features `(B, width, H, W)`, mixed for one of the part's convolutions."""
        if self.fusion is None:
            return x
        matrix = self.fusion[:, convolution].to(x.dtype)
        cells = x.permute(0, 2, 3, 1)  # no copy in the layout that convolutions like best
        mixed = torch.matmul(cells.flatten(1, 2), matrix.transpose(1, 2))
        mixed = mixed.unflatten(1, cells.shape[1:3])
        return torch.add(x, mixed.permute(0, 3, 1, 2))


@dataclass(frozen=True)
class Reading:
    """What a gauge reads from pictures.

    Attributes:
        severities: `(B, K)`, of each operation that it is taught, about 0 to 1.
        settings: of each block, and of the head.
    """

    severities: Tensor
    settings: tuple[Setting, ...]


class Gauge(nn.Module):
    """Pictures `(B, 1, H, W)` in [0, 1], 16 pixels or more each way -> `Reading`, in float32.

    The settings begin as none, so that trained weights can grow a gauge.

    Args:
        operations: K, how many severities it reads.
        convolutions: whose features it mixes, in each part that it sets.
        width: features of the network.
        fusion: learnt matrices that each mixture is blended from; 0 mixes nothing.
    """

    waves: Tensor

    def __init__(
        self, operations: int, convolutions: Sequence[int], width: int, fusion: int = 0
    ) -> None:
        super().__init__()
        self.convolutions, self.width = tuple(convolutions), width
        self.register_buffer("waves", tapered_cosines(), persistent=False)
        self.features = nn.Sequential(
            nn.Linear(2 * FREQUENCIES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()
        )
        self.severities = nn.Linear(WIDTH, operations)
        self.modulation = nn.Linear(WIDTH + operations, len(self.convolutions) * 2 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.blend: nn.Linear | None = None
        if fusion:
            self.blend = nn.Linear(WIDTH + operations, fusion)
            places = sum(self.convolutions)
            self.matrices = nn.Parameter(torch.zeros(fusion, places * width * width))

    def forward(self, x: Tensor) -> Reading:
        kind = x.device.type.replace("meta", "cpu")  # of shapes alone (`model/cost.py`)
        with torch.autocast(kind, enabled=False):
            features = self.features(self.spectrum(x))
            severities = self.severities(features)
            known = torch.cat([features, severities], 1)
            parts = len(self.convolutions)
            modulations = self.modulation(known).view(-1, parts, 2, self.width, 1, 1).unbind(1)
            fusions: Sequence[Tensor | None] = [None] * parts
            if self.blend is not None:
                blended = torch.tanh(self.blend(known)) @ self.matrices
                blended = blended.view(-1, sum(self.convolutions), self.width, self.width)
                fusions = blended.split(self.convolutions, 1)
        settings = [Setting(m, f) for m, f in zip(modulations, fusions, strict=True)]
        return Reading(severities, tuple(settings))

    def read(self, spectrum: Tensor) -> Tensor:
        """Severities `(B, K)` from spectra alone."""
        severities: Tensor = self.severities(self.features(spectrum))
        return severities

    def spectrum(self, x: Tensor) -> Tensor:
        """`(B, 198)`: log energies of every frequency, scaled to the size of features.

        The mean energy is that of edges, the mean log energy that of what is everywhere.
        """
        down = F.conv2d(x[:, :1].float(), self.waves.unsqueeze(3), stride=(STEP, 1))
        rows = down.flatten(0, 1).unsqueeze(1)
        both = F.conv2d(rows, self.waves.unsqueeze(2), stride=(1, STEP))
        energy = both.unflatten(0, (-1, len(WAVES))).flatten(1, 2)[:, 1:].square()
        log = (energy + LEAST_ENERGY).log().mean((2, 3))
        mean = (energy.mean((2, 3)) + LEAST_ENERGY).log()
        return torch.cat([mean.clamp_min(FLOOR), log.clamp_min(FLOOR - LOG_BIAS)], 1) / 3 + 4


def tapered_cosines() -> Tensor:
    """Cosines under a Hann window, `(10, 1, 16)`, all but the first blind to a constant.

    The taper keeps what is loud from spilling over what is quiet (Harris 1978,
    doi:10.1109/PROC.1978.10837): a blurred picture holds a millionth of its energy in fine detail.
    """
    # A network that is only described (`model/tensor_file.py`) has its constants all the same.
    at = torch.arange(EDGE, dtype=torch.float64, device="cpu") + 0.5
    taper = torch.sin(math.pi * at / EDGE) ** 2
    cosines = torch.stack([taper * torch.cos(math.pi * wave * at / EDGE) for wave in WAVES])
    cosines[1:] -= cosines[1:].sum(1, keepdim=True) / taper.sum() * taper
    cosines /= cosines.square().sum(1, keepdim=True).sqrt()
    return cosines.unsqueeze(1).float()
