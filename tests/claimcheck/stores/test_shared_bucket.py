"""Several stores in one bucket: none finds contents whose records it does not have.

With other records nobody could tell that a message was handled: it would run again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing

import pytest

from claimcheck import (
    ClaimAlreadyProcessed,
    ClaimCheck,
    ClaimMissing,
    ClaimStore,
    open_store,
)
from claimcheck.stores.base import url_of_label
from claimcheck.stores.dynamodb_table import ClaimTable
from tests.claimcheck.core.lives import BODY, handle
from tests.claimcheck.support import forge, small_claim_check, ticket_in
from tests.support.servers import AwsServer

Stores = Mapping[str, ClaimStore]

PAIRS: Sequence[tuple[str, str]] = [
    ("bucket", "table"),
    ("table", "bucket"),
    ("table", "another table"),
    ("bucket", "folder"),
    ("folder", "bucket"),
    ("folder of a table", "folder"),
    ("folder", "folder of a table"),
    # A folder that has the name of the other's.
    ("table", "lookalike"),
    ("lookalike", "table"),
]


@pytest.fixture
def stores(ministack: AwsServer) -> Iterator[Stores]:
    server = ministack
    bucket = server.make_bucket()
    table, another = (server.make_table_name() for _ in range(2))
    for name in (table, another):
        ClaimTable(name, region=server.region).create()
    urls = {
        "bucket": f"s3://{bucket}",
        "folder": f"s3://{bucket}/orders",
        "lookalike": f"s3://{bucket}/dynamodb.{server.region}.{table}",
        "table": f"dynamodb://{table}?bucket={bucket}",
        "folder of a table": f"dynamodb://{table}?bucket={bucket}&prefix=orders",
        "another table": f"dynamodb://{another}?bucket={bucket}",
    }
    with ExitStack() as closed:
        yield {
            name: closed.enter_context(closing(open_store(url, region=server.region)))
            for name, url in urls.items()
        }


def test_a_reader_with_other_records_finds_nothing(stores: Stores) -> None:
    """Though its contents are there: the message was handled with `purge="never"`."""
    for sender, reader in PAIRS:
        theirs, ours = stores[sender], stores[reader]
        sealed = small_claim_check(theirs).seal(BODY).body.decode()
        assert handle(ClaimCheck(theirs, purge="never"), sealed) == BODY

        with pytest.raises(ClaimMissing) as raised:
            ClaimCheck(ours).open(sealed)

        for store in (theirs, ours):
            assert url_of_label(store.label) in str(raised.value)


def test_a_copy_with_another_label_opens_nothing(stores: Stores) -> None:
    for sender, reader in PAIRS:
        theirs, ours = stores[sender], stores[reader]
        sealed = small_claim_check(theirs).seal(BODY).body.decode()
        copy = forge(sealed, store=ours.label)
        check = ClaimCheck(ours, read_stores=[theirs], purge="never")
        assert handle(check, sealed) == BODY

        with pytest.raises(ClaimMissing):
            check.open(copy)

        assert ours.look_up(f"{ticket_in(sealed)['id']}@") is None


def test_prefixes_of_one_table_share_its_records(stores: Stores) -> None:
    theirs, ours = stores["table"], stores["folder of a table"]
    sealed = small_claim_check(theirs).seal(BODY).body.decode()

    with pytest.raises(ClaimMissing, match=r"sender's bucket is .* too, with the prefix 'orders/'"):
        ClaimCheck(ours).open(sealed)
    assert handle(ClaimCheck(ours, read_stores=[theirs], purge="never"), sealed) == BODY
    for check in (ClaimCheck(ours), ClaimCheck(theirs)):
        with pytest.raises(ClaimAlreadyProcessed):
            check.open(sealed)
