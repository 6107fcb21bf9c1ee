"""Where a record says that it comes from chooses no store and no mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from claimcheck import ClaimCheckMiddleware, unwrap_claim_check, unwrap_record
from letsgo_queue import Message, MessageInvalid, Worker
from tests.claimcheck.lambda_claims import event_of, failed, record_of
from tests.claimcheck.support import message_body, noisy_body, small_claim_check
from tests.letsgo_queue.aws_lambda.lambda_events import Context

NO_QUEUES = [
    "arn:aws:sqs:evil.example/x:1:q",
    "arn:aws:sns:us-east-1:123456789012:topic",
    "http://localhost:3002",
    "http://localhost:3002/000000000000/q",
    "sqlite:///stolen.db",
    "memory://",
    "https://sqs.evil.example/123456789012/q",
]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where local mode would keep its claims."""
    folder = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def sealed(store: Any) -> str:
    return small_claim_check(store).seal(noisy_body(3_000)).body.decode()


def from_source(arn: str, body: str, id: str) -> dict[str, Any]:
    return {**record_of(body, id), "eventSourceARN": arn}


@pytest.mark.parametrize("arn", NO_QUEUES)
def test_a_worker_refuses_the_record_and_handles_the_others(
    state: Path, tmp_path: Path, sealed: str, arn: str
) -> None:
    seen: list[Message[Any]] = []
    worker = Worker(middleware=[ClaimCheckMiddleware()])
    worker.default(seen.append)
    small = message_body("order:new", "small")
    event = event_of(
        from_source(arn, sealed, "sealed"),
        from_source(arn, small, "foreign"),
        record_of(small, "ours"),
    )

    assert worker.lambda_handler(event, Context()) == failed("sealed", "foreign")

    assert len(seen) == 1
    assert not state.exists()
    assert not list(tmp_path.glob("*.db"))


@pytest.mark.parametrize("arn", NO_QUEUES)
def test_unwrap_opens_nothing_from_there(
    state: Path, tmp_path: Path, sealed: str, arn: str
) -> None:
    seen: list[Any] = []

    @unwrap_claim_check
    def function(event: object, context: object) -> None:
        seen.append(event)

    record = from_source(arn, sealed, "sealed")

    assert function(event_of(record, record_of("{}", "small")), Context()) == failed("sealed")
    with pytest.raises(MessageInvalid, match="message sealed: the eventSourceARN"):
        unwrap_record(seen.append)(record)

    assert [each["messageId"] for each in seen[0]["Records"]] == ["small"]
    assert not state.exists()
    assert not list(tmp_path.glob("*.db"))
