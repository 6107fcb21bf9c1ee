"""SQS records: messages as AWS Lambda hands them to a function, and LetsGo's local mode posts them.

A record may be a mapping (of Lambda, EventBridge Pipes or boto3), a data class of Powertools for
AWS Lambda, a pydantic model, or another object with a body. Only `SqsRecord` looks into a record.
It reads any kind, and makes a copy of the same kind with another body.

https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html has the event of an SQS source.
"""

from __future__ import annotations

import copy
import hashlib
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass, replace
from datetime import datetime
from typing import Any, TypeGuard, TypeVar, cast

from pydantic import BaseModel

from letsgo_queue.attributes import MessageAttribute, received_attribute, spell_out
from letsgo_queue.aws_hosts import queue_url_of_arn
from letsgo_queue.envelope import MOST_RECORDS, has_sealed_shape, sealed_fields, unwrap_sealed
from letsgo_queue.errors import NO_ID, MessageInvalid
from letsgo_queue.forking import cached_property
from letsgo_queue.transports.base import OutgoingMessage, ReceivedMessage

_ThingT = TypeVar("_ThingT")

# Each name as Lambda, boto3 and Python write it.
_BODY = ("body", "Body")
_MESSAGE_ID = ("messageId", "MessageId", "message_id")
_RECEIPT_HANDLE = ("receiptHandle", "ReceiptHandle", "receipt_handle")
_SOURCE_ARN = ("eventSourceARN", "event_source_arn")
_SYSTEM = ("attributes", "Attributes")
_RECEIVE_COUNT = ("ApproximateReceiveCount", "approximate_receive_count")
_SENT = ("SentTimestamp", "sent_timestamp")
_FIRST_RECEIVED = (
    "ApproximateFirstReceiveTimestamp",
    "approximate_first_receive_timestamp",
)
_GROUP = ("MessageGroupId", "message_group_id")
_TRACE = ("AWSTraceHeader", "aws_trace_header")
_ATTRIBUTES = ("messageAttributes", "MessageAttributes", "message_attributes")
_DATA_TYPE = ("dataType", "DataType", "data_type")
_STRING = ("stringValue", "StringValue", "string_value")
_BINARY = ("binaryValue", "BinaryValue", "binary_value")
_MD5 = ("md5OfBody", "MD5OfBody", "md5_of_body")
_RECORDS = "Records"

_LOCAL_ARN = "letsgo:local:"


