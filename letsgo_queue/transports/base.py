"""The contract of a transport: what the client and the worker need of a queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, TypeAlias

from letsgo_queue.attributes import (
    FAILURE,
    MAX_ATTRIBUTES,
    TRACE,
    AttributeValue,
    MessageAttribute,
    attributes_size,
)
from letsgo_queue.envelope import is_sealed
from letsgo_queue.errors import (
    LetsGoQueueError,
    MessageTooLarge,
    QueueNotFound,
    QueueUnavailable,
    SendFailed,
    SendUncertain,
    SettingsInvalid,
)
from letsgo_queue.failure import Failure
from letsgo_queue.log import get_logger

logger = get_logger(__name__)

SEALED_BYTES = 400
"""About how many bytes a sealed message with a stored payload has."""

_MOST_RECEIVES = 2**31
_LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingMessage:
    """A message on its way to the queue.

    Attributes:
        type: The message's type.
        body: What travels, as UTF-8.
        attributes: Message attributes: text, numbers and bytes, or each with its data type.
        delay_seconds: Seconds until it can be received.
        group_id: Message group (FIFO order, or SQS fair queues).
        deduplication_id: FIFO deduplication id.
        trace_header: The trace of AWS X-Ray that it belongs to (`AWSTraceHeader`), which counts
            towards no limit.
        route: Which way it goes, for events: `inline`, unless middleware sets another.
        stored_size: Bytes that a middleware put elsewhere: into a claim store, say.
    """

    type: str
    body: bytes = field(repr=False)
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict, repr=False)
    delay_seconds: int = 0
    group_id: str | None = None
    deduplication_id: str | None = None
    trace_header: str | None = None
    route: str = "inline"
    stored_size: int = 0

    @property
    def size(self) -> int:
        """Bytes that count towards the queue's limit: body and attributes."""
        return len(self.body) + attributes_size(self.attributes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedMessage:
    """A message as the queue delivered it.

    Attributes:
        message_id: The queue's id for the message.
        receipt_handle: Acknowledges this delivery.
        body: The body as it travelled.
        attributes: Message attributes.
        receive_count: How often it has been received, this time included.
        sent_at: When it was sent (seconds since 1970).
        first_received_at: When it was received for the first time; None if the queue does not say.
        invisible_until: When it can be received again (on the monotonic clock); None if unknown.
        group_id: Message group, if it has one.
        trace_header: The trace of AWS X-Ray that it belongs to, if it has one.
        received_at: When the queue gave it out (on the monotonic clock).
        is_tick: Whether it is a tick of a schedule, which every worker of a fleet has.
    """

    message_id: str
    receipt_handle: str
    body: str = field(repr=False)
    attributes: Mapping[str, MessageAttribute] = field(repr=False)
    receive_count: int
    sent_at: float
    first_received_at: float | None = None
    invisible_until: float | None = None
    group_id: str | None = None
    trace_header: str | None = None
    received_at: float = field(default_factory=time.monotonic)
    is_tick: bool = False

    def __post_init__(self) -> None:
        """Clamp its numbers to possible values: in local mode anybody can post a record."""
        receives = min(max(self.receive_count, 1), _MOST_RECEIVES)
        object.__setattr__(self, "receive_count", receives)
        object.__setattr__(self, "sent_at", min(max(self.sent_at, 0.0), _LATEST))
        if self.first_received_at is not None:
            first = min(max(self.first_received_at, 0.0), _LATEST)
            object.__setattr__(self, "first_received_at", first)


Sent: TypeAlias = (
    str | MessageTooLarge | SendFailed | SendUncertain | QueueNotFound | QueueUnavailable
)
"""The result for one message of a batch: its id, or why it was not sent."""


class DeliveryEnded(QueueUnavailable):
    """The delivery is no longer ours: the message was acknowledged, or received again."""

    def __init__(self, text: str) -> None:
        super().__init__(text, retryable=False)


class Transport(Protocol):
    """A queue. Safe to use from several threads."""

    @property
    def url(self) -> str:
        """The URL that names the queue, for events and errors."""
        ...

    @property
    def fifo(self) -> bool:
        """Whether the queue is FIFO; known without asking it."""
        ...

    @property
    def seconds_to_prove_empty(self) -> int:
        """How long a poll must wait so that an empty answer proves that the queue is empty."""
        ...

    def max_receives(self) -> int | None:
        """After how many receives the queue gives a message up; None if never, or not known."""
        ...

    def content_based_deduplication(self) -> bool:
        """Whether a FIFO queue deduplicates by content; asked for once and kept."""
        ...

    def max_message_bytes(self) -> int | None:
        """The bytes that the queue accepts, asked for once and kept; None if it will not say."""
        ...

    def send(self, message: OutgoingMessage) -> str:
        """Put a message on the queue.

        Returns:
            The message's id.

        Raises:
            MessageTooLarge: Over what the queue accepts; nothing was sent.
            SendFailed: Refused or not reached; nothing is on the queue.
            SendUncertain: The answer was lost; the message may be on the queue.
            QueueNotFound: There is no such queue.
            QueueUnavailable: It could not be asked what it accepts; nothing was sent.
        """
        ...

    def send_batch(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent]:
        """Put up to ten messages on the queue, of together at most `MAX_BATCH_BYTES`.

        Returns:
            For each message its id, or why it was not sent: see `send`.
        """
        ...

    def send_on(self, delivery: ReceivedMessage, message: OutgoingMessage) -> None:
        """Replace a delivery: send the message, then delete the delivery.

        If the message is sent and the delivery cannot be deleted, that is logged: both are there.

        Raises:
            MessageTooLarge: Or another error of `send`; the delivery is as it was. After
                `SendUncertain` the message may have been sent.
        """
        ...

    def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_timeout: int | None
    ) -> Sequence[ReceivedMessage]:
        """Receive messages. Others do not see them for the visibility timeout.

        Args:
            max_messages: At most this many, 1 to 10.
            wait_seconds: How long to wait for the first one; a transport may wait less.
            visibility_timeout: Seconds; None for the queue's own.

        Raises:
            QueueUnavailable: The queue could not be asked.
        """
        ...

    def delete(self, message: ReceivedMessage) -> None:
        """Acknowledge a delivery. If the message was received again meanwhile, nothing changes.

        Raises:
            QueueUnavailable: The queue could not be told; the message will come again.
        """
        ...

    def delete_batch(
        self, messages: Sequence[ReceivedMessage]
    ) -> Sequence[LetsGoQueueError | None]:
        """Acknowledge up to ten deliveries.

        Returns:
            For each one None, or why it was not acknowledged: see `delete`.
        """
        ...

    def move_to_dead_letters(self, message: ReceivedMessage, failure: Failure) -> str | None:
        """Put a delivery on the dead-letter queue, with an attribute that says why.

        Returns:
            The letter's id; None, with nothing changed, if the queue has no dead-letter queue.

        Raises:
            QueueUnavailable: It was not moved; the message will come again.
        """
        ...

    def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
        """Keep a delivery invisible for `seconds` from now; 0 makes it visible at once.

        Raises:
            DeliveryEnded: It is no longer ours.
            QueueUnavailable: The queue could not be told.
        """
        ...

    def change_visibility_batch(
        self, changes: Sequence[tuple[ReceivedMessage, int]]
    ) -> Sequence[LetsGoQueueError | None]:
        """Keep up to ten deliveries invisible, each for its seconds from now.

        The caller tries again, so this gives up within a few seconds.

        Returns:
            For each one None, or why not: see `change_visibility`.
        """
        ...

    def close(self) -> None:
        """Release connections. The transport may not be used afterwards."""
        ...


