"""Reading, work and writing overlap, in order, in bounded memory; one error is one item's."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal_cli.errors import BackendError, DealError, PictureError
from deal_cli.imaging.frame import Frame
from deal_cli.jobs.batch import pipeline
from deal_cli.jobs.batch.pipeline import Passed, overlapped

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


def frame(height: int, width: int = 4, dtype: str = "uint8") -> Frame:
    return Frame(np.zeros((height, width), np.float32), np.dtype(dtype))


def identity(frames: Sequence[Frame]) -> list[Frame]:
    return list(frames)


def height_of(_: object, made: Frame) -> int:
    return made.height


def run(
    items: Sequence[int],
    read=frame,  # type: ignore[no-untyped-def]
    work=identity,  # type: ignore[no-untyped-def]
    write=height_of,  # type: ignore[no-untyped-def]
    capacity: int = 1,
) -> list[Passed[int, int]]:
    return list(overlapped(items, read, work, write, lambda _: capacity))


def own_threads() -> list[str]:
    """The pipeline's threads that are still there."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("read", "work", "write"))]


def test_every_item_comes_back_once_and_in_order() -> None:
    items = list(range(1, 300))
    passed = run(items, capacity=7)
    assert [one.item for one in passed] == items
    assert [one.kept for one in passed] == items
    assert all(one.error is None and one.seconds > 0 for one in passed)


def test_nothing_to_do_is_nothing_done() -> None:
    assert run([]) == []


def test_pictures_of_one_size_and_dtype_are_worked_on_together() -> None:
    batches: list[list[int]] = []

    def work(frames: Sequence[Frame]) -> Sequence[Frame]:
        batches.append([one.height for one in frames])
        return frames

    def read(item: int) -> Frame:
        return frame(item % 100, dtype="uint16" if item > 100 else "uint8")

    run([5, 5, 5, 5, 5, 6, 6, 106, 106, 5], read, work, capacity=3)
    assert batches == [[5, 5, 5], [5, 5], [6, 6], [6, 6], [5]]


def test_what_is_skipped_or_fails_does_not_reach_the_work() -> None:
    def read(item: int) -> Frame | None:
        if item == 2:
            raise PictureError("is torn", remedy="mend it")
        return None if item == 3 else frame(item)

    passed = run([1, 2, 3, 4], read, capacity=9)
    assert [one.kept for one in passed] == [1, None, None, 4]
    assert [one.error and one.error.cause for one in passed] == [None, "is torn", None, None]


@pytest.mark.parametrize("stage", ["read", "work", "write"])
@pytest.mark.parametrize("error", [DealError("no"), MemoryError(), ValueError("a bug")], ids=repr)
def test_an_error_at_any_stage_is_that_items_alone(stage: str, error: Exception) -> None:
    def fail_at(wanted: str, height: int) -> None:
        if stage == wanted and height == 3:
            raise error

    def read(item: int) -> Frame:
        fail_at("read", item)
        # All of one shape, so that the third one's error meets the whole batch.
        return Frame(np.full((2, 2), item, np.float32), np.dtype(np.uint8))

    def work(frames: Sequence[Frame]) -> Sequence[Frame]:
        for one in frames:
            fail_at("work", int(one.values[0, 0]))
        return frames

    def write(item: int, made: Frame) -> int:
        fail_at("write", item)
        return int(made.values[0, 0])

    passed = run([1, 2, 3, 4, 5], read, work, write, capacity=5)
    assert [one.kept for one in passed] == [1, 2, None, 4, 5]
    told = passed[2].error
    assert told is not None
    expected = {"DealError": "no", "MemoryError": "memory", "ValueError": "internal error"}
    assert expected[type(error).__name__] in told.cause


def test_an_unexpected_error_keeps_its_traceback() -> None:
    def read(item: int) -> Frame:
        raise ZeroDivisionError("by nothing")

    (passed,) = run([1], read)
    assert isinstance(passed.error, DealError)
    assert isinstance(passed.error.__cause__, ZeroDivisionError)


def test_what_no_other_item_would_survive_ends_everything() -> None:
    worked = []

    def work(frames: Sequence[Frame]) -> Sequence[Frame]:
        worked.append(frames)
        raise BackendError("the device is gone")

    with pytest.raises(BackendError, match="gone"):
        run([1, 2, 3], work=work)
    assert len(worked) <= pipeline.WORKERS
    assert own_threads() == []


def test_the_next_picture_is_read_while_one_is_worked_on_and_another_written() -> None:
    read_second, write_first = threading.Event(), threading.Event()

    def read(item: int) -> Frame:
        if item == 2:
            read_second.set()
        return frame(item)

    def work(frames: Sequence[Frame]) -> Sequence[Frame]:
        if frames[0].height == 1:
            assert read_second.wait(10), "nothing was read during the work"
        if frames[0].height == 2:
            assert write_first.wait(10), "nothing was written during the work"
        return frames

    def write(item: int, made: Frame) -> int:
        write_first.set()
        return item

    assert [one.kept for one in run([1, 2, 3], read, work, write)] == [1, 2, 3]


