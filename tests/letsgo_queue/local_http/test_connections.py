"""Many connections, slow ones and large ones: nobody keeps others out, or fills the memory."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from letsgo_queue import Client
from letsgo_queue.limits import MAX_MESSAGE_BYTES
from letsgo_queue.local_http import connections
from letsgo_queue.local_http.transport import MAX_POST_BYTES, LocalHttpTransport
from tests.letsgo_queue.local_http.letsgo import NODE, post_from_node, posted_by_letsgo
from tests.letsgo_queue.local_http.support import ask, collecting, connect, listens
from tests.letsgo_queue.support import DEADLINE_SECONDS, order, serving, sized
from tests.support.waiting import wait_for

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
BODY = posted_by_letsgo(order())
REQUEST = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


def answer_on(connection: socket.socket) -> bytes:
    """All that comes until the other end closes."""
    with connection.makefile("rb") as answer:
        return answer.read()


@contextmanager
def slow_connections(url: str, count: int) -> Iterator[list[socket.socket]]:
    """Connections with the beginning of a request."""
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(url)) for _ in range(count)]
        for each in slow:
            each.sendall(HEAD)
        yield slow


@pytest.mark.skipif(NODE is None, reason="there is no Node")
def test_400_posts_at_once_of_nodes_agent_are_answered(caplog: pytest.LogCaptureFixture) -> None:
    """It took twenty seconds and more when connections that Node keeps took places."""
    worker, handled = collecting()

    with serving(worker) as url:
        assert post_from_node(url, [BODY] * 400) == [201] * 400
        wait_for(lambda: len(handled) == 400, "all messages")

    assert [each.getMessage() for each in caplog.records if each.levelno > logging.INFO] == []


def test_400_connections_at_once_are_answered(caplog: pytest.LogCaptureFixture) -> None:
    worker, handled = collecting()

    with serving(worker) as url, ExitStack() as stack:
        opened = [stack.enter_context(connect(url)) for _ in range(400)]
        assert ask(url, BODY)[0] == 201  # after them, and none of them is in its way
        for each in opened:
            each.sendall(REQUEST)
        for each in opened:
            assert answer_on(each).startswith(b"HTTP/1.1 201 Created\r\n")
        wait_for(lambda: len(handled) == 401, "all messages")

    assert [each.getMessage() for each in caplog.records if each.levelno > logging.INFO] == []


def test_slow_connections_keep_nobody_out() -> None:
    worker, handled = collecting()

    with serving(worker) as url, slow_connections(url, 101):
        assert ask(url, BODY)[0] == 201
        wait_for(lambda: handled, "the message")


def test_where_all_places_are_taken_the_oldest_is_given_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 10.0 * DEADLINE_SECONDS)
    worker, _ = collecting()

    with serving(worker) as url, slow_connections(url, 3) as slow:
        assert ask(url, BODY)[0] == 201
        assert answer_on(slow[0]) == b""
        for each in slow[1:]:
            each.sendall(REQUEST.removeprefix(HEAD))
            assert answer_on(each).startswith(b"HTTP/1.1 201")


def test_connections_beyond_the_files_of_a_process_keep_nobody_out() -> None:
    script = """
import resource
from letsgo_queue import Worker
from letsgo_queue.local_http import connections

connections.REQUEST_SECONDS = 1_000
worker = Worker()
worker.default(lambda message: print("handled", flush=True))
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
worker.serve(port=0, on_ready=lambda url: print(url, flush=True))
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            url = process.stdout.readline().strip()
            with slow_connections(url, 50):
                assert ask(url, BODY)[0] == 201
            assert process.stdout.readline() == "handled\n"
        finally:
            process.kill()


