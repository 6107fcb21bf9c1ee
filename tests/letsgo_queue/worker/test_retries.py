"""Retries: `Retry`, `RetryPolicy` and `Reject`, in `run()` on every queue."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    Delivery,
    Event,
    Message,
    MessageFailed,
    MessageHandled,
    MessageInvalid,
    MessageRejected,
    Middleware,
    QueueUnavailable,
    Reject,
    Retry,
    RetryPolicy,
    SettingsInvalid,
    Worker,
)
from letsgo_queue.admin.letters import dead_letter
from letsgo_queue.admin.sqlite import SqliteAdmin
from letsgo_queue.middleware import Steps
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.transports.sqlite import SqliteTransport
from letsgo_queue.worker.incoming import IncomingMessage
from letsgo_queue.worker.retries import doubled
from tests.letsgo_queue.support import (
    SECRET,
    PassingTime,
    bodies,
    events_of,
    order,
    printed,
    receive_one,
    running,
)
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

EXACT = RetryPolicy(base=10, cap=60, jitter=0)
AT_ONCE = RetryPolicy(base=0)


class Failing:
    """A worker whose handler fails, and which deliveries it saw at what time."""

    def __init__(
        self,
        transport: MemoryTransport | SqliteTransport,
        clock: Clock,
        error: Callable[[], Exception],
        retry_policy: RetryPolicy | None = None,
    ) -> None:
        self.clock = clock
        self.error = error
        self.started = clock()
        self.deliveries: list[tuple[float, int]] = []
        self.worker = Worker(transport, clock=clock, retry_policy=retry_policy)
        self.worker.handler("order:new")(self._handle)
        self.events = events_of(self.worker)

    def _handle(self, message: dict[str, object], delivery: Delivery) -> None:
        self.deliveries.append((self.clock() - self.started, delivery.receive_count))
        raise self.error()

    def run_for(self, seconds: int) -> None:
        for _ in range(seconds // 5):
            self.worker.run(burst=True)
            self.clock.advance(5)


@pytest.fixture(params=["memory", "sqlite"])
def transport(
    request: pytest.FixtureRequest, clock: Clock, tmp_path: Path
) -> Iterator[MemoryTransport | SqliteTransport]:
    queue: MemoryTransport | SqliteTransport = MemoryTransport(clock=clock)
    if request.param == "sqlite":
        queue = SqliteTransport(f"sqlite:///{tmp_path}/queue.db?max_receive_count=50", clock=clock)
    yield queue
    queue.close()


@pytest.mark.parametrize("delay", [14.2, timedelta(seconds=14.2)], ids=["seconds", "timedelta"])
def test_retry_says_when(
    transport: MemoryTransport, clock: Clock, delay: float | timedelta
) -> None:
    Client(transport).enqueue(order())
    failing = Failing(transport, clock, lambda: Retry(delay=delay))
    failing.run_for(35)
    assert failing.deliveries == [(0, 1), (15, 2), (30, 3)]
    assert {e.retry_delay for e in failing.events if isinstance(e, MessageFailed)} == {15}


def test_a_delay_is_cut_to_what_is_left_of_the_12_hours_of_sqs(
    queue: MemoryTransport, time_passes: PassingTime
) -> None:
    worker = Worker(queue)

    @worker.default
    def handle(message: dict[str, object]) -> None:
        time_passes(40_000)
        raise Retry(delay=43_200)

    Client(queue).enqueue(order())
    events = events_of(worker)
    worker.run(burst=True)

    (delay,) = [event.retry_delay for event in events if isinstance(event, MessageFailed)]
    assert 3_000 < (delay or 0) < 3_200


def test_without_a_policy_the_visibility_timeout_says_when(
    transport: MemoryTransport, clock: Clock
) -> None:
    Client(transport).enqueue(order())
    failing = Failing(transport, clock, ValueError)
    failing.run_for(35)
    assert failing.deliveries == [(0, 1), (30, 2)]
    assert {e.retry_delay for e in failing.events if isinstance(e, MessageFailed)} == {None}


def test_a_policy_doubles_the_delay_up_to_its_cap(transport: MemoryTransport, clock: Clock) -> None:
    Client(transport).enqueue(order())
    failing = Failing(transport, clock, ValueError, retry_policy=EXACT)
    failing.run_for(200)
    assert [at for at, _ in failing.deliveries] == [0, 10, 30, 70, 130, 190]


def test_a_retry_without_delay_goes_by_the_policy(transport: MemoryTransport, clock: Clock) -> None:
    Client(transport).enqueue(order())
    failing = Failing(transport, clock, lambda: Retry("not yet"), retry_policy=EXACT)
    failing.run_for(35)
    assert [at for at, _ in failing.deliveries] == [0, 10, 30]


def test_a_handler_may_have_a_policy_of_its_own(queue: MemoryTransport, clock: Clock) -> None:
    Client(queue).enqueue({"type": "patient"})
    Client(queue).enqueue({"type": "hasty"})
    worker = Worker(queue, clock=clock, retry_policy=RetryPolicy(base=600, jitter=0))

    @worker.handler("hasty", retry_policy=RetryPolicy(base=1, jitter=0))
    @worker.handler("patient")
    def fail(message: dict[str, object]) -> None:
        raise ValueError

    events = events_of(worker)
    worker.run(burst=True)
    assert {e.type: e.retry_delay for e in events if isinstance(e, MessageFailed)} == {
        "patient": 600,
        "hasty": 1,
    }


def test_jitter_takes_its_share_of_the_delay() -> None:
    policy = RetryPolicy(base=100, cap=1000, jitter=0.5)
    assert policy.delay(1, chance=lambda: 0.0) == 100
    assert policy.delay(1, chance=lambda: 0.999999) == 51
    assert policy.delay(3, chance=lambda: 0.5) == 300
    delays = {policy.delay(4) for _ in range(50)}
    assert len(delays) > 10
    assert all(400 <= delay <= 800 for delay in delays)
    assert policy.delay(10_000, chance=lambda: 0.0) == 1000


def test_a_pause_doubles_up_to_the_longest() -> None:
    assert [doubled(0.5, times, 3.0) for times in range(5)] == [0.5, 1, 2, 3, 3]
    assert doubled(0.5, 5000, 30.0) == 30
    assert doubled(0.0, 5000, 30.0) == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"base": -1}, "base=-1, cap=900"),
        ({"base": 100, "cap": 50}, "base=100, cap=50"),
        ({"cap": 43_201}, "0 <= base <= cap <= 43,200 seconds"),
        ({"cap": math.nan}, "cap=nan"),
        ({"base": "5"}, "base is of type str: give a number of seconds, or a timedelta"),
        ({"jitter": 1.1}, "jitter=1.1: a retry policy takes a share"),
        ({"max_attempts": 0}, "max_attempts=0: a retry policy takes 1 or more"),
    ],
)
def test_a_policy_refuses_what_cannot_be_meant(options: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsInvalid, match=text):
        RetryPolicy(**options)


def test_a_policy_takes_timedeltas() -> None:
    policy = RetryPolicy(base=timedelta(seconds=90), cap=timedelta(minutes=3), jitter=0)

    assert [policy.delay(attempt) for attempt in (1, 2, 3)] == [90, 180, 180]


@pytest.mark.parametrize("delay", [-1, 43_201, 10**400, math.nan, math.inf, timedelta(days=1)])
def test_a_delay_that_sqs_refuses_is_refused_where_it_is_raised(delay: float | timedelta) -> None:
    with pytest.raises(MessageInvalid, match="SQS takes 0 to 43,200 seconds"):
        Retry(delay=delay)


def test_a_retry_with_something_else_is_refused_and_does_not_show_it() -> None:
    with pytest.raises(MessageInvalid, match="its delay is of type str: give a number") as refused:
        Retry(delay=SECRET)  # type: ignore[arg-type]  # wrong on purpose
    assert SECRET not in printed(refused.value)
    with pytest.raises(MessageInvalid, match="give text; a delay is given as Retry") as refused:
        Retry([SECRET])  # type: ignore[arg-type]  # wrong on purpose
    assert SECRET not in printed(refused.value)


def dead_letters(transport: MemoryTransport | SqliteTransport) -> list[tuple[str, str | None]]:
    """Body and reason of each dead letter."""
    if isinstance(transport, MemoryTransport):
        letters = [dead_letter(message) for message in transport.dead_letters]
    else:
        admin = SqliteAdmin(transport.url)
        letters = list(admin.dead_letters())
        admin.close()
    return [(letter.body, letter.reason) for letter in letters]


def test_reject_moves_a_message_to_the_dead_letters_at_once(
    transport: MemoryTransport, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    Client(transport).enqueue(order(secret=SECRET))
    failing = Failing(transport, clock, lambda: Reject("no such customer"))
    failing.run_for(100)

    assert failing.deliveries == [(0, 1)]
    (event,) = failing.events
    assert isinstance(event, MessageRejected)
    assert event.reason == "no such customer"
    ((body, reason),) = dead_letters(transport)
    assert json.loads(body) == order(secret=SECRET)
    assert reason == "no such customer"
    assert SECRET not in caplog.text
    assert "no such customer" in caplog.text
    assert "Traceback" not in caplog.text


def test_the_last_attempt_moves_a_message_to_the_dead_letters(
    transport: MemoryTransport, clock: Clock
) -> None:
    Client(transport).enqueue(order())
    failing = Failing(
        transport,
        clock,
        lambda: ValueError(SECRET),
        retry_policy=RetryPolicy(base=5, jitter=0, max_attempts=3),
    )
    failing.run_for(100)
    assert [count for _, count in failing.deliveries] == [1, 2, 3]
    assert [reason for _, reason in dead_letters(transport)] == [
        "failed in delivery 3, max_attempts=3: ValueError"
    ]
    assert [type(e) for e in failing.events] == [MessageFailed, MessageFailed, MessageRejected]


def test_a_reason_is_made_fit_to_travel(queue: MemoryTransport, clock: Clock) -> None:
    Client(queue).enqueue(order())
    Failing(queue, clock, lambda: Reject("bad\x00 \ufffe" + "x" * 5000)).run_for(5)
    ((_, reason),) = dead_letters(queue)
    assert reason == ("bad " + "x" * 5000)[:1000]


def test_an_outage_is_no_attempt(queue: MemoryTransport, clock: Clock) -> None:
    """What a store or a queue kept from being handled is not moved for it."""

    class Outage(Middleware):
        def handle(self, message: IncomingMessage, /) -> Steps:
            yield from ()
            raise QueueUnavailable("the store is down", retryable=True)

    Client(queue).enqueue(order())
    worker = Worker(
        queue,
        middleware=[Outage()],
        clock=clock,
        retry_policy=RetryPolicy(base=0, jitter=0, max_attempts=1),
    )
    worker.handler("order:new")(lambda _message: None)
    events = events_of(worker)
    worker.run(burst=True)
    assert [type(event) for event in events] == [MessageFailed]
    assert queue.dead_letters == []


class TestOnSqs:
    def test_retry_changes_the_visibility(self, aws: AwsServer) -> None:
        url = aws.make_queue(VisibilityTimeout="600")
        client = Client(url)
        client.enqueue(order())
        worker = Worker(client=client, wait_seconds=1)
        seen: list[int] = []

        @worker.handler("order:new")
        def handle(message: Message[dict[str, str]], delivery: Delivery) -> None:
            seen.append(delivery.receive_count)
            if delivery.receive_count == 1:
                raise Retry(delay=1)

        with running(worker):
            wait_for(lambda: len(seen) == 2, "the second delivery")
        assert seen == [1, 2]

    @pytest.mark.parametrize("fifo", [False, True])
    def test_reject_moves_it_to_the_dead_letter_queue(self, aws: AwsServer, fifo: bool) -> None:
        url, dead_url = queue_with_dead_letters(aws, fifo=fifo)
        client = Client(url)
        group = "one" if fifo else None
        client.enqueue(order(n="käse"), group_id=group, attributes={"who": "me"})
        handled = run_until(
            client, lambda: Reject("no such customer"), lambda e: isinstance(e, MessageRejected)
        )
        assert handled == 1

        dead = receive_one(Client(dead_url).transport())
        assert json.loads(dead.body) == order(n="käse")
        assert dead.attributes["who"].value == "me"
        assert dead_letter(dead).reason == "no such customer"
        assert dead.group_id == group
        assert bodies(client.transport()) == []

    def test_the_last_attempt_moves_it(self, aws: AwsServer) -> None:
        url, dead_url = queue_with_dead_letters(aws)
        client = Client(url)
        client.enqueue(order())
        handled = run_until(
            client,
            ValueError,
            lambda e: isinstance(e, MessageRejected),
            retry_policy=RetryPolicy(base=0, max_attempts=2),
        )
        assert handled == 2
        dead = receive_one(Client(dead_url).transport())
        assert dead_letter(dead).reason == "failed in delivery 2, max_attempts=2: ValueError"

    def test_without_a_dead_letter_queue_it_stays_with_the_queues_retries(
        self, aws: AwsServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        url = aws.make_queue(VisibilityTimeout="600")
        client = Client(url)
        client.enqueue(order())
        with caplog.at_level(logging.ERROR):
            run_until(
                client,
                lambda: Reject("no"),
                lambda event: isinstance(event, MessageFailed),
                retry_policy=AT_ONCE,
            )
        assert f"{url} has none" in caplog.text
        assert "give the queue a redrive policy" in caplog.text
        assert receive_one(client.transport()).receive_count > 1

    def test_a_dead_letter_queue_that_is_gone_loses_nothing(self, aws: AwsServer) -> None:
        url, dead_url = queue_with_dead_letters(aws, VisibilityTimeout="600")
        aws.sqs().delete_queue(QueueUrl=dead_url)
        client = Client(url)
        client.enqueue(order())
        deliveries = count(1)
        handled = run_until(
            client,
            lambda: Reject("no"),
            lambda event: isinstance(event, MessageFailed) and next(deliveries) == 2,
            retry_policy=AT_ONCE,
        )
        assert handled >= 2
        assert isinstance(receive_one(client.transport()), ReceivedMessage)


def queue_with_dead_letters(aws: AwsServer, *, fifo: bool = False, **options: str) -> list[str]:
    kind = {"FifoQueue": "true"} if fifo else {}
    dead_url = aws.make_queue(**kind)
    arn = aws.sqs().get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])
    policy = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": "10"}
    url = aws.make_queue(RedrivePolicy=json.dumps(policy), **kind, **options)
    return [url, dead_url]


def run_until(
    client: Client,
    error: Callable[[], Exception],
    is_last: Callable[[Event], bool],
    retry_policy: RetryPolicy | None = None,
) -> int:
    """Run a worker whose handler fails until an event has come; how often it ran."""
    # Nothing waits in it that it would go on with once it is stopped.
    worker = Worker(client=client, wait_seconds=1, prefetch=0, retry_policy=retry_policy)
    runs: list[object] = []
    over: list[bool] = []

    def handle(message: dict[str, object]) -> None:
        runs.append(message)
        raise error()

    worker.handler("order:new")(handle)
    worker.add_listener(lambda event: over.append(True) if is_last(event) else None)
    with running(worker):
        wait_for(lambda: over, "the last event")
    return len(runs)


def test_a_message_that_is_retried_is_handled_in_the_end(
    transport: MemoryTransport, clock: Clock
) -> None:
    Client(transport).enqueue(order())
    worker = Worker(transport, clock=clock)

    @worker.handler("order:new")
    async def handle(message: dict[str, object], delivery: Delivery) -> None:
        if delivery.receive_count < 3:
            raise Retry(delay=0)

    events = events_of(worker)
    worker.run(burst=True)
    assert [type(event) for event in events] == [MessageFailed, MessageFailed, MessageHandled]
    assert printed(events[0].error).endswith("another delivery\n")  # type: ignore[attr-defined]


def test_a_reason_may_be_an_error_or_missing(queue: MemoryTransport, clock: Clock) -> None:
    for error in (Reject(ValueError("no such customer")), Reject()):
        Client(queue).enqueue(order())
        Failing(queue, clock, lambda error=error: error).run_for(5)  # type: ignore[misc]  # bound
    assert [reason for _, reason in dead_letters(queue)] == [
        "no such customer",
        "no reason given",
    ]


def test_a_policy_or_a_queue_with_a_defect_stops_no_worker(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(MemoryTransport):
        def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
            raise ZeroDivisionError

    queue = Broken(clock=clock)
    Client(queue).enqueue_many([order(n=n) for n in range(5)])
    worker = Worker(queue, clock=clock, concurrency=1)
    handled: list[int] = []

    @worker.handler("order:new")
    def handle(message: Message[dict[str, int]]) -> None:
        handled.append(message.payload["n"])
        raise Retry(delay=1)

    events = events_of(worker)
    worker.run(burst=True)
    assert handled == [0, 1, 2, 3, 4]
    assert [type(event) for event in events] == [MessageFailed] * 5
    assert "is left to its queue" in caplog.text


def test_the_default_handler_may_have_a_policy(queue: MemoryTransport, clock: Clock) -> None:
    Client(queue).enqueue(order())
    worker = Worker(queue, clock=clock)

    @worker.default(retry_policy=RetryPolicy(base=7, jitter=0))
    def fail(message: dict[str, object]) -> None:
        raise ValueError

    events = events_of(worker)
    worker.run(burst=True)
    assert [e.retry_delay for e in events if isinstance(e, MessageFailed)] == [7]


def test_what_is_no_policy_or_no_reason_is_refused_at_once() -> None:
    with pytest.raises(SettingsInvalid, match="retry_policy is int"):
        Worker(retry_policy=5)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(MessageInvalid, match=r"Retry\(delay=\.\.\.\)"):
        Retry(30)  # type: ignore[arg-type]  # wrong on purpose
