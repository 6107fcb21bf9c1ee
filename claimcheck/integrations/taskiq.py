"""The claim check for taskiq on SQS: tasks of any size, with their code unchanged.

    broker = install(SQSBroker("tasks"))

It works between taskiq and taskiq_aio_sqs:

    kick           the message is sealed, if it is large, before taskiq_aio_sqs looks at its size
    listen         the claim is acquired, and taskiq gets the message that was sealed
    ack            the claim is completed, then the message is deleted
    the heartbeat  extends the lease with the visibility timeout

taskiq also acknowledges a task that failed; its retry is a new message, which is sealed anew. A
message that cannot be opened does not reach taskiq: it stays on the queue, hidden for a while.
Calls to the store are made on threads, so that the event loop is free, and a store that does not
answer holds only the messages that need it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast
from weakref import WeakValueDictionary

from botocore.exceptions import BotoCoreError, ClientError

from claimcheck.core.claim_check import ClaimCheck
from claimcheck.core.life import Purge
from claimcheck.core.opened import Opened
from claimcheck.core.sealing import Sealed
from claimcheck.errors import SettingsInvalid
from claimcheck.integrations import sqs
from claimcheck.integrations.base import Carrier, extend_lease, log_left
from claimcheck.integrations.installing import Package, check_given, derive
from claimcheck.opening import Opener
from letsgo_queue.async_threads import AsyncThreads
from letsgo_queue.envelope import is_sealed
from letsgo_queue.errors import LetsGoError
from letsgo_queue.limits import ANY_QUEUE_BYTES, SQS_UNIT_BYTES
from letsgo_queue.log import get_logger

PACKAGE = Package("taskiq-aio-sqs", (2, 1, 1), extra="taskiq")

try:
    import anyio
    from anyio.streams.memory import MemoryObjectSendStream
    from taskiq import BrokerMessage
    from taskiq.acks import AckableMessage
    from taskiq_aio_sqs import SQSBroker
    from taskiq_aio_sqs.constants import MAX_SQS_MESSAGE_SIZE
    from taskiq_aio_sqs.exceptions import TaskIQSQSError
except ImportError as missing:
    raise PACKAGE.missing(missing) from missing

if TYPE_CHECKING:
    from taskiq_aio_sqs import SQSQueue

logger = get_logger(__name__)

_HOOKS: Mapping[type, Sequence[str]] = {
    SQSBroker: (
        "_get_sqs_client",
        "_receive_messages",
        "_resolve_delay_seconds",
        "_resolve_queue",
        "_to_ackable_message",
        "build_kick_kwargs",
        "kick",
        "listen",
    )
}
"""The methods of the package's classes that are overridden or called here."""

_AT_ONCE = 8
"""Messages that are opened at once."""

_ROOM_FOR_ATTRIBUTES = 8_192
"""Bytes of a sealed message for attributes, which are made after it was sealed."""

_MARK = "s3_extended_message"
"""An attribute by which taskiq_aio_sqs recognizes a message that it stored in S3 itself.

A sealed message has it too: a worker without the claim check then fails to read it. Without the
mark that worker would acknowledge a message that it cannot parse, and the task would be lost.
"""

_MARKED = {"DataType": "String", "StringValue": "sealed: install claimcheck.integrations.taskiq"}

_STOP_SECONDS = 10
"""How long a broker that stops listening waits for messages that are being opened."""

BrokerT = TypeVar("BrokerT", bound=SQSBroker)


