"""`enqueue_many` on SQS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from botocore.stub import Stubber

from letsgo_queue import (
    Client,
    EnqueueManyError,
    Message,
    MessageHandled,
    MessageNotSent,
    QueueNotFound,
    QueueUnavailable,
    SendFailed,
    SendUncertain,
    Worker,
)
from letsgo_queue.limits import ANY_QUEUE_BYTES
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.sqs import SqsTransport
from tests.letsgo_queue.support import events_of, numbered
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

KB = 1024
MIB = 1024 * KB


class TestOnSqs:
    def test_sends_all_and_the_worker_acknowledges_all(self, aws: AwsServer) -> None:
        url = aws.make_queue()
        client = Client(url)
        results = client.enqueue_many(numbered(57, 10), attributes={"who": "me"})
        assert len({result.message_id for result in results}) == 57

        worker = Worker(client=client)
        seen: list[str] = []

        @worker.default
        def handle(message: Message[str]) -> None:
            seen.append(message.type)

        events = events_of(worker)
        worker.run(burst=True)

        assert sorted(seen) == sorted(f"n:{n}" for n in range(57))
        assert [type(event) for event in events] == [MessageHandled] * 57
        numbers = aws.sqs().get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        assert numbers["Attributes"]["ApproximateNumberOfMessages"] == "0"
        assert numbers["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "0"

    @pytest.mark.parametrize("limit", [256 * KB, MIB])
    def test_messages_that_fit_one_by_one_but_not_together(
        self, ministack: AwsServer, limit: int
    ) -> None:
        client = Client(ministack.make_queue(MaximumMessageSize=str(limit)))
        assert len(client.enqueue_many(numbered(8, 240 * KB))) == 8

    def test_a_queue_that_is_gone(self, aws: AwsServer) -> None:
        url = aws.make_queue()
        aws.sqs().delete_queue(QueueUrl=url)
        with pytest.raises(EnqueueManyError, match="the queue does not exist") as caught:
            Client(url).enqueue_many(numbered(35))
        assert caught.value.attempted == 10

    def test_a_queue_that_is_gone_is_asked_once_about_large_messages(self, aws: AwsServer) -> None:
        """Three fit a batch, and the queue is asked whether it takes them."""
        url = aws.make_queue()
        aws.sqs().delete_queue(QueueUrl=url)
        transport = SqsTransport(url)
        asked: list[object] = []
        transport.client.meta.events.register(
            "before-call.sqs.GetQueueAttributes", lambda **event: asked.append(event)
        )
        client = Client(transport)
        events: list[object] = []
        client.add_listener(events.append)

        with pytest.raises(EnqueueManyError, match="does not exist") as caught:
            client.enqueue_many(numbered(35, ANY_QUEUE_BYTES))

        assert caught.value.attempted == 10
        errors = [type(error) for _, error in sorted(caught.value.errors.items())]
        assert errors == [QueueNotFound] * 3 + [SendFailed] * 7
        assert len(asked) == 1
        assert [type(event) for event in events] == [MessageNotSent] * 10


AWS_URL = "https://sqs.us-west-2.amazonaws.com/123456789012/orders"


@pytest.fixture
def sqs() -> Iterator[Stubber]:
    """SQS with answers that no server gives on request."""
    with Stubber(boto3.client("sqs", region_name="us-west-2")) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def answer(ids: str, *, failed: Mapping[str, bool] = MappingProxyType({})) -> dict[str, Any]:
    """What SQS says of a batch: the entries that it took, and those that it failed."""
    return {
        "Successful": [{"Id": i, "MessageId": f"m{i}", "MD5OfMessageBody": "-"} for i in ids],
        "Failed": [
            {"Id": i, "SenderFault": fault, "Code": "InternalError", "Message": "a reason"}
            for i, fault in failed.items()
        ],
    }


def on_stub(sqs: Stubber) -> SqsTransport:
    return SqsTransport(AWS_URL, client=cast("SQSClient", sqs.client))


def test_entries_that_sqs_fails_are_sent_again(sqs: Stubber) -> None:
    sqs.add_response("send_message_batch", answer("02", failed={"1": False, "3": False}))
    sqs.add_response("send_message_batch", answer("3", failed={"1": False}))
    sqs.add_response("send_message_batch", answer("1"))
    results = Client(on_stub(sqs)).enqueue_many(numbered(4))
    assert [result.message_id for result in results] == ["m0", "m1", "m2", "m3"]


def test_entries_that_sqs_goes_on_failing_are_named(
    sqs: Stubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("letsgo_queue.transports.sqs.BATCH_PAUSES_SECONDS", (0.01, 0.01))
    sqs.add_response("send_message_batch", answer("0", failed={"1": False}))
    for _ in range(2):
        sqs.add_response("send_message_batch", answer("", failed={"1": False}))
    with pytest.raises(EnqueueManyError, match="InternalError: a reason") as caught:
        Client(on_stub(sqs)).enqueue_many(numbered(2))
    assert [result is not None for result in caught.value.results] == [True, False]
    assert caught.value.retryable


def test_entries_that_are_the_senders_fault_are_not_sent_again(sqs: Stubber) -> None:
    sqs.add_response("send_message_batch", answer("02", failed={"1": True}))
    with pytest.raises(EnqueueManyError) as caught:
        Client(on_stub(sqs)).enqueue_many(numbered(3))
    assert list(caught.value.errors) == [1]
    assert not caught.value.retryable


def test_an_entry_that_sqs_does_not_name_may_be_on_the_queue(sqs: Stubber) -> None:
    sqs.add_response("send_message_batch", answer("0"))
    with pytest.raises(EnqueueManyError) as caught:
        Client(on_stub(sqs)).enqueue_many(numbered(2))
    assert isinstance(caught.value.errors[1], SendUncertain)


def test_entries_that_sqs_fails_overtake_none_of_their_group(
    sqs: Stubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the group `a` it took 2, but not 0; of `b` nothing: so 1, 3 and 4 are sent again."""
    monkeypatch.setattr("letsgo_queue.transports.sqs.BATCH_PAUSES_SECONDS", (0.01,))
    by_content = {"Attributes": {"ContentBasedDeduplication": "true"}}
    sqs.add_response("get_queue_attributes", by_content)
    failed = dict.fromkeys("0134", False)
    sqs.add_response("send_message_batch", answer("2", failed=failed))
    sqs.add_response("send_message_batch", answer("134"))
    transport = SqsTransport(f"{AWS_URL}.fifo", client=cast("SQSClient", sqs.client))

    def group(message: Mapping[str, Any]) -> str:
        return "b" if message["type"] in {"n:1", "n:3"} else "a"

    with pytest.raises(EnqueueManyError, match="Later messages of its group") as caught:
        Client(transport).enqueue_many(numbered(5), group_id=group)

    assert list(caught.value.errors) == [0]
    assert caught.value.retryable
    results = caught.value.results
    assert [each and each.message_id for each in results] == [None, "m1", "m2", "m3", "m4"]


