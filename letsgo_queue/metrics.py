"""Metrics for Prometheus, counted from the events of this process.

    from letsgo_queue import listen_to_all
    from letsgo_queue.metrics import PrometheusListener

    listen_to_all(PrometheusListener())

A worker with a health port does this by itself. It needs prometheus-client (extra `metrics`).
`letsgo_queue.counting` defines the metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from letsgo_queue.counting import DURATION_BUCKETS, SIZE_BUCKETS, EventCounter, Note, SeriesOf
from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.events import listen_to_all

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class PrometheusListener(EventCounter):
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
            registry: The metrics' registry; by default the one that prometheus_client exposes.
            duration_buckets: Upper bounds for durations and ages, in seconds.
            size_buckets: Upper bounds for sizes, in bytes.

        Raises:
            SettingsInvalid: prometheus_client is not installed, the registry has these metrics
                already, or buckets are not in ascending order.
        """
        try:
            from prometheus_client import REGISTRY
        except ModuleNotFoundError as missing:
            raise SettingsInvalid(
                f"metrics need {missing.name}: pip install 'letsgo-claimcheck[metrics]'"
            ) from None
        try:
            super().__init__(
                _InRegistry(REGISTRY if registry is None else registry),
                duration_buckets=duration_buckets,
                size_buckets=size_buckets,
            )
        except ValueError:
            raise SettingsInvalid(
                "this registry has the metrics of letsgo_queue already: make one "
                "PrometheusListener for each registry. A worker with a health port has made one "
                "for the default registry."
            ) from None


class _InRegistry:
    """Makes metrics in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, about: str, labels: Sequence[str]) -> SeriesOf:
        from prometheus_client import Counter

        made = Counter(f"letsgo_queue_{name}", about, labels, registry=self._registry)

        def series(*values: str) -> Note:
            return made.labels(*values).inc

        return series

    def level(self, name: str, about: str, labels: Sequence[str]) -> SeriesOf:
        from prometheus_client import Gauge

        made = Gauge(f"letsgo_queue_{name}", about, labels, registry=self._registry)

        def series(*values: str) -> Note:
            return made.labels(*values).inc

        return series

    def histogram(
        self, name: str, about: str, labels: Sequence[str], *, buckets: Sequence[float]
    ) -> SeriesOf:
        from prometheus_client import Histogram

        made = Histogram(
            f"letsgo_queue_{name}", about, labels, buckets=buckets, registry=self._registry
        )

        def series(*values: str) -> Note:
            return made.labels(*values).observe

        return series


def count_all() -> None:
    """Count this process's events in the default registry, unless the application does."""
    with suppress(SettingsInvalid):  # the application has made a listener
        listen_to_all(PrometheusListener())
