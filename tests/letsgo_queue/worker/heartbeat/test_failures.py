"""Extensions that fail are tried again until the delivery is known to have ended."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from letsgo_queue import (
    Client,
    MessageHandled,
    QueueUnavailable,
    Worker,
)
from letsgo_queue.worker import heartbeat as heartbeats
from letsgo_queue.worker.heartbeat import Heartbeat
from tests.letsgo_queue.support import (
    DEADLINE_SECONDS,
    PassingTime,
    events_of,
    order,
    receive,
    running,
)
from tests.letsgo_queue.worker.heartbeat.support import (
    TIMEOUT,
    Extended,
    Leased,
    RefusesThrice,
    has,
    in_hand,
)
from tests.support.waiting import wait_for


def test_a_refusal_that_may_pass_is_tried_again(
    queue: Extended,
    heartbeat: Heartbeat,
    time_passes: PassingTime,
    caplog: pytest.LogCaptureFixture,
) -> None:
    message = in_hand(queue)
    heartbeat.hold([message])
    queue.refuse = refuses = RefusesThrice()
    time_passes(310)
    for count in range(1, 5):
        wait_for(partial(has, refuses.attempts, count), "an attempt")
        time_passes(heartbeats.RETRY_SECONDS)
    wait_for(lambda: queue.extensions, "the extension")

    assert caplog.text.count("may be delivered to another worker: no answer.") == 3
    assert message.message_id in caplog.text


@pytest.mark.parametrize("where", ["queue", "lease"])
def test_a_defect_is_logged_and_the_heartbeat_goes_on(
    queue: Extended,
    heartbeat: Heartbeat,
    time_passes: PassingTime,
    caplog: pytest.LogCaptureFixture,
    where: str,
) -> None:
    message = in_hand(queue)
    attempts: list[object] = []

    def fail() -> None:
        attempts.append(None)
        if len(attempts) == 1:
            raise ZeroDivisionError

    if where == "queue":
        queue.refuse = fail
    else:
        message.attach(Leased(fail))
    heartbeat.hold([message])
    time_passes(310)
    wait_for(lambda: "ZeroDivisionError" in caplog.text, "the defect to be told")

    def goes_on() -> bool:
        time_passes(20)
        return len(attempts) == 3

    wait_for(goes_on, "two more attempts")


def test_is_tried_again_though_it_may_be_visible_already(
    queue: Extended, heartbeat: Heartbeat, time_passes: PassingTime
) -> None:
    """Nobody may have received it: the queue was not to be reached."""
    message = in_hand(queue)
    heartbeat.hold([message])
    refused = threading.Event()

    def refuse() -> None:
        refused.set()
        raise QueueUnavailable("no credentials.", retryable=False)

    queue.refuse = refuse
    time_passes(10 * TIMEOUT)
    assert refused.wait(DEADLINE_SECONDS)
    queue.refuse = lambda: None

    def is_extended() -> bool:
        time_passes(1)
        return bool(queue.extensions)

    wait_for(is_extended, "the extension")


def test_a_message_that_is_gone_is_told_and_its_handler_finishes(
    queue: Extended, time_passes: PassingTime, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(queue)
    events = events_of(worker)
    begun = threading.Event()
    may_end = threading.Event()

    @worker.default
    def handle(_message: object) -> None:
        begun.set()
        assert may_end.wait(DEADLINE_SECONDS)

    Client(queue).enqueue(order())
    with running(worker):
        assert begun.wait(DEADLINE_SECONDS)
        queue._messages.clear()
        time_passes(400)
        wait_for(lambda: "could not be kept invisible" in caplog.text, "a warning")
        may_end.set()
        wait_for(lambda: events, "its end")

    assert [type(event) for event in events] == [MessageHandled]
    assert caplog.text.count("could not be kept invisible") == 1, "it asked for what is gone"


def test_a_message_that_is_gone_before_it_was_begun_is_left_to_its_next_delivery(
    queue: Extended, time_passes: PassingTime, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a process was stopped for a while, others have handled what waited in it."""
    worker = Worker(queue, wait_seconds=0)
    events = events_of(worker)
    begun: list[object] = []
    may_end = threading.Event()

    @worker.handler("order:new", concurrency=1)
    def handle(message: object) -> None:
        begun.append(message)
        assert may_end.wait(DEADLINE_SECONDS)

    Client(queue).enqueue_many([order(n=n) for n in range(5)])
    with running(worker):
        wait_for(lambda: begun and not receive(queue), "all to be in hand")
        queue._messages.clear()
        time_passes(400)
        wait_for(lambda: caplog.text.count("could not be kept invisible") == 5, "all warnings")
        may_end.set()
        wait_for(lambda: events, "the end of the first")

    assert len(begun) == 1
    assert [type(event) for event in events] == [MessageHandled]
