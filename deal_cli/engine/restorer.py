"""Frame in, Frame out: range, tiles, correction and tone around a backend.

The network's *correction* is added to the source in the source's own numbers,

    out = source + strength * span * (f(n) - n),   n = clip((source - low) / span, 0, 1),

so nothing outside the range is clipped, sixteen bits stay sixteen bits whatever the network's
precision, and strength 0 is the identity. Tone, when applied, is one global map after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from deal_cli.engine.backends import Choice, Purpose, Request, choose, open_backend
from deal_cli.engine.contract import Backend, OutOfMemoryError
from deal_cli.errors import BackendError, UsageError
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.gaps import fill_gaps, find_gaps, keep_off_nodata
from deal_cli.imaging.tiling import Tile, bands, plan_tiles

if TYPE_CHECKING:
    from deal_cli.model.tone import Tone, TonePredictor

TILE = 1024  # pixels, halos included
# Pixels of a batch: on a processor, what the caches of each core hold; a GPU wants more work.
CORE_PIXELS, CUDA_PIXELS = 2**17, 2**22
LARGEST_BATCH = 64  # pictures
SMALLEST_CORE = 32  # pixels of a tile's edge that must remain between its halos
PERCENTILES = (0.1, 99.9)
WIDENING = 0.05  # of the percentiles' span, on either side

Values = NDArray[np.float32]
RangePolicy = Literal["auto", "image", "dtype"] | tuple[float, float]
TonePolicy = Literal["auto", "keep", "restore"]


@dataclass(frozen=True)
class Settings:
    """How pictures are restored.

    Attributes:
        range: which source values become 0 and 1 for the network: "auto" (the type's range for
            8 bits, percentiles .1 and 99.9 widened by 5 % otherwise), "image" (least to most),
            "dtype" (the type's full range), or the two values.
        tone: "keep" leaves gain and offset alone; "restore" applies the predicted tone; "auto"
            applies its gain to 8-bit pictures where the predictor is sure that contrast was lost.
        strength: share of the correction that is applied, 0 to 1.
        tile: edge of a tile in pixels, halos included.
    """

    range: RangePolicy = "auto"
    tone: TonePolicy = "auto"
    strength: float = 1.0
    tile: int = TILE


@dataclass(frozen=True)
class Restored:
    """A restored picture and what was decided on the way.

    Attributes:
        frame: the result, in the source's own numbers, dtype and metadata.
        range: the source values that became 0 and 1.
        tone: the map that was applied; None when tone was kept.
    """

    frame: Frame
    range: tuple[float, float]
    tone: Tone | None


def open_restorer(request: Request, settings: Settings) -> tuple[Restorer, Choice]:
    """Choose a backend, load weights and tone predictor, and say what was chosen.

    Raises:
        BackendError: the backend asked for cannot be had.
        WeightsError: weights are missing, damaged or of another kind.
    """
    choice = choose(request, Purpose.INFERENCE)
    backend = open_backend(choice, request)
    if settings.tone == "keep":
        return Restorer(backend, settings), choice
    from deal_cli.model.weights import load_tone

    return Restorer(backend, settings, load_tone(backend.facts.path)), choice


@dataclass(frozen=True, eq=False)
class _Work:
    """One picture on its way: what the network sees of it is `(source - low) / span`."""

    frame: Frame
    source: Values
    gaps: NDArray[np.bool_] | None
    low: float
    high: float
    out: Values

    @property
    def span(self) -> np.float32:
        return np.float32(self.high - self.low)


class Restorer:
    """Restores Frames through one backend, with one group of settings."""

    def __init__(
        self, backend: Backend, settings: Settings, tone_predictor: TonePredictor | None = None
    ) -> None:
        self.backend = backend
        self._settings = settings
        self._tone_predictor = tone_predictor
        self._tile = (max([settings.tile, *(backend.facts.only or ())]),) * 2  # height, width
        self._abandoned = False

    def abandon(self) -> None:
        """Make what is being restored in other threads give up at its next tile, for good."""
        self._abandoned = True

    def capacity(self, height: int, width: int) -> int:
        """How many pictures of one size make a good batch."""
        cuda = self.backend.facts.backend == "cuda"
        pixels = CUDA_PIXELS if cuda else CORE_PIXELS
        if height * width > TILE**2:
            return 1
        parallel = self.backend.facts.parallel
        return min(max(1, pixels // (height * width)), LARGEST_BATCH) * parallel

    def restore(self, frame: Frame) -> Restored:
        """The restored picture; NaN and infinite pixels stay as and where they are.

        Raises:
            UsageError: the range policy does not fit the picture's dtype.
            PictureError: the weights are a graph for pictures of another size.
            BackendError: even the smallest tile does not fit into memory.
        """
        return self.restore_batch([frame])[0]

    def restore_batch(self, frames: Sequence[Frame]) -> list[Restored]:
        """The restored pictures in order; `frames` are of one size. Otherwise like `restore`."""
        self.backend.facts.check_size(frames[0].height, frames[0].width)
        works = [self._prepare(frame) for frame in frames]
        # A picture of one value only has nothing to restore.
        self._add_corrections([work for work in works if work.high > work.low])
        return [self._finish(work) for work in works]

    def _prepare(self, frame: Frame) -> _Work:
        low, high = measure_range(frame, self._settings.range)
        source, gaps = fill_gaps(frame.values, frame.metadata.nodata)
        out = np.empty_like(source) if high > low else source.copy()
        return _Work(frame, source, gaps, low, high, out)

    def _finish(self, work: _Work) -> Restored:
        """Tone, strength, and the gaps as they were."""
        out = work.out
        tone = self._decide_tone(work)
        if tone is not None:
            for rows in bands(*out.shape):
                unit = (out[rows] - np.float32(work.low)) / work.span
                out[rows] = tone.apply(unit) * work.span + np.float32(work.low)
        if self._settings.strength != 1.0:
            out -= work.source
            out *= np.float32(self._settings.strength)
            out += work.source
        if work.gaps is not None:
            out[work.gaps] = work.frame.values[work.gaps]
        keep_off_nodata(out, work.source, work.frame.dtype, work.frame.metadata.nodata, work.gaps)
        return Restored(replace(work.frame, values=out), (work.low, work.high), tone)

    def _add_corrections(self, works: Sequence[_Work]) -> None:
        """Write `source (H, W)` plus the network's correction into every `out`, tile by tile."""
        if not works:
            return
        shape = works[0].source.shape
        facts = self.backend.facts
        height, width = (_padded(edge, facts.smallest, facts.stride) for edge in shape)
        pending = np.ones(shape, np.bool_)
        while pending.any():
            plan = plan_tiles(height, width, tile=self._tile, halo=facts.halo, stride=facts.stride)
            missing = [tile for tile in plan if pending[tile.core].any()]
            together = max(1, facts.parallel // len(works))
            full = False
            for first in range(0, len(missing), together):
                if self._abandoned:
                    raise BackendError("the restoration was abandoned")
                tiles = missing[first : first + together]
                try:
                    self._restore_tiles(works, tiles)
                except OutOfMemoryError:
                    full = True  # and on from outside, where nothing holds what was begun
                    break
                for tile in tiles:
                    pending[tile.core] = False
            if not full:
                return
            if len(works) > 1:  # what is done already is done again, with the same result
                for work in works:
                    self._add_corrections([work])
                return
            self._halve_tile(max(height, width))

    def _restore_tiles(self, works: Sequence[_Work], tiles: Sequence[Tile]) -> None:
        """Some tiles of every picture; where one reaches past the picture, it sees a mirror."""
        shape = works[0].source.shape
        pairs = [(work, tile) for work in works for tile in tiles]
        height, width = (part.stop - part.start for part in tiles[0].source)  # all have one shape
        unit = np.empty((len(pairs), 1, height, width), np.float32)
        for at, (work, tile) in enumerate(pairs):
            rows, columns = (
                _mirrored(part, edge) for part, edge in zip(tile.source, shape, strict=True)
            )
            np.subtract(work.source[rows[:, None], columns], np.float32(work.low), out=unit[at, 0])
            unit[at] /= work.span
        np.clip(unit, 0, 1, out=unit)
        correction = self.backend.run(unit) - unit
        for at, (work, tile) in enumerate(pairs):
            target = work.out[tile.core]
            crop = correction[at, 0][tile.crop][: target.shape[0], : target.shape[1]]
            np.multiply(crop, work.span, out=target)
            target += work.source[tile.core]

    def _halve_tile(self, longest: int) -> None:
        """Go on with tiles of half the edge, or give up when halos would leave no core."""
        facts = self.backend.facts
        smaller = min(max(self._tile), longest) // 2
        if facts.only or smaller < 2 * min(facts.halo) + SMALLEST_CORE:
            raise BackendError(
                f"the {facts.backend} backend is out of memory with tiles of {2 * smaller} pixels",
                remedy="free some memory" if facts.backend == "cpu" else "use --backend cpu",
            )
        # Halos may be taller than wide; then tiles are.
        down, across = (max(smaller, 2 * pixels + SMALLEST_CORE) for pixels in facts.halo)
        self._tile = down, across

    def _decide_tone(self, work: _Work) -> Tone | None:
        """The tone to apply after structure, if any."""
        policy = self._settings.tone
        wanted = policy == "restore" or (policy == "auto" and work.frame.dtype == np.uint8)
        if not wanted or self._tone_predictor is None or not work.high > work.low:
            return None
        tone = self._tone_predictor.predict(work.out, work.low, work.high)
        if policy == "restore":
            return tone
        return tone.contrast_only() if tone.confident else None


def measure_range(frame: Frame, policy: RangePolicy) -> tuple[float, float]:
    """The source values that become 0 and 1 for the network.

    Raises:
        UsageError: "dtype" with a float picture, which has no full range.
    """
    if isinstance(policy, tuple):
        return policy
    integer = np.issubdtype(frame.dtype, np.integer)
    if policy == "dtype" or (policy == "auto" and frame.dtype == np.uint8):
        if not integer:
            raise UsageError(
                f"{frame.dtype} has no full range", remedy="use --range image or --range LO:HI"
            )
        return float(np.iinfo(frame.dtype).min), float(np.iinfo(frame.dtype).max)
    gaps = find_gaps(frame.values, frame.metadata.nodata)
    measured = frame.values if gaps is None else frame.values[~gaps][None]
    if measured.size == 0:
        return 0.0, 0.0
    if policy == "image":
        return float(measured.min()), float(measured.max())
    low, high = _percentiles(measured, whole=integer)
    margin = WIDENING * (high - low)
    return low - margin, high + margin


def _percentiles(values: Values, *, whole: bool) -> tuple[float, float]:
    """`PERCENTILES` of the values; those of whole numbers from a histogram, without a copy."""
    if not whole:
        low, high = np.percentile(values, PERCENTILES, method="inverted_cdf")
        return float(low), float(high)
    least = int(values.min())
    # Enlarged counts lie between whole numbers, and float32 may round the greatest up to the next.
    counts = np.zeros(int(values.max()) - least + 2, np.int64)
    for rows in bands(*values.shape):
        levels = (values[rows] - np.float32(least)).astype(np.int64)
        counts += np.bincount(levels.ravel(), minlength=len(counts))
    ranks = np.ceil(np.array(PERCENTILES) / 100 * values.size)
    low, high = np.searchsorted(np.cumsum(counts), ranks) + least
    return float(low), float(high)


def _padded(edge: int, smallest: int, stride: int) -> int:
    """The least multiple of the stride that holds an edge and the network's smallest input."""
    return -(-max(edge, smallest) // stride) * stride


def _mirrored(part: slice, edge: int) -> NDArray[np.intp]:
    """Indices of a slice that may reach past an edge, mirrored back into the picture."""
    index = np.arange(part.start, part.stop)
    if edge == 1:
        return np.zeros_like(index)
    index %= 2 * (edge - 1)
    mirrored: NDArray[np.intp] = np.minimum(index, 2 * (edge - 1) - index)
    return mirrored
