"""The contents of claims in an S3 bucket: one object for each claim.

    <prefix>contents/<claim id>                      its records are in the bucket, under the prefix
    <prefix>dynamodb.<region>.<table>/<claim id>     its records are in that table

A bucket may serve several stores. By the folder a store finds only contents whose records it has
too: with other records it could not tell that a message was handled.

The metadata of an object describe it, for people who look into the bucket, without the payload. An
object is never renewed. The bucket's lifecycle rule removes it 43 days after it was written, when
no message can name it any more: 15 days for a delay and the queue together, 14 on the dead-letter
queue, and 14 after a redrive.

The bucket is made by `claimcheck store create`, never here.
"""

from __future__ import annotations

import os
import string
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote

from claimcheck.errors import ClaimBucketMissing, ClaimCorrupted, ClaimStoreError
from claimcheck.stores.base import ClaimFacts, Contents, check_part_count
from claimcheck.stores.calls import Calls
from claimcheck.stores.clock import ServerClock
from claimcheck.stores.inventory import StoredClaim, whole_or_none
from claimcheck.stores.removals import Removals
from letsgo_queue.calls import Call
from letsgo_queue.forking import PerProcess
from letsgo_queue.log import get_logger

if TYPE_CHECKING:
    import boto3.session

    from claimcheck.stores.s3_objects import S3Listed, S3Object, S3Objects

logger = get_logger(__name__)

CONTENTS_DAYS = 15 + 14 + 14
"""How long the lifecycle rule of a bucket keeps an object: no longer than a message can live."""

DEFAULT_PARALLELISM = 4
"""Threads of one store, to read and write pieces of large contents side by side."""

LARGEST_PUT = 32 * 1024 * 1024
"""Bytes up to which contents are written, and read, in one request. Pieces save no time below it,
as they need a request before them and one after. And each request is billed."""

