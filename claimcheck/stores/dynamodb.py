"""Claims in a DynamoDB table.

Each part of a claim is an item with a key of its own, `<claim id>/<n>`. So a large claim spreads
over partitions: a partition takes 1,000 write units a second, and a full part costs about 390.
Parts are written and read side by side. Part 0 also has the facts that `claimcheck show` prints.

A record is one small item, changed by one conditional write. A refused write returns the record
that is in the way. Every write names its lease, and every state keeps the lease. So a write whose
answer was lost succeeds when it is made again. A write that arrives late ends no lease and shortens
none. One that acquires can arrive when its own delivery has released the record: then nobody has
it until that lease ends.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html has
the write units of a partition.

The table is made by `claimcheck store create`, never here.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from claimcheck.errors import ClaimStoreError, ClaimTableMissing
from claimcheck.stores.base import (
    PART_BYTES,
    RECORD_SECONDS,
    ClaimFacts,
    Contents,
    Lease,
    Record,
    check_part_count,
    store_label,
)
from claimcheck.stores.calls import Calls
from claimcheck.stores.clock import ServerClock
from claimcheck.stores.dynamodb_inventory import DynamoDBInventory
from claimcheck.stores.dynamodb_values import (
    Item,
    Value,
    binary,
    bytes_in,
    number,
    number_in,
    text,
    text_in,
)
from claimcheck.stores.layout import OWN, Layout
from letsgo_queue.calls import Call
from letsgo_queue.forking import PerProcess
from letsgo_queue.log import get_logger

if TYPE_CHECKING:
    import boto3.session

    from claimcheck.stores.dynamodb_items import DynamoDBItems, Refusal

logger = get_logger(__name__)

DEFAULT_PARALLELISM = 4
"""Threads of one store, for the parts of its claims. More take memory and save no time: base64,
JSON and hashing keep the interpreter for a third of the time that a full part is under way."""

_AT_ONCE = 2
"""Parts that are asked for at once: most claims have no more."""

_LONGEST_TYPE = 1_000
"""Characters of a type that part 0 says: there must be room for its data in the item."""

_ACQUIRE = (
    "SET #state = if_not_exists(#state, :leased), lease_id = :lease_id, lease_until = :until,"
    " #expires_at = :expires_at"
)
_EXTEND = "SET lease_until = :until, #expires_at = :expires_at"
_HAND_OVER = "SET #state = :handed_over, #expires_at = :expires_at"
_COMPLETE = "SET #state = :done, lease_id = :lease_id, #expires_at = :expires_at REMOVE lease_until"

_MISSING = "attribute_not_exists(#id)"
_OURS = "lease_id = :lease_id"
_OURS_NOW = f"{_OURS} AND #state IN (:leased, :handed_over)"
_NOT_SHORTENED = "lease_until <= :until"
_ENDED_OR_OURS = f"(lease_until <= :now OR ({_OURS} AND {_NOT_SHORTENED}))"
_FREE = f"{_MISSING} OR (#state = :leased AND {_ENDED_OR_OURS})"
_FREE_TO_TAKE_OVER = f"{_FREE} OR (#state = :handed_over AND {_ENDED_OR_OURS})"
_EXPIRES_BY_THEN = "attribute_not_exists(#expires_at) OR #expires_at <= :expiring_by"

_STATES: Mapping[str, Value] = {
    f":{state}": {"S": state} for state in ("leased", "handed_over", "done")
}


@dataclass(frozen=True, slots=True)
class _Resources:
    """The client and the threads of one process.

    Attributes:
        items: The items of the table.
        calls: The threads for calls to it.
    """

    items: DynamoDBItems
    calls: Calls


class DynamoDBClaimStore:
    """A claim store in a DynamoDB table, which is opened when it is first used.

    Attributes:
        url: Names the store, as the settings do.
        table: The table's name.
        region: Its region; None where AWS's own settings decide.
        endpoint_url: Another server than AWS's own.
        session: The boto3 session for its requests; None for one of its own.
        layout: How the table names its keys and its expiry.
    """

    part_bytes = PART_BYTES

    def __init__(
        self,
        table: str,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        session: boto3.session.Session | None = None,
        parallelism: int = DEFAULT_PARALLELISM,
        clock: Callable[[], float] | None = None,
        layout: Layout = OWN,
    ) -> None:
        """Name the table; nothing is loaded, opened or asked yet.

        Args:
            table: The table's name.
            region: Its region; by default that of `session`, `AWS_REGION`, or what AWS's own
                settings say.
            endpoint_url: Another server than AWS's own.
            session: Whose credentials and settings requests have, in a forked process too. Queue
                and store may share one.
            parallelism: Threads for the parts of all claims; each caller makes calls as well.
            clock: Seconds since 1970, instead of what the `Date` of DynamoDB's answers says.
            layout: How the table names its keys and its expiry.
        """
        self.url = f"dynamodb://{table}"
        self.table = table
        self.layout = layout
        self.endpoint_url = endpoint_url
        self.session = session
        of_session = session.region_name if session else None
        self.region = region or of_session or os.environ.get("AWS_REGION") or None
        self._parallelism = parallelism
        self._server_clock = ServerClock(f"claim store {self.url}")
        self._clock = clock
        self._resources = PerProcess(self._open)

    @property
    def label(self) -> str:
        """Names the table as tickets do: `dynamodb:eu-west-1:letsgo-claims`."""
        return store_label(f"dynamodb:{self.resolved_region}", self.table)

    @property
    def records_at(self) -> object:
        """See `ClaimStore`: sessions may be of different accounts."""
        return self.layout, self.table, self.endpoint_url, self.session

    @property
    def missing_advice(self) -> str:
        """See `ClaimStore`."""
        return (
            "If the sender's store has a bucket (`?bucket=`), give it here too. "
            + self.table_advice
        )

    @property
    def table_advice(self) -> str:
        """What to check if the table has nothing of a claim."""
        return (
            "Check that account and region are the sender's too, that TTL is on "
            f"`{self.layout.expires_at}`, and that nobody removed items or restored the table."
        )

    @property
    def resolved_region(self) -> str:
        """The table's region, also where AWS's own settings decide."""
        return self.region or self._resources.get().items.region

    def close(self) -> None:
        """Close connections and end threads; see `ClaimStore.close`.

        Calls that other callers make themselves are not waited for.
        """
        if resources := self._resources.made:
            resources.calls.close()  # a read that is under way may still ask for what is open
            resources.items.close()
            self._resources.take()

    def inventory(self) -> DynamoDBInventory:
        """What is in the table; see `Inventory`."""
        return DynamoDBInventory(
            lambda: self._resources.get().items, self.remove, expires_at=self.layout.expires_at
        )

    def _open(self) -> _Resources:
        # Loaded now: small messages need no store.
        from claimcheck.stores.dynamodb_items import DynamoDBItems

        return _Resources(
            DynamoDBItems(
                self.table,
                store=self.url,
                region=self.region,
                endpoint_url=self.endpoint_url,
                session=self.session,
                clock=self._server_clock,
                layout=self.layout,
            ),
            Calls(self._parallelism, name="claimcheck-dynamodb"),
        )

    # Contents

    def write(self, facts: ClaimFacts, parts: Sequence[bytes | memoryview]) -> None:
        """Write all parts side by side; see `ContentsStore.write`."""
        writes = [partial(self._put_part, facts, n, part) for n, part in enumerate(parts)]
        try:
            self._resources.get().calls.make_all(writes)
        except ClaimTableMissing:  # nothing was written
            raise
        except ClaimStoreError:
            self._remove_quietly(facts)
            raise

    def read(
        self, claim_id: str, parts: int, *, stored: int, consistent: bool = False
    ) -> DynamoDBReading:
        """Begin to read contents; see `ContentsStore.read`."""
        return DynamoDBReading(
            self._resources.get().calls,
            partial(self._get_part, claim_id),
            parts,
            consistent=consistent,
            expires_at=self.layout.expires_at,
        )

    def remove(
        self,
        claim_id: str,
        parts: int,
        *,
        later: bool = False,
        expiring_by: int | None = None,
    ) -> None:
        """Remove all parts side by side; see `ContentsStore.remove`."""
        self._resources.get().calls.make_all(
            [partial(self._delete_part, claim_id, part, expiring_by) for part in range(parts)]
        )

    def renew(self, claim_id: str, parts: int, *, expires_at: int) -> None:
        """Have every part expire later; see `ContentsStore.renew`."""
        self._resources.get().calls.make_all(
            [partial(self._renew_part, claim_id, part, expires_at) for part in range(parts)]
        )

    def _put_part(self, facts: ClaimFacts, part: int, data: bytes | memoryview) -> None:
        item: dict[str, Value] = {"data": binary(data)}
        if part == 0:
            item |= {
                "parts": number(facts.parts),
                "size": number(facts.size),
                "stored": number(facts.stored),
                "created_at": number(facts.created_at),
            }
            if facts.type is not None:
                item["type"] = text(facts.type[:_LONGEST_TYPE])
        self._resources.get().items.put(
            _key(facts.id, part),
            item,
            expires_at=number(facts.expires_at),
            failed=f"claim {facts.id} was not stored",
        )

    def _get_part(self, claim_id: str, part: int, consistent: bool) -> Item | None:
        return self._resources.get().items.get(
            _key(claim_id, part), consistent=consistent, failed=f"claim {claim_id} was not read"
        )

    def _delete_part(self, claim_id: str, part: int, expiring_by: int | None) -> None:
        self._resources.get().items.delete(
            _key(claim_id, part),
            "" if expiring_by is None else _EXPIRES_BY_THEN,
            values=None if expiring_by is None else {":expiring_by": number(expiring_by)},
            failed=f"the contents of claim {claim_id} were not removed",
        )

    def _renew_part(self, claim_id: str, part: int, expires_at: int) -> None:
        self._resources.get().items.update(
            _key(claim_id, part),
            "SET #expires_at = :expires_at",
            "attribute_exists(#id)",  # a part that is gone stays gone
            values={":expires_at": number(expires_at)},
            failed=f"the contents of claim {claim_id} were not renewed",
        )

    def _remove_quietly(self, facts: ClaimFacts) -> None:
        try:
            self.remove(facts.id, facts.parts, expiring_by=facts.expires_at)
        except ClaimStoreError as error:
            logger.warning("what was written of claim %s is left to expire: %s", facts.id, error)

    # Records

    def now(self) -> float:
        """Seconds since 1970, by DynamoDB's clock; see `RecordStore.now`."""
        return self._clock() if self._clock else self._server_clock.now()

    def acquire(self, key: str, lease: Lease, *, take_over: bool = False) -> Record | None:
        """Make a record ours; see `RecordStore.acquire`."""
        self._learn_the_time(key, "acquired")
        condition = _FREE_TO_TAKE_OVER if take_over else _FREE
        refusal = self._update(
            key, _ACQUIRE, condition, lease.id, changed="acquired", lease_seconds=lease.seconds
        )
        if refusal is None:
            return None
        record = self._record(refusal.item)
        may_be_ours = record.state == "leased" or (record.state == "handed_over" and take_over)
        return None if may_be_ours and _is_of(refusal.item, lease.id) else record

    def extend(self, key: str, lease: Lease) -> bool:
        """Have our lease end later; see `RecordStore.extend`."""
        self._learn_the_time(key, "extended")
        condition = f"{_OURS_NOW} AND {_NOT_SHORTENED}"
        refusal = self._update(
            key, _EXTEND, condition, lease.id, changed="extended", lease_seconds=lease.seconds
        )
        if refusal is None:
            return True
        lasts_longer = _is_of(refusal.item, lease.id)
        return lasts_longer and self._record(refusal.item).state != "done"

    def hand_over(self, key: str, lease_id: str) -> bool:
        """Note that the contents are about to be removed; see `RecordStore.hand_over`."""
        return self._update(key, _HAND_OVER, _OURS_NOW, lease_id, changed="handed over") is None

    def release(self, key: str, lease_id: str) -> bool:
        """Remove our record; see `RecordStore.release`."""
        condition = f"{_MISSING} OR ({_OURS_NOW})"
        refusal = self._resources.get().items.delete(
            key,
            condition,
            values=self._values(condition, lease_id),
            failed=f"record {key} was not released",
        )
        return refusal is None

    def complete(self, key: str, lease_id: str) -> bool:
        """Note that the work is done; see `RecordStore.complete`."""
        condition = f"{_MISSING} OR {_OURS}"
        return self._update(key, _COMPLETE, condition, lease_id, changed="completed") is None

    def look_up(self, key: str) -> Record | None:
        """The record as it is; see `RecordStore.look_up`."""
        failed = f"record {key} was not looked up"
        item = self._resources.get().items.get(key, consistent=True, failed=failed)
        return None if item is None else self._record(item)

    def _update(
        self,
        key: str,
        change: str,
        condition: str,
        lease_id: str,
        *,
        changed: str,
        lease_seconds: float = 0,
    ) -> Refusal | None:
        return self._resources.get().items.update(
            key,
            change,
            condition,
            values=self._values(f"{change} {condition}", lease_id, lease_seconds),
            failed=f"record {key} was not {changed}",
        )

    def _values(
        self, expressions: str, lease_id: str, lease_seconds: float = 0
    ) -> dict[str, Value]:
        """Only the values that the expressions name: DynamoDB refuses others."""
        now = self.now()
        values = {
            **_STATES,
            ":lease_id": text(lease_id),
            ":now": number(now),
            ":until": number(now + lease_seconds),
            ":expires_at": number(int(now) + RECORD_SECONDS),
        }
        return {name: values[name] for name in re.findall(r":\w+", expressions)}

    def _record(self, item: Item) -> Record:
        return Record.read(text_in(item, "state"), number_in(item, "lease_until"), now=self.now())

    def _learn_the_time(self, key: str, changed: str) -> None:
        """Read the record while DynamoDB's time is unknown: the answer has the time.

        Twice at most: the first answer may be slow, and then tells the time only roughly.
        """
        failed = f"record {key} was not {changed}"
        for _ in range(2):
            if self._clock is not None or self._server_clock.known:
                return
            self._resources.get().items.get(key, consistent=False, failed=failed)


