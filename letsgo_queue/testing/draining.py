"""Takes the messages that are due on the queues of workers to their handlers, one by one.

Each goes the way of `worker/processing.py`: through middleware and claim check to the handler, and
out again. This module does not await async handlers. Its steps yield them, and `workers.py` awaits
them on its own event loop, or on the test's.
"""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Awaitable, Generator, Sequence
from contextvars import Context
from dataclasses import dataclass
from types import TracebackType
from typing import TypeAlias

from letsgo_queue.errors import LetsGoQueueError
from letsgo_queue.events import (
    Event,
    MessageFailed,
    MessageHandled,
    MessageRejected,
    MessageSkipped,
    listen_to_all,
)
from letsgo_queue.place import is_ours
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.worker.processing import Held
from letsgo_queue.worker.worker import Worker

DEFAULT_LIMIT = 1_000

Outcome: TypeAlias = MessageHandled | MessageSkipped | MessageFailed | MessageRejected
"""The outcome of a message."""

_MOST_TYPES = 5

__tracebackhide__ = True  # pytest shows the test, and then the handler


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """The outcomes of the messages that were due, as the worker's events.

    Attributes:
        handled: Their handlers returned.
        skipped: Handled before; their handlers did not run.
        retried: They failed and come again, in `retry_delay` seconds, or after their visibility
            timeout if that is None.
        rejected: They failed for good, and are dead letters.
    """

    handled: tuple[MessageHandled, ...]
    skipped: tuple[MessageSkipped, ...]
    retried: tuple[MessageFailed, ...]
    rejected: tuple[MessageRejected, ...]

    @classmethod
    def of(cls, events: Sequence[Outcome]) -> Drained:
        """Sort the outcomes by kind."""
        return cls(
            handled=tuple(each for each in events if isinstance(each, MessageHandled)),
            skipped=tuple(each for each in events if isinstance(each, MessageSkipped)),
            retried=tuple(each for each in events if isinstance(each, MessageFailed)),
            rejected=tuple(each for each in events if isinstance(each, MessageRejected)),
        )


class NotDrained(LetsGoQueueError):
    """The messages could not be handled in this test: they have no end, or need an event loop."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """A call of an async handler, to be awaited.

    Attributes:
        outcome: What the handler returned.
        context: The context variables of its message.
    """

    outcome: Awaitable[object]
    context: Context


Steps: TypeAlias = Generator[Awaited, "BaseException | None", None]
"""Yields calls to await, and is sent their errors."""


class Draining:
    """Handles the messages that are due on workers' queues, and those that handlers enqueue."""

    def __init__(self, workers: Sequence[Worker], *, raises: bool, limit: int) -> None:
        """Take the workers, without receiving messages yet.

        Args:
            workers: The workers.
            raises: Whether the first error of a handler ends the draining.
            limit: How many messages may be handled.
        """
        self._workers = [_Station(worker) for worker in workers]
        self._queues = {each.transport.url for each in self._workers}
        self._raises = raises
        self._limit = limit
        self._events: list[Outcome] = []

    @property
    def drained(self) -> Drained:
        """The outcomes so far."""
        return Drained.of(self._events)

    def steps(self) -> Steps:
        """Handle the messages, until none is due.

        Raises:
            BaseException: The error of a handler.
            NotDrained: There are more messages than the limit.
        """
        stop_listening = listen_to_all(self._hear)
        try:
            yield from self._handle_all()
        finally:
            for each in self._workers:
                each.worker._finish()
            stop_listening()

    def _handle_all(self) -> Steps:
        count, found = 0, True
        while found:
            found = False
            for worker in self._workers:
                while (received := worker.receive()) is not None:
                    found = True
                    count += 1
                    if count > self._limit:
                        worker.transport.change_visibility(received, 0)
                        raise self._too_many()
                    heard = len(self._events)
                    yield from worker.handle(received)
                    for event in self._events[heard:]:
                        raise_failure(event, always=self._raises)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Outcome) and event.queue in self._queues:
            self._events.append(event)

    def _too_many(self) -> NotDrained:
        counts = Counter(str(event.type) for event in self._events)
        most = counts.most_common(_MOST_TYPES)
        types = ", ".join(f"{name} ({number:,})" for name, number in most)
        return NotDrained(
            f"{self._limit:,} messages were handled and more are due: {types}. If handlers enqueue "
            "in a circle, or try again at once, mend that. If there are so many, give "
            "drain(limit=...) more."
        )


def raise_failure(event: Outcome, *, always: bool) -> None:
    """Raise the error of a message, if it failed.

    A failed assertion, and an error that is no `Exception`, is a failure of the test itself, so it
    is raised in any case.

    Args:
        event: The outcome of the message.
        always: Whether to raise every other error as well.
    """
    if not isinstance(event, MessageFailed | MessageRejected):
        return
    error = event.error
    if always or isinstance(error, AssertionError) or not isinstance(error, Exception):
        error.add_note(
            f"Raised for message {event.message_id} of type {event.type!r}, in delivery "
            f"{event.receive_count}."
        )
        raise error.with_traceback(_from_handler_on(error.__traceback__))


def _from_handler_on(traceback: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the handler on; None if the error arose before the handler."""
    while traceback is not None and is_ours(traceback.tb_frame):
        traceback = traceback.tb_next
    return traceback


class _Station:
    """A worker, and the queue that it takes messages from."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.transport = worker._transport()
        worker._prepare(self.transport.url)
        self._processor = worker._processor()
        timeout = worker.visibility_timeout
        self._visibility_timeout = None if timeout is None else math.ceil(timeout)

    def receive(self) -> ReceivedMessage | None:
        """Receive the next message that is due; None if there is none."""
        found = self.transport.receive(
            max_messages=1, wait_seconds=0, visibility_timeout=self._visibility_timeout
        )
        return found[0] if found else None

    def handle(self, received: ReceivedMessage) -> Steps:
        """Take a message through its handler, to its end."""
        processor = self._processor
        message = processor.accept(self.transport, received)
        passage = processor.passage(message)
        failure: BaseException | None = None
        try:
            if handler := message.context.run(processor.enter, message, passage):
                outcome = message.context.run(handler)
                if inspect.isawaitable(outcome):
                    failure = yield Awaited(outcome, message.context)
        except BaseException as error:  # noqa: BLE001  whatever it is, the message failed for it
            failure = error
        message.end_handler(failure)
        processor._end_fork(failure)
        result = message.context.run(processor.leave, message, passage, failure)
        if isinstance(result, Held):  # the test would wait
            processor.fail(message, result.error)
        elif result:
            processor.acknowledge(message, wait=_never)


def _never(_held: Held) -> bool:
    """Return False, so that a held message fails: otherwise the test would wait."""
    return False
