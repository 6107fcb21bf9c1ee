"""Claims in an S3 bucket: contents and records are objects.

A record is a small object, `<prefix>records/<key>`. It changes by conditional writes only: S3
writes a new one only if there is none, and another state only in place of the very bytes that were
read: see `SwappingRecords`.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html has the conditions.

Records expire by the bucket's lifecycle rule, as contents do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from claimcheck.stores.base import ClaimFacts, Lease, Record, store_label
from claimcheck.stores.s3_contents import DEFAULT_PARALLELISM, S3Contents, S3Reading
from claimcheck.stores.s3_inventory import S3Inventory
from claimcheck.stores.swapping import LARGEST_RECORD, Found, SwappingRecords

if TYPE_CHECKING:
    import boto3.session

_RECORDS = "records/"


class S3ClaimStore(SwappingRecords):
    """A claim store in an S3 bucket, which is opened when it is first used.

    Attributes:
        url: Names the store, as the settings do.
        contents: Where the contents are.
    """

    part_bytes = None

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        region: str | None = None,
        endpoint_url: str | None = None,
        session: boto3.session.Session | None = None,
        parallelism: int = DEFAULT_PARALLELISM,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Name the bucket; nothing is loaded, opened or asked yet.

        Args:
            bucket: The bucket's name.
            prefix: The beginning of its objects' keys, like a folder's name.
            region: As for `S3Contents`; so are the other arguments.
            endpoint_url: Another server than AWS's own.
            session: Whose credentials and settings requests have.
            parallelism: Threads for pieces of large contents.
            clock: Seconds since 1970, instead of what the `Date` of S3's answers says.
        """
        self._place = "/".join(filter(None, (bucket, prefix.strip("/"))))
        self.url = f"s3://{self._place}"
        self.contents = S3Contents(
            bucket,
            prefix=prefix,
            store=self.url,
            region=region,
            endpoint_url=endpoint_url,
            session=session,
            parallelism=parallelism,
        )
        self._clock = clock

    @property
    def label(self) -> str:
        """Names bucket and prefix as tickets do: `s3:eu-west-1:my-claims`."""
        return store_label(f"s3:{self.contents.resolved_region}", self._place)

    @property
    def records_at(self) -> object:
        """See `ClaimStore`: sessions may be of different accounts."""
        return self._place, self.contents.endpoint_url, self.contents.session

    @property
    def missing_advice(self) -> str:
        """See `ClaimStore`."""
        return (
            "Check that account and region are the sender's too, that no lifecycle rule of the "
            "bucket removes objects sooner than `claimcheck store create` has it, and that nobody "
            "removed objects."
        )

    def close(self) -> None:
        """Finish removals, close connections and end threads; see `ClaimStore.close`."""
        self.contents.close()

    def inventory(self) -> S3Inventory:
        """What is in the bucket; see `Inventory`."""
        return S3Inventory(self.contents, self._record_keys, self.get_record)

    def _record_keys(self, claim_id: str) -> Iterator[str]:
        """The keys of all records of a claim."""
        folder = self._key("")
        failed = f"the records of claim {claim_id} were not looked up"
        for page in self.contents.objects.pages(self._key(f"{claim_id}@"), failed=failed):
            yield from (unquote(each.key.removeprefix(folder)) for each in page)

    # Contents

    def write(self, facts: ClaimFacts, parts: Sequence[bytes | memoryview]) -> None:
        """Write one object; see `ContentsStore.write`."""
        self.contents.write(facts, parts)

    def read(
        self, claim_id: str, parts: int, *, stored: int, consistent: bool = False
    ) -> S3Reading:
        """Begin to read contents; see `ContentsStore.read`."""
        return self.contents.read(claim_id, parts, stored=stored, consistent=consistent)

    def remove(
        self,
        claim_id: str,
        parts: int,
        *,
        later: bool = False,
        expiring_by: int | None = None,
    ) -> None:
        """Remove the object; see `ContentsStore.remove`."""
        self.contents.remove(claim_id, parts, later=later, expiring_by=expiring_by)

    def renew(self, claim_id: str, parts: int, *, expires_at: int) -> None:
        """Do nothing; see `S3Contents.renew`."""
        self.contents.renew(claim_id, parts, expires_at=expires_at)

    # Records

    def now(self) -> float:
        """Seconds since 1970, by S3's clock; see `RecordStore.now`."""
        return self._clock() if self._clock else self.contents.clock.now()

    def acquire(self, key: str, lease: Lease, *, take_over: bool = False) -> Record | None:
        """Make a record ours; see `RecordStore.acquire`."""
        self._learn_the_time(key, f"record {key} was not acquired")
        return super().acquire(key, lease, take_over=take_over)

    def extend(self, key: str, lease: Lease) -> bool:
        """Have our lease end later; see `RecordStore.extend`."""
        self._learn_the_time(key, f"record {key} was not extended")
        return super().extend(key, lease)

    def get_record(self, key: str, *, failed: str) -> Found | None:
        """Read its object; see `SwappingRecords.get_record`."""
        found = self.contents.objects.get(self._key(key), most=LARGEST_RECORD, failed=failed)
        return None if found is None else Found(found.data, found.etag)

    def put_record(
        self, key: str, data: bytes, *, found: Found | None, expires_at: float, failed: str
    ) -> bool:
        """Write its object on a condition; see `SwappingRecords.put_record`."""
        return self.contents.objects.put(
            self._key(key),
            [data],
            absent=found is None,
            etag=str(found.version) if found else None,
            failed=failed,
        )

    def delete_record(self, key: str, *, found: Found, failed: str) -> bool:
        """Remove its object on a condition; see `SwappingRecords.delete_record`."""
        return self.contents.objects.delete(self._key(key), etag=str(found.version), failed=failed)

    def _key(self, key: str) -> str:
        return f"{self.contents.prefix}{_RECORDS}{quote(key, safe='@')}"

    def _learn_the_time(self, key: str, failed: str) -> None:
        """Read the record while S3's time is unknown: the answer has the time.

        Twice at most: the first answer may be slow, and then tells the time only roughly.
        """
        for _ in range(2):
            if self._clock is not None or self.contents.clock.known:
                return
            self.contents.objects.get(self._key(key), most=LARGEST_RECORD, failed=failed)
