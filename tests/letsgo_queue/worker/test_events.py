"""What a worker tells its listeners: one event for each step, with ages and durations."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, TypeVar

import pytest

from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    Event,
    LetsGoQueueError,
    MessageFailed,
    MessageGivenBack,
    MessageHandled,
    MessageHeld,
    MessageRejected,
    MessageSkipped,
    MessageStarted,
    Middleware,
    QueueFailed,
    QueueUnavailable,
    Reject,
    Steps,
    Worker,
    events,
)
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import incoming, loop
from letsgo_queue.worker.incoming import IncomingMessage
from tests.letsgo_queue.support import DEADLINE_SECONDS, SECRET, PassingTime, order, running
from tests.support.waiting import wait_for

EventT = TypeVar("EventT", bound=Event)

HOUR = 3_600


def heard_from(worker: Worker) -> list[Event]:
    """All events of a worker, which fill this list as they happen."""
    heard: list[Event] = []
    worker.add_listener(heard.append)
    return heard


def only(kind: type[EventT], heard: Sequence[Event]) -> EventT:
    """The one event of a kind."""
    (event,) = [event for event in heard if isinstance(event, kind)]
    return event


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
class TestAHandledMessage:
    @pytest.fixture
    def heard(
        self,
        is_async: bool,
        queue: MemoryTransport,
        clock: Clock,
        time_passes: PassingTime,
    ) -> Sequence[Event]:
        """A message that waited for two hours, a handler of three, and a middleware of one."""

        class Slow(Middleware):
            def handle(self, message: IncomingMessage, /) -> Steps:
                yield
                time_passes(HOUR)

        worker = Worker(queue, clock=clock, visibility_timeout=12 * HOUR, middleware=[Slow()])
        heard = heard_from(worker)

        def work(message: dict[str, Any]) -> None:
            time_passes(3 * HOUR)

        async def work_async(message: dict[str, Any]) -> None:
            time_passes(3 * HOUR)

        worker.handler("order:new")(work_async if is_async else work)
        Client(queue).enqueue(order(secret=SECRET))
        clock.advance(2 * HOUR)
        worker.run(burst=True)
        return heard

    def test_starts_and_is_handled(self, heard: Sequence[Event]) -> None:
        assert [type(event) for event in heard] == [MessageStarted, MessageHandled]

    def test_says_how_old_it_was_and_how_long_its_handler_took(
        self, heard: Sequence[Event]
    ) -> None:
        started, handled = only(MessageStarted, heard), only(MessageHandled, heard)
        assert started.age == handled.age == 2 * HOUR
        assert started.handler_duration is not None
        assert started.handler_duration < HOUR
        assert handled.handler_duration == pytest.approx(3 * HOUR, abs=60)
        assert handled.duration == pytest.approx(4 * HOUR, abs=60)

    def test_says_what_came(self, heard: Sequence[Event]) -> None:
        started = only(MessageStarted, heard)
        assert (started.route, started.has_handler, started.receive_count) == ("inline", True, 1)
        assert started.size == len('{"type":"order:new","payload":{"secret":""}}') + len(SECRET)

    def test_says_nothing_of_the_payload(self, heard: Sequence[Event]) -> None:
        assert SECRET not in repr(heard)


@pytest.mark.parametrize(
    ("error", "kind"), [(OSError(), MessageFailed), (Reject(), MessageRejected)]
)
def test_a_handler_that_raises_says_how_long_it_took(
    queue: MemoryTransport, time_passes: PassingTime, error: Exception, kind: type[MessageFailed]
) -> None:
    worker = Worker(queue, visibility_timeout=12 * HOUR)
    heard = heard_from(worker)

    @worker.handler("order:new")
    def fail(message: dict[str, Any]) -> None:
        time_passes(HOUR)
        raise error

    Client(queue).enqueue(order())
    worker.run(burst=True)

    assert only(kind, heard).handler_duration == pytest.approx(HOUR, abs=60)


def test_a_message_without_a_handler_does_not_start(queue: MemoryTransport) -> None:
    worker = Worker(queue)
    heard = heard_from(worker)
    Client(queue).enqueue(order())
    worker.run(burst=True)

    (failed,) = heard
    assert isinstance(failed, MessageFailed)
    assert (failed.has_handler, failed.handler_duration) == (False, None)


def test_the_default_handler_is_no_handler_of_this_very_type(queue: MemoryTransport) -> None:
    worker = Worker(queue)
    heard = heard_from(worker)
    worker.default(lambda message: None)
    Client(queue).enqueue(order())
    worker.run(burst=True)

    assert not only(MessageHandled, heard).has_handler


class Passes(Middleware):
    """Cannot open a message the first time, and settles it itself the second."""

    def __init__(self) -> None:
        self.tries = 0

    def handle(self, message: IncomingMessage, /) -> Steps:
        self.tries += 1
        if self.tries == 1:
            error = QueueUnavailable("not yet")
            error.patience = 60
            raise error
        message.skip_reason = "duplicate"
        yield from ()


def test_a_message_that_is_held_and_one_that_is_skipped(
    queue: MemoryTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "FIRST_PAUSE_SECONDS", 0.001)
    worker = Worker(queue, middleware=[Passes()])
    heard = heard_from(worker)
    worker.default(lambda message: None)
    Client(queue).enqueue(order())
    worker.run(burst=True)

    assert [type(event) for event in heard] == [MessageHeld, MessageSkipped]
    held = only(MessageHeld, heard)
    assert (held.seconds, str(held.error)) == (0.001, "not yet")
    assert only(MessageSkipped, heard).reason == "duplicate"


def test_a_handler_that_still_runs_when_the_worker_has_ended(queue: MemoryTransport) -> None:
    worker = Worker(queue, drain_timeout=0)
    heard = heard_from(worker)
    begun, go_on = threading.Event(), threading.Event()

    @worker.handler("order:new")
    def take_long(message: dict[str, Any]) -> None:
        begun.set()
        assert go_on.wait(DEADLINE_SECONDS)

    Client(queue).enqueue(order())
    try:
        with running(worker):
            assert begun.wait(DEADLINE_SECONDS)
    finally:
        go_on.set()

    assert [type(event) for event in heard] == [MessageStarted, MessageGivenBack]


class Refuses(MemoryTransport):
    """A queue that fails its first receive, and every acknowledgement."""

    receives = 0

    def receive(self, **options: Any) -> Sequence[ReceivedMessage]:
        self.receives += 1
        if self.receives == 1:
            raise QueueUnavailable("it does not answer")
        return super().receive(**options)

    def delete_batch(
        self, messages: Sequence[ReceivedMessage]
    ) -> Sequence[LetsGoQueueError | None]:
        return [QueueUnavailable("not acknowledged", retryable=False)] * len(messages)


def test_calls_to_the_queue_that_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "FIRST_PAUSE_SECONDS", 0.001)
    worker = Worker(Refuses(), wait_seconds=0)
    heard = heard_from(worker)
    worker.default(lambda message: None)
    Client(worker._transport()).enqueue(order())
    with running(worker):
        wait_for(lambda: [each for each in heard if isinstance(each, MessageHandled)], "the end")

    failed = [event for event in heard if isinstance(event, QueueFailed)]
    assert [(event.call, event.type) for event in failed] == [
        ("receive", None),
        ("acknowledge", "order:new"),
    ]


def test_no_event_is_made_where_nobody_listens(
    queue: MemoryTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events._process, "listeners", ())

    made: list[object] = []

    def make(self: object, **fields: object) -> None:
        made.append(self)

    for kind in (MessageStarted, MessageHandled):
        monkeypatch.setattr(kind, "__init__", make)
    worker = Worker(queue)
    done: list[object] = []

    @worker.handler("order:new")
    def handle(message: dict[str, Any]) -> None:
        done.append(message)

    Client(queue).enqueue(order())
    worker.run(burst=True)

    assert (len(done), made) == (1, [])
