"""An SQS that refuses, fails or hangs up: an enqueue succeeds, or says what it knows."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from letsgo_queue import Delivery, SendFailed, SendUncertain
from letsgo_queue.errors import EnqueueManyError, LetsGoError, QueueUnavailable
from letsgo_queue.worker import acknowledging, receipts
from tests.claimcheck.support import noise
from tests.faults.conftest import MakeRig
from tests.faults.rig import TYPE, digest_of
from tests.faults.stores import Rows
from tests.support.calls import Call
from tests.support.faulty_server import PASSING, PASSING_ON_SQS, REFUSALS, Failure
from tests.support.waiting import wait_for

MESSAGES = 24
RATES = (
    pytest.param(0.01, marks=pytest.mark.long),
    0.1,
    pytest.param(0.5, marks=pytest.mark.long),
)
UNKNOWN = (
    Failure.REQUEST_LOST,
    Failure.ANSWER_LOST,
    Failure.ANSWER_CUT,
    Failure.SERVER_ERROR,
    Failure.BAD_GATEWAY,
)
"""Failures after which nobody can tell what the queue did."""


@pytest.mark.parametrize("rate", RATES)
def test_sending_at_any_rate_of_faults(make_rig: MakeRig, rate: float) -> None:
    rig = make_rig(concurrency=1)  # of two copies one at a time
    rig.proxy.inject(*PASSING_ON_SQS, on="SendMessage", rate=rate)

    sent = rig.enqueue(MESSAGES)
    rig.work_off()

    assert all(isinstance(e, SendFailed | SendUncertain) for e in sent.refused.values())
    handled = rig.succeeded.keys()
    uncertain = {d for d, error in sent.refused.items() if isinstance(error, SendUncertain)}
    assert sent.acknowledged.keys() <= handled <= sent.acknowledged.keys() | uncertain
    # A retry that put a message there a second time made a duplicate, which is not run.
    assert set(rig.succeeded.values()) == {1}
    # A message that is not there keeps its claim, as it might be; a refused one has none.
    assert rig.rows() == Rows(parts=len(uncertain - handled), receipts=len(handled))


@pytest.mark.parametrize("rate", RATES)
def test_working_at_any_rate_of_faults(make_rig: MakeRig, rate: float) -> None:
    rig = make_rig()
    sent = rig.enqueue(MESSAGES)
    on = ("ReceiveMessage", Call.ACKNOWLEDGE, "ChangeMessageVisibility")
    rig.proxy.inject(*PASSING_ON_SQS, on=on, rate=rate)

    rig.work()
    rig.proxy.clear()
    rig.work_off()

    assert rig.succeeded == dict.fromkeys(sent.acknowledged, 1)
    assert rig.rows() == Rows(receipts=MESSAGES)


def test_everything_fails_at_once(make_rig: MakeRig) -> None:
    """A receipt and an acknowledgement that both fail allow a second run; nothing else does."""
    rig = make_rig()
    rig.proxy.inject(*PASSING, on="dynamodb", rate=0.5)
    rig.proxy.inject(*PASSING_ON_SQS, on="sqs", rate=0.5)

    sent = rig.enqueue(MESSAGES)
    rig.work()
    rig.proxy.clear()
    rig.work_off()

    assert all(isinstance(error, LetsGoError) for error in sent.refused.values())
    uncertain = {d for d, error in sent.refused.items() if isinstance(error, SendUncertain)}
    handled = rig.succeeded.keys()
    assert sent.acknowledged.keys() <= handled <= sent.acknowledged.keys() | uncertain
    assert rig.rows().for_good == 0


@pytest.mark.parametrize("failure", REFUSALS)
def test_a_message_that_was_refused_leaves_nothing(make_rig: MakeRig, failure: Failure) -> None:
    rig = make_rig()
    rig.proxy.inject(failure, on="SendMessage")

    sent = rig.enqueue(1)

    (error,) = sent.refused.values()
    assert isinstance(error, SendFailed)
    assert rig.on_queue() == 0
    assert rig.rows() == Rows()


@pytest.mark.parametrize("failure", UNKNOWN)
def test_a_message_that_may_be_there_keeps_its_claim(make_rig: MakeRig, failure: Failure) -> None:
    rig = make_rig(concurrency=1)  # of two copies one at a time
    rig.proxy.inject(failure, on="SendMessage")

    sent = rig.enqueue(1)

    (error,) = sent.refused.values()
    assert isinstance(error, SendUncertain)
    assert rig.rows() == Rows(parts=1)
    # Where no answer comes, botocore tries twice; where half of one comes, some versions do.
    copies = {Failure.ANSWER_LOST: {2}, Failure.ANSWER_CUT: {1, 2}}.get(failure, {0})
    assert rig.on_queue() in copies
    rig.work_off()
    took_effect = 0 not in copies
    assert rig.succeeded == (dict.fromkeys(sent.refused, 1) if took_effect else {})
    assert rig.rows() == (Rows(receipts=1) if took_effect else Rows(parts=1))


def test_a_refusal_after_a_lost_answer_is_uncertain(make_rig: MakeRig) -> None:
    """The first attempt took effect; that the second was refused does not undo it."""
    rig = make_rig(concurrency=1)
    rig.proxy.inject(Failure.ANSWER_LOST, on="SendMessage", times=1)
    rig.proxy.inject(Failure.THROTTLED, on="SendMessage")

    sent = rig.enqueue(1)
    rig.work_off()

    (error,) = sent.refused.values()
    assert isinstance(error, SendUncertain)
    assert rig.succeeded == dict.fromkeys(sent.refused, 1)
    assert rig.rows() == Rows(receipts=1)


@pytest.mark.parametrize("failure", [*UNKNOWN, *REFUSALS])
def test_a_batch_whose_sending_fails(make_rig: MakeRig, failure: Failure) -> None:
    """What may be on the queue keeps its claim, and is handled once where it is."""
    rig = make_rig(concurrency=1)
    fault = rig.proxy.inject(failure, on="SendMessageBatch")
    payloads = [noise(5000, seed) for seed in range(4)]

    with pytest.raises(EnqueueManyError) as raised:
        rig.client.enqueue_many([{"type": TYPE, "payload": payload} for payload in payloads])

    rig.proxy.clear()
    rig.work_off()
    assert fault.happened > 0
    uncertain = failure in UNKNOWN
    kinds = {type(error) for error in raised.value.errors.values()}
    assert kinds == {SendUncertain if uncertain else SendFailed}
    took_effect = failure in {Failure.ANSWER_LOST, Failure.ANSWER_CUT}
    assert rig.succeeded == (dict.fromkeys(map(digest_of, payloads), 1) if took_effect else {})
    left = Rows(receipts=4) if took_effect else Rows(parts=4 * uncertain)
    assert rig.rows() == left


@pytest.mark.parametrize(
    "failure",
    [
        Failure.ANSWER_LOST,
        Failure.DENIED,
        *(
            pytest.param(each, marks=pytest.mark.long)
            for each in (*UNKNOWN, Failure.THROTTLED)
            if each is not Failure.ANSWER_LOST
        ),
    ],
)
def test_a_batch_whose_acknowledgement_fails_runs_nothing_twice(
    make_rig: MakeRig, failure: Failure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is acknowledged alone; meanwhile the others gather for one request."""
    monkeypatch.setattr(acknowledging, "PATIENCE_SECONDS", 0)
    rig = make_rig()
    sent = rig.enqueue(4)
    go_on = threading.Event()
    rig.proxy.hold("DeleteMessage", go_on, times=1)
    fault = rig.proxy.inject(failure, on="DeleteMessageBatch")

    with rig.working():
        wait_for(lambda: rig.rows().receipts == 4, "all receipts")
        go_on.set()
        wait_for(lambda: fault.happened, "the batch")
    rig.proxy.clear()
    rig.work_off()

    assert rig.succeeded == dict.fromkeys(sent.acknowledged, 1)
    assert len(rig.runs) == 4


