"""The options of a message, checked before anything is sent."""

from __future__ import annotations

import hashlib
import math
import re
import uuid

from letsgo_queue.delays import LONGEST_DELAY_SECONDS
from letsgo_queue.errors import MessageInvalid
from letsgo_queue.transports.base import Transport

# SQS: alphanumeric characters and punctuation, up to 128, for group and deduplication ids.
_FIFO_ID = re.compile(r"[A-Za-z0-9!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}")


def check_delay(delay_seconds: float, transport: Transport) -> int:
    """The delay in whole seconds, rounded up.

    Raises:
        MessageInvalid: Out of range, or not possible on this queue.
    """
    if not 0 <= delay_seconds <= LONGEST_DELAY_SECONDS:
        raise MessageInvalid(
            f"delay_seconds={delay_seconds}: a message can be delayed by 0 to "
            f"{LONGEST_DELAY_SECONDS:,} seconds (14 days)."
        )
    if delay_seconds and transport.fifo:
        raise MessageInvalid(
            f"delay_seconds={delay_seconds}: SQS has no delay per message on a FIFO queue. Set "
            f"DelaySeconds on the queue {transport.url}, or use a standard queue."
        )
    return math.ceil(delay_seconds)


def check_group(group_id: str | None, transport: Transport) -> str | None:
    """The message group.

    Raises:
        MessageInvalid: A FIFO queue has none given, or SQS refuses it.
    """
    if group_id is None:
        if transport.fifo:
            raise MessageInvalid(
                f"the queue {transport.url} is FIFO: say which messages keep their order among "
                "each other with group_id=."
            )
        return None
    return _check_fifo_id("group_id", group_id)


def make_deduplication_id(given: str | None, body: bytes, transport: Transport) -> str | None:
    """The id a FIFO queue deduplicates by, settled before a middleware changes the body.

    Raises:
        MessageInvalid: One is given for another queue, or SQS refuses it.
    """
    if not transport.fifo:
        if given is not None:
            raise MessageInvalid(
                f"a deduplication_id is given: the queue {transport.url} is not FIFO, and only "
                "FIFO queues deduplicate. Leave it out."
            )
        return None
    if given is not None:
        return _check_fifo_id("deduplication_id", given)
    if transport.content_based_deduplication():
        return hashlib.sha256(body).hexdigest()
    return uuid.uuid4().hex


def _check_fifo_id(name: str, value: object) -> str:
    if not isinstance(value, str) or not _FIFO_ID.fullmatch(value):
        what = f"{len(value)} characters" if isinstance(value, str) else type(value).__name__
        raise MessageInvalid(
            f"{name} ({what}): SQS takes text of 1 to 128 letters, digits and punctuation marks."
        )
    return value
