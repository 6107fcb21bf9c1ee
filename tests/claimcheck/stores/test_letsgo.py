"""`LetsGoClaimStore`: claims in LetsGo's own table, beside LetsGo's own items."""

from __future__ import annotations

import time
from typing import Any

import pytest

from claimcheck import ClaimTableMissing, SettingsInvalid, open_store
from claimcheck.stores.base import PART_BYTES, RECORD_SECONDS
from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.letsgo import LetsGoClaimStore
from claimcheck.testing import Clock
from claimcheck.testing.claims import MINE, read, remove, write
from letsgo_queue.deployment import Deployment
from tests.support.servers import AwsServer

LETSGO_CATEGORIES = (
    "letsgo-tenant",
    "letsgo-identity",
    "letsgo-tenant-identity",
    "letsgo-identity-tenant",
    "letsgo-issuer",
    "letsgo-issuer-active",
    "letsgo-invitation",
    "letsgo-test",
)
"""LetsGo's docs/reference/system-database-categories.md."""


def items_in(aws: AwsServer, store: LetsGoClaimStore) -> dict[str, dict[str, Any]]:
    items = aws.dynamodb().scan(TableName=store.table, ConsistentRead=True)["Items"]
    return {item["category"]["S"]: dict(item) for item in items}


def list_items(aws: AwsServer, store: LetsGoClaimStore, category: str) -> list[dict[str, Any]]:
    """What LetsGo's `listItems` asks for."""
    answer = aws.dynamodb().query(
        TableName=store.table,
        KeyConditionExpression="category = :category",
        ExpressionAttributeValues={":category": {"S": category}},
    )
    return [dict(item) for item in answer["Items"]]


def test_claims_spread_over_partitions_and_expire(
    aws: AwsServer, letsgo_store: LetsGoClaimStore, clock: Clock
) -> None:
    claim = write(letsgo_store, PART_BYTES, 10)
    letsgo_store.acquire(claim.key, MINE)

    items = items_in(aws, letsgo_store)

    parts = [f"claimcheck/{claim.id}/{number}" for number in range(2)]
    record = f"claimcheck/{claim.key}"
    assert sorted(items) == sorted([*parts, record])
    for part in parts:
        assert items[part]["ttl"] == {"N": str(claim.facts.expires_at)}
    assert items[record]["ttl"] == {"N": str(int(clock()) + RECORD_SECONDS)}
    assert not any({"id", "expires_at"} & item.keys() for item in items.values())


def test_letsgo_lists_its_own_items_only(aws: AwsServer, letsgo_store: LetsGoClaimStore) -> None:
    own = {
        category: {
            "category": {"S": category},
            "key": {"S": "/a"},
            "ttl": {"N": str(int(time.time()) + 3_600)},
        }
        for category in LETSGO_CATEGORIES
    }
    for item in own.values():
        aws.dynamodb().put_item(TableName=letsgo_store.table, Item=item)

    claim = write(letsgo_store, 10, 20)
    letsgo_store.acquire(claim.key, MINE)
    assert read(letsgo_store, claim) == claim.contents
    for category, item in own.items():
        assert list_items(aws, letsgo_store, category) == [item]
    letsgo_store.complete(claim.key, MINE.id)
    remove(letsgo_store, claim)

    for category, item in own.items():
        assert list_items(aws, letsgo_store, category) == [item]
    assert len(items_in(aws, letsgo_store)) == len(own) + 1


def test_the_check_of_the_table_knows_that_it_is_letsgos(
    aws: AwsServer, letsgo_store: LetsGoClaimStore
) -> None:
    table = ClaimTable(letsgo_store.table, region=aws.region, layout=letsgo_store.layout)

    findings = table.check()

    assert [(each.subject, each.ok) for each in findings] == [
        ("table", True),
        ("key schema", True),
        ("TTL", True),
    ]


def test_a_deployment_that_is_not_there_says_what_to_check(aws: AwsServer) -> None:
    store = LetsGoClaimStore(Deployment("no-such"), region=aws.region)

    with pytest.raises(ClaimTableMissing, match=r"letsgo-no-such does not .*LETSGO_DEPL"):
        write(store)
    store.close()


class TestOpening:
    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LETSGO_DEPLOYMENT", "staging")
        monkeypatch.setenv("AWS_REGION", "eu-west-1")

    @pytest.mark.parametrize(
        ("url", "table"),
        [("letsgo://", "letsgo-staging"), ("letsgo://Prod", "letsgo-Prod")],
    )
    def test_a_url_names_the_deployment(self, url: str, table: str) -> None:
        store = open_store(url)

        assert isinstance(store, LetsGoClaimStore)
        assert store.table == table
        assert store.label == f"letsgo:eu-west-1:{table}"
        assert store.url == f"letsgo://{table.removeprefix('letsgo-')}"

    def test_a_vendor_may_have_another_prefix(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LETSGO_VENDOR_PREFIX", "acme")

        store = open_store("letsgo://")

        assert isinstance(store, LetsGoClaimStore)
        assert store.table == "acme-staging"

    @pytest.mark.parametrize("url", ["letsgo://main/claims", "letsgo://main?prefix=x"])
    def test_refuses_what_is_more_than_that(self, url: str) -> None:
        with pytest.raises(SettingsInvalid, match="letsgo://"):
            open_store(url)
