"""Clients of SQS that aiobotocore and aioboto3 make, with the claim check."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiobotocore.session import get_session
from botocore.exceptions import NoCredentialsError, ParamValidationError

from claimcheck import ClaimCheck, SettingsInvalid
from claimcheck.integrations import boto3 as sync
from claimcheck.integrations.aiobotocore import attach
from claimcheck.stores.base import Lease, Record
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue.envelope import is_sealed
from tests.claimcheck.integrations.attached.malformed import MALFORMED
from tests.claimcheck.support import message_body, noise
from tests.support.servers import AwsServer

SMALL = message_body("order:new", "größe €")
LARGE = message_body("order:new", noise(2_000_000))


class NotOnTheLoop(MemoryClaimStore):
    """A store that nobody may ask on the thread of the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.watched = False
        self.asked = 0

    def __getattribute__(self, name: str) -> Any:
        if (
            name in {"write", "read", "remove", "acquire", "extend", "complete", "release"}
            and self.watched
        ):
            assert threading.current_thread() is not threading.main_thread()
            self.asked += 1
        return super().__getattribute__(name)


def run(work: Callable[[Any, Any], Awaitable[None]], makers: Any, check: ClaimCheck) -> None:
    """Work with two clients, as two processes have them."""

    async def with_clients() -> None:
        async with AsyncExitStack() as stack:
            clients = [
                attach(await stack.enter_async_context(make("sqs")), check)
                for make in (makers, makers)
            ]
            await work(*clients)

    asyncio.run(with_clients())


def made_by(package: str) -> Any:
    if package == "aiobotocore":
        return get_session().create_client
    return pytest.importorskip("aioboto3").Session().client  # it goes with few versions of boto3


@pytest.mark.parametrize("package", ["aiobotocore", "aioboto3"])
def test_a_message_of_2_mb_comes_as_it_was_sent_and_leaves_a_receipt(
    ministack: AwsServer, package: str
) -> None:
    store = NotOnTheLoop()
    queue = ministack.make_queue(VisibilityTimeout="600")

    async def work(sqs: Any, other: Any) -> None:
        await sqs.send_message(QueueUrl=queue, MessageBody=SMALL)
        answer = await sqs.send_message_batch(
            QueueUrl=queue, Entries=[{"Id": "a", "MessageBody": LARGE}]
        )
        assert [each["Id"] for each in answer["Successful"]] == ["a"]
        got = (await sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10))["Messages"]
        assert sorted(each["Body"] for each in got) == sorted([SMALL, LARGE])
        for each in got:
            handle = each["ReceiptHandle"]
            await other.change_message_visibility(
                QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=900
            )
            await other.delete_message(QueueUrl=queue, ReceiptHandle=handle)
        answer = await sqs.receive_message(QueueUrl=queue)
        assert "Messages" not in answer

    check = ClaimCheck(store)
    store.watched = True
    run(work, made_by(package), check)
    store.watched = False
    assert store.asked > 0
    assert [store.look_up(key).state for key in store._records] == ["done"]  # type: ignore[union-attr]  # they are there
    assert store._contents == {}


@pytest.mark.parametrize("body", [noise(12_000), '{"claimCheck":"' + noise(11_000) + '"}'])
def test_a_small_message_that_is_stored_is_stored_on_a_thread_too(
    ministack: AwsServer, body: str
) -> None:
    store, queue = NotOnTheLoop(), ministack.make_queue()

    async def work(sqs: Any, other: Any) -> None:
        store.watched = True
        await sqs.send_message(QueueUrl=queue, MessageBody=body)
        entries = [{"Id": "a", "MessageBody": body}]
        await sqs.send_message_batch(QueueUrl=queue, Entries=entries)
        store.watched = False

    run(work, made_by("aiobotocore"), ClaimCheck(store, inline_limit=5_000))
    assert store.asked == 2


