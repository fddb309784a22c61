"""The fixed pattern of a shutterless camera: what stands still while the scene moves.

Without a shutter to look at, a camera cannot measure the gain and the offset of its pixels, and
what is left of them lies over every frame. A `Pattern` holds them in the source's own numbers,
so that it is taken off every frame of a sequence alike; `pattern_estimate` finds it.

    seen = gain * (scene - pivot) + pivot + offset
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deal_cli.engine.fixed_pattern.dead_pixels import filled
from deal_cli.engine.fixed_pattern.detail import TO_SIGMA, detail_of
from deal_cli.errors import PictureError, UsageError, WeightsError
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.tiling import bands
from deal_cli.imaging.whole import written_whole

FORMAT = "deal-pattern/1"
REMEDY = "give a file that --save-pattern wrote"
ANOTHER = "leave out --pattern, or give that of this camera"
LEAST_PRESENCE = 0.3  # of a pattern in a frame of its camera
SURE = 0.1  # the largest standard error of a presence that is believed
FINE_SIGMA = 1.5  # pixels

Values = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Pattern:
    """The fixed pattern of one camera, in its own numbers.

    Attributes:
        offset: `(H, W)`, mean 0, so that no temperature moves.
        gain: `(H, W)`, median 1.
        dead: bool `(H, W)`, pixels that say nothing of the scene.
        pivot: the value that the gain leaves alone.
        views: how many different views of the scene it was found in.
        dtype: of the files it was found in, such as "uint16".
    """

    offset: Values
    gain: Values
    dead: NDArray[np.bool_]
    pivot: float
    views: int
    dtype: str

    @property
    def spread(self) -> float:
        """The standard deviation of the offset, in the source's own numbers."""
        return float(self.offset.std())

    def remove(self, values: Values) -> Values:
        """A frame `(H, W)` without the pattern; dead pixels come from their neighbours.

        NaN stays where it is.
        """
        assert values.shape == self.offset.shape
        out = np.empty_like(values)
        pivot = np.float32(self.pivot)
        for rows in bands(*values.shape):
            np.subtract(values[rows], self.offset[rows], out=out[rows])
            out[rows] -= pivot
            out[rows] /= self.gain[rows]
            out[rows] += pivot
        return filled(out, self.dead)

    def check(self, frame: Frame) -> None:
        """Refuse a frame that does not show this pattern.

        Raises:
            PictureError: it is of another size or counts in other numbers, or the pattern is not
                there: it is another camera's, or the camera has corrected it.
        """
        height, width = self.offset.shape
        if (frame.height, frame.width) != (height, width):
            size = f"is {frame.width}x{frame.height}, and the pattern {width}x{height}"
            raise PictureError(size, remedy=ANOTHER)
        if frame.dtype.name != self.dtype:
            kind = f"holds {frame.dtype.name} pixels, and the pattern is of {self.dtype} ones"
            raise PictureError(kind, remedy=ANOTHER)
        if not self.shows(frame):
            share = max(self.presence(frame.values)[0], 0.0)
            cause = f"does not show the fixed pattern (a share of {share:.2f} of it)"
            raise PictureError(cause, remedy=ANOTHER)

    def shows(self, frame: Frame) -> bool:
        """Whether a frame shows the pattern, as far as its own detail lets that be told."""
        share, error = self.presence(frame.values)
        return share >= LEAST_PRESENCE or not error < SURE

    def presence(self, values: Values) -> tuple[float, float]:
        """How much of the pattern's fine detail a frame `(H, W)` has: 1 all of it, 0 none.

        The detail of a scene knows nothing of the pattern and averages out over the pixels.

        Returns:
            The share, and its standard error, infinite where the pattern has no detail.
        """
        known = np.isfinite(values) & ~self.dead
        seen = detail_of(np.where(known, values, 0), FINE_SIGMA)
        # Edges of the scene, and of gaps, are outliers.
        limit = 4 * TO_SIGMA * float(np.median(np.abs(seen)))
        seen = np.where(known, np.clip(seen, -limit, limit), 0)
        power = float((self._detail**2).sum(dtype=np.float64))
        if not power > 0:
            return 0.0, np.inf
        share = float((seen * self._detail).sum(dtype=np.float64)) / power
        return share, float(np.sqrt((seen**2).mean(dtype=np.float64) / power))

    @cached_property
    def _detail(self) -> Values:
        return detail_of(self.offset, FINE_SIGMA)

    def save(self, path: Path) -> None:
        """Write the pattern as safetensors, whole or not at all.

        Raises:
            OutputError: it cannot be written there.
        """
        from safetensors.numpy import save

        height, width = self.offset.shape
        facts = {"height": height, "width": width, "pivot": self.pivot, "views": self.views}
        metadata = {"format": FORMAT, "dtype": self.dtype, **{k: str(v) for k, v in facts.items()}}
        dead = self.dead.astype(np.float32)
        data = save({"offset": self.offset, "gain": self.gain, "dead": dead}, metadata)
        with written_whole(path) as stream:
            stream.write(data)


def load_pattern(path: Path) -> Pattern:
    """Read what `Pattern.save` wrote.

    Raises:
        UsageError: no such file, or it is damaged or of another kind.
    """
    from deal_cli.model.tensor_file import opened

    try:
        with opened(path) as content:
            facts = content.metadata
            if facts.get("format") != FORMAT:
                raise UsageError("is no fixed pattern", file=path, remedy=REMEDY)
            size = int(facts["height"]), int(facts["width"])
            pivot, views, dtype = float(facts["pivot"]), int(facts["views"]), facts["dtype"]
            tensors = content.tensors_like({"offset": size, "gain": size, "dead": size})
    except WeightsError as error:
        raise UsageError(error.cause, file=path, remedy=REMEDY) from error
    except (KeyError, ValueError) as error:
        raise UsageError("does not say what it is of", file=path, remedy=REMEDY) from error
    offset, gain, dead = (tensors[name].numpy() for name in ("offset", "gain", "dead"))
    if not (np.isfinite(pivot) and (gain > 0).all()):
        raise UsageError("holds a gain that is none", file=path, remedy=REMEDY)
    return Pattern(offset, gain, dead > 0.5, pivot, views, dtype)
