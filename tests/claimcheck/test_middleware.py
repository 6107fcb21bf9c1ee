"""The claim check around a worker's handler: what becomes of each delivery."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic_core import from_json

from claimcheck import (
    ClaimAlreadyProcessed,
    ClaimCheckMiddleware,
    ClaimCorrupted,
    ClaimLost,
    ClaimStoreError,
    ClaimStoreUnavailable,
    DuplicateSuppressed,
    MessageOpened,
    MessageSealed,
)
from claimcheck.stores.base import Record
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    Delivery,
    Event,
    Message,
    MessageFailed,
    MessageHandled,
    MessageSent,
    MessageSkipped,
    Worker,
)
from letsgo_queue.limits import DEFAULT_VISIBILITY_TIMEOUT
from letsgo_queue.middleware import Middleware, Steps
from letsgo_queue.transports.base import OutgoingMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import incoming as deliveries
from letsgo_queue.worker.incoming import IncomingMessage
from tests.claimcheck.support import (
    SECRET,
    claim_record,
    contents_of,
    forge,
    message_body,
    noise,
    parts_left,
    rewrite_parts,
    small_claim_check,
    ticket_in,
)
from tests.claimcheck.watched import ALWAYS, Watched
from tests.letsgo_queue.support import outcomes

PAYLOAD = f"{SECRET} {noise(6_000)}"
LARGE = {"type": "order:new", "payload": PAYLOAD}


@dataclass
class Shop:
    """A queue, a store, a client, and workers that hear what their handlers get."""

    clock: Clock
    store: MemoryClaimStore
    handled: list[str] = field(default_factory=list)
    heard: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.check = small_claim_check(self.store)
        self.queue = MemoryTransport(clock=self.clock)
        self.client = Client(self.queue, middleware=[ClaimCheckMiddleware(self.check)])

    def enqueue(self) -> str:
        """Enqueue the large message; gives its body on the queue."""
        self.client.enqueue(LARGE)
        (on_queue,) = self.queue.receive(max_messages=1, wait_seconds=0, visibility_timeout=0)
        return on_queue.body

    def send(self, body: str) -> None:
        """Have the queue deliver a body once more, or a forged body."""
        self.queue.send(OutgoingMessage(type="order:new", body=body.encode()))

    def work(
        self,
        middleware: ClaimCheckMiddleware | None = None,
        *,
        outer: Sequence[Middleware] = (),
        during: Callable[[Delivery], None] = lambda _: None,
    ) -> list[Event]:
        """Handle what can be received, and tell what the worker's listeners heard."""
        self.heard.clear()
        worker = Worker(
            self.queue,
            middleware=[*outer, middleware or ClaimCheckMiddleware(self.check)],
            concurrency=1,
        )
        worker.add_listener(outcomes(self.heard))

        @worker.handler("order:new")
        def on_order(message: Message[str], delivery: Delivery) -> None:
            during(delivery)
            self.handled.append(message.payload)

        worker.run(burst=True)
        return self.heard

    def left_on_queue(self) -> int:
        """How many messages are there, visible or not."""
        return len(self.queue._messages)

    def is_back(self, body: str) -> bool:
        """Whether a claim is to be processed."""
        return claim_record(self.store, body) is None and parts_left(self.store, body) > 0


@pytest.fixture
def shop(clock: Clock, store: MemoryClaimStore) -> Shop:
    return Shop(clock, store)


def failed_with(heard: list[Event], error: type[Exception]) -> MessageFailed:
    (failed,) = heard
    assert isinstance(failed, MessageFailed)
    assert isinstance(failed.error, error)
    return failed


def fail(_: Delivery) -> None:
    raise ZeroDivisionError


class FailsToCommit(Middleware):
    def handle(self, message: IncomingMessage, /) -> Steps:
        yield
        raise ZeroDivisionError


class InHand(Middleware):
    """Shows the messages that go through it."""

    def __init__(self) -> None:
        self.messages: list[IncomingMessage] = []

    def handle(self, message: IncomingMessage, /) -> Steps:
        self.messages.append(message)
        yield


class DeliveryEnds(Middleware):
    """The heartbeat hears that the queue has ended a delivery whose way has begun."""

    def handle(self, message: IncomingMessage, /) -> Steps:
        message.invisible_until = None
        yield


