"""The loggers of both packages. They never raise, and escape all text from outside.

Python's logging raises an error if a handler of a message has closed stderr, but logging must not
keep a worker from its work. These loggers escape and cut every text in a line or its fields
(`text.shown`), and show an exception without the input of a validation. So every module logs with
`get_logger`, and need not care who chose a type or an id.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypedDict

from letsgo_queue.text import shown, shown_error

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter

_LARGEST = 2**63


class LogFields(TypedDict):
    """The fields that every log line about a message has in its `extra`.

    Attributes:
        message_id: The message's id.
        type: Its type; None if it could not be read.
        queue: URL of the queue.
        receive_count: How often it has been received, this time included.
        duration: Seconds since it arrived at the worker.
        route: Which way it travelled: `inline`, or a name that a middleware sets.
    """

    message_id: str
    type: str | None
    queue: str
    receive_count: int
    duration: float
    route: str


class _Logger(_Adapter):
    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if not self.isEnabledFor(level):
            return
        # The line that a record names is two calls up the stack, not one.
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        with suppress(Exception):
            super().log(level, msg, *map(_shown, args), **kwargs)

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[object, MutableMapping[str, Any]]:
        fields = kwargs.get("extra")
        if isinstance(fields, Mapping):
            kwargs["extra"] = {name: _shown(value) for name, value in fields.items()}
        error = kwargs.get("exc_info")
        if error is True:
            error = sys.exception()
        if isinstance(error, BaseException):
            from letsgo_queue.tracebacks import for_log

            kwargs["exc_info"] = for_log(error)
        return msg, kwargs


def get_logger(name: str) -> logging.LoggerAdapter[logging.Logger]:
    """Return the logger of that name."""
    return _Logger(logging.getLogger(name), {})


def _shown(value: object) -> object:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return max(-_LARGEST, min(value, _LARGEST))
    if isinstance(value, BaseException):
        return shown_error(value)
    if isinstance(value, list | tuple):
        return ", ".join(str(_shown(each)) for each in value)
    return shown(value)
