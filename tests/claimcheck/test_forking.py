"""Claim checks and stores that were used before a fork, on both sides of it."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import claimcheck
from claimcheck import (
    ClaimCheck,
    ClaimCheckMiddleware,
    ClaimInProgress,
    ClaimStore,
    open_store,
    settings,
    unwrap_claim_check,
)
from claimcheck.stores.base import Lease
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.stores.sqlite import SqliteClaimStore
from claimcheck.testing import Clock
from letsgo_queue import Client, Delivery, MessageHandled, Retry, Worker, default_client
from letsgo_queue.transports.memory import MemoryTransport
from tests.claimcheck.support import noise, noisy_body, small_claim_check
from tests.support.faulty_server import FaultyServer
from tests.support.forks import (
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
EACH = 3

MEMORY = "memory"


@pytest.fixture
def table(ministack: AwsServer) -> str:
    name = ministack.make_table_name()
    ClaimTable(name, region=ministack.region).create()
    return name


@pytest.fixture(params=[MEMORY, "sqlite", "dynamodb"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ClaimStore]:
    store: ClaimStore
    if request.param == MEMORY:
        store = MemoryClaimStore()
    elif request.param == "sqlite":
        store = SqliteClaimStore(tmp_path / "claims.db")
    else:
        ministack: AwsServer = request.getfixturevalue("ministack")
        store = DynamoDBClaimStore(request.getfixturevalue("table"), region=ministack.region)
    yield store
    store.close()


@pytest.fixture
def check(any_store: ClaimStore) -> ClaimCheck:
    return small_claim_check(any_store)


def test_each_process_seals_and_opens_its_own(check: ClaimCheck) -> None:
    before = check.seal(noisy_body(500_000)).body.decode()

    def use(process: int) -> list[str]:
        sealed = []
        for n in range(EACH):
            body = noisy_body(500_000 + 1_000 * process, seed=n)
            sealed.append(check.seal(body).body.decode())
            with check.open(sealed[-1]) as opened:
                assert opened.body == body
        sealed.append(check.seal(noisy_body(500_000, seed=process)).body.decode())
        return sealed

    for process, sealed in enumerate(all_at_once(use, children=CHILDREN)):
        for each in sealed[:-1]:
            if not isinstance(check.store, MemoryClaimStore) or process == 0:
                with pytest.raises(claimcheck.ClaimAlreadyProcessed):
                    check.open(each)
        if not isinstance(check.store, MemoryClaimStore) or process == 0:
            assert check.open(sealed[-1]).body == noisy_body(500_000, seed=process)
    assert check.open(before).body == noisy_body(500_000)


@pytest.mark.parametrize("any_store", ["sqlite", "dynamodb"], indirect=True)
def test_a_claim_is_acquired_by_one_process(check: ClaimCheck) -> None:
    sealed = [check.seal(noisy_body(5_000, seed=n)).body.decode() for n in range(EACH)]

    def acquire(_: int) -> list[bool]:
        acquired = []
        for body in sealed:
            try:
                check.open(body)
            except ClaimInProgress:
                acquired.append(False)
            else:
                acquired.append(True)
        return acquired

    acquired = all_at_once(acquire, children=CHILDREN)
    assert [sum(each) for each in zip(*acquired, strict=True)] == [1] * EACH


def test_what_each_process_enqueues_is_handled_once(
    ministack: AwsServer, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default client and the default claim check, which follow from the environment."""
    monkeypatch.setenv("LETSGO_QUEUE_URL", ministack.make_queue())
    monkeypatch.setenv("CLAIMCHECK_STORE", f"dynamodb://{table}?region={ministack.region}")
    monkeypatch.setenv("CLAIMCHECK_INLINE_LIMIT", "10000")
    worker = Worker()
    handled: list[tuple[str, int]] = []

    @worker.handler("order:new")
    @unwrap_claim_check
    def on_order(message: dict[str, Any], delivery: Delivery) -> None:
        handled.append((delivery.message_id, len(message["payload"])))

    def send(size: int) -> tuple[str, int]:
        result = claimcheck.enqueue({"type": "order:new", "payload": noise(size)})
        assert result.route == "stored"
        return result.message_id, size

    sent = [send(300_000)]
    worker.run(burst=True)
    assert handled == sent
    handled.clear()

    def use(process: int) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        sent = [send(300_000 + 1_000 * process + 10 * n) for n in range(EACH)]
        worker.run(burst=True)
        return sent, handled

    outcomes = all_at_once(use, children=CHILDREN)
    worker.run(burst=True)  # what was sent after all others were done

    of_children = [each for _, others in outcomes[1:] for each in others]
    sent = [each for ours, _ in outcomes for each in ours]
    assert Counter([*handled, *of_children]) == Counter(sent)
    default_client().close()


