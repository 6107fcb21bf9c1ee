"""SQS records of every kind, read once, and copied with another body."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from letsgo_queue import MessageAttribute, MessageInvalid
from letsgo_queue.aws_lambda.records import (
    SqsRecord,
    is_record,
    is_scheduled,
    local_record,
    md5_of,
    records_in,
    with_records,
)
from letsgo_queue.transports.base import OutgoingMessage
from tests.letsgo_queue.aws_lambda.lambda_events import FIFO, SCHEDULED, STANDARD
from tests.letsgo_queue.support import COMPLETE, TRACE

RECORD: dict[str, Any] = STANDARD["Records"][0]
FIFO_RECORD: dict[str, Any] = FIFO["Records"][0]

BOTO3: dict[str, Any] = {
    "MessageId": RECORD["messageId"],
    "ReceiptHandle": "handle",
    "MD5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
    "Body": "Test message.",
    "Attributes": {"ApproximateReceiveCount": "3", "SentTimestamp": "1545082649183"},
    "MessageAttributes": {"key": {"DataType": "Binary", "BinaryValue": b"\1\2"}},
}
"""As boto3's `receive_message` gives it."""

SEALED = '{"type":"order:new","claimCheck":{"v":1}}'


class Model(BaseModel, frozen=True):
    messageId: str  # noqa: N815  as SQS has it
    body: str
    md5OfBody: str = ""  # noqa: N815


@dataclass(frozen=True, slots=True)
class Frozen:
    message_id: str
    body: str


class TestReading:
    def test_the_documented_record(self) -> None:
        record = SqsRecord(RECORD)

        received = record.received()

        assert received.message_id == record.name == RECORD["messageId"]
        assert received.receipt_handle == RECORD["receiptHandle"]
        assert received.body == record.body == "Test message."
        assert received.attributes == {"myAttribute": MessageAttribute("String", "myValue")}
        assert received.receive_count == 1
        assert received.sent_at == 1545082649.183
        assert received.invisible_until is None
        assert received.group_id is None
        assert record.queue_url == "https://sqs.us-east-2.amazonaws.com/123456789012/my-queue"
        assert not record.is_fifo

    def test_a_fifo_record(self) -> None:
        record = SqsRecord(FIFO_RECORD)

        assert record.is_fifo
        assert record.group_id == record.received().group_id == "1"

    def test_a_message_of_boto3(self) -> None:
        record = SqsRecord(BOTO3)

        received = record.received()

        assert received.message_id == RECORD["messageId"]
        assert received.receipt_handle == "handle"
        assert received.body == "Test message."
        assert received.attributes == {"key": MessageAttribute("Binary", b"\1\2")}
        assert (received.receive_count, received.sent_at) == (3, 1545082649.183)
        assert record.queue_url is None

    def test_an_object_as_python_would_write_it(self) -> None:
        record = SqsRecord(
            SimpleNamespace(
                message_id="m-1",
                receipt_handle="handle",
                body="text",
                event_source_arn="arn:aws:sqs:eu-west-1:1:orders.fifo",
                attributes=SimpleNamespace(
                    approximate_receive_count="2",
                    sent_timestamp=datetime(2026, 1, 1, tzinfo=UTC),
                    message_group_id="a",
                ),
                message_attributes={"n": SimpleNamespace(data_type="Number.int", string_value="7")},
            )
        )

        received = record.received()

        assert (received.message_id, received.receipt_handle) == ("m-1", "handle")
        assert (received.receive_count, received.group_id) == (2, "a")
        assert received.sent_at == datetime(2026, 1, 1, tzinfo=UTC).timestamp()
        assert received.attributes == {"n": MessageAttribute("Number.int", "7")}
        assert record.is_fifo

    def test_a_binary_attribute_of_lambda_is_base64(self) -> None:
        attributes = {"key": {"dataType": "Binary.png", "binaryValue": "AQI="}}

        received = SqsRecord({**RECORD, "messageAttributes": attributes}).received()

        assert received.attributes == {"key": MessageAttribute("Binary.png", b"\1\2")}

    def test_a_body_is_enough(self) -> None:
        received = SqsRecord({"body": "text"}).received(seconds_left=10)

        assert (received.message_id, received.body) == ("(no id)", "text")
        assert (received.receive_count, received.sent_at, received.attributes) == (1, 0, {})
        assert received.invisible_until is not None

    @pytest.mark.parametrize(
        "changes",
        [
            {"body": None},
            {"body": {"parsed": 1}},
            {"body": 7},
            {"attributes": {"ApproximateReceiveCount": "many"}},
            {"attributes": {"SentTimestamp": "9" * 400}},
            {"messageAttributes": ["list"]},
            {"messageAttributes": {"a": None}},
            {"messageAttributes": {"a": {"dataType": "String"}}},
            {"messageAttributes": {"a": {"dataType": "Binary", "binaryValue": "?"}}},
        ],
    )
    def test_nonsense_is_an_error_that_names_the_message(self, changes: dict[str, object]) -> None:
        with pytest.raises(MessageInvalid, match=f"message {RECORD['messageId']}: its record is"):
            SqsRecord({**RECORD, **changes}).received()

    @pytest.mark.parametrize(
        ("arn", "url"),
        [
            (
                "arn:aws-cn:sqs:cn-north-1:123456789012:orders",
                "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/orders",
            ),
            (
                "arn:aws-us-gov:sqs:us-gov-west-1:1:orders.fifo",
                "https://sqs.us-gov-west-1.amazonaws.com/1/orders.fifo",
            ),
            ("letsgo:local:me", None),
            ("arn:aws:sns:us-east-1:1:topic", None),
            ("arn:aws:sqs:us-east-1:1", None),
            ("", None),
            (None, None),
        ],
    )
    def test_the_url_of_its_queue_follows_from_the_arn(
        self, arn: str | None, url: str | None
    ) -> None:
        assert SqsRecord({**RECORD, "eventSourceARN": arn}).queue_url == url

    @pytest.mark.parametrize(
        ("body", "sealed"),
        [
            (SEALED, True),
            (json.loads(SEALED), True),
            ("text", False),
            ({"type": "x", "payload": 1}, False),
            (None, False),
            (7, False),
        ],
    )
    def test_knows_whether_it_is_sealed(self, body: object, sealed: bool) -> None:
        assert SqsRecord({**RECORD, "body": body}).is_sealed is sealed