def install(
    broker: BrokerT,
    claim_check: ClaimCheck | None = None,
    *,
    purge: Purge | None = None,
    once: bool | None = None,
) -> BrokerT:
    """Give a broker of taskiq_aio_sqs the claim check, where it sends and where workers listen.

    Call it in the module that makes the broker. Safe to repeat: the last one counts. If the broker
    has a bucket for large messages, they go to the claim check instead. Messages that it has stored
    before are read as before.

    Args:
        broker: The broker, before its `startup`.
        claim_check: By default made from the environment, on first use.
        purge: When contents are removed, in place of the claim check's own setting.
        once: Whether every message gets a record, also a small one: a task that was acknowledged
            does not run again for another delivery of its message.

    Returns:
        The same broker.

    Raises:
        SettingsInvalid: It is not a broker of taskiq_aio_sqs; taskiq_aio_sqs is too old or too new;
            the broker was started already; or an option is not known.
    """
    check_given(broker, SQSBroker, "an SQSBroker of taskiq_aio_sqs")
    PACKAGE.check(_HOOKS)
    if hasattr(broker, "_sqs_client"):
        raise SettingsInvalid(
            "the broker was started already: install the claim check before its startup."
        )
    claims = _Claims(Carrier(Opener(claim_check, purge=purge, once=once)))
    # Not a copy: tasks are registered with this one.
    broker.__class__ = derive(_Broker, type(broker), claims=claims)
    return broker


class _Claims:
    """The claims of a broker's messages.

    Attributes:
        carrier: Seals and opens.
        threads: The threads that do so.
        held: The opened messages that taskiq has, by their receipt handles.
        extending: The handles of messages whose lease a thread extends.
        left: The URLs of FIFO queues, one of whose last messages could not be opened.
        facts: The attributes of queues.
        slots: Limits how many messages are opened at once.
        opening: The tasks that open them.
        ready: Where opened messages go; None while nobody listens.
    """

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self.threads = AsyncThreads("claimcheck-taskiq")
        self.held: WeakValueDictionary[str, Opened] = WeakValueDictionary()
        self.extending: set[str] = set()
        self.left: set[str] = set()
        self.facts = sqs.QueueFacts()
        self.slots = asyncio.Semaphore(_AT_ONCE)
        self.opening: set[asyncio.Task[None]] = set()
        self.ready: MemoryObjectSendStream[AckableMessage] | None = None

    async def seal(self, body: bytes, *, queue: str, **options: Any) -> Sealed:
        """Seal a body. If the caller is cancelled meanwhile, nothing stays in the store."""
        made: list[Sealed] = []

        def seal() -> None:
            made.append(self.carrier.seal(body, queue=queue, **options))

        try:
            await self.threads.run_to_end(seal)
        except asyncio.CancelledError:
            for sealed in made:
                await self.discard(sealed, queue=queue)
            raise
        return made[0]

    async def discard(self, sealed: Sealed, *, queue: str) -> None:
        """Remove the claim of a message that is certainly not on the queue."""
        await self.threads.run_to_end(partial(self.carrier.discard, sealed, queue=queue))