class TestForkDuringAFirstCall:
    """A thread is inside its first call, and another one forks."""

    def test_that_writes_to_dynamodb(self, ministack: AwsServer, table: str) -> None:
        assert ministack.endpoint_url
        with FaultyServer(ministack.endpoint_url) as server:
            store = DynamoDBClaimStore(table, region=ministack.region, endpoint_url=server.url)
            check, go_on = small_claim_check(store), threading.Event()
            writing = server.hold("PutItem", go_on, times=1)
            thread = threading.Thread(target=check.seal, args=(noisy_body(5_000),))
            thread.start()
            wait_for(lambda: writing.happened, "the request")

            def use(_: int) -> int:
                with check.open(check.seal(noisy_body(6_000)).body.decode()) as opened:
                    return len(opened.body)

            (child,) = fork(use)
            assert child.result() == len(noisy_body(6_000))
            go_on.set()
            thread.join()
            store.close()

    @pytest.mark.parametrize("module", ["pynamodb", "claimcheck.middleware"])
    def test_that_loads_modules(
        self, module: str, ministack: AwsServer, table: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queue = ministack.make_queue()
        monkeypatch.setenv("LETSGO_QUEUE_URL", queue)
        monkeypatch.setenv("CLAIMCHECK_STORE", f"dynamodb://{table}?region={ministack.region}")
        monkeypatch.setenv("CLAIMCHECK_THRESHOLD", "100")
        monkeypatch.setenv("CLAIMCHECK_INLINE_LIMIT", "100")
        fork_while_loading(module, f"claimcheck.enqueue({{'type': 'a', 'payload': {'x' * 200!r}}})")

        worker = Worker(middleware=[ClaimCheckMiddleware()])
        events: list[object] = []
        worker.add_listener(events.append)
        worker.handler("a")(lambda _: None)
        worker.run(burst=True)
        assert sum(isinstance(each, MessageHandled) for each in events) == 2
        default_client().close()

    def test_on_a_store_in_memory(self, clock: Clock) -> None:
        slow = SlowClock(clock)  # asked while the store is locked
        store = MemoryClaimStore(clock=slow)
        thread = in_first_call(lambda: store.acquire("a@", Lease("mine", 60)), slow.asked)
        (child,) = fork(lambda _: store.acquire("b@", Lease("mine", 60)))
        assert child.result() is None
        slow.go_on.set()
        thread.join()

    def test_that_opens_the_store_of_all(self, tmp_path: Path) -> None:
        opening, go_on = threading.Event(), threading.Event()

        def open_first() -> None:
            with settings._opening:
                opening.set()
                go_on.wait()

        url = f"sqlite:///{tmp_path}/claims.db"
        thread = in_first_call(open_first, opening)
        (child,) = fork(lambda _: settings.claim_check_for(url).store.look_up("none"))
        assert child.result() is None
        go_on.set()
        thread.join()


def test_a_handler_that_forks_settles_its_claim_by_itself(tmp_path: Path) -> None:
    """Its child has returned, and completed nothing."""
    check = small_claim_check(open_store(f"sqlite:///{tmp_path}/claims.db"))
    client = Client(MemoryTransport(), middleware=[ClaimCheckMiddleware(check)])
    worker = Worker(client=client)
    runs: list[int] = []

    @worker.handler("order:new")
    def on_order(message: dict[str, Any]) -> None:
        runs.append(len(message["payload"]))
        child = os.fork()
        if child == 0:
            return
        assert os.waitpid(child, 0)[1] == 0
        if len(runs) == 1:
            raise Retry(delay=0)

    client.enqueue({"type": "order:new", "payload": noise(5_000)})
    worker.run(burst=True)

    assert runs == [5_000, 5_000]
    check.store.close()
