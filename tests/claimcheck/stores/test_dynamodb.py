"""What only `DynamoDBClaimStore` does, on a good day."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import chain
from typing import Any

import boto3
import botocore
import pytest

from claimcheck import (
    ClaimCorrupted,
    ClaimStoreUnavailable,
    ClaimTableMissing,
    SettingsInvalid,
    open_store,
)
from claimcheck.stores.base import PART_BYTES, RECORD_SECONDS, Lease
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.testing import Clock
from claimcheck.testing.claims import MINE, OTHERS, make_claim, read, remove, write
from tests.claimcheck.stores.support import (
    OPERATIONS,
    SPAWN,
    fork_and_share,
    in_a_process_of_its_own,
)
from tests.support.faulty_server import FaultyServer
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

ITEM_LIMIT = 409_600


@pytest.fixture
def store(aws: AwsServer, table: str) -> Iterator[DynamoDBClaimStore]:
    """A store that goes by the clock of its server."""
    with closing(DynamoDBClaimStore(table, region=aws.region)) as store:
        yield store


@pytest.fixture
def proxied(
    ministack: AwsServer, server: FaultyServer, ministack_table: str
) -> Iterator[DynamoDBClaimStore]:
    """A store whose every request the test sees."""
    with closing(
        DynamoDBClaimStore(ministack_table, region=ministack.region, endpoint_url=server.url)
    ) as store:
        yield store


def items_in(aws: AwsServer, table: str) -> dict[str, dict[str, Any]]:
    """Every item of a table by its key."""
    items = aws.dynamodb().scan(TableName=table, ConsistentRead=True)["Items"]
    return {item["id"]["S"]: dict(item) for item in items}


class TestItems:
    def test_contents_are_small_enough_and_expire(
        self, aws: AwsServer, store: DynamoDBClaimStore
    ) -> None:
        claim = write(store, PART_BYTES, PART_BYTES, 2, type="x" * 3_000)

        items = items_in(aws, store.table)

        assert sorted(items) == [f"{claim.id}/{number}" for number in range(3)]
        assert {item["expires_at"]["N"] for item in items.values()} == {str(claim.facts.expires_at)}
        for number, part in enumerate(claim.parts):
            item = items[f"{claim.id}/{number}"]
            assert item.pop("data") == {"B": part}
            assert len(part) + len(json.dumps(item)) < ITEM_LIMIT

    def test_the_first_part_has_what_people_want_to_know(
        self, aws: AwsServer, store: DynamoDBClaimStore
    ) -> None:
        claim = write(store, 10, 20)
        first, second = (items_in(aws, store.table)[f"{claim.id}/{n}"] for n in range(2))

        assert first.keys() - second.keys() == {"type", "parts", "size", "stored", "created_at"}
        assert first["type"] == {"S": "order:new"}
        assert first["parts"] == {"N": "2"}
        assert first["size"] == {"N": "60"}
        assert first["stored"] == {"N": "30"}
        assert first["created_at"] == {"N": str(claim.facts.created_at)}

    def test_what_has_no_type_has_none_here(
        self, aws: AwsServer, store: DynamoDBClaimStore
    ) -> None:
        claim = write(store, 10, type=None)

        assert "type" not in items_in(aws, store.table)[f"{claim.id}/0"]

    def test_a_record_is_one_small_item(
        self, aws: AwsServer, dynamodb_store: DynamoDBClaimStore, clock: Clock
    ) -> None:
        """Under 1 KB, so each change of it is one write unit."""
        key, lease = f"{'x' * 64}@{'q' * 80}", Lease("l" * 32, 60.25)
        dynamodb_store.acquire(key, lease)

        item = items_in(aws, dynamodb_store.table)[key]

        assert item == {
            "id": {"S": key},
            "state": {"S": "leased"},
            "lease_id": {"S": lease.id},
            "lease_until": {"N": str(clock() + 60.25)},
            "expires_at": {"N": str(int(clock()) + RECORD_SECONDS)},
        }
        assert len(json.dumps(item)) < 1_000

    def test_every_change_has_a_record_expire_later(
        self, aws: AwsServer, dynamodb_store: DynamoDBClaimStore, clock: Clock
    ) -> None:
        store, key = dynamodb_store, "key@"
        for change in (
            lambda: store.acquire(key, MINE),
            lambda: store.extend(key, MINE),
            lambda: store.hand_over(key, MINE.id),
            lambda: store.complete(key, MINE.id),
        ):
            clock.advance(1_000)
            change()
            item = items_in(aws, store.table)[key]
            assert item["expires_at"] == {"N": str(int(clock()) + RECORD_SECONDS)}

    def test_nothing_but_a_receipt_is_left(self, aws: AwsServer, store: DynamoDBClaimStore) -> None:
        claim = write(store, 10, 20, 30)
        store.acquire(claim.key, MINE)
        store.complete(claim.key, MINE.id)
        remove(store, claim)

        assert list(items_in(aws, store.table)) == [claim.key]


class TestCost:
    def test_a_stored_message_costs_four_writes(
        self, server: FaultyServer, proxied: DynamoDBClaimStore
    ) -> None:
        """Its contents, two for its record, and their removal; the time is asked for once."""
        for first in (True, False):
            claim = write(proxied, 100)
            written = len(server.operations)
            assert proxied.acquire(claim.key, MINE) is None
            proxied.complete(claim.key, MINE.id)
            remove(proxied, claim)

            assert written == 1
            assert server.operations == [
                "PutItem",
                "UpdateItem",
                "UpdateItem",
                "DeleteItem",
            ], f"first: {first}"
            server.operations.clear()

    def test_being_refused_costs_one_request(
        self, server: FaultyServer, proxied: DynamoDBClaimStore
    ) -> None:
        proxied.acquire("key@", MINE)
        server.operations.clear()

        assert proxied.acquire("key@", OTHERS) is not None

        assert server.operations == ["UpdateItem"]

    def test_a_process_that_knows_no_time_asks_once(
        self, server: FaultyServer, proxied: DynamoDBClaimStore
    ) -> None:
        proxied.acquire("key@", MINE)
        proxied.extend("key@", MINE)

        assert server.operations == ["GetItem", "UpdateItem", "UpdateItem"]

    def test_a_part_that_is_there_costs_one_cheap_read(
        self, server: FaultyServer, proxied: DynamoDBClaimStore
    ) -> None:
        claim = write(proxied, 100)
        server.operations.clear()

        assert read(proxied, claim) == claim.contents

        assert server.operations == ["GetItem"]

    @pytest.mark.parametrize("named", [1, 2, 7, 1_024])
    @pytest.mark.parametrize("there", [0, 1, 2, 7])
    def test_a_ticket_that_lies_costs_little(
        self, server: FaultyServer, proxied: DynamoDBClaimStore, there: int, named: int
    ) -> None:
        """Two parts at once, and the first again where it is missing."""
        claim = write(proxied, *[10] * there) if there else make_claim()
        server.operations.clear()

        with suppress(ClaimCorrupted):
            proxied.read(claim.id, named, stored=named).result()
        proxied.close()  # and so waits for reads that were begun

        most = there if there == named else 2
        assert server.operations == ["GetItem"] * min(len(server.operations), max(most, 3))


class TestParallel:
    @pytest.mark.parametrize("parts", [1, 2])
    def test_up_to_two_parts_are_read_in_the_time_of_one_answer(
        self, server: FaultyServer, proxied: DynamoDBClaimStore, parts: int
    ) -> None:
        claim = write(proxied, *[10] * parts)
        go_on = threading.Event()
        held = server.hold("GetItem", go_on)

        reading = proxied.read(claim.id, parts, stored=parts)
        wait_for(lambda: held.happened == parts, "every part to be asked for")
        assert proxied.acquire(claim.key, MINE) is None
        go_on.set()

        assert reading.result() == claim.contents
        assert server.operations == ["PutItem"] * parts + ["GetItem"] * parts + ["UpdateItem"]

    def test_more_parts_than_go_over_the_wire_at_once(self, aws: AwsServer, table: str) -> None:
        with closing(DynamoDBClaimStore(table, region=aws.region, parallelism=2)) as store:
            claim = write(store, *[100] * 30)

            assert read(store, claim) == claim.contents
            assert len(items_in(aws, table)) == 30
            remove(store, claim)
        assert not items_in(aws, table)

    def test_many_threads_share_a_store(self, aws: AwsServer, table: str) -> None:
        store = DynamoDBClaimStore(table, region=aws.region)

        def live(number: int) -> bool:
            claim = write(store, *[100] * 5)
            acquired = store.acquire(claim.key, Lease(f"lease {number}", 60)) is None
            found = read(store, claim)
            done = store.complete(claim.key, f"lease {number}")
            remove(store, claim)
            return acquired and done and found == claim.contents

        with closing(store), ThreadPoolExecutor(8) as pool:
            assert all(pool.map(live, range(40)))
        assert len(items_in(aws, table)) == 40

    def test_of_several_processes_one_acquires(
        self, ministack: AwsServer, ministack_table: str
    ) -> None:
        url = f"dynamodb://{ministack_table}?region={ministack.region}"
        keys = [f"key {number}@" for number in range(20)]

        with ProcessPoolExecutor(3, mp_context=SPAWN) as pool:
            acquired = list(chain(*pool.map(acquire_all, [url] * 3, [keys] * 3, range(3))))

        assert sorted(acquired) == sorted(keys)


class TestClock:
    def test_time_is_that_of_the_answers(self, store: DynamoDBClaimStore) -> None:
        found = ten_minutes_ahead(store, "(store.look_up('key@'), store.now() - right())[1]")

        assert abs(float(found.stdout)) < 60

    def test_a_machine_whose_clock_is_ahead_acquires_nothing_too_early(
        self, aws: AwsServer, store: DynamoDBClaimStore
    ) -> None:
        store.acquire("key@", Lease("mine", 300))

        found = ten_minutes_ahead(store, "store.acquire('key@', Lease('ahead', 60))")

        assert "state='leased'" in found.stdout
        assert 250 < seconds_left_in(found.stdout) <= 302
        # A slow answer says the time to a second or two.
        assert re.search(r"this machine's clock is (59\d|60\d) s ahead of that of", found.stderr)
        assert store.complete("key@", "mine")

    def test_a_machine_whose_clock_is_ahead_holds_nothing_too_long(
        self, aws: AwsServer, store: DynamoDBClaimStore
    ) -> None:
        ten_minutes_ahead(
            store,
            "store.acquire('key@', Lease('ahead', 5)), store.extend('key@', Lease('ahead', 60))",
        )

        record = store.acquire("key@", MINE)

        assert record is not None
        assert 0 < record.seconds_left <= 62


class TestOpening:
    def test_is_named(self) -> None:
        store = DynamoDBClaimStore("claims", region="eu-west-1")

        assert (store.url, store.label) == ("dynamodb://claims", "dynamodb:eu-west-1:claims")

    def test_a_long_name_makes_no_long_label(self) -> None:
        store = DynamoDBClaimStore("a" * 100 + "b" * 155, region="eu-west-1")

        assert store.label.startswith("dynamodb:eu-west-1:...")
        assert store.label.endswith("b" * 155)
        assert len(store.label) <= 200

    def test_requests_are_made_with_the_session_that_was_given(
        self, ministack: AwsServer, ministack_table: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = boto3.session.Session("key", "secret", region_name=ministack.region)
        queue = ministack.make_queue()

        with monkeypatch.context() as patch:
            patch.delenv("AWS_ACCESS_KEY_ID")
            with closing(DynamoDBClaimStore(ministack_table, session=session)) as store:
                claim = write(store)
                assert read(store, claim) == claim.contents
                assert store.label == f"dynamodb:{ministack.region}:{ministack_table}"
        session.client("sqs").send_message(QueueUrl=queue, MessageBody="the session still works")

    def test_no_credentials(self, aws: AwsServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

        with (
            closing(DynamoDBClaimStore("claims", region=aws.region)) as store,
            pytest.raises(ClaimStoreUnavailable, match=r"claims: .*Unable to locate credentials"),
        ):
            write(store)

    def test_credentials_that_come_late_are_found(
        self, aws: AwsServer, store: DynamoDBClaimStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.delenv("AWS_ACCESS_KEY_ID")
            patch.delenv("AWS_SECRET_ACCESS_KEY")
            with pytest.raises(ClaimStoreUnavailable):
                write(store)

        claim = write(store)
        assert read(store, claim) == claim.contents

    def test_half_of_the_credentials(
        self, aws: AwsServer, store: DynamoDBClaimStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.delenv("AWS_SECRET_ACCESS_KEY")
            with pytest.raises(SettingsInvalid, match="Partial credentials"):
                write(store)

    def test_requests_say_who_sends_them(
        self, server: FaultyServer, proxied: DynamoDBClaimStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_EXECUTION_ENV", "AWS_Lambda_python3.12")
        monkeypatch.setenv("AWS_SDK_UA_APP_ID", "shop")

        write(proxied)

        assert server.user_agents
        for user_agent in server.user_agents:
            assert user_agent.startswith(f"Botocore/{botocore.__version__} Python/")
            assert "exec-env/AWS_Lambda_python3.12" in user_agent
            assert "app/shop" in user_agent

    def test_works_again_after_it_was_closed(self, store: DynamoDBClaimStore) -> None:
        claim = write(store, *[10] * 20)
        store.close()
        store.close()

        assert read(store, claim) == claim.contents
        assert threads_of_stores()

    def test_closing_leaves_no_thread_and_no_socket(
        self, server: FaultyServer, proxied: DynamoDBClaimStore
    ) -> None:
        of_others = {*threads_of_stores()}
        claim = write(proxied, *[10] * 20)
        read(proxied, claim)
        assert server.open_connections > 1
        assert {*threads_of_stores()} - of_others

        proxied.close()

        assert not {*threads_of_stores()} - of_others
        wait_for(lambda: server.open_connections == 0, "all connections to be closed")

    def test_goes_on_while_it_is_closed_or_the_program_ends(
        self, aws: AwsServer, store: DynamoDBClaimStore
    ) -> None:
        """When threads take nothing more, callers do all by themselves."""
        store._resources.get().calls.close()

        claim = write(store, 10, 20, 30)
        assert read(store, claim) == claim.contents
        remove(store, claim)

        assert not items_in(aws, store.table)

    def test_closing_waits_for_reads_that_nobody_waits_for(
        self, ministack: AwsServer, server: FaultyServer, ministack_table: str
    ) -> None:
        store = DynamoDBClaimStore(
            ministack_table, region=ministack.region, endpoint_url=server.url, parallelism=1
        )
        go_on = threading.Event()
        held = server.hold("GetItem", go_on, times=1)
        store.read("no-such-claim", 1, stored=1)
        store.read("another", 1, stored=1)  # begins while the store closes
        wait_for(lambda: held.happened, "the store's only thread to read")

        closes = threading.Thread(target=store.close, daemon=True)
        closes.start()
        go_on.set()
        closes.join(20)

        assert not closes.is_alive()
        assert server.operations == ["GetItem"] * 4

    def test_works_on_both_sides_of_a_fork(self, aws: AwsServer, table: str) -> None:
        in_a_process_of_its_own(fork_and_share, f"dynamodb://{table}?region={aws.region}")

    def test_a_fork_shares_no_connection_and_no_lock(
        self, ministack: AwsServer, server: FaultyServer, ministack_table: str
    ) -> None:
        url = f"dynamodb://{ministack_table}?region={ministack.region}&endpoint_url={server.url}"

        in_a_process_of_its_own(fork_with_a_connection, url)

        assert server.connections == 2

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_says_how_to_make_a_table_that_is_missing(self, aws: AwsServer, operation: str) -> None:
        with (
            closing(DynamoDBClaimStore("no-such-table", region=aws.region)) as store,
            pytest.raises(
                ClaimTableMissing,
                match=rf"no-such-table: .*{aws.region}.*`claimcheck store create`"
                ".*CLAIMCHECK_STORE",
            ),
        ):
            OPERATIONS[operation](store, make_claim())


def threads_of_stores() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("claimcheck-dynamodb")]


def acquire_all(url: str, keys: list[str], number: int) -> list[str]:
    with closing(open_store(url)) as store:
        return [key for key in keys if store.acquire(key, Lease(f"process {number}", 100)) is None]


def fork_with_a_connection(url: str) -> None:
    store = open_store(url)
    store.look_up("key@")
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        store.look_up("key@")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    store.close()


def ten_minutes_ahead(store: DynamoDBClaimStore, call: str) -> subprocess.CompletedProcess[str]:
    """Make a call in a process whose clock is ten minutes ahead; it prints what the call gives."""
    script = (
        "import time\n"
        "right = time.time\n"
        "time.time = lambda: right() + 600\n"
        "from claimcheck import open_store\n"
        "from claimcheck.stores.base import Lease\n"
        f"store = open_store({store.url!r}, region={store.region!r})\n"
        f"print({call})\n"
        "store.close()\n"
    )
    return subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )


def seconds_left_in(record: str) -> float:
    return float(record.partition("seconds_left=")[2].rstrip(")\n"))