def test_a_queue_that_is_gone_for_a_while(make_rig: MakeRig) -> None:
    rig = make_rig()
    before = rig.enqueue(MESSAGES)
    outage = threading.Event()

    def handle(_payload: str, _delivery: Delivery) -> None:
        if len(rig.runs) >= 3:
            outage.wait()

    rig.handle = handle

    with rig.working():
        wait_for(lambda: len(rig.runs) >= 3, "some are handled")
        with rig.proxy.outage("sqs"):
            outage.set()
            during = rig.enqueue(4)
            wait_for(lambda: rig.proxy.failed.total() > 8, "other calls to fail")
    after = rig.enqueue(4)
    rig.work_off()

    assert len(during.refused) == 4
    assert all(isinstance(error, SendUncertain) for error in during.refused.values())
    # The same payloads were sent before, during and after.
    expected = Counter(before.acknowledged.keys()) + Counter(after.acknowledged.keys())
    assert rig.succeeded == expected
    assert rig.rows() == Rows(parts=4, receipts=expected.total())


def test_an_answer_that_was_cut_off_is_not_what_a_queue_says_of_itself(make_rig: MakeRig) -> None:
    """Else a worker would know of no dead-letter queue for as long as it lives."""
    rig = make_rig()
    rig.proxy.inject(Failure.ANSWER_CUT, on=Call.ASK_QUEUE)

    with pytest.raises(QueueUnavailable, match="attributes could not be read"):
        rig.transport.max_message_bytes()

    rig.proxy.clear()
    assert rig.transport.max_message_bytes() is not None


def test_a_failed_receipt_and_a_lost_acknowledgement_run_it_again(
    make_rig: MakeRig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one case in which a handler that returned runs again: nothing says that it did."""
    monkeypatch.setattr(receipts, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(acknowledging, "PATIENCE_SECONDS", 0)
    rig = make_rig()
    sent = rig.enqueue(1)
    rig.proxy.inject(Failure.SERVER_ERROR, on=Call.COMPLETE)
    rig.proxy.inject(Failure.REQUEST_LOST, on=Call.ACKNOWLEDGE)

    with rig.working():
        wait_for(lambda: "expect it a second time" in caplog.text, "the worker to give it up")
    rig.proxy.clear()
    rig.work_off()

    assert rig.succeeded == dict.fromkeys(sent.acknowledged, 2)
    assert rig.rows() == Rows(receipts=1)


def test_a_queue_that_was_never_reached_has_no_claim(make_rig: MakeRig) -> None:
    """Where the store is down too, the error is the store's, and nothing was sent."""
    rig = make_rig(store_retries=0)

    with rig.proxy.outage("sqs", "dynamodb"):
        sent = rig.enqueue(2)

    assert len(sent.refused) == 2
    assert all(not isinstance(error, SendUncertain) for error in sent.refused.values())
    assert rig.on_queue() == 0
    assert rig.rows() == Rows()
