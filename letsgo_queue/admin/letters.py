"""Values for dead letters: a letter, a filter that chooses letters, and the result of each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, TypeAlias

from letsgo_queue.attributes import FAILURE, MessageAttribute, attributes_size
from letsgo_queue.aws_pointers import is_aws_pointer
from letsgo_queue.durations import Duration, seconds_in
from letsgo_queue.envelope import CLAIM_CHECK, sealed_fields, type_in, unwrap
from letsgo_queue.errors import LetsGoQueueError, SettingsInvalid
from letsgo_queue.failure import Failure
from letsgo_queue.text import shown
from letsgo_queue.transports.base import ReceivedMessage

LetterRoute: TypeAlias = Literal["inline", "compressed", "stored"]

_MOST_BYTES = 10**15
"""No message has so many bytes: a ticket that names a larger size is forged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that nobody tries again, unless it is redriven.

    Attributes:
        message_id: Its id on the dead-letter queue, by which it is redriven or deleted.
        type: The message's type; None if the body is no LetsGo message.
        body: The body as it travelled.
        attributes: Message attributes, without the failure.
        size: Bytes of the body and these attributes.
        route: Which way its content travelled; a stored one's is in a claim store.
        whole_size: Bytes of the body as it was enqueued; None if a sealed body does not say.
        sent_at: When it was sent, in UTC. For a message that a worker moved on SQS: when it was
            moved.
        since: When it became a dead letter, in UTC; if nobody knows, when it was sent.
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
    route: LetterRoute
    whole_size: int | None
    sent_at: datetime
    since: datetime
    receive_count: int
    failure: Failure | None
    group_id: str | None

    @property
    def reason(self) -> str | None:
        """Why a worker moved it; None if its queue did."""
        return None if self.failure is None else self.failure.reason

    @property
    def earlier_id(self) -> str | None:
        """The id that it had before a worker moved it, by which logs name it; None if the same."""
        told = None if self.failure is None else self.failure.message_id
        return None if told == shown(self.message_id) else told

    @property
    def attempts(self) -> int:
        """How often it was tried, as far as anybody knows."""
        told = None if self.failure is None else self.failure.attempts
        return self.receive_count if told is None else told


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """Chooses the dead letters that meet all given conditions.

    A letter that lacks a property meets no condition on it. For example, a letter that its queue
    moved has no error.

    Attributes:
        types: Their type is one of these.
        errors: The class of their error is one of these, with its module or without:
            `shop.stock.NoStock` or `NoStock`.
        older_than: They have been dead letters for longer than this: seconds, or a timedelta.
        ids: Their message id is one of these, or was before a worker moved them.

    Raises:
        SettingsInvalid: A text is given instead of a list of texts, or `older_than` is no duration.
    """

    types: Collection[str] | None = None
    errors: Collection[str] | None = None
    older_than: Duration | None = None
    ids: Collection[str] | None = None

    def __post_init__(self) -> None:
        """Keep lists as sets. Refuse a single text: Python would read its characters as a list."""
        for name in ("types", "errors", "ids"):
            given = getattr(self, name)
            if isinstance(given, str):
                raise SettingsInvalid(f"{name}={given!r}: give a list of texts.")
            if given is not None:
                object.__setattr__(self, name, frozenset(given))
        if self.older_than is not None:
            seconds = seconds_in(self.older_than, "older_than", SettingsInvalid)
            if not 0 <= seconds <= timedelta.max.total_seconds() / 2:
                raise SettingsInvalid(f"older_than={seconds:.15g}: give 0 or more seconds.")

    def may_name(self, message_id: str) -> bool:
        """Whether it may choose the letter of this id, on a queue whose letters keep theirs."""
        return self.ids is None or message_id in self.ids

    def matches(self, letter: DeadLetter, now: datetime) -> bool:
        """Whether the filter chooses a letter.

        Args:
            letter: The letter.
            now: The time, in UTC, by the queue's clock.
        """
        if self.ids is not None and not {letter.message_id, letter.earlier_id}.intersection(
            self.ids
        ):
            return False
        if self.types is not None and letter.type not in self.types:
            return False
        if self.errors is not None and not _names_of_error(letter).intersection(self.errors):
            return False
        if self.older_than is None:
            return True
        return (now - letter.since).total_seconds() > seconds_in(
            self.older_than, "older_than", SettingsInvalid
        )


