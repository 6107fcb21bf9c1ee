"""A Lambda function stands still once it has answered: by then contents are removed.

Contents that are removed later, when the function is called again, would be billed meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from claimcheck import ClaimCheck, ClaimCheckMiddleware, unwrap_claim_check
from claimcheck.stores import removals
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import Worker
from tests.claimcheck.lambda_claims import event_of, record_of
from tests.claimcheck.support import noisy_body, parts_left, small_claim_check
from tests.letsgo_queue.aws_lambda.lambda_events import Context

Function = Callable[[dict[str, Any], Context], object]


class SlowStore(MemoryClaimStore):
    """Removes contents in the background, as S3's stores do."""

    def __init__(self) -> None:
        super().__init__()
        self.removals = removals.Removals()

    def remove(
        self,
        claim_id: str,
        parts: int,
        *,
        later: bool = False,
        expiring_by: int | None = None,
    ) -> None:
        assert later
        self.removals.add(claim_id, partial(self._remove_slowly, claim_id, parts))

    def _remove_slowly(self, claim_id: str, parts: int) -> None:
        time.sleep(0.3)
        super().remove(claim_id, parts)


def worker_of(check: ClaimCheck) -> Function:
    worker = Worker(middleware=[ClaimCheckMiddleware(check)])
    worker.default(lambda message: None)
    return worker.lambda_handler


def handler_of(check: ClaimCheck) -> Function:
    @unwrap_claim_check(claim_check=check)
    def handler(event: dict[str, Any], context: Context) -> None:
        """Handle all records."""

    return handler


def record_handler_of(check: ClaimCheck) -> Function:
    @unwrap_claim_check(claim_check=check)
    def handle(record: dict[str, Any]) -> None:
        """Handle one record."""

    def handler(event: dict[str, Any], context: Context) -> None:
        for record in event["Records"]:
            handle(record)

    return handler


@pytest.mark.parametrize("kind", [worker_of, handler_of, record_handler_of])
def test_contents_are_removed_before_the_answer(
    kind: Callable[[ClaimCheck], Function], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    monkeypatch.setattr(removals, "FINISH_SECONDS", 30.0)
    store = SlowStore()
    check = small_claim_check(store)
    bodies = [check.seal(noisy_body(3_000, seed=seed)).body.decode() for seed in range(3)]
    records = [record_of(body, str(number)) for number, body in enumerate(bodies)]

    kind(check)(event_of(*records), Context(300))

    assert [parts_left(store, body) for body in bodies] == [0, 0, 0]
