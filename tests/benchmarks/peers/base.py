"""What every library has to do, in the way that its documentation shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

Message: TypeAlias = dict[str, Any]

WAIT_SECONDS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Queue, table and bucket for a library. The environment says where AWS is.

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
        """Receive the one message on the queue as a handler would get it, and delete it."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...
