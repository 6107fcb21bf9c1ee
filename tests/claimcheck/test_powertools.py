"""`@unwrap_claim_check` together with Powertools for AWS Lambda, the real package."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Literal, cast

import pytest
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import (
    AsyncBatchProcessor,
    BatchProcessor,
    EventType,
    SqsFifoPartialProcessor,
    async_process_partial_response,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes import SQSEvent, event_source
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.parser.envelopes import SqsEnvelope
from aws_lambda_powertools.utilities.parser.models import SqsModel, SqsRecordModel
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, Json

from claimcheck import RecordUnsupported, unwrap_claim_check
from tests.claimcheck.lambda_claims import (
    Claims,
    deleted_by_lambda,
    event_of,
    failed,
    fifo_record_of,
    record_of,
)
from tests.claimcheck.support import forge, message_body
from tests.letsgo_queue.aws_lambda.lambda_events import Context

SMALL = message_body("order:new", "small")
CONTEXT = cast("LambdaContext", Context(36_000))

Event = dict[str, Any]


class TestRecordHandlers:
    """A decorated record handler inside a batch processor."""

    def test_a_batch(self, claims: Claims) -> None:
        good, bad, damaged, done = (claims.sealed(seed) for seed in range(4))
        claims.finish(done)
        event = event_of(
            record_of(good, "good"),
            record_of(bad, "bad"),
            record_of(forge(damaged, size=2_999), "damaged"),
            record_of(done, "done"),
            record_of(SMALL, "small"),
        )
        processor = BatchProcessor(EventType.SQS)
        handled: list[str] = []

        @unwrap_claim_check(claim_check=claims.check)
        def on_record(record: SQSRecord) -> None:
            assert isinstance(record, SQSRecord)
            assert json.loads(record.body) == record.json_body
            if record.message_id == "bad":
                raise ZeroDivisionError
            handled.append(record.body)

        answer = process_partial_response(event, on_record, processor, CONTEXT)

        assert handled == [claims.originals[good], SMALL]
        assert answer == failed("bad", "damaged")
        assert deleted_by_lambda(event, answer) == {"good", "done", "small"}
        assert claims.states([good, bad, damaged]) == ["done", "there", "there"]
        kinds = [cast("type[Exception]", kind).__name__ for kind, *_ in processor.exceptions]
        assert kinds == ["ZeroDivisionError", "ClaimCorrupted"]

    def test_the_context_it_asks_for_gives_the_lease(self, claims: Claims) -> None:
        body = claims.sealed()
        leases: list[float] = []

        @unwrap_claim_check(claim_check=claims.check)
        def on_record(record: SQSRecord, lambda_context: LambdaContext) -> None:
            assert lambda_context is context
            leases.append(claims.leased_for(body))

        context = cast("LambdaContext", Context(3_600))
        process_partial_response(
            event_of(record_of(body, "a")), on_record, BatchProcessor(EventType.SQS), context
        )

        assert 3_000 < leases[0] <= 3_600

    def test_fifo_stops_at_what_cannot_be_opened(self, claims: Claims) -> None:
        first, held, after = (claims.sealed(seed) for seed in range(3))
        claims.hold(held)
        event = event_of(
            fifo_record_of(first, "first", "1"),
            fifo_record_of(held, "held", "1"),
            fifo_record_of(after, "after", "1"),
        )
        handled: list[str] = []

        @unwrap_claim_check(claim_check=claims.check)
        def on_record(record: SQSRecord) -> None:
            handled.append(record.body)

        answer = process_partial_response(event, on_record, SqsFifoPartialProcessor(), CONTEXT)

        assert handled == [claims.originals[first]]
        assert answer == failed("held", "after")
        assert claims.states([first, held, after]) == ["done", "held", "there"]

    def test_async(self, claims: Claims) -> None:
        good, bad, done = (claims.sealed(seed) for seed in range(3))
        claims.finish(done)
        event = event_of(record_of(good, "good"), record_of(bad, "bad"), record_of(done, "done"))
        handled: list[str] = []

        @unwrap_claim_check(claim_check=claims.check)
        async def on_record(record: SQSRecord) -> None:
            await asyncio.sleep(0)
            if record.message_id == "bad":
                raise ZeroDivisionError
            handled.append(record.body)

        answer = async_process_partial_response(
            event, on_record, AsyncBatchProcessor(EventType.SQS), CONTEXT
        )

        assert handled == [claims.originals[good]]
        assert answer == failed("bad")
        assert claims.states([good, bad]) == ["done", "there"]

    def test_a_record_keeps_its_own_parser(self, claims: Claims) -> None:
        body = claims.sealed()

        @unwrap_claim_check(claim_check=claims.check)
        def on_record(record: SQSRecord) -> object:
            return record.json_body

        record = SQSRecord(record_of(body, "a"), json_deserializer=lambda text: [text])
        assert record.json_body == [body]

        assert on_record(record) == [claims.originals[body]]
        assert record.body == body

    def test_a_model_that_leaves_the_body_alone(self, claims: Claims) -> None:
        body = claims.sealed()
        handled: list[SqsRecordModel] = []

        @unwrap_claim_check(claim_check=claims.check)
        def on_record(record: SqsRecordModel) -> None:
            handled.append(record)

        answer = process_partial_response(
            event_of(record_of(body, "a")),
            on_record,
            BatchProcessor(EventType.SQS, model=SqsRecordModel),
            CONTEXT,
        )

        assert answer == failed()
        assert [record.body for record in handled] == [claims.originals[body]]
        assert claims.state(body) == "done"


class OrderNew(BaseModel):
    type: Literal["order:new"]
    payload: str


class OpenOrder(BaseModel, extra="allow"):
    type: str


class OptionalOrder(BaseModel):
    """Of a claim check nothing is left in it."""

    type: str
    payload: str | None = None


class OptionalOpenOrder(OptionalOrder, extra="allow"):
    pass


class OrderRecord(SqsRecordModel):
    body: Json[OrderNew]


class AnyRecord(SqsRecordModel):
    body: Json[Any]


class OpenRecord(SqsRecordModel):
    body: Json[OpenOrder]


class OptionalRecord(SqsRecordModel):
    body: Json[OptionalOrder]


class TestModelsThatParseTheBody:
    """`BatchProcessor(model=...)` parses a record before its handler gets it."""

    @pytest.mark.parametrize(
        ("model", "error"),
        [
            (OrderRecord, "ValidationError"),
            (AnyRecord, "RecordUnsupported"),
            (OpenRecord, "RecordUnsupported"),
            (OptionalRecord, "RecordUnsupported"),
        ],
        ids=["that it does not fit", "that takes anything", "with extras", "without a payload"],
    )
    def test_no_message_is_handled_not_even_a_small_one(
        self, claims: Claims, model: type[SqsRecordModel], error: str
    ) -> None:
        body = claims.sealed()
        processor = BatchProcessor(EventType.SQS, model, raise_on_entire_batch_failure=False)

        @unwrap_claim_check(claim_check=claims.check)
        def on_record(record: SqsRecordModel) -> None:
            raise AssertionError

        event = event_of(record_of(body, "sealed"), record_of(SMALL, "small"))
        answer = process_partial_response(event, on_record, processor, CONTEXT)

        assert deleted_by_lambda(event, answer) == set()
        assert claims.state(body) == "there"
        kinds = [cast("type[Exception]", kind).__name__ for kind, *_ in processor.exceptions]
        assert sorted(kinds) == sorted([error, "RecordUnsupported"])

    def test_the_decorator_on_the_lambda_handler_comes_before_them(self, claims: Claims) -> None:
        good, bad, damaged = (claims.sealed(seed) for seed in range(3))
        processor = BatchProcessor(EventType.SQS, OrderRecord)
        handled: list[str] = []

        def on_record(record: OrderRecord) -> None:
            if record.messageId == "bad":
                raise ZeroDivisionError
            handled.append(record.body.payload)

        @unwrap_claim_check(claim_check=claims.check)
        def handler(event: Event, context: LambdaContext) -> object:
            return process_partial_response(event, on_record, processor, context)

        event = event_of(
            record_of(good, "good"),
            record_of(bad, "bad"),
            record_of(forge(damaged, size=2_999), "damaged"),
            record_of(SMALL, "small"),
        )
        answer = handler(event, CONTEXT)

        assert handled == [json.loads(claims.originals[good])["payload"], "small"]
        assert answer == failed("bad", "damaged")
        assert claims.states([good, bad, damaged]) == ["done", "there", "there"]

    def test_where_every_record_fails_the_processor_raises_and_all_is_back(
        self, claims: Claims
    ) -> None:
        bodies = [claims.sealed(seed) for seed in range(2)]
        processor = BatchProcessor(EventType.SQS)

        def on_record(record: SQSRecord) -> None:
            raise ZeroDivisionError

        @unwrap_claim_check(claim_check=claims.check)
        def handler(event: Event, context: LambdaContext) -> object:
            return process_partial_response(event, on_record, processor, context)

        event = event_of(*(record_of(body, str(n)) for n, body in enumerate(bodies)))
        with pytest.raises(Exception, match="All records failed processing"):
            handler(event, CONTEXT)
        assert claims.states(bodies) == ["there", "there"]


class TestEvents:
    """A decorated Lambda handler, with Powertools' own decorators on either side."""

    def test_a_data_class_outside(self, claims: Claims) -> None:
        bodies = [claims.sealed(1), claims.sealed(2)]
        claims.hold(bodies[1])

        @event_source(data_class=SQSEvent)
        @unwrap_claim_check(claim_check=claims.check)
        def handler(event: SQSEvent, context: LambdaContext) -> object:
            assert isinstance(event, SQSEvent)
            assert [record.body for record in event.records] == [claims.originals[bodies[0]]]
            return None

        event = event_of(record_of(bodies[0], "a"), record_of(bodies[1], "held"))
        assert handler(event, CONTEXT) == failed("held")
        assert claims.states(bodies) == ["done", "held"]

    def test_a_data_class_inside(self, claims: Claims) -> None:
        body = claims.sealed()

        @unwrap_claim_check(claim_check=claims.check)
        @event_source(data_class=SQSEvent)
        def handler(event: SQSEvent, context: LambdaContext) -> list[str]:
            return [record.body for record in event.records]

        assert handler(event_of(record_of(body, "a")), CONTEXT) == [claims.originals[body]]
        assert claims.state(body) == "done"

    def test_a_parsed_event_outside(self, claims: Claims) -> None:
        body = claims.sealed()

        @event_parser(model=SqsModel)
        @unwrap_claim_check(claim_check=claims.check)
        def handler(event: SqsModel, context: LambdaContext) -> list[str]:
            assert isinstance(event, SqsModel)
            return [cast("str", record.body) for record in event.Records]

        answer = handler(event_of(record_of(body, "a")), CONTEXT)

        assert answer == [claims.originals[body]]
        assert claims.state(body) == "done"

    @pytest.mark.parametrize("model", [OpenOrder, OptionalOpenOrder])
    def test_messages_that_were_parsed_outside_are_not_passed_on(
        self, claims: Claims, model: type[BaseModel]
    ) -> None:
        body = claims.sealed()

        @event_parser(model=model, envelope=SqsEnvelope)
        @unwrap_claim_check(claim_check=claims.check)
        def handler(event: list[BaseModel], context: LambdaContext) -> list[object]:
            return [vars(each)["type"] for each in event]

        with pytest.raises(RecordUnsupported, match="before anything parses them"):
            handler(event_of(record_of(SMALL, "a"), record_of(body, "b")), CONTEXT)
        assert claims.state(body) == "there"
        assert handler(event_of(record_of(SMALL, "a")), CONTEXT) == ["order:new"]

    @pytest.mark.parametrize("model", [OrderNew, OptionalOrder])
    def test_messages_that_are_parsed_inside_are_opened(
        self, claims: Claims, model: type[BaseModel]
    ) -> None:
        body = claims.sealed()

        @unwrap_claim_check(claim_check=claims.check)
        @event_parser(model=model, envelope=SqsEnvelope)
        def handler(event: list[BaseModel], context: LambdaContext) -> list[object]:
            return [each.model_dump() for each in event]

        assert handler(event_of(record_of(body, "a")), CONTEXT) == [
            json.loads(claims.originals[body])
        ]
        assert claims.state(body) == "done"

    @pytest.mark.parametrize("given", [SMALL, Claims.sealed], ids=["small", "sealed"])
    def test_an_event_with_bodies_that_were_parsed_outside_is_refused(
        self, claims: Claims, given: str | Callable[[Claims], str]
    ) -> None:
        """Its own model has no message id, so no record could be reported."""

        class Record(BaseModel):
            body: Json[OptionalOrder]

        class Records(BaseModel):
            Records: list[Record]

        @event_parser(model=Records)
        @unwrap_claim_check(claim_check=claims.check)
        def handler(event: Records, context: LambdaContext) -> None:
            raise AssertionError

        body = given if isinstance(given, str) else given(claims)
        with pytest.raises(RecordUnsupported, match=r"\(Record\) was parsed before"):
            handler(event_of(record_of(body, "a")), CONTEXT)

    @pytest.mark.parametrize("outside", [True, False])
    def test_the_logger(
        self, claims: Claims, outside: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "orders")
        body = claims.sealed()
        logger = Logger()
        unwrap = unwrap_claim_check(claim_check=claims.check)

        def handler(event: Event, context: LambdaContext) -> list[str]:
            return [record["body"] for record in event["Records"]]

        decorated = (
            logger.inject_lambda_context(unwrap(handler))
            if outside
            else unwrap(logger.inject_lambda_context(handler))
        )
        context = LambdaContext()
        for name in (
            "function_name",
            "memory_limit_in_mb",
            "invoked_function_arn",
            "aws_request_id",
        ):
            setattr(context, f"_{name}", "1")

        assert decorated(event_of(record_of(body, "a")), context) == [claims.originals[body]]
        assert claims.state(body) == "done"
