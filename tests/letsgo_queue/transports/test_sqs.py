"""What the SQS transport does beyond the contract: limits, FIFO, and what errors become."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import boto3
import botocore
import pytest
from botocore.stub import ANY, Stubber

from letsgo_queue import (
    Client,
    LetsGoQueueError,
    MessageTooLarge,
    QueueNotFound,
    QueueUnavailable,
    SendFailed,
    SendUncertain,
)
from letsgo_queue.limits import ANY_QUEUE_BYTES, MAX_MESSAGE_BYTES
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.sqs import SqsTransport
from letsgo_queue.transports.sqs_client import make_client
from tests.letsgo_queue.support import SECRET, order, outgoing, printed, receive, receive_one
from tests.support.faulty_server import FaultyServer
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

AWS_URL = "https://sqs.us-west-2.amazonaws.com/123456789012/orders"


def requests_of(client: SQSClient) -> list[str]:
    """The operations that a client asks for, which fill this list as they happen."""
    operations: list[str] = []
    client.meta.events.register(
        "before-call.sqs.*", lambda model, **_: operations.append(model.name)
    )
    return operations


def test_asks_for_the_limit_once_and_not_for_small_messages(ministack: AwsServer) -> None:
    sqs = ministack.sqs()
    transport = SqsTransport(ministack.make_queue(), client=sqs)
    requests = requests_of(sqs)

    transport.send(outgoing("x" * ANY_QUEUE_BYTES))
    assert requests == ["SendMessage"]

    for _ in range(2):
        transport.send(outgoing("x" * (ANY_QUEUE_BYTES + 1)))
    assert requests == ["SendMessage", "GetQueueAttributes", "SendMessage", "SendMessage"]


def test_sends_the_most_that_sqs_takes(aws: AwsServer) -> None:
    transport = SqsTransport(aws.make_queue(MaximumMessageSize=str(MAX_MESSAGE_BYTES)))

    transport.send(outgoing("x" * MAX_MESSAGE_BYTES))

    assert len(receive_one(transport).body) == MAX_MESSAGE_BYTES


def test_refuses_what_no_queue_takes_without_asking() -> None:
    """There are no credentials here: whatever asked would fail otherwise."""
    with pytest.raises(MessageTooLarge) as refused:
        SqsTransport(AWS_URL).send(outgoing("x" * (MAX_MESSAGE_BYTES + 1)))

    assert refused.value.limit == MAX_MESSAGE_BYTES


def test_refuses_what_an_older_queue_does_not_take(aws: AwsServer) -> None:
    transport = SqsTransport(aws.make_queue(MaximumMessageSize=str(ANY_QUEUE_BYTES)))

    with pytest.raises(MessageTooLarge, match="accepts 262,144"):
        transport.send(outgoing("x" * (ANY_QUEUE_BYTES + 1)))

    assert receive(transport) == []


def deny_attributes(client: SQSClient, code: str = "AccessDeniedException") -> None:
    """Have a client refuse to read a queue's attributes, as IAM would."""
    refusal = {
        "Error": {"Code": code, "Message": "no sqs:GetQueueAttributes"},
        "ResponseMetadata": {"HTTPStatusCode": 403},
    }

    class Answer:
        status_code = 403

    def refuse(**_: object) -> Any:
        return Answer(), refusal

    client.meta.events.register("before-call.sqs.GetQueueAttributes", refuse)


def test_works_where_reading_attributes_is_denied(ministack: AwsServer) -> None:
    url = ministack.make_queue()
    sqs = ministack.sqs()
    deny_attributes(sqs)
    transport = SqsTransport(url, client=sqs)

    transport.send(outgoing("x" * (ANY_QUEUE_BYTES + 1)))

    before = time.monotonic()
    message = receive_one(transport)
    assert before <= (message.invisible_until or 0) - 30 <= time.monotonic()
    assert transport.max_message_bytes() is None
    assert not transport.content_based_deduplication()


def test_other_trouble_with_attributes_is_an_error(ministack: AwsServer) -> None:
    sqs = ministack.sqs()
    deny_attributes(sqs, "InternalError")
    transport = SqsTransport(ministack.make_queue(), client=sqs)

    with pytest.raises(QueueUnavailable, match=r"attributes could not be read: InternalError"):
        transport.max_message_bytes()


def any_delivery() -> ReceivedMessage:
    return ReceivedMessage(
        message_id="m-1",
        receipt_handle="r-1",
        body="{}",
        attributes={},
        receive_count=1,
        sent_at=0.0,
    )


def test_says_that_the_queue_does_not_exist(aws: AwsServer) -> None:
    url = aws.make_queue()
    aws.sqs().delete_queue(QueueUrl=url)
    transport = SqsTransport(url)

    with pytest.raises(QueueNotFound, match=f"to {url} was not sent: .* queue create"):
        transport.send(outgoing())
    with pytest.raises(QueueNotFound, match=f"{url} does not exist; .* queue create"):
        receive(transport)
    with pytest.raises(QueueNotFound, match="message m-1 was not acknowledged"):
        transport.delete(any_delivery())
    with pytest.raises(QueueNotFound, match="message m-1 was not extended"):
        transport.change_visibility(any_delivery(), 1)


