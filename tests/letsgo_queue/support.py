"""What the tests of the queue share."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

import pytest

from claimcheck.testing import Clock
from letsgo_queue import (
    Event,
    Listener,
    MessageAttribute,
    MessageFailed,
    MessageHeld,
    MessageStarted,
    QueueFailed,
    SendFailed,
    Worker,
)
from letsgo_queue.transports.base import OutgoingMessage, ReceivedMessage, Transport
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker.incoming import IncomingMessage
from tests.support.waiting import wait_for

SECRET = "hunter2-never-in-an-error"
"""Payload content that a test can look for where it must not be."""

DEADLINE_SECONDS = 20

needs_late_threads = pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 2),
    reason="Python starts no thread once its main thread has ended (CPython's issue 113964)",
)

COMPLETE = {
    "text": MessageAttribute("String", "Grüße 🎉"),
    "number": MessageAttribute("Number", "-12.5"),
    "binary": MessageAttribute("Binary", b"\x00\xff\xfe"),
    "labelled_text": MessageAttribute("String.mime", "text/plain"),
    "labelled_number": MessageAttribute("Number.java.lang.Long", "7"),
    "labelled_binary": MessageAttribute("Binary.gif", b"GIF89a"),
}
"""Message attributes of every kind, with the labels that other senders put on data types."""

PLAIN = {name: attribute.without_label() for name, attribute in COMPLETE.items()}
"""The same as handlers get them."""

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
"""A trace of AWS X-Ray, as `AWSTraceHeader` names it."""


class BrokenQueue(MemoryTransport):
    """A queue that refuses every message."""

    def send(self, message: OutgoingMessage) -> str:
        raise SendFailed("the queue refused it")


class HangingQueue(MemoryTransport):
    """Answers once the test says so, and then at once."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def receive(self, **options: Any) -> Sequence[ReceivedMessage]:
        self.asked.set()
        assert self.may_answer.wait(DEADLINE_SECONDS)
        return super().receive(**{**options, "wait_seconds": 0})


class PassingTime:
    """Puts the clock of a queue and the monotonic clock of its worker ahead, both by as much."""

    def __init__(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = clock
        self._ahead = 0.0
        self._lock = threading.Lock()
        monotonic = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: monotonic() + self._ahead)

    def __call__(self, seconds: float) -> None:
        with self._lock:  # handlers on several threads may take their time
            self.clock.advance(seconds)
            self._ahead += seconds


def printed(error: BaseException) -> str:
    """The error as a log would show it, with all that led to it."""
    return "".join(traceback.format_exception(error))


def outgoing(body: str | bytes = "{}", **fields: Any) -> OutgoingMessage:
    body = body.encode() if isinstance(body, str) else body
    return OutgoingMessage(type="order:new", body=body, **fields)


def sized(size: int, fill: str = "x", *, attributes: bool = False) -> OutgoingMessage:
    """A message of exactly `size` bytes, with the attributes of `COMPLETE` or without."""
    given = COMPLETE if attributes else {}
    room = size - outgoing("", attributes=given).size
    count, rest = divmod(room, len(fill.encode()))
    message = outgoing(fill * count + "x" * rest, attributes=given)
    assert message.size == size
    return message


def numbered(count: int, size: int = 0) -> Iterator[Mapping[str, Any]]:
    """Messages of the types `n:0`, `n:1` and so on, with a payload of so many characters."""
    return ({"type": f"n:{n}", "payload": "x" * size} for n in range(count))


def receive(
    transport: Transport, *, visibility_timeout: int | None = None, wait_seconds: float = 0
) -> list[ReceivedMessage]:
    """One receive of up to ten messages."""
    return list(
        transport.receive(
            max_messages=10, wait_seconds=wait_seconds, visibility_timeout=visibility_timeout
        )
    )


def receive_one(
    transport: Transport, *, visibility_timeout: int | None = None, wait_seconds: float = 1
) -> ReceivedMessage:
    """Wait for a message, and see that it comes alone."""
    (message,) = wait_for(
        lambda: receive(
            transport, visibility_timeout=visibility_timeout, wait_seconds=wait_seconds
        ),
        "a message",
    )
    return message


def bodies(transport: Transport) -> list[str]:
    """The bodies that can be received; they become visible again at once."""
    return [message.body for message in receive(transport, visibility_timeout=0)]


def incoming(body: str) -> IncomingMessage:
    """A message as a worker has it in hand, but on no queue."""
    received = ReceivedMessage(
        message_id="m-1",
        receipt_handle="r-1",
        body=body,
        attributes={},
        receive_count=1,
        sent_at=0.0,
    )
    message = IncomingMessage(received, MemoryTransport())
    message.read_type()
    return message


def outcomes(into: list[Event]) -> Listener:
    """A listener that notes what became of messages, and not what happened on the way."""

    def hear(event: Event) -> None:
        if not isinstance(event, MessageStarted | MessageHeld | QueueFailed):
            into.append(event)

    return hear


def events_of(worker: Worker) -> list[Event]:
    """What became of a worker's messages: its events fill this list as they happen."""
    events: list[Event] = []
    worker.add_listener(outcomes(events))
    return events


def failure(events: Sequence[Event]) -> BaseException:
    """What the one event, a failure, was about."""
    (event,) = events
    assert isinstance(event, MessageFailed)
    return event.error


@contextmanager
def running(worker: Worker, **options: Any) -> Iterator[None]:
    """Run a worker on a thread, and stop it in the end; what ended it early is raised."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            worker.run(**options)
        except BaseException as error:  # noqa: BLE001  raised below, on the test's thread
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive(), "the worker did not stop"
        for error in errors:
            raise error  # also where the block failed: it may have waited for this worker


@contextmanager
def ticking(worker: Worker) -> Iterator[None]:
    """Run a worker, whose schedules begin before the clock goes on."""
    before = count_ticking()
    with running(worker):
        wait_for(lambda: count_ticking() > before, "the schedules")
        yield


def count_ticking() -> int:
    return sum(each.name == "letsgo-worker-schedules" for each in threading.enumerate())


def order(**payload: object) -> Mapping[str, Any]:
    """A message of the type that most tests use."""
    return {"type": "order:new", "payload": payload}


@contextmanager
def serving(worker: Worker, *, allowed_hosts: Collection[str] = ()) -> Iterator[str]:
    """Have a worker serve on a thread, and stop it in the end; gives its address."""
    ready = threading.Event()
    addresses: list[str] = []
    errors: list[BaseException] = []

    def on_ready(address: str) -> None:
        addresses.append(address)
        ready.set()

    def serve() -> None:
        try:
            worker.serve(port=0, allowed_hosts=allowed_hosts, on_ready=on_ready)
        except BaseException as error:  # noqa: BLE001  raised below, on the test's thread
            errors.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=copy_context().run, args=(serve,), daemon=True)
    thread.start()
    assert ready.wait(DEADLINE_SECONDS), "the worker did not start"
    try:
        if addresses:
            yield addresses[0]
    finally:
        worker.stop()
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive(), "the worker did not stop"
    for error in errors:
        raise error
