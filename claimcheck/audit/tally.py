"""Adds up the messages of one type: sums and sketches. It keeps no message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

from claimcheck.audit.report import SizeStats, TypeReport
from claimcheck.audit.sample import PointSample
from claimcheck.audit.sketch import SizeSketch
from claimcheck.core.cost import Place, Units, sqs_requests, units_of, units_with_s3
from claimcheck.core.life import Purge
from claimcheck.core.opened import Route
from claimcheck.core.prices import Prices

SAMPLE_POINTS = 200
"""The most messages of a type that the scatter chart shows."""

_MILLION = 10**6


class TypeTally:
    """Adds up the messages of one type. Not safe to share between threads."""

    def __init__(self, message_type: str, draw: Callable[[], float]) -> None:
        self._type = message_type
        self._not_sent = 0
        self._routes: Counter[Route] = Counter()
        self._sizes = SizeSketch()
        self._sent_sizes = SizeSketch()
        self._sealed_bytes = 0
        self._sealed_to_bytes = 0
        # Most messages go inline: for them plain numbers are enough, by whether the queue is FIFO.
        self._inline_requests = Counter[bool]()
        self._inline_bytes = 0
        self._units = Units()
        self._units_with_s3 = Units()
        self._units_with_bucket = Units()
        self._units_with_expiry = Units()
        self._largest_in: str | None = None
        self._points = PointSample(SAMPLE_POINTS, draw)

    def is_largest(self, size: int) -> bool:
        """Whether a message of this size would be the largest so far."""
        return size > self._sizes.largest

    def add_sent(
        self,
        size: int,
        sent_size: int,
        route: Route,
        *,
        stored_size: int,
        fifo: bool,
        place: Place,
        purge: Purge,
        kms_requests: float,
    ) -> None:
        """Add a message that was sent.

        Args:
            size: Bytes of body and attributes as given.
            sent_size: Bytes that went on the queue.
            route: Which way it went.
            stored_size: Bytes in the store.
            fifo: Whether the queue is FIFO.
            place: Where its claim is kept.
            purge: When its contents are removed.
            kms_requests: Requests to KMS for a message that is sealed.
        """
        self._sizes.add(size)
        self._sent_sizes.add(sent_size)
        self._routes[route] += 1
        self._points.add(size, sent_size, route)
        if route == "inline":
            self._inline_requests[fifo] += sqs_requests(sent_size)
            self._inline_bytes += sent_size
        else:
            self._sealed_bytes += size
            self._sealed_to_bytes += stored_size or sent_size
            billed = partial(
                units_of,
                sent_size,
                stored_size=stored_size,
                fifo=fifo,
                kms_requests=kms_requests,
            )
            self._units += billed(place=place, purge=purge)
            self._units_with_s3 += units_with_s3(size, fifo=fifo)
            self._units_with_bucket += billed(place="bucket", purge=purge)
            self._units_with_expiry += billed(place=place, purge="never")

    def add_not_sent(self, size: int) -> None:
        """Add a message that was not sent."""
        self._sizes.add(size)
        self._not_sent += 1

    def name_largest(self, label: str | None) -> None:
        """Say where the largest message came from."""
        self._largest_in = label

    def merge(self, report: TypeReport) -> None:
        """Add the report of another tally."""
        if self.is_largest(report.size.largest):
            self._largest_in = report.largest_in
        self._not_sent += report.not_sent
        self._routes.update(report.routes)
        _merge_sizes(self._sizes, report.size)
        if report.sent_size is not None:
            _merge_sizes(self._sent_sizes, report.sent_size)
        self._sealed_bytes += report.sealed_bytes
        self._sealed_to_bytes += report.sealed_to_bytes
        self._units += report.units
        self._units_with_s3 += report.units_with_s3
        self._units_with_bucket += report.units_with_bucket
        self._units_with_expiry += report.units_with_expiry
        self._points.merge(report.points)

    def report(self, prices: Prices) -> TypeReport:
        """Report what was added so far."""
        messages = self._routes.total()
        inline = Units(
            sqs_requests=self._inline_requests[False],
            sqs_fifo_requests=self._inline_requests[True],
            moved_bytes=2 * self._inline_bytes,
        )
        units, with_s3 = self._units + inline, self._units_with_s3 + inline

        def per_million(billed: Units) -> float | None:
            return prices.dollars(billed) / messages * _MILLION if messages else None

        return TypeReport(
            type=self._type,
            messages=messages,
            not_sent=self._not_sent,
            routes=dict(self._routes),
            size=_stats(self._sizes),
            sent_size=_stats(self._sent_sizes) if messages else None,
            sealed_bytes=self._sealed_bytes,
            sealed_to_bytes=self._sealed_to_bytes,
            ratio=self._sealed_bytes / self._sealed_to_bytes if self._sealed_to_bytes else None,
            units=units,
            units_with_s3=with_s3,
            units_with_bucket=self._units_with_bucket + inline,
            units_with_expiry=self._units_with_expiry + inline,
            cost_per_million=per_million(units),
            s3_cost_per_million=per_million(with_s3),
            largest_in=self._largest_in,
            points=self._points.points,
        )


def _stats(sketch: SizeSketch) -> SizeStats:
    return SizeStats(
        smallest=sketch.smallest,
        median=sketch.quantile(0.5),
        p95=sketch.quantile(0.95),
        largest=sketch.largest,
        buckets=dict(sorted(sketch.buckets.items())),
    )


def _merge_sizes(sketch: SizeSketch, stats: SizeStats) -> None:
    sketch.merge(stats.buckets, smallest=stats.smallest, largest=stats.largest)
