"""Makes the IAM policy that a role needs for one queue and its stores.

It asks AWS nothing: region, account and names come from URLs. An account that no URL names is `*`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import parse_qsl

from pydantic import SecretStr

from claimcheck.errors import SettingsInvalid
from claimcheck.rights import RIGHTS, Kind, Role
from claimcheck.settings import ClaimCheckSettings
from claimcheck.stores import open_store
from claimcheck.stores.base import ClaimStore
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.dynamodb_bucket import DynamoDBBucketClaimStore
from claimcheck.stores.layout import LETSGO
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.stores.s3 import S3ClaimStore
from claimcheck.stores.s3_contents import S3Contents
from claimcheck.stores.sqlite import SqliteClaimStore
from letsgo_queue.admin.sqs_create import DEAD_LETTERS_SUFFIX, FIFO_SUFFIX
from letsgo_queue.aws_hosts import partition_of
from letsgo_queue.deployment import DEFAULT_REGION
from letsgo_queue.settings import QueueSettings, is_sqs, region_in, split_url

Statement: TypeAlias = Mapping[str, object]
Condition: TypeAlias = Mapping[str, Mapping[str, str | Sequence[str]]]

_ACCOUNT = re.compile(r"\d{12}", re.ASCII)
_ANY = "*"


@dataclass(frozen=True, slots=True)
class Thing:
    """A resource on AWS that a policy is for.

    Attributes:
        kind: Its kind.
        arn: Its ARN, or a pattern of ARNs.
        condition: The condition that a request for it must fulfil.
    """

    kind: Kind
    arn: str
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """The region and account of the queue, also for stores and keys that name none."""

    region: str
    account: str

    def arn(self, service: str, name: str, region: str | None = None) -> str:
        region = region or self.region
        return f"arn:{partition_of(region)}:{service}:{region}:{self.account}:{name}"


def policy_statements(
    role: Role,
    *,
    stores: Sequence[str] = (),
    queue: str | None = None,
    dead_letter_queue: str | None = None,
    kms_keys: Sequence[str] = (),
    function: str | None = None,
    settings: ClaimCheckSettings | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Sequence[Statement]:
    """Return the statements of a role's policy; none if there is nothing to grant.

    Args:
        role: The role whose policy to make.
        stores: URLs of the stores; empty for those that the settings name.
        queue: The queue's URL; None for the queue that the settings name.
        dead_letter_queue: The URL of its dead-letter queue; None for the name that `letsgo-queue
            queue create` gives it.
        kms_keys: Keys of KMS, of which the first encrypts; empty for those that the settings name.
        function: The Lambda function that an operator has the doctor examine.
        settings: The claim check's settings; None for those of the environment.
        tell: Called with a text about each queue or store that needs no grant, or has none here.

    Raises:
        SettingsInvalid: A URL names no queue or store, or no queue is named.
    """
    settings = settings or ClaimCheckSettings.from_environment()
    queues = QueueSettings.from_environment()
    queue = (queue or queues.url or "").strip()
    if not queue:
        raise SettingsInvalid(
            "no queue is named: give --queue URL, or set LETSGO_QUEUE_URL. A role that finds the "
            "queue of a LetsGo deployment by itself needs sqs:ListQueues on *, and "
            "sqs:ListQueueTags on LetsGo's queues, as well."
        )
    region = region_in(queue) or queues.region
    account = split_url(queue).path.strip("/").split("/")[0]
    place = _Place(region or DEFAULT_REGION, account if _ACCOUNT.fullmatch(account) else _ANY)
    things = [*_things_of_queue(queue, dead_letter_queue, place, tell)]
    for url in stores or _stores_of(settings, queue, role):
        things += _things_of_store(open_store(url, region=region), role, place, tell)
    things += _things_of_pointers(settings, role, place)
    keys = [f"kms://{key}" for key in kms_keys] or _entries(settings.encryption)
    for key in keys[:1] if role is Role.SENDER else keys:  # the first encrypts, all decrypt
        if key.startswith("kms://"):
            things.append(_key(key.removeprefix("kms://"), place))
    if function is not None:
        things += _things_of_function(function, place)
    return _statements(role, things)


def _things_of_queue(
    url: str, dead_letter_url: str | None, place: _Place, tell: Callable[[str], object]
) -> Iterator[Thing]:
    if not is_sqs(url):
        tell(_nothing_to_grant(url))
        return
    name = url.rstrip("/").rpartition("/")[2]
    stem = name.removesuffix(FIFO_SUFFIX)
    dead = stem + DEAD_LETTERS_SUFFIX + name[len(stem) :]
    if dead_letter_url is not None:
        dead = dead_letter_url.rstrip("/").rpartition("/")[2]
    yield Thing(Kind.QUEUE, place.arn("sqs", name))
    yield Thing(Kind.DEAD_LETTER_QUEUE, place.arn("sqs", dead))
    yield Thing(Kind.METRICS, _ANY)  # IAM knows no narrower resource for them
    for each in (name, dead):
        yield Thing(Kind.NEW_QUEUE, place.arn("sqs", each))


def _things_of_function(name: str, place: _Place) -> Iterator[Thing]:
    yield Thing(Kind.FUNCTION, place.arn("lambda", f"function:{name}"))
    yield Thing(Kind.MAPPINGS, _ANY)  # IAM knows no narrower resource for the list
    partition = partition_of(place.region)
    yield Thing(Kind.POLICIES, f"arn:{partition}:iam::{place.account}:role/*")


def _stores_of(settings: ClaimCheckSettings, queue: str, role: Role) -> Sequence[str]:
    """The stores in the settings that a role uses; a sender of pointers uses none."""
    if role is Role.SENDER and settings.write == "aws-pointer":
        return ()
    read = () if role is Role.SENDER else settings.read_stores
    return list(dict.fromkeys([*settings.stores_for(queue), *read]))


def _things_of_store(
    store: ClaimStore, role: Role, place: _Place, tell: Callable[[str], object]
) -> Iterator[Thing]:
    match store:
        case DynamoDBClaimStore():
            yield from _table(store, place)
        case DynamoDBBucketClaimStore():
            if role is not Role.SENDER:  # it writes only contents, and writes them to the bucket
                yield from _table(store.table, place)
            yield from _bucket(store.contents, place)
        case S3ClaimStore():
            yield from _bucket(store.contents, place)
        case SqliteClaimStore() | MemoryClaimStore():
            tell(_nothing_to_grant(store.url))
        case _:
            tell(f"{store.url}: its package says which rights it needs")


def _table(store: DynamoDBClaimStore, place: _Place) -> Iterator[Thing]:
    arn = place.arn("dynamodb", f"table/{store.table}", store.region)
    if store.layout is not LETSGO:
        yield Thing(Kind.ITEMS, arn)
        yield Thing(Kind.TABLE, arn)
        yield Thing(Kind.NEW_TABLE, arn)
        return
    # LetsGo's own items are none of our business.
    ours = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [f"{store.layout.prefix}*"]}}
    yield Thing(Kind.ITEMS, arn, ours)
    yield Thing(Kind.TABLE, arn)


def _bucket(contents: S3Contents, place: _Place) -> Iterator[Thing]:
    partition = partition_of(contents.region or place.region)
    arn = f"arn:{partition}:s3:::{contents.bucket}"
    yield Thing(Kind.OBJECTS, f"{arn}/{contents.prefix}*")
    yield Thing(Kind.BUCKET, arn)
    yield Thing(Kind.NEW_BUCKET, arn)


def _things_of_pointers(settings: ClaimCheckSettings, role: Role, place: _Place) -> Iterator[Thing]:
    """The buckets of AWS's pointers: senders write to the first, workers read all."""
    partition = partition_of(place.region)
    buckets = [f"arn:{partition}:s3:::{name}" for name in settings.aws_pointers]
    if role is Role.SENDER:
        if settings.write == "aws-pointer":
            yield from (Thing(Kind.POINTERS, f"{bucket}/*") for bucket in buckets[:1])
    elif role is Role.WORKER:
        for bucket in buckets:
            yield Thing(Kind.POINTERS, f"{bucket}/*")
            yield Thing(Kind.BUCKET, bucket)
            if settings.aws_pointers_remove:
                yield Thing(Kind.HANDLED_POINTERS, f"{bucket}/*")


