"""The worker: takes messages from the queue, or from AWS Lambda, and runs their handlers.

A message is acknowledged after its handler returned, and kept invisible to other workers as long
as it runs. One whose handler raised is delivered again, when and how often the retry policy says;
without one, when its visibility timeout ends, and as often as the queue's redrive policy has it.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar, overload

from pydantic import BaseModel

from letsgo_queue.aws_lambda.batches import BatchResponse
from letsgo_queue.aws_lambda.events import LambdaEvents
from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.events import Listener, Listeners
from letsgo_queue.middleware import Middleware, merge
from letsgo_queue.sending.client import Client
from letsgo_queue.sending.default import default_client
from letsgo_queue.settings import local_port
from letsgo_queue.transports.base import MAX_VISIBILITY_SECONDS, Transport
from letsgo_queue.worker.acknowledging import Acknowledger
from letsgo_queue.worker.envelopes import Envelope, check_envelopes
from letsgo_queue.worker.event_loop import EventLoopThread
from letsgo_queue.worker.handler import HandlerFunction
from letsgo_queue.worker.heartbeat import Heartbeat
from letsgo_queue.worker.polling import Poller
from letsgo_queue.worker.processing import Processor
from letsgo_queue.worker.registry import Registry, ScheduledFunction
from letsgo_queue.worker.retries import RetryPolicy
from letsgo_queue.worker.signals import stop_on_signals

HandlerT = TypeVar("HandlerT", bound=HandlerFunction)
ScheduledT = TypeVar("ScheduledT", bound=ScheduledFunction)

logger = logging.getLogger(__name__)

DEFAULT_CONCURRENCY = 10
DEFAULT_PREFETCH = 50
MAX_WAIT_SECONDS = 20
"""The longest long poll that SQS allows."""

LOCAL_HOST = "127.0.0.1"
MAX_PORT = 65_535


class Worker:
    """Runs handlers for the messages of a queue.

    worker = Worker()

    @worker.handler(OrderNew)
    def on_order(message: OrderNew) -> None: ...

    worker.run()
    """

    def __init__(
        self,
        queue: str | Transport | None = None,
        *,
        client: Client | None = None,
        middleware: Sequence[Middleware] = (),
        concurrency: int = DEFAULT_CONCURRENCY,
        prefetch: int = DEFAULT_PREFETCH,
        visibility_timeout: int | None = None,
        wait_seconds: int = MAX_WAIT_SECONDS,
        retry_policy: RetryPolicy | None = None,
        envelopes: Collection[Envelope] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make a worker; the queue is opened when it runs.

        Args:
            queue: The queue to take messages from: a URL, or a transport made in code. By default
                that of the client.
            client: Whose queue it is, and whose middleware runs around every handler; by default
                the default client.
            middleware: Runs around every handler, inside that of the client, the first outermost.
            concurrency: Messages handled at once, each on a thread.
            prefetch: Messages that may wait in the worker, kept invisible, where handlers are so
                quick that they are begun within a tenth of a second. 0 receives only what is begun
                at once; so does a FIFO queue.
            visibility_timeout: Seconds that a message stays invisible to other workers, 1 to
                43,200; None for the queue's own. It is extended while the handler runs.
            wait_seconds: Seconds that one long poll waits, 0 to 20.
            retry_policy: When a message that failed is delivered again, and how often; by default
                as the queue has it.
            envelopes: Services whose envelopes around messages are opened: `sns` (unless raw
                message delivery is on for the subscription) and `eventbridge`. An event of
                EventBridge whose detail is no message is one of the type `detail-type`, with the
                detail as its payload.
            clock: Seconds since 1970.

        Raises:
            SettingsInvalid: A number is out of range, or an envelope is not known.
        """
        _check_range("concurrency", concurrency, 1, None)
        _check_range("prefetch", prefetch, 0, None)
        _check_range("wait_seconds", wait_seconds, 0, MAX_WAIT_SECONDS)
        if visibility_timeout is not None:
            _check_range("visibility_timeout", visibility_timeout, 1, MAX_VISIBILITY_SECONDS)
        if retry_policy is not None and not isinstance(retry_policy, RetryPolicy):
            raise SettingsInvalid(
                f"retry_policy is {type(retry_policy).__name__}: give a RetryPolicy(...)."
            )
        self._queue = queue
        self._client = client
        self._middleware = tuple(middleware)
        self._concurrency = concurrency
        self._prefetch = prefetch
        self._visibility_timeout = visibility_timeout
        self._wait_seconds = wait_seconds
        self._retry_policy = retry_policy
        self._envelopes = check_envelopes(envelopes)
        self._clock = clock
        self._event_loop = EventLoopThread()
        self._registry = Registry()
        self._listeners = Listeners()
        self._stopping = threading.Event()

    def handler(
        self, messages: type[BaseModel] | str, /, *, retry_policy: RetryPolicy | None = None
    ) -> Callable[[HandlerT], HandlerT]:
        """Decorate the handler of a kind of message.

            @worker.handler(OrderNew)
            def on_order(message: OrderNew) -> None: ...

        The handler takes `(message)` or `(message, delivery)`, sync or async, and may return
        anything. The message is validated against its annotation: a `Message` subclass, another
        pydantic model, or `dict`; without one, against the model given here. The handler may raise
        `Retry` and `Reject`.

        Args:
            messages: A model whose `type` is fixed, or the type: `"order:new"`.
            retry_policy: In place of the worker's own.

        Raises:
            SettingsInvalid: The model has no type of its own, the type has a handler already, the
                signature does not fit, or the annotation is a model of another type.
        """
        is_model = isinstance(messages, type) and issubclass(messages, BaseModel)
        if not is_model and not isinstance(messages, str):
            raise SettingsInvalid(
                'say which messages: @worker.handler(OrderNew) or @worker.handler("order:new").'
            )

        def register(function: HandlerT) -> HandlerT:
            self._registry.add(messages, function, retry_policy=retry_policy)
            return function

        return register

    @overload
    def default(self, function: HandlerT, /) -> HandlerT: ...

    @overload
    def default(
        self, function: None = None, /, *, retry_policy: RetryPolicy
    ) -> Callable[[HandlerT], HandlerT]: ...

    def default(
        self, function: HandlerT | None = None, /, *, retry_policy: RetryPolicy | None = None
    ) -> HandlerT | Callable[[HandlerT], HandlerT]:
        """Decorate the handler of all types that have none.

        Args:
            function: The handler.
            retry_policy: In place of the worker's own: `@worker.default(retry_policy=...)`.

        Raises:
            SettingsInvalid: There is one already, or the signature does not fit.
        """

        def register(function: HandlerT) -> HandlerT:
            self._registry.set_default(function, retry_policy=retry_policy)
            return function

        return register if function is None else register(function)

    def scheduled(self, function: ScheduledT) -> ScheduledT:
        """Decorate the handler of the events that an EventBridge schedule sends to Lambda.

        It takes `(event)`, the event as EventBridge has it, sync or async.

        Raises:
            SettingsInvalid: There is one already, or the signature does not fit.
        """
        self._registry.set_scheduled(function)
        return function

    def add_listener(self, listener: Listener) -> None:
        """Call `listener` with an event for every message handled, skipped or failed."""
        self._listeners.add(listener)

    def run(self, *, burst: bool = False, concurrency: int | None = None) -> None:
        """Take and handle messages until stopped.

        On the main thread SIGTERM and SIGINT stop it: what is in process is finished, and what was
        received but is not begun within a second is given back. A second signal is not caught.

        Args:
            burst: Stop by itself once the queue has nothing more to receive and the handlers are
                done; for tests and scheduled jobs. A message that is held for over 30 s, for
                another delivery's claim, is given back.
            concurrency: In place of the worker's own.

        Raises:
            SettingsInvalid: `concurrency` is below 1.
            LetsGoQueueError: The queue cannot be used at all (it is missing, or access is denied).
        """
        concurrency = self._concurrency if concurrency is None else concurrency
        _check_range("concurrency", concurrency, 1, None)
        transport = self._transport()
        self._prepare(transport.url)
        heartbeat = Heartbeat(concurrency)
        # In a FIFO group the next message waits until the one before it is acknowledged.
        acknowledger = None if transport.fifo else Acknowledger(transport)
        processor = self._processor(heartbeat=heartbeat, acknowledger=acknowledger)
        poller = Poller(
            transport,
            processor,
            concurrency=concurrency,
            prefetch=self._prefetch,
            wait_seconds=0 if burst else self._wait_seconds,
            visibility_timeout=self._visibility_timeout,
            stopping=self._stopping,
        )
        logger.info("worker started on %s, %d at once", transport.url, concurrency)
        with stop_on_signals(self.stop):
            try:
                poller.run(until_empty=burst)
            finally:
                if acknowledger is not None:
                    acknowledger.close()
                self._event_loop.stop()
                heartbeat.stop()
                self._stopping.clear()
        logger.info("worker stopped")

    def lambda_handler(
        self, event: Mapping[str, Any] | Sequence[Mapping[str, Any]], context: object
    ) -> BatchResponse | None:
        """The function for AWS Lambda: `handler = worker.lambda_handler`.

        The messages of an SQS event run at once, up to `concurrency`; on a FIFO queue those of a
        group in order. So do those of the list that EventBridge Pipes sends. A scheduled event of
        EventBridge goes to `@worker.scheduled`.

        The event source mapping must report batch item failures: else Lambda ignores the answer,
        and deletes what failed.

        Args:
            event: What Lambda was triggered with.
            context: Lambda's context; the claims are held for the time it says remains.

        Returns:
            The messages to deliver again; on a FIFO queue also those after one in its group. None
            for a scheduled event.

        Raises:
            MessageInvalid: The event is of another kind.
            HandlerMissing: A scheduled event came, for which there is no handler.
            SettingsInvalid: A handler or a setting is wrong; every message is delivered again.
        """
        return self._lambda_events.handle(event, context)

    def serve(
        self,
        *,
        host: str = LOCAL_HOST,
        port: int | None = None,
        concurrency: int | None = None,
        on_ready: Callable[[str], None] | None = None,
    ) -> None:
        """Handle the messages that are posted to this machine, until stopped: LetsGo's local mode.

        Senders have `LETSGO_LOCAL_QUEUE_URL=http://localhost:3002`; this worker's own queue is left
        alone. Messages are handled at once and never again: a delay is not observed, and one that
        fails is logged and dropped. It stops as `run` does; what was accepted is handled first.

        Args:
            host: The name or address to listen on; whoever reaches it can have messages handled.
            port: The port, 0 to 65,535; 0 for one that is free. By default `PORT`, as LetsGo's own
                worker has it, and else 3002.
            concurrency: Messages handled at once, in place of the worker's own.
            on_ready: Called with the address once messages are taken.

        Raises:
            SettingsInvalid: One cannot listen there, or waitress is not installed.
        """
        from letsgo_queue.local_http.server import LocalHttpServer

        port = local_port() if port is None else port
        _check_range("port", port, 0, MAX_PORT)
        concurrency = self._concurrency if concurrency is None else concurrency
        _check_range("concurrency", concurrency, 1, None)
        server = LocalHttpServer(
            self._processor(),
            host=host,
            port=port,
            concurrency=concurrency,
            stopping=self._stopping,
        )
        try:
            self._prepare(server.url)
            with stop_on_signals(self.stop):
                if on_ready is not None:
                    on_ready(server.url)
                server.run()
        finally:
            server.close()
            self._event_loop.stop()
            self._stopping.clear()
        logger.info("worker stopped")

    def stop(self) -> None:
        """Have `run` or `serve` return once what is in hand is finished, also if about to start.

        Safe from any thread. On SQS the long poll that is under way ends first (`wait_seconds`).
        """
        self._stopping.set()

    @cached_property
    def _lambda_events(self) -> LambdaEvents:
        client = self._client or default_client()
        return LambdaEvents(
            self._processor(),
            prepare=functools.cache(self._prepare),
            open_queue=client.transport,
            concurrency=self._concurrency,
        )

    def _prepare(self, queue: str) -> None:
        """Have what is wrong with handlers and settings show before the first message."""
        self._registry.prepare()
        for middleware in (*self._middleware_around_all(), *self._registry.middleware()):
            middleware.prepare(queue)

    def _processor(
        self,
        *,
        heartbeat: Heartbeat | None = None,
        acknowledger: Acknowledger | None = None,
    ) -> Processor:
        return Processor(
            self._registry,
            middleware=self._middleware_around_all(),
            emit=self._listeners.emit,
            event_loop=self._event_loop,
            retry_policy=self._retry_policy,
            envelopes=self._envelopes,
            heartbeat=heartbeat,
            acknowledger=acknowledger,
            clock=self._clock,
        )

    def _middleware_around_all(self) -> tuple[Middleware, ...]:
        client = self._client or default_client()
        return merge(client.middleware, self._middleware)

    def _transport(self) -> Transport:
        if self._queue is not None and not isinstance(self._queue, str):
            return self._queue
        return (self._client or default_client()).transport(self._queue)


def _check_range(name: str, value: int, lowest: int, highest: int | None) -> None:
    if value < lowest or (highest is not None and value > highest):
        allowed = f"at least {lowest}" if highest is None else f"{lowest} to {highest:,}"
        raise SettingsInvalid(f"{name}={value}: a worker takes {allowed}.")
