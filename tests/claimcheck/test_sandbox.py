"""The claim check in a test of its user: `letsgo_queue.testing.Sandbox` keeps the claims."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from claimcheck import (
    ClaimCheck,
    ClaimCheckMiddleware,
    ClaimExpired,
    enqueue,
    install,
    open_store,
    unwrap_claim_check,
)
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import Client, Message, QueueSettings, Retry, Worker, in_test, set_default_client
from letsgo_queue import enqueue as plain_enqueue
from letsgo_queue.admin import open_admin
from letsgo_queue.testing import LambdaFixture, Outbox, Sandbox, WorkerFixture

Fields = dict[str, Any]

COMPRESSIBLE = "x" * 3_000_000
RANDOM = "".join(hashlib.sha512(str(n).encode()).hexdigest() for n in range(20_000))


def claims() -> int:
    """How many claims the test has."""
    test = in_test.surroundings()
    assert test is not None
    store = test.kept(MemoryClaimStore, MemoryClaimStore)
    return sum(len(page.claims) for page in store.inventory().pages())


def test_messages_of_any_size_are_handled(
    letsgo_sandbox: Sandbox, letsgo_outbox: Outbox, letsgo_worker: WorkerFixture
) -> None:
    worker, handled = Worker(), []

    @worker.handler("report:ready")
    @unwrap_claim_check
    def on_report(message: Fields) -> None:
        handled.append(message["payload"])

    for payload in ("small", COMPRESSIBLE, RANDOM):
        result = enqueue({"type": "report:ready", "payload": payload})
        sent = letsgo_outbox[-1]
        assert sent.message["payload"] == payload
        assert (sent.route, sent.size) == (result.route, result.size)
        assert (sent.sent_size, sent.stored_size) == (result.sent_size, result.stored_size)
    assert [sent.route for sent in letsgo_outbox] == ["inline", "compressed", "stored"]
    assert letsgo_outbox[2].stored_size > 1_000_000
    assert claims() == 1

    drained = letsgo_worker(worker).drain()

    assert [event.route for event in drained.handled] == ["inline", "compressed", "stored"]
    assert handled == ["small", COMPRESSIBLE, RANDOM]
    assert claims() == 0


def test_a_handler_that_fails_gets_a_stored_message_again(letsgo_worker: WorkerFixture) -> None:
    worker, fails = Worker(), iter([True])
    work = letsgo_worker(worker)

    @worker.default
    @unwrap_claim_check
    def handle(message: Fields) -> None:
        assert message["payload"] == RANDOM
        if next(fails, False):
            raise Retry(delay=5)

    enqueue({"type": "a", "payload": RANDOM})

    assert len(work.drain(raises=False).retried) == 1
    work.advance(5)
    assert len(work.drain().handled) == 1


def test_a_handler_without_the_claim_check_fails(letsgo_worker: WorkerFixture) -> None:
    worker = Worker()
    worker.default(lambda message: None)
    enqueue({"type": "a", "payload": COMPRESSIBLE})

    with pytest.raises(Exception, match="is a claim check, and nothing opened it"):
        letsgo_worker(worker).drain()


def test_claims_go_by_the_clock_of_the_test(letsgo_worker: WorkerFixture) -> None:
    worker = Worker()
    work = letsgo_worker(worker)
    worker.default(unwrap_claim_check(lambda message: None))
    enqueue({"type": "a", "payload": RANDOM})

    work.advance(16 * 86_400)

    with pytest.raises(ClaimExpired):
        work.drain()


class Module:
    """What a user's module makes when it is imported, once for all tests."""

    worker = Worker()

    @staticmethod
    @worker.default
    @unwrap_claim_check
    def handle(message: Fields) -> None: ...


