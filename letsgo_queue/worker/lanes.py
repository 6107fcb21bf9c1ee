"""Lanes: on a FIFO queue each message group goes one message after the other, groups side by side.

If a message of a group fails, the rest of the group goes back to the queue, unrun and in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from letsgo_queue.worker.incoming import IncomingMessage


class Lanes:
    """Says which messages may begin. Not safe to share between threads: its user has a lock.

    Attributes:
        waiting: How many messages may not begin yet.
    """

    def __init__(self, *, fifo: bool) -> None:
        """Begin with nothing in hand.

        Args:
            fifo: Whether the queue is FIFO; else every message may begin at once.
        """
        self._fifo = fifo
        self._groups: dict[str | None, deque[IncomingMessage]] = {}
        self.waiting = 0

    def enter(self, messages: Sequence[IncomingMessage]) -> Sequence[IncomingMessage]:
        """Take messages in hand, and return those that may begin now."""
        if not self._fifo:
            return messages
        ready = []
        for message in messages:
            group = self._groups.get(message.received.group_id)
            if group is None:
                self._groups[message.received.group_id] = deque()
                ready.append(message)
            else:
                group.append(message)
        self.waiting += len(messages) - len(ready)
        return ready

    def leave(self, message: IncomingMessage) -> Sequence[IncomingMessage]:
        """After a message was handled: the messages that may begin now."""
        if not self._fifo:
            return ()
        group = self._groups[message.received.group_id]
        if group:
            self.waiting -= 1
            return (group.popleft(),)
        del self._groups[message.received.group_id]
        return ()

    def fail(self, message: IncomingMessage) -> Sequence[IncomingMessage]:
        """After a message was not handled: the messages behind it, which must not begin."""
        if not self._fifo:
            return ()
        rest = self._groups.pop(message.received.group_id)
        self.waiting -= len(rest)
        return tuple(rest)
