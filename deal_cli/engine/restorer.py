"""Frame in, Frame out: range, tiles, correction and tone around a backend.

The network's *correction* is added to the source in the source's own numbers,

    out = source + strength * span * (f(n) - n),   n = clip((source - low) / span, 0, 1),

so nothing outside the range is clipped, sixteen bits stay sixteen bits whatever the network's
precision, and strength 0 is the identity. Where a few pixels would have the range to themselves,
the others are looked at again on a range of their own (`view.py`). Tone, when applied, is one
global map after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from deal_cli.engine.backends.choice import Choice, Purpose, Request, choose, open_backend
from deal_cli.engine.backends.contract import Backend, OutOfMemoryError
from deal_cli.engine.columns import shared_offsets
from deal_cli.engine.fidelity.bound import Bound, apply_bound
from deal_cli.engine.fidelity.measure import Fidelity, Numbers, measure
from deal_cli.engine.ranges import (
    LITTLE,
    PERCENTILES,
    RangePolicy,
    measure_view,
    used_share,
)
from deal_cli.engine.saturation import saturated
from deal_cli.engine.view import View
from deal_cli.errors import BackendError
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.gaps import fill_gaps, keep_off_nodata
from deal_cli.imaging.tiling import Tile, bands, plan_tiles

if TYPE_CHECKING:
    from deal_cli.model.tone import Tone, TonePredictor

TILE = 1024  # pixels, halos included
# Pixels of a batch: on a processor, what the caches of each core hold; a GPU wants more work.
CORE_PIXELS, CUDA_PIXELS = 2**17, 2**22
LARGEST_BATCH = 64  # pictures
READ_PIXELS = 2**20  # of a picture, that a gauge reads
SPARSE = 3  # rows and columns, of which one is looked at for how much of the range is used
SMALLEST_CORE = 32  # pixels of a tile's edge that must remain between its halos

Values = NDArray[np.float32]
TonePolicy = Literal["auto", "keep", "restore"]


@dataclass(frozen=True)
class Settings:
    """How pictures are restored.

    Attributes:
        range: which source values become 0 and 1 for the network (see `measure_view`).
        tone: "keep" leaves gain and offset alone; "restore" applies the predicted tone; "auto"
            applies its gain to 8-bit pictures where the predictor is sure that contrast was lost.
        strength: share of the correction that is applied, 0 to 1.
        bound: the most that a pixel may differ from its source; None for no limit.
        tile: edge of a tile in pixels, halos included.
    """

    range: RangePolicy = "auto"
    tone: TonePolicy = "keep"
    strength: float = 1.0
    bound: Bound | None = None
    tile: int = TILE


@dataclass(frozen=True)
class Shared:
    """What the frames of a sequence have in common, decided once for all of them.

    Attributes:
        view: how the network sees them.
        tone: the map to apply after structure; None to keep the tone.
    """

    view: View
    tone: Tone | None


@dataclass(frozen=True, eq=False)
class Restored:
    """A restored picture and what was decided on the way.

    Attributes:
        frame: the result, in the source's own numbers, dtype and metadata.
        source: `(H, W)`, what it was made of, as it was read.
        range: the source values that became 0 and 1.
        tone: the map that was applied; None when tone was kept.
        fidelity: how far it is from its source; None where no pixel holds a measurement.
        used: how much of its range the source uses, 0 to 1; None where the range is measured.
    """

    frame: Frame
    source: Values
    range: tuple[float, float]
    tone: Tone | None
    fidelity: Fidelity | None
    used: float | None = None


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
    """One picture on its way: the network sees `source` through `view`.

    `original` is what the file holds, gaps filled; `source` the same, or without a fixed pattern,
    and, where the picture is `striped`, without what whole columns share.
    """

    frame: Frame
    original: Values
    source: Values
    gaps: NDArray[np.bool_] | None
    view: View
    out: Values
    striped: bool = False

    @property
    def flat(self) -> bool:
        """Whether the picture has one value only, and nothing to restore."""
        return not self.view.high > self.view.low

    def closer(self) -> _Work | None:
        """The same, to be looked at more closely, if that is worth it."""
        view = self.view.closer
        return replace(self, view=view, out=np.empty_like(self.out)) if view else None

    def take(self, again: _Work) -> None:
        """Have what a closer look made, as far as it is to be trusted."""
        for rows in bands(*self.out.shape):
            share = self.view.trust(self.source[rows])
            self.out[rows] += share * (again.out[rows] - self.out[rows])

    def without_stripes(self) -> _Work:
        """The same, restored once, without the offsets that whole columns were found to have."""
        if self.flat:
            return self
        seen = self.view.closer or self.view
        offsets = shared_offsets(self.source - self.out, seen.span)
        if offsets is None:
            return self
        return replace(self, source=self.source - offsets, striped=True)

    def read(self, part: tuple[slice, slice], unit: Values) -> None:
        """Write a part, which may reach past the picture into its mirror image, as [0, 1]."""
        rows, columns = (
            _mirrored(along, edge) for along, edge in zip(part, self.source.shape, strict=True)
        )
        self.view.to_unit(self.source[rows[:, None], columns], out=unit)


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

    def with_tone(self, policy: TonePolicy) -> Restorer:
        """The same with another tone.

        Raises:
            WeightsError: the tone predictor is not usable.
        """
        from deal_cli.model.weights import load_tone

        predictor = None if policy == "keep" else load_tone(self.backend.facts.path)
        return Restorer(self.backend, replace(self._settings, tone=policy), predictor)

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

    def restore_batch(
        self, frames: Sequence[Frame], shared: Shared | None = None
    ) -> list[Restored]:
        """The restored pictures in order. Otherwise like `restore`.

        Args:
            frames: of one size.
            shared: range and tone of the sequence that they are from; each its own otherwise.
        """
        return [self._finish(work, shared) for work in self._worked(frames, shared)]

    def restore_structure(self, frames: Sequence[Frame], shared: Shared) -> list[Values]:
        """What the network alone makes of frames of one size, `(H, W)` each, gaps filled."""
        return [work.out for work in self._worked(frames, shared)]

    def _worked(self, frames: Sequence[Frame], shared: Shared | None) -> list[_Work]:
        self.backend.facts.check_size(frames[0].height, frames[0].width)
        works = [self._prepare(frame, shared) for frame in frames]
        self._correct([work for work in works if not work.flat])
        works = [work.without_stripes() for work in works]
        self._correct([work for work in works if work.striped])
        return works

    def _correct(self, works: Sequence[_Work]) -> None:
        """Write `source (H, W)` plus what the network corrects in every view into every `out`."""
        self._add_corrections(works)
        closer = [(work, again) for work in works if (again := work.closer()) is not None]
        self._add_corrections([again for _, again in closer])
        for work, again in closer:
            work.take(again)

    def _prepare(self, frame: Frame, shared: Shared | None) -> _Work:
        view = shared.view if shared else measure_view(frame, self._settings.range)
        read = frame.values if frame.original is None else frame.original
        original, gaps = fill_gaps(read, frame.metadata.nodata, frame.absent)
        source = original if frame.original is None else frame.values
        out = np.empty_like(source) if view.high > view.low else source.copy()
        return _Work(frame, original, source, gaps, view, out)

    def _finish(self, work: _Work, shared: Shared | None) -> Restored:
        """Tone, strength, bound, the gaps as they were, and how far all that led."""
        out, frame = work.out, work.frame
        low, high = work.view.range
        tone = shared.tone if shared else self.decide_tone(out, frame.dtype, low, high)
        if tone is not None:
            first, span = np.float32(low), np.float32(high - low)
            for rows in bands(*out.shape):
                out[rows] = tone.apply((out[rows] - first) / span) * span + first
        if self._settings.strength != 1.0:
            out -= work.original
            out *= np.float32(self._settings.strength)
            out += work.original
        if self._settings.bound is not None:
            source = replace(frame, values=work.original, original=None)
            limit = self._settings.bound.limit(source, high - low)
            apply_bound(out, work.original, limit, frame.dtype)
        nodata = frame.metadata.nodata
        keep_off_nodata(out, work.original, frame.dtype, nodata, work.gaps)
        read = frame.values if frame.original is None else frame.original
        for kept in (work.gaps, saturated(read, frame.dtype)):
            if kept is not None:
                out[kept] = read[kept]
        fidelity = measure(work.original, out, Numbers.of(frame), work.gaps)
        restored = replace(frame, values=out, original=None)
        fixed = frame.dtype == np.uint8 and not work.flat
        used = used_share(work.original[::SPARSE, ::SPARSE], low, high) if fixed else None
        return Restored(restored, read, (low, high), tone, fidelity, used)

    def _add_corrections(self, works: Sequence[_Work]) -> None:
        """Write `source (H, W)` plus the network's correction into every `out`, tile by tile."""
        if not works:
            return
        shape = works[0].source.shape
        facts = self.backend.facts
        height, width = self._extended(shape)
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
            work.read(tile.source, unit[at, 0])
        whole, tiled = None, (height, width) != self._extended(shape)
        if self.backend.facts.reads_whole and (tiled or height * width > READ_PIXELS):
            whole = np.stack([self._whole(work) for work, _ in pairs])
        correction = self.backend.run(unit, whole) - unit
        for at, (work, tile) in enumerate(pairs):
            target = work.out[tile.core]
            crop = correction[at, 0][tile.crop][: target.shape[0], : target.shape[1]]
            source = work.source[tile.core]
            np.multiply(crop, work.view.span, out=target)
            work.view.fade(target, source)
            target += source

    def _whole(self, work: _Work) -> Values:
        """What a gauge reads of a picture: all of it, or the middle of a large one, `(1, H, W)`."""
        share = min(1.0, math.sqrt(READ_PIXELS / work.source.size))
        shape = [int(edge * share) for edge in work.source.shape]
        top, left = ((e - part) // 2 for e, part in zip(work.source.shape, shape, strict=True))
        height, width = self._extended(shape)
        unit = np.empty((1, height, width), np.float32)
        work.read((slice(top, top + height), slice(left, left + width)), unit[0])
        return unit

    def _extended(self, shape: Sequence[int]) -> tuple[int, int]:
        """Height and width as the network takes them: on its stride, and not too small."""
        facts = self.backend.facts
        height, width = (_padded(edge, facts.smallest, facts.stride) for edge in shape)
        return height, width

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

    def wants_tone(self, dtype: Any) -> bool:
        """Whether the tone of pictures of a dtype is looked at at all."""
        policy = self._settings.tone
        return policy == "restore" or (policy == "auto" and dtype == np.uint8)

    def decide_tone(self, out: Values, dtype: Any, low: float, high: float) -> Tone | None:
        """The tone to apply after structure to `out (H, W)`, if any.

        Args:
            out: restored, tone kept, in the source's own numbers.
            dtype: of the source.
            low: the value that became 0.
            high: the value that became 1.
        """
        if not self.wants_tone(dtype) or self._tone_predictor is None or not high > low:
            return None
        tone = self._tone_predictor.predict(out, low, high)
        if self._settings.tone != "restore":
            if not tone.confident or used_share(out, low, high) > LITTLE:
                return None
            tone = tone.contrast_only()
        if dtype.kind == "f":
            return tone
        held = np.iinfo(dtype)
        ends = [*np.percentile(out, PERCENTILES).tolist(), held.min, held.max]
        return tone.within(*((end - low) / (high - low) for end in ends))


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
