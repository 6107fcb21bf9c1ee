"""A boto3 client of SNS with the claim check, and what reaches the queues of a topic."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError, ParamValidationError

from claimcheck import (
    BodyInvalid,
    ClaimCheck,
    ClaimCheckMiddleware,
    ClaimStoreUnavailable,
    SettingsInvalid,
    unwrap_claim_check,
)
from claimcheck.integrations.sns import attach
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import Delivery, Message, Worker
from letsgo_queue.envelope import is_sealed, unwrap
from tests.claimcheck.lambda_claims import event_of, record_of
from tests.claimcheck.support import message_body, noise, ticket_in
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

SMALL = message_body("order:new", "größe €")
LARGE = message_body("order:new", noise(700_000))  # over every limit, also compressed
ATTRIBUTES: Any = {
    "kind": {"DataType": "String", "StringValue": "rush"},
    "weight": {"DataType": "Number", "StringValue": "7"},
}


@pytest.fixture
def store() -> MemoryClaimStore:
    return MemoryClaimStore()


@pytest.fixture
def check(store: MemoryClaimStore) -> ClaimCheck:
    return ClaimCheck(store)


@pytest.fixture
def sns(ministack: AwsServer, check: ClaimCheck) -> Iterator[SNSClient]:
    client = attach(ministack.sns(), check)
    yield client
    client.close()


@pytest.fixture
def topic(ministack: AwsServer) -> str:
    return ministack.make_topic()


def subscribed(aws: AwsServer, topic: str, **attributes: str) -> str:
    """A queue that gets what is published to a topic."""
    fifo = {"FifoQueue": "true"} if topic.endswith(".fifo") else {}
    queue = aws.make_queue(**fifo)
    aws.subscribe(topic, queue, **attributes)
    return queue


def bodies_on(aws: AwsServer, queue: str) -> list[str]:
    """The messages of a queue, without SNS's envelope; they stay there, invisible."""
    client, bodies = aws.sqs(), list[str]()
    while found := client.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        for each in found:
            wrapped = unwrap(each["Body"])
            bodies.append(each["Body"] if wrapped is None else wrapped.body)
    client.close()
    return bodies


def handled(queue: str, check: ClaimCheck) -> list[tuple[Message[Any], Delivery]]:
    """What a worker's handler gets from a queue."""
    worker = Worker(queue, middleware=[ClaimCheckMiddleware(check)])
    seen: list[tuple[Message[Any], Delivery]] = []

    @worker.default
    def handle(message: Message[Any], delivery: Delivery) -> None:
        seen.append((message, delivery))

    worker.run(burst=True)
    return seen


def requests_of(client: SNSClient, operation: str) -> list[dict[str, Any]]:
    """The requests of an operation that the client will make."""
    made: list[dict[str, Any]] = []

    def note(params: dict[str, Any], **_: object) -> None:
        made.append(params["body"])

    client.meta.events.register(f"before-call.sns.{operation}", note)
    return made


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
        arns = {
            url: f"{topic.rpartition(':')[0]}:{url.rpartition('/')[2]}" for url in (queue, other)
        }
        for arn in arns.values():
            name = arn.replace(":sns:", ":sqs:")
            record = {**record_of(received["Body"], "a"), "eventSourceARN": name}
            on_event(event_of(record), None)

        assert seen == [arns[other].replace(":sns:", ":sqs:")]
        assert len(handled(other, check)) == 0
        client.close()

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


class TestFailures:
    def test_the_claim_of_a_message_that_is_refused_is_removed(
        self, sns: SNSClient, topic: str, store: MemoryClaimStore
    ) -> None:
        with pytest.raises(sns.exceptions.NotFoundException):
            sns.publish(TopicArn=topic + "-gone", Message=LARGE)
        assert not store._contents

    @pytest.mark.parametrize(
        "wrong", [{"MessageAttributes": {"a": 1}}, {"MessageAttributes": 1}, {"Odd": 1}]
    )
    def test_parameters_that_botocore_refuses_store_nothing(
        self, sns: SNSClient, topic: str, store: MemoryClaimStore, wrong: Any
    ) -> None:
        with pytest.raises(ParamValidationError):
            sns.publish(TopicArn=topic, Message=LARGE, **wrong)
        assert not store._contents

    @pytest.mark.parametrize(
        "wrong", [{"Message": 1}, {"Message": ""}, {"Message": None}, {"TopicArn": "no ARN"}]
    )
    def test_what_cannot_be_sealed_is_left_to_sns(
        self, sns: SNSClient, topic: str, store: MemoryClaimStore, wrong: Any
    ) -> None:
        with pytest.raises((ParamValidationError, ClientError)):
            sns.publish(**{"TopicArn": topic + "-gone", "Message": LARGE, **wrong})
        assert not store._contents

    def test_one_that_may_have_been_published_keeps_its_claim(
        self, sns: SNSClient, topic: str, store: MemoryClaimStore, impatient: None
    ) -> None:
        statuses = iter([500, 404])

        def answer(request: Any, **_: object) -> Any:
            body = b"<ErrorResponse><Error><Code>No</Code></Error></ErrorResponse>"
            return AWSResponse(request.url, next(statuses), HTTPHeaders(), _Raw(body))

        sns.meta.events.register("before-send.sns.Publish", answer)
        with pytest.raises(ClientError):
            sns.publish(TopicArn=topic, Message=LARGE)

        assert len(store._contents) == 1

    def test_a_store_that_is_down_fails_the_call(
        self, sns: SNSClient, topic: str, store: MemoryClaimStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        requests = requests_of(sns, "Publish")

        def fail(*_: object) -> None:
            raise ClaimStoreUnavailable("the store does not answer")

        monkeypatch.setattr(store, "write", fail)
        with pytest.raises(ClaimStoreUnavailable):
            sns.publish(TopicArn=topic, Message=LARGE)
        assert not requests


class _Raw:
    """A body as urllib3 has it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self._body


class TestAttach:
    def test_twice_is_once(
        self, ministack: AwsServer, sns: SNSClient, topic: str, check: ClaimCheck
    ) -> None:
        queue = subscribed(ministack, topic)
        other = MemoryClaimStore()

        assert attach(sns, ClaimCheck(other)) is sns
        sns.publish(TopicArn=topic, Message=LARGE)

        (body,) = bodies_on(ministack, queue)
        assert [*other._contents] == [ticket_in(body)["id"]]
        assert not check.store._contents  # type: ignore[attr-defined]  # it is in memory

    def test_by_the_environment(
        self, ministack: AwsServer, topic: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CLAIMCHECK_STORE", "memory://")
        queue = subscribed(ministack, topic)
        sns = attach(ministack.sns())

        sns.publish(TopicArn=topic, Message=LARGE)
        sns.close()

        assert [*map(is_sealed, bodies_on(ministack, queue))] == [True]

    @pytest.mark.parametrize(
        ("client", "said"),
        [
            (lambda aws: aws.sqs(), "got a client of sqs"),
            (lambda aws: boto3.resource("sns", aws.region), "got sns.ServiceResource"),
            (lambda aws: "sns", "got str"),
            (lambda aws: None, "got NoneType"),
        ],
    )
    def test_anything_else_is_refused(
        self, ministack: AwsServer, client: Callable[[AwsServer], Any], said: str
    ) -> None:
        with pytest.raises(SettingsInvalid, match=said):
            attach(client(ministack))
