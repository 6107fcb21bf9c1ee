"""`claimcheck claims`: carries out its commands, prints the results, and asks before changes.

A listing is printed claim by claim, also as JSON, since a store may hold more than fits memory.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Literal, TypeAlias

import typer

from claimcheck.claims import (
    Choice,
    Totals,
    delete_claims,
    end_lease,
    ends_at,
    key_of,
    longest_stay,
    look_up,
    moment_of,
    prices_of,
    reading_dollars,
    state_of,
    state_of_record,
    why_not_released,
    write_units,
)
from claimcheck.errors import SettingsInvalid
from claimcheck.opening import consumer_of
from claimcheck.settings import ClaimCheckSettings
from claimcheck.stores import open_store
from claimcheck.stores.base import ClaimStore
from claimcheck.stores.inventory import Inventory, StoredClaim, StoredRecord, inventory_of
from letsgo_queue.admin import Retention, open_admin
from letsgo_queue.cli.terminal import (
    confirm,
    is_interactive,
    print_error,
    print_json,
    print_line,
    progress_bar,
)
from letsgo_queue.settings import QueueSettings, region_in
from letsgo_queue.text import counted, shown

_ROW = "{:<24}  {:<24}  {:>12}  {:>12}  {:<19}  {:<14}  {:<19}  {}"
_HEAD = ("claim", "type", "bytes", "stored", "made (UTC)", "state", "expires (UTC)", "held until")
_NOTABLE_READ_UNITS = 1_000
_CENT = 0.01

Form: TypeAlias = Literal["text", "json", "none"]


def print_claims(
    url: str | None,
    *,
    types: Collection[str],
    older_than: timedelta | None,
    limit: int | None,
    receipts: bool,
    as_json: bool,
) -> None:
    """Print the claims in a store, one by one, and their totals.

    Args:
        url: The store; None for that of the settings.
        types: Only claims of these types; empty for all.
        older_than: Only claims that are older.
        limit: How many claims at most.
        receipts: Whether to print receipts too.
        as_json: Whether to print one JSON document.

    Raises:
        SettingsInvalid: The store cannot be used.
        ClaimStoreError: The store has no inventory, refused, or did not answer.
    """
    with _opened(url) as (store, inventory):
        totals = Totals(prices_of(store))
        if limit is None:
            _say_what_reading_costs(store, inventory)
        listing = _Listing({"store": store.url}, "json" if as_json else "text")
        cut = False
        for page in inventory.pages():
            totals.add_records(page)
            for listed in page.claims:
                claim = listed
                if types and listed.type is None:  # a bucket's list leaves the type out
                    claim = inventory.claim(listed.id) or listed
                if not _is_meant(claim, store.now(), types, older_than):
                    continue
                if cut := totals.claims == limit:
                    break
                totals.add(claim, store.now())
                listing.add(claim, store.now())
            if cut:
                break
            for record in page.records if receipts else ():
                if record.state == "done":
                    listing.add_receipt(record)
        listing.end({**_totals_as_json(totals, inventory), "cut": cut})
        if not as_json:
            for line in _total_lines(totals, inventory, cut=cut):
                print_line(line)


def print_claim(url: str | None, claim_id: str, *, as_json: bool) -> bool:
    """Print all that a store knows of a claim.

    Returns:
        Whether the store knows anything of it.
    """
    with _opened(url) as (store, inventory):
        claim, records = look_up(inventory, claim_id)
        now = store.now()
        if as_json:
            print_json(
                {
                    "store": store.url,
                    "id": claim_id,
                    "contents": None if claim is None else _claim_as_json(claim, now),
                    "records": [_record_as_json(record, now) for record in records],
                }
            )
        elif claim is None and not records:
            print_error(f"{store.url} has neither contents nor a record of {shown(claim_id)}.")
        else:
            for name, value in _claim_lines(claim_id, claim, records, now):
                print_line(f"{name:<10}{value}")
        return claim is not None or bool(records)


def release(url: str | None, claim_id: str, *, yes: bool, as_json: bool) -> bool:
    """End the lease of a delivery, after asking.

    Returns:
        Whether the lease was ended.
    """
    with _opened(url) as (store, inventory):
        seen = inventory.record(key_of(claim_id))
        problem = why_not_released(seen, store.now())
        if problem is None and seen is not None:
            if not yes:
                _ask(
                    f"A delivery of {shown(claim_id)} holds it until {_moment(seen.lease_until)}. "
                    "If its handler still runs, the next delivery does its work again. End the "
                    "lease?"
                )
            if not end_lease(store, inventory, seen):
                problem = "its record changed meanwhile: its delivery goes on, or has ended"
        if as_json:
            result = {"id": claim_id, "released": problem is None, "error": problem}
            print_json({"store": store.url, **result})
        elif problem is None:
            print_line(f"{shown(claim_id)} released: the next delivery may have it")
        if problem is not None:
            print_error(f"{shown(claim_id)} was not released: {problem}.")
        return problem is None


def delete(
    url: str | None,
    *,
    expired: bool,
    queues: Sequence[str],
    ids: Sequence[str] | None,
    limit: int | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> bool:
    """List the claims that may go, ask, and delete their contents.

    Returns:
        Whether every claim that was named or agreed to is gone.
    """
    with _opened(url) as (store, inventory):
        stay = None if expired or ids else _stay(queues)
        consumers = [name for name in map(consumer_of, queues if ids else ()) if name]
        choice = Choice(expired=expired, stay=stay, ids=ids, consumers=consumers)
        if ids is None:
            _say_what_reading_costs(store, inventory)
        elif not consumers and not inventory.finds_consumers:
            print_line(
                "Is a claim shared by several queues? A table does not show whether one of them "
                "holds it: name each with --queue.",
                stderr=True,
            )
        form: Form = "text" if not as_json else "json" if dry_run else "none"
        found, units = _list_choice(store, inventory, choice, limit, form)
        left_out = [each for each in ids or () if each not in found]
        if not as_json:
            what = counted(len(found), "claim")
            cost = f"; DynamoDB bills {units:,} write units for it" if units else ""
            print_line(f"{what} of {store.url} would go{cost}")
        for each in left_out:
            print_error(f"{shown(each)} is not there, or a delivery holds it.")
        if dry_run:
            return not left_out
        if found and not yes:
            _ask(f"Delete the contents of {counted(len(found), 'claim')} for good?")
        return _delete(store, inventory, found, choice, as_json=as_json) and not left_out


def _delete(
    store: ClaimStore,
    inventory: Inventory,
    ids: Sequence[str],
    choice: Choice,
    *,
    as_json: bool,
) -> bool:
    results = []
    with progress_bar() as bar:
        task = bar.add_task("claims", total=len(ids))
        for result in delete_claims(store, inventory, ids, choice):
            results.append(result)
            bar.update(task, advance=1)
    left = [result for result in results if result.error is not None]
    deleted = len(results) - len(left)
    if as_json:
        each = [{"id": result.id, "error": result.error} for result in results]
        print_json({"store": store.url, "deleted": deleted, "claims": each})
    else:
        print_line(f"{counted(deleted, 'claim')} of {store.url} deleted")
    for result in left:
        print_error(f"{shown(result.id)} is still there: {result.error}.")
    return not left


def _list_choice(
    store: ClaimStore, inventory: Inventory, choice: Choice, limit: int | None, form: Form
) -> tuple[list[str], int]:
    """Print the claims that may go; return their ids, and the write units of their deletion."""
    ids: list[str] = []
    units = 0
    listing = _Listing({"store": store.url, "dry_run": True}, form)
    for claim in choice.find(store, inventory):
        if len(ids) == limit:
            break
        ids.append(claim.id)
        units += write_units(claim)
        listing.add(claim, store.now())
    listing.end({"write_units": units})
    return ids, units


class _Listing:
    """Prints claims one by one: as rows under a head, or as one JSON document."""

    def __init__(self, head: Mapping[str, object], form: Form) -> None:
        """Begin the listing.

        Args:
            head: The fields of a JSON document before its claims.
            form: How to print; "none" prints nothing.
        """
        self._form = form
        self._begun = False
        if form == "json":
            print_line(f'{json.dumps(head)[:-1]}, "claims": [')

    def add(self, claim: StoredClaim, now: float) -> None:
        """Print a claim."""
        if self._form == "json":
            self._print_json(_claim_as_json(claim, now))
        elif self._form == "text":
            self._print_row(_cells(claim, now))

    def add_receipt(self, record: StoredRecord) -> None:
        """Print a receipt."""
        if self._form == "json":
            names = {"id": record.claim_id, "consumer": record.consumer}
            self._print_json({**names, "state": "done", "receipt": True})
        elif self._form == "text":
            consumer = f" of {shown(record.consumer)}" if record.consumer else ""
            self._print_row((shown(record.claim_id), *[""] * 4, f"receipt{consumer}", "", ""))

    def end(self, tail: Mapping[str, object]) -> None:
        """End the listing.

        Args:
            tail: The fields of a JSON document after its claims.
        """
        if self._form == "json":
            print_line(f"], {json.dumps(tail)[1:]}")

    def _print_json(self, document: Mapping[str, object]) -> None:
        comma = "," if self._begun else ""
        self._begun = True
        print_line(f"{comma}{json.dumps(document)}".replace("\x7f", r"\u007f"))

    def _print_row(self, cells: Sequence[str]) -> None:
        if not self._begun:
            self._begun = True
            print_line(_ROW.format(*_HEAD))
        print_line(_ROW.format(*cells).rstrip())


@contextmanager
def _opened(url: str | None) -> Iterator[tuple[ClaimStore, Inventory]]:
    """Open a store and its inventory, by the store's URL or by the settings."""
    queue = QueueSettings.from_environment()
    if url is None:
        url = ClaimCheckSettings.from_environment().store_for(queue.url or "")
    store = open_store(url, region=region_in(queue.url or "") or queue.region)
    with closing(store):
        yield store, inventory_of(store)


