"""Lists the claims of a store for the console: as rows, with totals, and which of them may go.

A list of a table or a bucket costs money, so the console makes one on request and keeps it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import ClassVar, Literal, TypeAlias

from claimcheck.claims import (
    Choice,
    Totals,
    ends_at,
    longest_stay,
    moment_of,
    prices_of,
    reading_dollars,
    state_of,
    write_units,
)
from claimcheck.stores.base import ClaimStore
from claimcheck.stores.inventory import Inventory, StoredClaim, inventory_of
from letsgo_queue.admin import Retention, open_admin
from letsgo_queue.console.listing import DAY, HOUR, Wanted
from letsgo_queue.errors import LetsGoError
from letsgo_queue.log import get_logger
from letsgo_queue.settings import QueueSettings

logger = get_logger(__name__)

LOOK_CLAIMS = 5_000
"""The most claims that a list has."""

MOST_GROUPS = 10

CENT = 0.01

Reason: TypeAlias = Literal["expired", "orphaned"]


@dataclass(frozen=True, slots=True)
class Row:
    """A claim as a page shows it.

    Attributes:
        id: The claim id.
        type: The message's type; None if it has none, or a list does not tell it.
        size: Bytes of the body that was sealed.
        stored: Bytes in the store.
        state: Its state, for people.
        made_at: When it was made.
        ends_at: When its contents expire.
        held_until: When the lease of its delivery ends; None if no delivery holds it.
        may_go: The reason why it may be deleted, as far as a list shows; None if there is none.
        write_units: What DynamoDB bills to delete it.
    """

    id: str
    type: str | None
    size: int | None
    stored: int | None
    state: str
    made_at: datetime | None
    ends_at: datetime | None
    held_until: datetime | None
    may_go: Reason | None
    write_units: int

    @classmethod
    def of(cls, claim: StoredClaim, now: float, stay: int | None = None) -> Row:
        """Make the row of a claim.

        Args:
            claim: The claim.
            now: Seconds since 1970, by the store's clock.
            stay: See `Choice.stay`.
        """
        record = claim.record(now)
        held = record is not None and record.is_held(now)
        may_go: Reason | None = None
        if Choice(expired=True).may_mean(claim, now):
            may_go = "expired"
        elif stay is not None and Choice(stay=stay).may_mean(claim, now):
            may_go = "orphaned"
        return cls(
            id=claim.id,
            type=claim.type,
            size=claim.size,
            stored=claim.stored,
            state=state_of(claim, now),
            made_at=moment_of(claim.created_at),
            ends_at=moment_of(ends_at(claim)),
            held_until=moment_of(record.lease_until) if record and held else None,
            may_go=may_go,
            write_units=write_units(claim),
        )


_NO_TIME = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class WantedClaims(Wanted[Row]):
    """The filter and the order of the claims that a page shows.

    Attributes:
        state: Show only claims in this state; empty for all.
        may_go: Show only claims that may be deleted for this reason; empty for all.
    """

    AGES: ClassVar[Mapping[str, int]] = {
        "1 hour": HOUR,
        "1 day": DAY,
        "7 days": 7 * DAY,
        "30 days": 30 * DAY,
    }
    SORTED_BY: ClassVar[Mapping[str, Callable[[Row], object]]] = {
        "age": lambda row: row.made_at or _NO_TIME,
        "type": lambda row: row.type or "",
        "size": lambda row: row.size or 0,
        "stored": lambda row: row.stored or 0,
        "state": lambda row: row.state,
        "expiry": lambda row: row.ends_at or _NO_TIME,
    }

    state: str = ""
    may_go: str = ""
    sort: str = "stored"
    down: bool = True

    def among(self, rows: Sequence[Row], now: datetime) -> Sequence[Row]:
        """Return the rows that fit, in order."""
        found = [
            row
            for row in rows
            if self.type in {"", row.type}
            and self.state in {"", row.state}
            and self.may_go in {"", row.may_go}
            and (not self.age or self._is_older(row, now))
        ]
        return self.in_order(found)

    def _is_older(self, row: Row, now: datetime) -> bool:
        made_at = row.made_at
        return made_at is not None and (now - made_at).total_seconds() > self.AGES[self.age]


@dataclass(frozen=True, slots=True)
class Group:
    """Claims that have something in common.

    Attributes:
        name: Its name: a type, or an age.
        claims: How many.
        stored: Bytes of them.
    """

    name: str
    claims: int
    stored: int


@dataclass(frozen=True, slots=True)
class Look:
    """The claims of a store at one moment.

    Attributes:
        at: When.
        rows: The claims.
        totals: Their totals.
        cut: Whether there are more.
        stay: Seconds after which no message of the console's queues can name a claim; None where
            they keep messages until these are handled, or did not say.
    """

    at: datetime
    rows: Sequence[Row]
    totals: Totals
    cut: bool
    stay: int | None

    def choice(self, reason: str) -> Choice | None:
        """Return which claims may go for a reason; None if the reason does not apply here."""
        if reason == "expired":
            return Choice(expired=True)
        if reason == "orphaned" and self.stay is not None:
            return Choice(stay=self.stay)
        return None

    def by_type(self) -> Sequence[Group]:
        """Return the types that have most bytes."""
        groups = _grouped((row.type or "", row) for row in self.rows)
        return sorted(groups.values(), key=lambda each: -each.stored)[:MOST_GROUPS]

    def by_age(self) -> Sequence[Group]:
        """Return the ages, youngest first."""
        groups = _grouped((_age_of(row, self.at), row) for row in self.rows)
        return [groups[name] for name in (*AGES, NO_AGE) if name in groups]


AGES: Mapping[str, float] = {
    "under 1 hour": HOUR,
    "1 hour to 1 day": DAY,
    "1 to 7 days": 7 * DAY,
    "7 to 15 days": 15 * DAY,
    "over 15 days": math.inf,
}
"""The ages by which claims are counted. A claim of that age is younger than so many seconds."""

NO_AGE = "age not known"


def _age_of(row: Row, now: datetime) -> str:
    if row.made_at is None:
        return NO_AGE
    seconds = (now - row.made_at).total_seconds()
    return next(name for name, most in AGES.items() if seconds < most)


def _grouped(rows: Iterable[tuple[str, Row]]) -> Mapping[str, Group]:
    groups: dict[str, Group] = {}
    for name, row in rows:
        known = groups.get(name, Group(name, 0, 0))
        groups[name] = Group(name, known.claims + 1, known.stored + (row.stored or 0))
    return groups


class LogScale:
    """Computes the lengths of bars for several sizes, on a log scale."""

    def __init__(self, sizes: Iterable[int | None]) -> None:
        """Take all sizes that are shown together."""
        known = [size for size in sizes if size] or [1]
        self._low, self._high = math.log(min(known)), math.log(max(known))

    def bar(self, size: int | None) -> float:
        """The length of a bar, from 0 to 100."""
        if not size:
            return 0
        if self._low == self._high:
            return 100
        return round(4 + 96 * (math.log(size) - self._low) / (self._high - self._low), 1)


class ConsoleStore:
    """A store that the console shows.

    Attributes:
        number: Its place among the console's stores, from 0.
        url: Its URL.
        store: The store.
        inventory: Its inventory.
        look: The last list of its claims; None before the first.
    """

    def __init__(self, number: int, store: ClaimStore, queues: Collection[str | None] = ()) -> None:
        """Name a store; nothing is asked of it yet.

        Args:
            number: Its place among the console's stores.
            store: The store.
            queues: The console's queues; None for the queue of the environment.

        Raises:
            ClaimStoreError: It has no inventory.
        """
        self.number = number
        self.url = store.url
        self.store = store
        self.inventory: Inventory = inventory_of(store)
        self.look: Look | None = None
        self._queues = queues
        self._lock = threading.Lock()

    @property
    def path(self) -> str:
        """The path of its pages."""
        return f"/claims/{self.number}"

    @property
    def costs(self) -> str | None:
        """A text that says what a list costs; None if it costs nothing."""
        if self.url.startswith(("sqlite:", "memory:")):
            return None
        what = [f"It ends after {LOOK_CLAIMS:,} claims."]
        if not self.url.startswith("s3:"):
            units = self.inventory.read_units
            dollars = reading_dollars(self.inventory, prices_of(self.store)) or 0
            price = "under a cent" if dollars < CENT else f"about ${dollars:,.2f}"
            what.insert(0, f"About {units:,.0f} read units, {price}.")
        if self.url.startswith("s3:") or "bucket=" in self.url:
            what.insert(0, "One request for 1,000 claims.")
        return f"A list reads the store page by page, which AWS bills. {' '.join(what)}"

    def look_at_claims(self) -> Look:
        """List the claims."""
        with self._lock:
            rows: list[Row] = []
            totals, cut = Totals(prices_of(self.store)), False
            stay = _stay(self._queues)
            for page in self.inventory.pages():
                totals.add_records(page)
                for claim in page.claims:
                    cut = len(rows) == LOOK_CLAIMS
                    if cut:
                        break
                    totals.add(claim, self.store.now())
                    rows.append(Row.of(claim, self.store.now(), stay))
                if cut:
                    break
            self.look = Look(datetime.now(UTC), rows, totals, cut, stay)
            return self.look

    def forget(self, claim_id: str) -> None:
        """Stop showing a claim that is gone."""
        if self.look is not None:
            left = [row for row in self.look.rows if row.id != claim_id]
            self.look = replace(self.look, rows=left)


def _stay(queues: Collection[str | None]) -> int | None:
    """Return how long a message of these queues can exist; None if nobody can say."""
    known: list[Retention] = []
    try:
        for url in queues:
            with closing(open_admin(url, QueueSettings.from_environment())) as admin:
                retention = admin.retention()
            if retention is None:
                return None
            known.append(retention)
    except LetsGoError as error:  # the list of claims is useful without it
        logger.warning("console: orphaned claims are not known: %s", error)
        return None
    return longest_stay(known) if known else None
