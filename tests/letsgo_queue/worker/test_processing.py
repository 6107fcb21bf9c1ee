"""One message, from its arrival to its end: handled, failed, or held until it can be opened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    Delivery,
    Event,
    LetsGoQueueError,
    MessageFailed,
    MessageHandled,
    MessageInvalid,
    Middleware,
    QueueUnavailable,
    Steps,
    Worker,
)
from letsgo_queue.errors import LetsGoError
from letsgo_queue.events import Listeners
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import processing
from letsgo_queue.worker.event_loop import EventLoopThread
from letsgo_queue.worker.incoming import IncomingMessage
from letsgo_queue.worker.processing import Held, Processor
from letsgo_queue.worker.registry import Registry
from tests.letsgo_queue.support import (
    DEADLINE_SECONDS,
    SECRET,
    PassingTime,
    events_of,
    order,
    outcomes,
    outgoing,
    receive,
    receive_one,
)


def nothing(message: dict[str, Any]) -> None:
    """A handler that is content."""


def fail_with(error: BaseException) -> Callable[[dict[str, Any]], None]:
    def fail(message: dict[str, Any]) -> None:
        raise error

    return fail


def fail_async_with(error: BaseException) -> Callable[[dict[str, Any]], Any]:
    async def fail(message: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        raise error

    return fail


class TestHandling:
    def test_success_acknowledges(
        self, client: Client, queue: MemoryTransport, worker: Worker, clock: Clock
    ) -> None:
        events = events_of(worker)
        worker.handler("order:new")(nothing)
        result = client.enqueue(order())

        worker.run(burst=True)

        (event,) = events
        assert isinstance(event, MessageHandled)
        assert (event.type, event.queue) == ("order:new", "memory://")
        assert (event.message_id, event.receive_count) == (result.message_id, 1)
        assert 0 < event.duration < DEADLINE_SECONDS
        clock.advance(100_000)
        assert receive(queue) == []

    def test_acknowledges_only_after_the_handler(
        self, client: Client, queue: MemoryTransport, worker: Worker, clock: Clock
    ) -> None:
        during: list[ReceivedMessage] = []

        @worker.handler("order:new")
        def on_order(message: dict[str, Any]) -> None:
            clock.advance(30)
            during.extend(receive(queue))

        client.enqueue(order())
        worker.run(burst=True)

        assert len(during) == 1
        clock.advance(30)
        assert receive_one(queue).receive_count == 3, "a delivery that had ended was acknowledged"

    @pytest.mark.parametrize(
        "error",
        [
            ValueError("it went wrong"),
            SystemExit(3),
            KeyboardInterrupt(),
            asyncio.CancelledError(),
        ],
        ids=lambda error: type(error).__name__,
    )
    @pytest.mark.parametrize("fail", [fail_with, fail_async_with])
    def test_failure_leaves_the_message_and_the_worker_goes_on(
        self,
        *,
        client: Client,
        queue: MemoryTransport,
        worker: Worker,
        clock: Clock,
        caplog: pytest.LogCaptureFixture,
        error: BaseException,
        fail: Callable[[BaseException], Callable[..., Any]],
    ) -> None:
        events = events_of(worker)
        worker.handler("bad")(fail(error))
        worker.handler("good")(nothing)
        bad = client.enqueue({"type": "bad", "payload": SECRET})
        worker.run(burst=True)
        client.enqueue({"type": "good", "payload": 1})
        worker.run(burst=True)

        failed, handled = events
        assert isinstance(failed, MessageFailed)
        assert failed.error is error
        assert (failed.message_id, failed.receive_count) == (bad.message_id, 1)
        assert isinstance(handled, MessageHandled)
        assert f"message {bad.message_id} of type bad failed" in caplog.text
        assert SECRET not in caplog.text
        clock.advance(30)
        assert receive_one(queue).receive_count == 2

    def test_failed_message_comes_again(self, client: Client, worker: Worker, clock: Clock) -> None:
        counts: list[int] = []

        @worker.handler("order:new")
        def on_order(message: dict[str, Any], delivery: Delivery) -> None:
            counts.append(delivery.receive_count)
            if delivery.receive_count < 3:
                raise RuntimeError("not yet")

        client.enqueue(order())
        for _ in range(4):
            worker.run(burst=True)
            clock.advance(30)

        assert counts == [1, 2, 3]

    @pytest.mark.parametrize("body", ["", "no json", "[]", '"text"', "{}", '{"type":5}', "\x00"])
    def test_unreadable_body_does_not_stop_the_worker(
        self, client: Client, queue: MemoryTransport, worker: Worker, clock: Clock, body: str
    ) -> None:
        events = events_of(worker)
        worker.handler("order:new")(nothing)
        message_id = queue.send(outgoing(body))
        client.enqueue(order())

        worker.run(burst=True)

        failed, handled = sorted(events, key=lambda event: type(event).__name__)
        assert isinstance(failed, MessageFailed)
        assert failed.type is None
        assert f"message {message_id}: the body " in str(failed.error)
        assert isinstance(handled, MessageHandled)
        clock.advance(30)
        assert receive_one(queue).body == body

    def test_a_defect_in_the_reading_of_one_fails_that_one_only(
        self,
        client: Client,
        queue: MemoryTransport,
        worker: Worker,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def read(received: ReceivedMessage) -> ReceivedMessage:
            if SECRET in received.body:
                raise RecursionError
            return received

        monkeypatch.setattr(processing, "open_envelope", read)
        events = events_of(worker)
        worker.handler("order:new")(nothing)
        client.enqueue_many([order(), order(email=SECRET), order()])

        worker.run(burst=True)

        assert sum(isinstance(event, MessageHandled) for event in events) == 2
        [failed] = [event for event in events if isinstance(event, MessageFailed)]
        assert "could not be read: RecursionError" in str(failed.error)
        assert SECRET not in caplog.text

    def test_listener_that_fails_disturbs_nothing(
        self, client: Client, queue: MemoryTransport, worker: Worker, clock: Clock
    ) -> None:
        def fail(event: Event) -> None:
            raise RuntimeError("listener is broken")

        worker.add_listener(fail)
        events = events_of(worker)
        worker.handler("order:new")(nothing)
        client.enqueue(order())

        worker.run(burst=True)

        assert [type(event) for event in events] == [MessageHandled]
        clock.advance(100_000)
        assert receive(queue) == []

    def test_says_that_a_handled_message_will_come_again(
        self, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Forgetful(MemoryTransport):
            def delete_batch(
                self, messages: Sequence[ReceivedMessage]
            ) -> Sequence[LetsGoQueueError | None]:
                return [
                    QueueUnavailable(
                        f"message {message.message_id} was not acknowledged.", retryable=False
                    )
                    for message in messages
                ]

        queue = Forgetful(clock=clock)
        worker = Worker(queue)
        worker.default(nothing)
        Client(queue).enqueue(order())

        worker.run(burst=True)

        assert "was not acknowledged. It was handled: expect it a second time" in caplog.text


class StoreDown(LetsGoError):
    """What a message needs cannot be had for a while."""

    retryable = True
    patience = 900.0


class Opens(Middleware):
    """Opens messages, but not before it was tried a few times."""

    def __init__(self, failures: int, error: LetsGoError | None = None) -> None:
        self.failures = failures
        self.error = error or StoreDown("the store does not answer.")
        self.seen: list[str] = []

    def handle(self, message: IncomingMessage, /) -> Steps:
        self.seen.append(message.body)
        if len(self.seen) <= self.failures:
            raise self.error
        message.open('{"type":"order:new","payload":"opened"}')
        yield


class Bench:
    """A processor with one handler, and what comes of it."""

    def __init__(self, queue: MemoryTransport, *middleware: Middleware) -> None:
        self.queue = queue
        self.events: list[Event] = []
        listeners = Listeners()
        listeners.add(outcomes(self.events))
        self.handled: list[object] = []
        self.error: BaseException | None = None
        registry = Registry()
        registry.add("order:new", self._handle)
        self.event_loop = EventLoopThread()
        self.processor = Processor(
            registry,
            middleware=middleware,
            listeners=listeners,
            event_loop=self.event_loop,
        )

    def _handle(self, message: dict[str, Any]) -> None:
        self.handled.append(message["payload"])
        if self.error is not None:
            raise self.error

    def take(self) -> IncomingMessage:
        """Receive a message, and accept it."""
        return self.processor.accept(self.queue, receive_one(self.queue))


class TestHolding:
    """What cannot be opened yet: `run` says for how long, and is called again."""

    @pytest.fixture(autouse=True)
    def sent(self, client: Client) -> None:
        client.enqueue(order(sealed=True))

    def test_is_held_for_growing_pauses_and_handled_in_the_end(
        self, queue: MemoryTransport, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        opens = Opens(failures=3)
        bench = Bench(queue, opens)
        message = bench.take()

        holds = [bench.processor.run(message) for _ in range(3)]
        assert holds == [Held(seconds, opens.error) for seconds in (0.5, 1.0, 2.0)]
        assert (bench.events, bench.handled) == ([], [])
        assert f"message {message.message_id} waits 2.0 s in the worker: the store" in caplog.text
        assert bench.processor.run(message) is True

        assert (bench.events, bench.handled) == ([], ["opened"])
        bench.processor.acknowledged(message, None)
        (event,) = bench.events
        assert isinstance(event, MessageHandled)
        assert event.receive_count == 1

    def test_what_was_given_back_is_not_opened(self, queue: MemoryTransport) -> None:
        """It is another delivery's by now, and so is its claim."""
        opens = Opens(failures=0)
        bench = Bench(queue, opens)
        message = bench.take()
        message.end()

        assert bench.processor.run(message) is False

        assert (bench.handled, bench.events, opens.seen) == ([], [], [])

    def test_each_try_begins_with_what_travelled(self, queue: MemoryTransport) -> None:
        """Also where a middleware outside has opened it already."""
        inside = Opens(failures=1)
        bench = Bench(queue, Opens(failures=0), inside)
        message = bench.take()

        assert isinstance(bench.processor.run(message), Held)
        assert message.body == message.received.body
        assert bench.processor.run(message) is True

        assert inside.seen == ['{"type":"order:new","payload":"opened"}'] * 2

    def test_waits_as_long_as_the_error_says(self, queue: MemoryTransport) -> None:
        error = StoreDown("another delivery has it.")
        error.retry_after = 120.0
        bench = Bench(queue, Opens(1, error))

        assert bench.processor.run(bench.take()) == Held(120, error)

    def test_fails_when_patience_ends(
        self, queue: MemoryTransport, time_passes: PassingTime
    ) -> None:
        opens = Opens(failures=100)
        bench = Bench(queue, opens)
        message = bench.take()
        assert isinstance(bench.processor.run(message), Held)

        time_passes(900)
        assert bench.processor.run(message) is False

        (event,) = bench.events
        assert isinstance(event, MessageFailed)
        assert event.error is opens.error
        assert bench.handled == []
        assert receive_one(queue).receive_count == 2

    def test_an_error_of_the_handler_is_a_failure_at_once(self, queue: MemoryTransport) -> None:
        """It may have done a part of its work; whoever wants it again raises `Retry`."""
        bench = Bench(queue)
        bench.error = StoreDown("the handler's own store.")

        assert bench.processor.run(bench.take()) is False

        assert len(bench.handled) == 1
        assert [type(event) for event in bench.events] == [MessageFailed]

    @pytest.mark.parametrize(
        "error", [MessageInvalid("no such field."), QueueUnavailable("no answer."), None]
    )
    def test_an_error_without_patience_is_a_failure_at_once(
        self, queue: MemoryTransport, error: LetsGoError | None
    ) -> None:
        class Fails(Middleware):
            def handle(self, message: IncomingMessage, /) -> Steps:
                yield from ()
                raise error or ValueError("not ours")

        bench = Bench(queue, Fails())

        assert bench.processor.run(bench.take()) is False
        assert [type(event) for event in bench.events] == [MessageFailed]


