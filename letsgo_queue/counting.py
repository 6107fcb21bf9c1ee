"""Counts the events of a process, for Prometheus and OpenTelemetry.

Every series costs memory, here and where it is collected. So nobody who writes to a queue can add a
series: a received type has its own series only if a handler is registered for it by name, and all
others share one label. A sender chooses its types itself; the first hundred have series.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Protocol, TypeAlias
from urllib.parse import urlsplit

from letsgo_queue.errors import Retry, SettingsInvalid
from letsgo_queue.events import (
    DeliveryEvent,
    Event,
    MessageDelayed,
    MessageFailed,
    MessageGivenBack,
    MessageHandled,
    MessageHeld,
    MessageNotSent,
    MessageRejected,
    MessageSent,
    MessageSkipped,
    MessageStarted,
    QueueFailed,
)
from letsgo_queue.text import shown

OTHER_TYPES = "(other)"
"""The label of types that have no series of their own."""

MAX_SENT_TYPES = 100
"""How many types of sent messages have series of their own."""

DURATION_BUCKETS = (
    *(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0),
    *(60.0, 300.0, 900.0, 3_600.0, 10_800.0, 43_200.0),
)
"""Bounds in seconds: from a handler that does nothing to SQS's longest visibility timeout."""

SIZE_BUCKETS = (1_000, 10_000, 65_536, 250_000, 1_048_576, 10_485_760, 67_108_864)
"""Bounds in bytes: SQS's unit of billing, the default threshold, SQS's limit, stored sizes."""

OUTCOMES: Mapping[type[DeliveryEvent], str] = {
    MessageHandled: "handled",
    MessageFailed: "failed",
    MessageRejected: "rejected",
    MessageSkipped: "skipped",
    MessageDelayed: "delayed",
    MessageGivenBack: "given_back",
}

Note: TypeAlias = Callable[[float], object]
"""Adds a number to a series, or records it in a histogram."""

SeriesOf: TypeAlias = Callable[..., Note]
"""Returns the series for the values of its labels, in their order."""


class Instruments(Protocol):
    """Makes metrics. All their names begin with `letsgo_queue_`."""

    def counter(self, name: str, about: str, labels: Sequence[str]) -> SeriesOf:
        """Make a sum that only grows."""
        ...

    def level(self, name: str, about: str, labels: Sequence[str]) -> SeriesOf:
        """Make a sum that can also shrink."""
        ...

    def histogram(
        self, name: str, about: str, labels: Sequence[str], *, buckets: Sequence[float]
    ) -> SeriesOf:
        """Make a histogram: it counts numbers up to each bound of `buckets`."""
        ...


