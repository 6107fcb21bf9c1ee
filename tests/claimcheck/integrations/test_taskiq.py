"""A listener of taskiq_aio_sqs with the claim check: duplicates, failures, stores: one process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from taskiq import AckableMessage, SendTaskError
from taskiq_aio_sqs import SQSBroker

from claimcheck import ClaimCheck, ClaimStoreUnavailable, Purge
from claimcheck.integrations.taskiq import install
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue.envelope import is_sealed
from tests.claimcheck.support import noise
from tests.claimcheck.watched import Watched
from tests.conftest import REGION
from tests.support.servers import AwsServer

LARGE = noise(2_500_000)


class Desk:
    """A started broker, what it hears, and its queue as a plain client sees it."""

    def __init__(
        self, aws: AwsServer, queue: str, check: ClaimCheck, *, once: bool = False
    ) -> None:
        self.queue = queue
        self.plain = aws.sqs()
        name = queue.rpartition("/")[2]
        broker = SQSBroker(name, region_name=REGION, wait_time_seconds=1)
        self.broker: Any = install(broker, check, once=once)
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

        def counted() -> tuple[int, ...]:
            found = self.plain.get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)
            return tuple(int(found["Attributes"][name]) for name in names)

        await until(lambda: counted() == expected, f"{expected}")


async def until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"waited 20 s for {what}")


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


def run(
    aws: AwsServer,
    check: ClaimCheck,
    story: Callable[[Desk], Awaitable[None]],
    *,
    listens: ClaimCheck | None = None,
    once: bool = False,
    **attributes: str,
) -> None:
    """Have a broker send a large message, and then a story happen to another."""
    queue = aws.make_queue(**{"VisibilityTimeout": "60", **attributes})

    async def all_of_it() -> None:
        sender = Desk(aws, queue, check)
        await sender.broker.startup()
        await sender.task.kiq(LARGE)
        await sender.broker.shutdown()
        sender.plain.close()
        await story(Desk(aws, queue, listens or check, once=once))

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
            await first.ack()  # type: ignore[misc]  # taskiq allows a plain function
            desk.put_raw(sealed)
            await desk.counts((0, 0))
            assert desk.heard.empty()

    run(ministack, check, story)


def test_a_copy_of_what_is_handled_now_waits(
    ministack: AwsServer, check: ClaimCheck, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    async def story(desk: Desk) -> None:
        sealed = desk.take_raw()
        desk.put_raw(sealed)
        async with at_work(desk):
            first = await desk.take()
            desk.put_raw(sealed)
            await until(lambda: "stays on queue" in caplog.text, "a line in the log")
            await desk.counts((0, 2))
            await first.ack()  # type: ignore[misc]  # as above
            await desk.counts((0, 1))
            assert desk.heard.empty()

    run(ministack, check, story)


def test_with_once_a_small_message_is_not_heard_again(
    ministack: AwsServer, check: ClaimCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(**_: object) -> None:
        """A request that SQS does not get."""

    async def story(desk: Desk) -> None:
        desk.take_raw()
        async with at_work(desk):
            await desk.task.kiq("small")
            small: Any = await desk.take()
            with monkeypatch.context() as patch:
                patch.setattr(desk.broker._sqs_client, "delete_message", lost)
                await small.ack()
            desk.plain.change_message_visibility(
                QueueUrl=desk.queue,
                ReceiptHandle=small.ack.metadata.receipt_handle,
                VisibilityTimeout=0,
            )
            await desk.counts((0, 0))
            assert desk.heard.empty()

    run(ministack, check, story, once=True)


@pytest.mark.parametrize(("purge", "left"), [("after", 0), ("never", 1)])
def test_contents_may_be_left_to_expire(
    ministack: AwsServer, check: ClaimCheck, store: MemoryClaimStore, purge: Purge, left: int
) -> None:
    async def story(desk: Desk) -> None:
        install(desk.broker, check, purge=purge)
        async with at_work(desk):
            message: Any = await desk.take()
            await message.ack()
            await desk.counts((0, 0))
        assert (len(store._contents), len(store._records)) == (left, 1)

    run(ministack, check, story)


def test_one_that_can_never_be_opened_is_a_dead_letter_in_the_end(
    ministack: AwsServer, check: ClaimCheck, store: MemoryClaimStore
) -> None:
    dead = ministack.make_queue()
    plain = ministack.sqs()
    answer = plain.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
    policy = {"deadLetterTargetArn": answer["Attributes"]["QueueArn"], "maxReceiveCount": 2}

    async def story(desk: Desk) -> None:
        store._contents.clear()  # somebody removed them
        async with at_work(desk):
            await desk.counts((0, 0))
            assert desk.heard.empty()

    run(ministack, check, story, VisibilityTimeout="1", RedrivePolicy=json.dumps(policy))

    [letter] = plain.receive_message(QueueUrl=dead)["Messages"]
    assert is_sealed(letter["Body"])
    plain.close()


def test_a_store_that_is_down_refuses_what_is_large_and_what_is_small_goes_on(
    ministack: AwsServer, check: ClaimCheck, down: ClaimCheck, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(desk: Desk) -> None:
        async with at_work(desk):
            with pytest.raises(SendTaskError) as refused:
                await desk.task.kiq(LARGE)
            assert isinstance(refused.value.__cause__, ClaimStoreUnavailable)
            await desk.task.kiq("small")
            small = await desk.take()
            assert desk.payload_of(small) == "small"
            await small.ack()  # type: ignore[misc]  # as above
            await desk.counts((0, 1))
            assert desk.heard.empty()

    run(ministack, check, story, listens=down)

    assert "Could not connect" in caplog.text
    assert LARGE[:50] not in caplog.text


def test_a_sender_that_is_cancelled_leaves_nothing_in_the_store(ministack: AwsServer) -> None:
    begun, goes_on, behind = threading.Event(), threading.Event(), MemoryClaimStore()
    store = Watched(behind)

    def wait() -> None:
        begun.set()
        goes_on.wait(60)

    async def story(desk: Desk) -> None:
        desk.take_raw()
        behind._contents.clear()
        store.before("write", wait)
        await desk.broker.startup()
        sending = asyncio.create_task(desk.task.kiq(LARGE))
        await until(begun.is_set, "the store")
        sending.cancel()
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await desk.broker.shutdown()
        await desk.counts((0, 0))
        desk.plain.close()

    run(ministack, ClaimCheck(store.store), story)

    assert (store.calls["write"], behind._contents) == (2, {})


def test_what_the_broker_refuses_to_send_leaves_nothing_in_the_store(
    ministack: AwsServer, check: ClaimCheck, store: MemoryClaimStore
) -> None:
    async def story(desk: Desk) -> None:
        desk.take_raw()
        store._contents.clear()
        await desk.broker.startup()
        with pytest.raises(SendTaskError):
            await desk.task.kicker().with_labels(group_id="no group").kiq(LARGE)
        await desk.broker.shutdown()
        await desk.counts((0, 0))
        desk.plain.close()

    run(ministack, check, story, FifoQueue="true", ContentBasedDeduplication="true")

    assert store._contents == {}


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


def test_a_store_that_hangs_has_no_message_come_back(ministack: AwsServer) -> None:
    answers, store = threading.Event(), Watched(MemoryClaimStore())
    store.before("extend", lambda: answers.wait(60))
    beats: list[object] = []

    async def story(desk: Desk) -> None:
        desk.broker._configure_heartbeat(True, 0.05, 100)
        async with at_work(desk):
            client = desk.broker._sqs_client._client
            client.meta.events.register("after-call.sqs.ChangeMessageVisibility", note)
            message: Any = await desk.take()
            await until(lambda: len(beats) >= 3, "a message that is hidden for longer")
            assert store.calls["extend"] == 1
            answers.set()
            await until(lambda: store.calls["extend"] >= 3, "a lease that is extended")
            await message.ack()

    def note(**call: object) -> None:
        beats.append(call)

    run(ministack, ClaimCheck(store.store), story)


@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
def test_a_batch_of_messages_that_travel_untouched_is_not_too_large(
    ministack: AwsServer, check: ClaimCheck
) -> None:
    async def story(desk: Desk) -> None:
        desk.take_raw()
        desk.broker._configure_batching(True, 10, 0.1, None)
        await desk.broker.startup()
        for number in range(8):
            await desk.task.kiq(f"{number}{'x' * 200_000}")
        await desk.task.kiq("small")
        await desk.broker.shutdown()  # which sends what waits
        await desk.counts((9, 0))
        desk.plain.close()

    run(ministack, check, story)


def end_visibility_timeouts(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each message that cannot be opened be visible again at once."""
    open_it = desk.broker._open

    async def open_and_show(received: Any) -> AckableMessage | None:
        message: AckableMessage | None = await open_it(received)
        if message is None:
            desk.plain.change_message_visibility(
                QueueUrl=desk.queue, ReceiptHandle=received.handle, VisibilityTimeout=0
            )
        return message

    monkeypatch.setattr(desk.broker, "_open", open_and_show)


def fault() -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("action", ["fail", "fault"])
def test_in_a_fifo_queue_nothing_overtakes_what_cannot_be_opened(
    ministack: AwsServer, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    store = Watched(MemoryClaimStore())
    if action == "fail":
        store.fail("acquire")
    else:
        store.before("acquire", fault)

    async def story(desk: Desk) -> None:
        queue = replace(desk.broker._default_queue, max_number_of_messages=10)
        await desk.broker.with_default_queue(queue).startup()
        for payload in ("small", LARGE + "other", "last"):
            await desk.task.kiq(payload)
        await desk.broker.shutdown()
        end_visibility_timeouts(desk, monkeypatch)
        async with at_work(desk):
            payloads = []
            for _ in range(4):
                message: Any = await desk.take()
                payloads.append(desk.payload_of(message))
                await message.ack()
        assert payloads == [LARGE, "small", LARGE + "other", "last"]

    run(
        ministack,
        ClaimCheck(store.store),
        story,
        ContentBasedDeduplication="true",
        FifoQueue="true",
    )
