"""Sealing and opening for asyncio.

Threads of the library's own wait for the store, whose clients have no async calls. A cancelled task
waits for its call to end, and leaves no claim behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypedDict

from claimcheck.core.life import Purge
from claimcheck.core.opened import Opened
from claimcheck.core.sealing import AskQueue, Sealed
from claimcheck.errors import ClaimStoreError
from letsgo_queue.async_threads import AsyncThreads
from letsgo_queue.log import get_logger

logger = get_logger(__name__)

_threads = AsyncThreads("claimcheck-async")


class SealOptions(TypedDict, total=False):
    """The options of `ClaimCheck.seal`, which explains them."""

    type: str | None
    attributes_size: int
    queue_limit: AskQueue | None
    delay_seconds: float
    shared: bool
    room: int | None


class OpenOptions(TypedDict, total=False):
    """Options of `ClaimCheck.open`, which explains them."""

    message_id: str | None
    lease_id: str | None
    lease_seconds: float | None
    purge: Purge | None
    once: str | None
    consumer: str | None


async def seal(seal_now: Callable[[], Sealed], discard_now: Callable[[Sealed], None]) -> Sealed:
    """Seal on a thread. If the task is cancelled meanwhile, remove what was stored."""
    import asyncio

    sealed: list[Sealed] = []
    try:
        await _threads.run_to_end(lambda: sealed.append(seal_now()))
    except asyncio.CancelledError:
        if sealed:
            try:
                await discard(partial(discard_now, sealed[0]))
            except ClaimStoreError as error:
                logger.warning("claim %s is left to expire: %s", sealed[0].claim_id, error)
        raise
    return sealed[0]


async def discard(discard_now: Callable[[], None]) -> None:
    """Discard on a thread."""
    await _threads.run_to_end(discard_now)


@asynccontextmanager
async def opened(open_now: Callable[[], Opened]) -> AsyncIterator[Opened]:
    """Open on a thread, and settle the claim there."""
    import asyncio

    opened: list[Opened] = []
    try:
        await _threads.run_to_end(lambda: opened.append(open_now()))
    except asyncio.CancelledError:
        if opened:
            await _settle(opened[0], succeeded=False)
        raise
    try:
        yield opened[0]
    except BaseException:
        await _settle(opened[0], succeeded=False)
        raise
    await _settle(opened[0], succeeded=True)


async def _settle(opened: Opened, *, succeeded: bool) -> None:
    await _threads.run_to_end(partial(opened.settle, succeeded=succeeded))
