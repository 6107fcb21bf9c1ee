"""The cost model, compared with what MiniStack says that real operations consumed."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Iterator
from dataclasses import astuple, fields
from datetime import date
from typing import TYPE_CHECKING, Any

import boto3.session
import pytest
from botocore.exceptions import ClientError
from pynamodb.connection.base import Connection

from claimcheck import ClaimCheck, open_store
from claimcheck.core.cost import Units, place_of, units_of, units_with_s3
from claimcheck.core.life import Purge
from claimcheck.core.prices import REGIONS, Prices
from claimcheck.stores.base import PART_BYTES, Lease
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.dynamodb_table import ClaimTable
from letsgo_queue.aws_client import error_code
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from botocore.model import OperationModel

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
            try:
                answer = make_call(
                    connection, name, {**kwargs, "ReturnConsumedCapacity": "TOTAL"}, *rest
                )
            except ClientError as error:
                # Billed too. A lease may end later already, as each answer tells the time anew.
                if error_code(error) == "ConditionalCheckFailedException":
                    with lock:
                        self.write_units += 1
                raise
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


class S3Meter:
    """Counts the requests of a session that S3 bills, also refused conditional writes."""

    def __init__(self, session: boto3.session.Session) -> None:
        self.puts = self.gets = 0
        lock = threading.Lock()

        def count(model: OperationModel, **_: object) -> None:
            with lock:
                self.puts += model.name in {
                    "PutObject",
                    "CreateMultipartUpload",
                    "UploadPart",
                    "CompleteMultipartUpload",
                }
                self.gets += model.name == "GetObject"

        session.events.register("before-call.s3", count)


@pytest.mark.parametrize(
    ("url", "size", "purge"),
    [
        ("dynamodb://TABLE?bucket=BUCKET", 300_000, "after"),
        ("dynamodb://TABLE?bucket=BUCKET", 2_000_000, "after"),
        pytest.param("dynamodb://TABLE?bucket=BUCKET", 40_000_000, "after", marks=pytest.mark.long),
        ("dynamodb://TABLE?bucket=BUCKET", 300_000, "before"),
        ("dynamodb://TABLE?bucket=BUCKET", 300_000, "never"),
        ("s3://BUCKET/claims", 300_000, "after"),
        ("s3://BUCKET/claims", 300_000, "before"),
        ("s3://BUCKET/claims", 300_000, "never"),
    ],
)
def test_a_claim_is_billed_as_its_requests_to_s3_and_dynamodb_say(
    ministack: AwsServer, monkeypatch: pytest.MonkeyPatch, url: str, size: int, purge: Purge
) -> None:
    table, bucket = ministack.make_table_name(), ministack.make_bucket()
    ClaimTable(table, region=ministack.region, endpoint_url=ministack.endpoint_url).create()
    session = boto3.session.Session()
    url = url.replace("TABLE", table).replace("BUCKET", bucket)
    store = open_store(url, region=ministack.region, session=session)
    body = random.Random(7).randbytes(size).hex()
    claim_check = ClaimCheck(store, threshold=100, inline_limit=100, max_size=2 * size, purge=purge)
    in_s3 = S3Meter(session)
    store.acquire("another", Lease("x", 1))  # which learns the time
    in_s3.puts = in_s3.gets = 0
    in_table = Meter(monkeypatch)

    sealed = claim_check.seal(body)
    with claim_check.open(sealed.body.decode()) as opened:
        assert opened.body == body
    store.close()

    units = units_of(len(sealed.body), stored_size=sealed.stored, place=place_of(url), purge=purge)
    assert (units.s3_puts, units.s3_gets) == (in_s3.puts, in_s3.gets)
    assert (units.write_units, units.read_units) == (in_table.write_units, in_table.read_units)


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
    moved = 2 * sent_size
    assert units_of(sent_size) == Units(sqs_requests=requests, moved_bytes=moved)
    assert units_of(sent_size, fifo=True) == Units(sqs_fifo_requests=requests, moved_bytes=moved)


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
    assert names > {"s3_put", "kms_request", "transfer_gb"}
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


def test_each_region_has_its_prices_and_what_is_given_wins() -> None:
    for region in REGIONS:
        assert Prices.of(region).region == region
    frankfurt = Prices(region="eu-central-1", s3_put=1.0)
    assert (frankfurt.dynamodb_write, frankfurt.s3_get, frankfurt.s3_put) == (0.7625, 0.43, 1.0)
    assert Prices.of("eu-west-1").dynamodb_write == 0.705


def test_a_region_that_is_not_known_needs_every_price() -> None:
    with pytest.raises(
        ValueError, match=r"prices of 'mars-1' are not known.*Give each of dynamodb"
    ):
        Prices(region="mars-1", dynamodb_write=0.7)
    known = Prices().model_dump(exclude={"region"})
    assert Prices.model_validate({**known, "region": "mars-1"}).region == "mars-1"


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("dynamodb://claims", "dynamodb"),
        ("dynamodb://claims?bucket=b&prefix=p/", "bucket"),
        ("s3://b/claims", "s3"),
        ("letsgo://main", "dynamodb"),
        ("sqlite:///claims.db", "dynamodb"),
    ],
)
def test_the_url_of_a_store_says_where_claims_are(url: str, where: str) -> None:
    assert place_of(url) == where


def test_a_million_stored_with_a_bucket_cost_less_than_eight_dollars_whatever_their_size() -> None:
    """The mark of the project: SQS 1.20, S3 5.40, records 1.25."""
    for stored_size in (300_000, 1_500_000, 15_000_000):
        units = units_of(300, stored_size=stored_size, place="bucket")
        assert 7.85 <= Prices().dollars(units) * MILLION < 8.00


def test_data_transfer_is_free_within_a_region_and_billed_where_it_has_a_price() -> None:
    units = units_of(300, stored_size=10**6, place="bucket")
    through_nat = Prices(transfer_gb=0.045)
    assert through_nat.dollars(units) - Prices().dollars(units) == pytest.approx(
        0.045 * 2 * (10**6 + 300) / 10**9
    )


def test_units_add_up() -> None:
    count = len(fields(Units))
    both = Units(*range(count)) + Units(*range(count))
    assert astuple(both) == tuple(range(0, 2 * count, 2))
