"""`sign_every_message`: for queues that others can write to."""

from __future__ import annotations

from typing import Any

import pytest

from claimcheck import (
    ClaimCheck,
    ClaimCheckMiddleware,
    ClaimCheckSettings,
    SettingsInvalid,
    TicketForged,
    unwrap_record,
)
from claimcheck.settings import claim_check_for
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import Client, Message, Worker
from letsgo_queue.transports.base import OutgoingMessage
from letsgo_queue.transports.memory import MemoryTransport
from tests.claimcheck.lambda_claims import Claims, Function, event_of, failed, record_of
from tests.claimcheck.support import (
    body_of,
    forge,
    message_body,
    noisy_body,
    small_claim_check,
    ticket_in,
)
from tests.letsgo_queue.aws_lambda.lambda_events import Context

KEY = "the-key-of-this-quarter"
SMALL = message_body("order:new", "small")


@pytest.fixture
def check(store: MemoryClaimStore) -> ClaimCheck:
    return small_claim_check(store, signing_key=KEY, sign_every_message=True)


def copies(body: str, number: int, *, check: ClaimCheck, once: bool) -> int:
    """How often a worker handles a message after somebody has put copies of it on the queue."""
    queue, seen = MemoryTransport(), list[Message[Any]]()
    for _ in range(number):
        queue.send(OutgoingMessage(type="order:new", body=body.encode()))
    worker = Worker(queue, middleware=[ClaimCheckMiddleware(check, once=once)])
    worker.default(seen.append)
    worker.run(burst=True)
    return len(seen)


def test_a_small_message_is_sealed_and_signed(check: ClaimCheck) -> None:
    sealed = check.seal(SMALL)

    assert sealed.route == "compressed"
    assert "sig" in ticket_in(sealed.body)
    assert check.open(sealed.body.decode()).body == SMALL


def test_a_message_that_is_not_sealed_is_refused(check: ClaimCheck) -> None:
    with pytest.raises(TicketForged, match=r"message m-1: it is not sealed.*sign_every_message"):
        check.open(SMALL, message_id="m-1")


def test_every_way_to_a_function_refuses_it(store: MemoryClaimStore, check: ClaimCheck) -> None:
    claims = Claims(store)
    claims.check = check
    function = Function(claims)
    good = check.seal(SMALL).body.decode()
    event = event_of(record_of(SMALL, "plain"), record_of(good, "signed"))

    assert function.decorated()(event, Context()) == failed("plain")
    assert [each["body"] for each in function.seen[0]["Records"]] == [SMALL]
    with pytest.raises(TicketForged):
        unwrap_record(claim_check=check)(print)(record_of(SMALL, "plain"))
    assert copies(SMALL, 1, check=check, once=False) == 0
    assert copies(good, 1, check=check, once=False) == 1


def test_both_ends_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAIMCHECK_SIGNING_KEY", KEY)
    monkeypatch.setenv("CLAIMCHECK_SIGN_EVERY_MESSAGE", "true")
    assert ClaimCheckSettings.from_environment().sign_every_message
    queue, seen = MemoryTransport("memory://signed"), list[Message[Any]]()
    worker = Worker(queue, middleware=[ClaimCheckMiddleware()])
    worker.default(seen.append)

    Client(queue).enqueue({"type": "order:new", "payload": "plain"})
    Client(queue, middleware=[ClaimCheckMiddleware()]).enqueue(
        {"type": "order:new", "payload": "signed"}
    )
    worker.run(burst=True)

    assert [message.payload for message in seen] == ["signed"]


def test_it_needs_a_key(monkeypatch: pytest.MonkeyPatch, store: MemoryClaimStore) -> None:
    with pytest.raises(SettingsInvalid, match=r"sign_every_message .*: give a signing_key"):
        ClaimCheck(store, sign_every_message=True)
    monkeypatch.setenv("CLAIMCHECK_SIGN_EVERY_MESSAGE", "yes")
    with pytest.raises(SettingsInvalid, match=r"sign_every_message .*: give a signing_key"):
        claim_check_for("memory://")


class TestCopies:
    """Somebody who can read and write the queue sends a signed message again."""

    @pytest.mark.parametrize("body", [SMALL, noisy_body(3_000)], ids=["carried", "stored"])
    def test_with_once_run_one_handler(self, check: ClaimCheck, body: str) -> None:
        sealed = check.seal(body).body.decode()

        assert copies(sealed, 3, check=check, once=True) == 1

    def test_without_it_a_carried_message_runs_each_time(self, check: ClaimCheck) -> None:
        """As the documentation says: it has no record."""
        sealed = check.seal(SMALL).body.decode()

        assert copies(sealed, 3, check=check, once=False) == 3

    def test_the_same_message_sent_twice_is_no_copy(self, check: ClaimCheck) -> None:
        sealed = [check.seal(SMALL).body.decode() for _ in range(2)]

        assert [copies(body, 2, check=check, once=True) for body in sealed] == [1, 1]

    def test_a_nonce_that_is_not_signed_is_no_key(self, store: MemoryClaimStore) -> None:
        """Or who knows that of another message could have that taken for a duplicate."""
        signing = small_claim_check(store, signing_key=KEY)
        unsigned = small_claim_check(store)
        victim = signing.seal(body_of(2_000)).body.decode()
        carried = unsigned.seal(body_of(2_000)).body.decode()
        assert "nonce" not in ticket_in(carried)

        made_up = forge(carried, nonce=ticket_in(victim)["nonce"])
        assert copies(made_up, 2, check=unsigned, once=True) == 2

        assert copies(victim, 1, check=signing, once=True) == 1
