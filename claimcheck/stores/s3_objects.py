"""Objects of one S3 bucket: put, read and deleted, also under a condition.

Every answer tells the store's clock the time. Everything that botocore raises becomes an error of
ours. Its checksums stay on: S3 refuses bytes that were damaged on their way there. Bytes that were
damaged on their way here are read again. No other module of the store loads botocore, which takes a
Lambda function a good part of its start.
"""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from claimcheck.errors import (
    ClaimBucketMissing,
    ClaimCorrupted,
    ClaimStoreError,
    ClaimStoreUnavailable,
)
from claimcheck.stores.pieces_file import PiecesFile
from letsgo_queue.aws_client import (
    S3,
    error_code,
    explain,
    make_client,
    one_line,
    passes,
    time_of,
)

if TYPE_CHECKING:
    from botocore.model import OperationModel
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

    from claimcheck.stores.clock import ServerClock

_T = TypeVar("_T")

MAX_POOL_CONNECTIONS = 50
"""For the threads of a store and all its callers."""

MAX_RETRIES = 4
CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 15

SENT_AT_ONCE_BYTES = 2 * 1024 * 1024
"""Below so many bytes a body follows its head at once, as in AWS's clients for Go and JavaScript.
A larger body waits until S3 says that it wants it."""

_AT_ONCE_BYTES = 128 * 1024
"""Bytes that are read at once, and hashed while the next are on their way."""

_PIECE_BYTES = 4 * 1024 * 1024
"""Bytes of a piece of what was read; whoever is done with one gives its memory back."""

_MAPPED_FROM_BYTES = 8 * 1024 * 1024
"""From so many bytes on, a read gets memory of its own, at half a millisecond for each MB. malloc
keeps the memory that a thread frees for that thread. Then large contents would be there twice: as
bytes that nobody needs, and as text."""

READS = 3
"""How often an object is read whose bytes were cut off or damaged on their way. botocore tries a
request again only until its answer begins."""

