"""A queue in memory, for tests and for work within one process. It ends with its client."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from letsgo_queue.attributes import spell_out
from letsgo_queue.errors import LetsGoQueueError, MessageTooLarge
from letsgo_queue.forking import renew_in_children
from letsgo_queue.limits import DEFAULT_VISIBILITY_TIMEOUT
from letsgo_queue.transports.base import (
    MAX_MESSAGE_BYTES,
    DeliveryEnded,
    OutgoingMessage,
    ReceivedMessage,
    Sent,
    one_by_one,
    too_large,
    with_reason,
)

MAX_WAIT_SECONDS = 0.5


@dataclass(slots=True)
class _Stored:
    message: OutgoingMessage
    sent_at: float
    visible_at: float
    receive_count: int = 0
    receipt_handle: str = ""


class MemoryTransport:
    """A queue in the memory of one process; one that is forked goes on with a copy."""

    fifo = False
    seconds_to_prove_empty = 0

    def __init__(
        self,
        url: str = "memory://",
        *,
        visibility_timeout: int = DEFAULT_VISIBILITY_TIMEOUT,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make an empty queue.

        Args:
            url: What events and errors call it.
            visibility_timeout: Seconds that a received message stays invisible.
            max_message_bytes: The largest message it takes, body and attributes.
            clock: Seconds since 1970.
        """
        self.url = url
        self._visibility_timeout = visibility_timeout
        self._max_message_bytes = max_message_bytes
        self._clock = clock
        self._messages: dict[str, _Stored] = {}
        self.dead_letters: list[ReceivedMessage] = []
        self._start_anew()
        renew_in_children(self._start_anew)

    def max_receives(self) -> None:
        """It gives no message up."""

    def content_based_deduplication(self) -> bool:
        """No: this queue is not FIFO."""
        return False

    def max_message_bytes(self) -> int:
        """The largest message it takes."""
        return self._max_message_bytes

    def send(self, message: OutgoingMessage) -> str:
        """Put a message on the queue; see `Transport.send`."""
        if message.size > self._max_message_bytes:
            raise too_large(message, self._max_message_bytes)
        message_id = str(uuid.uuid4())
        now = self._clock()
        with self._changed:
            self._messages[message_id] = _Stored(message, now, now + message.delay_seconds)
            self._changed.notify()
        return message_id

    def send_batch(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent]:
        """Put messages on the queue; see `Transport.send_batch`."""
        return [self._send_or_refuse(message) for message in messages]

    def send_on(self, delivery: ReceivedMessage, message: OutgoingMessage) -> None:
        """Replace a delivery; see `Transport.send_on`."""
        self.send(message)
        self.delete(delivery)

    def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_timeout: int | None
    ) -> Sequence[ReceivedMessage]:
        """Receive messages; waits at most half a second, so that a worker can stop."""
        timeout = self._visibility_timeout if visibility_timeout is None else visibility_timeout
        deadline = time.monotonic() + min(wait_seconds, MAX_WAIT_SECONDS)
        with self._changed:
            while not (visible := self._visible(max_messages)):
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return []
                # Short, because a delay or a visibility timeout may end without a notification.
                self._changed.wait(min(remaining, 0.05))
            return [self._give(message_id, timeout) for message_id in visible]

    def delete(self, message: ReceivedMessage) -> None:
        """Acknowledge a delivery; see `Transport.delete`."""
        with self._changed:
            if self._is_current(message):
                del self._messages[message.message_id]

    def delete_batch(
        self, messages: Sequence[ReceivedMessage]
    ) -> Sequence[LetsGoQueueError | None]:
        """Acknowledge deliveries; see `Transport.delete_batch`."""
        for message in messages:
            self.delete(message)
        return [None] * len(messages)

    def move_to_dead_letters(self, message: ReceivedMessage, reason: str) -> bool:
        """Keep a delivery in `dead_letters`; see `Transport.move_to_dead_letters`."""
        dead = replace(message, attributes=with_reason(message, reason, self._max_message_bytes))
        with self._changed:
            if self._is_current(message):
                del self._messages[message.message_id]
                self.dead_letters.append(dead)
        return True

    def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
        """Keep a delivery invisible for `seconds` from now; see `Transport`."""
        with self._changed:
            if not self._is_current(message):
                raise DeliveryEnded(
                    f"message {message.message_id}: this delivery has ended; the message was "
                    "acknowledged or received again."
                )
            self._messages[message.message_id].visible_at = self._clock() + seconds
            self._changed.notify()

    def change_visibility_batch(
        self, changes: Sequence[tuple[ReceivedMessage, int]]
    ) -> Sequence[LetsGoQueueError | None]:
        """Keep deliveries invisible; see `Transport`."""
        return one_by_one(self.change_visibility, changes)

    def close(self) -> None:
        """Nothing to release."""

    def _start_anew(self) -> None:
        self._changed = threading.Condition()

    def _send_or_refuse(self, message: OutgoingMessage) -> Sent:
        try:
            return self.send(message)
        except MessageTooLarge as error:
            return error

    def _visible(self, limit: int) -> list[str]:
        now = self._clock()
        visible = (
            message_id for message_id, stored in self._messages.items() if stored.visible_at <= now
        )
        return list(islice(visible, limit))

    def _give(self, message_id: str, visibility_timeout: int) -> ReceivedMessage:
        stored = self._messages[message_id]
        stored.receive_count += 1
        stored.receipt_handle = uuid.uuid4().hex
        stored.visible_at = self._clock() + visibility_timeout
        received_at = time.monotonic()
        return ReceivedMessage(
            message_id=message_id,
            receipt_handle=stored.receipt_handle,
            body=stored.message.body.decode(),
            attributes=spell_out(stored.message.attributes),
            receive_count=stored.receive_count,
            sent_at=stored.sent_at,
            invisible_until=received_at + visibility_timeout,
            group_id=stored.message.group_id,
            trace_header=stored.message.trace_header,
            received_at=received_at,
        )

    def _is_current(self, message: ReceivedMessage) -> bool:
        stored = self._messages.get(message.message_id)
        return stored is not None and stored.receipt_handle == message.receipt_handle
