"""How far ahead of its handlers a worker receives, and how many requests that takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from letsgo_queue import Client, Delivery, SettingsInvalid, Worker
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import order, receive, running, wait_for


class Distant(MemoryTransport):
    """A queue that takes a while to answer, and counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[int] = []
        self.most_at_once = 0
        self._asking = 0
        self._counting = threading.Lock()

    def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_timeout: int | None
    ) -> Sequence[ReceivedMessage]:
        with self._counting:
            self._asking += 1
            self.most_at_once = max(self.most_at_once, self._asking)
        time.sleep(0.02)
        messages = super().receive(
            max_messages=max_messages,
            wait_seconds=wait_seconds,
            visibility_timeout=visibility_timeout,
        )
        with self._counting:
            self._asking -= 1
            self.found.append(len(messages))
        return messages


def send(queue: MemoryTransport, count: int, message_type: str = "order:new") -> None:
    Client(queue).enqueue_many([{**order(n=n), "type": message_type} for n in range(count)])


def test_behind_a_slow_handler_nothing_waits() -> None:
    queue = MemoryTransport()
    worker = Worker(queue, concurrency=1)
    left: list[int] = []

    @worker.default
    def slow(_message: object) -> None:
        time.sleep(0.2)
        left.append(len(receive(queue, visibility_timeout=0)))

    send(queue, 4)
    worker.run(burst=True)

    assert left == [3, 2, 1, 0]


def test_without_prefetch_nothing_waits_behind_a_quick_one_either() -> None:
    queue = MemoryTransport()
    worker = Worker(queue, concurrency=1, prefetch=0)
    left: list[int] = []

    @worker.default
    def quick(_message: object) -> None:
        left.append(len(receive(queue, visibility_timeout=0)))

    send(queue, 4)
    worker.run(burst=True)

    assert left == [3, 2, 1, 0]


def test_quick_handlers_do_not_wait_for_the_queue() -> None:
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


def test_requests_are_filled_where_handlers_take_as_long() -> None:
    queue = Distant()
    worker = Worker(queue, concurrency=4)
    worker.default(lambda _message: time.sleep(0.02))

    send(queue, 200)
    worker.run(burst=True)

    found = [found for found in queue.found if found]
    assert sum(found) == 200
    assert len(found) < 200 / 6, queue.found


def test_an_empty_queue_is_asked_by_one_receiver() -> None:
    queue = Distant()
    worker = Worker(queue, wait_seconds=1)
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


def test_what_waits_behind_one_that_turns_out_slow_stays_invisible() -> None:
    queue = MemoryTransport(visibility_timeout=3)
    worker = Worker(queue, concurrency=1)
    counts: list[int] = []
    seen_by_others: list[int] = []

    @worker.handler("quick")
    def quick(_message: object, delivery: Delivery) -> None:
        counts.append(delivery.receive_count)

    @worker.handler("slow")
    def slow(_message: object) -> None:
        deadline = time.monotonic() + 7
        while time.monotonic() < deadline:
            seen_by_others.append(len(receive(queue, visibility_timeout=0)))
            time.sleep(0.2)

    send(queue, 30, "quick")
    send(queue, 1, "slow")
    send(queue, 10, "quick")
    worker.run(burst=True)

    assert sum(seen_by_others) == 0, "what waited was received by somebody else"
    assert counts == [1] * 40


def test_what_waits_behind_one_that_turns_out_slow_is_taken_by_others() -> None:
    queue = MemoryTransport()
    worker = Worker(queue, concurrency=2, wait_seconds=0)
    handled: list[object] = []
    go_on = threading.Event()
    worker.handler("quick")(handled.append)

    @worker.handler("slow")
    def slow(_message: object) -> None:
        go_on.wait(30)

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


class TellsOfGivingBack(MemoryTransport):
    def __init__(self) -> None:
        super().__init__()
        self.given_back = threading.Event()

    def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
        super().change_visibility(message, seconds)
        if seconds == 0:
            self.given_back.set()


class TestStopping:
    def start(self, go_on: threading.Event) -> tuple[TellsOfGivingBack, Worker, list[int]]:
        """A worker that is stopped at its twentieth message, with others waiting behind it."""
        queue = TellsOfGivingBack()
        worker = Worker(queue, concurrency=1, wait_seconds=0)
        handled: list[int] = []

        @worker.default
        def handle(message: dict[str, Any]) -> None:
            time.sleep(0.005)
            handled.append(message["payload"]["n"])
            if len(handled) == 20:
                worker.stop()
                go_on.wait(30)

        send(queue, 40)
        return queue, worker, handled

    def test_what_can_be_begun_soon_is_finished(self) -> None:
        go_on = threading.Event()
        go_on.set()
        queue, worker, handled = self.start(go_on)

        worker.run()

        left = []
        while messages := receive(queue):
            left += messages
        assert len(handled) + len(left) == 40
        assert len(handled) > 20
        assert all(message.receive_count == 1 for message in left)

    def test_what_cannot_is_given_back(self) -> None:
        go_on = threading.Event()
        queue, worker, handled = self.start(go_on)

        thread = threading.Thread(target=worker.run)
        thread.start()
        wait_for(queue.given_back.is_set, "one that is given back")
        go_on.set()
        thread.join()

        left = []
        while messages := receive(queue):
            left += messages
        assert (len(handled), len(left)) == (20, 20)


def test_a_negative_prefetch_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="prefetch=-1: a worker takes at least 0"):
        Worker("memory://", prefetch=-1)
