"""A listener of taskiq_aio_sqs with the claim check: duplicates, failures, stores: one process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from taskiq import AckableMessage
from taskiq_aio_sqs import SQSBroker

from claimcheck import ClaimCheck
from claimcheck.integrations.taskiq import install
from claimcheck.stores.memory import MemoryClaimStore
from tests.claimcheck.support import noise
from tests.claimcheck.watched import Watched
from tests.conftest import REGION
from tests.support.servers import AwsServer

LARGE = noise(2_500_000)


class Desk:
    """A started broker, what it hears, and its queue as a plain client sees it."""

    def __init__(self, aws: AwsServer, queue: str, broker: Any, check: ClaimCheck) -> None:
        self.aws = aws
        self.queue = queue
        self.plain = aws.sqs()
        self.broker = install(broker, check)
        self.task = broker.register_task(lambda payload: None, "take")
        self.heard: asyncio.Queue[AckableMessage] = asyncio.Queue()

    async def take(self) -> AckableMessage:
        """The next message, as soon as there is one."""
        return await asyncio.wait_for(self.heard.get(), 20)

    def payload_of(self, message: AckableMessage) -> object:
        return self.broker.formatter.loads(message.data).args[0]

    def take_raw(self) -> dict[str, Any]:
        """A message as it travels, taken off the queue, to be sent again."""
        [found] = self.plain.receive_message(
            QueueUrl=self.queue, MessageAttributeNames=["All"], WaitTimeSeconds=1
        )["Messages"]
        self.plain.delete_message(QueueUrl=self.queue, ReceiptHandle=found["ReceiptHandle"])
        return {"MessageBody": found["Body"], "MessageAttributes": found["MessageAttributes"]}

    def put_raw(self, message: dict[str, Any]) -> None:
        self.plain.send_message(QueueUrl=self.queue, **message)

    async def counts(self, expected: tuple[int, int]) -> None:
        """Wait for so many messages to wait, and so many to be hidden."""
        names: Any = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
        ]
        for _ in range(400):
            found = self.plain.get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)
            counted = tuple(int(found["Attributes"][name]) for name in names)
            if counted == expected:
                return
            await asyncio.sleep(0.05)
        assert counted == expected


@asynccontextmanager
async def at_work(desk: Desk) -> AsyncIterator[None]:
    """A broker that listens."""
    await desk.broker.startup()
    listening = asyncio.create_task(_listen(desk))
    try:
        yield
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening
        await desk.broker.shutdown()
        desk.plain.close()


async def _listen(desk: Desk) -> None:
    async for message in desk.broker.listen():
        await desk.heard.put(message)


def run(aws: AwsServer, check: ClaimCheck, story: Callable[[Desk], Awaitable[None]]) -> None:
    queue = aws.make_queue(VisibilityTimeout="60")

    async def all_of_it() -> None:
        broker = SQSBroker(queue.rpartition("/")[2], region_name=REGION, wait_time_seconds=1)
        desk = Desk(aws, queue, broker, check)
        await desk.broker.startup()  # a sender, before anybody listens
        await desk.task.kiq(LARGE)
        await desk.broker.shutdown()
        await story(desk)

    asyncio.run(all_of_it())


def test_a_duplicate_of_what_was_done_is_deleted_and_no_task_gets_it(
    ministack: AwsServer, check: ClaimCheck
) -> None:
    async def story(desk: Desk) -> None:
        sealed = desk.take_raw()
        desk.put_raw(sealed)
        async with at_work(desk):
            first = await desk.take()
            assert desk.payload_of(first) == LARGE
            await first.ack()  # type: ignore[misc]  # taskiq allows one that is no coroutine
            desk.put_raw(sealed)
            await desk.counts((0, 0))
            assert desk.heard.empty()

    run(ministack, check, story)


def test_one_that_cannot_be_opened_stays_and_stops_no_other(
    ministack: AwsServer,
    check: ClaimCheck,
    store: MemoryClaimStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(desk: Desk) -> None:
        store._contents.clear()  # somebody removed them
        async with at_work(desk):
            await desk.task.kiq("small")
            small = await desk.take()
            assert desk.payload_of(small) == "small"
            await small.ack()  # type: ignore[misc]  # as above
            await desk.counts((0, 1))
            assert desk.heard.empty()

    run(ministack, check, story)

    assert "stays on queue" in caplog.text
    assert LARGE[:50] not in caplog.text


def test_a_store_that_hangs_holds_only_the_messages_that_need_it(ministack: AwsServer) -> None:
    answers, store = threading.Event(), Watched(MemoryClaimStore())
    store.before("read", lambda: answers.wait(60))

    async def story(desk: Desk) -> None:
        async with at_work(desk):
            await desk.task.kiq("small")
            small = await desk.take()
            assert desk.payload_of(small) == "small"
            answers.set()
            large = await desk.take()
            assert desk.payload_of(large) == LARGE

    run(ministack, ClaimCheck(store.store), story)
