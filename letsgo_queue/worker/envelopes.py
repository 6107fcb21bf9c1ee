"""Envelopes that other services put around a message on its way to the queue.

    sns           {"Type": "Notification", "TopicArn": ..., "Message": "<the message>", ...}
    eventbridge   {"detail-type": ..., "source": ..., "detail": {<the message>}, ...}

SNS has one unless raw message delivery is on for the subscription; EventBridge always has one. A
worker opens only those that it was told of: another sender may use these names for a message of its
own.

https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeAlias, get_args

from letsgo_queue.attributes import MessageAttribute
from letsgo_queue.envelope import CLAIM_CHECK, read_json
from letsgo_queue.errors import MessageInvalid, SettingsInvalid
from letsgo_queue.transports.base import ReceivedMessage

Envelope: TypeAlias = Literal["sns", "eventbridge"]
"""A service that puts one around messages."""

_OF_EVENTBRIDGE = {"detail-type", "source", "detail"}


def check_envelopes(envelopes: object) -> frozenset[Envelope]:
    """Refuse what is no `Envelope`.

    Raises:
        SettingsInvalid: One is not known.
    """
    known: tuple[Envelope, ...] = get_args(Envelope)
    is_text = isinstance(envelopes, str)
    if isinstance(envelopes, Collection) and not is_text and all(x in known for x in envelopes):
        return frozenset(each for each in known if each in envelopes)
    raise SettingsInvalid(f"envelopes={envelopes!r}: give a list of {' and '.join(known)}.")


def open_envelope(received: ReceivedMessage, envelopes: Collection[Envelope]) -> ReceivedMessage:
    """The message in its envelope; one that has none of these is as it was."""
    if not envelopes:
        return received
    try:
        fields = read_json(received.body)
    except MessageInvalid:  # the reader of the message says so
        return received
    if isinstance(fields, dict):
        for envelope in envelopes:
            if (opened := _OPENERS[envelope](received, fields)) is not None:
                return opened
    return received


def _from_sns(received: ReceivedMessage, fields: Mapping[str, Any]) -> ReceivedMessage | None:
    body = fields.get("Message")
    if fields.get("Type") != "Notification" or "TopicArn" not in fields or type(body) is not str:
        return None
    attributes = fields.get("MessageAttributes")
    return replace(
        received,
        body=body,
        attributes={
            **received.attributes,
            **(_attributes(attributes) if isinstance(attributes, dict) else {}),
        },
    )


def _attributes(fields: Mapping[str, Any]) -> dict[str, MessageAttribute]:
    """Attributes as SNS writes them; one that is not as SNS writes it is left out."""
    found = {}
    for name, each in fields.items():
        kind, value = (each.get("Type"), each.get("Value")) if isinstance(each, dict) else (0, 0)
        if kind == "Binary" and isinstance(value, str):
            try:
                found[name] = MessageAttribute("Binary", b64decode(value, validate=True))
            except ValueError:
                continue
        elif isinstance(kind, str) and isinstance(value, str):
            # SNS has lists too, as text: SQS has no type for them.
            found[name] = MessageAttribute("Number" if kind == "Number" else "String", value)
    return found


def _from_eventbridge(
    received: ReceivedMessage, fields: Mapping[str, Any]
) -> ReceivedMessage | None:
    kind = fields.get("detail-type")
    if not fields.keys() >= _OF_EVENTBRIDGE or not isinstance(kind, str):
        return None
    detail = fields["detail"]
    if not _is_message(detail):
        detail = {"type": kind, "payload": detail}
    return replace(received, body=json.dumps(detail, separators=(",", ":")))


def _is_message(detail: object) -> bool:
    return (
        isinstance(detail, dict)
        and isinstance(detail.get("type"), str)
        and ("payload" in detail or CLAIM_CHECK in detail)
    )


_OPENERS: Mapping[
    Envelope, Callable[[ReceivedMessage, Mapping[str, Any]], ReceivedMessage | None]
] = {"sns": _from_sns, "eventbridge": _from_eventbridge}
