"""Events of sealed messages, what has become of their claims, and what Lambda does by an answer."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any, Literal

from claimcheck import ClaimCheck, ClaimStore
from claimcheck.stores.base import Held
from tests.claimcheck.support import noisy_body, rows_of, small_claim_check, ticket_in
from tests.letsgo_queue.aws_lambda.lambda_events import FIFO, STANDARD

State = Literal["back", "taken", "gone"]


def record_of(body: str, id: str, *, receive_count: int = 1) -> dict[str, Any]:
    """The record of a message on a standard queue."""
    return _record(STANDARD, body, id, ApproximateReceiveCount=str(receive_count))


def fifo_record_of(body: str, id: str, group: str) -> dict[str, Any]:
    """The record of a message on a FIFO queue."""
    return _record(FIFO, body, id, MessageGroupId=group)


def _record(event: Mapping[str, Any], body: str, id: str, **attributes: str) -> dict[str, Any]:
    record = event["Records"][0]
    return {
        **record,
        "messageId": id,
        "body": body,
        "attributes": {**record["attributes"], **attributes},
        "md5OfBody": md5(body.encode()).hexdigest(),
    }


def event_of(*records: Mapping[str, Any]) -> dict[str, Any]:
    return {"Records": list(records)}


def ids_in(event: Mapping[str, Any]) -> list[str]:
    return [record["messageId"] for record in event["Records"]]


def failed(*ids: str) -> dict[str, Any]:
    """The answer that reports these messages."""
    return {"batchItemFailures": [{"itemIdentifier": id} for id in ids]}


def deleted_by_lambda(event: Mapping[str, Any], answer: object) -> set[str]:
    """The messages that Lambda deletes after this answer, with ReportBatchItemFailures.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    """
    sent = json.loads(json.dumps(answer))
    items = (sent.get("batchItemFailures") if isinstance(sent, dict) else None) or []
    reported = {item.get("itemIdentifier") for item in items}
    return set() if reported - {*ids_in(event)} else {*ids_in(event)} - reported


@dataclass(slots=True)
class Claims:
    """A store with claims of messages, and what has become of each."""

    store: ClaimStore
    check: ClaimCheck = field(init=False)
    originals: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.check = small_claim_check(self.store)

    def sealed(self, seed: int = 1) -> str:
        """What travels for a message whose body is stored."""
        original = noisy_body(3_000, seed=seed)
        sealed = self.check.seal(original)
        assert sealed.route == "stored"
        body = sealed.body.decode()
        self.originals[body] = original
        return body

    def take(self, sealed_body: str, seconds: float = 60) -> None:
        """Have another delivery hold the claim."""
        self.check.open(sealed_body, lease_until=time.time() + seconds)

    def finish(self, sealed_body: str) -> None:
        """Have another delivery finish the work."""
        self.check.open(sealed_body).purge()

    def state(self, sealed_body: str) -> State:
        if self.store.look_up(ticket_in(sealed_body)["id"], now=time.time()) is not None:
            return "back"
        return "taken" if rows_of(self.store, sealed_body) else "gone"

    def states(self, sealed_bodies: Sequence[str]) -> list[State]:
        return [self.state(body) for body in sealed_bodies]

    def leased_for(self, sealed_body: str) -> float:
        """Seconds until the lease on a claim that is taken ends."""
        ticket = ticket_in(sealed_body)
        held = self.store.read(ticket["id"], ticket["parts"], now=time.time())
        assert isinstance(held, Held)
        return held.until - time.time()
