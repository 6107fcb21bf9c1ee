"""The messages that a test enqueued: each as its handler will read it, and how it travels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast, overload

from pydantic import BaseModel, ValidationError

from letsgo_queue.attributes import RESERVED_NAMES, MessageAttribute, spell_out
from letsgo_queue.envelope import read_json
from letsgo_queue.errors import MessageInvalid, SettingsInvalid
from letsgo_queue.events import EnqueueResult, Event, MessageSent
from letsgo_queue.message import types_of
from letsgo_queue.middleware import Middleware
from letsgo_queue.transports.base import OutgoingMessage

MessageT = TypeVar("MessageT")
MessageT_co = TypeVar("MessageT_co", covariant=True)
ModelT = TypeVar("ModelT", bound=BaseModel)

AnyFields = dict[str, Any]
"""A message as JSON has it: a dict with `type` and `payload`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentMessage(Generic[MessageT_co]):
    """A message that was enqueued.

    Attributes:
        type: Its type.
        message: The message, read again from what was written: of the model that the test asked
            for, else a dict with `type` and `payload`.
        message_id: The id that the queue gave it.
        queue: URL of the queue it is on.
        route: Which way it travels: `inline`, or with a claim check `compressed` or `stored`.
        size: Bytes of the message as given, body and attributes.
        sent_size: Bytes that went on the queue, body and attributes.
        stored_size: Bytes that went to the claim store.
        delay_seconds: Seconds until a handler gets it.
        group_id: Its message group.
        deduplication_id: Its id for deduplication; None if it was not given.
        attributes: Its message attributes.
        result: What `enqueue` returned.
    """

    type: str
    message: MessageT_co = field(repr=False)
    message_id: str
    queue: str
    route: str
    size: int
    sent_size: int
    stored_size: int
    delay_seconds: int
    group_id: str | None
    deduplication_id: str | None
    attributes: Mapping[str, MessageAttribute] = field(repr=False)
    result: EnqueueResult = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Recorded:
    given: OutgoingMessage
    event: MessageSent

    def as_sent(self, message: MessageT) -> SentMessage[MessageT]:
        given, event = self.given, self.event
        attributes = spell_out(given.attributes)
        return SentMessage(
            type=given.type,
            message=message,
            message_id=event.result.message_id,
            queue=event.queue,
            route=event.route,
            size=event.size,
            sent_size=event.sent_size,
            stored_size=event.stored_size,
            delay_seconds=given.delay_seconds,
            group_id=given.group_id,
            deduplication_id=given.deduplication_id,
            attributes={
                name: value for name, value in attributes.items() if name not in RESERVED_NAMES
            },
            result=event.result,
        )

    def as_fields(self) -> SentMessage[AnyFields]:
        return self.as_sent(cast("AnyFields", read_json(self.given.body)))

    def as_model(self, model: type[ModelT]) -> SentMessage[ModelT]:
        """Read it as a handler with that annotation does.

        Raises:
            MessageInvalid: It does not fit.
        """
        try:
            message = model.model_validate_json(self.given.body)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, each['loc']))} ({each['type']})"
                for each in error.errors(include_url=False, include_input=False)
            )
            raise MessageInvalid(
                f"message {self.event.message_id} of type {self.given.type!r} was enqueued, and "
                f"does not fit {model.__name__}: {problems}."
            ) from None  # the text of a ValidationError quotes the payload
        return self.as_sent(message)


class Outbox(Sequence[SentMessage[AnyFields]]):
    """All that was enqueued in a test, in order.

        assert letsgo_outbox.one(OrderNew).message.payload.order_id == "42"
        assert [sent.route for sent in letsgo_outbox.of("report:ready")] == ["stored"]
        assert not letsgo_outbox

    A message that was refused is not in it. A message stays in it when it is handled.
    """

    def __init__(self) -> None:
        self._recorded: list[_Recorded] = []

    def __len__(self) -> int:
        """How many messages were enqueued."""
        return len(self._recorded)

    @overload
    def __getitem__(self, index: int) -> SentMessage[AnyFields]: ...

    @overload
    def __getitem__(self, index: slice) -> list[SentMessage[AnyFields]]: ...

    def __getitem__(
        self, index: int | slice
    ) -> SentMessage[AnyFields] | list[SentMessage[AnyFields]]:
        """One of the messages, or several."""
        if isinstance(index, slice):
            return [each.as_fields() for each in self._recorded[index]]
        return self._recorded[index].as_fields()

    def __repr__(self) -> str:
        """Name the messages, without their content."""
        return f"<Outbox: {self._shown()}>"

    @overload
    def of(self, kind: type[ModelT], /) -> list[SentMessage[ModelT]]: ...

    @overload
    def of(self, kind: str, /) -> list[SentMessage[AnyFields]]: ...

    def of(
        self, kind: type[ModelT] | str, /
    ) -> list[SentMessage[ModelT]] | list[SentMessage[AnyFields]]:
        """The messages of a kind.

        Args:
            kind: A model whose `type` is fixed, or the type: `"order:new"`.

        Raises:
            SettingsInvalid: The model has no type of its own.
            MessageInvalid: A message of that type does not fit the model.
        """
        if isinstance(kind, str):
            return [each.as_fields() for each in self._recorded if each.given.type == kind]
        types = types_of(kind)
        if not types:
            raise SettingsInvalid(
                f"{kind.__name__} has no type of its own, so it does not say which messages: name "
                'the type, as in outbox.of("order:new").'
            )
        return [each.as_model(kind) for each in self._recorded if each.given.type in types]

    @overload
    def one(self, kind: type[ModelT], /) -> SentMessage[ModelT]: ...

    @overload
    def one(self, kind: str | None = None, /) -> SentMessage[AnyFields]: ...

    def one(
        self, kind: type[ModelT] | str | None = None, /
    ) -> SentMessage[ModelT] | SentMessage[AnyFields]:
        """The only message of a kind, or the only one at all.

        Args:
            kind: As in `of`; None for any.

        Raises:
            AssertionError: There is none, or there are several.
            SettingsInvalid: As in `of`.
            MessageInvalid: As in `of`.
        """
        found: Sequence[SentMessage[ModelT] | SentMessage[AnyFields]]
        found = self if kind is None else self.of(kind)
        if len(found) != 1:
            name = kind if isinstance(kind, str) else getattr(kind, "__name__", "any kind")
            raise AssertionError(
                f"one message of {name} should be enqueued, and there are {len(found)}. "
                f"Enqueued were: {self._shown()}."
            )
        return found[0]

    def clear(self) -> None:
        """Forget what was enqueued so far. It stays on its queue."""
        self._recorded.clear()

    def _shown(self) -> str:
        return ", ".join(_shown(each.event) for each in self._recorded) or "no messages"


class Recorder(Middleware):
    """The outermost middleware of every client, which sees messages as they were given."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._given: dict[int, OutgoingMessage] = {}

    def after_send(self, message: OutgoingMessage, result: EnqueueResult) -> EnqueueResult:
        """Note the message. Its event follows, with the other facts and this result."""
        self._given[id(result)] = message
        return result

    def hear(self, event: Event) -> None:
        """Put the message of an event into the outbox."""
        if not isinstance(event, MessageSent):
            return
        given = self._given.pop(id(event.result), None)
        if given is not None:
            self._outbox._recorded.append(_Recorded(given, event))


def _shown(event: MessageSent) -> str:
    return f"{event.type} ({event.route}, {event.size:,} bytes)"
