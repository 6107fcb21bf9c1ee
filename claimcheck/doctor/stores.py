"""Checks the stores of a queue's claims, and the keys that encrypt them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from botocore.exceptions import ClientError

from claimcheck.core.encryption import Encryption
from claimcheck.doctor.embedded import check_folder
from claimcheck.doctor.findings import (
    Finding,
    carry_out,
    failure,
    passed,
    unanswered,
    warning,
)
from claimcheck.errors import EncryptionError
from claimcheck.settings import ClaimCheckSettings
from claimcheck.stores.base import ClaimStore
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.dynamodb_bucket import DynamoDBBucketClaimStore
from claimcheck.stores.findings import Finding as StoreFinding
from claimcheck.stores.findings import Resource, denied_action
from claimcheck.stores.letsgo import LetsGoClaimStore
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.stores.resources import resources_of
from claimcheck.stores.sqlite import SqliteClaimStore
from letsgo_queue.settings import is_sqs, split_url
from letsgo_queue.sqlite import path_in

_CREATE = "claimcheck store create"


def check_store(store: ClaimStore, queue: str, settings: ClaimCheckSettings) -> Iterator[Finding]:
    """Compare a store with what claims need, and change nothing.

    Args:
        store: The store.
        queue: The queue's URL.
        settings: The settings that name the store.
    """
    resources = resources_of(store)
    made_by_us = not isinstance(store, LetsGoClaimStore)
    for resource in resources:
        check = partial(_check_resource, resource, made_by_us=made_by_us)
        yield from carry_out("store", check, service="")
    if resources:
        return
    if isinstance(store, MemoryClaimStore) and split_url(queue).scheme != "memory":
        of_all = settings.store_for(queue).strip() == store.url
        yield failure(
            "store",
            f"{store.url} is in the memory of each process: no other opens what it stores",
            command=f"unset {'CLAIMCHECK_STORE' if of_all else 'CLAIMCHECK_STORES'}",
        )
        return
    if isinstance(store, SqliteClaimStore) and path_in(queue) != (
        path := store.url.removeprefix("sqlite:///")
    ):
        no_folder = check_folder("store", Path(path))
        if no_folder is not None:
            yield no_folder
            return
    if isinstance(store, SqliteClaimStore) and is_sqs(queue):
        yield warning(
            "store",
            f"{store.url} is a file of this machine: a worker on another cannot open what is "
            "stored here",
            advice="set CLAIMCHECK_STORE to a store that sender and worker share, such as "
            "dynamodb://letsgo-claims, unless all of them run on this machine",
        )
        return
    yield passed("store", store.url)


def _check_resource(resource: Resource, *, made_by_us: bool) -> Iterator[Finding]:
    for each in resource.check():
        yield _of_store(each, made_by_us=made_by_us)


def _of_store(found: StoreFinding, *, made_by_us: bool) -> Finding:
    """Turn a finding of `claimcheck store check` into a finding of the doctor."""
    name = f"store.{found.subject.lower().replace(' ', '-')}"
    if found.ok:
        return passed(name, found.detail)
    report = failure if found.known else warning
    alone = _CREATE in found.remedy and "`aws " not in found.remedy  # that command has to run first
    mends = made_by_us and (found.change is not None or alone)
    return report(
        name, found.detail, advice=found.remedy, command=f"{_CREATE} --yes" if mends else ""
    )


def check_store_region(store: ClaimStore, region: str) -> Iterator[Finding]:
    """Check that a table is in the queue's region: elsewhere each claim costs transfer and time.

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
    """Check that the keys can be used: make one data key, and unwrap it again."""
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
