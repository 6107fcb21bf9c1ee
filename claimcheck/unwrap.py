"""`@unwrap_claim_check`: opens messages before the function that works on them runs.

The type of an argument tells what it is:

    an event     has `Records`, or is a list of records   its records are opened
    a record     has a `body`, and is no message          it is opened
    an iterator  of records                               it ends in an error at a claim check
    a message    has a `type`: a worker calls             the worker's middleware has opened it

In doubt use `unwrap_event` or `unwrap_record`. If an argument has a claim check that cannot be
opened, the call raises an error. So it does for a record whose body was parsed before, also for a
small one: a model may have dropped the claim check.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import suppress
from typing import Literal, TypeAlias, TypedDict, Unpack, cast, overload

from claimcheck.core.claim_check import ClaimCheck
from claimcheck.core.life import Purge
from claimcheck.errors import RecordUnsupported, SettingsInvalid
from claimcheck.middleware import ClaimCheckMiddleware
from claimcheck.opening import OnDuplicate, Opener
from claimcheck.records import OpenedBatch, Work, must_open, open_batch, open_record
from letsgo_queue.async_threads import AsyncThreads
from letsgo_queue.aws_lambda.batches import Batch, Invocation
from letsgo_queue.aws_lambda.records import (
    SqsRecord,
    has_records,
    is_plain_iterator,
    is_record,
    records_in,
)
from letsgo_queue.envelope import holds_sealed
from letsgo_queue.middleware import FunctionT, middleware_of, use_middleware

_Form: TypeAlias = Literal["by type", "event", "record"]

_DECORATORS: Mapping[_Form, str] = {
    "by type": "@unwrap_claim_check",
    "event": "@unwrap_event",
    "record": "@unwrap_record",
}


class UnwrapOptions(TypedDict, total=False):
    """The options of the decorators.

    A worker's handler takes options that are left out from the worker's own claim check.

    Attributes:
        claim_check: By default made from the environment.
        purge: When contents are removed: `after` the function (the default), `before` it, or
            `never`: left to expire.
        on_duplicate: `acknowledge` a delivery of a message that was handled before, without
            running the function for it (the default), or `raise` `ClaimAlreadyProcessed` (a Lambda
            handler's record is then reported as failed).
        once: Whether small messages get a receipt too: a function that succeeded does not run
            again for a redelivery. That costs two write units a message. Each record must have its
            message id. By default not.
    """

    claim_check: ClaimCheck | None
    purge: Purge | None
    on_duplicate: OnDuplicate | None
    once: bool | None


@overload
def unwrap_claim_check(function: FunctionT, /) -> FunctionT: ...


@overload
def unwrap_claim_check(
    **options: Unpack[UnwrapOptions],
) -> Callable[[FunctionT], FunctionT]: ...


def unwrap_claim_check(
    function: FunctionT | None = None, /, **options: Unpack[UnwrapOptions]
) -> FunctionT | Callable[[FunctionT], FunctionT]:
    """Give a function the original message, whichever way it travelled.

    A worker's handler:

        @worker.handler(OrderNew)
        @unwrap_claim_check
        def on_order(message: OrderNew) -> None: ...

    A Lambda handler behind an SQS event source; `event["Records"]` has the original bodies:

        @unwrap_claim_check
        def handler(event, context): ...

    A function that works on one SQS record, as Lambda, boto3 or Powertools has it:

        @unwrap_claim_check
        def record_handler(record): ...

    Each may be async or a method. The claim is acquired before the function runs and completed when
    it returns; when it raises, the claim is released and the message is retried. A Lambda handler
    may also name records in `batchItemFailures`: their claims are released, the others completed.
    The decorator adds records that could not be opened to its answer, so the event source mapping
    must have `ReportBatchItemFailures`: without it Lambda deletes such messages too. If a
    per-record function gets a record that cannot be opened, the call raises the error.

    A call with any other argument, as in a unit test, runs the function as it is.

    Args:
        function: The function, sync or async.
        **options: Those of `UnwrapOptions`.

    Raises:
        SettingsInvalid: An option or its value is not known, or the decorated object is not a
            function, or is a generator.
    """
    return _decorator(function, options, "by type")


@overload
def unwrap_event(function: FunctionT, /) -> FunctionT: ...


@overload
def unwrap_event(**options: Unpack[UnwrapOptions]) -> Callable[[FunctionT], FunctionT]: ...


def unwrap_event(
    function: FunctionT | None = None, /, **options: Unpack[UnwrapOptions]
) -> FunctionT | Callable[[FunctionT], FunctionT]:
    """`unwrap_claim_check` for a function whose first argument (after `self`) is an event.

    Calling it with anything else raises `RecordUnsupported`.

    Raises:
        SettingsInvalid: An option or its value is not known, or the decorated object is not a
            function, or is a generator.
    """
    return _decorator(function, options, "event")


@overload
def unwrap_record(function: FunctionT, /) -> FunctionT: ...


@overload
def unwrap_record(**options: Unpack[UnwrapOptions]) -> Callable[[FunctionT], FunctionT]: ...


def unwrap_record(
    function: FunctionT | None = None, /, **options: Unpack[UnwrapOptions]
) -> FunctionT | Callable[[FunctionT], FunctionT]:
    """`unwrap_claim_check` for a function whose first argument (after `self`) is one record.

    Calling it with anything else raises `RecordUnsupported`.

    Raises:
        SettingsInvalid: An option or its value is not known, or the decorated object is not a
            function, or is a generator.
    """
    return _decorator(function, options, "record")


def _decorator(
    function: FunctionT | None, options: UnwrapOptions, form: _Form
) -> FunctionT | Callable[[FunctionT], FunctionT]:
    name = _DECORATORS[form]
    if unknown := sorted(options.keys() - UnwrapOptions.__annotations__.keys()):
        raise SettingsInvalid(
            f"{name} has no option {', '.join(map(repr, unknown))}: it takes "
            f"{', '.join(UnwrapOptions.__annotations__)}."
        )
    middleware = ClaimCheckMiddleware(**options)

    def decorate(function: FunctionT) -> FunctionT:
        given: object = function
        if not callable(given) and not isinstance(given, classmethod):
            raise SettingsInvalid(
                f"{name} decorates a function, and got {type(given).__name__}. Options are given "
                f"by name, as in {name}(purge='before')."
            )
        return _unwrapping(function, middleware, form)

    return decorate if function is None else decorate(function)


def _unwrapping(function: FunctionT, middleware: ClaimCheckMiddleware, form: _Form) -> FunctionT:
    if isinstance(function, staticmethod | classmethod):
        kind = cast("Callable[[object], FunctionT]", type(function))
        return kind(_unwrapping(function.__func__, middleware, form))
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise SettingsInvalid(
            f"{function.__qualname__} is a generator: calling it would run nothing. Remove its "
            "`yield`."
        )
    wrap = _unwrapping_async if _is_async(function) else _unwrapping_sync
    wrapper = use_middleware(middleware)(wrap(function, middleware, form))
    # Mark the function too, since a worker may have it already. A bound method takes no attribute.
    with suppress(AttributeError):
        use_middleware(middleware)(function)
    return cast("FunctionT", wrapper)


def _unwrapping_sync(
    function: Callable[..., object], middleware: ClaimCheckMiddleware, form: _Form
) -> Callable[..., object]:
    @functools.wraps(function)
    def unwrapping(*args: object, **kwargs: object) -> object:
        if _is_handled(unwrapping):
            return function(*args, **kwargs)
        call = _Call(function, args, kwargs, form)
        work = call.open(middleware.opener)
        if work is None:
            return call.repeat()
        if work.nothing_left:
            return work.succeeded(None)
        try:
            answer = call.repeat(work)
            call.check_answer(answer, work)
        except BaseException:
            work.failed()
            raise
        if inspect.isawaitable(answer):  # the work is still to be done
            return _settle_later(work, lambda: answer)
        return work.succeeded(answer)

    return unwrapping


def _unwrapping_async(
    function: Callable[..., object], middleware: ClaimCheckMiddleware, form: _Form
) -> Callable[..., object]:
    @functools.wraps(function)
    async def unwrapping(*args: object, **kwargs: object) -> object:
        if _is_handled(unwrapping):
            return await cast("Awaitable[object]", function(*args, **kwargs))
        call = _Call(function, args, kwargs, form)
        work = await _open_on_thread(call, middleware.opener)
        if work is None:
            return await cast("Awaitable[object]", call.repeat())
        if work.nothing_left:
            return work.succeeded(None)

        async def start() -> object:
            answer = await cast("Awaitable[object]", call.repeat(work))
            call.check_answer(answer, work)
            return answer

        return await _settle_later(work, start)

    return unwrapping


def _is_handled(unwrapping: Callable[..., object]) -> bool:
    """Whether a worker calls the function, with a message that its middleware has opened.

    If a function is decorated twice, only the inner middleware runs.
    """
    return any(
        each.handling
        for each in middleware_of(unwrapping)
        if isinstance(each, ClaimCheckMiddleware)
    )


class _Call:
    """A call of a decorated function, and the argument that may have to be opened."""

    def __init__(
        self,
        function: Callable[..., object],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        form: _Form,
    ) -> None:
        self._function = function
        self._arguments: dict[int | str, object] = dict(enumerate(args))
        self._arguments.update(kwargs)
        # A method's object comes first, and may have a `body` by chance.
        first = 1 if args and _is_method_of(function, args[0]) else 0
        self._looked_at = {at: value for at, value in self._arguments.items() if at != first - 1}
        self._form = form
        self._where: int | str = first

    def open(self, opener: Opener) -> Work | None:
        """Open the event or record of the call; None if nothing has to be opened.

        Raises:
            RecordUnsupported: An argument has a claim check that cannot be opened here.
            LetsGoError: The event or record could not be opened.
        """
        found = self._find(opener)
        if found is None:
            return None
        self._where, work = found
        invocation = Invocation(next(filter(_is_context, self._looked_at.values()), None))
        if isinstance(work, Batch):
            return open_batch(opener, self._arguments[self._where], work, invocation)
        return open_record(opener, work, invocation) if must_open(opener, work) else None

    def repeat(self, work: Work | None = None) -> object:
        """Call the function, with the opened argument if there is one."""
        arguments = {**self._arguments}
        if work is not None:
            arguments[self._where] = work.argument
        args = [value for at, value in arguments.items() if isinstance(at, int)]
        kwargs = {at: value for at, value in arguments.items() if isinstance(at, str)}
        return self._function(*args, **kwargs)

    def check_answer(self, answer: object, work: Work) -> None:
        """Refuse an answer that cannot report the records that could not be opened.

        A function that takes a list and returns one may not be a Lambda handler: its caller wants
        that list, and would miss the records.

        Raises:
            RecordUnsupported: There are such records, and nothing shows that Lambda is the caller.
        """
        if self._form != "by type" or not isinstance(work, OpenedBatch) or not work.left_out:
            return
        if has_records(self._arguments[self._where]) or isinstance(answer, Mapping | None):
            return
        raise RecordUnsupported(
            f"{_name(self._function)} was called with a list of records, {work.left_out} of which "
            f"could not be opened, and its answer ({type(answer).__name__}) cannot say so. Say "
            "@unwrap_event if it is a Lambda handler, or decorate a function for one record."
        )

    def _find(self, opener: Opener) -> tuple[int | str, Batch | SqsRecord] | None:
        """Find the argument that is the event or the record, and read it."""
        if self._form != "by type":
            return self._first_argument()
        found = {at: _read(value, self._form) for at, value in self._looked_at.items()}
        to_open = [(at, each) for at, each in found.items() if each and _must_open(opener, each)]
        if len(to_open) > 1:
            raise RecordUnsupported(
                f"{_name(self._function)} was called with {len(to_open)} arguments that have to be "
                "opened. Say which with @unwrap_event or @unwrap_record: the first argument."
            )
        for at, value in self._looked_at.items():
            if found[at] is None and holds_sealed(value):
                raise RecordUnsupported(
                    f"{_name(self._function)} was called with a claim check that is no SQS event "
                    "and no record of one, so it cannot be opened here. Give the function the "
                    "records, before anything parses them, or open the body with ClaimCheck.open."
                )
            if is_plain_iterator(value):
                self._arguments[at] = _watched(value, opener, _name(self._function))
        return to_open[0] if to_open else None

    def _first_argument(self) -> tuple[int | str, Batch | SqsRecord]:
        for at, value in self._looked_at.items():
            if (found := _read(value, self._form)) is not None:
                return at, found
            break
        raise RecordUnsupported(
            f"{_name(self._function)} is decorated with @unwrap_{self._form}, and its first "
            f"argument is not {'an event' if self._form == 'event' else 'a record'} of SQS."
        )


def _watched(
    items: Iterator[object], opener: Opener, function: str
) -> Generator[object, None, None]:
    """Yield the items of an iterator, and check each as the function takes it."""
    for item in items:
        found = _read(item, "by type")
        if holds_sealed(item) or (found is not None and _must_open(opener, found)):
            raise RecordUnsupported(
                f"{function} was called with an iterator over records that have to be opened. Call "
                "it with a list of them."
            )
        yield item


def _read(value: object, form: _Form) -> Batch | SqsRecord | None:
    """Read an argument as an event or a record, as the form allows; None if it is neither."""
    if form != "record" and (records := records_in(value)) is not None:
        return Batch(records, is_certain=form == "event" or has_records(value))
    if form == "event" or not is_record(value):
        return None
    return SqsRecord(value, is_certain=form == "record")


def _must_open(opener: Opener, work: Batch | SqsRecord) -> bool:
    """Whether an event or a record has to be opened, also if `must_open` raises for it."""
    for record in work.records if isinstance(work, Batch) else [work]:
        try:
            if must_open(opener, record):
                return True
        except RecordUnsupported:
            return True
    return False


async def _open_on_thread(call: _Call, opener: Opener) -> Work | None:
    import asyncio

    opened: list[Work | None] = []
    try:
        await _threads.run_to_end(lambda: opened.append(call.open(opener)))
    except asyncio.CancelledError:
        if opened and opened[0] is not None:
            await _threads.run_to_end(opened[0].failed)
        raise
    return opened[0]


async def _settle_later(work: Work, start: Callable[[], Awaitable[object]]) -> object:
    try:
        answer = await start()
    except BaseException:
        await _threads.run_to_end(work.failed)
        raise
    return await _threads.run_to_end(lambda: work.succeeded(answer))


_threads = AsyncThreads("claimcheck-unwrap")
"""For async functions: a store that does not answer must not occupy the event loop's threads."""


def _is_async(function: Callable[..., object]) -> bool:
    """Whether a call returns a coroutine; the callable may be an object instead of a function."""
    called = getattr(type(function), "__call__", None)  # noqa: B004  it is looked at, not tested for
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def _is_method_of(function: Callable[..., object], owner: object) -> bool:
    """Whether a call's first argument is the object or the class that has the function."""
    kind = owner if isinstance(owner, type) else type(owner)
    name = getattr(function, "__name__", "")
    # Look into every base class, since `super()` may have called the method.
    for found in (vars(each).get(name) for each in kind.__mro__):
        method = found.__func__ if isinstance(found, classmethod) else found
        if inspect.isfunction(method) and inspect.unwrap(method) is inspect.unwrap(function):
            return True
    return False


def _is_context(value: object) -> bool:
    try:
        return hasattr(value, "get_remaining_time_in_millis")
    except Exception:  # noqa: BLE001  another argument may raise anything
        return False


def _name(function: Callable[..., object]) -> str:
    return getattr(function, "__qualname__", repr(function))
