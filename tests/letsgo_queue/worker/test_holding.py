"""A worker holds what cannot be opened yet: out of everybody's way, and never lost."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    Delivery,
    Event,
    MessageFailed,
    MessageHandled,
    Middleware,
    Steps,
    Worker,
)
from letsgo_queue.errors import LetsGoError, LetsGoQueueError
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import heartbeat, loop
from letsgo_queue.worker.incoming import IncomingMessage
from tests.letsgo_queue.support import (
    DEADLINE_SECONDS,
    PassingTime,
    events_of,
    outgoing,
    receive,
    receive_one,
    running,
)
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

PAUSE = 600
"""Seconds that a message is held for."""

VISIBILITY = 3600
"""Seconds that a message is invisible without the heartbeat."""

OPENED = {"type": "sealed", "payload": None}
PLAIN = {"type": "plain", "payload": None}


class Unavailable(LetsGoError):
    """The store is down."""

    retryable = True
    patience = 40_000.0
    retry_after = float(PAUSE)


class Store(Middleware):
    """What sealed messages are in. While it is down none can be opened."""

    def __init__(self) -> None:
        self.is_down = True
        self.asked = 0

    def was_asked(self, times: int) -> bool:
        return self.asked >= times

    def handle(self, message: IncomingMessage, /) -> Steps:
        if message.type == "sealed":
            self.asked += 1
            if self.is_down:
                raise Unavailable("the store does not answer.")
        yield


class Asked(MemoryTransport):
    """A queue that counts what it gives."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.requests = 0
        self.given = 0
        self.changes: list[int] = []

    def receive(self, **options: Any) -> Sequence[ReceivedMessage]:
        self.requests += 1
        messages = super().receive(**options)
        self.given += len(messages)
        return messages

    def change_visibility_batch(
        self, changes: Sequence[tuple[ReceivedMessage, int]]
    ) -> Sequence[LetsGoQueueError | None]:
        self.changes.append(len(changes))
        return super().change_visibility_batch(changes)


@pytest.fixture
def queue(clock: Clock) -> Asked:
    return Asked(clock=clock)


@pytest.fixture
def store() -> Store:
    return Store()


class Rig:
    """A worker of the store, and what it has done."""

    def __init__(
        self, queue: MemoryTransport, store: Store, time_passes: PassingTime, **options: Any
    ) -> None:
        self.worker = Worker(
            queue, middleware=[store], wait_seconds=0, visibility_timeout=VISIBILITY, **options
        )
        self.queue = queue
        self.time_passes = time_passes
        self.events: list[Event] = events_of(self.worker)
        self.handled: list[tuple[str, int]] = []
        self.worker.default(self._handle)

    def _handle(self, message: dict[str, Any], delivery: Delivery) -> None:
        self.handled.append((delivery.type, delivery.receive_count))

    def pass_time_until(self, condition: Callable[[], bool], what: str) -> None:
        """Put time ahead in steps that leave the heartbeat its turn."""

        def after_a_step() -> bool:
            if self._seconds_invisible() > VISIBILITY / 3:
                self.time_passes(PAUSE / 10)
            return condition()

        wait_for(after_a_step, what)

    def _seconds_invisible(self) -> float:
        until = [each.visible_at for each in self.queue._messages.values()]
        return min(until, default=math.inf) - self.queue._clock()


@pytest.fixture
def rig(
    queue: MemoryTransport,
    store: Store,
    time_passes: PassingTime,
    monkeypatch: pytest.MonkeyPatch,
) -> Rig:
    monkeypatch.setattr(heartbeat, "LOOK_SECONDS", 0.01)
    return Rig(queue, store, time_passes, concurrency=1)


def test_is_handled_in_the_same_delivery_once_it_can_be_opened(
    rig: Rig, client: Client, queue: Asked, store: Store
) -> None:
    """However long it took: no receive is used up for it, and nobody else gets it meanwhile."""
    client.enqueue(OPENED)
    with running(rig.worker):
        for tries in range(1, 20):
            rig.pass_time_until(partial(store.was_asked, tries), "another try")
        store.is_down = False
        rig.pass_time_until(lambda: bool(rig.events), "its end")

    assert rig.handled == [("sealed", 1)]
    assert [type(event) for event in rig.events] == [MessageHandled]
    assert queue.given == 1


class Pointers(Store):
    """The same of messages that have no type before they are opened."""

    def gives_type(self, message: IncomingMessage, /) -> bool:
        return True

    def handle(self, message: IncomingMessage, /) -> Steps:
        self.asked += 1
        if self.is_down:
            raise Unavailable("the store does not answer.")
        message.open(json.dumps(OPENED))
        yield


def test_so_is_one_that_has_no_type_before_it_is_opened(
    queue: Asked, time_passes: PassingTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "LOOK_SECONDS", 0.01)
    store = Pointers()
    rig = Rig(queue, store, time_passes, concurrency=1)
    queue.send(outgoing("[]"))
    with running(rig.worker):
        for tries in range(1, 5):
            rig.pass_time_until(partial(store.was_asked, tries), "another try")
        store.is_down = False
        rig.pass_time_until(lambda: bool(rig.events), "its end")

    assert rig.handled == [("sealed", 1)]


def test_keeps_no_other_message_waiting(
    rig: Rig, client: Client, queue: Asked, store: Store
) -> None:
    for _ in range(20):
        client.enqueue(OPENED)
    client.enqueue(PLAIN)
    with running(rig.worker):
        wait_for(lambda: rig.handled, "the plain one, on the only thread")
        client.enqueue(PLAIN)
        wait_for(lambda: len(rig.handled) == 2, "one that came later")

    assert rig.handled == [("plain", 1)] * 2
    assert store.asked == 20