class DynamoDBReading:
    """Contents that are being read; see `Reading`.

    A ticket may lie about the number of parts. So two are read at once, and the others when part 0
    has come and confirms the number: a lie costs no more reads.

    Parts never change. So an eventually consistent read, at half the price, is right if it finds
    the part. If it finds none, a consistent read follows: the part may just have been written.
    """

    def __init__(
        self,
        calls: Calls,
        get: Callable[[int, bool], Item | None],
        parts: int,
        *,
        consistent: bool,
        expires_at: str,
    ) -> None:
        """Begin to read.

        Args:
            calls: Threads to read with.
            get: Reads a part, consistently or not.
            parts: How many parts the ticket names.
            consistent: Whether to make every read consistent.
            expires_at: The attribute of an item that has its expiry.
        """
        self._calls = calls
        self._get = get
        self._parts = parts
        self._consistent = consistent
        self._expires_at = expires_at
        self._lock = threading.Lock()
        self._cancelled = False
        self._begun: dict[int, Call[Item | None]] = {}
        self._first = calls.start(self._get_first)
        # Asked for once: where part 0 is missing, so are the others.
        self._begin(range(1, min(parts, _AT_ONCE)), lambda part: get(part, consistent))

    def result(self) -> Contents | None:
        """Wait for all parts; see `Reading.result`. Ask once."""
        items: list[Item | None] = [None] * self._parts
        try:
            items[0] = self._first.result()
            for part, call in self._begun.items():  # part 0 has begun all others
                items[part] = call.result()
            if items[0] is not None and not self._consistent:
                for part in range(1, min(self._parts, _AT_ONCE)):
                    items[part] = items[part] or self._get(part, True)
        except BaseException:
            self.cancel()
            raise
        found = [item for item in items if item is not None]
        if not found:
            return None
        expiries = [number_in(item, self._expires_at) for item in found]
        known = [each for each in expiries if each is not None]
        return Contents.read(
            [None if item is None else bytes_in(item, "data") for item in items],
            expires_at=min(known) if len(known) == len(found) else None,
        )

    def cancel(self) -> None:
        """Read nothing that is not under way yet; see `Reading.cancel`."""
        with self._lock:
            self._cancelled = True
            for call in (self._first, *self._begun.values()):
                call.cancel()

    def _get_first(self) -> Item | None:
        first = self._find(0)
        if first is not None:
            check_part_count(number_in(first, "parts"), named=self._parts)
            self._begin(range(_AT_ONCE, self._parts), self._find)
        return first

    def _find(self, part: int) -> Item | None:
        if not self._consistent and (found := self._get(part, False)):
            return found
        return self._get(part, True)

    def _begin(self, parts: Iterable[int], read: Callable[[int], Item | None]) -> None:
        with self._lock:
            if not self._cancelled:
                for part in parts:
                    self._begun[part] = self._calls.start(partial(read, part))


def _is_of(item: Item, lease_id: str) -> bool:
    """Whether a lease wrote a record."""
    return text_in(item, "lease_id") == lease_id


def _key(claim_id: str, part: int) -> str:
    return f"{claim_id}/{part}"
