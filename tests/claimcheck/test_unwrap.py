"""`@unwrap_claim_check` on a worker's handlers."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel

import claimcheck
from claimcheck import (
    ClaimAlreadyProcessed,
    ClaimCheckMiddleware,
    MessageOpened,
    Purge,
    SettingsInvalid,
    unwrap_claim_check,
)
from claimcheck.settings import claim_check_for
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import (
    Client,
    Delivery,
    Event,
    Message,
    MessageFailed,
    MessageHandled,
    Middleware,
    Worker,
)
from letsgo_queue.transports.base import OutgoingMessage
from letsgo_queue.transports.memory import MemoryTransport
from tests.claimcheck.support import claim_record, noise, parts_left, small_claim_check
from tests.letsgo_queue.support import outcomes

PAYLOAD = noise(6_000)
LARGE = {"type": "order:new", "payload": PAYLOAD}


class OrderNew(Message[str]):
    type: Literal["order:new"] = "order:new"


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the environment says; the decorator finds its claims by it."""
    url = f"sqlite:///{tmp_path}/work.db"
    monkeypatch.setenv("LETSGO_QUEUE_URL", url)
    monkeypatch.setenv("CLAIMCHECK_THRESHOLD", "1000")
    monkeypatch.setenv("CLAIMCHECK_INLINE_LIMIT", "1000")
    return url


def run(worker: Worker) -> list[Event]:
    heard: list[Event] = []
    worker.add_listener(outcomes(heard))
    worker.run(burst=True)
    return heard


@pytest.mark.usefixtures("queue")
class TestDecorating:
    """Each way of writing it down; the handler gets the whole message."""

    def check(
        self, write_down: Callable[[Worker, list[object]], None], *middleware: Middleware
    ) -> None:
        got: list[object] = []
        worker = Worker(middleware=middleware)
        write_down(worker, got)
        claimcheck.enqueue(LARGE)

        opened, handled = run(worker)

        assert isinstance(opened, MessageOpened)
        assert opened.route == "stored"
        assert isinstance(handled, MessageHandled)
        assert got == [OrderNew(payload=PAYLOAD)]

    def test_bare(self) -> None:
        def write_down(worker: Worker, got: list[object]) -> None:
            @worker.handler("order:new")
            @unwrap_claim_check
            def on_order(message: OrderNew) -> None:
                got.append(message)

        self.check(write_down)

    def test_with_arguments(self) -> None:
        def write_down(worker: Worker, got: list[object]) -> None:
            @worker.handler("order:new")
            @unwrap_claim_check(purge="before", on_duplicate="raise")
            def on_order(message: OrderNew) -> None:
                got.append(message)

        self.check(write_down)

    def test_with_no_arguments_in_brackets(self) -> None:
        def write_down(worker: Worker, got: list[object]) -> None:
            @worker.handler("order:new")
            @unwrap_claim_check()
            def on_order(message: OrderNew) -> None:
                got.append(message)

        self.check(write_down)

    def test_above_the_registration(self) -> None:
        def write_down(worker: Worker, got: list[object]) -> None:
            @unwrap_claim_check
            @worker.handler("order:new")
            def on_order(message: OrderNew) -> None:
                got.append(message)

        self.check(write_down)

    def test_on_an_async_handler(self) -> None:
        def write_down(worker: Worker, got: list[object]) -> None:
            @worker.handler("order:new")
            @unwrap_claim_check
            async def on_order(message: OrderNew) -> None:
                await asyncio.sleep(0)
                got.append(message)

        self.check(write_down)

    def test_on_a_handler_that_takes_the_delivery(self) -> None:
        def write_down(worker: Worker, got: list[object]) -> None:
            @worker.handler("order:new")
            @unwrap_claim_check
            async def on_order(message: OrderNew, delivery: Delivery) -> None:
                assert delivery.receive_count == 1
                got.append(message)

        self.check(write_down)

    def test_on_the_default_handler(self) -> None:
        def write_down(worker: Worker, got: list[object]) -> None:
            @worker.default
            @unwrap_claim_check
            def on_any(message: OrderNew) -> None:
                got.append(message)

        self.check(write_down)

    def test_on_a_method(self) -> None:
        def write_down(worker: Worker, got: list[object]) -> None:
            class Orders:
                @unwrap_claim_check
                def on_order(self, message: OrderNew, delivery: Delivery) -> None:
                    assert delivery.receive_count == 1
                    got.append(message)

            worker.handler("order:new")(Orders().on_order)

        self.check(write_down)

    def test_on_a_bound_method(self) -> None:
        def write_down(worker: Worker, got: list[object]) -> None:
            class Orders:
                def on_order(self, message: OrderNew) -> None:
                    got.append(message)

            worker.handler("order:new")(unwrap_claim_check(Orders().on_order))

        self.check(write_down)

    @pytest.mark.parametrize("outside", [True, False])
    def test_beside_another_decorator(self, outside: bool) -> None:
        def write_down(worker: Worker, got: list[object]) -> None:
            def on_order(message: OrderNew) -> None:
                got.append(message)

            decorate = (traced, unwrap_claim_check) if outside else (unwrap_claim_check, traced)
            worker.handler("order:new")(decorate[0](decorate[1](on_order)))

        self.check(write_down)

    def test_together_with_the_workers_middleware_it_opens_once(self) -> None:
        def write_down(worker: Worker, got: list[object]) -> None:
            @worker.handler("order:new")
            @unwrap_claim_check
            def on_order(message: OrderNew) -> None:
                got.append(message)

        self.check(write_down, ClaimCheckMiddleware())


