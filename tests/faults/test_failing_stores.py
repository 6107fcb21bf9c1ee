"""A DynamoDB that throttles, fails, hangs up or is gone: nothing is lost, nothing is doubled."""

from __future__ import annotations

import time

import pytest

from claimcheck.errors import ClaimStoreError, ClaimStoreUnavailable, ClaimTableMissing
from claimcheck.stores import dynamodb
from letsgo_queue import Delivery
from tests.faults.conftest import MakeRig
from tests.faults.proxy import PASSING, Fault
from tests.faults.rig import TYPE, VISIBILITY_SECONDS, digest_of, make_payload, wait_for, wait_until

MESSAGES = 40
SEVERAL_PARTS = 200_000
"""Bytes of a payload that makes two parts here."""

OUTAGES = (Fault.CAPACITY_EXCEEDED, Fault.TABLE_MISSING, Fault.TOKEN_EXPIRED, Fault.ANSWER_LOST)
"""Ways of being down, of one kind each: busy, gone, shut, and deaf."""


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_every_acknowledged_message_is_handled_at_any_rate_of_faults(
    make_rig: MakeRig, rate: float
) -> None:
    rig = make_rig()
    rig.proxy.inject(*PASSING, on="dynamodb", rate=rate)

    sent = rig.enqueue(MESSAGES)
    with rig.working():
        wait_until(lambda: rig.handled().keys() >= sent.acknowledged.keys(), "all are handled")
        rig.proxy.clear()
        wait_until(lambda: rig.on_queue() == 0, "the queue is empty")

    assert len(sent.acknowledged) + len(sent.refused) == MESSAGES
    assert rig.handled() == dict.fromkeys(sent.acknowledged, 1)
    assert all(isinstance(error, ClaimStoreUnavailable) for error in sent.refused.values())
    assert sum(rig.proxy.injected.values()) > 0
    # What could not be removed expires.
    assert all(int(row["expires_at"]["N"]) > time.time() for row in rig.rows().values())


def test_botocores_own_retries_hide_passing_faults(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamodb, "MAX_RETRIES", 4)
    rig = make_rig()
    rig.proxy.inject(*PASSING, on="dynamodb", rate=0.1)

    sent = rig.enqueue(MESSAGES // 2)
    with rig.working():
        wait_until(lambda: rig.on_queue() == 0, "the queue is empty")

    assert not sent.refused
    assert rig.handled() == dict.fromkeys(sent.acknowledged, 1)
    assert rig.proxy.injected.total() > 0
    assert not rig.rows()


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.SLOW])
def test_a_claim_that_cannot_be_written_is_an_error_and_nothing_is_left(
    make_rig: MakeRig, fault: Fault
) -> None:
    rig = make_rig()
    # The first part, and its one retry.
    rig.proxy.inject(fault, on="PutItem", times=2)
    rig.proxy.inject(fault, on="PutItem", rate=0.5)

    sent = rig.enqueue(1, size=SEVERAL_PARTS)

    (error,) = sent.refused.values()
    assert isinstance(error, ClaimTableMissing if fault is Fault.TABLE_MISSING else ClaimStoreError)
    assert error.retryable
    assert rig.on_queue() == 0
    assert not rig.rows()


