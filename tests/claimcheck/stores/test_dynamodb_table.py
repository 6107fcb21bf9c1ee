"""`ClaimTable`: the DynamoDB table, made and checked."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Literal, TypeAlias

import boto3
import pytest

from claimcheck import (
    ClaimCheck,
    ClaimStoreError,
    ClaimStoreUnavailable,
    SettingsInvalid,
    open_store,
)
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.findings import Finding
from claimcheck.testing.claims import write
from tests.claimcheck.support import noisy_body
from tests.support.faulty_server import FaultyServer
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

Key: TypeAlias = tuple[str, Literal["S", "N"], Literal["HASH", "RANGE"]]


OTHER_KEYS: list[list[Key]] = [
    [("key", "S", "HASH")],
    [("id", "N", "HASH")],
    [("id", "S", "HASH"), ("part", "N", "RANGE")],
]


def leave_alone(table: str) -> str:
    """What a table that is not ours calls for."""
    return (
        f"{table} seems to serve something else: leave it as it is, and name another table in "
        "CLAIMCHECK_STORE"
    )


def make_table(aws: AwsServer, *keys: Key) -> str:
    name = aws.make_table_name()
    aws.dynamodb().create_table(
        TableName=name,
        KeySchema=[{"AttributeName": key, "KeyType": role} for key, _, role in keys],
        AttributeDefinitions=[{"AttributeName": k, "AttributeType": kind} for k, kind, _ in keys],
        BillingMode="PAY_PER_REQUEST",
    )
    aws.dynamodb().get_waiter("table_exists").wait(TableName=name)
    return name


def switch_ttl_on(aws: AwsServer, table: str, attribute: str) -> None:
    aws.dynamodb().update_time_to_live(
        TableName=table,
        TimeToLiveSpecification={"Enabled": True, "AttributeName": attribute},
    )


def check(aws: AwsServer, table: str) -> dict[str, Finding]:
    return {finding.subject: finding for finding in ClaimTable(table, region=aws.region).check()}


class TestCreate:
    def test_makes_what_a_store_needs(self, aws: AwsServer) -> None:
        name = aws.make_table_name()

        assert ClaimTable(name, region=aws.region).create()

        made = aws.dynamodb().describe_table(TableName=name)["Table"]
        ttl = aws.dynamodb().describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        assert made["TableStatus"] == "ACTIVE"
        assert made["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
        assert made["AttributeDefinitions"] == [{"AttributeName": "id", "AttributeType": "S"}]
        assert made["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
        assert ttl["AttributeName"] == "expires_at"
        assert [finding.ok for finding in check(aws, name).values()] == [True, True, True]

    def test_leaves_what_is_there(self, aws: AwsServer) -> None:
        name = aws.make_table_name()
        table = ClaimTable(name, region=aws.region)
        table.create()
        aws.dynamodb().put_item(TableName=name, Item={"id": {"S": "kept"}})

        assert not table.create()
        assert aws.dynamodb().scan(TableName=name)["Count"] == 1

    def test_changes_nothing_where_ttl_is_on_something_else(self, aws: AwsServer) -> None:
        name = make_table(aws, ("id", "S", "HASH"))
        switch_ttl_on(aws, name, "ttl")

        assert not ClaimTable(name, region=aws.region).create()

        assert check(aws, name)["TTL"].detail == "on ttl, not on expires_at"

    @pytest.mark.parametrize("keys", OTHER_KEYS)
    def test_changes_nothing_where_the_key_is_another(
        self, aws: AwsServer, keys: list[Key]
    ) -> None:
        name = make_table(aws, *keys)

        assert not ClaimTable(name, region=aws.region).create()

        assert check(aws, name)["TTL"].detail.startswith("off")

    def test_leaves_ttl_off_in_a_table_that_was_there(self, aws: AwsServer) -> None:
        name = make_table(aws, ("id", "S", "HASH"))

        assert not ClaimTable(name, region=aws.region).create()

        assert not check(aws, name)["TTL"].ok

    def test_two_at_once_make_one_table(self, aws: AwsServer) -> None:
        name = aws.make_table_name()
        start = threading.Barrier(2)

        def create(table: ClaimTable) -> bool:
            start.wait()
            return table.create()

        with ThreadPoolExecutor(2) as pool:
            made = list(pool.map(create, [ClaimTable(name, region=aws.region) for _ in range(2)]))

        assert sorted(made) == [False, True]
        assert [finding.ok for finding in check(aws, name).values()] == [True, True, True]


class TestCheck:
    def test_a_table_that_is_right(self, aws: AwsServer) -> None:
        name = make_table(aws, ("id", "S", "HASH"))
        switch_ttl_on(aws, name, "expires_at")

        assert ClaimTable(name, region=aws.region).check() == [
            Finding("table", ok=True, detail=f"{name} is ACTIVE"),
            Finding("key schema", ok=True, detail="id (S, HASH)"),
            Finding("TTL", ok=True, detail="on expires_at"),
        ]

    def test_a_table_that_is_missing(self, aws: AwsServer) -> None:
        (finding,) = ClaimTable("no-such-table", region=aws.region).check()

        assert not finding.ok
        assert finding.detail == f"no-such-table does not exist in region {aws.region}"
        assert "`claimcheck store create`" in finding.remedy
        assert "CLAIMCHECK_STORE" in finding.remedy

    @pytest.mark.parametrize(
        ("keys", "shown"),
        [
            (OTHER_KEYS[0], "key (S, HASH)"),
            (OTHER_KEYS[1], "id (N, HASH)"),
            (OTHER_KEYS[2], "id (S, HASH), part (N, RANGE)"),
        ],
    )
    def test_another_key(self, aws: AwsServer, keys: list[Key], shown: str) -> None:
        name = make_table(aws, *keys)

        state, key, ttl = ClaimTable(name, region=aws.region).check()

        assert state.ok
        assert (key.ok, key.detail) == (False, shown)
        assert not ttl.ok
        assert key.remedy == ttl.remedy == leave_alone(name)

    def test_a_ttl_that_is_off(self, aws: AwsServer) -> None:
        """In an empty table: the change that is offered makes it right."""
        name = make_table(aws, ("id", "S", "HASH"))

        finding = check(aws, name)["TTL"]

        assert not finding.ok
        assert "stay for good" in finding.detail
        assert finding.remedy.startswith("`claimcheck store create` switches it on")
        assert finding.change is not None
        finding.change.make()
        assert check(aws, name)["TTL"] == Finding("TTL", ok=True, detail="on expires_at")

    def test_a_ttl_that_is_off_in_a_table_of_claims(self, aws: AwsServer) -> None:
        """Of contents, of records, and of those of messages that are handled once."""
        name = make_table(aws, ("id", "S", "HASH"))
        store = open_store(f"dynamodb://{name}", region=aws.region)
        checks = ClaimCheck(store, threshold=1_000, inline_limit=1_000)
        checks.seal(noisy_body(3_000, seed=1))
        checks.open(checks.seal(noisy_body(3_000, seed=2)).body.decode()).complete()
        checks.open("small", once="once/queue/m-1@")
        shared = checks.seal(noisy_body(3_000, seed=3), shared=True)
        checks.open(shared.text, consumer="us-west-2:000000000000:orders")
        store.close()

        assert check(aws, name)["TTL"].change is not None

    @pytest.mark.parametrize(
        "item",
        [
            {"id": {"S": "session-1"}, "expires_at": {"N": "1"}},
            {"id": {"S": "0123456789012345678901/0"}, "expires_at": {"N": "1"}},
            {"id": {"S": "0123456789012345678901/0"}, "data": {"B": b"1"}},
            {"id": {"S": "me@"}, "expires_at": {"N": "1"}, "state": {"S": "new"}},
        ],
    )
    def test_a_ttl_that_is_off_where_something_else_is_in_the_table(
        self, aws: AwsServer, item: Mapping[str, AttributeValueTypeDef]
    ) -> None:
        """An `expires_at` of another application need not mean that its items may go."""
        name = make_table(aws, ("id", "S", "HASH"))
        aws.dynamodb().put_item(TableName=name, Item=item)

        finding = check(aws, name)["TTL"]

        assert not finding.ok
        assert finding.change is None
        assert f"aws dynamodb update-time-to-live --table-name {name}" in finding.remedy

    def test_a_ttl_on_something_else(self, aws: AwsServer) -> None:
        name = make_table(aws, ("id", "S", "HASH"))
        switch_ttl_on(aws, name, "ttl")

        finding = check(aws, name)["TTL"]

        assert (finding.ok, finding.detail) == (False, "on ttl, not on expires_at")
        assert finding.remedy == leave_alone(name)

    def test_a_ttl_on_something_else_where_claims_are_in_the_table(self, aws: AwsServer) -> None:
        name = make_table(aws, ("id", "S", "HASH"))
        with closing(DynamoDBClaimStore(name, region=aws.region)) as store:
            write(store)
        switch_ttl_on(aws, name, "ttl")

        finding = check(aws, name)["TTL"]

        assert (finding.ok, finding.change) == (False, None)
        assert "Enabled=false,AttributeName=ttl`, then `claimcheck store create`" in finding.remedy


class TestOnABadDay:
    @pytest.fixture
    def table(self, ministack: AwsServer, server: FaultyServer) -> ClaimTable:
        name = ministack.make_table_name()
        return ClaimTable(name, region=ministack.region, endpoint_url=server.url)

    def test_a_table_that_is_going_is_not_ready(
        self, server: FaultyServer, table: ClaimTable
    ) -> None:
        table.create()
        going = {
            "TableStatus": "DELETING",
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        }
        server.answer("DescribeTable", {"Table": going})

        state = table.check()[0]

        assert (state.ok, state.detail) == (False, f"{table.name} is DELETING")
        assert "wait" in state.remedy

    @pytest.mark.parametrize("operation", ["CreateTable", "UpdateTimeToLive"])
    def test_a_refusal_says_what_was_refused(
        self, server: FaultyServer, table: ClaimTable, operation: str
    ) -> None:
        server.refuse(operation, "AccessDeniedException")

        with pytest.raises(
            ClaimStoreError,
            match=f"{table.name} in us-west-2 could not (be made|get its TTL): .*{operation}",
        ) as error:
            table.create()
        assert not error.value.retryable

    def test_no_ttl_is_offered_where_nobody_may_look_into_the_table(
        self, ministack: AwsServer, server: FaultyServer
    ) -> None:
        name = make_table(ministack, ("id", "S", "HASH"))
        server.refuse("Scan", "AccessDeniedException")

        finding = ClaimTable(name, region=ministack.region, endpoint_url=server.url).check()[-1]

        assert (finding.subject, finding.ok, finding.change) == ("TTL", False, None)

    @pytest.mark.parametrize("operation", ["DescribeTable", "DescribeTimeToLive"])
    def test_a_right_that_lacks_is_a_finding(
        self, server: FaultyServer, table: ClaimTable, operation: str
    ) -> None:
        table.create()
        server.refuse(operation, "AccessDeniedException")

        finding = table.check()[-1]

        assert not finding.ok
        assert finding.detail == f"not known: dynamodb:{operation} is denied"
        assert f"allow dynamodb:{operation} on table {table.name}" in finding.remedy

    def test_who_comes_second_with_the_ttl_is_content(
        self, ministack: AwsServer, server: FaultyServer
    ) -> None:
        name = make_table(ministack, ("id", "S", "HASH"))
        finding = ClaimTable(name, region=ministack.region, endpoint_url=server.url).check()[-1]
        assert finding.change is not None
        switch_ttl_on(ministack, name, "expires_at")
        server.refuse("UpdateTimeToLive", "ValidationException")

        finding.change.make()

    @pytest.mark.usefixtures("ministack")
    def test_nobody_listens(self) -> None:
        table = ClaimTable("claims", region="us-west-2", endpoint_url="http://127.0.0.1:9")

        with pytest.raises(ClaimStoreUnavailable, match=r"could not be checked: .*127") as error:
            table.check()
        assert error.value.retryable

    def test_settings_of_aws_that_cannot_be_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_PROFILE", "nobody")

        with pytest.raises(SettingsInvalid, match=r"profile \(nobody\) could not be found"):
            ClaimTable("claims")


def test_requests_are_made_with_the_session_that_was_given(
    ministack: AwsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = ministack.make_table_name()
    session = boto3.session.Session("key", "secret", region_name=ministack.region)

    with monkeypatch.context() as patch:
        patch.delenv("AWS_ACCESS_KEY_ID")
        assert ClaimTable(name, session=session).create()
