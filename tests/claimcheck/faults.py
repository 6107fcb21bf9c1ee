"""A proxy before an AWS server that does what AWS does on a bad day."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias
from urllib.parse import urlsplit

_KEPT_HEADERS = {"content-type", "date", "x-amzn-requestid", "x-amz-crc32"}

Matches: TypeAlias = Callable[[dict[str, Any]], bool]
"""Whether a fault is meant for a request, by the request's JSON."""


@dataclass
class Fault:
    """What happens to some requests.

    Attributes:
        operation: Which requests: `PutItem`, `SendMessage`.
        matches: Which of them.
        times: How often; -1 for always.
        status: The answer's status; None to hang up instead of answering.
        answer: The answer's JSON.
        lost: Whether the server gets the request all the same, and only its answer is lost.
        until: Set when the server may have the request after all; None if it never gets it.
        happened: How often it has happened.
    """

    operation: str
    matches: Matches = lambda _: True
    times: int = -1
    status: int | None = None
    answer: dict[str, Any] = field(default_factory=dict)
    lost: bool = False
    until: threading.Event | None = None
    happened: int = 0

    def takes(self, operation: str, request: dict[str, Any]) -> bool:
        if operation != self.operation or self.happened == self.times or not self.matches(request):
            return False
        self.happened += 1
        return True


@dataclass
class FaultyServer:
    """An AWS server behind the proxy.

    Attributes:
        url: Where clients find it.
        faults: What happens to some requests; the others reach the server.
        user_agents: What each request said of who sent it.
        operations: What each request asked for.
        connections: How many connections clients have made.
        open_connections: How many of them are open.
    """

    url: str
    faults: list[Fault] = field(default_factory=list)
    user_agents: list[str] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0

    def refuse(self, operation: str, code: str, status: int = 400, **options: Any) -> Fault:
        """Answer with an error of AWS's."""
        service = "com.amazonaws.sqs" if operation == "SendMessage" else "com.amazonaws.dynamodb"
        answer = {"__type": f"{service}#{code}", "message": "the test says so"}
        return self.add(Fault(operation, status=status, answer=answer, **options))

    def hang_up(self, operation: str, **options: Any) -> Fault:
        """Close the connection without an answer."""
        return self.add(Fault(operation, **options))

    def lose_answer(self, operation: str, **options: Any) -> Fault:
        """Have it take effect, and close the connection without an answer."""
        return self.add(Fault(operation, lost=True, **options))

    def hold(self, operation: str, until: threading.Event, **options: Any) -> Fault:
        """Have the server get it late."""
        return self.add(Fault(operation, until=until, **options))

    def add(self, fault: Fault) -> Fault:
        self.faults.append(fault)
        return fault


@contextmanager
def faulty(server_url: str) -> Iterator[FaultyServer]:
    """Run the proxy before a server."""
    behind = urlsplit(server_url)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            with lock:
                proxied.connections += 1
                proxied.open_connections += 1

        def finish(self) -> None:
            super().finish()
            with lock:
                proxied.open_connections -= 1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            proxied.user_agents.append(self.headers["User-Agent"])
            operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
            request = json.loads(body)
            proxied.operations.append(operation)
            with lock:
                fault = next((f for f in proxied.faults if f.takes(operation, request)), None)
            if fault is not None and fault.until is not None:
                fault.until.wait()
                fault = None
            if fault is None or fault.lost:
                status, headers, answer = self._pass_on(body)
            else:
                status, headers = fault.status, {"Content-Type": "application/x-amz-json-1.0"}
                answer = json.dumps(fault.answer).encode()
            if status is None or (fault is not None and fault.lost):
                self.close_connection = True
                return
            self.send_response_only(status)  # the Date is the server's own
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def _pass_on(self, body: bytes) -> tuple[int | None, dict[str, str], bytes]:
            connection = HTTPConnection(behind.hostname or "", behind.port, timeout=30)
            try:
                connection.request("POST", self.path, body, dict(self.headers.items()))
                answer = connection.getresponse()
                kept = {
                    name: value
                    for name, value in answer.getheaders()
                    if name.lower() in _KEPT_HEADERS
                }
                return answer.status, kept, answer.read()
            finally:
                connection.close()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    proxied = FaultyServer(f"http://127.0.0.1:{httpd.server_address[1]}")
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield proxied
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()
