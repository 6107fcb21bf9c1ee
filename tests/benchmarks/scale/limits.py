"""AWS's limits, as token buckets, by any clock: that of a simulation, or the real one.

DynamoDB  1,000 write units and 3,000 read units a second for each partition. A new table on demand
          has four partitions. It doubles within half an hour of steady load, or is prepared ("warm
          throughput"). A table takes 40,000 of each a second, until AWS raises that quota.
          https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html
          https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html
S3        3,500 writes (PUT, DELETE) and 5,500 reads a second for each prefix. Under steady load S3
          splits a prefix, over minutes.
          https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
SQS       120,000 messages in flight on a queue.
          https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html

What DynamoDB saves up for bursts lifts no partition over its limit, so it is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

PARTITION_WRITES = 1_000
PARTITION_READS = 3_000
NEW_TABLE_PARTITIONS = 4
TABLE_QUOTA = 40_000

PREFIX_WRITES = 3_500
PREFIX_READS = 5_500

IN_FLIGHT = 120_000


class TokenBucket:
    """Lets through so much a second, and no more than a second's worth at once."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._left = per_second
        self._at = 0.0

    def admits(self, amount: float, now: float) -> bool:
        """Take an amount, if it is there."""
        self._left = min(self._per_second, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < amount:
            return False
        self._left -= amount
        return True


@dataclass(frozen=True, slots=True)
class Spread:
    """Partitions of one kind, each with a limit of its own, and a limit for all together.

    Attributes:
        parts: One bucket for each partition.
        whole: What all together let through; None for no such limit.
    """

    parts: Sequence[TokenBucket]
    whole: TokenBucket | None = None

    @classmethod
    def over(cls, count: int, per_second: float, *, quota: float | None = None) -> Spread:
        """So many partitions, each of which lets through so much."""
        whole = None if quota is None else TokenBucket(quota)
        return cls([TokenBucket(per_second) for _ in range(count)], whole)

    def admits(self, key: str, amount: float, now: float) -> bool:
        """Whether the partition of a key lets a request through."""
        digest = blake2b(key.encode(), digest_size=8).digest()
        part = self.parts[int.from_bytes(digest) % len(self.parts)]
        if not part.admits(amount, now):
            return False
        return self.whole is None or self.whole.admits(amount, now)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a table and a bucket.

    Attributes:
        table_writes: Write units of the table.
        table_reads: Read units of the table.
        bucket_writes: Requests that write to the bucket, or delete.
        bucket_reads: Requests that read from it.
    """

    table_writes: Spread
    table_reads: Spread
    bucket_writes: Spread
    bucket_reads: Spread

    @classmethod
    def of(
        cls, *, partitions: int, prefixes: int, quota: float | None = TABLE_QUOTA, share: float = 1
    ) -> Limits:
        """The limits of so many partitions and prefixes.

        Args:
            partitions: Of the table.
            prefixes: Into which S3 has split the bucket's.
            quota: Units a second for the whole table; None if AWS raised it out of the way.
            share: The share of each of AWS's limits: a test sends fewer messages.
        """
        whole = None if quota is None else quota * share
        return cls(
            Spread.over(partitions, PARTITION_WRITES * share, quota=whole),
            Spread.over(partitions, PARTITION_READS * share, quota=whole),
            Spread.over(prefixes, PREFIX_WRITES * share),
            Spread.over(prefixes, PREFIX_READS * share),
        )
