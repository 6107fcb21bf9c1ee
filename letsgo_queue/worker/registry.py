"""The handlers of a worker: which function takes which type."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

from pydantic import BaseModel

from letsgo_queue.errors import HandlerMissing, SettingsInvalid
from letsgo_queue.message import fixed_type
from letsgo_queue.middleware import Middleware
from letsgo_queue.worker.handler import Handler, HandlerFunction, name_of
from letsgo_queue.worker.retries import RetryPolicy

ScheduledFunction: TypeAlias = Callable[[dict[str, Any]], object]
"""Takes the event that EventBridge made, sync or async."""


class Registry:
    """The handlers of a worker, by message type."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._default: Handler | None = None
        self._scheduled: ScheduledFunction | None = None

    def add(
        self,
        messages: str | type[BaseModel],
        function: HandlerFunction,
        *,
        retry_policy: RetryPolicy | None = None,
    ) -> None:
        """Register `function` for the messages of a type, or of a model that has one type.

        Raises:
            SettingsInvalid: The model has no type of its own, the type has a handler already, or
                the signature does not fit.
        """
        model = None if isinstance(messages, str) else messages
        message_type = messages if isinstance(messages, str) else _type_of(messages)
        if message_type in self._handlers:
            raise SettingsInvalid(
                f"type {message_type!r} has the handler {self._handlers[message_type].name} "
                "already; a type has one."
            )
        self._handlers[message_type] = Handler(
            function, message_type=message_type, model=model, retry_policy=retry_policy
        )

    def set_default(
        self, function: HandlerFunction, *, retry_policy: RetryPolicy | None = None
    ) -> None:
        """Register `function` for all types without a handler.

        Raises:
            SettingsInvalid: There is a default already, or the signature does not fit.
        """
        if self._default is not None:
            raise SettingsInvalid(
                f"the default handler is {self._default.name} already; there is one."
            )
        self._default = Handler(function, retry_policy=retry_policy)

    @property
    def scheduled(self) -> ScheduledFunction:
        """The handler of scheduled events.

        Raises:
            HandlerMissing: There is none.
        """
        if self._scheduled is None:
            raise HandlerMissing(
                "a scheduled event came, for which this worker has no handler. Register one with "
                "@worker.scheduled, or remove the schedule."
            )
        return self._scheduled

    def set_scheduled(self, function: ScheduledFunction) -> None:
        """Register `function` for scheduled events.

        Raises:
            SettingsInvalid: There is one already, or it takes not `(event)`.
        """
        if self._scheduled is not None:
            raise SettingsInvalid(
                f"the handler of scheduled events is {name_of(self._scheduled)} already; there is "
                "one."
            )
        try:
            inspect.signature(function).bind({})
        except TypeError:
            raise SettingsInvalid(
                f"handler {name_of(function)}: a handler of scheduled events takes (event)."
            ) from None
        self._scheduled = function

    def find(self, message_id: str, message_type: str) -> Handler:
        """The handler for a message.

        Raises:
            HandlerMissing: No handler for its type, and no default.
        """
        handler = self._handlers.get(message_type, self._default)
        if handler is None:
            known = ", ".join(map(repr, sorted(self._handlers))) or "none"
            raise HandlerMissing(
                f"message {message_id} has type {message_type!r}, for which this worker has no "
                f"handler (it has: {known}). It is left to the queue's retries; register one with "
                "@worker.handler or @worker.default."
            )
        return handler

    def middleware(self) -> list[Middleware]:
        """The middleware of all handlers."""
        return [each for handler in self._all() for each in handler.middleware]

    def prepare(self) -> None:
        """Resolve every annotation now, so that a mistake shows before the first message."""
        for handler in self._all():
            _ = handler.adapter

    def _all(self) -> list[Handler]:
        return [*self._handlers.values(), *([self._default] if self._default else [])]


def _type_of(model: type[BaseModel]) -> str:
    message_type = fixed_type(model)
    if message_type is None:
        raise SettingsInvalid(
            f"{model.__name__} has no type of its own, so it does not say which messages: write "
            '`type: Literal["order:new"] = "order:new"` in the class, or name the type: '
            '@worker.handler("order:new").'
        )
    return message_type