class SqsRecord:
    """One SQS record of any kind, read once.

    Attributes:
        original: The record as it came; it is never changed.
        body: Its body: text, or the result if somebody has parsed it.
    """

    def __init__(self, original: object, *, is_certain: bool = False) -> None:
        """Look at a record.

        Args:
            original: The record.
            is_certain: Whether its caller knows that it is one of SQS.
        """
        self.original = original
        self._is_certain = is_certain
        self.body: object = _first(original, _BODY)

    @cached_property
    def sealed_fields(self) -> Mapping[str, Any] | None:
        """The fields of its body, text or parsed, if it is a claim check; else None."""
        if isinstance(self.body, str):
            return sealed_fields(self.body)
        sealed = isinstance(self.body, Mapping) and has_sealed_shape(self.body)
        return cast("Mapping[str, Any]", self.body) if sealed else None

    @cached_property
    def is_sealed(self) -> bool:
        """Whether its body is a claim check, or an envelope of another service around one."""
        if self.sealed_fields is not None:
            return True
        return isinstance(self.body, str) and unwrap_sealed(self.body) is not None

    @cached_property
    def message_id(self) -> str | None:
        """The message's id, if it has one."""
        found = _first(self.original, _MESSAGE_ID)
        return found if isinstance(found, str) and found else None

    @property
    def is_certain(self) -> bool:
        """Whether it is surely one of SQS: its caller says so, or it has an id."""
        return self._is_certain or self.message_id is not None or _has_receipt(self.original)

    @property
    def name(self) -> str:
        """The message's id, for people."""
        return self.message_id or NO_ID

    @cached_property
    def source_arn(self) -> str:
        """The ARN of its queue; empty if it does not say."""
        return str(_first(self.original, _SOURCE_ARN) or "")

    @property
    def is_fifo(self) -> bool:
        """Whether its queue is FIFO."""
        return self.source_arn.endswith(".fifo")

    @cached_property
    def queue_url(self) -> str | None:
        """URL of its queue, by the ARN; None if that names no SQS queue."""
        return queue_url_of_arn(self.source_arn)

    @property
    def is_redelivery(self) -> bool:
        """Whether it says that it was received before."""
        return str(_first(self._system, _RECEIVE_COUNT) or 1) != "1"

    @cached_property
    def group_id(self) -> str | None:
        """Its message group, if it has one."""
        found = _first(self._system, _GROUP)
        return found if isinstance(found, str) else None

    def received(self, *, seconds_left: float | None = None) -> ReceivedMessage:
        """The message in it.

        Args:
            seconds_left: Seconds until it can be received again at the earliest, if that is known.

        Raises:
            MessageInvalid: It has no body, or attributes that cannot be read, or its ARN is not
                that of a queue.
        """
        if self.source_arn and not self.source_arn.startswith(_LOCAL_ARN) and not self.queue_url:
            raise MessageInvalid(
                f"message {self.name}: the eventSourceARN of its record names no SQS queue. Check "
                "what triggers this function."
            )
        now = time.monotonic()
        try:
            return ReceivedMessage(
                message_id=self.name,
                receipt_handle=str(_first(self.original, _RECEIPT_HANDLE) or ""),
                body=_text(self.body),
                attributes={
                    name: _attribute(value)
                    for name, value in (_first(self.original, _ATTRIBUTES) or {}).items()
                },
                receive_count=int(_first(self._system, _RECEIVE_COUNT) or 1),
                sent_at=_seconds(_first(self._system, _SENT)),
                first_received_at=_seconds(_first(self._system, _FIRST_RECEIVED)) or None,
                invisible_until=None if seconds_left is None else now + seconds_left,
                group_id=self.group_id,
                trace_header=self._trace_header,
                received_at=now,
            )
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            raise MessageInvalid(
                f"message {self.name}: its record is not one of SQS (messageId, body, attributes)."
            ) from None

    def with_body(self, body: str) -> object:
        """A copy of the record with another body.

        Raises:
            TypeError: No such copy can be made.
        """
        changes = {name: body for name in _BODY if _has(self.original, name)}
        changes |= {name: md5_of(body) for name in _MD5 if _has(self.original, name)}
        try:
            return _altered(self.original, changes)
        except (AttributeError, copy.Error) as error:
            raise TypeError(str(error)) from None

    @property
    def _trace_header(self) -> str | None:
        found = _first(self._system, _TRACE)
        return found if isinstance(found, str) else None

    @cached_property
    def _system(self) -> object:
        return _first(self.original, _SYSTEM)


