"""A worker that cannot do its work says so when it starts, not by failing messages."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from letsgo_queue import (
    Client,
    IncomingMessage,
    Middleware,
    QueueUnavailable,
    SettingsInvalid,
    Steps,
    Worker,
    use_middleware,
)
from letsgo_queue.transports.memory import MemoryTransport


class Misconfigured(Middleware):
    def prepare(self, queue: str) -> None:
        raise SettingsInvalid(f"no settings for {queue}")

    def handle(self, message: IncomingMessage, /) -> Steps:
        yield


def test_a_middleware_of_the_worker_that_cannot_be_used() -> None:
    worker = Worker(MemoryTransport(), middleware=[Misconfigured()])

    with pytest.raises(SettingsInvalid, match="memory://"):
        worker.run(burst=True)


def test_a_middleware_of_a_handler_that_cannot_be_used() -> None:
    worker = Worker(MemoryTransport())

    @worker.handler("greet")
    @use_middleware(Misconfigured())
    def greet(message: dict[str, object]) -> None: ...

    with pytest.raises(SettingsInvalid, match="memory://"):
        worker.run(burst=True)


def test_a_generator_is_no_handler() -> None:
    worker = Worker(MemoryTransport())

    def stray(message: dict[str, object]) -> Iterator[int]:
        yield 1

    async def astray(message: dict[str, object]) -> AsyncIterator[int]:
        yield 1

    for function in (stray, astray):
        with pytest.raises(SettingsInvalid, match="generator"):
            worker.handler("greet")(function)


def test_a_handler_without_a_type_is_refused() -> None:
    worker = Worker(MemoryTransport())

    with pytest.raises(SettingsInvalid, match="say which messages"):

        @worker.handler  # type: ignore[arg-type]  # that is the mistake
        def greet(message: dict[str, object]) -> None: ...


def test_a_sqlite_file_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    worker = Worker(f"sqlite:///{tmp_path}/missing/work.db", client=Client())

    with pytest.raises(QueueUnavailable, match=r"the folder of .* does not exist"):
        worker.run(burst=True)


def test_stopped_before_it_runs_it_takes_nothing() -> None:
    queue = MemoryTransport()
    Client(queue).enqueue({"type": "greet", "payload": None})
    handled = threading.Event()
    worker = Worker(queue)

    @worker.handler("greet")
    def greet(message: dict[str, object]) -> None:
        handled.set()

    worker.stop()
    worker.run()
    assert not handled.is_set()

    worker.run(burst=True)
    assert handled.is_set()
