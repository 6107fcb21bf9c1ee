"""Stand-ins for LetsGo's ends of its local mode, for ours to be compatible with.

They are made from the facts of the wire. LetsGo's client posts one record in `{"Records": [...]}`
to `/`, through Node's agent. Its worker answers 201 before it handles the event, and 400 with
`{"statusCode", "message"}` to other methods and paths, and to a body that is not JSON.
"""

from __future__ import annotations

import codecs
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.letsgo_queue.support import DEADLINE_SECONDS

NODE = shutil.which("node")

_NODE_SENDER = Path(__file__).with_name("node_sender.mjs")
_PIECE_BYTES = 65_536


@dataclass
class LetsGoWorker:
    """A worker in the place of LetsGo's.

    Attributes:
        url: Where it listens.
        events: What its handler would be called with, in order.
    """

    url: str
    events: list[Any] = field(default_factory=list)

    def records(self) -> list[dict[str, Any]]:
        return [record for event in self.events for record in event["Records"]]


@contextmanager
def letsgo_worker() -> Iterator[LetsGoWorker]:
    """Takes posts as LetsGo's worker does."""
    worker = LetsGoWorker("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self._text()
            if self.path != "/":
                return self._refuse("another path")
            try:
                event = json.loads(text)
            except ValueError:
                return self._refuse("no JSON")
            worker.events.append(event)
            return self._answer(201, b"")

        def _text(self) -> str:
            """Each piece of the body is decoded by itself: a character that is cut is lost."""
            left = int(self.headers["Content-Length"])
            pieces = []
            while left > 0:
                piece = self.rfile.read(min(left, _PIECE_BYTES))
                pieces.append(codecs.decode(piece, errors="replace"))
                left -= len(piece)
            return "".join(pieces)

        def _refuse(self, message: str) -> None:
            self._answer(400, json.dumps({"statusCode": 400, "message": message}).encode())

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


def posted_by_letsgo(*messages: object, user: str = "ada") -> bytes:
    """What LetsGo's client posts, on one line: text is not escaped, and no attribute is set."""
    sender = f"letsgo:local:{user}"
    now = str(int(time.time() * 1000))
    records = [
        {
            "messageId": f"k3j9x2m1pq{number}",
            "receiptHandle": f"0zq81hd6c4{number}",
            "body": _compact(message),
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
    return _compact({"Records": records}).encode()


def post_from_node(url: str, bodies: Sequence[bytes]) -> list[int]:
    """Post all bodies at once from Node; their statuses."""
    assert NODE
    done = subprocess.run(
        [NODE, str(_NODE_SENDER), url],
        input=b"\n".join(bodies),
        stdout=subprocess.PIPE,
        check=True,
        timeout=DEADLINE_SECONDS,
    )
    statuses: list[int] = json.loads(done.stdout)["statuses"]
    return statuses


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
