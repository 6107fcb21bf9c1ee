"""A delivery for a handler that a test calls itself."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from datetime import datetime

from letsgo_queue import in_test
from letsgo_queue.attributes import AttributeValue, check_attributes, spell_out
from letsgo_queue.durations import Duration, seconds_in
from letsgo_queue.errors import MessageInvalid
from letsgo_queue.limits import DEFAULT_VISIBILITY_TIMEOUT
from letsgo_queue.message import AnyMessage, encode
from letsgo_queue.testing.queues import UNNAMED
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker.delivery import Delivery
from letsgo_queue.worker.incoming import IncomingMessage


class DeliveryInTest(Delivery):
    """A delivery that notes what its handler asks of it.

    Attributes:
        extensions: The seconds that the handler asked for with `extend`, in order.
    """

    __slots__ = ("extensions",)

    def __init__(self, message: IncomingMessage) -> None:
        """Look at a message in hand."""
        super().__init__(message)
        self.extensions: list[float] = []

    def extend(self, seconds: Duration) -> None:
        """See `Delivery.extend`."""
        super().extend(seconds)
        self.extensions.append(seconds_in(seconds, "seconds", MessageInvalid))


def make_delivery(
    message: AnyMessage,
    *,
    receive_count: int = 1,
    message_id: str | None = None,
    sent_at: datetime | None = None,
    attributes: Mapping[str, AttributeValue] | None = None,
    queue: str = UNNAMED,
    lambda_context: object = None,
) -> DeliveryInTest:
    """Make a delivery, to call a handler with.

        delivery = make_delivery(message, receive_count=3)
        on_order(message, delivery)
        assert delivery.extensions == [600]

    Args:
        message: The message, as `enqueue` takes it.
        receive_count: How often it has been received, this time included.
        message_id: Its id; by default a new one.
        sent_at: When it was sent; by default now.
        attributes: Its message attributes.
        queue: URL of the queue it came from.
        lambda_context: AWS Lambda's context.

    Raises:
        MessageInvalid: `enqueue` would refuse the message or its attributes.
    """
    _, body = encode(message)
    received = ReceivedMessage(
        message_id=message_id or str(uuid.uuid4()),
        receipt_handle=uuid.uuid4().hex,
        body=body.decode(),
        attributes=spell_out(check_attributes(attributes or {})),
        receive_count=receive_count,
        sent_at=in_test.now(time.time) if sent_at is None else sent_at.timestamp(),
        invisible_until=time.monotonic() + DEFAULT_VISIBILITY_TIMEOUT,
    )
    incoming = IncomingMessage(received, _Nowhere(queue), lambda_context=lambda_context)
    incoming.read_type()
    return DeliveryInTest(incoming)


class _Nowhere(MemoryTransport):
    """A queue that accepts every delivery as its own."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
        """Do nothing: no other worker waits for the message."""
