"""Simulates deployments under AWS's limits, and prints the tables of docs/scale.md."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from claimcheck.core.cost import TICKET_BYTES, Place, Units, units_of
from claimcheck.core.prices import Prices
from tests.benchmarks.scale.deployment import Deployment, Seen
from tests.benchmarks.scale.limits import (
    NEW_TABLE_PARTITIONS,
    PARTITION_WRITES,
    PREFIX_READS,
    PREFIX_WRITES,
    TABLE_QUOTA,
    Limits,
)
from tests.benchmarks.tables import table

MB = 1_000_000
MONTH_SECONDS = 30 * 24 * 3600
ROOM = 2
"""A store that was prepared has so much more room than the rate needs, for keys that meet."""

LONGEST_SECONDS = 3600
"""How long a simulation goes on after the last message was sent."""

SIMULATED_QUOTAS = 10
"""Deployments whose table needs more than so many quotas are not simulated: use a bucket."""

RATES = (1, 100, 10_000)
SIZES = (1 * MB, 20 * MB)
PLACES: Sequence[Place] = ("dynamodb", "bucket", "s3")
STORES = {
    "dynamodb": "`dynamodb://T`",
    "bucket": "`dynamodb://T?bucket=B`",
    "s3": "`s3://B`",
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A deployment.

    Attributes:
        rate: Stored messages a second.
        size: Bytes of each in the store.
        place: Where claims are kept.
        is_new: Whether table and bucket were made just now; else AWS has prepared them.
    """

    rate: int
    size: int
    place: Place
    is_new: bool

    @property
    def table_units(self) -> float:
        """Write units that the table must take in a second."""
        return self._units.write_units * self.rate

    @property
    def bucket_writes(self) -> float:
        """Requests a second that write to the bucket, a removal of contents included."""
        return (self._units.s3_puts + (self.place != "dynamodb")) * self.rate

    @property
    def bucket_reads(self) -> float:
        """Requests a second that read from the bucket."""
        return self._units.s3_gets * self.rate

    @property
    def partitions(self) -> int:
        """Partitions of the table."""
        needed = -(-int(self.table_units * ROOM) // PARTITION_WRITES)
        return NEW_TABLE_PARTITIONS if self.is_new else max(NEW_TABLE_PARTITIONS, needed)

    @property
    def prefixes(self) -> int:
        """Prefixes into which S3 has split the bucket's."""
        writes = -(-int(self.bucket_writes * ROOM) // PREFIX_WRITES)
        reads = -(-int(self.bucket_reads * ROOM) // PREFIX_READS)
        return 1 if self.is_new else max(1, writes, reads)

    @property
    def is_over_the_quota(self) -> bool:
        """Whether the table needs more than AWS gives without being asked."""
        return self.table_units > TABLE_QUOTA

    @property
    def dollars_a_month(self) -> float:
        """The bill, of the queue too."""
        return Prices().dollars(self._units) * self.rate * MONTH_SECONDS

    @property
    def _units(self) -> Units:
        return units_of(TICKET_BYTES, stored_size=self.size, place=self.place)

    @property
    def gigabits(self) -> float:
        """Gbit a second, each way."""
        return self._units.moved_bytes / 2 * self.rate * 8 / 10**9

    @property
    def seconds(self) -> float:
        """How long messages are sent in a simulation: longer where few are sent."""
        return {1: 300, 100: 20, 10_000: 5}[self.rate]

    def run(self) -> Seen:
        """Simulate it. Where AWS prepares a table, it has raised the quota too."""
        quota = TABLE_QUOTA if self.is_new else None
        limits = Limits.of(partitions=self.partitions, prefixes=self.prefixes, quota=quota)
        deployment = Deployment(self.place, self.size, self.rate, limits, seed=self.rate)
        return deployment.run(self.seconds, at_most=self.seconds + LONGEST_SECONDS)


def needs(scenarios: Iterable[Scenario]) -> str:
    """What each deployment asks of AWS."""
    return table(
        [
            ">a second",
            ">MB",
            "store",
            ">write units/s",
            ">partitions",
            ">S3 writes/s",
            ">S3 reads/s",
            ">prefixes",
            ">Gbit/s",
            ">$ a month",
        ],
        (
            (
                f"{each.rate:,}",
                f"{each.size // MB}",
                STORES[each.place],
                f"{each.table_units:,.0f}{' (over the quota)' if each.is_over_the_quota else ''}",
                f"{each.partitions:,}" if each.table_units else "",
                f"{each.bucket_writes:,.0f}",
                f"{each.bucket_reads:,.0f}",
                f"{each.prefixes}" if each.bucket_writes else "",
                f"{each.gigabits:,.2f}",
                f"{each.dollars_a_month:,.0f}",
            )
            for each in scenarios
        ),
    )


def outcomes(scenarios: Iterable[Scenario]) -> str:
    """What happens in each deployment."""
    return table(
        [
            ">a second",
            ">MB",
            "store",
            "",
            ">refused",
            ">`enqueue` raised",
            ">held",
            ">median, s",
            ">99 %, s",
            ">all handled after, s",
            ">no receipt",
            ">left to expire",
        ],
        (_outcome(each) for each in scenarios),
    )


def _outcome(scenario: Scenario) -> Sequence[str]:
    began = time.perf_counter()
    seen = scenario.run()
    took = time.perf_counter() - began
    print(f"{scenario}: {seen.requests:,} requests in {took:.0f} s", file=sys.stderr)
    seconds = sorted(seen.seconds) or [math.inf]
    asked = round(scenario.rate * scenario.seconds)
    over = f"{max(0, seen.last_handled - scenario.seconds):,.1f}"
    return (
        f"{scenario.rate:,}",
        f"{scenario.size // MB}",
        STORES[scenario.place],
        "as made" if scenario.is_new else "prepared",
        f"{seen.refused / seen.requests:.1%}",
        f"{seen.enqueue_failed / asked:.2f} x",
        f"{seen.held / asked:.2f} x",
        f"{seconds[len(seconds) // 2]:,.1f}",
        f"{seconds[int(len(seconds) * 0.99)]:,.1f}",
        over if seen.handled == asked else f"{seen.handled / asked:.0%} in an hour",
        f"{seen.no_receipt / asked:.1%}",
        f"{seen.left / asked:.1%}",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, choices=RATES, help="only this many a second")
    parser.add_argument("--store", choices=PLACES, help="only this store")
    chosen = parser.parse_args(arguments)
    deployments = [
        Scenario(rate, size, place, is_new=False)
        for rate in RATES
        for size in SIZES
        for place in PLACES
        if chosen.rate in {None, rate} and chosen.store in {None, place}
    ]
    print(needs(deployments))
    print()
    print(
        outcomes(
            replace(each, is_new=is_new)
            for each in deployments
            if each.table_units <= SIMULATED_QUOTAS * TABLE_QUOTA
            for is_new in (True, False)
            if is_new or (each.partitions, each.prefixes) != (NEW_TABLE_PARTITIONS, 1)
            if each.place == "dynamodb"
            or each.size == SIZES[0]  # an object is one request, up to 32 MiB
        )
    )


if __name__ == "__main__":
    main()
