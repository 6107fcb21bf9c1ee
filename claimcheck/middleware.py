"""The claim check as middleware: seals on the way out, opens around the handler."""

from __future__ import annotations

import copy
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from claimcheck.core.claim_check import ClaimCheck, new_lease_id
from claimcheck.core.life import Purge
from claimcheck.core.opened import Opened, Route
from claimcheck.core.sealing import Sealed
from claimcheck.errors import ClaimStoreError
from claimcheck.events import DuplicateSuppressed, MessageOpened, MessageSealed
from claimcheck.opening import OnDuplicate, Opener
from claimcheck.stores import removals
from letsgo_queue import events as queue_events
from letsgo_queue.attributes import attributes_size, with_numbers
from letsgo_queue.errors import SendUncertain
from letsgo_queue.log import get_logger
from letsgo_queue.middleware import Middleware, SendContext, Steps
from letsgo_queue.transports.base import OutgoingMessage

if TYPE_CHECKING:  # a program that only sends does not load the worker
    from letsgo_queue.worker.incoming import IncomingMessage

logger = get_logger(__name__)

_handling: ContextVar[tuple[object, ...]] = ContextVar("handling", default=())
"""The tokens of the middlewares whose message a handler is working on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueResult(queue_events.EnqueueResult):
    """The result of a send: the message id, and which way the message went.

    Attributes:
        route: `inline`, `compressed` or `stored`.
        size: Bytes of the message as given, body and attributes.
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


