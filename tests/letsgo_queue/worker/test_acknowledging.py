"""Acknowledging in batches: nothing waits for ever, and nothing is asked for more than needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from letsgo_queue import Client, Event, LetsGoQueueError, MessageHandled, QueueUnavailable, Worker
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker.acknowledging import Acknowledger
from tests.letsgo_queue.support import bodies, order, receive, wait_for


class Watched(MemoryTransport):
    """Counts what is asked of it, and can hold a request up, fail it, or fail one entry."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[int] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.failing: set[str] = set()
        self.is_down = False

    def delete(self, message: ReceivedMessage) -> None:
        self.requests.append(1)
        self.may_answer.wait(20)
        if self.is_down:
            raise QueueUnavailable("no answer")
        super().delete(message)

    def delete_batch(
        self, messages: Sequence[ReceivedMessage]
    ) -> Sequence[LetsGoQueueError | None]:
        self.requests.append(len(messages))
        self.may_answer.wait(20)
        outcomes: list[LetsGoQueueError | None] = []
        for message in messages:
            if self.is_down or message.body in self.failing:
                outcomes.append(QueueUnavailable("failed"))
            else:
                super().delete(message)
                outcomes.append(None)
        return outcomes


def acknowledge(queue: Watched, count: int) -> list[LetsGoQueueError | None]:
    """Acknowledge messages, the first alone and the others while its request is under way."""
    Client(queue).enqueue_many([order(n=n) for n in range(count)])
    received: list[ReceivedMessage] = []
    while messages := receive(queue):
        received += messages
    outcomes: list[LetsGoQueueError | None] = []
    acknowledger = Acknowledger(queue)
    queue.may_answer.clear()
    for number, message in enumerate(received):
        acknowledger.add(message, outcomes.append)
        if not number:
            wait_for(lambda: queue.requests, "the first request")
    queue.may_answer.set()
    acknowledger.close()
    return outcomes


def test_what_gathers_during_a_request_goes_together() -> None:
    queue = Watched()
    assert acknowledge(queue, 24) == [None] * 24
    assert queue.requests == [1, 10, 10, 3]


def test_full_requests_go_at_once_and_others_wait_for_the_one_under_way() -> None:
    queue = Watched()
    Client(queue).enqueue_many([order(n=n) for n in range(120)])
    received: list[ReceivedMessage] = []
    while messages := receive(queue):
        received += messages
    acknowledger = Acknowledger(queue)
    outcomes: list[LetsGoQueueError | None] = []

    def add(count: int) -> None:
        for message in received[:count]:
            acknowledger.add(message, outcomes.append)
        del received[:count]

    queue.may_answer.clear()
    add(1)
    wait_for(lambda: queue.requests == [1], "one that comes alone")
    add(9)
    stays(queue, [1])
    add(50)
    wait_for(lambda: queue.requests == [1, 10, 10, 10, 10], "as many at once as there are threads")
    stays(queue, [1, 10, 10, 10, 10])
    queue.may_answer.set()
    wait_for(lambda: len(outcomes) == 60, "all of them")

    # The threads are there now, and still one alone takes what does not fill a request.
    queue.may_answer.clear()
    queue.requests.clear()
    add(1)
    wait_for(lambda: queue.requests == [1], "one that comes alone")
    add(5)
    stays(queue, [1])
    queue.may_answer.set()
    acknowledger.close()
    assert queue.requests == [1, 5]
    assert outcomes == [None] * 66


def stays(queue: Watched, requests: list[int]) -> None:
    """Nothing more is asked, though there would be time."""
    time.sleep(0.1)
    assert queue.requests == requests


def test_an_entry_that_failed_is_tried_again_alone() -> None:
    queue = Watched()
    queue.failing = {'{"type":"order:new","payload":{"n":3}}'}
    assert acknowledge(queue, 8) == [None] * 8
    assert queue.requests == [1, 7, 1]


def test_a_queue_that_does_not_answer_is_not_asked_for_each() -> None:
    queue = Watched()
    queue.is_down = True
    outcomes = acknowledge(queue, 21)
    assert [type(outcome) for outcome in outcomes] == [QueueUnavailable] * 21
    assert queue.requests == [1, 10, 10]


def test_what_is_handled_after_the_end_is_acknowledged_too() -> None:
    """As by a handler that a second signal did not wait for."""
    queue = Watched()
    Client(queue).enqueue(order())
    (message,) = receive(queue)
    acknowledger = Acknowledger(queue)
    acknowledger.close()
    outcomes: list[LetsGoQueueError | None] = []
    acknowledger.add(message, outcomes.append)
    assert outcomes == [None]


@pytest.mark.parametrize("error", [SystemExit, ZeroDivisionError])
def test_a_listener_that_fails_holds_nothing_up(error: type[BaseException]) -> None:
    queue = MemoryTransport()
    Client(queue).enqueue_many([order(n=n) for n in range(120)])
    worker = Worker(queue, concurrency=4)
    worker.default(lambda _message: None)

    def fail(event: Event) -> None:
        if isinstance(event, MessageHandled):
            raise error

    worker.add_listener(fail)
    worker.run(burst=True)
    assert bodies(queue) == []
    assert receive(queue) == []


def test_a_queue_with_a_defect_holds_nothing_up(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryTransport):
        def delete(self, message: ReceivedMessage) -> None:
            raise ZeroDivisionError

        def delete_batch(
            self, messages: Sequence[ReceivedMessage]
        ) -> Sequence[LetsGoQueueError | None]:
            raise ZeroDivisionError

    queue = Broken()
    Client(queue).enqueue_many([order(n=n) for n in range(120)])
    worker = Worker(queue)
    handled: list[object] = []
    worker.default(handled.append)
    worker.run(burst=True)
    assert len(handled) == 120
    assert "not acknowledged" in caplog.text