class _Broker(SQSBroker):
    """A broker with the claim check. `install` derives it.

    Attributes:
        claims: The claims of its messages.
    """

    claims: ClassVar[_Claims]

    async def kick(self, message: BrokerMessage) -> None:
        _, queue, url = self._resolve_queue(message)
        delay = self._resolve_delay_seconds(message, queue)
        limit = None
        if len(message.message) > SQS_UNIT_BYTES:
            limit = await self._limit(url)
        sealed = await self.claims.seal(
            message.message,
            queue=url,
            name=message.task_name,
            queue_limit=lambda: limit,
            delay_seconds=delay or 0,
        )
        if len(sealed.body) > MAX_SQS_MESSAGE_SIZE // self._batch_size or sealed.route != "inline":
            # By itself: in a batch that SQS refuses as too large, all messages would be lost.
            labels = {**message.labels, "skip_batching": True}
            message = message.model_copy(update={"message": sealed.body, "labels": labels})
        try:
            await super().kick(message)
        except (TaskIQSQSError, BotoCoreError, ClientError) as error:
            cause = error.__cause__ or error
            # Any other error is the broker's own, which has not asked SQS.
            may_be_sent = isinstance(
                cause, BotoCoreError | ClientError
            ) and not sqs.was_certainly_not_sent(cause)
            if not may_be_sent:
                await self.claims.discard(sealed, queue=url)
            raise

    async def build_kick_kwargs(
        self, message: BrokerMessage, queue: SQSQueue | None = None, queue_url: str | None = None
    ) -> Any:
        request = await super().build_kick_kwargs(message, queue=queue, queue_url=queue_url)
        if is_sealed(request["MessageBody"]):
            marked: Any = {**request.get("MessageAttributes", {}), _MARK: _MARKED}
            request["MessageAttributes"] = marked
        return request

    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        for url in self._queue_urls.values():
            self.claims.carrier.prepare(url)
        send, receive = anyio.create_memory_object_stream[AckableMessage]()
        self.claims.slots = asyncio.Semaphore(_AT_ONCE)
        self.claims.ready = send
        plain = asyncio.create_task(_pass_on(super().listen(), send))
        try:
            async for message in receive:
                yield message
            await plain  # which raises what ended it
        finally:
            receive.close()  # first: it wakes those that wait to put a message there
            plain.cancel()
            await asyncio.gather(plain, return_exceptions=True)
            if self.claims.opening:
                await asyncio.wait(self.claims.opening, timeout=_STOP_SECONDS)
            send.close()
            self.claims.ready = None

    async def shutdown(self) -> None:
        await super().shutdown()
        await asyncio.to_thread(self.claims.threads.close)

    async def _get_sqs_client(self) -> Any:
        return _Client(await super()._get_sqs_client(), self.claims)

    async def _receive_messages(self, queue: SQSQueue, queue_url: str) -> list[dict[str, object]]:
        self.claims.left.discard(queue_url)
        return await super()._receive_messages(queue, queue_url)

    async def _to_ackable_message(
        self, message: object, queue: SQSQueue, queue_url: str
    ) -> AckableMessage | None:
        if not isinstance(message, dict) or not isinstance(message.get("Body"), str):
            return await super()._to_ackable_message(message, queue, queue_url)
        asks_store = self.claims.carrier.asks_store(message["Body"])
        received = _Received(message, queue, queue_url, time.monotonic(), asks_store)
        if queue_url in self.claims.left:  # in its group none may overtake what was left
            await self._hide(received, 0)
            return None
        if self.claims.ready is None or queue.is_fifo or not asks_store:
            return await self._open(received)
        await self.claims.slots.acquire()
        task = asyncio.create_task(self._open_beside(received, self.claims.ready))
        self.claims.opening.add(task)
        task.add_done_callback(self.claims.opening.discard)
        return None

    async def _open_beside(
        self, received: _Received, ready: MemoryObjectSendStream[AckableMessage]
    ) -> None:
        """Open a message while others are listened for."""
        try:
            if (message := await self._open(received)) is None:
                return
            try:
                await ready.send(message)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):  # nobody listens now
                await self._give_back(received)
        finally:
            self.claims.slots.release()

    async def _open(self, received: _Received) -> AckableMessage | None:
        """Open a message for taskiq; None if taskiq must not have it."""
        hidden = received.queue.visibility_timeout or sqs.visibility_timeout(
            await self._facts(received.url)
        )
        waited = time.monotonic() - received.arrived
        open_it = partial(
            self.claims.carrier.open,
            received.body,
            queue=received.url,
            name=None,
            message_id=received.message_id,
            receive_count=received.receive_count,
            lease_seconds=sqs.lease_seconds(hidden, waited=waited),
        )
        try:
            if received.asks_store:
                opened = await self.claims.threads.run(open_it)
            else:
                opened = open_it()
            if opened is None:
                await self._sqs_client.delete_message(
                    QueueUrl=received.url, ReceiptHandle=received.handle
                )
        except LetsGoError as error:
            self._note_left(received)
            await self._leave(received, error, hidden)
            return None
        except (BotoCoreError, ClientError) as error:
            logger.warning("a duplicate stays on queue %s: %s", received.url, error)
            return None
        except Exception:  # a fault of ours must not end the listener
            self._note_left(received)
            logger.exception("a message could not be opened, and stays on queue %s", received.url)
            return None
        if opened is None:
            return None
        return await self._ackable(received, opened)

    async def _ackable(self, received: _Received, opened: Opened) -> AckableMessage | None:
        """A message as taskiq has it, whose acknowledgement completes its claim."""
        self.claims.held[received.handle] = opened  # before its heartbeat begins
        message = await super()._to_ackable_message(
            received.with_body(opened), received.queue, received.url
        )
        if message is None or (opened.route == "inline" and not self.claims.carrier.opener.once):
            return message
        opened.body = ""  # it may be large, and taskiq has it
        delete = cast("Callable[[], Awaitable[None]]", message.ack)

        @wraps(delete)  # with the metadata that taskiq_aio_sqs attaches to it
        async def ack() -> None:
            await self.claims.threads.run(partial(opened.settle, succeeded=True))
            await delete()

        return AckableMessage(data=message.data, ack=ack)

    def _note_left(self, received: _Received) -> None:
        if received.queue.is_fifo:
            self.claims.left.add(received.url)

    async def _leave(self, received: _Received, error: LetsGoError, hidden: float) -> None:
        """Leave a message that could not be opened on its queue."""
        pause = log_left(
            error,
            message_id=received.message_id,
            queue=received.url,
            receive_count=received.receive_count,
            hidden=hidden,
        )
        await self._hide(received, pause)

    async def _give_back(self, received: _Received) -> None:
        if opened := self.claims.held.pop(received.handle, None):
            await self.claims.threads.run(partial(opened.settle, succeeded=False))
        await self._hide(received, 0)

    async def _hide(self, received: _Received, seconds: int) -> None:
        try:
            await self._sqs_client.change_message_visibility(
                QueueUrl=received.url,
                ReceiptHandle=received.handle,
                VisibilityTimeout=seconds,
            )
        except (BotoCoreError, ClientError) as error:
            logger.info("a message of %s keeps its visibility timeout: %s", received.url, error)

    async def _limit(self, url: str) -> int:
        """Bytes that a sealed message may have."""
        limit = sqs.max_message_bytes(await self._facts(url)) or ANY_QUEUE_BYTES
        return min(limit, MAX_SQS_MESSAGE_SIZE - 1) - _ROOM_FOR_ATTRIBUTES

    async def _facts(self, url: str) -> Mapping[str, str]:
        return await self.claims.facts.learn(self._sqs_client, url)


