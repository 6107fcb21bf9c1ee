"""Acknowledging in batches: nothing waits for ever, and nothing is asked for more than needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    Event,
    LetsGoError,
    LetsGoQueueError,
    MessageHandled,
    QueueUnavailable,
    Worker,
)
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import acknowledging
from letsgo_queue.worker.acknowledging import Acknowledger
from letsgo_queue.worker.incoming import IncomingMessage
from letsgo_queue.worker.parts import Parts
from tests.letsgo_queue.support import DEADLINE_SECONDS, PassingTime, bodies, order, receive
from tests.support.waiting import wait_for


class Watched(MemoryTransport):
    """Counts what is asked of it, and can hold a request up, fail it, or fail one entry."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[int] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.failing: set[str] = set()
        self.is_down = False

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
                self.delete(message)
                outcomes.append(None)
        return outcomes


class Outcomes(list[LetsGoError | None]):
    """What became of the messages that were acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self.message_ids: list[str] = []

    def done(
        self, messages: Sequence[IncomingMessage], errors: Sequence[LetsGoError | None]
    ) -> None:
        self.message_ids += [message.message_id for message in messages]
        self += errors


def in_hand(queue: Watched, count: int) -> list[IncomingMessage]:
    """So many messages that were received and handled."""
    Client(queue).enqueue_many([order(n=n) for n in range(count)])
    messages: list[IncomingMessage] = []
    while received := receive(queue):
        messages += [IncomingMessage(each, queue) for each in received]
    return messages


def close(acknowledger: Acknowledger) -> None:
    acknowledger.close(time.monotonic() + DEADLINE_SECONDS)


def acknowledge(queue: Watched, count: int, parts: Parts) -> Outcomes:
    """Acknowledge messages, the first alone and the others while its request is under way."""
    outcomes = Outcomes()
    acknowledger = Acknowledger(queue, outcomes.done, parts)
    messages = in_hand(queue, count)
    queue.may_answer.clear()
    acknowledger.add(messages[0])
    wait_for(lambda: queue.requests, "the first request")
    for message in messages[1:]:
        acknowledger.add(message)
    queue.may_answer.set()
    close(acknowledger)
    return outcomes


def test_what_gathers_during_a_request_goes_together(parts: Parts) -> None:
    queue = Watched()
    assert acknowledge(queue, 24, parts) == [None] * 24
    assert sorted(queue.requests) == [1, 3, 10, 10]


def test_says_which_message_it_is(parts: Parts) -> None:
    queue = Watched()
    messages = in_hand(queue, 30)
    outcomes = Outcomes()
    acknowledger = Acknowledger(queue, outcomes.done, parts)
    for message in messages:
        acknowledger.add(message)
    close(acknowledger)
    assert sorted(outcomes.message_ids) == sorted(message.message_id for message in messages)


def test_full_requests_go_at_once_and_others_wait_for_the_one_under_way(parts: Parts) -> None:
    queue = Watched()
    messages = in_hand(queue, 66)
    outcomes = Outcomes()
    acknowledger = Acknowledger(queue, outcomes.done, parts)

    def add(count: int) -> None:
        for message in messages[:count]:
            acknowledger.add(message)
        del messages[:count]

    queue.may_answer.clear()
    add(1)
    wait_for(lambda: queue.requests == [1], "the first one, which comes alone")
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
    wait_for(lambda: queue.requests == [1], "the first one, which comes alone")
    add(5)
    stays(queue, [1])
    queue.may_answer.set()
    close(acknowledger)
    assert queue.requests == [1, 5]
    assert outcomes == [None] * 66


def stays(queue: Watched, requests: list[int]) -> None:
    """Nothing more is asked, though there is time: of what must not happen nothing tells."""
    time.sleep(0.1)
    assert queue.requests == requests


def test_an_entry_that_failed_is_told_alone(parts: Parts) -> None:
    queue = Watched()
    queue.failing = {'{"type":"order:new","payload":{"n":3}}'}
    (failed,) = [outcome for outcome in acknowledge(queue, 8, parts) if outcome is not None]
    assert isinstance(failed, QueueUnavailable)
    assert queue.requests == [1, 7]


def test_a_queue_that_does_not_answer_is_asked_again_while_the_message_is_invisible(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handled message would come a second time, for an outage of some seconds."""
    monkeypatch.setattr(acknowledging, "AGAIN_SECONDS", 0.01)
    queue = Watched()
    queue.is_down = True
    outcomes = Outcomes()
    acknowledger = Acknowledger(queue, outcomes.done, parts)
    patient, late = in_hand(queue, 2)
    late.invisible_until = time.monotonic()
    for message in (patient, late):
        acknowledger.add(message)

    wait_for(lambda: len(queue.requests) > 5, "more requests")
    assert outcomes.message_ids == [late.message_id]
    queue.is_down = False
    wait_for(lambda: len(outcomes) == 2, "the end of the outage")
    close(acknowledger)

    assert outcomes[1] is None
    assert outcomes.message_ids[1] == patient.message_id


