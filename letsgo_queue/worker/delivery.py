"""The view of a delivery that a handler gets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from letsgo_queue.attributes import RESERVED_NAMES, MessageAttribute
from letsgo_queue.durations import Duration, seconds_in
from letsgo_queue.errors import MessageInvalid
from letsgo_queue.limits import MAX_VISIBILITY_SECONDS

if TYPE_CHECKING:
    from letsgo_queue.worker.incoming import IncomingMessage


class Delivery:
    """A delivery as its handler sees it."""

    __slots__ = ("_message",)

    def __init__(self, message: IncomingMessage) -> None:
        """Look at a message in hand."""
        self._message = message

    def __repr__(self) -> str:
        """Name the message; its body is not shown."""
        return f"Delivery(message_id={self.message_id!r}, type={self.type!r})"

    @property
    def type(self) -> str:
        """The message's type."""
        return self._message.type or ""

    @property
    def message_id(self) -> str:
        """The message's id, the same for every delivery of it."""
        return self._message.message_id

    @property
    def queue(self) -> str:
        """URL of the queue it came from."""
        return self._message.queue

    @property
    def receive_count(self) -> int:
        """How often the message has been received, this time included."""
        return self._message.received.receive_count

    @property
    def sent_at(self) -> datetime:
        """When the message was sent, in UTC."""
        return datetime.fromtimestamp(self._message.received.sent_at, UTC)

    @property
    def attributes(self) -> Mapping[str, MessageAttribute]:
        """The message attributes that it was sent with, without the labels of data types."""
        found = self._message.received.attributes
        return {name: found[name].without_label() for name in found if name not in RESERVED_NAMES}

    @property
    def lambda_context(self) -> object | None:
        """AWS Lambda's context; None elsewhere."""
        return self._message.lambda_context

    def extend(self, seconds: Duration) -> None:
        """Keep the message from other workers for `seconds` from now.

        A worker that polls does this by itself while the handler runs.

        Args:
            seconds: Above 0, up to 43,200 (SQS's 12 hours), rounded up, or a timedelta. SQS counts
                its 12 hours from the receive: a longer request is cut to the rest of them.

        Raises:
            MessageInvalid: `seconds` is out of range.
            QueueUnavailable: The queue could not be told, or the delivery is no longer ours.
        """
        asked = seconds_in(seconds, f"message {self.message_id}: its extension", MessageInvalid)
        if not 0 < asked <= MAX_VISIBILITY_SECONDS:
            raise MessageInvalid(
                f"message {self.message_id} cannot be extended by {asked:.15g} s: give more than "
                f"0, up to {MAX_VISIBILITY_SECONDS:,}. Retry(delay=0) has it delivered again at "
                "once."
            )
        self._message.extend(asked)