class EventCounter:
    """A listener that counts events."""

    def __init__(
        self,
        instruments: Instruments,
        *,
        duration_buckets: Sequence[float] = DURATION_BUCKETS,
        size_buckets: Sequence[float] = SIZE_BUCKETS,
    ) -> None:
        """Make the metrics.

        Args:
            instruments: Makes the metrics.
            duration_buckets: Upper bounds for durations and ages, in seconds.
            size_buckets: Upper bounds for sizes, in bytes.

        Raises:
            SettingsInvalid: Buckets are not in ascending order.
        """
        for buckets in (duration_buckets, size_buckets):
            if not buckets or sorted(set(buckets)) != list(buckets):
                raise SettingsInvalid(f"buckets {tuple(buckets)}: give them in ascending order.")

        # Both keep the series that they make: finding a series costs more than counting.
        def counter(name: str, about: str, *labels: str) -> SeriesOf:
            return cache(instruments.counter(name, about, ("queue", *labels)))

        def histogram(name: str, about: str, buckets: Sequence[float]) -> SeriesOf:
            return cache(instruments.histogram(name, about, ("queue", "type"), buckets=buckets))

        self._deliveries = counter(
            "deliveries", "Deliveries that came to an end, by what became of them.",
            "type", "outcome",
        )  # fmt: skip
        self._received = counter(
            "received", "Messages whose handler was called, by the way they travelled.",
            "type", "route",
        )  # fmt: skip
        self._held = counter(
            "held", "How often a message could not be opened yet and waited in the worker.", "error"
        )
        self._held_seconds = counter(
            "held_seconds", "Seconds for which messages waited in the worker.", "error"
        )
        self._errors = counter(
            "errors", "Calls to the queue or the claim store that failed.", "call", "error"
        )
        self._sent = counter(
            "sent", "Messages that the queue accepted, by the way they went.", "type", "route"
        )
        self._stored = counter("stored_bytes", "Bytes that were put into the claim store.", "type")
        self._in_flight = cache(
            instruments.level(
                "in_flight",
                "Messages whose handler was called, and that are not settled yet.",
                ("queue", "type"),
            )
        )
        self._age = histogram(
            "age_seconds", "From sending a message to calling its handler.", duration_buckets
        )
        self._duration = histogram(
            "handler_duration_seconds", "How long a handler ran.", duration_buckets
        )
        self._size = histogram("body_bytes", "The body that a handler got, opened.", size_buckets)
        self._sent_size = histogram(
            "sent_body_bytes", "The body that was given to enqueue.", size_buckets
        )
        self._sent_types: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Count an event."""
        match event:
            case MessageStarted():
                self._started(event)
            case MessageHeld():
                labels = (queue_name(event.queue), type(event.error).__name__)
                self._held(*labels)(1)
                self._held_seconds(*labels)(event.seconds)
            case DeliveryEvent():
                self._ended(event)
            case MessageSent():
                self._was_sent(event)
            case MessageNotSent():
                self._failed(event.queue, "send", event.error)
            case QueueFailed():
                self._failed(event.queue, event.call, event.error)
            case _:
                pass

    def _was_sent(self, event: MessageSent) -> None:
        labels = (queue_name(event.queue), self._sent_type(event.type))
        self._sent(*labels, event.route)(1)
        self._sent_size(*labels)(event.size)
        if event.stored_size:
            self._stored(*labels)(event.stored_size)

    def _started(self, event: MessageStarted) -> None:
        labels = _labels_of(event)
        self._in_flight(*labels)(1)
        self._age(*labels)(event.age)
        self._size(*labels)(event.size)
        self._received(*labels, event.route)(1)

    def _ended(self, event: DeliveryEvent) -> None:
        labels = _labels_of(event)
        self._deliveries(*labels, outcome_of(event))(1)
        if event.handler_duration is not None:
            self._in_flight(*labels)(-1)
            self._duration(*labels)(event.handler_duration)
        elif isinstance(event, MessageFailed | MessageRejected):
            self._failed(event.queue, "open", event.error)

    def _failed(self, queue: str, call: str, error: BaseException) -> None:
        self._errors(queue_name(queue), call, type(error).__name__)(1)

    def _sent_type(self, message_type: str | None) -> str:
        if message_type is None:
            return OTHER_TYPES
        if message_type not in self._sent_types:
            if len(self._sent_types) >= MAX_SENT_TYPES:
                return OTHER_TYPES
            self._sent_types.add(message_type)
        return message_type


def outcome_of(event: DeliveryEvent) -> str:
    """Return the outcome of a delivery, in one word."""
    if isinstance(event, MessageFailed) and isinstance(event.error, Retry):
        return "retried"
    if isinstance(event, MessageSkipped) and event.reason == "duplicate":
        return "duplicate"
    return OUTCOMES.get(type(event), "other")


@lru_cache
def queue_name(queue: str) -> str:
    """Return the name of a queue, or its URL if that has no name."""
    return shown(urlsplit(queue).path.rstrip("/").rpartition("/")[2] or queue)


def _labels_of(event: DeliveryEvent) -> tuple[str, str]:
    known = event.type if event.has_handler else None
    return queue_name(event.queue), OTHER_TYPES if known is None else known
