"""What travels with `threshold="auto"`: whatever AWS bills least, at the borders."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from claimcheck import ClaimCheck, Sealed
from claimcheck.core.cost import TICKET_BYTES, Place, sqs_requests, units_of
from claimcheck.core.prices import Prices
from claimcheck.settings import ClaimCheckSettings
from claimcheck.stores.memory import MemoryClaimStore

UNIT = 65_536
NEW_QUEUE = 1_048_576


class StoreWithUrl(MemoryClaimStore):
    """Keeps claims in memory, and says that it is somewhere else."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url


STORES: dict[Place, str] = {
    "dynamodb": "dynamodb://claims",
    "bucket": "dynamodb://claims?bucket=contents",
    "s3": "s3://contents/claims",
}


def repetitive(size: int) -> str:
    return "x" * size


def noise(size: int) -> str:
    """Text that does not become smaller as a ticket: base64 of compressed bytes."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return "".join(random.Random(7).choices(letters, k=size))


def sealed(body: str, where: Place, *, attributes_size: int = 0) -> Sealed:
    claim_check = ClaimCheck(StoreWithUrl(STORES[where]), threshold="auto", inline_limit=NEW_QUEUE)
    return claim_check.seal(body, attributes_size=attributes_size)


EVERYWHERE = pytest.mark.parametrize("where", STORES)


@EVERYWHERE
def test_one_request_is_never_sealed(where: Place) -> None:
    assert sealed(repetitive(UNIT), where).route == "inline"


@EVERYWHERE
def test_what_saves_a_request_is_compressed(where: Place) -> None:
    message = sealed(repetitive(UNIT + 1), where)

    assert message.route == "compressed"
    assert sqs_requests(len(message.body)) == 3 < sqs_requests(UNIT + 1)


@EVERYWHERE
def test_attributes_count(where: Place) -> None:
    assert sealed(repetitive(UNIT - 100), where, attributes_size=100).route == "inline"
    assert sealed(repetitive(UNIT - 100), where, attributes_size=101).route == "compressed"


@EVERYWHERE
def test_what_saves_no_request_travels_as_it_is(where: Place) -> None:
    """A reader without the claim check could still read it, and nobody has to inflate it."""
    assert sealed(noise(UNIT + 1), where).route == "inline"


def test_a_bucket_stores_what_costs_more_on_the_queue() -> None:
    """600 KB that do not compress are 21 requests of SQS; or a PUT, a GET, and the record."""
    assert sealed(noise(9 * UNIT), "bucket").route == "inline"
    assert sealed(noise(9 * UNIT + 1), "bucket").route == "stored"


@pytest.mark.parametrize("where", ["dynamodb", "s3"])
def test_a_dearer_store_has_only_what_the_queue_does_not_take(where: Place) -> None:
    assert sealed(noise(NEW_QUEUE), where).route == "inline"
    assert sealed(noise(3 * NEW_QUEUE), where).route == "stored"


@pytest.mark.parametrize("size", [UNIT, UNIT + 1, 200_000, 9 * UNIT, 9 * UNIT + 1, NEW_QUEUE])
@pytest.mark.parametrize("make", [repetitive, noise])
@EVERYWHERE
def test_no_other_way_costs_less(where: Place, size: int, make: Callable[[int], str]) -> None:
    prices = Prices(stored_seconds=0)
    body = make(size)
    message = sealed(body, where)
    chosen = units_of(len(message.body), stored_size=message.stored, place=where)

    inline = units_of(size)
    stored = units_of(TICKET_BYTES, stored_size=max(size * 3 // 4, message.stored), place=where)
    assert prices.dollars(chosen) <= prices.dollars(inline)
    assert prices.dollars(chosen) <= prices.dollars(stored)


@EVERYWHERE
def test_it_opens_again(where: Place) -> None:
    claim_check = ClaimCheck(StoreWithUrl(STORES[where]), threshold="auto", inline_limit=NEW_QUEUE)
    for body in (repetitive(UNIT + 1), noise(UNIT + 1), noise(9 * UNIT + 1)):
        message = claim_check.seal(body)
        with claim_check.open(message.body.decode()) as opened:
            assert opened.body == body


def test_the_setting() -> None:
    settings = ClaimCheckSettings.from_environment({"CLAIMCHECK_THRESHOLD": "auto"})

    assert settings.threshold == "auto"
    claim_check = ClaimCheck(MemoryClaimStore(), threshold=settings.threshold)
    assert claim_check.seal(repetitive(UNIT + 1)).route == "compressed"
