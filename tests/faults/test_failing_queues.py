"""An SQS that refuses, fails or hangs up: an enqueue succeeds or says what is known of it."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from claimcheck.stores import dynamodb
from letsgo_queue import Delivery, SendFailed, SendUncertain
from tests.faults.conftest import MakeRig
from tests.faults.proxy import PASSING, PASSING_ON_SQS, REFUSALS, Fault
from tests.faults.rig import OUR_ERRORS, wait_for, wait_until

MESSAGES = 24
UNKNOWN = (
    Fault.ANSWER_LOST,
    Fault.ANSWER_CUT,
    Fault.RESET,
    Fault.SERVER_ERROR,
    Fault.BAD_GATEWAY,
)
"""Faults after which nobody can tell what the queue did."""


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_sending_at_any_rate_of_faults(make_rig: MakeRig, rate: float) -> None:
    rig = make_rig()
    rig.proxy.inject(*PASSING_ON_SQS, on="SendMessage", rate=rate)

    sent = rig.enqueue(MESSAGES)
    with rig.working():
        wait_until(lambda: rig.on_queue() == 0, "the queue is empty")

    assert all(isinstance(e, SendFailed | SendUncertain) for e in sent.refused.values())
    handled = rig.handled().keys()
    uncertain = {d for d, error in sent.refused.items() if isinstance(error, SendUncertain)}
    assert sent.acknowledged.keys() <= handled <= sent.acknowledged.keys() | uncertain
    # A retry that put a message there a second time made a duplicate, which is not run.
    assert set(rig.handled().values()) == {1}
    # A message that is not there keeps its claim, as it might be; a refused one has none.
    assert len(rig.claims()) == len(uncertain - handled)
    assert all(int(row["expires_at"]["N"]) > time.time() for row in rig.rows().values())


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_working_at_any_rate_of_faults(make_rig: MakeRig, rate: float) -> None:
    rig = make_rig(visibility_seconds=3)
    sent = rig.enqueue(MESSAGES)
    rig.proxy.inject(
        *PASSING_ON_SQS,
        on=("ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility"),
        rate=rate,
    )

    with rig.working():
        wait_until(lambda: len(rig.handled()) >= MESSAGES // 2, "half of them are handled")
        rig.proxy.clear()
        wait_until(lambda: rig.on_queue() == 0, "the queue is empty")

    assert rig.handled() == dict.fromkeys(sent.acknowledged, 1)
    assert not rig.rows()


def test_everything_fails_at_once(make_rig: MakeRig) -> None:
    """A purge and an acknowledgement that both fail allow a second run; nothing else does."""
    rig = make_rig(visibility_seconds=3)
    rig.proxy.inject(*PASSING, on="dynamodb", rate=0.5)
    rig.proxy.inject(*PASSING_ON_SQS, on="sqs", rate=0.5)

    sent = rig.enqueue(MESSAGES)
    with rig.working():
        wait_until(lambda: len(rig.handled()) >= len(sent.acknowledged) // 2, "half are handled")
        rig.proxy.clear()
        wait_until(lambda: rig.on_queue() == 0, "the queue is empty")

    assert all(isinstance(error, OUR_ERRORS) for error in sent.refused.values())
    handled = rig.handled().keys()
    uncertain = {d for d, error in sent.refused.items() if isinstance(error, SendUncertain)}
    assert sent.acknowledged.keys() <= handled <= sent.acknowledged.keys() | uncertain
    assert all(int(row["expires_at"]["N"]) > time.time() for row in rig.rows().values())


@pytest.mark.parametrize("fault", REFUSALS)
def test_a_message_that_was_refused_leaves_nothing(make_rig: MakeRig, fault: Fault) -> None:
    rig = make_rig()
    rig.proxy.inject(fault, on="SendMessage")

    sent = rig.enqueue(1)

    (error,) = sent.refused.values()
    assert isinstance(error, SendFailed)
    assert rig.on_queue() == 0
    assert not rig.rows()


@pytest.mark.parametrize("fault", UNKNOWN)
def test_a_message_that_may_be_there_keeps_its_claim(make_rig: MakeRig, fault: Fault) -> None:
    rig = make_rig()
    rig.proxy.inject(fault, on="SendMessage")

    sent = rig.enqueue(1)

    (error,) = sent.refused.values()
    assert isinstance(error, SendUncertain)
    assert len(rig.claims()) == 1
    took_effect = fault in {Fault.ANSWER_LOST, Fault.ANSWER_CUT}
    assert rig.on_queue() == 2 * took_effect  # botocore has tried twice
    with rig.working():
        wait_until(lambda: rig.on_queue() == 0, "the queue is empty")
    assert rig.handled() == (dict.fromkeys(sent.refused, 1) if took_effect else {})
    assert len(rig.claims()) == (0 if took_effect else 1)


def test_a_refusal_after_a_lost_answer_is_uncertain(make_rig: MakeRig) -> None:
    """The first attempt took effect; that the second was refused does not undo it."""
    rig = make_rig()
    rig.proxy.inject(Fault.ANSWER_LOST, on="SendMessage", times=1)
    rig.proxy.inject(Fault.THROTTLED, on="SendMessage")

    sent = rig.enqueue(1)

    (error,) = sent.refused.values()
    assert isinstance(error, SendUncertain)
    with rig.working():
        wait_until(lambda: rig.on_queue() == 0, "the queue is empty")
    assert rig.handled() == dict.fromkeys(sent.refused, 1)
    assert not rig.rows()


def test_a_queue_that_is_gone_for_seconds(make_rig: MakeRig) -> None:
    rig = make_rig()
    before = rig.enqueue(MESSAGES)

    with rig.working(lambda _payload, _delivery: time.sleep(0.02)):
        wait_until(lambda: len(rig.runs) >= 3, "some are handled")
        with rig.proxy.outage("sqs"):
            during = rig.enqueue(4)
            wait_for(2.0)
        after = rig.enqueue(4)
        wait_until(lambda: rig.on_queue() == 0, "the queue is empty")

    assert len(during.refused) == 4
    assert all(isinstance(error, SendUncertain) for error in during.refused.values())
    # The same payloads were sent before, during and after.
    expected = Counter(before.acknowledged.keys()) + Counter(after.acknowledged.keys())
    assert rig.handled() == expected
    assert len(rig.claims()) == len(during.refused)
    assert max(run.receive_count for run in rig.runs) <= 2


def test_an_acknowledgement_that_is_lost_runs_nothing_twice(make_rig: MakeRig) -> None:
    rig = make_rig()
    sent = rig.enqueue(4)
    rig.proxy.inject(Fault.RESET, on="DeleteMessage", times=8)

    with rig.working():
        wait_until(lambda: rig.on_queue() == 0, "the queue is empty")

    assert rig.handled() == dict.fromkeys(sent.acknowledged, 1)


def test_a_failed_purge_and_a_lost_acknowledgement_run_it_again(make_rig: MakeRig) -> None:
    """The one case in which a handler that returned runs again: nothing says that it did."""
    rig = make_rig()
    sent = rig.enqueue(1)
    rig.proxy.inject(Fault.SERVER_ERROR, on="DeleteItem", times=2)
    rig.proxy.inject(Fault.RESET, on="DeleteMessage", times=2)

    with rig.working():
        wait_until(lambda: rig.on_queue() == 0, "the queue is empty")

    assert rig.handled() == dict.fromkeys(sent.acknowledged, 2)
    assert not rig.rows()


def test_a_long_handler_outlives_a_queue_that_cannot_extend_it(make_rig: MakeRig) -> None:
    rig = make_rig(visibility_seconds=4)
    sent = rig.enqueue(1)
    rig.proxy.inject(Fault.RESET, on="ChangeMessageVisibility", times=2)

    def work(_payload: str, _delivery: Delivery) -> None:
        wait_for(5.0)

    with rig.working(work):
        wait_until(lambda: rig.on_queue() == 0, "the queue is empty")

    assert rig.proxy.injected["ChangeMessageVisibility", Fault.RESET] == 2
    assert rig.handled() == dict.fromkeys(sent.acknowledged, 1)
    assert not rig.rows()


def test_a_queue_that_was_never_reached_has_no_claim(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the store is down too, the error is the store's, and nothing was sent."""
    monkeypatch.setattr(dynamodb, "MAX_RETRIES", 0)
    rig = make_rig()

    with rig.proxy.outage("sqs", "dynamodb"):
        sent = rig.enqueue(2)

    assert all(not isinstance(error, SendUncertain) for error in sent.refused.values())
    assert rig.on_queue() == 0
    assert not rig.rows()
