"""`@unwrap_claim_check`: opens messages before the function that works on them runs.

What it decorates is told by what it is called with:

    by a worker, for a message    the worker runs the middleware that is attached; nothing is done
    (event, context) of Lambda    the records of the event are opened, and settled by the answer
    a record                      it is opened, and settled by whether the function raises
    anything else                 the function is what it was
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast, overload

from claimcheck.aws_lambda import open_batch
from claimcheck.core.claim_check import ClaimCheck
from claimcheck.core.life import Purge
from claimcheck.errors import ClaimCheckError, SettingsInvalid
from claimcheck.middleware import ClaimCheckMiddleware
from claimcheck.opened_record import Work, lease_until, open_record
from claimcheck.opening import OnDuplicate, Opener
from claimcheck.records import is_event, is_record, is_sealed
from letsgo_queue.errors import LetsGoQueueError
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
    """Have a function get the original message, whichever way it travelled.

    A worker's handler:

        @worker.handler("order:new")
        @unwrap_claim_check
        def on_order(message: OrderNew) -> None: ...

    A Lambda handler behind an SQS event source; `event["Records"]` has the original bodies:

        @unwrap_claim_check
        def handler(event, context): ...

    A function that works on one SQS record, as Powertools' batch processors call it:

        @unwrap_claim_check
        def record_handler(record): ...

    Each may be async or a method. The stored item is taken before the function runs, and purged
    when it returns; when it raises, the claim is back and the message is retried. A Lambda handler
    may also name records in `batchItemFailures`: their claims are put back, the others purged.
    What could not be opened is added to its answer, so the event source mapping must have
    `ReportBatchItemFailures`: without it Lambda deletes those messages too. A record that could
    not be opened for a per-record function raises there.

    Called with anything else, as in a unit test, the function is what it was.

    Args:
        function: The function, sync or async.
        claim_check: By default the one that the environment describes.
        purge: `after` the function (the default), `before` it, or `never`: left to expire.
        on_duplicate: `acknowledge` a delivery of a message that was handled before, without
            running the function for it, or `raise` `ClaimAlreadyProcessed` (a Lambda handler's
            record is then reported as failed).

    Raises:
        SettingsInvalid: `purge` or `on_duplicate` is not known, or the function is a generator.
    """
    middleware = ClaimCheckMiddleware(claim_check, purge=purge, on_duplicate=on_duplicate)

    def decorate(function: FunctionT) -> FunctionT:
        return _unwrapping(function, middleware)

    return decorate if function is None else decorate(function)


def _unwrapping(function: FunctionT, middleware: ClaimCheckMiddleware) -> FunctionT:
    if isinstance(function, staticmethod | classmethod):
        kind = cast("Callable[[object], FunctionT]", type(function))
        return kind(_unwrapping(function.__func__, middleware))
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise SettingsInvalid(
            f"{function.__qualname__} is a generator: calling it would run nothing. Remove its "
            "`yield`."
        )
    wrap = _unwrapping_async if _is_async(function) else _unwrapping_sync
    wrapper = use_middleware(middleware)(wrap(function, middleware))
    # The function too, as a worker may have it already. A bound method takes no attribute.
    with suppress(AttributeError):
        use_middleware(middleware)(function)
    return cast("FunctionT", wrapper)


def _unwrapping_sync(
    function: Callable[..., object], middleware: ClaimCheckMiddleware
) -> Callable[..., object]:
    @functools.wraps(function)
    def unwrapping(*args: object, **kwargs: object) -> object:
        call = None if middleware.handling else _Call.of(args, kwargs)
        work = call.open(middleware.opener) if call else None
        if call is None or work is None:
            return function(*args, **kwargs)
        if work.nothing_left:
            return work.succeeded(None)
        try:
            answer = call.repeat(function, work)
        except BaseException:
            work.failed()
            raise
        if inspect.isawaitable(answer):  # the work is still to be done
            return _settle_later(work, lambda: answer)
        return work.succeeded(answer)

    return unwrapping


def _unwrapping_async(
    function: Callable[..., object], middleware: ClaimCheckMiddleware
) -> Callable[..., object]:
    start = cast("Callable[..., Awaitable[object]]", function)

    @functools.wraps(function)
    async def unwrapping(*args: object, **kwargs: object) -> object:
        call = None if middleware.handling else _Call.of(args, kwargs)
        work = await _open_on_thread(call, middleware.opener) if call else None
        if call is None or work is None:
            return await start(*args, **kwargs)
        if work.nothing_left:
            return work.succeeded(None)
        return await _settle_later(work, lambda: call.repeat(start, work))

    return unwrapping


@dataclass(frozen=True, slots=True)
class _Call:
    """A call for an event or a record.

    Attributes:
        arguments: By position or name.
        where: Which of them is the event or the record.
    """

    arguments: Mapping[int | str, object]
    where: int | str

    @classmethod
    def of(cls, args: tuple[object, ...], kwargs: Mapping[str, object]) -> _Call | None:
        """Look for an event or a record among the arguments: a method's own object comes first."""
        arguments: dict[int | str, object] = dict(enumerate(args))
        arguments.update(kwargs)
        for where, value in arguments.items():
            if is_event(value) or is_record(value):
                return cls(arguments, where)
        return None

    def open(self, opener: Opener) -> Work | None:
        """Open what the call is for; None where nothing has to be opened."""
        given = self.arguments[self.where]
        until = next(filter(None, map(lease_until, self.arguments.values())), None)
        if is_event(given):
            return open_batch(opener, given, lease_until=until)
        return open_record(opener, given, lease_until=until) if is_sealed(given) else None

    def repeat(self, function: Callable[..., Any], work: Work) -> Any:
        """Call the function with what was opened."""
        arguments = {**self.arguments, self.where: work.argument}
        args = [value for at, value in arguments.items() if isinstance(at, int)]
        kwargs = {at: value for at, value in arguments.items() if isinstance(at, str)}
        return function(*args, **kwargs)


async def _open_on_thread(call: _Call, opener: Opener) -> Work | None:
    import asyncio

    opening = asyncio.ensure_future(asyncio.to_thread(call.open, opener))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        # The thread goes on; what it takes must not stay taken.
        with suppress(ClaimCheckError, LetsGoQueueError):
            if (work := await opening) is not None:
                await asyncio.to_thread(work.failed)
        raise


async def _settle_later(work: Work, start: Callable[[], Awaitable[object]]) -> object:
    import asyncio

    try:
        answer = await start()
    except BaseException:
        await asyncio.to_thread(work.failed)
        raise
    return await asyncio.to_thread(work.succeeded, answer)


def _is_async(function: Callable[..., object]) -> bool:
    """Whether calling it gives a coroutine; an object may be called as well as a function."""
    called = getattr(type(function), "__call__", None)  # noqa: B004  it is looked at, not tested for
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
