"""The client: checks a message, runs the middleware, and hands it to the queue."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypedDict, Unpack, cast, overload

from pydantic import BaseModel
from typing_extensions import TypeVar

from letsgo_queue import in_test
from letsgo_queue.async_threads import AsyncThreads
from letsgo_queue.attributes import AttributeValue
from letsgo_queue.durations import Duration
from letsgo_queue.errors import MessageInvalid, SettingsInvalid
from letsgo_queue.events import EnqueueResult, Listener, Listeners
from letsgo_queue.forking import Lock
from letsgo_queue.message import AnyMessage, MessageT, encode
from letsgo_queue.middleware import Middleware, ResultT_co, check_middleware, merge
from letsgo_queue.sending.many import Progress, send_many
from letsgo_queue.sending.one import Sending
from letsgo_queue.sending.options import Options, check_delay, check_group
from letsgo_queue.settings import QueueSettings, url_in_environment
from letsgo_queue.tracing import tracer
from letsgo_queue.transports import open_transport
from letsgo_queue.transports.base import Transport, check_queue

if TYPE_CHECKING:
    from letsgo_queue.transports.sqs_client import Session

OtherResultT = TypeVar("OtherResultT", bound=EnqueueResult)


class EnqueueOptions(TypedDict, total=False):
    """The options of `Client.enqueue`, which says what each means."""

    delay_seconds: Duration
    group_id: str | None
    deduplication_id: str | None
    attributes: Mapping[str, AttributeValue] | None
    queue: str | None


class EnqueueManyOptions(TypedDict, Generic[MessageT], total=False):
    """The options of `Client.enqueue_many`, which says what each means."""

    delay_seconds: Duration
    group_id: str | Callable[[MessageT], str] | None
    deduplication_id: Callable[[MessageT], str] | None
    attributes: Mapping[str, AttributeValue] | None
    queue: str | None
    progress: Progress | None
    keep_results: bool


class Client(Generic[ResultT_co]):
    """Sends messages to a queue.

        client = Client("sqlite:///work.db")
        client.enqueue({"type": "order:new", "payload": {"order_id": "42"}})

    A client opens each queue once, when it is first used, and may be shared by threads. A forked
    process can go on using it, with connections of its own. Its type parameter is the result of
    `enqueue`, which its middleware decides.
    """

    @overload
    def __init__(
        self: Client[EnqueueResult],
        queue: str | Transport | None = None,
        *,
        settings: QueueSettings | None = None,
        session: Session | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None: ...

    @overload
    def __init__(
        self,
        queue: str | Transport | None = None,
        *,
        settings: QueueSettings | None = None,
        middleware: Sequence[Middleware[ResultT_co]],
        session: Session | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None: ...

    def __init__(
        self,
        queue: str | Transport | None = None,
        *,
        settings: QueueSettings | None = None,
        middleware: Sequence[Middleware[ResultT_co]] = (),
        session: Session | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make a client; nothing is opened yet.

        Args:
            queue: Where messages go: a URL, or a transport made in code. By default the queue that
                the settings name.
            settings: Name the queue if `queue` does not; by default those of the environment.
            middleware: Runs for every message, the first outermost.
            session: The boto3 session for SQS. By default one is made from the environment.
            clock: Seconds since 1970.

        Raises:
            SettingsInvalid: `queue` is neither a URL nor a transport, or `middleware` is not a list
                of middleware.
        """
        check_queue(queue)
        self._clock = clock
        self._url = queue if isinstance(queue, str) else None
        self._given = None if isinstance(queue, str) else queue
        self._settings = settings
        self._session = session
        self._middleware = merge(check_middleware(middleware))
        self._listeners = Listeners()
        self._transports: dict[str | None, Transport] = {}
        self._threads = AsyncThreads("letsgo-aenqueue")
        self._lock = Lock()

    @property
    def middleware(self) -> tuple[Middleware, ...]:
        """The middleware that runs for every message, the first outermost."""
        return self._middleware

    def add_listener(self, listener: Listener) -> None:
        """Call `listener` with an event for every message sent from now on."""
        self._listeners.add(listener)

    def add_middleware(self, middleware: Middleware) -> None:
        """Add middleware inside the others. It replaces middleware of the same `kind`.

        Type checkers do not see what it adds to the result of `enqueue`: see `using`.
        """
        self._middleware = merge((*self._middleware, *check_middleware([middleware])))

    def using(self, *middleware: Middleware[OtherResultT]) -> Client[OtherResultT]:
        """A client on the same queues and listeners, with `middleware` added inside."""
        client = cast("Client[OtherResultT]", copy.copy(self))
        client._middleware = merge((*client._middleware, *check_middleware(middleware)))
        return client

    def transport(self, queue: str | None = None) -> Transport:
        """The queue that `queue` names, or the client's own; opened on first use and kept.

        Raises:
            SettingsInvalid: It names no queue.
        """
        return self._transport_of(self._url_of(queue))

    def _transport_of(self, url: str | None) -> Transport:
        # One transport for a queue, also where one call names it and another does not.
        if self._given is not None and self._given.url == url:
            return self._given
        if (test := in_test.surroundings()) is not None:
            return test.queue(url)
        try:
            known = self._transports.get(url)
        except TypeError:  # a list, or the like
            known = None
        return known or self._open(url)

    def _url_of(self, queue: str | None) -> str | None:
        if queue is None and self._given is not None:
            return self._given.url
        settings = self._settings
        return queue or self._url or (settings.url if settings else url_in_environment())

    def _open(self, url: str | None) -> Transport:
        if not isinstance(url, str | None):
            raise SettingsInvalid(f"a queue is named by its URL, not by a {type(url).__name__}.")
        with self._lock:
            if url not in self._transports:
                settings = self._settings or QueueSettings.from_environment()
                self._transports[url] = open_transport(url, settings, session=self._session)
            return self._transports[url]

    def enqueue(
        self,
        message: AnyMessage,
        *,
        delay_seconds: Duration = 0,
        group_id: str | None = None,
        deduplication_id: str | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
        queue: str | None = None,
    ) -> ResultT_co:
        """Put a message on the queue.

        Args:
            message: A `Message`, or a mapping with `type` and `payload`.
            delay_seconds: Seconds until a handler gets it, rounded up, or a timedelta; up to
                1,209,600 (14 days). Over 900, SQS's limit, the worker sends it on until it is due.
            group_id: Message group; a FIFO queue needs one.
            deduplication_id: A FIFO queue drops a second message with the same id for 5 minutes.
                By default the SHA-256 of the body if the queue deduplicates by content, else a new
                id.
            attributes: Up to 10 message attributes: text, numbers or bytes.
            queue: URL of another queue than the client's own.

        Raises:
            MessageInvalid: The message or an option breaks a rule; nothing was sent.
            MessageTooLarge: Over what the queue accepts; nothing was sent.
            SendFailed: The queue refused it or could not be reached; nothing is on the queue.
            SendUncertain: The answer was lost; it may be on the queue.
            QueueNotFound: The queue does not exist; nothing was sent.
            QueueUnavailable: It could not be asked what it accepts; nothing was sent.
            SettingsInvalid: There is no queue, or it cannot be used.
        """
        url = self._url_of(queue)
        with self._sending(message, url) as sending:
            options = Options.check(delay_seconds, attributes, group_id, deduplication_id)
            transport = self._transport_of(url)
            sending.apply(options, transport, in_test.now(self._clock))
        sending.prepare(transport)
        try:
            with tracer().send([sending.span], transport.url):
                message_id = transport.send(sending.outgoing)
        except Exception as error:
            sending.failed(error)
            raise
        # The middleware declares its class.
        return cast("ResultT_co", sending.sent(message_id))

    def enqueue_many(
        self,
        messages: Iterable[MessageT],
        *,
        delay_seconds: Duration = 0,
        group_id: str | Callable[[MessageT], str] | None = None,
        deduplication_id: Callable[[MessageT], str] | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
        queue: str | None = None,
        progress: Progress | None = None,
        keep_results: bool = True,
    ) -> list[ResultT_co]:
        """Put many messages on the queue, in batches as large as it accepts.

        Only messages under way are in memory, so `messages` may be a generator of any length. A
        message that is refused does not keep the others back. If the queue or a store cannot be
        reached, the sending ends there.

        Args:
            messages: The messages; each as `enqueue` takes it.
            delay_seconds: For every message, as in `enqueue`.
            group_id: Message group of all, or a function that gives each message's.
            deduplication_id: Gives each message's; by default as in `enqueue`.
            attributes: For every message, as in `enqueue`.
            queue: URL of another queue than the client's own.
            progress: Called after each batch with how many messages were sent, and how many
                failed, so far.
            keep_results: False returns no results, to save memory with very many messages.

        Returns:
            One result per message, in order.

        Raises:
            EnqueueManyError: Some were not sent; it says which, and why.
            MessageInvalid: An option for all breaks a rule; nothing was sent.
            SettingsInvalid: There is no queue, or it cannot be used.
        """
        single = isinstance(messages, str | bytes | Mapping | BaseModel)
        if single or not isinstance(messages, Iterable):
            raise MessageInvalid(
                f"enqueue_many takes an iterable of messages, not {type(messages).__name__}. A "
                "single message is sent with enqueue."
            )
        options = Options.check(delay_seconds, attributes)
        if deduplication_id is not None and not callable(deduplication_id):
            raise MessageInvalid(
                "enqueue_many takes a function as deduplication_id, which gives each message's: "
                "with one id for all a FIFO queue would drop all but the first."
            )
        transport = self.transport(queue)
        check_delay(options.delay_seconds, transport)
        if not callable(group_id):
            check_group(group_id, transport)

        def start(message: MessageT) -> Sending:
            sending = self._sending(message, transport.url)
            own = replace(
                options,
                group_id=group_id(message) if callable(group_id) else group_id,
                deduplication_id=deduplication_id(message) if deduplication_id else None,
            )
            with sending:
                sending.apply(own, transport, in_test.now(self._clock))
            return sending

        results = send_many(
            messages, start, transport, progress=progress, keep_results=keep_results
        )
        return cast("list[ResultT_co]", results)

    def _sending(self, message: AnyMessage, url: str | None) -> Sending:
        test = in_test.surroundings()
        return Sending(
            *encode(message),
            queue=url or "",
            middleware=self._middleware if test is None else (test.recorder, *self._middleware),
            listeners=self._listeners,
        )

    async def aenqueue(self, message: AnyMessage, **options: Unpack[EnqueueOptions]) -> ResultT_co:
        """`enqueue` for asyncio: the same, on one of 50 threads of the client's own.

        Cancelling it does not take the message back. If it still waited for a thread, it is not
        sent. If a thread was sending it, it may be on the queue, as after `SendUncertain`.
        """
        return await self._threads.run(lambda: self.enqueue(message, **options))

    async def aenqueue_many(
        self, messages: Iterable[MessageT], **options: Unpack[EnqueueManyOptions[MessageT]]
    ) -> list[ResultT_co]:
        """`enqueue_many` for asyncio: the same, on a thread of the client's own.

        Cancelling it takes nothing back, and stops nothing that a thread has begun: the thread
        sends what is left.
        """
        return await self._threads.run(lambda: self.enqueue_many(messages, **options))

    def close(self) -> None:
        """Close the queues that this client opened, and end its threads."""
        self._threads.close()
        with self._lock:
            for transport in set(self._transports.values()):
                transport.close()
            self._transports.clear()
