"""`letsgo_queue.testing`: what tests of users have."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from claimcheck.testing import Clock
from letsgo_queue import Client, Worker
from letsgo_queue.testing import drain
from letsgo_queue.transports.memory import MemoryTransport


@pytest.fixture
def worker(queue: MemoryTransport) -> Worker:
    return Worker(client=Client(queue))


def test_all_that_is_due_is_handled_on_this_thread_and_what_that_enqueues(
    worker: Worker, client: Client, clock: Clock
) -> None:
    handled: list[tuple[str, bool]] = []

    @worker.handler("first")
    def first(message: dict[str, Any]) -> None:
        handled.append(("first", threading.current_thread() is threading.main_thread()))
        client.enqueue({"type": "second"})

    @worker.handler("second")
    async def second(message: dict[str, Any]) -> None:
        handled.append(("second", True))

    client.enqueue({"type": "first"})
    client.enqueue({"type": "second"}, delay_seconds=60)

    assert drain(worker) == 2
    assert handled == [("first", True), ("second", True)]
    clock.advance(60)
    assert drain(worker) == 1
    assert drain(worker) == 0


def test_what_a_handler_raises_is_raised_and_the_message_comes_again(
    worker: Worker, client: Client, clock: Clock
) -> None:
    fails = iter([True])

    @worker.default
    def handle(message: dict[str, Any]) -> None:
        if next(fails, False):
            raise ZeroDivisionError("told")

    client.enqueue({"type": "any"})
    client.enqueue({"type": "behind"})

    with pytest.raises(ZeroDivisionError, match="told"):
        drain(worker)
    assert drain(worker) == 1  # the one behind it
    clock.advance(30)
    assert drain(worker) == 1
