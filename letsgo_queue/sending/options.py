"""The options of a message, checked before anything is sent."""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from letsgo_queue.attributes import (
    RESERVED_NAMES,
    AttributeValue,
    MessageAttribute,
    check_attributes,
)
from letsgo_queue.delays import LONGEST_DELAY_SECONDS, with_due_time
from letsgo_queue.durations import Duration, seconds_in
from letsgo_queue.errors import MessageInvalid
from letsgo_queue.transports.base import OutgoingMessage, Transport

# What SQS takes as group and deduplication id:
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
_FIFO_ID = re.compile(r"[A-Za-z0-9!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a message. `check` needs no queue; `apply` checks the rules of one.

    Attributes:
        delay_seconds: Whole seconds.
        attributes: Message attributes.
        group_id: Message group.
        deduplication_id: FIFO deduplication id.
    """

    delay_seconds: int
    attributes: Mapping[str, MessageAttribute]
    group_id: str | None = None
    deduplication_id: str | None = None

    @classmethod
    def check(
        cls,
        delay_seconds: Duration,
        attributes: Mapping[str, AttributeValue] | None,
        group_id: str | None = None,
        deduplication_id: str | None = None,
    ) -> Options:
        """Check what the caller gave, as far as it does not depend on the queue.

        Raises:
            MessageInvalid: The delay is out of range, SQS refuses an attribute, or the library
                reserves its name.
        """
        none_given = attributes is None and group_id is None and deduplication_id is None
        if none_given and delay_seconds == 0:
            return _NONE  # most messages
        checked = check_attributes(attributes)
        _refuse_reserved_names(checked)
        return cls(_whole_seconds(delay_seconds), checked, group_id, deduplication_id)

    def apply(
        self, message_type: str, body: bytes, transport: Transport, now: float
    ) -> OutgoingMessage:
        """Return the message to send to a queue.

        Args:
            message_type: The message's type.
            body: The body as the caller gave it; a FIFO queue may deduplicate by it.
            transport: The queue.
            now: Seconds since 1970.

        Raises:
            MessageInvalid: The queue does not take one of the options, or needs one more.
        """
        check_delay(self.delay_seconds, transport)
        return OutgoingMessage(
            type=message_type,
            body=body,
            attributes=with_due_time(self.attributes, self.delay_seconds, now),
            delay_seconds=self.delay_seconds,
            group_id=check_group(self.group_id, transport),
            deduplication_id=_deduplication_id(self.deduplication_id, body, transport),
        )


_NONE = Options(delay_seconds=0, attributes={})


def _whole_seconds(delay: object) -> int:
    """A delay in whole seconds, rounded up."""
    seconds = seconds_in(delay, "delay_seconds", MessageInvalid)
    if not 0 <= seconds <= LONGEST_DELAY_SECONDS:
        raise MessageInvalid(
            f"delay_seconds={seconds:.15g}: a message can be delayed by 0 to "
            f"{LONGEST_DELAY_SECONDS:,} seconds (14 days)."
        )
    return math.ceil(seconds)


def check_delay(delay_seconds: int, transport: Transport) -> None:
    """Check that a queue takes the delay.

    Raises:
        MessageInvalid: It is a FIFO queue, which takes none.
    """
    if delay_seconds and transport.fifo:
        raise MessageInvalid(
            f"delay_seconds={delay_seconds}: SQS has no delay per message on a FIFO queue, and "
            f"{transport.url} is one. Use a standard queue, or on SQS delay the whole queue "
            "(DelaySeconds)."
        )


def check_group(group_id: str | None, transport: Transport) -> str | None:
    """The message group.

    Raises:
        MessageInvalid: None is given for a FIFO queue, or SQS refuses it.
    """
    if group_id is not None:
        return _check_fifo_id("group_id", group_id)
    if transport.fifo:
        raise MessageInvalid(
            f"the queue {transport.url} is FIFO: say which messages keep their order among each "
            "other with group_id=."
        )
    return None


def _refuse_reserved_names(names: Iterable[str]) -> None:
    if reserved := [name for name in names if name in RESERVED_NAMES]:
        raise MessageInvalid(
            f"attribute name {reserved[0]!r}: the library sets it itself, and workers rely on it "
            f"({', '.join(RESERVED_NAMES)}). Choose another name, or leave it out."
        )


def _deduplication_id(given: str | None, body: bytes, transport: Transport) -> str | None:
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
        return hashlib.sha256(body).hexdigest()  # as SQS does, before middleware changes the body
    return uuid.uuid4().hex


def _check_fifo_id(name: str, value: object) -> str:
    if not isinstance(value, str) or not _FIFO_ID.fullmatch(value):
        what = f"{len(value)} characters" if isinstance(value, str) else type(value).__name__
        raise MessageInvalid(
            f"{name} ({what}): SQS takes text of 1 to 128 letters, digits and punctuation marks."
        )
    return value