def test_what_cannot_be_removed_either_expires(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.proxy.inject(Fault.ANSWER_LOST, on="PutItem")
    rig.proxy.inject(Fault.CAPACITY_EXCEEDED, on="DeleteItem")

    sent = rig.enqueue(1, size=SEVERAL_PARTS)

    assert sent.refused
    assert rig.on_queue() == 0
    assert len(rig.rows()) == 3
    assert all(int(row["expires_at"]["N"]) > time.time() for row in rig.rows().values())


@pytest.mark.parametrize("fault", OUTAGES)
def test_an_outage_of_the_store_costs_no_receives(make_rig: MakeRig, fault: Fault) -> None:
    """Down for longer than two visibility timeouts, in whichever way."""
    rig = make_rig()
    sent = rig.enqueue(3, size=SEVERAL_PARTS)
    inline = make_payload(100, seed=99)
    rig.client.enqueue({"type": TYPE, "payload": inline})
    rig.proxy.inject(fault, on="dynamodb")

    with rig.working():
        wait_until(lambda: digest_of(inline) in rig.handled(), "the one without a claim is handled")
        wait_for(2.2 * VISIBILITY_SECONDS)
        assert rig.handled().keys() == {digest_of(inline)}
        rig.proxy.clear()
        wait_until(lambda: rig.on_queue() == 0, "the queue is empty")

    assert rig.handled() == dict.fromkeys([*sent.acknowledged, digest_of(inline)], 1)
    assert max(run.receive_count for run in rig.runs) <= 2
    assert not rig.rows()


@pytest.mark.parametrize("purge", ["after", "before"])
def test_the_store_goes_away_while_messages_come_in(make_rig: MakeRig, purge: str) -> None:
    rig = make_rig(purge=purge)
    sent = rig.enqueue(MESSAGES)
    rig.proxy.inject(Fault.RESET, on="dynamodb", rate=0.1)

    with rig.working():
        wait_until(lambda: len(rig.runs) >= 3, "some are handled")
        with rig.proxy.outage("dynamodb"):
            wait_for(2.0)
        rig.proxy.clear()
        wait_until(lambda: rig.on_queue() == 0, "the queue is empty")

    assert rig.handled() == dict.fromkeys(sent.acknowledged, 1)
    assert max(run.receive_count for run in rig.runs) <= 2


@pytest.mark.parametrize("purge", ["after", "before"])
@pytest.mark.parametrize("operation", ["UpdateItem", "DeleteItem"])
@pytest.mark.parametrize(("fault", "lost"), [(Fault.ANSWER_CUT, 1), (Fault.ANSWER_LOST, 3)])
def test_answers_that_are_lost_after_the_request_took_effect(
    make_rig: MakeRig, fault: Fault, operation: str, purge: str, lost: int
) -> None:
    """One attempt; or one call with its retry, and another attempt."""
    rig = make_rig(purge=purge)
    sent = rig.enqueue(1)
    rig.proxy.inject(fault, on=operation, times=lost)

    with rig.working():
        wait_until(lambda: rig.on_queue() == 0, "the queue is empty")

    assert rig.handled() == dict.fromkeys(sent.acknowledged, 1)
    assert rig.runs[0].receive_count == 1
    left = rig.rows()
    # The call that removes parts may have failed for good: what is left of them expires.
    assert not left or (operation == "DeleteItem" and all("/" in key for key in left))
    assert all(int(row["expires_at"]["N"]) > time.time() for row in left.values())


@pytest.mark.parametrize("purge", ["after", "before"])
def test_a_handler_that_fails_during_an_outage_runs_again(make_rig: MakeRig, purge: str) -> None:
    rig = make_rig(purge=purge)
    sent = rig.enqueue(1, size=SEVERAL_PARTS)

    def fail_once(_payload: str, delivery: Delivery) -> None:
        if delivery.receive_count == 1:
            rig.proxy.inject(Fault.SERVER_ERROR, on=("UpdateItem", "PutItem"), times=1)
            raise RuntimeError("the handler's own")

    with rig.working(fail_once):
        wait_until(lambda: rig.on_queue() == 0, "the queue is empty")

    assert rig.handled() == dict.fromkeys(sent.acknowledged, 2)
    assert not rig.rows()


def test_a_claim_whose_putting_back_failed_is_taken_when_its_lease_ends(make_rig: MakeRig) -> None:
    rig = make_rig()
    sent = rig.enqueue(1)

    def fail_once(_payload: str, delivery: Delivery) -> None:
        if delivery.receive_count == 1:
            rig.proxy.inject(Fault.SERVER_ERROR, on="UpdateItem", times=2)
            raise RuntimeError("the handler's own")

    with rig.working(fail_once):
        wait_until(lambda: rig.on_queue() == 0, "the queue is empty")

    assert rig.handled() == dict.fromkeys(sent.acknowledged, 2)
    assert not rig.rows()
