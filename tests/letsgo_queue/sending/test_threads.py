"""The threads of `aenqueue`: the client's own, whatever the queue does."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from letsgo_queue import Client, Event, Middleware, SendContext, SendFailed, SendUncertain
from letsgo_queue.async_threads import MAX_THREADS
from letsgo_queue.transports.base import OutgoingMessage
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import bodies, order


class Waits(Middleware):
    """Holds every send until it is told to go on."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.begun = threading.Semaphore(0)

    def before_send(self, message: OutgoingMessage, context: SendContext) -> OutgoingMessage:
        self.begun.release()
        assert self.go_on.wait(30)
        return message


@pytest.fixture
def waits() -> Iterator[Waits]:
    waits = Waits()
    yield waits
    waits.go_on.set()


@pytest.fixture
def queue() -> MemoryTransport:
    return MemoryTransport()


@pytest.fixture
def client(queue: MemoryTransport, waits: Waits) -> Iterator[Client]:
    client = Client(queue, middleware=[waits])
    yield client
    waits.go_on.set()
    client.close()


def test_a_queue_that_never_answers_leaves_the_programs_threads_free() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        client = Client(url)

        async def program() -> list[str]:
            sends = [asyncio.create_task(client.aenqueue(order())) for _ in range(40)]
            accepted = [(await asyncio.to_thread(silent.accept))[0] for _ in range(40)]
            # More than the threads that asyncio has by default on any machine.
            work = [asyncio.to_thread(lambda: "done") for _ in range(40)]
            done = await asyncio.wait_for(asyncio.gather(*work), 20)
            for connection in accepted:
                connection.close()
            for outcome in await asyncio.gather(*sends, return_exceptions=True):
                assert isinstance(outcome, SendUncertain | SendFailed)
            return done

        assert asyncio.run(program()) == ["done"] * 40
        client.close()


def test_a_send_that_is_cancelled_while_it_waits_for_a_thread_is_not_made(
    client: Client, waits: Waits
) -> None:
    sent: list[Event] = []
    client.add_listener(sent.append)

    async def program() -> None:
        sends = [asyncio.create_task(client.aenqueue(order())) for _ in range(MAX_THREADS)]
        for _ in range(MAX_THREADS):
            await asyncio.to_thread(waits.begun.acquire)
        late = asyncio.create_task(client.aenqueue(order()))
        await asyncio.sleep(0)
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        waits.go_on.set()
        await asyncio.gather(*sends)

    asyncio.run(program())
    client.close()

    assert len(sent) == MAX_THREADS


def test_a_send_that_is_cancelled_under_way_may_be_made(
    client: Client, queue: MemoryTransport, waits: Waits
) -> None:
    async def program() -> None:
        send = asyncio.create_task(client.aenqueue(order()))
        await asyncio.to_thread(waits.begun.acquire)
        send.cancel()
        with pytest.raises(asyncio.CancelledError):
            await send
        waits.go_on.set()

    asyncio.run(program())
    client.close()

    assert len(bodies(queue)) == 1
