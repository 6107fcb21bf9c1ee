"""Metrics for Prometheus, as prometheus_client's own parser reads them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families

from claimcheck.testing import Clock
from letsgo_queue import (
    Client,
    MessageInvalid,
    QueueFailed,
    QueueUnavailable,
    Reject,
    Retry,
    SettingsInvalid,
    Worker,
    events,
    listen_to_all,
)
from letsgo_queue.counting import DURATION_BUCKETS, MAX_SENT_TYPES, OTHER_TYPES
from letsgo_queue.metrics import PrometheusListener, count_all
from letsgo_queue.transports.memory import MemoryTransport
from tests.letsgo_queue.support import DEADLINE_SECONDS, PassingTime, order, running
from tests.letsgo_queue.worker.test_health import without
from tests.support.waiting import wait_for

HOUR = 3_600
QUEUE = "memory://"
SENT_ONE = 'letsgo_queue_sent_total{queue="memory://",route="inline",type="order:new"} 1'


class Metrics:
    """A registry, whose text is parsed each time."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.listener = PrometheusListener(self.registry)

    def __getitem__(self, name: str) -> Mapping[tuple[str, ...], float]:
        """The samples of a name, by their labels, without the queue and the zeros."""
        text = generate_latest(self.registry).decode()
        found: dict[tuple[str, ...], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == f"letsgo_queue_{name}" and sample.value:
                    assert sample.labels.pop("queue") == QUEUE
                    found[tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
        return found

    def types(self) -> set[str]:
        """The types that have any series."""
        text = generate_latest(self.registry).decode()
        return {
            sample.labels["type"]
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if "type" in sample.labels
        }


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def worker(queue: MemoryTransport, clock: Clock, metrics: Metrics) -> Worker:
    worker = Worker(queue, clock=clock, visibility_timeout=12 * HOUR)
    worker.add_listener(metrics.listener)
    return worker


def test_outcomes_ages_and_durations(
    queue: MemoryTransport,
    clock: Clock,
    time_passes: PassingTime,
    worker: Worker,
    metrics: Metrics,
) -> None:
    @worker.handler("order:new")
    def work(message: dict[str, Any]) -> None:
        time_passes(3 * HOUR)

    @worker.handler("order:odd")
    def fail(message: dict[str, Any]) -> None:
        raise {"fails": OSError(), "again": Retry(delay=HOUR), "never": Reject()}[
            message["payload"]
        ]

    odd = [{"type": "order:odd", "payload": how} for how in ("fails", "again", "never")]
    Client(queue).enqueue_many([order(), *odd])
    clock.advance(2 * HOUR)
    worker.run(burst=True)

    assert metrics["deliveries_total"] == {
        ("handled", "order:new"): 1,
        ("failed", "order:odd"): 1,
        ("retried", "order:odd"): 1,
        ("rejected", "order:odd"): 1,
    }
    assert metrics["received_total"] == {("inline", "order:new"): 1, ("inline", "order:odd"): 3}
    assert metrics["in_flight"] == {}
    assert metrics["age_seconds_sum"][("order:new",)] == pytest.approx(2 * HOUR, abs=60)
    assert metrics["handler_duration_seconds_sum"][("order:new",)] == pytest.approx(
        3 * HOUR, abs=60
    )
    body = '{"type":"order:new","payload":{}}'
    assert metrics["body_bytes_sum"][("order:new",)] == len(body)
    assert metrics["errors_total"] == {}


def test_buckets_reach_from_a_millisecond_to_twelve_hours(metrics: Metrics) -> None:
    assert (DURATION_BUCKETS[0], DURATION_BUCKETS[-1]) == (0.001, 12 * HOUR)
    assert sorted(set(DURATION_BUCKETS)) == list(DURATION_BUCKETS)


@pytest.mark.parametrize("buckets", [(), (2.0, 1.0), (1.0, 1.0)])
def test_buckets_in_no_order_are_a_mistake(buckets: Sequence[float]) -> None:
    with pytest.raises(SettingsInvalid, match="ascending order"):
        PrometheusListener(CollectorRegistry(), duration_buckets=buckets)


def test_what_is_in_flight(queue: MemoryTransport, worker: Worker, metrics: Metrics) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @worker.handler("order:new")
    def take_long(message: dict[str, Any]) -> None:
        begun.set()
        assert go_on.wait(DEADLINE_SECONDS)

    Client(queue).enqueue(order())
    with running(worker):
        assert begun.wait(DEADLINE_SECONDS)
        assert metrics["in_flight"] == {("order:new",): 1}
        go_on.set()
        wait_for(lambda: not metrics["in_flight"], "the message to be settled")


def test_nobody_who_writes_to_a_queue_can_add_a_series(
    queue: MemoryTransport, worker: Worker, metrics: Metrics
) -> None:
    worker.handler("order:new")(lambda message: None)
    client = Client(queue)
    client.enqueue_many([order(), *({"type": f"made:up:{n}"} for n in range(50))])
    worker.run(burst=True)

    assert metrics.types() == {"order:new", OTHER_TYPES}
    assert metrics["deliveries_total"][("failed", OTHER_TYPES)] == 50
    assert metrics["errors_total"] == {("open", "HandlerMissing"): 50}


def test_types_of_the_default_handler_share_a_label(
    queue: MemoryTransport, worker: Worker, metrics: Metrics
) -> None:
    @worker.default
    def handle(message: dict[str, Any]) -> None: ...

    Client(queue).enqueue_many([{"type": f"made:up:{n}"} for n in range(50)])
    worker.run(burst=True)

    assert metrics.types() == {OTHER_TYPES}
    assert metrics["deliveries_total"] == {("handled", OTHER_TYPES): 50}


def test_a_type_is_a_label_that_cannot_break_out(
    queue: MemoryTransport, worker: Worker, metrics: Metrics
) -> None:
    odd = 'a"} 1\nletsgo_queue_deliveries_total{type="forged\x1b'
    worker.handler(odd)(lambda message: None)
    Client(queue).enqueue({"type": odd, "payload": None})
    worker.run(burst=True)

    (labels,) = metrics["deliveries_total"]
    assert labels == ("handled", 'a"} 1\\nletsgo_queue_deliveries_total{type="forged\\x1b')


def test_what_is_sent_and_what_is_not(queue: MemoryTransport, metrics: Metrics) -> None:
    client = Client(queue)
    client.add_listener(metrics.listener)
    client.enqueue(order())
    with pytest.raises(MessageInvalid):
        client.enqueue(order(), deduplication_id="é")
    client.enqueue_many([{"type": f"n:{n}"} for n in range(2 * MAX_SENT_TYPES)])

    sent = metrics["sent_total"]
    assert sent[("inline", "order:new")] == 1
    assert sent[("inline", OTHER_TYPES)] == MAX_SENT_TYPES + 1
    assert len(sent) == MAX_SENT_TYPES + 1
    assert metrics["sent_body_bytes_count"][("order:new",)] == 1
    assert metrics["stored_bytes_total"] == {}
    assert metrics["errors_total"] == {("send", "MessageInvalid"): 1}


def test_calls_to_the_queue_that_fail(metrics: Metrics) -> None:
    metrics.listener(
        QueueFailed(type=None, queue=QUEUE, call="receive", error=QueueUnavailable("down"))
    )

    assert metrics["errors_total"] == {("receive", "QueueUnavailable"): 1}


def test_queues_are_named_without_their_account(metrics: Metrics) -> None:
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/letsgo-orders"
    metrics.listener(
        QueueFailed(type=None, queue=url, call="receive", error=QueueUnavailable("down"))
    )

    assert 'queue="letsgo-orders"' in generate_latest(metrics.registry).decode()


def test_openmetrics(queue: MemoryTransport, worker: Worker, metrics: Metrics) -> None:
    worker.handler("order:new")(lambda message: None)
    Client(queue).enqueue({"type": "order:new", "payload": None})
    worker.run(burst=True)

    text = generate_openmetrics(metrics.registry).decode()  # type: ignore[no-untyped-call]  # theirs
    families = parse_openmetrics(text)  # type: ignore[no-untyped-call]  # theirs
    names = {family.name for family in families}
    assert {"letsgo_queue_deliveries", "letsgo_queue_age_seconds"} <= names


@pytest.fixture
def default_registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    """A default registry, and listeners, that end with the test."""
    registry = CollectorRegistry()
    monkeypatch.setattr(prometheus_client, "REGISTRY", registry)
    monkeypatch.setattr(events._process, "listeners", ())
    return registry


class TestTheDefaultRegistry:
    def test_is_counted_in_once(self, default_registry: CollectorRegistry) -> None:
        count_all()
        count_all()
        Client("memory://").enqueue(order())

        text = generate_latest(default_registry).decode()
        assert (
            'letsgo_queue_sent_total{queue="memory://",route="inline",type="order:new"} 1' in text
        )

    def test_is_left_to_the_application_that_counts_itself(
        self, default_registry: CollectorRegistry
    ) -> None:
        listen_to_all(PrometheusListener(size_buckets=(10, 100)))
        count_all()
        Client("memory://").enqueue(order())

        text = generate_latest(default_registry).decode()
        assert (
            'letsgo_queue_sent_total{queue="memory://",route="inline",type="order:new"} 1' in text
        )

    def test_a_second_listener_is_a_mistake(self, default_registry: CollectorRegistry) -> None:
        PrometheusListener()
        with pytest.raises(SettingsInvalid, match="one PrometheusListener for each registry"):
            PrometheusListener()

    def test_says_which_extra_it_needs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        without(monkeypatch, "prometheus_client")
        with pytest.raises(SettingsInvalid, match=r"pip install 'letsgo-claimcheck\[metrics\]'"):
            PrometheusListener()
