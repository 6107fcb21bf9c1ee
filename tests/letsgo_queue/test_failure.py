"""What a dead letter says of why it is one."""

from __future__ import annotations

import logging
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from letsgo_queue.attributes import FAILURE, MessageAttribute
from letsgo_queue.failure import Failure
from letsgo_queue.place import Place
from letsgo_queue.transports.base import ReceivedMessage, with_failure
from tests.letsgo_queue.support import SECRET

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
FACTS = Failure(
    reason="x" * 1_000,
    error="shop.NoStock",
    place=Place(file="shop/orders.py", line=12, function="on_order"),
    attempts=5,
    first_received_at=NOW,
    failed_at=NOW,
    worker="host:1",
    text=SECRET,
)


def message(body: str = "", attributes: int = 0) -> ReceivedMessage:
    named = {f"name-{n}": MessageAttribute("String", SECRET) for n in range(attributes)}
    return ReceivedMessage(
        message_id="one",
        receipt_handle="",
        body=body,
        attributes=named,
        receive_count=5,
        sent_at=0,
    )


def carried(letter: ReceivedMessage, limit: int) -> Failure | None:
    found = with_failure(letter, FACTS, limit)
    assert found.items() >= letter.attributes.items()
    written = found.get(FAILURE)
    return None if written is None else Failure.read(str(written.value))


def test_it_travels_whole_and_shows_no_text_of_an_error() -> None:
    assert carried(message(attributes=9), 10_000) == FACTS
    assert SECRET not in repr(FACTS)


def test_it_is_shortened_to_what_the_queue_takes_and_then_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole, short, shortest = map(len, FACTS.versions())
    room = len(FAILURE) + len("String")
    body = "b" * 5_000

    def with_room(size: int) -> Failure | None:
        return carried(message(body), len(body) + room + size)

    assert with_room(whole) == FACTS
    assert with_room(whole - 1) == FACTS.model_copy(update={"text": None})
    assert with_room(short - 1) == FACTS.model_copy(update={"text": None, "reason": "x" * 100})
    with caplog.at_level(logging.WARNING):
        assert with_room(shortest - 1) is None
    assert "does not say why" in caplog.text
    assert "shop/orders.py:12 in on_order" in caplog.text
    assert SECRET not in caplog.text


def test_an_eleventh_attribute_is_left_out_and_the_log_has_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert carried(message(attributes=10), 10_000) is None
    assert "it has 10 attributes already" in caplog.text
    assert "shop/orders.py:12 in on_order" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "written",
    [
        "no lines",
        '{"v":2,"reason":"of a newer version"}',
        '{"v":1}',
        '{"v":1,"reason":"\\ud800"}',
        '{"v":1,"reason":"r","failed_at":"2026-11-26T12:00:00"}',
        '{"v":1,"reason":"r","failed_at":"0001-01-01T00:00:00+14:00"}',
        '{"v":1,"reason":"r","place":{"file":"f","line":"x","function":"f"}}',
        "[" * 5_000,
    ],
)
def test_what_somebody_else_wrote_there_is_a_reason(written: str) -> None:
    assert Failure.read(written) == Failure.because(written)
    assert Failure.read(written).reason == written[:1_000]


def test_times_are_in_utc() -> None:
    read = Failure.read('{"v":1,"reason":"r","failed_at":"2026-11-26T14:00:00+02:00"}')

    assert read.failed_at == NOW
    assert str(read.failed_at) == "2026-11-26 12:00:00+00:00"


def test_a_reason_can_travel() -> None:
    assert Failure.because("bad\x00 \ufffe\ud800" + "x" * 5000).reason == ("bad " + "x" * 996)
    assert Failure.because("\x00").reason == "no reason given"


def test_what_an_error_of_ours_means_is_said() -> None:
    def meaning(error: str) -> str | None:
        return Failure(reason="any", error=error).meaning

    assert meaning("letsgo_queue.errors.HandlerMissing") == (
        "A message arrived whose type has no handler; it is left to the queue's retries."
    )
    assert meaning("antigravity.geohash") is None
    assert "antigravity" not in sys.modules, "a module was loaded because a message named it"
    for other in ("ValueError", "shop.NoStock", "Reject", "MAX", "LetsGoError.x"):
        assert meaning(other) is None
        assert meaning(f"letsgo_queue.errors.{other}") is None


def test_what_an_error_of_the_claim_check_means_is_said_without_a_claim_check() -> None:
    program = (
        "from letsgo_queue.failure import Failure\n"
        "print(Failure(reason='any', error='claimcheck.errors.ClaimMissing').meaning)\n"
    )

    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert told.stdout.decode().startswith("The store has neither a record")