_NO_BUCKET = "NoSuchBucket"
_ABSENT = {"NoSuchKey", "404"}
_CHANGED = {"PreconditionFailed", "ConditionalRequestConflict", "412"}
_NO_RANGE = "InvalidRange"
_DENIED = {"AccessDenied", "403"}
_OTHER_REGION = {
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
}
_TRY_AGAIN = {
    "BadDigest",
    "ExpiredToken",
    "OperationAborted",
    "RequestLimitExceeded",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "XAmzContentChecksumMismatch",
}

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object, or a piece of it.

    Attributes:
        pieces: The bytes that were asked for.
        sha256: The SHA-256 of these, as hex digits.
        size: Bytes of the whole object.
        etag: Identifies its bytes.
        metadata: What was written beside them.
    """

    pieces: Sequence[memoryview] = field(repr=False)
    sha256: str
    size: int
    etag: str
    metadata: Mapping[str, str]

    @property
    def data(self) -> bytes:
        """The bytes in one piece."""
        return b"".join(self.pieces)


@dataclass(frozen=True, slots=True)
class S3Listed:
    """The facts about an object, without its bytes.

    Attributes:
        key: Its key.
        size: Bytes of it.
        written_at: When it was written (seconds since 1970).
        metadata: What was written beside its bytes; empty in a list, which does not say.
    """

    key: str
    size: int
    written_at: float
    metadata: Mapping[str, str]


class S3Objects:
    """The objects of a bucket.

    Every method takes `failed`, which says what an error prevented: `claim X was not stored`. Every
    method raises `ClaimStoreError`.
    """

    def __init__(
        self,
        bucket: str,
        *,
        store: str,
        region: str | None,
        endpoint_url: str | None,
        session: boto3.session.Session | None,
        clock: ServerClock,
    ) -> None:
        """Make a client; nothing is asked of the bucket yet.

        Args:
            bucket: The bucket's name.
            store: Names the store in errors.
            region: The bucket's region; None for that of the session.
            endpoint_url: Another server than AWS's own.
            session: Whose credentials and settings requests have; None for those of the
                environment.
            clock: Learns the time from every answer.

        Raises:
            SettingsInvalid: No client can be made so.
            ClaimStoreUnavailable: Credentials could not be fetched.
        """
        self._bucket = bucket
        self._store = store
        self._clock = clock
        try:
            self._client = make_s3_client(region, endpoint_url, session)
        except BotoCoreError as error:
            raise self._error("no client could be made", error) from error
        self.region = self._client.meta.region_name
        self._client.meta.events.register_first("needs-retry.s3", self._stay_in_region)
        self._client.meta.events.register("before-call.s3.PutObject", _send_at_once)

    def put(
        self,
        key: str,
        pieces: Sequence[bytes | memoryview],
        *,
        metadata: Mapping[str, str] | None = None,
        absent: bool = False,
        etag: str | None = None,
        failed: str,
    ) -> bool:
        """Write an object, in place of one with the same key.

        Args:
            key: Its key.
            pieces: Its bytes.
            metadata: What to write beside them: ASCII, 2 KB at most.
            absent: Whether to write only if there is no object.
            etag: Write only if the object has this ETag.
            failed: What an error prevents.

        Returns:
            Whether it was written: False if the condition does not hold.
        """
        condition = {"IfNoneMatch": "*"} if absent else {"IfMatch": etag} if etag else {}
        request = {"Key": key, "Body": _body(pieces), "Metadata": dict(metadata or {})}
        return self._write(self._client.put_object, {**request, **condition}, failed)

    def upload(
        self,
        key: str,
        parts: Sequence[Sequence[bytes | memoryview]],
        *,
        metadata: Mapping[str, str],
        make_all: Callable[[Sequence[Callable[[], object]]], None],
        failed: str,
    ) -> None:
        """Write a large object in parts. If that breaks off, nothing is left.

        Args:
            key: Its key.
            parts: The pieces of each part, which has 5 MiB or more, but for the last.
            metadata: What to write beside them.
            make_all: Makes calls side by side.
            failed: What an error prevents.
        """
        begin = {"Key": key, "Metadata": dict(metadata), "ChecksumAlgorithm": "CRC32"}
        begun = self._refused(self._client.create_multipart_upload, begin, failed)
        upload = {"Key": key, "UploadId": begun["UploadId"]}
        sent: dict[int, CompletedPartTypeDef] = {}

        def send(number: int, pieces: Sequence[bytes | memoryview]) -> None:
            request = {**upload, "PartNumber": number, "Body": _body(pieces)}
            answer = self._refused(self._client.upload_part, request, failed)
            sent[number] = {"PartNumber": number, "ETag": answer["ETag"]}
            if checksum := answer.get("ChecksumCRC32"):
                sent[number]["ChecksumCRC32"] = checksum

        try:
            make_all([partial(send, number, pieces) for number, pieces in enumerate(parts, 1)])
            whole = {**upload, "MultipartUpload": {"Parts": [sent[each] for each in sorted(sent)]}}
            self._refused(self._client.complete_multipart_upload, whole, failed)
        except BaseException:
            with suppress(ClaimStoreError):  # a lifecycle rule of the bucket aborts it
                self._refused(self._client.abort_multipart_upload, upload, failed)
            raise

    def get(
        self,
        key: str,
        *,
        most: int,
        span: slice | None = None,
        etag: str | None = None,
        failed: str,
    ) -> S3Object | None:
        """Read an object; None if there is none.

        Args:
            key: Its key.
            most: How many bytes it may have.
            span: Which bytes to read; by default all. Fewer may be there.
            etag: The ETag that it must have.
            failed: What an error prevents.

        Raises:
            ClaimCorrupted: It is larger, has other bytes than before, or ends before `span`.
        """
        request = {"Key": key}
        if span is not None:
            request["Range"] = f"bytes={span.start}-{span.stop - 1}"
        if etag is not None:
            request["IfMatch"] = etag
        for left in reversed(range(READS)):
            try:
                answer = self._call(self._client.get_object, request, failed)
                # As a context manager it gives the bytes without their checksum.
                with closing(answer["Body"]) as body:
                    length, size = _sizes_in(answer)
                    if max(length, size) > most:
                        raise ClaimCorrupted(
                            f"it has {size:,} bytes in the store, and {most:,} in its ticket"
                        )
                    pieces, sha256 = _read(body, length)
            except ClientError as error:
                code = error_code(error)
                if code in _ABSENT:
                    return None
                if code in _CHANGED:
                    raise ClaimCorrupted("it was replaced in the store while it was read") from None
                if code == _NO_RANGE:
                    raise ClaimCorrupted("it has fewer bytes in the store") from None
                raise self._error(failed, error) from error
            except (BotoCoreError, HTTPError, OSError) as error:
                if not left:
                    raise self._error(failed, error) from error
            else:
                return S3Object(pieces, sha256, size, answer["ETag"], answer.get("Metadata", {}))
        raise AssertionError("the last try returns or raises")

    def look(self, key: str, *, failed: str) -> S3Listed | None:
        """The facts about an object; None if there is none.

        Args:
            key: Its key.
            failed: What an error prevents.
        """
        try:
            answer = self._call(self._client.head_object, {"Key": key}, failed)
        except ClientError as error:
            if error_code(error) in _ABSENT:
                return None
            raise self._error(failed, error) from error
        size, written = answer["ContentLength"], answer["LastModified"].timestamp()
        return S3Listed(key, size, written, answer.get("Metadata", {}))

    def pages(self, prefix: str, *, failed: str) -> Iterator[Sequence[S3Listed]]:
        """All objects whose keys start with a prefix, by their keys: up to 1,000 a page.

        Args:
            prefix: How the keys start.
            failed: What an error prevents.
        """
        request = {"Prefix": prefix}
        while True:
            answer = self._refused(self._client.list_objects_v2, request, failed)
            yield [
                S3Listed(each["Key"], each["Size"], each["LastModified"].timestamp(), {})
                for each in answer.get("Contents", [])
            ]
            if not answer["IsTruncated"]:
                return
            request["ContinuationToken"] = answer["NextContinuationToken"]

    def delete(self, key: str, *, etag: str | None = None, failed: str) -> bool:
        """Remove an object. One that is gone already is no error.

        Args:
            key: Its key.
            etag: Remove it only if it has this ETag.
            failed: What an error prevents.

        Returns:
            Whether it is gone: False if there is one with another ETag.
        """
        condition = {"IfMatch": etag} if etag else {}
        return self._write(self._client.delete_object, {"Key": key, **condition}, failed, gone=True)

    def close(self) -> None:
        """Close all connections to the server."""
        self._client.close()

    def _write(
        self,
        call: Callable[..., Mapping[str, Any]],
        request: Mapping[str, Any],
        failed: str,
        *,
        gone: bool = False,
    ) -> bool:
        """Make a call, whose condition an absent object fulfils if `gone` is set.

        Without a condition none can fail: a server that says so has not made the change.
        """
        is_conditional = not request.keys().isdisjoint({"IfMatch", "IfNoneMatch"})
        try:
            self._call(call, request, failed)
        except ClientError as error:
            code = error_code(error)
            if code in _ABSENT and (gone or is_conditional):
                return gone
            if code in _CHANGED and is_conditional:
                return False
            raise self._error(failed, error) from error
        return True

    def _refused(self, call: Callable[..., _T], request: Mapping[str, Any], failed: str) -> _T:
        """Make a call, whose refusal is an error."""
        try:
            return self._call(call, request, failed)
        except ClientError as error:
            raise self._error(failed, error) from error

    def _call(self, call: Callable[..., _T], request: Mapping[str, Any], failed: str) -> _T:
        """Make a call, whose refusal is left to the caller."""
        sent = self._clock.moment()
        try:
            answer = call(Bucket=self._bucket, **request)
        except ClientError as error:
            self._learn(error.response, sent)
            raise
        except BotoCoreError as error:
            raise self._error(failed, error) from error
        self._learn(answer, sent)
        return answer

    def _learn(self, answer: Any, sent: float) -> None:
        # After retries the answer tells the time less exactly, as sending was long ago.
        self._clock.learn(time_of(answer), sent=sent, received=self._clock.moment())

    def _stay_in_region(
        self, response: tuple[object, Any] | None, operation: OperationModel, **_: object
    ) -> None:
        """Refuse to follow a bucket to another region, as botocore would in silence.

        That region is billed for transfer and takes longer, and the label of the store would name
        another one.
        """
        if response and response[1].get("Error", {}).get("Code") in _OTHER_REGION:
            raise ClientError(response[1], operation.name)

    def _error(self, failed: str, error: Exception) -> ClaimStoreError:
        where = f"claim store {self._store}: {failed}"
        if not isinstance(error, ClientError):
            said = explain(error) if isinstance(error, BotoCoreError) else one_line(error)
            return ClaimStoreUnavailable(f"{where}: {said}.")
        code, said = error_code(error), explain(error)
        if code == _NO_BUCKET:
            return ClaimBucketMissing(
                f"{where}: the bucket {self._bucket} does not exist. Make it with `claimcheck "
                "store create`, or set CLAIMCHECK_STORE."
            )
        if code in _OTHER_REGION:
            return ClaimStoreError(
                f"{where}: the bucket {self._bucket} is {_region_in(error)}, and the store is set "
                f"to region {self.region}. Set AWS_REGION, or `region` in the store's URL."
            )
        if passes(error, _TRY_AGAIN):
            return ClaimStoreUnavailable(f"{where}: {said}.")
        return ClaimStoreError(f"{where}: {said}. {_advice(code, said, error)}".rstrip())


def make_s3_client(
    region: str | None, endpoint_url: str | None, session: boto3.session.Session | None
) -> S3Client:
    """Make a client for buckets, with time limits of ours.

    Raises:
        SettingsInvalid: No client can be made so.
        CredentialRetrievalError: The credentials could not be fetched; they may be later.
    """

    def make(config: Config) -> S3Client:
        return make_client(S3, session, region=region, endpoint_url=endpoint_url, config=config)

    config = Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retries={"total_max_attempts": 1 + MAX_RETRIES, "mode": "standard"},
        max_pool_connections=MAX_POOL_CONNECTIONS,
    )
    client = make(config)
    if ".amazonaws." in f"{urlsplit(client.meta.endpoint_url).hostname}.":
        return client
    # Another server need not have a host name for every bucket.
    client.close()
    return make(config.merge(Config(s3={"addressing_style": "path"})))


def _body(pieces: Sequence[bytes | memoryview]) -> bytes | PiecesFile:
    """A body for botocore: bytes are sent at once, a file when S3 has said that it wants it."""
    if sum(map(len, pieces)) < SENT_AT_ONCE_BYTES:
        return b"".join(pieces)
    return PiecesFile(pieces)


def _send_at_once(params: dict[str, Any], **_: object) -> None:
    """Have bytes follow their head, and leave out the round trip that asks for them.

    botocore makes a file of bytes, and asks for each body that is a file.
    """
    body = params["body"]
    if isinstance(body, BytesIO):
        params["body"] = body.getvalue()
        params["headers"].pop("Expect", None)


def _read(body: StreamingBody, size: int) -> tuple[list[memoryview], str]:
    """The pieces of a body, which has this many bytes, and their SHA-256."""
    pieces: list[memoryview] = []
    digest = hashlib.sha256()
    for start in range(0, size, _PIECE_BYTES):
        length = min(_PIECE_BYTES, size - start)
        mapped = size >= _MAPPED_FROM_BYTES
        piece = memoryview(
            mmap.mmap(-1, length, access=mmap.ACCESS_COPY) if mapped else bytearray(length)
        )
        for at in range(0, len(piece), _AT_ONCE_BYTES):
            view = piece[at : at + _AT_ONCE_BYTES]
            while view and (count := body.readinto(view)):  # type: ignore[arg-type]  # wrong stub
                digest.update(view[:count])
                view = view[count:]
        pieces.append(piece)
    body.read(1)  # at the end botocore looks whether checksum and length are right
    return pieces, digest.hexdigest()


def _advice(code: str, said: str, error: ClientError) -> str:
    """Advice for a refusal; empty if S3 gives it itself."""
    if code.startswith("KMS.") or "kms" in said.lower():
        return (
            "The bucket is encrypted with a KMS key: allow senders kms:GenerateDataKey on it, and "
            "workers kms:Decrypt, and check that it is enabled."
        )
    if code in _DENIED and error.operation_name == "GetObject":
        return (
            "Allow s3:GetObject, and s3:ListBucket: without that, S3 says the same of an object "
            "that is not there."
        )
    return ""


def _region_in(error: ClientError) -> str:
    """Where a bucket is, as S3 says when it was asked in another region."""
    said: Mapping[str, Any] = error.response.get("Error", {})
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = headers.get("x-amz-bucket-region") or said.get("Region")
    return f"in region {one_line(region)}" if region else "in another region"


def _sizes_in(answer: Mapping[str, Any]) -> tuple[int, int]:
    """Bytes of an answer, and of the whole object, of which it may have a piece."""
    piece = _RANGE.fullmatch(answer.get("ContentRange", ""))
    if piece is None:
        return answer["ContentLength"], answer["ContentLength"]
    first, last, size = map(int, piece.groups())
    return last - first + 1, size
