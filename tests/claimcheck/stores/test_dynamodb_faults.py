"""`DynamoDBClaimStore`: what it does when DynamoDB does not do what it was asked."""

from __future__ import annotations

import threading
import time
import traceback
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from claimcheck import ClaimCorrupted, ClaimLost, ClaimStoreError, ClaimStoreUnavailable
from claimcheck.stores.base import Lease, Record
from claimcheck.stores.clock import TOLERATED_DOUBT_SECONDS
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.testing import Clock
from claimcheck.testing.claims import MINE, OTHERS, Claim, make_claim, read, remove, write
from tests.claimcheck.stores.support import OPERATIONS
from tests.claimcheck.support import noisy_body, small_claim_check, ticket_in
from tests.support.faulty_server import Failure, FaultyServer, Matches
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

REQUESTS = ("PutItem", "GetItem", "UpdateItem", "DeleteItem")


@pytest.fixture
def store(
    ministack: AwsServer, server: FaultyServer, ministack_table: str
) -> Iterator[DynamoDBClaimStore]:
    with closing(
        DynamoDBClaimStore(ministack_table, region=ministack.region, endpoint_url=server.url)
    ) as store:
        yield store


def keys_in(aws: AwsServer, table: str) -> list[str]:
    items = aws.dynamodb().scan(TableName=table, ConsistentRead=True)["Items"]
    return sorted(item["id"]["S"] for item in items)


def is_put_of(key: str) -> Matches:
    return lambda request: bool(request["Item"]["id"]["S"] == key)


def is_key(key: str) -> Matches:
    return lambda request: bool(request["Key"]["id"]["S"] == key)


def is_key_of_a_part(request: dict[str, Any]) -> bool:
    return "/" in request["Key"]["id"]["S"]


@pytest.mark.parametrize("answer", [[], "x", None, 5])
def test_an_answer_that_is_not_of_dynamodb_is_no_answer(
    store: DynamoDBClaimStore, server: FaultyServer, answer: Any
) -> None:
    for operation in REQUESTS:
        server.answer(operation, answer)

    with pytest.raises(ClaimStoreUnavailable, match=r"was not looked up: .* is not that of AWS"):
        store.look_up("claim@")
    with pytest.raises(ClaimStoreUnavailable, match="was not stored"):
        write(store)


def live(store: DynamoDBClaimStore, claim: Claim) -> None:
    """The life of a claim whose handler succeeds, with every step doing what it is to do."""
    store.write(claim.facts, claim.parts)
    assert store.acquire(claim.key, MINE) is None
    assert read(store, claim) == claim.contents
    assert store.extend(claim.key, MINE)
    assert store.hand_over(claim.key, MINE.id)
    assert store.complete(claim.key, MINE.id)
    remove(store, claim)


def test_what_was_damaged_on_its_way_is_not_taken_for_gone(
    store: DynamoDBClaimStore, server: FaultyServer
) -> None:
    claim = write(store)
    store.acquire(claim.key, MINE)
    inventory = store.inventory()
    for operation in ("GetItem", "BatchGetItem", "Scan"):
        server.inject(Failure.ANSWER_DAMAGED, on=operation)

    for look in (
        lambda: store.look_up(claim.key),
        lambda: read(store, claim),
        lambda: inventory.claim(claim.id),
        lambda: inventory.record(claim.key),
        lambda: inventory.records([claim.id]),
        lambda: next(inventory.pages()),
    ):
        with pytest.raises(ClaimStoreUnavailable, match="the answer was damaged on its way"):
            look()


