"""What a worker logs must not keep it from its work."""

from __future__ import annotations

import io
import logging
import threading

import pytest

from letsgo_queue import Client, MessageInvalid, MessageRejected, Reject, Worker
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker.log import get_logger
from tests.letsgo_queue.support import events_of, order


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
