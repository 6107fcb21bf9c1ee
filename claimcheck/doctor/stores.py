"""The stores of a queue's claims, and the keys that encrypt them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from functools import partial

from botocore.exceptions import ClientError

from claimcheck.core.claim_check import ClaimCheck
from claimcheck.core.encryption import Encryption
from claimcheck.doctor.findings import (
    Finding,
    carry_out,
    failure,
    passed,
    unanswered,
    warning,
)
from claimcheck.doctor.words import in_words
from claimcheck.errors import EncryptionError
from claimcheck.settings import ClaimCheckSettings, claim_check_for
from claimcheck.stores.base import RECORD_SECONDS, ClaimStore
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.dynamodb_bucket import DynamoDBBucketClaimStore
from claimcheck.stores.findings import Finding as StoreFinding
from claimcheck.stores.findings import Resource, denied_action
from claimcheck.stores.letsgo import LetsGoClaimStore
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.stores.resources import resources_of
from letsgo_queue.errors import LetsGoError
from letsgo_queue.limits import ANY_QUEUE_BYTES
from letsgo_queue.settings import split_url

ROUND_TRIP_TYPE = "claimcheck:doctor"
"""The type of what the round trip seals. No queue ever gets it."""

_CREATE = "claimcheck store create"


def check_store(store: ClaimStore, queue: str) -> Iterator[Finding]:
    """Compare a store with what claims need; nothing is changed.

    Args:
        store: The store.
        queue: The queue's URL.
    """
    resources = resources_of(store)
    made_by_us = not isinstance(store, LetsGoClaimStore)
    for resource in resources:
        check = partial(_check_resource, resource, made_by_us=made_by_us)
        yield from carry_out("store", check, service="")
    if resources:
        return
    if isinstance(store, MemoryClaimStore) and split_url(queue).scheme != "memory":
        yield failure(
            "store",
            f"{store.url} is in the memory of each process: no other opens what it stores",
            command="unset CLAIMCHECK_STORE",
        )
        return
    yield passed("store", store.url)


def _check_resource(resource: Resource, *, made_by_us: bool) -> Iterator[Finding]:
    for each in resource.check():
        yield _of_store(each, made_by_us=made_by_us)


def _of_store(found: StoreFinding, *, made_by_us: bool) -> Finding:
    """What `claimcheck store check` finds, as the doctor says it."""
    name = f"store.{found.subject.lower().replace(' ', '-')}"
    if found.ok:
        return passed(name, found.detail)
    report = failure if found.known else warning
    mends = made_by_us and (found.change is not None or _CREATE in found.remedy)
    return report(
        name, found.detail, advice=found.remedy, command=f"{_CREATE} --yes" if mends else ""
    )


def check_store_region(store: ClaimStore, region: str) -> Iterator[Finding]:
    """Whether a table is where the queue is: elsewhere each claim costs transfer, and time.

    Args:
        store: The store.
        region: The queue's region.
    """
    if isinstance(store, DynamoDBClaimStore | DynamoDBBucketClaimStore):
        there = store.label.split(":")[1]
        if there != region:
            yield warning(
                "store.region",
                f"{store.url} is in {there}, and the queue in {region}: AWS bills the transfer",
                advice="keep claims in the region of the queue",
            )


def check_encryption(encryption: Encryption) -> Iterator[Finding]:
    """Whether the keys can be used: one data key is made, and unwrapped again."""
    try:
        encryption.try_out()
    except EncryptionError as error:
        cause = error.__cause__
        if isinstance(cause, ClientError) and denied_action(cause, "kms"):
            yield unanswered("encryption", cause, "kms")
            return
        yield failure(
            "encryption",
            str(error),
            advice="senders need kms:GenerateDataKey on the first key, workers kms:Decrypt on all",
        )
        return
    if not encryption.encrypts:
        yield warning(
            "encryption",
            "'none' comes first in CLAIMCHECK_ENCRYPTION: messages are sent as they are",
            advice="put a key first once every reader has it",
        )
    elif encryption.accepts_plain:
        yield warning(
            "encryption",
            "'none' is in CLAIMCHECK_ENCRYPTION: messages that are not encrypted are opened too",
            advice="take it out once every sender encrypts",
        )
    else:
        yield passed("encryption", "a data key was made and unwrapped")


def check_round_trip(queue: str, settings: ClaimCheckSettings) -> Iterator[Finding]:
    """Seal, open and complete a message of each route in every store; the queue gets none.

    A receipt stays of the stored ones, as of any message.

    Args:
        queue: The queue's URL.
        settings: How messages are sealed.
    """
    for url in settings.stores_for(queue):
        alone = settings.model_copy(
            update={"store": url, "stores": {}, "inline_limit": ANY_QUEUE_BYTES}
        )
        check = claim_check_for(queue, alone)
        for route, payload in _payloads().items():
            name = f"round-trip.{route}"
            travel = partial(_travel, name, check, payload, url)
            yield from carry_out(name, travel, service="")


def _travel(name: str, check: ClaimCheck, payload: str, store: str) -> Iterator[Finding]:
    body = json.dumps({"type": ROUND_TRIP_TYPE, "payload": payload}, separators=(",", ":"))
    sealed = check.seal(body)
    try:
        with check.open(sealed.body.decode()):
            pass  # opening compares what comes out with the ticket's hash
    except LetsGoError:
        check.discard(sealed)
        raise
    kept = f" in {store}; its receipt stays for {in_words(RECORD_SECONDS)}"
    yield passed(
        name,
        f"{len(body):,} bytes were sealed ({sealed.route}) and opened"
        + (kept if sealed.route == "stored" else ""),
    )


def _payloads() -> dict[str, str]:
    return {
        "inline": "small",
        "compressed": "x" * 2 * ANY_QUEUE_BYTES,
        "stored": secrets.token_urlsafe(2 * ANY_QUEUE_BYTES),
    }