EVERY_LETTER = DeadLetterFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterResult:
    """The result of redriving or deleting a dead letter.

    Attributes:
        message_id: Its id on the dead-letter queue.
        type: The message's type; None if the body is no LetsGo message.
        error: Why it still is a dead letter; None if it no longer is.
    """

    message_id: str
    type: str | None
    error: LetsGoQueueError | None = None


Progress: TypeAlias = Callable[[LetterResult], None]
"""Called with the result of each letter."""


def dead_letter(message: ReceivedMessage, *, since: float | None = None) -> DeadLetter:
    """Describe a message of the dead-letter queue.

    Args:
        message: The message.
        since: When it became a dead letter (seconds since 1970), if its queue knows.
    """
    attributes = without_failure(message.attributes)
    failure = _failure_in(message)
    body = told_by(message.body)
    dead_at = message.sent_at if since is None else since
    return DeadLetter(
        message_id=message.message_id,
        type=body.type,
        body=message.body,
        attributes=attributes,
        size=body.size + attributes_size(attributes),
        route=body.route,
        whole_size=body.whole_size,
        sent_at=datetime.fromtimestamp(message.sent_at, UTC),
        since=(failure and failure.failed_at) or datetime.fromtimestamp(dead_at, UTC),
        receive_count=message.receive_count,
        failure=failure,
        group_id=message.group_id,
    )


def without_failure(attributes: Mapping[str, MessageAttribute]) -> dict[str, MessageAttribute]:
    """Return the attributes that the message was sent with."""
    return {name: value for name, value in attributes.items() if name != FAILURE}


def _failure_in(message: ReceivedMessage) -> Failure | None:
    written = message.attributes.get(FAILURE)
    if written is None:
        return None
    value = written.value
    return Failure.read(value if isinstance(value, str) else value.decode(errors="replace"))


class ToldByBody(NamedTuple):
    """Facts that a body shows without being opened, also in an envelope of another service.

    Attributes:
        type: The message's type; None if the body is no LetsGo message.
        size: Bytes of the body.
        route: Which way its content travelled.
        whole_size: Bytes of the body as it was enqueued; None if a sealed body does not say.
    """

    type: str | None
    size: int
    route: LetterRoute
    whole_size: int | None


def told_by(body: str) -> ToldByBody:
    """Return the facts that a body shows without being opened."""
    wrapped = unwrap(body)
    inside = body if wrapped is None else wrapped.body
    size = len(body.encode(errors="replace"))
    return ToldByBody(type_in(inside), size, *_way_of(inside, size))


def _way_of(body: str, size: int) -> tuple[LetterRoute, int | None]:
    """Return a message's route, and its bytes as enqueued, as far as the body shows them."""
    fields = sealed_fields(body)
    if fields is None:
        return ("stored", None) if is_aws_pointer(body) else ("inline", size)
    ticket: Any = fields[CLAIM_CHECK]
    if not isinstance(ticket, Mapping):
        return "compressed", None
    told = ticket.get("size")
    whole = told if isinstance(told, int) and not isinstance(told, bool) else None
    if whole is not None and not 0 <= whole <= _MOST_BYTES:
        whole = None
    return "stored" if "id" in ticket else "compressed", whole


def _names_of_error(letter: DeadLetter) -> frozenset[str]:
    name = None if letter.failure is None else letter.failure.error
    return frozenset() if name is None else frozenset({name, name.rpartition(".")[2]})
