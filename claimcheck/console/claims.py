"""The console's section with the claims in a store: list, filter, release and delete.

list, filter, select ──> confirm ──> job, with a result for each claim

Nothing here shows contents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from claimcheck.claims import (
    Choice,
    delete_claims,
    end_lease,
    look_up,
    moment_of,
    state_of_record,
    why_not_released,
)
from claimcheck.console.listing import ConsoleStore, LogScale, Row, WantedClaims
from letsgo_queue.console.jobs import Jobs, Note, Result, Task
from letsgo_queue.console.listing import Paged
from letsgo_queue.console.pages import Pages, choices, form_of
from letsgo_queue.log import get_logger
from letsgo_queue.text import shown

logger = get_logger(__name__)

SHOWN_IDS = 20
"""How many claims the page that asks names."""


class ClaimPages:
    """The pages of the claims.

    Attributes:
        routes: These pages.
    """

    def __init__(
        self, pages: Pages, stores: Sequence[ConsoleStore], jobs: Jobs, *, read_only: bool
    ) -> None:
        """Set what the pages show."""
        self._pages = pages
        self._jobs = jobs
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
        look = store.look_at_claims() if store.costs is None else store.look
        rows = look.rows if look else []
        wanted = WantedClaims.of(request.query_params)
        now = datetime.now(UTC)
        groups = [] if look is None else [("Type", look.by_type()), ("Age", look.by_age())]
        return self._pages.render(
            request,
            "claims.html",
            store=store,
            stores=self._stores,
            look=look,
            wanted=wanted,
            now=now,
            groups=[(name, of, LogScale(each.stored for each in of)) for name, of in groups],
            scale=LogScale(row.stored for row in rows),
            page=Paged.of(wanted.among(rows, now), request.query_params),
            types=choices(row.type for row in rows),
            states=sorted({row.state for row in rows}),
            reasons=Counter(row.may_go for row in rows if row.may_go),
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
            held=(claim is not None and claim.is_held(now))
            or any(each.is_held(now) for each in records),
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
        """Say what the console is about to do, and ask."""
        self._refuse_if_read_only()
        store = self._store_of(request)
        form = form_of(await request.body())
        if key := _one(form, "release"):
            record = await run_in_threadpool(store.inventory.record, key)
            if problem := why_not_released(record, store.store.now()):
                raise HTTPException(409, f"There is no lease to end: {problem}.")
            return self._pages.render(request, "claims_confirm.html", store=store, record=record)
        look = store.look
        reason = ""
        if form.get("all") == ["1"] and look is not None:
            wanted = WantedClaims.of(QueryParams(_one(form, "query")))
            rows: Sequence[Row] = wanted.among(look.rows, datetime.now(UTC))
            ids, reason = [row.id for row in rows], wanted.may_go
        else:
            chosen = dict.fromkeys(form.get("id", ()))
            ids, rows = [*chosen], [row for row in (look.rows if look else ()) if row.id in chosen]
        if not ids:
            raise HTTPException(400, "No claim is selected. Go back and select some.")
        return self._pages.render(
            request,
            "claims_confirm.html",
            store=store,
            record=None,
            ids=ids,
            reason=reason,
            stay=look.stay if look else None,
            write_units=sum(row.write_units for row in rows),
            types=Counter(row.type or "no type is known" for row in rows).most_common(SHOWN_IDS),
            shown_ids=SHOWN_IDS,
        )

    async def _delete(self, request: Request) -> Response:
        self._refuse_if_read_only()
        store = self._store_of(request)
        form = form_of(await request.body())
        ids = [*dict.fromkeys(form.get("id", ()))]
        if not ids:
            raise HTTPException(400, "No claim is selected. Go back and select some.")
        reason = _one(form, "reason")
        choice = Choice(ids=frozenset(ids))
        if reason:
            meant = None if store.look is None else store.look.choice(reason)
            if meant is None:
                raise HTTPException(409, "What may go is not known any more. List them again.")
            choice = meant
        return RedirectResponse(self._jobs.start(_deletion(store, ids, choice)), 303)

    async def _release(self, request: Request) -> Response:
        self._refuse_if_read_only()
        store = self._store_of(request)
        form = form_of(await request.body())
        key, lease_until = _one(form, "release"), _one(form, "lease_until")

        def release() -> bool:
            seen = store.inventory.record(key)
            # Somebody agreed to end the lease that the page showed, and no later one.
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


def _deletion(store: ConsoleStore, ids: Sequence[str], choice: Choice) -> Task:
    """The task that deletes claims, each only if the choice still fits it."""
    types = {row.id: row.type for row in store.look.rows} if store.look else {}

    def run(note: Note) -> None:
        for each in delete_claims(store.store, store.inventory, ids, choice):
            note(Result(each.id, types.get(each.id), each.error))
            if each.error is None:
                store.forget(each.id)

    return Task(
        verb="delete",
        done="deleted",
        noun="claim",
        place=store.url,
        total=len(ids),
        back=store.path,
        run=run,
    )


def _one(form: Mapping[str, Sequence[str]], name: str) -> str:
    return (*form.get(name, ()), "")[0]
