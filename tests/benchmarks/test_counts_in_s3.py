"""What a message costs whose contents are in S3: calls, and the units that AWS bills.

The cost model of the size audit, `claimcheck.core.cost`, is held against what was counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from claimcheck import ClaimAlreadyProcessed, ClaimInProgress, Purge
from claimcheck.core.cost import Place
from tests.benchmarks.counting import ONE_MESSAGE, Ends
from tests.benchmarks.emulator import Emulator
from tests.benchmarks.payloads import PayloadFile, PayloadName
from tests.benchmarks.plan import OLD_QUEUE
from tests.benchmarks.prices import Units, dollars_per_million, estimated

NOISE: PayloadName = "1.5 MB noise"

ONE_OBJECT = {"s3 PutObject": 1, "s3 GetObject": 1, "s3 DeleteObject": 1}

RECORDS: Mapping[tuple[Place, Purge], Mapping[str, int]] = {
    ("bucket", "after"): {"dynamodb UpdateItem": 2},
    ("bucket", "never"): {"dynamodb UpdateItem": 2},
    ("bucket", "before"): {"dynamodb UpdateItem": 4},
    # What is in S3 already is read before it is replaced.
    ("s3", "after"): {"s3 PutObject": 2, "s3 GetObject": 1},
    ("s3", "never"): {"s3 PutObject": 2, "s3 GetObject": 1},
    ("s3", "before"): {"s3 PutObject": 4, "s3 GetObject": 3},
}
"""What a record costs: it is acquired and completed; handed over and extended in between."""


@pytest.fixture
def with_bucket(emulator: Emulator) -> Iterator[Ends]:
    yield from make_ends(emulator, "bucket")


@pytest.fixture(params=["bucket", "s3"])
def in_s3(emulator: Emulator, request: pytest.FixtureRequest) -> Iterator[Ends]:
    yield from make_ends(emulator, request.param)


def make_ends(emulator: Emulator, place: Place) -> Iterator[Ends]:
    ends = Ends(emulator, OLD_QUEUE, place)
    ends.learn_the_time()
    yield ends
    ends.close()


@pytest.mark.parametrize("purge", ["after", "before", "never"])
def test_contents_are_one_object_that_is_written_read_and_removed_once(
    in_s3: Ends, payloads: Mapping[PayloadName, PayloadFile], purge: Purge
) -> None:
    result, _, traffic = in_s3.round(payloads[NOISE], purge=purge)

    assert result.route == "stored"
    expected = ONE_MESSAGE | ONE_OBJECT
    for call, count in RECORDS[in_s3.place, purge].items():
        expected[call] = expected.get(call, 0) + count
    if purge == "never":
        del expected["s3 DeleteObject"]
    assert traffic.calls == expected
    assert traffic.units == estimated(
        result.sent_size, result.stored_size, place=in_s3.place, purge=purge
    )


def test_the_size_of_what_is_stored_costs_nothing(
    with_bucket: Ends, payloads: Mapping[PayloadName, PayloadFile]
) -> None:
    units = [with_bucket.round(payloads[name])[2].units for name in ("5 MB", NOISE)]

    assert units == [Units(sqs_requests=3, s3_writes=1, s3_reads=1, writes=2)] * 2
    assert dollars_per_million(units[0]) < 8


def test_a_sender_writes_one_object_and_asks_no_table(
    in_s3: Ends, payloads: Mapping[PayloadName, PayloadFile]
) -> None:
    result, traffic = in_s3.send(payloads[NOISE])

    assert result.route == "stored"
    assert traffic.calls == {"s3 PutObject": 1, "sqs SendMessage": 1}


def test_stored_contents_travel_once_each_way_as_they_are(
    with_bucket: Ends, payloads: Mapping[PayloadName, PayloadFile]
) -> None:
    result, _, traffic = with_bucket.round(payloads[NOISE])

    overhead = traffic.call_count * 1_500
    assert result.stored_size < traffic.sent < result.stored_size + overhead
    assert result.stored_size < traffic.received < result.stored_size + overhead


def test_only_the_receipt_is_left(in_s3: Ends, payloads: Mapping[PayloadName, PayloadFile]) -> None:
    result, _, _ = in_s3.round(payloads[NOISE])

    emulator = in_s3.emulator
    objects = emulator.server.objects_in(emulator.bucket).keys()
    records = emulator.server.dynamodb().scan(TableName=emulator.table, ConsistentRead=True)
    keys = {item["id"]["S"] for item in records["Items"]} | objects
    receipt = f"{result.claim_id}@" if in_s3.place == "bucket" else f"records/{result.claim_id}@"
    assert {each for each in keys if str(result.claim_id) in each} == {receipt}


@pytest.mark.parametrize("ended", [True, False], ids=["a duplicate", "in progress"])
def test_a_delivery_that_is_refused_costs_one_write(
    in_s3: Ends, payloads: Mapping[PayloadName, PayloadFile], ended: bool
) -> None:
    body = in_s3.claim_check.seal(payloads[NOISE].path.read_bytes()).body.decode()
    first = in_s3.claim_check.open(body)
    if ended:
        first.complete()
        in_s3.claim_check.store.close()  # which waits for the removal
    in_s3.emulator.proxy.start(metered=True)

    with pytest.raises(ClaimAlreadyProcessed if ended else ClaimInProgress):
        in_s3.claim_check.open(body)

    in_s3.claim_check.store.close()  # and so waits for reads that were begun
    refused = in_s3.emulator.proxy.stop()
    assert refused.units.writes + refused.units.s3_writes == 1
    # The record where it is in S3, and contents that are looked for beside.
    assert refused.units.s3_reads <= 2
    if not ended:
        first.complete()
