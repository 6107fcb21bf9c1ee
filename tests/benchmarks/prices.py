"""What AWS bills for a message: units, and what they cost.

Prices are those of us-west-2 (us-east-1 has the same), on demand, above the free tier, in US
dollars. Storage of a payload that lives for seconds rounds to nothing, and traffic within a region
is free.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Self

REGION = "us-west-2"
AS_OF = "2024-11-01"
"""The day from which DynamoDB's price holds; the others are older."""

SOURCES = (
    "https://aws.amazon.com/sqs/pricing/",
    "https://aws.amazon.com/dynamodb/pricing/on-demand/",
    "https://aws.amazon.com/s3/pricing/",
)

SQS_UNIT_BYTES = 65_536
"""Each 64 KB of a request's payload counts as one request; a request without payload is one."""

WRITE_UNIT_BYTES = 1_024
READ_UNIT_BYTES = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """What is billed.

    Attributes:
        sqs_requests: SQS requests of 64 KB each.
        writes: DynamoDB write request units.
        reads: DynamoDB read request units; an eventually consistent read of 4 KB is a half.
        s3_writes: S3 requests that PUT, COPY, POST or LIST.
        s3_reads: S3 requests of all other kinds; DELETE is free and not in it.
    """

    sqs_requests: float = 0
    writes: float = 0
    reads: float = 0
    s3_writes: float = 0
    s3_reads: float = 0

    def __add__(self, other: Units) -> Self:
        """The sum of both."""
        return type(self)(
            **{
                each.name: getattr(self, each.name) + getattr(other, each.name)
                for each in fields(self)
            }
        )


DOLLARS_PER_MILLION = Units(sqs_requests=0.40, writes=0.625, reads=0.125, s3_writes=5, s3_reads=0.4)


def dollars_per_million(units: Units) -> float:
    """What a million messages cost, each of which is billed `units`."""
    return math.fsum(
        getattr(units, each.name) * getattr(DOLLARS_PER_MILLION, each.name)
        for each in fields(units)
    )
