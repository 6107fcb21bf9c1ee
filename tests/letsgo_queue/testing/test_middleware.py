"""Middleware around the handlers that `letsgo_worker` runs."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from letsgo_queue import (
    Client,
    Middleware,
    Steps,
    Worker,
    enqueue,
)
from letsgo_queue.testing import WorkerFixture

Fields = dict[str, Any]

request_id: ContextVar[str] = ContextVar("request_id", default="none")


class Refusing(Middleware):
    def handle(self, message: object, /) -> Steps:
        if message is not None:
            raise PermissionError
        yield


class Skipping(Middleware):
    def handle(self, message: object, /) -> Steps:
        yield from ()


def test_middleware_runs(letsgo_worker: WorkerFixture) -> None:
    for middleware, skipped, retried in ((Refusing(), 0, 1), (Skipping(), 1, 0)):
        worker = Worker(client=Client(f"memory://{skipped}", middleware=[middleware]))

        @worker.default
        def handle(message: Fields) -> None:
            raise AssertionError

        enqueue({"type": "a"}, queue=f"memory://{skipped}")
        drained = letsgo_worker(worker).drain(raises=False)

        assert (len(drained.skipped), len(drained.retried)) == (skipped, retried)


class Counting(Middleware):
    """Counts how often a worker began and ended."""

    def __init__(self) -> None:
        self.running: list[int] = []

    def prepare(self, queue: str, /) -> None:
        self.running.append(1)

    def finish(self) -> None:
        self.running.append(-1)


def test_middleware_is_prepared_and_finished_each_time(letsgo_worker: WorkerFixture) -> None:
    counting = Counting()
    worker = Worker(middleware=[counting])

    @worker.default
    def handle(message: Fields) -> None:
        assert counting.running == [1]
        raise ConnectionError

    enqueue({"type": "a"})
    with pytest.raises(ConnectionError):
        letsgo_worker(worker).drain()

    assert counting.running == [1, -1]


class Naming(Middleware):
    def handle(self, message: object, /) -> Steps:
        request_id.set("middleware")
        yield


@pytest.mark.parametrize("in_async_test", [False, True])
def test_middleware_and_handler_share_context_variables_and_no_one_else(
    letsgo_worker: WorkerFixture, *, in_async_test: bool
) -> None:
    worker, seen = Worker(middleware=[Naming()]), []

    @worker.handler("sync")
    def handle(message: Fields) -> None:
        seen.append(request_id.get())

    @worker.handler("async")
    async def handle_async(message: Fields) -> None:
        seen.append(request_id.get())
        request_id.set("handler")

    async def test() -> None:
        await letsgo_worker(worker).adrain()
        assert request_id.get() == "none"

    for name in ("async", "sync"):
        enqueue({"type": name})
    if in_async_test:
        asyncio.run(test())
    else:
        letsgo_worker(worker).drain()

    assert seen == ["middleware", "middleware"]
    assert request_id.get() == "none"
