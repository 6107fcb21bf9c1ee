"""The cost model, compared with what MiniStack says that real operations consumed."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Iterator
from dataclasses import astuple, fields
from datetime import date
from typing import Any

import pytest
from pynamodb.connection.base import Connection

from claimcheck import ClaimCheck
from claimcheck.audit import Prices, Units, units_of, units_with_s3
from claimcheck.core.life import Purge
from claimcheck.stores.base import PART_BYTES
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.dynamodb_table import ClaimTable
from tests.support.servers import AwsServer

MILLION = 10**6


class Meter:
    """Has DynamoDB say what each operation consumed, and adds it up.

    MiniStack rates a read by its consistency alone, so this counts the 4 KB steps of its item.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.write_units = 0.0
        self.read_units = 0.0
        lock = threading.Lock()
        make_call = Connection._make_api_call

        def metered(
            connection: Connection, name: str, kwargs: dict[str, Any], *rest: Any
        ) -> dict[str, Any]:
            answer = make_call(
                connection, name, {**kwargs, "ReturnConsumedCapacity": "TOTAL"}, *rest
            )
            units = float(answer["ConsumedCapacity"]["CapacityUnits"])
            with lock:
                if name == "GetItem":
                    self.read_units += units * math.ceil(item_bytes(answer["Item"]) / 4096)
                else:
                    self.write_units += units
            return answer

        monkeypatch.setattr(Connection, "_make_api_call", metered)


def item_bytes(item: dict[str, Any]) -> int:
    """An item's size, for strings, bytes and numbers, as DynamoDB's documentation has it."""
    size = 0
    for name, typed in item.items():
        ((kind, value),) = typed.items()
        size += len(name) + (len(value) // 2 + 1 if kind == "N" else len(value))
    return size


@pytest.fixture
def store(ministack: AwsServer) -> Iterator[DynamoDBClaimStore]:
    name = ministack.make_table_name()
    ClaimTable(name, region=ministack.region, endpoint_url=ministack.endpoint_url).create()
    store = DynamoDBClaimStore(name, region=ministack.region)
    yield store
    store.close()


@pytest.mark.parametrize(
    ("size", "purge"),
    [
        (300, "after"),
        (50_000, "after"),
        (PART_BYTES, "after"),
        (PART_BYTES + 1, "after"),
        (1_000_000, "after"),
        (1_000_000, "before"),
        (1_000_000, "never"),
    ],
)
def test_a_claim_is_billed_as_dynamodb_says(
    store: DynamoDBClaimStore, monkeypatch: pytest.MonkeyPatch, size: int, purge: Purge
) -> None:
    # Hexadecimal digits come to half their size, so about `size` bytes are stored.
    body = random.Random(7).randbytes(size).hex()
    claim_check = ClaimCheck(store, threshold=100, inline_limit=100, purge=purge)
    meter = Meter(monkeypatch)

    sealed = claim_check.seal(body)
    with claim_check.open(sealed.body.decode()) as opened:
        assert opened.body == body

    assert sealed.route == "stored"
    units = units_of(len(sealed.body), stored_size=sealed.stored, purge=purge)
    assert (units.write_units, units.read_units) == (meter.write_units, meter.read_units)


def test_expiry_is_free_and_takes_fifteen_days_of_storage() -> None:
    removed, expiring = (
        units_of(300, stored_size=10**6, purge=each) for each in ("after", "never")
    )

    assert removed.write_units - 2 == 2 * (expiring.write_units - 2)
    storage = Prices(dynamodb_write=0, dynamodb_read=0, sqs_request=0)
    assert storage.dollars(expiring) == pytest.approx(10**6 / 10**9 * 0.25 / 2)
    assert storage.dollars(removed) == pytest.approx(storage.dollars(expiring) * 60 / (15 * 86_400))


@pytest.mark.parametrize(
    ("sent_size", "requests"), [(1, 3), (65_536, 3), (65_537, 5), (262_144, 9), (1_048_576, 33)]
)
def test_sqs_bills_what_is_sent_and_received_by_64_kb(sent_size: int, requests: int) -> None:
    assert units_of(sent_size) == Units(sqs_requests=requests)
    assert units_of(sent_size, fifo=True) == Units(sqs_fifo_requests=requests)


def test_a_million_small_messages_cost_three_million_requests() -> None:
    assert Prices().dollars(units_of(2000)) * MILLION == pytest.approx(3 * 0.40)
    assert Prices().dollars(units_of(2000, fifo=True)) * MILLION == pytest.approx(3 * 0.50)


def test_a_stored_message_costs_what_its_units_cost() -> None:
    units = Units(sqs_requests=3, write_units=800, read_units=50, dynamodb_bytes=10**9)
    by_hand = 3 * 0.40 / MILLION + 800 * 0.625 / MILLION + 50 * 0.125 / MILLION
    month_share = 60 / (30 * 24 * 3600)
    assert Prices().dollars(units) == pytest.approx(by_hand + 0.25 * month_share)


def test_in_s3_a_message_costs_a_put_and_a_get_whatever_its_size() -> None:
    small, large = (Prices(stored_seconds=0).dollars(units_with_s3(n)) for n in (300_000, 10**8))
    assert small == large
    assert small * MILLION == pytest.approx(3 * 0.40 + 5.00 + 0.40)


def test_every_price_can_be_overridden() -> None:
    units = Units(*[1] * len(fields(Units)))
    names = Prices.model_fields.keys() - {"region", "as_of", "sources"}
    free = Prices.model_validate(dict.fromkeys(names, 0.0))
    assert free.dollars(units) == 0
    for name in names - {"stored_seconds"}:
        one = free.model_copy(update={name: 1.0, "stored_seconds": 1.0})
        assert one.dollars(units) > 0, name


def test_prices_say_where_and_when_they_held() -> None:
    prices = Prices()
    assert prices.region == "us-west-2"
    assert date(2025, 1, 1) < prices.as_of <= date.today()
    assert all(source.startswith("https://aws.amazon.com/") for source in prices.sources)


def test_units_add_up() -> None:
    count = len(fields(Units))
    both = Units(*range(count)) + Units(*range(count))
    assert astuple(both) == tuple(range(0, 2 * count, 2))
