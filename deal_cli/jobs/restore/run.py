"""Restore files: plan every output before any work, then read, restore and write them.

One bad file never stops the others: what failed is reported with its cause, the rest is done.
Pictures are worked on side by side; a file of many frames, or a folder whose pictures follow one
another, is a sequence, which is looked at as a whole before its frames are restored.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from deal_cli.engine.backends.choice import Choice
from deal_cli.engine.fixed_pattern.pattern import Pattern, load_pattern
from deal_cli.engine.restorer import Restored, open_restorer
from deal_cli.errors import DealError
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
from deal_cli.imaging.piped import refuse_several
from deal_cli.imaging.reading import named
from deal_cli.imaging.whole import exists, make_folder
from deal_cli.jobs.batch.pipeline import Passed, overlapped, told
from deal_cli.jobs.batch.plan import STREAM, Item
from deal_cli.jobs.restore.clips import restore_clip
from deal_cli.jobs.restore.outcome import Outcome, Summary
from deal_cli.jobs.restore.plan import Planned, RestoreRequest, check_request, plan_restoration
from deal_cli.jobs.restore.restoration import Restoration
from deal_cli.jobs.restore.sequence import Survey


def rehearse(request: RestoreRequest) -> Generator[Outcome]:
    """What a batch would do with every input, as far as can be told from a glance at it.

    Raises:
        UsageError: see `plan_restoration`; or no such pattern.
    """
    planned = plan(request)
    _pattern_of(request)
    for item in (one.item for one in planned):
        if item.error:
            yield Outcome(item, "failed", item.error)
        else:
            skipped = not request.overwrite and exists(item.target)
            yield Outcome(item, "skipped" if skipped else "planned")


def plan(request: RestoreRequest) -> tuple[Planned, ...]:
    """Every file to restore, in order.

    Raises:
        UsageError: see `plan_restoration`.
    """
    check_request(request)
    return plan_restoration(request)


def open_batch(request: RestoreRequest) -> Batch:
    """Plan the outputs and load the backend.

    Raises:
        UsageError: see `plan_restoration`; or no such pattern.
        BackendError: the backend asked for cannot be had.
        WeightsError: the weights are not usable.
    """
    planned = plan(request)
    return Batch(planned, *open_restoration(request))


def open_restoration(request: RestoreRequest) -> tuple[Restoration, Choice]:
    """Load the backend, the weights and a pattern that is given, and say what was chosen.

    Raises:
        UsageError: numbers or names of the request make no sense; or no such pattern.
        BackendError: the backend asked for cannot be had.
        WeightsError: the weights are not usable.
    """
    check_request(request)
    pattern = _pattern_of(request)
    restorer, choice = open_restorer(request.engine, request.settings)
    return Restoration(request, restorer, pattern), choice


def _pattern_of(request: RestoreRequest) -> Pattern | None:
    return load_pattern(request.pattern) if request.pattern else None


@dataclass(frozen=True)
class Batch:
    """A planned restoration with its backend loaded.

    Attributes:
        planned: every file, in order.
        restoration: how their frames are restored.
        choice: why this backend.
    """

    planned: tuple[Planned, ...]
    restoration: Restoration
    choice: Choice
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
                yield restore_clip(self.restoration, files[0])

    def _pictures(self, items: Sequence[Item]) -> Generator[Outcome]:
        """Restore pictures side by side, those of one folder if they are a sequence."""
        try:
            found = self._survey(items)
        except Exception as error:
            # Nothing is known of the sequence, so none of its frames can be restored as of it.
            for item in items:
                yield _outcome(Passed(item, None, told(error), 0.0))
            return
        restoration = self.restoration
        passing = overlapped(
            items,
            lambda item: self._read(item, found),
            lambda frames: restoration.restored(frames, found),
            lambda item, restored: self._write(item, restored, found),
            restoration.capacity,
            restoration.restorer.abandon,
        )
        with contextlib.closing(passing):
            for passed in passing:
                yield _outcome(passed)

    def _group(self, planned: Planned) -> object:
        """What is worked on together: pictures, those of one folder in a sequence, or a clip."""
        item = planned.item
        if planned.contents.kind != "picture":
            return item.source
        return item.source.parent if self._request.sequence and item.source else None

    @property
    def _request(self) -> RestoreRequest:
        return self.restoration.request

    def _survey(self, items: Sequence[Item]) -> Survey | None:
        """What all pictures of a folder have in common, if they are a sequence and any is to do.

        Those that cannot be read tell so later.
        """
        folder = items[0].source.parent if items[0].source else None
        todo = any(self._request.overwrite or not exists(item.target) for item in items)
        if not self._request.sequence or folder is None or not todo:
            return None

        def frames() -> Iterator[Frame]:
            for one in self.planned:
                source = one.item.source
                if one.contents.kind == "picture" and source and source.parent == folder:
                    with contextlib.suppress(DealError):
                        yield self._decoded(one.item)

        if folder not in self._surveys:
            self._surveys[folder] = self.restoration.look_at(folder, frames())
        return self._surveys[folder]

    def _decoded(self, item: Item) -> Frame:
        if item.error:
            raise item.error
        if item.source is None:
            with named(STREAM):
                refuse_several(self._stdin)
            return decode(self._stdin, STREAM, self._request.read_as)
        return read_frame(item.source, self._request.read_as)

    def _read(self, item: Item, found: Survey | None) -> Frame | None:
        """The picture to restore, enlarged; None when its output exists."""
        if not item.error and not self._request.overwrite and exists(item.target):
            return None
        frame = self._decoded(item)
        target = item.target or self._suffix(item, frame)
        check_target(self.restoration.to_be_written(frame), target)
        return self.restoration.prepared(frame, found)

    def _write(self, item: Item, restored: Restored, found: Survey | None) -> Summary:
        frame = self.restoration.written(restored.frame)
        compression = self._request.compression
        if item.target is None:
            suffix = self._suffix(item, frame)
            sys.stdout.buffer.write(encode(frame, suffix, compression=compression))
            sys.stdout.buffer.flush()
        else:
            make_folder(item.target.parent)
            write_frame(frame, item.target, compression=compression)
        summary = self.restoration.summarise(restored, found)
        return replace(summary, shown=self.restoration.shown(str(item.source or STREAM), restored))

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
