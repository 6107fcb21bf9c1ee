"""`claimcheck claims`: the options of its commands."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from letsgo_queue.cli.terminal import JsonOption, as_utf8, make_group, parse_age

claims_app = make_group("The claims in a store: list them, release one, delete what may go.")

StoreOption = Annotated[
    str | None, typer.Option("--store", help="Store URL; by default the environment names it.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
IdArgument = Annotated[
    str, typer.Argument(metavar="ID", parser=as_utf8, help="The claim id, as `list` prints it.")
]


@claims_app.command("list")
def list_claims(
    *,
    store: StoreOption = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Only claims of this type; repeatable.")
    ] = None,
    older_than: Annotated[
        timedelta | None,
        typer.Option(
            parser=parse_age,
            metavar="AGE",
            help="Only claims that are older than this: 90s, 30m, 12h, 7d.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many claims; count only these.")
    ] = None,
    receipts: Annotated[
        bool, typer.Option("--receipts", help="List receipts as well, not only their number.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the claims in the store, and what a month of them costs.

    In a SQLite file the newest claims come first. DynamoDB reads the whole table for a list, and
    bills that; --limit ends the list sooner. A bucket's list has no types and states;
    `claimcheck claims show` asks for them.
    """
    from claimcheck.cli.claims import print_claims

    print_claims(
        store,
        types=types or (),
        older_than=older_than,
        limit=limit,
        receipts=receipts,
        as_json=as_json,
    )


@claims_app.command("show")
def show_claim(
    claim_id: IdArgument, store: StoreOption = None, as_json: JsonOption = False
) -> None:
    """Show all that the store knows of a claim, except its contents.

    If several queues share the claim, a table finds a queue's record only by its name:
    CLAIM@REGION:ACCOUNT:QUEUE. Exit code 1 if the store knows nothing.
    """
    from claimcheck.cli.claims import print_claim

    raise typer.Exit(0 if print_claim(store, claim_id, as_json=as_json) else 1)


@claims_app.command("release")
def release_claim(
    claim_id: IdArgument,
    store: StoreOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """End the lease of a delivery that is gone, so that the next delivery need not wait for it.

    Release a claim only if you know that its worker is dead. A handler that still runs may finish
    its work, and the next delivery does the work again. ID may name a consumer: CLAIM@CONSUMER.
    Exit code 1 if nothing was released.
    """
    from claimcheck.cli.claims import release

    raise typer.Exit(0 if release(store, claim_id, yes=yes, as_json=as_json) else 1)


@claims_app.command("delete")
def delete_claims(
    *,
    expired: Annotated[
        bool, typer.Option("--expired", help="Delete claims that have expired and are still there.")
    ] = False,
    orphaned: Annotated[
        bool,
        typer.Option(
            "--orphaned", help="Delete claims so old that no queue can have their message."
        ),
    ] = False,
    ids: Annotated[
        list[str] | None,
        typer.Option(
            "--id",
            metavar="IDS",
            parser=as_utf8,
            help="Delete the claim with this id; repeatable.",
        ),
    ] = None,
    queue: Annotated[
        list[str] | None,
        typer.Option(
            "--queue",
            help="URL of a queue; repeatable. With --orphaned, it is asked how long it keeps its "
            "messages: name every queue whose claims are in this store. By default 14 days, the "
            "most that SQS allows. With --id, a queue that shares the claim: its lease counts.",
        ),
    ] = None,
    store: StoreOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the claims that would go, and change nothing.")
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete the contents of claims, after listing them and asking.

    A claim that a delivery holds stays. Receipts stay until they expire. Exit code 1 if a claim
    that you named or agreed to is still there.
    """
    from claimcheck.cli.claims import delete

    if sum((expired, orphaned, bool(ids))) != 1:
        raise typer.BadParameter("give one of --expired, --orphaned and --id ID")
    if ids and limit:
        raise typer.BadParameter("--limit goes with --expired and --orphaned", param_hint="--limit")
    if queue and expired:
        raise typer.BadParameter("--queue goes with --orphaned and --id", param_hint="--queue")
    fine = delete(
        store,
        expired=expired,
        queues=queue or (),
        ids=ids,
        limit=limit,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )
    raise typer.Exit(0 if fine else 1)
