"""Messages stay invisible for as long as they are in hand, however long that is."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import pytest

from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    Delivery,
    LetsGoQueueError,
    MessageHandled,
    QueueUnavailable,
    Worker,
)
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import heartbeat as heartbeats
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
def heartbeat(queue: Extended, parts: Parts) -> Iterator[Heartbeat]:
    heartbeat = Heartbeat(queue, parts)
    yield heartbeat
    heartbeat.close()


def in_hand(queue: Extended, **options: object) -> IncomingMessage:
    """A message that was just received."""
    Client(queue).enqueue(order(**options))
    return IncomingMessage(receive_one(queue), queue)


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


def has(values: list[object], count: int) -> bool:
    return len(values) >= count


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


class Slow:
    """An answer that comes when the test says so."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.may_answer = threading.Event()

    def __call__(self) -> None:
        self.asked.set()
        assert self.may_answer.wait(DEADLINE_SECONDS)


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


class Leased:
    """A lease that notes what it is told, and may refuse it."""

    def __init__(self, refuse: Callable[[], None] = lambda: None) -> None:
        self.refuse = refuse
        self.extensions: list[object] = []

    def extend(self, seconds: float) -> None:
        self.refuse()
        self.extensions.append(seconds)

    def settle(self, *, succeeded: bool) -> None: ...

    def give_back(self) -> None: ...


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


class RefusesThrice:
    """Does not answer three times."""

    def __init__(self) -> None:
        self.attempts: list[object] = []

    def __call__(self) -> None:
        self.attempts.append(None)
        if len(self.attempts) < 4:
            raise QueueUnavailable("no answer.")


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
