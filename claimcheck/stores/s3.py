"""Claims in an S3 bucket: contents and records are objects.

A record is a small object, `<prefix>records/<key>`. It changes by conditional writes only: S3
writes a new one only if there is none, and another state only in place of the very bytes that were
read. So a change reads the record, decides, and writes. Where another delivery was quicker, it
begins anew. Every record has the lease that wrote it, so a write whose answer was lost is known for
ours when it is read again.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html has the conditions.

Records expire by the bucket's lifecycle rule, as contents do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Self, cast
from urllib.parse import quote

from claimcheck.errors import ClaimCorrupted, ClaimStoreUnavailable
from claimcheck.stores.base import (
    RECORD_SECONDS,
    ClaimFacts,
    Lease,
    Record,
    State,
    store_label,
)
from claimcheck.stores.s3_contents import DEFAULT_PARALLELISM, S3Contents, S3Reading

if TYPE_CHECKING:
    import boto3.session

_RECORDS = "records/"
_LARGEST_RECORD = 4_096
_TRIES = 20
"""How often a change begins anew. Each time another delivery changed the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A record, as its object has it.

    Attributes:
        state: Its state.
        lease_id: What wrote it.
        lease_until: When the lease ends (seconds since 1970); 0 for a receipt.
        expires_at: When it is no longer needed (seconds since 1970).
    """

    state: State
    lease_id: str
    lease_until: float
    expires_at: float

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Make a record of an object's bytes, whatever they are."""
        try:
            fields = json.loads(data)
        except ValueError:  # also what is not UTF-8
            fields = None
        if not isinstance(fields, dict) or not isinstance(fields.get("lease_id"), str):
            raise ClaimCorrupted("its record is not one of ours")
        return cls(
            state=cast("State", fields.get("state")),  # `Record.read` checks it
            lease_id=fields["lease_id"],
            lease_until=fields.get("lease_until", 0),
            expires_at=fields.get("expires_at", 0),
        )

    def write(self) -> bytes:
        """The bytes of its object."""
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True, slots=True)
class _Found:
    """A record that was read.

    Attributes:
        kept: The record.
        etag: What its bytes are told by.
        record: What it means now.
    """

    kept: _Kept
    etag: str
    record: Record

    def is_of(self, lease_id: str) -> bool:
        """Whether a lease wrote it."""
        return self.kept.lease_id == lease_id

    def is_held_with(self, lease_id: str) -> bool:
        """Whether a lease holds it, though it may have run out."""
        return self.is_of(lease_id) and self.record.state != "done"


