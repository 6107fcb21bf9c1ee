"""Delays longer than SQS allows: the message is sent on, unopened, until it is due.

    enqueue(delay_seconds=3600)   sent with 900 s, and with the time it is due as an attribute
    a worker receives it early    sends it on for 900 s or the rest, and acknowledges the first one
    it is due                     the handler runs

For SQS each send is one more message, with an id and a retention period of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from letsgo_queue.attributes import DUE_AT, MAX_ATTRIBUTES, MessageAttribute
from letsgo_queue.errors import MessageInvalid
from letsgo_queue.limits import MAX_DELAY_SECONDS
from letsgo_queue.transports.base import OutgoingMessage, ReceivedMessage

LONGEST_DELAY_SECONDS = 14 * 24 * 3600
"""The longest delay of a message, over all its sends: as long as SQS can keep a message."""


def with_due_time(
    attributes: Mapping[str, MessageAttribute], delay_seconds: int, now: float
) -> Mapping[str, MessageAttribute]:
    """Add the time that a message is due to its attributes, if one send cannot delay it so long.

    Raises:
        MessageInvalid: There is no room for one more.
    """
    if delay_seconds <= MAX_DELAY_SECONDS:
        return attributes
    if len(attributes) == MAX_ATTRIBUTES:
        raise MessageInvalid(
            f"delay_seconds={delay_seconds}: over {MAX_DELAY_SECONDS} s the time a message is due "
            f"travels as one of its {MAX_ATTRIBUTES} attributes. Move one of yours into the "
            "payload."
        )
    due_at = math.ceil(now + delay_seconds)
    return {**attributes, DUE_AT: MessageAttribute("Number", str(due_at))}


def for_one_send(message: OutgoingMessage) -> OutgoingMessage:
    """Return the message with its delay cut to the longest of one send."""
    if message.delay_seconds <= MAX_DELAY_SECONDS:
        return message
    return replace(message, delay_seconds=MAX_DELAY_SECONDS)


def without_due_time(message: OutgoingMessage) -> OutgoingMessage:
    """Return the message without the time that it is due, for a queue that has no delays."""
    others = {name: value for name, value in message.attributes.items() if name != DUE_AT}
    return replace(message, attributes=others)


def seconds_left(message: ReceivedMessage, now: float) -> int:
    """Return the seconds until a message is due, rounded up; 0 if it is due.

    Raises:
        MessageInvalid: The time it is due cannot be read, or is too far away.
    """
    attribute = message.attributes.get(DUE_AT)
    if attribute is None:
        return 0
    try:
        left = math.ceil(float(attribute.value) - now)
    except (ValueError, OverflowError):
        left = None
    if left is None or left > LONGEST_DELAY_SECONDS:
        raise MessageInvalid(
            f"message {message.message_id}: its attribute {DUE_AT} is not a time within "
            f"{LONGEST_DELAY_SECONDS // (24 * 3600)} days. It was not handled."
        )
    return max(left, 0)


def sent_on(message: ReceivedMessage, message_type: str, left: int) -> OutgoingMessage:
    """Return the message to send in place of a delivery, with the rest of the delay."""
    return for_one_send(
        OutgoingMessage(
            type=message_type,
            body=message.body.encode(),
            attributes=message.attributes,
            delay_seconds=left,
            group_id=message.group_id,
            trace_header=message.trace_header,
        )
    )
