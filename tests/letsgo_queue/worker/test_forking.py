"""Workers on both sides of a fork, and handlers that fork."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from letsgo_queue import Client, Delivery, MessageFailed, MessageHandled, Worker
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import bodies, events_of, order, running
from tests.support.faulty_server import FaultyServer
from tests.support.forks import FORK, all_at_once, fork, threads_are_there
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

pytestmark = threads_are_there

CHILDREN = 4
EACH = 5


def typed(message_type: str) -> dict[str, Any]:
    return {"type": message_type, "payload": {}}


def exit_code(child: int) -> int:
    """How a child ended, which it must do by itself."""

    def ended() -> tuple[int] | None:
        pid, status = os.waitpid(child, os.WNOHANG)
        return (os.waitstatus_to_exitcode(status),) if pid else None

    try:
        code = wait_for(ended, "the child")
    except AssertionError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    assert code is not None
    return code[0]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_worker_that_has_run_runs_in_each_process(url: str, *, is_async: bool) -> None:
    client = Client(url)
    worker = Worker(client=client)
    handled: list[str] = []

    if is_async:

        @worker.default
        async def on_message_async(_: dict[str, Any], delivery: Delivery) -> None:
            await asyncio.sleep(0)
            handled.append(delivery.message_id)
    else:

        @worker.default
        def on_message(_: dict[str, Any], delivery: Delivery) -> None:
            handled.append(delivery.message_id)

    client.enqueue(order())
    worker.run(burst=True)
    assert len(handled) == 1
    handled.clear()
    sent = client.enqueue_many(order() for _ in range((CHILDREN + 1) * EACH))

    def run(_: int) -> list[str]:
        worker.run(burst=True)
        return handled

    by_id = Counter(message_id for each in all_at_once(run) for message_id in each)

    assert by_id == Counter(each.message_id for each in sent)
    client.close()


def test_a_child_runs_a_worker_that_is_running_and_one_that_was_stopped(
    queue: MemoryTransport, client: Client
) -> None:
    worker = Worker(client=client)
    events = events_of(worker)
    worker.default(lambda _: None)

    def run(_: int) -> list[str]:
        client.enqueue(typed("child"))
        worker.run(burst=True)
        return [event.type or "" for event in events]

    with running(worker):
        client.enqueue(typed("parent"))
        wait_for(lambda: events, "the handler")
        (during,) = fork(run)
        assert during.result() == ["parent", "child"]
    worker.stop()  # where it does not run yet
    (after,) = fork(run)
    assert after.result() == ["parent", "child"]


class TestAHandlerThatForks:
    """Its child ends where the handler does."""

    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    @pytest.mark.parametrize(
        ("end", "code"),
        [
            pytest.param(lambda: None, 0, id="returns"),
            pytest.param(lambda: sys.exit(None), 0, id="exits"),
            pytest.param(lambda: sys.exit(3), 3, id="exits with a number"),
            pytest.param(lambda: sys.exit("it is over"), 1, id="exits with a text"),
            pytest.param(lambda: 1 // 0, 1, id="raises"),
            pytest.param(lambda: os._exit(4), 4, id="ends at once"),
        ],
    )
    def test_goes_on_alone(
        self,
        queue: MemoryTransport,
        client: Client,
        end: Callable[[], object],
        code: int,
        *,
        is_async: bool,
    ) -> None:
        worker = Worker(client=client)
        events = events_of(worker)
        codes: list[int] = []

        def on_fork(_: dict[str, Any]) -> None:
            child = os.fork()
            if child == 0:
                end()
                return
            codes.append(exit_code(child))

        async def on_fork_async(message: dict[str, Any]) -> None:
            on_fork(message)

        worker.handler("fork")(on_fork_async if is_async else on_fork)
        worker.handler("after")(lambda _: None)
        client.enqueue(typed("fork"))
        client.enqueue(typed("after"))
        worker.run(burst=True)

        assert codes == [code]
        assert {each.type for each in events if isinstance(each, MessageHandled)} == {
            "after",
            "fork",
        }
        assert len(events) == 2
        assert bodies(queue) == []

    def test_decides_by_itself_what_becomes_of_the_message(
        self, queue: MemoryTransport, client: Client
    ) -> None:
        worker = Worker(client=client)
        events = events_of(worker)

        @worker.default
        def on_message(_: dict[str, Any]) -> None:
            child = os.fork()
            if child == 0:
                return
            assert exit_code(child) == 0
            raise RuntimeError("the parent fails, its child did not")

        client.enqueue(order())
        worker.run(burst=True)

        assert [type(each) for each in events] == [MessageFailed]

    def test_loses_nothing_that_the_child_says(
        self, client: Client, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worker = Worker(client=client)

        @worker.default
        def on_message(_: dict[str, Any]) -> None:
            child = os.fork()
            if child == 0:
                sys.stdout = os.fdopen(1, "w")  # which keeps what is written, as into a file
                print("from the child")
                raise RuntimeError("the child fails")
            assert exit_code(child) == 1

        client.enqueue(order())
        worker.run(burst=True)

        said = capfd.readouterr()
        assert said.out == "from the child\n"
        assert said.err.count("RuntimeError: the child fails") == 1

    def test_gets_a_child_that_signals_end(self, client: Client) -> None:
        """The worker's own way with SIGTERM, to finish what it has in hand, is not the child's."""
        worker = Worker(client=client)
        codes: list[int | None] = []

        @worker.default
        def on_message(_: dict[str, Any]) -> None:
            begun = FORK.Event()

            def wait() -> None:
                begun.set()
                time.sleep(60)

            child = FORK.Process(target=wait)
            child.start()
            assert begun.wait(20)
            child.terminate()
            child.join(20)
            codes.append(child.exitcode)
            child.kill()

        client.enqueue(order())
        worker.run(burst=True)

        assert codes == [-signal.SIGTERM]

    def test_gets_a_child_that_may_send_and_extend(
        self, ministack: AwsServer, server: FaultyServer
    ) -> None:
        """Also while the worker extends the message."""
        url = ministack.make_queue(VisibilityTimeout="600")
        client = Client(server.url + url.removeprefix(ministack.endpoint_url or ""))
        worker = Worker(client=client, wait_seconds=1)
        go_on, codes = threading.Event(), []

        @worker.handler("fork")
        def on_fork(_: dict[str, Any], delivery: Delivery) -> None:
            extending = server.hold("ChangeMessageVisibility", go_on, times=1)
            thread = threading.Thread(target=delivery.extend, args=(700,))
            thread.start()
            wait_for(lambda: extending.happened, "the extension")
            child = os.fork()
            if child == 0:
                delivery.extend(800)
                client.enqueue(typed("from the child"))
                return
            try:
                codes.append(exit_code(child))
            finally:
                go_on.set()
                thread.join()

        handled: list[str] = []
        worker.handler("from the child")(lambda _: handled.append("from the child"))
        client.enqueue(typed("fork"))
        with running(worker):
            wait_for(lambda: handled or codes not in ([], [0]), "the message of the child")

        assert codes == [0]
        assert handled == ["from the child"]
        client.close()


@pytest.fixture
def server(ministack: AwsServer) -> Iterator[FaultyServer]:
    assert ministack.endpoint_url
    with FaultyServer(ministack.endpoint_url) as server:
        yield server
