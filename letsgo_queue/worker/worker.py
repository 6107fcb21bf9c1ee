"""The worker: takes messages from the queue, and runs their handlers.

A message is acknowledged after its handler returned. One whose handler raised is left alone: it
becomes visible again when its visibility timeout ends, and the queue's own redrive policy decides
how often.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from letsgo_queue.client import Client, default_client
from letsgo_queue.delivery import Delivery, Visibility
from letsgo_queue.errors import LetsGoQueueError, MessageInvalid, QueueUnavailable, SettingsInvalid
from letsgo_queue.events import Event, Listener, MessageFailed, MessageHandled, MessageSkipped
from letsgo_queue.listeners import Listeners
from letsgo_queue.message import peek
from letsgo_queue.middleware import Handle, Middleware, merge
from letsgo_queue.transports.base import (
    MAX_RECEIVE,
    MAX_VISIBILITY_SECONDS,
    ReceivedMessage,
    Transport,
)
from letsgo_queue.worker.event_loop import EventLoopThread
from letsgo_queue.worker.registry import Handler, HandlerT, Registry
from letsgo_queue.worker.signals import stop_on_signals

logger = logging.getLogger(__name__)

DEFAULT_CONCURRENCY = 10
MAX_WAIT_SECONDS = 20
"""The longest long poll that SQS allows."""
BURST_PAUSE_SECONDS = 0.05
"""The pause, while handlers run, before an empty queue is asked again."""
MAX_PAUSE_SECONDS = 30.0
"""The longest pause between two attempts to reach a queue that does not answer."""


class Worker:
    """Runs handlers for the messages of a queue.

    worker = Worker()

    @worker.handler("order:new")
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
        visibility_timeout: int | None = None,
        wait_seconds: int = MAX_WAIT_SECONDS,
    ) -> None:
        """Make a worker; the queue is opened when it runs.

        Args:
            queue: The queue to take messages from: a URL, or a transport made in code. By default
                that of the client.
            client: Whose queue it is; by default the default client.
            middleware: Runs around every handler, the first outermost.
            concurrency: Messages handled at once, each on a thread.
            visibility_timeout: Seconds that a message stays invisible to other workers while it
                is handled, 0 to 43,200; None for the queue's own.
            wait_seconds: Seconds that one long poll waits, 0 to 20.

        Raises:
            SettingsInvalid: A number is out of range.
        """
        _check_range("concurrency", concurrency, 1, None)
        _check_range("wait_seconds", wait_seconds, 0, MAX_WAIT_SECONDS)
        if visibility_timeout is not None:
            _check_range("visibility_timeout", visibility_timeout, 0, MAX_VISIBILITY_SECONDS)
        self._queue = queue
        self._client = client
        self._middleware = tuple(middleware)
        self._concurrency = concurrency
        self._visibility_timeout = visibility_timeout
        self._wait_seconds = wait_seconds
        self._registry = Registry()
        self._listeners = Listeners()
        self._loop = EventLoopThread()
        self._stopping = threading.Event()
        self._free = threading.Semaphore(concurrency)

    def handler(self, message_type: str) -> Callable[[HandlerT], HandlerT]:
        """Decorate the handler of a message type.

        It takes `(message)` or `(message, delivery)`, sync or async. The message is validated
        against its annotation: a `Message` subclass, another pydantic model, or `dict`.

        Raises:
            SettingsInvalid: The type has a handler already, or the signature does not fit.
        """

        def register(function: HandlerT) -> HandlerT:
            self._registry.add(message_type, function)
            return function

        return register

    def default(self, function: HandlerT) -> HandlerT:
        """Decorate the handler of all types that have none.

        Raises:
            SettingsInvalid: There is one already, or the signature does not fit.
        """
        self._registry.set_default(function)
        return function

    def add_listener(self, listener: Listener) -> None:
        """Call `listener` with an event for every message handled, skipped or failed."""
        self._listeners.add(listener)

    def run(self, *, burst: bool = False) -> None:
        """Take and handle messages until stopped.

        On the main thread SIGTERM and SIGINT stop it: what is in hand is finished, what was
        received but not begun is given back. A second signal is not caught.

        Args:
            burst: Stop by itself once the queue has nothing more to receive and the handlers are
                done; for tests and scheduled jobs.

        Raises:
            LetsGoQueueError: The queue cannot be used at all (it is missing, or access is denied).
        """
        self._registry.prepare()
        transport = self._transport()
        self._stopping.clear()
        logger.info("worker started on %s, %d at once", transport.url, self._concurrency)
        pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="letsgo-worker")
        with stop_on_signals(self.stop), pool:
            try:
                self._poll(transport, pool, burst=burst)
            finally:
                pool.shutdown(wait=True)
                self._loop.stop()
        logger.info("worker stopped")

    def stop(self) -> None:
        """Have `run` return once what is in hand is finished. Safe from any thread."""
        self._stopping.set()

    def _transport(self) -> Transport:
        if self._queue is not None and not isinstance(self._queue, str):
            return self._queue
        return (self._client or default_client()).transport(self._queue)

    def _poll(self, transport: Transport, pool: ThreadPoolExecutor, *, burst: bool) -> None:
        wait_seconds = 0 if burst else self._wait_seconds
        reached = False
        failures = 0
        while not self._stopping.is_set():
            # Asked before the queue is: a handler that ends now may just have sent a message.
            idle = burst and self._is_idle()
            slots = self._take_slots()
            messages: Sequence[ReceivedMessage] = []
            try:
                if not self._stopping.is_set():
                    messages = transport.receive(
                        max_messages=slots,
                        wait_seconds=wait_seconds,
                        visibility_timeout=self._visibility_timeout,
                    )
                    reached, failures = True, 0
            except QueueUnavailable as error:
                if not (reached or error.retryable):
                    raise
                pause = min(2.0**failures, MAX_PAUSE_SECONDS)
                failures += 1
                logger.warning("%s Trying again in %.0f s.", error, pause)
                self._stopping.wait(pause)
            finally:
                for _ in range(slots - len(messages)):
                    self._free.release()
            if self._stopping.is_set():
                self._give_back(transport, messages)
                return
            for message in messages:
                pool.submit(self._process, transport, message)
            if burst and not messages:
                if idle:
                    return
                self._stopping.wait(BURST_PAUSE_SECONDS)

    def _take_slots(self) -> int:
        """Wait for a free thread, and take up to ten: nothing is received that has to wait."""
        self._free.acquire()
        slots = 1
        while slots < MAX_RECEIVE and self._free.acquire(blocking=False):
            slots += 1
        return slots

    def _is_idle(self) -> bool:
        """Whether no handler runs."""
        taken = 0
        while taken < self._concurrency and self._free.acquire(blocking=False):
            taken += 1
        if taken:
            self._free.release(taken)
        return taken == self._concurrency

    def _give_back(self, transport: Transport, messages: Sequence[ReceivedMessage]) -> None:
        for message in messages:
            self._free.release()
            try:
                transport.change_visibility(message, 0)
            except LetsGoQueueError as error:
                logger.warning("message %s comes again later: %s", message.message_id, error)

    def _process(self, transport: Transport, received: ReceivedMessage) -> None:
        attempt = _Attempt(transport, received, self._listeners.emit)
        try:
            try:
                delivery = attempt.delivery()
                handler = self._registry.find(received.message_id, delivery.type)
                middleware = merge(self._middleware, handler.middleware)
                _chain(middleware, self._ending_in(handler, attempt))(delivery)
            except BaseException as error:  # noqa: BLE001
                # On a thread of the pool there is nobody above: whatever a handler raises,
                # SystemExit and a cancelled task included, is the failure of its message.
                attempt.failed(error)
            else:
                attempt.succeeded()
        finally:
            self._free.release()

    def _ending_in(self, handler: Handler, attempt: _Attempt) -> Handle:
        def handle(delivery: Delivery) -> None:
            arguments = handler.arguments(delivery)
            attempt.handler_started = True
            outcome = handler.function(*arguments)
            if inspect.iscoroutine(outcome):
                self._loop.run(outcome)

        return handle


