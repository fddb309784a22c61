"""What the whole picture tells of how it was degraded, before any of it is restored.

How wide a blur is, or how coarse the detector was, cannot be told from sixty pixels: a soft thing
that is sharply seen and a sharp one that is softly seen look alike. Over a whole picture the two
part, since a camera's own noise and the finest edges bear the mark of everything that came after
them. A gauge measures the picture's spectrum, reads from it how severe each degradation is, which
it is taught by name, and sets the enhancer's features by what it reads (feature-wise linear
modulation, Perez et al. 2018, arXiv 1709.07871). It is 1 % of the enhancer's work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EDGE = 16  # pixels of the windows whose cosine transforms make the spectrum
STEP = 8  # pixels between windows
WAVES = (0, 1, 2, 3, 4, 6, 8, 10, 12, 15)  # half waves in a window, down and across
FREQUENCIES = len(WAVES) ** 2 - 1  # all but the mean, which is tone
LEAST_ENERGY = 1e-7  # squares of the range; rounding to 8 bits leaves ten times as much
WIDTH = 64  # features


@dataclass(frozen=True)
class Reading:
    """What a gauge reads from pictures.

    Attributes:
        severities: `(B, K)`, of each operation that it is taught, about 0 to 1.
        modulation: `(B, sites, 2, width, 1, 1)`, what scales (less 1) and shifts features.
    """

    severities: Tensor
    modulation: Tensor


class Gauge(nn.Module):
    """Pictures `(B, 1, H, W)` in [0, 1], 16 pixels or more each way -> `Reading`, in float32.

    The modulation begins at none, so that trained weights can grow a gauge.
    """

    waves: Tensor

    def __init__(self, operations: int, sites: int, width: int) -> None:
        super().__init__()
        self.sites, self.width = sites, width
        self.register_buffer("waves", tapered_cosines(), persistent=False)
        self.features = nn.Sequential(
            nn.Linear(2 * FREQUENCIES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()
        )
        self.severities = nn.Linear(WIDTH, operations)
        self.modulation = nn.Linear(WIDTH + operations, sites * 2 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor) -> Reading:
        kind = x.device.type.replace("meta", "cpu")  # of shapes alone (`model/cost.py`)
        with torch.autocast(kind, enabled=False):
            features = self.features(self.spectrum(x))
            severities = self.severities(features)
            flat = self.modulation(torch.cat([features, severities], 1))
        return Reading(severities, flat.view(-1, self.sites, 2, self.width, 1, 1))

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
        return torch.cat([(energy.mean((2, 3)) + LEAST_ENERGY).log(), log], 1) / 3 + 4


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
