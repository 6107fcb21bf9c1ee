"""Loggers for what a worker says. They never raise, and show nothing from outside as it is.

Python's logging raises where a handler of a message has closed stderr: what a worker has to say
must not keep it from its work. Text that came with a message is escaped and cut (`text.shown`), in
the line and in its fields.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypedDict

from letsgo_queue.text import shown

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter

MAX_ERROR_SHOWN = 1_000
"""Characters that are shown of an error's text, which may name a type and an id."""


class LogFields(TypedDict):
    """What every log line about a message has in its `extra`.

    Attributes:
        message_id: The message's id.
        type: Its type; None where it could not be read.
        queue: URL of the queue.
        receive_count: How often it has been received, this time included.
        duration: Seconds since it arrived at the worker.
        route: Which way it travelled: `inline`, or what a middleware says.
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
        # The line that a record names is two calls away, not one.
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        with suppress(Exception):
            super().log(level, msg, *map(_shown, args), **kwargs)

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[object, MutableMapping[str, Any]]:
        fields = kwargs.get("extra")
        if isinstance(fields, Mapping):
            kwargs["extra"] = {name: _shown(value) for name, value in fields.items()}
        return msg, kwargs


def get_logger(name: str) -> logging.LoggerAdapter[logging.Logger]:
    """The logger of that name."""
    return _Logger(logging.getLogger(name), {})


def _shown(value: object) -> object:
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, BaseException):
        return shown(value, MAX_ERROR_SHOWN)
    if isinstance(value, list | tuple):
        return ", ".join(str(_shown(each)) for each in value)
    return value
