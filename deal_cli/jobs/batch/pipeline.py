"""Reading, work and writing at the same time, in the order of the inputs.

Two batches are worked on at a time, so that one is prepared and finished while the other computes;
threads read ahead of them and write behind them. How far ahead is bounded by pixels, not by files,
so memory stays flat however many pictures there are.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from deal_cli.errors import DealError, ExitCode, PictureError
from deal_cli.imaging.frame import Frame
from deal_cli.jobs.batch.interruption import Interruption

Item = TypeVar("Item")
T = TypeVar("T")
Made = TypeVar("Made")
Kept = TypeVar("Kept")

READERS, WORKERS, WRITERS = 2, 2, 2
PROMPT = 0.1  # seconds until an interruption is heeded
#: What may be on its way between reading and writing; a picture above it goes alone.
FILES_IN_FLIGHT, PIXELS_IN_FLIGHT = 256, 16_000_000


@dataclass(frozen=True)
class Passed(Generic[Item, Kept]):
    """What became of one item: neither `kept` nor an error when there was nothing to do.

    `seconds` is its own time: reading, its share of the work, writing.
    """

    item: Item
    kept: Kept | None
    error: DealError | None
    seconds: float


def overlapped(
    items: Iterable[Item],
    read: Callable[[Item], Frame | None],
    work: Callable[[Sequence[Frame]], Sequence[Made]],
    write: Callable[[Item, Made], Kept],
    capacity: Callable[[Frame], int],
    abandon: Callable[[], None] = lambda: None,
    *,
    readers: int = READERS,
) -> Generator[Passed[Item, Kept]]:
    """Read, work on and write every item, yielding what became of each, in order.

    Args:
        items: what to pass on.
        read: an item's picture; None when there is nothing to do.
        work: pictures of one size and dtype to one result each.
        write: what is kept of a result once it is written; not its pixels.
        capacity: the most pictures like this one that `work` should take at once.
        abandon: makes running `work` give up soon, when all is over early.
        readers: threads that read; one where a file has to be read in order.

    An exception ends its own item alone; what is not a `DealError` is told as an internal error.
    Ctrl-C is heeded between items, and ends what is under way.

    Raises:
        KeyboardInterrupt: someone wanted to stop.
        DealError: what no other item would survive either (`ExitCode.UNAVAILABLE`).
    """
    gate = _Gate()
    waiting = iter(enumerate(items))
    reading: deque[Future[_Loaded[Item]]] = deque()
    working: deque[Future[list[Future[Passed[Item, Kept]]]]] = deque()
    writing: deque[Future[Passed[Item, Kept]]] = deque()

    def load(index: int, item: Item) -> _Loaded[Item]:
        loaded = _Loaded(item)
        if reserved := gate.enter(index):
            with loaded.trial():
                loaded.frame = read(item)
            loaded.pixels = 0 if loaded.frame is None else loaded.frame.values.size
            gate.admit(reserved, loaded.pixels)
        return loaded

    def finish(loaded: _Loaded[Item], made: Made | None) -> Passed[Item, Kept]:
        kept = None
        if made is not None:
            with loaded.trial():
                kept = write(loaded.item, made)
        gate.leave(loaded.pixels)
        return Passed(loaded.item, kept, loaded.error, loaded.seconds)

    def pass_on(group: list[_Loaded[Item]]) -> list[Future[Passed[Item, Kept]]]:
        return [writers.submit(finish, loaded, made) for loaded, made in _work_on(group, work)]

    def result(future: Future[T]) -> T:
        """What came of it, once it has; an interruption is heeded while it has not."""
        while not (interruption.wanted or future.done()):
            wait([future], PROMPT)
        if interruption.wanted:
            raise KeyboardInterrupt
        return future.result()

    reading_pool = ThreadPoolExecutor(readers, "read")
    workers = ThreadPoolExecutor(WORKERS, "work")
    writers = ThreadPoolExecutor(WRITERS, "write")
    with Interruption() as interruption:
        try:
            while True:
                room = FILES_IN_FLIGHT - len(reading) - len(writing)
                for index, item in itertools.islice(waiting, max(0, room)):
                    reading.append(reading_pool.submit(load, index, item))
                if reading:
                    group = _next_group(reading, result, capacity, gate)
                    working.append(workers.submit(pass_on, group))
                elif not working and not writing:
                    break
                while len(working) >= WORKERS or (working and not reading):
                    worked = result(working.popleft())
                    writing.extend(worked)
                while writing and (writing[0].done() or not (reading or working)):
                    yield result(writing.popleft())
        except BaseException:
            abandon()
            raise
        finally:
            gate.close()
            for pool in (reading_pool, workers, writers):
                pool.shutdown(cancel_futures=True)
    if interruption.wanted:  # while the last item was with the caller
        raise KeyboardInterrupt


@dataclass
class _Loaded(Generic[Item]):
    """One item between reading and writing."""

    item: Item
    frame: Frame | None = None
    pixels: int = 0
    error: DealError | None = None
    seconds: float = 0.0

    @contextlib.contextmanager
    def trial(self) -> Iterator[None]:
        """Time what is tried on this item, and keep how it failed."""
        started = time.perf_counter()
        try:
            yield
        except Exception as error:
            self.error = told(error)
        finally:
            self.seconds += time.perf_counter() - started


def told(error: Exception) -> DealError:
    """What is told of an exception that ends its own item alone.

    Raises:
        DealError: what ends everything (`ExitCode.UNAVAILABLE`).
    """
    if isinstance(error, DealError):
        if error.exit_code is ExitCode.UNAVAILABLE:
            raise error
        return error
    if isinstance(error, MemoryError):
        return PictureError("does not fit into memory", remedy="cut it into smaller pictures")
    told = DealError(f"internal error ({type(error).__name__}: {error})", remedy="please report it")
    told.__cause__ = error
    return told


def _next_group(
    reading: deque[Future[_Loaded[Item]]],
    result: Callable[[Future[_Loaded[Item]]], _Loaded[Item]],
    capacity: Callable[[Frame], int],
    gate: _Gate,
) -> list[_Loaded[Item]]:
    """The next items up to one that cannot be worked on together with them."""
    group = [result(reading.popleft())]
    first = group[0].frame
    while reading and first is not None and len(group) < capacity(first):
        gate.hold(sum(loaded.pixels for loaded in group))
        frame = result(reading[0]).frame
        gate.hold(0)
        if frame is None or (frame.values.shape, frame.dtype) != (first.values.shape, first.dtype):
            break
        group.append(result(reading.popleft()))
    return group


def _work_on(
    group: list[_Loaded[Item]], work: Callable[[Sequence[Frame]], Sequence[Made]]
) -> list[tuple[_Loaded[Item], Made | None]]:
    """Every item of a group with its result, which replaces its picture."""
    frames = [loaded.frame for loaded in group if loaded.frame is not None]
    results: Sequence[Made | None] = [None] * len(group)
    started = time.perf_counter()
    if len(frames) > 1:
        with contextlib.suppress(Exception):  # whose fault it is comes out one by one
            results = work(frames)
    share = (time.perf_counter() - started) / len(group)
    passed: list[tuple[_Loaded[Item], Made | None]] = []
    for loaded, result in zip(group, results, strict=True):
        loaded.seconds += share
        if result is None and loaded.frame is not None:
            with loaded.trial():
                (result,) = work([loaded.frame])
        loaded.frame = None
        passed.append((loaded, result))
    return passed


class _Gate:
    """Lets readers in, in turn, while there is room for another picture like the last one."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._turn = 0
        self._taken = 0
        self._usual = PIXELS_IN_FLIGHT  # until one is read: the first is read alone
        self._held = 0
        self._closed = False

    def enter(self, index: int) -> int:
        """Wait for one's turn and for room; the pixels reserved, 0 when all is over."""
        with self._change:
            self._change.wait_for(lambda: self._closed or (self._turn == index and self._room()))
            if self._closed:
                return 0
            self._turn += 1
            self._taken += self._usual
            self._change.notify_all()
            return self._usual

    def admit(self, reserved: int, pixels: int) -> None:
        """Take the room of a picture that was read, in place of what was reserved."""
        with self._change:
            self._taken += pixels - reserved
            self._usual = pixels or self._usual
            self._change.notify_all()

    def leave(self, pixels: int) -> None:
        """Give room back."""
        with self._change:
            self._taken -= pixels
            self._change.notify_all()

    def hold(self, pixels: int) -> None:
        """Count pixels that are not given back before the next picture is in as no pixels."""
        with self._change:
            self._held = pixels
            self._change.notify_all()

    def close(self) -> None:
        """Let nobody in any more."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    def _room(self) -> bool:
        fits = self._taken + self._usual <= PIXELS_IN_FLIGHT
        return fits or self._taken <= self._held