class S3ClaimStore:
    """A claim store in an S3 bucket, which is opened when it is first used.

    Attributes:
        url: Names the store, as the settings do.
        contents: Where the contents are.
    """

    part_bytes = None

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        region: str | None = None,
        endpoint_url: str | None = None,
        session: boto3.session.Session | None = None,
        parallelism: int = DEFAULT_PARALLELISM,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Name the bucket; nothing is loaded, opened or asked yet.

        Args:
            bucket: The bucket's name.
            prefix: What the keys of its objects start with, as a folder's name.
            region: As for `S3Contents`, as are the others.
            endpoint_url: Another server than AWS's own.
            session: Whose credentials and settings requests have.
            parallelism: Threads for pieces of large contents.
            clock: Seconds since 1970, instead of what the `Date` of S3's answers says.
        """
        self._place = "/".join(filter(None, (bucket, prefix.strip("/"))))
        self.url = f"s3://{self._place}"
        self.contents = S3Contents(
            bucket,
            prefix=prefix,
            store=self.url,
            region=region,
            endpoint_url=endpoint_url,
            session=session,
            parallelism=parallelism,
        )
        self._clock = clock

    @property
    def label(self) -> str:
        """Names bucket and prefix as tickets do: `s3:eu-west-1:my-claims`."""
        return store_label(f"s3:{self.contents.resolved_region}", self._place)

    @property
    def missing_advice(self) -> str:
        """See `ClaimStore`."""
        return (
            "Check that account and region are the sender's too, that no lifecycle rule of the "
            "bucket removes objects sooner than `claimcheck store create` has it, and that nobody "
            "removed objects."
        )

    def close(self) -> None:
        """Finish removals, close connections and end threads; see `ClaimStore.close`."""
        self.contents.close()

    # Contents

    def write(self, facts: ClaimFacts, parts: Sequence[bytes | memoryview]) -> None:
        """Write one object; see `ContentsStore.write`."""
        self.contents.write(facts, parts)

    def read(
        self, claim_id: str, parts: int, *, stored: int, consistent: bool = False
    ) -> S3Reading:
        """Begin to read contents; see `ContentsStore.read`."""
        return self.contents.read(claim_id, parts, stored=stored, consistent=consistent)

    def remove(self, claim_id: str, parts: int, *, later: bool = False) -> None:
        """Remove the object; see `ContentsStore.remove`."""
        self.contents.remove(claim_id, parts, later=later)

    def renew(self, claim_id: str, parts: int, *, expires_at: int) -> None:
        """Do nothing; see `S3Contents.renew`."""
        self.contents.renew(claim_id, parts, expires_at=expires_at)

    # Records

    def now(self) -> float:
        """Seconds since 1970, by S3's clock; see `RecordStore.now`."""
        return self._clock() if self._clock else self.contents.clock.now()

    def acquire(self, key: str, lease: Lease, *, take_over: bool = False) -> Record | None:
        """Make a record ours; see `RecordStore.acquire`."""
        failed = f"record {key} was not acquired"
        self._learn_the_time(key, failed)
        # Most have no record: one request.
        if self._put(key, self._leased(lease), None, failed):
            return None
        blocking: Record | None = None

        def change(found: _Found | None) -> _Kept | None:
            nonlocal blocking
            blocking = None
            if found is None:
                return self._leased(lease)
            state = found.record.state
            may_end = state == "leased" or (state == "handed_over" and take_over)
            if may_end and (found.record.seconds_left <= 0 or found.is_of(lease.id)):
                return self._leased(lease, state)
            blocking = found.record
            return None

        self._change(key, change, failed)
        return blocking

    def extend(self, key: str, lease: Lease) -> bool:
        """Have our lease end later; see `RecordStore.extend`."""
        failed = f"record {key} was not extended"
        self._learn_the_time(key, failed)

        def change(found: _Found | None) -> _Kept | None:
            ours = found is not None and found.is_held_with(lease.id)
            return self._leased(lease, found.record.state) if found and ours else None

        return self._change(key, change, failed)

    def hand_over(self, key: str, lease_id: str) -> bool:
        """Note that the contents are about to be removed; see `RecordStore.hand_over`."""

        def change(found: _Found | None) -> _Kept | None:
            if found is None or not found.is_held_with(lease_id):
                return None
            return replace(found.kept, state="handed_over", expires_at=self._expiry())

        return self._change(key, change, f"record {key} was not handed over")

    def release(self, key: str, lease_id: str) -> bool:
        """Remove our record; see `RecordStore.release`."""
        failed = f"record {key} was not released"
        for _ in range(_TRIES):
            found = self._find(key, failed)
            if found is None:
                return True
            if not found.is_held_with(lease_id):
                return False
            if self.contents.objects.delete(self._key(key), etag=found.etag, failed=failed):
                return True
        raise self._contended(failed)

    def complete(self, key: str, lease_id: str) -> bool:
        """Note that the work is done; see `RecordStore.complete`."""

        def change(found: _Found | None) -> _Kept | None:
            if found is not None and not found.is_of(lease_id):
                return None
            return _Kept(state="done", lease_id=lease_id, lease_until=0, expires_at=self._expiry())

        return self._change(key, change, f"record {key} was not completed")

    def look_up(self, key: str) -> Record | None:
        """The record as it is; see `RecordStore.look_up`."""
        found = self._find(key, f"record {key} was not looked up")
        return None if found is None else found.record

    def _change(
        self, key: str, change: Callable[[_Found | None], _Kept | None], failed: str
    ) -> bool:
        """Read a record, and write what `change` makes of it; False if it makes nothing of it."""
        for _ in range(_TRIES):
            found = self._find(key, failed)
            wanted = change(found)
            if wanted is None:
                return False
            if self._put(key, wanted, found, failed):
                return True
        raise self._contended(failed)

    def _put(self, key: str, kept: _Kept, found: _Found | None, failed: str) -> bool:
        """Write a record in place of what was found; False if that is no longer there."""
        return self.contents.objects.put(
            self._key(key),
            kept.write(),
            absent=found is None,
            etag=found.etag if found else None,
            failed=failed,
        )

    def _find(self, key: str, failed: str) -> _Found | None:
        found = self.contents.objects.get(self._key(key), most=_LARGEST_RECORD, failed=failed)
        if found is None:
            return None
        kept = _Kept.read(found.data)
        record = Record.read(kept.state, kept.lease_until, now=self.now())
        return _Found(kept, found.etag, record)

    def _leased(self, lease: Lease, state: State = "leased") -> _Kept:
        return _Kept(
            state=state,
            lease_id=lease.id,
            lease_until=self.now() + lease.seconds,
            expires_at=self._expiry(),
        )

    def _expiry(self) -> float:
        return self.now() + RECORD_SECONDS

    def _key(self, key: str) -> str:
        return f"{self.contents.prefix}{_RECORDS}{quote(key, safe='@')}"

    def _learn_the_time(self, key: str, failed: str) -> None:
        """Ask for the record where S3's time is not known: the answer says it.

        The first answer may be slow, and then says little.
        """
        for _ in range(2):
            if self._clock is not None or self.contents.clock.known:
                return
            self.contents.objects.get(self._key(key), most=_LARGEST_RECORD, failed=failed)

    def _contended(self, failed: str) -> ClaimStoreUnavailable:
        return ClaimStoreUnavailable(
            f"claim store {self.url}: {failed}: other deliveries changed it {_TRIES} times."
        )
