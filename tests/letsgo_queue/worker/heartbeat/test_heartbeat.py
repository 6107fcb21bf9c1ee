"""Messages stay invisible for as long as they are in hand, however long that is."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest

from letsgo_queue import (
    Client,
    Delivery,
    LetsGoQueueError,
    MessageHandled,
    Worker,
)
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.worker.heartbeat import Heartbeat
from letsgo_queue.worker.incoming import IncomingMessage
from letsgo_queue.worker.parts import Parts
from tests.letsgo_queue.support import (
    DEADLINE_SECONDS,
    PassingTime,
    events_of,
    order,
    receive,
    receive_one,
    running,
)
from tests.letsgo_queue.worker.heartbeat.support import (
    TIMEOUT,
    Extended,
    Leased,
    Slow,
    in_hand,
)
from tests.support.waiting import wait_for


def test_a_handler_that_takes_hours_longer_than_the_timeout_runs_once(
    queue: Extended, time_passes: PassingTime
) -> None:
    begun = threading.Event()
    may_end = threading.Event()
    runs: list[int] = []

    def handle(_message: object, delivery: Delivery) -> None:
        runs.append(delivery.receive_count)
        begun.set()
        assert may_end.wait(DEADLINE_SECONDS)

    workers = [Worker(queue), Worker(queue)]
    for worker in workers:
        worker.default(handle)
    heard = [events_of(worker) for worker in workers]
    Client(queue).enqueue(order())
    with running(workers[0]), running(workers[1]):
        assert begun.wait(DEADLINE_SECONDS)
        for count in range(1, 101):
            time_passes(400)
            wait_for(partial(queue.has_extended, count), "an extension")
        may_end.set()
        wait_for(lambda: any(heard), "its end")

    assert runs == [1]
    assert set(queue.extensions) == {TIMEOUT}
    ((event,),) = filter(None, heard)
    assert isinstance(event, MessageHandled)
    time_passes(100_000)
    assert receive(queue) == []


def test_extends_each_when_half_of_its_timeout_has_passed(
    queue: Extended, heartbeat: Heartbeat, time_passes: PassingTime
) -> None:
    early = in_hand(queue)
    heartbeat.hold([early])
    time_passes(200)
    late = in_hand(queue)
    heartbeat.hold([late])

    time_passes(110)  # of 600 seconds it is the 310th of the one, the 110th of the other
    wait_for(partial(queue.has_extended, 1), "one extension")
    time_passes(200)
    wait_for(partial(queue.has_extended, 2), "another")

    assert queue.extended == [early.message_id, late.message_id]


def test_a_wall_clock_that_is_set_back_changes_nothing(
    queue: Extended,
    heartbeat: Heartbeat,
    time_passes: PassingTime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message = in_hand(queue)
    heartbeat.hold([message])
    monkeypatch.setattr(time, "time", lambda: 0.0)

    time_passes(310)
    wait_for(partial(queue.has_extended, 1), "the extension")


def test_extends_ten_at_a_time(
    queue: Extended, heartbeat: Heartbeat, time_passes: PassingTime
) -> None:
    batches: list[int] = []

    class Counts(Extended):
        def change_visibility_batch(
            self, changes: Sequence[tuple[ReceivedMessage, int]]
        ) -> Sequence[LetsGoQueueError | None]:
            batches.append(len(changes))
            return super().change_visibility_batch(changes)

    queue.__class__ = Counts
    heartbeat.hold([in_hand(queue) for _ in range(25)])
    time_passes(310)
    wait_for(partial(queue.has_extended, 25), "all to be extended")

    assert sorted(batches) == [5, 10, 10]


def test_leaves_alone_what_its_handler_has_extended(
    queue: Extended, heartbeat: Heartbeat, time_passes: PassingTime
) -> None:
    """It would be invisible for less time after an extension by its timeout."""
    message, other = in_hand(queue), in_hand(queue)
    heartbeat.hold([message, other])
    message.delivery.extend(3600)

    time_passes(400)
    wait_for(lambda: other.message_id in queue.extended, "the other one")
    assert queue.extensions == [3600, TIMEOUT]
    heartbeat.drop(other)
    time_passes(3000)
    wait_for(partial(queue.has_extended, 3), "an extension by the timeout")

    assert queue.extended[2] == message.message_id
    assert queue.extensions[2] == TIMEOUT


@pytest.mark.parametrize("first", ["handler", "heartbeat"])
def test_never_shortens_what_its_handler_asks_for_at_the_same_time(
    queue: Extended, heartbeat: Heartbeat, time_passes: PassingTime, first: str
) -> None:
    message = in_hand(queue)
    due = message.extension_due
    queue.refuse = slow = Slow()
    heartbeat.hold([message])
    handler = threading.Thread(target=message.delivery.extend, args=(3600,))
    if first == "handler":
        handler.start()
        assert slow.asked.wait(DEADLINE_SECONDS)
        time_passes(310)
        wait_for(lambda: due < message.extension_due < math.inf, "the heartbeat's turn")
    else:
        time_passes(310)
        assert slow.asked.wait(DEADLINE_SECONDS)
        handler.start()
    slow.may_answer.set()
    handler.join()

    assert queue.extensions == ([3600] if first == "handler" else [TIMEOUT, 3600])
    assert (message.seconds_invisible or 0) > 3000
    assert message.extension_due > due + 3000


def test_never_asks_for_more_than_the_12_hours_of_sqs(
    queue: Extended, heartbeat: Heartbeat, time_passes: PassingTime
) -> None:
    message = in_hand(queue)
    message.delivery.extend(43_000)
    heartbeat.hold([message])

    time_passes(43_000 - 250)
    wait_for(partial(queue.has_extended, 2), "the last extension")
    assert 400 < queue.extensions[1] < 450
    other = in_hand(queue)
    heartbeat.hold([other])
    time_passes(400)
    wait_for(lambda: other.message_id in queue.extended, "the other one")
    wait_for(lambda: message not in heartbeat._in_hand, "the message to be let go")

    assert queue.extended.count(message.message_id) == 2


@pytest.mark.parametrize("timeout", [0, None])
def test_leaves_alone_what_is_visible(
    queue: Extended, heartbeat: Heartbeat, time_passes: PassingTime, timeout: int | None
) -> None:
    Client(queue).enqueue(order())
    received = receive_one(queue, visibility_timeout=0)
    if timeout is None:
        received = replace(received, invisible_until=None)
    message = IncomingMessage(received, queue)
    other = IncomingMessage(receive_one(queue), queue)
    heartbeat.hold([message, other])
    time_passes(310)
    wait_for(lambda: queue.extensions, "the other one")

    assert queue.extensions == [TIMEOUT]


def test_what_is_settled_is_not_extended_though_it_is_due(
    queue: Extended, heartbeat: Heartbeat, time_passes: PassingTime
) -> None:
    """It would hide a message that is to come again."""
    message, other = in_hand(queue), in_hand(queue)
    heartbeat.hold([message, other])
    message.end()
    time_passes(310)
    wait_for(lambda: queue.extensions, "the other one")
    wait_for(lambda: message not in heartbeat._in_hand, "it to be let go")

    assert queue.extensions == [TIMEOUT]


def test_an_end_waits_for_an_extension_that_is_under_way(
    queue: Extended, heartbeat: Heartbeat, time_passes: PassingTime
) -> None:
    """After the end it would hide a message that is to come again."""
    message = in_hand(queue)
    queue.refuse = slow = Slow()
    heartbeat.hold([message])
    time_passes(310)
    assert slow.asked.wait(DEADLINE_SECONDS)
    ending = threading.Thread(target=message.end)
    ending.start()
    assert not message.is_over

    slow.may_answer.set()
    ending.join()

    assert queue.extensions == [TIMEOUT]
    assert message.is_over


def test_the_end_leaves_no_thread(queue: Extended, parts: Parts, time_passes: PassingTime) -> None:
    before = threading.active_count()
    heartbeat = Heartbeat(queue, parts)
    message = in_hand(queue)
    message.attach(Leased())
    heartbeat.hold([message])
    time_passes(310)
    wait_for(lambda: queue.extensions, "an extension")

    heartbeat.close()
    parts.join(DEADLINE_SECONDS)

    assert threading.active_count() == before


def test_starts_no_thread_before_a_message_is_in_hand(queue: Extended, parts: Parts) -> None:
    before = threading.active_count()

    Heartbeat(queue, parts).close()

    assert threading.active_count() == before
