"""The claim check as middleware: seals on the way out, opens around the handler."""

from __future__ import annotations

import logging
import secrets
import time
from contextvars import ContextVar
from dataclasses import dataclass

from claimcheck.core.claim_check import ClaimCheck, Opened, Route, Sealed
from claimcheck.core.life import Purge
from claimcheck.core.ticket import may_be_sealed
from claimcheck.errors import ClaimInProgress, ClaimStoreError
from claimcheck.events import DuplicateSuppressed, MessageOpened, MessageSealed
from claimcheck.opening import OnDuplicate, Opener
from letsgo_queue import events as queue_events
from letsgo_queue.attributes import attributes_size
from letsgo_queue.errors import LetsGoQueueError, SendUncertain
from letsgo_queue.middleware import Handle, Middleware, SendContext
from letsgo_queue.transports.base import OutgoingMessage
from letsgo_queue.worker.delivery import Delivery

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 900.0
"""How long a delivery waits for a store that does not answer, before it goes back to the queue."""

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0

_handling: ContextVar[tuple[ClaimCheckMiddleware, ...]] = ContextVar("handling", default=())
"""Those whose message a handler is at work on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueResult(queue_events.EnqueueResult):
    """What became of a message, and which way it went.

    Attributes:
        route: `inline`, `compressed` or `stored`.
        size: Bytes of the body as given.
        sent_size: Bytes that went on the queue, body and attributes.
        stored_size: Bytes that went to the store.
        claim_id: Its claim, if it was stored.
    """

    route: Route
    size: int
    sent_size: int
    stored_size: int
    claim_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _SealedMessage(OutgoingMessage):
    sealed: Sealed
    claim_check: ClaimCheck


class ClaimCheckMiddleware(Middleware):
    """Gives a client or a worker the claim check.

    client = Client(middleware=[ClaimCheckMiddleware()])
    worker = Worker(middleware=[ClaimCheckMiddleware()])
    """

    def __init__(
        self,
        claim_check: ClaimCheck | None = None,
        *,
        purge: Purge | None = None,
        on_duplicate: OnDuplicate = "acknowledge",
    ) -> None:
        """Make the middleware.

        Args:
            claim_check: By default the one that the environment describes, made on first use.
            purge: When a claim's bytes are removed, in place of the claim check's own setting.
            on_duplicate: `acknowledge` a delivery of a message that was handled before, without
                running the handler, or `raise` `ClaimAlreadyProcessed`.

        Raises:
            SettingsInvalid: `purge` or `on_duplicate` is not known.
        """
        self.opener = Opener(claim_check, purge=purge, on_duplicate=on_duplicate)

    @property
    def handling(self) -> bool:
        """Whether a handler is being called, on this thread or task, with what this one opened."""
        return self in _handling.get()

    def prepare(self, queue: str) -> None:
        """Make the claim check now, so that a wrong setting shows before the first message."""
        self.opener.claim_check_for(queue)

    def before_send(self, message: OutgoingMessage, context: SendContext) -> OutgoingMessage:
        """Seal the message, where it is too large for the queue."""
        started = time.perf_counter()
        claim_check = self.opener.claim_check_for(context.transport.url)
        sealed = claim_check.seal(
            message.body,
            type=message.type,
            attributes_size=attributes_size(message.attributes),
            queue_limit=context.transport.max_message_bytes,
            delay_seconds=message.delay_seconds,
        )
        outgoing = _SealedMessage(
            type=message.type,
            body=sealed.body,
            attributes=message.attributes,
            delay_seconds=message.delay_seconds,
            group_id=message.group_id,
            deduplication_id=message.deduplication_id,
            sealed=sealed,
            claim_check=claim_check,
        )
        if context.has_listeners:
            context.emit(
                MessageSealed(
                    type=message.type,
                    queue=context.transport.url,
                    route=sealed.route,
                    size=sealed.size,
                    sent_size=outgoing.size,
                    stored_size=sealed.stored,
                    claim_id=sealed.claim_id,
                    duration=time.perf_counter() - started,
                )
            )
        return outgoing

    def after_send(
        self, message: OutgoingMessage, result: queue_events.EnqueueResult
    ) -> EnqueueResult:
        """Say which way the message went."""
        assert isinstance(message, _SealedMessage)
        return EnqueueResult(
            message_id=result.message_id,
            queue=result.queue,
            route=message.sealed.route,
            size=message.sealed.size,
            sent_size=message.size,
            stored_size=message.sealed.stored,
            claim_id=message.sealed.claim_id,
        )

    def send_failed(self, message: OutgoingMessage, error: Exception) -> None:
        """Remove the claim of a message that is not on the queue; keep it where nobody knows."""
        assert isinstance(message, _SealedMessage)
        if isinstance(error, SendUncertain):
            return
        try:
            message.claim_check.discard(message.sealed)
        except ClaimStoreError as failure:
            logger.warning(
                "claim %s, of a message that was not sent, could not be removed and expires: %s",
                message.sealed.claim_id,
                failure,
            )

    def handle(self, delivery: Delivery, call_next: Handle) -> None:
        """Open the message; settle its claim by how the handler ends."""
        started = time.perf_counter()
        try:
            opened = self._open_patiently(delivery)
        except ClaimInProgress as error:
            _come_back(delivery, error.retry_after)
            raise
        if opened is None:
            delivery.emit(
                DuplicateSuppressed(
                    type=delivery.type,
                    queue=delivery.queue,
                    message_id=delivery.message_id,
                    receive_count=delivery.receive_count,
                )
            )
            return
        delivery.emit(
            MessageOpened(
                type=delivery.type,
                queue=delivery.queue,
                message_id=delivery.message_id,
                route=opened.route,
                size=opened.size,
                claim_id=opened.claim_id,
                duration=time.perf_counter() - started,
            )
        )
        with opened:
            delivery.visibility.follow(lambda until: _extend(opened, until))
            token = _handling.set((*_handling.get(), self))
            try:
                call_next(delivery.with_body(opened.body))
            finally:
                _handling.reset(token)

    def _open_patiently(self, delivery: Delivery) -> Opened | None:
        """Open a message, waiting for a store that is down.

        Handing the message back would use up its receives while nothing can be done with it, and
        the worker would fetch the next one for the same end. So it is kept, invisible, and what the
        worker has in hand bounds what waits.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        pause = FIRST_PAUSE_SECONDS
        # One for all tries: a take whose answer was lost has taken the claim for this delivery.
        # None for most messages, since random bytes of the system cost a switch of threads.
        lease_id = secrets.token_urlsafe() if may_be_sealed(delivery.body) else None
        while True:
            try:
                return self._open(delivery, lease_id)
            except ClaimStoreError as error:
                if time.monotonic() + pause > deadline:
                    raise
                logger.warning(
                    "message %s waits %.1f s for the store: %s", delivery.message_id, pause, error
                )
                if not delivery.pause(pause):
                    raise
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _open(self, delivery: Delivery, lease_id: str | None) -> Opened | None:
        return self.opener.open(
            delivery.body,
            queue=delivery.queue,
            message_id=delivery.message_id,
            lease_id=lease_id,
            lease_until=delivery.visibility.until,
            receive_count=delivery.receive_count,
        )


def _come_back(delivery: Delivery, seconds: float) -> None:
    """Have the message delivered again when the other delivery's lease ends."""
    try:
        delivery.extend(seconds)
    except LetsGoQueueError as error:
        logger.info("message %s keeps its own visibility timeout: %s", delivery.message_id, error)


def _extend(opened: Opened, until: float) -> None:
    """Extend the lease with the visibility; where that fails it may only end too early."""
    try:
        if not opened.extend(until):
            logger.warning("claim %s: another delivery has taken it", opened.claim_id)
    except ClaimStoreError as error:
        logger.warning("claim %s: its lease was not extended: %s", opened.claim_id, error)
