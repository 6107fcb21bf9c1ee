"""What becomes of a message that was not handled.

    Reject, or the last attempt of the retry policy   to the dead-letter queue, with the reason
    Retry(delay), or a retry policy                   visible again after that delay
    an error that says when to try again              visible again then
    any other error                                   visible again at the end of its timeout

A message is not at fault if its queue or a store kept it from its handler: that never moves it to
the dead-letter queue. It counts as an attempt all the same: attempts are counted by receives.
"""

from __future__ import annotations

import math

from letsgo_queue.errors import LetsGoError, Reject, Retry
from letsgo_queue.events import MessageFailed, MessageRejected
from letsgo_queue.log import get_logger
from letsgo_queue.worker.delivery import IncomingMessage

logger = get_logger(__name__)


def settle_failure(
    message: IncomingMessage, error: BaseException
) -> MessageRejected | MessageFailed:
    """Decide what becomes of a message, and tell its queue. A refusal of the queue is logged.

    Returns:
        What became of it.
    """
    reason = _reason_to_reject(message, error)
    if reason is not None and _reject(message, reason):
        return MessageRejected(**message.facts(), error=error, reason=reason)
    delay = _delay(message, error)
    if delay is not None:
        try:
            message.transport.change_visibility(message.received, delay)
        except LetsGoError as refusal:
            logger.warning(
                "message %s keeps its visibility timeout: %s",
                message.message_id,
                refusal,
                extra=message.log_fields,
            )
            delay = None
    return MessageFailed(**message.facts(), error=error, retry_delay=delay)


def _by_its_own_fault(message: IncomingMessage, error: BaseException) -> bool:
    """Whether the message is at fault, and not the queue or a store that others need as well."""
    if message.handler_started or not isinstance(error, LetsGoError):
        return True
    # A store that denies access, say, has patience, though the same call will not succeed.
    return not (error.retryable or error.patience)


def _reason_to_reject(message: IncomingMessage, error: BaseException) -> str | None:
    if isinstance(error, Reject):
        return error.reason
    attempt, policy = message.received.receive_count, message.policy
    if policy is not None and policy.is_last(attempt) and _by_its_own_fault(message, error):
        # Its name only: the error's own text may quote the payload.
        name = type(error).__name__
        return f"failed in delivery {attempt}, max_attempts={policy.max_attempts}: {name}"
    return None


def _reject(message: IncomingMessage, reason: str) -> bool:
    try:
        moved = message.transport.move_to_dead_letters(message.received, reason)
    except LetsGoError as error:
        logger.warning("%s", error, extra=message.log_fields)
        return False
    if moved:
        logger.warning(
            "message %s is a dead letter now: %s",
            message.message_id,
            reason,
            extra=message.log_fields,
        )
    else:
        logger.error(
            "message %s of type %s belongs on a dead-letter queue, and %s has none (or the worker "
            "may not ask: sqs:GetQueueAttributes). It is left to the queue's retries; give the "
            "queue a redrive policy, and start the worker again.",
            message.message_id,
            message.type,
            message.queue,
            extra=message.log_fields,
        )
    return moved


def _delay(message: IncomingMessage, error: BaseException) -> int | None:
    """Seconds until the next delivery; None to leave that to the visibility timeout."""
    delay: float
    if isinstance(error, Retry) and error.delay is not None:
        delay = error.delay
    elif not message.handler_started and isinstance(error, LetsGoError) and error.retry_after:
        delay = error.retry_after
    elif message.policy is not None and _by_its_own_fault(message, error):
        delay = message.policy.delay(message.received.receive_count)
    else:
        return None
    return min(math.ceil(delay), message.longest_extension)
