"""`Sandbox`: no message of a test leaves the process, and nothing of it is left behind."""

from __future__ import annotations

import asyncio
import threading
import unittest
from pathlib import Path
from typing import Any

import pytest

from letsgo_queue import Client, Message, SettingsInvalid, Worker, default_client, enqueue
from letsgo_queue.testing import Sandbox
from letsgo_queue.transports.memory import MemoryTransport

SQS = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders"


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("LETSGO_QUEUE_URL", SQS),
        ("LETSGO_QUEUE_URL", "http://localhost:9324/queue/orders"),
        ("LETSGO_QUEUE_URL", "sqlite:////no/such/folder/work.db"),
        ("LETSGO_LOCAL_QUEUE_URL", "http://localhost:1"),
    ],
)
def test_the_queue_of_the_environment_is_not_touched(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str
) -> None:
    monkeypatch.setenv(variable, url)
    worker = Worker()
    handled: list[object] = []
    worker.default(handled.append)

    with Sandbox() as sandbox:
        assert enqueue({"type": "a"}).queue == url
        assert len(sandbox.worker(worker).drain().handled) == 1

    assert len(handled) == 1


def test_a_client_that_was_used_before_is_as_it_was_after(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/work.db"
    client, worker = Client(url), Worker(url)
    handled: list[Message[Any]] = []
    worker.default(handled.append)
    client.enqueue({"type": "before"})

    with Sandbox() as sandbox:
        client.enqueue({"type": "inside"})
        assert [sent.type for sent in sandbox.outbox] == ["inside"]
        sandbox.worker(worker).drain()
        assert [message.type for message in handled] == ["inside"]
    client.enqueue({"type": "after"})
    with Sandbox() as sandbox:
        assert sandbox.worker(worker).drain().handled == ()
    worker.run(burst=True)

    assert sorted(message.type for message in handled) == ["after", "before", "inside"]
    client.close()


def test_the_default_client_stays(tmp_path: Path) -> None:
    client = default_client()
    with Sandbox():
        assert default_client() is client
        enqueue({"type": "a"})
    assert default_client() is client


def test_it_holds_for_every_thread() -> None:
    with Sandbox() as sandbox:
        thread = threading.Thread(target=enqueue, args=({"type": "a"},))
        thread.start()
        thread.join()

        assert sandbox.outbox.one().type == "a"


def test_a_worker_can_run_on_its_queues_too() -> None:
    worker = Worker(SQS)
    handled: list[object] = []
    worker.default(handled.append)

    with Sandbox() as sandbox:
        enqueue({"type": "a"}, queue=SQS)
        worker.run(burst=True)
        assert len(handled) == 1
        assert sandbox.worker(worker).drain().handled == ()


def test_one_inside_another_is_one_of_its_own() -> None:
    with Sandbox() as outer:
        with Sandbox() as inner:
            enqueue({"type": "a"})
        enqueue({"type": "b"})

        assert [sent.type for sent in outer.outbox] == ["b"]
        assert [sent.type for sent in inner.outbox] == ["a"]


def test_a_transport_made_in_code_stays_in_use() -> None:
    queue = MemoryTransport("memory://mine")
    with Sandbox() as sandbox:
        Client(queue).enqueue({"type": "a"})

        assert sandbox.outbox.one().queue == "memory://mine"
    assert len(queue.receive(max_messages=10, wait_seconds=0, visibility_timeout=None)) == 1


@pytest.mark.parametrize(
    "url", ["postgres://localhost", f"{SQS}?fifo=true", "memory://?colour=red"]
)
def test_what_names_no_queue_is_refused_as_in_production(url: str) -> None:
    with Sandbox() as sandbox:
        with pytest.raises(SettingsInvalid):
            enqueue({"type": "a"}, queue=url)
        with pytest.raises(SettingsInvalid):
            enqueue({"type": "a"}, queue=["memory://"])  # type: ignore[arg-type]  # no checker

        assert len(sandbox.outbox) == 0


def test_a_loop_that_handlers_used_is_closed() -> None:
    loops: list[asyncio.AbstractEventLoop] = []
    worker = Worker()

    @worker.default
    async def handle(message: dict[str, Any]) -> None:
        loops.append(asyncio.get_running_loop())

    with Sandbox() as sandbox:
        enqueue({"type": "a"})
        sandbox.worker(worker).drain()
        assert not loops[0].is_closed()

    assert loops[0].is_closed()


def test_in_a_unittest() -> None:
    class OrderTest(unittest.TestCase):
        def setUp(self) -> None:
            self.sandbox = self.enterContext(Sandbox())

        def runTest(self) -> None:  # noqa: N802  unittest's name
            enqueue({"type": "a"})
            assert self.sandbox.outbox.one().type == "a"

    assert OrderTest().run().wasSuccessful()  # type: ignore[union-attr]  # None if it was interrupted
