"""The worker's end of LetsGo's local mode: what it takes, when it answers, and how it stops."""

from __future__ import annotations

import gc
import http.client
import json
import logging
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

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
    SettingsInvalid,
    Worker,
)
from letsgo_queue.worker.signals import STOP_SIGNALS
from tests.letsgo_queue.local_http.letsgo import NODE, posted_by_letsgo
from tests.letsgo_queue.support import DEADLINE_SECONDS, SECRET, events_of, order, serving, wait_for
from tests.letsgo_queue.transports.test_transports import COMPLETE

SCRIPT = Path(__file__).with_name("serving_worker.py")


class Order(BaseModel):
    order_id: str


class OrderNew(Message[Order]):
    type: Literal["order:new"] = "order:new"


def ask(
    url: str, body: bytes | str = b"", *, method: str = "POST", target: str = "/"
) -> tuple[int, bytes]:
    """One request, and its answer."""
    parts = urlsplit(url)
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=DEADLINE_SECONDS)
    try:
        connection.request(method, target, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def collecting(**options: Any) -> tuple[Worker, list[dict[str, Any]]]:
    """A worker that keeps what it handles."""
    worker = Worker(**options)
    handled: list[dict[str, Any]] = []

    @worker.default
    def collect(message: dict[str, Any]) -> None:
        handled.append(message)

    return worker, handled


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


@pytest.mark.skipif(NODE is None, reason="there is no Node")
def test_letsgos_own_client_on_node_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker()
    seen: list[Delivery] = []

    @worker.default
    def collect(message: dict[str, Any], delivery: Delivery) -> None:
        seen.append(delivery)

    message = '{"type":"order:new","payload":"Grüße, 世界 🎉"}'
    with serving(worker) as url:
        monkeypatch.setenv("LETSGO_LOCAL_QUEUE_URL", url)
        script = str(Path(__file__).with_name("letsgo_client.mjs"))
        sent = subprocess.check_output([NODE or "", script, message], text=True)
        wait_for(lambda: seen, "the message")

    assert [(delivery.message_id, delivery.body) for delivery in seen] == [(sent.strip(), message)]


def test_handles_what_our_client_posts(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker()
    seen: list[Delivery] = []

    @worker.handler("order:new")
    async def on_order(message: dict[str, Any], delivery: Delivery) -> None:
        seen.append(delivery)

    with serving(worker) as url:
        monkeypatch.setenv("LETSGO_LOCAL_QUEUE_URL", url)
        sent = Client().enqueue(order(number=1), attributes=COMPLETE)
        wait_for(lambda: seen, "the message")

    (delivery,) = seen
    assert delivery.message_id == sent.message_id
    assert delivery.body == '{"type":"order:new","payload":{"number":1}}'
    assert delivery.attributes == COMPLETE


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
        ("GET", "/", b"", "Bad request. Only POST / is accepted."),
        ("PUT", "/", b'{"Records": []}', "Bad request. Only POST / is accepted."),
        ("POST", "/jobs", b'{"Records": []}', "Bad request. Only POST / is accepted."),
        ("POST", "/?now=1", b'{"Records": []}', "Bad request. Only POST / is accepted."),
        ("POST", "/", b"", "Bad request. Body must be JSON."),
        ("POST", "/", b"{", "Bad request. Body must be JSON."),
        ("POST", "/", b'"\xff"', "Bad request. Body must be JSON."),
        ("POST", "/", b"[" * 100_000, "Bad request. Body must be JSON."),
    ],
)
def test_refuses_what_letsgos_worker_refuses(
    method: str, target: str, body: bytes, said: str
) -> None:
    worker, handled = collecting()

    with serving(worker) as url:
        status, answer = ask(url, body, method=method, target=target)

    assert status == 400
    assert answer.decode() == json.dumps({"statusCode": 400, "message": said}, indent=2)
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
    "broken", [None, 5, [], {}, {"messageId": "m-1"}, {"messageId": 1, "body": SECRET}]
)
def test_a_record_that_is_none_is_told_and_stops_no_other(
    broken: object, caplog: pytest.LogCaptureFixture
) -> None:
    worker, handled = collecting()
    event = json.loads(posted_by_letsgo(order()))
    event["Records"].insert(0, broken)

    with serving(worker) as url:
        assert ask(url, json.dumps(event)) == (201, b"")
        wait_for(lambda: handled, "the other message")

    assert "its record is not one that SQS gives to Lambda" in caplog.text
    assert SECRET not in caplog.text


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


def test_middleware_is_prepared_and_runs() -> None:
    steps: list[str] = []

    class Noting(Middleware):
        def prepare(self, queue: str) -> None:
            steps.append(f"prepared for {queue}")

        def handle(self, message: IncomingMessage, /) -> Steps:
            steps.append("before")
            yield
            steps.append("after")

    worker, handled = collecting(middleware=[Noting()])
    with serving(worker) as url:
        assert steps == [f"prepared for {url}"]
        Client(url).enqueue(order())
        wait_for(lambda: steps[-1] == "after", "the message")

    assert steps == [f"prepared for {url}", "before", "after"]
    assert len(handled) == 1


