"""The holds of a delivery while its handler runs, and how each kind ends.

Hold            a record: the message is handled once
ClaimHold       the record of a claim, whose contents are in the store
HandedOverHold  the same, but the contents are here too, and perhaps here only (`purge="before"`)
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from claimcheck.errors import ClaimCorrupted, ClaimStoreError
from claimcheck.stores.base import (
    ClaimFacts,
    ClaimStore,
    Contents,
    ContentsStore,
    Lease,
    Reading,
)
from letsgo_queue.log import get_logger
from letsgo_queue.tracing import step

logger = get_logger(__name__)

CONTENTS_SECONDS = 15 * 24 * 3600
"""How long contents are kept, from when the message can be received. SQS keeps it 14 days at most:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html"""

RENEW_AFTER_SECONDS = 12 * 3600
"""How old contents must be for a failure to renew them. Renewing writes them again, so not each
failure does it. But a message may spend 14 days on its queue and, moved by a failure, 14 more on
the dead-letter queue."""

STORE_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""The shortest pauses before a store that refused is asked again, if only this delivery can do it:
it has the only copy of contents, or alone knows that the work is done."""

RECEIPT_SECONDS = 15.0
"""How long after the first try for a receipt the last one begins. A thread waits meanwhile, and the
message is not acknowledged."""

LAST_TRY_SECONDS = 2.0
"""How long before the lease ends the last of these tries begins."""

LONGEST_LEASE_SECONDS = 14 * 24 * 3600
"""A lease must end before its record expires, by every clock. SQS keeps no message longer."""

WRITE_AGAIN_SECONDS = 60
"""How long a claim is held, at least, while its contents are written back."""


@dataclass(slots=True)
class Hold:
    """A record that a delivery holds while its handler runs, and with it a claim.

    Each method returns False, and changes nothing, where another delivery has the record by now.

    Attributes:
        store: Where it is.
        key: The record.
        lease: The lease that it is held with.
        lease_ends: When the lease ends (on the monotonic clock).
    """

    store: ClaimStore
    key: str
    lease: Lease
    lease_ends: float = field(init=False)

    def __post_init__(self) -> None:
        self.lease_ends = time.monotonic() + self.lease.seconds

    def extend(self, seconds: float) -> bool:
        """Have the lease end this many seconds from now, up to 14 days.

        Raises:
            ClaimStoreError: The store refused, or did not answer.
        """
        seconds = min(seconds, LONGEST_LEASE_SECONDS)
        ends = time.monotonic() + seconds
        ours = self.store.extend(self.key, Lease(self.lease.id, seconds))
        if ours:
            self.lease_ends = ends
        return ours

    def catch_up(self) -> bool:
        """Extend the lease if it has run out already.

        Raises:
            ClaimStoreError: The store refused, or did not answer.
        """
        return time.monotonic() < self.lease_ends or self.extend(self.lease.seconds)

    def complete(self) -> bool:
        """Leave the receipt: the work is done.

        Raises:
            ClaimStoreError: The store refused, or did not answer.
        """
        return self.store.complete(self.key, self.lease.id)

    def release(self) -> bool:
        """Release the record, which the next delivery may acquire: the work failed.

        Raises:
            ClaimStoreError: The store refused, or did not answer.
        """
        return self.store.release(self.key, self.lease.id)

    def settle(self, *, succeeded: bool, patiently: bool = True) -> None:
        """End the hold. If all tries fail, the store's refusal is logged, not raised.

        The work itself is done or has failed already, and the record changes when its lease ends.
        But without a receipt a duplicate runs the handler once more: so a receipt is tried for
        again while the lease lasts.

        Args:
            succeeded: Whether the work is done.
            patiently: Whether to try again here. A caller that can do so later gets the error.

        Raises:
            ClaimStoreError: A receipt was refused that may be written later, and not `patiently`.
        """
        complete = self._complete_patiently if patiently else self.complete
        try:
            with step("complete" if succeeded else "release"):
                still_ours = complete() if succeeded else self.release()
        except (ClaimStoreError, ClaimCorrupted) as error:
            if succeeded and not patiently and error.retryable:
                raise
            logger.warning(
                "record %s could not be %s: %s %s",
                self.key,
                "completed" if succeeded else "released",
                error,
                "A duplicate of its message will not be recognised."
                if succeeded
                else "Its message waits until the lease ends.",
            )
            return
        if not still_ours:
            logger.warning(
                "record %s: its lease ran out and another delivery has it; nothing was changed",
                self.key,
            )

    def _complete_patiently(self) -> bool:
        latest = time.monotonic() + RECEIPT_SECONDS

        def is_worth_it(error: ClaimStoreError, at: float) -> bool:
            # The heartbeat may extend the lease meanwhile.
            return error.retryable and at < min(latest, self.lease_ends - LAST_TRY_SECONDS)

        return _patiently(self.complete, is_worth_it)


class Named(Protocol):
    """Names the contents of a claim: a ticket, say."""

    @property
    def id(self) -> str:
        """The claim id."""
        ...

    @property
    def parts(self) -> int:
        """How many parts there are."""
        ...

    @property
    def stored(self) -> int:
        """Bytes of all parts."""
        ...