class _Attempt:
    """One delivery on its way through the worker: what has happened, and how it is told."""

    def __init__(
        self, transport: Transport, received: ReceivedMessage, emit: Callable[[Event], None]
    ) -> None:
        self._transport = transport
        self._received = received
        self._emit = emit
        self._started = time.perf_counter()
        self._type: str | None = None
        self.handler_started = False

    def delivery(self) -> Delivery:
        try:
            self._type = str(peek(self._received.body)["type"])
        except MessageInvalid as error:
            raise MessageInvalid(f"message {self._received.message_id}: {error}") from None
        return Delivery(
            type=self._type,
            body=self._received.body,
            received=self._received,
            queue=self._transport.url,
            emit=self._emit,
            visibility=Visibility(self._transport, self._received),
        )

    def succeeded(self) -> None:
        try:
            self._transport.delete(self._received)
        except LetsGoQueueError as error:
            # The work is done; only its acknowledgement is not. It will come again.
            logger.warning("%s Its handler has returned: expect it a second time.", error)
        event = MessageHandled if self.handler_started else MessageSkipped
        self._emit(
            event(
                type=self._type,
                queue=self._transport.url,
                message_id=self._received.message_id,
                receive_count=self._received.receive_count,
                duration=time.perf_counter() - self._started,
            )
        )

    def failed(self, error: BaseException) -> None:
        # What is retryable (a claim that is out, a missing handler) is no defect of the handler.
        logger.log(
            logging.WARNING if getattr(error, "retryable", False) else logging.ERROR,
            "message %s of type %r failed, received %d times: %s",
            self._received.message_id,
            self._type,
            self._received.receive_count,
            error if not self.handler_started else type(error).__name__,
            exc_info=error if self.handler_started else None,
        )
        self._emit(
            MessageFailed(
                type=self._type,
                queue=self._transport.url,
                message_id=self._received.message_id,
                receive_count=self._received.receive_count,
                duration=time.perf_counter() - self._started,
                error=error,
            )
        )


def _chain(middleware: Sequence[Middleware], handle: Handle) -> Handle:
    for each in reversed(middleware):
        handle = _link(each, handle)
    return handle


def _link(middleware: Middleware, call_next: Handle) -> Handle:
    return lambda delivery: middleware.handle(delivery, call_next)


def _check_range(name: str, value: int, lowest: int, highest: int | None) -> None:
    if value < lowest or (highest is not None and value > highest):
        allowed = f"at least {lowest}" if highest is None else f"{lowest} to {highest:,}"
        raise SettingsInvalid(f"{name}={value}: a worker takes {allowed}.")
