"""`@unwrap_claim_check` on messages of SQS with claims in DynamoDB.

Lambda's pollers are played by the test: they receive messages, and delete what the answer says.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import boto3
import pytest

import claimcheck
from claimcheck import ClaimAlreadyProcessed, RecordUnsupported, open_store, unwrap_claim_check
from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import default_client
from tests.claimcheck.lambda_claims import (
    Claims,
    Function,
    deleted_by_lambda,
    event_of,
    failed,
    ids_in,
    record_of,
)
from tests.claimcheck.support import noise
from tests.letsgo_queue.aws_lambda.lambda_events import Context, receive_event
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

Event = dict[str, Any]


@pytest.fixture
def claims(ministack: AwsServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Claims]:
    """Claims in the table that the environment names."""
    table = ministack.make_table_name()
    ClaimTable(table, region=ministack.region).create()
    monkeypatch.setenv("CLAIMCHECK_STORE", f"dynamodb://{table}")
    monkeypatch.setenv("CLAIMCHECK_THRESHOLD", "1000")
    monkeypatch.setenv("CLAIMCHECK_INLINE_LIMIT", "1000")
    store = open_store(f"dynamodb://{table}", region=ministack.region)
    yield Claims(store)
    store.close()


@pytest.fixture(autouse=True)
def close_the_default_client() -> Iterator[None]:
    yield
    default_client().close()


@pytest.fixture
def queue(ministack: AwsServer) -> str:
    """A queue whose messages stay away for longer than a test takes."""
    return ministack.make_queue(VisibilityTimeout="600")


def enqueue(queue: str, *payloads: str, **options: Any) -> None:
    for payload in payloads:
        claimcheck.enqueue({"type": "order:new", "payload": payload}, queue=queue, **options)


def receive(server: AwsServer, queue: str, wanted: int) -> Event:
    """The event of the next batch."""
    records: list[Mapping[str, Any]] = []

    def more() -> bool:
        records.extend(receive_event(server, queue, visibility_timeout=600)["Records"])
        return len(records) >= wanted

    wait_for(more, f"{wanted} messages")
    return event_of(*records)


def delete(server: AwsServer, queue: str, event: Event, answer: object) -> None:
    deleted = deleted_by_lambda(event, answer)
    for record in event["Records"]:
        if record["messageId"] in deleted:
            server.sqs().delete_message(QueueUrl=queue, ReceiptHandle=record["receiptHandle"])


def show_again(server: AwsServer, queue: str, event: Event) -> None:
    """Make all messages that are left visible at once."""
    sqs = server.sqs()
    for record in event["Records"]:
        handle = record["receiptHandle"]
        sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=0)


class TestEvents:
    def test_what_fails_comes_again_and_in_the_end_receipts_are_left(
        self, ministack: AwsServer, claims: Claims, queue: str
    ) -> None:
        payloads = [noise(3_000, seed) for seed in range(3)]
        enqueue(queue, *payloads, "small")
        handled: list[str] = []

        @unwrap_claim_check
        def handler(event: Event, context: object) -> object:
            failures = []
            for record in event["Records"]:
                payload = json.loads(record["body"])["payload"]
                if payload == payloads[0] and record["attributes"]["ApproximateReceiveCount"] < "2":
                    failures.append(record["messageId"])
                else:
                    handled.append(payload)
            return failed(*failures)

        event = receive(ministack, queue, 4)
        bodies = [each["body"] for each in event["Records"] if len(each["body"]) > 100]
        answer = handler(event, Context())
        assert isinstance(answer, dict)
        assert len(answer["batchItemFailures"]) == 1
        assert sorted(claims.states(bodies)) == ["done", "done", "there"]
        delete(ministack, queue, event, answer)
        assert sorted(handled) == sorted([*payloads[1:], "small"])

        (failure,) = answer["batchItemFailures"]
        left = [r for r in event["Records"] if r["messageId"] == failure["itemIdentifier"]]
        show_again(ministack, queue, event_of(*left))
        event = receive(ministack, queue, 1)
        delete(ministack, queue, event, handler(event, Context()))

        assert sorted(handled) == sorted([*payloads, "small"])
        assert claims.states(bodies) == ["done"] * 3

    def test_fifo_keeps_its_order(self, ministack: AwsServer, claims: Claims) -> None:
        queue = ministack.make_queue(FifoQueue="true", ContentBasedDeduplication="true")
        payloads = [noise(3_000, seed) for seed in range(3)]
        enqueue(queue, *payloads, group_id="1")
        event = receive(ministack, queue, 3)
        bodies = [record["body"] for record in event["Records"]]
        claims.hold(bodies[1])
        handled: list[str] = []

        @unwrap_claim_check
        def handler(event: Event, context: object) -> Any:
            handled.extend(json.loads(r["body"])["payload"] for r in event["Records"])

        answer = handler(event, Context())

        assert answer == failed(*ids_in(event)[1:])
        assert handled == payloads[:1]
        assert claims.states(bodies) == ["done", "held", "there"]

    def test_what_is_handled_elsewhere_comes_when_that_lease_ends(
        self, ministack: AwsServer, queue: str, store: MemoryClaimStore
    ) -> None:
        """Its own visibility timeout would keep it away for ten minutes."""
        claims = Claims(store)
        body = claims.sealed()
        ministack.sqs().send_message(QueueUrl=queue, MessageBody=body)
        claims.hold(body, seconds=0.1)  # by a clock that stands still
        function = Function(claims)

        event = receive(ministack, queue, 1)
        told = time.monotonic()
        assert function.decorated()(event, Context()) == failed(*ids_in(event))

        assert ids_in(receive(ministack, queue, 1)) == ids_in(event)
        # Each look costs a receive: not ten a second, for a lease that is about to end.
        assert time.monotonic() - told > 3
        assert function.seen == []

    def test_where_sqs_cannot_be_told_it_comes_by_its_own_timeout(
        self, claims: Claims, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        body = claims.sealed()
        claims.hold(body)
        record = record_of(body, "a")  # of a queue that is not there

        assert Function(claims).decorated()(event_of(record), Context()) == failed("a")
        assert "message a keeps its own visibility timeout" in caplog.text


class TestRecords:
    def test_a_record_all_the_way(self, ministack: AwsServer, claims: Claims, queue: str) -> None:
        payload = noise(500_000)
        enqueue(queue, payload)
        (record,) = receive(ministack, queue, 1)["Records"]

        @unwrap_claim_check
        def on_record(record: dict[str, Any], *, fails: bool) -> str:
            if fails:
                raise ZeroDivisionError
            return str(json.loads(record["body"])["payload"])

        with pytest.raises(ZeroDivisionError):
            on_record(record, fails=True)
        assert on_record(record, fails=False) == payload
        assert claims.state(record["body"]) == "done"


class TestMessagesOfBoto3:
    """As `receive_message` gives them, with `Body` and `MessageId`."""

    @pytest.fixture
    def messages(self, ministack: AwsServer, claims: Claims, queue: str) -> list[MessageTypeDef]:
        enqueue(queue, noise(3_000), attributes={"tenant": "a", "key": b"\1"})
        enqueue(queue, "small")
        found: list[MessageTypeDef] = []

        def more() -> bool:
            found.extend(
                ministack.sqs()
                .receive_message(
                    QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
                )
                .get("Messages", [])
            )
            return len(found) == 2

        wait_for(more, "two messages")
        return sorted(found, key=lambda each: len(each["Body"]), reverse=True)

    def test_one_is_opened(self, claims: Claims, messages: list[MessageTypeDef]) -> None:
        message = messages[0]
        before = dict(message)

        @unwrap_claim_check
        def on_message(message: MessageTypeDef) -> MessageTypeDef:
            assert claims.state(messages[0]["Body"]) == "held"
            return message

        got = on_message(message)

        assert json.loads(got["Body"])["payload"] == noise(3_000)
        assert got.keys() == message.keys()
        assert got["MessageAttributes"] == message["MessageAttributes"]
        assert dict(message) == before
        assert claims.state(message["Body"]) == "done"

    def test_a_duplicate_is_not(self, messages: list[MessageTypeDef]) -> None:
        @unwrap_claim_check(on_duplicate="raise")
        def on_message(message: MessageTypeDef) -> None: ...

        on_message(messages[0])

        with pytest.raises(ClaimAlreadyProcessed, match=messages[0]["MessageId"]):
            on_message(messages[0])

    def test_a_list_of_them_is_a_batch(
        self, claims: Claims, messages: list[MessageTypeDef]
    ) -> None:
        @unwrap_claim_check
        def on_messages(messages: list[MessageTypeDef]) -> object:
            assert [json.loads(each["Body"])["payload"] for each in messages] == [
                noise(3_000),
                "small",
            ]
            return failed(messages[0].get("MessageId", ""))

        assert on_messages(messages) == failed(messages[0]["MessageId"])
        assert claims.state(messages[0]["Body"]) == "there"

    def test_a_resource_cannot_be_copied_and_says_so(
        self, ministack: AwsServer, claims: Claims, queue: str
    ) -> None:
        enqueue(queue, noise(3_000))
        resource = boto3.resource("sqs", ministack.region, endpoint_url=ministack.endpoint_url)
        (message,) = wait_for(
            lambda: list(resource.Queue(queue).receive_messages(MaxNumberOfMessages=1)), "it"
        )

        @unwrap_claim_check
        def on_message(message: object) -> None:
            raise AssertionError

        with pytest.raises(RecordUnsupported, match="Give the function a dict"):
            on_message(message)
        assert claims.state(message.body) == "there"