class ClaimCheckMiddleware(Middleware[EnqueueResult]):
    """Gives a client or a worker the claim check.

        client = Client(middleware=[ClaimCheckMiddleware()])
        worker = Worker(middleware=[ClaimCheckMiddleware()])

    If several surround one handler, only the innermost runs.
    """

    kind = "claim check"
    runs_ticks_once = True

    def __init__(
        self,
        claim_check: ClaimCheck | None = None,
        *,
        purge: Purge | None = None,
        on_duplicate: OnDuplicate | None = None,
        once: bool | None = None,
    ) -> None:
        """Make the middleware.

        A handler's middleware takes an option that is None from its worker's, and a worker's from
        its client's.

        Args:
            claim_check: By default made from the environment, on first use.
            purge: When contents are removed, in place of the claim check's own setting.
            on_duplicate: `acknowledge` a delivery of a message that was handled before, without
                running the handler (the default), or `raise` `ClaimAlreadyProcessed`.
            once: Whether small messages get a receipt too: a handler that succeeded does not run
                again for a redelivery. That costs two write units a message. By default not.

        Raises:
            SettingsInvalid: `purge` or `on_duplicate` is not known.
        """
        self.opener = Opener(claim_check, purge=purge, on_duplicate=on_duplicate, once=once)
        self._token = object()

    @property
    def handling(self) -> bool:
        """Whether it, or a merged copy, opened the message that this thread or task handles."""
        return self._token in _handling.get()

    def inside(self, outer: Middleware) -> Middleware:
        """Take from an outer claim check the options that are unset here."""
        if not isinstance(outer, ClaimCheckMiddleware):
            return self
        merged = copy.copy(self)
        merged.opener = self.opener.inside(outer.opener)
        return merged

    def prepare(self, queue: str) -> None:
        """Make the claim check now, so that a wrong setting shows before the first message."""
        self.opener.claim_check_for(queue)

    def finish(self) -> None:
        """Wait for removals of contents, for two seconds at most."""
        removals.finish()

    def before_send(self, message: OutgoingMessage, context: SendContext) -> OutgoingMessage:
        """Seal the message, if it has to be sealed."""
        started = time.perf_counter()
        claim_check = self.opener.claim_check_for(context.transport.url)
        of_attributes = attributes_size(message.attributes)
        sealed = claim_check.seal(
            message.body,
            type=message.type,
            attributes_size=of_attributes,
            queue_limit=context.transport.max_message_bytes,
            delay_seconds=message.delay_seconds,
        )
        outgoing = _SealedMessage(
            type=message.type,
            body=sealed.body,
            attributes=with_numbers(message.attributes, sealed.attributes),
            delay_seconds=message.delay_seconds,
            group_id=message.group_id,
            deduplication_id=message.deduplication_id,
            trace_header=message.trace_header,
            route=sealed.route,
            stored_size=sealed.stored,
            sealed=sealed,
            claim_check=claim_check,
        )
        if context.has_listeners:
            context.emit(
                MessageSealed(
                    type=message.type,
                    queue=context.transport.url,
                    route=sealed.route,
                    size=sealed.size + of_attributes,
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
        """Return a result that also says which way the message went."""
        assert isinstance(message, _SealedMessage)
        return EnqueueResult(
            message_id=result.message_id,
            queue=result.queue,
            route=message.sealed.route,
            size=message.sealed.size + attributes_size(message.attributes),
            sent_size=message.size,
            stored_size=message.sealed.stored,
            claim_id=message.sealed.claim_id,
        )

    def send_failed(self, message: OutgoingMessage, error: Exception) -> None:
        """Remove the claim of a message that was not sent; keep it if nobody knows."""
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

    def blocks(self, message: IncomingMessage, /) -> bool:
        """Whether opening this message asks a store."""
        return self._may_have_record(message)

    def gives_type(self, message: IncomingMessage, /) -> bool:
        """Whether the message is a pointer of AWS's clients that this middleware opens."""
        return self.opener.opens_pointer(message.body, message.queue)

    def opened_bytes(self, message: IncomingMessage, /) -> int:
        """Return the size that the ticket names."""
        sealed = message.body if message.sealed_fields is None else message.sealed_fields
        return self.opener.claim_check_for(message.queue).opened_size(sealed)

    def handle(self, message: IncomingMessage, /) -> Steps:
        """Open the message. Its claim is settled once all middleware has ended."""
        started = time.perf_counter()
        ends = message.invisible_until  # read first: later extensions do not extend the lease
        opened = self._open(message)
        is_tick = message.received.is_tick
        if opened is None:
            message.skip_reason = "ran in another worker" if is_tick else "duplicate"
            if message.has_listeners and not is_tick:
                message.emit(
                    DuplicateSuppressed(
                        type=message.type,
                        queue=message.queue,
                        message_id=message.message_id,
                        receive_count=message.received.receive_count,
                    )
                )
            return
        if message.has_listeners:
            message.emit(
                MessageOpened(
                    type=message.type,
                    queue=message.queue,
                    message_id=message.message_id,
                    route=opened.route,
                    size=opened.size + attributes_size(message.received.attributes),
                    claim_id=opened.claim_id,
                    duration=time.perf_counter() - started,
                )
            )
        message.open(opened.body, route=opened.route)
        if opened.has_record:
            message.attach(_ClaimLease(opened.without_body(), message), ends=ends)
        token = _handling.set((*_handling.get(), self._token))
        try:
            yield
        finally:
            _handling.reset(token)

    def _open(self, message: IncomingMessage) -> Opened | None:
        lease_id, message.lease_id = message.lease_id, None
        if lease_id is None and self._may_have_record(message):
            # Most messages need no id, and random bytes cost a switch of threads.
            lease_id = new_lease_id()
        try:
            return self.opener.open(
                message.body,
                queue=message.queue,
                message_id=message.message_id,
                lease_id=lease_id,
                lease_seconds=message.seconds_invisible,
                fields=message.sealed_fields,
                is_tick=message.received.is_tick,
            )
        except ClaimStoreError as error:
            # The write may have acquired the claim for this delivery, and only its answer was lost.
            # A lease that was released is not used again: the release may arrive late.
            if error.acquiring:
                message.lease_id = lease_id
            raise

    def _may_have_record(self, message: IncomingMessage) -> bool:
        is_once = self.opener.once or message.received.is_tick
        return message.sealed or bool(message.unread) or is_once


class _ClaimLease:
    """The lease on a message's claim, for the worker. It is settled once."""

    def __init__(self, opened: Opened, message: IncomingMessage) -> None:
        self._opened = opened
        self._message = message
        self._lock = threading.Lock()
        self._settled = False

    def extend(self, seconds: float) -> None:
        """Extend the lease with the visibility."""
        if not self._opened.extend(seconds) and not self._settled:
            # Logged by its message, since a small message has a record but no claim.
            logger.warning("message %s: another delivery has it", self._message.message_id)

    def settle(self, *, succeeded: bool) -> None:
        """Complete the claim, or release it, once. If that raises, the worker tries again.

        A tick whose handler failed is completed too: else each worker of the fleet would run it,
        and fail. A tick that was given back is released, so that another worker runs it.
        """
        message = self._message
        has_run = message.handler_started and not message.handler_runs and not message.is_over
        with self._lock:
            settled, self._settled = self._settled, True
        if settled:
            return
        done = succeeded or (message.received.is_tick and has_run)
        try:
            self._opened.settle(succeeded=done, patiently=not succeeded)
        except ClaimStoreError:
            self._settled = False
            raise

    def give_back(self) -> None:
        """Release the claim, unless a running handler has the only copy of its contents.

        Otherwise a second handler could run beside it. The running handler settles the claim when
        it ends. If the process ends first, the lease runs out, and the next delivery raises
        `ClaimLost`.
        """
        if not (self._opened.is_handed_over and self._message.handler_started):
            self.settle(succeeded=False)
        elif not self._settled:
            logger.warning(
                "claim %s was removed before its handler (purge='before'), which still runs, and "
                "so it is not released. If this process ends before the handler, the next delivery "
                "of message %s raises ClaimLost.",
                self._opened.claim_id,
                self._message.message_id,
            )
