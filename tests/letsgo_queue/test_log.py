"""What a worker logs must not keep it from its work."""

from __future__ import annotations

import io
import json
import logging
import threading
from datetime import datetime
from typing import Any

import pytest

from letsgo_queue import (
    Client,
    Delivery,
    MessageInvalid,
    MessageRejected,
    Middleware,
    QueueUnavailable,
    Reject,
    RetryPolicy,
    Steps,
    Worker,
)
from letsgo_queue.cli.logs import JsonFormatter
from letsgo_queue.log import LogFields, get_logger
from letsgo_queue.text import shown
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import incoming
from letsgo_queue.worker.incoming import IncomingMessage
from tests.letsgo_queue.local_http.support import ask
from tests.letsgo_queue.support import events_of, order, serving
from tests.support.waiting import wait_for


def close_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    """Close what logging writes to, and where it tells its troubles."""
    stream = io.StringIO()
    monkeypatch.setattr(logging.getLogger("letsgo_queue"), "handlers", [])
    logging.getLogger("letsgo_queue").addHandler(logging.StreamHandler(stream))
    monkeypatch.setattr("sys.stderr", stream)
    stream.close()


def test_never_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    close_stderr(monkeypatch)
    with pytest.raises(ValueError, match="closed file"):
        logging.getLogger("letsgo_queue.test").error("as it is without")

    get_logger("letsgo_queue.test").error("nobody reads this")


def test_names_the_line_that_logs(caplog: pytest.LogCaptureFixture) -> None:
    get_logger("letsgo_queue.test").warning("%d", 1, extra={"message_id": "m-1"})

    (record,) = caplog.records
    assert (record.filename, record.funcName) == ("test_log.py", "test_names_the_line_that_logs")
    assert (record.getMessage(), getattr(record, "message_id", None)) == ("1", "m-1")


def test_a_handler_that_closes_stderr_keeps_no_message_from_being_settled(
    queue: MemoryTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(threading.enumerate())
    worker = Worker(queue, concurrency=1)
    events = events_of(worker)

    @worker.default
    def handle(message: dict[str, object]) -> None:
        close_stderr(monkeypatch)
        raise Reject("it will never succeed")

    Client(queue).enqueue_many([order()] * 3)
    worker.run(burst=True)

    assert [type(event) for event in events] == [MessageRejected] * 3
    assert len(queue.dead_letters) == 3
    assert set(threading.enumerate()) <= before


def test_shows_nothing_from_outside_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    forged = "m-1\nERROR forged \x1b[31m"
    error = MessageInvalid(f"message {forged} is wrong{'!' * 1_000_000}")

    get_logger("letsgo_queue.test").error(
        "message %s of type %r: %s", forged, "x" * 1_000_000, error, extra={"message_id": forged}
    )

    (record,) = caplog.records
    assert len(record.getMessage()) < 1_500
    assert record.getMessage().isprintable()
    assert getattr(record, "message_id", None) == r"m-1\nERROR forged \x1b[31m"


@pytest.mark.parametrize("fails", [True, False])
def test_a_record_that_anybody_posts_forges_no_line_and_fills_no_disk(
    caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    """In LetsGo's local mode; the handler gets what was posted."""
    caplog.set_level("DEBUG")
    forged = "m-1\r\nERROR forged \x1b[31m\u202e"
    message_type = f"{forged}{'x' * 1_000_000}"
    record = {
        "messageId": forged,
        "body": json.dumps({"type": message_type, "payload": None}),
        "attributes": {"ApproximateReceiveCount": "9" * 4_000, "SentTimestamp": 1e300},
        "messageAttributes": {forged: {"dataType": "String", "stringValue": forged}},
    }
    worker = Worker(retry_policy=RetryPolicy(max_attempts=None if fails else 1))
    events = events_of(worker)
    deliveries: list[tuple[str, int, datetime]] = []

    @worker.default
    def handle(message: dict[str, Any], delivery: Delivery) -> None:
        deliveries.append((message["type"], delivery.receive_count, delivery.sent_at))
        if fails:
            raise OSError

    with serving(worker) as url:
        assert ask(url, json.dumps({"Records": [record]}))[0] == 201
        wait_for(lambda: events, "the end of the message")

    ((read, receive_count, sent_at),) = deliveries
    assert (read, receive_count, sent_at.year) == (message_type, 2**31, 9999)
    (event,) = events
    assert event.type == shown(message_type)
    assert getattr(event, "message_id", None) == shown(forged)
    lines = [record for record in caplog.records if record.name.startswith("letsgo_queue")]
    assert all(record.getMessage().isprintable() for record in lines)
    assert sum(len(JsonFormatter().format(record)) for record in lines) < 20_000


class Handled:
    """A worker that handled one message, and what it logged about that."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        (self.record,) = [each for each in caplog.records if "was handled in" in each.getMessage()]
        self.level = self.record.levelname

    def fields(self) -> dict[str, object]:
        return {name: getattr(self.record, name) for name in LogFields.__annotations__}


def test_a_handled_message_is_a_line_for_who_looks_closely(
    queue: MemoryTransport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    worker = Worker(queue)
    worker.handler("order:new")(lambda message: None)
    sent = Client(queue).enqueue({"type": "order:new", "payload": None})
    worker.run(burst=True)

    handled = Handled(caplog)
    assert handled.level == "DEBUG"
    fields = handled.fields()
    duration = fields.pop("duration")
    assert isinstance(duration, float)
    assert fields == {
        "message_id": sent.message_id,
        "type": "order:new",
        "queue": "memory://",
        "receive_count": 1,
        "route": "inline",
    }


def test_in_local_mode_it_is_one_for_everybody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    worker = Worker()
    worker.handler("order:new")(lambda message: None)
    with serving(worker) as url:
        Client(url).enqueue({"type": "order:new", "payload": None})
        wait_for(lambda: "was handled in" in caplog.text, "the line")

    assert Handled(caplog).level == "INFO"


def test_every_line_about_a_message_has_its_fields(
    queue: MemoryTransport, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setattr(incoming, "FIRST_PAUSE_SECONDS", 0.001)

    class NotYet(Middleware):
        tries = 0

        def handle(self, message: IncomingMessage, /) -> Steps:
            self.tries += 1
            if self.tries == 1:
                error = QueueUnavailable(f"message {message.message_id}: not yet")
                error.patience = 60
                raise error
            yield

    worker = Worker(queue, middleware=[NotYet()], retry_policy=RetryPolicy(max_attempts=1))

    @worker.handler("order:new")
    def fail(message: dict[str, object]) -> None:
        raise OSError

    sent = Client(queue).enqueue(order())
    worker.run(burst=True)

    lines = [each for each in caplog.records if sent.message_id in each.getMessage()]
    assert len(lines) == 3  # it waits, it fails, and it is a dead letter
    for line in lines:
        assert [getattr(line, "message_id", None), getattr(line, "type", None)] == [
            sent.message_id,
            "order:new",
        ]
