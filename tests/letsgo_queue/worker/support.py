"""What the tests of the worker share: a handler that takes as long as the test says."""

from __future__ import annotations

import threading

from tests.letsgo_queue.support import DEADLINE_SECONDS


class Busy:
    """A handler that is at work until it is told to end, or until the test is over."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, message: object = None) -> None:
        self.begun.set()
        assert self.go_on.wait(DEADLINE_SECONDS)
