"""Clients that were used before a fork, on both sides of it, on every transport."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest

from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    QueueNotFound,
    SendFailed,
    SettingsInvalid,
    Worker,
    default_client,
    events,
    forking,
    listen_to_all,
)
from letsgo_queue.admin.sqs import SqsAdmin
from letsgo_queue.aws_client import SQS, _making, make_client
from letsgo_queue.failure import Failure
from letsgo_queue.limits import MAX_MESSAGE_BYTES
from letsgo_queue.sending.default import _Default
from letsgo_queue.transports.base import Transport
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.transports.sqlite import SqliteTransport
from letsgo_queue.transports.sqs import SqsTransport
from tests.letsgo_queue.support import order, outgoing, receive, serving
from tests.support.faulty_server import FaultyServer
from tests.support.forks import (
    HOWS,
    How,
    SlowClock,
    all_at_once,
    fork,
    fork_while_loading,
    in_first_call,
    threads_are_there,
)
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

pytestmark = threads_are_there

CHILDREN = 4
EACH = 5


@pytest.fixture
def server(ministack: AwsServer) -> Iterator[FaultyServer]:
    assert ministack.endpoint_url
    with FaultyServer(ministack.endpoint_url) as server:
        yield server


def behind(server: FaultyServer, queue_url: str) -> str:
    """The URL of a queue by way of a faulty server."""
    return server.url + urlsplit(queue_url).path


def typed(message_type: str) -> dict[str, Any]:
    return {"type": message_type}


@contextmanager
def held(server: FaultyServer, operation: str, call: Callable[[], object]) -> Iterator[None]:
    """A thread makes a call, and its request is held while the block runs."""
    until = threading.Event()
    fault = server.hold(operation, until, times=1)
    thread = threading.Thread(target=call)
    thread.start()
    wait_for(lambda: fault.happened, "the request")
    yield
    until.set()
    thread.join()


def type_in(body: str) -> str:
    found: str = json.loads(body)["type"]
    return found


def take(transport: Transport, count: int) -> list[tuple[str, str]]:
    """Receive so many messages, and acknowledge each; id and type of every one."""
    taken: list[tuple[str, str]] = []
    while len(taken) < count:
        for message in transport.receive(
            max_messages=min(count - len(taken), 10), wait_seconds=1, visibility_timeout=600
        ):
            transport.delete(message)
            taken.append((message.message_id, type_in(message.body)))
    return taken


def all_of(url: str, count: int) -> list[tuple[str, str]]:
    """What is on a queue: so many messages, and no more."""
    client = Client(url)
    transport = client.transport()
    messages = take(transport, count)
    messages += [(each.message_id, type_in(each.body)) for each in receive(transport)]
    client.close()
    return messages


@pytest.mark.parametrize("how", HOWS)
def test_what_each_process_sends_is_on_the_queue_once(how: How, url: str) -> None:
    client = Client(url)
    before = client.enqueue(typed("before"))

    def send(process: int) -> list[tuple[str, str]]:
        types = [f"{process}:{n}" for n in range(EACH)]
        return [(client.enqueue(typed(each)).message_id, each) for each in types]

    acknowledged = [(before.message_id, "before")]
    for each in all_at_once(send, children=CHILDREN, how=how):
        acknowledged += each

    assert sorted(all_of(url, len(acknowledged))) == sorted(acknowledged)
    client.close()


def test_a_refusal_reaches_the_process_that_it_is_for(
    ministack: AwsServer, server: FaultyServer
) -> None:
    queue = ministack.make_queue()
    client = Client(behind(server, queue))
    acknowledged = [(client.enqueue(typed("before")).message_id, "before")]
    server.refuse(
        "SendMessage",
        "InvalidMessageContents",
        matches=lambda request: type_in(request["MessageBody"]).startswith("2:"),
    )

    def send(process: int) -> list[tuple[str, str] | None]:
        outcomes: list[tuple[str, str] | None] = []
        for n in range(EACH):
            try:
                sent = client.enqueue(typed(f"{process}:{n}"))
            except SendFailed:
                outcomes.append(None)
            else:
                outcomes.append((sent.message_id, f"{process}:{n}"))
        return outcomes

    outcomes = all_at_once(send, children=CHILDREN)

    assert outcomes[2] == [None] * EACH
    acknowledged += [each for outcome in outcomes for each in outcome if each]
    assert len(acknowledged) == 1 + CHILDREN * EACH
    assert sorted(all_of(queue, len(acknowledged))) == sorted(acknowledged)
    client.close()


def test_every_message_is_received_by_one_process(url: str) -> None:
    client = Client(url)
    count = (CHILDREN + 1) * EACH
    sent = client.enqueue_many(typed(f"n:{n}") for n in range(count))
    transport = client.transport()

    taken = all_at_once(lambda _: take(transport, EACH), children=CHILDREN)

    by_id = Counter(message_id for each in taken for message_id, _ in each)
    assert by_id == Counter(each.message_id for each in sent)
    assert receive(transport) == []
    client.close()


def test_every_process_goes_on_with_a_copy_of_a_queue_in_memory() -> None:
    client = Client("memory://")
    client.enqueue(typed("before"))

    def use(process: int) -> list[str]:
        client.enqueue(typed(f"from:{process}"))
        return [message_type for _, message_type in take(client.transport(), 2)]

    seen = all_at_once(use, children=CHILDREN)
    assert seen == [["before", f"from:{process}"] for process in range(CHILDREN + 1)]


def test_every_process_posts_to_a_local_worker() -> None:
    handled: list[str] = []
    worker = Worker("memory://")

    @worker.default
    def on_message(message: dict[str, Any]) -> None:
        handled.append(message["type"])

    with serving(worker) as address:
        client = Client(address)
        client.enqueue(typed("before"))

        def send(process: int) -> None:
            for n in range(EACH):
                client.enqueue(typed(f"{process}:{n}"))

        all_at_once(send, children=CHILDREN)

    sent = {f"{process}:{n}" for process in range(CHILDREN + 1) for n in range(EACH)}
    assert sorted(handled) == sorted({"before", *sent})


def test_a_child_has_threads_of_its_own_for_asyncio(client: Client) -> None:
    asyncio.run(client.aenqueue(order()))
    pool = client._threads._pool.made
    assert isinstance(pool, ThreadPoolExecutor)
    # Its thread waits for the next call, which it would get if it were there.
    wait_for(lambda: pool._idle_semaphore._value, "an idle thread")

    (child,) = fork(lambda _: asyncio.run(client.aenqueue(order())).message_id)

    assert child.result()
    client.close()


def test_a_child_that_closes_leaves_the_connections_of_its_parent(url: str) -> None:
    client = Client(url)
    client.enqueue(typed("before"))

    def use(_: int) -> None:
        client.close()
        client.enqueue(typed("child"))
        client.close()

    (child,) = fork(use)
    child.result()
    client.enqueue(typed("parent"))

    assert {each for _, each in all_of(url, 3)} == {"before", "child", "parent"}
    client.close()


class TestASessionAndAClientGivenInCode:
    def test_a_child_makes_a_client_from_the_session(self, ministack: AwsServer) -> None:
        url = ministack.make_queue()
        session = boto3.Session(region_name=ministack.region)
        client = Client(url, session=session)
        acknowledged = [client.enqueue(typed("before")).message_id]

        acknowledged += all_at_once(lambda _: client.enqueue(typed("after")).message_id)

        assert sorted(each for each, _ in all_of(url, 6)) == sorted(acknowledged)
        client.close()

    def test_a_client_is_refused_in_a_child(self, ministack: AwsServer) -> None:
        url = ministack.make_queue()
        transport = SqsTransport(url, client=ministack.sqs())
        transport.send(outgoing())

        def use(_: int) -> str:
            with pytest.raises(SettingsInvalid) as refused:
                transport.send(outgoing())
            transport.close()
            return str(refused.value)

        (child,) = fork(use)
        assert f"queue {url}: its boto3 client was made by the process" in child.result()
        transport.send(outgoing())
        transport.close()

    def test_those_who_look_after_a_queue_may_fork(self, ministack: AwsServer) -> None:
        dead = ministack.make_queue()
        arn = ministack.sqs().get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
        policy = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": "3"}
        url = ministack.make_queue(RedrivePolicy=json.dumps(policy))
        transport, admin = SqsTransport(url), SqsAdmin(url)

        def reject(_: int) -> int | None:
            transport.send(outgoing(json.dumps(order())))
            (received,) = transport.receive(max_messages=1, wait_seconds=20, visibility_timeout=600)
            assert transport.move_to_dead_letters(received, Failure.because("the test says so"))
            return admin.status().dead

        assert reject(0) == 1
        all_at_once(reject, children=CHILDREN)

        assert admin.status().dead == CHILDREN + 2
        assert admin.redrive() == CHILDREN + 2
        transport.close()
        admin.close()


class TestForkDuringAFirstCall:
    """A thread is inside its first call, and another one forks."""

    def test_that_asks_what_the_queue_accepts(
        self, ministack: AwsServer, server: FaultyServer
    ) -> None:
        transport = SqsTransport(behind(server, ministack.make_queue()))
        with held(server, "GetQueueAttributes", transport.max_message_bytes):
            (child,) = fork(lambda _: transport.max_message_bytes())
            assert child.result() == MAX_MESSAGE_BYTES
        transport.close()

    def test_that_looks_for_the_queue(
        self,
        ministack: AwsServer,
        server: FaultyServer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        url = ministack.make_queue()
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        client = Client()

        def look() -> None:
            with pytest.raises(QueueNotFound):
                client.transport()

        with held(server, "ListQueues", look):
            (child,) = fork(lambda _: client.enqueue(order(), queue=url).message_id)
            assert child.result() == all_of(url, 1)[0][0]
        client.close()

    def test_that_makes_a_boto3_client(
        self, ministack: AwsServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It never ends; a fork does not wait for good."""
        monkeypatch.setattr(forking, "LONGEST_WAIT_SECONDS", 0.1)
        making, go_on = threading.Event(), threading.Event()

        class Session(boto3.Session):
            def client(self, *arguments: Any, **options: Any) -> Any:
                if not making.is_set():
                    making.set()
                    go_on.wait()
                return super().client(*arguments, **options)

        client = Client(ministack.make_queue(), session=Session())
        thread = in_first_call(client.transport, making)
        (child,) = fork(lambda _: client.enqueue(order()).message_id)
        assert child.result()
        go_on.set()
        thread.join()
        client.close()

    def test_that_opens_a_file(self, tmp_path: Path) -> None:
        """The fork waits until the file is open, and closes it for its time."""
        url = f"sqlite:///{tmp_path}/queue.db"
        Client(url).enqueue(typed("before"))
        blocking = sqlite3.connect(tmp_path / "queue.db", isolation_level=None)
        blocking.execute("BEGIN IMMEDIATE")
        queue, begun = SqliteTransport(url), threading.Event()

        def send() -> None:
            begun.set()
            queue.send(outgoing('{"type": "thread"}'))

        thread = in_first_call(send, begun)
        wait_for(queue._file._lock.locked, "the call")
        before_fork.append(blocking.close)
        (child,) = fork(lambda _: queue.send(outgoing('{"type": "child"}')))
        before_fork.clear()
        child.result()
        thread.join()

        assert {each for _, each in all_of(url, 3)} == {"before", "thread", "child"}
        queue.close()

    def test_on_a_queue_in_memory(self, clock: Clock) -> None:
        slow = SlowClock(clock)  # asked while the queue is locked
        queue = MemoryTransport(clock=slow)
        thread = in_first_call(lambda: receive(queue), slow.asked)
        (child,) = fork(lambda _: (queue.send(outgoing()), len(receive(queue)))[1])
        assert child.result() == 1
        slow.go_on.set()
        thread.join()

    @pytest.mark.parametrize("module", ["boto3", "letsgo_queue.sending.client"])
    def test_that_loads_modules(self, module: str, ministack: AwsServer) -> None:
        """The fork waits until they are loaded."""
        queue = ministack.make_queue()
        fork_while_loading(module, f"letsgo_queue.Client({queue!r}).enqueue({{'type': 'a'}})")
        assert len(all_of(queue, 2)) == 2

    @pytest.mark.parametrize(
        ("lock", "use"),
        [
            pytest.param(_Default.lock, default_client, id="the default client"),
            pytest.param(events._process.lock, lambda: listen_to_all(print), id="listeners"),
            pytest.param(
                _making,
                lambda: make_client(SQS, None, region="us-east-1", endpoint_url=None),
                id="boto3 clients",
            ),
        ],
    )
    def test_that_holds_a_lock_of_all(self, lock: forking.Lock, use: Callable[[], object]) -> None:
        locked, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            with lock:
                locked.set()
                go_on.wait()

        thread = in_first_call(hold, locked)
        (child,) = fork(lambda _: use() is not None)
        assert child.result()
        go_on.set()
        thread.join()

    def test_that_computes_a_cached_property(self) -> None:
        computing, go_on = threading.Event(), threading.Event()

        class Computed:
            @forking.cached_property
            def value(self) -> int:
                """What it is."""
                if threading.current_thread() is not threading.main_thread():
                    computing.set()
                    go_on.wait()
                return os.getpid()

        thread = in_first_call(lambda: Computed().value, computing)
        (child,) = fork(lambda _: Computed().value)
        assert child.result() != os.getpid()
        go_on.set()
        thread.join()
        assert Computed.value.__doc__ == "What it is."


before_fork: list[Callable[[], object]] = []
"""Called when a process begins to fork, before all that was registered earlier."""

os.register_at_fork(before=lambda: [each() for each in before_fork])
