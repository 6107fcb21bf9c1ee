"""The client: checks a message, runs the middleware, and hands it to the queue."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, TypedDict, Unpack

from pydantic import BaseModel

from letsgo_queue.attributes import AttributeValue, MessageAttribute, check_attributes
from letsgo_queue.delays import with_due_time
from letsgo_queue.errors import LetsGoQueueError, MessageInvalid
from letsgo_queue.events import EnqueueResult, Listener, Listeners
from letsgo_queue.message import AnyMessage, MessageT, encode
from letsgo_queue.middleware import Middleware, merge
from letsgo_queue.sending.many import Progress, send_many
from letsgo_queue.sending.one import Sending, not_sent
from letsgo_queue.sending.options import check_delay, check_group, make_deduplication_id
from letsgo_queue.settings import QueueSettings, url_in_environment
from letsgo_queue.transports import open_transport
from letsgo_queue.transports.base import OutgoingMessage, Transport


class EnqueueOptions(TypedDict, total=False):
    """The options of `Client.enqueue`, which says what each means."""

    delay_seconds: float
    group_id: str | None
    deduplication_id: str | None
    attributes: Mapping[str, AttributeValue] | None
    queue: str | None


class EnqueueManyOptions(TypedDict, Generic[MessageT], total=False):
    """The options of `Client.enqueue_many`, which says what each means."""

    delay_seconds: float
    group_id: str | Callable[[MessageT], str] | None
    deduplication_id: Callable[[MessageT], str] | None
    attributes: Mapping[str, AttributeValue] | None
    queue: str | None
    progress: Progress | None
    keep_results: bool


class Client:
    """Sends messages to a queue.

        client = Client("sqlite:///work.db")
        client.enqueue({"type": "order:new", "payload": {"order_id": "42"}})

    A client opens each queue once, when it is first used, and may be shared by threads.
    """

    def __init__(
        self,
        queue: str | Transport | None = None,
        *,
        settings: QueueSettings | None = None,
        middleware: Sequence[Middleware] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make a client; nothing is opened yet.

        Args:
            queue: Where messages go: a URL, or a transport made in code. By default what the
                settings say.
            settings: Where to look without a `queue`; by default the environment.
            middleware: Runs for every message, the first outermost.
            clock: Seconds since 1970.
        """
        self._clock = clock
        self._url = queue if isinstance(queue, str) else None
        self._given = None if isinstance(queue, str) else queue
        self._settings = settings
        self._middleware = tuple(middleware)
        self._listeners = Listeners()
        self._transports: dict[str | None, Transport] = {}
        self._lock = threading.Lock()

    @property
    def middleware(self) -> tuple[Middleware, ...]:
        """The middleware that runs for every message, the first outermost."""
        return self._middleware

    def add_listener(self, listener: Listener) -> None:
        """Call `listener` with an event for every message sent from now on."""
        self._listeners.add(listener)

    def add_middleware(self, middleware: Middleware) -> None:
        """Add middleware inside what is there; it replaces middleware of its own class."""
        self._middleware = merge(self._middleware, (middleware,))

    def transport(self, queue: str | None = None) -> Transport:
        """The queue that `queue` names, or the client's own; opened on first use and kept.

        Raises:
            SettingsInvalid: It names no queue.
        """
        if queue is None and self._given is not None:
            return self._given
        settings = self._settings
        # One transport for a queue, also where one call names it and another does not.
        url = queue or self._url or (settings.url if settings else url_in_environment())
        return self._transports.get(url) or self._open(url)

    def _open(self, url: str | None) -> Transport:
        with self._lock:
            if url not in self._transports:
                settings = self._settings or QueueSettings.from_environment()
                self._transports[url] = open_transport(url, settings)
            return self._transports[url]

    def enqueue(
        self,
        message: AnyMessage,
        *,
        delay_seconds: float = 0,
        group_id: str | None = None,
        deduplication_id: str | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
        queue: str | None = None,
    ) -> EnqueueResult:
        """Put a message on the queue.

        Args:
            message: A `Message`, or a mapping with `type` and `payload`.
            delay_seconds: Seconds until a handler gets it, rounded up, to 1,209,600 (14 days).
                Over 900, SQS's limit, the worker sends it on until it is due.
            group_id: Message group; a FIFO queue needs one.
            deduplication_id: A FIFO queue drops a second message with the same id for 5 minutes.
                By default the SHA-256 of the body where the queue deduplicates by content, else a
                new one.
            attributes: Up to 10 message attributes: text, numbers or bytes.
            queue: URL of another queue than the client's own.

        Raises:
            MessageInvalid: The message or an option breaks a rule; nothing was sent.
            MessageTooLarge: Over what the queue accepts; nothing was sent.
            SendFailed: The queue refused it or could not be reached; nothing is on the queue.
            SendUncertain: The answer was lost; it may be on the queue.
            QueueUnavailable: It could not be asked what it accepts; nothing was sent.
            SettingsInvalid: No queue, or none that can be used.
        """
        message_type, body = encode(message)
        try:
            checked = check_attributes(attributes)
        except MessageInvalid as error:
            # Before the queue is looked for, which may take a request.
            self._refused(message_type, body, queue or self._url or "", error)
            raise
        transport = self.transport(queue)
        sending = self._start(
            message_type,
            body,
            transport,
            attributes=checked,
            delay_seconds=delay_seconds,
            group_id=group_id,
            deduplication_id=deduplication_id,
        )
        sending.prepare()
        try:
            message_id = transport.send(sending.outgoing)
        except Exception as error:
            sending.failed(error)
            raise
        return sending.sent(message_id)

    def enqueue_many(
        self,
        messages: Iterable[MessageT],
        *,
        delay_seconds: float = 0,
        group_id: str | Callable[[MessageT], str] | None = None,
        deduplication_id: Callable[[MessageT], str] | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
        queue: str | None = None,
        progress: Progress | None = None,
        keep_results: bool = True,
    ) -> list[EnqueueResult]:
        """Put many messages on the queue, in batches as large as it accepts.

        Only what is under way is in memory, so `messages` may be a generator of any length. A
        message that is refused for what it is keeps no other back. Where the queue or a store
        cannot be reached, the sending ends there.

        Args:
            messages: The messages; each as `enqueue` takes it.
            delay_seconds: For every message, as in `enqueue`.
            group_id: Message group of all, or a function that gives each message's.
            deduplication_id: Gives each message's; by default as in `enqueue`.
            attributes: For every message, as in `enqueue`.
            queue: URL of another queue than the client's own.
            progress: Called after each batch with how many messages were sent, and how many
                failed, so far.
            keep_results: False, for more messages than results should be kept of, returns none.

        Returns:
            One result per message, in order.

        Raises:
            EnqueueManyError: Some were not sent; it says which, and why.
            MessageInvalid: An option for all breaks a rule; nothing was sent.
            SettingsInvalid: No queue, or none that can be used.
        """
        if isinstance(messages, str | bytes | Mapping | BaseModel):
            raise MessageInvalid(
                f"enqueue_many takes an iterable of messages, not {type(messages).__name__}. A "
                "single message is sent with enqueue."
            )
        checked = check_attributes(attributes)
        transport = self.transport(queue)
        delay = check_delay(delay_seconds, transport)
        if not callable(group_id):
            check_group(group_id, transport)

        def start(message: MessageT) -> Sending:
            message_type, body = encode(message)
            return self._start(
                message_type,
                body,
                transport,
                attributes=checked,
                delay_seconds=delay,
                group_id=group_id(message) if callable(group_id) else group_id,
                deduplication_id=deduplication_id(message) if deduplication_id else None,
            )

        return send_many(messages, start, transport, progress=progress, keep_results=keep_results)

    def _start(
        self,
        message_type: str,
        body: bytes,
        transport: Transport,
        *,
        attributes: Mapping[str, MessageAttribute],
        delay_seconds: float,
        group_id: str | None,
        deduplication_id: str | None,
    ) -> Sending:
        try:
            delay = check_delay(delay_seconds, transport)
            outgoing = OutgoingMessage(
                type=message_type,
                body=body,
                attributes=with_due_time(attributes, delay, self._clock()),
                delay_seconds=delay,
                group_id=check_group(group_id, transport),
                deduplication_id=make_deduplication_id(deduplication_id, body, transport),
            )
        except LetsGoQueueError as error:
            self._refused(message_type, body, transport.url, error, attributes)
            raise
        return Sending(outgoing, transport, self._middleware, self._listeners)

    def _refused(
        self,
        message_type: str,
        body: bytes,
        queue: str,
        error: LetsGoQueueError,
        attributes: Mapping[str, MessageAttribute] | None = None,
    ) -> None:
        """Tell listeners of a message whose options break a rule."""
        refused = OutgoingMessage(type=message_type, body=body, attributes=attributes or {})
        self._listeners.emit(not_sent(refused, queue, len(body), error))

    async def aenqueue(
        self, message: AnyMessage, **options: Unpack[EnqueueOptions]
    ) -> EnqueueResult:
        """`enqueue` for asyncio: the same, on a thread, so that the event loop stays free."""
        import asyncio

        return await asyncio.to_thread(self.enqueue, message, **options)

    async def aenqueue_many(
        self, messages: Iterable[MessageT], **options: Unpack[EnqueueManyOptions[MessageT]]
    ) -> list[EnqueueResult]:
        """`enqueue_many` for asyncio: the same, on a thread, so that the event loop stays free."""
        import asyncio

        return await asyncio.to_thread(lambda: self.enqueue_many(messages, **options))

    def using(self, *middleware: Middleware) -> Client:
        """A client on the same queues and listeners, with `middleware` added."""
        client = copy.copy(self)
        for each in middleware:
            client.add_middleware(each)
        return client

    def close(self) -> None:
        """Close the queues that this client opened."""
        with self._lock:
            for transport in set(self._transports.values()):
                transport.close()
            self._transports.clear()
