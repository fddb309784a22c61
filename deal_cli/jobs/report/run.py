"""Pages that show pictures before and after: of files that are there, or of a run as it goes."""

from __future__ import annotations

import contextlib
import shlex
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import deal_cli
from deal_cli.engine.backends.choice import Choice
from deal_cli.engine.backends.contract import Facts as EngineFacts
from deal_cli.errors import DealError, OutputError, UsageError
from deal_cli.imaging.files import PICTURE_SUFFIXES, read_frame
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.reading import AS_FOUND, ReadAs
from deal_cli.jobs.batch.pipeline import told
from deal_cli.jobs.batch.plan import STREAM, natural
from deal_cli.jobs.page.pack import Unshown, pack
from deal_cli.jobs.page.page import About, ReportWriter, Size
from deal_cli.jobs.page.shown import compare
from deal_cli.jobs.restore.outcome import Outcome
from deal_cli.jobs.restore.plan import RestoreRequest

Facts = tuple[tuple[str, str], ...]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ReportRequest:
    """Which pictures to compare, and where the page goes.

    Attributes:
        before: a file, or a folder.
        after: likewise; files of a folder are paired by their names without suffixes.
        out: the page.
        split: put the pictures beside the page, not into it.
        recursive: look into the folders below as well.
        read_as: what to take the numbers of the files for.
        overwrite: replace a page that exists.
        command: as it was typed.
    """

    before: Path
    after: Path
    out: Path
    split: bool = False
    recursive: bool = False
    read_as: ReadAs = AS_FOUND
    overwrite: bool = False
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reported:
    """What became of a report.

    Attributes:
        size: of the page.
        unpaired: files that have no partner.
        failed: pairs that could not be compared, and why.
    """

    size: Size
    unpaired: tuple[Path, ...]
    failed: tuple[DealError, ...]


def report(request: ReportRequest, on_progress: Progress = lambda done, total: None) -> Reported:
    """Write a page that compares pictures.

    Raises:
        UsageError: an input that does not exist, nothing to compare, or a page that exists.
        OutputError: the page cannot be written.
        DealError: every single pair failed: the first cause.
    """
    pairs, unpaired = _pairs(request)
    failed: list[DealError] = []
    with ReportWriter(request.out, split=request.split, overwrite=request.overwrite) as writer:
        for done, (before, after) in enumerate(pairs, 1):
            try:
                name = str(before.relative_to(request.before) if len(pairs) > 1 else before.name)
                packed = pack(compare(name, *(_read(path, request) for path in (before, after))))
            except Exception as failure:
                error = told(failure)
                error.file = error.file or after
                failed.append(error)
            else:
                writer.add(packed)
            on_progress(done, len(pairs))
        if len(failed) == len(pairs):
            raise failed[0]
        left_out = [(str(path), "has no partner") for path in unpaired]
        left_out += [(str(error.file), str(error)) for error in failed]
        compared = (("before", str(request.before)), ("after", str(request.after)))
        facts = (*compared, *facts_of_run(request.command))
        size = writer.close(about("Before and after", facts, left_out=tuple(left_out)))
    return Reported(size, tuple(unpaired), tuple(failed))


