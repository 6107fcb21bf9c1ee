"""Reads the rows of a SQLite queue without trust: a disk, a program or a person may change some.

SQLite keeps values of any type in any column, and text that is not UTF-8. A row that cannot be read
harms no other row.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from letsgo_queue.attributes import FAILURE, MessageAttribute
from letsgo_queue.errors import LetsGoQueueError
from letsgo_queue.failure import Failure

COLUMNS = "message_id, body, attributes, group_id, trace_header, sent_at, receive_count"
"""The columns of a message that both tables have."""

LATEST_DUE = 2**53
"""Seconds since 1970; no row is due later, unless it is damaged."""

_LATEST = 253_402_300_799
"""The last second of the year 9999: Python has no later date."""

_ATTRIBUTES = TypeAdapter(dict[str, tuple[str, str]])


class RowDamaged(LetsGoQueueError):
    """A row cannot be read; its message can be neither handled nor sent.

    Attributes:
        columns: Which of its columns cannot be read.
    """

    def __init__(self, row: sqlite3.Row, columns: Sequence[str]) -> None:
        super().__init__(f"row {row['sequence']} is damaged: {', '.join(columns)} cannot be read.")
        self.columns = columns


def message_id_in(row: sqlite3.Row) -> str:
    """Return the id of the message in a row; if it cannot be read, the number of the row."""
    message_id = row["message_id"]
    return message_id if message_id and isinstance(message_id, str) else f"row-{row['sequence']}"


def time_in(value: object) -> float | None:
    """A time of a row (seconds since 1970); None if it is none."""
    if isinstance(value, int | float) and 0 <= value <= _LATEST:
        return float(value)
    return None


def attributes_to_json(attributes: Mapping[str, MessageAttribute]) -> str:
    """Message attributes as the file keeps them."""
    return json.dumps(
        {
            name: [attribute.data_type, _to_text(attribute.value)]
            for name, attribute in attributes.items()
        }
    )


def _attributes_in(value: object) -> dict[str, MessageAttribute]:
    """Undo `attributes_to_json`.

    Raises:
        ValueError: It is something else.
    """
    if not isinstance(value, str):
        raise ValueError("not text")  # noqa: TRY004  what pydantic takes for a refusal
    return {
        name: MessageAttribute(data_type, _from_text(data_type, text))
        for name, (data_type, text) in _ATTRIBUTES.validate_json(value).items()
    }


class StoredMessage(BaseModel):
    """The message in a row of either table."""

    model_config = ConfigDict(strict=True, frozen=True, hide_input_in_errors=True)

    message_id: str = Field(min_length=1)
    body: str = Field(repr=False)
    attributes: Annotated[dict[str, MessageAttribute], BeforeValidator(_attributes_in)] = Field(
        repr=False
    )
    group_id: str | None
    trace_header: str | None
    sent_at: float = Field(ge=0, le=_LATEST)
    receive_count: int = Field(ge=0)

    @classmethod
    def read(cls, row: sqlite3.Row) -> Self:
        """Read a row.

        Raises:
            RowDamaged: It cannot be read.
        """
        try:
            return cls.model_validate(dict(row))
        except ValidationError as error:
            columns = sorted({str(each["loc"][0]) for each in error.errors(include_input=False)})
            raise RowDamaged(row, columns) from None

    @classmethod
    def salvage(cls, row: sqlite3.Row, damage: RowDamaged) -> StoredMessage:
        """The readable part of a damaged row, with the damage as the reason why it is dead."""
        instead = {
            "message_id": message_id_in(row),
            "body": _legible(row["body"]),
            "attributes": "{}",
            "group_id": None,
            "trace_header": None,
            "sent_at": 0.0,
            "receive_count": 0,
        }
        read = cls.model_validate(dict(row) | {name: instead[name] for name in damage.columns})
        (*_, why) = Failure.because(str(damage)).versions()
        failure = MessageAttribute("String", why)
        return read.model_copy(update={"attributes": {**read.attributes, FAILURE: failure}})


class QueuedMessage(StoredMessage):
    """The message in a row of `queue_messages` that is due."""

    visible_at: float = Field(le=LATEST_DUE)
    first_received_at: float | None = Field(ge=0, le=_LATEST)


def _legible(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _to_text(value: str | bytes) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _from_text(data_type: str, text: str) -> str | bytes:
    is_binary = MessageAttribute(data_type, text).kind == "Binary"
    return base64.b64decode(text, validate=True) if is_binary else text
