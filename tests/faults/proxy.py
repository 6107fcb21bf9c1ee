"""A proxy in front of an AWS server, which fails as networks and services do.

    with FaultyProxy(server.endpoint_url) as proxy:
        proxy.inject(Fault.THROTTLED, "PutItem", rate=0.1)
        with proxy.outage("dynamodb"):
            ...

An operation is named as its `X-Amz-Target` header does, with or without the service before it
(`PutItem`, `dynamodb`). What the proxy did is counted, so that a test can say that a fault really
happened, and so are the tables and queues that were touched.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self, assert_never
from urllib.parse import urlsplit

SLOW_SECONDS = 0.2

_SERVICES = {"DynamoDB": "dynamodb", "AmazonSQS": "sqs"}
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds, so that closing sends RST


class Fault(StrEnum):
    """What may become of a request."""

    CAPACITY_EXCEEDED = "ProvisionedThroughputExceededException"
    THROTTLED = "ThrottlingException"
    TOKEN_EXPIRED = "ExpiredTokenException"
    TABLE_MISSING = "ResourceNotFoundException"
    SERVER_ERROR = "500 InternalServerError"
    BAD_GATEWAY = "502, not from AWS"
    ANSWER_LOST = "took effect, no answer"
    ANSWER_CUT = "took effect, half an answer"
    RESET = "connection reset, nothing forwarded"
    SLOW = "answered late"


REFUSALS = (Fault.CAPACITY_EXCEEDED, Fault.THROTTLED, Fault.TOKEN_EXPIRED, Fault.TABLE_MISSING)
"""Faults that say for certain that nothing was done."""

PASSING = (
    Fault.CAPACITY_EXCEEDED,
    Fault.THROTTLED,
    Fault.SERVER_ERROR,
    Fault.BAD_GATEWAY,
    Fault.ANSWER_LOST,
    Fault.ANSWER_CUT,
    Fault.RESET,
    Fault.SLOW,
)
"""Faults that come and go by themselves."""

PASSING_ON_SQS = tuple(fault for fault in PASSING if fault is not Fault.CAPACITY_EXCEEDED)
"""The same for SQS, which has no capacity to exceed."""


@dataclass(slots=True)
class _Rule:
    faults: tuple[Fault, ...]
    names: frozenset[str]
    rate: float
    times: int | None

    def applies(self, service: str, operation: str) -> bool:
        return self.times != 0 and (
            not self.names or not self.names.isdisjoint({service, operation})
        )


class FaultyProxy:
    """Forwards requests to an AWS server, except where a fault was injected."""

    def __init__(self, server_url: str, *, seed: int = 0) -> None:
        parts = urlsplit(server_url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._server = (parts.hostname, parts.port)
        self._random = random.Random(seed)
        self._rules: list[_Rule] = []
        self._down: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self.injected: Counter[tuple[str, Fault]] = Counter()
        self.touched: set[str] = set()
        self._http = _Server(("127.0.0.1", 0), partial(_Handler, self))
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(
            target=self._http.serve_forever, args=(0.05,), name="faulty-proxy", daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def inject(
        self,
        *faults: Fault,
        on: str | tuple[str, ...] = (),
        rate: float = 1.0,
        times: int | None = None,
    ) -> None:
        """Have one of `faults` happen, chosen by chance.

        Args:
            faults: What may happen.
            on: Operations or services; none means all.
            rate: How likely, 0 to 1, for each request.
            times: How often at most.
        """
        names = frozenset((on,) if isinstance(on, str) else on)
        with self._lock:
            self._rules.append(_Rule(faults, names, rate, times))

    def clear(self) -> None:
        """Have everything work again."""
        with self._lock:
            self._rules.clear()
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

    def decide(self, service: str, operation: str) -> Fault | None:
        """What becomes of a request."""
        with self._lock:
            fault = Fault.RESET if service in self._down else self._draw(service, operation)
            if fault is not None:
                self.injected[operation, fault] += 1
            return fault

    def note(self, request: dict[str, str]) -> None:
        """Note which table or queue a request was forwarded for."""
        self.touched |= {request[name] for name in ("TableName", "QueueUrl") if name in request}

    def _draw(self, service: str, operation: str) -> Fault | None:
        for rule in self._rules:
            if rule.applies(service, operation) and self._random.random() < rule.rate:
                if rule.times is not None:
                    rule.times -= 1
                return self._random.choice(rule.faults)
        return None

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self._server, timeout=60)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients go away here, that is the point; what matters is what they make of it."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, proxy: FaultyProxy, *args: object) -> None:
        self._proxy = proxy
        self._onward = proxy.connect()
        try:
            super().__init__(*args)  # type: ignore[arg-type]  # what the server passes
        finally:
            self._onward.close()

    def do_POST(self) -> None:
        target = self.headers.get("X-Amz-Target", "")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        prefix, _, operation = target.rpartition(".")
        service = _SERVICES.get(prefix.partition("_")[0], prefix)
        fault = self._proxy.decide(service, operation)
        match fault:
            case None:
                self._answer(*self._forward(body))
            case Fault.SLOW:
                time.sleep(SLOW_SECONDS)
                self._answer(*self._forward(body))
            case Fault.RESET:
                self._hang_up()
            case Fault.ANSWER_LOST:
                self._forward(body)
                self._hang_up()
            case Fault.ANSWER_CUT:
                status, headers, content = self._forward(body)
                self._answer(status, headers, content, cut=True)
            case Fault.SERVER_ERROR:
                self._refuse(500, "InternalServerError")
            case Fault.BAD_GATEWAY:
                self._answer(502, {"Content-Type": "text/html"}, b"<html>Bad Gateway</html>")
            case (
                Fault.CAPACITY_EXCEEDED
                | Fault.THROTTLED
                | Fault.TOKEN_EXPIRED
                | Fault.TABLE_MISSING
            ):
                self._refuse(400, fault)
            case _:
                assert_never(fault)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the server's own name
        """Tests say what happened themselves."""

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        self._onward.request("POST", self.path, body, dict(self.headers.items()))
        answer = self._onward.getresponse()
        content = answer.read()
        self._proxy.note(json.loads(body))
        kept = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP_BY_HOP}
        return answer.status, kept, content

    def _refuse(self, status: int, code: str) -> None:
        content = json.dumps({"__type": f"com.amazonaws#{code}", "message": "injected"}).encode()
        self._answer(status, {"Content-Type": "application/x-amz-json-1.0"}, content)

    def _answer(
        self, status: int, headers: dict[str, str], content: bytes, *, cut: bool = False
    ) -> None:
        with suppress(ConnectionError):
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            # An answer is cut where it has to say how much more there would have been.
            self.send_header("Content-Length", str(len(content) + 16 * cut))
            self.end_headers()
            self.wfile.write(content)
        if cut:
            self._hang_up()

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close_connection = True
        self.connection.close()
