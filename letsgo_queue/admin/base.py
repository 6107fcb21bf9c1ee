"""The contract of looking after a queue, which SQS and SQLite queues keep.

A dead letter is a message that nobody tries again: it was received too often, or a worker moved it
and left the reason in an attribute. Redriving puts it back on the queue as a new message:

    queue ──received too often, or moved──> dead letters ──redrive──> queue
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from letsgo_queue.attributes import FAILURE, MessageAttribute, attributes_size
from letsgo_queue.envelope import type_in, unwrap
from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.failure import Failure
from letsgo_queue.transports.base import MAX_VISIBILITY_SECONDS, ReceivedMessage

DEFAULT_MAX_RECEIVE_COUNT = 5

MAX_MAX_RECEIVE_COUNT = 1000
"""The most that SQS's redrive policy takes.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-configure-dead-letter-queue.html"""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueOptions:
    """The options of a new queue.

    Attributes:
        fifo: Whether it keeps the order within a message group.
        visibility_timeout: Seconds that a received message stays invisible, 0 to 43,200. None: what
            a `sqlite://` URL says, else 30, and 360 for a LetsGo deployment, as LetsGo has it.
        max_receive_count: Receives after which a message becomes a dead letter, 1 to 1,000. None:
            what a `sqlite://` URL says, else 5.
        deployment: The LetsGo deployment that finds the queue when no URL is set (SQS only).

    Raises:
        SettingsInvalid: A number is out of range.
    """

    fifo: bool = False
    visibility_timeout: int | None = None
    max_receive_count: int | None = None
    deployment: str | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that SQS refuses."""
        timeout, count = self.visibility_timeout, self.max_receive_count
        if timeout is not None and not 0 <= timeout <= MAX_VISIBILITY_SECONDS:
            raise SettingsInvalid(
                f"visibility_timeout={timeout}: a queue takes 0 to {MAX_VISIBILITY_SECONDS:,} "
                "seconds."
            )
        if count is not None and not 1 <= count <= MAX_MAX_RECEIVE_COUNT:
            raise SettingsInvalid(
                f"max_receive_count={count}: a queue takes 1 to {MAX_MAX_RECEIVE_COUNT:,}."
            )


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """How many messages a queue has. SQS's numbers are approximate, and may be a minute old.

    Attributes:
        waiting: Can be received now.
        in_flight: Received, and invisible.
        delayed: Not due yet.
        dead: Dead letters; None if the queue has no dead-letter queue.
    """

    waiting: int
    in_flight: int
    delayed: int
    dead: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that nobody tries again, unless it is redriven.

    Attributes:
        message_id: Its id on the dead-letter queue; redriving takes it.
        type: The message's type; None if the body is no LetsGo message.
        body: The body as it travelled.
        attributes: Message attributes, without the reason.
        size: Bytes of the body and these attributes.
        sent_at: When it was sent, in UTC. For a message that a worker moved on SQS: when it was
            moved.
        receive_count: How often it has been received. SQS also counts the receives of a
            command that lists dead letters, and begins at 0 when a worker moves a message.
        failure: Why a worker moved it; None if its queue did, after too many receives.
        group_id: Message group, if it has one.
    """

    message_id: str
    type: str | None
    body: str = field(repr=False)
    attributes: Mapping[str, MessageAttribute] = field(repr=False)
    size: int
    sent_at: datetime
    receive_count: int
    failure: Failure | None
    group_id: str | None

    @property
    def reason(self) -> str | None:
        """Why a worker moved it; None if its queue did."""
        return None if self.failure is None else self.failure.reason


class QueueAdmin(Protocol):
    """Looks after a queue.

    Every method raises `QueueNotFound` if the queue, or a dead-letter queue that it needs, does not
    exist, and `QueueUnavailable` if it could not be asked.
    """

    @property
    def url(self) -> str:
        """The URL that names the queue."""
        ...

    def status(self) -> QueueStatus:
        """How many messages it has."""
        ...

    def purge(self) -> int | None:
        """Remove every message, also those in flight, but no dead letters.

        Claims of large messages stay in their store until they expire, 15 days after the delivery
        was due.

        Returns:
            How many were removed; None if the queue does not say.
        """
        ...

    def dead_letters(self, *, limit: int | None = None) -> Sequence[DeadLetter]:
        """The dead letters, oldest first, each once; they stay where they are.

        Args:
            limit: At most this many.
        """
        ...

    def redrive(
        self,
        *,
        message_ids: Collection[str] | None = None,
        limit: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Put dead letters back on the queue, oldest first, with a receive count of 0.

        Messages that become dead letters again meanwhile are left alone.

        Args:
            message_ids: Only these dead letters.
            limit: At most this many.
            progress: Called with the number that has been moved so far.

        Returns:
            How many were moved.

        Raises:
            RedriveIncomplete: Some could not be moved and are still dead letters.
        """
        ...

    def close(self) -> None:
        """Release connections. The object may not be used afterwards."""
        ...


def dead_letter(message: ReceivedMessage) -> DeadLetter:
    """Describe a message of the dead-letter queue."""
    attributes = without_failure(message.attributes)
    wrapped = unwrap(message.body)
    return DeadLetter(
        message_id=message.message_id,
        type=type_in(message.body if wrapped is None else wrapped.body),
        body=message.body,
        attributes=attributes,
        size=len(message.body.encode(errors="replace")) + attributes_size(attributes),
        sent_at=datetime.fromtimestamp(message.sent_at, UTC),
        receive_count=message.receive_count,
        failure=_failure_in(message),
        group_id=message.group_id,
    )


def _failure_in(message: ReceivedMessage) -> Failure | None:
    written = message.attributes.get(FAILURE)
    if written is None:
        return None
    value = written.value
    return Failure.read(value if isinstance(value, str) else value.decode(errors="replace"))


def without_failure(attributes: Mapping[str, MessageAttribute]) -> dict[str, MessageAttribute]:
    """The attributes that a message was sent with."""
    return {name: value for name, value in attributes.items() if name != FAILURE}
