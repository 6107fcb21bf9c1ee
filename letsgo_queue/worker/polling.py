"""Taking messages from the queue: long polls, only for what can be handled at once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from letsgo_queue.errors import LetsGoQueueError, QueueUnavailable
from letsgo_queue.transports.base import MAX_BATCH, ReceivedMessage, Transport

logger = logging.getLogger(__name__)

MAX_PAUSE_SECONDS = 30.0
"""The longest pause between two attempts to reach a queue that does not answer."""

GATHER_SECONDS = 0.005
"""How long a free thread waits for others to share a request with: about half of what one takes."""

EMPTY_PAUSE_SECONDS = 0.05
"""The pause, while handlers run, before an empty queue is asked again."""


class Poller:
    """Receives messages and hands each to a thread, until stopped."""

    def __init__(
        self,
        transport: Transport,
        process: Callable[[Transport, ReceivedMessage], bool],
        *,
        concurrency: int,
        wait_seconds: float,
        visibility_timeout: int | None,
        stopping: threading.Event,
    ) -> None:
        """Make a poller.

        Args:
            transport: The queue.
            process: Called with each message, on a thread; says whether it was settled, and must
                not raise.
            concurrency: Messages in process at once.
            wait_seconds: Seconds that one long poll waits.
            visibility_timeout: Seconds; None for the queue's own.
            stopping: Set when no more messages should be taken.
        """
        self._transport = transport
        self._process = process
        self._concurrency = concurrency
        self._wait_seconds = wait_seconds
        self._visibility_timeout = visibility_timeout
        self._stopping = stopping
        self._free = threading.Semaphore(concurrency)
        self._reached = False
        self._failures = 0

    def run(self, *, until_empty: bool) -> None:
        """Take messages until stopped, and wait for those in process.

        Args:
            until_empty: Also stop once the queue has nothing more to receive.

        Raises:
            LetsGoQueueError: The queue cannot be used at all.
        """
        with ThreadPoolExecutor(self._concurrency, "letsgo-worker") as pool:
            while not self._stopping.is_set():
                # Asked before the queue is: a handler that ends now may just have sent a message.
                idle = until_empty and self._is_idle()
                messages = self._receive()
                if self._stopping.is_set():
                    self._give_back(messages)
                    return
                for message in messages:
                    pool.submit(self._run, message)
                if until_empty and not messages:
                    if idle:
                        return
                    self._stopping.wait(EMPTY_PAUSE_SECONDS)

    def _receive(self) -> Sequence[ReceivedMessage]:
        """What the queue has for the threads that are free; waits for the first of them."""
        slots = self._take_slots()
        messages: Sequence[ReceivedMessage] = []
        try:
            if not self._stopping.is_set():
                messages = self._transport.receive(
                    max_messages=slots,
                    wait_seconds=self._wait_seconds,
                    visibility_timeout=self._visibility_timeout,
                )
                self._reached, self._failures = True, 0
        except QueueUnavailable as error:
            if not (self._reached or error.retryable):
                raise
            pause = min(2.0**self._failures, MAX_PAUSE_SECONDS)
            self._failures += 1
            logger.warning("%s Trying again in %.0f s.", error, pause)
            self._stopping.wait(pause)
        finally:
            if len(messages) < slots:
                self._free.release(slots - len(messages))
        return messages

    def _take_slots(self) -> int:
        """Wait for a free thread, and take up to ten: nothing is received that has to wait.

        Of a FIFO queue one message at a time: several could be of one group, and those behind the
        first would wait for it while their visibility timeout runs, and use up receives with it.
        """
        most = 1 if self._transport.fifo else min(MAX_BATCH, self._concurrency)
        self._free.acquire()
        slots = 1
        deadline = time.monotonic() + GATHER_SECONDS
        while slots < most and self._free.acquire(timeout=max(deadline - time.monotonic(), 0)):
            slots += 1
        return slots

    def _run(self, message: ReceivedMessage) -> None:
        try:
            self._process(self._transport, message)
        except Exception:  # a defect, here or in a transport; no thread may be lost to it
            logger.exception("message %s is left to its queue", message.message_id)
        finally:
            self._free.release()

    def _is_idle(self) -> bool:
        """Whether nothing is in process."""
        taken = 0
        while taken < self._concurrency and self._free.acquire(blocking=False):
            taken += 1
        if taken:
            self._free.release(taken)
        return taken == self._concurrency

    def _give_back(self, messages: Sequence[ReceivedMessage]) -> None:
        for message in messages:
            try:
                self._transport.change_visibility(message, 0)
            except LetsGoQueueError as error:
                logger.warning("message %s comes again later: %s", message.message_id, error)
