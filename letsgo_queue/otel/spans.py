"""Makes spans, named as OpenTelemetry's semantic conventions for messaging say.

    enqueue QUEUE            producer, for each message
    ├── seal, store          of the claim check, where the message is large
    └── send QUEUE           client; for a batch it stands beside, with a link to each message

    process QUEUE            consumer, for each try to handle a message, with a link to `enqueue`
    ├── acquire, open        of the claim check
    ├── handler              the user's function: spans begun in it are inside
    ├── complete, release    of the claim check
    └── acknowledge QUEUE    client; for a batch it stands beside, with a link to each message

https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/

No span has a payload, or the text of another library's error, which may quote a payload.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry import context as contexts
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
    use_span,
)
from opentelemetry.util.types import AttributeValue

from letsgo_queue import tracing
from letsgo_queue.counting import outcome_of, queue_name
from letsgo_queue.errors import LetsGoError, Retry
from letsgo_queue.events import (
    DeliveryEvent,
    Event,
    MessageFailed,
    MessageHeld,
    MessageRejected,
    MessageStarted,
)
from letsgo_queue.log import get_logger
from letsgo_queue.otel.travelling import Travelling
from letsgo_queue.place import place_of
from letsgo_queue.settings import is_sqs
from letsgo_queue.text import name_of_error, shown, shown_error
from letsgo_queue.tracing import NOTHING, Running

if TYPE_CHECKING:
    from letsgo_queue.transports.base import OutgoingMessage, Transport
    from letsgo_queue.worker.incoming import IncomingMessage

logger = get_logger(__name__)

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the semantic conventions that names and attributes follow."""


class SpanMaker(tracing.Tracer):
    """Makes the spans of this process."""

    def __init__(self, tracer: Tracer, travelling: Travelling, *, continue_trace: bool) -> None:
        """Prepare to make spans.

        Args:
            tracer: OpenTelemetry's tracer.
            travelling: Writes and reads what travels with a message.
            continue_trace: Whether a handler's span belongs to the trace of the sender.
        """
        self._tracer = tracer
        self._travelling = travelling
        self._continue_trace = continue_trace

    def step(self, name: tracing.Step) -> Running:
        """Make a span inside the current one, if the current one is recorded."""
        if not get_current_span().is_recording():
            return NOTHING
        return _running(self._tracer.start_span(name))

    def enqueue(self, message_type: str, queue: str) -> tracing.SendSpan:
        """Make a message's span, which travels if it is sampled, or with `continue_trace`."""
        span = self._tracer.start_span(
            _named("enqueue", queue),
            kind=SpanKind.PRODUCER,
            attributes=_of_queue(queue, "enqueue", "create"),
        )
        if span.is_recording():  # most are not, if few are sampled
            span.set_attribute("letsgo.message.type", shown(message_type))
        elif not self._continue_trace:
            return _UnsampledSend(span)
        return _SendSpan(span, self._travelling, has_queue=bool(queue))

    def send(self, spans: Sequence[tracing.SendSpan], queue: str) -> Running:
        """Make a span inside that of the message; for several, one with links to theirs."""
        first = spans[0]
        if len(spans) == 1 and not (isinstance(first, _SendSpan) and first.span.is_recording()):
            return first.running()  # so that nothing inside it is recorded either
        of_messages = [each.span for each in spans if isinstance(each, _SendSpan)]
        return self._request("send", "send", of_messages, len(spans), queue)

    def process(self, message: IncomingMessage) -> tracing.ProcessSpan:
        """Make a span that is the current one wherever this message is handled."""
        queue = message.queue
        ambient = contexts.get_current()
        sender = self._travelling.read(message.received)
        parent, linked = ambient, sender
        if self._continue_trace and sender is not None:
            parent = set_span_in_context(NonRecordingSpan(sender), ambient)
            around = get_current_span(ambient).get_span_context()
            linked = around if around.is_valid else None
        span = self._tracer.start_span(
            _named("process", queue),
            parent,
            SpanKind.CONSUMER,
            attributes=_of_queue(queue, "process", "process"),
            links=() if linked is None else (Link(linked),),
        )
        contexts.attach(set_span_in_context(span, ambient))
        if not span.is_recording():
            return tracing.UNTRACED
        span.set_attributes(
            {
                "messaging.message.id": shown(message.message_id),
                "letsgo.message.type": shown(message.type or ""),
                "letsgo.receive_count": message.received.receive_count,
            }
        )
        return _ProcessSpan(self._tracer, span, message, ambient)

    def acknowledge(self, spans: Sequence[tracing.ProcessSpan], queue: str) -> Running:
        """Make a span inside that of the delivery; for several, one with links to theirs."""
        of_messages = [each.span for each in spans if isinstance(each, _ProcessSpan)]
        return self._request("acknowledge", "settle", of_messages, len(spans), queue)

    def _request(
        self, name: str, kind: str, of_messages: Sequence[Span], count: int, queue: str
    ) -> Running:
        recorded = [each for each in of_messages if each.is_recording()]
        if not recorded:
            return NOTHING
        attributes: dict[str, AttributeValue] = dict(_of_queue(queue, name, kind))
        links: list[Link] = []
        context = set_span_in_context(recorded[0])
        if count > 1:
            attributes["messaging.batch.message_count"] = count
            links = [Link(each.get_span_context()) for each in recorded]
            context = contexts.get_current()
        return _running(
            self._tracer.start_span(
                _named(name, queue), context, SpanKind.CLIENT, attributes=attributes, links=links
            )
        )


