"""One file of many frames: looked at once, then read, restored and written frame by frame.

The clip that is written appears whole or not at all: where one frame cannot be read, the file has
failed and nothing of it is kept.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from deal_cli.engine.fidelity.many import FidelityOfMany
from deal_cli.engine.restorer import Restored
from deal_cli.errors import PictureError
from deal_cli.imaging.clip import Clip, ClipWriter
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.video.clip_files import check_clip_target, create_clip, open_clip
from deal_cli.imaging.whole import exists, make_folder
from deal_cli.jobs.batch.pipeline import overlapped, told
from deal_cli.jobs.page.pack import Packed, Unshown
from deal_cli.jobs.restore.outcome import Outcome, Summary
from deal_cli.jobs.restore.plan import Planned
from deal_cli.jobs.restore.restoration import Restoration
from deal_cli.jobs.restore.sequence import Survey


def restore_clip(restoration: Restoration, planned: Planned) -> Outcome:
    """Restore a stack or a video, and say what became of it.

    Raises:
        DealError: what no other file would survive either.
    """
    item, started = planned.item, time.perf_counter()
    try:
        if item.error:
            raise item.error
        if not restoration.request.overwrite and exists(item.target):
            return Outcome(item, "skipped")
        summary = _restore(restoration, planned)
    except Exception as failure:
        error = told(failure)
        if error.file is None:
            error.file = item.source
        return Outcome(item, "failed", error, seconds=time.perf_counter() - started)
    return Outcome(item, "restored", None, summary, time.perf_counter() - started)


def _restore(restoration: Restoration, planned: Planned) -> Summary:
    source, target, request = planned.item.source, planned.item.target, restoration.request
    assert source is not None
    assert target is not None
    with open_clip(source, planned.contents, request.read_as) as clip:
        # What cannot be held is refused before any work.
        first = restoration.to_be_written(_first(clip))
        check_clip_target(target, first, codec=request.codec, scale=request.scale)
        found = restoration.look_at(source, clip.frames(), clip.count)
        make_folder(target.parent)
        created = create_clip(target, clip, codec=request.codec, compression=request.compression)
        with created as writer:
            return _restore_frames(restoration, source, clip, found, writer)


def _first(clip: Clip) -> Frame:
    with contextlib.closing(_decoded(clip)) as frames:
        first = next(frames, None)
    if first is None:
        raise PictureError("holds no frames", remedy="check how it was made")
    return first


def _restore_frames(
    restoration: Restoration, source: Path, clip: Clip, found: Survey, writer: ClipWriter
) -> Summary:
    """Restore every frame in order; nothing is left in memory but what is on its way."""
    summary: Summary | None = None
    fidelity = FidelityOfMany()
    shown: list[Packed | Unshown] = []
    picked = _picked(clip.count)
    with contextlib.closing(_frames(restoration, clip, found)) as frames:
        for done, restored in enumerate(frames, 1):
            writer.add(restoration.written(restored.frame))
            if summary is None:
                summary = restoration.summarise(restored, found)
            if restored.fidelity is not None:
                fidelity.add(restored.fidelity)
            if done in picked:
                shown += restoration.shown(f"{source}, frame {done}", restored)
            restoration.progress(done, clip.count, f"{source.name}: restoring")
    if summary is None:
        raise PictureError("holds no frames", remedy="check how it was made")
    return replace(summary, fidelity=fidelity.result(), frames=done, shown=tuple(shown))


def _picked(count: int | None) -> set[int]:
    """The frames, from 1, that a report shows: the first, the middle and the last, if known."""
    return {1} if count is None else {1, (count + 1) // 2, count}


def _frames(restoration: Restoration, clip: Clip, found: Survey) -> Generator[Restored]:
    """The restored frames of a clip in order; reading and the network run ahead.

    Raises:
        DealError: a frame cannot be read or restored; those after it are not tried.
    """
    with contextlib.closing(_decoded(clip)) as decoded:

        def read(_: int) -> Frame | None:
            frame = next(decoded, None)
            return None if frame is None else restoration.prepared(frame, found)

        def give_up() -> None:
            # The end of the clip ends the generator too, and other files are to follow.
            if not isinstance(sys.exception(), GeneratorExit):
                restoration.restorer.abandon()

        passing = overlapped(
            itertools.count(),
            read,
            lambda frames: restoration.restored(frames, found),
            lambda _, restored: restored,
            restoration.capacity,
            give_up,
            readers=1,
        )
        with contextlib.closing(passing):
            for passed in passing:
                if passed.error is not None:
                    raise passed.error
                if passed.kept is None:
                    return
                yield passed.kept


def _decoded(clip: Clip) -> Generator[Frame]:
    yield from clip.frames()
