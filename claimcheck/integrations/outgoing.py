"""Seals what botocore is about to send: the message of a call, or the messages of a batch.

provide-client-params   a message that is too large is sealed in place; in a batch also messages
                        that are too large together, the largest first
after-call              a message that AWS has refused has its claim removed
after-call-error        so has a message that certainly did not reach AWS
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import EndpointConnectionError
from botocore.validate import ParamValidator

from claimcheck.core.sealing import Sealed
from claimcheck.integrations.base import Carrier
from claimcheck.integrations.botocore_clients import is_presigned
from claimcheck.integrations.sqs import attributes_size, md5_of, was_certainly_not_sent
from letsgo_queue.aws_client import SERVER_ERROR
from letsgo_queue.envelope import type_in
from letsgo_queue.errors import MessageInvalid, MessageTooLarge
from letsgo_queue.limits import ANY_QUEUE_BYTES, SQS_UNIT_BYTES

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse
    from botocore.model import OperationModel

_BAD_REQUEST = 400

_MOST_BYTES = 4
"""Bytes of a character in UTF-8, at most."""

_MD5 = "MD5OfMessageBody"

_TICKET_BYTES = 1_000
"""The most bytes that a stored body leaves on the queue."""

_CALL = "claimcheck-sealed"
"""The key of the `SealedCall` in botocore's context of a call."""


@dataclass(frozen=True, slots=True)
class Text:
    """The part of a message that can be sealed.

    Attributes:
        target: URL of its queue, or ARN of its topic.
        body: The text.
        others: Bytes beside it that count: attributes, and texts for other protocols than SQS.
        escapes: Bytes more that it takes by its escapes, until it is sealed.
        texts: The texts by protocol, of a message to a topic that has several; else None.
        delay_seconds: Seconds until the message can be received.
    """

    target: str
    body: str = field(repr=False)
    others: int
    escapes: int = 0
    texts: Mapping[str, object] | None = field(default=None, repr=False)
    delay_seconds: float = 0


@dataclass(frozen=True, slots=True)
class SealedOne:
    """A message that was sealed for a call.

    Attributes:
        id: The id of its entry in a batch.
        body: As it was given.
        sealed: As it is sent.
    """

    id: str | None
    body: str = field(repr=False)
    sealed: Sealed


@dataclass(frozen=True, slots=True)
class SealedCall:
    """The messages that were sealed for a call.

    Attributes:
        target: URL of its queue, or ARN of its topic.
        messages: The messages.
    """

    target: str
    messages: list[SealedOne]


