"""What the frames of a sequence have in common, found in a first pass over all of them.

A range or a tone that changed from frame to frame would flicker, and a fixed pattern shows only
over many frames. So a sequence is read twice: once to learn, here, and once to be restored.
Frames of one size and dtype belong together; a stack may hold several kinds.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deal_cli.engine.fixed_pattern.estimate import (
    LEAST_VIEWS,
    MOST_PIXELS,
    Finding,
    estimate,
    sample_count,
)
from deal_cli.engine.fixed_pattern.pattern import Pattern
from deal_cli.engine.ranges import RangePolicy, SequenceRange
from deal_cli.engine.restorer import Restorer, Shared
from deal_cli.errors import PictureError
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.gaps import fill_gaps

if TYPE_CHECKING:
    from deal_cli.model.tone import Tone

MOST_KINDS = 16  # of frames in a sequence that samples are kept of
TONE_FRAMES = 9  # that a sequence's tone is decided by

Kind = tuple[int, int, str]
Progress = Callable[[int, int | None, str], None]


@dataclass(frozen=True)
class Common:
    """What frames of one kind have in common.

    Attributes:
        shared: range and tone.
        finding: what was found of a fixed pattern; None where nobody looked.
    """

    shared: Shared
    finding: Finding | None = None


@dataclass(frozen=True)
class Survey:
    """What was learnt of a sequence: each kind's `Common`, in the order they were met."""

    kinds: dict[Kind, Common]

    def of(self, frame: Frame) -> Common | None:
        """What a frame has in common with the others; None where it was not seen before."""
        return self.kinds.get(kind_of(frame))

    @property
    def main(self) -> Common | None:
        """That of the first kind, which nearly every sequence has alone."""
        return next(iter(self.kinds.values()), None)


def kind_of(frame: Frame) -> Kind:
    """Height, width and dtype."""
    return frame.height, frame.width, frame.dtype.name


def without_pattern(frame: Frame, pattern: Pattern) -> Frame:
    """A frame with the pattern taken off its values, gaps filled; `original` stays as read."""
    filled, _ = fill_gaps(frame.values, frame.metadata.nodata, frame.absent)
    return replace(frame, values=pattern.remove(filled), original=frame.values)


def survey(
    frames: Iterable[Frame],
    restorer: Restorer,
    policy: RangePolicy,
    *,
    given: Pattern | None = None,
    find_pattern: bool = True,
    enlarged: Callable[[Frame], Frame] = lambda frame: frame,
    progress: Progress = lambda done, total, text: None,
) -> Survey:
    """Look at every frame of a sequence once.

    Args:
        frames: all of them, in order.
        restorer: what they will be restored by.
        policy: how the range is measured, over all frames together.
        given: a pattern that is known already.
        find_pattern: look for one where none is given.
        enlarged: what becomes of a frame before it is restored.
        progress: told of every frame, and of every sample restored.

    Returns:
        What the first `MOST_KINDS` kinds have in common; frames of others are restored by
        themselves.
    """
    kinds: dict[Kind, _Kind] = {}
    seek = find_pattern and given is None
    for done, frame in enumerate(frames, 1):
        key = kind_of(frame)
        if key not in kinds and len(kinds) < MOST_KINDS:
            pixels = frame.height * frame.width
            most = 2 * sample_count(frame.height, frame.width) if seek else 0
            if restorer.wants_tone(frame.dtype):
                most = max(most, min(2 * TONE_FRAMES, max(1, MOST_PIXELS // pixels)))
            kinds[key] = _Kind(SequenceRange(policy), _Samples(most))
        if key in kinds:
            kinds[key].range.add(frame)
            kinds[key].samples.add(frame)
        progress(done, None, "looking")
    return Survey(
        {
            key: _common(kind, restorer, given, seek, enlarged, progress)
            for key, kind in kinds.items()
        }
    )


class _Samples:
    """Frames from all over a sequence of unknown length: every n-th, n a power of two."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._step, self._seen = 1, 0
        self.frames: list[Frame] = []

    def add(self, frame: Frame) -> None:
        if self._most and self._seen % self._step == 0:
            self.frames.append(frame)
            if len(self.frames) > self._most:
                self.frames = self.frames[::2]
                self._step *= 2
        self._seen += 1

    def spread(self, count: int) -> list[Frame]:
        """So many of them at most, evenly."""
        if len(self.frames) <= count:
            return self.frames
        places = np.linspace(0, len(self.frames) - 1, count).round().astype(int)
        return [self.frames[at] for at in places]


@dataclass(frozen=True)
class _Kind:
    range: SequenceRange
    samples: _Samples


def _common(
    kind: _Kind,
    restorer: Restorer,
    given: Pattern | None,
    seek: bool,
    enlarged: Callable[[Frame], Frame],
    progress: Progress,
) -> Common:
    measured = kind.range.result()
    assert measured is not None
    plain = Shared(measured, None)
    samples = kind.samples.frames
    finding = None
    if seek and len(samples) >= LEAST_VIEWS:
        height, width = samples[0].values.shape
        finding = _find(kind.samples.spread(sample_count(height, width)), restorer, plain, progress)
    pattern = finding.pattern if finding else given
    tone = _tone(kind.samples.spread(TONE_FRAMES), restorer, plain, pattern, enlarged)
    return Common(Shared(measured, tone), finding)


def _find(samples: list[Frame], restorer: Restorer, shared: Shared, progress: Progress) -> Finding:
    """What there is of a pattern in eight or more samples."""
    whole = [
        replace(frame, values=fill_gaps(frame.values, frame.metadata.nodata, frame.absent)[0])
        for frame in samples
    ]
    together = restorer.capacity(*samples[0].values.shape)
    restored: list[NDArray[np.float32]] = []
    while len(restored) < len(whole):
        batch = whole[len(restored) : len(restored) + together]
        restored += restorer.restore_structure(batch, shared)
        progress(len(restored), len(whole), "learning the fixed pattern")
    return estimate([frame.values for frame in whole], restored, samples[0].dtype.name)


def _tone(
    samples: list[Frame],
    restorer: Restorer,
    shared: Shared,
    pattern: Pattern | None,
    enlarged: Callable[[Frame], Frame],
) -> Tone | None:
    """The tone of a sequence: the median of what its frames ask for, if most ask for any."""
    if not samples or not restorer.wants_tone(samples[0].dtype):
        return None
    low, high = shared.view.range
    asked = []
    for sample in samples:
        fits = pattern is not None and pattern.offset.shape == sample.values.shape
        frame = without_pattern(sample, pattern) if pattern is not None and fits else sample
        with contextlib.suppress(PictureError):  # what is too large says so when it is restored
            frame = enlarged(frame)
        out = restorer.restore_structure([frame], shared)[0]
        asked.append(restorer.decide_tone(out, frame.dtype, low, high))
    tones = [tone for tone in asked if tone is not None]
    if 2 * len(tones) <= len(asked):
        return None
    middle = {
        name: statistics.median(getattr(tone, name) for tone in tones)
        for name in ("gain", "offset", "gamma", "pivot")
    }
    return replace(tones[0], **middle)
