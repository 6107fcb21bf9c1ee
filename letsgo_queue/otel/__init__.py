"""Traces and metrics for OpenTelemetry (extra `otel`).

    from letsgo_queue.otel import instrument

    instrument()      # or start your program with `opentelemetry-instrument`

`spans` makes the spans, `metrics` the metrics; `travelling` sends a span's context with a message.
"""

from letsgo_queue.errors import SettingsInvalid

try:
    from letsgo_queue.otel.instrumentor import LetsGoQueueInstrumentor, instrument, uninstrument
except ModuleNotFoundError as missing:
    if not (missing.name or "").startswith("opentelemetry"):
        raise
    raise SettingsInvalid(
        f"traces need {missing.name}: pip install 'letsgo-claimcheck[otel]'"
    ) from None

__all__ = ["LetsGoQueueInstrumentor", "instrument", "uninstrument"]
