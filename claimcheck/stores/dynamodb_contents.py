"""Contents in DynamoDB: each part of a claim is an item with a key of its own, `<claim id>/<n>`.

So a large claim spreads over partitions: one takes 1,000 write units a second, and a full part is
about 390. Parts go over the wire side by side. Part 0 also says what people want to know.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from claimcheck.errors import ClaimStoreError, ClaimTableMissing
from claimcheck.stores.base import ClaimFacts, Contents
from claimcheck.stores.calls import Call, Calls
from claimcheck.stores.dynamodb_opening import DynamoDBOpening
from claimcheck.stores.dynamodb_values import (
    Item,
    Value,
    binary,
    bytes_in,
    number,
    number_in,
    text,
)

logger = logging.getLogger(__name__)

_AT_ONCE = 4
"""Parts that are read before one of them is there: as many as a store has threads. With two, what
has four parts takes an answer's time longer."""

_LONGEST_TYPE = 1_000
"""Characters of a type that part 0 says: there must be room for its data in the item."""


class DynamoDBContents(DynamoDBOpening):
    """Keeps the bytes of claims in a table."""

    def write(self, facts: ClaimFacts, parts: Sequence[bytes | memoryview]) -> None:
        """Write all parts side by side; see `ContentsStore.write`."""
        writes = [partial(self._put_part, facts, n, part) for n, part in enumerate(parts)]
        try:
            self._opened().calls.make_all(writes)
        except ClaimTableMissing:  # nothing was written
            raise
        except ClaimStoreError:
            self._remove_quietly(facts)
            raise

    def read(self, claim_id: str, parts: int) -> DynamoDBReading:
        """Begin to read contents; see `ContentsStore.read`."""
        return DynamoDBReading(self._opened().calls, partial(self._get_part, claim_id), parts)

    def remove(self, claim_id: str, parts: int) -> None:
        """Remove all parts side by side; see `ContentsStore.remove`."""
        self._opened().calls.make_all(
            [partial(self._delete_part, claim_id, part) for part in range(parts)]
        )

    def renew(self, claim_id: str, parts: int, *, expires_at: int) -> None:
        """Have every part expire later; see `ContentsStore.renew`."""
        self._opened().calls.make_all(
            [partial(self._renew_part, claim_id, part, expires_at) for part in range(parts)]
        )

    def _put_part(self, facts: ClaimFacts, part: int, data: bytes | memoryview) -> None:
        item: dict[str, Value] = {
            "id": text(_key(facts.id, part)),
            "data": binary(data),
            "expires_at": number(facts.expires_at),
        }
        if part == 0:
            item |= {
                "parts": number(facts.parts),
                "size": number(facts.size),
                "stored": number(facts.stored),
                "created_at": number(facts.created_at),
            }
            if facts.type is not None:
                item["type"] = text(facts.type[:_LONGEST_TYPE])
        self._opened().items.put(item, failed=f"claim {facts.id} was not stored")

    def _get_part(self, claim_id: str, part: int) -> Item | None:
        """Read a part.

        Parts never change, so the read that costs half is right if it finds the part at all. A part
        that was written a moment ago may take the second read, a consistent one.
        """
        items, key = self._opened().items, _key(claim_id, part)
        failed = f"claim {claim_id} was not read"
        found = items.get(key, consistent=False, failed=failed)
        return found or items.get(key, consistent=True, failed=failed)

    def _delete_part(self, claim_id: str, part: int) -> None:
        self._opened().items.delete(
            _key(claim_id, part), failed=f"the contents of claim {claim_id} were not removed"
        )

    def _renew_part(self, claim_id: str, part: int, expires_at: int) -> None:
        self._opened().items.update(
            _key(claim_id, part),
            "SET expires_at = :expires_at",
            "attribute_exists(id)",  # one that is gone stays gone
            values={":expires_at": number(expires_at)},
            failed=f"the contents of claim {claim_id} were not renewed",
        )

    def _remove_quietly(self, facts: ClaimFacts) -> None:
        try:
            self.remove(facts.id, facts.parts)
        except ClaimStoreError as error:
            logger.warning("what was written of claim %s is left to expire: %s", facts.id, error)


class DynamoDBReading:
    """Contents that are being read; see `Reading`.

    A ticket may lie about the number of parts. So the first few are read at once, and the others as
    soon as part 0 is there and says that there are so many.
    """

    def __init__(self, calls: Calls, get: Callable[[int], Item | None], parts: int) -> None:
        """Begin to read.

        Args:
            calls: Threads to read with.
            get: Reads a part.
            parts: How many parts the ticket names.
        """
        self._calls = calls
        self._get = get
        self._parts = parts
        self._lock = threading.Lock()
        self._cancelled = False
        self._begun: dict[int, Call[Item | None]] = {}
        self._first = calls.start(self._get_first)
        self._begin(range(1, min(parts, _AT_ONCE)))

    def result(self) -> Contents | None:
        """Wait for all parts; see `Reading.result`. Ask once."""
        items: list[Item | None] = [None] * self._parts
        try:
            items[0] = self._first.result()
            for part, call in self._begun.items():  # by now all that will be
                items[part] = call.result()
        except BaseException:
            self.cancel()
            raise
        found = [item for item in items if item is not None]
        if not found:
            return None
        return Contents(
            [None if item is None else bytes_in(item, "data") for item in items],
            expires_at=min(int(number_in(item, "expires_at")) for item in found),
        )

    def cancel(self) -> None:
        """Read nothing that is not under way yet; see `Reading.cancel`."""
        with self._lock:
            self._cancelled = True
            for call in (self._first, *self._begun.values()):
                call.cancel()

    def _get_first(self) -> Item | None:
        first = self._get(0)
        if first is not None:
            self._begin(range(_AT_ONCE, min(self._parts, int(number_in(first, "parts")))))
        return first

    def _begin(self, parts: Iterable[int]) -> None:
        with self._lock:
            if not self._cancelled:
                for part in parts:
                    self._begun[part] = self._calls.start(partial(self._get, part))


def _key(claim_id: str, part: int) -> str:
    return f"{claim_id}/{part}"