@pytest.mark.parametrize("threshold", [None, "1000", "3000"])
def test_each_test_has_the_settings_of_its_own(
    letsgo_outbox: Outbox,
    letsgo_worker: WorkerFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    threshold: str | None,
) -> None:
    if threshold is not None:
        monkeypatch.setenv("CLAIMCHECK_THRESHOLD", threshold)
    # A folder of the user, and DynamoDB: neither is touched.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("LETSGO_LOCAL_QUEUE_URL", "http://localhost:1")
    monkeypatch.setenv("CLAIMCHECK_STORES", "a=dynamodb://claims")

    enqueue({"type": "a", "payload": "x" * 2000})

    assert letsgo_outbox.one().route == ("compressed" if threshold == "1000" else "inline")
    assert len(letsgo_worker(Module.worker).drain().handled) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_a_handler_opened_in_a_test_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LETSGO_QUEUE_URL", f"sqlite:///{tmp_path}/work.db")
    with Sandbox() as sandbox:
        enqueue({"type": "a", "payload": RANDOM})
        assert len(sandbox.worker(Module.worker).drain().handled) == 1

    enqueue({"type": "a", "payload": RANDOM})
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) > 1_000_000
    Module.worker.run(burst=True)
    with Sandbox() as sandbox:
        assert sandbox.worker(Module.worker).drain().handled == ()
    admin = open_admin(f"sqlite:///{tmp_path}/work.db", QueueSettings())
    assert admin.status().waiting == 0
    admin.close()


def test_a_claim_check_that_code_made_keeps_its_options_and_not_its_store(
    letsgo_sandbox: Sandbox,
) -> None:
    given = ClaimCheck(
        open_store("dynamodb://claims"),
        stores={"video:*": "s3://videos"},
        threshold=100,
        inline_limit=300,
    )
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders"
    client = Client(url, middleware=[ClaimCheckMiddleware(given, once=True)])
    worker = Worker(client=client)
    handled: list[Message[Any]] = []
    worker.default(handled.append)

    result = client.enqueue({"type": "video:new", "payload": RANDOM[:1000]})
    assert result.route == "stored"
    letsgo_sandbox.worker(worker).drain()

    assert handled[0].payload == RANDOM[:1000]
    assert [store.url for store in given.stores.all] == ["dynamodb://claims", "s3://videos"]


def test_install_holds_in_every_test(letsgo_worker: WorkerFixture) -> None:
    set_default_client(Client())
    install()
    worker = Worker()
    handled: list[Message[Any]] = []
    worker.default(handled.append)

    for _ in range(2):
        with Sandbox() as sandbox:
            plain_enqueue({"type": "a", "payload": RANDOM})
            assert sandbox.outbox.one().route == "stored"
            sandbox.worker(worker).drain()

    assert len(handled) == 2


def test_a_lambda_function_of_its_own(
    letsgo_sandbox: Sandbox, letsgo_lambda: LambdaFixture
) -> None:
    sizes: list[int] = []

    @unwrap_claim_check
    def handler(event: Fields, context: object) -> Fields:
        sizes.extend(len(record["body"]) for record in event["Records"])
        return {"batchItemFailures": []}

    for payload in ("small", COMPRESSIBLE, RANDOM):
        enqueue({"type": "a", "payload": payload})
    letsgo_lambda(handler).drain()

    assert sorted(sizes) == sorted(
        len(f'{{"type":"a","payload":"{payload}"}}') for payload in ("small", COMPRESSIBLE, RANDOM)
    )
    assert claims() == 0


def test_a_worker_behind_lambda(letsgo_sandbox: Sandbox, letsgo_lambda: LambdaFixture) -> None:
    worker, handled = Worker(), []

    @worker.default
    @unwrap_claim_check
    def handle(message: Fields) -> None:
        handled.append(message["payload"])

    enqueue({"type": "a", "payload": RANDOM})
    drained = letsgo_lambda(worker.lambda_handler).drain()

    assert handled == [RANDOM]
    assert [event.route for event in drained.handled] == ["stored"]
    assert claims() == 0
