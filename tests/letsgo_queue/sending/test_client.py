"""The client: options, middleware, listeners, and what is on the queue afterwards."""

from __future__ import annotations

import asyncio
import hashlib
import pickle
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

import letsgo_queue
from claimcheck import BodyTooLarge, ClaimInProgress
from letsgo_queue import (
    Client,
    EnqueueManyError,
    EnqueueOptions,
    EnqueueResult,
    Event,
    MessageInvalid,
    MessageNotSent,
    MessageSent,
    MessageTooLarge,
    Middleware,
    QueueSettings,
    Reject,
    Retry,
    SendContext,
    SendFailed,
)
from letsgo_queue.delays import LONGEST_DELAY_SECONDS
from letsgo_queue.message import encode
from letsgo_queue.transports.base import OutgoingMessage
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import SECRET, Clock, bodies, order, printed, receive, receive_one
from tests.support.servers import AwsServer


class Refused(Exception):
    """What a middleware of the tests raises."""


class Trace(Middleware):
    """Writes down which hook ran, and leaves its mark on the message and the result."""

    def __init__(self, name: str, calls: list[str], *, refuse: bool = False) -> None:
        self.name = name
        self.calls = calls
        self.refuse = refuse

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


class Outer(Trace):
    """A class of its own, as middleware of the same class replaces."""


class Inner(Trace):
    """See `Outer`."""


def test_puts_a_message_on_the_queue(client: Client, queue: MemoryTransport) -> None:
    result = client.enqueue({"type": "order:new", "payload": {"id": 42}}, attributes={"n": 1})

    message = receive_one(queue)
    assert message.body == '{"type":"order:new","payload":{"id":42}}'
    assert message.attributes == {"n": letsgo_queue.MessageAttribute("Number", "1")}
    assert result == EnqueueResult(message_id=message.message_id, queue="memory://")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"delay_seconds": -1}, "delay_seconds=-1: a message can be delayed by 0 to 1"),
        (
            {"delay_seconds": -0.1},
            r"delay_seconds=-0\.1: a message can be delayed by 0 to 1,209,600",
        ),
        (
            {"delay_seconds": float("nan")},
            "delay_seconds=nan: a message can be delayed by 0 to 1,209,600",
        ),
        (
            {"delay_seconds": float("inf")},
            "delay_seconds=inf: a message can be delayed by 0 to 1,209,600",
        ),
        (
            {"delay_seconds": LONGEST_DELAY_SECONDS + 0.5},
            r"delay_seconds=1209600\.5: a message can be delayed by 0 to",
        ),
        ({"deduplication_id": "d"}, "deduplication_id is given: the queue memory:// is not"),
        ({"group_id": ""}, r"group_id \(0 characters\): SQS takes text of 1 to 128"),
        ({"group_id": "a b"}, r"group_id \(3 characters\): SQS takes text of 1 to 128"),
        ({"group_id": SECRET + "ü"}, r"group_id \(26 characters\): SQS takes text of 1 to 128"),
        ({"group_id": "g" * 129}, r"group_id \(129 characters\): SQS takes text"),
        ({"group_id": 42}, r"group_id \(int\): SQS takes text"),
        ({"attributes": {"a": True}}, "no booleans"),
    ],
)
def test_refuses_a_wrong_option(
    client: Client, queue: MemoryTransport, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(MessageInvalid, match=text) as refused:
        client.enqueue(order(secret=SECRET), **options)

    assert SECRET not in printed(refused.value)
    assert bodies(queue) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, r"fifo is FIFO: say which messages keep their order .* group_id="),
        ({"group_id": "g", "delay_seconds": 1}, "no delay per message on a FIFO queue"),
        ({"group_id": "g", "deduplication_id": ""}, "SQS takes text of 1 to 128"),
        ({"group_id": "g", "deduplication_id": "ä"}, "SQS takes text of 1 to 128"),
    ],
)
def test_refuses_a_wrong_option_for_a_fifo_queue(
    ministack: AwsServer, options: dict[str, Any], text: str
) -> None:
    client = Client(ministack.make_queue(FifoQueue="true"))

    with pytest.raises(MessageInvalid, match=text):
        client.enqueue(order(), **options)

    assert bodies(client.transport()) == []


