"""The figures of an evaluation: which there are, how they are told, and how a picture is scored.

A picture is scored as the file of it would be, rounded to its dtype, in units of its data range:
0 to 255 for 8 bits; for 16 bits and floats, percentiles .1 and 99.9 of the clean picture (of the
degraded one where there is none), widened by 5 %, as the network sees it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deal_cli.engine.fidelity.measure import as_written
from deal_cli.engine.ranges import measure_range
from deal_cli.jobs.protocol.cases import Case
from deal_cli.model import blind, edges, information, metrics

#: A figure by its name; NaN where a picture has none.
Scores = Mapping[str, float]


@dataclass(frozen=True)
class Metric:
    """One figure.

    Attributes:
        name: in JSON and CSV.
        title: in tables.
        unit: likewise; empty where there is none.
        places: decimals in tables.
        better: which way is better; None where that depends.
        percent: told in hundredths of the data range.
        signed: an error of either sign; its size is what is averaged.
    """

    name: str
    title: str
    unit: str
    places: int
    better: Literal["up", "down"] | None = None
    percent: bool = False
    signed: bool = False

    def headed(self, between: str = " ") -> str:
        """Title, unit and an arrow to where it is better; title and unit with `between` them."""
        arrow = {"up": "↑", "down": "↓", None: ""}[self.better]
        return between.join(filter(None, (self.title, f"{self.unit} {arrow}".strip())))

    def told(self, value: float | None) -> str:
        """A value as it stands in a table."""
        if value is None or not math.isfinite(value):
            return "–"
        return f"{100 * value if self.percent else value:.{self.places}f}"


#: Beside a clean picture.
REFERENCED = (
    Metric("psnr", "PSNR", "dB", 2, "up"),
    Metric("psnr_after_fit", "after fit", "dB", 2, "up"),
    Metric("ssim", "SSIM", "", 4, "up"),
    Metric("vif", "VIF", "", 4, "up"),
    Metric("mutual_information", "MI", "bit", 3, "up"),
    Metric("edge_preservation", "Q^AB/F", "", 4, "up"),
    Metric("hot_spot_error", "hot spot", "%", 2, "down", percent=True, signed=True),
)
#: Where there is none.
BLIND = (
    Metric("roughness", "roughness", "", 4),
    Metric("column_residual", "columns", "%", 2, "down", percent=True),
    Metric("row_residual", "rows", "%", 2, "down", percent=True),
    Metric("noise_estimate", "noise", "%", 2, "down", percent=True),
    Metric("edge_intensity", "edges", "", 2),
    Metric("entropy", "entropy", "bit", 3),
)


def score(result: NDArray[np.float32], case: Case) -> Scores:
    """Score what was made of a degraded picture.

    Args:
        result: `(H, W)`, in the picture's own numbers.
        case: what it was made of.

    Returns:
        every figure of `REFERENCED`, or of `BLIND` where there is no clean picture.
    """
    measured = case.clean if case.clean is not None else case.degraded
    low, high = measure_range(measured, "auto")
    span = np.float32(high - low) if high > low else np.float32(1)

    def unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled: NDArray[np.float32] = (as_written(values, measured.dtype) - np.float32(low)) / span
        return scaled

    picture = unit(result)
    if case.clean is None:
        return {
            "roughness": blind.roughness(picture),
            "column_residual": blind.column_residual(picture),
            "row_residual": blind.row_residual(picture),
            "noise_estimate": blind.noise_estimate(picture),
            "edge_intensity": edges.edge_intensity(picture),
            "entropy": information.entropy(picture),
        }
    clean = unit(case.clean.values)
    return {
        "psnr": metrics.psnr(picture, clean),
        "psnr_after_fit": metrics.psnr_after_fit(picture, clean),
        "ssim": metrics.ssim(picture, clean),
        "vif": _vif(picture, clean),
        "mutual_information": information.mutual_information(picture, clean),
        "edge_preservation": edges.edge_preservation(picture, clean),
        "hot_spot_error": metrics.hot_spot_error(picture, clean),
    }


def _vif(picture: NDArray[np.float32], clean: NDArray[np.float32]) -> float:
    """The visual information fidelity; NaN of a picture too small for its four scales."""
    if min(picture.shape) < information.VIF_SIDE:
        return math.nan
    return information.vif(picture, clean)
