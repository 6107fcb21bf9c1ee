"""One delivery of a message: what a handler may know of it and do with it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from letsgo_queue.attributes import MessageAttribute
from letsgo_queue.errors import MessageInvalid
from letsgo_queue.events import Event
from letsgo_queue.transports.base import MAX_VISIBILITY_SECONDS, ReceivedMessage, Transport


class Visibility:
    """How long a delivery stays invisible to others, and who follows when that changes."""

    def __init__(self, transport: Transport, received: ReceivedMessage) -> None:
        self._transport = transport
        self._received = received
        self._followers: list[Callable[[float], None]] = []
        self.until = received.invisible_until

    @property
    def message_id(self) -> str:
        """The message's id."""
        return self._received.message_id

    def follow(self, follower: Callable[[float], None]) -> None:
        """Call `follower(until)` whenever the delivery is extended."""
        self._followers.append(follower)

    def extend(self, seconds: int) -> None:
        """Tell the queue, then those who follow."""
        self._transport.change_visibility(self._received, seconds)
        self.until = time.time() + seconds
        for follower in self._followers:
            follower(self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message that was received, and how it got here.

    Attributes:
        type: The message's type.
        body: The message as JSON text, opened by the middleware that ran so far.
        received: The message as it was on the queue.
        queue: URL of the queue it came from.
        emit: Hands an event to the worker's listeners.
        pause: Waits so many seconds, the message kept invisible; False, at once, where the worker
            is stopping.
        visibility: Until when it is invisible to other workers.
    """

    type: str
    body: str
    received: ReceivedMessage
    queue: str
    emit: Callable[[Event], None] = field(repr=False)
    pause: Callable[[float], bool] = field(repr=False)
    visibility: Visibility = field(repr=False)

    @property
    def message_id(self) -> str:
        """The message's id, the same for every delivery of it."""
        return self.received.message_id

    @property
    def receive_count(self) -> int:
        """How often the message has been received, this time included."""
        return self.received.receive_count

    @property
    def sent_at(self) -> datetime:
        """When the message was sent, in UTC."""
        return datetime.fromtimestamp(self.received.sent_at, UTC)

    @property
    def attributes(self) -> Mapping[str, MessageAttribute]:
        """The message attributes."""
        return self.received.attributes

    def extend(self, seconds: float) -> None:
        """Keep the message from other workers for `seconds` from now, for long work.

        Args:
            seconds: 0 to 43,200 (SQS's 12 hours), rounded up.

        Raises:
            MessageInvalid: `seconds` is out of range.
            QueueUnavailable: The queue could not be told, or the delivery is no longer ours.
        """
        if not 0 <= seconds <= MAX_VISIBILITY_SECONDS:
            raise MessageInvalid(
                f"message {self.message_id}: cannot extend by {seconds} s, SQS takes 0 to "
                f"{MAX_VISIBILITY_SECONDS:,}."
            )
        self.visibility.extend(math.ceil(seconds))

    def with_body(self, body: str) -> Delivery:
        """The same delivery with another body, as a middleware hands it on."""
        return self if body is self.body else replace(self, body=body)
