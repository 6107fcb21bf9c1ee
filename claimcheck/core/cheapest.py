"""`threshold="auto"`: which way of a message AWS bills least, by the cost model.

SQS bills each 64 KB that is sent or received. So up to 64 KB a message travels as it is. A larger
one is compressed if that saves a request, and stored if the store's requests cost less than those
of the queue: 600 KB that do not compress are cheaper in S3. DynamoDB bills each KB, so there
nothing is stored that the queue takes.

The rule goes by the prices of the United States; the prices of other regions differ by too little
to move it far. The bill of a FIFO queue is a quarter higher, and counts as that of a standard
queue.
"""

from __future__ import annotations

from claimcheck.core.cost import TICKET_BYTES, place_of, sqs_requests, units_of
from claimcheck.core.prices import Prices

_PRICES = Prices()


def is_cheaper_carried(size: int, carried: int) -> bool:
    """Whether a message of `size` bytes costs less compressed, in `carried` bytes."""
    return sqs_requests(carried) < sqs_requests(size)


def is_cheaper_stored(sent: int, stored: int, *, store_url: str) -> bool:
    """Whether `stored` bytes in a store cost less than `sent` bytes on the queue."""
    on_queue = units_of(sent)
    in_store = units_of(TICKET_BYTES, stored_size=stored, place=place_of(store_url))
    return _PRICES.dollars(in_store) < _PRICES.dollars(on_queue)
