"""The contract of looking at a queue: how old its messages are, how many come and go, which wait.

Looking changes nothing, except that a peek on SQS receives messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

from letsgo_queue.admin.letters import LetterRoute as Route
from letsgo_queue.admin.named import find_queue
from letsgo_queue.attributes import MessageAttribute
from letsgo_queue.settings import QueueSettings

MessageState: TypeAlias = Literal["waiting", "in flight", "delayed"]


@dataclass(frozen=True, slots=True)
class Minute:
    """How many messages came and went in a minute.

    Attributes:
        at: When it began, in UTC.
        sent: Messages that were sent.
        removed: Messages that were deleted, or became dead letters.
    """

    at: datetime
    sent: int
    removed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """The traffic of a queue. A number that the queue does not tell is None.

    Attributes:
        oldest_sent_at: When the oldest message that is still there was sent, in UTC.
        sent: Messages that were sent since the queue was made.
        removed: Messages that left it since then.
        minutes: The traffic of the last hour, if the queue itself keeps it.
        missing: A text that says which figures are missing, and what to do about it.
    """

    oldest_sent_at: datetime | None = None
    sent: int | None = None
    removed: int | None = None
    minutes: Sequence[Minute] | None = None
    missing: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Billed:
    """How many messages AWS bills for a queue. A batch is billed as one request.

    Attributes:
        sent: Messages that were sent.
        sent_bytes: Their bytes.
        received: Messages that were received.
        deleted: Messages that were deleted.
        empty: Receives that got none.
    """

    sent: int
    sent_bytes: int
    received: int
    deleted: int
    empty: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PeekedMessage:
    """A message that somebody looks at.

    Attributes:
        message_id: Its id.
        type: The message's type; None if the body is no LetsGo message.
        state: Whether it waits, is in flight, or is delayed; None if the queue does not say.
        body: The body as it travels.
        attributes: Message attributes.
        size: Bytes of the body and the attributes.
        route: Which way its content travels; a stored one's is in a claim store.
        whole_size: Bytes of the body as it was enqueued; None if a sealed body does not say.
        sent_at: When it was sent, in UTC.
        due_at: When it can be received; None if now, or after another message of its group.
        receive_count: How often it has been received.
        group_id: Message group, if it has one.
    """

    message_id: str
    type: str | None
    state: MessageState | None
    body: str = field(repr=False)
    attributes: Mapping[str, MessageAttribute] = field(repr=False)
    size: int
    route: Route
    whole_size: int | None
    sent_at: datetime
    due_at: datetime | None
    receive_count: int
    group_id: str | None


@dataclass(frozen=True, slots=True)
class Peek:
    """Some messages of a queue, in the order they were sent.

    Attributes:
        messages: The messages.
        after: The place where the next messages begin; None at the end.
    """

    messages: Sequence[PeekedMessage]
    after: int | None = None


class QueueWatch(Protocol):
    """Looks at a queue.

    Every method raises `QueueNotFound` if the queue does not exist, and `QueueUnavailable` if it
    could not be asked.
    """

    @property
    def peek_costs(self) -> str | None:
        """A text that says what a peek does to messages; None if it does nothing."""
        ...

    @property
    def url(self) -> str:
        """The URL that names the queue."""
        ...

    def traffic(self) -> Traffic:
        """Return how old its messages are, and how many come and go."""
        ...

    def billed(self, since: datetime) -> Billed | None:
        """Return what AWS bills since a moment; None if it bills nothing, or does not answer."""
        ...

    def peek(
        self, *, limit: int, after: int | None = None, state: MessageState | None = None
    ) -> Peek:
        """Look at messages.

        Args:
            limit: At most this many.
            after: The place where an earlier peek ended.
            state: Only those in this state, where the queue can tell.
        """
        ...

    def message(self, message_id: str) -> PeekedMessage | None:
        """Return one message; None if it is not there, or only a receive could find it."""
        ...

    def close(self) -> None:
        """Release connections. Do not use the object afterwards."""
        ...


def open_watch(url: str | None, settings: QueueSettings) -> QueueWatch:
    """Open the queue that `url` names, or without a `url` the queue that the settings name.

    Raises:
        SettingsInvalid: The URL names no queue, or a queue of one process only.
        QueueNotFound: The LetsGo deployment has no queue, or several.
    """
    queue = find_queue(url, settings)
    if queue.kind == "sqlite":
        from letsgo_queue.admin.sqlite_watch import SqliteWatch

        return SqliteWatch(queue.url)
    from letsgo_queue.admin.sqs_watch import SqsWatch

    return SqsWatch(queue.url, region=settings.region)
