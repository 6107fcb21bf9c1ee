"""The transparent enqueue: messages of any size, through the default client.

`import claimcheck` loads this module, and must stay cheap. So the first call loads the rest.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Unpack, cast

from letsgo_queue.forking import forks_wait

if TYPE_CHECKING:
    from collections.abc import Iterable

    from claimcheck.core.claim_check import ClaimCheck
    from claimcheck.middleware import ClaimCheckMiddleware, EnqueueResult
    from letsgo_queue.message import AnyMessage, MessageT
    from letsgo_queue.middleware import Middleware
    from letsgo_queue.sending.client import Client, EnqueueManyOptions, EnqueueOptions


def enqueue(message: AnyMessage, **options: Unpack[EnqueueOptions]) -> EnqueueResult:
    """Put a message of any size on the queue.

    A message that fits travels untouched. A larger message is compressed, or stored with only its
    key on the queue. The worker's handler needs `@unwrap_claim_check`.

    Args:
        message: A `letsgo_queue.Message`, or a mapping with `type` and `payload`.
        **options: Those of `letsgo_queue.Client.enqueue`: `delay_seconds`, `group_id`,
            `deduplication_id`, `attributes`, `queue`.

    Raises:
        LetsGoQueueError: `letsgo_queue.Client.enqueue` says when.
        BodyTooLarge: Over `max_size`; nothing was sent or stored.
        ClaimStoreError: The claim could not be stored; nothing was sent.
    """
    return _client().enqueue(message, **options)


async def aenqueue(message: AnyMessage, **options: Unpack[EnqueueOptions]) -> EnqueueResult:
    """`enqueue` for asyncio: the same, on a thread of the client's own."""
    return await _client().aenqueue(message, **options)


def enqueue_many(
    messages: Iterable[MessageT], **options: Unpack[EnqueueManyOptions[MessageT]]
) -> list[EnqueueResult]:
    """Put many messages of any size on the queue, in batches.

    Several messages are sealed at a time. Only these are in memory.

    Args:
        messages: The messages; a generator of any length will do.
        **options: Those of `letsgo_queue.Client.enqueue_many`.

    Returns:
        One result per message, in order.

    Raises:
        EnqueueManyError: Some were not sent; it says which, and why.
    """
    return _client().enqueue_many(messages, **options)


async def aenqueue_many(
    messages: Iterable[MessageT], **options: Unpack[EnqueueManyOptions[MessageT]]
) -> list[EnqueueResult]:
    """`enqueue_many` for asyncio: the same, on a thread of the client's own."""
    return await _client().aenqueue_many(messages, **options)


def install(claim_check: ClaimCheck | None = None, *, client: Client | None = None) -> None:
    """Give a client, and the workers that use it, the claim check.

    For code that already calls `letsgo_queue.enqueue`, and for handlers without
    `@unwrap_claim_check`. A worker uses the client that it was given, else the default client, and
    looks for the claim check when it starts. A claim check nearer to the handler comes first: the
    worker's own, or the handler's `@unwrap_claim_check`. Options that it leaves unset are taken
    from this one. You can call this again: the last call counts.

    Args:
        claim_check: By default made from the environment.
        client: By default the default client.

    Raises:
        SettingsInvalid: The default client cannot be made from the settings.
    """
    _load()
    from claimcheck.middleware import ClaimCheckMiddleware
    from letsgo_queue.sending.default import default_client

    middleware = _default_middleware() if claim_check is None else ClaimCheckMiddleware(claim_check)
    (client or default_client()).add_middleware(middleware)


class _Latest:
    """Keeps the latest call's default client, its middleware, and the client with a claim check."""

    call: tuple[Client, tuple[Middleware, ...], Client[EnqueueResult]] | None = None


def _client() -> Client[EnqueueResult]:
    """Return the default client, with the default claim check if it has none.

    Each call looks it up, since the default client or its middleware may have changed.
    """
    _load()
    from letsgo_queue.sending.default import default_client

    client = default_client()
    middleware = client.middleware
    latest = _Latest.call
    if latest is not None and latest[0] is client and latest[1] is middleware:
        return latest[2]
    sealing = _with_claim_check(client)
    _Latest.call = (client, middleware, sealing)
    return sealing


def _with_claim_check(client: Client) -> Client[EnqueueResult]:
    from claimcheck.middleware import ClaimCheckMiddleware

    if any(isinstance(each, ClaimCheckMiddleware) for each in client.middleware):
        # The result is the claim check's, unless an outer middleware replaced it.
        return cast("Client[EnqueueResult]", client)
    return client.using(_default_middleware())


@functools.cache
def _load() -> None:
    with forks_wait():
        for module in ("claimcheck.middleware", "letsgo_queue.sending.default"):
            importlib.import_module(module)


@functools.cache
def _default_middleware() -> ClaimCheckMiddleware:
    from claimcheck.middleware import ClaimCheckMiddleware

    return ClaimCheckMiddleware()