def deliveries(count: int) -> list[ReceivedMessage]:
    return [
        ReceivedMessage(
            message_id=f"m{n}",
            receipt_handle=f"r{n}",
            body="{}",
            attributes={},
            receive_count=1,
            sent_at=0,
        )
        for n in range(count)
    ]


def deleted(ids: str, *, failed: Mapping[str, bool] = MappingProxyType({})) -> dict[str, Any]:
    """The same of a batch of acknowledgements."""
    return {**answer("", failed=failed), "Successful": [{"Id": i} for i in ids]}


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("letsgo_queue.transports.sqs.BATCH_PAUSES_SECONDS", (0.01, 0.01))


@pytest.mark.usefixtures("no_pauses")
def test_acknowledgements_that_sqs_fails_are_sent_again(sqs: Stubber) -> None:
    """Else their messages would come a second time, though SQS has been asked once only."""
    sqs.add_response("delete_message_batch", deleted("0", failed={"1": False, "2": False}))
    sqs.add_response("delete_message_batch", deleted("2", failed={"1": False}))
    sqs.add_response("delete_message_batch", deleted("1"))
    assert on_stub(sqs).delete_batch(deliveries(3)) == [None] * 3

    sqs.add_response("delete_message_batch", deleted("", failed={"0": False}))
    sqs.add_response("delete_message_batch", deleted("0"))
    assert on_stub(sqs).delete_batch(deliveries(1)) == [None]


@pytest.mark.usefixtures("no_pauses")
def test_acknowledgements_that_fail_are_told_one_by_one(sqs: Stubber) -> None:
    received = deliveries(3)
    sqs.add_response("delete_message_batch", deleted("0", failed={"1": False, "2": True}))
    for _ in range(2):
        sqs.add_response("delete_message_batch", deleted("", failed={"1": False}))
    first, second, third = on_stub(sqs).delete_batch(received)
    assert first is None
    assert second is not None
    assert second.retryable
    assert third is not None
    assert not third.retryable
    assert "message m2 was not acknowledged: InternalError: a reason" in str(third)

    sqs.add_client_error("delete_message_batch", "AccessDenied", "not you", 403)
    assert [type(error) for error in on_stub(sqs).delete_batch(received)] == [QueueUnavailable] * 3
