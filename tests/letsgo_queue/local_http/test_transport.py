"""The sending end of LetsGo's local mode: what goes to LetsGo's own worker, and what comes back."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from letsgo_queue import (
    Client,
    MessageTooLarge,
    SendFailed,
    SendUncertain,
    SettingsInvalid,
    Worker,
)
from letsgo_queue.aws_lambda.records import SqsRecord
from letsgo_queue.limits import MAX_MESSAGE_BYTES
from letsgo_queue.local_http import transport as local_http
from letsgo_queue.local_http.transport import LocalHttpTransport
from letsgo_queue.transports.base import OutgoingMessage, ReceivedMessage
from tests.letsgo_queue.local_http.letsgo import LetsGoWorker, letsgo_worker
from tests.letsgo_queue.support import COMPLETE, SECRET, order, outgoing, printed, sized
from tests.support.waiting import wait_for


@pytest.fixture
def letsgo() -> Iterator[LetsGoWorker]:
    with letsgo_worker() as worker:
        yield worker


def test_posts_what_letsgos_own_client_posts(
    letsgo: LetsGoWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "ada")
    monkeypatch.setenv("LETSGO_LOCAL_QUEUE_URL", letsgo.url)
    before = int(time.time() * 1000)

    result = Client().enqueue(order(name="Grüße, 世界 🎉"))

    assert result.queue == letsgo.url
    (record,) = wait_for(letsgo.records, "the message")
    body = '{"type":"order:new","payload":{"name":"Grüße, 世界 🎉"}}'
    sent_at = record["attributes"]["SentTimestamp"]
    assert before <= int(sent_at) <= int(time.time() * 1000)
    assert record.pop("receiptHandle")
    assert record == {
        "messageId": result.message_id,
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": sent_at,
            "SenderId": "letsgo:local:ada",
            "ApproximateFirstReceiveTimestamp": sent_at,
        },
        "messageAttributes": {},
        "md5OfBody": hashlib.md5(body.encode()).hexdigest(),
        "eventSource": "letsgo:local",
        "eventSourceARN": "letsgo:local:ada",
        "awsRegion": "us-west-2",
    }


def test_large_text_arrives_whole(letsgo: LetsGoWorker) -> None:
    """LetsGo's worker decodes each piece of a body by itself."""
    body = json.dumps({"type": "order:new", "payload": "x" + "€" * 300_000}, ensure_ascii=False)

    LocalHttpTransport(letsgo.url).send(outgoing(body))

    (record,) = wait_for(letsgo.records, "the message")
    assert record["body"] == body


def test_what_it_posts_is_read_back_whole(letsgo: LetsGoWorker) -> None:
    transport = LocalHttpTransport(letsgo.url, region="eu-central-1")
    before = int(time.time())

    message_id = transport.send(outgoing("body", attributes=COMPLETE, group_id="tenant-1"))

    (record,) = letsgo.records()
    received = SqsRecord(record).received()
    assert (received.message_id, received.body) == (message_id, "body")
    assert received.attributes == COMPLETE
    assert received.group_id == "tenant-1"
    assert received.receive_count == 1
    assert before <= received.sent_at <= time.time()
    assert record["awsRegion"] == "eu-central-1"


def test_a_batch_is_one_request(letsgo: LetsGoWorker) -> None:
    transport = LocalHttpTransport(letsgo.url)

    first, refused, third = transport.send_batch(
        [outgoing("1"), outgoing("x" * (MAX_MESSAGE_BYTES + 1)), outgoing("3")]
    )

    assert isinstance(refused, MessageTooLarge)
    (event,) = letsgo.events
    sent = [(record["messageId"], record["body"]) for record in event["Records"]]
    assert sent == [(first, "1"), (third, "3")]


@pytest.mark.parametrize(
    "make",
    [
        sized,
        lambda size: sized(size, "€🎉"),
        lambda size: sized(size, attributes=True),
    ],
    ids=["ascii", "multi-byte", "attributes"],
)
def test_takes_what_sqs_takes_and_not_a_byte_more(
    letsgo: LetsGoWorker, make: Callable[[int], OutgoingMessage]
) -> None:
    transport = LocalHttpTransport(letsgo.url)
    assert transport.max_message_bytes() == MAX_MESSAGE_BYTES

    with pytest.raises(MessageTooLarge, match=r"1,048,577 bytes.*accepts 1,048,576"):
        transport.send(make(MAX_MESSAGE_BYTES + 1))
    assert letsgo.events == []

    transport.send(make(MAX_MESSAGE_BYTES))
    (record,) = letsgo.records()
    assert record["body"] == make(MAX_MESSAGE_BYTES).body.decode()


