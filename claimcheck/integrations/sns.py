"""The claim check for a boto3 client of SNS.

    sns = attach(boto3.client("sns"))

It works where botocore calls SNS, by botocore's own events:

    Publish, PublishBatch   the messages are sealed for several queues
    their answers           a message that SNS refused has its claim removed

Only what goes to a topic is sealed, since nobody opens what goes to a phone or a device. With
`MessageStructure="json"` that is the text for `sqs`; where there is none, queues get the `default`,
which others may get too, and it stays as it is.

https://docs.aws.amazon.com/sns/latest/dg/large-message-payloads.html has the limits.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.client import BaseClient
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

from claimcheck.core.claim_check import ClaimCheck
from claimcheck.core.sealing import Sealed
from claimcheck.errors import BodyInvalid, SettingsInvalid
from claimcheck.integrations.base import Carrier
from letsgo_queue.aws_client import SERVER_ERROR, AwsError, error_code
from letsgo_queue.envelope import read_json, type_in
from letsgo_queue.errors import MessageInvalid
from letsgo_queue.limits import ANY_QUEUE_BYTES, SQS_UNIT_BYTES
from letsgo_queue.log import get_logger

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse
    from botocore.model import OperationModel

logger = get_logger(__name__)

ClientT = TypeVar("ClientT", bound=BaseClient)

_DENIED = {"AuthorizationError", "AuthorizationErrorException", "AccessDenied"}
_BAD_REQUEST = 400

_TOPIC = re.compile(r"arn:[^:]+:sns:[^:]*:[^:]*:[^:/]+")
"""The endpoint of a device has slashes in it. SNS says what else is wrong with an ARN."""

_ENVELOPE_BYTES = 1_000
"""Left for SNS's envelope, which the queue that gets it may count: around what is sealed it has no
more, but for attributes."""

_ENTRIES = "PublishBatchRequestEntries"
_FOR_QUEUES = "sqs"

_SEALED = "claimcheck"
"""Where botocore's context of a call has what was sealed for it."""


def attach(client: ClientT, claim_check: ClaimCheck | None = None) -> ClientT:
    """Give a boto3 client of SNS the claim check. Safe to repeat: the last one counts.

    Args:
        client: `boto3.client("sns")`; of a resource, its `meta.client`.
        claim_check: By default made from the environment, on first use.

    Returns:
        The same client.

    Raises:
        SettingsInvalid: It is no client of SNS, or one for asyncio; or `claim_check` is none.
    """
    _check(client)
    events, topics = client.meta.events, _Topics(client, Carrier(claim_check))
    handlers: Mapping[str, Callable[..., Any]] = {
        "provide-client-params.sns.Publish": topics.seal_one,
        "provide-client-params.sns.PublishBatch": topics.seal_many,
        "after-call.sns.Publish": topics.look_at_answer,
        "after-call.sns.PublishBatch": topics.look_at_answer,
    }
    for event, handle in handlers.items():
        events.unregister(event, unique_id=f"claimcheck-{event}")
        events.register(event, handle, unique_id=f"claimcheck-{event}")
    return client


def _check(client: object) -> None:
    service = client.meta.service_model.service_name if isinstance(client, BaseClient) else None
    if service != "sns":
        what = type(client).__name__ if service is None else f"a client of {service}"
        raise SettingsInvalid(
            f"attach takes a boto3 client of SNS, and got {what}. Give boto3.client('sns'); of a "
            "resource, its meta.client."
        )
    if any(each.__module__.startswith("aiobotocore") for each in type(client).__mro__):
        raise SettingsInvalid(
            "attach takes a boto3 client of SNS, and got one of aiobotocore. Publish with boto3 on "
            "a thread (asyncio.to_thread)."
        )


