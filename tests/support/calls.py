"""The calls in a message's life: what it says to its queue and its store, step by step.

Requests to SQS and DynamoDB and statements to SQLite are told apart here, for all who watch them:
the wire that kills a process at a call, and the proxy that lets a call fail.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Call(StrEnum):
    """A step of a message's life, as a queue and a store see it."""

    WRITE_PART = "write a part"
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


def call_in_request(operation: str, request: Mapping[str, Any]) -> Call | None:
    """What a request to SQS or DynamoDB asks for; None for one that no message's life has."""
    if operation == "UpdateItem":
        change: str = request["UpdateExpression"]
        return next((call for start, call in _CHANGES.items() if change.startswith(start)), None)
    if operation in _OF_ITEMS:
        of_parts, of_records = _OF_ITEMS[operation]
        return of_records if _key(request).endswith("@") else of_parts
    return _OF_MESSAGES.get(operation)


def call_in_statement(sql: str) -> Call | None:
    """What a statement to SQLite does; None for one that is no step."""
    return next((call for pattern, call in _STATEMENTS if pattern.match(sql)), None)


def is_first_part(request: Mapping[str, Any]) -> bool:
    """Of the requests for parts of a claim, that for the first; any other request."""
    key = _key(request)
    return "/" not in key or key.endswith(("/0", "@"))


def _key(request: Mapping[str, Any]) -> str:
    """The key of an item; empty where a request is for none."""
    key: str = (request.get("Item") or request.get("Key") or {}).get("id", {}).get("S", "")
    return key


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
