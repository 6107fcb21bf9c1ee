"""The hold that a delivery has on its claim while the handler runs, and the ways it ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, TypeAlias, get_args

from claimcheck.errors import ClaimStoreError, SettingsInvalid
from claimcheck.stores.base import ClaimHead, ClaimStore, Lease

logger = logging.getLogger(__name__)

WRITE_AGAIN_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""How long to wait before a claim that was purged too early is written once more."""

Purge: TypeAlias = Literal["after", "before", "never"]
"""When a claim's bytes are removed: after the handler, before it, or when they expire."""


def check_purge(purge: str) -> None:
    """Refuse what is no `Purge`.

    Raises:
        SettingsInvalid: It is not known.
    """
    if purge not in get_args(Purge):
        raise SettingsInvalid(f"purge={purge!r}: give 'after', 'before' or 'never'.")


class Hold(Protocol):
    """A hold on a claim. Each method is False where another delivery has the claim by now."""

    def extend(self, until: float) -> bool:
        """Keep the claim until then (seconds since 1970)."""
        ...

    def purge(self) -> bool:
        """The work is done: remove the claim."""
        ...

    def put_back(self) -> bool:
        """The work failed: have the claim there again."""
        ...


class NoHold:
    """For a message that has no claim, or whose claim is left to expire."""

    def extend(self, until: float) -> bool:
        """Nothing to keep."""
        del until
        return True

    def purge(self) -> bool:
        """Nothing to remove."""
        return True

    def put_back(self) -> bool:
        """Nothing was taken."""
        return True


@dataclass(frozen=True, slots=True)
class LeasedHold:
    """For a claim that is taken, and whose bytes are there until the work is done.

    Attributes:
        store: Where it is.
        head: What it is.
        lease: What it is held with.
        renewed: When it is to expire if the work fails (seconds since 1970); None to leave that.
    """

    store: ClaimStore
    head: ClaimHead
    lease: Lease
    renewed: int | None

    def extend(self, until: float) -> bool:
        """Have the lease end later."""
        return self.store.extend(self.head.id, Lease(self.lease.id, until))

    def purge(self) -> bool:
        """Remove head and parts."""
        return self.store.purge(self.head.id, self.head.parts, self.lease)

    def put_back(self) -> bool:
        """Remove the delete marker, and renew the claim where it has grown old."""
        if self.renewed is not None:
            self._renew(self.renewed)
        return self.store.put_back(self.head.id, self.lease)

    def _renew(self, expires_at: int) -> None:
        try:
            self.store.renew(self.head.id, self.head.parts, self.lease, expires_at=expires_at)
        except ClaimStoreError as error:
            logger.warning("claim %s expires when it did before: %s", self.head.id, error)


@dataclass(frozen=True, slots=True)
class PurgedHold:
    """For a claim whose bytes were removed before the handler, and are kept here until it ends."""

    store: ClaimStore
    head: ClaimHead
    parts: Sequence[bytes] = field(repr=False)

    def extend(self, until: float) -> bool:
        """Nobody else can take what is gone."""
        del until
        return True

    def purge(self) -> bool:
        """Done already."""
        return True

    def put_back(self) -> bool:
        """Write the claim again."""
        _write_again(self.store, self.head, self.parts)
        return True


@dataclass(frozen=True, slots=True)
class PurgingHold(LeasedHold):
    """For a claim whose removal before the handler the store did not confirm."""

    parts: Sequence[bytes] = field(repr=False)

    def put_back(self) -> bool:
        """Remove the delete marker, or write again what is gone."""
        if LeasedHold.put_back(self):
            return True
        if self.store.count_rows(self.head.id, 0):
            return False
        _write_again(self.store, self.head, self.parts)
        return True


def _write_again(store: ClaimStore, head: ClaimHead, parts: Sequence[bytes]) -> None:
    """Write a claim whose bytes are nowhere else; worth some patience."""
    for pause in (*WRITE_AGAIN_PAUSES_SECONDS, None):
        try:
            store.write(head, parts)
        except ClaimStoreError:
            if pause is None:
                logger.error(  # noqa: TRY400  the error itself is logged where it arrives
                    "claim %s was removed before its handler (purge='before') and could not be "
                    "written back: its payload is lost. Enqueue the work again.",
                    head.id,
                )
                raise
            time.sleep(pause)
        else:
            return


def purge_before(what: str, hold: LeasedHold, parts: Sequence[bytes]) -> Hold | None:
    """Remove a claim whose bytes are at hand, and keep them for putting it back.

    Returns:
        The hold; None, with nothing changed, if the lease is no longer ours.
    """
    store, head = hold.store, hold.head
    if hold.renewed is not None:
        head = replace(head, expires_at=hold.renewed)
    try:
        removed = hold.purge()
    except ClaimStoreError as error:
        # Whether it was removed nobody can tell, and the bytes may be here only: so the handler
        # runs, and its end settles what is left.
        logger.warning("%s could not be purged before its handler: %s", what, error)
        return PurgingHold(store, head, hold.lease, hold.renewed, parts)
    return PurgedHold(store, head, parts) if removed else None


def settle(hold: Hold, claim_id: str | None, *, succeeded: bool) -> None:
    """Purge a claim or put it back, come what may.

    A refusal of the store is logged, not raised: the work itself is done or has failed already, and
    the claim's lease and expiry settle the rest.
    """
    try:
        still_ours = hold.purge() if succeeded else hold.put_back()
    except ClaimStoreError as error:
        logger.warning(
            "claim %s could not be %s; its lease and expiry settle it: %s",
            claim_id,
            "purged" if succeeded else "put back",
            error,
        )
        return
    if not still_ours:
        logger.warning(
            "claim %s: the lease ran out and another delivery took it; nothing was changed",
            claim_id,
        )