@dataclass(frozen=True, slots=True)
class _Text:
    """What of a message goes to queues.

    Attributes:
        topic: The topic's ARN.
        body: The text.
        others: Bytes beside it that count: attributes, and the texts for other protocols.
        texts: The texts of all protocols, by their names; None where there is one for all.
    """

    topic: str
    body: str = field(repr=False)
    others: int
    texts: Mapping[str, object] | None = field(default=None, repr=False)

    def sent_size(self, sealed: Sealed) -> int:
        """Bytes that it has in a batch, about."""
        return len(sealed.body) + self.others

    def message(self, body: str) -> str:
        """The message with another text for queues."""
        if self.texts is None:
            return body
        return json.dumps({**self.texts, _FOR_QUEUES: body}, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class _Call:
    """What was sealed for a call.

    Attributes:
        topic: The topic's ARN.
        sealed: Each message, with the id of its entry in a batch.
    """

    topic: str
    sealed: list[tuple[str | None, Sealed]]


class _Topics:
    """Seals what a client publishes. Safe to share between threads."""

    def __init__(self, client: BaseClient, carrier: Carrier) -> None:
        self._client: Any = client  # its type is that of no service
        self._carrier = carrier
        self._attributes: dict[str, Mapping[str, str]] = {}

    def seal_one(
        self, params: Mapping[str, Any], model: OperationModel, context: dict[str, Any], **_: object
    ) -> Mapping[str, Any] | None:
        """Put a sealed message in place of one that is too large."""
        topic = _topic_in(params)
        if topic is None or (text := self._text(topic, params)) is None:
            return None
        sealed = self._seal(text)
        context[_SEALED] = _Call(topic, [(None, sealed)])
        return self._checked({**params, **self._changes(text, sealed, params)}, model, context)

    def seal_many(
        self, params: Mapping[str, Any], model: OperationModel, context: dict[str, Any], **_: object
    ) -> Mapping[str, Any] | None:
        """Put sealed messages in place of those that are too large, one by one or together."""
        topic, entries = _topic_in(params), params.get(_ENTRIES)
        if topic is None or not isinstance(entries, list | tuple):
            return None
        context[_SEALED] = call = _Call(topic, [])
        try:
            changed = self._seal_entries(call, entries)
        except BaseException:
            self._discard(call)
            raise
        return self._checked({**params, _ENTRIES: changed}, model, context)

    def look_at_answer(
        self,
        http_response: AWSResponse,
        parsed: Mapping[str, Any],
        context: Mapping[str, Any],
        **_: object,
    ) -> None:
        """Remove the claims of messages that SNS has refused."""
        call: _Call | None = context.get(_SEALED)
        # One that was tried before may be on its way.
        if call is None or parsed.get("ResponseMetadata", {}).get("RetryAttempts", 1):
            return
        if _BAD_REQUEST <= http_response.status_code < SERVER_ERROR:
            self._discard(call)
        for entry in parsed.get("Failed", ()):
            self._discard(call, only=entry.get("Id"))

    def _seal_entries(self, call: _Call, entries: Sequence[Any]) -> list[Any]:
        """The entries of a batch, sealed where they are too large."""
        changed, texts = list(entries), dict[int, _Text]()
        for at, entry in enumerate(entries):
            text = self._text(call.topic, entry) if isinstance(entry, Mapping) else None
            if text is not None:
                texts[at] = text
                call.sealed.append((entry.get("Id"), self._seal(text)))
        sizes = [
            text.sent_size(sealed)
            for text, (_, sealed) in zip(texts.values(), call.sealed, strict=True)
        ]
        room = self._room_for_each(call.topic, sizes)
        for n, (at, text) in enumerate(texts.items()):
            id, sealed = call.sealed[n]
            if sizes[n] > room:
                self._carrier.discard(sealed, queue=call.topic)
                sealed = self._seal(text, room)
                call.sealed[n] = (id, sealed)
            changed[at] = {**entries[at], **self._changes(text, sealed, entries[at])}
        return changed

    def _room_for_each(self, topic: str, sizes: Sequence[int]) -> int:
        """The most bytes that one message of a batch may have, so that all of them fit."""
        together = sum(sizes)
        if together <= SQS_UNIT_BYTES or together <= self._limit(topic):
            return together
        left = self._limit(topic)
        for position, size in enumerate(sorted(sizes)):
            if size * (len(sizes) - position) > left:
                return left // (len(sizes) - position)
            left -= size
        return left

    def _text(self, topic: str, params: Mapping[str, Any]) -> _Text | None:
        """What of a message goes to queues; None where nothing can be sealed.

        Raises:
            BodyInvalid: Every message must be sealed, and this one cannot be.
        """
        message = params.get("Message")
        if not isinstance(message, str) or not message:  # botocore, or SNS, says so
            return None
        others = _attributes_size(params.get("MessageAttributes"))
        if params.get("MessageStructure") != "json":
            return _Text(topic, message, others)
        texts = _read(message)
        text = texts.get(_FOR_QUEUES)
        if isinstance(text, str) and text:
            others += len(message.encode()) - len(text.encode())
            return _Text(topic, text, others, texts)
        if self._carrier.opener.refuses_unsealed(topic):
            raise BodyInvalid(
                f"message to {topic}: every message is sealed here, and this one has no text for "
                "'sqs' (MessageStructure='json'), so queues would get its 'default' as it is. Give "
                "it one."
            )
        return None

    def _seal(self, text: _Text, room: int | None = None) -> Sealed:
        return self._carrier.seal(
            text.body,
            queue=text.topic,
            name=type_in(text.body),
            attributes_size=text.others,
            queue_limit=lambda: self._limit(text.topic) - _ENVELOPE_BYTES,
            shared=True,
            room=room,
        )

    def _changes(self, text: _Text, sealed: Sealed, params: Mapping[str, Any]) -> Mapping[str, str]:
        """What of a message becomes different, now that it is sealed."""
        if sealed.route == "inline":
            return {}
        changes = {"Message": text.message(sealed.text)}
        if text.topic.endswith(".fifo") and "MessageDeduplicationId" not in params:
            # SNS would take that of the sealed body, which is another each time.
            by_content = self._attributes_of(text.topic).get("ContentBasedDeduplication", "true")
            if by_content == "true":
                digest = hashlib.sha256(params["Message"].encode()).hexdigest()
                changes["MessageDeduplicationId"] = digest
        return changes

    def _checked(
        self, params: Mapping[str, Any], model: OperationModel, context: dict[str, Any]
    ) -> Mapping[str, Any] | None:
        """The parameters; None where nothing was sealed, or botocore will not send them."""
        call: _Call = context[_SEALED]
        if all(sealed.route == "inline" for _, sealed in call.sealed):
            del context[_SEALED]
            return None
        shape = model.input_shape
        if shape is not None and ParamValidator().validate(params, shape).has_errors():
            self._discard(call)
            return None
        return params

    def _discard(self, call: _Call, *, only: str | None = None) -> None:
        for id, sealed in call.sealed:
            if only is None or id == only:
                self._carrier.discard(sealed, queue=call.topic)

    def _limit(self, topic: str) -> int:
        """Bytes that a topic accepts."""
        return int(self._attributes_of(topic).get("MaximumMessageSize", ANY_QUEUE_BYTES))

    def _attributes_of(self, topic: str) -> Mapping[str, str]:
        """What a topic says of itself; nothing where that is not permitted, or it does not answer.

        Then every topic takes 256 KiB, and what else is wrong the publishing says.
        """
        if topic in self._attributes:
            return self._attributes[topic]
        try:
            found: Mapping[str, str] = self._client.get_topic_attributes(TopicArn=topic)[
                "Attributes"
            ]
        except AwsError as error:
            if not isinstance(error, ClientError) or error_code(error) not in _DENIED:
                return {}
            logger.warning(
                "topic %s: sns:GetTopicAttributes is not permitted. Assuming that it takes %d "
                "bytes, and deduplicates by content if it is FIFO.",
                topic,
                ANY_QUEUE_BYTES,
            )
            found = {}
        self._attributes[topic] = found
        return found


def _topic_in(params: Mapping[str, Any]) -> str | None:
    """The topic of a call; None where it is for a phone, or the endpoint of a device."""
    target = params.get("TopicArn") or params.get("TargetArn")
    return target if isinstance(target, str) and _TOPIC.fullmatch(target) else None


def _read(message: str) -> Mapping[str, object]:
    """The texts for each protocol; none where SNS will say that it is not JSON."""
    try:
        texts = read_json(message)
    except MessageInvalid:
        return {}
    return texts if isinstance(texts, dict) else {}


def _attributes_size(attributes: object) -> int:
    """Bytes of message attributes; those that botocore refuses have none."""
    if not isinstance(attributes, Mapping):
        return 0
    size = 0
    for name, attribute in attributes.items():
        texts = [name, *(attribute.values() if isinstance(attribute, Mapping) else ())]
        size += sum(len(x.encode() if isinstance(x, str) else x) for x in texts if _is_counted(x))
    return size


def _is_counted(value: object) -> bool:
    return isinstance(value, str | bytes | bytearray)
