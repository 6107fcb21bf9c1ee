"""Pointers of AWS's extended clients: opened with a lease and a receipt, and written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from claimcheck import (
    AwsPointers,
    ClaimCheck,
    ClaimCheckMiddleware,
    ClaimCheckSettings,
    ClaimInProgress,
    ClaimMissing,
    ConsumerUnknown,
    SettingsInvalid,
    TicketInvalid,
    unwrap_claim_check,
)
from claimcheck.cli.show import report_on
from claimcheck.integrations.boto3 import attach
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import Client, Message, RetryPolicy, Worker
from tests.claimcheck.extended_client import ExtendedClient
from tests.claimcheck.support import message_body, noise
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

LARGE = message_body("order:new", noise(400_000))
SMALL = message_body("order:new", "small")


@pytest.fixture
def bucket(ministack: AwsServer) -> str:
    return ministack.make_bucket()


@pytest.fixture
def queue(ministack: AwsServer) -> str:
    return ministack.make_queue(VisibilityTimeout="600")


@pytest.fixture
def store() -> MemoryClaimStore:
    return MemoryClaimStore()


@pytest.fixture
def check(store: MemoryClaimStore, bucket: str) -> Iterator[ClaimCheck]:
    check = ClaimCheck(store, aws_pointers=AwsPointers([bucket], remove=True))
    yield check
    check.close()


@pytest.fixture
def theirs(queue: str, bucket: str) -> ExtendedClient:
    return ExtendedClient(queue, bucket)


def pointer(bucket: str, key: str, *, old: bool = False) -> str:
    """What AWS's client for Java sends."""
    name = (
        "com.amazon.sqs.javamessaging.MessageS3Pointer"
        if old
        else "software.amazon.payloadoffloading.PayloadS3Pointer"
    )
    return f'["{name}",{{"s3BucketName":"{bucket}","s3Key":"{key}"}}]'


def put(aws: AwsServer, bucket: str, key: str, text: str) -> None:
    client = aws.s3()
    client.put_object(Bucket=bucket, Key=key, Body=text.encode())
    client.close()


def states(store: MemoryClaimStore) -> list[str]:
    found = [store.look_up(key) for key in store._records]
    return [record.state for record in found if record is not None]


class TestOpen:
    @pytest.mark.parametrize("old", [False, True])
    def test_what_java_sends_is_opened_once(
        self,
        ministack: AwsServer,
        check: ClaimCheck,
        bucket: str,
        store: MemoryClaimStore,
        old: bool,
    ) -> None:
        put(ministack, bucket, "a/b c", LARGE)
        body = pointer(bucket, "a/b c", old=old)
        with check.open(body, consumer="a") as opened:
            assert (opened.body, opened.route) == (LARGE, "stored")
            with pytest.raises(ClaimInProgress):
                check.open(body, consumer="a")
        assert (states(store), ministack.objects_in(bucket)) == (["done"], {})

    def test_work_that_failed_leaves_everything(
        self, ministack: AwsServer, check: ClaimCheck, bucket: str, store: MemoryClaimStore
    ) -> None:
        put(ministack, bucket, "k", LARGE)
        with pytest.raises(ZeroDivisionError), check.open(pointer(bucket, "k"), consumer="a"):
            raise ZeroDivisionError
        assert (states(store), len(ministack.objects_in(bucket))) == ([], 1)

    def test_objects_stay_unless_asked_for(
        self, ministack: AwsServer, bucket: str, store: MemoryClaimStore
    ) -> None:
        check = ClaimCheck(store, aws_pointers=[bucket])
        put(ministack, bucket, "k", LARGE)
        with check.open(pointer(bucket, "k"), consumer="a"):
            pass
        with check.open(pointer(bucket, "k"), consumer="b") as opened:
            assert opened.body == LARGE  # another queue of a topic
        assert (states(store), len(ministack.objects_in(bucket))) == (["done", "done"], 1)
        check.close()

    def test_other_buckets_are_refused(self, check: ClaimCheck, store: MemoryClaimStore) -> None:
        with pytest.raises(TicketInvalid, match="'elsewhere', which is none of those"):
            check.open(pointer("elsewhere", "k"))
        assert states(store) == []

    def test_an_object_that_is_not_there_is_missing(
        self, check: ClaimCheck, bucket: str, store: MemoryClaimStore
    ) -> None:
        with pytest.raises(ClaimMissing, match="not acknowledged"):
            check.open(pointer(bucket, "k"), consumer="a")
        assert states(store) == []

    def test_who_does_not_know_its_queue_opens_none(self, check: ClaimCheck, bucket: str) -> None:
        with pytest.raises(ConsumerUnknown, match="eventSourceARN"):
            check.open(pointer(bucket, "k"))

    def test_two_messages_may_name_one_object(
        self, ministack: AwsServer, bucket: str, store: MemoryClaimStore
    ) -> None:
        check = ClaimCheck(store, aws_pointers=[bucket])
        put(ministack, bucket, "k", LARGE)
        for id in ("one", "two"):
            with check.open(pointer(bucket, "k"), message_id=id, consumer="a") as opened:
                assert opened.body == LARGE
        check.close()

    @pytest.mark.parametrize(
        "rest", ["", "]", ",{}]", ",5]", ',{"s3BucketName":5,"s3Key":"k"}]', "," + "[" * 9_000]
    )
    def test_malformed_ones_are_refused(self, check: ClaimCheck, rest: str) -> None:
        with pytest.raises(TicketInvalid, match="pointer"):
            check.open('["software.amazon.payloadoffloading.PayloadS3Pointer"' + rest)

    @pytest.mark.parametrize("half", ["\ud800", "\\ud800"])
    def test_a_key_with_half_a_character_is_none(
        self, check: ClaimCheck, bucket: str, half: str
    ) -> None:
        with pytest.raises(TicketInvalid, match="pointer to S3 is malformed"):
            check.open(pointer(bucket, half), consumer="a")

    def test_without_buckets_a_pointer_is_left_as_it_is(self, store: MemoryClaimStore) -> None:
        body = pointer("any", "k")
        assert ClaimCheck(store).open(body).body == body


