"""`DynamoDBClaimStore`: requests that its client gave up, and that DynamoDB gets afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from claimcheck import ClaimStoreUnavailable
from claimcheck.stores.base import Lease
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.testing.claims import MINE, OTHERS
from tests.claimcheck.support import noisy_body, parts_left, small_claim_check
from tests.faults.rig import impatient
from tests.support.faulty_server import Failure, FaultyServer, Matches
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

BODY = noisy_body(3_000)
KEY = "claim@"


class Late:
    """A store whose requests can be held up until its client is gone, and a store that is not.

    Attributes:
        store: The store whose requests are held up.
        other: The same table.
    """

    def __init__(self, aws: AwsServer, server: FaultyServer, table: str) -> None:
        self.store = DynamoDBClaimStore(table, region=aws.region, endpoint_url=server.url)
        self.other = DynamoDBClaimStore(table, region=aws.region)
        self._server = server

    @contextmanager
    def hold(self, operation: str, matches: Matches = lambda _: True) -> Iterator[None]:
        """Hold up the requests of the block until they `arrive`."""
        self._go_on = threading.Event()
        self._operation = operation
        self._held = self._server.hold(operation, self._go_on, matches=matches)
        yield
        assert self._held.happened
        self._server.faults.remove(self._held)

    def arrive(self) -> None:
        """Have DynamoDB get the requests that were held up, and answer them."""
        answered = self._server.answered[self._operation] + self._held.happened
        self._go_on.set()
        wait_for(
            lambda: self._server.answered[self._operation] == answered,
            "the requests that were held up",
        )


@pytest.fixture
def late(ministack: AwsServer, server: FaultyServer, ministack_table: str) -> Iterator[Late]:
    with impatient():
        late = Late(ministack, server, ministack_table)
        with closing(late.store), closing(late.other):
            yield late


def is_part(request: dict[str, Any]) -> bool:
    return "/" in request["Key"]["id"]["S"]


def test_removing_leaves_contents_that_were_written_back(late: Late) -> None:
    """`purge="before"`: the removal is given up, and so the claim is released."""
    other = small_claim_check(late.other)
    sealed = other.seal(BODY).body.decode()
    with late.hold("DeleteItem", is_part), pytest.raises(ClaimStoreUnavailable):
        small_claim_check(late.store, purge="before").open(sealed)

    late.arrive()

    with other.open(sealed) as opened:
        assert opened.body == BODY


def test_removing_of_a_write_that_failed_leaves_what_was_written_after_it(
    late: Late, server: FaultyServer
) -> None:
    """`purge="before"`: writing back fails at first, and removes what it may have written."""
    other = small_claim_check(late.other)
    sealed = other.seal(BODY).body.decode()
    opened = small_claim_check(late.store, purge="before").open(sealed)
    server.inject(Failure.SERVER_ERROR, on="PutItem", times=2)  # with its retry

    with late.hold("DeleteItem", is_part):
        assert opened.release()
    assert parts_left(late.other, sealed) == 1
    late.arrive()

    with other.open(sealed) as again:
        assert again.body == BODY


def test_extending_shortens_no_lease(late: Late) -> None:
    assert late.store.acquire(KEY, MINE) is None
    with late.hold("UpdateItem"), pytest.raises(ClaimStoreUnavailable):
        late.store.extend(KEY, Lease(MINE.id, 0))
    assert late.store.extend(KEY, Lease(MINE.id, 300))

    late.arrive()

    assert late.other.acquire(KEY, OTHERS) is not None


def test_acquiring_shortens_no_lease(late: Late) -> None:
    late.store.look_up(KEY)  # the time of DynamoDB is known
    with late.hold("UpdateItem"), pytest.raises(ClaimStoreUnavailable):
        late.store.acquire(KEY, Lease(MINE.id, 0))
    assert late.store.acquire(KEY, Lease(MINE.id, 300)) is None

    late.arrive()

    assert late.other.acquire(KEY, OTHERS) is not None
