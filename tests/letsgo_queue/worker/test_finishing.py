"""Middleware finishes what goes on in the background: when its worker ends, and in Lambda."""

from __future__ import annotations

import pytest

from letsgo_queue import Client, Middleware, Worker, use_middleware
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.aws_lambda.lambda_events import Context, event_of
from tests.letsgo_queue.support import order


class Background(Middleware):
    """Notes when it is to finish."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def finish(self, seconds_left: float | None = None, /) -> None:
        self.calls.append(seconds_left)


class Broken(Middleware):
    def finish(self, seconds_left: float | None = None, /) -> None:
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
        seen.append(len(background.calls))

    return worker, seen


def test_once_at_the_end_whatever_others_raise(
    background: Background, client: Client, queue: MemoryTransport, caplog: pytest.LogCaptureFixture
) -> None:
    worker, seen = worker_with(background, queue)
    client.enqueue(order())

    worker.run(burst=True)

    assert (seen, background.calls) == ([0], [None])
    assert "Broken did not finish" in caplog.text


def test_before_each_answer_of_a_lambda_function(
    background: Background, queue: MemoryTransport
) -> None:
    worker, seen = worker_with(background, queue)

    for _ in range(2):
        worker.lambda_handler(event_of('{"type": "a:b", "payload": 1}'), Context(300))

    assert seen == [0, 1]
    assert [isinstance(left, float) and 200 < left <= 300 for left in background.calls] == [
        True
    ] * 2
