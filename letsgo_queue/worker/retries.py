"""Decides what happens to a message that was not handled: when it comes again, and how often.

    Reject, or the last attempt of the retry policy   to the dead-letter queue, and why
    the last receive that its queue allows            the same: the queue would move it anyway
    Retry(delay), or a retry policy                   visible again after that delay
    an error that says when to try again              visible again then
    any other error                                   visible again at the end of its timeout

Without a policy the queue's redrive policy says how often. A message is not at fault if its queue
or a store kept it from its handler: no retry policy moves it to the dead-letter queue for that. It
counts as an attempt all the same, since attempts are receives.

A queue that moves a message itself does not say why. So the worker moves it in its last receive, if
it may read the redrive policy and send to the dead-letter queue.
"""

from __future__ import annotations

import math
import os
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from letsgo_queue.durations import Duration, seconds_in
from letsgo_queue.errors import HandlerTimedOut, LetsGoError, Reject, Retry, SettingsInvalid
from letsgo_queue.events import MessageFailed, MessageRejected
from letsgo_queue.failure import Failure, fit
from letsgo_queue.limits import MAX_VISIBILITY_SECONDS
from letsgo_queue.log import get_logger
from letsgo_queue.place import place_of, raised_by_us
from letsgo_queue.text import name_of_error, shown, shown_error
from letsgo_queue.validation import check_number

if TYPE_CHECKING:
    from letsgo_queue.worker.incoming import IncomingMessage

logger = get_logger(__name__)

_MAX_DOUBLINGS = 40
"""Far beyond any pause; a float can be doubled a thousand times, and then it overflows."""


