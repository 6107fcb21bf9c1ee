"""The claim check's events for listeners, beside the queue's own: sizes, never content."""

from __future__ import annotations

from dataclasses import dataclass

from claimcheck.core.opened import Route
from letsgo_queue.errors import LetsGoError
from letsgo_queue.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSealed(Event):
    """A message was sealed, or left as it is, before it was sent.

    Attributes:
        route: Which way it goes.
        size: Bytes of the message as given, body and attributes.
        sent_size: Bytes that go on the queue, body and attributes.
        stored_size: Bytes in the store.
        claim_id: Its claim, if it was stored.
        duration: Seconds it took.
    """

    route: Route
    size: int
    sent_size: int
    stored_size: int
    claim_id: str | None
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageOpened(Event):
    """A message was opened before its handler ran.

    Attributes:
        message_id: The message's id.
        route: Which way it came.
        size: Bytes of the message as it was given to `enqueue`, body and attributes.
        claim_id: Its claim, if it was stored.
        duration: Seconds it took.
    """

    message_id: str
    route: Route
    size: int
    claim_id: str | None
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateSuppressed(Event):
    """A message was delivered again after it had been handled; its handler was not run.

    For a function with `@unwrap_claim_check` that no worker calls, `listen_to_all` hears it, and
    `queue` is empty if the record names none.

    Attributes:
        message_id: The message's id.
        receive_count: How often it has been received.
    """

    message_id: str
    receive_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageNotOpened(Event):
    """A client that has the claim check could not open a message: it stays on the queue.

    A worker of `letsgo_queue` tells it with its own events: `MessageFailed`, `MessageHeld`.

    Attributes:
        message_id: The message's id.
        receive_count: How often it has been received.
        error: The error that says why.
    """

    message_id: str
    receive_count: int
    error: LetsGoError