def test_says_that_there_are_no_credentials() -> None:
    transport = SqsTransport(AWS_URL)

    with pytest.raises(SendFailed, match="was not sent: Unable to locate credentials") as not_sent:
        transport.send(outgoing(SECRET))
    with pytest.raises(QueueUnavailable, match="Unable to locate credentials") as not_received:
        receive(transport)
    with pytest.raises(QueueUnavailable, match="m-1 was not acknowledged: Unable to locate"):
        transport.delete(any_delivery())

    assert not not_sent.value.retryable
    assert not not_received.value.retryable
    assert SECRET not in str(not_sent.value)


THROTTLED = [("RequestThrottled", 403), ("ThrottlingException", 400)]


@pytest.fixture
def sqs() -> Iterator[Stubber]:
    """Answers in place of SQS's own; each must be asked for."""
    with Stubber(boto3.client("sqs", region_name="us-west-2")) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def client_of(stubber: Stubber) -> SQSClient:
    return cast("SQSClient", stubber.client)


@pytest.mark.parametrize(
    ("code", "status", "retryable"),
    [("InvalidMessageContents", 400, False), *((code, status, True) for code, status in THROTTLED)],
)
def test_says_whether_sending_again_may_help(
    sqs: Stubber, code: str, status: int, *, retryable: bool
) -> None:
    sqs.add_client_error("send_message", code, "what SQS says.", status)

    with pytest.raises(SendFailed, match=rf"{code}: what SQS says\.$") as failed:
        SqsTransport(AWS_URL, client=client_of(sqs)).send(outgoing())

    assert failed.value.retryable is retryable


@pytest.mark.parametrize(
    ("code", "status", "retryable"),
    [
        ("AccessDeniedException", 403, False),
        ("InternalFailure", 500, True),
        *((code, status, True) for code, status in THROTTLED),
    ],
)
def test_says_whether_receiving_again_may_help(
    sqs: Stubber, code: str, status: int, *, retryable: bool
) -> None:
    sqs.add_client_error("receive_message", code, "what SQS says.", status)

    with pytest.raises(QueueUnavailable, match=rf"{code}: what SQS says\.$") as failed:
        receive(SqsTransport(AWS_URL, client=client_of(sqs)), visibility_timeout=1)

    assert failed.value.retryable is retryable


LOST = b""
ERROR = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
REFUSAL = b"HTTP/1.1 400 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
NOT_SQS = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n<html></html>"


@contextmanager
def server(answers: Sequence[bytes]) -> Iterator[str]:
    """A queue on a server that gives these answers, one a connection, and then is gone."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def serve() -> None:
        with listener:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}/123456789012/orders"
    finally:
        thread.join()


@pytest.mark.parametrize(
    ("answers", "kind", "retryable"),
    [
        ([], SendFailed, True),
        ([REFUSAL], SendFailed, False),
        ([LOST] * 4, SendUncertain, True),
        ([ERROR] * 4, SendUncertain, True),
        ([LOST], SendUncertain, True),
        ([ERROR], SendUncertain, True),
        ([LOST, REFUSAL], SendUncertain, True),
        ([NOT_SQS], SendUncertain, True),
    ],
    ids=[
        "unreachable",
        "refused",
        "answers-lost",
        "errors",
        "lost-then-gone",
        "error-then-gone",
        "lost-then-refused",
        "not-sqs",
    ],
)
def test_says_whether_a_failed_send_may_be_on_the_queue(
    monkeypatch: pytest.MonkeyPatch,
    answers: Sequence[bytes],
    kind: type[LetsGoQueueError],
    *,
    retryable: bool,
) -> None:
    """An early attempt decides too: what was lost in it may have arrived."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with server(answers) as url, pytest.raises(kind) as failed:
        SqsTransport(url, region="us-west-2").send(outgoing(SECRET))

    text = str(failed.value)
    assert ("may or may not be on the queue" in text) is (kind is SendUncertain)
    assert url in text
    assert failed.value.retryable is retryable
    assert SECRET not in text


def test_doubt_about_one_send_does_not_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with server([LOST, REFUSAL, REFUSAL]) as url:
        transport = SqsTransport(url, region="us-west-2")
        with pytest.raises(SendUncertain):
            transport.send(outgoing())
        with pytest.raises(SendFailed):
            transport.send(outgoing())


