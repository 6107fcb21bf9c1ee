"""What AWS bills: its own examples, and easy mistakes."""

from __future__ import annotations

import base64
import json
from typing import Any, TypeAlias

import pytest

from tests.benchmarks.billing import Meter, item_size
from tests.benchmarks.networks import Link
from tests.benchmarks.prices import Units, dollars_per_million

Call: TypeAlias = tuple[str, str, Any, Any]
"""Service, operation, request and answer."""

KEY = {"id": {"S": "claim/0"}}


def part(size: int) -> dict[str, dict[str, str]]:
    """An item with so many bytes of data."""
    return {**KEY, "data": {"B": base64.b64encode(bytes(size)).decode()}}


def metered(*calls: Call) -> Units:
    meter = Meter()
    for service, operation, request, answer in calls:
        meter.add(service, operation, json.dumps(request).encode(), json.dumps(answer).encode())
    return meter.units


@pytest.mark.parametrize(("size", "requests"), [(1, 1), (65_536, 1), (65_537, 2), (262_144, 4)])
def test_each_64_kb_that_is_sent_or_received_is_a_request(size: int, requests: int) -> None:
    body = "x" * size

    assert metered(("sqs", "SendMessage", {"MessageBody": body}, {})).sqs_requests == requests
    received = {"Messages": [{"Body": body}]}
    assert metered(("sqs", "ReceiveMessage", {}, received)).sqs_requests == requests
    assert metered(("sqs", "DeleteMessage", {"ReceiptHandle": body}, {})).sqs_requests == 1


def test_a_batch_is_billed_by_the_sum_of_its_messages() -> None:
    entries = [{"MessageBody": "x" * 20_000}] * 10

    assert metered(("sqs", "SendMessageBatch", {"Entries": entries}, {})).sqs_requests == 4


def test_attributes_count_with_name_type_and_value() -> None:
    attribute = {"DataType": "Number", "StringValue": "12"}
    request = {"MessageBody": "x" * 65_536, "MessageAttributes": {"size": attribute}}

    assert metered(("sqs", "SendMessage", request, {})).sqs_requests == 2


def test_deleting_an_item_costs_as_much_as_writing_it() -> None:
    written: Call = ("dynamodb", "PutItem", {"TableName": "t", "Item": part(390_000)}, {})
    deleted: Call = ("dynamodb", "DeleteItem", {"TableName": "t", "Key": KEY}, {})

    assert metered(written).writes == 381
    assert metered(written, deleted).writes == 2 * 381
    assert metered(deleted).writes == 1


def test_an_eventually_consistent_read_costs_half() -> None:
    written: Call = ("dynamodb", "PutItem", {"TableName": "t", "Item": part(390_000)}, {})
    read: dict[str, Any] = {"TableName": "t", "Key": KEY}

    assert metered(written, ("dynamodb", "GetItem", read, {})).reads == 48
    consistent = {**read, "ConsistentRead": True}
    assert metered(written, ("dynamodb", "GetItem", consistent, {})).reads == 96


def test_a_batch_of_dynamodb_costs_as_much_as_its_entries_alone() -> None:
    puts = {"RequestItems": {"t": [{"PutRequest": {"Item": part(2_000)}}]}}
    gets = {"RequestItems": {"t": {"Keys": [KEY], "ConsistentRead": True}}}
    deletes = {"RequestItems": {"t": [{"DeleteRequest": {"Key": KEY}}]}}

    units = metered(
        ("dynamodb", "BatchWriteItem", puts, {}),
        ("dynamodb", "BatchGetItem", gets, {}),
        ("dynamodb", "BatchWriteItem", deletes, {}),
    )

    assert units == Units(writes=4, reads=1)


def test_deleting_an_object_is_free() -> None:
    calls: list[Call] = [("s3", f"{what}Object", {}, {}) for what in ("Put", "Get", "Delete")]

    assert metered(*calls) == Units(s3_writes=1, s3_reads=1)


def test_an_upload_in_parts_is_billed_for_each_and_for_its_begin_and_end() -> None:
    operations = ["CreateMultipartUpload", *["UploadPart"] * 3, "CompleteMultipartUpload"]

    assert metered(*[("s3", each, {}, {}) for each in operations]) == Units(s3_writes=5)


@pytest.mark.parametrize(
    ("service", "operation"), [("dynamodb", "TransactWriteItems"), ("s3", "CopyObject")]
)
def test_an_unknown_operation_is_refused(service: str, operation: str) -> None:
    with pytest.raises(ValueError, match=operation):
        metered((service, operation, {"TableName": "t"}, {}))


def test_the_size_of_an_item_is_that_of_its_names_and_values() -> None:
    # Names 2 + 4 + 10, values 7 + 100 + 6.
    item = {**part(100), "expires_at": {"N": "1796745600"}}

    assert item_size(item) == 129


def test_dollars() -> None:
    units = Units(sqs_requests=3, writes=1_000, reads=100, s3_writes=1, s3_reads=1)

    assert dollars_per_million(units) == pytest.approx(1.2 + 625 + 12.5 + 5 + 0.4)


def test_a_link_carries_all_connections_one_after_the_other() -> None:
    link = Link(bytes_per_second=1_000)

    assert link.carry(500, now=10.0) == 10.5
    assert link.carry(500, now=10.1) == 11.0
    assert link.carry(500, now=20.0) == 20.5
