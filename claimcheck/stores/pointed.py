"""Objects that AWS's extended clients put into buckets, and that their pointers name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claimcheck.stores.clock import ServerClock
from claimcheck.stores.s3_objects import S3Objects
from letsgo_queue.aws_pointers import AwsPointer
from letsgo_queue.forking import PerProcess

if TYPE_CHECKING:
    import boto3.session


class PointedBucket:
    """A bucket of such objects. A forked process has a client of its own."""

    def __init__(
        self,
        bucket: str,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        session: boto3.session.Session | None = None,
    ) -> None:
        """Name a bucket; nothing is asked of it yet.

        Args:
            bucket: Its name.
            region: Its region; None for that of the session.
            endpoint_url: Another server than AWS's own.
            session: Whose credentials requests have; None for those of the environment.
        """
        self._objects = PerProcess(
            lambda: S3Objects(
                bucket,
                store=f"s3://{bucket}",
                region=region,
                endpoint_url=endpoint_url,
                session=session,
                clock=ServerClock(f"bucket {bucket}"),
            )
        )

    def read(self, pointer: AwsPointer, *, most: int) -> bytes | None:
        """The body that a pointer names; None if it is not there.

        Raises:
            ClaimCorrupted: It has more than `most` bytes.
            ClaimStoreError: S3 refused, or did not answer.
        """
        found = self._objects.get().get(pointer.key, most=most, failed=_failed(pointer, "read"))
        return None if found is None else found.data

    def write(self, pointer: AwsPointer, body: bytes) -> None:
        """Write a body.

        Raises:
            ClaimStoreError: S3 refused, or did not answer.
        """
        self._objects.get().put(pointer.key, [body], failed=_failed(pointer, "written"))

    def remove(self, pointer: AwsPointer) -> None:
        """Remove a body. It is no error if it is gone already.

        Raises:
            ClaimStoreError: S3 refused, or did not answer.
        """
        self._objects.get().delete(pointer.key, failed=_failed(pointer, "removed"))

    def close(self) -> None:
        """Close all connections."""
        if objects := self._objects.take():
            objects.close()


def _failed(pointer: AwsPointer, what: str) -> str:
    return f"{pointer.key} was not {what}"
