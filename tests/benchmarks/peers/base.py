"""What every library has to do, as its own documentation has it done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

Message: TypeAlias = dict[str, Any]

WAIT_SECONDS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a library sends to and receives from; the environment says where AWS is.

    Attributes:
        queue_url: URL of the queue.
        table: A table for claims.
        bucket: A bucket for payloads.
    """

    queue_url: str
    table: str
    bucket: str


class Peer(Protocol):
    """A library, ready to send and to receive."""

    def send(self, message: Message) -> None:
        """Put a message on the queue."""
        ...

    def receive(self) -> Message:
        """Take the one message from the queue, as a handler would get it, and be done with it."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...
