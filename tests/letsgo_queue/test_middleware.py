"""Middleware: around a message that is sent, and around the handler; which of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    EnqueueResult,
    Event,
    IncomingMessage,
    MessageAttribute,
    MessageHandled,
    MessageInvalid,
    MessageNotSent,
    MessageSent,
    MessageSkipped,
    Middleware,
    OutgoingMessage,
    SendContext,
    SendFailed,
    Steps,
    Worker,
    set_default_client,
    use_middleware,
)
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import BrokenQueue, bodies, events_of, failure, receive, receive_one

MESSAGE = {"type": "a"}


class Refused(Exception):
    """What a middleware of the tests raises."""


@dataclass
class Trace(Middleware):
    """Writes down which hook ran, and leaves its mark on the message and the result.

    As a plain dataclass it cannot be hashed, and two of one name are equal.
    """

    name: str
    calls: list[str] = field(default_factory=list)
    refuse: bool = False

    def prepare(self, queue: str) -> None:
        self.calls.append(f"{self.name} prepares")

    def before_send(self, message: OutgoingMessage, context: SendContext) -> OutgoingMessage:
        self.calls.append(f"{self.name} before {message.body.decode()}")
        if self.refuse:
            raise Refused
        return replace(message, body=message.body + self.name.encode())

    def after_send(self, message: OutgoingMessage, result: EnqueueResult) -> EnqueueResult:
        self.calls.append(f"{self.name} after {message.body.decode()}")
        return replace(result, queue=result.queue + self.name)

    def send_failed(self, message: OutgoingMessage, error: Exception) -> None:
        self.calls.append(f"{self.name} failed {message.body.decode()} {type(error).__name__}")

    def handle(self, message: IncomingMessage, /) -> Steps:
        self.calls.append(f"{self.name} in")
        try:
            yield
        except RuntimeError as error:
            self.calls.append(f"{self.name} saw {error}")
            raise
        self.calls.append(f"{self.name} out")


class Only(Trace):
    """Of which only the innermost runs."""

    kind = "only"


class AnotherOnly(Only):
    """A class of its own, of the same kind."""


class TestSending:
    def test_wraps_the_message_from_outside_in(self, queue: MemoryTransport) -> None:
        calls: list[str] = []
        client = Client(queue, middleware=[Trace("O", calls)])
        client.add_middleware(Trace("I", calls))

        result = client.enqueue(MESSAGE)

        assert calls == [
            'O before {"type":"a"}',
            'I before {"type":"a"}O',
            'I after {"type":"a"}OI',
            'O after {"type":"a"}O',
        ]
        assert bodies(queue) == ['{"type":"a"}OI']
        assert result.queue == "memory://IO"

    def test_one_that_refuses_has_those_before_it_undone(self, queue: MemoryTransport) -> None:
        calls: list[str] = []
        client = Client(queue, middleware=[Trace("O", calls), Trace("I", calls, refuse=True)])

        with pytest.raises(Refused):
            client.enqueue(MESSAGE)

        assert calls == [
            'O before {"type":"a"}',
            'I before {"type":"a"}O',
            'O failed {"type":"a"}O Refused',
        ]
        assert bodies(queue) == []

    def test_a_failed_send_is_undone_from_inside_out(self) -> None:
        calls: list[str] = []
        client = Client(BrokenQueue(), middleware=[Trace("O", calls), Trace("I", calls)])

        with pytest.raises(SendFailed):
            client.enqueue(MESSAGE)

        assert calls[2:] == [
            'I failed {"type":"a"}OI SendFailed',
            'O failed {"type":"a"}O SendFailed',
        ]

    def test_one_that_fails_after_the_send_does_not_hide_that_it_was_sent(
        self, queue: MemoryTransport, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Late(Middleware):
            def after_send(self, message: OutgoingMessage, result: EnqueueResult) -> EnqueueResult:
                raise ConnectionError

        assert Client(queue, middleware=[Late()]).enqueue(MESSAGE).message_id
        assert "was sent; " in caplog.text
        assert len(bodies(queue)) == 1

    def test_using_adds_middleware_to_another_client_on_the_same_queue(
        self, client: Client, queue: MemoryTransport
    ) -> None:
        events: list[Event] = []
        client.add_listener(events.append)
        added = Trace("O")

        other = client.using(added)
        other.enqueue(MESSAGE)
        client.enqueue({"type": "b"})

        assert (client.middleware, other.middleware) == ((), (added,))
        assert bodies(queue) == ['{"type":"a"}O', '{"type":"b"}']
        assert [event.type for event in events] == ["a", "b"]


@dataclass(frozen=True)
class Adds(Middleware):
    """Adds attributes to a message."""

    attributes: dict[str, Any]
    seen: list[object] = field(default_factory=list)

    def before_send(self, message: OutgoingMessage, context: SendContext) -> OutgoingMessage:
        self.seen.append(message.attributes)
        return replace(message, attributes={**message.attributes, **self.attributes})

    def send_failed(self, message: OutgoingMessage, error: Exception) -> None:
        self.seen.append(error)


class TestAttributes:
    def test_may_be_text_numbers_and_bytes(self, queue: MemoryTransport) -> None:
        events: list[Event] = []
        inner = Adds({})
        added = {"text": "abc", "number": 7, "half": 0.5, "data": b"\x00"}
        client = Client(queue, middleware=[Adds(added), inner])
        client.add_listener(events.append)

        client.enqueue(MESSAGE, attributes={"mine": "1"})

        expected = {
            "mine": MessageAttribute("String", "1"),
            "text": MessageAttribute("String", "abc"),
            "number": MessageAttribute("Number", "7"),
            "half": MessageAttribute("Number", "0.5"),
            "data": MessageAttribute("Binary", b"\x00"),
        }
        assert receive_one(queue).attributes == expected
        assert inner.seen == [expected]
        (event,) = events
        assert isinstance(event, MessageSent)
        assert event.attributes_size == sum(expected[name].size(name) for name in expected)

    def test_in_a_batch_too(self, queue: MemoryTransport) -> None:
        Client(queue, middleware=[Adds({"trace": "abc"})]).enqueue_many([MESSAGE, MESSAGE])

        assert [message.attributes for message in receive(queue)] == [
            {"trace": MessageAttribute("String", "abc")}
        ] * 2

    @pytest.mark.parametrize(
        ("added", "text"),
        [
            ({"a": True}, "no booleans"),
            ({"a": ""}, "'a' is empty"),
            ({"AWS.a": "1"}, "attribute name 'AWS.a'"),
            ({f"a{number}": "1" for number in range(11)}, "11 attributes"),
        ],
    )
    def test_are_checked(self, queue: MemoryTransport, added: dict[str, Any], text: str) -> None:
        events: list[Event] = []
        adds = Adds(added)
        client = Client(queue, middleware=[adds])
        client.add_listener(events.append)

        with pytest.raises(MessageInvalid, match=text) as refused:
            client.enqueue(MESSAGE)

        assert bodies(queue) == []
        assert adds.seen == [{}, refused.value]
        (event,) = events
        assert isinstance(event, MessageNotSent)


def handled(worker: Worker, client: Client, *own: Middleware) -> None:
    """Have a worker handle one message, with middleware of the handler's own."""

    @worker.default
    @use_middleware(*own)
    def handle(message: object) -> None: ...

    client.enqueue(MESSAGE)
    worker.run(burst=True)


