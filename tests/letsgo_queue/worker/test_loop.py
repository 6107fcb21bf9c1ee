"""How far ahead of its handlers a worker receives, and in how many requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from claimcheck.testing import Clock
from letsgo_queue import Client, Delivery, MessageHandled, Worker
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import heartbeat, loop
from tests.letsgo_queue.support import (
    DEADLINE_SECONDS,
    PassingTime,
    events_of,
    order,
    receive,
    running,
)
from tests.support.waiting import wait_for


class Distant(MemoryTransport):
    """A queue that takes a while to answer, and counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[int] = []
        self.most_at_once = 0
        self._asking = 0
        self._counting = threading.Lock()

    def receive(self, **options: Any) -> Sequence[ReceivedMessage]:
        with self._counting:
            self._asking += 1
            self.most_at_once = max(self.most_at_once, self._asking)
        time.sleep(0.02)  # the distance
        messages = super().receive(**options)
        with self._counting:
            self._asking -= 1
            self.found.append(len(messages))
        return messages


def send(queue: MemoryTransport, count: int, message_type: str = "order:new") -> None:
    Client(queue).enqueue_many([{**order(n=n), "type": message_type} for n in range(count)])


def test_a_queue_that_answers_at_once_is_not_asked_all_the_time() -> None:
    """A request costs, and one without an end takes a core."""
    queue = Distant()
    began = time.perf_counter()
    with running(Worker(queue, wait_seconds=0)):
        wait_for(lambda: len(queue.found) == 10, "ten requests")
    assert time.perf_counter() - began >= 9 * (loop.EMPTY_PAUSE_SECONDS + 0.02)


class TestAhead:
    def test_behind_a_slow_handler_nothing_waits(
        self, queue: MemoryTransport, time_passes: PassingTime
    ) -> None:
        worker = Worker(queue, concurrency=1)
        left: list[int] = []

        @worker.default
        def slow(_message: object) -> None:
            time_passes(0.2)
            left.append(len(receive(queue, visibility_timeout=0)))

        send(queue, 4)
        worker.run(burst=True)

        assert left == [3, 2, 1, 0]

    def test_without_prefetch_nothing_waits_behind_a_quick_one_either(
        self, queue: MemoryTransport
    ) -> None:
        worker = Worker(queue, concurrency=1, prefetch=0)
        left: list[int] = []

        @worker.default
        def quick(_message: object) -> None:
            left.append(len(receive(queue, visibility_timeout=0)))

        send(queue, 4)
        worker.run(burst=True)

        assert left == [3, 2, 1, 0]

    def test_quick_handlers_do_not_wait_for_the_queue(self) -> None:
        queue = Distant()
        worker = Worker(queue, concurrency=4)
        handled: list[object] = []
        worker.default(handled.append)

        send(queue, 400)
        worker.run(burst=True)

        assert len(handled) == 400
        assert 1 < queue.most_at_once <= 5
        full = [found for found in queue.found if found == 10]
        assert len(full) > 30, queue.found

    def test_requests_are_filled_where_handlers_take_as_long(
        self, time_passes: PassingTime
    ) -> None:
        queue = Distant()
        worker = Worker(queue, concurrency=4)
        worker.default(lambda _message: time_passes(0.02))

        send(queue, 200)
        worker.run(burst=True)

        found = [found for found in queue.found if found]
        assert sum(found) == 200
        assert len(found) < 200 / 6, queue.found

    def test_an_empty_queue_is_asked_by_one_receiver(self) -> None:
        queue = Distant()
        worker = Worker(queue, wait_seconds=0)
        handled: list[object] = []
        worker.default(handled.append)
        send(queue, 300)
        with running(worker):
            wait_for(lambda: len(handled) == 300, "all messages")
            wait_for(lambda: not any(queue.found[-6:]), "each receiver's last poll, and one more")
            before = len(queue.found)
            queue.most_at_once = 0
            wait_for(lambda: len(queue.found) > before + 2, "three more polls")
            assert queue.most_at_once == 1


class TestBehindOneThatTurnsOutSlow:
    def test_what_waits_stays_invisible(
        self,
        queue: MemoryTransport,
        clock: Clock,
        time_passes: PassingTime,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(heartbeat, "LOOK_SECONDS", 0.01)
        worker = Worker(queue, concurrency=1, visibility_timeout=600)
        events = events_of(worker)
        counts: list[int] = []
        seen_by_others: list[ReceivedMessage] = []

        @worker.handler("quick")
        def quick(_message: object, delivery: Delivery) -> None:
            counts.append(delivery.receive_count)
            if len(counts) == 30:  # sent now, as several receivers keep no order
                send(queue, 1, "slow")

        @worker.handler("slow")
        def slow(_message: object) -> None:
            send(queue, 10, "quick")
            wait_for(lambda: len(events) == 30, "those before to be acknowledged")
            received = [*queue._messages.values()]
            assert len(received) == 11
            wait_for(lambda: all(each.receive_count for each in received), "all to be in hand")
            for _ in range(5):
                time_passes(400)
                wait_for(
                    lambda: all(each.visible_at > clock.now + 300 for each in received),
                    "all to be extended",
                )
                seen_by_others.extend(
                    message
                    for message in receive(queue, visibility_timeout=0)
                    if message.receive_count > 1
                )

        send(queue, 30, "quick")
        worker.run(burst=True)

        assert seen_by_others == [], "what waited was received by somebody else"
        assert len(counts) == 40
        assert {type(event) for event in events} == {MessageHandled}

    def test_what_waits_is_taken_by_others(self) -> None:
        queue = MemoryTransport()
        worker = Worker(queue, concurrency=2, wait_seconds=0)
        handled: list[object] = []
        go_on = threading.Event()
        worker.handler("quick")(handled.append)

        @worker.handler("slow")
        def slow(_message: object) -> None:
            go_on.wait(2 * DEADLINE_SECONDS)

        send(queue, 30, "quick")
        send(queue, 1, "slow")
        send(queue, 10, "quick")
        try:
            with running(worker):
                wait_for(lambda: len(handled) == 40, "those behind the slow one")
                send(queue, 1, "quick")
                wait_for(lambda: len(handled) == 41, "one that arrives meanwhile")
                go_on.set()
        finally:
            go_on.set()
