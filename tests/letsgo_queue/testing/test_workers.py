"""The fixture `letsgo_worker`: handlers run when the test says so, on its own thread."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest

from letsgo_queue import (
    Delivery,
    HandlerMissing,
    Reject,
    Retry,
    RetryPolicy,
    SettingsInvalid,
    Worker,
    enqueue,
)
from letsgo_queue.testing import NotDrained, Outbox, Waiting, WorkerFixture, WorkerInTest

Fields = dict[str, Any]

request_id: ContextVar[str] = ContextVar("request_id", default="none")


def test_handlers_run_on_this_thread_and_what_they_enqueue_too(
    letsgo_worker: WorkerFixture, letsgo_outbox: Outbox
) -> None:
    worker = Worker()
    ran: list[tuple[str, bool, str]] = []

    def note(name: str) -> None:
        ran.append((name, threading.current_thread() is threading.main_thread(), request_id.get()))

    @worker.handler("first")
    def first(message: Fields) -> None:
        note("first")
        enqueue({"type": "second"})

    @worker.handler("second")
    async def second(message: Fields) -> None:
        await asyncio.sleep(0)
        note("second")

    token = request_id.set("r1")
    enqueue({"type": "first"})
    drained = letsgo_worker(worker).drain()
    request_id.reset(token)

    assert ran == [("first", True, "r1"), ("second", True, "r1")]
    assert [event.type for event in drained.handled] == ["first", "second"]
    assert (drained.retried, drained.rejected, drained.skipped) == ((), (), ())
    assert [sent.type for sent in letsgo_outbox] == ["first", "second"]


def test_async_handlers_share_a_loop_for_the_whole_test(letsgo_worker: WorkerFixture) -> None:
    worker, loops = Worker(), set()

    @worker.default
    async def handle(message: Fields) -> None:
        loops.add(asyncio.get_running_loop())

    work = letsgo_worker(worker)
    for _ in range(2):
        enqueue({"type": "a"})
        work.drain()

    assert len(loops) == 1


def test_what_a_handler_raises_is_raised(letsgo_worker: WorkerFixture) -> None:
    worker = Worker()
    work = letsgo_worker(worker)

    @worker.handler("bad")
    def bad(message: Fields) -> None:
        raise ZeroDivisionError("told")

    @worker.handler("good")
    def good(message: Fields) -> None: ...

    enqueue({"type": "bad"})
    enqueue({"type": "good"})

    with pytest.raises(ZeroDivisionError, match="told") as raised:
        work.drain()
    (note,) = raised.value.__notes__
    assert note.endswith("of type 'bad', in delivery 1.")
    assert raised.traceback[-1].name == "bad"
    # Those behind it are left.
    assert [event.type for event in work.drain().handled] == ["good"]
    (waiting,) = work.waiting
    assert (waiting.type, waiting.receive_count, waiting.seconds) == ("bad", 1, 30)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("raises", [True, False])
def test_a_failed_assertion_is_raised_always(
    letsgo_worker: WorkerFixture, *, raises: bool, is_async: bool
) -> None:
    worker = Worker()

    if is_async:

        @worker.default
        async def handle_async(message: Fields) -> None:
            assert message["payload"] == 1

    else:

        @worker.default
        def handle(message: Fields) -> None:
            assert message["payload"] == 1

    enqueue({"type": "a", "payload": 2})

    with pytest.raises(AssertionError):
        letsgo_worker(worker).drain(raises=raises)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_what_is_no_exception_is_raised_always(
    letsgo_worker: WorkerFixture, error: type[BaseException]
) -> None:
    worker = Worker()

    @worker.handler("sync")
    def handle(message: Fields) -> None:
        raise error

    @worker.handler("async")
    async def handle_async(message: Fields) -> None:
        raise error

    for name in ("sync", "async"):
        enqueue({"type": name})
        with pytest.raises(error):
            letsgo_worker(worker).drain(raises=False)


def test_retries_wait_for_the_clock(letsgo_worker: WorkerFixture) -> None:
    worker = Worker(retry_policy=RetryPolicy(base=10, jitter=0, max_attempts=3))
    attempts: list[int] = []
    work = letsgo_worker(worker)

    @worker.default
    def handle(message: Fields, delivery: Delivery) -> None:
        attempts.append(delivery.receive_count)
        raise ConnectionError

    sent = enqueue({"type": "a"})

    (retried,) = work.drain(raises=False).retried
    assert (retried.retry_delay, type(retried.error)) == (10, ConnectionError)
    assert work.waiting == [
        Waiting(
            type="a",
            message_id=sent.message_id,
            queue="memory://",
            receive_count=1,
            seconds=10,
        )
    ]
    work.advance(9)
    assert work.drain().handled == ()
    work.advance(1)
    assert len(work.drain(raises=False).retried) == 1
    work.advance(timedelta(seconds=20))
    (rejected,) = work.drain(raises=False).rejected
    assert "max_attempts=3" in rejected.reason
    assert attempts == [1, 2, 3]
    assert work.waiting == []


def test_retry_and_reject_are_raised_too_and_do_what_they_say(letsgo_worker: WorkerFixture) -> None:
    worker = Worker()
    work = letsgo_worker(worker)

    @worker.handler("busy")
    def busy(message: Fields) -> None:
        raise Retry(delay=60)

    @worker.handler("bad")
    def bad(message: Fields) -> None:
        raise Reject("no such customer")

    enqueue({"type": "busy"})
    enqueue({"type": "bad"})

    with pytest.raises(Retry):
        work.drain()
    with pytest.raises(Reject, match="no such customer"):
        work.drain()
    assert [(each.type, each.seconds) for each in work.waiting] == [("busy", 60)]


def test_a_delay_of_any_length_ends_when_the_clock_says(letsgo_worker: WorkerFixture) -> None:
    worker = Worker()
    work = letsgo_worker(worker)

    @worker.default
    def handle(message: Fields) -> None: ...

    enqueue({"type": "long"}, delay_seconds=3 * 3600)
    enqueue({"type": "short"}, delay_seconds=5)

    assert [(each.type, each.seconds) for each in work.waiting] == [("short", 5), ("long", 10800)]
    work.advance(3600)  # it is sent on, with what is left
    assert [each.type for each in work.drain().handled] == ["short"]
    assert [(each.type, each.seconds) for each in work.waiting] == [("long", 7200)]
    work.advance(7200)
    assert [each.type for each in work.drain().handled] == ["long"]
    # Time that has passed counts for what is sent then.
    enqueue({"type": "later"}, delay_seconds=3600)
    assert [each.seconds for each in work.waiting] == [3600]


def test_the_redrive_policy_of_a_queue_can_be_given(letsgo_worker: WorkerFixture) -> None:
    worker = Worker()
    work = letsgo_worker(worker, max_receives=2)

    @worker.default
    def handle(message: Fields) -> None:
        raise OSError

    enqueue({"type": "a"})

    assert len(work.drain(raises=False).retried) == 1
    work.advance(30)
    assert len(work.drain(raises=False).rejected) == 1


def test_the_redrive_policy_of_a_sqlite_queue_is_in_its_url(letsgo_worker: WorkerFixture) -> None:
    worker = Worker("sqlite:////no/such.db?max_receive_count=1")

    @worker.default
    def handle(message: Fields) -> None:
        raise OSError

    enqueue({"type": "a"}, queue="sqlite:////no/such.db?max_receive_count=1")

    assert len(letsgo_worker(worker).drain(raises=False).rejected) == 1


def test_a_circle_of_handlers_ends_in_an_error(letsgo_worker: WorkerFixture) -> None:
    worker = Worker()

    @worker.handler("ping")
    def ping(message: Fields) -> None:
        enqueue({"type": "pong"})

    @worker.handler("pong")
    def pong(message: Fields) -> None:
        enqueue({"type": "ping"})

    enqueue({"type": "ping"})

    with pytest.raises(NotDrained, match=r"20 messages .* more are due: ping \(10\), pong \(10\)"):
        letsgo_worker(worker).drain(limit=20)


def test_workers_that_send_to_each_other_drain_together(letsgo_worker: WorkerFixture) -> None:
    orders, mail = Worker("memory://orders"), Worker("memory://mail")
    told: list[str] = []

    @orders.handler("order:new")
    def on_order(message: Fields) -> None:
        enqueue({"type": "mail:send"}, queue="memory://mail")

    @mail.handler("mail:send")
    def on_mail(message: Fields) -> None:
        told.append("mail")
        if len(told) < 3:
            enqueue({"type": "order:new"}, queue="memory://orders")

    enqueue({"type": "order:new"}, queue="memory://orders")

    assert len(letsgo_worker(orders, mail).drain().handled) == 6
    assert len(told) == 3


def test_a_message_without_a_handler_is_an_error(letsgo_worker: WorkerFixture) -> None:
    enqueue({"type": "a"})

    with pytest.raises(HandlerMissing, match="'a'"):
        letsgo_worker(Worker()).drain()


def test_what_does_not_fit_its_handler_is_an_error(letsgo_worker: WorkerFixture) -> None:
    worker = Worker()

    @worker.handler("a")
    def handle(message: int) -> None: ...

    enqueue({"type": "a"})

    with pytest.raises(Exception, match="does not fit the handler"):
        letsgo_worker(worker).drain()


def test_messages_of_a_fifo_group_stay_in_order(letsgo_worker: WorkerFixture) -> None:
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders.fifo"
    worker = Worker(url)
    work = letsgo_worker(worker)
    handled: list[int] = []

    @worker.default
    def handle(message: Fields, delivery: Delivery) -> None:
        if message["payload"] == 1 and delivery.receive_count == 1:
            raise Retry(delay=5)
        handled.append(message["payload"])

    for number in (1, 2, 2):  # the queue deduplicates by id, and each send has one
        enqueue({"type": "a", "payload": number}, queue=url, group_id="g")

    assert len(work.drain(raises=False).retried) == 1
    assert handled == []
    assert [each.seconds for each in work.waiting] == [5, math.inf, math.inf]
    work.advance(5)
    work.drain()
    assert handled == [1, 2, 2]


def test_what_is_no_worker_is_refused(letsgo_worker: WorkerFixture) -> None:
    with pytest.raises(SettingsInvalid, match="give one worker or more"):
        letsgo_worker()
    with pytest.raises(SettingsInvalid, match="give one worker or more"):
        letsgo_worker("app:worker")  # type: ignore[arg-type]  # no checker


def test_time_does_not_go_back(letsgo_worker: WorkerFixture) -> None:
    work = letsgo_worker(Worker())
    with pytest.raises(SettingsInvalid, match="advance=-1: give 0 seconds or more"):
        work.advance(-1)


class TestAsync:
    """In an async test; each runs its own loop, as the plugins for async tests do."""

    def test_handlers_run_on_the_loop_of_the_test(self, letsgo_worker: WorkerFixture) -> None:
        worker = Worker()
        loops: list[object] = []

        @worker.handler("first")
        async def first(message: Fields) -> None:
            await asyncio.sleep(0)
            loops.append(asyncio.get_running_loop())
            enqueue({"type": "second"})

        @worker.handler("second")
        def second(message: Fields) -> None:
            # As in production, there is no loop on the thread of a sync handler.
            loops.append(asyncio.run(asyncio.sleep(0, "ran")))

        async def test() -> None:
            enqueue({"type": "first"})
            drained = await letsgo_worker(worker).adrain()
            assert [each.type for each in drained.handled] == ["first", "second"]
            assert loops == [asyncio.get_running_loop(), "ran"]
            await asyncio.sleep(0)  # the test's own task goes on

        asyncio.run(test())

    def test_what_a_handler_raises_is_raised(self, letsgo_worker: WorkerFixture) -> None:
        worker = Worker()

        @worker.default
        async def handle(message: Fields) -> None:
            await asyncio.sleep(0)
            raise ZeroDivisionError

        async def test(work: WorkerInTest) -> None:
            enqueue({"type": "a"})
            with pytest.raises(ZeroDivisionError):
                await work.adrain()
            work.advance(30)
            assert len((await work.adrain(raises=False)).retried) == 1

        asyncio.run(test(letsgo_worker(worker)))

    def test_the_test_may_stop_waiting(self, letsgo_worker: WorkerFixture) -> None:
        worker = Worker()

        @worker.default
        async def handle(message: Fields) -> None:
            await asyncio.Event().wait()

        async def test() -> None:
            enqueue({"type": "a"})
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await letsgo_worker(worker).adrain(raises=False)

        asyncio.run(test())

    def test_drain_says_that_it_is_the_wrong_one(self, letsgo_worker: WorkerFixture) -> None:
        worker = Worker()

        @worker.default
        async def handle(message: Fields) -> None: ...

        async def test() -> None:
            enqueue({"type": "a"})
            with pytest.raises(NotDrained, match=r"`await worker.adrain\(\)`"):
                letsgo_worker(worker).drain()
            assert len((await letsgo_worker(worker).adrain()).handled) == 1

        asyncio.run(test())


def test_payloads_are_not_logged(
    letsgo_worker: WorkerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker()

    @worker.default
    def handle(message: Fields) -> None:
        raise OSError

    enqueue({"type": "a", "payload": "secret"})
    with caplog.at_level(logging.DEBUG):
        drained = letsgo_worker(worker).drain(raises=False)

    assert "secret" not in caplog.text + repr(drained)