def test_refuses_a_message_before_it_looks_for_a_queue() -> None:
    """Without settings the queue is looked for on AWS, and here there are no credentials."""
    client = Client()

    with pytest.raises(MessageInvalid, match="needs a non-empty string"):
        client.enqueue({"payload": 1})
    with pytest.raises(MessageInvalid, match="no booleans"):
        client.enqueue(order(), attributes={"a": True})


def test_refuses_a_message_over_the_limit() -> None:
    queue = MemoryTransport(max_message_bytes=100)
    client = Client(queue)

    with pytest.raises(MessageTooLarge, match=r"claimcheck\.install\(\)") as refused:
        client.enqueue(order(secret=SECRET, more="x" * 100))

    assert refused.value.limit == 100
    assert refused.value.size > 100
    assert SECRET not in printed(refused.value)
    assert bodies(queue) == []


@pytest.mark.parametrize(("delay", "seconds"), [(0.001, 1), (1, 1), (1.2, 2), (899.5, 900)])
def test_rounds_a_delay_up(
    client: Client, queue: MemoryTransport, clock: Clock, delay: float, seconds: int
) -> None:
    client.enqueue(order(), delay_seconds=delay)

    clock.advance(seconds - 0.01)
    assert receive(queue) == []
    clock.advance(0.01)
    assert len(receive(queue)) == 1


def test_group_id_travels_on_a_standard_queue(client: Client, queue: MemoryTransport) -> None:
    client.enqueue(order(), group_id="tenant-1!")

    assert receive_one(queue).group_id == "tenant-1!"


def test_queue_names_another_queue(client: Client, queue: MemoryTransport) -> None:
    result = client.enqueue(order(), queue="memory://other")

    assert result.queue == "memory://other"
    assert bodies(queue) == []
    assert len(bodies(client.transport("memory://other"))) == 1


def test_opens_a_queue_once_until_closed() -> None:
    client = Client("memory://")
    client.enqueue(order(first=1))
    client.enqueue(order(second=2))
    assert len(bodies(client.transport())) == 2

    client.close()

    assert bodies(client.transport()) == []


def test_settings_in_code_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETSGO_QUEUE_URL", "memory://environment")

    by_settings = Client(settings=QueueSettings(queue_url="memory://settings"))
    by_argument = Client("memory://argument", settings=QueueSettings(queue_url="memory://settings"))

    assert by_settings.enqueue(order()).queue == "memory://settings"
    assert by_argument.enqueue(order()).queue == "memory://argument"
    assert Client().enqueue(order()).queue == "memory://environment"


