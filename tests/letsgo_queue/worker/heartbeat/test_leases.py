"""Leases are extended beside the messages, and neither waits for the other."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from letsgo_queue.worker import heartbeat as heartbeats
from letsgo_queue.worker.heartbeat import Heartbeat
from tests.letsgo_queue.support import DEADLINE_SECONDS, PassingTime, receive_one
from tests.letsgo_queue.worker.heartbeat.support import (
    TIMEOUT,
    Extended,
    Leased,
    RefusesThrice,
    Slow,
    has,
    in_hand,
)
from tests.support.waiting import wait_for


def test_a_store_that_does_not_answer_makes_no_message_visible(
    queue: Extended, heartbeat: Heartbeat, time_passes: PassingTime
) -> None:
    """As many as there are threads for leases wait for it, and one more."""
    slow = Slow()
    messages = [in_hand(queue) for _ in range(heartbeats.MAX_CALLS + 1)]
    for message in messages:
        message.attach(Leased(slow))
    heartbeat.hold(messages)

    for count in range(1, 4):
        time_passes(400)
        wait_for(partial(queue.has_extended, count * len(messages)), "all to be extended")
    slow.may_answer.set()


def test_a_queue_that_does_not_answer_lets_no_lease_run_out(
    queue: Extended, heartbeat: Heartbeat, time_passes: PassingTime
) -> None:
    slow = Slow()
    queue.refuse = slow
    message = in_hand(queue)
    lease = Leased()
    message.attach(lease)
    heartbeat.hold([message])

    for count in range(1, 4):
        time_passes(400)
        wait_for(partial(has, lease.extensions, count), "the lease to be extended")
    slow.may_answer.set()

    assert lease.extensions == [TIMEOUT] * 3


def test_a_lease_that_its_handler_made_longer_is_not_made_shorter(
    queue: Extended, heartbeat: Heartbeat, time_passes: PassingTime
) -> None:
    """The handler may hold the interpreter for all that time, and stop the heartbeat."""
    message = in_hand(queue)
    lease = Leased()
    message.attach(lease)
    heartbeat.hold([message])
    message.extend(3600)

    time_passes(310)
    wait_for(partial(has, lease.extensions, 2), "the lease to be extended")

    assert lease.extensions == [3600, pytest.approx(3600 - 310, abs=60)]


def test_a_lease_goes_on_where_the_message_was_delivered_again(
    queue: Extended, heartbeat: Heartbeat, time_passes: PassingTime
) -> None:
    """The queue did not answer until it was visible. No other handler may run beside ours."""
    message = in_hand(queue)
    message.attach(lease := Leased())
    time_passes(TIMEOUT + 1)
    receive_one(queue)

    heartbeat.hold([message])
    wait_for(partial(has, lease.extensions, 1), "the lease to be extended")
    for count in range(2, 4):
        time_passes(400)
        wait_for(partial(has, lease.extensions, count), "the lease to be extended")

    assert queue.extensions == []


def test_a_lease_that_is_attached_during_an_extension_is_extended(
    queue: Extended, heartbeat: Heartbeat, time_passes: PassingTime
) -> None:
    asked, over = threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        over.wait()

    queue.refuse = hang
    message = in_hand(queue)
    heartbeat.hold([message])
    time_passes(310)
    assert asked.wait(DEADLINE_SECONDS)
    time.sleep(0.1)  # the heartbeat has nothing to do by now

    message.attach(lease := Leased())
    time_passes(310)
    try:
        wait_for(lambda: lease.extensions, "the lease to be extended")
    finally:
        over.set()


def test_a_lease_that_is_not_extended_is_tried_again(
    queue: Extended,
    heartbeat: Heartbeat,
    time_passes: PassingTime,
    caplog: pytest.LogCaptureFixture,
) -> None:
    message = in_hand(queue)
    lease = Leased(refuses := RefusesThrice())
    message.attach(lease)
    heartbeat.hold([message])
    time_passes(310)
    for count in range(1, 5):
        wait_for(partial(has, refuses.attempts, count), "an attempt")
        time_passes(heartbeats.RETRY_SECONDS)
    wait_for(lambda: lease.extensions, "the extension")

    assert caplog.text.count("its lease was not extended: no answer.") == 3
