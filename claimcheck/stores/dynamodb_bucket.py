"""Claims whose bytes are in S3, and whose records are in a DynamoDB table.

A sender needs no right on the table. A reader also finds contents that were sent before the table
had a bucket, or after it lost it. Contents in several parts can only be in the table. Contents in
one part are looked for in the bucket first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from claimcheck.stores.base import (
    ClaimFacts,
    Contents,
    ContentsStore,
    Reading,
    store_label,
)
from claimcheck.stores.dynamodb import DynamoDBClaimStore
from claimcheck.stores.forwarded import ForwardedRecords
from claimcheck.stores.s3_contents import S3Contents
from claimcheck.stores.s3_inventory import BucketInventory

if TYPE_CHECKING:
    import boto3.session


class DynamoDBBucketClaimStore(ForwardedRecords):
    """A claim store in an S3 bucket and a DynamoDB table; each is opened when it is first used.

    Attributes:
        url: Names the store, as the settings do.
        contents: Where contents are written.
        table: Where the records are, and contents that were sent without a bucket.
    """

    part_bytes = None

    def __init__(
        self,
        table: str,
        bucket: str,
        *,
        prefix: str = "",
        region: str | None = None,
        endpoint_url: str | None = None,
        session: boto3.session.Session | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Name table and bucket; nothing is loaded, opened or asked yet.

        Args:
            table: The table's name.
            bucket: The bucket's name.
            prefix: The beginning of its objects' keys, like a folder's name.
            region: The region of both; by default that of `session`, `AWS_REGION`, or what AWS's
                own settings say.
            endpoint_url: Another server than AWS's own, for both.
            session: Whose credentials and settings requests have, in a forked process too.
            clock: Seconds since 1970, instead of what the `Date` of DynamoDB's answers says.
        """
        self.url = f"dynamodb://{table}?bucket={bucket}" + (f"&prefix={prefix}" if prefix else "")
        self.table = DynamoDBClaimStore(
            table, region=region, endpoint_url=endpoint_url, session=session, clock=clock
        )
        super().__init__(self.table)
        self.contents = S3Contents(
            bucket,
            prefix=prefix,
            store=self.url,
            table=table,
            region=region,
            endpoint_url=endpoint_url,
            session=session,
        )

    @property
    def label(self) -> str:
        """Names the table as tickets do: with and without a bucket, the records are there."""
        # By S3's client: a sender does without DynamoDB's.
        return store_label(f"dynamodb:{self.contents.resolved_region}", self.table.table)

    @property
    def records_at(self) -> object:
        """See `ClaimStore`."""
        return self.table.records_at

    @property
    def missing_advice(self) -> str:
        """See `ClaimStore`."""
        return (
            f"{self.table.table_advice} Check that the sender's bucket is {self.contents.bucket} "
            f"too, with the prefix {self.contents.prefix!r}, and that no lifecycle rule removes "
            "objects sooner than `claimcheck store create` has it."
        )

    def close(self) -> None:
        """Finish removals, close connections and end threads; see `ClaimStore.close`."""
        self.contents.close()
        self.table.close()

    def inventory(self) -> BucketInventory:
        """Lists the bucket and the table; see `Inventory`."""
        return BucketInventory(self.contents, self.table.inventory())

    def write(self, facts: ClaimFacts, parts: Sequence[bytes | memoryview]) -> None:
        """Write one object; see `ContentsStore.write`."""
        self.contents.write(facts, parts)

    def read(self, claim_id: str, parts: int, *, stored: int, consistent: bool = False) -> Reading:
        """Begin to read contents, in the bucket or the table; see `ContentsStore.read`."""
        read_table = partial(self.table.read, claim_id, parts, stored=stored, consistent=consistent)
        if parts > 1:
            return _FromTable(read_table(), self.table)
        bucket = self.contents.read(claim_id, parts, stored=stored)
        return _FromBucket(bucket, lambda: _FromTable(read_table(), self.table))

    def remove(
        self,
        claim_id: str,
        parts: int,
        *,
        later: bool = False,
        expiring_by: int | None = None,
    ) -> None:
        """Remove the object. Contents in the table are removed through `Contents.store`."""
        self.contents.remove(claim_id, parts, later=later, expiring_by=expiring_by)

    def renew(self, claim_id: str, parts: int, *, expires_at: int) -> None:
        """Do nothing; see `S3Contents.renew`."""
        self.contents.renew(claim_id, parts, expires_at=expires_at)


class _FromTable:
    """Contents that are read from the table; see `Reading`."""

    def __init__(self, reading: Reading, table: ContentsStore) -> None:
        self._reading = reading
        self._table = table

    def result(self) -> Contents | None:
        """Wait for them, and name the table, for those who remove them."""
        found = self._reading.result()
        return None if found is None else replace(found, store=self._table)

    def cancel(self) -> None:
        """Read nothing that is not under way yet."""
        self._reading.cancel()


class _FromBucket:
    """Contents that are read from the bucket, else from the table; see `Reading`."""

    def __init__(self, reading: Reading, elsewhere: Callable[[], Reading]) -> None:
        self._reading = reading
        self._elsewhere = elsewhere

    def result(self) -> Contents | None:
        """Wait for them."""
        found = self._reading.result()
        if found is not None:
            return found
        self._reading = self._elsewhere()
        return self._reading.result()

    def cancel(self) -> None:
        """Read nothing that is not under way yet."""
        self._reading.cancel()
