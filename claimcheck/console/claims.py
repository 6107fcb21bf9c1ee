"""The console's section with the claims in a store: list, filter, release and delete.

list, filter, select ──> confirm ──> result

A list of a table or a bucket costs, so it is made on request. Nothing here shows contents.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import ClassVar

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from claimcheck.claims import (
    Choice,
    Totals,
    delete_claims,
    end_lease,
    ends_at,
    look_up,
    moment_of,
    prices_of,
    reading_dollars,
    state_of,
    state_of_record,
    why_not_released,
)
from claimcheck.stores.base import ClaimStore
from claimcheck.stores.inventory import Inventory, StoredClaim, inventory_of
from letsgo_queue.console.listing import DAY, HOUR, Paged, Wanted
from letsgo_queue.console.pages import Pages, choices, form_of
from letsgo_queue.log import get_logger
from letsgo_queue.text import counted, shown

logger = get_logger(__name__)

LOOK_CLAIMS = 5_000
"""How many claims are listed at most."""


@dataclass(frozen=True, slots=True)
class Row:
    """A claim as a page shows it.

    Attributes:
        id: The claim id.
        type: The message's type; None where it has none, or where a list does not say.
        size: Bytes of the body that was sealed.
        stored: Bytes in the store.
        state: What people call its state.
        made_at: When it was made.
        ends_at: When its contents expire.
        held_until: Until when a delivery holds it; None where none does.
    """

    id: str
    type: str | None
    size: int | None
    stored: int | None
    state: str
    made_at: datetime | None
    ends_at: datetime | None
    held_until: datetime | None

    @classmethod
    def of(cls, claim: StoredClaim, now: float) -> Row:
        """What is shown of a claim."""
        record = claim.record(now)
        held = record is not None and record.is_held(now)
        return cls(
            id=claim.id,
            type=claim.type,
            size=claim.size,
            stored=claim.stored,
            state=state_of(claim, now),
            made_at=moment_of(claim.created_at),
            ends_at=moment_of(ends_at(claim)),
            held_until=moment_of(record.lease_until) if record and held else None,
        )


_NO_TIME = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class WantedClaims(Wanted[Row]):
    """Which claims a page shows.

    Attributes:
        state: In this state; empty for all.
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
    sort: str = "stored"
    down: bool = True

    def among(self, rows: Sequence[Row], now: datetime) -> Sequence[Row]:
        """These of the rows, in order."""
        found = [
            row
            for row in rows
            if self.type in {"", row.type}
            and self.state in {"", row.state}
            and (not self.age or self._is_older(row, now))
        ]
        return self.in_order(found)

    def _is_older(self, row: Row, now: datetime) -> bool:
        made_at = row.made_at
        return made_at is not None and (now - made_at).total_seconds() > self.AGES[self.age]


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a store at a moment.

    Attributes:
        at: When.
        rows: The claims.
        totals: What was counted.
        cut: Whether there are more.
        smallest: Bytes that the smallest has in the store.
        largest: Bytes that the largest has there.
    """

    at: datetime
    rows: Sequence[Row]
    totals: Totals
    cut: bool
    smallest: int
    largest: int

    def bar(self, stored: int | None) -> float:
        """How long the bar of a size is, from 0 to 100, on a log scale."""
        if not stored:
            return 0
        low, high = math.log(self.smallest), math.log(self.largest)
        return round(4 + 96 * (math.log(stored) - low) / ((high - low) or 1), 1)

    @property
    def by_type(self) -> Sequence[tuple[str, int, int]]:
        """The types with most bytes: type, claims and bytes."""
        claims = Counter(row.type or "" for row in self.rows)
        stored: Counter[str] = Counter()
        for row in self.rows:
            stored[row.type or ""] += row.stored or 0
        return [(type, claims[type], size) for type, size in stored.most_common(10)]


class ConsoleStore:
    """A store that the console shows.

    Attributes:
        number: Where it is among the console's stores, from 0.
        url: Its URL.
        store: The store.
        inventory: What is in it.
        look: What was last seen of it.
    """

    def __init__(self, number: int, store: ClaimStore) -> None:
        """Name a store; nothing is asked of it yet.

        Raises:
            ClaimStoreError: It has no inventory.
        """
        self.number = number
        self.url = store.url
        self.store = store
        self.inventory: Inventory = inventory_of(store)
        self.look: Look | None = None
        self._lock = threading.Lock()

    @property
    def path(self) -> str:
        """Where its pages are."""
        return f"/claims/{self.number}"

    @property
    def costs(self) -> str | None:
        """What a list costs; None where it costs nothing."""
        if self.url.startswith(("sqlite:", "memory:")):
            return None
        dollars = reading_dollars(self.inventory, prices_of(self.store)) or 0
        return (
            "A list reads the store page by page, which AWS bills: about "
            f"${dollars:,.4f} for read units, and for a bucket one request for 1,000 claims. It "
            f"ends after {LOOK_CLAIMS:,} claims."
        )

    def look_at_claims(self) -> None:
        """List the claims."""
        with self._lock:
            rows: list[Row] = []
            totals, cut = Totals(prices_of(self.store)), False
            for page in self.inventory.pages():
                totals.add_records(page)
                for claim in page.claims:
                    cut = len(rows) == LOOK_CLAIMS
                    if cut:
                        break
                    totals.add(claim, self.store.now())
                    rows.append(Row.of(claim, self.store.now()))
                if cut:
                    break
            sizes = [row.stored for row in rows if row.stored] or [1]
            self.look = Look(datetime.now(UTC), rows, totals, cut, min(sizes), max(sizes))

    def forget(self, claim_id: str) -> None:
        """Show a claim no more: it is gone."""
        if self.look is not None:
            left = [row for row in self.look.rows if row.id != claim_id]
            self.look = replace(self.look, rows=left)


class ClaimPages:
    """The pages of the claims.

    Attributes:
        routes: These pages.
    """

    def __init__(self, pages: Pages, stores: Sequence[ConsoleStore], *, read_only: bool) -> None:
        """Name what is shown."""
        self._pages = pages
        self._stores = stores
        self._read_only = read_only
        here = "/claims/{store:int}"
        self.routes = [
            Route("/claims", self._first),
            Route(here, self._list),
            Route(f"{here}/look", self._look, methods=["POST"]),
            Route(f"{here}/confirm", self._confirm, methods=["POST"]),
            Route(f"{here}/delete", self._delete, methods=["POST"]),
            Route(f"{here}/release", self._release, methods=["POST"]),
            Route(f"{here}/claim/{{claim:path}}", self._show),
        ]

    def _first(self, _request: Request) -> Response:
        return RedirectResponse(self._stores[0].path, 303)

    def _list(self, request: Request) -> Response:
        store = self._store_of(request)
        if store.costs is None:
            store.look_at_claims()
        look = store.look
        rows = look.rows if look else []
        wanted = WantedClaims.of(request.query_params)
        found = wanted.among(rows, datetime.now(UTC))
        return self._pages.render(
            request,
            "claims.html",
            store=store,
            stores=self._stores,
            look=look,
            wanted=wanted,
            page=Paged.of(found, request.query_params),
            types=choices(row.type for row in rows),
            states=sorted({row.state for row in rows}),
        )

    async def _look(self, request: Request) -> Response:
        store = self._store_of(request)
        logger.info("console: lists the claims of %s", store.url)
        await run_in_threadpool(store.look_at_claims)
        return RedirectResponse(store.path, 303)

    def _show(self, request: Request) -> Response:
        store = self._store_of(request)
        claim_id = str(request.path_params["claim"])
        claim, records = look_up(store.inventory, claim_id)
        now = store.store.now()
        if claim is None and not records:
            raise HTTPException(404, "The store has neither contents nor a record of this claim.")
        return self._pages.render(
            request,
            "claim.html",
            store=store,
            claim_id=claim_id,
            claim=claim,
            row=None if claim is None else Row.of(claim, now),
            held=claim is not None and claim.is_held(now),
            records=[
                (
                    each,
                    state_of_record(each, now),
                    moment_of(each.lease_until),
                    why_not_released(each, now),
                )
                for each in records
            ],
        )

    async def _confirm(self, request: Request) -> Response:
        """Say what would be done, and ask."""
        self._refuse_if_read_only()
        store = self._store_of(request)
        form = form_of(await request.body())
        if key := _one(form, "release"):
            record = await run_in_threadpool(store.inventory.record, key)
            if problem := why_not_released(record, store.store.now()):
                raise HTTPException(409, f"There is no lease to end: {problem}.")
            return self._pages.render(request, "claims_confirm.html", store=store, record=record)
        ids = form.get("id", ())
        if not ids:
            raise HTTPException(400, "No claim is selected. Go back and select some.")
        return self._pages.render(request, "claims_confirm.html", store=store, record=None, ids=ids)

    async def _delete(self, request: Request) -> Response:
        self._refuse_if_read_only()
        store = self._store_of(request)
        ids = [*dict.fromkeys(form_of(await request.body()).get("id", ()))]
        what = f"deletion of {counted(len(ids), 'claim')} of"
        logger.info("console: %s %s begins", what, store.url)
        results = await run_in_threadpool(
            lambda: [*delete_claims(store.store, store.inventory, ids, Choice(ids=ids))]
        )
        failed = sum(each.error is not None for each in results)
        logger.info("console: %s %s is over: %d failed", what, store.url, failed)
        for each in results:
            if each.error is None:
                store.forget(each.id)
        return self._pages.render(
            request, "claims_done.html", store=store, results=results, failed=failed
        )

    async def _release(self, request: Request) -> Response:
        self._refuse_if_read_only()
        store = self._store_of(request)
        form = form_of(await request.body())
        key, lease_until = _one(form, "release"), _one(form, "lease_until")

        def release() -> bool:
            seen = store.inventory.record(key)
            # What somebody agreed to is the end of the lease that the page showed.
            if seen is None or str(seen.lease_until) != lease_until:
                return False
            return end_lease(store.store, store.inventory, seen)

        released = await run_in_threadpool(release)
        outcome = "ended" if released else "not ended: its record changed"
        logger.info("console: lease of %s in %s %s", shown(key), store.url, outcome)
        if not released:
            raise HTTPException(
                409, "Its record changed meanwhile: its delivery goes on, or has ended."
            )
        return RedirectResponse(f"{store.path}/claim/{key.partition('@')[0]}", 303)

    def _store_of(self, request: Request) -> ConsoleStore:
        number = int(request.path_params["store"])
        if number >= len(self._stores):
            raise HTTPException(404, "This console has no such store.")
        return self._stores[number]

    def _refuse_if_read_only(self) -> None:
        if self._read_only:
            raise HTTPException(403, "This console was started with --read-only.")


def _one(form: Mapping[str, Sequence[str]], name: str) -> str:
    return (*form.get(name, ()), "")[0]