def is_scheduled(event: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether an event comes from a schedule of EventBridge."""
    return isinstance(event, Mapping) and event.get("detail-type") == "Scheduled Event"


def is_record(value: object) -> bool:
    """Whether a value may be a record: it has a body, and is no message.

    A message has a `type`. So may a record: then it has a receipt handle, or a claim check as its
    body and no payload.
    """
    if not (_has(value, "body") or _has(value, "Body")):
        return False
    if not _has(value, "type") or _has_receipt(value):
        return True
    return _get(value, "payload") is None and SqsRecord(value).is_sealed


def has_records(event: object) -> bool:
    """Whether a value is an event with `Records`, and not the bare list of EventBridge Pipes."""
    return isinstance(_get(event, _RECORDS), list | tuple)


def is_plain_iterator(value: object) -> TypeGuard[Iterator[object]]:
    """Whether a value is an iterator of Python's own: a generator, a `map`, or one of itertools.

    Others (a file, a database cursor) have an interface of their own, and no records.
    """
    return isinstance(value, Iterator) and type(value).__module__ in {"builtins", "itertools"}


def records_in(event: object) -> Sequence[object] | None:
    """The records in an event: of SQS behind Lambda, or the list that EventBridge Pipes sends.

    None if it is no such event. If one record of several is damaged, only that one fails. Of a long
    list of something else, `MOST_RECORDS` are looked at.
    """
    records = event if isinstance(event, list | tuple) else _get(event, _RECORDS)
    if not isinstance(records, list | tuple):
        return None
    return records if not records or any(map(is_record, records[:MOST_RECORDS])) else None


def with_records(event: _ThingT, records: Sequence[object]) -> _ThingT:
    """A copy of an event with other records."""
    if isinstance(event, list | tuple):
        return cast("_ThingT", [*records] if isinstance(event, list) else (*records,))
    return _altered(event, {_RECORDS: [*records]})


def local_record(
    message: OutgoingMessage,
    *,
    message_id: str,
    receipt_handle: str,
    sender: str,
    region: str,
    sent_at: float,
) -> Mapping[str, Any]:
    """A message as LetsGo's local mode posts it.

    LetsGo's own client posts the same fields.

    Args:
        message: The message; its delay has no place in a record.
        message_id: Its id.
        receipt_handle: Names its delivery.
        sender: Who sends it, `letsgo:local:USER`.
        region: The AWS region that the record names.
        sent_at: When it is sent (seconds since 1970).
    """
    body = message.body.decode()
    timestamp = str(int(sent_at * 1000))
    return {
        "messageId": message_id,
        "receiptHandle": receipt_handle,
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": timestamp,
            "SenderId": sender,
            "ApproximateFirstReceiveTimestamp": timestamp,
            **({"MessageGroupId": message.group_id} if message.group_id else {}),
            **({"AWSTraceHeader": message.trace_header} if message.trace_header else {}),
        },
        "messageAttributes": attributes_for_record(spell_out(message.attributes)),
        "md5OfBody": md5_of(body),
        "eventSource": "letsgo:local",
        "eventSourceARN": sender,
        "awsRegion": region,
    }


def attributes_for_record(attributes: Mapping[str, MessageAttribute]) -> dict[str, dict[str, str]]:
    """Message attributes as a record has them."""
    return {
        name: {
            "dataType": attribute.data_type,
            **(
                {"binaryValue": b64encode(attribute.value).decode()}
                if isinstance(attribute.value, bytes)
                else {"stringValue": attribute.value}
            ),
        }
        for name, attribute in attributes.items()
    }


def md5_of(body: str) -> str:
    """The MD5 of a body, in hex, as SQS gives it with every message."""
    return hashlib.md5(body.encode(errors="replace"), usedforsecurity=False).hexdigest()


def _attribute(value: object) -> MessageAttribute:
    text, data = _first(value, _STRING), _first(value, _BINARY)
    if isinstance(data, str):  # Lambda has base64, boto3 has decoded it
        data = b64decode(data, validate=True)
    return received_attribute(_text(_first(value, _DATA_TYPE)), text, data)


def _seconds(timestamp: Any) -> float:
    """Seconds since 1970, of SQS's milliseconds or of the datetime in a model of Powertools."""
    if isinstance(timestamp, datetime):
        return timestamp.timestamp()
    return int(timestamp or 0) / 1000


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _altered(thing: _ThingT, changes: Mapping[str, object]) -> _ThingT:
    """A copy of the same kind."""
    if isinstance(thing, dict):
        altered: Any = {**thing, **changes}
    elif isinstance(raw := getattr(thing, "raw_event", None), Mapping):
        # Powertools' data classes are made anew, since they keep what they have parsed.
        parser = getattr(thing, "_json_deserializer", None)  # it has no public name
        altered = cast("Any", type(thing))({**raw, **changes}, parser)
    elif isinstance(thing, BaseModel):
        altered = thing.model_copy(update=changes)
    elif is_dataclass(thing):
        altered = replace(cast("Any", thing), **changes)
    elif isinstance(thing, Mapping):
        altered = {**thing, **changes}
    else:
        altered = copy.copy(thing)
        for name, value in changes.items():
            setattr(altered, name, value)
    return cast("_ThingT", altered)


def _has(thing: object, name: str) -> bool:
    try:
        return name in thing if isinstance(thing, Mapping) else hasattr(thing, name)
    except Exception:  # noqa: BLE001  a thing that is no record may raise anything
        return False


def _has_receipt(thing: object) -> bool:
    return isinstance(_first(thing, _RECEIPT_HANDLE), str)


def _get(thing: object, name: str) -> Any:
    try:
        return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)
    except Exception:  # noqa: BLE001  as above
        return None


def _first(thing: object, names: Sequence[str]) -> Any:
    for name in names:
        if (found := _get(thing, name)) is not None:
            return found
    return None
