"""One call after another fails on its way: nothing is lost, nothing is wrong, nothing runs twice.

`make faults` has each of them fail in every way, once and with its retry. Here is what reaches our
code of each kind: an answer that never comes, one that comes too late, and two refusals.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.network import LIVES, Ending, HowOften, Life, live
from tests.faults.rig import impatient
from tests.support.calls import Call
from tests.support.faulty_server import Failure
from tests.support.servers import AwsServer

CASES: tuple[tuple[Failure, HowOften], ...] = (
    (Failure.ANSWER_LOST, "one request"),
    (Failure.ANSWER_LOST, "the whole call"),
    (Failure.REQUEST_LATE, "one request"),
    (Failure.THROTTLED, "the whole call"),
    (Failure.DENIED, "one request"),
)


@pytest.fixture(autouse=True)
def clients_give_up_soon() -> Iterator[None]:
    with impatient():
        yield


@pytest.mark.parametrize(
    ("life", "call"),
    [(life, call) for life in LIVES for call in life.calls],
    ids=[f"{life.name}: {call}" for life in LIVES for call in life.calls],
)
def test_a_call_fails(life: Life, call: Call, ministack: AwsServer) -> None:
    def end(case: tuple[Failure, HowOften]) -> Ending:
        failure, how_often = case
        return live(life, call, failure, how_often, ministack)

    with ThreadPoolExecutor(len(CASES)) as pool:
        endings = list(pool.map(end, CASES))

    problems = {
        case: found
        for case, ending in zip(CASES, endings, strict=True)
        if (found := ending.problems(life))
    }
    assert problems == {}
