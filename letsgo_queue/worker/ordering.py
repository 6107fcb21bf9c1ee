"""What of a batch can be handled at once, and what in order: a FIFO queue's groups keep theirs."""

from __future__ import annotations

from collections.abc import Sequence

from letsgo_queue.transports.base import ReceivedMessage


def lines_of(messages: Sequence[ReceivedMessage], *, fifo: bool) -> list[list[ReceivedMessage]]:
    """The messages in lines: within one they go one after the other, and lines go at once.

    Args:
        messages: What was received together.
        fifo: Whether the queue is FIFO: then a line is a message group, else a single message.
    """
    if not fifo:
        return [[message] for message in messages]
    groups: dict[str | None, list[ReceivedMessage]] = {}
    for message in messages:
        groups.setdefault(message.group_id, []).append(message)
    return list(groups.values())