class TestHandling:
    def test_wraps_the_handler_from_outside_in(
        self, client: Client, queue: MemoryTransport
    ) -> None:
        calls: list[str] = []
        of_client = Client(queue, middleware=[Trace("client's", calls)])
        worker = Worker(client=of_client, middleware=[Trace("worker's", calls)])

        @worker.default
        @use_middleware(Trace("handler's", calls))
        @use_middleware(Trace("innermost", calls))
        def handle(message: object) -> None:
            calls.append("handler")

        client.enqueue(MESSAGE)
        worker.run(burst=True)

        names = ["client's", "worker's", "handler's", "innermost"]
        assert calls[:4] == [f"{name} prepares" for name in names]
        assert calls[4:] == [
            *(f"{name} in" for name in names),
            "handler",
            *(f"{name} out" for name in reversed(names)),
        ]

    def test_of_the_default_client_runs_too(self, client: Client, queue: MemoryTransport) -> None:
        """Whether the worker gets its queue from it or not, and though it is added later."""
        calls: list[str] = []
        default = Client(queue)
        set_default_client(default)
        workers = [Worker(), Worker(queue)]
        default.add_middleware(Trace("default's", calls))

        for worker in workers:
            handled(worker, client)

        assert calls == ["default's prepares", "default's in", "default's out"] * 2

    def test_sees_what_the_handler_raises(self, client: Client, queue: MemoryTransport) -> None:
        calls: list[str] = []
        worker = Worker(queue, middleware=[Trace("worker's", calls)])
        events = events_of(worker)

        @worker.default
        def handle(message: object) -> None:
            raise RuntimeError("trouble")

        client.enqueue(MESSAGE)
        worker.run(burst=True)

        assert calls[1:] == ["worker's in", "worker's saw trouble"]
        assert str(failure(events)) == "trouble"

    def test_may_settle_a_message_itself(
        self, client: Client, queue: MemoryTransport, clock: Clock
    ) -> None:
        class Settles(Middleware):
            def handle(self, message: IncomingMessage, /) -> Steps:
                yield from ()

        worker = Worker(queue, middleware=[Settles()])
        events = events_of(worker)

        @worker.default
        def handle(message: object) -> None:
            pytest.fail("the handler ran")

        result = client.enqueue(MESSAGE)
        worker.run(burst=True)

        (event,) = events
        assert isinstance(event, MessageSkipped)
        assert event.message_id == result.message_id
        clock.advance(100_000)
        assert receive(queue) == []

    def test_does_nothing_by_default(self, queue: MemoryTransport) -> None:
        worker = Worker(queue, middleware=[Middleware()])
        events = events_of(worker)

        handled(worker, Client(queue, middleware=[Middleware()]))

        assert [type(event) for event in events] == [MessageHandled]


