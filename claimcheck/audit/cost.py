"""What messages cost on AWS: billed units, and their prices.

The estimate assumes that a message is sent, received and deleted by itself, once, and that its
claim lives in DynamoDB: its contents are written, read and removed, its record is acquired and
completed. Batches make it cheaper; retries and empty receives make it dearer. There are no free
tiers in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date

from pydantic import BaseModel, Field

from claimcheck.core.holds import CONTENTS_SECONDS
from claimcheck.core.life import Purge
from claimcheck.stores.base import PART_BYTES

SQS_UNIT_BYTES = 65_536
"""Each 64 KB of payload is billed as a request: https://aws.amazon.com/sqs/pricing/"""

WRITE_UNIT_BYTES = 1024
"""Each 1 KB of an item that is written or deleted is a write unit. Expiry (TTL) costs none.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html"""

READ_UNIT_BYTES = 4096
"""Each 4 KB of an item that is read is half a read unit, or a whole one if the read is consistent
(same source)."""

PART_OVERHEAD_BYTES = 49
"""Bytes of a part's item beside its data: `id` with a claim id of 24 characters, `/` and a digit,
the name of `data`, and `expires_at` with a number of ten digits:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html"""

FIRST_PART_BYTES = 65
"""Bytes that part 0 has beside those: `parts`, `size`, `stored`, `created_at`, and a `type` of some
twenty characters."""

RECORD_WRITES: Mapping[Purge, int] = {"after": 2, "never": 2, "before": 4}
"""Writes of a record, one unit each: it is acquired and completed. With `before` it is handed over
and extended in between."""

S3_POINTER_BYTES = 200
"""About the size of a message with a pointer to S3: one SQS request."""

_GB = 10**9
_MONTH_SECONDS = 30 * 24 * 3600
_MILLION = 10**6


@dataclass(frozen=True, slots=True)
class Units:
    """What AWS bills: sums over any number of messages.

    Attributes:
        sqs_requests: Requests to standard queues, in units of 64 KB.
        sqs_fifo_requests: Requests to FIFO queues, in units of 64 KB.
        write_units: DynamoDB write request units.
        read_units: DynamoDB read request units.
        dynamodb_bytes: Bytes stored in DynamoDB, each for `Prices.stored_seconds`.
        dynamodb_expiring_bytes: Bytes stored in DynamoDB until they expire, after 15 days.
        s3_puts: S3 PUT requests.
        s3_gets: S3 GET requests.
        s3_bytes: Bytes stored in S3, each for `Prices.stored_seconds`.
    """

    sqs_requests: int = 0
    sqs_fifo_requests: int = 0
    write_units: int = 0
    read_units: float = 0
    dynamodb_bytes: int = 0
    dynamodb_expiring_bytes: int = 0
    s3_puts: int = 0
    s3_gets: int = 0
    s3_bytes: int = 0

    def __add__(self, other: Units) -> Units:
        """The sums of both."""
        return Units(
            *(getattr(self, each.name) + getattr(other, each.name) for each in fields(self))
        )


