"""One SQS record, opened, and how its claim ends with the function that works on it.

open_record ──> the function returns ──> succeeded   the claim is purged
     └────────> it raises ─────────────> failed      the claim is put back
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field
from typing import Protocol

from claimcheck.core.claim_check import Opened
from claimcheck.errors import ClaimInProgress
from claimcheck.opening import Opener
from claimcheck.records import fields_of, with_body
from letsgo_queue.aws_lambda.records import queue_url, received_from
from letsgo_queue.errors import LetsGoQueueError
from letsgo_queue.sending.default import default_client
from letsgo_queue.transports.base import MAX_VISIBILITY_SECONDS, ReceivedMessage

logger = logging.getLogger(__name__)


class Work(Protocol):
    """What one call of a function works on, opened."""

    @property
    def argument(self) -> object:
        """What the function gets in place of what it was called with."""
        ...

    @property
    def nothing_left(self) -> bool:
        """Whether there is nothing to call the function for."""
        ...

    def succeeded(self, answer: object) -> object:
        """Settle the claims; the answer to give in place of the function's."""
        ...

    def failed(self) -> None:
        """Put every claim back."""
        ...


@dataclass(frozen=True, slots=True)
class OpenedRecord:
    """The record of a per-record function; None for a duplicate, which is acknowledged."""

    argument: object = field(repr=False)
    opened: Opened | None

    @property
    def nothing_left(self) -> bool:
        """Whether it is a duplicate."""
        return self.opened is None

    def succeeded(self, answer: object) -> object:
        """Purge the claim."""
        self._settle(succeeded=True)
        return answer

    def failed(self) -> None:
        """Put the claim back."""
        self._settle(succeeded=False)

    def _settle(self, *, succeeded: bool) -> None:
        if self.opened is not None:
            self.opened.settle(succeeded=succeeded)


def open_record(opener: Opener, record: object, *, lease_until: float | None) -> OpenedRecord:
    """Open a sealed record.

    Args:
        opener: How messages are opened.
        record: Of any kind that `records` knows; it is not changed.
        lease_until: When the work on it ends at the latest (seconds since 1970); None for what the
            claim check has as its lease.

    Raises:
        ClaimCheckError: It could not be opened; see `ClaimCheck.open`. A message that is being
            handled elsewhere becomes visible again when the lease there ends, where SQS can be
            told.
        RecordUnsupported: It cannot be copied with its original body; the claim is put back.
        MessageInvalid: It is not as SQS gives records to Lambda.
    """
    fields = fields_of(record)
    received = received_from(fields, invisible_until=lease_until)
    queue = queue_url(fields)
    try:
        opened = opener.open(
            received.body,
            queue=queue,
            message_id=received.message_id,
            lease_until=received.invisible_until,
            receive_count=received.receive_count,
        )
    except ClaimInProgress as error:
        _come_back(received, queue, error.retry_after)
        raise
    if opened is None:
        return OpenedRecord(None, None)
    try:
        return OpenedRecord(with_body(record, opened.body), opened)
    except BaseException:
        opened.settle(succeeded=False)
        raise


def lease_until(context: object) -> float | None:
    """When the invocation of a Lambda function ends (seconds since 1970); None if unknown.

    https://docs.aws.amazon.com/lambda/latest/dg/python-context.html has the method.
    """
    ask = getattr(context, "get_remaining_time_in_millis", None)
    remaining = ask() if callable(ask) else None
    return time.time() + remaining / 1000 if isinstance(remaining, int | float) else None


def _come_back(received: ReceivedMessage, queue: str | None, seconds: float) -> None:
    """Have the message delivered again when the other delivery's lease ends."""
    if queue is None or not received.receipt_handle:
        return
    seconds = min(math.ceil(seconds), MAX_VISIBILITY_SECONDS)
    try:
        default_client().transport(queue).change_visibility(received, int(seconds))
    except LetsGoQueueError as error:
        logger.info("message %s keeps its own visibility timeout: %s", received.message_id, error)
