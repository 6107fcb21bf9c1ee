"""The claim check around a worker's handler: what becomes of each delivery."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

import claimcheck.middleware
from claimcheck import (
    ClaimAlreadyProcessed,
    ClaimCheck,
    ClaimCheckMiddleware,
    ClaimCorrupted,
    ClaimInProgress,
    ClaimLost,
    ClaimStoreUnavailable,
    DuplicateSuppressed,
    MessageOpened,
    SettingsInvalid,
    TicketInvalid,
)
from claimcheck.stores.base import Claim, Held, Lease
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import (
    Client,
    Delivery,
    Event,
    Message,
    MessageFailed,
    MessageHandled,
    MessageSkipped,
    Worker,
)
from letsgo_queue.transports.base import OutgoingMessage
from letsgo_queue.transports.memory import DEFAULT_VISIBILITY_TIMEOUT, MemoryTransport
from tests.claimcheck.support import (
    SECRET,
    Clock,
    claim_of,
    forge,
    message_body,
    noise,
    rewrite,
    rows_of,
    small_claim_check,
    ticket_in,
)

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
        self.check = small_claim_check(self.store, clock=self.clock)
        self.queue = MemoryTransport(clock=self.clock)
        self.client = Client(self.queue, middleware=[ClaimCheckMiddleware(self.check)])

    def enqueue(self) -> str:
        """Enqueue the large message; gives its body on the queue."""
        self.client.enqueue(LARGE)
        (on_queue,) = self.queue.receive(max_messages=1, wait_seconds=0, visibility_timeout=0)
        return on_queue.body

    def send(self, body: str) -> None:
        """Have the queue deliver a body once more, or one that somebody made up."""
        self.queue.send(OutgoingMessage(type="order:new", body=body.encode()))

    def work(
        self,
        middleware: ClaimCheckMiddleware | None = None,
        *,
        during: Callable[[Delivery], None] = lambda _: None,
    ) -> list[Event]:
        """Handle what can be received, and tell what the worker's listeners heard."""
        self.heard.clear()
        worker = Worker(
            self.queue, middleware=[middleware or ClaimCheckMiddleware(self.check)], concurrency=1
        )
        worker.add_listener(self.heard.append)

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
        return self.store.look_up(ticket_in(body)["id"], now=self.clock.now) is not None


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


class TestSuccess:
    @pytest.mark.parametrize(
        ("payload", "route"),
        [("small", "inline"), ("x" * 5_000, "compressed"), (PAYLOAD, "stored")],
    )
    def test_the_handler_gets_what_was_sent(self, shop: Shop, payload: str, route: str) -> None:
        result = shop.client.enqueue({"type": "order:new", "payload": payload})

        opened, handled = shop.work()

        assert shop.handled == [payload]
        assert shop.left_on_queue() == 0
        assert shop.store._claims == {}
        assert isinstance(handled, MessageHandled)
        assert isinstance(opened, MessageOpened)
        assert (opened.type, opened.queue) == ("order:new", "memory://")
        assert opened.message_id == handled.message_id == result.message_id
        assert (opened.route, opened.size) == (route, len(message_body("order:new", payload)))
        assert (opened.claim_id is not None) == (route == "stored")
        assert 0 < opened.duration < 60

    def test_while_the_handler_runs_the_claim_is_deleted_and_then_purged(self, shop: Shop) -> None:
        body = shop.enqueue()
        seen: list[object] = []

        def look(_: Delivery) -> None:
            seen.extend([shop.is_back(body), rows_of(shop.store, body)])

        shop.work(during=look)

        assert seen == [False, 2]
        assert rows_of(shop.store, body) == 0

    def test_the_lease_is_as_long_as_the_message_is_invisible(self, shop: Shop) -> None:
        body = shop.enqueue()
        seen: list[object] = []

        def look(_: Delivery) -> None:
            seen.append(shop.store.read(ticket_in(body)["id"], 1, now=shop.clock.now))

        shop.work(during=look)

        assert seen == [Held(shop.clock.now + DEFAULT_VISIBILITY_TIMEOUT)]

    def test_events_carry_no_content(self, shop: Shop) -> None:
        sent: list[Event] = []
        shop.client.add_listener(sent.append)
        shop.enqueue()

        heard = shop.work()

        assert len(sent + heard) == 4
        assert SECRET not in repr(sent + heard)