def doubled(seconds: float, times: int, longest: float) -> float:
    """Return a pause, doubled so many times, up to the longest."""
    return min(seconds * 2.0 ** min(times, _MAX_DOUBLINGS), longest)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with jitter: the delay doubles with each delivery, up to a cap.

        Worker(retry_policy=RetryPolicy(base=5, max_attempts=8))

    Attributes:
        base: Seconds before the second delivery, or a timedelta.
        cap: The longest delay in seconds, up to 43,200 (SQS's longest visibility timeout), or a
            timedelta.
        jitter: What share of a delay is random, 0 to 1: so many messages that failed together do
            not come again together.
        max_attempts: Deliveries after which a message that fails goes to the dead-letter queue;
            None leaves that to the queue. At least 1, and below the maximum receives of the
            queue's redrive policy, which would come first.
    """

    base: Duration = 30.0
    cap: Duration = 900.0
    jitter: float = 0.5
    max_attempts: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            SettingsInvalid: A number is out of range.
        """
        if not 0 <= self._base <= self._cap <= MAX_VISIBILITY_SECONDS:
            raise SettingsInvalid(
                f"base={self._base:.15g}, cap={self._cap:.15g}: a retry policy takes 0 <= base <= "
                f"cap <= {MAX_VISIBILITY_SECONDS:,} seconds."
            )
        check_number("jitter", self.jitter, whole=False)
        if not 0 <= self.jitter <= 1:
            raise SettingsInvalid(f"jitter={self.jitter}: a retry policy takes a share, 0 to 1.")
        check_number("max_attempts", 1 if self.max_attempts is None else self.max_attempts)
        if self.max_attempts is not None and self.max_attempts < 1:
            raise SettingsInvalid(
                f"max_attempts={self.max_attempts}: a retry policy takes 1 or more, or None."
            )

    def delay(self, attempt: int, *, chance: Callable[[], float] = random.random) -> int:
        """Seconds to wait after a delivery that failed, rounded up.

        Args:
            attempt: Which delivery it was, from 1.
            chance: Gives a number from 0 to 1.
        """
        longest = doubled(self._base, max(attempt - 1, 0), self._cap)
        return math.ceil(longest * (1 - self.jitter * chance()))

    @property
    def _base(self) -> float:
        return seconds_in(self.base, "base", SettingsInvalid)

    @property
    def _cap(self) -> float:
        return seconds_in(self.cap, "cap", SettingsInvalid)

    def is_last(self, attempt: int) -> bool:
        """Whether a message that fails in this delivery is not delivered again."""
        return self.max_attempts is not None and attempt >= self.max_attempts


def settle_failure(
    message: IncomingMessage, error: BaseException, *, with_text: bool = False
) -> MessageRejected | MessageFailed:
    """Decide what happens to a message, and tell its queue. A refusal of the queue is logged.

    Args:
        message: The message.
        error: Why it was not handled.
        with_text: Whether a dead letter has the text of any error, which may quote its payload; the
            text of an error of the library it always has.

    Returns:
        The event that says what became of it.
    """
    reason = _reason_to_reject(message, error)
    if reason is not None and _reject(message, _failure(message, error, reason, with_text)):
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
    """Whether the message itself is at fault, and not the queue or a store, which others use."""
    if message.handler_started or not isinstance(error, LetsGoError):
        return True
    # An error with `patience` is not the message's fault either: a store denies access, say.
    return not (error.retryable or error.patience)


def _reason_to_reject(message: IncomingMessage, error: BaseException) -> str | None:
    if isinstance(error, Reject):
        return error.reason
    attempt, policy = message.received.receive_count, message.policy
    if policy is not None and policy.is_last(attempt) and _by_its_own_fault(message, error):
        # Its name only: the error's own text may quote the payload.
        name = type(error).__name__
        return f"failed in delivery {attempt}, max_attempts={policy.max_attempts}: {name}"
    most = None if _another_delivery_has_it(message, error) else _max_receives(message)
    if most is not None and attempt >= most:
        return f"failed in delivery {attempt}, max_receive_count={most}: {type(error).__name__}"
    return None


def _another_delivery_has_it(message: IncomingMessage, error: BaseException) -> bool:
    """Whether another delivery may still handle it, though this was its last receive."""
    if message.handler_started or not isinstance(error, LetsGoError):
        return False
    return error.retry_after is not None


def _max_receives(message: IncomingMessage) -> int | None:
    """After how many receives its queue moves it; None if it never does, or cannot be asked."""
    try:
        return message.transport.max_receives()
    except LetsGoError as error:
        logger.debug("%s", error, extra=message.log_fields)
        return None


def _failure(
    message: IncomingMessage, error: BaseException, reason: str, with_text: bool
) -> Failure:
    """Why it is a dead letter, to travel with it."""
    received = message.received
    handler = None if message.handler is None else message.handler.function
    first = received.first_received_at
    return Failure(
        reason=fit(reason) or "no reason given",
        error=name_of_error(error),
        place=place_of(error, package=getattr(handler, "__module__", None) or ""),
        attempts=received.receive_count,
        first_received_at=None if first is None else datetime.fromtimestamp(first, UTC),
        failed_at=datetime.fromtimestamp(message.now(), UTC),
        message_id=shown(message.message_id),
        worker=_this_worker(),
        text=shown_error(error) if with_text or _is_fit_to_read(message, error) else None,
    )


def _is_fit_to_read(message: IncomingMessage, error: BaseException) -> bool:
    """Whether the text of an error quotes no payload.

    The library wrote it, and no handler gave it a part of the payload: as the type of a message
    that it enqueues, say.
    """
    if message.handler_started and not isinstance(error, HandlerTimedOut):
        return False
    return not isinstance(error, Retry | Reject) and raised_by_us(error)


def _this_worker() -> str:
    function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
    return shown(function or f"{socket.gethostname()}:{os.getpid()}")


def _reject(message: IncomingMessage, failure: Failure) -> bool:
    try:
        letter_id = message.transport.move_to_dead_letters(message.received, failure)
    except LetsGoError as error:
        logger.warning("%s", error, extra=message.log_fields)
        return False
    if letter_id is not None:
        logger.warning(
            "message %s is a dead letter now%s: %s",
            message.message_id,
            "" if letter_id == message.message_id else f", with the id {letter_id}",
            failure.reason,
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
    return letter_id is not None


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
