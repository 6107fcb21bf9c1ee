"""One call after another fails on its way: nothing is lost, nothing is wrong, nothing runs twice.

`make faults` has each of them fail in every way, once and with its retry. Here each call of a
stored message takes effect and is not answered, so that botocore makes it again; is refused; and
comes too late, if it writes. `make long` adds the calls of a small message that is handled once,
calls that fail with their retry, and calls to S3 that take effect and are not answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from claimcheck.core.cost import Place
from tests.faults.network import Case, HowOften, Life, live, lives_in
from tests.faults.rig import impatient
from tests.faults.stores import PLACES
from tests.support.calls import Call
from tests.support.faulty_server import Failure
from tests.support.servers import AwsServer

CASES: Sequence[tuple[Failure, HowOften]] = (
    (Failure.ANSWER_LOST, "one request"),
    (Failure.DENIED, "one request"),
)
CASES_WITH_RETRY: Sequence[tuple[Failure, HowOften]] = (
    (Failure.ANSWER_LOST, "the whole call"),
    (Failure.THROTTLED, "the whole call"),
)
LATE: tuple[Failure, HowOften] = (Failure.REQUEST_LATE, "one request")
"""Each takes as long as a client waits for an answer."""

WRITES = {
    Call.SEND,
    Call.WRITE_PART,
    Call.ACQUIRE,
    Call.EXTEND,
    Call.HAND_OVER,
    Call.COMPLETE,
    Call.RELEASE,
    Call.REMOVE_PART,
}

OF_CONTENTS = {
    Call.BEGIN_UPLOAD,
    Call.WRITE_PART,
    Call.END_UPLOAD,
    Call.READ_PART,
    Call.REMOVE_PART,
}
OF_RECORDS = {
    Call.LOOK_UP,
    Call.ACQUIRE,
    Call.EXTEND,
    Call.HAND_OVER,
    Call.COMPLETE,
    Call.RELEASE,
}
CALLS: Mapping[Place, set[Call]] = {
    "dynamodb": set(Call),
    "bucket": OF_CONTENTS,
    "s3": OF_RECORDS,
}


@pytest.fixture(autouse=True)
def clients_give_up_soon() -> Iterator[None]:
    with impatient():
        yield


of_each_call = pytest.mark.parametrize(
    ("place", "life", "call"),
    [
        pytest.param(
            *(place, life, call),
            id=f"{place}: {life.name}: {call}",
            marks=[] if place == "dynamodb" and not life.once else pytest.mark.long,
        )
        for place in PLACES
        for life in lives_in(place)
        for call in life.calls
        if call in CALLS[place] and (place == "dynamodb" or not life.once)
    ],
)


@of_each_call
def test_a_call_fails(place: Place, life: Life, call: Call, ministack: AwsServer) -> None:
    check(place, life, call, (*CASES, LATE) if call in WRITES else CASES, ministack)


@pytest.mark.long
@of_each_call
def test_a_call_fails_with_its_retry(
    place: Place, life: Life, call: Call, ministack: AwsServer
) -> None:
    check(place, life, call, CASES_WITH_RETRY, ministack)


def check(
    place: Place,
    life: Life,
    call: Call,
    failures: Sequence[tuple[Failure, HowOften]],
    server: AwsServer,
) -> None:
    """Have a call fail in each of these ways; in the first of them, if it goes to S3."""
    if place != "dynamodb":
        failures = failures[:1]
    cases = [Case(place, life, call, *each) for each in failures]
    with ThreadPoolExecutor(len(cases)) as pool:
        endings = list(pool.map(lambda case: live(case, server), cases))

    problems = {
        (case.failure, case.how_often): found
        for case, ending in zip(cases, endings, strict=True)
        if (found := ending.problems(life))
    }
    assert problems == {}
