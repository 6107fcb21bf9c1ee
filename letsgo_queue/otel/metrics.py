"""The metrics of `letsgo_queue.counting`, made by a meter of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from letsgo_queue.counting import Note, SeriesOf

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter


class OfMeter:
    """Makes metrics that a meter exports."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def counter(self, name: str, about: str, labels: Sequence[str]) -> SeriesOf:
        """Make a sum that only grows."""
        add = self._meter.create_counter(f"letsgo_queue_{name}", _unit(name), about).add
        return _series(add, labels)

    def level(self, name: str, about: str, labels: Sequence[str]) -> SeriesOf:
        """Make a sum that can also shrink."""
        made = self._meter.create_up_down_counter(f"letsgo_queue_{name}", _unit(name), about)
        return _series(made.add, labels)

    def histogram(
        self, name: str, about: str, labels: Sequence[str], *, buckets: Sequence[float]
    ) -> SeriesOf:
        """Make a histogram: it counts numbers up to each bound of `buckets`."""
        made = self._meter.create_histogram(
            f"letsgo_queue_{name}",
            _unit(name),
            about,
            explicit_bucket_boundaries_advisory=buckets,
        )
        return _series(made.record, labels)


def _unit(name: str) -> str:
    """Return the unit that a name ends with, as UCUM writes it."""
    if name.endswith("_seconds"):
        return "s"
    return "By" if name.endswith("_bytes") else "1"


def _series(note: object, labels: Sequence[str]) -> SeriesOf:
    assert callable(note)

    def series(*values: str) -> Note:
        attributes = dict(zip(labels, values, strict=True))
        return lambda number: note(number, attributes)

    return series
