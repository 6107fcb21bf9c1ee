"""The fixture `letsgo_lambda`: a function is invoked with what is on its queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from letsgo_queue import Reject, Retry, Worker, enqueue
from letsgo_queue.testing import (
    LambdaContext,
    LambdaFixture,
    NotDrained,
    Outbox,
    RecordsFailed,
    WorkerFixture,
)

Event = dict[str, Any]


def reporting(*numbers: int) -> Callable[[Event, LambdaContext], Mapping[str, object]]:
    """A function that reports the records of these payloads as failed."""

    def function(event: Event, context: LambdaContext) -> Mapping[str, object]:
        return {
            "batchItemFailures": [
                {"itemIdentifier": record["messageId"]}
                for record in event["Records"]
                if any(f'"payload":{number}' in record["body"] for number in numbers)
            ]
        }

    return function


def test_the_event_is_that_of_aws(letsgo_lambda: LambdaFixture) -> None:
    events: list[Event] = []

    def function(event: Event, context: LambdaContext) -> None:
        assert 0 < context.get_remaining_time_in_millis() <= 60_000
        assert context.invoked_function_arn.endswith(context.function_name)
        events.append(event)

    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders.fifo"
    for group in ("a", "b", "c"):
        enqueue(
            {"type": "order:new"},
            queue=url,
            group_id=group,
            attributes={"tenant": "t1", "picture": b"png"},
        )
    drained = letsgo_lambda(function, queue=url, batch_size=2).drain()

    assert [len(event["Records"]) for event in events] == [2, 1]
    record = events[0]["Records"][0]
    assert record["body"] == '{"type":"order:new"}'
    assert record["eventSourceARN"] == "arn:aws:sqs:eu-west-1:123456789012:orders.fifo"
    assert (record["eventSource"], record["awsRegion"]) == ("aws:sqs", "eu-west-1")
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert record["attributes"]["MessageGroupId"] == "a"
    assert record["messageAttributes"]["tenant"]["stringValue"] == "t1"
    assert record["messageAttributes"]["picture"]["binaryValue"] == "cG5n"
    assert [(each.type, each.receive_count) for each in drained.handled] == [("order:new", 1)] * 3


def test_what_a_function_reports_comes_again(letsgo_lambda: LambdaFixture) -> None:
    for number in (1, 2):
        enqueue({"type": "a", "payload": number})
    orders = letsgo_lambda(reporting(2))

    with pytest.raises(RecordsFailed, match="reported 1 of 2 records as failed"):
        orders.drain()
    assert [(each.receive_count, each.seconds) for each in orders.waiting] == [(1, 30)]
    orders.advance(30)
    (retried,) = orders.drain(raises=False).retried
    assert (retried.type, retried.receive_count) == ("a", 2)


@pytest.mark.parametrize(
    "failures", [[{"itemIdentifier": "unknown"}], [{"itemIdentifier": ""}], [{}], ["m1"]]
)
def test_an_answer_that_lambda_does_not_know_fails_all(
    letsgo_lambda: LambdaFixture, failures: Sequence[object]
) -> None:
    enqueue({"type": "a"})
    orders = letsgo_lambda(lambda event, context: {"batchItemFailures": failures})

    with pytest.raises(RecordsFailed):
        orders.drain()
    assert len(orders.waiting) == 1


def test_what_a_function_raises_is_raised_and_all_come_again(letsgo_lambda: LambdaFixture) -> None:
    def function(event: Event, context: object) -> None:
        raise ZeroDivisionError

    enqueue({"type": "a"})
    enqueue({"type": "b"})
    orders = letsgo_lambda(function)

    with pytest.raises(ZeroDivisionError):
        orders.drain()
    assert [each.type for each in orders.waiting] == ["a", "b"]


def test_a_worker_behind_lambda(letsgo_lambda: LambdaFixture, letsgo_outbox: Outbox) -> None:
    worker = Worker()

    @worker.handler("order:new")
    def on_order(message: Event) -> None:
        if message["payload"] == "busy":
            raise Retry(delay=60)
        if message["payload"] == "bad":
            raise Reject("no such customer")
        enqueue({"type": "mail:send"})

    @worker.handler("mail:send")
    async def on_mail(message: Event) -> None: ...

    orders = letsgo_lambda(worker.lambda_handler)
    for payload in ("busy", "bad", "good"):
        enqueue({"type": "order:new", "payload": payload})

    drained = orders.drain(raises=False)
    assert [each.type for each in drained.handled] == ["order:new", "mail:send"]
    assert [each.retry_delay for each in drained.retried] == [60]
    assert [each.reason for each in drained.rejected] == ["no such customer"]
    assert [each.seconds for each in orders.waiting] == [60]
    orders.advance(60)
    with pytest.raises(Retry):
        orders.drain()


def test_long_delays_end_behind_lambda_too(letsgo_lambda: LambdaFixture) -> None:
    worker = Worker()
    handled: list[object] = []
    worker.default(handled.append)
    enqueue({"type": "a"}, delay_seconds=3600)
    orders = letsgo_lambda(worker.lambda_handler)

    orders.advance(1800)
    orders.drain()
    assert handled == []
    orders.advance(1800)
    orders.drain()
    assert len(handled) == 1


def test_a_function_that_enqueues_what_it_handles(letsgo_lambda: LambdaFixture) -> None:
    def function(event: Event, context: object) -> None:
        enqueue({"type": "a"})

    enqueue({"type": "a"})

    with pytest.raises(NotDrained, match="over 10 messages are due"):
        letsgo_lambda(function).drain(limit=10)


def test_worker_and_function_share_a_queue(
    letsgo_lambda: LambdaFixture, letsgo_worker: WorkerFixture
) -> None:
    worker = Worker()
    worker.default(lambda message: None)
    enqueue({"type": "a"})

    assert letsgo_worker(worker).drain().handled
    assert not letsgo_lambda(worker.lambda_handler).drain().handled
