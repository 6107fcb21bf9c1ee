"""A worker whose queue cannot be reached: it waits out what passes, and says what it does."""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from letsgo_queue import (
    Client,
    Delivery,
    LetsGoQueueError,
    MessageHandled,
    QueueNotFound,
    QueueUnavailable,
    Worker,
)
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.transports.sqs import SqsTransport
from letsgo_queue.worker import loop
from tests.letsgo_queue.support import DEADLINE_SECONDS, events_of, order, receive, running
from tests.support import command
from tests.support.faulty_server import FaultyServer
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for


class Flaky(MemoryTransport):
    """A queue that fails the receives that it is told to."""

    def __init__(self, failures: dict[int, LetsGoQueueError]) -> None:
        super().__init__()
        self.failures = failures
        self.receives = 0

    def receive(self, **options: Any) -> Sequence[ReceivedMessage]:
        self.receives += 1
        if error := self.failures.get(self.receives):
            raise error
        return super().receive(**options)


GONE = QueueUnavailable("the queue does not answer.", retryable=True)
DENIED = QueueUnavailable("access is denied.", retryable=False)


def nothing(message: dict[str, Any]) -> None:
    """A handler that is content."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(loop, "MAX_PAUSE_SECONDS", 0.001)


@pytest.mark.parametrize(
    "failures",
    [
        {1: GONE},
        {2: DENIED},
        {2: QueueNotFound("it was deleted.")},
        dict.fromkeys(range(1, 1100), GONE),
    ],
    ids=["gone at first", "denied later", "deleted later", "gone for hours"],
)
def test_tries_again(
    failures: dict[int, LetsGoQueueError], caplog: pytest.LogCaptureFixture
) -> None:
    queue = Flaky(failures)
    worker = Worker(queue, concurrency=1, wait_seconds=0)
    events = events_of(worker)
    worker.default(nothing)
    with running(worker):
        wait_for(lambda: queue.receives > max(failures), "another attempt")
        Client(queue).enqueue(order())
        wait_for(lambda: events, "the message to be handled")

    assert isinstance(events[0], MessageHandled)
    error = failures[max(failures)]
    assert f"{error} Trying again in 0 s." in caplog.text


def test_a_defect_or_a_full_machine_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    class Full(MemoryTransport):
        receives = 0

        def receive(self, **options: Any) -> Sequence[ReceivedMessage]:
            self.receives += 1
            if self.receives < 3:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().receive(**options)

    queue = Full()
    worker = Worker(queue)
    events = events_of(worker)
    worker.default(nothing)
    Client(queue).enqueue(order())
    with running(worker):
        wait_for(lambda: events, "the message to be handled")

    assert caplog.text.count("queue memory:// failed") == 2
    assert "Too many open files" in caplog.text


def test_pauses_longer_each_time(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "FIRST_PAUSE_SECONDS", 1)
    monkeypatch.setattr(loop, "MAX_PAUSE_SECONDS", 30)
    with running(Worker(Flaky({1: GONE, 2: GONE}))):
        wait_for(lambda: "Trying again in 2 s" in caplog.text, "the second pause")

    assert "Trying again in 1 s" in caplog.text


def test_stops_at_once_in_a_pause(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer_than_running_waits = 10.0 * DEADLINE_SECONDS
    monkeypatch.setattr(loop, "FIRST_PAUSE_SECONDS", longer_than_running_waits)
    monkeypatch.setattr(loop, "MAX_PAUSE_SECONDS", longer_than_running_waits)

    with running(Worker(Flaky({1: GONE}))):
        wait_for(lambda: "Trying again in 200 s" in caplog.text, "the pause")


@pytest.mark.parametrize(
    "error", [DENIED, QueueNotFound("there is none.")], ids=["denied", "not found"]
)
def test_raises_when_it_cannot_be_used_at_all(error: LetsGoQueueError) -> None:
    worker = Worker(Flaky({1: error}))
    worker.default(nothing)

    with pytest.raises(type(error), match=str(error)):
        worker.run()


@pytest.mark.parametrize("failing", [1, 2])
def test_a_burst_raises(failing: int) -> None:
    """It does not know whether the queue is empty."""
    queue = Flaky({failing: GONE})
    worker = Worker(queue)
    events = events_of(worker)
    worker.default(nothing)
    Client(queue).enqueue(order())

    with pytest.raises(QueueUnavailable, match="does not answer"):
        worker.run(burst=True)

    assert len(events) == failing - 1


def test_a_burst_takes_no_short_poll_for_a_proof() -> None:
    """One of SQS asks only some of its servers."""

    class Scattered(MemoryTransport):
        seconds_to_prove_empty = 1
        polls: ClassVar[list[float]] = []

        def receive(self, **options: Any) -> Sequence[ReceivedMessage]:
            self.polls.append(options["wait_seconds"])
            is_short = options["wait_seconds"] < self.seconds_to_prove_empty
            return [] if is_short else super().receive(**{**options, "wait_seconds": 0})

    queue = Scattered()
    worker = Worker(queue, wait_seconds=0)
    events = events_of(worker)
    worker.default(nothing)
    Client(queue).enqueue(order())

    worker.run(burst=True)

    assert len(events) == 1


def test_a_burst_that_cannot_reach_its_queue_ends_the_command_with_an_error(
    tmp_path: Path,
) -> None:
    (tmp_path / "jobs.py").write_text(
        "from letsgo_queue import Worker\n"
        f"worker = Worker('sqlite:///{tmp_path}/no-such-folder/work.db')\n"
        "worker.default(lambda message: None)\n"
    )

    done = command.run("letsgo-queue", "worker", "jobs:worker", "--burst", cwd=tmp_path)

    assert done.returncode != 0
    assert "does not exist" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("code", ["OverLimit", "ExpiredToken", "InvalidClientTokenId"])
def test_waits_at_its_start_until_sqs_gives_messages(
    ministack: AwsServer, proxy: FaultyServer, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    url = ministack.make_queue()
    proxy.refuse("ReceiveMessage", code, status=403, times=3)
    worker = Worker(url.replace(str(ministack.endpoint_url), proxy.url), wait_seconds=0)
    events = events_of(worker)
    worker.default(nothing)
    Client(url).enqueue(order())

    with running(worker):
        wait_for(lambda: events, "the message to be handled")

    assert caplog.text.count("Trying again") == 3
    assert code in caplog.text


def test_a_queue_that_is_deleted_and_made_again(
    ministack: AwsServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = ministack.make_queue()
    worker = Worker(url, wait_seconds=0)
    events = events_of(worker)
    worker.default(nothing)
    Client(url).enqueue(order())
    with running(worker):
        wait_for(lambda: events, "the first message")
        ministack.sqs().delete_queue(QueueUrl=url)
        wait_for(lambda: "does not exist; no message could be received" in caplog.text, "it to say")
        ministack.sqs().create_queue(QueueName=url.rpartition("/")[2])
        Client(url).enqueue(order())
        wait_for(lambda: len(events) == 2, "the second message")

    assert {type(event) for event in events} == {MessageHandled}


def test_a_queue_whose_visibility_timeout_is_0(
    aws: AwsServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = aws.make_queue(VisibilityTimeout="0")
    worker = Worker(url, wait_seconds=0)
    counts: list[int] = []
    go_on = threading.Event()

    @worker.default
    def handle(_message: object, delivery: Delivery) -> None:
        counts.append(delivery.receive_count)
        assert go_on.wait(DEADLINE_SECONDS)

    Client(url).enqueue(order())
    with running(worker):
        wait_for(lambda: counts, "the message")
        assert receive(SqsTransport(url), wait_seconds=1) == []
        go_on.set()

    assert counts == [1]
    assert f"queue {url} has a visibility timeout of 0" in caplog.text
    assert "Asking for 30 s instead" in caplog.text