class TestWithTheirClient:
    def test_a_worker_handles_what_it_sends(
        self,
        ministack: AwsServer,
        theirs: ExtendedClient,
        check: ClaimCheck,
        queue: str,
        bucket: str,
    ) -> None:
        theirs.send(LARGE, SMALL, LARGE)
        worker = Worker(queue, middleware=[ClaimCheckMiddleware(check)])
        seen = list[object]()

        @worker.handler("order:new")
        async def handle(message: Message[str]) -> None:
            seen.append(message.payload)

        worker.run(burst=True)
        assert sorted(map(str, seen)) == sorted(
            json.loads(body)["payload"] for body in (LARGE, SMALL, LARGE)
        )
        assert ministack.objects_in(bucket) == {}

    def test_a_handler_that_is_decorated_gets_it_too(
        self,
        ministack: AwsServer,
        theirs: ExtendedClient,
        check: ClaimCheck,
        queue: str,
        bucket: str,
    ) -> None:
        theirs.send(LARGE)
        worker = Worker(queue)
        seen = list[object]()

        @worker.handler("order:new")
        @unwrap_claim_check(claim_check=check)
        def handle(message: Message[str]) -> None:
            seen.append(message.payload)

        worker.run(burst=True)
        assert seen == [json.loads(LARGE)["payload"]]
        assert ministack.objects_in(bucket) == {}

    def test_a_lambda_handler_opens_what_it_sends(
        self,
        theirs: ExtendedClient,
        check: ClaimCheck,
        queue: str,
        ministack: AwsServer,
        bucket: str,
    ) -> None:
        theirs.send(LARGE)
        plain = ministack.sqs()
        [message] = plain.receive_message(QueueUrl=queue, MessageAttributeNames=["All"])["Messages"]
        plain.close()
        record = {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "0"},
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-west-2:000000000000:orders",
            "awsRegion": "us-west-2",
        }
        bodies = list[str]()

        @unwrap_claim_check(claim_check=check)
        def handler(event: dict[str, Any], context: object) -> None:
            bodies.extend(each["body"] for each in event["Records"])

        handler({"Records": [record]}, None)
        handler({"Records": [record]}, None)  # a duplicate
        assert bodies == [LARGE]
        assert ministack.objects_in(bucket) == {}

    def test_an_attached_client_opens_what_it_sends_and_any_process_settles_it(
        self,
        ministack: AwsServer,
        theirs: ExtendedClient,
        check: ClaimCheck,
        queue: str,
        bucket: str,
    ) -> None:
        theirs.send(LARGE)
        ours, other = attach(ministack.sqs(), check), attach(ministack.sqs(), check)
        [message] = ours.receive_message(QueueUrl=queue, MessageAttributeNames=["All"])["Messages"]
        assert message["Body"] == LARGE
        assert "MessageAttributes" not in message
        other.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        assert ministack.objects_in(bucket) == {}
        ours.close()
        other.close()