class _UnsampledSend(tracing.SendSpan):
    """The span of a message that is not sampled: no span inside it is sampled either."""

    __slots__ = ("_running",)

    def __init__(self, span: Span) -> None:
        self._running = _Current(span)

    def running(self) -> Running:
        return self._running


class _SendSpan(tracing.SendSpan):
    """The span of a message on its way to the queue."""

    __slots__ = ("_has_queue", "_running", "_travelling", "span")

    def __init__(self, span: Span, travelling: Travelling, *, has_queue: bool) -> None:
        self.span = span
        self._travelling = travelling
        self._has_queue = has_queue
        self._running = _Current(span)

    def running(self) -> Running:
        return self._running

    def stamp(self, message: OutgoingMessage, transport: Transport) -> OutgoingMessage:
        if not self._has_queue:
            self.span.update_name(_named("enqueue", transport.url))
            self.span.set_attributes(_of_queue(transport.url, "enqueue", "create"))
        return self._travelling.write(self.span, message, transport)

    def sent(self, message: OutgoingMessage, message_id: str) -> None:
        if self.span.is_recording():
            self.span.set_attributes(
                {
                    "messaging.message.id": message_id,
                    "messaging.message.body.size": len(message.body),
                    "messaging.message.envelope.size": message.size,
                    "letsgo.route": message.route,
                    "letsgo.stored_size": message.stored_size,
                }
            )
            self.span.end()

    def failed(self, error: Exception) -> None:
        _mark(self.span, error)
        self.span.end()


class _ProcessSpan(tracing.ProcessSpan):
    """The span of a try to handle a delivery, and that of its handler."""

    __slots__ = ("_ambient", "_handler", "_message", "_tracer", "span")

    is_recording = True

    def __init__(
        self, tracer: Tracer, span: Span, message: IncomingMessage, ambient: contexts.Context
    ) -> None:
        self._tracer = tracer
        self.span = span
        self._message = message
        self._ambient = ambient
        self._handler: Span = INVALID_SPAN

    def handler_begins(self) -> None:
        message = self._message
        function = None if message.handler is None else message.handler.function
        name = getattr(function, "__qualname__", "")
        within = set_span_in_context(self.span)
        self._handler = self._tracer.start_span(
            "handler",
            within,
            attributes={"code.function.name": f"{getattr(function, '__module__', '')}.{name}"},
        )
        contexts.attach(set_span_in_context(self._handler))

    def handler_ended(self, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, Retry):
            _mark(self._handler, error, package=self._package)
        _end(self._handler)
        contexts.attach(set_span_in_context(self.span))

    def saw(self, event: Event) -> None:
        if isinstance(event, MessageStarted) or not isinstance(event, DeliveryEvent):
            return
        if not self.span.is_recording():
            return  # in Lambda a held message fails next, and the hold has ended the try
        outcome = "held" if isinstance(event, MessageHeld) else outcome_of(event)
        self.span.set_attributes({"letsgo.outcome": outcome, "letsgo.route": event.route})
        if isinstance(event, MessageFailed | MessageRejected) and outcome != "retried":
            _mark(self.span, event.error, package=self._package)
        elif isinstance(event, MessageHeld):
            self.span.set_attribute("error.type", name_of_error(event.error))
        self.end()
        if isinstance(event, MessageHeld):  # the next try has a span of its own
            contexts.attach(self._ambient)

    def end(self) -> None:
        _end(self._handler)  # it may still run, in a worker that ends
        _end(self.span)

    @property
    def _package(self) -> str:
        handler = self._message.handler
        module = getattr(None if handler is None else handler.function, "__module__", None)
        return str(module or "").partition(".")[0]


class _Current:
    """Makes a span the current one for a while; OpenTelemetry's own way costs more."""

    __slots__ = ("_context", "_token")

    def __init__(self, span: Span) -> None:
        self._context = set_span_in_context(span)

    def __enter__(self) -> None:
        self._token = contexts.attach(self._context)

    def __exit__(self, *_: object) -> None:
        contexts.detach(self._token)


@contextmanager
def _running(span: Span) -> Iterator[None]:
    with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield
        except BaseException as error:
            _mark(span, error)
            raise


def _mark(span: Span, error: BaseException, *, package: str = "") -> None:
    """Note an error: ours with its text, any other with the place where it was raised."""
    if not span.is_recording():
        return
    name = name_of_error(error)
    if isinstance(error, LetsGoError):
        about = shown_error(error)
    else:
        place = place_of(error, package=package)
        about = name if place is None else f"{name} at {place}"
    span.set_attribute("error.type", name)
    span.set_status(Status(StatusCode.ERROR, about))


def _end(span: Span) -> None:
    """End a span, unless it has ended."""
    if span.is_recording():
        span.end()


@lru_cache
def _named(operation: str, queue: str) -> str:
    return f"{operation} {queue_name(queue)}" if queue else operation


@lru_cache
def _of_queue(queue: str, operation: str, kind: str) -> Mapping[str, str]:
    """Return the attributes that name the queue, and the operation on it."""
    attributes = {
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
    }
    if is_sqs(queue):
        attributes["messaging.system"] = "aws_sqs"
        attributes["aws.sqs.queue.url"] = queue
    elif queue:
        attributes["messaging.system"] = f"letsgo_{urlsplit(queue).scheme}"
    if queue:
        attributes["messaging.destination.name"] = queue_name(queue)
    return attributes