def traced(function: Callable[[OrderNew], None]) -> Callable[[OrderNew], None]:
    @functools.wraps(function)
    def call(message: OrderNew) -> None:
        function(message)

    return call


class Mail(BaseModel):
    """A message of somebody who needs no `type` in it, and forwards other messages."""

    body: str


class TestMessagesThatLookLikeRecords:
    """What a worker hands over is a message, opened already: it is never taken for a record."""

    @pytest.fixture
    def forwarded(self, queue: str) -> str:
        """A message that is sealed, and whose claim is nobody's business here."""
        sealed = claim_check_for(queue).seal(json.dumps(LARGE))
        assert sealed.route == "stored"
        return sealed.body.decode()

    def check(
        self,
        queue: str,
        forwarded: str,
        write_down: Callable[[Worker, list[object]], None],
        *around: ClaimCheckMiddleware,
    ) -> None:
        got: list[object] = []
        worker = Worker(middleware=around)
        write_down(worker, got)
        claimcheck.enqueue({"type": "mail:new", "body": forwarded})
        claimcheck.enqueue({"type": "mail:new", "body": forwarded, "padding": noise(6_000)})

        heard = run(worker)

        handled = [event for event in heard if isinstance(event, MessageHandled)]
        assert len(handled) == 2
        assert got == [forwarded] * 2
        store = claim_check_for(queue).store
        assert claim_record(store, forwarded) is None
        assert parts_left(store, forwarded) == 1

    def test_sync(self, queue: str, forwarded: str) -> None:
        def write_down(worker: Worker, got: list[object]) -> None:
            @worker.handler("mail:new")
            @unwrap_claim_check
            def on_mail(message: Mail, delivery: Delivery) -> None:
                got.append(message.body)

        self.check(queue, forwarded, write_down)

    def test_with_the_options_of_its_worker(self, queue: str, forwarded: str) -> None:
        def write_down(worker: Worker, got: list[object]) -> None:
            @worker.handler("mail:new")
            @unwrap_claim_check
            def on_mail(message: Mail) -> None:
                got.append(message.body)

        self.check(queue, forwarded, write_down, ClaimCheckMiddleware(on_duplicate="raise"))

    def test_async(self, queue: str, forwarded: str) -> None:
        def write_down(worker: Worker, got: list[object]) -> None:
            @worker.handler("mail:new")
            @unwrap_claim_check
            async def on_mail(message: Mail) -> None:
                await asyncio.sleep(0)
                got.append(message.body)

        self.check(queue, forwarded, write_down)

    def test_decorated_twice(self, queue: str, forwarded: str) -> None:
        def write_down(worker: Worker, got: list[object]) -> None:
            @worker.handler("mail:new")
            @unwrap_claim_check
            @unwrap_claim_check(on_duplicate="raise")
            def on_mail(message: Mail) -> None:
                got.append(message.body)

        self.check(queue, forwarded, write_down)

    def test_a_record_function_that_a_handler_calls_still_opens_what_it_gets(
        self, queue: str, forwarded: str
    ) -> None:
        got: list[object] = []
        worker = Worker()

        @unwrap_claim_check
        def on_record(record: dict[str, str]) -> None:
            got.append(record["body"])

        @worker.handler("mail:new")
        @unwrap_claim_check
        def on_mail(message: Mail) -> None:
            on_record({"body": message.body})

        claimcheck.enqueue({"type": "mail:new", "body": forwarded})
        run(worker)

        assert got == [json.dumps(LARGE)]


