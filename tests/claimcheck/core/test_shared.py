"""Messages that several queues have: each handles them once, and none takes them from another."""

from __future__ import annotations

import pytest

from claimcheck import ClaimAlreadyProcessed, ClaimCheck, ClaimInProgress, ConsumerUnknown
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.testing import Clock
from tests.claimcheck.core.encrypting import AES
from tests.claimcheck.places import Left, Place
from tests.claimcheck.support import (
    DAY,
    contents_of,
    message_body,
    noise,
    noisy_body,
    parts_left,
    small_claim_check,
    ticket_in,
)

LARGE = noisy_body(3_000)
QUEUES = ("eu-west-1:123456789012:orders.fifo", "us-east-1:123456789012:orders.fifo")
CARRIED = message_body("order:new", noise(200))


@pytest.fixture
def check(store: MemoryClaimStore) -> ClaimCheck:
    return small_claim_check(store)


@pytest.fixture
def sealed(check: ClaimCheck) -> str:
    return check.seal(LARGE, shared=True).body.decode()


def test_only_a_shared_ticket_says_so(check: ClaimCheck) -> None:
    assert ticket_in(check.seal(LARGE, shared=True).body)["shared"] is True
    assert "shared" not in ticket_in(check.seal(LARGE).body)


def test_each_queue_handles_it_once(check: ClaimCheck, sealed: str) -> None:
    for queue in ("billing", "shipping"):
        with check.open(sealed, consumer=queue) as opened:
            assert opened.body == LARGE
    for queue in ("billing", "shipping"):
        with pytest.raises(ClaimAlreadyProcessed):
            check.open(sealed, consumer=queue)


def test_on_every_store(place: Place) -> None:
    check = small_claim_check(place.store)
    sealed = check.seal(LARGE, shared=True).body.decode()

    check.open(sealed, consumer=QUEUES[0]).settle(succeeded=False)
    for queue in QUEUES:
        with check.open(sealed, consumer=queue) as opened:
            assert opened.body == LARGE
    for queue in QUEUES:
        with pytest.raises(ClaimAlreadyProcessed):
            check.open(sealed, consumer=queue)

    assert place.left() == Left(parts=1, records=2)
    contents = contents_of(place.store, sealed)
    assert contents is not None
    assert contents.expires_at == pytest.approx(place.store.now() + 15 * DAY, abs=60)


def test_a_failure_renews_contents_that_another_queue_has_done_with(
    store: MemoryClaimStore, clock: Clock, check: ClaimCheck, sealed: str
) -> None:
    """It may spend 14 days on its queue, and 14 more on the dead-letter queue."""
    check.open(sealed, consumer="billing").settle(succeeded=True)
    clock.advance(14 * DAY)
    check.open(sealed, consumer="shipping").settle(succeeded=False)
    clock.advance(14 * DAY)

    assert check.open(sealed, consumer="shipping").body == LARGE
    with pytest.raises(ClaimAlreadyProcessed):
        check.open(sealed, consumer="billing")


def test_deliveries_of_two_queues_are_handled_at_once(check: ClaimCheck, sealed: str) -> None:
    check.open(sealed, consumer="billing")

    assert check.open(sealed, consumer="shipping").body == LARGE
    with pytest.raises(ClaimInProgress):
        check.open(sealed, consumer="billing")


def test_a_failure_of_one_queue_is_its_own(check: ClaimCheck, sealed: str) -> None:
    check.open(sealed, consumer="billing").settle(succeeded=False)
    check.open(sealed, consumer="shipping").settle(succeeded=True)

    assert check.open(sealed, consumer="billing").body == LARGE


@pytest.mark.parametrize("purge", ["after", "before", "never"])
def test_nobody_removes_the_contents(
    store: MemoryClaimStore, check: ClaimCheck, sealed: str, purge: str
) -> None:
    for queue in ("billing", "shipping"):
        with check.open(sealed, consumer=queue, purge=purge):  # type: ignore[arg-type]  # as given
            assert parts_left(store, sealed)
        with pytest.raises(ClaimAlreadyProcessed):  # which removes what a crash left, else
            check.open(sealed, consumer=queue, purge=purge)  # type: ignore[arg-type]  # as given

    assert parts_left(store, sealed)


def test_whoever_does_not_know_its_queue_opens_nothing(check: ClaimCheck, sealed: str) -> None:
    for unknown in (None, ""):
        with pytest.raises(ConsumerUnknown, match="which of them it came from"):
            check.open(sealed, consumer=unknown)

    assert check.open(sealed, consumer="billing").body == LARGE


def test_a_ticket_that_carries_its_contents_needs_no_queue(check: ClaimCheck) -> None:
    body = message_body("order:new", "x" * 2_000)
    carried = check.seal(body, shared=True).body.decode()

    assert ticket_in(carried)["data"]
    assert check.open(carried).body == body


def test_a_receipt_of_once_is_one_queues(store: MemoryClaimStore) -> None:
    """It is kept under the ticket's nonce, which the copies of all queues have."""
    check = small_claim_check(store, encryption=AES)
    carried = check.seal(CARRIED, shared=True).body.decode()

    for queue in ("billing", "shipping"):
        with check.open(carried, once="once/its-own@", consumer=queue) as opened:
            assert opened.body == CARRIED
        with pytest.raises(ClaimAlreadyProcessed):
            check.open(carried, once="once/its-copy@", consumer=queue)
    with pytest.raises(ConsumerUnknown):
        check.open(carried, once="once/its-own@")
