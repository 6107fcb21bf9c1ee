"""`Call`: made once, by a thread or by whoever waits for it."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, cast

import pytest

from letsgo_queue.calls import Call


class Overfull(ThreadPoolExecutor):
    """Has a thread, cannot start another, and says so once the call is in its queue."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        super().submit(function, *args, **named).result()
        raise RuntimeError("can't start new thread")


def test_a_call_that_the_pool_queued_and_refused_is_made_once() -> None:
    made: list[threading.Thread] = []

    def make() -> int:
        made.append(threading.current_thread())
        return len(made)

    with Overfull(1) as pool:
        call = Call(make, pool)
        assert not call.has_thread
        call.make()
        assert call.result() == 1

    (thread,) = made
    assert thread is not threading.current_thread()


def test_a_pool_that_is_closed_leaves_it_to_whoever_waits() -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()

    assert Call(threading.current_thread, pool).result() is threading.current_thread()
    call = Call(threading.current_thread, pool)
    call.make()
    assert call.future.result() is threading.current_thread()


def test_a_call_that_is_cancelled_is_not_made() -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    call = Call(lambda: pytest.fail("it was made"), pool)

    call.cancel()
    call.make()

    with pytest.raises(CancelledError):
        call.result()


def test_an_error_goes_with_the_call() -> None:
    """It does not keep itself by its own traceback, with whatever was in hand."""
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    errors: list[weakref.ref[BaseException]] = []

    class Broken(Exception):
        def __init__(self) -> None:
            errors.append(weakref.ref(self))

    def fail() -> None:
        raise Broken

    gc.disable()
    try:
        call = Call(fail, pool)
        call.make()
        assert isinstance(cast("Future[object]", call.future).exception(), Broken)
        del call
        assert errors[0]() is None
    finally:
        gc.enable()
