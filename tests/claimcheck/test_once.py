"""`once=True`: a handler that succeeded does not run again, whichever way its message travelled.

The records are the same on a worker, in Lambda and in functions that work on one record: a message
that one of them has handled is a duplicate for the others.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from claimcheck import (
    ClaimAlreadyProcessed,
    ClaimCheckMiddleware,
    ClaimInProgress,
    RecordUnsupported,
    unwrap_claim_check,
    unwrap_record,
)
from claimcheck.stores.base import Record
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.testing import Clock
from letsgo_queue import Message, Worker
from letsgo_queue.transports.base import OutgoingMessage, ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from tests.claimcheck.lambda_claims import Claims, Function, event_of, failed, record_of
from tests.claimcheck.support import message_body, noise, small_claim_check
from tests.claimcheck.watched import Watched
from tests.letsgo_queue.aws_lambda.lambda_events import Context

PAYLOADS = {"inline": "small", "compressed": "x" * 6_000, "stored": noise(6_000)}
VISIBILITY_SECONDS = 30


@pytest.fixture
def claims(store: MemoryClaimStore) -> Claims:
    return Claims(store)


@pytest.fixture(params=PAYLOADS)
def payload(request: pytest.FixtureRequest) -> str:
    return PAYLOADS[request.param]


@pytest.fixture
def sealed(claims: Claims, payload: str) -> str:
    """What travels."""
    return claims.check.seal(message_body("order:new", payload)).body.decode()


class Forgetful(MemoryTransport):
    """A queue on which acknowledgements may get lost, so that messages come again."""

    forgets = False

    def delete(self, message: ReceivedMessage) -> None:
        if not self.forgets:
            super().delete(message)


class Shop:
    """A queue on the clock of the test, and what its handlers got."""

    def __init__(self, claims: Claims, clock: Clock) -> None:
        self.clock = clock
        self.queue = Forgetful(clock=clock)
        self.middleware = ClaimCheckMiddleware(claims.check, once=True)
        self.handled: list[str] = []
        self.fails = False
        self.during: Callable[[], object] = lambda: None

    def send(self, body: str) -> str:
        return self.queue.send(OutgoingMessage(type="order:new", body=body.encode()))

    def worker(self, *, is_async: bool = False) -> Worker:
        worker = Worker(self.queue, middleware=[self.middleware])
        if is_async:

            @worker.handler("order:new")
            async def on_order_async(message: Message[str]) -> None:
                await asyncio.sleep(0)
                self.handle(message)

        else:
            worker.handler("order:new")(self.handle)
        return worker

    def handle(self, message: Message[str]) -> None:
        self.during()
        if self.fails:
            raise ZeroDivisionError
        self.handled.append(message.payload)

    def come_again(self) -> None:
        self.clock.advance(VISIBILITY_SECONDS)


@pytest.fixture
def shop(claims: Claims, clock: Clock) -> Shop:
    return Shop(claims, clock)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
class TestOnAWorker:
    def test_a_redelivery_after_success_does_not_run_the_handler(
        self, shop: Shop, sealed: str, payload: str, is_async: bool
    ) -> None:
        worker = shop.worker(is_async=is_async)
        shop.send(sealed)
        shop.queue.forgets = True
        worker.run(burst=True)
        shop.queue.forgets = False
        assert len(shop.queue._messages) == 1
        shop.come_again()

        worker.run(burst=True)

        assert shop.handled == [payload]
        assert shop.queue._messages == {}

    def test_a_failure_is_tried_again(
        self, shop: Shop, sealed: str, payload: str, is_async: bool
    ) -> None:
        worker = shop.worker(is_async=is_async)
        shop.send(sealed)
        shop.fails = True
        worker.run(burst=True)
        shop.fails = False
        shop.come_again()

        worker.run(burst=True)

        assert shop.handled == [payload]
        assert shop.queue._messages == {}


class TestWorkers:
    def test_messages_are_told_apart_by_their_ids(self, shop: Shop) -> None:
        body = message_body("order:new", "the same")
        shop.send(body)
        shop.send(body)

        shop.worker().run(burst=True)

        assert shop.handled == ["the same"] * 2

    def test_receipts_are_kept_for_30_days(self, shop: Shop, store: MemoryClaimStore) -> None:
        message_id = shop.send(message_body("order:new", "small"))
        shop.worker().run(burst=True)

        assert store.look_up(f"once//{message_id}@") == Record("done", 0)
        shop.clock.advance(30 * 24 * 3_600)
        shop.send(message_body("order:new", "later"))
        shop.worker().run(burst=True)

        assert store.look_up(f"once//{message_id}@") is None

    def test_a_store_that_is_down_has_the_message_wait(
        self, claims: Claims, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("letsgo_queue.worker.incoming.FIRST_PAUSE_SECONDS", 0.01)
        watched = Watched(claims.store)
        watched.fail("acquire", times=3)
        claims.check = small_claim_check(watched.store)
        shop = Shop(claims, clock)
        shop.send(message_body("order:new", "small"))

        shop.worker().run(burst=True)

        assert shop.handled == ["small"]
        assert watched.calls["acquire"] == 4

    def test_on_the_handler_alone(self, shop: Shop, claims: Claims) -> None:
        worker = Worker(shop.queue)
        handle = unwrap_claim_check(claim_check=claims.check, once=True)(shop.handle)
        worker.handler("order:new")(handle)
        message_id = shop.send(message_body("order:new", "small"))

        worker.run(burst=True)

        assert claims.store.look_up(f"once//{message_id}@") == Record("done", 0)


def receives(sealed: str, *ids: str) -> dict[str, Any]:
    return event_of(*(record_of(sealed, id) for id in ids))


class TestInLambda:
    """`worker.lambda_handler`, and `@unwrap_claim_check` on a handler of events."""

    @pytest.fixture(params=["worker", "unwrap"])
    def handler(
        self, request: pytest.FixtureRequest, shop: Shop, claims: Claims
    ) -> Callable[[Mapping[str, Any], object], Any]:
        if request.param == "worker":
            return shop.worker().lambda_handler

        @unwrap_claim_check(claim_check=claims.check, once=True)
        def handler(event: dict[str, Any], context: object) -> None:
            for record in event["Records"]:
                shop.handle(Message.model_validate_json(record["body"]))

        def answering(event: Mapping[str, Any], context: object) -> Any:
            try:
                answer: object = handler(dict(event), context)
            except ZeroDivisionError:  # and Lambda delivers all of it again
                return failed(*(each["messageId"] for each in event["Records"]))
            return answer or failed()

        return answering

    def test_a_redelivery_after_success_does_not_run_the_handler(
        self, handler: Callable[..., Any], shop: Shop, sealed: str, payload: str
    ) -> None:
        for _ in range(2):
            assert handler(receives(sealed, "m-1"), Context()) == failed()

        assert shop.handled == [payload]

    def test_a_failure_is_tried_again(
        self, handler: Callable[..., Any], shop: Shop, sealed: str, payload: str
    ) -> None:
        shop.fails = True
        assert handler(receives(sealed, "m-1"), Context()) == failed("m-1")
        shop.fails = False

        assert handler(receives(sealed, "m-1"), Context()) == failed()
        assert shop.handled == [payload]

    def test_one_of_two_at_once_runs(
        self, handler: Callable[..., Any], shop: Shop, sealed: str, payload: str
    ) -> None:
        inside, go_on = threading.Event(), threading.Event()

        def wait() -> None:
            inside.set()
            assert go_on.wait(20)

        shop.during = wait
        answers: list[object] = []
        first = threading.Thread(
            target=lambda: answers.append(handler(receives(sealed, "m-1"), Context()))
        )
        first.start()
        assert inside.wait(20)

        assert handler(receives(sealed, "m-1"), Context()) == failed("m-1")

        go_on.set()
        first.join(20)
        assert answers == [failed()]
        assert shop.handled == [payload]


class TestOnRecords:
    def test_a_second_call_does_not_run_the_function(
        self, claims: Claims, sealed: str, payload: str
    ) -> None:
        seen: list[str] = []

        @unwrap_record(claim_check=claims.check, once=True)
        def on_record(record: dict[str, Any]) -> str:
            seen.append(json.loads(record["body"])["payload"])
            return "done"

        assert on_record(record_of(sealed, "m-1")) == "done"
        assert on_record(record_of(sealed, "m-1")) is None
        assert seen == [payload]

    def test_a_failure_is_tried_again(self, claims: Claims, sealed: str) -> None:
        @unwrap_record(claim_check=claims.check, once=True)
        def on_record(record: dict[str, Any], *, fails: bool) -> str:
            if fails:
                raise ZeroDivisionError
            return "done"

        with pytest.raises(ZeroDivisionError):
            on_record(record_of(sealed, "m-1"), fails=True)
        assert on_record(record_of(sealed, "m-1"), fails=False) == "done"

    def test_one_of_two_at_once_runs(self, claims: Claims, sealed: str) -> None:
        @unwrap_record(claim_check=claims.check, once=True)
        def on_record(record: dict[str, Any]) -> str:
            with pytest.raises(ClaimInProgress):
                on_record(record_of(sealed, "m-1"))
            return "done"

        assert on_record(record_of(sealed, "m-1")) == "done"

    def test_a_duplicate_may_be_an_error(self, claims: Claims) -> None:
        @unwrap_record(claim_check=claims.check, once=True, on_duplicate="raise")
        def on_record(record: dict[str, Any]) -> None: ...

        small = record_of(message_body("order:new", "small"), "m-1")
        on_record(small)

        with pytest.raises(ClaimAlreadyProcessed, match=r"^message m-1 was handled before"):
            on_record(small)

    def test_what_needs_no_opening_is_the_same_record(self, claims: Claims) -> None:
        """It need not be of a kind that can be copied."""

        class Fixed:
            message_id = "m-1"

            @property
            def body(self) -> str:
                return message_body("order:new", "small")

        @unwrap_record(claim_check=claims.check, once=True)
        def on_record(record: Fixed) -> Fixed:
            return record

        record = Fixed()
        assert on_record(record) is record

    def test_without_an_id_it_is_refused(
        self, claims: Claims, store: MemoryClaimStore, sealed: str
    ) -> None:
        """All of them would share one receipt, and only the first be handled."""

        @unwrap_record(claim_check=claims.check, once=True)
        def on_record(record: dict[str, Any]) -> None:
            raise AssertionError

        record = record_of(sealed, "")
        for each in (record, {"body": sealed}):
            with pytest.raises(RecordUnsupported, match=r"^message \(no id\): .* messageId"):
                on_record(each)
        assert store.look_up("once/my-queue/(no id)@") is None

    def test_an_event_without_ids_is_refused(self, claims: Claims, sealed: str) -> None:
        function = Function(claims)

        with pytest.raises(RecordUnsupported, match="messageId"):
            function.decorated(once=True)(event_of({"body": sealed}), Context())
        assert function.seen == []

    def test_a_body_that_was_parsed_before_is_an_error(self, claims: Claims) -> None:
        @unwrap_record(claim_check=claims.check, once=True)
        def on_record(record: object) -> None:
            raise AssertionError

        with pytest.raises(RecordUnsupported, match=r"message m-1: .* was parsed before"):
            on_record(SimpleNamespace(message_id="m-1", body={"type": "order:new"}))


def test_a_worker_and_lambda_know_of_each_other(
    claims: Claims, clock: Clock, sealed: str, payload: str
) -> None:
    """The queue's name is the same, whatever its URL."""
    shop = Shop(claims, clock)
    shop.queue.url = "https://sqs.us-east-2.amazonaws.com/123456789012/my-queue/"
    message_id = shop.send(sealed)
    shop.worker().run(burst=True)

    @unwrap_claim_check(claim_check=claims.check, once=True)
    def handler(event: dict[str, Any], context: object) -> None:
        raise AssertionError

    assert handler(receives(sealed, message_id), Context()) == failed()
    assert shop.handled == [payload]
