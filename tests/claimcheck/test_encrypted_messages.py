"""Encrypted messages on every way: each store, each purge, workers, Lambda and batches."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import claimcheck
from claimcheck import (
    ClaimAlreadyProcessed,
    ClaimCheck,
    ClaimCheckMiddleware,
    ClaimStore,
    EncryptionKeyMissing,
    EncryptionKeyUnavailable,
    EncryptionMissing,
    Purge,
    install,
    unwrap_record,
)
from claimcheck.cli.show import report_on
from claimcheck.core.encryption import DataKey, Encryption
from claimcheck.settings import claim_check_for
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    EnqueueManyError,
    Event,
    Message,
    MessageFailed,
    MessageHandled,
    RetryPolicy,
    Worker,
)
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import ticks
from tests.claimcheck.core.lives import ANY_PURGE, BODY, TWO_PARTS, fail, handle
from tests.claimcheck.lambda_claims import Claims, Function, event_of, failed, record_of
from tests.claimcheck.places import Place
from tests.claimcheck.support import contents_of, message_body, noise, small_claim_check
from tests.letsgo_queue.aws_lambda.lambda_events import Context
from tests.letsgo_queue.support import receive_one, ticking
from tests.support.command import run
from tests.support.waiting import wait_for

KEY = b64encode(bytes(range(32))).decode()
AES = f"aes256:{KEY}"
SMALL = message_body("order:new", "small")


def encrypting(store: ClaimStore, **options: Any) -> ClaimCheck:
    return small_claim_check(store, encryption=AES, **options)


@ANY_PURGE
def test_in_every_store_with_every_purge(place: Place, purge: Purge) -> None:
    """Also where the contents are removed first, and come back when the handler fails."""
    check = encrypting(place.store, purge=purge)
    for body in (BODY, TWO_PARTS):
        sealed = check.seal(body).body.decode()

        fail(check, sealed)
        contents = contents_of(place.store, sealed)
        assert contents is not None, "it came back"
        # What does not compress would be readable in every part.
        assert body[100:140].encode() not in b"".join(part or b"" for part in contents.parts)
        assert handle(check, sealed) == body
        with pytest.raises(ClaimAlreadyProcessed):
            check.open(sealed)


class Sent:
    """Messages of all sizes on a queue, from a client that encrypts."""

    messages: Sequence[dict[str, Any]] = [
        {"type": "order:new", "payload": f"{size} {noise(size)}"} for size in (10, 600, 5_000)
    ]

    def __init__(self, store: ClaimStore) -> None:
        self.queue = MemoryTransport()
        self.check = encrypting(store)
        self.client = Client(self.queue, middleware=[ClaimCheckMiddleware(self.check)])
        self.seen: list[Message[Any]] = []
        self.events: list[Event] = []

    def handle_all(self, check: ClaimCheck | None = None, **options: Any) -> list[Any]:
        middleware = ClaimCheckMiddleware(check or self.check, **options)
        policy = RetryPolicy(base=1, jitter=0)
        worker = Worker(self.queue, middleware=[middleware], retry_policy=policy)
        worker.default(self.seen.append)
        worker.add_listener(self.events.append)
        worker.run(burst=True)
        return sorted(message.payload for message in self.seen)


@pytest.mark.parametrize("once", [False, True])
def test_by_a_worker(store: MemoryClaimStore, once: bool) -> None:
    sent = Sent(store)

    routes = [sent.client.enqueue(each).route for each in sent.messages]

    assert routes == ["compressed", "compressed", "stored"]
    assert sent.handle_all(once=once) == sorted(each["payload"] for each in sent.messages)


def test_in_batches_and_from_asyncio(store: MemoryClaimStore) -> None:
    sent = Sent(store)

    sent.client.enqueue_many(sent.messages)
    asyncio.run(sent.client.aenqueue(sent.messages[0]))

    wanted = [*sent.messages, sent.messages[0]]
    assert sent.handle_all() == sorted(each["payload"] for each in wanted)


def test_by_lambda(store: MemoryClaimStore) -> None:
    """A message that is not encrypted is reported, and no other is held up."""
    claims = Claims(store)
    claims.check = encrypting(store)
    function = Function(claims)
    small, large = (claims.check.seal(body).body.decode() for body in (SMALL, BODY))
    event = event_of(record_of(small, "a"), record_of(SMALL, "plain"), record_of(large, "b"))

    assert function.decorated()(event, Context()) == failed("plain")

    assert [each["body"] for each in function.seen[0]["Records"]] == [SMALL, BODY]
    with pytest.raises(EncryptionMissing):
        unwrap_record(claim_check=claims.check)(print)(record_of(SMALL, "plain"))


def test_by_the_default_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETSGO_QUEUE_URL", "memory://encrypted-default")
    monkeypatch.setenv("CLAIMCHECK_ENCRYPTION", AES)
    install()

    result = claimcheck.enqueue({"type": "order:new", "payload": "small"})

    assert result.route == "compressed"


class FailingKeys:
    """Keys as of KMS, which does not answer for a while."""

    kind = "aes256"

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.asked = 0

    def for_sealing(self) -> DataKey:
        self._ask()
        return DataKey("aes256:0123456789abcdef", bytes(32))

    def for_opening(self, name: str) -> bytes | None:
        del name
        self._ask()
        return bytes(32)

    def _ask(self) -> None:
        self.asked += 1
        if self.asked <= self.failures:
            raise EncryptionKeyUnavailable("KMS key test: it gave no data key: no answer.")


def test_what_could_not_be_encrypted_was_not_sent(store: MemoryClaimStore) -> None:
    sent = Sent(store)
    check = small_claim_check(store, encryption=Encryption([FailingKeys(2)]))
    client = Client(sent.queue, middleware=[ClaimCheckMiddleware(check)])

    with pytest.raises(EncryptionKeyUnavailable, match="'order:new' was not sent: KMS key test"):
        client.enqueue(sent.messages[0])
    with pytest.raises(EnqueueManyError) as failure:
        client.enqueue_many(sent.messages)
    client.enqueue(sent.messages[1])

    assert isinstance(failure.value.errors[0], EncryptionKeyUnavailable)
    assert failure.value.sent == 0
    assert sent.handle_all(check) == [sent.messages[1]["payload"]]


def test_a_worker_holds_a_message_while_kms_does_not_answer(store: MemoryClaimStore) -> None:
    """It uses up no receive, and the claim is not acquired."""
    sent = Sent(store)
    reader = Encryption([FailingKeys(2)])
    writer = small_claim_check(store, encryption=Encryption([FailingKeys(0)]))
    client = Client(sent.queue, middleware=[ClaimCheckMiddleware(writer)])
    client.enqueue(sent.messages[2])

    assert sent.handle_all(small_claim_check(store, encryption=reader)) == [
        sent.messages[2]["payload"]
    ]

    (handled,) = [each for each in sent.events if isinstance(each, MessageHandled)]
    assert handled.receive_count == 1


def test_a_message_that_cannot_be_decrypted_is_not_acknowledged(store: MemoryClaimStore) -> None:
    sent = Sent(store)
    sent.client.enqueue(sent.messages[0])

    assert sent.handle_all(small_claim_check(store)) == []

    errors = [each.error for each in sent.events if isinstance(each, MessageFailed)]
    assert [type(each) for each in errors] == [EncryptionKeyMissing]
    assert receive_one(sent.queue).receive_count == 2


@pytest.mark.parametrize(
    "options",
    [
        {"encryption": AES},
        {"signing_key": "0123456789abcdef", "sign_every_message": True},
    ],
    ids=["encryption", "signing"],
)
def test_a_tick_of_a_schedule_needs_no_seal(
    store: MemoryClaimStore, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """The worker made it itself."""
    monkeypatch.setattr(ticks, "POLL_SECONDS", 0.01)
    clock, ran = Clock(), list[object]()
    clock.now = 1_800_057_600.0
    middleware = ClaimCheckMiddleware(small_claim_check(store, **options))
    worker = Worker(MemoryTransport(), middleware=[middleware], clock=clock)
    worker.scheduled("rate(1 minute)", name="minutely")(ran.append)
    with ticking(worker):
        clock.advance(61)
        wait_for(lambda: ran, "the tick")
    assert len(ran) == 1


class TestShow:
    @pytest.fixture
    def sealed(self, monkeypatch: pytest.MonkeyPatch) -> str:
        for name, value in {
            "STORE": "memory://shown",
            "INLINE_LIMIT": "1000",
            "THRESHOLD": "1000",
            "ENCRYPTION": AES,
        }.items():
            monkeypatch.setenv(f"CLAIMCHECK_{name}", value)
        return claim_check_for("memory://").seal(BODY).body.decode()

    def test_what_can_be_decrypted_is_there(self, sealed: str) -> None:
        report = report_on(sealed, "memory://")

        assert report.claim is not None
        assert report.encrypted
        assert report.fine
        assert report.claim.state == "there"

    def test_what_cannot_be_decrypted_is_a_problem(
        self, sealed: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CLAIMCHECK_ENCRYPTION", "aes256:" + b64encode(bytes(32)).decode())
        other = report_on(sealed, "memory://")
        monkeypatch.delenv("CLAIMCHECK_ENCRYPTION")
        none = report_on(sealed, "memory://")

        assert "which is not among those" in (other.problem or "")
        assert "this reader has no key" in (none.problem or "")
        assert not other.fine
        assert not none.fine

    def test_what_is_not_encrypted_is_a_problem(self, sealed: str) -> None:
        assert "it is not encrypted" in (report_on(SMALL, "memory://").problem or "")

    def test_the_command_shows_no_key(self, sealed: str, tmp_path: Path) -> None:
        for body in (sealed, SMALL):
            ran = run("claimcheck", "show", cwd=tmp_path, stdin=body)
            assert "encrypted" in ran.stdout
            assert KEY not in ran.stdout + ran.stderr
