"""What a worker in LetsGo's local mode takes, and when it answers."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from letsgo_queue import (
    Client,
    Delivery,
    Message,
    MessageFailed,
    MessageHandled,
    Middleware,
    QueueUnavailable,
    Steps,
    Worker,
)
from letsgo_queue.errors import LetsGoError
from letsgo_queue.local_http.server import MAX_RECORDS
from letsgo_queue.worker import incoming as deliveries
from letsgo_queue.worker.incoming import IncomingMessage
from tests.letsgo_queue.local_http.letsgo import posted_by_letsgo
from tests.letsgo_queue.local_http.support import ask, collecting, connect
from tests.letsgo_queue.support import (
    COMPLETE,
    DEADLINE_SECONDS,
    PLAIN,
    SECRET,
    events_of,
    order,
    serving,
)
from tests.support.waiting import wait_for


class Order(BaseModel):
    order_id: str


class OrderNew(Message[Order]):
    type: Literal["order:new"] = "order:new"


def test_handles_what_letsgos_own_client_posts() -> None:
    worker = Worker()
    seen: list[tuple[OrderNew, Delivery]] = []

    @worker.handler("order:new")
    def on_order(message: OrderNew, delivery: Delivery) -> None:
        seen.append((message, delivery))

    events = events_of(worker)
    with serving(worker) as url:
        body = posted_by_letsgo({"type": "order:new", "payload": {"order_id": "Grüße 🎉"}})
        assert ask(url, body) == (201, b"")
        wait_for(lambda: events, "its end")

    ((message, delivery),) = seen
    assert message == OrderNew(payload=Order(order_id="Grüße 🎉"))
    assert (delivery.message_id, delivery.receive_count) == ("k3j9x2m1pq0", 1)
    assert delivery.queue == url
    (handled,) = events
    assert isinstance(handled, MessageHandled)
    assert (handled.message_id, handled.queue) == ("k3j9x2m1pq0", url)


def test_handles_what_our_client_posts(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker()
    seen: list[tuple[object, Delivery]] = []

    @worker.handler("order:new")
    async def on_order(message: dict[str, Any], delivery: Delivery) -> None:
        seen.append((message, delivery))

    with serving(worker) as url:
        monkeypatch.setenv("LETSGO_LOCAL_QUEUE_URL", url)
        sent = Client().enqueue(order(number=1), attributes=COMPLETE)
        wait_for(lambda: seen, "the message")

    ((message, delivery),) = seen
    assert message == order(number=1)
    assert delivery.message_id == sent.message_id
    assert delivery.attributes == PLAIN


def test_handles_every_record_of_a_post() -> None:
    worker, handled = collecting()

    with serving(worker) as url:
        ask(url, posted_by_letsgo(*(order(number=n) for n in range(7))))
        wait_for(lambda: len(handled) == 7, "seven messages")

    assert sorted(message["payload"]["number"] for message in handled) == list(range(7))


def test_answers_before_the_handler_runs() -> None:
    worker = Worker()
    answered = threading.Event()
    in_time: list[bool] = []

    @worker.default
    def wait_for_the_answer(message: dict[str, Any]) -> None:
        in_time.append(answered.wait(DEADLINE_SECONDS))

    with serving(worker) as url:
        assert ask(url, posted_by_letsgo(order()))[0] == 201
        answered.set()
        wait_for(lambda: in_time, "the handler")

    assert in_time == [True]


def test_a_handler_that_ends_the_process_has_been_answered() -> None:
    """The answer is on its way when the handler begins, not only soon after."""
    script = """
import os
from letsgo_queue import Worker

worker = Worker()
worker.default(lambda message: os._exit(7))
worker.serve(port=0, on_ready=lambda url: print(url, flush=True))
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            assert ask(process.stdout.readline().strip(), posted_by_letsgo(order())) == (201, b"")
            assert process.wait(DEADLINE_SECONDS) == 7
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("method", "target", "body", "said"),
    [
        ("GET", "/", b"", "POST"),
        ("OPTIONS", "/", b"", "POST"),
        ("PUT", "/", b'{"Records": []}', "POST"),
        ("POST", "/jobs", b'{"Records": []}', "POST"),
        ("POST", "/?now=1", b'{"Records": []}', "POST"),
        ("POST", "/", b"", "JSON"),
        ("POST", "/", b"{", "JSON"),
        ("POST", "/", b'{"Records": [], "n": NaN}', "JSON"),
        ("POST", "/", b'"\xff"', "JSON"),
        ("POST", "/", b"[" * 100_000, "JSON"),
    ],
)
def test_refuses_what_letsgos_worker_refuses(
    method: str, target: str, body: bytes, said: str
) -> None:
    worker, handled = collecting()

    with serving(worker) as url:
        status, answer = ask(url, body, method=method, target=target)

    assert status == 400
    told = json.loads(answer)
    assert told.keys() == {"statusCode", "message"}
    assert told["statusCode"] == 400
    assert said in told["message"]
    assert handled == []