@pytest.mark.parametrize(
    ("url", "region", "endpoint"),
    [
        (AWS_URL, "us-west-2", "https://sqs.us-west-2.amazonaws.com"),
        (
            "https://sqs.us-gov-west-1.amazonaws.com/123456789012/q",
            "us-gov-west-1",
            "https://sqs.us-gov-west-1.amazonaws.com",
        ),
        (
            "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q",
            "cn-north-1",
            "https://sqs.cn-north-1.amazonaws.com.cn",
        ),
        (
            "https://eu-west-1.queue.amazonaws.com/123456789012/q",
            "eu-west-1",
            "https://sqs.eu-west-1.amazonaws.com",
        ),
        (
            "https://vpce-0a1b2c.sqs.us-east-2.vpce.amazonaws.com/123456789012/q",
            "us-east-2",
            "https://vpce-0a1b2c.sqs.us-east-2.vpce.amazonaws.com",
        ),
        ("http://localhost:4566/000000000000/q", "ap-south-1", "http://localhost:4566"),
    ],
)
def test_url_says_region_and_endpoint(url: str, region: str, endpoint: str) -> None:
    meta = SqsTransport(url, region="ap-south-1").client.meta

    assert (meta.region_name, meta.endpoint_url) == (region, endpoint)


@pytest.mark.parametrize(
    "answer", [[], "x", None, 5, {"Messages": [{"MessageId": "m"}], "Attributes": [SECRET]}]
)
def test_an_answer_that_is_not_of_sqs_leaves_doubt(
    ministack: AwsServer, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """botocore's parser raises `AttributeError` and others over JSON of another shape."""
    monkeypatch.setattr("letsgo_queue.transports.sqs.BATCH_PAUSES_SECONDS", (0.01,))
    operations = ("SendMessage", "ReceiveMessage", "DeleteMessageBatch", "GetQueueAttributes")
    with FaultyServer(str(ministack.endpoint_url)) as server:
        for operation in operations:
            server.answer(operation, answer)
        transport = SqsTransport(f"{server.url}/000000000000/orders")

        with pytest.raises(SendUncertain, match=r"the answer (is|was) not that of"):
            transport.send(outgoing())
        with pytest.raises(QueueUnavailable, match="no message could be received") as refused:
            receive(transport, visibility_timeout=9)
        assert refused.value.retryable
        with pytest.raises(QueueUnavailable):
            transport.max_message_bytes()
        (not_acknowledged,) = transport.delete_batch([any_delivery()])
        assert isinstance(not_acknowledged, QueueUnavailable)
        assert SECRET not in printed(refused.value)
        transport.close()


@pytest.mark.parametrize(("asked", "polls"), [(0, 0), (0.1, 1), (20, 20)])
def test_a_poll_of_part_of_a_second_waits_for_one(asked: float, polls: int) -> None:
    """Rounded down, it would be a short poll, which a worker makes again at once."""
    client = boto3.client("sqs", region_name="us-west-2")
    transport = SqsTransport(AWS_URL, client=client)
    with Stubber(client) as sqs:
        expected = dict.fromkeys(
            [
                "QueueUrl",
                "MaxNumberOfMessages",
                "MessageAttributeNames",
                "MessageSystemAttributeNames",
                "VisibilityTimeout",
            ],
            ANY,
        )
        sqs.add_response("receive_message", {}, {**expected, "WaitTimeSeconds": polls})
        assert receive(transport, visibility_timeout=9, wait_seconds=asked) == []


@pytest.mark.parametrize("by_content", [True, False])
def test_knows_a_fifo_queue(aws: AwsServer, *, by_content: bool) -> None:
    url = aws.make_queue(FifoQueue="true", ContentBasedDeduplication=str(by_content).lower())
    transport = SqsTransport(url)

    assert transport.fifo
    assert transport.content_based_deduplication() is by_content
    transport.send(outgoing("1", group_id="g", deduplication_id="d"))
    transport.send(outgoing("2", group_id="g", deduplication_id="d"))
    transport.send(outgoing("3", group_id="g", deduplication_id="e"))

    received = wait_for(lambda: receive(transport), "the first messages of the group")
    assert {message.group_id for message in received} == {"g"}
    assert [message.body for message in received] in (["1"], ["1", "3"])


def test_queue_keeps_its_own_delay(ministack: AwsServer) -> None:
    transport = SqsTransport(ministack.make_queue(DelaySeconds="900"))

    transport.send(outgoing())

    assert receive(transport) == []


def test_requests_say_who_sends_them(ministack: AwsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EXECUTION_ENV", "AWS_Lambda_python3.12")
    monkeypatch.setenv("AWS_SDK_UA_APP_ID", "shop")
    url = ministack.make_queue()
    client = make_client(url, ministack.region)
    said: list[str] = []
    client.meta.events.register(
        "before-send.sqs", lambda request, **_: said.append(request.headers["User-Agent"].decode())
    )

    SqsTransport(url, client=client).send(outgoing())

    [user_agent] = said
    assert user_agent.startswith(f"Botocore/{botocore.__version__} Python/")
    assert "exec-env/AWS_Lambda_python3.12" in user_agent
    assert "app/shop" in user_agent


def test_client_closes_its_connections(ministack: AwsServer) -> None:
    client = Client(ministack.make_queue())
    client.enqueue(order())

    client.close()

    assert client.enqueue(order()).queue == client.transport().url
