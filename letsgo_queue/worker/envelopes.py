"""Messages in an envelope of SNS, EventBridge or a pipe, which `letsgo_queue.envelope` tells of.

A worker handles the message in it, which gets the attributes of the envelope. An event of
EventBridge that is no message is made one: its type is the `detail-type`, its payload the `detail`.
A body with a `type` is a message itself, and stays as it is.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from letsgo_queue.attributes import MessageAttribute
from letsgo_queue.envelope import is_event, may_be_wrapped, read_json, unwrap
from letsgo_queue.errors import MessageInvalid
from letsgo_queue.transports.base import ReceivedMessage


def open_envelope(received: ReceivedMessage) -> ReceivedMessage:
    """Take a message out of its envelope; without an envelope it stays as it is."""
    if not may_be_wrapped(received.body):
        return received
    if (wrapped := unwrap(received.body)) is None:
        return _event_as_message(received)
    attributes = dict(received.attributes)
    for envelope in wrapped.envelopes:
        attributes.update(_attributes(envelope.get("MessageAttributes"), "Type", "Value"))
        attributes.update(
            _attributes(envelope.get("messageAttributes"), "dataType", "stringValue", "binaryValue")
        )
    return replace(received, body=wrapped.body, attributes=attributes)


def _event_as_message(received: ReceivedMessage) -> ReceivedMessage:
    try:
        event = read_json(received.body)
    except MessageInvalid:  # the reader of the message says so
        return received
    if not isinstance(event, dict) or not is_event(event) or "type" in event:
        return received
    message = {"type": event["detail-type"], "payload": event["detail"]}
    return replace(received, body=json.dumps(message, separators=(",", ":")))


def _attributes(
    fields: object, type_name: str, *value_names: str
) -> Iterator[tuple[str, MessageAttribute]]:
    """Yield the attributes that a service wrote; leave out those that it would not write.

    Args:
        fields: The attributes, by their names.
        type_name: The field that has the data type of one.
        value_names: The fields that may have its value.
    """
    for name, each in fields.items() if isinstance(fields, Mapping) else ():
        if isinstance(each, Mapping) and (found := _attribute(each, type_name, value_names)):
            yield name, found


def _attribute(
    fields: Mapping[str, Any], type_name: str, value_names: tuple[str, ...]
) -> MessageAttribute | None:
    data_type = fields.get(type_name)
    value = next((fields[each] for each in value_names if fields.get(each) is not None), None)
    if not isinstance(data_type, str) or not isinstance(value, str):
        return None
    kind = data_type.partition(".")[0]
    if kind == "Binary":
        try:
            return MessageAttribute(data_type, b64decode(value, validate=True))
        except ValueError:
            return None
    # SNS has lists too (`String.Array`), as text: for SQS they are String with a label.
    return MessageAttribute(data_type if kind in {"String", "Number"} else "String", value)
