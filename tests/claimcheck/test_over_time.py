"""Large messages over days: delayed, failing, in the dead letters and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from claimcheck import ClaimCheckMiddleware
from claimcheck.stores.base import Record
from claimcheck.stores.sqlite import SqliteClaimStore
from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    Delivery,
    Event,
    MessageDelayed,
    MessageFailed,
    MessageHandled,
    MessageRejected,
    Reject,
    Retry,
    RetryPolicy,
    Worker,
)
from letsgo_queue.admin.sqlite import SqliteAdmin
from letsgo_queue.transports.sqlite import SqliteTransport
from tests.claimcheck.support import DAY, noise, small_claim_check
from tests.letsgo_queue.support import outcomes

LARGE = {"type": "order:new", "payload": noise(900_000)}
EXPIRY = 15 * DAY


@dataclass
class Life:
    """One SQLite file with a queue and claims, and a worker, all on one clock."""

    url: str
    clock: Clock
    error: Exception | None = None
    handled: list[dict[str, Any]] = field(default_factory=list)
    heard: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = SqliteClaimStore(self.url.removeprefix("sqlite:///"), clock=self.clock)
        self.check = small_claim_check(self.store)
        self.queue = SqliteTransport(f"{self.url}?max_receive_count=50", clock=self.clock)
        middleware = ClaimCheckMiddleware(self.check)
        self.client = Client(self.queue, middleware=[middleware], clock=self.clock)
        self.worker = Worker(
            self.queue,
            middleware=[middleware],
            clock=self.clock,
            retry_policy=RetryPolicy(base=DAY / 2, cap=DAY / 2, jitter=0, max_attempts=20),
        )
        self.worker.handler("order:new")(self.handle)
        self.worker.add_listener(outcomes(self.heard))

    def handle(self, message: dict[str, Any], delivery: Delivery) -> None:
        if self.error is not None:
            raise self.error
        self.handled.append(message)

    def pass_days(self, days: float, *, step: float = 0.5) -> None:
        for _ in range(round(days / step)):
            self.clock.advance(step * DAY)
            self.worker.run(burst=True)

    def redrive(self) -> int:
        admin = SqliteAdmin(self.url, clock=self.clock)
        moved = admin.redrive()
        admin.close()
        return moved

    def kinds(self) -> list[type[Event]]:
        ours = (MessageDelayed, MessageFailed, MessageHandled, MessageRejected)
        return [type(event) for event in self.heard if isinstance(event, ours)]


@pytest.fixture
def life(tmp_path: Path, clock: Clock) -> Iterator[Life]:
    life = Life(f"sqlite:///{tmp_path}/work.db", clock)
    yield life
    life.store.close()
    life.queue.close()


def test_a_claim_outlives_a_delay_of_two_weeks(life: Life) -> None:
    claim_id = str(life.client.enqueue(LARGE, delay_seconds=14 * DAY).claim_id)
    contents = life.store.read(claim_id, 2, stored=500_000).result()
    assert contents is not None
    assert contents.expires_at == int(life.clock.now) + 14 * DAY + EXPIRY

    life.pass_days(13.5)
    assert life.handled == []
    life.pass_days(1, step=1 / 96)  # SQS's 900 s

    assert life.handled == [LARGE]
    assert set(life.kinds()[:-1]) == {MessageDelayed}
    assert life.kinds()[-1] is MessageHandled
    assert life.store.read(claim_id, 2, stored=500_000).result() is None
    assert life.store.look_up(f"{claim_id}@") == Record("done", 0)


@pytest.mark.parametrize(
    ("error", "days", "kinds"),
    [
        (Reject("no such customer"), 1, [MessageRejected]),
        (ValueError(), 11, [MessageFailed] * 19 + [MessageRejected]),
        (Retry(delay=DAY / 2), 11, [MessageFailed] * 19 + [MessageRejected]),
    ],
    ids=["Reject", "the last attempt", "Retry"],
)
def test_a_dead_letter_opens_when_it_is_redriven_days_later(
    life: Life, error: Exception, days: float, kinds: list[type[Event]]
) -> None:
    claim_id = str(life.client.enqueue(LARGE).claim_id)
    life.error = error
    life.pass_days(days)
    assert life.kinds() == kinds

    # Nearly two weeks, as long as SQS keeps a dead letter.
    life.pass_days(13)
    life.error = None
    life.client.enqueue({**LARGE, "more": 1})  # the store removes what has expired when it writes
    assert life.redrive() == 1
    life.pass_days(0.5)

    assert sorted(map(len, life.handled)) == [2, 3]
    assert life.store.look_up(f"{claim_id}@") == Record("done", 0)
