"""Records in DynamoDB: one small item each, changed by one conditional write.

Whoever is refused a record learns from the same answer what is in the way.

Every write names its lease, and every state keeps the lease. So a write whose answer was lost
succeeds when it is made again, and a write that arrives late changes nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from claimcheck.stores.base import RECORD_SECONDS, Lease, Record, State
from claimcheck.stores.dynamodb_opening import DynamoDBOpening
from claimcheck.stores.dynamodb_values import Item, Value, number, number_in, text, text_in

if TYPE_CHECKING:
    from claimcheck.stores.dynamodb_items import Refusal

_ACQUIRE = (
    "SET #state = :leased, lease_id = :lease_id, lease_until = :until, expires_at = :expires_at"
)
_EXTEND = "SET lease_until = :until, expires_at = :expires_at"
_HAND_OVER = "SET #state = :handed_over, expires_at = :expires_at"
_COMPLETE = "SET #state = :done, lease_id = :lease_id, expires_at = :expires_at REMOVE lease_until"

_MISSING = "attribute_not_exists(id)"
_OURS = "lease_id = :lease_id"
_OURS_NOW = f"{_OURS} AND #state IN (:leased, :handed_over)"
_FREE = f"{_MISSING} OR (#state = :leased AND (lease_until <= :now OR {_OURS}))"
_FREE_TO_TAKE_OVER = f"{_FREE} OR (#state = :handed_over AND lease_until <= :now)"

_NAMES = {"#state": "state"}  # a reserved word of DynamoDB's expressions
_STATES = {":leased": text("leased"), ":handed_over": text("handed_over"), ":done": text("done")}


class DynamoDBRecords(DynamoDBOpening):
    """Keeps the records of claims in a table."""

    def now(self) -> float:
        """Seconds since 1970, by DynamoDB's clock; see `RecordStore.now`."""
        return self._clock() if self._clock else self._server_clock.now()

    def acquire(self, key: str, lease: Lease, *, take_over: bool = False) -> Record | None:
        """Make a record ours; see `RecordStore.acquire`."""
        self._learn_the_time(key, "acquired")
        condition = _FREE_TO_TAKE_OVER if take_over else _FREE
        refusal = self._update(key, _ACQUIRE, condition, lease, "acquired")
        return None if refusal is None else self._record(refusal.item)

    def extend(self, key: str, lease: Lease) -> bool:
        """Have our lease end later; see `RecordStore.extend`."""
        self._learn_the_time(key, "extended")
        return self._update(key, _EXTEND, _OURS_NOW, lease, "extended") is None

    def hand_over(self, key: str, lease_id: str) -> bool:
        """Note that the contents are about to be removed; see `RecordStore.hand_over`."""
        lease = Lease(lease_id, 0)
        return self._update(key, _HAND_OVER, _OURS_NOW, lease, "handed over") is None

    def release(self, key: str, lease_id: str) -> bool:
        """Remove our record; see `RecordStore.release`."""
        condition = f"{_MISSING} OR ({_OURS_NOW})"
        refusal = self._opened().items.delete(
            key,
            condition,
            names=_NAMES,
            values=self._values(Lease(lease_id, 0), condition),
            failed=f"record {key} was not released",
        )
        return refusal is None

    def complete(self, key: str, lease_id: str) -> bool:
        """Note that the work is done; see `RecordStore.complete`."""
        condition = f"{_MISSING} OR {_OURS}"
        return self._update(key, _COMPLETE, condition, Lease(lease_id, 0), "completed") is None

    def look_up(self, key: str) -> Record | None:
        """The record as it is; see `RecordStore.look_up`."""
        failed = f"record {key} was not looked up"
        item = self._opened().items.get(key, consistent=True, failed=failed)
        return None if item is None else self._record(item)

    def _update(
        self, key: str, change: str, condition: str, lease: Lease, changed: str
    ) -> Refusal | None:
        expressions = f"{change} {condition}"
        return self._opened().items.update(
            key,
            change,
            condition,
            names=_NAMES if "#state" in expressions else {},
            values=self._values(lease, expressions),
            failed=f"record {key} was not {changed}",
        )

    def _values(self, lease: Lease, expressions: str) -> dict[str, Value]:
        """The values that expressions ask for: DynamoDB refuses a value that nobody asks for."""
        now = self.now()
        values = {
            **_STATES,
            ":lease_id": text(lease.id),
            ":now": number(now),
            ":until": number(now + lease.seconds),
            ":expires_at": number(int(now) + RECORD_SECONDS),
        }
        return {name: values[name] for name in re.findall(r":\w+", expressions)}

    def _record(self, item: Item) -> Record:
        state = cast("State", text_in(item, "state") or "leased")
        until = number_in(item, "lease_until")  # which a receipt has not
        return Record(state, until - self.now() if until else 0.0)

    def _learn_the_time(self, key: str, changed: str) -> None:
        """Ask for the record where DynamoDB's time is not known: the answer says it."""
        if self._clock is None and not self._server_clock.known:
            failed = f"record {key} was not {changed}"
            self._opened().items.get(key, consistent=False, failed=failed)
