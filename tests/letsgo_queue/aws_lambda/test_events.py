"""`worker.lambda_handler`: what each record becomes, and what Lambda is told."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    Delivery,
    Event,
    HandlerMissing,
    LetsGoError,
    Message,
    MessageAttribute,
    MessageDelayed,
    MessageFailed,
    MessageHandled,
    MessageInvalid,
    MessageRejected,
    Middleware,
    Reject,
    Retry,
    Steps,
    Worker,
)
from letsgo_queue.admin.letters import dead_letter
from letsgo_queue.attributes import DUE_AT
from letsgo_queue.message import encode
from letsgo_queue.worker import incoming as deliveries
from letsgo_queue.worker.incoming import IncomingMessage
from tests.letsgo_queue.aws_lambda.lambda_events import (
    FIFO,
    SCHEDULED,
    STANDARD,
    Context,
    delete_handled,
    event_of,
    receive_event,
)
from tests.letsgo_queue.support import SECRET, events_of, order, outgoing, receive_one
from tests.letsgo_queue.worker.test_retries import queue_with_dead_letters
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

QUEUE_URL = "https://sqs.us-east-2.amazonaws.com/123456789012/my-queue"


def body(type: str, payload: object = None) -> str:
    return json.dumps({"type": type, "payload": payload})


def failed(answer: Mapping[str, Any] | None) -> list[str]:
    """The ids that Lambda is told to deliver again."""
    assert answer is not None
    assert answer.keys() == {"batchItemFailures"}
    assert all(each.keys() == {"itemIdentifier"} for each in answer["batchItemFailures"])
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]


@pytest.fixture
def worker() -> Worker:
    """Handles `ok`, fails `bad` (async), and knows no other type."""
    worker = Worker()

    @worker.handler("ok")
    def ok(message: Message[Any]) -> None: ...

    @worker.handler("bad")
    async def bad(message: Message[Any]) -> None:
        raise ConnectionError

    return worker


def test_the_documented_events_reach_the_handler() -> None:
    worker = Worker()
    got: list[tuple[object, Delivery]] = []

    @worker.handler("order:new")
    def handle(message: Message[str], delivery: Delivery) -> None:
        got.append((message.payload, delivery))

    for event in (STANDARD, FIFO):
        records = [{**record, "body": body("order:new", "käse")} for record in event["Records"]]
        assert failed(worker.lambda_handler({"Records": records}, Context())) == []

    first, second, third = sorted(got, key=lambda each: each[1].sent_at)
    assert [payload for payload, _ in got] == ["käse"] * 3
    delivery = first[1]
    assert delivery.message_id == "059f36b4-87a3-44ab-83d2-661975830a7d"
    assert delivery.receive_count == 1
    assert delivery.sent_at.isoformat() == "2018-12-17T21:37:29.183000+00:00"
    assert delivery.attributes == {"myAttribute": MessageAttribute("String", "myValue")}
    assert delivery.queue == second[1].queue == QUEUE_URL
    assert third[1].queue == "https://sqs.us-east-2.amazonaws.com/123456789012/fifo.fifo"


def test_one_bad_record_fails_alone(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    events = events_of(worker)
    event = event_of(
        body("ok"),
        f"not JSON {SECRET}",
        body("bad"),
        body("unknown"),
        json.dumps({"type": "ok", "claimCheck": {"v": 1}}),
        body("ok"),
    )
    assert failed(worker.lambda_handler(event, Context())) == ["m1", "m2", "m3", "m4"]
    kinds = {MessageHandled: 2, MessageFailed: 4}
    assert {kind: sum(type(e) is kind for e in events) for kind in kinds} == kinds
    assert SECRET not in caplog.text


def test_a_record_that_is_damaged_fails_alone(worker: Worker) -> None:
    event = event_of(body("ok"), body("ok"), body("ok"))
    del event["Records"][0]["body"]
    event["Records"][1]["messageAttributes"] = {"n": {"dataType": "Binary", "binaryValue": "?"}}

    assert failed(worker.lambda_handler(event, Context())) == ["m0", "m1"]


def test_a_record_without_an_id_could_not_be_reported_and_nothing_is_begun(
    worker: Worker,
) -> None:
    events = events_of(worker)
    event = event_of(body("ok"), body("bad"))
    del event["Records"][1]["messageId"]

    with pytest.raises(MessageInvalid, match="no event of an SQS source"):
        worker.lambda_handler(event, Context())
    assert events == []


def test_a_list_of_records_as_eventbridge_pipes_sends_it(worker: Worker) -> None:
    records = event_of(body("ok"), body("bad"))["Records"]

    assert failed(worker.lambda_handler(records, Context())) == ["m1"]


def test_an_empty_batch_is_nothing_to_do(worker: Worker) -> None:
    assert failed(worker.lambda_handler({"Records": []}, Context())) == []


@pytest.mark.parametrize("event", [{}, {"Records": None}, {"Records": ["text"]}, {"detail": 1}])
def test_another_kind_of_event_is_refused(worker: Worker, event: dict[str, Any]) -> None:
    with pytest.raises(MessageInvalid, match="neither that of an SQS source"):
        worker.lambda_handler(event, Context())


def test_records_run_at_once() -> None:
    worker = Worker(concurrency=4)
    together = threading.Barrier(4, timeout=20)

    @worker.default
    def handle(message: Message[Any]) -> None:
        together.wait()

    assert failed(worker.lambda_handler(event_of(*[body("ok")] * 8), Context())) == []


def test_limits_that_do_not_hold_on_lambda_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker()

    @worker.handler("limited", rate="1/h")
    def limited(message: object) -> None: ...

    @worker.handler("plain")
    def plain(message: object) -> None: ...

    for _ in range(2):
        worker.lambda_handler({"Records": []}, None)

    [told] = caplog.messages
    assert told.endswith(
        ".limited: concurrency, rate and timeout do not hold in AWS Lambda. Use the event source's "
        "maximum concurrency."
    )
    assert "plain" not in told


def test_a_fifo_batch_runs_in_order_and_stops_a_group_at_its_failure() -> None:
    worker = Worker()
    handled: list[int] = []

    @worker.default
    def handle(message: Message[int]) -> None:
        if message.payload in {2, 7}:
            raise ConnectionError
        handled.append(message.payload)

    groups = ["a", "b", "a", "b", "a", "b", "a", "c"]
    event = event_of(*[body("n", n) for n in range(8)], fifo_groups=groups)
    assert failed(worker.lambda_handler(event, Context())) == ["m2", "m4", "m6", "m7"]
    assert [n for n in handled if groups[n] == "a"] == [0]
    assert [n for n in handled if groups[n] == "b"] == [1, 3, 5]


def test_a_record_that_is_none_stops_its_fifo_group(worker: Worker) -> None:
    event = event_of(*[body("ok")] * 4, fifo_groups=["a", "a", "a", "b"])
    del event["Records"][1]["body"]
    assert failed(worker.lambda_handler(event, Context())) == ["m1", "m2"]


@pytest.mark.parametrize("time", ["9" * 400, float("inf"), "soon"])
def test_a_time_that_is_none_is_one_records_failure(worker: Worker, time: object) -> None:
    event = event_of(body("ok"), body("ok"))
    event["Records"][0]["attributes"] = {"SentTimestamp": time}
    assert failed(worker.lambda_handler(event, Context())) == ["m0"]


def test_scheduled_events_go_to_their_handler(worker: Worker) -> None:
    got: list[str] = []

    @worker.scheduled
    async def nightly(event: Mapping[str, Any]) -> None:
        got.append(event["time"])

    assert worker.lambda_handler(SCHEDULED, Context()) is None
    assert got == ["2015-10-08T16:53:06Z"]


def test_a_scheduled_event_without_a_handler_is_ignored(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    assert worker.lambda_handler(SCHEDULED, Context()) is None
    assert "a scheduled event is ignored: this worker has no handler for it" in caplog.text


def test_a_single_scheduled_handler_takes_the_events_of_all_rules(worker: Worker) -> None:
    got: list[str] = []

    @worker.scheduled("rate(1 hour)", name="hourly")
    @worker.scheduled("cron(0 3 * * ? *)", name="nightly")
    def report(event: Mapping[str, Any]) -> None:
        got.append(event["id"])

    worker.lambda_handler(SCHEDULED, Context())
    assert got == [SCHEDULED["id"]]


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:events:us-east-1:123456789012:rule/nightly",
        "arn:aws:events:us-east-1:123456789012:rule/my-bus/nightly",
        "arn:aws:scheduler:us-west-2:123456789012:schedule/letsgo-main-worker/nightly",
    ],
)
def test_of_several_scheduled_handlers_each_takes_the_events_of_its_rule(
    worker: Worker, arn: str
) -> None:
    got: list[str] = []
    worker.scheduled("rate(1 hour)")(lambda _event: got.append("hourly"))
    worker.scheduled("cron(0 3 * * ? *)", name="nightly")(lambda _event: got.append("nightly"))
    worker.scheduled(name="weekly")(lambda _event: got.append("weekly"))

    worker.lambda_handler({**SCHEDULED, "resources": [arn]}, Context())

    assert got == ["nightly"]


@pytest.mark.parametrize("resources", [None, [], SCHEDULED["resources"]])
def test_an_event_that_is_for_none_of_several_scheduled_handlers_says_how(
    worker: Worker, resources: object
) -> None:
    worker.scheduled("rate(1 hour)")(lambda _event: None)
    worker.scheduled("rate(1 day)", name="nightly")(lambda _event: None)

    with pytest.raises(HandlerMissing, match=r"names: 'nightly'.*@worker.scheduled\(name="):
        worker.lambda_handler({**SCHEDULED, "resources": resources}, Context())


def test_a_scheduled_handler_that_fails_fails_the_invocation(worker: Worker) -> None:
    @worker.scheduled
    def nightly(event: Mapping[str, Any]) -> None:
        raise ConnectionError("the report")

    with pytest.raises(ConnectionError, match="the report"):
        worker.lambda_handler(SCHEDULED, Context())


class Recorder(Middleware):
    """Sees how long each delivery is held, and with which context."""

    def __init__(self) -> None:
        self.seconds: float | None = None
        self.context: object | None = None

    def handle(self, message: IncomingMessage, /) -> Steps:
        self.seconds = message.seconds_invisible
        self.context = message.lambda_context
        yield


def test_a_delivery_is_held_for_the_time_that_is_left() -> None:
    recorder = Recorder()
    worker = Worker(middleware=[recorder])
    worker.default(lambda _message: None)
    context = Context(seconds=3_000)
    worker.lambda_handler(event_of(body("ok")), context)
    assert recorder.seconds is not None
    assert 2_900 < recorder.seconds <= 3_000
    assert recorder.context is context

    worker.lambda_handler(event_of(body("ok")), object())
    assert recorder.seconds is None


class NotYet(LetsGoError):
    """A store that is down, as a middleware sees it."""

    patience = 900.0


class Waits(Middleware):
    """Cannot open a message the first times."""

    def __init__(self, error: LetsGoError, times: int) -> None:
        self.error = error
        self.times = times

    def handle(self, message: IncomingMessage, /) -> Steps:
        self.times -= 1
        if self.times >= 0:
            raise self.error
        yield


class TestWhatCannotBeOpenedYet:
    def handle(self, middleware: Waits, context: object) -> list[str]:
        worker = Worker(middleware=[middleware])
        worker.default(lambda _message: None)
        return failed(worker.lambda_handler(event_of(body("ok")), context))

    def test_is_waited_for_while_there_is_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(deliveries, "FIRST_PAUSE_SECONDS", 0.01)

        assert self.handle(Waits(NotYet(), 3), Context(seconds=600)) == []

    @pytest.mark.parametrize(
        "context", [SimpleNamespace(get_remaining_time_in_millis=lambda: 1_200), object()]
    )
    def test_fails_where_there_is_none_or_nobody_knows(self, context: object) -> None:
        assert self.handle(Waits(NotYet(), 1), context) == ["m0"]

    def test_comes_back_by_itself_where_its_error_says_when(self) -> None:
        """Another delivery has it: nothing is gained by an invocation that waits."""
        error = NotYet()
        error.retry_after = 30.0

        assert self.handle(Waits(error, 1), Context(seconds=600)) == ["m0"]


def test_no_record_is_begun_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(concurrency=1)
    handled: list[int] = []
    passed = [0.0]
    clock = SimpleNamespace(monotonic=lambda: passed[0], sleep=time.sleep)
    monkeypatch.setattr("letsgo_queue.aws_lambda.batches.time", clock)

    @worker.default
    def handle(message: Message[int]) -> None:
        handled.append(message.payload)
        if message.payload == 1:
            passed[0] = 59.5

    event = event_of(*[body("n", n) for n in range(4)])
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)
    assert failed(worker.lambda_handler(event, context)) == ["m2", "m3"]
    assert handled == [0, 1]


class TestOnSqs:
    def test_what_failed_comes_again_and_the_rest_does_not(self, aws: AwsServer) -> None:
        url = aws.make_queue()
        Client(url).enqueue_many([order(n=n) for n in range(5)])
        worker = Worker()
        seen: list[tuple[int, int]] = []

        @worker.handler("order:new")
        def handle(message: Message[dict[str, int]], delivery: Delivery) -> None:
            seen.append((message.payload["n"], delivery.receive_count))
            if message.payload["n"] == 3 and delivery.receive_count == 1:
                raise Retry(delay=0)

        for _ in range(2):
            event = receive_event(aws, url, visibility_timeout=600)
            left = delete_handled(aws, url, event, worker.lambda_handler(event, Context()))
        assert left == []
        assert sorted(seen) == [(0, 1), (1, 1), (2, 1), (3, 1), (3, 2), (4, 1)]
        assert receive_event(aws, url) == {"Records": []}

    def test_reject_moves_to_the_dead_letter_queue(self, aws: AwsServer) -> None:
        url, dead_url = queue_with_dead_letters(aws)
        Client(url).enqueue(order())
        worker = Worker()
        events = events_of(worker)

        @worker.handler("order:new")
        def handle(message: Message[Any]) -> None:
            raise Reject("no such customer")

        event = receive_event(aws, url)
        assert failed(worker.lambda_handler(event, Context())) == []
        assert [type(event) for event in events] == [MessageRejected]
        dead = receive_one(Client(dead_url).transport())
        assert dead_letter(dead).reason == "no such customer"

    def test_a_message_that_is_not_due_is_sent_on(self, aws: AwsServer, clock: Clock) -> None:
        url = aws.make_queue()
        due_at = int(clock.now) + 2
        attributes = {DUE_AT: MessageAttribute("Number", str(due_at))}
        Client(url).transport().send(outgoing(encode(order())[1], attributes=attributes))
        worker = Worker(clock=clock)
        handled: list[float] = []
        worker.handler("order:new")(lambda _message: handled.append(clock.now))
        events = events_of(worker)

        def pass_the_delay(event: Event) -> None:
            if isinstance(event, MessageDelayed):
                clock.advance(event.seconds_left)

        worker.add_listener(pass_the_delay)

        def one_invocation() -> list[float]:
            event = receive_event(aws, url)
            delete_handled(aws, url, event, worker.lambda_handler(event, Context()))
            return handled

        wait_for(one_invocation, "the handler")
        assert handled[0] >= due_at
        assert [type(event) for event in events] == [MessageDelayed, MessageHandled]

    def test_an_invocation_that_is_cut_off_doubles_no_delayed_message(self, aws: AwsServer) -> None:
        url = aws.make_queue()
        attributes = {DUE_AT: MessageAttribute("Number", str(int(time.time()) + 600))}
        Client(url).transport().send(outgoing(encode(order())[1], attributes=attributes))
        event = receive_event(aws, url, visibility_timeout=1)

        Worker().lambda_handler(event, Context())  # and Lambda never learns of the answer

        def messages() -> int:
            answer = aws.sqs().get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
            return sum(
                int(answer["Attributes"][name])
                for name in (
                    "ApproximateNumberOfMessages",
                    "ApproximateNumberOfMessagesNotVisible",
                    "ApproximateNumberOfMessagesDelayed",
                )
            )

        assert messages() == 1

    def test_a_queue_that_cannot_be_told_keeps_its_own_visibility_timeout(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        worker = Worker()
        worker.default(raise_retry)
        event = event_of(body("ok"))
        event["Records"][0]["eventSourceARN"] = ""
        with caplog.at_level(logging.WARNING):
            assert failed(worker.lambda_handler(event, Context())) == ["m0"]
        assert "message m0 keeps its visibility timeout" in caplog.text


def raise_retry(message: Message[Any]) -> None:
    raise Retry(delay=5)


COLD_START = """
import sys
before = set(sys.modules)  # what measures coverage loads modules of its own
from letsgo_queue import Message, Worker
worker = Worker()

@worker.handler("ok")
def ok(message: Message[int]) -> None: ...

event = {"Records": [{"messageId": "m", "receiptHandle": "r", "body": '{"type":"ok","payload":1}',
                      "attributes": {}, "messageAttributes": {},
                      "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:my-queue"}]}
assert worker.lambda_handler(event, None) == {"batchItemFailures": []}
print([name for name in ("asyncio", "boto3", "botocore", "pynamodb", "sqlite3", "typer", "rich",
                         "h11", "zstandard", "claimcheck", "multiprocessing")
       if name in sys.modules.keys() - before])
"""


def test_a_cold_start_loads_nothing_that_it_does_not_use() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COLD_START], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
