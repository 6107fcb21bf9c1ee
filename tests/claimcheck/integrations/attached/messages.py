"""Messages for attached clients, and what is left of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claimcheck.stores.memory import MemoryClaimStore
from tests.claimcheck.support import message_body, noise

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

SMALL = message_body("order:new", "größe €")
LARGE = message_body("order:new", noise(2_000_000))
MIDDLE = noise(300_000)


def receive(client: SQSClient, queue: str, **options: Any) -> list[Any]:
    answer = client.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, **options)
    return list(answer.get("Messages", []))


def records(store: MemoryClaimStore) -> list[str]:
    """The states of a store's records."""
    found = [store.look_up(key) for key in store._records]
    return [record.state for record in found if record is not None]


def waiting(client: SQSClient, queue: str) -> tuple[int, int]:
    """How many messages are visible, and how many are not."""
    names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = client.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return int(found[names[0]]), int(found[names[1]])