class Outgoing(ABC):
    """Seals what a client of one service sends. Safe to share between threads."""

    entries: str
    """The parameter that has the entries of a batch."""

    body: str
    """The parameter of a message that has its text."""

    shared: bool
    """Whether several queues get each message."""

    batch_bytes: int | None = None
    """The most bytes of a batch; None for as many as one message may have."""

    around = 0
    """Bytes to leave for an envelope that is put around a message on its way."""

    def __init__(self, carrier: Carrier) -> None:
        """Seal with the claim check of a carrier."""
        self._carrier = carrier

    @abstractmethod
    def target_in(self, params: Mapping[str, Any]) -> str | None:
        """The queue or topic that a call sends to; None if messages to it are not sealed."""

    @abstractmethod
    def text_in(self, target: str, params: Mapping[str, Any]) -> Text | None:
        """The part of a message to seal; None if nothing can be sealed."""

    @abstractmethod
    def facts(self, target: str) -> Mapping[str, str]:
        """The attributes of a queue or a topic; none if reading them is not permitted."""

    def new_body(self, text: Text, body: str) -> str:
        """A message's text with another body."""
        return body

    def waits(self, params: Mapping[str, Any]) -> bool:
        """Whether sealing the messages of a call may ask a store, or the queue."""
        target = self.target_in(params)
        messages = params.get(self.entries) or [params]
        if target is None or not isinstance(messages, list | tuple):
            return False  # botocore says so
        together = 0
        for each in messages:
            body = each.get(self.body) if isinstance(each, Mapping) else None
            if not isinstance(body, str):
                continue
            size = attributes_size(each.get("MessageAttributes"))
            if not self._carrier.asks_nobody(body, queue=target, attributes_size=size):
                return True
            together += size + _MOST_BYTES * len(body)
        return together > (self.batch_bytes or SQS_UNIT_BYTES)

    def seal_one(
        self, params: Mapping[str, Any], model: OperationModel, context: dict[str, Any], **_: object
    ) -> Mapping[str, Any] | None:
        """Seal the message of a call, if it is too large."""
        target = self.target_in(params)
        if target is None or self._is_left_alone(target, params):
            return None
        if (text := self.text_in(target, params)) is None:
            return None
        if is_presigned(context):
            self._check_unsealed(text)
            return None
        sealed = self._seal(text)
        if sealed.route == "inline":
            return None
        call = SealedCall(target, [SealedOne(None, text.body, sealed)])
        return self._checked(
            {**params, **self._changes(text, sealed, params)}, model, context, call
        )

    def seal_many(
        self, params: Mapping[str, Any], model: OperationModel, context: dict[str, Any], **_: object
    ) -> Mapping[str, Any] | None:
        """Seal the messages of a batch that are too large, one by one or together."""
        target, entries = self.target_in(params), params.get(self.entries)
        if target is None or not isinstance(entries, list | tuple):
            return None
        if is_presigned(context):
            for entry in entries:
                text = self.text_in(target, entry) if isinstance(entry, Mapping) else None
                if text is not None:
                    self._check_unsealed(text)
            return None
        call = SealedCall(target, [])
        try:
            changed = self._seal_entries(call, entries)
        except BaseException:
            self._discard(call)
            raise
        if all(each.sealed.route == "inline" for each in call.messages):
            return None
        return self._checked({**params, self.entries: changed}, model, context, call)

    def look_at_answer(
        self,
        http_response: AWSResponse,
        parsed: dict[str, Any],
        context: Mapping[str, Any],
        **_: object,
    ) -> None:
        """Remove claims of refused messages. Answer for the others with the given body's MD5."""
        call: SealedCall | None = context.get(_CALL)
        if call is None:
            return
        # A message that was tried before may be on its way.
        if not parsed.get("ResponseMetadata", {}).get("RetryAttempts", 1):
            if _BAD_REQUEST <= http_response.status_code < SERVER_ERROR:
                self._discard(call)
            for entry in parsed.get("Failed", ()):
                self._discard(call, only=entry.get("Id"))
        answers = {each.get("Id"): each for each in parsed.get("Successful", ())}
        for each in call.messages:
            answer = parsed if each.id is None else answers.get(each.id, {})
            if _MD5 in answer:
                answer[_MD5] = md5_of(each.body)

    def look_at_error(self, exception: Exception, context: Mapping[str, Any], **_: object) -> None:
        """Remove the claims of a call that certainly did not reach AWS."""
        is_first = context.get("retries", {}).get("attempt") == 1
        if was_certainly_not_sent(exception) or (
            is_first and isinstance(exception, EndpointConnectionError)
        ):
            self.give_up(context)

    def give_up(self, context: Mapping[str, Any]) -> None:
        """Remove the claims of a call that will not be made."""
        if (call := context.get(_CALL)) is not None:
            self._discard(call)

    def _is_left_alone(self, target: str, params: Mapping[str, Any]) -> bool:
        """Whether a message certainly goes as it is: a shortcut for small messages."""
        body = params.get(self.body)
        return (
            isinstance(body, str)
            and "MessageStructure" not in params  # then only a part of it is sealed
            and self._carrier.leaves_alone(
                body,
                queue=target,
                attributes_size=attributes_size(params.get("MessageAttributes")),
            )
        )

    def _check_unsealed(self, text: Text) -> None:
        """Refuse a message of a presigned URL that would be sealed.

        Raises:
            MessageInvalid: It would be.
        """
        others = text.others + text.escapes
        if not self._carrier.asks_nobody(text.body, queue=text.target, attributes_size=others):
            raise MessageInvalid(
                f"message to {text.target}: it would be sealed, and no message of a presigned URL "
                "is: its contents would be stored, whether or not anybody uses the URL. Send it "
                "with a call of this client."
            )

    def _seal_entries(self, call: SealedCall, entries: Sequence[Any]) -> list[Any]:
        """The entries of a batch, sealed where they are too large."""
        texts = dict[int, Text]()
        for at, entry in enumerate(entries):
            text = self.text_in(call.target, entry) if isinstance(entry, Mapping) else None
            if text is not None:
                texts[at] = text
                call.messages.append(SealedOne(entry.get("Id"), text.body, self._seal(text)))
        sizes = [
            len(each.sealed.body)
            + text.others
            + (text.escapes if each.sealed.route == "inline" else 0)
            for text, each in zip(texts.values(), call.messages, strict=True)
        ]
        least = [
            min(size, text.others + _TICKET_BYTES)
            for text, size in zip(texts.values(), sizes, strict=True)
        ]
        room = self._room_for_each(call.target, sizes, least)
        changed = list(entries)
        for n, (at, text) in enumerate(texts.items()):
            each = call.messages[n]
            if sizes[n] > (room_for_it := max(room, least[n])):
                self._carrier.discard(each.sealed, queue=call.target)
                each = SealedOne(each.id, each.body, self._seal(text, room_for_it))
                call.messages[n] = each
            changed[at] = {**entries[at], **self._changes(text, each.sealed, entries[at])}
        return changed

    def _room_for_each(self, target: str, sizes: Sequence[int], least: Sequence[int]) -> int:
        """The most bytes that one message of a batch may have, so that all of them fit.

        Args:
            target: Where the batch goes.
            sizes: Bytes of each message.
            least: Bytes of each that cannot be stored: attributes, and a ticket.

        Raises:
            MessageTooLarge: They do not fit even if all are stored.
        """
        together = sum(sizes)
        if together <= SQS_UNIT_BYTES:
            return together
        limit = self.batch_bytes or self._limit(target)
        if together <= limit:
            return together
        if sum(least) > limit:
            raise MessageTooLarge(
                f"batch of {len(sizes)} messages to {target}: {sum(least):,} bytes of it cannot be "
                f"stored, most of them attributes, and one call may have {limit:,}. Nothing was "
                "sent. Send fewer messages in a batch, or move what is in the attributes into the "
                "bodies.",
                size=sum(least),
                limit=limit,
            )

        def bytes_with(room: int) -> int:
            return sum(max(min(size, room), own) for size, own in zip(sizes, least, strict=True))

        return bisect_right(range(limit + 1), limit, key=bytes_with) - 1

    def _limit(self, target: str) -> int:
        """Bytes of one message that a queue or a topic accepts."""
        return int(self.facts(target).get("MaximumMessageSize", ANY_QUEUE_BYTES))

    def _room(self, target: str) -> int:
        """Bytes of one message that its queues accept, without the envelope around it."""
        return self._limit(target) - self.around

    def _seal(self, text: Text, room: int | None = None) -> Sealed:
        others = text.others + text.escapes
        if text.escapes:
            size = len(text.body.encode(errors="surrogatepass")) + text.others
            most = room
            if most is None and size + text.escapes > SQS_UNIT_BYTES:
                most = self._room(text.target)
            if most is not None and size + text.escapes > most:
                # It must be sealed, which leaves no escapes.
                others, room = text.others, min(most, size - 1)
        return self._carrier.seal(
            text.body,
            queue=text.target,
            name=type_in(text.body),
            attributes_size=others,
            queue_limit=lambda: self._room(text.target),
            delay_seconds=text.delay_seconds,
            shared=self.shared,
            room=room,
            adds_attributes=True,
        )

    def _changes(self, text: Text, sealed: Sealed, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters of a message that sealing changes."""
        if sealed.route == "inline":
            return {}
        changes: dict[str, Any] = {self.body: self.new_body(text, sealed.text)}
        if sealed.attributes:
            changes["MessageAttributes"] = {
                **(params.get("MessageAttributes") or {}),
                **{
                    name: {"DataType": "Number", "StringValue": str(number)}
                    for name, number in sealed.attributes.items()
                },
            }
        if text.target.endswith(".fifo") and "MessageDeduplicationId" not in params:
            # AWS would hash the sealed body, which differs each time.
            by_content = self.facts(text.target).get("ContentBasedDeduplication", "true")
            if by_content == "true":
                digest = hashlib.sha256(params[self.body].encode()).hexdigest()
                changes["MessageDeduplicationId"] = digest
        return changes

    def _checked(
        self,
        params: Mapping[str, Any],
        model: OperationModel,
        context: dict[str, Any],
        call: SealedCall,
    ) -> Mapping[str, Any] | None:
        """The parameters; None if botocore refuses them, which then says why."""
        shape = model.input_shape
        if shape is not None and ParamValidator().validate(params, shape).has_errors():
            self._discard(call)
            return None
        context[_CALL] = call
        return params

    def _discard(self, call: SealedCall, *, only: str | None = None) -> None:
        for each in call.messages:
            if only is None or each.id == only:
                self._carrier.discard(each.sealed, queue=call.target)


def has_sealed(context: Mapping[str, Any]) -> bool:
    """Whether something was sealed for a call."""
    return _CALL in context