PIECE_BYTES = 16 * 1024 * 1024
"""Bytes of each piece of larger contents. S3 takes 10,000 pieces of 5 MiB or more:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""

_LONGEST_TYPE = 1_000
"""Characters of a type that the metadata say. S3 takes 2 KB of metadata:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html"""


class _Get(Protocol):
    def __call__(
        self, *, most: int, span: slice | None = None, etag: str | None = None
    ) -> S3Object | None: ...


@dataclass(frozen=True, slots=True)
class _Resources:
    """The client and the threads of one process.

    Attributes:
        objects: The objects of the bucket.
        calls: The threads for calls to it.
        removals: Removes contents in the background.
    """

    objects: S3Objects
    calls: Calls
    removals: Removals


class S3Contents:
    """Keeps contents in a bucket, which is opened when it is first used.

    Attributes:
        bucket: The bucket's name.
        prefix: The beginning of every object's key; empty, or ends with a slash.
        region: The bucket's region; None where AWS's own settings decide.
        endpoint_url: Another server than AWS's own.
        session: The boto3 session for its requests; None for one of its own.
        clock: The time of S3.
    """

    part_bytes = None

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        store: str,
        table: str | None = None,
        region: str | None = None,
        endpoint_url: str | None = None,
        session: boto3.session.Session | None = None,
        parallelism: int = DEFAULT_PARALLELISM,
    ) -> None:
        """Name the bucket; nothing is loaded, opened or asked yet.

        Args:
            bucket: The bucket's name.
            prefix: The beginning of its objects' keys, like a folder's name.
            store: Names the store in errors.
            table: The DynamoDB table that has the records; None if the bucket has them.
            region: Its region; by default that of `session`, `AWS_REGION`, or what AWS's own
                settings say.
            endpoint_url: Another server than AWS's own.
            session: Whose credentials and settings requests have, in a forked process too.
            parallelism: Threads for pieces of large contents; each caller makes calls as well.
        """
        self.bucket = bucket
        folder = prefix.strip("/")
        self.prefix = f"{folder}/" if folder else ""
        self.endpoint_url = endpoint_url
        self.session = session
        of_session = session.region_name if session else None
        self.region = region or of_session or os.environ.get("AWS_REGION") or None
        self.clock = ServerClock(f"claim store {store}")
        self._store = store
        self._table = table
        self._parallelism = parallelism
        self._resources = PerProcess(self._open)

    @property
    def resolved_region(self) -> str:
        """The bucket's region, also where AWS's own settings decide."""
        return self.region or self.objects.region

    @property
    def objects(self) -> S3Objects:
        """The objects of the bucket."""
        return self._resources.get().objects

    def write(self, facts: ClaimFacts, parts: Sequence[bytes | memoryview]) -> None:
        """Write one object; see `ContentsStore.write`."""
        key, metadata = self._key(facts.id), _metadata(facts)
        failed = f"claim {facts.id} was not stored"
        try:
            if facts.stored <= LARGEST_PUT:
                self.objects.put(key, parts, metadata=metadata, failed=failed)
            else:
                self.objects.upload(
                    key,
                    [*_cut(parts, PIECE_BYTES)],
                    metadata=metadata,
                    make_all=self._resources.get().calls.make_all,
                    failed=failed,
                )
        except ClaimBucketMissing:  # nothing was written
            raise
        except ClaimStoreError:
            self._remove_quietly(facts.id)  # perhaps only the answer was lost
            raise

    def read(
        self, claim_id: str, parts: int, *, stored: int, consistent: bool = False
    ) -> S3Reading:
        """Begin to read contents; see `ContentsStore.read`. Every read of S3 is consistent."""
        resources, failed = self._resources.get(), f"claim {claim_id} was not read"
        get = partial(resources.objects.get, self._key(claim_id), failed=failed)
        return S3Reading(resources.calls, get, parts=parts, stored=stored)

    def remove(
        self,
        claim_id: str,
        parts: int,
        *,
        later: bool = False,
        expiring_by: int | None = None,
    ) -> None:
        """Remove the object; see `ContentsStore.remove`."""
        remove = partial(
            self.objects.delete,
            self._key(claim_id),
            failed=f"the contents of claim {claim_id} were not removed",
        )
        if later:
            self._resources.get().removals.add(claim_id, remove)
        else:
            remove()

    def renew(self, claim_id: str, parts: int, *, expires_at: int) -> None:
        """Do nothing: the lifecycle rule of the bucket lets contents outlive their message.

        Another expiry would cost a copy of the object.
        """

    def pages(self) -> Iterator[Sequence[StoredClaim]]:
        """All contents as a list of the bucket shows them: 1,000 at a time, by their ids."""
        folder = self._key("")
        for listed in self.objects.pages(folder, failed="its claims were not listed"):
            yield [self._stored(each, folder) for each in listed]

    def look(self, claim_id: str) -> StoredClaim | None:
        """Contents as their metadata describe them; None if they are gone."""
        failed = f"claim {claim_id} was not looked up"
        found = self.objects.look(self._key(claim_id), failed=failed)
        return None if found is None else self._stored(found, self._key(""))

    def _stored(self, found: S3Listed, folder: str) -> StoredClaim:
        metadata = found.metadata
        return StoredClaim(
            id=found.key.removeprefix(folder),
            type=unquote(metadata["type"]) if "type" in metadata else None,
            parts=1,
            size=whole_or_none(_number(metadata, "size")),
            stored=found.size,
            created_at=int(found.written_at),
            expires_at=whole_or_none(_number(metadata, "expires-at")),
            kept_in="s3",
            records=None,
        )

    def close(self) -> None:
        """Finish removals, close connections and end threads; see `ClaimStore.close`."""
        if resources := self._resources.made:
            resources.removals.close()
            resources.calls.close()  # a read that is under way may still ask for what is open
            resources.objects.close()
            self._resources.take()

    def _open(self) -> _Resources:
        # Loaded now: small messages need no store.
        from claimcheck.stores.s3_objects import S3Objects

        return _Resources(
            S3Objects(
                self.bucket,
                store=self._store,
                region=self.region,
                endpoint_url=self.endpoint_url,
                session=self.session,
                clock=self.clock,
            ),
            Calls(self._parallelism, name="claimcheck-s3"),
            Removals(),
        )

    def _key(self, claim_id: str) -> str:
        folder = "contents"
        if self._table is not None:
            folder = f"dynamodb.{self.resolved_region}.{quote(self._table, safe='')}"
        return f"{self.prefix}{folder}/{claim_id}"

    def _remove_quietly(self, claim_id: str) -> None:
        try:
            self.remove(claim_id, 1)
        except ClaimStoreError as error:
            logger.warning("what was written of claim %s is left to expire: %s", claim_id, error)


class S3Reading:
    """Contents that are being read; see `Reading`.

    A ticket may lie about their size. So the first piece of large contents is read alone, and the
    others side by side when its answer has confirmed the size.
    """

    def __init__(self, calls: Calls, get: _Get, *, parts: int, stored: int) -> None:
        """Begin to read.

        Args:
            calls: Threads to read with.
            get: Reads the object, or a piece of it.
            parts: How many parts the ticket names.
            stored: How many bytes it names.
        """
        self._calls = calls
        self._get = get
        self._parts = parts
        self._stored = stored
        self._lock = threading.Lock()
        self._cancelled = False
        self._others: list[Call[S3Object | None]] = []
        self._first = calls.start(self._get_first)

    def result(self) -> Contents | None:
        """Wait for the object; see `Reading.result`. Ask once."""
        try:
            first = self._first.result()
            if first is None:
                return None
            pieces = [first, *(call.result() for call in self._others)]
        except BaseException:
            self.cancel()
            raise
        check_part_count(1, named=self._parts)
        data: list[memoryview] = []
        for piece in pieces:
            if piece is None:  # somebody removed it meanwhile
                return None
            data += piece.pieces
        contents = Contents.read(data, expires_at=_number(first.metadata, "expires-at"))
        return contents if self._others else replace(contents, sha256=first.sha256)

    def cancel(self) -> None:
        """Read nothing that is not under way yet; see `Reading.cancel`."""
        with self._lock:
            self._cancelled = True
            for call in (self._first, *self._others):
                call.cancel()

    def _get_first(self) -> S3Object | None:
        stored = self._stored
        if stored <= LARGEST_PUT:
            first = self._get(most=stored)
        else:
            first = self._get(most=stored, span=slice(0, PIECE_BYTES))
        if first is None:
            return None
        if first.size != stored:
            raise ClaimCorrupted(
                f"it has {first.size:,} bytes in the store, and {stored:,} in its ticket"
            )
        with self._lock:
            if not self._cancelled:
                for start in range(sum(map(len, first.pieces)), stored, PIECE_BYTES):
                    span = slice(start, start + PIECE_BYTES)
                    get = partial(self._get, most=stored, span=span, etag=first.etag)
                    self._others.append(self._calls.start(get))
        return first


def _cut(pieces: Sequence[bytes | memoryview], size: int) -> Iterator[Sequence[bytes | memoryview]]:
    """The same bytes in lists of views, each of `size` bytes in all, but for the last."""
    views: list[bytes | memoryview] = []
    room = size
    for piece in pieces:
        view = memoryview(piece)
        while view:
            views.append(view[:room])
            room -= len(views[-1])
            view = view[len(views[-1]) :]
            if not room:
                yield views
                views, room = [], size
    if views:
        yield views


def _metadata(facts: ClaimFacts) -> Mapping[str, str]:
    """The metadata of the object."""
    numbers = {
        "size": str(facts.size),
        "stored": str(facts.stored),
        "created-at": str(facts.created_at),
        "expires-at": str(facts.expires_at),
    }
    if facts.type is None:
        return numbers
    return {"type": quote(facts.type, safe=string.punctuation)[:_LONGEST_TYPE], **numbers}


def _number(metadata: Mapping[str, str], name: str) -> float | None:
    try:
        return float(metadata[name])
    except (KeyError, ValueError):  # somebody else wrote it
        return None
