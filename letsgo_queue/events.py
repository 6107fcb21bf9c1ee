"""The result of a send, and one event for each step of a message, as frozen values.

Events have sizes and durations, never content. The types and ids in them can be shown anywhere:
they are printable, and cut where they are long (200 characters). A listener hears the events of one
client or worker (`add_listener`), or of the whole process (`listen_to_all`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:  # the errors use the results of sends
    from letsgo_queue.errors import LetsGoError

from letsgo_queue.forking import Lock
from letsgo_queue.log import get_logger
from letsgo_queue.text import shown

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueResult:
    """The result of a send.

    Attributes:
        message_id: The id that the queue gave it.
        queue: URL of the queue it is on.
    """

    message_id: str
    queue: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of every event.

    Attributes:
        type: The message's type; None if it could not be read.
        queue: URL of the queue.
    """

    type: str | None
    queue: str

    def __post_init__(self) -> None:
        """Make the sender's texts printable."""
        for name in ("type", "message_id"):
            if isinstance(text := getattr(self, name, None), str):
                object.__setattr__(self, name, shown(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSent(Event):
    """A message was accepted by the queue.

    Attributes:
        message_id: The id that the queue gave it.
        size: Bytes of the message as given, body and attributes.
        attributes_size: How many of them are the attributes'.
        sent_size: Bytes that went on the queue, body and attributes.
        stored_size: Bytes that middleware put elsewhere: into a claim store, say.
        route: Which way it went: `inline`, unless middleware sets another.
        duration: Seconds from `enqueue` to the queue's answer.
        result: The result of `enqueue`, in which middleware may say more.
    """

    message_id: str
    size: int
    attributes_size: int
    sent_size: int
    stored_size: int = 0
    route: str = "inline"
    duration: float
    result: EnqueueResult


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageNotSent(Event):
    """A message was refused before it was sent, or by the queue.

    If `error` is `SendUncertain`, the queue may have it all the same. There is no event if a
    message cannot be encoded, nor for the messages of `enqueue_many` if no queue is found or an
    option for all of them is wrong. `queue` is empty if no queue was found.

    Attributes:
        size: Bytes of the message as given, body and attributes.
        attributes_size: How many of them are the attributes'.
        error: The error that `enqueue` raises.
    """

    size: int
    attributes_size: int
    error: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryEvent(Event):
    """Base of the events of a delivery.

    Attributes:
        message_id: The message's id.
        receive_count: How often the message has been received, this time included.
        has_handler: Whether the worker has a handler for this type; the default does not count.
        route: Which way it travelled: `inline`, unless the middleware that opened it set another.
        age: Seconds from its sending until its handler started, or until now if it did not.
            Earlier deliveries are part of it.
        duration: Seconds from its arrival at the worker.
        handler_duration: Seconds that its handler ran; None if it did not start.
    """

    message_id: str
    receive_count: int
    has_handler: bool
    route: str
    age: float
    duration: float
    handler_duration: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageHeld(DeliveryEvent):
    """A message cannot be opened yet. It waits in the worker, invisible, and uses up no receive.

    Attributes:
        error: Why.
        seconds: Until it is tried again.
    """

    error: LetsGoError
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageStarted(DeliveryEvent):
    """A handler is about to be called. Another event follows once the message is settled.

    Attributes:
        size: Bytes of the body that the handler gets.
    """

    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageHandled(DeliveryEvent):
    """A handler returned. The message is acknowledged, unless a warning says it comes again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSkipped(DeliveryEvent):
    """Middleware settled the message without its handler. It is acknowledged as if handled.

    Attributes:
        reason: The reason, such as `duplicate`; empty if the middleware gives none.
    """

    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDelayed(DeliveryEvent):
    """A message with a long delay is not due yet, and was sent on.

    Attributes:
        seconds_left: Until it is due.
    """

    seconds_left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFailed(DeliveryEvent):
    """A message was not handled, and will be delivered again.

    Attributes:
        error: The error that was raised.
        retry_delay: Seconds until then; None for the rest of its visibility timeout.
    """

    error: BaseException
    retry_delay: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRejected(DeliveryEvent):
    """A message was not handled, and was moved to the dead-letter queue.

    Attributes:
        error: The error that was raised.
        reason: Why it gets no other delivery.
    """

    error: BaseException
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageGivenBack(DeliveryEvent):
    """The worker ended while the handler still ran. The message comes again."""


QueueCall: TypeAlias = Literal["receive", "acknowledge", "change_visibility"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFailed(Event):
    """A worker's call to its queue failed.

    Attributes:
        call: The kind of call.
        error: Why it failed.
    """

    call: QueueCall
    error: LetsGoError


Listener: TypeAlias = Callable[[Event], None]
"""Called with each event, on the thread where it happened. Its errors are logged and dropped."""


class Listeners:
    """Hands events to listeners, none of which can disturb a message or another listener."""

    def __init__(self) -> None:
        self._own: tuple[Listener, ...] = ()

    def add(self, listener: Listener) -> None:
        """Add a listener; it gets every event from now on."""
        self._own = (*self._own, listener)

    def __bool__(self) -> bool:
        """Whether anybody listens. If not, nobody need make events."""
        return bool(self._own or _process.listeners)

    def emit(self, event: Event) -> None:
        """Hand an event to every listener, to the process's listeners last."""
        for listener in (*self._own, *_process.listeners):
            try:
                listener(event)
            except Exception:  # somebody else's code; the message must go on
                logger.exception("listener %s failed on %s", listener, type(event).__name__)


class _Process:
    """The listeners that hear every client and worker of this process."""

    def __init__(self) -> None:
        self.listeners: tuple[Listener, ...] = ()
        self.lock = Lock()


_process = _Process()

PROCESS_LISTENERS = Listeners()
"""For events without a client or a worker: only listeners of `listen_to_all` hear them."""


def listen_to_all(listener: Listener) -> Callable[[], None]:
    """Call `listener` with every event of every client and worker in this process.

    For audits, metrics and traces, which cannot know who makes a client.

    Returns:
        A function that ends the listening.
    """
    with _process.lock:
        _process.listeners = (*_process.listeners, listener)

    def stop() -> None:
        with _process.lock:
            left = list(_process.listeners)
            if listener in left:
                left.remove(listener)
            _process.listeners = tuple(left)

    return stop
