"""The client: options, middleware, listeners, and what is on the queue afterwards."""

from __future__ import annotations

import asyncio
import hashlib
import pickle
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import boto3
import pytest

import letsgo_queue
from claimcheck import BodyTooLarge, ClaimInProgress
from claimcheck.testing import Clock
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
    SettingsInvalid,
)
from letsgo_queue.message import encode
from letsgo_queue.transports.base import OutgoingMessage
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import (
    SECRET,
    BrokenQueue,
    bodies,
    order,
    outgoing,
    printed,
    receive,
    receive_one,
)
from tests.support.servers import AwsServer


def test_puts_a_message_on_the_queue(client: Client, queue: MemoryTransport) -> None:
    result = client.enqueue({"type": "order:new", "payload": {"id": 42}}, attributes={"n": 1})

    message = receive_one(queue)
    assert message.body == '{"type":"order:new","payload":{"id":42}}'
    assert message.attributes == {"n": letsgo_queue.MessageAttribute("Number", "1")}
    assert result == EnqueueResult(message_id=message.message_id, queue="memory://")


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


@pytest.mark.parametrize(
    ("body", "attributes", "advice"),
    [
        ("{}", {"a": "x" * 1_000}, "Attributes are never stored: move what is in them"),
        ("x" * 1_000, {"a": "x"}, r"with claimcheck\.enqueue or the command `claimcheck enqueue`"),
        ('{"claimCheck":"%s"}' % ("x" * 1_000), {}, "CLAIMCHECK_INLINE_LIMIT is over .* Unset it"),
        ('{"claimCheck":"x"}', {"a": "x" * 1_000}, "Attributes are never stored"),
    ],
)
def test_what_to_do_depends_on_what_is_large(
    body: str, attributes: dict[str, str], advice: str
) -> None:
    queue = MemoryTransport(max_message_bytes=1_000)

    with pytest.raises(MessageTooLarge, match=f"the queue accepts 1,000.*{advice}"):
        queue.send(outgoing(body, attributes=attributes))


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


def test_sends_for_asyncio_though_all_threads_of_the_loop_are_busy(queue: MemoryTransport) -> None:
    release = threading.Event()

    async def send() -> EnqueueResult:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        busy = loop.run_in_executor(None, release.wait)
        try:
            return await Client(queue).aenqueue(order())
        finally:
            release.set()
            await busy

    assert asyncio.run(send()).message_id


def test_the_sends_of_asyncio_see_the_callers_context(queue: MemoryTransport) -> None:
    span: ContextVar[str] = ContextVar("span")
    seen: list[str] = []

    class Tracing(Middleware):
        def before_send(self, message: OutgoingMessage, context: SendContext) -> OutgoingMessage:
            seen.append(span.get())
            return message

    async def send(name: str) -> None:
        span.set(name)
        await client.aenqueue(order())

    async def both() -> None:
        await asyncio.gather(send("one"), send("two"))

    client = Client(queue, middleware=[Tracing()])
    asyncio.run(both())

    assert sorted(seen) == ["one", "two"]


def test_a_client_that_is_closed_leaves_no_thread(queue: MemoryTransport) -> None:
    before = set(threading.enumerate())
    client = Client(queue)
    for _ in range(2):  # it may be used again
        asyncio.run(client.aenqueue(order()))
        assert set(threading.enumerate()) - before
        client.close()
        assert not set(threading.enumerate()) - before


def test_aenqueue_raises_what_enqueue_raises(client: Client) -> None:
    with pytest.raises(MessageInvalid, match="delay_seconds=-1"):
        asyncio.run(client.aenqueue(order(), delay_seconds=-1))


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
    assert event.attributes_size == len("a" + "String" + "1")
    assert event.size == event.sent_size == len(body) + event.attributes_size
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
    assert event.attributes_size == len("a" + "String" + "1")
    body = '{"type":"order:new","payload":{"text":"Grüße"}}'.encode()
    assert event.size == len(body) + event.attributes_size
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


def test_listener_hears_of_a_message_whose_queue_is_not_found() -> None:
    client = Client("nonsense://")
    events = sent_by(client)

    with pytest.raises(SettingsInvalid) as refused:
        client.enqueue(order())

    (event,) = events
    assert isinstance(event, MessageNotSent)
    assert (event.queue, event.error) == ("nonsense://", refused.value)


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


def test_a_session_in_code_wins_over_the_environment(aws: AwsServer) -> None:
    url = aws.make_queue()
    senders: list[str] = []
    session = boto3.Session(aws_access_key_id="in-code", aws_secret_access_key="secret")
    session.events.register(
        "before-send.sqs",
        lambda request, **_: senders.append(str(request.headers["Authorization"])),
    )
    client = Client(url, session=session)

    client.enqueue(order())
    Client(url).enqueue(order())

    assert len(bodies(client.transport())) == 2
    assert senders
    assert all("Credential=in-code/" in header for header in senders)


def test_a_session_in_code_finds_the_queue_of_the_deployment(aws: AwsServer) -> None:
    """In its own region, and not in that of the settings."""
    session = boto3.Session(region_name=aws.region)
    name = f"session-{uuid.uuid4().hex}"
    url = aws.make_queue(name="letsgo-session")
    aws.sqs().tag_queue(QueueUrl=url, Tags={"LetsGoDeployment": name})
    elsewhere = QueueSettings(deployment=name, region="eu-central-1")

    assert Client(settings=elsewhere, session=session).transport().url == url


def test_a_queue_is_one_whether_it_is_named_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETSGO_QUEUE_URL", "memory://")
    client = Client()
    client.enqueue(order())
    assert len(bodies(client.transport("memory://"))) == 1


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
