"""A boto3 client of SNS with the claim check: batches, and FIFO topics."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from claimcheck import (
    ClaimCheck,
    ClaimStoreUnavailable,
)
from claimcheck.integrations.sns import attach
from claimcheck.stores.memory import MemoryClaimStore
from tests.claimcheck.integrations.sns.topics import LARGE, SMALL, handled, requests_of, subscribed
from tests.claimcheck.support import message_body, noise
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


class TestPublishBatch:
    def test_what_is_too_large_alone_or_together_fits(
        self, aws: AwsServer, check: ClaimCheck
    ) -> None:
        """10 messages of 60,000 bytes, and one over every limit."""
        sns, topic = attach(aws.sns(), check), aws.make_topic()
        queue = subscribed(aws, topic, RawMessageDelivery="true")
        requests = requests_of(sns, "PublishBatch")
        bodies = [LARGE, SMALL] + [
            message_body("order:new", noise(60_000, seed=seed)) for seed in range(8)
        ]

        answer = sns.publish_batch(
            TopicArn=topic,
            PublishBatchRequestEntries=[
                {"Id": f"m-{at}", "Message": body} for at, body in enumerate(bodies)
            ],
        )

        assert [each["Id"] for each in answer["Successful"]] == [f"m-{at}" for at in range(10)]
        sent = [value for name, value in requests[0].items() if name.endswith(".Message")]
        assert sum(map(len, sent)) <= 262_144
        assert sent[1] == SMALL
        handled_payloads = [message.payload for message, _ in handled(queue, check)]
        assert sorted(handled_payloads) == sorted(json.loads(body)["payload"] for body in bodies)
        sns.close()

    def test_the_claim_of_an_entry_that_is_refused_is_removed(
        self, ministack: AwsServer, sns: SNSClient, store: MemoryClaimStore, check: ClaimCheck
    ) -> None:
        topic = ministack.make_topic(FifoTopic="true", ContentBasedDeduplication="true")
        queue = subscribed(ministack, topic)
        entries: Any = [
            {"Id": "ok", "Message": LARGE, "MessageGroupId": "g"},
            {"Id": "no group", "Message": LARGE.replace("order:new", "order:old")},
        ]

        answer = sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=entries)

        assert [each["Id"] for each in answer["Failed"]] == ["no group"]
        assert len(store._contents) == 1
        assert len(handled(queue, check)) == 1

    def test_where_one_cannot_be_stored_none_is(
        self,
        sns: SNSClient,
        topic: str,
        store: MemoryClaimStore,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        requests = requests_of(sns, "PublishBatch")
        write = store.write

        def fail_second(*arguments: Any) -> None:
            if store._contents:
                raise ClaimStoreUnavailable("down")
            write(*arguments)

        monkeypatch.setattr(store, "write", fail_second)
        entries: Any = [{"Id": id, "Message": LARGE} for id in "ab"]
        with pytest.raises(ClaimStoreUnavailable):
            sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=entries)

        assert not store._contents
        assert not requests


class TestFifo:
    def test_what_was_published_twice_is_delivered_once(
        self, ministack: AwsServer, sns: SNSClient, check: ClaimCheck
    ) -> None:
        topic = ministack.make_topic(FifoTopic="true", ContentBasedDeduplication="true")
        queue = subscribed(ministack, topic)

        for _ in range(2):
            sns.publish(TopicArn=topic, Message=LARGE, MessageGroupId="g")

        assert len(handled(queue, check)) == 1

    def test_an_id_of_ones_own_stays(
        self, ministack: AwsServer, sns: SNSClient, check: ClaimCheck
    ) -> None:
        topic = ministack.make_topic(FifoTopic="true", ContentBasedDeduplication="true")
        queue = subscribed(ministack, topic)

        for id in ("a", "b", "a"):
            sns.publish(
                TopicArn=topic, Message=LARGE, MessageGroupId="g", MessageDeduplicationId=id
            )

        assert len(handled(queue, check)) == 2

    def test_a_topic_that_wants_one_refuses_a_message_without(
        self, ministack: AwsServer, sns: SNSClient, store: MemoryClaimStore
    ) -> None:
        topic = ministack.make_topic(FifoTopic="true")

        with pytest.raises(ClientError, match="ContentBasedDeduplication"):
            sns.publish(TopicArn=topic, Message=LARGE, MessageGroupId="g")
        assert not store._contents
