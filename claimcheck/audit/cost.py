"""What messages cost on AWS: billed units, and their prices.

A message is taken to be sent, received and deleted by itself, once, and its claim to live as the
DynamoDB store has it live: written, taken, read, purged. So the estimate leaves out what batches
save and what retries and empty receives add, and free tiers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from pydantic import BaseModel, Field

from claimcheck.stores.base import PART_BYTES

SQS_UNIT_BYTES = 65_536
"""Each 64 KB of a request's payload is billed as a request: https://aws.amazon.com/sqs/pricing/"""

WRITE_UNIT_BYTES = 1024
"""Each 1 KB of an item that is written or deleted is a write unit:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html"""

READ_UNIT_BYTES = 4096
"""Each 4 KB of an item that is read consistently is a read unit, and half of one otherwise (same
source)."""

PART_OVERHEAD_BYTES = 49
"""Names and values of a part's item beside its data: `id` with a claim id of 24 characters, `/` and
a digit, `data`, `expires_at` with a number of ten digits:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html"""

S3_POINTER_BYTES = 200
"""About what a message with a pointer to S3 has; one SQS request."""

_GB = 10**9
_MONTH_SECONDS = 30 * 24 * 3600
_MILLION = 10**6


@dataclass(frozen=True, slots=True)
class Units:
    """What AWS bills, as sums over any number of messages.

    Attributes:
        sqs_requests: Requests to standard queues, in units of 64 KB.
        sqs_fifo_requests: Requests to FIFO queues, likewise.
        write_units: DynamoDB write request units.
        read_units: DynamoDB read request units.
        dynamodb_bytes: Bytes stored in DynamoDB, each for `Prices.stored_seconds`.
        s3_puts: S3 PUT requests.
        s3_gets: S3 GET requests.
        s3_bytes: Bytes stored in S3, each for `Prices.stored_seconds`.
    """

    sqs_requests: int = 0
    sqs_fifo_requests: int = 0
    write_units: int = 0
    read_units: float = 0
    dynamodb_bytes: int = 0
    s3_puts: int = 0
    s3_gets: int = 0
    s3_bytes: int = 0

    def __add__(self, other: Units) -> Units:
        return Units(
            self.sqs_requests + other.sqs_requests,
            self.sqs_fifo_requests + other.sqs_fifo_requests,
            self.write_units + other.write_units,
            self.read_units + other.read_units,
            self.dynamodb_bytes + other.dynamodb_bytes,
            self.s3_puts + other.s3_puts,
            self.s3_gets + other.s3_gets,
            self.s3_bytes + other.s3_bytes,
        )


class Prices(BaseModel, frozen=True, extra="forbid"):
    """Prices in US dollars, without free tiers and volume discounts; each can be overridden.

    Attributes:
        region: Where they hold.
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
        stored_seconds: How long a payload is taken to be stored.
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
        """What AWS asks for units."""
        gb_months = self.stored_seconds / _MONTH_SECONDS / _GB
        return (
            self.sqs_request * units.sqs_requests
            + self.sqs_fifo_request * units.sqs_fifo_requests
            + self.dynamodb_write * units.write_units
            + self.dynamodb_read * units.read_units
            + self.s3_put * units.s3_puts
            + self.s3_get * units.s3_gets
        ) / _MILLION + gb_months * (
            self.dynamodb_gb_month * units.dynamodb_bytes + self.s3_gb_month * units.s3_bytes
        )


def sqs_requests(sent_size: int) -> int:
    """Requests for sending, receiving and deleting a message of so many bytes on the queue."""
    return 2 * _units(sent_size, SQS_UNIT_BYTES) + 1


def units_of(sent_size: int, *, stored_size: int = 0, fifo: bool = False) -> Units:
    """What one message is billed.

    Args:
        sent_size: Bytes on the queue, body and attributes.
        stored_size: Bytes in DynamoDB.
        fifo: Whether the queue is FIFO.
    """
    requests = sqs_requests(sent_size)
    write_units, read_units = _claim_units(stored_size) if stored_size else (0, 0.0)
    return Units(
        sqs_requests=0 if fifo else requests,
        sqs_fifo_requests=requests if fifo else 0,
        write_units=write_units,
        read_units=read_units,
        dynamodb_bytes=stored_size,
    )


def units_with_s3(size: int, *, fifo: bool = False) -> Units:
    """What one message is billed whose body is in S3, as AWS's extended client has it.

    Args:
        size: Bytes that go to S3, since that client does not compress.
        fifo: Whether the queue is FIFO.
    """
    pointer = units_of(S3_POINTER_BYTES, fifo=fifo)
    # S3 does not bill deletes: https://aws.amazon.com/s3/pricing/
    return pointer + Units(s3_puts=1, s3_gets=1, s3_bytes=size)


def _claim_units(stored_size: int) -> tuple[int, float]:
    """Write and read units of one claim."""
    write_units = 3  # the head, under 1 KB, is written, taken and purged
    read_units = 0.0
    for start in range(0, stored_size, PART_BYTES):
        item = min(PART_BYTES, stored_size - start) + PART_OVERHEAD_BYTES
        write_units += 2 * _units(item, WRITE_UNIT_BYTES)  # written and purged
        read_units += _units(item, READ_UNIT_BYTES) / 2  # a part is read eventually consistent
    return write_units, read_units


def _units(size: int, unit: int) -> int:
    return -(-size // unit)