def test_a_request_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then gives it no more time."""
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.2)
    worker, handled = collecting()
    answers: list[bytes] = []

    with serving(worker) as url, connect(url) as connection:
        reading = threading.Thread(target=lambda: answers.append(answer_on(connection)))
        reading.start()
        connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n")
        with suppress(OSError):  # it has ended
            while not answers:
                connection.sendall(b" ")
        reading.join()

    assert answers[0].startswith(b"HTTP/1.1 408 ")
    assert handled == []


@pytest.mark.parametrize(
    "head", [b"Content-Length: %d\r\n\r\n" % 10**9, b"Transfer-Encoding: chunked\r\n\r\n"]
)
def test_a_body_over_the_limit_is_refused_and_not_kept(head: bytes) -> None:
    """A sender that announces a gigabyte, and sends it, is told before it has sent it all."""
    worker, handled = collecting()
    piece = b"%x\r\n%b\r\n" % (65_536, b"[" * 65_536)

    with serving(worker) as url, connect(url) as connection:
        connection.sendall(HEAD + head)
        for _ in range(MAX_POST_BYTES // 65_536 + 1 if b"chunked" in head else 0):
            connection.sendall(piece)
        answer = answer_on(connection)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Post fewer messages" in answer
    assert handled == []


def test_whoever_still_sends_reads_why_it_is_refused() -> None:
    worker, _ = collecting()

    with serving(worker) as url:
        assert ask(url, b" " * 50_000_000)[0] == 413
        assert ask(url, b" " * 5_000_000, headers={"Origin": "https://shop.example"})[0] == 403


def test_the_largest_post_of_our_client_fits() -> None:
    """JSON makes six bytes of this character, more than of any other that SQS takes."""
    worker, handled = collecting()
    message = order(text="\x7f" * (MAX_MESSAGE_BYTES - 100))

    with serving(worker) as url:
        Client(url).enqueue(message)
        (arrived,) = wait_for(lambda: handled, "the message")
        ten = [sized(MAX_MESSAGE_BYTES // 10, "\x7f", attributes=True)] * 10
        sent = LocalHttpTransport(url).send_batch(ten)

    assert arrived == message
    assert [each for each in sent if not isinstance(each, str)] == []


def test_a_sender_that_waits_to_be_told_is_told_to_go_on() -> None:
    """curl does so with a body of 1 MB."""
    worker, handled = collecting()
    head = HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY)

    with serving(worker) as url, connect(url) as connection:
        connection.sendall(head)
        assert connection.recv(1_000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert answer_on(connection).startswith(b"HTTP/1.1 201 ")
        wait_for(lambda: handled, "the message")


def test_a_body_may_come_in_chunks() -> None:
    worker, handled = collecting()
    chunks = [b"%x\r\n%b\r\n" % (len(each), each) for each in (BODY[:7], BODY[7:], b"")]

    with serving(worker) as url, connect(url) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(chunks))
        assert answer_on(connection).startswith(b"HTTP/1.1 201 ")
        wait_for(lambda: handled, "the message")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n\r\n", 400),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n12", 400),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (HEAD + b"X: %b" % (b"x" * 100_000), 431),
    ],
)
def test_what_is_no_request_is_refused(sent: bytes, status: int) -> None:
    worker, handled = collecting()

    with serving(worker) as url:
        with connect(url) as connection:
            connection.sendall(sent)
            answer = answer_on(connection)
        assert ask(url, BODY)[0] == 201
        wait_for(lambda: handled, "the next message")

    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert json.loads(body)["statusCode"] == status


def test_a_request_that_is_arriving_when_it_stops_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "CROWDED_SECONDS", 1.0 * DEADLINE_SECONDS)
    worker, handled = collecting()

    with serving(worker) as url, connect(url) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\n" + REQUEST.removeprefix(HEAD)[:-1])
        assert connection.recv(1_000).startswith(b"HTTP/1.1 100 ")
        worker.stop()
        wait_for(lambda: not listens(url), "it to stop listening")
        connection.sendall(BODY[-1:])
        assert answer_on(connection).startswith(b"HTTP/1.1 201 ")

    assert len(handled) == 1


def test_serves_where_an_event_loop_runs() -> None:
    """A notebook has one."""
    worker, handled = collecting()

    def on_ready(url: str) -> None:
        threading.Thread(target=post_and_stop, args=(url,)).start()

    def post_and_stop(url: str) -> None:
        ask(url, BODY)
        worker.stop()

    async def main() -> None:
        worker.serve(port=0, on_ready=on_ready)

    asyncio.run(main())

    assert len(handled) == 1
