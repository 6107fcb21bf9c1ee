"""Middleware finishes what goes on in the background: when its worker ends."""

from __future__ import annotations

import pytest

from letsgo_queue import Client, Middleware, Worker, use_middleware
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import order


class Background(Middleware):
    """Notes when it is to finish."""

    def __init__(self) -> None:
        self.finished = 0

    def finish(self) -> None:
        self.finished += 1


class Broken(Middleware):
    def finish(self) -> None:
        raise ZeroDivisionError


@pytest.fixture
def background() -> Background:
    return Background()


def worker_with(background: Background, queue: MemoryTransport) -> tuple[Worker, list[object]]:
    """A worker, and how often the middleware had finished when its handler ran."""
    worker = Worker(queue, middleware=[Broken(), background])
    seen: list[object] = []

    @worker.default
    @use_middleware(background)
    def handle(message: object) -> None:
        seen.append(background.finished)

    return worker, seen


def test_once_at_the_end_whatever_others_raise(
    background: Background, client: Client, queue: MemoryTransport, caplog: pytest.LogCaptureFixture
) -> None:
    worker, seen = worker_with(background, queue)
    client.enqueue(order())

    worker.run(burst=True)

    assert (seen, background.finished) == ([0], 1)
    assert "Broken did not finish" in caplog.text
