"""`@unwrap_claim_check`: opens messages before their handler runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import overload

from claimcheck.claim_check import ClaimCheck
from claimcheck.hold import Purge
from claimcheck.middleware import ClaimCheckMiddleware, OnDuplicate
from letsgo_queue.middleware import FunctionT, use_middleware


@overload
def unwrap_claim_check(function: FunctionT, /) -> FunctionT: ...


@overload
def unwrap_claim_check(
    *,
    claim_check: ClaimCheck | None = None,
    purge: Purge | None = None,
    on_duplicate: OnDuplicate = "acknowledge",
) -> Callable[[FunctionT], FunctionT]: ...


def unwrap_claim_check(
    function: FunctionT | None = None,
    /,
    *,
    claim_check: ClaimCheck | None = None,
    purge: Purge | None = None,
    on_duplicate: OnDuplicate = "acknowledge",
) -> FunctionT | Callable[[FunctionT], FunctionT]:
    """Have a worker's handler get the original message, whichever way it travelled.

        @worker.handler("order:new")
        @unwrap_claim_check
        def on_order(message: OrderNew) -> None: ...

    The stored item is taken before the handler runs, and purged when it returns; when it raises,
    the claim is back and the message is retried. Called directly, as in a unit test, the function
    is what it was.

    Args:
        function: The handler, sync or async.
        claim_check: By default the one that the environment describes.
        purge: `after` the handler (the default), `before` it, or `never`: left to expire.
        on_duplicate: `acknowledge` a delivery of a message that was handled before, without
            running the handler, or `raise` `ClaimAlreadyProcessed`.

    Raises:
        SettingsInvalid: `purge` or `on_duplicate` is not known.
    """
    middleware = ClaimCheckMiddleware(claim_check, purge=purge, on_duplicate=on_duplicate)
    decorate = use_middleware(middleware)
    return decorate if function is None else decorate(function)
