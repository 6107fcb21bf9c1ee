"""A store that throttles, fails, hangs up or is gone: nothing is lost, nothing is doubled."""

from __future__ import annotations

import threading

import pytest

from claimcheck.core.cost import Place
from claimcheck.errors import (
    ClaimBucketMissing,
    ClaimStoreError,
    ClaimStoreUnavailable,
    ClaimTableMissing,
)
from tests.claimcheck.support import noise
from tests.faults.conftest import MakeRig
from tests.faults.rig import TWO_PARTS, TYPE, digest_of
from tests.faults.stores import Rows
from tests.support.calls import Call, is_first_part
from tests.support.faulty_server import PASSING, REFUSALS, Failure
from tests.support.waiting import wait_for

MESSAGES = 40

OUTAGES = (
    Failure.CAPACITY_EXCEEDED,
    Failure.TABLE_MISSING,
    Failure.TOKEN_EXPIRED,
    Failure.DENIED,
    Failure.ANSWER_LOST,
    Failure.ANSWER_CUT,
)
"""Ways to be down, of one kind each: busy, gone, shut, forbidden, deaf, and garbled."""

OUTAGES_OF_S3 = (Failure.THROTTLED, Failure.TABLE_MISSING, Failure.DENIED, Failure.ANSWER_CUT)
"""The same of S3: it is busy in its own words, and tells apart less."""

UNWRITTEN = (*REFUSALS, Failure.REQUEST_LOST, Failure.ANSWER_LOST, Failure.SERVER_ERROR)
"""Failures after which a sender knows only that its claim is not there."""


@pytest.mark.parametrize(
    ("place", "rate"),
    [
        pytest.param("dynamodb", 0.01, marks=pytest.mark.long),
        ("dynamodb", 0.1),
        pytest.param("dynamodb", 0.5, marks=pytest.mark.long),
        pytest.param("bucket", 0.1, marks=pytest.mark.long),
        pytest.param("s3", 0.1, marks=pytest.mark.long),
    ],
)
def test_every_acknowledged_message_is_handled_at_any_rate_of_faults(
    make_rig: MakeRig, place: Place, rate: float
) -> None:
    rig = make_rig(place=place)
    rig.proxy.inject(*PASSING, on=("dynamodb", "s3"), rate=rate)

    sent = rig.enqueue(MESSAGES)
    rig.work()
    rig.proxy.clear()
    rig.work_off()

    assert len(sent.acknowledged) + len(sent.refused) == MESSAGES
    assert rig.succeeded == dict.fromkeys(sent.acknowledged, 1)
    assert all(isinstance(error, ClaimStoreUnavailable) for error in sent.refused.values())
    assert rig.proxy.failed.total() > 0
    assert rig.rows().for_good == 0


