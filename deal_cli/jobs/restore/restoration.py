"""How the frames of one request are restored, whether they are pictures or parts of a sequence.

Between a frame as it was read and a frame as it is written stand the fixed pattern, enlargement,
the network, and the unit; files and their order are the business of `restore` and `clips`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from deal_cli.engine.fidelity.measure import Numbers, as_written
from deal_cli.engine.fixed_pattern.pattern import Pattern
from deal_cli.engine.restorer import Restored, Restorer
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.radiometry.celsius import check_celsius, in_celsius
from deal_cli.imaging.resize import enlarge
from deal_cli.imaging.whole import make_folder
from deal_cli.jobs.batch.pipeline import told
from deal_cli.jobs.flight.flight import Kind
from deal_cli.jobs.page.pack import Packed, Shown, Unshown, pack
from deal_cli.jobs.page.shown import show, show_degrees
from deal_cli.jobs.restore.outcome import Summary
from deal_cli.jobs.restore.plan import RestoreRequest
from deal_cli.jobs.restore.sequence import Progress, Survey, survey, without_pattern


@dataclass
class Restoration:
    """Restores frames as a request says.

    Attributes:
        request: what was asked for.
        restorer: what restores them.
        pattern: the fixed pattern that was given, if any.
        progress: told of the frames of a sequence: done, total, what happens.
        say: told, in a line, what was found of the fixed pattern of a sequence.
        unsaved: why no pattern was saved, when one was to be.
    """

    request: RestoreRequest
    restorer: Restorer
    pattern: Pattern | None = None
    progress: Progress = field(default=lambda done, total, text: None)
    say: Callable[[str], None] = field(default=lambda text: None)
    unsaved: str | None = "nothing was restored"

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
            enlarged=self._enlarged,
            progress=progress,
        )
        finding = found.main.finding if found.main else None
        if finding is not None:
            self.say(f"deal: {name}: {finding.reason}")
        if request.save_pattern is not None:
            self.unsaved = finding.reason if finding else "there are too few frames to find one"
            if finding and finding.pattern:
                make_folder(request.save_pattern.parent)
                finding.pattern.save(request.save_pattern)
                self.unsaved = None
        return found

    def prepared(self, frame: Frame, found: Survey | None) -> Frame:
        """A frame as the restorer takes it: without the fixed pattern, and enlarged.

        Raises:
            PictureError: the pattern given is not this frame's, or it would be too large.
        """
        common = found.of(frame) if found else None
        finding = common.finding if common else None
        if self.pattern is not None:
            self.pattern.check(frame)
            frame = without_pattern(frame, self.pattern)
        elif finding and finding.pattern and finding.pattern.shows(frame):
            frame = without_pattern(frame, finding.pattern)
        return self._enlarged(frame)

    def restored(self, frames: Sequence[Frame], found: Survey | None) -> list[Restored]:
        """Restore frames of one size and dtype, with what their sequence has in common."""
        common = found.of(frames[0]) if found else None
        return self.restorer.restore_batch(frames, common.shared if common else None)

    def capacity(self, frame: Frame) -> int:
        """How many frames like this one make a good batch."""
        return self.restorer.capacity(frame.height, frame.width)

    def to_be_written(self, frame: Frame) -> Frame:
        """A frame with the dtype that it will be written in, and its values as they are.

        Raises:
            PictureError: degrees were asked for, and the file does not say how to get there.
        """
        return check_celsius(frame) if self.request.unit == "celsius" else frame

    def written(self, frame: Frame) -> Frame:
        """A restored frame in the unit that is written.

        Raises:
            PictureError: as `to_be_written`.
        """
        if self.request.unit != "celsius":
            return frame
        # Of the counts that a file would hold, so that all figures are of the same temperatures.
        return in_celsius(replace(frame, values=as_written(frame.values, frame.dtype)))

    def summarise(self, restored: Restored, found: Survey | None) -> Summary:
        """What is worth saying of a restored frame."""
        frame, tone = restored.frame, restored.tone
        common = found.of(frame) if found else None
        return Summary(
            width=frame.width,
            height=frame.height,
            dtype=self.to_be_written(frame).dtype.name,
            kind=Kind.of(frame),
            range=restored.range,
            tone={"gain": tone.gain, "offset": tone.offset, "gamma": tone.gamma} if tone else None,
            fidelity=restored.fidelity,
            used=restored.used,
            absent=frame.absent.told if frame.absent else None,
            finding=common.finding if common else None,
        )

    def shown(self, name: str, restored: Restored) -> tuple[Packed | Unshown, ...]:
        """A restored frame beside its source, as both are written, if a report is to show it.

        Whatever goes wrong here is of the page: the picture itself is restored.
        """
        if not self.request.show:
            return ()
        try:
            return (pack(self._shown(name, restored)),)
        except Exception as failure:
            return (Unshown(name, str(told(failure))),)

    def _shown(self, name: str, restored: Restored) -> Shown:
        before = replace(restored.frame, values=restored.source)
        low, high = restored.range
        tone = restored.tone
        more = (
            ("seen as 0 and 1", f"{low:g} and {high:g} {Numbers.of(restored.frame).unit}"),
            ("tone", f"gain {tone.gain:.2f} offset {tone.offset:+.2f}" if tone else "kept"),
        )
        pair = self.written(before), self.written(restored.frame)
        if self.request.unit == "celsius":
            return show_degrees(name, *pair, more)
        return show(name, *pair, restored.fidelity, more)

    def _enlarged(self, frame: Frame) -> Frame:
        return enlarge(frame, self.request.scale, max_pixels=self.request.read_as.max_pixels)
