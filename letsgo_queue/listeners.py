"""The listeners of a client or a worker."""

from __future__ import annotations

import logging

from letsgo_queue.events import Event, Listener

logger = logging.getLogger(__name__)


class Listeners:
    """Hands events to listeners, none of which can disturb a message or another listener."""

    def __init__(self) -> None:
        self._listeners: tuple[Listener, ...] = ()

    def add(self, listener: Listener) -> None:
        """Add a listener; it gets every event from now on."""
        self._listeners = (*self._listeners, listener)

    def __bool__(self) -> bool:
        """Whether there are any: an event that nobody gets need not be made."""
        return bool(self._listeners)

    def emit(self, event: Event) -> None:
        """Hand an event to every listener."""
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # somebody else's code; the message must go on
                logger.exception("listener %r failed on %s", listener, type(event).__name__)