class Scales:
    """Counts the pixels that are read and not yet written."""

    def __init__(self) -> None:
        self.lock, self.now, self.most = threading.Lock(), 0, 0

    def read(self, item: int) -> Frame:
        made = frame(item)
        with self.lock:
            self.now += made.values.size
            self.most = max(self.most, self.now)
        return made

    def write(self, item: int, made: Frame) -> int:
        time.sleep(0.001)
        with self.lock:
            self.now -= made.values.size
        return made.height


def test_no_more_pixels_are_in_flight_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "PIXELS_IN_FLIGHT", 1000)
    scales = Scales()
    run([25] * 60, scales.read, write=scales.write, capacity=2)
    assert 200 <= scales.most <= 1000


def test_a_picture_above_the_limit_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "PIXELS_IN_FLIGHT", 100)
    scales = Scales()
    passed = run([50] * 10, scales.read, write=scales.write)
    assert [one.kept for one in passed] == [50] * 10
    assert scales.most == 200


def test_writing_that_is_slower_than_reading_holds_everything_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "FILES_IN_FLIGHT", 4)
    scales = Scales()
    passed = run([1] * 60, scales.read, write=scales.write, capacity=9)
    assert [one.kept for one in passed] == [1] * 60
    assert scales.most <= 4 * (4 + pipeline.WORKERS * 9)


def test_no_more_files_are_in_flight_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "FILES_IN_FLIGHT", 5)
    started = []

    def read(item: int) -> Frame:
        started.append(item)
        return frame(1)

    passed = overlapped(range(100), read, identity, height_of, lambda _: 1)
    next(passed)
    time.sleep(0.05)
    assert len(started) <= 6
    passed.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 60), max_size=40), st.integers(1, 40), st.integers(1, 120))
def test_sizes_of_every_kind_never_block(sizes: list[int], capacity: int, limit: int) -> None:
    before = pipeline.PIXELS_IN_FLIGHT
    pipeline.PIXELS_IN_FLIGHT = limit
    try:
        passed = run(sizes, lambda item: frame(item, width=1) if item else None, capacity=capacity)
    finally:
        pipeline.PIXELS_IN_FLIGHT = before
    assert [one.kept or 0 for one in passed] == sizes


def test_a_group_never_waits_for_room_that_it_holds_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "PIXELS_IN_FLIGHT", 100)
    gate = pipeline._Gate()
    for index, pixels in enumerate((3, 99)):  # one for the group, then a large one
        gate.admit(gate.enter(index), pixels)
    gate.leave(99)
    reader = threading.Thread(target=gate.enter, args=(2,))
    reader.start()
    reader.join(0.05)
    assert reader.is_alive(), "a picture like the last one does not fit beside the group"
    gate.hold(3)
    reader.join(10)
    assert not reader.is_alive()


def test_leaving_early_stops_all_threads_and_tells_the_work() -> None:
    told: list[bool] = []
    passed = overlapped(
        range(1, 1000), frame, identity, height_of, lambda _: 1, lambda: told.append(True)
    )
    next(passed)
    passed.close()
    assert own_threads() == []
    assert told == [True]


def test_work_that_comes_to_its_end_is_not_abandoned() -> None:
    told: list[bool] = []
    list(overlapped([1, 2], frame, identity, height_of, lambda _: 1, lambda: told.append(True)))
    assert told == []


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_all_threads_and_gives_the_signals_back(number: int) -> None:
    before = signal.getsignal(number)
    told: list[bool] = []

    def read(item: int) -> Frame:
        if item == 20:
            os.kill(os.getpid(), number)
        return frame(1)

    passed = overlapped(
        range(1000), read, identity, height_of, lambda _: 1, lambda: told.append(True)
    )
    with pytest.raises(KeyboardInterrupt):
        list(passed)
    assert own_threads() == []
    assert told == [True]
    assert signal.getsignal(number) is before


@POSIX
def test_an_interruption_is_heeded_while_the_work_goes_on() -> None:
    """Waiting for what will not come: `abandon` is what lets it come."""
    over = threading.Event()

    def work(frames: Sequence[Frame]) -> Sequence[Frame]:
        os.kill(os.getpid(), signal.SIGTERM)
        assert over.wait(30)
        return frames

    with pytest.raises(KeyboardInterrupt):
        list(overlapped([1], frame, work, height_of, lambda _: 1, over.set))


@POSIX
def test_an_interruption_while_the_last_item_is_looked_at_is_not_lost() -> None:
    seen = []

    def look() -> None:
        for passed in overlapped([1, 2], frame, identity, height_of, lambda _: 1):
            seen.append(passed.item)
            if passed.item == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        look()
    assert seen == [1, 2]
    assert own_threads() == []
