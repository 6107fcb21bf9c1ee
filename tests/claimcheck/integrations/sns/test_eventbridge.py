"""A sealed message in an event of EventBridge, which rules bring to queues in several forms."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

from claimcheck import ClaimCheck, ClaimCheckMiddleware
from claimcheck.stores.memory import MemoryClaimStore
from letsgo_queue import Message, Worker
from tests.claimcheck.support import message_body, noise, parts_left
from tests.support.servers import AwsServer

LARGE = message_body("order:new", noise(700_000))


def arn_of(aws: AwsServer, queue: str) -> str:
    client = aws.sqs()
    found = client.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    client.close()
    return found["Attributes"]["QueueArn"]


def test_each_queue_handles_it_once_in_whichever_form_it_comes(
    ministack: AwsServer, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryClaimStore()
    check = ClaimCheck(store)
    whole, detail, other, through_sns = (ministack.make_queue() for _ in range(4))
    topic = ministack.make_topic()
    ministack.subscribe(topic, through_sns)
    events: Any = boto3.client("events")
    pattern = {"source": ["shop"], "detail": {"type": ["order:new"]}}
    events.put_rule(Name="orders", EventPattern=json.dumps(pattern))
    transformer = {"InputPathsMap": {"it": "$.detail"}, "InputTemplate": '{"order": <it>}'}
    targets: list[dict[str, Any]] = [
        {"Arn": arn_of(ministack, whole)},
        {"Arn": arn_of(ministack, detail), "InputPath": "$.detail"},
        {"Arn": arn_of(ministack, other), "InputTransformer": transformer},
        {"Arn": topic},
    ]
    events.put_targets(
        Rule="orders", Targets=[{"Id": str(at), **each} for at, each in enumerate(targets)]
    )

    sealed = check.seal(LARGE, shared=True)
    events.put_events(Entries=[{"Source": "shop", "DetailType": "Order", "Detail": sealed.text}])
    events.close()

    handled: dict[str, list[Message[Any]]] = {}
    for queue in (whole, detail, other, through_sns):
        seen = handled[queue] = []
        worker = Worker(queue, middleware=[ClaimCheckMiddleware(check)])
        worker.default(seen.append)
        worker.run(burst=True)

    for queue in (whole, detail, through_sns):
        assert [message.model_dump() for message in handled[queue]] == [json.loads(LARGE)]
    assert handled[other] == []
    assert "the body has no string `type`" in caplog.text
    assert parts_left(store, sealed.text)
