"""One delivery of a message, while a worker has it in hand."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from letsgo_queue.envelope import is_text, sealed_fields, type_of
from letsgo_queue.errors import LetsGoError, MessageInvalid, QueueUnavailable
from letsgo_queue.events import Event, Listeners, MessageStarted
from letsgo_queue.limits import MAX_VISIBILITY_SECONDS
from letsgo_queue.log import LogFields, get_logger
from letsgo_queue.tracing import UNTRACED, ProcessSpan
from letsgo_queue.transports.base import ReceivedMessage, Transport
from letsgo_queue.worker.delivery import Delivery
from letsgo_queue.worker.retries import RetryPolicy, doubled

if TYPE_CHECKING:
    from letsgo_queue.middleware import Middleware
    from letsgo_queue.worker.handler import Handler

logger = get_logger(__name__)

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
"""The shortest and the longest pause before a message that could not be opened is tried again."""

RECEIVE_SECONDS = 1.0
"""How long a message may have been on its way from the queue to the worker."""


TO_END_SECONDS = 5.0
"""How long a handler may take to end when its time is up."""

EXTENSION_SECONDS = 10.0
"""The longest time that an extension takes."""


class Lease(Protocol):
    """A lease of middleware that lasts as long as its message is in hand: on a claim, say."""

    def extend(self, seconds: float) -> object:
        """Have it end this many seconds from now.

        Raises:
            LetsGoError: That failed; the worker tries again.
        """
        ...

    def settle(self, *, succeeded: bool) -> object:
        """End it; for good if the message was handled. Only the first call counts.

        The message is handled once the handler and all middleware around it have succeeded.

        Raises:
            LetsGoError: The message was handled, and this may succeed later: the worker tries
                again, before it acknowledges the message.
        """
        ...

    def give_back(self) -> object:
        """End it as for a message that was not handled: the worker ends, and gives it back.

        A handler that has started may run on, and settle it later. If no other handler may run
        beside that one, leave the lease alone.
        """
        ...


class Facts(TypedDict):
    """The fields that every event of a delivery has."""

    type: str | None
    queue: str
    message_id: str
    receive_count: int
    has_handler: bool
    route: str
    age: float
    duration: float
    handler_duration: float | None


class IncomingMessage:
    """A message in hand, from its arrival at the worker until it is settled.

    Middleware gets this; a handler gets its `delivery`.

    Attributes:
        received: The message as it was on the queue.
        transport: The queue.
        type: Its type; None until it is known.
        body: The message as JSON text, opened by the middleware that ran so far.
        unread: The middleware that has to read it before its type is known.
        sealed_fields: The fields of `body` while that is a claim check; None once it is opened. A
            long ticket is parsed once.
        policy: The retry policy that applies to it.
        route: Which way it travelled: `inline`, unless the middleware that opened it says another.
        skip_reason: Why middleware settles it without its handler: `duplicate`, say.
        delay_left: Seconds until it is due; above 0 if it was sent on.
        is_gone: Whether it is off the queue already: sent on, or moved to the dead-letter queue.
        opened_bytes: Bytes that its body will have once it is opened; 0 if it is not sealed.
        handler: The handler of its type; None until it is found.
        refusal: Why it cannot be handled, if that is known before it is run.
        context: The context variables that its middleware and its handler share.
        lambda_context: AWS Lambda's context; None elsewhere.
        leases: The leases that middleware has taken for it.
        lease_id: The id of a claim check's lease that the last try may have acquired.
        arrived: When it arrived (on the monotonic clock).
        waits_since: Since when it waits for what opens it, or settles it.
        begun: When its way to the handler began; None while it waits.
        handler_began: When its handler started (on the monotonic clock); None if it did not.
        invisible_until: When it can be received again (on the monotonic clock); None if unknown.
        visibility_timeout: Seconds that the heartbeat extends it by; 0 if unknown.
        extension_due: When the heartbeat extends it next (on the monotonic clock).
        leases_due: When the heartbeat extends its leases next.
        unsettled: Why its leases could not be ended after it was handled; None if they were.
        is_over: Whether it is settled, so that nobody extends it any more.
        lock: Held while its visibility changes.
        span: Traces this try to handle it.
        now: The worker's clock (seconds since 1970).
    """

    __slots__ = (
        "_age",
        "_handler_duration",
        "_listeners",
        "_tries",
        "arrived",
        "begun",
        "body",
        "context",
        "delay_left",
        "extension_due",
        "handler",
        "handler_began",
        "invisible_until",
        "is_gone",
        "is_over",
        "lambda_context",
        "lease_id",
        "leases",
        "leases_due",
        "lock",
        "now",
        "opened_bytes",
        "policy",
        "received",
        "refusal",
        "route",
        "sealed_fields",
        "skip_reason",
        "span",
        "transport",
        "type",
        "unread",
        "unsettled",
        "visibility_timeout",
        "waits_since",
    )

    def __init__(
        self,
        received: ReceivedMessage,
        transport: Transport,
        *,
        listeners: Listeners | None = None,
        policy: RetryPolicy | None = None,
        lambda_context: object = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take a message in hand.

        Args:
            received: The message as it was on the queue.
            transport: The queue.
            listeners: Hear the events of the worker.
            policy: The worker's retry policy.
            lambda_context: AWS Lambda's context.
            clock: Seconds since 1970.
        """
        self.received = received
        self.transport = transport
        self.type: str | None = None
        self.unread: tuple[Middleware, ...] = ()
        self.body = received.body
        self.sealed_fields: Mapping[str, Any] | None = None
        self.policy = policy
        self.route = "inline"
        self.skip_reason = ""
        self.handler_began: float | None = None
        self.delay_left = 0
        self.is_gone = False
        self.opened_bytes = 0
        self.handler: Handler | None = None
        self.refusal: LetsGoError | None = None
        self.context = copy_context()
        self.lambda_context = lambda_context
        self.leases: tuple[Lease, ...] = ()
        self.leases_due = math.inf
        self.unsettled: LetsGoError | None = None
        self.invisible_until = until = received.invisible_until
        # Rounded, since what is a hair over 600 s would become 601.
        held = 0.0 if until is None else round(until - received.received_at, 3)
        self.visibility_timeout = max(held, 0.0)
        self.extension_due = math.inf if until is None else until - self.visibility_timeout / 2
        self.lease_id: str | None = None
        self.arrived = time.monotonic()
        self.begun: float | None = None
        self.waits_since = math.inf
        self.is_over = False
        self.lock = threading.RLock()
        self._listeners = Listeners() if listeners is None else listeners
        self.span: ProcessSpan = UNTRACED
        self.now = clock
        self._age: float | None = None
        self._handler_duration: float | None = None
        self._tries = 0

    @property
    def message_id(self) -> str:
        """The message's id, the same for every delivery of it."""
        return self.received.message_id

    @property
    def queue(self) -> str:
        """URL of the queue it came from."""
        return self.transport.url

    @property
    def delivery(self) -> Delivery:
        """The handler's view of it."""
        return Delivery(self)

    @property
    def seconds_in_hand(self) -> float:
        """Seconds since it arrived at the worker."""
        return time.monotonic() - self.arrived

    @property
    def seconds_invisible(self) -> float | None:
        """Seconds until it can be received again; None if unknown."""
        if self.invisible_until is None:
            return None
        return self.invisible_until - time.monotonic()

    def read_type(self) -> str:
        """Learn its type, and whether it is sealed.

        Raises:
            MessageInvalid: It has no type.
        """
        fields = sealed_fields(self.body)
        named = None if fields is None else fields.get("type")
        try:
            self.type = named if is_text(named) else type_of(self.body)
        except MessageInvalid as error:
            raise MessageInvalid(f"message {self.message_id}: {error}") from None
        self.sealed_fields = fields
        return self.type

    @property
    def sealed(self) -> bool:
        """Whether `body` is still a claim check, which no handler can use."""
        return self.sealed_fields is not None

    def open(self, body: str, *, route: str | None = None) -> None:
        """Have the handler get `body`, the message as it was enqueued.

        Args:
            body: The message.
            route: Which way it travelled, for events and logs.
        """
        self.body = body
        self.sealed_fields = None
        if route is not None:
            self.route = route

    def forget(self) -> None:
        """Forget the opened body, which may be large: nobody needs it any more."""
        self.body = self.received.body

    @property
    def has_listeners(self) -> bool:
        """Whether anybody listens. If not, no event need be made."""
        return bool(self._listeners) or self.span.is_recording

    def emit(self, event: Event) -> None:
        """Hand an event to the worker's listeners, and to the trace."""
        self.span.saw(event)
        self._listeners.emit(event)

    def facts(self) -> Facts:
        """The fields that every event of this delivery has."""
        named = self.handler is not None and self.handler.message_type is not None
        return {
            "type": self.type,
            "queue": self.queue,
            "message_id": self.message_id,
            "receive_count": self.received.receive_count,
            "has_handler": named,
            "route": self.route,
            "age": self.age,
            "duration": self.seconds_in_hand,
            "handler_duration": self.handler_duration,
        }

    @property
    def log_fields(self) -> LogFields:
        """The fields that every log line about this delivery has."""
        return {
            "message_id": self.message_id,
            "type": self.type,
            "queue": self.queue,
            "receive_count": self.received.receive_count,
            "duration": self.seconds_in_hand,
            "route": self.route,
        }

    @property
    def handler_started(self) -> bool:
        """Whether its handler had begun."""
        return self.handler_began is not None

    @property
    def age(self) -> float:
        """Seconds from its sending until its handler started, or until now.

        Never below 0, though the clocks of the queue and this machine may differ.
        """
        if self._age is not None:
            return self._age
        return max(self.now() - self.received.sent_at, 0.0)

    @property
    def handler_duration(self) -> float | None:
        """Seconds that its handler ran, until now while it runs; None if it did not start."""
        if self._handler_duration is None and self.handler_began is not None:
            return time.monotonic() - self.handler_began
        return self._handler_duration

    @property
    def handler_runs(self) -> bool:
        """Whether its handler is being called."""
        return self.handler_began is not None and self._handler_duration is None

    @property
    def is_over_time(self) -> bool:
        """Whether its handler has run past its time limit, or past SQS's 12 hours."""
        if not self.handler_runs:
            return False
        limit = None if self.handler is None else self.handler.limits.timeout
        if limit is not None and (self.handler_duration or 0.0) > limit + TO_END_SECONDS:
            return True
        return self.longest_extension == 0

    def check_in_hand(self) -> None:
        """Stop a message, on its way, that the worker has given back, or that waited too long.

        Raises:
            QueueUnavailable: It was given back meanwhile, or can be received again.
        """
        if self.invisible_until is not None and self.longest_extension == 0:
            self.is_over = True  # its next delivery handles it
        if self.is_over:
            raise QueueUnavailable(f"message {self.message_id} was given back meanwhile.")

    def start_handler(self) -> None:
        """Note that its handler is about to be called.

        Raises:
            QueueUnavailable: It was given back meanwhile.
        """
        self._age = self.age
        # Note the start, then check. Giving back ends the message, then looks for the start: so
        # either the handler does not start, or it is known to have started.
        self.handler_began = time.monotonic()
        try:
            self.check_in_hand()
        except QueueUnavailable:
            self.handler_began = None
            raise
        self.span.handler_begins()
        if self._listeners:
            body = self.body
            size = len(body) if body.isascii() else len(body.encode(errors="replace"))
            self.emit(MessageStarted(**self.facts(), size=size))

    def end_handler(self, error: BaseException | None) -> None:
        """Note that its handler has returned, or raised `error`."""
        if self.handler_runs:
            self._handler_duration = self.handler_duration
            self.span.handler_ended(error)

    def attach(self, lease: Lease, *, ends: float | None = None) -> None:
        """Keep a lease for as long as the message is in hand.

        Args:
            lease: The lease.
            ends: When it ends if nobody extends it (on the monotonic clock); by default with the
                message's visibility timeout.
        """
        self.leases = (*self.leases, lease)
        now = time.monotonic()
        if ends is None:
            # Unknown where the delivery has ended. Its handler may run all the same: extend it now.
            ends = self.invisible_until or now
        self.leases_due = min(self.leases_due, now + (ends - now) / 2)

    def extend_leases(self, seconds: float) -> None:
        """Extend its leases.

        Raises:
            LetsGoError: That failed.
        """
        for lease in self.leases:
            lease.extend(seconds)

    def settle_leases(self, *, succeeded: bool) -> None:
        """End its leases, the innermost first."""
        for lease in reversed(self.leases):
            lease.settle(succeeded=succeeded)

    def settle_handled(self) -> None:
        """End the leases of a message that was handled; see `unsettled`."""
        try:
            self.settle_leases(succeeded=True)
        except LetsGoError as error:
            self.unsettled = error
        else:
            self.unsettled = None

    def give_back_leases(self) -> None:
        """Give back its leases, as the worker ends."""
        for lease in reversed(self.leases):
            lease.give_back()

    def extended(self, until: float) -> None:
        """Note that it is invisible until then (on the monotonic clock)."""
        self.invisible_until = until
        self.extension_due = until - self.visibility_timeout / 2

    @property
    def longest_extension(self) -> int:
        """Seconds from now for which it can still be kept invisible.

        SQS allows 12 hours, which it counts from the receive.
        """
        passed = time.monotonic() - self.received.received_at + RECEIVE_SECONDS
        return max(math.floor(MAX_VISIBILITY_SECONDS - passed), 0)

    def extend(self, seconds: float) -> int:
        """Keep it invisible for `seconds` from now, as far as SQS allows, and extend its leases.

        Returns:
            The seconds, rounded up, or fewer if SQS allows no more.

        Raises:
            QueueUnavailable: The queue could not be told, or the delivery is no longer ours.
        """
        with self.lock:
            granted = min(math.ceil(seconds), self.longest_extension)
            if self.is_over or granted < 1:
                why = "it is settled" if self.is_over else "its 12 hours are over"
                raise QueueUnavailable(
                    f"message {self.message_id} cannot be extended: {why}.", retryable=False
                )
            asked = time.monotonic()  # the queue counts from a moment later
            self.transport.change_visibility(self.received, granted)
            self.extended(asked + granted)
        try:
            self.extend_leases(granted)
        except LetsGoError as error:
            logger.warning(
                "message %s: its lease was not extended: %s",
                self.message_id,
                error,
                extra=self.log_fields,
            )
        return granted

    def end(self, *, wait: float = EXTENSION_SECONDS) -> None:
        """Let nobody extend it any more.

        Args:
            wait: Seconds to wait for an extension under way, which might hide the message although
                it is to come again.
        """
        locked = self.lock.acquire(timeout=wait)
        self.is_over = True
        if locked:
            self.lock.release()

    def next_try(self, error: LetsGoError) -> float | None:
        """Seconds to hold it before it is tried again; None if it fails with `error` now.

        Holding it uses up no receive; giving it back would.
        """
        if self.handler_started:
            return None
        pause = doubled(FIRST_PAUSE_SECONDS, self._tries, LONGEST_PAUSE_SECONDS)
        if error.retry_after is not None:
            pause = max(error.retry_after, FIRST_PAUSE_SECONDS)
        if self.seconds_in_hand + pause > error.patience:
            return None
        self._tries += 1
        self.begun = None
        self.waits_since = math.inf
        self.body = self.received.body
        with suppress(MessageInvalid):  # it may have a type only once it is opened
            self.read_type()  # sealed again, if it was opened
        self.leases = ()
        self.leases_due = math.inf
        return pause