class TestSeveral:
    def test_two_of_one_class_run(self, queue: MemoryTransport) -> None:
        calls: list[str] = []
        client = Client(queue, middleware=[Trace("1", calls), Trace("1", calls)])
        client.add_middleware(Trace("2", calls))

        client.enqueue(MESSAGE)

        assert bodies(queue) == ['{"type":"a"}112']

    def test_two_of_one_class_run_around_a_handler(
        self, client: Client, queue: MemoryTransport
    ) -> None:
        calls: list[str] = []
        worker = Worker(queue, middleware=[Trace("1", calls), Trace("1", calls)])

        handled(worker, client, Trace("2", calls))

        assert [call for call in calls if call.endswith("in")] == ["1 in", "1 in", "2 in"]

    @pytest.mark.parametrize(
        ("first", "added", "sent"),
        [
            ([Only("1"), Only("2")], [], "2"),
            ([Only("1")], [Only("2")], "2"),
            ([Only("1")], [AnotherOnly("2")], "2"),
            ([AnotherOnly("1")], [Only("2")], "2"),
            ([Only("1"), Trace("t")], [Only("2")], "t2"),
            ([Trace("t")], [Only("1"), Trace("u"), Only("2"), Only("3")], "tu3"),
        ],
    )
    def test_of_one_kind_only_the_innermost_runs(
        self,
        queue: MemoryTransport,
        first: Sequence[Middleware],
        added: Sequence[Middleware],
        sent: str,
    ) -> None:
        client = Client(queue, middleware=first)
        for each in added:
            client.add_middleware(each)
        together = Client(queue, middleware=first).using(*added)

        client.enqueue(MESSAGE)
        together.enqueue(MESSAGE)

        assert bodies(queue) == ['{"type":"a"}' + sent] * 2

    def test_one_that_is_added_twice_runs_once(self, queue: MemoryTransport) -> None:
        only = Only("1")
        client = Client(queue, middleware=[only])
        client.add_middleware(only)

        client.enqueue(MESSAGE)

        assert bodies(queue) == ['{"type":"a"}1']

    @pytest.mark.parametrize("own", [1, 2, 3])
    def test_a_handlers_replaces_the_workers_and_that_the_clients(
        self, client: Client, queue: MemoryTransport, own: int
    ) -> None:
        calls: list[str] = []
        all_three = [Only("client's", calls), Only("worker's", calls), Only("handler's", calls)]
        of_client, of_worker, of_handler = (
            [only] if number < own else [] for number, only in enumerate(all_three)
        )
        worker = Worker(client=Client(queue, middleware=of_client), middleware=of_worker)

        handled(worker, client, *of_handler)

        innermost = all_three[own - 1].name
        assert [call for call in calls if call.endswith("in")] == [f"{innermost} in"]