def test_middleware_that_refuses_stops_the_worker_and_frees_the_port() -> None:
    addresses: list[str] = []

    class Refusing(Middleware):
        def prepare(self, queue: str) -> None:
            addresses.append(queue)
            raise SettingsInvalid("no store")

    with pytest.raises(SettingsInvalid, match="no store"):
        Worker(middleware=[Refusing()]).serve(port=0)

    port = urlsplit(addresses[0]).port
    with socket.create_server(("127.0.0.1", port or 0)):
        pass


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


def test_finishes_what_was_accepted_when_it_is_stopped() -> None:
    worker = Worker(concurrency=1)
    begun = threading.Event()
    go_on = threading.Event()
    handled: list[int] = []

    @worker.default
    def wait(message: dict[str, Any]) -> None:
        begun.set()
        assert go_on.wait(DEADLINE_SECONDS)
        handled.append(message["payload"]["number"])

    with serving(worker) as url:
        ask(url, posted_by_letsgo(*(order(number=n) for n in range(3))))
        assert begun.wait(DEADLINE_SECONDS)
        worker.stop()
        wait_for(lambda: not listens(url), "it to stop listening")
        assert handled == []
        go_on.set()

    assert handled == [0, 1, 2]


def listens(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0)).close()
    except ConnectionRefusedError:
        return False
    return True


def test_can_be_stopped_before_it_starts_and_then_used_again() -> None:
    worker, handled = collecting()
    worker.stop()
    worker.serve(port=0)

    with serving(worker) as url:
        Client(url).enqueue(order())
        wait_for(lambda: handled, "the message")


def test_a_sender_that_hangs_up_leaves_the_worker_well() -> None:
    worker, handled = collecting()
    with serving(worker) as url:
        parts = urlsplit(url)
        body = posted_by_letsgo(order(number=1))
        request = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        for sent in (request + body[:20], request + body):
            with socket.create_connection((parts.hostname or "", parts.port or 0)) as connection:
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
        wait_for(lambda: "for which this worker has no handler" in caplog.text, "a warning")

    assert handled == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_says_where_it_listens(host: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    worker, _ = collecting()
    told: list[str] = []

    def on_ready(url: str) -> None:
        told.append(url)
        worker.stop()

    worker.serve(host=host, port=0, on_ready=on_ready)

    (url,) = told
    assert urlsplit(url).port
    assert f"worker running on {url}" in caplog.text


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(SettingsInvalid, match=f"cannot listen on 127.0.0.1:{port}"):
            Worker().serve(port=port)
    gc.collect()  # what was left open would be told now


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"port": -1}, "port=-1"),
        ({"port": 65_536}, "port=65536"),
        ({"host": "no.such.host.invalid"}, "cannot listen on no.such.host.invalid"),
    ],
)
def test_refuses_where_one_cannot_listen(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        Worker().serve(**options)


def test_without_waitress_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "waitress", None)

    with pytest.raises(SettingsInvalid, match=r"pip install 'letsgo-claimcheck\[local\]'"):
        Worker().serve(port=0)


def test_a_mistake_in_a_handler_shows_before_it_listens() -> None:
    worker = Worker()

    @worker.handler("order:new")
    def on_order(message: threading.Event) -> None: ...

    with pytest.raises(SettingsInvalid, match="on_order"):
        worker.serve(port=0)


@contextmanager
def serving_process() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`serving_worker.py` at work, and its address."""
    with subprocess.Popen(
        [sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


def let_handlers_end(process: subprocess.Popen[str]) -> list[str]:
    """Let two handlers end; all that the process still prints."""
    assert process.stdin
    assert process.stdout
    process.stdin.write("go\ngo\n")
    process.stdin.flush()
    return process.stdout.read().splitlines()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_finishes_what_was_accepted(number: signal.Signals) -> None:
    with serving_process() as (url, process):
        assert process.stdout
        ask(url, posted_by_letsgo(order(number=1), order(number=2)))
        assert process.stdout.readline() == "begun 1\n"

        process.send_signal(number)

        assert let_handlers_end(process) == ["ended 1", "begun 2", "ended 2", "stopped"]
        assert process.wait(DEADLINE_SECONDS) == 0


def test_a_second_interrupt_drops_what_has_not_begun() -> None:
    with serving_process() as (url, process):
        assert process.stdout
        ask(url, posted_by_letsgo(order(number=1), order(number=2)))
        assert process.stdout.readline() == "begun 1\n"

        process.send_signal(signal.SIGINT)
        wait_for(lambda: not listens(url), "it to stop listening")
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "dropping\n"

        assert let_handlers_end(process) == ["ended 1"]
        assert process.wait(DEADLINE_SECONDS) != 0
