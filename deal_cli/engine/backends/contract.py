"""What every backend is: a loaded network that maps pictures to pictures, and facts about it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deal_cli.errors import PictureError

Batch = NDArray[np.float32]  # (B, 1, H, W) in [0, 1]


@dataclass(frozen=True)
class Facts:
    """What is known of an opened backend.

    Attributes:
        backend: "cuda", "onnx" or "cpu".
        device: the accelerator's or processor's name; for ONNX Runtime its execution provider.
        precision: "float32", "bfloat16" or "float16".
        note: why that precision, in words.
        weights: name of the weights; `sha256` of their file.
        stride: edges of a tile are multiples of it.
        halo: receptive radii down and across in pixels, rounded up to the stride.
        smallest: the least edge of a tile in pixels.
        path: of the weights' file, beside which a tone predictor may lie.
        parallel: pictures of a batch that are worked on at the same time.
        only: the height and width of the only pictures that a graph with a fixed size takes.
        reads_whole: whether a part of a picture is restored by what the whole shows.
    """

    backend: str
    device: str
    precision: str
    note: str
    weights: str
    sha256: str
    stride: int
    halo: tuple[int, int]
    smallest: int
    path: Path = Path()
    parallel: int = 1
    only: tuple[int, int] | None = None
    reads_whole: bool = False

    def check_size(self, height: int, width: int) -> None:
        """Make sure that pictures of a size can be restored.

        Raises:
            PictureError: the weights are a graph for pictures of another size.
        """
        if self.only is not None and self.only != (height, width):
            raise PictureError(
                f"is {height}x{width} (height x width), and {self.path.name} takes"
                " {}x{} only".format(*self.only),
                remedy="export the weights without --fixed",
            )


class OutOfMemoryError(Exception):
    """The backend could not hold a tile; a smaller one may do."""


class Backend(ABC):
    """A loaded network: `run` maps `(B, 1, H, W)` float32 in [0, 1] to the same shape."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    @abstractmethod
    def run(self, x: Batch, whole: Batch | None = None) -> Batch:
        """The restored pictures, in float32; edges are multiples of the stride.

        Args:
            x: pictures, or tiles of them.
            whole: of each of `x` the picture that it is of, where the network reads it; its edges
                are multiples of the stride too. None: `x` are whole.

        Raises:
            OutOfMemoryError: the batch does not fit.
        """
