"""What the tests of administration share: queues with a dead-letter queue, and dead letters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from letsgo_queue.admin import open_admin
from letsgo_queue.admin.base import QueueAdmin
from letsgo_queue.attributes import MessageAttribute
from letsgo_queue.failure import Failure
from letsgo_queue.settings import QueueSettings
from letsgo_queue.transports import open_transport
from letsgo_queue.transports.base import ReceivedMessage, Transport
from tests.letsgo_queue.support import outgoing, receive
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for


@dataclass
class Queue:
    """A queue under test, and who looks after it."""

    transport: Transport
    admin: QueueAdmin

    def kill(
        self,
        body: str,
        why: str | Failure = "no use",
        attributes: Mapping[str, MessageAttribute] | None = None,
        **options: str,
    ) -> None:
        """Send a message and have a worker give it up."""
        self.transport.send(outgoing(body, attributes=attributes or {}, **options))
        (message,) = wait_for(lambda: receive(self.transport, wait_seconds=1), f"message {body}")
        assert self.transport.move_to_dead_letters(
            message, why if isinstance(why, Failure) else Failure.because(why)
        )

    def take_all(self, count: int) -> list[ReceivedMessage]:
        """Receive and acknowledge `count` messages."""
        taken: list[ReceivedMessage] = []

        def take() -> bool:
            for message in receive(self.transport, visibility_timeout=60):
                taken.append(message)
                self.transport.delete(message)
            return len(taken) >= count

        wait_for(take, f"{count} messages; there are {len(taken)}")
        return taken


def queue_at(url: str) -> Queue:
    """The queue that a URL names."""
    settings = QueueSettings(queue_url=url)
    return Queue(open_transport(None, settings), open_admin(None, settings))


def make_sqs_queue(aws: AwsServer, *, max_receives: int = 1, **attributes: str) -> str:
    """Make a queue with a dead-letter queue and return its URL."""
    fifo = {name: value for name, value in attributes.items() if name == "FifoQueue"}
    dead_letters = aws.make_queue(name="dead", **fifo)
    arn = aws.sqs().get_queue_attributes(QueueUrl=dead_letters, AttributeNames=["QueueArn"])
    policy = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": max_receives}
    return aws.make_queue(RedrivePolicy=json.dumps(policy), **attributes)
