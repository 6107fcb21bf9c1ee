"""Claims in memory, for tests and for work within one process: gone when it ends."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from claimcheck.stores.base import Claim, ClaimHead, Held, Lease


@dataclass(slots=True)
class _Stored:
    claim: Claim
    lease: Lease | None = None


class MemoryClaimStore:
    """A claim store in the memory of one process."""

    url = "memory://"

    def __init__(self) -> None:
        """Make an empty store."""
        self._claims: dict[str, _Stored] = {}
        self._lock = threading.Lock()

    def write(self, head: ClaimHead, parts: Sequence[bytes | memoryview]) -> None:
        """Write a claim, and drop those that expired before it was made."""
        with self._lock:
            self._claims = {
                claim_id: stored
                for claim_id, stored in self._claims.items()
                if stored.claim.head.expires_at > head.created_at
            }
            self._claims[head.id] = _Stored(Claim(head, [bytes(part) for part in parts]))

    def take(self, claim_id: str, parts: int, lease: Lease, *, now: float) -> Claim | Held | None:
        """Take a claim; see `ClaimStore.take`."""
        with self._lock:
            found = self._find(claim_id, now, lease)
            if isinstance(found, _Stored):
                found.lease = lease
                return found.claim
            return found

    def read(self, claim_id: str, parts: int, *, now: float) -> Claim | Held | None:
        """Read a claim; see `ClaimStore.read`."""
        with self._lock:
            found = self._find(claim_id, now)
            return found.claim if isinstance(found, _Stored) else found

    def extend(self, claim_id: str, lease: Lease) -> bool:
        """Extend a lease; see `ClaimStore.extend`."""
        with self._lock:
            if stored := self._ours(claim_id, lease):
                stored.lease = lease
            return stored is not None

    def renew(self, claim_id: str, parts: int, lease: Lease, *, expires_at: int) -> bool:
        """Have a claim expire later; see `ClaimStore.renew`."""
        with self._lock:
            if stored := self._ours(claim_id, lease):
                head = replace(stored.claim.head, expires_at=expires_at)
                stored.claim = replace(stored.claim, head=head)
            return stored is not None

    def put_back(self, claim_id: str, lease: Lease) -> bool:
        """Put a claim back; see `ClaimStore.put_back`."""
        with self._lock:
            if stored := self._ours(claim_id, lease):
                stored.lease = None
            return stored is not None

    def purge(self, claim_id: str, parts: int, lease: Lease) -> bool:
        """Remove a claim we hold; see `ClaimStore.purge`."""
        with self._lock:
            if claim_id in self._claims and not self._ours(claim_id, lease):
                return False
            self._claims.pop(claim_id, None)
            return True

    def discard(self, claim_id: str, parts: int) -> None:
        """Remove a claim that nobody was told of."""
        with self._lock:
            self._claims.pop(claim_id, None)

    def look_up(self, claim_id: str, *, now: float) -> ClaimHead | None:
        """What a reader of the key finds; see `ClaimStore.look_up`."""
        with self._lock:
            found = self._find(claim_id, now)
            return found.claim.head if isinstance(found, _Stored) else None

    def count_rows(self, claim_id: str, parts: int) -> int:
        """How many rows of a claim are there."""
        with self._lock:
            stored = self._claims.get(claim_id)
            return 0 if stored is None else 1 + len(stored.claim.parts)

    def close(self) -> None:
        """Nothing to release."""

    def _find(self, claim_id: str, now: float, lease: Lease | None = None) -> _Stored | Held | None:
        stored = self._claims.get(claim_id)
        if stored is None or stored.lease is None or stored.lease.until <= now:
            return stored
        return stored if lease and stored.lease.id == lease.id else Held(stored.lease.until)

    def _ours(self, claim_id: str, lease: Lease) -> _Stored | None:
        stored = self._claims.get(claim_id)
        return stored if stored and stored.lease and stored.lease.id == lease.id else None
