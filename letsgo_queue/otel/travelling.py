"""Sends the context of the sender's span with a message, so that the handler's span finds it.

The context is one message attribute, `traceparent`, as W3C Trace Context defines it. It counts
towards the ten that SQS takes, and towards the size limit. If it does not fit, the message goes
without it.
X-Ray's header travels beside the attributes, and counts towards neither:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.propagators.aws import AwsXRayPropagator
from opentelemetry.trace import Span, SpanContext, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from letsgo_queue.attributes import MAX_ATTRIBUTES, TRACE
from letsgo_queue.errors import LetsGoError
from letsgo_queue.limits import ANY_QUEUE_BYTES
from letsgo_queue.log import get_logger

if TYPE_CHECKING:
    from letsgo_queue.transports.base import OutgoingMessage, ReceivedMessage, Transport

logger = get_logger(__name__)

_W3C = TraceContextTextMapPropagator()
_XRAY = AwsXRayPropagator()
_XRAY_FIELD = "X-Amzn-Trace-Id"


class Travelling:
    """Writes the context of a span into a message, and reads it there."""

    def __init__(self, *, xray: bool) -> None:
        """Choose what travels.

        Args:
            xray: Whether X-Ray's header travels too.
        """
        self._xray = xray

    def write(self, span: Span, message: OutgoingMessage, transport: Transport) -> OutgoingMessage:
        """Return the message with the context of a span, if there is room for it.

        A context that the caller has set itself stays.
        """
        context = set_span_in_context(span)
        carrier: dict[str, str] = {}
        if self._xray and message.trace_header is None:
            _XRAY.inject(carrier, context)
            message = replace(message, trace_header=carrier.get(_XRAY_FIELD))
        _W3C.inject(carrier, context)
        if TRACE in message.attributes or TRACE not in carrier:
            return message
        stamped = replace(message, attributes={**message.attributes, TRACE: carrier[TRACE]})
        if len(stamped.attributes) > MAX_ATTRIBUTES:
            why = f"it has {MAX_ATTRIBUTES} attributes already"
        elif stamped.size > ANY_QUEUE_BYTES and stamped.size > (limit := _limit(transport)):
            why = f"with it, it would exceed {limit:,} bytes"
        else:
            return stamped
        logger.info(
            "a message of type %s goes without the context of its trace: %s", message.type, why
        )
        return message

    def read(self, message: ReceivedMessage) -> SpanContext | None:
        """Return the context of the span that sent a message; None if none can be read."""
        attribute = message.attributes.get(TRACE)
        if attribute is not None and isinstance(attribute.value, str):
            found = _span_of(_W3C.extract({TRACE: attribute.value}, Context()))
            if found is not None:
                return found
        if self._xray and message.trace_header is not None:
            return _span_of(_XRAY.extract({_XRAY_FIELD: message.trace_header}, Context()))
        return None


def _span_of(context: Context) -> SpanContext | None:
    found = get_current_span(context).get_span_context()
    return found if found.is_valid else None


def _limit(transport: Transport) -> int:
    try:
        return transport.max_message_bytes() or ANY_QUEUE_BYTES
    except LetsGoError:
        return ANY_QUEUE_BYTES