def _stay(queues: Sequence[str]) -> int:
    """Return how long a message of these queues can exist, in seconds.

    Raises:
        SettingsInvalid: A queue keeps its messages for as long as nobody handles them.
    """
    known: list[Retention] = []
    for url in queues:
        with closing(open_admin(url, QueueSettings.from_environment())) as admin:
            retention = admin.retention()
        if retention is None:
            raise SettingsInvalid(
                f"queue {url} keeps a message until it is handled, so no claim of it is orphaned "
                "by its age. Use --expired."
            )
        known.append(retention)
    return longest_stay(known)


def _say_what_reading_costs(store: ClaimStore, inventory: Inventory) -> None:
    """Print what DynamoDB bills to read the table, unless it is small."""
    units = inventory.read_units
    if units < _NOTABLE_READ_UNITS:
        return
    dollars = reading_dollars(inventory, prices_of(store))
    price = "" if dollars is None else f", about {_dollars(dollars)}"
    print_line(f"DynamoDB reads the whole table: about {units:,.0f} read units{price}", stderr=True)


def _ask(question: str) -> None:
    if not is_interactive():
        raise typer.BadParameter("there is no terminal to ask on", param_hint="--yes")
    confirm(question)


def _is_meant(
    claim: StoredClaim, now: float, types: Collection[str], older_than: timedelta | None
) -> bool:
    if types and claim.type not in types:
        return False
    if older_than is None:
        return True
    return claim.created_at is not None and now - claim.created_at > older_than.total_seconds()