@pytest.mark.parametrize("remove", [True, False])
def test_by_the_environment_an_object_is_removed_after_success_if_that_is_asked_for(
    ministack: AwsServer,
    theirs: ExtendedClient,
    remove: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    bucket = theirs.bucket
    monkeypatch.setenv("CLAIMCHECK_STORE", f"sqlite:///{tmp_path}/claims.db")
    monkeypatch.setenv("CLAIMCHECK_AWS_POINTERS", bucket)
    monkeypatch.setenv("CLAIMCHECK_AWS_POINTERS_REMOVE", str(remove).lower())
    theirs.send(LARGE)
    worker = Worker(
        theirs.queue,
        middleware=[ClaimCheckMiddleware()],
        retry_policy=RetryPolicy(base=0, cap=0),
    )
    left = list[int]()

    @worker.handler("order:new")
    def handle(message: Message[str]) -> None:
        left.append(len(ministack.objects_in(bucket)))
        if len(left) == 1:
            raise ZeroDivisionError

    worker.run(burst=True)

    assert left == [1, 1]  # it was there after the failure
    assert len(ministack.objects_in(bucket)) == (0 if remove else 1)


def test_a_pointer_is_explained_as_a_worker_sees_it(
    ministack: AwsServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ministack, bucket, "there", LARGE)
    monkeypatch.setenv("CLAIMCHECK_STORE", "memory://pointers")

    unknown = report_on(pointer(bucket, "there"), "memory://queue")
    assert "CLAIMCHECK_AWS_POINTERS" in (unknown.problem or "")

    monkeypatch.setenv("CLAIMCHECK_AWS_POINTERS", bucket)
    report = report_on(pointer(bucket, "there"), "memory://queue")
    assert (report.fine, report.type, report.route) == (True, "order:new", "stored")
    assert report.size == report.stored_size == len(LARGE.encode())

    missing = report_on(pointer(bucket, "gone"), "memory://queue")
    assert "is not in the bucket" in (missing.problem or "")
    elsewhere = report_on(pointer("another", "there"), "memory://queue")
    assert "which is none of those" in (elsewhere.problem or "")


def test_the_session_region_and_server_of_a_caller_are_used(
    ministack: AwsServer,
    bucket: str,
    store: MemoryClaimStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(ministack, bucket, "key", LARGE)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name)
    pointers = AwsPointers(
        [bucket],
        region=ministack.region,
        endpoint_url=ministack.endpoint_url,
        session=boto3.Session("akid", "secret", region_name="eu-central-1"),
    )
    with closing(ClaimCheck(store, aws_pointers=pointers)) as check:
        assert check.open(pointer(bucket, "key"), consumer="orders").body == LARGE


class TestWrite:
    @pytest.fixture
    def check(self, store: MemoryClaimStore, bucket: str) -> Iterator[ClaimCheck]:
        check = ClaimCheck(store, aws_pointers=AwsPointers([bucket]), write="aws-pointer")
        yield check
        check.close()

    def test_their_client_opens_what_enqueue_and_an_attached_client_send(
        self,
        ministack: AwsServer,
        theirs: ExtendedClient,
        check: ClaimCheck,
        queue: str,
        bucket: str,
    ) -> None:
        client = Client(queue, middleware=[ClaimCheckMiddleware(check)])
        sqs: SQSClient = attach(ministack.sqs(), check)
        result = client.enqueue(json.loads(LARGE), attributes={"kind": "rush"})
        sqs.send_message(QueueUrl=queue, MessageBody=LARGE)
        sqs.send_message_batch(QueueUrl=queue, Entries=[{"Id": "a", "MessageBody": LARGE}])
        assert (result.route, len(ministack.objects_in(bucket))) == ("stored", 3)
        assert [json.loads(each) for each in theirs.receive()] == [json.loads(LARGE)] * 3
        client.close()
        sqs.close()

    def test_a_send_that_is_refused_leaves_nothing(
        self, ministack: AwsServer, check: ClaimCheck, queue: str, bucket: str
    ) -> None:
        sqs = attach(ministack.sqs(), check)
        with pytest.raises(sqs.exceptions.QueueDoesNotExist):
            sqs.send_message(QueueUrl=queue + "-gone", MessageBody=LARGE)
        assert ministack.objects_in(bucket) == {}
        sqs.close()

    def test_needs_a_bucket_and_no_keys(self, store: MemoryClaimStore) -> None:
        wrong: tuple[dict[str, Any], ...] = (
            {"write": "aws-pointer"},
            {"write": "aws-pointer", "aws_pointers": ["b"], "signing_key": "k" * 16},
            {"write": "odd"},
            {"aws_pointers": []},
        )
        for options in wrong:
            with pytest.raises(SettingsInvalid):
                ClaimCheck(store, **options)


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAIMCHECK_AWS_POINTERS", "bucket-a, bucket-b")
    monkeypatch.setenv("CLAIMCHECK_AWS_POINTERS_REMOVE", "true")
    monkeypatch.setenv("CLAIMCHECK_WRITE", "aws-pointer")
    settings = ClaimCheckSettings.from_environment()
    assert settings.aws_pointers == ("bucket-a", "bucket-b")
    assert (settings.aws_pointers_remove, settings.write) == (True, "aws-pointer")