def test_a_queue_that_does_not_answer_is_not_asked_for_each(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acknowledging, "PATIENCE_SECONDS", 0)
    queue = Watched()
    queue.is_down = True
    outcomes = acknowledge(queue, 21, parts)
    assert [type(outcome) for outcome in outcomes] == [QueueUnavailable] * 21
    assert sorted(queue.requests) == [1, 10, 10]


def test_a_request_that_hangs_keeps_nobody_from_ending(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Watched()
    queue.may_answer.clear()
    acknowledger = Acknowledger(queue, Outcomes().done, parts)
    first, second = in_hand(queue, 2)
    acknowledger.add(first)
    wait_for(lambda: queue.requests, "the first request")
    acknowledger.add(second)

    acknowledger.close(time.monotonic() + 0.01)

    assert f"message {second.message_id} was handled and could not be acknowledged" in caplog.text
    queue.may_answer.set()


def test_what_comes_after_the_end_is_acknowledged_all_the_same(parts: Parts) -> None:
    """Its handler ended at the very moment when the worker stopped to wait for it."""
    queue = Watched()
    outcomes = Outcomes()
    acknowledger = Acknowledger(queue, outcomes.done, parts)
    first, late = in_hand(queue, 2)
    acknowledger.add(first)
    close(acknowledger)

    acknowledger.add(late)

    assert outcomes == [None, None]
    assert queue._messages == {}


def test_a_broken_worker_acknowledges_no_longer_than_it_may(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, time_passes: PassingTime
) -> None:
    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    class Slow(Watched):
        def delete_batch(
            self, messages: Sequence[ReceivedMessage]
        ) -> Sequence[LetsGoQueueError | None]:
            time_passes(3)
            return super().delete_batch(messages)

    monkeypatch.setattr(threading.Thread, "start", fail)
    queue = Slow()
    acknowledger = Acknowledger(queue, Outcomes().done, Parts(lambda: None))
    for message in in_hand(queue, 35):
        acknowledger.add(message)

    acknowledger.close(time.monotonic() + 5)

    assert queue.requests == [10, 10]


def test_a_thread_that_cannot_start_breaks_the_worker_and_loses_no_acknowledgement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    queue = Watched()
    broken = threading.Event()
    parts = Parts(broken.set)
    outcomes = Outcomes()
    acknowledger = Acknowledger(queue, outcomes.done, parts)
    for message in in_hand(queue, 12):
        acknowledger.add(message)
    assert broken.is_set()

    close(acknowledger)

    assert outcomes == [None] * 12


def test_the_end_leaves_no_thread(parts: Parts) -> None:
    before = threading.active_count()
    queue = Watched()
    assert acknowledge(queue, 60, parts) == [None] * 60
    parts.join(DEADLINE_SECONDS)
    assert threading.active_count() == before


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


@pytest.mark.parametrize("defect", ["raises", "forgets"])
def test_a_queue_with_a_defect_holds_nothing_up(
    caplog: pytest.LogCaptureFixture, defect: str
) -> None:
    class Broken(MemoryTransport):
        def delete_batch(
            self, messages: Sequence[ReceivedMessage]
        ) -> Sequence[LetsGoQueueError | None]:
            if defect == "raises":
                raise ZeroDivisionError
            return []  # one outcome for each message is what it should be

    queue = Broken()
    Client(queue).enqueue_many([order(n=n) for n in range(120)])
    worker = Worker(queue)
    handled: list[object] = []
    worker.default(handled.append)
    worker.run(burst=True)
    assert len(handled) == 120
    assert "not acknowledged" in caplog.text