@dataclass(slots=True)
class ClaimHold(Hold):
    """The hold on a claim whose contents are in the store.

    Attributes:
        named: Names the contents.
        keep: Whether the contents stay until they expire.
        kept_in: Where the contents are, once they were found.
        expires_at: When they expire (seconds since 1970); None until they were found whole.
        taken_over: Whether a delivery handed it over before, which may still remove the contents.
    """

    named: Named
    keep: bool = False
    kept_in: ContentsStore = field(init=False)
    expires_at: int | None = field(init=False, default=None)
    taken_over: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        Hold.__post_init__(self)
        self.kept_in = self.store

    def read(self, *, consistent: bool = False) -> Reading:
        """Begin to read the contents; see `ContentsStore.read`."""
        named = self.named
        return self.store.read(named.id, named.parts, stored=named.stored, consistent=consistent)

    def note(self, contents: Contents) -> None:
        """Note where the contents were found, and when they expire."""
        self.kept_in = contents.store or self.store
        self.expires_at = contents.expires_at

    def complete(self) -> bool:
        """Leave the receipt, then remove the contents, which expire if that fails."""
        if not Hold.complete(self):
            return False
        self.remove_contents()
        return True

    def remove_contents(self) -> None:
        """Remove the contents of a claim that was handled; they expire if that fails."""
        if self.keep:
            return
        try:
            self.kept_in.remove(self.named.id, self.named.parts, later=True)
        except ClaimStoreError as error:
            logger.warning("claim %s: its contents are left to expire: %s", self.key, error)

    def release(self) -> bool:
        """Release the claim, with its contents renewed if they have grown old."""
        expires_at = expiry_from(self.store.now())
        # Only if they were found: a ticket may name a thousand parts that do not exist.
        if self.expires_at is not None and expires_at - self.expires_at >= RENEW_AFTER_SECONDS:
            try:
                self.kept_in.renew(self.named.id, self.named.parts, expires_at=expires_at)
            except ClaimStoreError as error:
                logger.warning("claim %s expires when it did before: %s", self.key, error)
        return Hold.release(self)


@dataclass(slots=True)
class HandedOverHold(Hold):
    """The hold on a claim that was handed over: its contents are here, and perhaps here only.

    Attributes:
        claim: The hold from before.
        facts: What the contents were written with last.
        parts: The contents.
        removed: Whether this delivery removed them, or was about to.
    """

    claim: ClaimHold
    facts: ClaimFacts
    parts: Sequence[bytes | memoryview] = field(repr=False)
    removed: bool = field(init=False, default=False)

    def remove_contents(self) -> None:
        """Remove the contents before the handler runs.

        Raises:
            ClaimStoreError: The store refused, or did not answer.
        """
        self.removed = True
        # Not those that are written back, however late the request arrives.
        facts = self.facts
        self.claim.kept_in.remove(facts.id, facts.parts, expiring_by=facts.expires_at)

    def complete(self) -> bool:
        """Leave the receipt, and remove contents that another delivery did not remove."""
        return Hold.complete(self) if self.removed else self.claim.complete()

    def release(self) -> bool:
        """Write the contents again, then release the record.

        A write whose answer was lost may arrive late, when another delivery has the claim. If that
        delivery succeeds, the contents expire. If it crashes in its handler, the contents look like
        work that was not begun, and the handler runs again. Only a transaction over contents and
        record could prevent this, at twice the price of every write.
        """
        try:
            ours = _patiently(self._write_again, lambda *_: True)
        except ClaimStoreError:
            logger.error(  # noqa: TRY400  the caller logs the error itself
                "claim %s was removed before its handler (purge='before') and could not be written "
                "back: its payload is lost. Enqueue the work again.",
                self.key,
            )
            raise
        return ours and Hold.release(self)

    def _write_again(self) -> bool:
        # Not if another delivery has the record: a third would find the contents, and run.
        ours = self.extend(WRITE_AGAIN_SECONDS) or self.store.look_up(self.key) is None
        if ours:
            # They expire later than those that a request which is under way may still remove.
            self.facts = replace(self.facts, expires_at=self.facts.expires_at + 1)
            self.claim.kept_in.write(self.facts, self.parts)
        return ours


def _patiently(
    ask: Callable[[], bool], is_worth_it: Callable[[ClaimStoreError, float], bool]
) -> bool:
    """Ask a store, and ask it again a few times if it refuses.

    Args:
        ask: Asks it.
        is_worth_it: Whether to ask again after this error, at that moment (on the monotonic clock).

    Raises:
        ClaimStoreError: It refused the last time too.
    """
    for shortest in STORE_PAUSES_SECONDS:
        # At random: a store that is busy has refused others at the same moment.
        pause = shortest * random.uniform(1, 1.5)
        try:
            return ask()
        except ClaimStoreError as error:
            if not is_worth_it(error, time.monotonic() + pause):
                raise
        time.sleep(pause)
    return ask()


def expiry_from(now: float) -> int:
    """Return when contents expire that are written or renewed at a moment (seconds since 1970)."""
    return int(now) + CONTENTS_SECONDS