@dataclass(frozen=True, slots=True)
class _Received:
    """A message as SQS delivered it.

    Attributes:
        message: The message in SQS's answer.
        queue: The queue that it came from.
        url: The queue's URL.
        arrived: When (on the monotonic clock).
        asks_store: Whether opening it takes a call to the store.
    """

    message: Mapping[str, Any] = field(repr=False)
    queue: SQSQueue
    url: str
    arrived: float
    asks_store: bool

    @property
    def body(self) -> str:
        return cast("str", self.message["Body"])

    @property
    def handle(self) -> str:
        return cast("str", self.message["ReceiptHandle"])

    @property
    def message_id(self) -> str:
        return cast("str", self.message["MessageId"])

    @property
    def receive_count(self) -> int:
        return sqs.receive_count(self.message.get("Attributes"))

    def with_body(self, opened: Opened) -> Mapping[str, Any]:
        """The same message with the body that was sealed, and without our mark."""
        if opened.route == "inline":
            return self.message
        attributes = {**self.message.get("MessageAttributes", {})}
        attributes.pop(_MARK, None)
        return {**self.message, "Body": opened.body, "MessageAttributes": attributes}


class _Client:
    """The broker's client for SQS: a message that stays invisible keeps its claim."""

    def __init__(self, client: Any, claims: _Claims) -> None:
        self._client = client
        self._claims = claims

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def change_message_visibility(self, **request: Any) -> object:
        asked = time.monotonic()
        answer = await self._client.change_message_visibility(**request)
        handle, seconds = request["ReceiptHandle"], request["VisibilityTimeout"]
        opened = self._claims.held.get(handle)
        if opened is not None and handle not in self._claims.extending:
            # Not waited for: a store that does not answer must not make the message visible.
            self._claims.extending.add(handle)
            extend = partial(extend_lease, opened, seconds, asked=asked)
            extending = self._claims.threads.start(extend)
            extending.add_done_callback(lambda _: self._claims.extending.discard(handle))
        return answer


async def _pass_on(
    messages: AsyncGenerator[AckableMessage, None], to: MemoryObjectSendStream[AckableMessage]
) -> None:
    async with to, aclosing(messages):
        async for message in messages:
            await to.send(message)