class TestSuccess:
    @pytest.mark.parametrize("payload", ["small", "x" * 5_000, PAYLOAD])
    def test_attributes_count_on_both_sides(self, shop: Shop, payload: str) -> None:
        events: list[Event] = []
        shop.client.add_listener(events.append)
        of_attributes = len("nameStringvalue")
        size = len(message_body("order:new", payload)) + of_attributes

        result = shop.client.enqueue(
            {"type": "order:new", "payload": payload}, attributes={"name": "value"}
        )
        opened, _ = shop.work()

        sealed, sent = events
        assert isinstance(sealed, MessageSealed)
        assert isinstance(sent, MessageSent)
        assert isinstance(opened, MessageOpened)
        assert {result.size, sealed.size, sent.size, opened.size} == {size}
        assert sent.attributes_size == of_attributes
        assert (result.sent_size == size) == (result.route == "inline")

    @pytest.mark.parametrize(
        ("payload", "route"),
        [("small", "inline"), ("x" * 5_000, "compressed"), (PAYLOAD, "stored")],
    )
    def test_the_handler_gets_what_was_sent(self, shop: Shop, payload: str, route: str) -> None:
        result = shop.client.enqueue({"type": "order:new", "payload": payload})

        opened, handled = shop.work()

        assert shop.handled == [payload]
        assert shop.left_on_queue() == 0
        assert shop.store._contents == {}
        assert isinstance(handled, MessageHandled)
        assert isinstance(opened, MessageOpened)
        assert (opened.type, opened.queue) == ("order:new", "memory://")
        assert opened.message_id == handled.message_id == result.message_id
        assert (opened.route, opened.size) == (route, len(message_body("order:new", payload)))
        assert (opened.claim_id is not None) == (route == "stored")
        assert 0 < opened.duration < 60

    def test_while_the_handler_runs_it_has_the_claim_for_as_long_as_the_message(
        self, shop: Shop
    ) -> None:
        body = shop.enqueue()
        seen: list[object] = []

        def look(_: Delivery) -> None:
            seen.extend([claim_record(shop.store, body), parts_left(shop.store, body)])

        shop.work(during=look)

        record, parts = seen
        assert isinstance(record, Record)
        assert record.state == "leased"
        # Within what the machine took from receiving to opening.
        assert 0 < record.seconds_left <= DEFAULT_VISIBILITY_TIMEOUT
        assert parts == 1
        assert claim_record(shop.store, body) == Record("done", 0)
        assert parts_left(shop.store, body) == 0

    def test_events_carry_no_content(self, shop: Shop) -> None:
        sent: list[Event] = []
        shop.client.add_listener(sent.append)
        shop.enqueue()

        heard = shop.work()

        assert len(sent + heard) == 4
        assert SECRET not in repr(sent + heard)

    @pytest.mark.parametrize("payload", ["x" * 5_000, PAYLOAD])
    def test_a_sealed_body_is_parsed_once(
        self, shop: Shop, payload: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A ticket may carry 1 MiB."""
        shop.client.enqueue({"type": "order:new", "payload": payload})
        parsed: list[object] = []

        def parse(body: str, **options: Any) -> object:
            parsed.append(body)
            return from_json(body, **options)

        monkeypatch.setattr("letsgo_queue.envelope.from_json", parse)
        shop.work()

        assert shop.handled == [payload]
        assert len(parsed) == 1


class TestFailure:
    def test_the_claim_is_back_and_the_retry_gets_it(self, shop: Shop) -> None:
        body = shop.enqueue()
        before = contents_of(shop.store, body)

        _, failed = shop.work(during=fail)

        assert isinstance(failed, MessageFailed)
        assert isinstance(failed.error, ZeroDivisionError)
        assert shop.is_back(body)
        assert contents_of(shop.store, body) == before
        assert shop.work() == []
        shop.clock.advance(DEFAULT_VISIBILITY_TIMEOUT)
        shop.work()
        assert shop.handled == [PAYLOAD]
        assert shop.left_on_queue() == parts_left(shop.store, body) == 0

    @pytest.mark.parametrize("payload", [PAYLOAD, "small"])
    def test_an_outer_middleware_that_fails_is_a_failure_too(
        self, shop: Shop, payload: str
    ) -> None:
        """A transaction whose commit fails, say: the handler's work is undone."""
        once = ClaimCheckMiddleware(shop.check, once=True)
        shop.client.enqueue({"type": "order:new", "payload": payload})

        _, failed = shop.work(once, outer=[FailsToCommit()])
        shop.clock.advance(DEFAULT_VISIBILITY_TIMEOUT)
        _, handled = shop.work(once)

        assert isinstance(failed, MessageFailed)
        assert isinstance(handled, MessageHandled)
        assert shop.handled == [payload, payload]
        assert shop.left_on_queue() == 0

    def test_a_message_that_does_not_fit_the_handler_is_a_failure_too(self, shop: Shop) -> None:
        shop.client.enqueue({"type": "order:new", "payload": [PAYLOAD]})

        _, failed = shop.work()

        assert isinstance(failed, MessageFailed)
        assert "does not fit the handler" in str(failed.error)
        assert len(shop.store._contents) == 1
        assert shop.store._records == {}
        assert shop.left_on_queue() == 1

    def test_a_worker_that_died_is_not_waited_for_longer_than_its_message(self, shop: Shop) -> None:
        body = shop.enqueue()
        shop.queue.receive(max_messages=1, wait_seconds=0, visibility_timeout=30)
        shop.check.open(body, lease_seconds=30)  # and nothing more

        shop.clock.advance(29)
        assert shop.work() == []
        shop.clock.advance(1)
        shop.work()

        assert shop.handled == [PAYLOAD]

    def test_a_damaged_claim_fails_and_stays(self, shop: Shop) -> None:
        body = shop.enqueue()
        rewrite_parts(shop.store, body, lambda _: [SECRET.encode()])

        failed = failed_with(shop.work(), ClaimCorrupted)

        assert f"message {failed.message_id} of type 'order:new'" in str(failed.error)
        assert shop.is_back(body)
        assert shop.left_on_queue() == 1
        assert shop.handled == []

    def test_a_store_that_is_down_is_waited_for_with_the_message_in_hand(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(deliveries, "FIRST_PAUSE_SECONDS", 0.01)
        shop.enqueue()
        watched = Watched(shop.store)
        watched.fail("acquire", times=3)

        events = shop.work(ClaimCheckMiddleware(small_claim_check(watched.store)))

        assert [type(event) for event in events] == [MessageOpened, MessageHandled]
        assert shop.handled == [PAYLOAD]
        assert watched.calls["acquire"] == 4

    def test_a_lost_answer_has_acquired_it_for_this_delivery(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(deliveries, "FIRST_PAUSE_SECONDS", 0.01)
        shop.enqueue()
        watched = Watched(shop.store)
        watched.lose_answer("acquire")

        events = shop.work(ClaimCheckMiddleware(small_claim_check(watched.store)))

        assert [type(event) for event in events] == [MessageOpened, MessageHandled]
        assert shop.handled == [PAYLOAD]

    @pytest.mark.parametrize("answer", ["lost", "contents unread"])
    def test_a_lease_that_may_have_been_released_is_not_used_again(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch, answer: str
    ) -> None:
        """Releasing may take effect late, when the next try holds the claim."""
        monkeypatch.setattr(deliveries, "FIRST_PAUSE_SECONDS", 0.01)
        body = shop.enqueue()
        watched = Watched(shop.store)
        leases: list[str] = []

        def note_lease() -> None:
            found, _ = shop.store._records[f"{ticket_in(body)['id']}@"]
            leases.append(from_json(found.data)["lease_id"])
            if answer == "lost" and len(leases) == 1:
                raise ClaimStoreUnavailable("the test says so")

        watched.after("acquire", note_lease)
        watched.after("acquire", note_lease)
        if answer != "lost":
            watched.fail_reading()

        shop.work(ClaimCheckMiddleware(small_claim_check(watched.store)))

        assert shop.handled == [PAYLOAD]
        first, second = leases
        assert (first == second) == (answer == "lost")

    def test_a_store_that_stays_down_leaves_the_message_to_its_retries(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ClaimStoreError, "patience", 0.0)
        shop.enqueue()
        watched = Watched(shop.store)
        watched.fail("acquire", times=ALWAYS)
        down = ClaimCheckMiddleware(small_claim_check(watched.store))

        failed = failed_with(shop.work(down), ClaimStoreUnavailable)

        assert "the test says so" in str(failed.error)
        assert shop.left_on_queue() == 1
        shop.clock.advance(DEFAULT_VISIBILITY_TIMEOUT)
        shop.work()
        assert shop.handled == [PAYLOAD]

    def test_no_error_and_no_log_has_content_in_it(
        self, shop: Shop, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG):
            body = shop.enqueue()
            shop.send(forge(body, id=f"{SECRET}!"))
            shop.send(forge(body, **{SECRET: SECRET}))
            shop.send(forge(body, stored=1))
            shop.send(forge(body, encoding=SECRET))
            shop.send(body.replace("order:new", "order:paid"))
            shop.send(message_body("order:new", {SECRET: SECRET}))
            rewrite_parts(shop.store, body, lambda _: [PAYLOAD.encode()])
            heard = shop.work()

        errors = [event.error for event in heard if isinstance(event, MessageFailed)]
        assert len(errors) == 7
        assert SECRET not in " ".join(map(str, errors))
        assert "its ticket is malformed" in caplog.text
        assert SECRET not in caplog.text


class TestDuplicates:
    def test_one_is_acknowledged_and_its_handler_does_not_run(
        self, shop: Shop, caplog: pytest.LogCaptureFixture
    ) -> None:
        body = shop.enqueue()
        shop.work()
        shop.send(body)

        with caplog.at_level(logging.INFO):
            suppressed, skipped = shop.work()

        assert shop.handled == [PAYLOAD]
        assert shop.left_on_queue() == 0
        assert isinstance(skipped, MessageSkipped)
        assert suppressed == DuplicateSuppressed(
            type="order:new",
            queue="memory://",
            message_id=skipped.message_id,
            receive_count=1,
        )
        assert "this delivery is a duplicate" in caplog.text

    def test_one_is_raised_where_that_is_asked_for(self, shop: Shop) -> None:
        body = shop.enqueue()
        shop.work()
        shop.send(body)

        heard = shop.work(ClaimCheckMiddleware(shop.check, on_duplicate="raise"))

        failed_with(heard, ClaimAlreadyProcessed)
        assert shop.handled == [PAYLOAD]
        assert shop.left_on_queue() == 1

    def test_a_crash_after_the_hand_over_is_none(self, shop: Shop) -> None:
        body = shop.enqueue()
        shop.check.open(body, purge="before")  # and nothing more
        shop.clock.advance(120)

        failed_with(shop.work(ClaimCheckMiddleware(shop.check, purge="before")), ClaimLost)

        assert shop.handled == []
        assert shop.left_on_queue() == 1


class TestExtending:
    def test_the_lease_is_extended_with_the_message(self, shop: Shop) -> None:
        body = shop.enqueue()
        seen: list[object] = []

        def extend(delivery: Delivery) -> None:
            delivery.extend(600)
            seen.append(claim_record(shop.store, body))

        shop.work(during=extend)

        assert seen == [Record("leased", 600)]
        assert shop.handled == [PAYLOAD]

    def test_a_lease_that_is_lost_is_logged(
        self, shop: Shop, caplog: pytest.LogCaptureFixture
    ) -> None:
        body = shop.enqueue()

        def lose_it(delivery: Delivery) -> None:
            shop.clock.advance(60)
            shop.check.open(body)
            delivery.extend(600)
            assert f"message {delivery.message_id}: another delivery has it" in caplog.text

        shop.work(during=lose_it)

        assert shop.handled == [PAYLOAD]
        assert claim_record(shop.store, body) == Record("leased", 120)
        assert parts_left(shop.store, body) == 1

    def test_an_extension_while_the_message_is_opened_does_not_make_its_lease_late(
        self, shop: Shop
    ) -> None:
        """The lease still ends when the visibility timeout would have ended without it."""
        shop.enqueue()
        watched = Watched(shop.store)
        in_hand = InHand()
        due: list[float] = []
        watched.before(
            "acquire", lambda: in_hand.messages[0].extend(10 * DEFAULT_VISIBILITY_TIMEOUT)
        )

        def look(_: Delivery) -> None:
            (message,) = in_hand.messages
            due.append(message.leases_due - message.arrived)

        shop.work(
            ClaimCheckMiddleware(small_claim_check(watched.store)), outer=[in_hand], during=look
        )

        assert 0 < due[0] <= DEFAULT_VISIBILITY_TIMEOUT / 2 + 1

    def test_the_lease_is_extended_where_the_queue_has_ended_the_delivery(self, shop: Shop) -> None:
        """The heartbeat heard so while the message was on its way to the handler."""
        shop.enqueue()
        in_hand = InHand()
        due: list[float] = []

        shop.work(
            outer=[in_hand, DeliveryEnds()],
            during=lambda _: due.append(in_hand.messages[0].leases_due),
        )

        assert due[0] <= time.monotonic()

    def test_a_store_that_fails_does_not_stop_the_handler(
        self, shop: Shop, caplog: pytest.LogCaptureFixture
    ) -> None:
        shop.enqueue()
        watched = Watched(shop.store)
        watched.fail("extend")

        shop.work(
            ClaimCheckMiddleware(small_claim_check(watched.store)),
            during=lambda delivery: delivery.extend(600),
        )

        assert "its lease was not extended: the test says so" in caplog.text
        assert shop.handled == [PAYLOAD]
        assert shop.store._contents == {}


class TestHostileMessages:
    def test_a_forged_ticket_leaves_the_claim_to_its_own_message(self, shop: Shop) -> None:
        body = shop.enqueue()
        shop.queue.receive(max_messages=1, wait_seconds=0, visibility_timeout=10)
        shop.send(forge(body, size=9_999))

        failed_with(shop.work(), ClaimCorrupted)

        assert shop.is_back(body)
        shop.clock.advance(10)
        shop.work()
        assert shop.handled == [PAYLOAD]
