"""Schedules outside of Lambda: a schedule is a queue whose messages are its ticks.

    due ──> a tick, as a message ──> middleware ──> the scheduled handler

So a tick is handled as a message is, in a loop of its own: it runs on threads or the event loop, it
has a message's events, and a worker that stops waits for it. Every worker of a fleet makes the same
tick with the same message id; a claim check among the middleware lets it through in one of them
only. A tick is not tried again, and ticks that were due while no worker ran are not made up.
"""

from __future__ import annotations

import json
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NoReturn

from letsgo_queue.errors import LetsGoQueueError, QueueUnavailable
from letsgo_queue.failure import Failure
from letsgo_queue.log import get_logger
from letsgo_queue.transports.base import OutgoingMessage, ReceivedMessage, Sent
from letsgo_queue.worker.event_loop import EventLoopThread
from letsgo_queue.worker.loop import WorkLoop
from letsgo_queue.worker.options import LoopOptions
from letsgo_queue.worker.parts import Parts
from letsgo_queue.worker.processing import Processor
from letsgo_queue.worker.schedule import Scheduled

logger = get_logger(__name__)

LEASE_SECONDS = 120
"""How long a tick stays with a worker that dies while it handles it; the heartbeat extends that."""

POLL_SECONDS = 1.0
"""How often to look at the clock, even long before a tick: somebody may set it, or the machine may
sleep."""

SHORTEST_POLL_SECONDS = 0.01

SET_BACK_SECONDS = 3_600
"""A clock that is set back by more was wrong before; by less, no tick comes a second time."""

ENDING_SECONDS = 10.0
"""How long the loop may take to end, beyond its drain time."""


class TickQueue:
    """The ticks of a worker's schedules, as a queue: they are received when they are due."""

    fifo = False
    seconds_to_prove_empty = 0

    def __init__(
        self,
        schedules: Sequence[Scheduled],
        url: str,
        *,
        stopping: threading.Event,
        clock: Callable[[], float],
    ) -> None:
        """Begin now: ticks that were due before are not made up.

        Args:
            schedules: The schedules.
            url: The worker's queue. Its claim check decides which worker runs a tick.
            stopping: Ends a poll.
            clock: Seconds since 1970.
        """
        self.url = url
        self._schedules = schedules
        self._stopping = stopping
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_at = clock()
        self._due = [each.schedule.after(self._looked_at) for each in schedules]

    def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_timeout: int | None
    ) -> Sequence[ReceivedMessage]:
        """Wait for the next ticks; see `Transport`."""
        del visibility_timeout
        ticks = self._ticks(max_messages)
        if not ticks and not self._stopping.wait(min(self._due_in(), wait_seconds)):
            ticks = self._ticks(max_messages)
        return ticks

    def _ticks(self, most: int) -> Sequence[ReceivedMessage]:
        """The ticks that are due, at most one of each schedule."""
        ticks: list[ReceivedMessage] = []
        with self._lock:
            now = self._clock()
            if now < self._looked_at - SET_BACK_SECONDS:
                self._due = [each.schedule.after(now) for each in self._schedules]
            self._looked_at = now
            for number, each in enumerate(self._schedules):
                due = self._due[number]
                if due is not None and due <= now and len(ticks) < most:
                    ticks.append(tick(each.name, due))
                    self._due[number] = each.schedule.after(now)
        return ticks

    def _due_in(self) -> float:
        """Seconds until a tick is due."""
        with self._lock:
            first = min((due for due in self._due if due is not None), default=math.inf)
        return max(first - self._clock(), SHORTEST_POLL_SECONDS)

    def delete(self, message: ReceivedMessage) -> None:
        """Nothing to do: a tick does not come again."""

    def delete_batch(
        self, messages: Sequence[ReceivedMessage]
    ) -> Sequence[LetsGoQueueError | None]:
        """Nothing to do: ticks do not come again."""
        return [None] * len(messages)

    def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
        """Not possible.

        Raises:
            QueueUnavailable: Always.
        """
        _never_again(message)

    def change_visibility_batch(
        self, changes: Sequence[tuple[ReceivedMessage, int]]
    ) -> Sequence[LetsGoQueueError | None]:
        """Nothing to do: only the leases of ticks are extended."""
        return [None] * len(changes)

    def move_to_dead_letters(self, message: ReceivedMessage, failure: Failure) -> str | None:
        """Not possible.

        Raises:
            QueueUnavailable: Always.
        """
        _never_again(message)

    def max_receives(self) -> int | None:
        """See `Transport`."""
        return None

    def content_based_deduplication(self) -> bool:
        """See `Transport`."""
        return False

    def max_message_bytes(self) -> int | None:
        """See `Transport`."""
        return None

    def send(self, message: OutgoingMessage) -> str:
        """Not possible.

        Raises:
            QueueUnavailable: Always.
        """
        raise self._only_receives()

    def send_batch(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent]:
        """Not possible; each message gets the error."""
        return [self._only_receives() for _ in messages]

    def send_on(self, delivery: ReceivedMessage, message: OutgoingMessage) -> None:
        """Not possible.

        Raises:
            QueueUnavailable: Always.
        """
        raise self._only_receives()

    def close(self) -> None:
        """Nothing to release."""

    def _only_receives(self) -> QueueUnavailable:
        return QueueUnavailable(
            f"the schedules of {self.url} send no messages: their ticks are due by the clock.",
            retryable=False,
        )


