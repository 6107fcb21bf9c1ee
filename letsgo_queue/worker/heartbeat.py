"""The heartbeat: keeps messages invisible for as long as their handlers run.

A delivery is extended by its own visibility timeout whenever half of it has passed, and what hangs
on it (the lease of a claim) with it. SQS ends that after 12 hours.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from letsgo_queue.delivery import Delivery
from letsgo_queue.errors import LetsGoQueueError

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""How soon an extension that failed is tried again, while there is time left."""


@dataclass(slots=True, eq=False)
class _Held:
    delivery: Delivery
    timeout: float
    due: float
    over: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class Heartbeat:
    """Extends the deliveries that are held, on one thread that is started when first needed."""

    def __init__(self) -> None:
        self._held: set[_Held] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wakes_at = math.inf

    @contextmanager
    def holding(self, delivery: Delivery) -> Iterator[None]:
        """Keep a delivery invisible until the block ends.

        One whose visibility timeout is not known, or is 0, is left alone.
        """
        until = delivery.visibility.until
        timeout = 0.0 if until is None else until - time.time()
        if timeout <= 0:
            yield
            return
        held = _Held(delivery, timeout, due=time.time() + timeout / 2)
        with self._changed:
            self._held.add(held)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="letsgo-worker-heartbeat", daemon=True
                )
                self._thread.start()
            elif held.due < self._wakes_at:
                self._changed.notify()
        try:
            yield
        finally:
            # Waits for an extension that is on its way: one after the end would hide a message
            # that is to come again.
            with held.lock:
                held.over = True
            with self._changed:
                self._held.discard(held)

    def stop(self) -> None:
        """End the thread, once nothing is held any more."""
        with self._changed:
            thread, self._thread = self._thread, None
            self._changed.notify()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while due := self._wait_for_due():
            for held in due:
                self._extend(held)

    def _wait_for_due(self) -> list[_Held]:
        """The deliveries whose time has come; none at the end."""
        with self._changed:
            while self._thread is not None:
                now = time.time()
                if due := [held for held in self._held if held.due <= now]:
                    return due
                self._wakes_at = min((held.due for held in self._held), default=math.inf)
                self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)
            return []

    def _extend(self, held: _Held) -> None:
        with held.lock:
            if held.over:
                return
            visibility = held.delivery.visibility
            if visibility.until is not None and visibility.until - held.timeout / 2 > time.time():
                # The handler has extended it further by itself.
                held.due = visibility.until - held.timeout / 2
                return
            try:
                held.delivery.extend(held.timeout)
                held.due = time.time() + held.timeout / 2
            except LetsGoQueueError as error:
                held.over = not error.retryable
                held.due = time.time() + RETRY_SECONDS
                logger.warning(
                    "message %s could not be kept invisible while its handler runs: %s%s",
                    held.delivery.message_id,
                    error,
                    " It may be delivered to another worker." if held.over else "",
                )
        if held.over:
            with self._changed:
                self._held.discard(held)
