"""Checks what a FIFO queue needs of a message, for the embedded queues: SQS checks it itself.

    sqlite:///work.db?fifo=true        memory://?fifo=true

Messages of a group come in the order in which they were sent, one at a time: the next one can be
received when the one before it is deleted or dead. A message whose deduplication id was used in the
last five minutes is accepted, and not put on the queue:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-exactly-once-processing.html
"""

from __future__ import annotations

import hashlib

from letsgo_queue.errors import SendFailed
from letsgo_queue.transports.base import OutgoingMessage, Transport

DEDUPLICATION_SECONDS = 300
"""How long a deduplication id is known, from the first message that has it."""


def refusal(message: OutgoingMessage, queue: Transport) -> SendFailed | None:
    """Return why a FIFO queue refuses a message, as SQS would; None if it takes the message."""
    if message.group_id is None:
        why = "FIFO: say which messages keep their order among each other with group_id="
    elif message.delay_seconds:
        why = "FIFO, and has no delay for single messages"
    elif message.deduplication_id is None and not queue.content_based_deduplication():
        why = "FIFO, and does not go by content: give a deduplication_id"
    else:
        return None
    return SendFailed(
        f"message of type {message.type!r} was not enqueued: the queue {queue.url} is {why}."
    )


def deduplication_id(message: OutgoingMessage) -> str:
    """Return the id that tells a duplicate on a FIFO queue: the given one, or the body's hash."""
    return message.deduplication_id or hashlib.sha256(message.body).hexdigest()
