"""A boto3 client of SNS with the claim check: what it publishes, one message at a time."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError

from claimcheck import (
    BodyInvalid,
    ClaimCheck,
    unwrap_claim_check,
)
from claimcheck.integrations.sns import attach
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import MessageTooLarge
from letsgo_queue.envelope import is_sealed
from tests.claimcheck.core.encrypting import AES
from tests.claimcheck.integrations.sns.topics import (
    ATTRIBUTES,
    LARGE,
    SMALL,
    bodies_on,
    handled,
    requests_of,
    subscribed,
)
from tests.claimcheck.lambda_claims import event_of, record_of
from tests.claimcheck.support import message_body, noise
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


class TestPublish:
    def test_a_small_message_is_as_it_was(
        self, ministack: AwsServer, sns: SNSClient, topic: str, store: MemoryClaimStore
    ) -> None:
        queue = subscribed(ministack, topic, RawMessageDelivery="true")

        sns.publish(TopicArn=topic, Message=SMALL)

        assert bodies_on(ministack, queue) == [SMALL]
        assert not store._contents

    def test_each_queue_handles_a_large_one_once(
        self, ministack: AwsServer, sns: SNSClient, topic: str, check: ClaimCheck
    ) -> None:
        queues = [subscribed(ministack, topic, RawMessageDelivery=raw) for raw in ("true", "false")]

        sns.publish(TopicArn=topic, Message=LARGE, MessageAttributes=ATTRIBUTES)

        for queue in queues:
            ((message, delivery),) = handled(queue, check)
            assert message.model_dump() == json.loads(LARGE)
            assert {name: each.value for name, each in delivery.attributes.items()} == {
                "kind": "rush",
                "weight": "7",
            }

    def test_a_copy_of_it_is_a_duplicate_of_its_queue_only(
        self, ministack: AwsServer, sns: SNSClient, topic: str, check: ClaimCheck
    ) -> None:
        first, second = (subscribed(ministack, topic, RawMessageDelivery="true") for _ in range(2))
        sns.publish(TopicArn=topic, Message=LARGE)
        (body,) = bodies_on(ministack, first)

        for expected in (1, 0):
            ministack.sqs().send_message(QueueUrl=first, MessageBody=body)
            assert len(handled(first, check)) == expected
        assert len(handled(second, check)) == 1

    @pytest.mark.parametrize("raw", ["true", "false"])
    def test_worker_and_lambda_have_one_record_of_a_queue(
        self, ministack: AwsServer, sns: SNSClient, topic: str, check: ClaimCheck, raw: str
    ) -> None:
        queue, other = (subscribed(ministack, topic, RawMessageDelivery=raw) for _ in range(2))
        sns.publish(TopicArn=topic, Message=LARGE)
        client = ministack.sqs()
        (received,) = client.receive_message(QueueUrl=queue)["Messages"]
        seen: list[str] = []

        @unwrap_claim_check(claim_check=check)
        def on_event(event: dict[str, Any], context: object) -> None:
            seen.extend(record["eventSourceARN"] for record in event["Records"])

        client.change_message_visibility(
            QueueUrl=queue, ReceiptHandle=received["ReceiptHandle"], VisibilityTimeout=0
        )
        assert len(handled(queue, check)) == 1
        start = topic.replace(":sns:", ":sqs:").rpartition(":")[0]
        arns = [f"{start}:{url.rpartition('/')[2]}" for url in (queue, other)]
        for arn in arns:
            record = {**record_of(received["Body"], "a"), "eventSourceARN": arn}
            on_event(event_of(record), None)

        assert seen == [arns[1]]
        assert len(handled(other, check)) == 0
        client.close()

    def test_one_that_nobody_was_there_to_take_leaves_nothing(
        self, check: ClaimCheck, topic: str, store: MemoryClaimStore
    ) -> None:
        once = Config(retries={"total_max_attempts": 1})
        sns = attach(boto3.client("sns", endpoint_url="http://127.0.0.1:1", config=once), check)
        entries: Any = [{"Id": "a", "Message": LARGE}]

        with pytest.raises(EndpointConnectionError):
            sns.publish(TopicArn=topic, Message=LARGE)
        with pytest.raises(EndpointConnectionError):
            sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=entries)

        assert not store._contents
        sns.close()

    def test_an_encrypted_one_is_handled_once_by_each_queue(
        self, ministack: AwsServer, topic: str, store: MemoryClaimStore
    ) -> None:
        """Its ticket carries it, and the copies of all queues have one nonce."""
        check = ClaimCheck(store, encryption=AES)
        queues = [subscribed(ministack, topic, RawMessageDelivery=raw) for raw in ("true", "false")]
        sns, plain = attach(ministack.sns(), check), ministack.sqs()
        sent = requests_of(sns, "Publish")

        sns.publish(TopicArn=topic, Message=SMALL)

        for queue in queues:
            for expected in (1, 0):
                assert len(handled(queue, check, once=True)) == expected
                plain.send_message(QueueUrl=queue, MessageBody=sent[0]["Message"])  # a copy
        sns.close()
        plain.close()

    def test_contents_expire(
        self, ministack: AwsServer, sns: SNSClient, topic: str, store: MemoryClaimStore
    ) -> None:
        queue = subscribed(ministack, topic, RawMessageDelivery="true")
        sns.publish(TopicArn=topic, Message=LARGE)
        assert len(handled(queue, ClaimCheck(store, purge="before"))) == 1

        ((claim_id, kept),) = store._contents.items()
        assert kept.expires_at - store.now() == pytest.approx(15 * 24 * 3600, abs=60)
        assert claim_id

    def test_filter_policies_of_attributes_and_of_the_type_still_work(
        self, ministack: AwsServer, sns: SNSClient, topic: str
    ) -> None:
        rush, slow = (
            subscribed(ministack, topic, FilterPolicy=json.dumps({"kind": [kind]}))
            for kind in ("rush", "slow")
        )
        of_type = subscribed(
            ministack,
            topic,
            FilterPolicy=json.dumps({"type": ["order:new"]}),
            FilterPolicyScope="MessageBody",
        )

        sns.publish(TopicArn=topic, Message=LARGE, MessageAttributes=ATTRIBUTES)

        counts = [len(bodies_on(ministack, queue)) for queue in (rush, slow, of_type)]
        assert counts == [1, 0, 1]

    def test_a_topic_may_be_the_target(
        self, ministack: AwsServer, sns: SNSClient, topic: str
    ) -> None:
        queue = subscribed(ministack, topic)

        sns.publish(TargetArn=topic, Message=LARGE)

        assert [*map(is_sealed, bodies_on(ministack, queue))] == [True]

    @pytest.mark.parametrize(
        "to",
        [
            {"PhoneNumber": "+491700000000"},
            {"TargetArn": "arn:aws:sns:us-west-2:000000000000:endpoint/GCM/app/5e3e9847"},
        ],
    )
    def test_what_goes_to_a_phone_or_a_device_is_as_it_was(
        self, sns: SNSClient, store: MemoryClaimStore, to: Any
    ) -> None:
        requests = requests_of(sns, "Publish")

        with suppress(sns.exceptions.NotFoundException):  # there is no such device
            sns.publish(Message=LARGE, **to)

        assert [each["Message"] for each in requests] == [LARGE]
        assert not store._contents


class TestLimits:
    MIDDLING = message_body("order:new", noise(150_000))

    def test_the_topics_own_counts_and_is_asked_once(
        self, ministack: AwsServer, sns: SNSClient
    ) -> None:
        topic = ministack.make_topic(MaximumMessageSize="100000")
        queue = subscribed(ministack, topic)
        asked = requests_of(sns, "GetTopicAttributes")

        for _ in range(2):
            sns.publish(TopicArn=topic, Message=self.MIDDLING)

        assert [*map(is_sealed, bodies_on(ministack, queue))] == [True, True]
        assert len(asked) == 1

    @pytest.mark.parametrize("code", ["AuthorizationError", "InternalError"])
    def test_without_an_answer_it_is_256_kib(
        self, sns: SNSClient, ministack: AwsServer, topic: str, code: str
    ) -> None:
        queue = subscribed(ministack, topic)
        asked: list[object] = []

        def refuse(params: object, **_: object) -> Any:
            asked.append(params)
            answer = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {}}
            return AWSResponse("", 403, HTTPHeaders(), None), answer

        sns.meta.events.register("before-call.sns.GetTopicAttributes", refuse)
        for _ in range(2):
            sns.publish(TopicArn=topic, Message=self.MIDDLING)
            sns.publish(TopicArn=topic, Message=LARGE)

        sealed = [is_sealed(body) for body in bodies_on(ministack, queue)]
        assert sorted(sealed) == [False, False, True, True]
        assert len(asked) == (1 if code == "AuthorizationError" else 4)

    def test_attributes_count(self, ministack: AwsServer, sns: SNSClient, topic: str) -> None:
        queue = subscribed(ministack, topic)
        large: Any = {"text": {"DataType": "String", "StringValue": "x" * 120_000}}

        sns.publish(TopicArn=topic, Message=self.MIDDLING, MessageAttributes=large)

        assert [*map(is_sealed, bodies_on(ministack, queue))] == [True]


class TestMessageStructure:
    def test_the_text_for_queues_is_sealed(
        self, ministack: AwsServer, sns: SNSClient, topic: str, check: ClaimCheck
    ) -> None:
        queue = subscribed(ministack, topic)
        requests = requests_of(sns, "Publish")
        texts = {"default": "An order.", "email": "größe €", "sqs": LARGE}

        sns.publish(TopicArn=topic, Message=json.dumps(texts), MessageStructure="json")

        sent = json.loads(requests[0]["Message"])
        assert {**sent, "sqs": LARGE} == texts
        ((message, _),) = handled(queue, check)
        assert message.model_dump() == json.loads(LARGE)

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(message_body("order:new", ['"' * 9] * 100_000), id="large, with quotes"),
            pytest.param(message_body("order:new", '"' * 80_000), id="too large by its escapes"),
            pytest.param(message_body("order:new", "é" * 200_000), id="large, not ASCII"),
            pytest.param(message_body("order:new", LARGE.split(",")), id="over every limit"),
        ],
    )
    def test_the_text_for_queues_may_need_any_number_of_escapes(
        self, ministack: AwsServer, sns: SNSClient, topic: str, check: ClaimCheck, body: str
    ) -> None:
        queue = subscribed(ministack, topic, RawMessageDelivery="true")
        requests = requests_of(sns, "Publish")
        texts = json.dumps({"default": "An order.", "sqs": body})
        assert len(texts) > 262_144

        sns.publish(TopicArn=topic, Message=texts, MessageStructure="json")

        assert len(requests[0]["Message"].encode()) <= 262_144
        ((message, _),) = handled(queue, check)
        assert message.model_dump() == json.loads(body)

    def test_in_a_batch_too(
        self, ministack: AwsServer, sns: SNSClient, topic: str, check: ClaimCheck
    ) -> None:
        queue = subscribed(ministack, topic, RawMessageDelivery="true")
        requests = requests_of(sns, "PublishBatch")
        payloads = [str(at) + '"' * 13_000 for at in range(10)]
        texts = [{"default": "x", "sqs": message_body("order:new", each)} for each in payloads]
        assert sum(len(json.dumps(each)) for each in texts) > 262_144

        sns.publish_batch(
            TopicArn=topic,
            PublishBatchRequestEntries=[
                {"Id": str(at), "Message": json.dumps(each), "MessageStructure": "json"}
                for at, each in enumerate(texts)
            ],
        )

        sent = [value for name, value in requests[0].items() if name.endswith(".Message")]
        assert sum(map(len, sent)) <= 262_144
        assert sorted(message.payload for message, _ in handled(queue, check)) == payloads

    def test_escapes_that_fit_stay_as_they_are(
        self, sns: SNSClient, topic: str, store: MemoryClaimStore
    ) -> None:
        requests = requests_of(sns, "Publish")
        body = message_body("order:new", '"é' * 20_000)
        texts = json.dumps({"default": "An order.", "sqs": body}, indent=2)

        sns.publish(TopicArn=topic, Message=texts, MessageStructure="json")

        assert [each["Message"] for each in requests] == [texts]
        assert not store._contents

    def test_half_a_character_in_another_text_stays_as_it_is(
        self, sns: SNSClient, topic: str
    ) -> None:
        requests = requests_of(sns, "Publish")
        texts = {"default": "An order.", "email": "\ud83d", "sqs": LARGE}

        sns.publish(TopicArn=topic, Message=json.dumps(texts), MessageStructure="json")

        sent = json.loads(requests[0]["Message"])
        assert {**sent, "sqs": LARGE} == texts
        assert is_sealed(sent["sqs"])

    def test_what_is_too_large_in_other_texts_is_refused(
        self, sns: SNSClient, topic: str, store: MemoryClaimStore
    ) -> None:
        texts = json.dumps({"default": "x" * 262_000, "sqs": LARGE})

        with pytest.raises(MessageTooLarge):
            sns.publish(TopicArn=topic, Message=texts, MessageStructure="json")
        assert not store._contents

    def test_a_small_text_that_looks_sealed_is_sealed_again(
        self, sns: SNSClient, topic: str, check: ClaimCheck
    ) -> None:
        requests, looks_sealed = requests_of(sns, "Publish"), '{"claimCheck":1}'
        texts = json.dumps({"default": "x", "sqs": looks_sealed})

        sns.publish(TopicArn=topic, Message=texts, MessageStructure="json")

        sent = json.loads(requests[0]["Message"])["sqs"]
        assert check.open(sent, consumer="any").body == looks_sealed

    @pytest.mark.parametrize("message", [json.dumps({"default": LARGE}), "no JSON" + LARGE, "[]"])
    def test_without_one_the_message_is_as_it_was(
        self, sns: SNSClient, topic: str, store: MemoryClaimStore, message: str
    ) -> None:
        requests = requests_of(sns, "Publish")

        with suppress(sns.exceptions.InvalidParameterException):  # it says so
            sns.publish(TopicArn=topic, Message=message, MessageStructure="json")

        assert [each["Message"] for each in requests] == [message]
        assert not store._contents

    def test_without_one_it_is_refused_where_every_message_is_sealed(
        self, ministack: AwsServer, topic: str, store: MemoryClaimStore
    ) -> None:
        check = ClaimCheck(store, signing_key="k" * 16, sign_every_message=True)
        sns = attach(ministack.sns(), check)
        requests = requests_of(sns, "Publish")

        with pytest.raises(BodyInvalid, match="no text for 'sqs'"):
            sns.publish(TopicArn=topic, Message='{"default": "x"}', MessageStructure="json")
        sns.publish(TopicArn=topic, Message='{"default": "x", "sqs": "y"}', MessageStructure="json")

        assert [is_sealed(json.loads(each["Message"])["sqs"]) for each in requests] == [True]
        sns.close()
