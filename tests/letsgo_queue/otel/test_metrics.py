"""The metrics of OpenTelemetry have the names, labels and values of those for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from letsgo_queue import Client, Message, Reject, Retry, Worker, listen_to_all
from letsgo_queue.counting import DURATION_BUCKETS
from letsgo_queue.metrics import PrometheusListener
from letsgo_queue.otel import instrument, uninstrument
from tests.letsgo_queue.support import order

Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]


class Both:
    """Both exporters of the same events."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.registry = CollectorRegistry()

    def of_opentelemetry(self) -> Samples:
        found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        for metric in self.metrics():
            for point in metric.data.data_points:
                histogram = isinstance(point, HistogramDataPoint)
                value = point.count if histogram else point.value
                found[metric.name, tuple(sorted(point.attributes.items()))] = value
        return found

    def metrics(self) -> Iterator[Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        for resource in data.resource_metrics:
            for scope in resource.scope_metrics:
                yield from scope.metrics

    def of_prometheus(self) -> Samples:
        found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        for family in self.registry.collect():
            ending = {"counter": "_total", "gauge": "", "histogram": "_count"}[family.type]
            for sample in family.samples:
                if sample.name == family.name + ending:
                    found[family.name, tuple(sorted(sample.labels.items()))] = sample.value
        return found


@pytest.fixture
def both() -> Iterator[Both]:
    both = Both()
    instrument(
        tracer_provider=TracerProvider(), meter_provider=MeterProvider(metric_readers=[both.reader])
    )
    stop = listen_to_all(PrometheusListener(both.registry))
    yield both
    stop()
    uninstrument()


def test_they_count_the_same(both: Both, client: Client) -> None:
    worker = Worker(client=client)
    ends = iter([None, Retry(delay=60), Reject("no"), ValueError("x")])

    @worker.handler("order:new")
    def on_order(message: Message[Any]) -> None:
        if (error := next(ends)) is not None:
            raise error

    for _ in range(4):
        client.enqueue(order())
    worker.run(burst=True)

    counted = both.of_opentelemetry()
    assert counted == both.of_prometheus()
    names = {name for name, _ in counted}
    assert names >= {
        "letsgo_queue_deliveries",
        "letsgo_queue_sent",
        "letsgo_queue_in_flight",
        "letsgo_queue_handler_duration_seconds",
        "letsgo_queue_body_bytes",
    }
    labels = (("outcome", "retried"), ("queue", "memory://"), ("type", "order:new"))
    assert counted["letsgo_queue_deliveries", labels] == 1


def test_units_and_buckets(both: Both, client: Client) -> None:
    client.enqueue(order())
    worker = Worker(client=client)
    worker.handler("order:new")(lambda message: None)
    worker.run(burst=True)
    by_name = {metric.name: metric for metric in both.metrics()}
    duration = by_name["letsgo_queue_handler_duration_seconds"]
    assert duration.unit == "s"
    assert tuple(duration.data.data_points[0].explicit_bounds) == DURATION_BUCKETS
    assert by_name["letsgo_queue_body_bytes"].unit == "By"