def test_no_more_are_received_than_can_be_held(
    client: Client,
    queue: Asked,
    store: Store,
    time_passes: PassingTime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "MAX_HELD", 5)
    rig = Rig(queue, store, time_passes, concurrency=2, prefetch=0)
    for _ in range(20):
        client.enqueue(OPENED)

    with running(rig.worker):
        wait_for(lambda: store.asked == 7, "five that are held, and two more")
    assert queue.given == 7
    assert len(visible(queue)) == 13


def visible(queue: MemoryTransport) -> list[ReceivedMessage]:
    messages: list[ReceivedMessage] = []
    while received := receive(queue):
        messages += received
    return messages


def test_a_burst_waits_for_a_short_pause(
    rig: Rig, client: Client, queue: Asked, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Unavailable, "retry_after", 25.0)
    client.enqueue(OPENED)
    burst = threading.Thread(target=rig.worker.run, kwargs={"burst": True})
    burst.start()
    wait_for(lambda: store.asked == 1, "the first try")
    requests = queue.requests
    wait_for(lambda: queue.requests > requests + 2, "an empty queue to be asked more than once")
    assert burst.is_alive()

    store.is_down = False
    rig.pass_time_until(lambda: not burst.is_alive(), "its end")

    assert rig.handled == [("sealed", 1)]


def test_a_burst_gives_back_what_is_held_for_long(
    rig: Rig, client: Client, queue: Asked, store: Store, clock: Clock
) -> None:
    client.enqueue(OPENED)

    rig.worker.run(burst=True)

    assert (store.asked, rig.handled) == (1, [])
    assert receive(queue) == []
    clock.advance(PAUSE)
    assert len(receive(queue)) == 1


def test_a_burst_waits_for_nothing_in_line_behind_it(ministack: AwsServer, store: Store) -> None:
    """SQS gives several messages of a group at once."""
    url = ministack.make_queue(FifoQueue="true", ContentBasedDeduplication="true")
    for payload in range(3):
        Client(url).enqueue({**(PLAIN if payload else OPENED), "payload": payload}, group_id="one")
    handled: list[str] = []
    worker = Worker(url, middleware=[store])
    worker.default(lambda message: handled.append(message["type"]))
    burst = threading.Thread(target=worker.run, kwargs={"burst": True}, daemon=True)

    burst.start()
    burst.join(DEADLINE_SECONDS)

    assert not burst.is_alive()
    assert (store.asked, handled) == (1, [])


def test_a_burst_does_not_wait_for_a_store_that_stays_down(
    *,
    rig: Rig,
    client: Client,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log says why, and the message stays."""
    monkeypatch.setattr(Unavailable, "retry_after", None)
    client.enqueue(OPENED)
    burst = threading.Thread(target=rig.worker.run, kwargs={"burst": True})
    burst.start()

    rig.pass_time_until(lambda: not burst.is_alive(), "its end")

    assert rig.handled == []
    assert len(rig.queue._messages) == 1
    warnings = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert "the store does not answer." in warnings[0].getMessage()


def test_a_worker_that_stops_gives_many_back_in_few_requests(
    rig: Rig, client: Client, queue: Asked, store: Store
) -> None:
    for _ in range(30):
        client.enqueue(OPENED)
    with running(rig.worker):
        wait_for(lambda: store.asked == 30, "the first tries")
        queue.changes.clear()

    assert sum(queue.changes) == 30
    assert len(queue.changes) < 10


def test_a_worker_that_stops_gives_it_back_for_the_rest_of_its_pause(
    rig: Rig, client: Client, queue: Asked, store: Store, time_passes: PassingTime
) -> None:
    before = threading.active_count()
    client.enqueue(OPENED)
    with running(rig.worker):
        wait_for(lambda: store.asked == 1, "the first try")

    assert rig.events == []
    assert threading.active_count() == before
    time_passes(PAUSE - DEADLINE_SECONDS)
    assert receive(queue) == [], "it came before its pause was over"
    time_passes(DEADLINE_SECONDS)
    assert receive_one(queue).receive_count == 2


def test_so_does_one_that_stops_while_it_is_tried(
    client: Client, queue: Asked, time_passes: PassingTime
) -> None:
    class Slow(Store):
        begun = threading.Event()

        def handle(self, message: IncomingMessage, /) -> Steps:
            self.begun.set()
            wait_for(slow.worker._stopping.is_set, "the worker to be stopped")
            yield from super().handle(message)

    store = Slow()
    slow = Rig(queue, store, time_passes, concurrency=1)
    client.enqueue(OPENED)
    with running(slow.worker):
        assert store.begun.wait(DEADLINE_SECONDS)

    assert slow.events == []
    time_passes(PAUSE - DEADLINE_SECONDS)
    assert receive(queue) == [], "it was left to its visibility timeout"
    time_passes(DEADLINE_SECONDS)
    assert receive_one(queue).receive_count == 2


def test_fails_when_patience_ends(
    rig: Rig,
    client: Client,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(Unavailable, "patience", PAUSE + 60.0)
    client.enqueue(OPENED)
    with running(rig.worker):
        wait_for(lambda: "waits 600.0 s in the worker" in caplog.text, "it to be held")
        rig.pass_time_until(lambda: bool(rig.events), "its end")

    (event,) = rig.events
    assert isinstance(event, MessageFailed)
    assert isinstance(event.error, Unavailable)
    assert event.retry_delay == PAUSE
    assert store.asked == 2
