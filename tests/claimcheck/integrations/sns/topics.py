"""What reaches the queues of a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claimcheck import ClaimCheck, ClaimCheckMiddleware
from letsgo_queue import Delivery, Message, Worker
from letsgo_queue.envelope import unwrap
from tests.claimcheck.support import message_body, noise
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

SMALL = message_body("order:new", "größe €")
LARGE = message_body("order:new", noise(700_000))  # over every limit, also compressed
ATTRIBUTES: Any = {
    "kind": {"DataType": "String", "StringValue": "rush"},
    "weight": {"DataType": "Number", "StringValue": "7"},
}


def subscribed(aws: AwsServer, topic: str, **attributes: str) -> str:
    """A queue that gets all messages of a topic."""
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


def handled(
    queue: str, check: ClaimCheck, *, once: bool = False
) -> list[tuple[Message[Any], Delivery]]:
    """What a worker's handler gets from a queue."""
    worker = Worker(queue, middleware=[ClaimCheckMiddleware(check, once=once)])
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