class TestRefused:
    @pytest.mark.parametrize("operation", OPERATIONS)
    @pytest.mark.parametrize(
        ("code", "status"),
        [("ProvisionedThroughputExceededException", 400), ("InternalServerError", 500)],
    )
    def test_is_unavailable_while_it_throttles_or_fails(
        self,
        server: FaultyServer,
        store: DynamoDBClaimStore,
        operation: str,
        code: str,
        status: int,
    ) -> None:
        claim = write(store)
        store.acquire(claim.key, MINE)
        for name in REQUESTS:
            server.refuse(name, code, status)

        with pytest.raises(
            ClaimStoreUnavailable, match=rf"{store.table}: .*{claim.id}.*{code}"
        ) as error:
            OPERATIONS[operation](store, claim)

        assert error.value.retryable
        server.faults.clear()
        assert read(store, claim) == claim.contents
        assert store.acquire(claim.key, OTHERS) is not None

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_a_refusal_is_final(
        self, server: FaultyServer, store: DynamoDBClaimStore, operation: str
    ) -> None:
        claim = write(store)
        for name in REQUESTS:
            server.refuse(name, "AccessDeniedException")

        with pytest.raises(ClaimStoreError, match=r"AccessDenied.*the test says so") as error:
            OPERATIONS[operation](store, claim)

        assert not isinstance(error.value, ClaimStoreUnavailable)
        assert not error.value.retryable

    def test_one_error_tells_of_many(self, server: FaultyServer, store: DynamoDBClaimStore) -> None:
        claim = make_claim(*[10] * 30)
        server.refuse("PutItem", "AccessDeniedException")

        with pytest.raises(ClaimStoreError) as error:
            store.write(claim.facts, claim.parts)

        text = "".join(traceback.format_exception(error.value))
        assert text.count("AccessDeniedException") < 10

    @pytest.mark.parametrize("part", [0, 1, 2])
    def test_a_write_that_fails_half_way_leaves_nothing(
        self, ministack: AwsServer, server: FaultyServer, store: DynamoDBClaimStore, part: int
    ) -> None:
        claim = make_claim(10, 20, 30)
        server.refuse("PutItem", "AccessDeniedException", matches=is_put_of(f"{claim.id}/{part}"))

        with pytest.raises(ClaimStoreError, match=f"claim {claim.id} was not stored"):
            store.write(claim.facts, claim.parts)

        assert keys_in(ministack, store.table) == []

    def test_what_cannot_be_removed_expires(
        self,
        ministack: AwsServer,
        server: FaultyServer,
        store: DynamoDBClaimStore,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        claim = make_claim(10, 20, 30)
        server.refuse("PutItem", "AccessDeniedException", matches=is_put_of(f"{claim.id}/1"))
        server.refuse("DeleteItem", "AccessDeniedException")

        with pytest.raises(ClaimStoreError, match="was not stored"):
            store.write(claim.facts, claim.parts)

        left = ministack.dynamodb().scan(TableName=store.table)["Items"]
        assert [item["expires_at"]["N"] for item in left] == [str(claim.facts.expires_at)] * 2
        assert f"what was written of claim {claim.id} is left to expire" in caplog.text

    def test_removing_removes_all_but_what_cannot_be_removed(
        self, ministack: AwsServer, server: FaultyServer, store: DynamoDBClaimStore
    ) -> None:
        claim = write(store, *[10] * 10)
        server.refuse("DeleteItem", "AccessDeniedException", matches=is_key(f"{claim.id}/0"))

        with pytest.raises(ClaimStoreError, match=f"contents of claim {claim.id} were not removed"):
            remove(store, claim)

        assert keys_in(ministack, store.table) == [f"{claim.id}/0"]

    @pytest.mark.parametrize("part", [0, 1, 2])
    def test_a_part_that_cannot_be_read_is_not_taken_for_missing(
        self, server: FaultyServer, store: DynamoDBClaimStore, part: int
    ) -> None:
        claim = write(store, 10, 20, 30)
        server.refuse("GetItem", "AccessDeniedException", matches=is_key(f"{claim.id}/{part}"))

        with pytest.raises(ClaimStoreError, match=f"claim {claim.id} was not read: AccessDenied"):
            read(store, claim)

    def test_a_time_that_cannot_be_asked_for_acquires_nothing(
        self, ministack: AwsServer, server: FaultyServer, store: DynamoDBClaimStore
    ) -> None:
        server.inject(Failure.REQUEST_LOST, on="GetItem")

        with pytest.raises(ClaimStoreUnavailable, match="record key@ was not acquired"):
            store.acquire("key@", MINE)

        assert keys_in(ministack, store.table) == []


class TestNotAnswered:
    def test_a_short_fault_is_not_noticed(
        self, ministack: AwsServer, server: FaultyServer, store: DynamoDBClaimStore
    ) -> None:
        claim = make_claim()
        for name in REQUESTS:
            server.refuse(name, "ProvisionedThroughputExceededException", times=1)
            server.inject(Failure.REQUEST_LOST, on=name, times=1)

        live(store, claim)

        assert keys_in(ministack, store.table) == [claim.key]
        assert [fault.happened for fault in server.faults] == [1] * 8

    def test_is_unavailable_when_nobody_listens(self, ministack: AwsServer) -> None:
        with closing(
            DynamoDBClaimStore("claims", region=ministack.region, endpoint_url="http://127.0.0.1:9")
        ) as store:
            with pytest.raises(
                ClaimStoreUnavailable, match=r"claims: claim .*127\.0\.0\.1:9"
            ) as error:
                write(store)
            assert error.value.retryable

    @pytest.mark.parametrize("number", [1, 2, 3, 4])
    @pytest.mark.parametrize("operation", ["UpdateItem", "DeleteItem", "PutItem"])
    def test_a_lost_answer_changes_nothing(
        self,
        ministack: AwsServer,
        server: FaultyServer,
        store: DynamoDBClaimStore,
        operation: str,
        number: int,
    ) -> None:
        """It takes effect, and the answer to the n-th such request is lost."""
        seen: list[None] = []

        def is_number(_request: dict[str, Any]) -> bool:
            seen.append(None)
            return len(seen) == number

        claim = make_claim(*[10] * 4)
        lost = server.inject(Failure.ANSWER_LOST, on=operation, matches=is_number, times=1)

        live(store, claim)

        assert lost.happened == 1
        assert keys_in(ministack, store.table) == [claim.key]
        assert store.look_up(claim.key) == Record("done", 0)

    def test_a_lost_answer_to_a_release_changes_nothing(
        self, server: FaultyServer, store: DynamoDBClaimStore
    ) -> None:
        store.acquire("key@", MINE)
        lost = server.inject(Failure.ANSWER_LOST, on="DeleteItem", times=1)

        assert store.release("key@", MINE.id)

        assert lost.happened == 1
        assert store.look_up("key@") is None

    def test_a_request_that_arrives_late_undoes_nothing(
        self, ministack: AwsServer, server: FaultyServer, ministack_table: str
    ) -> None:
        """It was given up and made again, and the first one is still on its way."""
        go_on = threading.Event()
        late = DynamoDBClaimStore(ministack_table, region=ministack.region, endpoint_url=server.url)
        direct = DynamoDBClaimStore(ministack_table, region=ministack.region)
        with closing(late), closing(direct), ThreadPoolExecutor(1) as pool:
            late.look_up("key@")  # so that the time is known
            held = server.hold("UpdateItem", go_on, times=1)
            acquiring = pool.submit(late.acquire, "key@", MINE)
            wait_for(lambda: held.happened, "the request to be on its way")
            assert direct.acquire("key@", MINE) is None
            assert direct.complete("key@", MINE.id)

            go_on.set()

            assert acquiring.result(20) == Record("done", 0)
            assert direct.look_up("key@") == Record("done", 0)


class TestSlow:
    def test_a_first_answer_that_is_slow_lets_no_clock_that_is_ahead_acquire_too_early(
        self, ministack: AwsServer, server: FaultyServer, store: DynamoDBClaimStore
    ) -> None:
        """It waits for credentials and TLS. This machine is ten minutes ahead of the store."""
        server.ahead = -600
        assert store.acquire("key@", Lease(OTHERS.id, 300)) is None
        go_on = threading.Event()
        slow = server.hold("GetItem", go_on, times=1)
        server.operations.clear()
        with (
            closing(DynamoDBClaimStore(store.table, endpoint_url=server.url)) as late,
            ThreadPoolExecutor(1) as pool,
        ):
            acquiring = pool.submit(late.acquire, "key@", MINE)
            wait_for(lambda: slow.happened, "the first question")
            began = time.monotonic()
            wait_for(lambda: time.monotonic() - began > TOLERATED_DOUBT_SECONDS, "a slow answer")
            go_on.set()

            record = acquiring.result(20)

        assert record is not None
        assert 200 < record.seconds_left <= 302
        # It was asked again, since a slow answer says little.
        assert server.operations == ["GetItem", "GetItem", "UpdateItem"]

    def test_claims_do_not_wait_for_the_parts_of_others(
        self, ministack: AwsServer, server: FaultyServer, ministack_table: str
    ) -> None:
        """Though a slow claim keeps every thread of the store."""
        store = DynamoDBClaimStore(
            ministack_table, region=ministack.region, endpoint_url=server.url, parallelism=1
        )
        slow = write(store)
        go_on = threading.Event()
        held = server.hold("GetItem", go_on, matches=is_key(f"{slow.id}/0"))
        with closing(store), ThreadPoolExecutor(1) as pool:
            reading = store.read(slow.id, 2, stored=150)
            wait_for(lambda: held.happened, "the store's only thread to read")

            living = pool.submit(live, store, make_claim(10, 20, 30))
            living.result(20)

            go_on.set()
            assert reading.result() == slow.contents

    def test_a_reading_that_is_cancelled_begins_nothing_more(
        self, ministack: AwsServer, server: FaultyServer, ministack_table: str
    ) -> None:
        store = DynamoDBClaimStore(
            ministack_table, region=ministack.region, endpoint_url=server.url, parallelism=1
        )
        claim = write(store, *[10] * 20)
        server.operations.clear()
        go_on, is_free = threading.Event(), threading.Event()
        held = server.hold("GetItem", go_on)
        reading = store.read(claim.id, 20, stored=200)
        wait_for(lambda: held.happened, "the first part to be under way")

        reading.cancel()
        store._resources.get().calls.start(is_free.set)
        go_on.set()

        assert is_free.wait(20), "the store's only thread never came to its next call"
        store.close()
        assert server.operations == ["GetItem"]

    def test_reads_again_what_was_written_a_moment_ago(
        self, server: FaultyServer, store: DynamoDBClaimStore
    ) -> None:
        claim = write(store)
        unseen = server.answer(
            "GetItem", {}, matches=lambda request: not request.get("ConsistentRead")
        )

        assert read(store, claim, consistent=False) == claim.contents
        assert unseen.happened == 2

    def test_an_old_copy_of_contents_that_were_handed_over_runs_no_second_handler(
        self, ministack: AwsServer, server: FaultyServer, ministack_table: str, clock: Clock
    ) -> None:
        """A delivery that crashed in its handler had removed them."""
        store = DynamoDBClaimStore(
            ministack_table, region=ministack.region, endpoint_url=server.url, clock=clock
        )
        check = small_claim_check(store)
        sealed = check.seal(noisy_body(3_000)).body.decode()
        key = {"id": {"S": f"{ticket_in(sealed)['id']}/0"}}
        found = ministack.dynamodb().get_item(TableName=ministack_table, Key=key)["Item"]
        item: dict[str, Any] = {**found}
        item["data"] = {"B": b64encode(found["data"]["B"]).decode()}
        with closing(store):
            check.open(sealed, purge="before", lease_seconds=10)
            clock.advance(20)
            old = server.answer(
                "GetItem", {"Item": item}, matches=lambda each: not each["ConsistentRead"]
            )

            with pytest.raises(ClaimLost):
                check.open(sealed, purge="before", lease_seconds=10)
        assert old.happened == 1

    def test_an_answer_without_an_item_is_no_part(
        self, server: FaultyServer, store: DynamoDBClaimStore
    ) -> None:
        claim = write(store, 10)
        server.answer("GetItem", {})

        assert read(store, claim) is None

    def test_an_answer_with_half_an_item_is_damaged(
        self, server: FaultyServer, store: DynamoDBClaimStore
    ) -> None:
        claim = write(store, 10)
        server.answer("GetItem", {"Item": {"id": {"S": "x/0"}}})

        with pytest.raises(ClaimCorrupted, match="is no number in the store"):
            read(store, claim)

    @pytest.mark.parametrize("name", ["parts", "expires_at"])
    @pytest.mark.parametrize("value", ["many", "", "NaN", "1e999"])
    def test_an_answer_with_a_number_that_is_none_is_damaged(
        self, server: FaultyServer, store: DynamoDBClaimStore, name: str, value: str
    ) -> None:
        claim = write(store, 10)
        item = {
            "id": {"S": f"{claim.id}/0"},
            "data": {"B": b64encode(b"0" * 10).decode()},
            "parts": {"N": "1"},
            "expires_at": {"N": "9999999999"},
        }
        server.answer("GetItem", {"Item": {**item, name: {"N": value}}})

        with pytest.raises(ClaimCorrupted):
            read(store, claim)
