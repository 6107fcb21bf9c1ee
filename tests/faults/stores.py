"""The claim stores on AWS: made for a test, opened, and looked into as an administrator does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, get_args
from urllib.parse import parse_qs, urlsplit

from claimcheck import ClaimStore
from claimcheck.core.cost import Place
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.dynamodb_bucket import DynamoDBBucketClaimStore
from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.s3 import S3ClaimStore
from claimcheck.stores.s3_bucket import ClaimBucket
from tests.support.servers import AwsServer

if TYPE_CHECKING:
    import boto3.session
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import LifecycleRuleOutputTypeDef

PLACES: tuple[Place, ...] = get_args(Place)

PLACE_NAMES: Mapping[Place, str] = {
    "dynamodb": "DynamoDB",
    "bucket": "DynamoDB and S3",
    "s3": "S3",
}

Clock: TypeAlias = Callable[[], float]

DAY = 24 * 3600
LATEST_EXPIRY = 31 * DAY
"""In a table records are kept 30 days, contents 15."""

LATEST_EXPIRY_IN_BUCKET = 44 * DAY
"""A bucket keeps all of it 43 days."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What is in a store, by kind.

    Attributes:
        parts: Parts of contents. In a bucket contents are one object.
        receipts: Records of messages that were handled.
        records: Records of messages that were not.
        for_good: How many of these would never expire, or too late.
    """

    parts: int = 0
    receipts: int = 0
    records: int = 0
    for_good: int = 0

    @classmethod
    def count(
        cls, rows: Iterable[tuple[str | None, float | None]], *, within: float = LATEST_EXPIRY
    ) -> Rows:
        """Count rows, each given by the state of a record (None for a part) and its expiry."""
        found = list(rows)
        states = [state for state, _ in found]
        latest = time.time() + within
        return cls(
            parts=states.count(None),
            receipts=states.count("done"),
            records=len(states) - states.count(None) - states.count("done"),
            for_good=sum(expires is None or expires > latest for _, expires in found),
        )

    def __add__(self, other: Rows) -> Rows:
        """Those of two places."""
        return Rows(
            parts=self.parts + other.parts,
            receipts=self.receipts + other.receipts,
            records=self.records + other.records,
            for_good=self.for_good + other.for_good,
        )


def make_store(server: AwsServer, place: Place) -> str:
    """Make what a store needs, as `claimcheck store create` does, and return the store's URL."""
    region, endpoint_url, session = server.region, server.endpoint_url, server.session
    bucket = "" if place == "dynamodb" else server.make_bucket_name()
    if bucket:
        ClaimBucket(bucket, region=region, endpoint_url=endpoint_url, session=session).create()
    if place == "s3":
        return f"s3://{bucket}"
    table = server.make_table_name()
    ClaimTable(table, region=region, endpoint_url=endpoint_url, session=session).create()
    return f"dynamodb://{table}" + (f"?bucket={bucket}" if bucket else "")


def open_place(
    url: str,
    *,
    region: str | None,
    endpoint_url: str | None = None,
    session: boto3.session.Session | None = None,
    clock: Clock | None = None,
) -> ClaimStore:
    """Open a store, with a clock of the test's own where there is one."""
    table, bucket = names_in(url)
    opened: Callable[..., ClaimStore]
    if table and bucket:
        opened = partial(DynamoDBBucketClaimStore, table, bucket)
    elif table:
        opened = partial(DynamoDBClaimStore, table)
    else:
        opened = partial(S3ClaimStore, bucket)
    return opened(region=region, endpoint_url=endpoint_url, session=session, clock=clock)


def rows_in(server: AwsServer, url: str) -> Rows:
    """What is in a store."""
    table, bucket = names_in(url)
    rows = Rows()
    if table:
        rows += Rows.count(_rows_of_table(server.lasting("dynamodb"), table))
    if bucket:
        found = _rows_of_bucket(server.lasting("s3"), bucket)
        rows += Rows.count(found, within=LATEST_EXPIRY_IN_BUCKET)
    return rows


def names_in(url: str) -> tuple[str, str]:
    """The table and the bucket of a store; empty where it has none."""
    parts = urlsplit(url)
    if parts.scheme == "s3":
        return "", parts.netloc
    return parts.netloc, parse_qs(parts.query).get("bucket", [""])[0]


def _rows_of_table(client: DynamoDBClient, table: str) -> Iterator[tuple[str | None, float | None]]:
    pages = client.get_paginator("scan").paginate(
        TableName=table,
        ConsistentRead=True,
        ProjectionExpression="#state, expires_at",
        ExpressionAttributeNames={"#state": "state"},
    )
    for page in pages:
        for item in page["Items"]:
            yield (
                item["state"]["S"] if "state" in item else None,
                float(item["expires_at"]["N"]) if "expires_at" in item else None,
            )


def _rows_of_bucket(client: S3Client, bucket: str) -> Iterator[tuple[str | None, float | None]]:
    """Its objects, and the uploads that nobody ended; each expires by a rule of the bucket."""
    rules = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for each in page.get("Contents", []):
            state = None
            if each["Key"].startswith("records/"):
                with client.get_object(Bucket=bucket, Key=each["Key"])["Body"] as body:
                    state = json.loads(body.read())["state"]
            days = _days(rules, each["Key"], lambda rule: rule.get("Expiration", {}).get("Days"))
            yield state, None if days is None else each["LastModified"].timestamp() + days * DAY
    for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        days = _days(
            rules,
            upload["Key"],
            lambda rule: rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation"),
        )
        yield None, None if days is None else time.time() + days * DAY


def _days(
    rules: Iterable[LifecycleRuleOutputTypeDef],
    key: str,
    days_of: Callable[[LifecycleRuleOutputTypeDef], int | None],
) -> int | None:
    """After how many days the first rule removes an object; None for never."""
    found = [
        days
        for rule in rules
        if rule["Status"] == "Enabled" and key.startswith(rule.get("Filter", {}).get("Prefix", ""))
        if (days := days_of(rule)) is not None
    ]
    return min(found, default=None)
