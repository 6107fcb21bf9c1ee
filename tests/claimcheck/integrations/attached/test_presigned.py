"""URLs that attached clients presign: the call may never be made."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aioboto3
import pytest

from claimcheck import ClaimCheck
from claimcheck.integrations import aiobotocore
from claimcheck.integrations import sns as topics
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import MessageInvalid
from tests.claimcheck.integrations.attached.messages import LARGE, SMALL, receive, records
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


@pytest.mark.parametrize(
    ("method", "options"),
    [("delete_message", {}), ("change_message_visibility", {"VisibilityTimeout": 0})],
)
class TestAUrlThatSettlesAMessage:
    def test_leaves_the_claim_to_its_delivery_and_has_the_handle_of_sqs(
        self,
        sqs: SQSClient,
        plain: SQSClient,
        queue: str,
        store: MemoryClaimStore,
        *,
        method: str,
        options: dict[str, Any],
    ) -> None:
        sqs.send_message(QueueUrl=queue, MessageBody=LARGE)
        [message] = receive(sqs, queue)
        handle = message["ReceiptHandle"]
        signed: list[Any] = []

        def look(params: dict[str, Any], **_: object) -> None:
            signed.extend(each["ReceiptHandle"] for each in params.get("Entries", [params]))

        sqs.meta.events.register("before-parameter-build.sqs", look)
        entries = [{"Id": "a", "ReceiptHandle": handle, **options}]
        for name, params in (
            (method, {"ReceiptHandle": handle, **options}),
            (method + "_batch", {"Entries": entries}),
        ):
            url = sqs.generate_presigned_url(name, Params={"QueueUrl": queue, **params})
            assert url.startswith("http")
        assert (records(store), len(store._contents) > 0) == (["leased"], True)
        assert len(set(signed)) == 1
        plain.change_message_visibility(
            QueueUrl=queue, ReceiptHandle=signed[0], VisibilityTimeout=900
        )
        sqs.meta.events.unregister("before-parameter-build.sqs", look)
        sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=0)
        assert [each["Body"] for each in receive(sqs, queue)] == [LARGE]

    def test_leaves_it_with_aiobotocore_too(
        self,
        ministack: AwsServer,
        check: ClaimCheck,
        queue: str,
        store: MemoryClaimStore,
        *,
        method: str,
        options: dict[str, Any],
    ) -> None:
        async def work() -> None:
            async with aioboto3.Session().client("sqs") as sqs:
                aiobotocore.attach(sqs, check)
                await sqs.send_message(QueueUrl=queue, MessageBody=LARGE)
                [message] = (await sqs.receive_message(QueueUrl=queue))["Messages"]
                params = {"QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"], **options}
                assert await sqs.generate_presigned_url(method, Params=params)

        asyncio.run(work())
        assert (records(store), len(store._contents) > 0) == (["leased"], True)


class TestAUrlThatSends:
    def test_is_refused_where_its_message_would_be_sealed(
        self, sqs: SQSClient, ministack: AwsServer, check: ClaimCheck, store: MemoryClaimStore
    ) -> None:
        queue, sns = ministack.make_queue(), topics.attach(ministack.sns(), check)
        entries = [{"Id": "a", "MessageBody": SMALL}, {"Id": "b", "MessageBody": LARGE}]
        topic = {"TopicArn": ministack.make_topic(), "Message": LARGE}
        for client, method, params in (
            (sqs, "send_message", {"QueueUrl": queue, "MessageBody": LARGE}),
            (sqs, "send_message_batch", {"QueueUrl": queue, "Entries": entries}),
            (sns, "publish", topic),
        ):
            with pytest.raises(MessageInvalid, match=r"would be sealed.*Send it with a call"):
                client.generate_presigned_url(method, Params=params)
        assert store._contents == {}
        sns.close()

    def test_of_a_small_message_is_made(self, sqs: SQSClient, queue: str) -> None:
        for method, params in (
            ("send_message", {"MessageBody": SMALL}),
            ("send_message_batch", {"Entries": [{"Id": "a", "MessageBody": SMALL}]}),
        ):
            assert sqs.generate_presigned_url(method, Params={"QueueUrl": queue, **params})
