"""Prepares a handler's exception for the log, without the input of a validation.

The text of pydantic's `ValidationError` quotes the input, and a handler that validates its payload
itself raises one. All other texts are the application's own. The traceback begins with the
application's first line, since how the library came to call it helps nobody.
"""

from __future__ import annotations

import copy
import sys
from types import TracebackType

from pydantic import ValidationError

from letsgo_queue.errors import LetsGoError
from letsgo_queue.text import counted

_MOST_PROBLEMS = 10
_ON_THE_WAY = {"claimcheck", "letsgo_queue", *sys.stdlib_module_names}
_CALLED_BY_US = {"boto3", "botocore", "pydantic", "pynamodb", "zstandard"}


class InputHidden(LetsGoError):
    """Stands in the log for a `ValidationError`, whose text would quote the payload."""


def for_log(
    error: BaseException,
) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """Return an exception as `logging` takes it: without input, from the application's first line.

    An exception that began in the library keeps all its lines.
    """
    shown = _without_input(error)
    return type(shown), shown, _from_the_application(shown.__traceback__)


def _from_the_application(lines: TracebackType | None) -> TracebackType | None:
    line = lines
    while line is not None:
        package = str(line.tb_frame.f_globals.get("__name__")).partition(".")[0]
        if package in _CALLED_BY_US:
            break
        if package not in _ON_THE_WAY:
            return line
        line = line.tb_next
    return lines


def _without_input(error: BaseException) -> BaseException:
    """Return an exception for the log: as it was raised, without the input of a validation."""
    if not any(isinstance(each, ValidationError) for each in _chain(error)):
        return error
    return _shown(error, {})


def _shown(error: BaseException, done: dict[int, BaseException]) -> BaseException:
    """Return an exception's stand-in. Make each only once, as a cause is often a context too."""
    if id(error) in done:
        return done[id(error)]
    shown = done[id(error)] = (
        InputHidden(_problems(error)) if isinstance(error, ValidationError) else _copy(error, done)
    )
    cause, context = error.__cause__, error.__context__
    shown.__context__ = None if context is None else _shown(context, done)
    shown.__cause__ = None if cause is None else _shown(cause, done)
    shown.__suppress_context__ = error.__suppress_context__
    return shown.with_traceback(error.__traceback__)


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and each not in found:
            found.append(each)
            waiting += [each.__cause__, each.__context__]
            waiting += each.exceptions if isinstance(each, BaseExceptionGroup) else []
    return found


def _problems(error: ValidationError) -> str:
    """Write the problems of a validation, without keys and values: both are content."""
    kinds = [each["type"] for each in error.errors(include_url=False, include_input=False)]
    more = ", ..." if len(kinds) > _MOST_PROBLEMS else ""
    return (
        f"{counted(len(kinds), 'validation error')} for {error.title}: "
        f"{', '.join(kinds[:_MOST_PROBLEMS])}{more} (the log does not show the input)"
    )


def _copy(error: BaseException, done: dict[int, BaseException]) -> BaseException:
    try:
        if isinstance(error, BaseExceptionGroup):
            return error.derive([_shown(each, done) for each in error.exceptions])
        return copy.copy(error)
    except Exception as failure:  # noqa: BLE001  an exception with a signature of its own
        return InputHidden(f"{type(error).__name__} ({type(failure).__name__} when it was copied)")
