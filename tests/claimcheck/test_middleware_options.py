"""The options of the middleware: a handler's takes those that it leaves unset from its worker's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from claimcheck import (
    ClaimAlreadyProcessed,
    ClaimCheckMiddleware,
    SettingsInvalid,
    unwrap_claim_check,
)
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    Event,
    Message,
    MessageFailed,
    MessageHandled,
    MessageSkipped,
    Worker,
)
from letsgo_queue.transports.base import OutgoingMessage, ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from tests.claimcheck.lambda_claims import Claims, event_of, failed, record_of
from tests.claimcheck.support import message_body
from tests.letsgo_queue.aws_lambda.lambda_events import Context

SETTLED = (MessageHandled, MessageSkipped, MessageFailed)
SMALL = message_body("order:new", "small")


class Forgetful(MemoryTransport):
    """A queue on which every acknowledgement is lost."""

    def delete(self, message: ReceivedMessage) -> None: ...


class Shop:
    """A worker whose handler has a claim check of its own, and a queue that delivers twice."""

    def __init__(self, claims: Claims, clock: Clock, kind: str) -> None:
        self.claims = claims
        self.clock = clock
        self.kind = kind
        self.queue = Forgetful(clock=clock)
        self.handled: list[Message[str]] = []
        self.heard: list[Event] = []
        self.during: Callable[[], object] = lambda: None

    def around(self, **options: Any) -> ClaimCheckMiddleware:
        return ClaimCheckMiddleware(self.claims.check, **options)

    def deliver_twice(
        self,
        body: str,
        decorator: Callable[[Callable[..., object]], Callable[..., object]],
        *,
        of_worker: list[ClaimCheckMiddleware],
        of_client: ClaimCheckMiddleware | None = None,
    ) -> list[object]:
        """Have a message come, and come again; what Lambda is answered."""
        client = Client(self.queue, middleware=[of_client] if of_client else [])
        worker = Worker(client=client, middleware=of_worker)
        worker.add_listener(
            lambda event: self.heard.append(event) if isinstance(event, SETTLED) else None
        )

        def handle(message: Message[str]) -> None:
            self.during()
            self.handled.append(message)

        async def handle_async(message: Message[str]) -> None:
            handle(message)

        worker.handler("order:new")(decorator(handle if self.kind != "async" else handle_async))
        if self.kind == "lambda":
            event = event_of(record_of(body, "m-1"))
            return [worker.lambda_handler(event, Context()) for _ in range(2)]
        self.queue.send(OutgoingMessage(type="order:new", body=body.encode()))
        for _ in range(2):
            worker.run(burst=True)
            self.clock.advance(30)
        return []


@pytest.fixture(params=["sync", "async", "lambda"])
def shop(request: pytest.FixtureRequest, claims: Claims, clock: Clock) -> Shop:
    return Shop(claims, clock, request.param)


@pytest.fixture
def claims(store: MemoryClaimStore) -> Claims:
    return Claims(store)


def test_once(shop: Shop) -> None:
    shop.deliver_twice(SMALL, unwrap_claim_check, of_worker=[shop.around(once=True)])

    assert len(shop.handled) == 1
    assert [type(event) for event in shop.heard] == [MessageHandled, MessageSkipped]


def test_purge(shop: Shop) -> None:
    sealed = shop.claims.sealed()
    states: list[str] = []
    shop.during = lambda: states.append(shop.claims.state(sealed))

    shop.deliver_twice(sealed, unwrap_claim_check, of_worker=[shop.around(purge="before")])

    assert states == ["handed over"]


def test_on_duplicate(shop: Shop) -> None:
    answers = shop.deliver_twice(
        shop.claims.sealed(), unwrap_claim_check, of_worker=[shop.around(on_duplicate="raise")]
    )

    assert len(shop.handled) == 1
    handled, duplicate = shop.heard
    assert isinstance(handled, MessageHandled)
    assert isinstance(duplicate, MessageFailed)
    assert isinstance(duplicate.error, ClaimAlreadyProcessed)
    assert answers in ([], [failed(), failed("m-1")])


def test_those_of_the_workers_client(shop: Shop) -> None:
    """The claim check itself too: another one would look for the claim in another store."""
    shop.deliver_twice(
        shop.claims.sealed(),
        unwrap_claim_check,
        of_worker=[ClaimCheckMiddleware(on_duplicate="raise")],
        of_client=shop.around(once=True),
    )

    handled, duplicate = shop.heard
    assert isinstance(handled, MessageHandled)
    assert isinstance(duplicate, MessageFailed)
    assert isinstance(duplicate.error, ClaimAlreadyProcessed)


def test_an_option_that_is_set_counts(shop: Shop) -> None:
    shop.deliver_twice(SMALL, unwrap_claim_check(once=False), of_worker=[shop.around(once=True)])

    assert len(shop.handled) == 2


def test_the_outer_one_alone_is_as_it_was(shop: Shop) -> None:
    around = shop.around()

    shop.deliver_twice(SMALL, unwrap_claim_check(once=True), of_worker=[around])

    assert len(shop.handled) == 1
    assert not around.opener.once


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
