"""Pointers of AWS's extended clients, which travel in place of a body that they put into S3.

    ["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"B","s3Key":"K"}]

Older versions of these clients name another class. They recognize a pointer by a message attribute,
which has the size of the body: https://github.com/awslabs/amazon-sqs-java-extended-client-lib
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from letsgo_queue.errors import MessageInvalid

CLASS: Final = "software.amazon.payloadoffloading.PayloadS3Pointer"
OLD_CLASS: Final = "com.amazon.sqs.javamessaging.MessageS3Pointer"

SIZE_ATTRIBUTE: Final = "ExtendedPayloadSize"
POINTER_ATTRIBUTES: Final = (SIZE_ATTRIBUTE, "SQSLargePayloadSize")
"""The attribute of the current clients, and the attribute of the older ones."""

IN_EVERY_POINTER: Final = "S3Pointer"

_BUCKET = "s3BucketName"
_KEY = "s3Key"
_STARTS = tuple(f'[{space}"{name}"' for name in (CLASS, OLD_CLASS) for space in ("", " "))
_MOST_CHARACTERS = 10_000
"""A key of S3 has 1,024 bytes at most, and JSON may write each with six characters."""


@dataclass(frozen=True, slots=True)
class AwsPointer:
    """The place of a body in S3.

    Attributes:
        bucket: The bucket.
        key: The object's key.
    """

    bucket: str
    key: str

    def __str__(self) -> str:
        """Return the body that travels."""
        place = {_BUCKET: self.bucket, _KEY: self.key}
        return json.dumps([CLASS, place], separators=(",", ":"))


def is_aws_pointer(body: str) -> bool:
    """Whether a body is a pointer, well-formed or not. Asking costs next to nothing."""
    return body.startswith(_STARTS)


def read_aws_pointer(body: str) -> AwsPointer | None:
    """Read the pointer in a body; None if it is not a pointer.

    Raises:
        MessageInvalid: It is malformed.
    """
    if not is_aws_pointer(body):
        return None
    try:
        if len(body) > _MOST_CHARACTERS:
            raise ValueError
        _, place = json.loads(body)
        bucket, key = place[_BUCKET], place[_KEY]
        f"{bucket}{key}".encode()  # JSON can write half a surrogate pair; S3 has no such key
    except (ValueError, TypeError, KeyError, RecursionError):
        raise MessageInvalid("its pointer to S3 is malformed") from None
    if not (isinstance(bucket, str) and bucket and isinstance(key, str) and key):
        raise MessageInvalid("its pointer to S3 names no bucket or no key")
    return AwsPointer(bucket, key)
