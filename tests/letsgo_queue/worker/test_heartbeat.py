"""Messages stay invisible for as long as they are in hand, however long that is."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from letsgo_queue import Client, Delivery, MessageHandled, QueueUnavailable, Worker
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import heartbeat as heartbeats
from letsgo_queue.worker.delivery import IncomingMessage
from letsgo_queue.worker.heartbeat import Heartbeat
from tests.letsgo_queue.support import (
    DEADLINE_SECONDS,
    Clock,
    PassingTime,
    events_of,
    order,
    receive,
    receive_one,
    running,
    wait_for,
)

TIMEOUT = 600
"""Seconds that a message is invisible at first."""


class Extended(MemoryTransport):
    """A queue that notes what it is told, and may refuse it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(visibility_timeout=TIMEOUT, clock=clock)
        self.extensions: list[int] = []
        self.extended: list[str] = []
        self.refuse: Callable[[], None] = lambda: None

    def has_extended(self, count: int) -> bool:
        return len(self.extensions) == count

    def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
        self.refuse()
        super().change_visibility(message, seconds)
        self.extensions.append(seconds)
        self.extended.append(message.message_id)


@pytest.fixture
def queue(clock: Clock) -> Extended:
    return Extended(clock)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "LOOK_SECONDS", 0.01)


@pytest.fixture
def heartbeat() -> Iterator[Heartbeat]:
    heartbeat = Heartbeat(2)
    yield heartbeat
    heartbeat.stop()


def in_hand(queue: Extended, **options: object) -> IncomingMessage:
    """A message that was just received."""
    Client(queue).enqueue(order(**options))
    return IncomingMessage(receive_one(queue), queue, emit=lambda _event: None)


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
    early, late = in_hand(queue), in_hand(queue)
    heartbeat.hold(early)
    time_passes(200)
    late.invisible_until = time_of(late, TIMEOUT)
    heartbeat.hold(late)

    time_passes(110)  # of 600 seconds it is the 310th of the one, the 110th of the other
    wait_for(partial(queue.has_extended, 1), "one extension")
    time_passes(200)
    wait_for(partial(queue.has_extended, 2), "another")

    assert queue.extended == [early.message_id, late.message_id]


def has(values: list[object], count: int) -> bool:
    return len(values) >= count


def time_of(message: IncomingMessage, seconds: float) -> float:
    """So many seconds from now, on the clock that a message goes by."""
    return message.arrived + message.seconds_in_hand + seconds


def test_leaves_alone_what_its_handler_has_extended(
    queue: Extended, heartbeat: Heartbeat, time_passes: PassingTime
) -> None:
    """It would be invisible for less time after an extension by its timeout."""
    message = in_hand(queue)
    heartbeat.hold(message)
    due = message.extension_due
    message.delivery.extend(3600)

    time_passes(400)
    wait_for(lambda: message.extension_due not in {due, math.inf}, "its turn")
    assert queue.extensions == [3600]
    time_passes(3000)
    wait_for(partial(queue.has_extended, 2), "an extension by the timeout")

    assert queue.extensions == [3600, TIMEOUT]


@pytest.mark.parametrize("first", ["handler", "heartbeat"])
def test_never_shortens_what_its_handler_asks_for_at_the_same_time(
    queue: Extended, heartbeat: Heartbeat, time_passes: PassingTime, first: str
) -> None:
    message = in_hand(queue)
    due = message.extension_due
    asked = threading.Event()
    may_answer = threading.Event()

    def ask_slowly() -> None:
        asked.set()
        assert may_answer.wait(DEADLINE_SECONDS)

    queue.refuse = ask_slowly
    heartbeat.hold(message)
    handler = threading.Thread(target=message.delivery.extend, args=(3600,))
    if first == "handler":
        handler.start()
        assert asked.wait(DEADLINE_SECONDS)
        time_passes(310)
        wait_for(lambda: message.extension_due == math.inf, "the heartbeat's turn")
    else:
        time_passes(310)
        assert asked.wait(DEADLINE_SECONDS)
        handler.start()
    may_answer.set()
    handler.join()
    wait_for(lambda: message.extension_due not in {due, math.inf}, "the heartbeat to be done")

    assert queue.extensions == ([3600] if first == "handler" else [TIMEOUT, 3600])
    assert (message.seconds_invisible or 0) > 3000


