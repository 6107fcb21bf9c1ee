"""The contract of administering a queue, which SQS and SQLite queues keep.

A dead letter is a message that nobody tries again. Either a worker moved it, and wrote the reason
into an attribute, or its queue moved it after too many receives. Redriving puts it back as a new
message:

    queue ──moved──> dead letters ──redrive──> queue
                                  ──delete───> gone
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from letsgo_queue.admin.letters import EVERY_LETTER, DeadLetter, DeadLetterFilter, Progress
from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.limits import MAX_VISIBILITY_SECONDS
from letsgo_queue.validation import check_number

DEFAULT_MAX_RECEIVE_COUNT = 5

MAX_MAX_RECEIVE_COUNT = 1000
"""The most that SQS's redrive policy takes.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-configure-dead-letter-queue.html"""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueOptions:
    """The options of a new queue.

    Attributes:
        fifo: Whether it keeps the order within a message group.
        visibility_timeout: Seconds that a received message stays invisible, 0 to 43,200. None takes
            the value in a `sqlite://` URL, else 30, or 360 for a LetsGo deployment, as LetsGo's own
            queues have.
        max_receive_count: Receives after which a message becomes a dead letter, 1 to 1,000. None
            takes the value in a `sqlite://` URL, else 5.
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


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a queue and its dead-letter queue keep a message, in seconds.

    Attributes:
        queue: On the queue, from the time it was sent.
        dead: On the dead-letter queue, from the time it came there; 0 if there is none.
    """

    queue: int
    dead: int


class QueueAdmin(Protocol):
    """Administers a queue.

    Every method raises `QueueNotFound` if the queue, or a dead-letter queue that it needs, does not
    exist, and `QueueUnavailable` if it could not be asked.
    """

    @property
    def url(self) -> str:
        """The URL that names the queue."""
        ...

    def status(self) -> QueueStatus:
        """Count the queue's messages."""
        ...

    def retention(self) -> Retention | None:
        """Return how long the queue keeps a message; None if it keeps each until it is handled."""
        ...

    def purge(self) -> int | None:
        """Remove every message, also those in flight, but no dead letters.

        Claims of large messages stay in their store until they expire, 15 days after the delivery
        was due.

        Returns:
            How many were removed; None if the queue does not say.
        """
        ...

    def dead_letters(
        self, *, only: DeadLetterFilter = EVERY_LETTER, limit: int | None = None
    ) -> Sequence[DeadLetter]:
        """Return the dead letters, oldest first, each once. They stay where they are.

        Args:
            only: Which letters to return.
            limit: At most this many, 0 or more.
        """
        ...

    def redrive(
        self,
        *,
        only: DeadLetterFilter = EVERY_LETTER,
        limit: int | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Put dead letters back on the queue, oldest first, with a receive count of 0.

        Messages that become dead letters again meanwhile are left alone.

        Args:
            only: Which letters to redrive.
            limit: At most this many, 0 or more.
            progress: Called with the result of each letter.

        Returns:
            How many were moved.

        Raises:
            DeadLettersLeft: Some could not be moved and are still dead letters.
        """
        ...

    def delete(
        self,
        *,
        only: DeadLetterFilter = EVERY_LETTER,
        limit: int | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Delete dead letters for good, oldest first.

        Messages that become dead letters meanwhile are left alone. Claims of large messages stay in
        their store until they expire.

        Args:
            only: Which letters to delete.
            limit: At most this many, 0 or more.
            progress: Called with the result of each letter.

        Returns:
            How many were deleted.

        Raises:
            DeadLettersLeft: Some could not be deleted and are still dead letters.
        """
        ...

    def close(self) -> None:
        """Release connections. Do not use the object afterwards."""
        ...


def check_limit(limit: int | None) -> None:
    """Refuse a negative number of letters, which would never be reached.

    Raises:
        SettingsInvalid: It is negative, or not a whole number.
    """
    if limit is None:
        return
    check_number("limit", limit)
    if limit < 0:
        raise SettingsInvalid(f"limit={limit}: give 0 or more letters; None is for all.")
