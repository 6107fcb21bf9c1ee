"""What `@unwrap_claim_check` takes for an SQS event or a record, and copies of them.

An event has `Records`, a record has a `body`; neither has a `type`, which every message has. Each
may be a mapping, as Lambda hands it over, a data class of Powertools for AWS Lambda (a mapping that
wraps one), a pydantic model, or another object. What is handed on is of the same kind, and what
came in is never changed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Any, TypeVar, cast

from pydantic import BaseModel

from claimcheck.core import ticket as tickets
from claimcheck.errors import RecordUnsupported
from letsgo_queue.aws_lambda.records import Record, md5_of

_ThingT = TypeVar("_ThingT")

_RECORDS = "Records"
_BODY = "body"
_MD5 = "md5OfBody"
_TYPE = "type"
_ATTRIBUTES = "attributes"
_COUNT = "ApproximateReceiveCount"

# As Lambda has them, then as Python code would name them.
_FACTS = {
    "messageId": ("messageId", "message_id"),
    "receiptHandle": ("receiptHandle", "receipt_handle"),
    "eventSourceARN": ("eventSourceARN", "event_source_arn"),
}
_COUNTS = (_COUNT, "approximate_receive_count")

_NO_ID = "(no id)"


def is_event(value: object) -> bool:
    """Whether a value is an event whose records have bodies, as those of SQS do."""
    records = records_in(value)
    return not _has(value, _TYPE) and any(map(is_record, records))


def records_in(event: object) -> Sequence[object]:
    """The records in an event."""
    records = _get(event, _RECORDS)
    return records if isinstance(records, list | tuple) else ()


def is_record(value: object) -> bool:
    """Whether a value is a record: it has a body, and no type as a message has."""
    return _has(value, _BODY) and not _has(value, _TYPE)


def is_sealed(record: object) -> bool:
    """Whether the body of a record has to be opened.

    Raises:
        RecordUnsupported: It was parsed before it could be opened.
    """
    body = _get(record, _BODY)
    if isinstance(body, str):
        return tickets.looks_sealed(body)
    if isinstance(body, Mapping) and "claimCheck" in body and body.keys() <= {_TYPE, "claimCheck"}:
        raise RecordUnsupported(
            f"message {message_id_of(record) or _NO_ID}: the body of its record "
            f"({type(record).__name__}) was parsed before it could be opened. Decorate the Lambda "
            "handler with @unwrap_claim_check, which comes before the parsing."
        )
    return False


def message_id_of(record: object) -> str | None:
    """The message id in a record, if it has one."""
    found = _first(record, *_FACTS["messageId"])
    return found if isinstance(found, str) and found else None


def group_of(record: object) -> str | None:
    """The FIFO group of a record; None where its queue is not FIFO."""
    if not str(_first(record, *_FACTS["eventSourceARN"])).endswith(".fifo"):
        return None
    group = _get(_get(record, _ATTRIBUTES), "MessageGroupId")
    return group if isinstance(group, str) else ""


def fields_of(record: object) -> Record:
    """A record of any kind with the fields that Lambda gives it.

    One made by hand may lack an id; errors then say so.
    """
    if isinstance(record, Mapping):
        return {"messageId": _NO_ID, **record}
    facts = {name: _first(record, *names) for name, names in _FACTS.items()}
    count = _first(_get(record, _ATTRIBUTES), *_COUNTS)
    return {
        **{name: value for name, value in facts.items() if value is not None},
        "messageId": message_id_of(record) or _NO_ID,
        _BODY: _get(record, _BODY),
        _ATTRIBUTES: {} if count is None else {_COUNT: count},
    }


def with_body(record: _ThingT, body: str) -> _ThingT:
    """A copy of a record with another body.

    Raises:
        RecordUnsupported: No such copy can be made.
    """
    changes = {_BODY: body, **({_MD5: md5_of(body)} if _has(record, _MD5) else {})}
    try:
        return _altered(record, changes)
    except (AttributeError, TypeError, copy.Error) as error:
        raise RecordUnsupported(
            f"message {message_id_of(record) or _NO_ID}: its record ({type(record).__name__}) "
            f"cannot be copied with its original body ({type(error).__name__}). Give the function "
            "a dict, or decorate the Lambda handler with @unwrap_claim_check."
        ) from None


def with_records(event: _ThingT, records: Sequence[object]) -> _ThingT:
    """A copy of an event with other records."""
    return _altered(event, {_RECORDS: list(records)})


def _altered(thing: _ThingT, changes: Mapping[str, object]) -> _ThingT:
    """A copy of the same kind."""
    if isinstance(thing, dict):
        altered: Any = {**thing, **changes}
    elif isinstance(raw := getattr(thing, "raw_event", None), Mapping):
        # Made anew, as it keeps what it has parsed; its parser has no public name.
        parser = getattr(thing, "_json_deserializer", None)
        altered = cast("Any", type(thing))({**raw, **changes}, parser)
    elif isinstance(thing, BaseModel):
        altered = thing.model_copy(update=changes)
    elif is_dataclass(thing):
        altered = replace(cast("Any", thing), **changes)
    elif isinstance(thing, Mapping):
        altered = {**thing, **changes}
    else:
        altered = copy.copy(thing)
        for name, value in changes.items():
            setattr(altered, name, value)
    return cast("_ThingT", altered)


def _has(thing: object, name: str) -> bool:
    return name in thing if isinstance(thing, Mapping) else hasattr(thing, name)


def _get(thing: object, name: str) -> object:
    return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)


def _first(thing: object, *names: str) -> object:
    return next((found for name in names if (found := _get(thing, name)) is not None), None)
