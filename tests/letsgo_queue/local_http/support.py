"""What the tests of LetsGo's local mode share."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from letsgo_queue import Worker
from tests.letsgo_queue.support import DEADLINE_SECONDS


def ask(
    url: str,
    body: bytes | str = b"",
    *,
    method: str = "POST",
    target: str = "/",
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """One request, and its answer."""
    parts = urlsplit(url)
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=DEADLINE_SECONDS)
    try:
        connection.request(method, target, body, headers or {})
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


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), DEADLINE_SECONDS)


def listens(url: str) -> bool:
    try:
        connect(url).close()
    except ConnectionRefusedError:
        return False
    return True
