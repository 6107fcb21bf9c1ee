"""What AWS bills for a message: units, and what they cost by the prices of the size audit.

They are on demand, above the free tier, in US dollars. Storage of a payload that lives for seconds
rounds to nothing, and traffic within a region is free.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Self

from claimcheck.core.cost import (
    READ_UNIT_BYTES,
    WRITE_UNIT_BYTES,
    Place,
    units_of,
)
from claimcheck.core.life import Purge
from claimcheck.core.prices import Prices
from letsgo_queue.limits import SQS_UNIT_BYTES

__all__ = [
    "READ_UNIT_BYTES",
    "SQS_UNIT_BYTES",
    "WRITE_UNIT_BYTES",
    "Units",
    "dollars_per_million",
    "estimated",
]

_PRICES = Prices()

REGION = _PRICES.region
AS_OF = _PRICES.as_of.isoformat()


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
        """The sums of both."""
        return type(self)(
            **{
                each.name: getattr(self, each.name) + getattr(other, each.name)
                for each in fields(self)
            }
        )


DOLLARS_PER_MILLION = Units(
    sqs_requests=_PRICES.sqs_request,
    writes=_PRICES.dynamodb_write,
    reads=_PRICES.dynamodb_read,
    s3_writes=_PRICES.s3_put,
    s3_reads=_PRICES.s3_get,
)


def dollars_per_million(units: Units) -> float:
    """What a million messages cost, each of which is billed `units`."""
    return math.fsum(
        getattr(units, each.name) * getattr(DOLLARS_PER_MILLION, each.name)
        for each in fields(units)
    )


def estimated(
    sent_size: int, stored_size: int = 0, *, place: Place = "dynamodb", purge: Purge = "after"
) -> Units:
    """What the size audit says that AWS bills for a message.

    Args:
        sent_size: Bytes on the queue.
        stored_size: Bytes in the store.
        place: Where its claim is kept.
        purge: When its contents are removed.
    """
    units = units_of(sent_size, stored_size=stored_size, place=place, purge=purge)
    return Units(
        sqs_requests=units.sqs_requests,
        writes=units.write_units,
        reads=units.read_units,
        s3_writes=units.s3_puts,
        s3_reads=units.s3_gets,
    )