def test_what_follows_an_extension_makes_no_other_message_wait(
    queue: Extended, heartbeat: Heartbeat, time_passes: PassingTime
) -> None:
    slow, quick = in_hand(queue), in_hand(queue)
    may_go_on = threading.Event()
    followed: list[object] = []

    def follow_slowly(_seconds: float) -> None:
        assert may_go_on.wait(DEADLINE_SECONDS)

    slow.on_extend(follow_slowly)
    quick.on_extend(followed.append)
    heartbeat.hold(slow)
    heartbeat.hold(quick)

    for count in range(1, 4):
        time_passes(400)
        wait_for(partial(has, followed, count), "the lease of the quick one")
    may_go_on.set()

    assert followed == [TIMEOUT] * 3


def test_a_refusal_that_may_pass_is_tried_again(
    queue: Extended,
    heartbeat: Heartbeat,
    time_passes: PassingTime,
    caplog: pytest.LogCaptureFixture,
) -> None:
    message = in_hand(queue)
    heartbeat.hold(message)
    attempts: list[object] = []

    def refuse() -> None:
        attempts.append(None)
        if len(attempts) < 4:
            raise QueueUnavailable("the queue does not answer.")

    queue.refuse = refuse
    time_passes(310)
    for count in range(1, 5):
        wait_for(partial(has, attempts, count), "an attempt")
        time_passes(heartbeats.RETRY_SECONDS)
    wait_for(lambda: queue.extensions, "the extension")

    assert caplog.text.count("may be delivered to another worker: the queue does not answer.") == 3
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
    heartbeat.hold(message)
    attempts: list[object] = []

    def fail(_seconds: float = 0) -> None:
        attempts.append(None)
        if len(attempts) == 1:
            raise ZeroDivisionError

    if where == "queue":
        queue.refuse = fail
    else:
        message.on_extend(fail)
    time_passes(310)
    wait_for(lambda: "ZeroDivisionError" in caplog.text, "the defect to be told")

    def goes_on() -> bool:
        time_passes(20)
        return len(attempts) == 3

    wait_for(goes_on, "two more attempts")

    assert f"message {message.message_id} could not be kept invisible" in caplog.text


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


def test_never_asks_for_more_than_the_12_hours_of_sqs(
    queue: Extended, heartbeat: Heartbeat, time_passes: PassingTime
) -> None:
    message = in_hand(queue)
    message.delivery.extend(43_000)
    message.visibility_timeout = 600
    message.invisible_until = time_of(message, 600)
    heartbeat.hold(message)

    time_passes(43_000 - 300)
    wait_for(lambda: len(queue.extensions) == 2, "the last extension")
    wait_for(lambda: message.extension_due == math.inf, "no other one")

    assert 500 - DEADLINE_SECONDS < queue.extensions[1] < 500


@pytest.mark.parametrize("timeout", [0, None])
def test_leaves_alone_what_is_visible(
    queue: Extended, heartbeat: Heartbeat, time_passes: PassingTime, timeout: int | None
) -> None:
    message = in_hand(queue)
    message.invisible_until = None if timeout is None else message.arrived
    other = in_hand(queue)
    heartbeat.hold(message)
    heartbeat.hold(other)
    time_passes(310)
    wait_for(lambda: queue.extensions, "the other one")

    assert message.extension_due == math.inf
    assert message.visibility_timeout == 0


def test_what_is_settled_is_not_extended_though_it_is_due(
    queue: Extended, heartbeat: Heartbeat, time_passes: PassingTime
) -> None:
    """It would hide a message that is to come again."""
    message, other = in_hand(queue), in_hand(queue)
    heartbeat.hold(message)
    heartbeat.hold(other)
    message.end()
    time_passes(310)
    wait_for(lambda: queue.extensions, "the other one")
    wait_for(lambda: message.extension_due == math.inf, "its turn")
    heartbeat.stop()

    assert queue.extensions == [TIMEOUT]


def test_stop_leaves_no_thread(queue: Extended, time_passes: PassingTime) -> None:
    before = threading.active_count()
    heartbeat = Heartbeat(2)
    heartbeat.hold(in_hand(queue))
    time_passes(310)
    wait_for(lambda: queue.extensions, "an extension")

    heartbeat.stop()

    assert threading.active_count() == before
