"""The calls in a message's life: what it says to its queue and its store, step by step.

Requests to SQS, DynamoDB and S3 and statements to SQLite are told apart here, for all who watch
them: the wire that kills a process at a call, and the proxy that lets a call fail.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit


class Call(StrEnum):
    """A step of a message's life, as a queue and a store see it."""

    BEGIN_UPLOAD = "begin an upload"
    WRITE_PART = "write a part"
    END_UPLOAD = "end the upload"
    ABORT_UPLOAD = "abort the upload"
    ASK_QUEUE = "ask the queue for its attributes"
    SEND = "send"
    RECEIVE = "receive"
    LOOK_UP = "look up the record"
    ACQUIRE = "acquire"
    READ_PART = "read a part"
    HAND_OVER = "hand over"
    HANDLE = "handle"  # which neither of them sees
    EXTEND = "extend the lease"
    CHANGE_VISIBILITY = "change the visibility"
    COMPLETE = "complete"
    REMOVE_PART = "remove a part"
    RENEW = "renew a part"
    RELEASE = "release"
    ACKNOWLEDGE = "acknowledge"


@dataclass(frozen=True, slots=True)
class Request:
    """A request to AWS.

    Attributes:
        service: `sqs`, `dynamodb`, `kms` or `s3`.
        operation: Its name there.
        fields: What it says, by AWS's names: all of a request in JSON. Of one to S3 the key, the
            conditions, the piece that it is for, and the `Record` that it writes.
    """

    service: str
    operation: str
    fields: dict[str, Any]

    @classmethod
    def read(cls, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Self:
        """Read a request as it is on the wire."""
        given = {name.lower(): value for name, value in headers.items()}
        target = given.get("x-amz-target")
        if target is None:
            return cls("s3", *_read_s3(method, url, given, body))
        prefix = target.rpartition(".")[0]
        service = _SERVICES.get(prefix.partition("_")[0], prefix)
        return cls(service, operation_in(method, url, target), json.loads(body))


class Calls:
    """Tells which call a request is.

    S3 has one operation to write a record, whatever it says. So the state in which each lease left
    a record is kept.
    """

    def __init__(self) -> None:
        self._states: dict[str, str] = {}

    def call_in(self, request: Request) -> Call | None:
        """What a request asks for; None if no message's life has it."""
        operation, fields = request.operation, request.fields
        if request.service == "s3":
            of_contents, of_records = _OF_OBJECTS.get(operation, (None, None))
            if _RECORDS not in fields.get("Key", ""):
                return of_contents
            return self._change(fields) if operation == "PutObject" else of_records
        if operation == "UpdateItem":
            change: str = fields["UpdateExpression"]
            return next(
                (call for start, call in _CHANGES.items() if change.startswith(start)), None
            )
        if operation in _OF_ITEMS:
            of_parts, of_records = _OF_ITEMS[operation]
            return of_records if _item(fields).endswith("@") else of_parts
        return _OF_MESSAGES.get(operation)

    def note(self, request: Request) -> None:
        """Note a request that took effect."""
        if record := request.fields.get("Record"):
            self._states[record["lease_id"]] = record["state"]

    def _change(self, fields: Mapping[str, Any]) -> Call:
        record = fields["Record"]
        before, now = self._states.get(record["lease_id"]), record["state"]
        if now == "done":
            return Call.COMPLETE
        if before is None or "IfNoneMatch" in fields:
            return Call.ACQUIRE
        return Call.EXTEND if before == now else Call.HAND_OVER


def is_first_part(fields: dict[str, Any]) -> bool:
    """Of the requests for parts of a claim, that for the first; any other request."""
    key = _item(fields)
    in_upload = fields.get("PartNumber", "1") == "1"
    in_object = fields.get("Range", "bytes=0-").startswith("bytes=0-")
    return in_upload and in_object and ("/" not in key or key.endswith(("/0", "@")))


def operation_in(method: str, url: str, target: str = "") -> str:
    """What a request asks for.

    Args:
        method: Its method.
        url: Its URL, or what is behind the host.
        target: Its `X-Amz-Target`, which S3 does without. There an operation is told by the rest;
            one on a bucket has no name here, but for the list of its objects.
    """
    if target:
        return target.rpartition(".")[2]
    _, key, query = _where(url)
    if not key:
        return "ListObjectsV2" if "list-type" in query else " ".join([method, *query][:2])
    if "uploads" in query:
        return "CreateMultipartUpload"
    return (_OF_UPLOADS if "uploadId" in query else _OF_METHODS).get(method, method)


def call_in_statement(sql: str) -> Call | None:
    """What a statement to SQLite does; None if it is no step."""
    return next((call for pattern, call in _STATEMENTS if pattern.match(sql)), None)


def _item(fields: dict[str, Any]) -> str:
    """The key of an item of DynamoDB; empty where a request is for none."""
    keys = fields.get("Item") or fields.get("Key")
    return str(keys["id"]["S"]) if isinstance(keys, dict) and "id" in keys else ""


def _read_s3(
    method: str, url: str, headers: Mapping[str, str], body: bytes
) -> tuple[str, dict[str, Any]]:
    """The operation of a request to S3, and its fields."""
    bucket, key, query = _where(url)
    said = {
        "Bucket": bucket,
        "Key": key,
        "PartNumber": query.get("partNumber"),
        "Range": headers.get("range"),
        "IfMatch": headers.get("if-match"),
        "IfNoneMatch": headers.get("if-none-match"),
    }
    fields: dict[str, Any] = {name: each for name, each in said.items() if each is not None}
    if method == "PUT" and _RECORDS in key:
        fields["Record"] = json.loads(body)
    return operation_in(method, url), fields


def _where(url: str) -> tuple[str, str, Mapping[str, str]]:
    """Bucket, key and query of a URL of S3; buckets are in the path here."""
    parts = urlsplit(url)
    bucket, _, key = unquote(parts.path).removeprefix("/").partition("/")
    return bucket, key, dict(parse_qsl(parts.query, keep_blank_values=True))


_SERVICES = {"DynamoDB": "dynamodb", "AmazonSQS": "sqs", "TrentService": "kms"}

_RECORDS = "records/"

_OF_METHODS = {
    "PUT": "PutObject",
    "GET": "GetObject",
    "HEAD": "HeadObject",
    "DELETE": "DeleteObject",
}
"""Operations on an object as a whole."""

_OF_UPLOADS = {
    "POST": "CompleteMultipartUpload",
    "PUT": "UploadPart",
    "DELETE": "AbortMultipartUpload",
}
"""Operations on an upload in parts, which `?uploads` begins."""

_OF_OBJECTS: dict[str, tuple[Call | None, Call | None]] = {
    "CreateMultipartUpload": (Call.BEGIN_UPLOAD, None),
    "UploadPart": (Call.WRITE_PART, None),
    "CompleteMultipartUpload": (Call.END_UPLOAD, None),
    "AbortMultipartUpload": (Call.ABORT_UPLOAD, None),
    "PutObject": (Call.WRITE_PART, None),
    "GetObject": (Call.READ_PART, Call.LOOK_UP),
    "DeleteObject": (Call.REMOVE_PART, Call.RELEASE),
}
"""By operation: what it does to contents, and what to a record, which is not written in parts."""

_OF_MESSAGES = {
    "GetQueueAttributes": Call.ASK_QUEUE,
    "SendMessage": Call.SEND,
    "SendMessageBatch": Call.SEND,
    "ReceiveMessage": Call.RECEIVE,
    "ChangeMessageVisibility": Call.CHANGE_VISIBILITY,
    "ChangeMessageVisibilityBatch": Call.CHANGE_VISIBILITY,
    "DeleteMessage": Call.ACKNOWLEDGE,
    "DeleteMessageBatch": Call.ACKNOWLEDGE,
}

_OF_ITEMS: dict[str, tuple[Call, Call | None]] = {
    "PutItem": (Call.WRITE_PART, None),
    "GetItem": (Call.READ_PART, Call.LOOK_UP),
    "DeleteItem": (Call.REMOVE_PART, Call.RELEASE),
}
"""By operation: what it does to a part of the contents, and what to a record."""

_CHANGES = {
    "SET #state = if_not_exists": Call.ACQUIRE,
    "SET lease_until": Call.EXTEND,
    "SET #state = :handed_over": Call.HAND_OVER,
    "SET #state = :done": Call.COMPLETE,
    "SET #expires_at": Call.RENEW,
}

_STATEMENTS = [
    (re.compile(pattern), call)
    for pattern, call in {
        r"INSERT OR REPLACE INTO claim_parts ": Call.WRITE_PART,
        r"INSERT INTO queue_messages ": Call.SEND,
        r"INSERT INTO claim_records .*'leased'": Call.ACQUIRE,
        r"SELECT part, data FROM claim_parts ": Call.READ_PART,
        r"UPDATE claim_records SET state = 'handed_over'": Call.HAND_OVER,
        r"UPDATE claim_records SET lease_until ": Call.EXTEND,
        r"INSERT INTO claim_records .*'done'": Call.COMPLETE,
        r"DELETE FROM claim_(contents|parts) WHERE claim_id = ": Call.REMOVE_PART,
        r"DELETE FROM claim_records WHERE key ": Call.RELEASE,
        r"UPDATE queue_messages SET visible_at ": Call.CHANGE_VISIBILITY,
        r"DELETE FROM queue_messages WHERE message_id ": Call.ACKNOWLEDGE,
    }.items()
]
