"""The heartbeat: keeps messages invisible for as long as their handlers run.

Whenever half of its visibility timeout has passed, a delivery is extended by as much again; the
lease of its claim follows. SQS allows 12 hours in all.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from letsgo_queue.errors import LetsGoQueueError
from letsgo_queue.worker.delivery import Visibility

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""How soon an extension that failed is tried again, while there is time left."""


@dataclass(slots=True, eq=False)
class Held:
    """A delivery that is kept invisible.

    Attributes:
        visibility: Until when it is.
        timeout: Seconds that it is extended by.
        due: When it is extended next (seconds since 1970).
        over: Whether it is held no more.
        lock: Held while it is extended.
    """

    visibility: Visibility
    timeout: float
    due: float
    over: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class Heartbeat:
    """Extends the deliveries that are held.

    One thread watches for those that are due, and others extend them, so that a slow answer (of the
    store, to one delivery) makes no other delivery wait. All are started when first needed.
    """

    def __init__(self, concurrency: int) -> None:
        """Make a heartbeat.

        Args:
            concurrency: Deliveries held at once.
        """
        self._concurrency = concurrency
        self._held: set[Held] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wakes_at = math.inf

    def hold(self, visibility: Visibility) -> Held | None:
        """Keep a delivery invisible until it is released.

        One whose visibility timeout is not known, or is 0, is left alone.
        """
        until = visibility.until
        timeout = 0.0 if until is None else until - time.time()
        if timeout <= 0:
            return None
        held = Held(visibility, timeout, due=time.time() + timeout / 2)
        with self._changed:
            self._held.add(held)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="letsgo-worker-heartbeat", daemon=True
                )
                self._thread.start()
            elif held.due < self._wakes_at:
                self._changed.notify()
        return held

    def release(self, held: Held | None) -> None:
        """Hold a delivery no more.

        Waits for an extension that is on its way: one after the end would hide a message that is to
        come again.
        """
        if held is None:
            return
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
        with ThreadPoolExecutor(self._concurrency, "letsgo-worker-heartbeat") as pool:
            while due := self._wait_for_due():
                for held in due:
                    pool.submit(self._extend, held)

    def _wait_for_due(self) -> list[Held]:
        """The deliveries whose time has come; none at the end."""
        with self._changed:
            while self._thread is not None:
                now = time.time()
                if due := [held for held in self._held if held.due <= now]:
                    for held in due:
                        held.due = math.inf  # until it has been extended
                    return due
                self._wakes_at = min((held.due for held in self._held), default=math.inf)
                self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)
            return []

    def _extend(self, held: Held) -> None:
        with held.lock:
            if held.over:
                return
            until = held.visibility.until or 0.0
            if until - held.timeout / 2 > time.time():
                due = until - held.timeout / 2  # the handler has extended it further by itself
            else:
                due = self._extend_now(held)
        with self._changed:
            held.due = due
            self._changed.notify()

    def _extend_now(self, held: Held) -> float:
        """Extend a delivery; when it is due again."""
        try:
            held.visibility.extend(math.ceil(held.timeout))
        except LetsGoQueueError as error:
            logger.warning(
                "message %s could not be kept invisible while its handler runs, and may be "
                "delivered to another worker: %s",
                held.visibility.message_id,
                error,
            )
            return time.time() + RETRY_SECONDS if error.retryable else math.inf
        return time.time() + held.timeout / 2