class TestWhereNobodyHolds:
    """`process`, for Lambda and local mode: it waits itself, as far as it is told to."""

    @pytest.fixture
    def received(self, client: Client, queue: MemoryTransport) -> ReceivedMessage:
        client.enqueue(order())
        return receive_one(queue)

    def test_waits_and_tries_again(self, queue: MemoryTransport, received: ReceivedMessage) -> None:
        bench = Bench(queue, Opens(failures=3))
        waited: list[float] = []

        def wait(hold: Held) -> bool:
            waited.append(hold.seconds)
            return True

        assert bench.processor.run_to_end(queue, received, wait=wait) is True
        assert waited == [0.5, 1, 2]
        assert bench.handled == ["opened"]

    def test_fails_where_it_should_not_wait(
        self, queue: MemoryTransport, received: ReceivedMessage
    ) -> None:
        opens = Opens(failures=3)
        bench = Bench(queue, opens)

        assert bench.processor.run_to_end(queue, received, wait=lambda _hold: False) is False

        assert len(opens.seen) == 1
        (event,) = bench.events
        assert isinstance(event, MessageFailed)
        assert event.error is opens.error

    def test_gives_the_handler_the_context_of_lambda(
        self, queue: MemoryTransport, received: ReceivedMessage
    ) -> None:
        context = object()
        seen: list[object] = []

        class Looks(Middleware):
            def handle(self, message: IncomingMessage, /) -> Steps:
                seen.append(message.delivery.lambda_context)
                yield

        bench = Bench(queue, Looks())
        bench.processor.run_to_end(
            queue, received, wait=lambda _hold: False, lambda_context=context
        )

        assert seen == [context]
