"""The resources of a store on AWS: its table, its bucket, or both."""

from __future__ import annotations

from collections.abc import Sequence

from claimcheck.stores.base import ClaimStore
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.dynamodb_bucket import DynamoDBBucketClaimStore
from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.findings import Resource
from claimcheck.stores.s3 import S3ClaimStore
from claimcheck.stores.s3_bucket import ClaimBucket
from claimcheck.stores.s3_contents import S3Contents


def resources_of(store: ClaimStore) -> Sequence[Resource]:
    """The resources to make before a store can be used; none if it is not on AWS.

    Raises:
        SettingsInvalid: The settings of AWS cannot be used.
        ClaimStoreUnavailable: Credentials could not be fetched.
    """
    match store:
        case DynamoDBClaimStore():
            return [_table(store)]
        case DynamoDBBucketClaimStore():
            return [_table(store.table), _bucket(store.contents)]
        case S3ClaimStore():
            return [_bucket(store.contents)]
        case _:
            return []


def _table(store: DynamoDBClaimStore) -> ClaimTable:
    return ClaimTable(
        store.table, region=store.region, endpoint_url=store.endpoint_url, layout=store.layout
    )


def _bucket(contents: S3Contents) -> ClaimBucket:
    return ClaimBucket(
        contents.bucket,
        prefix=contents.prefix,
        region=contents.region,
        endpoint_url=contents.endpoint_url,
    )
