"""What becomes of a message that was not handled.

    Reject, or the last attempt of the retry policy   to the dead-letter queue, with the reason
    Retry(delay), or a retry policy                   visible again after that delay
    else                                              visible again when its visibility timeout ends

A message that its queue or a store kept from being handled has not failed by its own fault, and is
never moved to the dead-letter queue for that. It has been received all the same, and receives are
what attempts are counted by.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from letsgo_queue.errors import LetsGoQueueError, Reject, Retry
from letsgo_queue.transports.base import MAX_VISIBILITY_SECONDS, ReceivedMessage, Transport
from letsgo_queue.worker.retries import RetryPolicy

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A delivery that failed.

    Attributes:
        transport: The queue.
        received: The message.
        type: Its type; None where it could not be read.
        error: What was raised.
        handler_started: Whether its handler had begun.
        seconds: How long ago it was received.
    """

    transport: Transport
    received: ReceivedMessage
    type: str | None
    error: BaseException
    handler_started: bool
    seconds: float

    @property
    def by_its_own_fault(self) -> bool:
        """Whether it would have been handled, had it been another message."""
        return self.handler_started or not getattr(self.error, "retryable", False)


@dataclass(frozen=True, slots=True)
class Retried:
    """It is delivered again.

    Attributes:
        delay: Seconds until then; None for what is left of its visibility timeout.
    """

    delay: int | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """It is on the dead-letter queue.

    Attributes:
        reason: Why.
    """

    reason: str


def settle(failure: Failure, policy: RetryPolicy | None) -> Retried | Rejected:
    """Put a message where it belongs; what the queue refuses is logged."""
    reason = _reason_to_reject(failure, policy)
    if reason is not None and _reject(failure, reason):
        return Rejected(reason)
    delay = _delay(failure, policy)
    if delay is None:
        return Retried(None)
    try:
        failure.transport.change_visibility(failure.received, delay)
    except LetsGoQueueError as error:
        logger.warning(
            "message %s keeps its visibility timeout: %s", failure.received.message_id, error
        )
        return Retried(None)
    return Retried(delay)


def _reason_to_reject(failure: Failure, policy: RetryPolicy | None) -> str | None:
    if isinstance(failure.error, Reject):
        return failure.error.reason
    attempt = failure.received.receive_count
    if policy is not None and policy.is_last(attempt) and failure.by_its_own_fault:
        # Its name only: the error's own text may quote the payload.
        name = type(failure.error).__name__
        return f"failed in delivery {attempt}, max_attempts={policy.max_attempts}: {name}"
    return None


def _reject(failure: Failure, reason: str) -> bool:
    message_id = failure.received.message_id
    try:
        moved = failure.transport.move_to_dead_letters(failure.received, reason)
    except LetsGoQueueError as error:
        logger.warning("%s", error)
        return False
    if moved:
        logger.warning("message %s is a dead letter now: %s", message_id, reason)
    else:
        logger.error(
            "message %s of type %r belongs on a dead-letter queue, and %s has none (or may not say "
            "so: sqs:GetQueueAttributes). It is left to the queue's retries; give the queue a "
            "redrive policy, and start the worker again.",
            message_id,
            failure.type,
            failure.transport.url,
        )
    return moved


def _delay(failure: Failure, policy: RetryPolicy | None) -> int | None:
    """Seconds until the next delivery; None where nothing says."""
    if isinstance(failure.error, Retry) and failure.error.delay is not None:
        delay = math.ceil(failure.error.delay)
    elif policy is not None and failure.by_its_own_fault:
        delay = policy.delay(failure.received.receive_count)
    else:
        return None
    # SQS counts its 12 hours from when the message was received.
    return max(min(delay, MAX_VISIBILITY_SECONDS - math.ceil(failure.seconds)), 0)