def one_by_one(
    change: Callable[[ReceivedMessage, int], None], changes: Sequence[tuple[ReceivedMessage, int]]
) -> Sequence[LetsGoQueueError | None]:
    """`change_visibility_batch` for a transport whose calls cost nothing."""
    errors: list[LetsGoQueueError | None] = []
    for message, seconds in changes:
        try:
            change(message, seconds)
        except LetsGoQueueError as error:
            errors.append(error)
        else:
            errors.append(None)
    return errors


def too_large(message: OutgoingMessage, limit: int) -> MessageTooLarge:
    """The error for a message over `limit` bytes."""
    sealed = is_sealed(message.body)
    room = limit - attributes_size(message.attributes)
    if message.attributes and room < (len(message.body) if sealed else SEALED_BYTES):
        advice = "Attributes are never stored: move what is in them into the payload."
    elif sealed:
        advice = "It is sealed: CLAIMCHECK_INLINE_LIMIT is over what the queue accepts. Unset it."
    else:
        advice = (
            "Send it with claimcheck.enqueue or the command `claimcheck enqueue`, or call "
            "claimcheck.install() once: it is then compressed or stored. If you do, then "
            "CLAIMCHECK_INLINE_LIMIT is over what the queue accepts: unset it."
        )
    return MessageTooLarge(
        f"message of type {message.type!r} is {message.size:,} bytes with its attributes; the "
        f"queue accepts {limit:,}. {advice}",
        size=message.size,
        limit=limit,
    )


def check_queue(queue: object) -> None:
    """Refuse a value that is neither a URL nor a transport.

    Raises:
        SettingsInvalid: It is neither.
    """
    if queue is not None and not isinstance(queue, str) and not hasattr(queue, "send_batch"):
        raise SettingsInvalid(
            f"a queue is named by its URL, or is a transport; it is not of type "
            f"{type(queue).__name__}."
        )


def with_failure(
    message: ReceivedMessage, failure: Failure, limit: int
) -> Mapping[str, MessageAttribute]:
    """The attributes of a dead letter: those of the message, and why it is one.

    If the message leaves no room, the reason is shortened, or left out and logged. The reason
    replaces the context of a trace if there are too many attributes.

    Args:
        message: The message.
        failure: Why it is a dead letter.
        limit: Bytes that the dead-letter queue accepts.
    """
    own = message.attributes
    if len(own.keys() | {FAILURE}) > MAX_ATTRIBUTES:
        own = {name: value for name, value in own.items() if name != TRACE}
    if len(own.keys() | {FAILURE}) > MAX_ATTRIBUTES:
        _tell_no_room(message, failure, f"it has {MAX_ATTRIBUTES} attributes already")
        return own
    size = len(message.body.encode(errors="replace"))
    for written in failure.versions():
        attributes = {**own, FAILURE: MessageAttribute("String", written)}
        if size + attributes_size(attributes) <= limit:
            return attributes
    _tell_no_room(message, failure, f"with more, it would exceed {limit:,} bytes")
    return message.attributes


def _tell_no_room(message: ReceivedMessage, failure: Failure, why: str) -> None:
    logger.warning(
        "message %s becomes a dead letter that does not say why (%s): %s, at %s",
        message.message_id,
        why,
        failure.reason,
        failure.place or "no place in your code",
    )