def tick(name: str, due: int) -> ReceivedMessage:
    """The message of a tick, the same in every process but for the time of its arrival.

    Args:
        name: The schedule.
        due: When it was due (seconds since 1970).
    """
    at = datetime.fromtimestamp(due, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    message_id = f"{name} {at}"
    now = time.monotonic()
    return ReceivedMessage(
        message_id=message_id,
        receipt_handle="",
        body=json.dumps({"type": name, "payload": _event(message_id, name, at)}),
        attributes={},
        receive_count=1,
        sent_at=due,
        invisible_until=now + LEASE_SECONDS,
        received_at=now,
        is_tick=True,
    )


def _event(message_id: str, name: str, at: str) -> Mapping[str, Any]:
    """The event of a tick, as EventBridge Scheduler sends it to Lambda.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html
    """
    return {
        "version": "0",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, message_id)),
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "account": "000000000000",
        "time": at,
        "region": "local",
        "resources": [name],
        "detail": {},
    }


def _never_again(message: ReceivedMessage) -> NoReturn:
    raise QueueUnavailable(
        f"tick {message.message_id} does not come again. For work that has to be tried again, have "
        "the scheduled handler enqueue a message.",
        retryable=False,
    )


def tick_loop(
    schedules: Sequence[Scheduled],
    queue: str,
    processor: Processor,
    options: LoopOptions,
    *,
    event_loop: EventLoopThread,
    stopping: threading.Event,
    clock: Callable[[], float],
) -> WorkLoop:
    """A loop that handles ticks, and has not begun; ticks are due from now on.

    Args:
        schedules: The schedules.
        queue: URL of the worker's queue.
        processor: Handles the ticks.
        options: How the worker's own loop works.
        event_loop: Runs async handlers.
        stopping: Set when the worker should stop.
        clock: Seconds since 1970.
    """
    for each in schedules:
        _tell(each, clock())
    return WorkLoop(
        TickQueue(schedules, queue, stopping=stopping, clock=clock),
        processor,
        replace(options, prefetch=0, wait_seconds=POLL_SECONDS, visibility_timeout=None),
        event_loop=event_loop,
        stopping=stopping,
    )


@contextmanager
def running_beside(loop: WorkLoop | None, stopping: threading.Event) -> Iterator[None]:
    """Run a loop on a thread while a worker does its other work.

    Args:
        loop: The loop, if there is one.
        stopping: Stops both: set here at the end, and if the loop ends early.

    Raises:
        WorkerBroken: The loop cannot go on.
    """
    if loop is None:
        yield
        return
    parts = Parts(stopping.set)
    parts.start("schedules", loop.run, again=False)
    patience = loop.options.drain_timeout + ENDING_SECONDS
    try:
        yield
    except KeyboardInterrupt:  # a second signal
        patience = 0
        raise
    finally:
        stopping.set()
        parts.join(patience)
    if parts.broken is not None:
        raise parts.broken


def _tell(scheduled: Scheduled, now: float) -> None:
    due = scheduled.schedule.after(now)
    if due is None:
        logger.warning("schedule %s is over: it has no time left", scheduled.name)
    else:
        at = datetime.fromtimestamp(due, UTC).isoformat()
        logger.info("schedule %s: next at %s", scheduled.name, at)
