"""An AWS server behind a proxy that fails as networks and services do.

    with FaultyServer(aws.endpoint_url) as server:
        server.inject(Failure.THROTTLED, on="PutItem", rate=0.1)
        server.refuse("UpdateItem", "AccessDeniedException", times=1)
        with server.outage("dynamodb"):
            ...

A fault is for an operation (`PutItem`, `PutObject`), for a service (`dynamodb`), for a call in a
message's life (`Call.ACQUIRE`), or for all. The proxy counts what it did, so that a test can say
that a fault really happened.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from enum import StrEnum
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, TypeAlias
from urllib.parse import urlsplit

from tests.support.calls import Call, Calls, Request

SLOW_SECONDS = 0.2
LATEST_SECONDS = 60.0
"""How long something late waits at most for the client to give up."""

_TOUCHED = ("TableName", "QueueUrl", "Bucket")
_HOP_BY_HOP = {"connection", "expect", "keep-alive", "transfer-encoding", "content-length"}
_WITHOUT_CONTENT = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds, so that closing sends RST

Matches: TypeAlias = Callable[[dict[str, Any]], bool]
"""Whether a fault is meant for a request, by its fields."""


class Failure(StrEnum):
    """What may become of a request."""

    REQUEST_LOST = "connection reset, nothing forwarded"
    REQUEST_LATE = "forwarded after the client gave up"
    ANSWER_LOST = "took effect, no answer"
    ANSWER_CUT = "took effect, half an answer"
    ANSWER_LATE = "took effect, answered after the client gave up"
    ANSWER_DAMAGED = "took effect, an answer that does not fit its checksum"
    SLOW = "answered slowly"
    THROTTLED = "ThrottlingException"
    CAPACITY_EXCEEDED = "ProvisionedThroughputExceededException"
    DENIED = "AccessDeniedException"
    TOKEN_EXPIRED = "ExpiredTokenException"
    TABLE_MISSING = "ResourceNotFoundException"
    SERVER_ERROR = "500 InternalServerError"
    BAD_GATEWAY = "502, not from AWS"


REFUSALS = (
    Failure.THROTTLED,
    Failure.CAPACITY_EXCEEDED,
    Failure.DENIED,
    Failure.TOKEN_EXPIRED,
    Failure.TABLE_MISSING,
)
"""Failures that say for certain that nothing was done."""

PASSING = (
    Failure.REQUEST_LOST,
    Failure.ANSWER_LOST,
    Failure.ANSWER_CUT,
    Failure.SLOW,
    Failure.THROTTLED,
    Failure.CAPACITY_EXCEEDED,
    Failure.SERVER_ERROR,
    Failure.BAD_GATEWAY,
)
"""Failures that come and go by themselves."""

PASSING_ON_SQS = tuple(each for each in PASSING if each is not Failure.CAPACITY_EXCEEDED)
"""The same for SQS, which has no capacity to exceed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the test's own, for which the server gets no request.

    Attributes:
        status: Its status.
        kind: The type of its content.
        content: Its content.
    """

    status: int
    kind: str = "application/x-amz-json-1.0"
    content: bytes = b"{}"

    @classmethod
    def success(cls, fields: Mapping[str, Any]) -> Answer:
        """What SQS, DynamoDB and KMS say."""
        return cls(200, content=json.dumps(fields).encode())

    @classmethod
    def refusal(cls, code: str, status: int = 400) -> Answer:
        """An error as SQS, DynamoDB and KMS have it."""
        fields = {"__type": f"com.amazonaws#{code}", "message": "the test says so"}
        return cls(status, content=json.dumps(fields).encode())

    @classmethod
    def refusal_of_s3(cls, code: str, status: int) -> Answer:
        """An error as S3 has it."""
        xml = f"<Error><Code>{code}</Code><Message>the test says so</Message></Error>"
        return cls(status, "application/xml", xml.encode())


_BAD_GATEWAY = Answer(502, "text/html", b"<html>Bad Gateway</html>")

_ANSWERS = {
    **{failure: Answer.refusal(failure) for failure in REFUSALS},
    Failure.SERVER_ERROR: Answer.refusal("InternalServerError", 500),
    Failure.BAD_GATEWAY: _BAD_GATEWAY,
}

_ANSWERS_OF_S3 = {
    Failure.THROTTLED: Answer.refusal_of_s3("SlowDown", 503),
    Failure.CAPACITY_EXCEEDED: Answer.refusal_of_s3("ServiceUnavailable", 503),
    Failure.DENIED: Answer.refusal_of_s3("AccessDenied", 403),
    Failure.TOKEN_EXPIRED: Answer.refusal_of_s3("ExpiredToken", 400),
    Failure.TABLE_MISSING: Answer.refusal_of_s3("NoSuchBucket", 404),
    Failure.SERVER_ERROR: Answer.refusal_of_s3("InternalError", 500),
    Failure.BAD_GATEWAY: _BAD_GATEWAY,
}


@dataclass(slots=True)
class Fault:
    """What happens to some requests.

    Attributes:
        on: Operations, services and calls that it is for; none means all.
        outcomes: What may happen to a request, chosen by chance.
        matches: Which of them, by their fields.
        rate: How likely, 0 to 1, for each request.
        times: How often at most; None for always.
        happened: How often it has happened.
    """

    on: frozenset[str]
    outcomes: tuple[Failure | Answer | threading.Event, ...]
    matches: Matches = lambda _: True
    rate: float = 1.0
    times: int | None = None
    happened: int = 0

    def is_for(self, names: frozenset[str], request: Request) -> bool:
        """Whether it may happen to a request once more."""
        may_happen = self.times is None or self.happened < self.times
        meant = not self.on or not self.on.isdisjoint(names)
        return may_happen and meant and self.matches(request.fields)


class FaultyServer:
    """Forwards requests to an AWS server, except where a fault was injected.

    Attributes:
        url: Where clients find it.
        ahead: Seconds that the server's clock is ahead, as the `Date` of its answers has it.
        failed: How often each failure happened, by operation.
        user_agents: What each request said of who sent it.
        operations: What each request asked for.
        answered: How many requests the server has answered, by operation.
        calls: The calls in a message's life that requests were.
        touched: The tables, queues and buckets that requests were forwarded for.
        receipts: The receipt handles of all deliveries.
        faults: What was injected.
        connections: How many connections clients have made.
        open_connections: How many of them are open.
    """

    def __init__(self, server_url: str, *, seed: int = 0) -> None:
        parts = urlsplit(server_url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._server = (parts.hostname, parts.port)
        self._random = random.Random(seed)
        self.faults: list[Fault] = []
        self._down: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._calls = Calls()
        self.ahead = 0.0
        self.failed: Counter[tuple[str, Failure]] = Counter()
        self.user_agents: list[str] = []
        self.operations: list[str] = []
        self.answered: Counter[str] = Counter()
        self.calls: list[Call] = []
        self.touched: set[str] = set()
        self.receipts: list[str] = []
        self.connections = 0
        self.open_connections = 0
        self._http = _Server(("127.0.0.1", 0), partial(_Handler, self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def inject(
        self,
        *failures: Failure,
        on: str | tuple[str, ...] = (),
        matches: Matches = lambda _: True,
        rate: float = 1.0,
        times: int | None = None,
    ) -> Fault:
        """Have requests fail; see `Fault`."""
        names = frozenset((on,) if isinstance(on, str) else on)
        return self._add(Fault(names, failures, matches, rate, times))

    def refuse(
        self,
        operation: str,
        code: str,
        status: int = 400,
        *,
        matches: Matches = lambda _: True,
        times: int | None = None,
    ) -> Fault:
        """Answer with an error of AWS's."""
        refusal = Answer.refusal(code, status)
        return self._add(Fault(frozenset({operation}), (refusal,), matches, times=times))

    def answer(
        self,
        operation: str,
        fields: Mapping[str, Any],
        *,
        matches: Matches = lambda _: True,
        times: int | None = None,
    ) -> Fault:
        """Answer in the server's place, with success."""
        answer = Answer.success(fields)
        return self._add(Fault(frozenset({operation}), (answer,), matches, times=times))

    def hold(
        self,
        operation: str,
        until: threading.Event,
        *,
        matches: Matches = lambda _: True,
        times: int | None = None,
    ) -> Fault:
        """Forward requests only once `until` is set."""
        return self._add(Fault(frozenset({operation}), (until,), matches, times=times))

    def clear(self) -> None:
        """Have everything work again."""
        with self._lock:
            self.faults.clear()
            self._down = frozenset()

    @contextmanager
    def outage(self, *services: str) -> Iterator[None]:
        """Reset every connection to these services while the block runs."""
        with self._lock:
            self._down = frozenset(services)
        try:
            yield
        finally:
            with self._lock:
                self._down = frozenset()

    def decide(self, request: Request) -> Failure | Answer | threading.Event | None:
        """What becomes of a request; None where it works."""
        with self._lock:
            call = self._calls.call_in(request)
            names = frozenset(filter(None, (request.service, request.operation, call)))
            self.operations.append(request.operation)
            if call is not None:
                self.calls.append(call)
            is_down = request.service in self._down
            outcome = Failure.REQUEST_LOST if is_down else self._draw(names, request)
            if isinstance(outcome, Failure):
                self.failed[request.operation, outcome] += 1
            return outcome

    def note(self, request: Request, status: int, answer: bytes) -> None:
        """Note what a request was forwarded for, and what the server gave out."""
        fields = request.fields
        with self._lock:
            self.answered[request.operation] += 1
            if status < HTTPStatus.MULTIPLE_CHOICES:
                self._calls.note(request)
            self.touched |= {fields[name] for name in _TOUCHED if name in fields}
            if request.operation == "ReceiveMessage":
                messages = json.loads(answer).get("Messages", [])
                self.receipts += [message["ReceiptHandle"] for message in messages]

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Note that a client is connected while the block runs."""
        with self._lock:
            self.connections += 1
            self.open_connections += 1
        try:
            yield
        finally:
            with self._lock:
                self.open_connections -= 1

    def connect(self) -> http.client.HTTPConnection:
        """A new connection to the server, which may close an idle one."""
        return http.client.HTTPConnection(*self._server, timeout=60)

    def _add(self, fault: Fault) -> Fault:
        with self._lock:
            self.faults.append(fault)
        return fault

    def _draw(
        self, names: frozenset[str], request: Request
    ) -> Failure | Answer | threading.Event | None:
        for fault in self.faults:
            if fault.is_for(names, request) and self._random.random() < fault.rate:
                fault.happened += 1
                return self._random.choice(fault.outcomes)
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients go away here: that is the point. What matters is what they make of it."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, server: FaultyServer, *args: object) -> None:
        self._server = server
        with server.connected():
            super().__init__(*args)  # type: ignore[arg-type]  # what the HTTP server passes

    def do_POST(self) -> None:
        body = self._read_body()
        request = Request.read(self.command, self.path, dict(self.headers.items()), body)
        self._server.user_agents.append(self.headers.get("User-Agent", ""))
        outcome = self._server.decide(request)
        if isinstance(outcome, Failure):
            answers = _ANSWERS_OF_S3 if request.service == "s3" else _ANSWERS
            outcome = answers.get(outcome, outcome)
        match outcome:
            case Answer():
                headers = {"Content-Type": outcome.kind}
                self._answer(outcome.status, headers, outcome.content)
            case Failure.REQUEST_LOST:
                self._hang_up()
            case Failure.REQUEST_LATE:
                self._wait_for_client_to_give_up()
                self._forward(request, body)
            case Failure.ANSWER_LOST:
                self._forward(request, body)
                self._hang_up()
            case Failure.ANSWER_CUT:
                self._answer(*self._forward(request, body), cut=True)
            case Failure.ANSWER_DAMAGED:
                status, headers, content = self._forward(request, body)
                checksum = {"x-amz-crc32": str(zlib.crc32(content))}  # DynamoDB's
                self._answer(status, {**headers, **checksum}, content[: len(content) // 2])
            case Failure.ANSWER_LATE:
                self._forward(request, body)
                self._wait_for_client_to_give_up()
            case _:
                if isinstance(outcome, threading.Event):
                    outcome.wait()
                elif outcome is Failure.SLOW:
                    time.sleep(SLOW_SECONDS)
                self._answer(*self._forward(request, body))

    def do_GET(self) -> None:
        self.do_POST()

    def do_HEAD(self) -> None:
        self.do_POST()

    def do_PUT(self) -> None:
        self.do_POST()

    def do_DELETE(self) -> None:
        self.do_POST()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the server's own name
        """Tests say what happened themselves."""

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            """The trailers of HTTP: none of AWS's clients sends one."""
        return b"".join(chunks)

    def _forward(self, request: Request, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
        with closing(self._server.connect()) as onward:
            onward.request(self.command, self.path, body or None, headers)
            answer = onward.getresponse()
            content = answer.read()
        self._server.note(request, answer.status, content)
        kept = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP_BY_HOP}
        if self.command == "HEAD":
            kept["Content-Length"] = answer.headers["Content-Length"]
        if self._server.ahead:
            kept = {k: v for k, v in kept.items() if k.lower() != "date"}
            server_time = parsedate_to_datetime(answer.headers["Date"]).timestamp()
            kept["Date"] = formatdate(server_time + self._server.ahead, usegmt=True)
        return answer.status, kept, content

    def _answer(
        self, status: int, headers: Mapping[str, str], content: bytes, *, cut: bool = False
    ) -> None:
        half = content[: len(content) // 2] if cut else content
        with suppress(ConnectionError):
            self.send_response_only(status)  # its Date is the server's own
            for name, value in headers.items():
                self.send_header(name, value)
            if self.command != "HEAD" and status not in _WITHOUT_CONTENT:
                # An empty one is cut too.
                self.send_header("Content-Length", str(max(len(content), int(cut))))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(half)
        self.close_connection |= cut

    def _wait_for_client_to_give_up(self) -> None:
        self.connection.settimeout(LATEST_SECONDS)
        with suppress(OSError):
            self.connection.recv(1)  # a client that waits for an answer says nothing more
        self.close_connection = True

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close_connection = True
        self.connection.close()