def test_a_delay_is_warned_of_once(letsgo: LetsGoWorker, caplog: pytest.LogCaptureFixture) -> None:
    client = Client(letsgo.url)

    client.enqueue(order())
    assert caplog.records == []
    client.enqueue(order(), delay_seconds=120)
    client.enqueue(order(), delay_seconds=60)

    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert "a delay of 120 s" in warning.getMessage()
    assert len(letsgo.events) == 3


def test_is_no_fifo_queue(letsgo: LetsGoWorker) -> None:
    transport = LocalHttpTransport(letsgo.url)

    assert not transport.fifo
    assert not transport.content_based_deduplication()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_without_a_worker_it_says_to_start_one() -> None:
    url = f"http://127.0.0.1:{free_port()}"

    with pytest.raises(SendFailed) as failed:
        Client(url).enqueue(order(secret=SECRET))

    assert failed.value.retryable
    assert url in str(failed.value)
    assert "'order:new'" in str(failed.value)
    assert "letsgo-queue worker app:worker --local" in str(failed.value)
    assert SECRET not in printed(failed.value)


def test_a_refusal_of_letsgos_worker_is_passed_on(letsgo: LetsGoWorker) -> None:
    with pytest.raises(SendFailed, match=r"answered 400 .*another path") as failed:
        Client(f"{letsgo.url}/jobs").enqueue(order())

    assert not failed.value.retryable
    assert letsgo.events == []


@contextmanager
def server(act: Callable[[socket.socket], None]) -> Iterator[str]:
    """Takes one connection and the request on it, and does something with it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                request = b""
                while b"\r\n\r\n" not in request or not request.endswith(b"]}"):
                    request += connection.recv(65_536)
                act(connection)

        thread = threading.Thread(target=run)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def answers(status: str, body: str) -> Callable[[socket.socket], None]:
    answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    return lambda connection: connection.sendall(answer.encode())


@pytest.mark.parametrize(
    ("status", "retryable"), [("404 Not Found", False), ("503 Down", True), ("200 OK", False)]
)
def test_another_answer_names_its_status_and_no_content(status: str, retryable: bool) -> None:
    with (
        server(answers(status, SECRET)) as url,
        pytest.raises(SendFailed, match=f"answered {status[:3]}, and not 201") as failed,
    ):
        Client(url).enqueue(order(secret=SECRET))

    assert failed.value.retryable is retryable
    assert SECRET not in printed(failed.value)


@pytest.mark.parametrize(
    "act",
    [
        lambda _: None,
        lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n"),
        lambda connection: connection.recv(1),
    ],
    ids=["hangs up", "speaks something else", "never answers"],
)
def test_a_lost_answer_leaves_it_open(
    act: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_http, "ANSWER_TIMEOUT_SECONDS", 0.3)

    with server(act) as url, pytest.raises(SendUncertain, match=re.escape(url)) as lost:
        Client(url).enqueue(order(secret=SECRET))

    assert "'order:new'" in str(lost.value)
    assert SECRET not in printed(lost.value)


def test_a_batch_that_fails_says_so_for_each(letsgo: LetsGoWorker) -> None:
    transport = LocalHttpTransport(f"http://127.0.0.1:{free_port()}")

    failed = transport.send_batch(
        [outgoing("1"), outgoing("x" * (MAX_MESSAGE_BYTES + 1)), outgoing("3")]
    )

    assert [type(each) for each in failed] == [SendFailed, MessageTooLarge, SendFailed]
    assert failed[0] is not failed[2]


@pytest.mark.parametrize("url", ["http://", "http://localhost:no", "http://local host:3002"])
def test_refuses_an_address_that_is_none(url: str) -> None:
    with pytest.raises(SettingsInvalid, match=re.escape(repr(url))):
        Client(url).enqueue(order())


def test_a_worker_that_would_poll_is_told_to_serve(
    letsgo: LetsGoWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LETSGO_LOCAL_QUEUE_URL", letsgo.url)

    with pytest.raises(SettingsInvalid, match=r"worker\.serve\(\).*worker app:worker --local"):
        Worker().run()


RECEIVED = ReceivedMessage(
    message_id="m-1", receipt_handle="r-1", body="{}", attributes={}, receive_count=1, sent_at=0.0
)


@pytest.mark.parametrize(
    "act",
    [
        lambda transport: transport.delete(RECEIVED),
        lambda transport: transport.delete_batch([RECEIVED]),
        lambda transport: transport.change_visibility(RECEIVED, 10),
        lambda transport: transport.move_to_dead_letters(RECEIVED, "why"),
    ],
    ids=["delete", "delete_batch", "change_visibility", "move_to_dead_letters"],
)
def test_what_only_a_receiver_does_is_refused(act: Callable[[LocalHttpTransport], object]) -> None:
    with pytest.raises(SettingsInvalid, match=r"worker\.serve\(\)"):
        act(LocalHttpTransport("http://localhost:3002"))
