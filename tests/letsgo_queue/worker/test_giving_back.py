"""What a worker gives back comes again at once, and the log says why."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator

import pytest

from claimcheck.testing import Clock
from letsgo_queue import Client
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker import giving_back as module
from letsgo_queue.worker import heartbeat as heartbeats
from letsgo_queue.worker.giving_back import GivingBack
from letsgo_queue.worker.heartbeat import Heartbeat
from letsgo_queue.worker.incoming import IncomingMessage
from letsgo_queue.worker.parts import Parts
from tests.letsgo_queue.support import DEADLINE_SECONDS, PassingTime, order, receive_one
from tests.support.waiting import wait_for


@pytest.fixture
def queue(clock: Clock) -> MemoryTransport:
    return MemoryTransport(visibility_timeout=600, clock=clock)


@pytest.fixture
def heartbeat(queue: MemoryTransport, parts: Parts) -> Iterator[Heartbeat]:
    heartbeat = Heartbeat(queue, parts)
    yield heartbeat
    heartbeat.close()


@pytest.fixture
def giving_back(queue: MemoryTransport, heartbeat: Heartbeat, parts: Parts) -> GivingBack:
    return GivingBack(queue, heartbeat, parts)


@pytest.fixture
def message(queue: MemoryTransport) -> IncomingMessage:
    Client(queue).enqueue(order())
    message = IncomingMessage(receive_one(queue), queue)
    message.read_type()
    return message


def test_an_extension_under_way_hides_it_no_more(
    *,
    queue: MemoryTransport,
    heartbeat: Heartbeat,
    giving_back: GivingBack,
    message: IncomingMessage,
    time_passes: PassingTime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not even at a stop, where everything in hand has been ended already."""
    monkeypatch.setattr(heartbeats, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(module, "LAST_EXTENSION_SECONDS", DEADLINE_SECONDS)
    asked, may_answer, answered = (threading.Event() for _ in range(3))
    change = queue.change_visibility

    def change_slowly(*args: object) -> None:
        monkeypatch.setattr(queue, "change_visibility", change)
        asked.set()
        assert may_answer.wait(DEADLINE_SECONDS)
        change(*args)  # type: ignore[arg-type]  # what it was called with
        answered.set()

    monkeypatch.setattr(queue, "change_visibility", change_slowly)
    heartbeat.hold([message])
    time_passes(310)
    assert asked.wait(DEADLINE_SECONDS)
    message.end(wait=0)
    giving_back.deadline = time.monotonic() + DEADLINE_SECONDS
    stop = threading.Thread(target=giving_back.give_back, args=([message],))
    stop.start()
    stop.join(0.1)  # it would go ahead by now

    may_answer.set()
    stop.join()

    assert answered.wait(DEADLINE_SECONDS)
    assert receive_one(queue).receive_count == 2


def test_one_that_another_worker_has_received_is_only_let_go(
    *,
    queue: MemoryTransport,
    heartbeat: Heartbeat,
    giving_back: GivingBack,
    message: IncomingMessage,
    time_passes: PassingTime,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It did not wait for SQS's 12 hours, and it is no longer this worker's to give back."""
    time_passes(601)
    assert receive_one(queue).receive_count == 2
    heartbeat.hold([message])
    wait_for(lambda: message.is_over, "the heartbeat to know")
    assert "this delivery has ended" in caplog.text
    caplog.clear()
    Client(queue).enqueue(order())
    behind = IncomingMessage(receive_one(queue), queue)

    giving_back.give_back_late(message, [behind])

    assert not caplog.messages
    assert receive_one(queue).message_id == behind.message_id


def test_the_log_says_what_it_waited_for(
    giving_back: GivingBack, message: IncomingMessage, caplog: pytest.LogCaptureFixture
) -> None:
    def reason() -> str:
        caplog.clear()
        giving_back.report([message])
        return caplog.messages[0].partition("is given back: ")[2].partition(" after")[0]

    message.waits_since = 1.0
    assert reason() == "its store does not answer"
    message.waits_since = math.inf
    assert reason() == "no handler was free"
    message.start_handler()
    assert reason() == "its handler still runs"
    message.end_handler(None)
    assert reason() == "its middleware has not ended"
