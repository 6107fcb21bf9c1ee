"""Events of sealed messages, what has become of their claims, and what Lambda does by an answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any, Literal

from claimcheck import ClaimCheck, ClaimStore, Opened, Purge, unwrap_claim_check
from claimcheck.opening import OnDuplicate
from tests.claimcheck.support import claim_record, noisy_body, parts_left, small_claim_check
from tests.letsgo_queue.aws_lambda.lambda_events import FIFO, STANDARD

State = Literal["there", "held", "handed over", "done", "kept", "gone"]
"""What a claim is: to be processed, in a delivery's hands (with its contents or without), handled
(without its contents or with them), or nowhere."""


def record_of(body: str, id: str, *, receive_count: int = 1) -> dict[str, Any]:
    """The record of a message on a standard queue."""
    return _record(STANDARD, body, id, ApproximateReceiveCount=str(receive_count))


def fifo_record_of(body: str, id: str, group: str) -> dict[str, Any]:
    """The record of a message on a FIFO queue."""
    return _record(FIFO, body, id, MessageGroupId=group)


def _record(event: Mapping[str, Any], body: str, id: str, **attributes: str) -> dict[str, Any]:
    documented = event["Records"][0]
    return {
        **documented,
        "messageId": id,
        "body": body,
        "attributes": {**documented["attributes"], **attributes},
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

    def hold(self, sealed_body: str, seconds: float = 60) -> Opened:
        """Have another delivery hold the claim."""
        return self.check.open(sealed_body, lease_seconds=seconds)

    def finish(self, sealed_body: str) -> None:
        """Have another delivery finish the work."""
        self.check.open(sealed_body).complete()

    def state(self, sealed_body: str) -> State:
        record = claim_record(self.store, sealed_body)
        contents = parts_left(self.store, sealed_body) > 0
        if record is None:
            return "there" if contents else "gone"
        if record.state == "done":
            return "kept" if contents else "done"
        return "held" if record.state == "leased" else "handed over"

    def states(self, sealed_bodies: Sequence[str]) -> list[State]:
        return [self.state(body) for body in sealed_bodies]

    def leased_for(self, sealed_body: str) -> float:
        """Seconds until the lease on a claim that is held ends."""
        record = claim_record(self.store, sealed_body)
        assert record is not None
        assert record.state == "leased"
        return record.seconds_left


class Function:
    """A Lambda function that notes what it sees and answers as it is told."""

    def __init__(self, claims: Claims, answer: object = None) -> None:
        self.claims = claims
        self.answer = answer
        self.seen: list[dict[str, Any]] = []
        self.states: list[State] = []

    def __call__(self, event: dict[str, Any], context: object) -> object:
        self.seen.append(event)
        self.states = self.claims.states(list(self.claims.originals))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def decorated(
        self,
        *,
        purge: Purge | None = None,
        on_duplicate: OnDuplicate = "acknowledge",
        once: bool = False,
    ) -> Callable[[dict[str, Any], object], object]:
        return unwrap_claim_check(
            claim_check=self.claims.check, purge=purge, on_duplicate=on_duplicate, once=once
        )(self)
