"""The handlers of a worker: which function takes which type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from letsgo_queue.errors import HandlerMissing, SettingsInvalid
from letsgo_queue.message import fixed_type
from letsgo_queue.middleware import Middleware
from letsgo_queue.worker.gates import UNLIMITED, HandlerLimits
from letsgo_queue.worker.handler import Handler, HandlerFunction
from letsgo_queue.worker.retries import RetryPolicy
from letsgo_queue.worker.schedule import Scheduled, ScheduledHandler, schedule_in_environment


class Registry:
    """The handlers of a worker, by message type."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._default: Handler | None = None
        self._scheduled: list[ScheduledHandler] = []

    def add(
        self,
        messages: str | type[BaseModel],
        function: HandlerFunction,
        *,
        retry_policy: RetryPolicy | None = None,
        limits: HandlerLimits = UNLIMITED,
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
            function,
            message_type=message_type,
            model=model,
            retry_policy=retry_policy,
            limits=limits,
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

    def add_scheduled(self, handler: ScheduledHandler) -> None:
        """Register a handler of scheduled events.

        Raises:
            SettingsInvalid: There is one of that name already.
        """
        name = handler.schedule_name
        if any(each.schedule_name == name for each in self._scheduled):
            raise SettingsInvalid(
                f"there is a schedule {name!r} already. Give one of the two a name: "
                '@worker.scheduled(..., name="nightly").'
            )
        self._scheduled.append(handler)

    def find_scheduled(self, event: Mapping[str, Any]) -> ScheduledHandler | None:
        """The handler for an event of EventBridge; None if there are no handlers at all.

        A single handler takes every event. Of several, the one with the name of the event's rule
        takes it.

        Raises:
            HandlerMissing: There are several, and none has that name.
        """
        if len({each.function for each in self._scheduled}) == 1:
            return self._scheduled[0]
        resources = event.get("resources")
        rules = [str(arn).rpartition("/")[2] for arn in resources or ()]
        for each in self._scheduled:
            if each.rule in rules:
                return each
        if not self._scheduled:
            return None
        names = ", ".join(repr(each.rule) for each in self._scheduled if each.rule) or "none"
        raise HandlerMissing(
            f"a scheduled event of the rule {', '.join(rules) or '(none)'} came, and this worker "
            f"has {len(self._scheduled)} scheduled handlers (with the names: {names}). Name the "
            'handler for it as the rule: @worker.scheduled(name="...").'
        )

    def limited(self) -> Sequence[str]:
        """The names of the handlers that have limits."""
        return [each.name for each in self._handlers.values() if each.limits != UNLIMITED]

    def schedules(self) -> Sequence[Scheduled]:
        """The handlers that run by a schedule of their own, or by that of LetsGo's settings.

        Raises:
            SettingsInvalid: Those settings cannot be used.
        """
        found = []
        for each in self._scheduled:
            if each.schedule is not None:
                found.append(Scheduled(each.schedule_name, each.schedule, each))
            elif letsgo := schedule_in_environment():
                expression, schedule = letsgo
                found.append(Scheduled(each.name_with(expression), schedule, each))
        return found

    @classmethod
    def of(cls, schedules: Sequence[Scheduled]) -> Registry:
        """The handlers of ticks, whose type is the name of their schedule."""
        registry = cls()
        registry._handlers.update({each.name: each.handler for each in schedules})
        return registry

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

    def middleware(self) -> Sequence[tuple[Middleware, ...]]:
        """The middleware of each handler."""
        return [handler.middleware for handler in (*self.handlers, *self._scheduled)]

    def prepare(self) -> None:
        """Resolve every annotation now, so that a mistake shows before the first message."""
        for handler in self.handlers:
            _ = handler.adapter

    @property
    def handlers(self) -> Sequence[Handler]:
        """All handlers of messages."""
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
