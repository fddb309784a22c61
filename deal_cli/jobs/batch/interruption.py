"""Ctrl-C and a scheduler's SIGTERM, noted when they come and heeded when it suits."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType


class Interruption:
    """Whether someone wants to stop: asked between steps, so that no step is ever half done.

    An exception out of nowhere can leave a lock of the standard library taken for ever, and every
    thread that wants it waiting.

    One wish may arrive several times, as `torchrun` and a scheduler pass it on; a person who asks
    again a while later wants it at once, and what was kept last stands.
    """

    SAME_WISH = 2.0  # seconds

    def __init__(self) -> None:
        self.wanted = False
        self._since = 0.0

    def __enter__(self) -> Interruption:
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.wanted and number == signal.SIGINT:
            if time.monotonic() - self._since > self.SAME_WISH:
                raise KeyboardInterrupt
        elif not self.wanted:
            self.wanted, self._since = True, time.monotonic()
