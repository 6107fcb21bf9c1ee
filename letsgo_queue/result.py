"""What `enqueue` returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueResult:
    """What became of a message.

    Attributes:
        message_id: The id that the queue gave it.
        queue: URL of the queue it is on.
    """

    message_id: str
    queue: str