def test_a_client_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in tests, each of which has a queue of its own."""
    client = Client()
    for queue in ("memory://one", "memory://other", "memory://one"):
        monkeypatch.setenv("LETSGO_QUEUE_URL", queue)
        assert client.enqueue(order()).queue == queue
    assert len(bodies(client.transport())) == 2


def test_default_client_is_made_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETSGO_QUEUE_URL", "memory://environment")

    letsgo_queue.enqueue(order(number=1))
    asyncio.run(letsgo_queue.aenqueue(order(number=2), delay_seconds=0))

    assert len(bodies(letsgo_queue.default_client().transport())) == 2


def test_default_client_can_be_set(client: Client, queue: MemoryTransport) -> None:
    letsgo_queue.set_default_client(client)

    letsgo_queue.enqueue(order())

    assert len(bodies(queue)) == 1


def test_enqueues_from_asyncio_without_holding_the_loop(queue: MemoryTransport) -> None:
    """The send waits for something that only the event loop can do."""
    released = threading.Event()

    class Waits(Middleware):
        def before_send(self, message: OutgoingMessage, context: SendContext) -> OutgoingMessage:
            assert released.wait(10)
            return message

    async def release() -> None:
        released.set()

    async def both() -> EnqueueResult:
        result, _ = await asyncio.gather(client.aenqueue(order(), group_id="g"), release())
        return result

    client = Client(queue, middleware=[Waits()])
    result = asyncio.run(both())

    message = receive_one(queue)
    assert (message.message_id, message.group_id) == (result.message_id, "g")


def test_aenqueue_raises_what_enqueue_raises(client: Client) -> None:
    with pytest.raises(MessageInvalid, match="delay_seconds=-1"):
        asyncio.run(client.aenqueue(order(), delay_seconds=-1))


def test_middleware_wraps_the_message_from_outside_in(queue: MemoryTransport) -> None:
    calls: list[str] = []
    client = Client(queue, middleware=[Outer("O", calls)])
    client.add_middleware(Inner("I", calls))

    result = client.enqueue({"type": "a"})

    assert calls == [
        'O before {"type":"a"}',
        'I before {"type":"a"}O',
        'I after {"type":"a"}OI',
        'O after {"type":"a"}O',
    ]
    assert bodies(queue) == ['{"type":"a"}OI']
    assert result.queue == "memory://IO"


def test_middleware_that_refuses_has_those_before_it_undone(queue: MemoryTransport) -> None:
    calls: list[str] = []
    client = Client(queue, middleware=[Outer("O", calls), Inner("I", calls, refuse=True)])

    with pytest.raises(Refused):
        client.enqueue({"type": "a"})

    assert calls == [
        'O before {"type":"a"}',
        'I before {"type":"a"}O',
        'O failed {"type":"a"}O Refused',
    ]
    assert bodies(queue) == []


class BrokenQueue(MemoryTransport):
    """A queue that refuses every message."""

    def send(self, message: OutgoingMessage) -> str:
        raise SendFailed("the queue refused it")


def test_failed_send_is_undone_from_inside_out() -> None:
    calls: list[str] = []
    client = Client(BrokenQueue(), middleware=[Outer("O", calls), Inner("I", calls)])

    with pytest.raises(SendFailed):
        client.enqueue({"type": "a"})

    assert calls[2:] == [
        'I failed {"type":"a"}OI SendFailed',
        'O failed {"type":"a"}O SendFailed',
    ]


def test_middleware_of_the_same_class_replaces(queue: MemoryTransport) -> None:
    calls: list[str] = []
    client = Client(queue, middleware=[Outer("1", calls)])

    client.add_middleware(Outer("2", calls))
    client.enqueue({"type": "a"})

    assert bodies(queue) == ['{"type":"a"}2']


def test_using_adds_middleware_to_another_client_on_the_same_queue(
    client: Client, queue: MemoryTransport
) -> None:
    events = sent_by(client)
    added = Outer("O", [])

    other = client.using(added)
    other.enqueue({"type": "a"})
    client.enqueue({"type": "b"})

    assert (client.middleware, other.middleware) == ((), (added,))
    assert bodies(queue) == ['{"type":"a"}O', '{"type":"b"}']
    assert [event.type for event in events] == ["a", "b"]


def sent_by(client: Client) -> Sequence[Event]:
    events: list[Event] = []
    client.add_listener(events.append)
    return events


def test_listener_gets_one_event_per_message_with_its_size(client: Client) -> None:
    events = sent_by(client)

    result = client.enqueue(order(text="Grüße"), attributes={"a": "1"})

    (event,) = events
    assert isinstance(event, MessageSent)
    assert (event.type, event.queue) == ("order:new", "memory://")
    assert event.message_id == result.message_id
    body = '{"type":"order:new","payload":{"text":"Grüße"}}'.encode()
    assert (event.size, event.attributes_size) == (len(body), len("a" + "String" + "1"))
    assert event.sent_size == event.size + event.attributes_size
    assert event.result == result
    assert event.duration > 0
    assert "Grüße" not in repr(event)


def test_listener_hears_of_a_message_that_the_queue_refuses() -> None:
    client = Client(BrokenQueue())
    events = sent_by(client)

    with pytest.raises(SendFailed) as refused:
        client.enqueue(order(text="Grüße"), attributes={"a": "1"})

    (event,) = events
    assert isinstance(event, MessageNotSent)
    assert (event.type, event.queue) == ("order:new", BrokenQueue().url)
    assert event.size == len('{"type":"order:new","payload":{"text":"Grüße"}}'.encode())
    assert event.attributes_size == len("a" + "String" + "1")
    assert event.error is refused.value


@pytest.mark.parametrize(
    "options",
    [
        {"group_id": "not a group"},
        {"deduplication_id": "on no FIFO queue"},
        {"delay_seconds": -1},
        {"attributes": {"AWS.x": "1"}},
        {"attributes": {f"a{n}": "1" for n in range(11)}},
    ],
)
def test_listener_hears_of_a_message_whose_options_are_refused(
    client: Client, options: EnqueueOptions
) -> None:
    events = sent_by(client)

    with pytest.raises(MessageInvalid) as refused:
        client.enqueue(order(), **options)

    (event,) = events
    assert isinstance(event, MessageNotSent)
    assert event.error is refused.value
    assert event.size == len(encode(order())[1])


def test_listener_hears_nothing_of_what_is_no_message(client: Client) -> None:
    events = sent_by(client)

    with pytest.raises(MessageInvalid):
        client.enqueue({"type": ""})

    assert events == []


def test_listener_that_fails_disturbs_nothing(
    client: Client, queue: MemoryTransport, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: Event) -> None:
        raise RuntimeError("listener is broken")

    client.add_listener(fail)
    events = sent_by(client)

    client.enqueue(order())

    assert len(events) == 1
    assert len(bodies(queue)) == 1
    assert "listener is broken" in caplog.text


@pytest.mark.parametrize("by_content", ["true", "false"])
def test_fifo_queue_drops_what_was_sent_twice(aws: AwsServer, by_content: str) -> None:
    """By content where the queue says so, though a middleware gives each body another form."""

    class Numbered(Middleware):
        count = 0

        def before_send(self, message: OutgoingMessage, context: SendContext) -> OutgoingMessage:
            self.count += 1
            return replace(message, body=message.body + b" " * self.count)

    url = aws.make_queue(FifoQueue="true", ContentBasedDeduplication=by_content)
    client = Client(url, middleware=[Numbered()])

    for _ in range(2):
        client.enqueue({"type": "a"}, group_id="g")
    for _ in range(2):
        client.enqueue({"type": "b"}, group_id="g", deduplication_id="same")

    received = [body.strip() for body in all_of_group(client)]
    a_times = 1 if by_content == "true" else 2
    assert received == ['{"type":"a"}'] * a_times + ['{"type":"b"}']


def all_of_group(client: Client) -> list[str]:
    """The bodies of a FIFO queue, each deleted so that its group goes on."""
    transport = client.transport()
    received = []
    while messages := receive(transport, wait_seconds=1):
        for message in messages:
            received.append(message.body)
            transport.delete(message)
    return received


def test_deduplicates_with_those_who_send_without_a_client(ministack: AwsServer) -> None:
    """The id is the one that SQS itself takes from the body."""
    url = ministack.make_queue(FifoQueue="true", ContentBasedDeduplication="true")
    client = Client(url)
    body = '{"type":"a"}'
    ministack.sqs().send_message(
        QueueUrl=url,
        MessageBody=body,
        MessageGroupId="g",
        MessageDeduplicationId=hashlib.sha256(body.encode()).hexdigest(),
    )

    client.enqueue({"type": "a"}, group_id="g")

    assert all_of_group(client) == [body]


def test_a_queue_is_one_whether_it_is_named_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETSGO_QUEUE_URL", "memory://")
    client = Client()
    client.enqueue(order())
    assert len(bodies(client.transport("memory://"))) == 1


def test_a_middleware_that_fails_after_the_send_does_not_hide_that_it_was_sent(
    queue: MemoryTransport, caplog: pytest.LogCaptureFixture
) -> None:
    class Late(Middleware):
        def after_send(self, message: OutgoingMessage, result: EnqueueResult) -> EnqueueResult:
            raise ConnectionError

    assert Client(queue, middleware=[Late()]).enqueue(order()).message_id
    assert "was sent; " in caplog.text
    assert len(bodies(queue)) == 1


def test_errors_can_be_sent_between_processes() -> None:
    for error in (
        MessageTooLarge("too large", size=2, limit=1),
        EnqueueManyError("some", results=[], errors={1: ValueError()}, sent=1, attempted=2),
        Retry("later", delay=3),
        Reject(ValueError("why")),
        BodyTooLarge("too large", size=2, limit=1),
        ClaimInProgress("held", retry_after=5),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert vars(copy).keys() == vars(error).keys()