def _cells(claim: StoredClaim, now: float) -> Sequence[str]:
    record = claim.record(now)
    return (
        shown(claim.id),
        shown(claim.type or "-", 24),
        _number(claim.size),
        _number(claim.stored),
        _moment(claim.created_at),
        state_of(claim, now),
        _moment(ends_at(claim)),
        _moment(record.lease_until) if record and record.is_held(now) else "",
    )


def _claim_lines(
    claim_id: str, claim: StoredClaim | None, records: Sequence[StoredRecord], now: float
) -> Iterator[tuple[str, str]]:
    yield "claim", shown(claim_id)
    if claim is None:
        yield "contents", "gone"
    else:
        yield "type", shown(claim.type or "no type")
        yield "size", f"{_number(claim.size)} bytes"
        yield "stored", f"{_number(claim.stored)} bytes in {counted(claim.parts or 0, 'part')}"
        yield "kept in", claim.kept_in
        yield "made", f"{_moment(claim.created_at)} UTC"
        yield "expires", f"{_moment(ends_at(claim))} UTC"
        if not records:
            yield "state", "waiting"
    for record in records:
        held = f", until {_moment(record.lease_until)} UTC" if record.is_held(now) else ""
        consumer = f", for {shown(record.consumer)}" if record.consumer else ""
        yield "state", f"{state_of_record(record, now)}{consumer}{held}"


def _claim_as_json(claim: StoredClaim, now: float) -> Mapping[str, object]:
    record = claim.record(now)
    return {
        "id": claim.id,
        "type": claim.type,
        "size": claim.size,
        "stored": claim.stored,
        "parts": claim.parts,
        "kept_in": claim.kept_in,
        "created_at": _iso(claim.created_at),
        "expires_at": _iso(ends_at(claim)),
        "state": state_of(claim, now),
        "lease_until": None if record is None else _iso(record.lease_until),
        "consumer": None if record is None else record.consumer,
    }


def _record_as_json(record: StoredRecord, now: float) -> Mapping[str, object]:
    return {
        "consumer": record.consumer,
        "state": state_of_record(record, now),
        "lease_until": _iso(record.lease_until),
    }


def _totals_as_json(totals: Totals, inventory: Inventory) -> Mapping[str, object]:
    return {
        "count": totals.claims,
        "stored": totals.stored,
        "held": totals.held,
        "receipts": totals.receipts if inventory.lists_records else None,
        "dollars_a_month": totals.dollars_a_month,
    }


def _total_lines(totals: Totals, inventory: Inventory, *, cut: bool) -> Iterator[str]:
    so_far = "the first " if cut else ""
    yield f"{so_far}{counted(totals.claims, 'claim')}, {totals.stored:,} bytes stored"
    if totals.dollars_a_month is not None:
        yield f"{_dollars(totals.dollars_a_month)} a month, if they stayed"
    if inventory.lists_records and not cut:
        yield f"{counted(totals.receipts, 'receipt')} of what was done"


def _dollars(dollars: float) -> str:
    return "under $0.01" if 0 < dollars < _CENT else f"${dollars:,.2f}"


def _number(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _moment(seconds: float | None) -> str:
    moment = moment_of(seconds)
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def _iso(seconds: float | None) -> str | None:
    moment = moment_of(seconds)
    return None if moment is None else moment.isoformat()