class TestFailure:
    def test_the_claim_is_back_and_the_retry_gets_it(self, shop: Shop) -> None:
        body = shop.enqueue()
        before = claim_of(shop.store, body)

        _, failed = shop.work(during=fail)

        assert isinstance(failed, MessageFailed)
        assert isinstance(failed.error, ZeroDivisionError)
        assert shop.is_back(body)
        assert claim_of(shop.store, body) == before
        assert shop.work() == []
        shop.clock.advance(DEFAULT_VISIBILITY_TIMEOUT)
        shop.work()
        assert shop.handled == [PAYLOAD]
        assert shop.left_on_queue() == rows_of(shop.store, body) == 0

    def test_a_message_that_does_not_fit_the_handler_is_a_failure_too(self, shop: Shop) -> None:
        shop.client.enqueue({"type": "order:new", "payload": [PAYLOAD]})

        _, failed = shop.work()

        assert isinstance(failed, MessageFailed)
        assert "does not fit the handler" in str(failed.error)
        assert len(shop.store._claims) == 1
        assert shop.left_on_queue() == 1

    def test_a_worker_that_died_is_not_waited_for_longer_than_its_message(self, shop: Shop) -> None:
        body = shop.enqueue()
        (received,) = shop.queue.receive(max_messages=1, wait_seconds=0, visibility_timeout=30)
        shop.check.open(body, lease_until=received.invisible_until)  # and nothing more

        shop.clock.advance(29)
        assert shop.work() == []
        shop.clock.advance(1)
        shop.work()

        assert shop.handled == [PAYLOAD]

    def test_a_damaged_claim_fails_and_stays(self, shop: Shop) -> None:
        body = shop.enqueue()
        rewrite(shop.store, claim_of(shop.store, body).head, [SECRET.encode()])

        failed = failed_with(shop.work(), ClaimCorrupted)

        assert f"message {failed.message_id} of type 'order:new'" in str(failed.error)
        assert shop.is_back(body)
        assert shop.left_on_queue() == 1
        assert shop.handled == []

    def test_a_store_that_is_down_is_waited_for_with_the_message_in_hand(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class DownAtFirst(MemoryClaimStore):
            outages = 2

            def take(
                self, claim_id: str, parts: int, lease: Lease, *, now: float
            ) -> Claim | Held | None:
                self.outages -= 1
                if self.outages >= 0:
                    raise ClaimStoreUnavailable("the store is down")
                return shop.store.take(claim_id, parts, lease, now=now)

        monkeypatch.setattr(claimcheck.middleware, "FIRST_PAUSE_SECONDS", 0.01)
        shop.enqueue()

        events = shop.work(ClaimCheckMiddleware(ClaimCheck(DownAtFirst())))

        assert shop.handled == [PAYLOAD]
        assert not any(isinstance(event, MessageFailed) for event in events)

    def test_a_store_that_stays_down_leaves_the_message_to_its_retries(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Down(MemoryClaimStore):
            def take(self, *_: object, **__: object) -> None:
                raise ClaimStoreUnavailable("the store is down")

        monkeypatch.setattr(claimcheck.middleware, "PATIENCE_SECONDS", 0.0)
        shop.enqueue()
        down = ClaimCheckMiddleware(ClaimCheck(Down()))

        failed = failed_with(shop.work(down), ClaimStoreUnavailable)

        assert "the store is down" in str(failed.error)
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
            rewrite(shop.store, claim_of(shop.store, body).head, [PAYLOAD.encode()])
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

    def test_purged_before_a_second_receive_is_lost_and_stays_on_the_queue(
        self, shop: Shop
    ) -> None:
        body = shop.enqueue()
        shop.check.open(body, purge="before")  # and nothing more

        failed_with(shop.work(ClaimCheckMiddleware(shop.check, purge="before")), ClaimLost)

        assert shop.handled == []
        assert shop.left_on_queue() == 1


class TestInProgress:
    def test_the_message_comes_back_when_the_lease_ends(self, shop: Shop) -> None:
        body = shop.enqueue()
        shop.check.open(body, lease_until=shop.clock.now + 100)  # elsewhere

        failed = failed_with(shop.work(), ClaimInProgress)

        assert failed.error.retry_after == 100  # type: ignore[attr-defined]  # checked above
        shop.clock.advance(99)
        assert shop.work() == []
        shop.clock.advance(1)
        shop.work()
        assert shop.handled == [PAYLOAD]
        assert shop.left_on_queue() == 0

    def test_sooner_than_its_visibility_timeout_too(self, shop: Shop) -> None:
        body = shop.enqueue()
        elsewhere = shop.check.open(body, lease_until=shop.clock.now + 5)
        failed_with(shop.work(), ClaimInProgress)
        elsewhere.purge()

        shop.clock.advance(5)

        assert [type(event) for event in shop.work()] == [DuplicateSuppressed, MessageSkipped]
        assert shop.handled == []

    def test_a_lease_longer_than_the_queue_can_wait_keeps_the_visibility_timeout(
        self, shop: Shop, caplog: pytest.LogCaptureFixture
    ) -> None:
        body = shop.enqueue()
        shop.check.open(body, lease_until=shop.clock.now + 50_000)

        with caplog.at_level(logging.INFO):
            failed_with(shop.work(), ClaimInProgress)

        assert "keeps its own visibility timeout" in caplog.text
        assert shop.left_on_queue() == 1


class TestExtending:
    def test_the_lease_is_extended_with_the_message(self, shop: Shop) -> None:
        body = shop.enqueue()
        seen: list[object] = []

        def extend(delivery: Delivery) -> None:
            delivery.extend(600)
            seen.append(shop.store.read(ticket_in(body)["id"], 1, now=shop.clock.now))

        shop.work(during=extend)

        (held,) = seen
        assert isinstance(held, Held)
        assert held.until == pytest.approx(shop.clock.now + 600, abs=30)
        assert shop.handled == [PAYLOAD]

    def test_a_lease_that_is_lost_is_logged(
        self, shop: Shop, caplog: pytest.LogCaptureFixture
    ) -> None:
        body = shop.enqueue()

        def lose_it(delivery: Delivery) -> None:
            shop.clock.advance(60)
            shop.check.open(body)
            delivery.extend(600)

        shop.work(during=lose_it)

        claim_id = ticket_in(body)["id"]
        assert f"claim {claim_id}: another delivery has taken it" in caplog.text
        assert rows_of(shop.store, body) == 2

    def test_a_store_that_fails_does_not_stop_the_handler(
        self, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Stubborn(MemoryClaimStore):
            def extend(self, *_: object) -> bool:
                raise ClaimStoreUnavailable("the store is down")

        shop = Shop(clock, Stubborn())
        shop.enqueue()

        shop.work(during=lambda delivery: delivery.extend(600))

        assert "its lease was not extended: the store is down" in caplog.text
        assert shop.handled == [PAYLOAD]
        assert shop.store._claims == {}


class TestHostileMessages:
    def test_a_forged_ticket_leaves_the_claim_to_its_own_message(self, shop: Shop) -> None:
        body = shop.enqueue()
        shop.queue.receive(max_messages=1, wait_seconds=0, visibility_timeout=10)
        shop.send(forge(body, size=9_999))

        failed_with(shop.work(), TicketInvalid)

        assert shop.is_back(body)
        shop.clock.advance(10)
        shop.work()
        assert shop.handled == [PAYLOAD]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"purge": "sometimes"}, "purge='sometimes': give 'after', 'before' or 'never'"),
        ({"on_duplicate": "ignore"}, "on_duplicate='ignore': give 'acknowledge' or 'raise'"),
    ],
)
def test_a_setting_that_is_not_known_is_refused(options: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        ClaimCheckMiddleware(None, **options)  # type: ignore[arg-type]  # that is the test
