"""A queue in memory, for tests and for work within one process. It ends with its client.

memory://        memory://?fifo=true

Messages come in the order in which they are due.
"""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import count

from pydantic import BaseModel, ConfigDict

from letsgo_queue.attributes import FAILURE, MessageAttribute, spell_out
from letsgo_queue.errors import LetsGoQueueError, MessageTooLarge, SendFailed
from letsgo_queue.failure import Failure
from letsgo_queue.forking import renew_in_children
from letsgo_queue.limits import DEFAULT_VISIBILITY_TIMEOUT, MAX_MESSAGE_BYTES
from letsgo_queue.transports.base import (
    DeliveryEnded,
    OutgoingMessage,
    ReceivedMessage,
    Sent,
    one_by_one,
    too_large,
)
from letsgo_queue.transports.fifo import DEDUPLICATION_SECONDS, deduplication_id, refusal
from letsgo_queue.transports.url_options import options_in

MAX_WAIT_SECONDS = 0.5


class MemoryOptions(BaseModel):
    """The options of a `memory://` queue URL.

    Attributes:
        fifo: Whether it is a FIFO queue.
        content_based_deduplication: Whether a FIFO queue knows a message without a deduplication id
            by its body.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fifo: bool = False
    content_based_deduplication: bool = True


@dataclass(slots=True)
class _Stored:
    """A message on the queue.

    Attributes:
        id: Its id.
        number: Its place among all that were sent.
        message: The message.
        sent_at: When it was sent (seconds since 1970).
        visible_at: When it can be received; never while another one of its group is before it.
        receive_count: How often it has been received.
        first_received_at: When it was received for the first time (seconds since 1970).
        receipt_handle: Of its last delivery.
    """

    id: str
    number: int
    message: OutgoingMessage
    sent_at: float
    visible_at: float = math.inf
    receive_count: int = 0
    first_received_at: float | None = None
    receipt_handle: str = ""


class MemoryTransport:
    """A queue in the memory of one process; a forked process goes on with a copy."""

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
            url: What events and errors call it, with options as a query.
            visibility_timeout: Seconds that a received message stays invisible.
            max_message_bytes: The largest message it takes, body and attributes.
            clock: Seconds since 1970.

        Raises:
            SettingsInvalid: An option in the URL is not known.
        """
        self.url = url
        self._options = options_in(url, MemoryOptions)
        self._visibility_timeout = visibility_timeout
        self._max_message_bytes = max_message_bytes
        self._clock = clock
        self._messages: dict[str, _Stored] = {}
        self._numbers = count()
        # By when they are due. An entry whose message is due at another time by now is out of date.
        self._due: list[tuple[float, int, str]] = []
        self._groups: dict[str, deque[_Stored]] = {}  # of a FIFO queue
        self._known_ids: dict[str, tuple[str, float]] = {}  # and when each is forgotten
        self.dead_letters: list[ReceivedMessage] = []
        self._start_anew()
        renew_in_children(self._start_anew)

    @property
    def fifo(self) -> bool:
        """Whether its URL says `fifo=true`."""
        return self._options.fifo

    def max_receives(self) -> int | None:
        """None: it gives no message up."""
        return None

    def content_based_deduplication(self) -> bool:
        """Whether it is FIFO, unless its URL says `content_based_deduplication=false`."""
        return self.fifo and self._options.content_based_deduplication

    def max_message_bytes(self) -> int:
        """The largest message it takes."""
        return self._max_message_bytes

    def send(self, message: OutgoingMessage) -> str:
        """Put a message on the queue; see `Transport.send`."""
        if refused := self._refusal(message):
            raise refused
        now = self._clock()
        stored = _Stored(str(uuid.uuid4()), next(self._numbers), message, now)
        with self._lock:
            if self.fifo and (first := self._first_with(message, stored.id, now)) != stored.id:
                return first
            self._messages[stored.id] = stored
            if self._is_first_of_its_group(stored):
                self._show(stored, now + message.delay_seconds)
        return stored.id

    def send_batch(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent]:
        """Put messages on the queue; see `Transport.send_batch`."""
        return [self._refusal(message) or self.send(message) for message in messages]

    def send_on(self, delivery: ReceivedMessage, message: OutgoingMessage) -> None:
        """Replace a delivery; see `Transport.send_on`."""
        if message.size > self._max_message_bytes:
            raise too_large(message, self._max_message_bytes)
        with self._lock:
            stored = self._current(delivery)
            stored.message, stored.sent_at = message, self._clock()
            stored.receive_count, stored.first_received_at, stored.receipt_handle = 0, None, ""
            self._show(stored, stored.sent_at + message.delay_seconds)

    def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_timeout: int | None
    ) -> Sequence[ReceivedMessage]:
        """Receive messages; waits at most half a second, so that a worker can stop."""
        timeout = self._visibility_timeout if visibility_timeout is None else visibility_timeout
        deadline = time.monotonic() + min(wait_seconds, MAX_WAIT_SECONDS)
        with self._lock:
            while not (due := self._take_due(max_messages)):
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return []
                # Short, because a delay or a visibility timeout may end without a notification.
                self._changed.wait(min(remaining, 0.05))
            return [self._give(stored, timeout) for stored in due]

    def delete(self, message: ReceivedMessage) -> None:
        """Acknowledge a delivery; see `Transport.delete`."""
        with self._lock:
            self._remove(message)

    def delete_batch(
        self, messages: Sequence[ReceivedMessage]
    ) -> Sequence[LetsGoQueueError | None]:
        """Acknowledge deliveries; see `Transport.delete_batch`."""
        for message in messages:
            self.delete(message)
        return [None] * len(messages)

    def move_to_dead_letters(self, message: ReceivedMessage, failure: Failure) -> str | None:
        """Keep a delivery in `dead_letters`; see `Transport.move_to_dead_letters`."""
        why = MessageAttribute("String", next(failure.versions()))
        dead = replace(message, attributes={**message.attributes, FAILURE: why})
        with self._lock:
            self._current(message)
            self._remove(message)
            self.dead_letters.append(dead)
        return message.message_id

    def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
        """Keep a delivery invisible for `seconds` from now; see `Transport`."""
        with self._lock:
            stored, now = self._current(message), self._clock()
            # What is given back keeps its place.
            self._show(stored, now + seconds if seconds else min(stored.sent_at, now))

    def change_visibility_batch(
        self, changes: Sequence[tuple[ReceivedMessage, int]]
    ) -> Sequence[LetsGoQueueError | None]:
        """Keep deliveries invisible; see `Transport`."""
        return one_by_one(self.change_visibility, changes)

    def close(self) -> None:
        """Nothing to release."""

    def _start_anew(self) -> None:
        # Entered by itself: a time limit may end a handler inside `Condition`, which is Python.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)

    def _refusal(self, message: OutgoingMessage) -> MessageTooLarge | SendFailed | None:
        """Why the queue does not take a message."""
        if message.size > self._max_message_bytes:
            return too_large(message, self._max_message_bytes)
        return refusal(message, self) if self.fifo else None

    def _first_with(self, message: OutgoingMessage, message_id: str, now: float) -> str:
        """Return which message has a deduplication id: an earlier one, or this one from now on."""
        for known, (_, forgotten_at) in list(self._known_ids.items()):  # the oldest first
            if forgotten_at > now:
                break
            del self._known_ids[known]
        known_until = (message_id, now + DEDUPLICATION_SECONDS)
        return self._known_ids.setdefault(deduplication_id(message), known_until)[0]

    def _is_first_of_its_group(self, stored: _Stored) -> bool:
        """Put a message into the line of its group; return whether it is the first there."""
        if not self.fifo or stored.message.group_id is None:
            return True
        group = self._groups.setdefault(stored.message.group_id, deque())
        group.append(stored)
        return len(group) == 1

    def _show(self, stored: _Stored, visible_at: float) -> None:
        stored.visible_at = visible_at
        heappush(self._due, (visible_at, stored.number, stored.id))
        self._changed.notify()

    def _take_due(self, limit: int) -> list[_Stored]:
        """The messages to give out now."""
        now = self._clock()
        due: list[_Stored] = []
        while self._due and self._due[0][0] <= now and len(due) < limit:
            visible_at, _, message_id = heappop(self._due)
            stored = self._messages.get(message_id)
            if stored is not None and stored.visible_at == visible_at:
                stored.visible_at = math.inf
                due.append(stored)
        return due

    def _give(self, stored: _Stored, visibility_timeout: int) -> ReceivedMessage:
        stored.receive_count += 1
        stored.receipt_handle = uuid.uuid4().hex
        now = self._clock()
        if stored.first_received_at is None:
            stored.first_received_at = now
        self._show(stored, now + visibility_timeout)
        received_at = time.monotonic()
        return ReceivedMessage(
            message_id=stored.id,
            receipt_handle=stored.receipt_handle,
            body=stored.message.body.decode(),
            attributes=spell_out(stored.message.attributes),
            receive_count=stored.receive_count,
            sent_at=stored.sent_at,
            first_received_at=stored.first_received_at,
            invisible_until=received_at + visibility_timeout,
            group_id=stored.message.group_id,
            trace_header=stored.message.trace_header,
            received_at=received_at,
        )

    def _remove(self, delivery: ReceivedMessage) -> bool:
        """Remove a message, and let the next one of its group come; False if it was not ours."""
        stored = self._messages.get(delivery.message_id)
        if stored is None or stored.receipt_handle != delivery.receipt_handle:
            return False
        del self._messages[stored.id]
        if stored.message.group_id in self._groups:
            group = self._groups[stored.message.group_id]
            group.popleft()
            if group:
                self._show(group[0], group[0].sent_at)
            else:
                del self._groups[stored.message.group_id]
        return True

    def _current(self, delivery: ReceivedMessage) -> _Stored:
        """The message of a delivery that is still ours."""
        stored = self._messages.get(delivery.message_id)
        if stored is None or stored.receipt_handle != delivery.receipt_handle:
            raise DeliveryEnded(
                f"message {delivery.message_id}: this delivery has ended; the message was "
                "acknowledged or received again."
            )
        return stored
