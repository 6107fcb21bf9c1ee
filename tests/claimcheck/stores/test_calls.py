"""`Calls`: calls side by side on few threads."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from functools import partial

import pytest

from claimcheck import ClaimStoreError, ClaimStoreUnavailable
from claimcheck.stores.calls import Calls
from letsgo_queue.calls import Call


class Part:
    """Something large that a call has in hand."""


@pytest.fixture
def calls() -> Iterator[Calls]:
    with closing(Calls(1, name="one-thread")) as calls:
        yield calls


@pytest.fixture
def busy(calls: Calls) -> Iterator[threading.Event]:
    """Set it to end the call that keeps the only thread."""
    begun, end = threading.Event(), threading.Event()

    def keep() -> None:
        begun.set()
        end.wait()

    calls.start(keep)
    assert begun.wait(20)
    yield end
    end.set()


def test_a_thread_makes_a_call(calls: Calls) -> None:
    made: Future[str] = Future()

    call = calls.start(lambda: made.set_result(threading.current_thread().name))

    assert made.result(20).startswith("one-thread")
    call.result()


def test_an_error_reaches_who_asks(calls: Calls) -> None:
    made = threading.Event()

    def fail() -> None:
        made.set()
        raise ClaimStoreUnavailable("gone")

    call = calls.start(fail)
    assert made.wait(20)

    with pytest.raises(ClaimStoreUnavailable, match="gone"):
        call.result()


@pytest.mark.usefixtures("busy")
def test_who_waits_for_a_call_that_nobody_has_begun_makes_it(calls: Calls) -> None:
    assert calls.start(threading.current_thread).result() is threading.current_thread()


def test_calls_start_calls(calls: Calls) -> None:
    """With one thread, which has no time for the second while it waits for it."""

    def nested() -> int:
        return calls.start(lambda: 1).result() + 1

    assert calls.start(nested).result() == 2


def test_what_is_cancelled_is_not_made(calls: Calls, busy: threading.Event) -> None:
    made: list[int] = []
    call = calls.start(partial(made.append, 1))

    call.cancel()
    busy.set()
    calls.close()

    assert not made


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("end", [Call.result, Call.cancel])
def test_what_is_over_keeps_nothing_in_memory(calls: Calls, end: object) -> None:
    """Though the pool keeps its calls until a thread has time for them."""
    part = Part()
    kept = weakref.ref(part)
    call = calls.start(partial(id, part))
    del part

    assert callable(end)
    end(call)

    assert kept() is None


def test_a_pool_that_is_closed_leaves_calls_to_their_callers(calls: Calls) -> None:
    calls.close()

    assert calls.start(threading.current_thread).result() is threading.current_thread()


def test_closing_ends_the_threads() -> None:
    calls = Calls(3, name="closing")
    calls.make_all([partial(time.sleep, 0.01)] * 10)

    calls.close()

    assert not [each for each in threading.enumerate() if each.name.startswith("closing")]


def test_all_are_made_though_some_fail(calls: Calls) -> None:
    made: list[int] = []

    def make(number: int) -> None:
        made.append(number)
        if number % 3 == 0:
            raise ClaimStoreError(f"number {number}")

    with pytest.raises(ClaimStoreError, match=r"^number \d+$") as error:
        calls.make_all([partial(make, number) for number in range(10)])

    assert sorted(made) == list(range(10))
    assert error.value.__context__ is None, "one error tells of many"


def test_none_is_no_work(calls: Calls) -> None:
    calls.make_all([])


def test_one_takes_no_thread(calls: Calls) -> None:
    made: list[threading.Thread] = []

    calls.make_all([lambda: made.append(threading.current_thread())])

    assert made == [threading.current_thread()]


def test_an_interruption_is_not_held_up(calls: Calls, busy: threading.Event) -> None:
    """Neither by calls that nobody has begun, nor by what becomes of them."""
    made: list[int] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calls.make_all([*[partial(made.append, number) for number in range(100)], interrupt])

    is_free = threading.Event()
    calls.start(is_free.set)
    busy.set()
    assert is_free.wait(20), "the thread never came to its next call"
    assert not made
