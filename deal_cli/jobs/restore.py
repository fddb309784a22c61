"""Restore files: plan every output before any work, then read, restore and write them.

One bad file never stops the others: what failed is reported with its cause, the rest is done.
Pictures are worked on side by side; a file of many frames, or a folder whose pictures follow one
another, is a sequence, which is looked at as a whole before its frames are restored.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from deal_cli.engine.backends import Choice
from deal_cli.engine.pattern import Pattern, load_pattern
from deal_cli.engine.restorer import Restored, Restorer, open_restorer
from deal_cli.errors import DealError
from deal_cli.imaging.celsius import check_celsius, in_celsius
from deal_cli.imaging.files import (
    check_target,
    decode,
    encode,
    read_frame,
    remove_remains,
    suffix_for,
    write_frame,
)
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.resize import enlarge
from deal_cli.imaging.whole import exists, make_folder
from deal_cli.jobs.clips import restore_clip
from deal_cli.jobs.flight import Kind
from deal_cli.jobs.pipeline import Passed, overlapped
from deal_cli.jobs.plan import STREAM, Item
from deal_cli.jobs.restore_outcome import Outcome, Summary
from deal_cli.jobs.restore_plan import Planned, RestoreRequest, check_request, plan_restoration
from deal_cli.jobs.sequence import Common, Progress, Survey, survey, without_pattern


def rehearse(request: RestoreRequest) -> Generator[Outcome]:
    """What a batch would do with every input, as far as can be told from a glance at it.

    Raises:
        UsageError: see `plan_restoration`.
    """
    check_request(request)
    for planned in plan_restoration(request):
        item = planned.item
        if item.error:
            yield Outcome(item, "failed", item.error)
        else:
            skipped = not request.overwrite and exists(item.target)
            yield Outcome(item, "skipped" if skipped else "planned")


def open_batch(request: RestoreRequest) -> Batch:
    """Plan the outputs and load the backend.

    Raises:
        UsageError: see `plan_restoration`; or no such pattern.
        BackendError: the backend asked for cannot be had.
        WeightsError: the weights are not usable.
    """
    check_request(request)
    planned = plan_restoration(request)
    pattern = load_pattern(request.pattern) if request.pattern else None
    restorer, choice = open_restorer(request.engine, request.settings)
    return Batch(request, planned, restorer, choice, pattern)


@dataclass
class Batch:
    """A planned restoration with its backend loaded.

    Attributes:
        request: what was asked for.
        planned: every file, in order.
        restorer: what restores them.
        choice: why this backend.
        pattern: the fixed pattern that was given, if any.
        progress: told of the frames of a sequence: done, total, what happens.
        say: told, in a line, what was found of the fixed pattern of a sequence.
        unsaved: why no pattern was saved, when one was to be.
    """

    request: RestoreRequest
    planned: tuple[Planned, ...]
    restorer: Restorer
    choice: Choice
    pattern: Pattern | None = None
    progress: Progress = field(default=lambda done, total, text: None)
    say: Callable[[str], None] = field(default=lambda text: None)
    unsaved: str | None = "nothing was restored"
    _surveys: dict[Path, Survey] = field(default_factory=dict)

    def run(self) -> Generator[Outcome]:
        """Restore the files in order, yielding what became of each.

        Raises:
            DealError: what no other picture would survive either, such as a full device.
        """
        for folder in {one.item.target.parent for one in self.planned if one.item.target}:
            remove_remains(folder)
        for _, group in itertools.groupby(self.planned, self._group):
            files = tuple(group)
            if files[0].contents.kind == "picture":
                yield from self._pictures([one.item for one in files])
            else:
                yield restore_clip(self, files[0])

    def _pictures(self, items: Sequence[Item]) -> Generator[Outcome]:
        """Restore pictures side by side, those of one folder if they are a sequence."""
        found = self._survey(items)
        passing = overlapped(
            items,
            lambda item: self._read(item, found),
            lambda frames: self.restore_frames(frames, found),
            lambda item, restored: self._write(item, restored, found),
            self.capacity,
            self.restorer.abandon,
        )
        with contextlib.closing(passing):
            for passed in passing:
                yield _outcome(passed)

    def restore_frames(self, frames: Sequence[Frame], found: Survey | None) -> list[Restored]:
        """Restore frames of one size and dtype, with what their sequence has in common."""
        common = found.of(frames[0]) if found else None
        return self.restorer.restore_batch(frames, common.shared if common else None)

    def prepared(self, frame: Frame, found: Survey | None) -> Frame:
        """A frame as the restorer takes it: without the fixed pattern, and enlarged.

        Raises:
            PictureError: the pattern given is not this frame's, or it would be too large.
        """
        common = found.of(frame) if found else None
        pattern = common.pattern if common else self.pattern
        frame = without_pattern(frame, pattern)
        return enlarge(frame, self.request.scale, max_pixels=self.request.max_pixels)

    def look_at(self, name: Path, frames: Iterator[Frame], count: int | None = None) -> Survey:
        """Learn what the frames of a sequence have in common, and save its pattern if asked to.

        Args:
            name: of its file or folder, for people.
            frames: all of them.
            count: how many there are, as far as is known.

        Raises:
            OutputError: the pattern cannot be written.
        """
        request = self.request

        def progress(done: int, total: int | None, text: str) -> None:
            self.progress(done, count if total is None else total, f"{name.name}: {text}")

        found = survey(
            frames,
            self.restorer,
            request.settings.range,
            given=self.pattern,
            find_pattern=request.find_pattern,
            enlarged=lambda frame: enlarge(frame, request.scale, max_pixels=request.max_pixels),
            progress=progress,
        )
        main = found.main
        if main and main.reason:
            self.say(f"deal: {name}: {main.reason}")
        if request.save_pattern is not None:
            self.unsaved = main.reason if main else "it has no frames"
            if main and main.pattern:
                make_folder(request.save_pattern.parent)
                main.pattern.save(request.save_pattern)
                self.unsaved = None
        return found

    def capacity(self, frame: Frame) -> int:
        """How many frames like this one make a good batch."""
        return self.restorer.capacity(frame.height, frame.width)

    def written(self, frame: Frame) -> Frame:
        """A restored frame in the unit that is written.

        Raises:
            PictureError: degrees were asked for, and the file does not say how to get there.
        """
        return in_celsius(frame) if self.request.unit == "celsius" else frame

    def summarise(self, restored: Restored, common: Common | None) -> Summary:
        """What is worth saying of a restored frame."""
        frame, tone = restored.frame, restored.tone
        return Summary(
            frame.width,
            frame.height,
            "float32" if self.request.unit == "celsius" else frame.dtype.name,
            Kind.of(frame),
            restored.range,
            {"gain": tone.gain, "offset": tone.offset, "gamma": tone.gamma} if tone else None,
            restored.fidelity,
            common.reason if common else None,
        )

    def _group(self, planned: Planned) -> object:
        """What is worked on together: pictures, those of one folder in a sequence, or a clip."""
        item = planned.item
        if planned.contents.kind != "picture":
            return item.source
        return item.source.parent if self.request.sequence and item.source else None

    def _survey(self, items: Sequence[Item]) -> Survey | None:
        """What all pictures of a folder have in common, if they are a sequence and any is to do.

        Those that cannot be read tell so later.
        """
        folder = items[0].source.parent if items[0].source else None
        todo = any(self.request.overwrite or not exists(item.target) for item in items)
        if not self.request.sequence or folder is None or not todo:
            return None

        def frames() -> Iterator[Frame]:
            for one in self.planned:
                source = one.item.source
                if one.contents.kind == "picture" and source and source.parent == folder:
                    with contextlib.suppress(DealError):
                        yield self._decoded(one.item)

        if folder not in self._surveys:
            self._surveys[folder] = self.look_at(folder, frames())
        return self._surveys[folder]

    def _decoded(self, item: Item) -> Frame:
        if item.error:
            raise item.error
        luminance, limit = self.request.luminance, self.request.max_pixels
        if item.source is None:
            return decode(self._stdin, STREAM, luminance=luminance, max_pixels=limit)
        return read_frame(item.source, luminance=luminance, max_pixels=limit)

    def _read(self, item: Item, found: Survey | None) -> Frame | None:
        """The picture to restore, enlarged; None when its output exists."""
        if not item.error and not self.request.overwrite and exists(item.target):
            return None
        frame = self._decoded(item)
        written = check_celsius(frame) if self.request.unit == "celsius" else frame
        check_target(written, item.target or self._suffix(item, frame))
        return self.prepared(frame, found)

    def _write(self, item: Item, restored: Restored, found: Survey | None) -> Summary:
        frame = self.written(restored.frame)
        compression = self.request.compression
        if item.target is None:
            suffix = self._suffix(item, frame)
            sys.stdout.buffer.write(encode(frame, suffix, compression=compression))
            sys.stdout.buffer.flush()
        else:
            make_folder(item.target.parent)
            write_frame(frame, item.target, compression=compression)
        return self.summarise(restored, found.of(restored.frame) if found else None)

    def _suffix(self, item: Item, frame: Frame) -> str:
        """The format for standard output: the input's own, or TIFF for counts of a camera."""
        if frame.metadata.radiometry is not None:
            return ".tif"
        if item.source is None:
            return suffix_for(self._stdin)
        with item.source.open("rb") as stream:
            return suffix_for(stream.read(64))

    @cached_property
    def _stdin(self) -> bytes:
        return sys.stdin.buffer.read()


def _outcome(passed: Passed[Item, Summary]) -> Outcome:
    item, error = passed.item, passed.error
    if error is not None:
        if error.file is None:
            error.file = item.source or STREAM
        return Outcome(item, "failed", error, seconds=passed.seconds)
    if passed.kept is None:
        return Outcome(item, "skipped", seconds=passed.seconds)
    return Outcome(item, "restored", None, passed.kept, passed.seconds)
