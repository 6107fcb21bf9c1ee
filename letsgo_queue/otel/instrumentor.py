"""Turns traces and metrics on and off."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from importlib.metadata import version
from typing import Any

# Its module says `type: ignore` of itself.
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]
from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import TracerProvider, get_tracer

from letsgo_queue.counting import EventCounter
from letsgo_queue.events import listen_to_all
from letsgo_queue.otel.metrics import OfMeter
from letsgo_queue.otel.spans import SCHEMA_URL, SpanMaker
from letsgo_queue.otel.travelling import Travelling
from letsgo_queue.tracing import use


class LetsGoQueueInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """The instrumentor that `opentelemetry-instrument` finds. In code, call `instrument`."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return no packages: it instruments this package alone."""
        return ()

    def _instrument(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        continue_trace: bool = False,
        xray: bool | None = None,
        **_others: Any,
    ) -> None:
        release = version("letsgo-claimcheck")
        tracer = get_tracer("letsgo_queue", release, tracer_provider, schema_url=SCHEMA_URL)
        meter = get_meter("letsgo_queue", release, meter_provider, schema_url=SCHEMA_URL)
        if xray is None:
            xray = "xray" in os.environ.get("OTEL_PROPAGATORS", "").split(",")
        self._stop: tuple[Callable[[], None], ...] = (
            use(SpanMaker(tracer, Travelling(xray=xray), continue_trace=continue_trace)),
            listen_to_all(EventCounter(OfMeter(meter))),
        )

    def _uninstrument(self, **_others: Any) -> None:
        for stop in self._stop:
            stop()


def instrument(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    continue_trace: bool = False,
    xray: bool | None = None,
) -> None:
    """Trace and count the messages of this process, from now on. A second call changes nothing.

    Args:
        tracer_provider: Gets the spans; by default OpenTelemetry's global one.
        meter_provider: Gets the metrics; by default OpenTelemetry's global one.
        continue_trace: Whether a handler's span belongs to the trace of the sender. By default it
            begins a trace of its own, with a link to the sender's. Set it in senders and workers.
        xray: Whether the context also travels as AWS X-Ray's trace header, which is no message
            attribute. By default it does if `OTEL_PROPAGATORS` names `xray`.
    """
    LetsGoQueueInstrumentor().instrument(
        tracer_provider=tracer_provider,
        meter_provider=meter_provider,
        continue_trace=continue_trace,
        xray=xray,
    )


def uninstrument() -> None:
    """Trace and count no more messages. Those in hand end their spans."""
    LetsGoQueueInstrumentor().uninstrument()
