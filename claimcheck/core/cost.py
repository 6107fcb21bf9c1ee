"""The cost of messages on AWS: the units that AWS bills for one, by where its claim is kept.

The model assumes that a message is sent, received and deleted by itself, once. Its contents are
written, read and removed; its record is acquired and completed. Batches make it cheaper; retries
and empty receives make it dearer. There are no free tiers in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias
from urllib.parse import parse_qs, urlsplit

from claimcheck.core.life import Purge
from claimcheck.stores.base import PART_BYTES
from claimcheck.stores.s3_contents import LARGEST_PUT, PIECE_BYTES
from letsgo_queue.limits import SQS_UNIT_BYTES

Place: TypeAlias = Literal["dynamodb", "bucket", "s3"]
"""Where a claim is kept: all of it in DynamoDB (`dynamodb://TABLE`), its contents in S3 and its
record in DynamoDB (`dynamodb://TABLE?bucket=BUCKET`), or all of it in S3 (`s3://BUCKET`)."""

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
"""Writes of a record: it is acquired and completed. With `before` it is handed over and extended in
between. DynamoDB bills a unit for each. S3 bills a PUT for each, and a GET before each but the
first, which replaces nothing."""

TICKET_BYTES = 400
"""About the size of a message whose contents are stored: one SQS request."""


@dataclass(frozen=True, slots=True)
class Units:
    """The units that AWS bills, summed over any number of messages.

    Attributes:
        sqs_requests: Requests to standard queues, in units of 64 KB.
        sqs_fifo_requests: Requests to FIFO queues, in units of 64 KB.
        write_units: DynamoDB write request units.
        read_units: DynamoDB read request units.
        dynamodb_bytes: Bytes stored in DynamoDB, each for `Prices.stored_seconds`.
        dynamodb_expiring_bytes: Bytes stored in DynamoDB until they expire, after 15 days.
        s3_puts: S3 PUT requests.
        s3_gets: S3 GET requests. S3 does not bill deletes.
        s3_bytes: Bytes stored in S3, each for `Prices.stored_seconds`.
        s3_expiring_bytes: Bytes stored in S3 until the lifecycle rule removes them, after 43 days.
        kms_requests: KMS requests.
        moved_bytes: Bytes that travel to and from the services, heads of requests left out.
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
    s3_expiring_bytes: int = 0
    kms_requests: float = 0
    moved_bytes: int = 0

    def __add__(self, other: Units) -> Units:
        """The sums of both."""
        return Units(
            *(getattr(self, each.name) + getattr(other, each.name) for each in fields(self))
        )


def place_of(store_url: str) -> Place:
    """Where the store with this URL keeps claims; a store that is not AWS's counts as DynamoDB."""
    parts = urlsplit(store_url)
    if parts.scheme == "s3":
        return "s3"
    return "bucket" if "bucket" in parse_qs(parts.query) else "dynamodb"


def sqs_requests(sent_size: int) -> int:
    """Requests to send, receive and delete a message.

    Args:
        sent_size: Its bytes on the queue.
    """
    return 2 * _units(sent_size, SQS_UNIT_BYTES) + 1


def queue_units(
    *, sent: int, sent_bytes: int, received: int, others: int, fifo: bool = False
) -> Units:
    """Return the units that AWS bills for a queue, from its sums.

    Args:
        sent: Messages that were sent.
        sent_bytes: Their bytes. Each message counts as one of the average size.
        received: Messages that were received.
        others: Requests without a message: deletes, and receives that got none.
        fifo: Whether the queue is FIFO.
    """
    each = max(_units(-(-sent_bytes // sent), SQS_UNIT_BYTES), 1) if sent else 1
    requests = (sent + received) * each + others
    return Units(sqs_requests=0 if fifo else requests, sqs_fifo_requests=requests if fifo else 0)


def units_of(
    sent_size: int,
    *,
    stored_size: int = 0,
    place: Place = "dynamodb",
    fifo: bool = False,
    purge: Purge = "after",
    kms_requests: float = 0,
) -> Units:
    """The units that AWS bills for one message.

    Args:
        sent_size: Bytes on the queue, body and attributes.
        stored_size: Bytes of its contents in the store.
        place: Where its claim is kept.
        fifo: Whether the queue is FIFO.
        purge: When its contents are removed.
        kms_requests: Requests to KMS.
    """
    requests = sqs_requests(sent_size)
    on_queue = Units(
        sqs_requests=0 if fifo else requests,
        sqs_fifo_requests=requests if fifo else 0,
        kms_requests=kms_requests,
        moved_bytes=2 * sent_size,
    )
    if not stored_size:
        return on_queue
    if place == "dynamodb":
        return on_queue + _contents_in_dynamodb(stored_size, purge) + _record_in_dynamodb(purge)
    record = _record_in_dynamodb(purge) if place == "bucket" else _record_in_s3(purge)
    return on_queue + _contents_in_s3(stored_size, purge) + record


def units_with_s3(size: int, *, fifo: bool = False) -> Units:
    """The same for a message whose body is in S3, as with AWS's extended client.

    Args:
        size: Bytes that go to S3: that client does not compress.
        fifo: Whether the queue is FIFO.
    """
    in_s3 = Units(s3_puts=1, s3_gets=1, s3_bytes=size, moved_bytes=2 * size)
    return units_of(TICKET_BYTES, fifo=fifo) + in_s3


def _contents_in_dynamodb(stored_size: int, purge: Purge) -> Units:
    parts = part_items(stored_size)
    written = sum(_units(item, WRITE_UNIT_BYTES) for item in parts)
    read = sum(_units(item, READ_UNIT_BYTES) for item in parts)
    expires = purge == "never"
    return Units(
        write_units=written if expires else 2 * written,  # a removal costs as much as the write
        read_units=read / 2,  # they never change, so the read at half the price will do
        dynamodb_bytes=0 if expires else stored_size,
        dynamodb_expiring_bytes=stored_size if expires else 0,
        moved_bytes=2 * 4 * _units(stored_size, 3),  # the protocol has bytes as base64
    )


def _contents_in_s3(stored_size: int, purge: Purge) -> Units:
    expires = purge == "never"
    pieces = 1 if stored_size <= LARGEST_PUT else _units(stored_size, PIECE_BYTES)
    return Units(
        s3_puts=pieces if pieces == 1 else pieces + 2,  # an upload in pieces is begun and completed
        s3_gets=pieces,
        s3_bytes=0 if expires else stored_size,
        s3_expiring_bytes=stored_size if expires else 0,
        moved_bytes=2 * stored_size,
    )


def _record_in_dynamodb(purge: Purge) -> Units:
    return Units(write_units=RECORD_WRITES[purge])


def _record_in_s3(purge: Purge) -> Units:
    return Units(s3_puts=RECORD_WRITES[purge], s3_gets=RECORD_WRITES[purge] - 1)


def part_items(stored_size: int) -> list[int]:
    """Bytes of the item of each part, of contents in DynamoDB.

    Args:
        stored_size: Bytes of the contents, above 0.
    """
    items = [
        min(PART_BYTES, stored_size - start) + PART_OVERHEAD_BYTES
        for start in range(0, stored_size, PART_BYTES)
    ]
    items[0] += FIRST_PART_BYTES
    return items


def _units(size: int, unit: int) -> int:
    return -(-size // unit)