class Prices(BaseModel, frozen=True, extra="forbid"):
    """Prices in US dollars, without free tiers and volume discounts. Each can be set.

    Attributes:
        region: The AWS region that has these prices.
        as_of: When they were looked up.
        sources: Where they were found.
        sqs_request: Per million requests to a standard queue.
        sqs_fifo_request: Per million requests to a FIFO queue.
        dynamodb_write: Per million write request units, on demand.
        dynamodb_read: Per million read request units, on demand.
        dynamodb_gb_month: Per GB (10^9 bytes) stored for 30 days.
        s3_put: Per million PUT requests, S3 Standard.
        s3_get: Per million GET requests, S3 Standard.
        s3_gb_month: Per GB stored for 30 days, S3 Standard.
        stored_seconds: How long a payload is stored: from the send to the end of its handler.
    """

    region: str = "us-west-2"
    as_of: date = date(2025, 7, 21)
    sources: tuple[str, ...] = (
        "https://aws.amazon.com/sqs/pricing/",
        "https://aws.amazon.com/dynamodb/pricing/on-demand/",
        "https://aws.amazon.com/s3/pricing/",
    )
    sqs_request: float = Field(default=0.40, ge=0, allow_inf_nan=False)
    sqs_fifo_request: float = Field(default=0.50, ge=0, allow_inf_nan=False)
    dynamodb_write: float = Field(default=0.625, ge=0, allow_inf_nan=False)
    dynamodb_read: float = Field(default=0.125, ge=0, allow_inf_nan=False)
    dynamodb_gb_month: float = Field(default=0.25, ge=0, allow_inf_nan=False)
    s3_put: float = Field(default=5.00, ge=0, allow_inf_nan=False)
    s3_get: float = Field(default=0.40, ge=0, allow_inf_nan=False)
    s3_gb_month: float = Field(default=0.023, ge=0, allow_inf_nan=False)
    stored_seconds: float = Field(default=60, ge=0, allow_inf_nan=False)

    def dollars(self, units: Units) -> float:
        """The price of units."""
        stored = (
            self.dynamodb_gb_month * units.dynamodb_bytes + self.s3_gb_month * units.s3_bytes
        ) * self.stored_seconds
        expiring = self.dynamodb_gb_month * units.dynamodb_expiring_bytes * CONTENTS_SECONDS
        requests = (
            self.sqs_request * units.sqs_requests
            + self.sqs_fifo_request * units.sqs_fifo_requests
            + self.dynamodb_write * units.write_units
            + self.dynamodb_read * units.read_units
            + self.s3_put * units.s3_puts
            + self.s3_get * units.s3_gets
        )
        return requests / _MILLION + (stored + expiring) / _GB / _MONTH_SECONDS


def sqs_requests(sent_size: int) -> int:
    """Requests to send, receive and delete a message.

    Args:
        sent_size: Its bytes on the queue.
    """
    return 2 * _units(sent_size, SQS_UNIT_BYTES) + 1


def units_of(
    sent_size: int, *, stored_size: int = 0, fifo: bool = False, purge: Purge = "after"
) -> Units:
    """What AWS bills for one message.

    Args:
        sent_size: Bytes on the queue, body and attributes.
        stored_size: Bytes in DynamoDB.
        fifo: Whether the queue is FIFO.
        purge: When its contents are removed.
    """
    requests = sqs_requests(sent_size)
    parts = _part_items(stored_size)
    written = sum(_units(item, WRITE_UNIT_BYTES) for item in parts)
    read = sum(_units(item, READ_UNIT_BYTES) for item in parts)
    expires = purge == "never"
    return Units(
        sqs_requests=0 if fifo else requests,
        sqs_fifo_requests=requests if fifo else 0,
        # Contents are removed at the price of the write.
        write_units=written * (1 if expires else 2) + (RECORD_WRITES[purge] if parts else 0),
        read_units=read / 2,  # they never change, so the read at half the price will do
        dynamodb_bytes=0 if expires else stored_size,
        dynamodb_expiring_bytes=stored_size if expires else 0,
    )


def units_with_s3(size: int, *, fifo: bool = False) -> Units:
    """What AWS bills for one message whose body is in S3, as with AWS's extended client.

    Args:
        size: Bytes that go to S3: that client does not compress.
        fifo: Whether the queue is FIFO.
    """
    pointer = units_of(S3_POINTER_BYTES, fifo=fifo)
    # S3 does not bill deletes: https://aws.amazon.com/s3/pricing/
    return pointer + Units(s3_puts=1, s3_gets=1, s3_bytes=size)


def _part_items(stored_size: int) -> list[int]:
    """Bytes of the item of each part."""
    items = [
        min(PART_BYTES, stored_size - start) + PART_OVERHEAD_BYTES
        for start in range(0, stored_size, PART_BYTES)
    ]
    if items:
        items[0] += FIRST_PART_BYTES
    return items


def _units(size: int, unit: int) -> int:
    return -(-size // unit)