@pytest.mark.parametrize(
    "event", [[], 5, None, "text", {}, {"Records": None}, {"Records": {}}, {"Records": []}]
)
def test_json_without_records_is_accepted_and_nothing(event: object) -> None:
    worker, handled = collecting()

    with serving(worker) as url:
        assert ask(url, json.dumps(event)) == (201, b"")
        assert ask(url, posted_by_letsgo(order())) == (201, b"")
        wait_for(lambda: handled, "the next message")

    assert len(handled) == 1


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (None, "has no messageId"),
        (5, "has no messageId"),
        ([], "has no messageId"),
        ({}, "has no messageId"),
        ({"messageId": 1, "body": SECRET}, "has no messageId"),
        ({"messageId": "m-1"}, "m-1"),
        ({"messageId": "m-1", "body": {"a": SECRET}}, "m-1"),
    ],
)
def test_a_record_that_is_none_is_told_and_stops_no_other(
    broken: object, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    worker, handled = collecting()
    event = json.loads(posted_by_letsgo(order()))
    event["Records"].insert(0, broken)

    with serving(worker) as url:
        assert ask(url, json.dumps(event)) == (201, b"")
        wait_for(lambda: handled, "the other message")

    (warning,) = [
        record.getMessage() for record in caplog.records if record.name.startswith("letsgo_queue")
    ]
    assert warning.startswith("1 of the 2 records of a post cannot be read. Dropped")
    assert said in warning
    assert SECRET not in caplog.text


def test_bad_records_have_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    worker, handled = collecting()
    event = json.loads(posted_by_letsgo(order()))
    event["Records"][:0] = [{}, 5, None] * 33

    with serving(worker) as url:
        assert ask(url, json.dumps(event)) == (201, b"")
        wait_for(lambda: handled, "the message after them")

    warnings = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "99 of the 100 records" in caplog.text


def test_more_records_than_a_sender_has_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    worker, handled = collecting()
    records = json.loads(posted_by_letsgo(order()))["Records"] * (MAX_RECORDS + 1)

    with serving(worker) as url:
        status, answer = ask(url, json.dumps({"Records": records}))

    assert (status, handled) == (400, [])
    assert f"Post {MAX_RECORDS} at most" in json.loads(answer)["message"]
    assert len([each for each in caplog.records if each.levelno >= logging.WARNING]) == 1


def test_what_fails_is_logged_and_dropped(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker()
    attempts: list[str] = []

    @worker.handler("order:new")
    def fail(message: dict[str, Any], delivery: Delivery) -> None:
        attempts.append(delivery.message_id)
        raise ValueError("no such product")

    events = events_of(worker)
    with serving(worker) as url:
        sent = Client(url).enqueue(order(secret=SECRET))
        wait_for(lambda: "is dropped" in caplog.text, "the end of the message")

    assert attempts == [sent.message_id]
    (failed,) = events
    assert isinstance(failed, MessageFailed)
    assert "no such product" in caplog.text
    assert f"message {sent.message_id} is dropped" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("body", ["no json", '{"payload": 1}', '{"type": "unknown"}'])
def test_what_cannot_be_handled_is_dropped(body: str, caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker()
    event = json.loads(posted_by_letsgo(order()))
    event["Records"][0]["body"] = body

    with serving(worker) as url:
        assert ask(url, json.dumps(event)) == (201, b"")
        wait_for(lambda: "message k3j9x2m1pq0 is dropped" in caplog.text, "its end")


def test_a_delivery_cannot_be_extended() -> None:
    worker = Worker()
    errors: list[Exception] = []

    @worker.default
    def extend(message: dict[str, Any], delivery: Delivery) -> None:
        try:
            delivery.extend(60)
        except QueueUnavailable as error:
            errors.append(error)

    with serving(worker) as url:
        Client(url).enqueue(order())
        wait_for(lambda: errors, "the handler")

    (error,) = errors
    assert "local mode" in str(error)
    assert isinstance(error, QueueUnavailable)
    assert not error.retryable


class Unavailable(LetsGoError):
    """The store is down."""

    retryable = True
    patience = 900.0


class Opens(Middleware):
    """Opens a message, but not before it was tried a few times."""

    def __init__(self, failures: float, error: LetsGoError) -> None:
        self.failures = failures
        self.error = error
        self.tries = 0

    def handle(self, message: IncomingMessage, /) -> Steps:
        self.tries += 1
        if self.tries <= self.failures:
            raise self.error
        yield


def test_what_cannot_be_opened_yet_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "FIRST_PAUSE_SECONDS", 0.01)
    opens = Opens(3, Unavailable("the store does not answer."))
    worker, handled = collecting(middleware=[opens])

    with serving(worker) as url:
        assert ask(url, posted_by_letsgo(order()))[0] == 201
        wait_for(lambda: handled, "the message")

    assert opens.tries == 4


def test_stops_at_once_though_a_message_waits(caplog: pytest.LogCaptureFixture) -> None:
    error = Unavailable("the store does not answer.")
    error.retry_after = 10.0 * DEADLINE_SECONDS  # longer than `serving` waits
    opens = Opens(math.inf, error)
    worker, handled = collecting(middleware=[opens])

    with serving(worker) as url:
        sent = Client(url).enqueue(order())
        wait_for(lambda: opens.tries, "the first try")

    assert (opens.tries, handled) == (1, [])
    assert f"message {sent.message_id} is dropped" in caplog.text


def test_runs_up_to_its_concurrency_and_the_rest_in_order() -> None:
    worker = Worker(concurrency=2)
    begun: list[int] = []
    go_on = threading.Semaphore(0)

    @worker.default
    def wait(message: dict[str, Any]) -> None:
        begun.append(message["payload"]["number"])
        assert go_on.acquire(timeout=DEADLINE_SECONDS)

    events = events_of(worker)
    with serving(worker) as url:
        client = Client(url)
        for number in range(5):
            client.enqueue(order(number=number))
        wait_for(lambda: len(begun) == 2, "two handlers")
        go_on.release()
        wait_for(lambda: len(begun) == 3, "the third")
        assert begun[2:] == [2]
        go_on.release(4)
        wait_for(lambda: len(events) == 5, "the rest")

    assert sorted(begun[:2]) == [0, 1]
    assert begun[2] == 2


def test_keeps_the_order_of_a_sender() -> None:
    worker, handled = collecting(concurrency=1)

    with serving(worker) as url:
        client = Client(url)
        for number in range(100):
            client.enqueue(order(number=number))
        wait_for(lambda: len(handled) == 100, "all messages")

    assert [message["payload"]["number"] for message in handled] == list(range(100))


def test_a_sender_that_hangs_up_leaves_the_worker_well() -> None:
    worker, handled = collecting()
    with serving(worker) as url:
        body = posted_by_letsgo(order(number=1))
        request = (
            f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        for sent in (request + body[:20], request + body):
            with connect(url) as connection:
                connection.sendall(sent)
        wait_for(lambda: handled, "the message that came whole")
        assert ask(url, posted_by_letsgo(order(number=2)))[0] == 201
        wait_for(lambda: len(handled) == 2, "the next message")

    assert [message["payload"]["number"] for message in handled] == [1, 2]


@pytest.mark.parametrize("fails", [False, True])
def test_a_scheduled_event_goes_to_its_handler(
    caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    worker, _ = collecting()
    got: list[object] = []

    @worker.scheduled
    async def nightly(event: Mapping[str, Any]) -> None:
        got.append(event["id"])
        if fails:
            raise ConnectionError("the report")

    with serving(worker) as url:
        assert ask(url, json.dumps({"id": "f36", "detail-type": "Scheduled Event"})) == (201, b"")
        wait_for(lambda: got == ["f36"], "the handler")
    assert ("the handler of scheduled events failed" in caplog.text) == fails


def test_a_scheduled_event_without_a_handler_is_told(caplog: pytest.LogCaptureFixture) -> None:
    worker, handled = collecting()
    event = {"version": "0", "id": "f365819b", "detail-type": "Scheduled Event", "detail": "{}"}

    with serving(worker) as url:
        assert ask(url, json.dumps(event)) == (201, b"")
        wait_for(lambda: "a scheduled event is ignored" in caplog.text, "a warning")

    assert handled == []
