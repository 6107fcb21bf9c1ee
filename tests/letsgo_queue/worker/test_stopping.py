"""How a worker ends: what is in hand is handled, or given back, whatever hangs."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    LetsGoQueueError,
    MessageGivenBack,
    MessageHandled,
    Middleware,
    QueueUnavailable,
    Steps,
    Worker,
)
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import event_loop, giving_back, loop
from letsgo_queue.worker.incoming import IncomingMessage
from tests.letsgo_queue.support import (
    DEADLINE_SECONDS,
    events_of,
    order,
    receive,
    receive_one,
    running,
)
from tests.letsgo_queue.worker.support import Busy
from tests.support.waiting import wait_for


def send(queue: MemoryTransport, count: int, message_type: str = "order:new") -> None:
    Client(queue).enqueue_many([{**order(n=n), "type": message_type} for n in range(count)])


class Polled(MemoryTransport):
    """A queue whose long polls end when the test says so, as SQS's may take 20 seconds."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked = threading.Event()
        self.may_answer = threading.Event()

    def receive(self, **options: Any) -> Sequence[ReceivedMessage]:
        self.asked.set()
        assert self.may_answer.wait(DEADLINE_SECONDS)
        return super().receive(**options)


class TestMessagesInHand:
    def test_are_handled(self, queue: MemoryTransport, busy: Busy) -> None:
        """Also those that nobody has begun."""
        worker = Worker(queue, concurrency=1)
        events = events_of(worker)
        worker.handler("slow")(busy)

        @worker.handler("quick")
        def quick(_message: object) -> None: ...

        send(queue, 30, "quick")
        send(queue, 1, "slow")
        send(queue, 5, "quick")
        with running(worker):
            assert busy.begun.wait(DEADLINE_SECONDS)
            wait_for(lambda: receive(queue, visibility_timeout=0) == [], "all to be in hand")
            worker.stop()
            busy.go_on.set()

        assert [type(event) for event in events] == [MessageHandled] * 36

    def test_that_the_last_poll_brings_are_handled(self) -> None:
        queue = Polled()
        worker = Worker(queue)
        events = events_of(worker)
        worker.default(lambda _message: None)
        with running(worker):
            assert queue.asked.wait(DEADLINE_SECONDS)
            send(queue, 3)
            worker.stop()
            queue.may_answer.set()
            wait_for(lambda: len(events) == 3, "all to be handled")

    def test_are_given_back_where_their_handlers_take_too_long(
        self, queue: MemoryTransport, busy: Busy, caplog: pytest.LogCaptureFixture
    ) -> None:
        worker = Worker(queue, concurrency=1, drain_timeout=0)
        worker.default(busy)
        events = events_of(worker)
        sent = Client(queue).enqueue(order())
        with running(worker):
            assert busy.begun.wait(DEADLINE_SECONDS)

        assert receive_one(queue).receive_count == 2
        assert [type(event) for event in events] == [MessageGivenBack]
        assert (
            f"message {sent.message_id} of type order:new is given back: its handler still runs"
        ) in caplog.text

    def test_are_given_back_where_nobody_has_begun_them(
        self, queue: MemoryTransport, busy: Busy, caplog: pytest.LogCaptureFixture
    ) -> None:
        worker = Worker(queue, concurrency=1, drain_timeout=0)
        worker.handler("slow")(busy)

        handled: list[object] = []
        worker.handler("quick")(handled.append)

        with running(worker):
            send(queue, 30, "quick")
            # One by one, as several receivers keep no order.
            wait_for(lambda: len(handled) == 30, "all before the slow one")
            send(queue, 1, "slow")
            assert busy.begun.wait(DEADLINE_SECONDS)
            send(queue, 5, "quick")
            wait_for(lambda: receive(queue, visibility_timeout=0) == [], "all to be in hand")

        assert len(receive(queue)) == 6
        assert caplog.text.count("its handler still runs") == 1

    def test_release_their_claims_when_they_are_given_back(
        self, queue: MemoryTransport, busy: Busy
    ) -> None:
        lease = Leased()
        worker = Worker(queue, drain_timeout=0, middleware=[Leasing(lease)])
        worker.default(busy)
        send(queue, 1)
        with running(worker):
            assert busy.begun.wait(DEADLINE_SECONDS)

        assert lease.released
        assert receive_one(queue).receive_count == 2

    def test_are_told_of_while_it_waits(
        self,
        queue: MemoryTransport,
        busy: Busy,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        caplog.set_level(logging.INFO)
        monkeypatch.setattr(loop, "TELL_SECONDS", 0)
        worker = Worker(queue)
        worker.default(busy)
        sent = Client(queue).enqueue(order())
        with running(worker):
            assert busy.begun.wait(DEADLINE_SECONDS)
            worker.stop()
            wait_for(lambda: "stopping: waiting for 1 messages, up to" in caplog.text, "a word")
            busy.go_on.set()

        assert sent.message_id in caplog.text

    def test_are_all_given_back_though_the_queue_refuses_one(
        self, clock: Clock, busy: Busy, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Refuses(MemoryTransport):
            def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
                if '"n":0' in message.body:
                    raise QueueUnavailable("the queue is gone.")
                super().change_visibility(message, seconds)

        queue = Refuses(clock=clock)
        worker = Worker(queue, concurrency=3, drain_timeout=0)
        together = threading.Barrier(4)

        @worker.default
        def handle(message: object) -> None:
            together.wait(DEADLINE_SECONDS)
            busy(message)

        send(queue, 3)
        with running(worker):
            together.wait(DEADLINE_SECONDS)

        assert len(receive(queue)) == 2
        assert "comes again later: the queue is gone." in caplog.text


class TestAsyncHandlers:
    def test_are_cancelled_and_their_messages_given_back(
        self, queue: MemoryTransport, caplog: pytest.LogCaptureFixture
    ) -> None:
        worker = Worker(queue, drain_timeout=0)
        events = events_of(worker)
        begun = threading.Event()
        cleaned_up = threading.Event()

        @worker.default
        async def handle(message: dict[str, Any]) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                cleaned_up.set()

        send(queue, 1)
        with running(worker):
            assert begun.wait(DEADLINE_SECONDS)

        assert cleaned_up.wait(DEADLINE_SECONDS)
        assert receive_one(queue).receive_count == 2
        assert [type(event) for event in events] == [MessageGivenBack]
        assert "is given back: its handler still runs" in caplog.text
        assert "CancelledError" not in caplog.text

    def test_that_will_not_be_cancelled_are_left_behind(
        self,
        queue: MemoryTransport,
        busy: Busy,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(event_loop, "STOP_SECONDS", 0.01)
        worker = Worker(queue, drain_timeout=0)

        @worker.default
        async def handle(message: dict[str, Any]) -> None:
            busy(message)  # it blocks the event loop

        send(queue, 1)
        with running(worker):
            assert busy.begun.wait(DEADLINE_SECONDS)

        assert "the event loop is left behind" in caplog.text
        assert receive_one(queue).receive_count == 2
        busy.go_on.set()


class TestOpenPolls:
    def test_are_given_up(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        queue = Polled()
        with running(Worker(queue)):
            assert queue.asked.wait(DEADLINE_SECONDS)

        assert not queue.may_answer.is_set()
        assert "an open poll is given up" in caplog.text
        queue.may_answer.set()

    def test_that_are_given_up_give_back_what_they_bring(self) -> None:
        given_back = threading.Event()

        class Tells(Polled):
            def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
                super().change_visibility(message, seconds)
                given_back.set()

        queue = Tells()
        worker = Worker(queue)
        worker.default(lambda _message: pytest.fail("the handler ran"))
        with running(worker):
            assert queue.asked.wait(DEADLINE_SECONDS)
        send(queue, 1)
        queue.may_answer.set()

        assert given_back.wait(DEADLINE_SECONDS)
        assert receive_one(queue).receive_count == 2

    def test_get_no_message_that_is_given_back(self, busy: Busy) -> None:
        """On SQS an open poll that was given up may still get one, and nobody would run it."""
        waits: list[int] = []
        polls: list[object] = []

        class Second(Polled):
            def receive(self, **options: Any) -> Sequence[ReceivedMessage]:
                polls.append(options)
                if not self.asked.is_set():
                    self.may_answer.set()
                messages = super().receive(**options)
                if messages:
                    self.may_answer.clear()
                return messages

            def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
                waits.append(seconds)

        queue = Second()
        worker = Worker(queue, drain_timeout=0, wait_seconds=20)
        worker.default(busy)
        send(queue, 1)
        with running(worker):
            assert busy.begun.wait(DEADLINE_SECONDS)
            wait_for(lambda: len(polls) == 2, "another poll")

        assert 10 < waits[0] <= 20
        queue.may_answer.set()

    def test_are_waited_for_where_a_message_gets_one_receive_only(self) -> None:
        """It would be a dead letter that never ran."""

        class Strict(Polled):
            asked_for_limit = threading.Event()

            def max_receives(self) -> int:
                self.asked_for_limit.set()
                return 1

        queue = Strict()
        worker = Worker(queue)
        events = events_of(worker)
        worker.default(lambda _message: None)
        with running(worker):
            assert queue.asked.wait(DEADLINE_SECONDS)
            worker.stop()
            assert queue.asked_for_limit.wait(DEADLINE_SECONDS)
            send(queue, 1)
            queue.may_answer.set()
            wait_for(lambda: events, "the message to be handled")

        assert isinstance(events[0], MessageHandled)


class Leased:
    """A claim, say."""

    def __init__(self, release: Callable[[], object] = lambda: None) -> None:
        self._release = release
        self.released = False

    def extend(self, seconds: float) -> None: ...

    def settle(self, *, succeeded: bool) -> None:
        if not succeeded:
            self.give_back()

    def give_back(self) -> None:
        self._release()
        self.released = True


class Leasing(Middleware):
    def __init__(self, lease: Leased) -> None:
        self._lease = lease

    def handle(self, message: IncomingMessage, /) -> Steps:
        message.attach(self._lease)
        yield


class TestConnectionsThatHang:
    """Whatever hangs until the test is over, the worker ends."""

    @pytest.fixture(autouse=True)
    def hurry(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(giving_back, "RELEASE_SECONDS", 0.01)
        monkeypatch.setattr(loop, "ENDING_SECONDS", 1)

    @pytest.fixture
    def over(self) -> Iterator[threading.Event]:
        over = threading.Event()
        yield over
        over.set()

    def test_to_the_store(self, queue: MemoryTransport, busy: Busy, over: threading.Event) -> None:
        lease = Leased(over.wait)
        worker = Worker(queue, drain_timeout=0, middleware=[Leasing(lease)])
        worker.default(busy)
        send(queue, 1)
        with running(worker):
            assert busy.begun.wait(DEADLINE_SECONDS)

        assert not lease.released
        assert receive_one(queue).receive_count == 2

    def test_to_the_queue(self, over: threading.Event) -> None:
        deleting = threading.Event()

        class Hangs(MemoryTransport):
            def delete_batch(
                self, messages: Sequence[ReceivedMessage]
            ) -> Sequence[LetsGoQueueError | None]:
                deleting.set()
                over.wait()
                return super().delete_batch(messages)

        queue = Hangs()
        worker = Worker(queue, drain_timeout=0)
        worker.default(lambda _message: None)
        send(queue, 2)
        with running(worker):
            assert deleting.wait(DEADLINE_SECONDS)

        assert not over.is_set()
