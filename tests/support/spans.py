"""The spans that a test makes, kept in memory by OpenTelemetry's own SDK."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import SpanContext, Tracer

from letsgo_queue.otel import instrument, uninstrument


class Spans:
    """Finished spans, by their names."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._kept = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self._kept))

    @property
    def tracer(self) -> Tracer:
        """For spans of the application."""
        return self.provider.get_tracer("shop")

    @property
    def all(self) -> list[ReadableSpan]:
        return list(self._kept.get_finished_spans())

    def forget(self) -> None:
        self._kept.clear()

    def named(self, name: str) -> list[ReadableSpan]:
        return [each for each in self.all if each.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def inside(self, span: ReadableSpan) -> list[str]:
        """The names of the spans directly inside of one, in the order they began."""
        found = [each for each in self.all if each.parent and each.parent.span_id == id_of(span)]
        return [each.name for each in sorted(found, key=lambda each: each.start_time or 0)]

    def exported(self) -> str:
        """All that leaves the process."""
        return "\n".join(each.to_json() for each in self.all)


def id_of(span: ReadableSpan) -> int:
    return _context_of(span).span_id


def trace_of(span: ReadableSpan) -> int:
    return _context_of(span).trace_id


def links_of(span: ReadableSpan) -> list[int]:
    """The ids of the spans that a span is linked to."""
    return [link.context.span_id for link in span.links]


def _context_of(span: ReadableSpan) -> SpanContext:
    context = span.get_span_context()
    assert context is not None
    return context


def facts(span: ReadableSpan) -> Mapping[str, object]:
    return dict(span.attributes or {})


@contextmanager
def traced(
    sampler: Sampler | None = None, *, continue_trace: bool = False, xray: bool | None = None
) -> Iterator[Spans]:
    """Trace what happens in the block."""
    spans = Spans(sampler)
    instrument(tracer_provider=spans.provider, continue_trace=continue_trace, xray=xray)
    try:
        yield spans
    finally:
        uninstrument()
        spans.provider.shutdown()