def test_botocores_own_retries_hide_passing_faults(make_rig: MakeRig) -> None:
    rig = make_rig(store_retries=6)
    rig.proxy.inject(*PASSING, on="dynamodb", rate=0.1)

    sent = rig.enqueue(MESSAGES // 2)
    rig.work_off()

    assert not sent.refused
    assert rig.succeeded == dict.fromkeys(sent.acknowledged, 1)
    assert rig.proxy.failed.total() > 0
    assert rig.rows() == Rows(receipts=MESSAGES // 2)


@pytest.mark.parametrize("place", ["dynamodb", "s3"])
@pytest.mark.parametrize("failure", UNWRITTEN)
def test_a_claim_that_cannot_be_written_is_an_error_and_nothing_is_left(
    make_rig: MakeRig, failure: Failure, place: Place
) -> None:
    rig = make_rig(place=place)
    missing = failure is Failure.TABLE_MISSING
    rig.proxy.inject(failure, on=Call.WRITE_PART, matches=is_first_part)
    rig.proxy.inject(failure, on=Call.WRITE_PART, rate=1.0 if missing else 0.5)

    sent = rig.enqueue(1, size=TWO_PARTS)

    (error,) = sent.refused.values()
    kind = ClaimTableMissing if place == "dynamodb" else ClaimBucketMissing
    assert isinstance(error, kind if missing else ClaimStoreError)
    assert error.retryable == (failure is not Failure.DENIED)
    assert rig.on_queue() == 0
    assert rig.rows() == Rows()


def test_what_cannot_be_removed_either_expires(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.proxy.inject(Failure.ANSWER_LOST, on="PutItem")
    rig.proxy.inject(Failure.CAPACITY_EXCEEDED, on="DeleteItem")

    sent = rig.enqueue(1, size=TWO_PARTS)

    assert sent.refused
    assert rig.on_queue() == 0
    assert rig.rows() == Rows(parts=2)


@pytest.mark.parametrize(
    ("place", "failure"),
    [
        *(("dynamodb", each) for each in OUTAGES[:2]),
        *(pytest.param("dynamodb", each, marks=pytest.mark.long) for each in OUTAGES[2:]),
        ("s3", OUTAGES_OF_S3[0]),
        *(pytest.param("s3", each, marks=pytest.mark.long) for each in OUTAGES_OF_S3[1:]),
    ],
)
def test_an_outage_of_the_store_costs_no_receives(
    make_rig: MakeRig, place: Place, failure: Failure
) -> None:
    """The worker holds what needs the store, and goes on with what does not."""
    rig = make_rig(place=place)
    sent = rig.enqueue(3, size=TWO_PARTS)
    inline = noise(100, seed=99)
    rig.client.enqueue({"type": TYPE, "payload": inline})
    down = rig.proxy.inject(failure, on=("dynamodb", "s3"))

    with rig.working():
        wait_for(lambda: digest_of(inline) in rig.succeeded, "the one without a claim")
        wait_for(lambda: down.happened >= 24, "each of the others to be tried three times")
        assert rig.succeeded.keys() == {digest_of(inline)}
        rig.proxy.clear()
    rig.work_off()

    assert rig.succeeded == dict.fromkeys([*sent.acknowledged, digest_of(inline)], 1)
    assert {run.receive_count for run in rig.runs} == {1}
    assert rig.rows() == Rows(receipts=3)


def test_a_store_that_hangs_holds_ten_large_messages_and_no_small_one(make_rig: MakeRig) -> None:
    """Ten are more than the worker has slots."""
    rig = make_rig()
    sent = rig.enqueue(10, size=TWO_PARTS)
    over = threading.Event()
    held = rig.proxy.hold("dynamodb", over)
    small = [noise(100, seed) for seed in range(100, 200)]

    with rig.working():
        try:
            wait_for(lambda: held.happened >= 10, "the store to hang for each of them")
            rig.client.enqueue_many([{"type": TYPE, "payload": each} for each in small])
            wait_for(lambda: len(rig.succeeded) == len(small), "the small ones")
            assert not over.is_set()
        finally:
            rig.proxy.clear()
            over.set()
    rig.work_off()

    assert rig.succeeded == dict.fromkeys([*sent.acknowledged, *map(digest_of, small)], 1)
    assert {run.receive_count for run in rig.runs} == {1}


@pytest.mark.parametrize("purge", ["after", "before"])
def test_the_store_goes_away_while_messages_come_in(make_rig: MakeRig, purge: str) -> None:
    rig = make_rig(purge=purge)
    sent = rig.enqueue(MESSAGES)
    rig.proxy.inject(Failure.REQUEST_LOST, on="dynamodb", rate=0.1)

    with rig.working():
        wait_for(lambda: len(rig.runs) >= 3, "some are handled")
        before = rig.proxy.failed.total()
        with rig.proxy.outage("dynamodb"):
            wait_for(lambda: rig.proxy.failed.total() > before + 20, "many calls failed")
        rig.proxy.clear()
    rig.work_off()

    assert rig.succeeded == dict.fromkeys(sent.acknowledged, 1)
    assert len(rig.runs) == MESSAGES
