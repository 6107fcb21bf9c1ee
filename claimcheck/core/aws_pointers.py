"""Opens messages of AWS's extended clients, with a lease and a receipt as for our own messages.

Such a client sends a pointer. Anybody who writes to the queue can write a pointer, so only pointers
to named buckets are opened. A pointer has no claim id. The key of its record is a hash of bucket,
object key and message id, with the queue's name, since SNS may bring one pointer to several queues.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from claimcheck.core.holds import Hold
from claimcheck.errors import (
    ClaimCorrupted,
    ClaimMissing,
    ClaimStoreError,
    SettingsInvalid,
    TicketInvalid,
)
from claimcheck.stores.base import ClaimStore, Lease
from letsgo_queue.aws_pointers import AwsPointer, read_aws_pointer
from letsgo_queue.errors import MessageInvalid
from letsgo_queue.forking import Lock
from letsgo_queue.log import get_logger

if TYPE_CHECKING:
    import boto3.session

    from claimcheck.stores.pointed import PointedBucket

logger = get_logger(__name__)


class AwsPointers:
    """Opens pointers to the named buckets. Safe to share between threads."""

    def __init__(
        self,
        buckets: Iterable[str],
        *,
        remove: bool = False,
        region: str | None = None,
        endpoint_url: str | None = None,
        session: boto3.session.Session | None = None,
    ) -> None:
        """Name the buckets, without asking S3 yet.

        Args:
            buckets: Pointers to these are opened; others are refused.
            remove: Whether an object is removed when its message was handled. Do not set it if
                several queues get the pointer: the first would remove the object of the others.
            region: The region of the buckets; None for that of the session.
            endpoint_url: Another server than AWS's own.
            session: The boto3 session; None for one from the environment.

        Raises:
            SettingsInvalid: No bucket is named.
        """
        names = [buckets] if isinstance(buckets, str) else list(buckets)
        if not names or not all(names):
            raise SettingsInvalid(
                "CLAIMCHECK_AWS_POINTERS (aws_pointers): name the buckets whose pointers are to be "
                "opened, separated by commas."
            )
        self.remove = remove
        self._first = names[0]
        self._region = region
        self._endpoint_url = endpoint_url
        self._session = session
        self._making = Lock()
        self._buckets: dict[str, PointedBucket | None] = dict.fromkeys(names)

    def read(self, body: str, *, what: str) -> AwsPointer | None:
        """Read the pointer in a body; None if it is not a pointer.

        Raises:
            TicketInvalid: It is malformed, or names another bucket.
        """
        try:
            pointer = read_aws_pointer(body)
        except MessageInvalid as error:
            raise TicketInvalid(f"{what}: {error}.") from None
        if pointer is not None:
            self.check(pointer, what=what)
        return pointer

    def check(self, pointer: AwsPointer, *, what: str) -> None:
        """Refuse a pointer to another bucket.

        Raises:
            TicketInvalid: It names another bucket.
        """
        if pointer.bucket not in self._buckets:
            raise TicketInvalid(
                f"{what}: its pointer names the bucket {pointer.bucket[:63]!r}, which is none of "
                "those whose pointers are opened. Where it is one of yours, add it to "
                "CLAIMCHECK_AWS_POINTERS."
            )

    def text_of(self, pointer: AwsPointer, *, most: int, what: str) -> str:
        """Return the body that a pointer names.

        Raises:
            ClaimMissing: It is not there.
            ClaimCorrupted: It is not text, or has more than `most` bytes.
            ClaimStoreError: S3 refused, or did not answer.
        """
        try:
            found = self._bucket(pointer.bucket).read(pointer, most=most)
        except ClaimCorrupted:
            raise ClaimCorrupted(
                f"{what}: the object of its pointer has more than {most:,} bytes (max_size)."
            ) from None
        if found is None:
            raise ClaimMissing(
                f"{what}: the object that its pointer names is not in the bucket {pointer.bucket}. "
                "Nobody can tell whether it was handled, so it is not acknowledged. Check whether "
                "a lifecycle rule, or another reader, has removed it."
            )
        try:
            return found.decode()
        except UnicodeDecodeError:
            raise ClaimCorrupted(f"{what}: the object of its pointer is not text.") from None

    def hold(
        self,
        store: ClaimStore,
        key: str,
        lease: Lease,
        pointer: AwsPointer,
        *,
        message_id: str | None,
    ) -> PointerHold:
        """Make the hold on a message whose record the lease holds.

        Raises:
            TicketInvalid: The record is another pointer's: the receipt handle was forged, say.
        """
        what = f"record {key}"
        self.check(pointer, what=what)
        if key.partition("@")[0] != pointer_name(pointer, message_id):
            raise TicketInvalid(f"{what} is not that of its pointer.")
        discard = self.discard if self.remove else None
        return PointerHold(store, key, lease, pointer, message_id, discard)

    def write(self, body: bytes) -> AwsPointer:
        """Write a body, for a pointer that is sent.

        Raises:
            ClaimStoreError: S3 refused, or did not answer.
        """
        pointer = AwsPointer(self._first, str(uuid.uuid4()))
        self._bucket(pointer.bucket).write(pointer, body)
        return pointer

    def discard(self, pointer: AwsPointer) -> None:
        """Remove the body that a pointer names.

        Raises:
            ClaimStoreError: S3 refused, or did not answer.
        """
        self._bucket(pointer.bucket).remove(pointer)

    def close(self) -> None:
        """Close all connections."""
        for bucket in self._buckets.values():
            if bucket is not None:
                bucket.close()

    def _bucket(self, name: str) -> PointedBucket:
        from claimcheck.stores.pointed import PointedBucket

        with self._making:
            if (bucket := self._buckets[name]) is None:
                bucket = self._buckets[name] = PointedBucket(
                    name,
                    region=self._region,
                    endpoint_url=self._endpoint_url,
                    session=self._session,
                )
            return bucket


@dataclass(slots=True)
class PointerHold(Hold):
    """The hold on a message whose body AWS's client put into S3.

    Attributes:
        pointer: The place of the body.
        message_id: The message's id.
        discard: Removes the body; None to leave it.
    """

    pointer: AwsPointer
    message_id: str | None
    discard: Callable[[AwsPointer], None] | None

    def complete(self) -> bool:
        """Leave the receipt, then remove the object if `discard` is set."""
        if not Hold.complete(self):
            return False
        if self.discard is not None:
            try:
                self.discard(self.pointer)
            except ClaimStoreError as error:
                logger.warning("object %s is left in its bucket: %s", self.pointer.key, error)
        return True


def pointer_name(pointer: AwsPointer, message_id: str | None) -> str:
    """Return the name that the record of a pointer has in place of a claim id.

    The message's id is part of it: AWS's client lets its caller choose the key, so two messages may
    name one object.
    """
    named = f"{pointer.bucket}/{pointer.key}\n{message_id or ''}"
    return f"aws-pointer-{hashlib.sha256(named.encode()).hexdigest()}"
