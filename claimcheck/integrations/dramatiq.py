"""The claim check for dramatiq on SQS: actors of any size, with their code unchanged.

    broker = install(SQSBroker(namespace="shop"))

It works between dramatiq_sqs and SQS:

    enqueue          the message is sealed, if it is large
    a receive        the claim is acquired, and dramatiq gets the message that was sealed
    ack              the claim is completed, then the message is deleted
    nack             the claim is released, and the message goes to dramatiq's dead-letter queue as
                     it travelled. Without such a queue dramatiq drops it: as ack
    requeue          the claim is released, then the message is visible again

In dramatiq a retry is a new message: it is sealed anew, and the message before it is acknowledged.
If the retry, or the next message of a pipeline, cannot be sent, dramatiq only logs that. Then the
message before it is not acknowledged, and is handled again.

A message that cannot be opened does not reach dramatiq: it stays on the queue, hidden for a while.
Messages are opened on threads, so that a store that does not answer holds only the messages that
need it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from botocore.exceptions import BotoCoreError, ClientError

from claimcheck.core.claim_check import ClaimCheck
from claimcheck.core.life import Purge
from claimcheck.integrations.base import Carrier
from claimcheck.integrations.dramatiq_queue import SENDING, Inbox, Received, SealingQueue
from claimcheck.integrations.installing import Package, check_given, derive
from claimcheck.opening import Opener
from letsgo_queue.aws_client import explain
from letsgo_queue.errors import LetsGoError, MessageInvalid, QueueUnavailable

PACKAGE = Package("dramatiq-sqs", (0, 4, 4), extra="dramatiq")

try:
    import dramatiq
    from dramatiq_sqs import SQSBroker
    from dramatiq_sqs.broker import SQSConsumer
    from dramatiq_sqs.exceptions import MessageDelayTooLong
except ImportError as missing:
    raise PACKAGE.missing(missing) from missing

if TYPE_CHECKING:
    from mypy_boto3_sqs.service_resource import Queue

_HOOKS = {SQSBroker: ("_ensure_queue", "consumer_class", "emit_after", "enqueue")}
"""The methods of the package's classes that are overridden or called here."""

_HANDLED: ContextVar[Received | None] = ContextVar("handled", default=None)
"""The message that was handled, while middleware sends what follows it."""

BrokerT = TypeVar("BrokerT", bound=dramatiq.Broker)


def install(
    broker: BrokerT,
    claim_check: ClaimCheck | None = None,
    *,
    purge: Purge | None = None,
    once: bool | None = None,
) -> BrokerT:
    """Give a broker of dramatiq_sqs the claim check, where it sends and where workers receive.

    Call it in the module that makes the broker, before anything is sent. Safe to repeat: the last
    one counts.

    Args:
        broker: The broker.
        claim_check: By default made from the environment, on first use.
        purge: When contents are removed, in place of the claim check's own setting.
        once: Whether every message gets a record, also a small one: an actor that succeeded does
            not run again for another delivery of its message.

    Returns:
        The same broker.

    Raises:
        SettingsInvalid: It is not a broker of dramatiq_sqs; dramatiq_sqs is too old or too new; or
            an option is not known.
    """
    check_given(broker, SQSBroker, "an SQSBroker of dramatiq_sqs")
    PACKAGE.check(_HOOKS)
    carrier = Carrier(Opener(claim_check, purge=purge, once=once))
    given: Any = broker  # dramatiq_sqs has no types
    limit = given.most_bytes if isinstance(broker, _Broker) else given.max_message_size
    # Not a copy: actors are declared on this one, and dramatiq may have it already.
    given.__class__ = derive(_Broker, type(broker), carrier=carrier, most_bytes=limit)
    given.max_message_size = sys.maxsize  # what is larger is sealed
    return broker


class _Broker(SQSBroker):  # type: ignore[misc]  # dramatiq_sqs has no types
    """A broker with the claim check. `install` derives it.

    Attributes:
        carrier: Seals and opens.
        most_bytes: The bytes that the broker's owner lets a message have.
    """

    carrier: ClassVar[Carrier]
    most_bytes: ClassVar[int]

    def enqueue(
        self, message: dramatiq.Message[Any], *, delay: int | None = None
    ) -> dramatiq.Message[Any]:
        token = SENDING.set(message.actor_name)
        try:
            return cast("dramatiq.Message[Any]", super().enqueue(message, delay=delay))
        except (LetsGoError, BotoCoreError, ClientError, MessageDelayTooLong) as error:
            if (handled := _HANDLED.get()) is not None:
                handled.not_followed = _as_ours(error)
            raise
        finally:
            SENDING.reset(token)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        if signal != "process_message":
            super().emit_after(signal, *args, **kwargs)
            return
        token = _HANDLED.set(args[0]._sqs_message)
        try:
            super().emit_after(signal, *args, **kwargs)
        finally:
            _HANDLED.reset(token)

    @property
    def consumer_class(self) -> partial[_Consumer]:
        return partial(_Consumer, self.carrier)

    def _ensure_queue(self, queue_name: str) -> None:
        super()._ensure_queue(queue_name)
        queue = self.queues[queue_name]
        if not isinstance(queue, SealingQueue):
            self.queues[queue_name] = cast("Queue", SealingQueue(queue, self))


def _as_ours(error: Exception) -> LetsGoError:
    """The error for which a message was not sent, as one that says whether to try again."""
    if isinstance(error, LetsGoError):
        return error
    if isinstance(error, BotoCoreError | ClientError):
        return QueueUnavailable(explain(error))
    return MessageInvalid(f"{error} Give the actor max_backoff=900_000.")


class _Consumer(SQSConsumer):  # type: ignore[misc]  # dramatiq_sqs has no types
    """A consumer with the claim check."""

    def __init__(
        self,
        carrier: Carrier,
        queue: SealingQueue,
        prefetch: int,
        timeout: int,
        *,
        dead_letter_queue: Queue | None,
        visibility_timeout: int | None,
    ) -> None:
        carrier.prepare(queue.url)
        self._inbox = Inbox(carrier, queue, dead_letter_queue, visibility_timeout)
        super().__init__(
            self._inbox,
            prefetch,
            timeout,
            dead_letter_queue=dead_letter_queue,
            visibility_timeout=visibility_timeout,
        )

    def ack(self, message: dramatiq.MessageProxy) -> None:
        received: Received = message._sqs_message
        if received.not_followed is None:
            super().ack(message)
            return
        self._inbox.leave(received, received.not_followed)
        self.message_refc -= 1

    def nack(self, message: dramatiq.MessageProxy) -> None:
        if self.dead_letter_queue is not None:
            message._sqs_message.settle(succeeded=False)
        super().nack(message)

    def requeue(self, messages: Iterable[dramatiq.MessageProxy]) -> None:
        messages = list(messages)
        self._inbox.release([message._sqs_message for message in messages])
        super().requeue(messages)

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._inbox.close()