def test_what_was_handled_is_deleted_and_what_is_held_elsewhere_stays(
    ministack: AwsServer,
) -> None:
    queue, store = ministack.make_queue(VisibilityTimeout="600"), MemoryClaimStore()
    check = ClaimCheck(store)
    plain = ministack.sqs()

    async def work(sqs: Any, other: Any) -> None:
        await sqs.send_message(QueueUrl=queue, MessageBody=LARGE)
        sealed = plain.receive_message(QueueUrl=queue, VisibilityTimeout=0)["Messages"][0]["Body"]
        assert is_sealed(sealed)
        [message] = (await sqs.receive_message(QueueUrl=queue))["Messages"]
        plain.send_message(QueueUrl=queue, MessageBody=sealed)
        assert not (await other.receive_message(QueueUrl=queue)).get("Messages")
        await sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        plain.send_message(QueueUrl=queue, MessageBody=sealed)
        assert not (await other.receive_message(QueueUrl=queue)).get("Messages")

    run(work, made_by("aiobotocore"), check)
    names: Any = ["ApproximateNumberOfMessagesNotVisible"]
    found = plain.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    assert found[names[0]] == "1"  # held until the lease elsewhere ends
    plain.close()


def test_a_batch_is_made_to_fit_and_an_entry_that_is_refused_leaves_nothing(
    ministack: AwsServer,
) -> None:
    store = MemoryClaimStore()
    queue = ministack.make_queue(FifoQueue="true", ContentBasedDeduplication="true")
    bodies = [noise(400_000, seed=n) for n in range(5)]
    entries = [
        {"Id": str(n), "MessageBody": body, "MessageGroupId": "g"} for n, body in enumerate(bodies)
    ]
    entries.append({"Id": "no-group", "MessageBody": noise(2_500_000, seed=9)})

    async def work(sqs: Any, other: Any) -> None:
        answer = await sqs.send_message_batch(QueueUrl=queue, Entries=entries)
        assert [each["Id"] for each in answer["Failed"]] == ["no-group"]
        got = (await other.receive_message(QueueUrl=queue, MaxNumberOfMessages=10))["Messages"]
        assert [each["Body"] for each in got] == bodies
        done = [
            {"Id": str(n), "ReceiptHandle": each["ReceiptHandle"]} for n, each in enumerate(got)
        ]
        await sqs.delete_message_batch(QueueUrl=queue, Entries=done)

    run(work, made_by("aiobotocore"), ClaimCheck(store))
    assert store._contents == {}


def test_without_credentials_nothing_is_left_in_the_store(queue: str, no_credentials: None) -> None:
    store = MemoryClaimStore()

    async def work(sqs: Any, _: Any) -> None:
        with pytest.raises(NoCredentialsError):
            await sqs.send_message(QueueUrl=queue, MessageBody=LARGE)

    run(work, made_by("aiobotocore"), ClaimCheck(store))
    assert store._contents == {}


def test_malformed_arguments_are_left_to_botocore(ministack: AwsServer) -> None:
    queue = ministack.make_queue()

    async def work(sqs: Any, _: Any) -> None:
        for method, wrong in MALFORMED:
            with pytest.raises(ParamValidationError):
                await getattr(sqs, method)(QueueUrl=queue, **wrong)

    run(work, made_by("aiobotocore"), ClaimCheck(MemoryClaimStore()))


def test_a_task_that_is_cancelled_leaves_no_claim_behind(ministack: AwsServer) -> None:
    queue = ministack.make_queue(VisibilityTimeout="600")
    opening, go_on = threading.Event(), threading.Event()

    class SlowStore(MemoryClaimStore):
        def acquire(self, key: str, lease: Lease, *, take_over: bool = False) -> Record | None:
            opening.set()
            assert go_on.wait(60)
            return super().acquire(key, lease, take_over=take_over)

    store = SlowStore()

    async def work(sqs: Any, other: Any) -> None:
        await sqs.send_message(QueueUrl=queue, MessageBody=LARGE)
        task = asyncio.ensure_future(sqs.receive_message(QueueUrl=queue))
        await asyncio.to_thread(opening.wait, 60)
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(work, made_by("aiobotocore"), ClaimCheck(store))
    assert [store.look_up(key) for key in store._records] == []


def test_each_attach_refuses_clients_of_the_other_kind(ministack: AwsServer) -> None:
    async def attach_sync() -> None:
        async with made_by("aiobotocore")("sqs") as client:
            with pytest.raises(SettingsInvalid, match=r"claimcheck\.integrations\.aiobotocore"):
                sync.attach(client)

    asyncio.run(attach_sync())
    client = ministack.sqs()
    with pytest.raises(SettingsInvalid, match=r"claimcheck\.integrations\.boto3"):
        attach(client)
    client.close()
