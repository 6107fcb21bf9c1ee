"""The values in an item of DynamoDB: made, and read with nothing taken on trust."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

Value: TypeAlias = Mapping[str, str | bytes | memoryview]
"""A value under the name of its type: `{"S": "text"}`, `{"N": "1"}`, `{"B": b"bytes"}`."""

Item: TypeAlias = Mapping[str, Value]


def text(value: str) -> Value:
    """A text."""
    return {"S": value}


def number(value: float) -> Value:
    """A number, with three decimals at most: times are kept to the millisecond."""
    return {"N": f"{value:.3f}".rstrip("0").rstrip(".")}


def binary(value: bytes | memoryview) -> Value:
    """Bytes."""
    return {"B": value}


def text_in(item: Item, name: str) -> object:
    """The text under a name; None if there is none."""
    return item.get(name, {}).get("S")


def bytes_in(item: Item, name: str) -> object:
    """The bytes under a name, or whatever else is there; None if there is nothing."""
    value = item.get(name)
    return None if value is None else value.get("B", value)


def number_in(item: Item, name: str) -> float | None:
    """The number under a name; None if there is none."""
    value = item.get(name, {}).get("N")
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:  # no number, which DynamoDB itself does not keep
        return math.nan