class TestCalledDirectly:
    def test_a_function_is_what_it_was(self) -> None:
        @unwrap_claim_check
        def on_order(message: OrderNew) -> str:
            return message.payload

        @unwrap_claim_check(purge="never")
        async def on_order_async(message: OrderNew) -> str:
            return message.payload

        assert on_order(OrderNew(payload="x")) == "x"
        assert on_order.__name__ == "on_order"
        assert asyncio.run(on_order_async(OrderNew(payload="y"))) == "y"


class TestSettings:
    @pytest.fixture
    def transport(self) -> MemoryTransport:
        return MemoryTransport()

    @pytest.fixture
    def client(self, transport: MemoryTransport, store: MemoryClaimStore) -> Client:
        return Client(transport, middleware=[ClaimCheckMiddleware(small_claim_check(store))])

    @pytest.mark.parametrize(
        ("purge", "while_it_runs", "afterwards"),
        [(None, 1, 0), ("after", 1, 0), ("before", 0, 0), ("never", 1, 1)],
    )
    def test_when_the_bytes_are_removed(
        self, store: MemoryClaimStore, purge: Purge | None, while_it_runs: int, afterwards: int
    ) -> None:
        client = Client(
            MemoryTransport(), middleware=[ClaimCheckMiddleware(small_claim_check(store))]
        )
        seen: list[int] = []
        worker = Worker(client=client)

        @worker.handler("order:new")
        @unwrap_claim_check(claim_check=small_claim_check(store), purge=purge)
        def on_order(message: OrderNew) -> None:
            assert message.payload == PAYLOAD
            seen.append(len(store._contents))

        client.enqueue(LARGE)
        run(worker)

        assert seen == [while_it_runs]
        assert len(store._contents) == afterwards

    def test_the_decorator_counts_and_not_the_workers_middleware(
        self, client: Client, transport: MemoryTransport, store: MemoryClaimStore
    ) -> None:
        check = small_claim_check(store)
        other = ClaimCheckMiddleware(small_claim_check(MemoryClaimStore()))
        worker = Worker(client=client, middleware=[other])

        @worker.handler("order:new")
        @unwrap_claim_check(claim_check=check, on_duplicate="raise")
        def on_order(message: OrderNew) -> None:
            assert message.payload == PAYLOAD

        client.enqueue(LARGE)
        (on_queue,) = transport.receive(max_messages=1, wait_seconds=0, visibility_timeout=0)
        assert [type(event) for event in run(worker)] == [MessageOpened, MessageHandled]
        transport.send(OutgoingMessage(type="order:new", body=on_queue.body.encode()))
        failed = run(worker)[-1]

        assert isinstance(failed, MessageFailed)
        assert isinstance(failed.error, ClaimAlreadyProcessed)

    def test_what_is_not_known_is_refused_where_it_is_written(self) -> None:
        with pytest.raises(SettingsInvalid, match="purge='sometimes'"):
            unwrap_claim_check(purge="sometimes")  # type: ignore[call-overload]  # that is the test
        with pytest.raises(SettingsInvalid, match="on_duplicate='ignore'"):
            unwrap_claim_check(on_duplicate="ignore")  # type: ignore[call-overload]  # that is the test


@pytest.mark.usefixtures("queue")
class TestUndecorated:
    def test_the_error_says_to_decorate_the_handler(self) -> None:
        worker = Worker()

        @worker.handler("order:new")
        def on_order(message: OrderNew) -> None:
            raise AssertionError

        result = claimcheck.enqueue(LARGE)
        (failed,) = run(worker)

        assert isinstance(failed, MessageFailed)
        text = str(failed.error)
        assert f"message {result.message_id} of type 'order:new' is a claim check" in text
        assert "on_order. Decorate the handler with @claimcheck.unwrap_claim_check" in text
        assert PAYLOAD[:20] not in text

    def test_a_small_message_needs_no_decorator(self) -> None:
        got: list[str] = []
        worker = Worker()

        @worker.handler("order:new")
        def on_order(message: OrderNew) -> None:
            got.append(message.payload)

        claimcheck.enqueue(OrderNew(payload="small"))
        run(worker)

        assert got == ["small"]

    def test_the_workers_middleware_is_enough(self) -> None:
        got: list[str] = []
        worker = Worker(middleware=[ClaimCheckMiddleware()])

        @worker.handler("order:new")
        def on_order(message: OrderNew) -> None:
            got.append(message.payload)

        claimcheck.enqueue(LARGE)
        run(worker)

        assert got == [PAYLOAD]
