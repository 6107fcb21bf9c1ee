"""The default client, which `letsgo_queue.enqueue` uses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Unpack

from letsgo_queue.events import EnqueueResult
from letsgo_queue.forking import Lock
from letsgo_queue.message import AnyMessage, MessageT
from letsgo_queue.sending.client import Client, EnqueueManyOptions, EnqueueOptions


class _Default:
    """Holds the default client, the only global object of the package."""

    client: Client | None = None
    lock = Lock()


def default_client() -> Client:
    """The client that `letsgo_queue.enqueue` uses: made from the environment on first use."""
    with _Default.lock:
        if _Default.client is None:
            _Default.client = Client()
        return _Default.client


def set_default_client(client: Client | None) -> None:
    """Make `client` the default; None has a new one made from the environment on next use."""
    with _Default.lock:
        _Default.client = client


def enqueue(message: AnyMessage, **options: Unpack[EnqueueOptions]) -> EnqueueResult:
    """Put a message on the default client's queue; see `Client.enqueue`."""
    return default_client().enqueue(message, **options)


def enqueue_many(
    messages: Iterable[MessageT], **options: Unpack[EnqueueManyOptions[MessageT]]
) -> list[EnqueueResult]:
    """Put many messages on the default client's queue; see `Client.enqueue_many`."""
    return default_client().enqueue_many(messages, **options)


async def aenqueue_many(
    messages: Iterable[MessageT], **options: Unpack[EnqueueManyOptions[MessageT]]
) -> list[EnqueueResult]:
    """`enqueue_many` for asyncio; see `Client.aenqueue_many`."""
    return await default_client().aenqueue_many(messages, **options)


async def aenqueue(message: AnyMessage, **options: Unpack[EnqueueOptions]) -> EnqueueResult:
    """`enqueue` for asyncio; see `Client.aenqueue`."""
    return await default_client().aenqueue(message, **options)
