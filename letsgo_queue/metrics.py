"""Metrics for Prometheus, counted from the events of this process.

    from letsgo_queue import listen_to_all
    from letsgo_queue.metrics import PrometheusListener

    listen_to_all(PrometheusListener())

A worker with a health port does this by itself. Needs prometheus-client (extra `metrics`).

Every series costs memory, here and in Prometheus, so nobody who writes to a queue can add one: a
type has series of its own where a handler is registered for it by name, and the others share one
label. A sender's types are its own choice; the first hundred have series.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from typing import TYPE_CHECKING
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
    listen_to_all,
)
from letsgo_queue.text import shown

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

OTHER_TYPES = "(other)"
"""The label of types that have no series of their own."""

MAX_SENT_TYPES = 100
"""How many types of sent messages have series of their own."""

DURATION_BUCKETS = (
    *(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0),
    *(60.0, 300.0, 900.0, 3_600.0, 10_800.0, 43_200.0),
)
"""Seconds: from a handler that does nothing to the longest that SQS keeps a message invisible."""

SIZE_BUCKETS = (1_000, 10_000, 65_536, 250_000, 1_048_576, 10_485_760, 67_108_864)
"""Bytes: what SQS bills as one request, what travels untouched, what SQS takes, what is stored."""

OUTCOMES: Mapping[type[DeliveryEvent], str] = {
    MessageHandled: "handled",
    MessageFailed: "failed",
    MessageRejected: "rejected",
    MessageSkipped: "skipped",
    MessageDelayed: "delayed",
    MessageGivenBack: "given_back",
}


class PrometheusListener:
    """A listener that counts events in the metrics of a registry."""

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        duration_buckets: Sequence[float] = DURATION_BUCKETS,
        size_buckets: Sequence[float] = SIZE_BUCKETS,
    ) -> None:
        """Make the metrics.

        Args:
            registry: Where they are; by default the one that prometheus_client exposes.
            duration_buckets: Upper bounds for durations and ages, in seconds.
            size_buckets: Upper bounds for sizes, in bytes.

        Raises:
            SettingsInvalid: prometheus_client is not installed, the registry has these metrics
                already, or buckets are not in ascending order.
        """
        for buckets in (duration_buckets, size_buckets):
            if not buckets or sorted(set(buckets)) != list(buckets):
                raise SettingsInvalid(f"buckets {tuple(buckets)}: give them in ascending order.")
        try:
            from prometheus_client import REGISTRY, Counter, Gauge, Histogram
        except ModuleNotFoundError as missing:
            raise SettingsInvalid(
                f"metrics need {missing.name}: pip install 'letsgo-claimcheck[metrics]'"
            ) from None
        registry = REGISTRY if registry is None else registry

        # Each gives the series for the values of its labels. Finding them costs more than counting.
        def counter(name: str, about: str, *labels: str) -> Callable[..., Counter]:
            name = f"letsgo_queue_{name}"
            return cache(Counter(name, about, ("queue", *labels), registry=registry).labels)

        def histogram(name: str, about: str, buckets: Sequence[float]) -> Callable[..., Histogram]:
            made = Histogram(
                f"letsgo_queue_{name}",
                about,
                ("queue", "type"),
                buckets=buckets,
                registry=registry,
            )
            return cache(made.labels)

        try:
            self._deliveries = counter(
                "deliveries", "Deliveries that came to an end, by what became of them.",
                "type", "outcome",
            )  # fmt: skip
            self._received = counter(
                "received", "Messages whose handler was called, by the way they travelled.",
                "type", "route",
            )  # fmt: skip
            self._held = counter(
                "held", "How often a message could not be opened yet and waited in the worker.",
                "error",
            )  # fmt: skip
            self._held_seconds = counter(
                "held_seconds", "Seconds for which messages waited in the worker.", "error"
            )
            self._errors = counter(
                "errors", "Calls to the queue or the claim store that failed.", "call", "error"
            )
            self._sent = counter(
                "sent", "Messages that the queue accepted, by the way they went.", "type", "route"
            )
            self._stored = counter(
                "stored_bytes", "Bytes that were put into the claim store.", "type"
            )
            in_flight = Gauge(
                "letsgo_queue_in_flight",
                "Messages whose handler was called, and that are not settled yet.",
                ("queue", "type"),
                registry=registry,
            )
            self._in_flight: Callable[..., Gauge] = cache(in_flight.labels)
            self._age = histogram(
                "age_seconds", "From sending a message to calling its handler.", duration_buckets
            )
            self._duration = histogram(
                "handler_duration_seconds", "How long a handler ran.", duration_buckets
            )
            self._size = histogram(
                "body_bytes", "The body that a handler got, opened.", size_buckets
            )
            self._sent_size = histogram(
                "sent_body_bytes", "The body that was given to enqueue.", size_buckets
            )
        except ValueError:
            raise SettingsInvalid(
                "this registry has the metrics of letsgo_queue already: make one "
                "PrometheusListener for each registry. A worker with a health port has made one "
                "for the default registry."
            ) from None
        self._sent_types: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Count an event."""
        match event:
            case MessageStarted():
                self._started(event)
            case MessageHeld():
                labels = (_name_of(event.queue), type(event.error).__name__)
                self._held(*labels).inc()
                self._held_seconds(*labels).inc(event.seconds)
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
        labels = (_name_of(event.queue), self._sent_type(event.type))
        self._sent(*labels, event.route).inc()
        self._sent_size(*labels).observe(event.size)
        if event.stored_size:
            self._stored(*labels).inc(event.stored_size)

    def _started(self, event: MessageStarted) -> None:
        labels = _labels_of(event)
        self._in_flight(*labels).inc()
        self._age(*labels).observe(event.age)
        self._size(*labels).observe(event.size)
        self._received(*labels, event.route).inc()

    def _ended(self, event: DeliveryEvent) -> None:
        labels = _labels_of(event)
        self._deliveries(*labels, _outcome_of(event)).inc()
        if event.handler_duration is not None:
            self._in_flight(*labels).dec()
            self._duration(*labels).observe(event.handler_duration)
        elif isinstance(event, MessageFailed | MessageRejected):
            self._failed(event.queue, "open", event.error)

    def _failed(self, queue: str, call: str, error: BaseException) -> None:
        self._errors(_name_of(queue), call, type(error).__name__).inc()

    def _sent_type(self, message_type: str | None) -> str:
        if message_type is None:
            return OTHER_TYPES
        if message_type not in self._sent_types:
            if len(self._sent_types) >= MAX_SENT_TYPES:
                return OTHER_TYPES
            self._sent_types.add(message_type)
        return message_type


def _labels_of(event: DeliveryEvent) -> tuple[str, str]:
    known = event.type if event.has_handler else None
    return _name_of(event.queue), OTHER_TYPES if known is None else known


def _outcome_of(event: DeliveryEvent) -> str:
    if isinstance(event, MessageFailed) and isinstance(event.error, Retry):
        return "retried"
    if isinstance(event, MessageSkipped) and event.reason == "duplicate":
        return "duplicate"
    return OUTCOMES.get(type(event), "other")


def count_all() -> None:
    """Count what happens in this process in the default registry, if nobody does yet."""
    with suppress(SettingsInvalid):  # the application has made one
        listen_to_all(PrometheusListener())


@lru_cache
def _name_of(queue: str) -> str:
    """The name of a queue, or its URL where that has none."""
    return shown(urlsplit(queue).path.rstrip("/").rpartition("/")[2] or queue)
