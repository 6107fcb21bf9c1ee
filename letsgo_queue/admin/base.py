"""What can be done with a queue beside sending and receiving: the contract of every kind of queue.

A dead letter is a message that was given up: received too often, or moved by a worker, which then
leaves the reason in an attribute. Redriving puts it back on the queue as a new message:

    queue ──received too often, or given up──> dead letters ──redrive──> queue
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from letsgo_queue.attributes import MessageAttribute, attributes_size
from letsgo_queue.envelope import type_in
from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.transports.base import (
    DEAD_LETTER_REASON,
    MAX_VISIBILITY_SECONDS,
    ReceivedMessage,
)

DEFAULT_VISIBILITY_TIMEOUT = 30
"""Seconds, as SQS has it for a new queue."""

DEFAULT_MAX_RECEIVE_COUNT = 5

MAX_MAX_RECEIVE_COUNT = 1000
"""The most that a redrive policy takes.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-configure-dead-letter-queue.html"""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueOptions:
    """What a new queue is to be like.

    Attributes:
        fifo: Whether it keeps the order within a message group; SQS only.
        visibility_timeout: Seconds that a received message stays invisible, 0 to 43,200; None for
            30, or what a `sqlite://` URL says.
        max_receive_count: Receives after which a message becomes a dead letter, 1 to 1,000; None
            for 5, or what a `sqlite://` URL says.
        deployment: The LetsGo deployment that is to find the queue when no URL is set; SQS only.

    Raises:
        SettingsInvalid: A number is out of range.
    """

    fifo: bool = False
    visibility_timeout: int | None = None
    max_receive_count: int | None = None
    deployment: str | None = None

    def __post_init__(self) -> None:
        """Refuse what SQS refuses."""
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
    """How many messages a queue has. On SQS all four are approximate, and may lag by a minute.

    Attributes:
        waiting: Can be received now.
        in_flight: Received, and invisible.
        delayed: Not yet due.
        dead: Dead letters; None where the queue has no dead-letter queue.
    """

    waiting: int
    in_flight: int
    delayed: int
    dead: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that was given up.

    Attributes:
        message_id: Its id among the dead letters, which redriving asks for.
        type: The message's type; None where the body is no LetsGo message.
        body: The body as it travelled.
        attributes: Message attributes, without the reason.
        size: Bytes of the body and these attributes.
        sent_at: When it was sent, in UTC. SQS counts a message that a worker moved as sent then.
        receive_count: How often it had been received. SQS counts looking at dead letters too, and
            starts again with a message that a worker moved.
        reason: Why a worker gave it up; None where it was received too often.
        group_id: Message group, if it has one.
    """

    message_id: str
    type: str | None
    body: str = field(repr=False)
    attributes: Mapping[str, MessageAttribute] = field(repr=False)
    size: int
    sent_at: datetime
    receive_count: int
    reason: str | None
    group_id: str | None


class QueueAdmin(Protocol):
    """A queue, to look after.

    Every method raises `QueueNotFound` where the queue, or the dead-letter queue it asks for, does
    not exist, and `QueueUnavailable` where it could not be asked.
    """

    @property
    def url(self) -> str:
        """The URL that names the queue."""
        ...

    def status(self) -> QueueStatus:
        """How many messages it has."""
        ...

    def purge(self) -> int | None:
        """Remove every message, those in flight too, but no dead letters.

        What large messages had in the claim store stays there until it expires, 15 days after
        their delivery was due.

        Returns:
            How many were removed; None where the queue does not say.
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
        """Put dead letters back on the queue, oldest first, with the receive count at 0 again.

        Those that die again meanwhile are left alone.

        Args:
            message_ids: Only these dead letters.
            limit: At most this many.
            progress: Called with how many have been moved, as that is known.

        Returns:
            How many were moved.

        Raises:
            RedriveIncomplete: Some could not be moved; they are dead letters still.
        """
        ...

    def close(self) -> None:
        """Release connections. The object may not be used afterwards."""
        ...


def dead_letter(message: ReceivedMessage) -> DeadLetter:
    """A message of the dead-letter queue, with what there is to know of it."""
    attributes = without_reason(message.attributes)
    reason = message.attributes.get(DEAD_LETTER_REASON)
    return DeadLetter(
        message_id=message.message_id,
        type=type_in(message.body),
        body=message.body,
        attributes=attributes,
        size=len(message.body.encode(errors="replace")) + attributes_size(attributes),
        sent_at=datetime.fromtimestamp(message.sent_at, UTC),
        receive_count=message.receive_count,
        reason=None if reason is None else str(reason.value),
        group_id=message.group_id,
    )


def without_reason(attributes: Mapping[str, MessageAttribute]) -> dict[str, MessageAttribute]:
    """The attributes that a message was sent with."""
    return {name: value for name, value in attributes.items() if name != DEAD_LETTER_REASON}
