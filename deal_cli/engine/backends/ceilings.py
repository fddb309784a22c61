"""How fast a machine multiplies and copies at best, measured here and now: what to judge by.

A data sheet's figure is of a chip that nobody shares, at a clock that it may not reach. A large
product of matrices and a convolution of many channels, in the same library and the same process,
are what a network can hope for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from deal_cli.engine.backends import hardware
from deal_cli.engine.backends.measuring import repeat

SECONDS, LIMIT = 0.25, 0.5  # of each measurement
MATRIX = {"cpu": 1536, "cuda": 8192}  # edge
CONVOLUTION = {"cpu": (1, 256, 64), "cuda": (16, 256, 128)}  # pictures, channels, edge
COPY = {"cpu": 2**28, "cuda": 2**30}  # bytes, more than caches hold


@dataclass(frozen=True)
class Ceilings:
    """The best rates of a device.

    Attributes:
        matrix: precision -> multiply-adds a second of a large product of matrices.
        convolution: the same of a 3 x 3 convolution of many channels, channels last.
        copy: bytes a second, those read and those written, of a copy larger than the caches.
    """

    matrix: Mapping[str, float]
    convolution: Mapping[str, float]
    copy: float

    def best(self, precision: str) -> float | None:
        """Multiply-adds a second of the faster of the two; None for a precision not measured."""
        rates = [r[precision] for r in (self.matrix, self.convolution) if precision in r]
        return max(rates, default=None)

    def __str__(self) -> str:
        rates = [
            f"{precision} {rate / 1e9:,.0f} GMAC/s in matrices and"
            f" {self.convolution[precision] / 1e9:,.0f} in convolutions"
            for precision, rate in self.matrix.items()
        ]
        return ", ".join([*rates, f"{self.copy / 1e9:,.0f} GB/s copied"])


def measure_ceilings(device: torch.device) -> Ceilings:
    """The ceilings of a device, on random numbers, with as many threads as the engine takes.

    Each is the best of repeats after a warm-up; about two seconds for all. float32 is as torch
    has it, which on CUDA lets convolutions round their inputs to TF32.
    """
    kind = device.type
    threads = torch.get_num_threads()
    torch.set_num_threads(hardware.threads())
    try:
        with torch.inference_mode():
            precisions = _precisions(device)
            names = [str(dtype).removeprefix("torch.") for dtype in precisions]
            matrix = [_matrix(device, dtype, MATRIX[kind]) for dtype in precisions]
            convolution = [_convolution(device, d, *CONVOLUTION[kind]) for d in precisions]
            return Ceilings(
                dict(zip(names, matrix, strict=True)),
                dict(zip(names, convolution, strict=True)),
                _copy(device, COPY[kind]),
            )
    finally:
        torch.set_num_threads(threads)


def _precisions(device: torch.device) -> list[torch.dtype]:
    """float32, and the lower ones that the device multiplies in hardware."""
    if device.type == "cpu":
        return [torch.float32, *([torch.bfloat16] if hardware.has_bfloat16() else [])]
    capability = torch.cuda.get_device_capability(device)
    lower = {torch.float16: (7, 0), torch.bfloat16: (8, 0)}
    return [torch.float32, *(dtype for dtype, least in lower.items() if capability >= least)]


def _matrix(device: torch.device, dtype: torch.dtype, edge: int) -> float:
    a, b = (torch.randn(edge, edge, device=device).to(dtype) for _ in range(2))
    return _rate(lambda: a @ b, edge**3, device)


def _convolution(
    device: torch.device, dtype: torch.dtype, pictures: int, channels: int, edge: int
) -> float:
    layout = torch.channels_last
    x = torch.randn(pictures, channels, edge, edge, device=device)
    weight = torch.randn(channels, channels, 3, 3, device=device)
    x, weight = (tensor.to(dtype, memory_format=layout) for tensor in (x, weight))
    macs = pictures * edge**2 * channels**2 * 9
    return _rate(lambda: F.conv2d(x, weight, padding=1), macs, device)


def _copy(device: torch.device, size: int) -> float:
    source = torch.randint(2**31 - 1, (size // 4,), dtype=torch.int32, device=device)
    target = torch.empty_like(source)
    return _rate(lambda: target.copy_(source), 2 * size, device)


def _rate(work: Callable[[], object], units: int, device: torch.device) -> float:
    """Units a second, by the best of repeats: what slows one of them is no ceiling."""

    def run(_: None) -> None:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return units / min(repeat(lambda: None, run, seconds=SECONDS, limit=LIMIT))
