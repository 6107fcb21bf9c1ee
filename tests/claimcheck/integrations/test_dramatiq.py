"""A consumer of dramatiq_sqs with the claim check: duplicates, failures, stores; in one process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq_sqs import SQSBroker

from claimcheck import ClaimCheck
from claimcheck.integrations.dramatiq import install
from claimcheck.stores.memory import MemoryClaimStore
from tests.claimcheck.support import noise, wait_for
from tests.claimcheck.watched import Watched
from tests.conftest import REGION
from tests.support.servers import AwsServer

LARGE = noise(2_500_000)


class Desk:
    """A broker with one queue, and what its consumer gets."""

    def __init__(self, broker: Any) -> None:
        self.broker = broker
        broker.declare_queue("work")
        self.consumer = broker.consume("work", prefetch=10, timeout=200)
        self.queue = broker.queues["work"]

    def send(self, payload: str) -> None:
        self.broker.enqueue(
            dramatiq.Message[Any](
                queue_name="work", actor_name="take", args=(payload,), kwargs={}, options={}
            )
        )

    def take(self) -> Any:
        """The next message, as soon as there is one."""
        return wait_for(lambda: next(self.consumer), "a message")

    def has_nothing(self) -> bool:
        """Whether nothing comes, though the queue was asked more than once."""
        return all(next(self.consumer) is None for _ in range(3))

    def take_raw(self) -> str:
        """A message as it travels, taken off the queue."""
        (message,) = self.queue._queue.receive_messages(WaitTimeSeconds=1)
        message.delete()
        return str(message.body)

    def put_raw(self, body: str) -> None:
        self.queue._queue.send_message(MessageBody=body)

    def counts(self) -> tuple[int, int]:
        """Messages that wait, and those that are hidden."""
        self.queue._queue.reload()
        found = self.queue._queue.attributes
        return (
            int(found["ApproximateNumberOfMessages"]),
            int(found["ApproximateNumberOfMessagesNotVisible"]),
        )


@pytest.fixture
def broker(ministack: AwsServer) -> Iterator[Any]:
    broker = SQSBroker(namespace=ministack.make_table_name(), middleware=[], region_name=REGION)
    yield broker
    broker.sqs.meta.client.close()


@pytest.fixture
def desk(broker: Any, check: ClaimCheck) -> Iterator[Desk]:
    desk = Desk(install(broker, check))
    yield desk
    desk.consumer.close()


def test_a_duplicate_of_what_was_done_is_deleted_and_no_actor_gets_it(desk: Desk) -> None:
    desk.send(LARGE)
    sealed = desk.take_raw()
    desk.put_raw(sealed)
    first = desk.take()
    assert first.args == (LARGE,)
    desk.consumer.ack(first)

    desk.put_raw(sealed)

    wait_for(lambda: desk.has_nothing() and desk.counts() == (0, 0), "the duplicate's end")


def test_a_copy_of_what_is_handled_now_waits(desk: Desk) -> None:
    desk.send(LARGE)
    sealed = desk.take_raw()
    desk.put_raw(sealed)
    first = desk.take()

    desk.put_raw(sealed)

    assert desk.has_nothing()
    assert desk.counts() == (0, 2)
    desk.consumer.ack(first)


def test_with_once_a_small_message_leaves_a_receipt(
    broker: Any, check: ClaimCheck, store: MemoryClaimStore
) -> None:
    desk = Desk(install(broker, check, once=True))
    desk.send("small")
    message = desk.take()
    handled = message._sqs_message.message_id
    desk.consumer.ack(message)
    assert desk.counts() == (0, 0)
    assert [handled in key for key in store._records] == [True]
    desk.consumer.close()


def test_one_that_cannot_be_opened_stays_and_stops_no_other(
    desk: Desk, store: MemoryClaimStore, caplog: pytest.LogCaptureFixture
) -> None:
    desk.send(LARGE)
    store._contents.clear()  # somebody removed them
    desk.send("small")

    message = desk.take()
    assert message.args == ("small",)
    desk.consumer.ack(message)

    assert desk.has_nothing()
    wait_for(lambda: desk.counts() == (0, 1), "the message to be hidden")
    assert "stays on queue" in caplog.text
    assert LARGE[:50] not in caplog.text


def test_a_store_that_hangs_holds_only_the_messages_that_need_it(broker: Any) -> None:
    answers, store = threading.Event(), Watched(MemoryClaimStore())
    store.before("read", lambda: answers.wait(60))
    desk = Desk(install(broker, ClaimCheck(store.store)))
    desk.send(LARGE)
    desk.send("small")

    small = desk.take()
    assert small.args == ("small",)
    desk.consumer.ack(small)
    answers.set()
    large = desk.take()

    assert large.args == (LARGE,)
    desk.consumer.ack(large)
    desk.consumer.close()
