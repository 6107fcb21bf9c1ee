"""LetsGo's own ends of its local mode, made from its sources, for ours to be compatible with.

https://github.com/47chapters/letsgo/blob/main/packages/queue/src/index.ts has the client, and
https://github.com/47chapters/letsgo/blob/main/apps/worker/src/server.ts the worker.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

NODE = shutil.which("node")
_PIECE_BYTES = 65_536
_SCRIPT = Path(__file__).with_name("letsgo_worker.mjs")


@dataclass
class LetsGoWorker:
    """A worker of LetsGo's.

    Attributes:
        url: Where it listens.
        events: What its handler was called with, in order.
    """

    url: str
    events: list[Any] = field(default_factory=list)

    def records(self) -> list[dict[str, Any]]:
        return [record for event in self.events for record in event["Records"]]


@contextmanager
def letsgo_worker() -> Iterator[LetsGoWorker]:
    """The worker written again in Python, with what Node does to a body that comes in pieces."""
    worker = LetsGoWorker("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            pieces = []
            left = int(self.headers["Content-Length"])
            while left > 0:
                piece = self.rfile.read(min(left, _PIECE_BYTES))
                pieces.append(piece.decode(errors="replace"))
                left -= len(piece)
            if self.path != "/":
                return self._refuse("Bad request. Only POST / is accepted.")
            try:
                event = json.loads("".join(pieces))
            except ValueError:
                return self._refuse("Bad request. Body must be JSON.")
            worker.events.append(event)
            return self._answer(201, b"")

        def _refuse(self, message: str) -> None:
            answer = {"statusCode": 400, "message": message}
            self._answer(400, json.dumps(answer, indent=2).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        worker.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield worker
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def letsgo_worker_on_node() -> Iterator[LetsGoWorker]:
    """The worker's own lines, on Node."""
    assert NODE
    with subprocess.Popen([NODE, str(_SCRIPT)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        output = process.stdout
        worker = LetsGoWorker(f"http://127.0.0.1:{output.readline().strip()}")
        reader = threading.Thread(
            target=lambda: worker.events.extend(json.loads(line) for line in output)
        )
        reader.start()
        try:
            yield worker
        finally:
            process.terminate()
            reader.join()


def posted_by_letsgo(*messages: object, user: str = "ada") -> bytes:
    """What LetsGo's client posts, as `JSON.stringify` writes it."""
    sender = f"letsgo:local:{user}"
    now = str(int(time.time() * 1000))
    records = [
        {
            "messageId": f"k3j9x2m1pq{number}",
            "receiptHandle": f"0zq81hd6c4{number}",
            "body": _stringify(message),
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": now,
                "SenderId": sender,
                "ApproximateFirstReceiveTimestamp": now,
            },
            "messageAttributes": {},
            "md5OfBody": "{md5}",
            "eventSource": "letsgo:local",
            "eventSourceARN": sender,
            "awsRegion": "us-west-2",
        }
        for number, message in enumerate(messages)
    ]
    return _stringify({"Records": records}).encode()


def _stringify(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
