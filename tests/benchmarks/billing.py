"""Counts the units that AWS bills, from requests and answers.

SQS       a request for each 64 KB of payload that is sent or received:
          https://aws.amazon.com/sqs/pricing/
DynamoDB  a write unit for each KB of the item, before or after the write, and to delete it; a read
          unit for each 4 KB, or half of one if the read is eventually consistent:
          https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
          A conditional write that is refused is billed too:
          https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/WorkingWithItems.html
S3        each request but those that delete; each part of an upload, its begin and its end; one
          whose condition does not hold:
          https://aws.amazon.com/s3/pricing/

The price of a delete depends on the item, so a meter must see the write of the item first. It
refuses an operation that it does not know: a figure must not be too low in silence.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from tests.benchmarks.prices import READ_UNIT_BYTES, SQS_UNIT_BYTES, WRITE_UNIT_BYTES, Units

Item: TypeAlias = Mapping[str, Mapping[str, Any]]

_FREE = Units()
_S3_WRITES = {
    "PutObject",
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
    "ListObjectsV2",
}
_S3_READS = {"GetObject", "HeadObject"}
_S3_FREE = {"DeleteObject", "AbortMultipartUpload"}


class Meter:
    """Adds up the units of one client's requests."""

    def __init__(self) -> None:
        self.units = Units()
        self._sizes: dict[tuple[str, str], int] = {}

    def add(self, service: str, operation: str, request: bytes, answer: bytes) -> None:
        """Count a request and its answer.

        Args:
            service: "sqs", "dynamodb" or "s3".
            operation: The name that the service has for it.
            request: The request's body.
            answer: The answer's body.
        """
        match service:
            case "sqs":
                self.units += _sqs(json.loads(request), json.loads(answer or b"{}"))
            case "dynamodb":
                self.units += self._dynamodb(operation, json.loads(request))
            case "s3":
                self.units += _s3(operation)
            case _:
                raise ValueError(f"the prices of {service} are not known")

    def _dynamodb(self, operation: str, request: Mapping[str, Any]) -> Units:
        if operation in {"BatchGetItem", "BatchWriteItem"}:
            return _sum(
                self._dynamodb(*_alone(table, asked, one))
                for table, asked in request["RequestItems"].items()
                for one in (asked if isinstance(asked, list) else asked["Keys"])
            )
        table = request["TableName"]
        match operation:
            case "PutItem":
                return self._put(table, request["Item"])
            case "UpdateItem":
                return self._update(table, request)
            case "DeleteItem":
                return self._delete(table, request["Key"])
            case "GetItem":
                return self._get(table, request["Key"], bool(request.get("ConsistentRead")))
            case _:
                raise ValueError(f"the price of {operation} in DynamoDB is not known")

    def _put(self, table: str, item: Item) -> Units:
        where = (table, _key(item))
        size = item_size(item)
        largest = max(size, self._sizes.get(where, 0))
        self._sizes[where] = size
        return Units(writes=_units(largest, WRITE_UNIT_BYTES))

    def _update(self, table: str, request: Mapping[str, Any]) -> Units:
        """The most it can be: the values of the request are added to the item as it was."""
        where = (table, _key(request["Key"]))
        added = item_size(request.get("ExpressionAttributeValues", {}))
        return Units(writes=_units(self._sizes.get(where, 0) + added, WRITE_UNIT_BYTES))

    def _delete(self, table: str, key: Item) -> Units:
        size = self._sizes.pop((table, _key(key)), 0)
        return Units(writes=_units(size, WRITE_UNIT_BYTES))

    def _get(self, table: str, key: Item, consistent: bool) -> Units:
        units = _units(self._sizes.get((table, _key(key)), 0), READ_UNIT_BYTES)
        return Units(reads=units if consistent else units / 2)


def _alone(table: str, asked: Any, one: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """An entry of a batch as a request of its own, which AWS bills the same."""
    if "PutRequest" in one:
        return "PutItem", {"TableName": table, **one["PutRequest"]}
    if "DeleteRequest" in one:
        return "DeleteItem", {"TableName": table, **one["DeleteRequest"]}
    consistent = asked.get("ConsistentRead", False)
    return "GetItem", {"TableName": table, "Key": one, "ConsistentRead": consistent}


def item_size(item: Item) -> int:
    """Bytes of an item, as DynamoDB counts them: names and values."""
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _value_size(value: Mapping[str, Any]) -> int:
    [(kind, content)] = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "B":
            return len(base64.b64decode(content))
        case "N":
            # About one byte for two digits, and one byte more.
            return len(content.strip("-0.")) // 2 + 2
        case "BOOL" | "NULL":
            return 1
        case _:
            raise ValueError(f"the size of a value of type {kind} is not known")


def _sqs(request: Mapping[str, Any], answer: Mapping[str, Any]) -> Units:
    """The request or the answer has messages, or neither has."""
    messages = [*request.get("Entries", []), *answer.get("Messages", [])]
    if "MessageBody" in request:
        messages.append(request)
    return Units(sqs_requests=_units(sum(map(message_size, messages)), SQS_UNIT_BYTES))


def message_size(message: Mapping[str, Any]) -> int:
    """Bytes of a message, as SQS counts them: body, and name, type and value of each attribute."""
    body = message.get("MessageBody", message.get("Body", ""))
    return len(body.encode()) + sum(
        len(name.encode())
        + len(value["DataType"].encode())
        + len(value.get("StringValue", "").encode())
        + len(base64.b64decode(value.get("BinaryValue", "")))
        for name, value in message.get("MessageAttributes", {}).items()
    )


def _s3(operation: str) -> Units:
    if operation not in _S3_WRITES | _S3_READS | _S3_FREE:
        raise ValueError(f"the price of {operation} in S3 is not known")
    return Units(s3_writes=int(operation in _S3_WRITES), s3_reads=int(operation in _S3_READS))


def _key(item: Item) -> str:
    """The key of an item in a claim table."""
    return str(item["id"]["S"])


def _units(size: int, unit: int) -> int:
    return max(1, math.ceil(size / unit))


def _sum(all_units: Iterable[Units]) -> Units:
    total = _FREE
    for units in all_units:
        total += units
    return total
