"""The worker: takes messages from the queue, or from AWS Lambda, and runs their handlers.

A message stays invisible to other workers while its handler runs, and is acknowledged when the
handler returns. If the handler raises, the message is delivered again. The retry policy says when
and how often. Without one, it comes when its visibility timeout ends, as often as the queue's
redrive policy says.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from pydantic import BaseModel

from letsgo_queue import in_test
from letsgo_queue.aws_lambda.batches import BatchResponse
from letsgo_queue.aws_lambda.events import LambdaEvents
from letsgo_queue.durations import Duration, seconds_in
from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.events import Listener, Listeners
from letsgo_queue.forking import PerProcess, forks_wait, renew_in_children
from letsgo_queue.limits import MAX_WAIT_SECONDS
from letsgo_queue.log import get_logger
from letsgo_queue.middleware import Middleware, check_handle, check_middleware, merge
from letsgo_queue.sending.client import Client
from letsgo_queue.sending.default import default_client
from letsgo_queue.settings import (
    DeadLetterErrors,
    checked_dead_letter_errors,
    dead_letter_errors_in,
    local_port,
)
from letsgo_queue.transports import preload
from letsgo_queue.transports.base import Transport, check_queue
from letsgo_queue.validation import check_text
from letsgo_queue.worker.event_loop import EventLoopThread
from letsgo_queue.worker.gates import DEFAULT_MAX_OPENED_BYTES, HandlerLimits, Rate
from letsgo_queue.worker.handler import Handler, HandlerFunction
from letsgo_queue.worker.loop import WorkLoop
from letsgo_queue.worker.options import (
    DEFAULT_CONCURRENCY,
    DEFAULT_DRAIN_SECONDS,
    DEFAULT_PREFETCH,
    MAX_PORT,
    LoopOptions,
    RunOptions,
    check_range,
)
from letsgo_queue.worker.processing import Processor
from letsgo_queue.worker.registry import Registry
from letsgo_queue.worker.retries import RetryPolicy
from letsgo_queue.worker.schedule import ScheduledFunction, ScheduledHandler
from letsgo_queue.worker.several import run_workers
from letsgo_queue.worker.signals import stop_on_signals
from letsgo_queue.worker.ticks import running_beside, tick_loop

if TYPE_CHECKING:
    from letsgo_queue.worker.health import Health

HandlerT = TypeVar("HandlerT", bound=HandlerFunction)
ScheduledT = TypeVar("ScheduledT", bound=ScheduledFunction)

logger = get_logger(__name__)

LOCAL_HOST = "127.0.0.1"


class Worker:
    """Runs handlers for the messages of a queue.

        worker = Worker()

        @worker.handler(OrderNew)
        def on_order(message: OrderNew) -> None: ...

        worker.run()

    The same worker runs behind AWS Lambda (`lambda_handler`), and in LetsGo's local mode (`serve`).
    """

    def __init__(
        self,
        queue: str | Transport | None = None,
        *,
        client: Client | None = None,
        middleware: Sequence[Middleware] = (),
        concurrency: int = DEFAULT_CONCURRENCY,
        prefetch: int = DEFAULT_PREFETCH,
        visibility_timeout: Duration | None = None,
        wait_seconds: Duration = MAX_WAIT_SECONDS,
        drain_timeout: Duration = DEFAULT_DRAIN_SECONDS,
        max_opened_bytes: int = DEFAULT_MAX_OPENED_BYTES,
        weight: int = 1,
        retry_policy: RetryPolicy | None = None,
        dead_letter_errors: DeadLetterErrors | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make a worker; the queue is opened when it runs.

        Give seconds as a number or a timedelta.

        Args:
            queue: The queue to take messages from: a URL, or a transport made in code. By default
                the client's.
            client: Its middleware runs around every handler, and its queue is the default; by
                default the default client.
            middleware: Runs around every handler, inside that of the client, the first outermost.
            concurrency: Messages handled at once: by sync handlers each on a thread, by async ones
                as tasks of one event loop.
            prefetch: Messages that may wait in the worker, kept invisible, if handlers are so quick
                that they begin within a tenth of a second. 0 receives only messages that begin at
                once.
            visibility_timeout: Seconds that a message stays invisible to other workers, 1 to
                43,200; None for the queue's own. It is extended while the handler runs.
            wait_seconds: Seconds that one long poll waits, 0 to 20.
            drain_timeout: Seconds that messages in hand get when the worker stops, 0 to 43,200.
                Messages that are not handled by then are given back.
            max_opened_bytes: Bytes of opened bodies in memory at once. A sealed message says how
                large it is, and waits in the worker, invisible, until there is room. One message is
                always let through.
            weight: Its share of the slots where several workers share them; see `run_workers`.
            retry_policy: When a message that failed is delivered again, and how often; by default
                as the queue has it.
            dead_letter_errors: How much a dead letter says of an error that your code raised:
                `"place"` is its class, and the file, line and function that raised it; `"full"`
                adds its text, which may quote the payload. By default what
                `LETSGO_DEAD_LETTER_ERRORS` says, else `"place"`.
            clock: Seconds since 1970.

        Raises:
            SettingsInvalid: A number is out of range, or `queue` or `middleware` is something else.
        """
        own: RunOptions = {
            "prefetch": prefetch,
            "visibility_timeout": visibility_timeout,
            "wait_seconds": wait_seconds,
            "drain_timeout": drain_timeout,
            "max_opened_bytes": max_opened_bytes,
        }
        self._options = LoopOptions().but(concurrency=concurrency, until_empty=False, given=own)
        check_range("weight", weight, 1, None)
        if retry_policy is not None and not isinstance(retry_policy, RetryPolicy):
            raise SettingsInvalid(
                f"retry_policy is {type(retry_policy).__name__}: give a RetryPolicy(...)."
            )
        if dead_letter_errors is not None:
            checked_dead_letter_errors(dead_letter_errors, "dead_letter_errors")
        check_queue(queue)
        self._queue = queue
        self._client = client
        self._middleware = check_middleware(middleware)
        self._weight = weight
        self._retry_policy = retry_policy
        self._dead_letter_errors = dead_letter_errors
        self._clock = clock
        self._event_loop = EventLoopThread()
        self._registry = Registry()
        self._listeners = Listeners()
        self._lambda_events = PerProcess(self._open_lambda_events)
        self._start_anew()
        renew_in_children(self._start_anew)

    def handler(
        self,
        messages: type[BaseModel] | str,
        /,
        *,
        retry_policy: RetryPolicy | None = None,
        concurrency: int | None = None,
        rate: str | None = None,
        timeout: Duration | None = None,
    ) -> Callable[[HandlerT], HandlerT]:
        """Decorate the handler of a kind of message.

            @worker.handler(OrderNew)
            def on_order(message: OrderNew) -> None: ...

        The handler takes `(message)` or `(message, delivery)`, sync or async, and may return
        anything. The message is validated against its annotation: a `Message` subclass, another
        pydantic model, or `dict`; without one, against the model given here. The handler may raise
        `Retry` and `Reject`.

        Messages over `concurrency` or `rate` wait in the worker, invisible, and use up no receive.
        `concurrency`, `rate` and `timeout` hold in `run` only: `lambda_handler` and `serve` log
        that they do not.

        Args:
            messages: A model whose `type` is fixed, or the type: `"order:new"`.
            retry_policy: In place of the worker's own.
            concurrency: How many of these messages are handled at once, in each process.
            rate: How many begin in a period, in each process: `"10/s"`, `"100/min"`, `"1000/h"`.
            timeout: Seconds that the handler may run, or a timedelta; then it is ended, and the
                message fails with `HandlerTimedOut`. A call that waits in C is not interrupted.

        Raises:
            SettingsInvalid: The model has no type of its own, the type has a handler already, the
                signature does not fit, the annotation is a model of another type, or a limit is
                out of range.
        """
        is_model = isinstance(messages, type) and issubclass(messages, BaseModel)
        if not messages or not (is_model or isinstance(messages, str)):
            raise SettingsInvalid(
                'say which messages: @worker.handler(OrderNew) or @worker.handler("order:new").'
            )

        limits = HandlerLimits(
            concurrency=concurrency,
            rate=None if rate is None else Rate.parse(rate),
            timeout=None if timeout is None else seconds_in(timeout, "timeout", SettingsInvalid),
        )

        def register(function: HandlerT) -> HandlerT:
            self._registry.add(messages, function, retry_policy=retry_policy, limits=limits)
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

    @overload
    def scheduled(self, function: ScheduledT, /) -> ScheduledT: ...

    @overload
    def scheduled(
        self,
        expression: str | None = None,
        /,
        *,
        timezone: str | None = None,
        name: str | None = None,
    ) -> Callable[[ScheduledT], ScheduledT]: ...

    def scheduled(
        self,
        what: ScheduledT | str | None = None,
        /,
        *,
        timezone: str | None = None,
        name: str | None = None,
    ) -> ScheduledT | Callable[[ScheduledT], ScheduledT]:
        """Decorate a handler that runs by a schedule.

            @worker.scheduled("cron(0 3 * * ? *)", timezone="Europe/Berlin")
            def nightly(event: dict[str, Any]) -> None: ...

        It takes `(event)`, the event as EventBridge sends it, sync or async. `run` and `serve` run
        it by the expression; bare, as `@worker.scheduled`, by LetsGo's setting
        `LETSGO_WORKER_SCHEDULE`, if that is set. In a fleet with a claim check each tick runs once.
        A failure is logged, and not tried again.

        In Lambda the expression has no meaning: EventBridge has the schedule there. A single
        handler takes all its events. One of several takes the events of the rule that it is named
        for.

        Args:
            what: `rate(5 minutes)`, or `cron(...)` with the six fields of EventBridge.
            timezone: The IANA name of the time zone of a cron expression; by default UTC.
            name: Names the schedule, in place of the function's name and the expression: the name
                of the rule in EventBridge.

        Raises:
            SettingsInvalid: The expression, the time zone or the signature cannot be used, or there
                is a schedule of that name already.
        """
        expression = what if isinstance(what, str) else None

        def register(function: ScheduledT) -> ScheduledT:
            self._registry.add_scheduled(
                ScheduledHandler(function, expression=expression, time_zone=timezone, name=name)
            )
            return function

        if what is None or isinstance(what, str):
            return register
        if not callable(what):
            raise SettingsInvalid(
                f"worker.scheduled takes an expression such as 'rate(5 minutes)', or a function, "
                f"not {type(what).__name__}."
            )
        return register(what)

    @property
    def queue(self) -> str | Transport | None:
        """The queue that it was given; None for its client's."""
        return self._queue

    @property
    def retry_policy(self) -> RetryPolicy | None:
        """The policy of handlers that have none of their own."""
        return self._retry_policy

    @property
    def visibility_timeout(self) -> float | None:
        """Seconds that a message in hand stays invisible at a time; None for the queue's own."""
        return self._options.visibility_timeout

    @property
    def handlers(self) -> Sequence[Handler]:
        """The handlers of messages that are registered so far."""
        return self._registry.handlers

    def add_listener(self, listener: Listener) -> None:
        """Call `listener` with an event for every message handled, skipped or failed."""
        self._listeners.add(listener)

    def run(
        self,
        *,
        burst: bool = False,
        concurrency: int | None = None,
        health: Health | None = None,
        protect_from_scale_in: bool = False,
        **options: Unpack[RunOptions],
    ) -> None:
        """Take and handle messages until stopped.

        On the main thread SIGTERM and SIGINT stop it: no more messages are taken, and those in hand
        are handled. What is left after `drain_timeout` is given back. A second signal ends it now.

        A queue that cannot be reached is asked again, with growing pauses, for as long as it takes.

        Args:
            burst: Stop once the queue is empty and the handlers are done; for tests and scheduled
                jobs. Schedules do not run, and a message that is held for over 30 s, for a claim or
                a store, is given back.
            concurrency: In place of the worker's own.
            health: Where to tell whether the worker is well: a port, a file, or both.
            protect_from_scale_in: Keep the ECS task from being stopped by scaling in while
                messages are in hand.
            options: In place of the worker's own `prefetch`, `visibility_timeout`, `wait_seconds`,
                `drain_timeout` and `max_opened_bytes`.

        Raises:
            SettingsInvalid: A number is out of range, or the port or the file of `health` cannot be
                used.
            LetsGoQueueError: The queue cannot be used at all (it is missing, or access is denied);
                with `burst`, it cannot be reached.
            WorkerBroken: A part of the worker cannot go on: a thread cannot be started, say.
        """
        run_workers(
            self,
            burst=burst,
            concurrency=concurrency,
            health=health,
            protect_from_scale_in=protect_from_scale_in,
            **options,
        )

    def lambda_handler(
        self, event: Mapping[str, Any] | Sequence[Mapping[str, Any]], context: object
    ) -> BatchResponse | None:
        """The function for AWS Lambda: `handler = worker.lambda_handler`.

        The messages of an SQS event, or of the list that EventBridge Pipes sends, run at once, up
        to `concurrency`. On a FIFO queue the messages of a group run in order. A scheduled event of
        EventBridge goes to `@worker.scheduled`, and is ignored if there is no handler for it.

        The event source mapping must report batch item failures: else Lambda ignores the answer,
        and deletes what failed.

        Args:
            event: The event that triggered the function.
            context: Lambda's context. Claims are leased for the time that it says is left.

        Returns:
            The messages to deliver again; on a FIFO queue also the messages behind them in their
            groups. None for a scheduled event.

        Raises:
            MessageInvalid: The event is of another kind.
            HandlerMissing: A scheduled event came, and it is for none of several handlers.
            SettingsInvalid: A handler or a setting is wrong; every message is delivered again.
        """
        return self._lambda_events.get().handle(event, context)

    def serve(
        self,
        *,
        host: str = LOCAL_HOST,
        port: int | None = None,
        allowed_hosts: Collection[str] = (),
        concurrency: int | None = None,
        on_ready: Callable[[str], None] | None = None,
    ) -> None:
        """Handle the messages that are posted to this machine, until stopped: LetsGo's local mode.

        Senders set `LETSGO_LOCAL_QUEUE_URL=http://localhost:3002`. This worker's own queue is left
        alone. Messages are handled at once and never again: delays are ignored, and a message that
        fails is logged and dropped. It stops as `run` does, after the messages that it accepted.

        Requests of web pages are refused, and so are URLs whose host is neither `host` nor a name
        of this machine (`localhost`, `127.0.0.1`, `::1`).

        Args:
            host: The name or address to listen on; programs that reach it can have messages
                handled.
            port: The port, 0 to 65,535; 0 for a free port. By default the variable `PORT`, as for
                LetsGo's own worker, else 3002.
            allowed_hosts: More names and addresses that senders may have in their URL: a
                container's, say.
            concurrency: Messages handled at once, in place of the worker's own.
            on_ready: Called with the address once messages are taken.

        Raises:
            SettingsInvalid: The address cannot be used, an allowed host is no host, or h11 is not
                installed.
        """
        with forks_wait():
            try:
                from letsgo_queue.local_http.server import LocalHttpServer
            except ModuleNotFoundError as missing:
                raise SettingsInvalid(
                    f"LetsGo's local mode needs {missing.name}: "
                    "pip install 'letsgo-claimcheck[local]'"
                ) from None

        check_text("host", host)
        if not host:  # which asyncio takes for every address of this machine
            raise SettingsInvalid("host is empty: give a name or an address to listen on.")
        port = local_port() if port is None else port
        check_range("port", port, 0, MAX_PORT)
        concurrency = self._options.concurrency if concurrency is None else concurrency
        check_range("concurrency", concurrency, 1, None)
        self._warn_of_limits("local mode")
        server = LocalHttpServer(
            self._processor(handled_level=logging.INFO),
            host=host,
            port=port,
            allowed_hosts=allowed_hosts,
            concurrency=concurrency,
            stopping=self._stopping,
        )
        try:
            self._prepare(server.url)
            options = replace(self._options, concurrency=concurrency)
            ticks = self._tick_loop(server.url, options, handled_level=logging.INFO)
            with stop_on_signals(self.stop), running_beside(ticks, self._stopping):
                if on_ready is not None:
                    on_ready(server.url)
                server.run()
        finally:
            server.close()
            self._event_loop.stop()
            self._finish()
            self._stopping.clear()
        logger.info("worker stopped")

    def stop(self) -> None:
        """Make `run` or `serve`, even if about to start, return once messages in hand are finished.

        Safe from any thread. On SQS a long poll that is under way is given up: a message that it
        brings comes again when its visibility timeout ends. If the queue's redrive policy allows a
        message only one receive, the worker waits for the poll.
        """
        self._stopping.set()

    def _start_anew(self) -> None:
        self._stopping = threading.Event()

    def _open_lambda_events(self) -> LambdaEvents:
        self._warn_of_limits("AWS Lambda. Use the event source's maximum concurrency")
        client = self._client or default_client()
        return LambdaEvents(
            self._processor(),
            prepare=functools.cache(self._prepare),
            open_queue=client.transport,
            concurrency=self._options.concurrency,
        )

    def _warn_of_limits(self, where: str) -> None:
        if limited := self._registry.limited():
            logger.warning(
                "%s: concurrency, rate and timeout do not hold in %s.", ", ".join(limited), where
            )

    def _check(self, given: RunOptions) -> LoopOptions:
        """Check handlers and settings, and return the options of a loop.

        Opens nothing, and loads modules that processes forked later can share.
        """
        self._registry.prepare()
        if self._queue is None or isinstance(self._queue, str):
            preload((self._client or default_client())._url_of(self._queue))
        return self._options.but(concurrency=None, until_empty=False, given=given)

    def _loop(self, *, burst: bool, concurrency: int | None, given: RunOptions) -> WorkLoop:
        """Make a loop on the worker's queue."""
        options = self._options.but(concurrency=concurrency, until_empty=burst, given=given)
        transport = self._transport()
        self._prepare(transport.url)
        return WorkLoop(
            transport,
            self._processor(),
            options,
            event_loop=self._event_loop,
            stopping=self._stopping,
        )

    def _tick_loop(
        self, queue: str, options: LoopOptions, *, handled_level: int = logging.DEBUG
    ) -> WorkLoop | None:
        """Make a loop for the scheduled handlers, if any run here."""
        schedules = [] if options.until_empty else self._registry.schedules()
        if not schedules:
            return None
        around = self._middleware_around_all()
        if not all(
            any(each.runs_ticks_once for each in merge(around, scheduled.handler.middleware))
            for scheduled in schedules
        ):
            logger.warning(
                "scheduled handlers run in every process that has this worker: no middleware says "
                "which one runs them. With a claim check, claimcheck.install(), one does."
            )
        return tick_loop(
            schedules,
            queue,
            self._processor(Registry.of(schedules), handled_level=handled_level),
            options,
            event_loop=self._event_loop,
            stopping=self._stopping,
            clock=self._clock,
        )

    def _run(self, loop: WorkLoop, ticks: WorkLoop | None) -> None:
        """Run a loop, and the one of the schedules beside it, until the worker is stopped."""
        logger.info("worker starts on %s, %d at once", loop.queue, loop.options.concurrency)
        try:
            with running_beside(ticks, self._stopping):
                loop.run()
        finally:
            self._event_loop.stop()
            self._finish()
            self._stopping.clear()
        logger.info("worker stopped")

    def _prepare(self, queue: str) -> None:
        """Check handlers and settings before the first message."""
        self._registry.prepare()
        for middleware in self._all_middleware():
            check_handle(middleware)
            middleware.prepare(queue)

    def _finish(self) -> None:
        """Have middleware finish its work in the background."""
        for middleware in self._all_middleware():
            try:
                middleware.finish()
            except Exception:  # a defect of a middleware; the worker ends all the same
                logger.exception("%s did not finish", type(middleware).__qualname__)

    def _all_middleware(self) -> Iterable[Middleware]:
        """Each middleware once: the worker's, and each handler's inside it."""
        around = self._middleware_around_all()
        groups = [around, *(merge(around, own) for own in self._registry.middleware())]
        return {id(each): each for group in groups for each in group}.values()

    def _processor(
        self, ticks: Registry | None = None, *, handled_level: int = logging.DEBUG
    ) -> Processor:
        """Handles messages, or ticks, which are not tried again."""
        return Processor(
            ticks or self._registry,
            middleware=self._middleware_around_all(),
            listeners=self._listeners,
            event_loop=self._event_loop,
            retry_policy=None if ticks else self._retry_policy,
            dead_letter_errors=self._dead_letter_errors or dead_letter_errors_in(),
            handled_level=handled_level,
            clock=functools.partial(in_test.now, self._clock),
        )

    def _middleware_around_all(self) -> tuple[Middleware, ...]:
        client = self._client or default_client()
        return merge(client.middleware, self._middleware)

    def _transport(self) -> Transport:
        if self._queue is not None and not isinstance(self._queue, str):
            return self._queue
        return (self._client or default_client()).transport(self._queue)