def _entries(encryption: SecretStr | None) -> Sequence[str]:
    if encryption is None:
        return []
    return [entry.strip() for entry in encryption.get_secret_value().split(",")]


def _key(text: str, place: _Place) -> Thing:
    from claimcheck.core.kms import CONTEXT

    name, _, query = text.partition("?")
    region = dict(parse_qsl(query)).get("region")
    arn = name
    if not name.startswith("arn:"):
        arn = place.arn("kms", name if name.startswith("alias/") else f"key/{name}", region)
    condition: dict[str, Mapping[str, str | Sequence[str]]] = {
        "StringEquals": {f"kms:EncryptionContext:{key}": value for key, value in CONTEXT.items()}
    }
    before, is_alias, alias = arn.partition(":alias/")
    if is_alias:  # IAM takes no alias in place of a key, but a condition on the key's aliases
        arn = f"{before}:key/*"
        condition["ForAnyValue:StringEquals"] = {"kms:ResourceAliases": f"alias/{alias}"}
    return Thing(Kind.KEY, arn, condition)


def _statements(role: Role, things: Sequence[Thing]) -> list[Statement]:
    """Make one statement for all things of a kind that have the same condition."""
    arns: dict[tuple[Kind, str], list[str]] = {}
    for thing in things:
        if thing.kind in RIGHTS[role]:
            arns.setdefault((thing.kind, json.dumps(thing.condition)), []).append(thing.arn)
    kinds = [kind for kind, _ in arns]
    return [
        {
            # Names must differ.
            "Sid": kind if kinds.count(kind) == 1 else f"{kind}{number}",
            "Effect": "Allow",
            "Action": RIGHTS[role][kind],
            "Resource": list(dict.fromkeys(resources)),
        }
        | ({} if condition == "null" else {"Condition": json.loads(condition)})
        for number, ((kind, condition), resources) in enumerate(arns.items(), 1)
    ]


def _nothing_to_grant(url: str) -> str:
    return f"{url}: there is nothing to grant, it is not on AWS"