class TestCopies:
    @pytest.mark.parametrize(
        "record",
        [
            RECORD,
            BOTO3,
            Model(messageId="a", body="old"),
            Frozen("a", "old"),
            SimpleNamespace(body="old", other=1),
            MappingProxyType({"body": "old"}),
        ],
        ids=["dict", "boto3", "model", "dataclass", "object", "mapping"],
    )
    def test_have_another_body_and_nothing_else_is_different(self, record: object) -> None:
        before = copy.deepcopy(dict(record) if isinstance(record, Mapping) else record)

        changed = SqsRecord(record).with_body("new")

        assert SqsRecord(changed).body == "new"
        if not isinstance(record, Mapping):
            assert type(changed) is type(record)
        assert (dict(record) if isinstance(record, Mapping) else record) == before

    def test_have_the_md5_of_that_body(self) -> None:
        changed = SqsRecord(RECORD).with_body("größer")

        assert isinstance(changed, dict)
        assert changed["md5OfBody"] == hashlib.md5("größer".encode()).hexdigest()
        assert changed == {**RECORD, "body": "größer", "md5OfBody": changed["md5OfBody"]}

    def test_that_cannot_be_made_are_a_type_error(self) -> None:
        class Fixed:
            body = property(lambda _: "old")

        class Uncopyable:
            body = "old"

            def __copy__(self) -> None:
                raise copy.Error("not this one")

        for record in (Fixed(), Uncopyable()):
            with pytest.raises(TypeError):
                SqsRecord(record).with_body("new")


class TestEvents:
    @pytest.mark.parametrize(
        ("value", "is_one"),
        [
            (RECORD, True),
            (BOTO3, True),
            ({"body": None}, True),
            (Frozen("a", "b"), True),
            ({"type": "mail:new", "body": "text"}, False),
            (SimpleNamespace(type="mail:new", body="text"), False),
            ({"eventSource": "aws:s3"}, False),
            ("text", False),
            (None, False),
        ],
    )
    def test_a_record_has_a_body_and_no_type(self, value: object, is_one: bool) -> None:
        assert is_record(value) is is_one

    @pytest.mark.parametrize(
        ("event", "count"),
        [
            (STANDARD, 2),
            ({"Records": []}, 0),
            ({"Records": (RECORD,)}, 1),
            (SimpleNamespace(Records=[RECORD]), 1),
            ([RECORD, BOTO3], 2),
            ([], 0),
            ({"Records": [RECORD, {"damaged": 1}]}, 2),
            ({"Records": [{"eventSource": "aws:s3"}]}, None),
            ({"Records": "text"}, None),
            ({"Records": None}, None),
            (SCHEDULED, None),
            ({}, None),
            ("text", None),
            ((RECORD,), 1),
            ((1, "text"), None),
        ],
    )
    def test_has_records_or_is_a_list_of_them(self, event: object, count: int | None) -> None:
        records = records_in(event)

        assert (None if records is None else len(records)) == count

    @pytest.mark.parametrize(
        "make",
        [
            lambda records: {"Records": records, "more": 1},
            lambda records: SimpleNamespace(Records=records),
            lambda records: records,
        ],
        ids=["dict", "object", "list"],
    )
    def test_is_copied_with_other_records(self, make: Callable[[list[object]], object]) -> None:
        event = make([RECORD, BOTO3])

        changed = with_records(event, [BOTO3])

        assert type(changed) is type(event)
        assert records_in(changed) == [BOTO3]
        assert records_in(event) == [RECORD, BOTO3]

    def test_of_a_schedule_has_none(self) -> None:
        assert is_scheduled(SCHEDULED)
        assert not is_scheduled(STANDARD)
        assert not is_scheduled([RECORD])


class Odd(Mapping[str, Any]):
    """A mapping that is no dict, as data classes of frameworks are."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def __getitem__(self, key: str) -> Any:
        return self._fields[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def test_a_mapping_that_is_no_dict_is_read_and_copied() -> None:
    record = SqsRecord(Odd(RECORD))

    assert record.received().attributes == {"myAttribute": MessageAttribute("String", "myValue")}
    assert SqsRecord(record.with_body("new")).received().body == "new"


def test_a_record_of_local_mode_is_read_as_it_was_made() -> None:
    message = OutgoingMessage(
        type="order:new",
        body='{"type":"order:new","payload":"größer"}'.encode(),
        attributes=COMPLETE,
        group_id="a",
        trace_header=TRACE,
    )
    record = local_record(
        message,
        message_id="m-1",
        receipt_handle="handle",
        sender="letsgo:local:me",
        region="us-west-2",
        sent_at=1_800_000_000.5,
    )

    received = SqsRecord(json.loads(json.dumps(record))).received()

    assert (received.message_id, received.receipt_handle) == ("m-1", "handle")
    assert received.body.encode() == message.body
    assert record["md5OfBody"] == md5_of(received.body)
    assert received.attributes == COMPLETE
    assert (received.sent_at, received.group_id) == (1_800_000_000.5, "a")
    assert received.trace_header == TRACE
