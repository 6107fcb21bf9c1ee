"""The root of the errors of both packages, and the errors of the queue.

Every error says what was wrong, with which message, and what to do. Payload content never appears
in an error. Text from outside (a type, a server's answer) may be put into an error as it is, since
the text of an error is always one line of printable characters, of a bounded length.

    LetsGoError
    ├── SettingsInvalid          a setting, or an argument that takes its place, cannot be used
    ├── LetsGoQueueError
    │   ├── QueueNotFound        no queue of that name, or no single one to choose
    │   ├── MessageInvalid       refused before anything was sent, or undecodable on arrival
    │   │   └── MessageTooLarge  over what the queue accepts
    │   ├── SendFailed           the queue refused the message: it is not on the queue
    │   ├── SendUncertain        no answer came: the message may be on the queue
    │   ├── EnqueueManyError     some of several messages were not sent; it says which
    │   ├── QueueUnavailable     asking the queue, acknowledging or extending failed
    │   ├── DeadLettersLeft      some dead letters were not redriven or deleted; it says which
    │   ├── WorkerBroken         a part of the worker cannot go on
    │   ├── HandlerMissing       no handler is registered for the message's type
    │   ├── HandlerTimedOut      a handler ran for longer than it may
    │   ├── Retry                raised by a handler: deliver the message again later
    │   └── Reject               raised by a handler: this message will never succeed
    └── ClaimCheckError          see `claimcheck.errors`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from letsgo_queue.durations import Duration, seconds_in
from letsgo_queue.limits import MAX_VISIBILITY_SECONDS
from letsgo_queue.text import shown_error

if TYPE_CHECKING:
    from letsgo_queue.events import EnqueueResult


NO_ID = "(no id)"
"""How errors name a message without an id."""


class LetsGoError(Exception):
    """Base of every error of `letsgo_queue` and `claimcheck`.

    Attributes:
        retryable: Whether the same call, unchanged, may succeed later.
        retry_after: Seconds until a message that failed for this should be tried again; None if
            nothing is known.
        patience: Seconds for which a worker keeps a message that it could not open for this: the
            message stays invisible, uses up no receive, and is tried again. 0 to fail at once.
    """

    retryable: bool = False
    retry_after: float | None = None
    patience: float = 0.0

    def __str__(self) -> str:
        """Return the text, printable, and cut in the middle if it is long."""
        return shown_error(super().__str__())

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle it without calling its constructor, since constructors differ."""
        return _remade, (type(self), self.args, self.__dict__)


def _remade(
    kind: type[LetsGoError], args: tuple[object, ...], fields: dict[str, object]
) -> LetsGoError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(fields)
    return error


class SettingsInvalid(LetsGoError):
    """A setting from the environment, or one given in code, cannot be used."""


class LetsGoQueueError(LetsGoError):
    """Base of the errors of the queue, its client and its worker."""


class QueueNotFound(LetsGoQueueError):
    """The queue does not exist, or the LetsGo deployment does not have exactly one."""


class MessageInvalid(LetsGoQueueError):
    """The message or an option breaks a rule of LetsGo or of SQS, or does not fit its handler."""


class MessageTooLarge(MessageInvalid):
    """The message is larger than the queue accepts.

    Attributes:
        size: Bytes of the body and the attributes.
        limit: Bytes that the queue accepts.
    """

    def __init__(self, text: str, *, size: int, limit: int) -> None:
        super().__init__(text)
        self.size = size
        self.limit = limit


class SendFailed(LetsGoQueueError):
    """The queue refused the message, or was never reached: nothing is on the queue."""

    def __init__(self, text: str, *, retryable: bool = False) -> None:
        super().__init__(text)
        self.retryable = retryable


class SendUncertain(LetsGoQueueError):
    """The answer to a send was lost: the message may or may not be on the queue.

    Sending again may deliver it twice.
    """

    retryable = True


class EnqueueManyError(LetsGoQueueError):
    """`enqueue_many` did not send some of its messages.

    Attributes:
        results: The result of each message that was attempted, in order; None if it was not sent,
            or may have been (its error is `SendUncertain`). Empty if the caller keeps no results.
        errors: Why, by the message's position.
        sent: How many messages were sent.
        attempted: How many messages were attempted. Fewer than were given if the queue could not be
            reached: the rest was left alone.
    """

    def __init__(
        self,
        text: str,
        *,
        results: Sequence[EnqueueResult | None],
        errors: Mapping[int, Exception],
        sent: int,
        attempted: int,
    ) -> None:
        super().__init__(text)
        self.results = results
        self.errors = errors
        self.sent = sent
        self.attempted = attempted
        self.retryable = all(getattr(error, "retryable", False) for error in errors.values())


class QueueUnavailable(LetsGoQueueError):
    """Asking the queue failed, or receiving, extending or acknowledging a message."""

    def __init__(self, text: str, *, retryable: bool = True) -> None:
        super().__init__(text)
        self.retryable = retryable


class DeadLettersLeft(LetsGoQueueError):
    """Some dead letters were not redriven or deleted, and still are dead letters.

    Attributes:
        done: How many are back on the queue, or deleted.
        errors: Why the others are not, by message id. After a redrive `SendUncertain`, and
            `QueueUnavailable` where a letter could not be removed, mean that the message may be on
            the queue as well.
    """

    def __init__(self, text: str, *, done: int, errors: Mapping[str, LetsGoQueueError]) -> None:
        super().__init__(text)
        self.done = done
        self.errors = errors
        self.retryable = all(error.retryable for error in errors.values())


class WorkerBroken(LetsGoQueueError):
    """A part of the worker failed for good; its messages were given back."""


class HandlerMissing(LetsGoQueueError):
    """A message arrived whose type has no handler; it is left to the queue's retries."""

    retryable = True


class Retry(LetsGoQueueError):
    """Raise it in a handler to have the message delivered again later.

    Attributes:
        delay: Seconds until then, 0 to 43,200 (SQS's longest visibility timeout), rounded up; None
            for what the retry policy says. It may be given as a timedelta.
    """

    retryable = True

    def __init__(self, reason: str = "", *, delay: Duration | None = None) -> None:
        if not isinstance(reason, str):
            raise MessageInvalid(
                f"Retry({type(reason).__name__}): give text; a delay is given as Retry(delay=...)."
            )
        seconds = None if delay is None else seconds_in(delay, "Retry: its delay", MessageInvalid)
        if seconds is not None and not 0 <= seconds <= MAX_VISIBILITY_SECONDS:
            raise MessageInvalid(
                f"Retry(delay={seconds:.15g}): SQS takes 0 to {MAX_VISIBILITY_SECONDS:,} seconds."
            )
        super().__init__(reason or "the handler asks for another delivery")
        self.delay = seconds


class HandlerTimedOut(LetsGoQueueError):
    """A handler ran for longer than its `timeout`, and was ended."""


class Reject(LetsGoQueueError):
    """Raise it in a handler when a message will never succeed: it goes to the dead-letter queue.

    Attributes:
        reason: Why; it travels with the message as an attribute, so no payload content in it.
    """

    def __init__(self, reason: object = "no reason given") -> None:
        super().__init__(str(reason))
        self.reason = str(reason)