class RunPage:
    """The page of a restoration as it goes. What goes wrong with it stops no picture.

    Attributes:
        size: of the page, once it is written.
        error: why it was not.
    """

    def __init__(self, path: Path, *, split: bool, overwrite: bool) -> None:
        self.size: Size | None = None
        self.error: OutputError | None = None
        self._writer = ReportWriter(path, split=split, overwrite=overwrite)
        self._counts: Counter[str] = Counter()
        self._left_out: list[tuple[str, str]] = []

    def follow(self, outcomes: Generator[Outcome], facts: Facts) -> Generator[Outcome]:
        """The outcomes as they come, put on the page, which is written at their end."""
        with self._writer, contextlib.closing(outcomes):
            for outcome in outcomes:
                self._take(outcome)
                yield outcome
            summary = ", ".join(f"{count} {status}" for status, count in self._counts.items())
            told = about("Restored", facts, (summary,), tuple(self._left_out))
            if self.error is None:
                with self._trying():
                    self.size = self._writer.close(told)

    def _take(self, outcome: Outcome) -> None:
        self._counts[outcome.status] += 1
        name = str(outcome.item.source or STREAM)
        for picture in outcome.summary.shown if outcome.summary else ():
            if isinstance(picture, Unshown):
                self._left_out.append((picture.name, picture.reason))
            elif self.error is None:
                with self._trying():
                    self._writer.add(picture)
        if outcome.error is not None:
            self._left_out.append((name, str(outcome.error)))
        elif outcome.status == "skipped":
            self._left_out.append((name, "its output exists; it was skipped"))

    @contextlib.contextmanager
    def _trying(self) -> Iterator[None]:
        try:
            yield
        except OutputError as error:
            self.error = error


def about(title: str, facts: Facts, summary: tuple[str, ...] = (), left_out: Facts = ()) -> About:
    """What a page says of itself, with the time of now."""
    made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z")
    return About(title, made, facts, summary, left_out)


def facts_of_run(command: Sequence[str]) -> Facts:
    """The program's version and how it was called."""
    typed = (("command", shlex.join(("deal", *command))),) if command else ()
    return (("deal", deal_cli.__version__), *typed)


def facts_of_engine(choice: Choice, facts: EngineFacts) -> Facts:
    """What restored the pictures."""
    return (
        ("weights", f"{facts.weights}, SHA-256 {facts.sha256}"),
        ("backend", f"{facts.backend} ({choice.reason}): {facts.device}, {facts.precision}"),
    )


def facts_of_settings(request: RestoreRequest) -> Facts:
    """How they were restored."""
    settings = request.settings
    of_each = "folder or clip" if request.sequence else "picture or clip"
    chosen = {
        "range": f"{settings.range}, of each {of_each}",
        "tone": settings.tone,
        "strength": settings.strength,
        "largest change": settings.bound or "not limited",
        "scale": request.scale,
        "unit": request.unit,
        "fixed pattern": request.pattern or ("of sequences" if request.find_pattern else "off"),
    }
    return tuple((name, str(value)) for name, value in chosen.items())


def _pairs(request: ReportRequest) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Files that belong together, in natural order of the first, and those that stand alone.

    Raises:
        UsageError: an input does not exist, one is a file and the other a folder, or nothing fits.
    """
    before, after = request.before, request.after
    for path in (before, after):
        if not path.exists():
            raise UsageError("does not exist", file=path, remedy="check its name")
    if before.is_file() and after.is_file():
        return [(before, after)], []
    if before.is_file() or after.is_file():
        raise UsageError(
            f"is {'a file' if after.is_file() else 'a folder'}, and {before} is not",
            file=after,
            remedy="give two files, or two folders",
        )
    first, second = (_by_name(folder, recursive=request.recursive) for folder in (before, after))
    common = [name for name in first if name in second]
    if not common:
        raise UsageError(
            f"no picture here has the name of one of {before}",
            file=after,
            remedy="give the folder that deal restore wrote; -r looks into folders below",
        )
    pairs = [(first[name][0], second[name][0]) for name in common]
    alone = [
        path
        for these, others in ((first, second), (second, first))
        for name, paths in these.items()
        for path in (paths[1:] if name in others else paths)
    ]
    return pairs, alone


def _by_name(folder: Path, *, recursive: bool) -> dict[Path, list[Path]]:
    """The pictures of a folder by their places below it, without suffixes."""
    found: dict[Path, list[Path]] = {}
    listing = folder.rglob("*") if recursive else folder.iterdir()
    pictures = (path for path in listing if path.suffix.lower() in PICTURE_SUFFIXES)
    for path in sorted(pictures, key=natural):
        found.setdefault(path.relative_to(folder).with_suffix(""), []).append(path)
    return found


def _read(path: Path, request: ReportRequest) -> Frame:
    return read_frame(path, request.read_as)
