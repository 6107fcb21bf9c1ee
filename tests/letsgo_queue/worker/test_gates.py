"""What must wait for a limit waits in the worker: invisible, and without using up receives."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    Delivery,
    Event,
    IncomingMessage,
    MessageDelayed,
    MessageHeld,
    MessageStarted,
    Middleware,
    SettingsInvalid,
    Steps,
    Worker,
)
from letsgo_queue.errors import LetsGoError
from letsgo_queue.limits import MAX_VISIBILITY_SECONDS
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import heartbeat
from letsgo_queue.worker.loop import LATE_SECONDS
from tests.letsgo_queue.support import (
    DEADLINE_SECONDS,
    PassingTime,
    events_of,
    outgoing,
    receive,
    running,
)
from tests.support.waiting import wait_for

LIMIT = 100

PLAIN = {"type": "plain", "payload": None}


def sealed(size: int) -> dict[str, Any]:
    """A message that is so large once it is opened."""
    return {"type": "sealed", "claimCheck": size}


def send(queue: MemoryTransport, *messages: dict[str, Any]) -> None:
    for message in messages:
        queue.send(outgoing(json.dumps(message)))


class Unavailable(LetsGoError):
    """The store is down."""

    patience = 40_000.0
    retry_after = 600.0


class Opener(Middleware):
    """Opens messages that say how large they will be."""

    def __init__(self) -> None:
        self.missing: set[int] = set()

    def opened_bytes(self, message: IncomingMessage, /) -> int:
        return int(json.loads(message.body)["claimCheck"])

    def handle(self, message: IncomingMessage, /) -> Steps:
        if message.sealed:
            size = self.opened_bytes(message)
            if size in self.missing:
                raise Unavailable("the store does not answer.")
            message.open(json.dumps({"type": message.type, "payload": size}))
        yield


class Busy:
    """A handler that is at work until it is told to end."""

    def __init__(self) -> None:
        self.at_work: list[int] = []
        self.begun: list[int] = []
        self.counts: set[int] = set()
        self.most_at_once = 0
        self.go_on = threading.Semaphore(0)
        self._lock = threading.Lock()

    def __call__(self, message: dict[str, Any], delivery: Delivery) -> None:
        size = message["payload"]
        with self._lock:
            self.begun.append(size)
            self.at_work.append(size)
            self.counts.add(delivery.receive_count)
            self.most_at_once = max(self.most_at_once, len(self.at_work))
        assert self.go_on.acquire(timeout=DEADLINE_SECONDS)
        with self._lock:
            self.at_work.remove(size)

    def have_begun(self, count: int) -> None:
        wait_for(lambda: len(self.begun) == count, f"{count} to have begun")

    def end(self, count: int) -> None:
        """Have so many end, whichever they are."""
        self.go_on.release(count)


@pytest.fixture
def busy() -> Iterator[Busy]:
    busy = Busy()
    yield busy
    busy.end(1000)


class TestOpenedBytes:
    @pytest.fixture
    def opener(self) -> Opener:
        return Opener()

    @pytest.fixture
    def worker(self, queue: MemoryTransport, opener: Opener, busy: Busy) -> Worker:
        worker = Worker(
            queue,
            middleware=[opener],
            max_opened_bytes=LIMIT,
            wait_seconds=0,
            visibility_timeout=600,
        )
        worker.handler("sealed")(busy)

        @worker.handler("plain")
        def plain(message: dict[str, Any]) -> None: ...

        return worker

    def test_what_has_no_room_waits_and_the_rest_passes(
        self, queue: MemoryTransport, worker: Worker, busy: Busy
    ) -> None:
        events = events_of(worker)
        send(queue, *[sealed(40)] * 12)
        with running(worker):
            busy.have_begun(2)
            send(queue, *[PLAIN] * 100)
            wait_for(lambda: len(events) == 100, "those that need no room")
            busy.end(12)
            wait_for(lambda: len(events) == 112, "all of them")

        assert busy.most_at_once == 2

    def test_what_waits_stays_invisible_and_uses_up_no_receive(
        self,
        queue: MemoryTransport,
        worker: Worker,
        busy: Busy,
        time_passes: PassingTime,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(heartbeat, "LOOK_SECONDS", 0.01)
        events = events_of(worker)
        send(queue, *[sealed(90)] * 3)
        with running(worker):
            busy.have_begun(1)
            wait_for(lambda: receive_now(queue) == [], "all to be in hand")
            for _ in range(5):
                time_passes(400)
                wait_for(partial(all_are_extended, queue), "all to be extended")
                assert receive_now(queue) == []
            busy.end(3)
            wait_for(lambda: len(events) == 3, "all of them")

        assert busy.counts == {1}
        assert busy.most_at_once == 1

    def test_one_over_the_limit_is_let_through_alone(
        self, queue: MemoryTransport, worker: Worker, busy: Busy
    ) -> None:
        events = events_of(worker)
        send(queue, *[sealed(LIMIT * 5)] * 3)
        busy.end(3)
        with running(worker):
            wait_for(lambda: len(events) == 3, "all of them")

        assert busy.most_at_once == 1

    def test_a_large_one_is_not_overtaken(
        self, queue: MemoryTransport, worker: Worker, busy: Busy
    ) -> None:
        """Else it would wait for ever while small ones come."""
        send(queue, sealed(60), sealed(80), sealed(10))
        with running(worker):
            busy.have_begun(1)
            wait_for(lambda: receive_now(queue) == [], "all to be in hand")
            busy.end(1)
            busy.have_begun(3)
            busy.end(2)

        assert busy.begun == [60, 80, 10]

    def test_one_that_cannot_be_opened_takes_no_room(
        self, queue: MemoryTransport, worker: Worker, opener: Opener, busy: Busy
    ) -> None:
        opener.missing = {99}
        send(queue, sealed(99), sealed(98))
        busy.end(1)
        with running(worker):
            busy.have_begun(1)

        assert busy.begun == [98]

    def test_what_waits_is_handled_by_a_worker_that_stops(
        self, queue: MemoryTransport, worker: Worker, busy: Busy
    ) -> None:
        events = events_of(worker)
        send(queue, *[sealed(90)] * 3)
        with running(worker):
            busy.have_begun(1)
            wait_for(lambda: receive_now(queue) == [], "all to be in hand")
            worker.stop()
            busy.end(3)
            wait_for(lambda: len(events) == 3, "all of them")

    def test_an_async_handler_waits_as_well(
        self, queue: MemoryTransport, worker: Worker, busy: Busy
    ) -> None:
        events = events_of(worker)
        at_work: list[str] = []
        most = 0

        @worker.handler("async")
        async def handle(message: dict[str, Any], delivery: Delivery) -> None:
            nonlocal most
            at_work.append(delivery.message_id)
            most = max(most, len(at_work))
            await asyncio.sleep(0.001)
            at_work.remove(delivery.message_id)

        send(queue, *[{"type": "async", "claimCheck": 40}] * 20)
        with running(worker):
            wait_for(lambda: len(events) == 20, "all of them")

        assert most == 2

    def test_no_room_at_all_is_no_limit(self, queue: MemoryTransport) -> None:
        with pytest.raises(SettingsInvalid, match="max_opened_bytes=0: a worker takes at least 1"):
            Worker(queue, max_opened_bytes=0)


def receive_now(queue: MemoryTransport) -> list[ReceivedMessage]:
    """What others would get, who give it back at once."""
    return receive(queue, visibility_timeout=0)


def heard(worker: Worker, kind: type[Event]) -> list[Event]:
    """The events of a kind, which fill this list as they happen."""
    events: list[Event] = []
    worker.add_listener(lambda event: events.append(event) if isinstance(event, kind) else None)
    return events


def has(values: list[Any], count: int) -> bool:
    return len(values) == count


def all_are_extended(queue: MemoryTransport) -> bool:
    return all(each.visible_at > queue._clock() + 300 for each in queue._messages.values())


class TestConcurrencyOfAHandler:
    @pytest.mark.parametrize("kind", ["sync", "async"])
    def test_no_more_of_its_messages_are_handled_at_once(
        self, queue: MemoryTransport, kind: str
    ) -> None:
        worker = Worker(queue, concurrency=10, wait_seconds=0)
        counts: set[int] = set()
        others: list[object] = []
        at_work = most = 0
        go_on = threading.Event()

        async def limited_async(message: dict[str, Any], delivery: Delivery) -> None:
            nonlocal at_work, most
            counts.add(delivery.receive_count)
            at_work += 1
            most = max(most, at_work)
            await asyncio.to_thread(go_on.wait, DEADLINE_SECONDS)
            at_work -= 1

        def limited(message: dict[str, Any], delivery: Delivery) -> None:
            nonlocal at_work, most
            with lock:
                counts.add(delivery.receive_count)
                at_work += 1
                most = max(most, at_work)
            assert go_on.wait(DEADLINE_SECONDS)
            with lock:
                at_work -= 1

        lock = threading.Lock()
        worker.handler("limited", concurrency=2)(limited if kind == "sync" else limited_async)
        worker.handler("plain")(others.append)
        events = events_of(worker)
        send(queue, *[{"type": "limited", "payload": None}] * 30)
        with running(worker):
            wait_for(lambda: at_work == 2, "two to be at work")
            send(queue, *[PLAIN] * 100)
            wait_for(lambda: len(others) == 100, "messages of another type")
            assert receive_now(queue) == [], "what waits can be received"
            go_on.set()
            wait_for(lambda: len(events) == 130, "all of them")

        assert most == 2
        assert counts == {1}

    def test_one_that_waited_for_12_hours_is_left_to_its_next_delivery(
        self, queue: MemoryTransport, time_passes: PassingTime, busy: Busy
    ) -> None:
        """SQS hides it no longer, and gives it out again."""
        worker = Worker(queue, concurrency=5, wait_seconds=0)
        worker.handler("limited", concurrency=1)(busy)
        received = heard(worker, MessageStarted)
        send(queue, {"type": "limited", "payload": 1}, {"type": "limited", "payload": 2})
        with running(worker):
            wait_for(lambda: busy.begun and not receive_now(queue), "both to be in hand")
            time_passes(MAX_VISIBILITY_SECONDS)
            wait_for(lambda: not receive_now(queue), "both to be received again")
            busy.end(5)
            wait_for(lambda: not queue._messages, "all to be handled")

        assert busy.begun.count(2) == 1
        assert len(received) == 3, "the first one ran into its second delivery"

    @pytest.mark.parametrize("last", [True, False])
    def test_one_that_has_waited_for_nearly_12_hours_leaves_the_worker(
        self, time_passes: PassingTime, busy: Busy, caplog: pytest.LogCaptureFixture, last: bool
    ) -> None:
        """Sent on if its next receive made it a dead letter, which nobody would have handled."""

        class Queue(MemoryTransport):
            def max_receives(self) -> int:
                return 1 if last else 5

        queue = Queue(clock=time_passes.clock)
        worker = Worker(
            queue, concurrency=5, wait_seconds=0, visibility_timeout=MAX_VISIBILITY_SECONDS
        )
        worker.handler("limited", concurrency=1)(busy)
        send(queue, {"type": "limited", "payload": 1}, {"type": "limited", "payload": 2})
        with running(worker):
            stored = queue._messages.values()
            wait_for(lambda: all(each.receive_count for each in stored), "both to be in hand")
            time_passes(MAX_VISIBILITY_SECONDS - LATE_SECONDS / 2)
            wait_for(lambda: "waited 43170 s for a limit" in caplog.text, "it to leave")
            assert ("is sent on" in caplog.text) == last
            busy.end(2)
            wait_for(lambda: not queue._messages, "both to be handled")

        assert busy.begun == [1, 2]
        assert max(busy.counts) == (1 if last else 2)

    def test_one_whose_type_shows_once_it_is_opened_makes_no_room(
        self, queue: MemoryTransport, busy: Busy
    ) -> None:
        """It took none: its handler was not known."""

        class Pointers(Middleware):
            def gives_type(self, message: IncomingMessage, /) -> bool:
                return True

            def handle(self, message: IncomingMessage, /) -> Steps:
                if message.unread:
                    message.open(json.dumps({"type": "limited", "payload": 1}))
                yield

        worker = Worker(queue, middleware=[Pointers()], concurrency=5, wait_seconds=0)
        worker.handler("limited", concurrency=1)(busy)
        events = events_of(worker)
        with running(worker):
            for _ in range(3):
                queue.send(outgoing("[]"))
            busy.end(3)
            wait_for(lambda: len(events) == 3, "those without a type")
            busy.most_at_once = 0
            send(queue, *[{"type": "limited", "payload": 2}] * 5)
            for count in range(4, 9):
                busy.have_begun(count)
                busy.end(1)

        assert busy.most_at_once == 1

    def test_one_that_fails_makes_room(self, queue: MemoryTransport) -> None:
        worker = Worker(queue, wait_seconds=0)
        events = events_of(worker)

        @worker.handler("limited", concurrency=1)
        def fail(message: dict[str, Any]) -> None:
            raise ZeroDivisionError

        send(queue, *[{"type": "limited", "payload": None}] * 5)
        with running(worker):
            wait_for(lambda: len(events) == 5, "all to fail")


class TestRateOfAHandler:
    def test_no_more_begin_in_any_period(
        self, queue: MemoryTransport, time_passes: PassingTime
    ) -> None:
        worker = Worker(queue, wait_seconds=0, visibility_timeout=36_000)
        begun: list[int] = []
        others: list[object] = []

        @worker.handler("limited", rate="5/min")
        def limited(message: dict[str, Any], delivery: Delivery) -> None:
            begun.append(delivery.receive_count)

        worker.handler("plain")(others.append)
        events = events_of(worker)
        send(queue, *[{"type": "limited", "payload": None}] * 12)
        with running(worker):
            for count in (5, 10):
                wait_for(partial(has, begun, count), "five more to begin")
                send(queue, *[PLAIN] * 10)
                wait_for(partial(has, others, 2 * count), "others, meanwhile")
                time_passes(30)
                assert len(begun) == count, "half a minute had passed"
                assert receive_now(queue) == [], "what waits can be received"
                time_passes(30)
            wait_for(lambda: len(events) == 32, "all of them")

        assert begun == [1] * 12

    def test_those_that_wait_are_given_back_by_a_worker_that_stops(
        self, queue: MemoryTransport, busy: Busy
    ) -> None:
        """At once, also those behind another limit: it waits only for the handlers that run."""
        worker = Worker(queue, wait_seconds=0, visibility_timeout=600, drain_timeout=600)
        worker.handler("limited", rate="1/h", concurrency=1)(busy)
        send(queue, *[{"type": "limited", "payload": n} for n in range(3)])
        with running(worker):
            busy.have_begun(1)
            stored = queue._messages.values()
            wait_for(lambda: all(each.receive_count for each in stored), "all to be in hand")
            worker.stop()
            wait_for(lambda: len(receive_now(queue)) == 2, "the others to be given back")
            busy.end(1)

        assert busy.begun == [0]
        assert len(stored) == 2

    @pytest.mark.parametrize("concurrency", [None, 1])
    def test_those_that_may_begin_in_time_are_handled_by_a_worker_that_stops(
        self,
        queue: MemoryTransport,
        time_passes: PassingTime,
        busy: Busy,
        concurrency: int | None,
    ) -> None:
        """Each deploy would use up a receive of each, until they are dead letters."""
        worker = Worker(queue, wait_seconds=0, visibility_timeout=600, drain_timeout=90)
        worker.handler("limited", rate="5/min", concurrency=concurrency)(busy)
        send(queue, *[{"type": "limited", "payload": n} for n in range(12)])
        with running(worker):
            busy.have_begun(concurrency or 5)
            stored = queue._messages.values()
            wait_for(lambda: all(each.receive_count for each in stored), "all to be in hand")
            worker.stop()
            wait_for(lambda: len(receive_now(queue)) >= 2, "those of the third minute to go back")
            busy.end(12)
            busy.have_begun(5)
            wait_for(lambda: has([*stored], 7), "those of the first minute to be handled")
            time_passes(60)

        assert len(busy.begun) == 10
        assert busy.counts == {1}
        assert len(receive_now(queue)) == len(stored) == 2

    def test_one_that_waits_for_its_store_takes_no_turn(
        self, queue: MemoryTransport, time_passes: PassingTime, busy: Busy
    ) -> None:
        opener = Opener()
        opener.missing.add(20)
        worker = Worker(queue, middleware=[opener], wait_seconds=0, visibility_timeout=36_000)
        worker.handler("sealed", rate="1/h")(busy)
        held = heard(worker, MessageHeld)
        send(queue, sealed(20))
        busy.end(1)
        with running(worker):
            wait_for(lambda: held, "its store to refuse it")
            opener.missing.clear()
            time_passes(Unavailable.retry_after)
            busy.have_begun(1)

    def test_one_that_is_not_due_takes_no_turn(
        self, queue: MemoryTransport, clock: Clock, time_passes: PassingTime, busy: Busy
    ) -> None:
        worker = Worker(queue, clock=clock, wait_seconds=0, visibility_timeout=36_000)
        worker.handler("limited", rate="1/h")(busy)
        delayed = heard(worker, MessageDelayed)
        limited = {"type": "limited", "payload": 1}
        Client(queue, clock=clock).enqueue(limited, delay_seconds=7_200)
        busy.end(1)
        with running(worker):
            time_passes(900)
            wait_for(lambda: delayed, "it to be sent on")
            send(queue, limited)
            busy.have_begun(1)

    @pytest.mark.parametrize("rate", ["", "10", "10/d", "0/s", "-1/s", "1.5/s", "1000000/s", 10])
    def test_of_another_form_is_refused(self, rate: Any) -> None:
        with pytest.raises(SettingsInvalid, match=r'give "10/s", "100/min" or "1000/h"'):
            Worker(MemoryTransport()).handler("limited", rate=rate)

    def test_other_limits_are_checked(self) -> None:
        worker = Worker(MemoryTransport())
        with pytest.raises(SettingsInvalid, match="concurrency=0"):
            worker.handler("limited", concurrency=0)
        for timeout in (0, timedelta(0)):
            with pytest.raises(SettingsInvalid, match="timeout=0"):
                worker.handler("limited", timeout=timeout)


def test_limits_hold_together(queue: MemoryTransport, busy: Busy) -> None:
    """A message passes the limits of its handler, then that of memory."""
    worker = Worker(queue, middleware=[Opener()], max_opened_bytes=LIMIT, wait_seconds=0)
    worker.handler("sealed", concurrency=2, rate="100/s")(busy)
    events = events_of(worker)
    send(queue, *[sealed(20)] * 6, *[sealed(90)] * 3)
    busy.end(9)
    with running(worker):
        wait_for(lambda: len(events) == 9, "all of them")

    assert busy.begun == [20] * 6 + [90] * 3
    assert busy.most_at_once <= 2
