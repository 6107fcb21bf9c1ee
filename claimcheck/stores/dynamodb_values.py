"""Items and their values, as DynamoDB has them."""

from __future__ import annotations

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


def text_in(item: Item, name: str) -> str:
    """The text under a name; empty if there is none."""
    return str(item.get(name, {}).get("S", ""))


def number_in(item: Item, name: str) -> float:
    """The number under a name; 0 if there is none."""
    value = item.get(name, {}).get("N", "0")
    assert isinstance(value, str)
    return float(value)


def bytes_in(item: Item, name: str) -> bytes | None:
    """The bytes under a name; None if there are none."""
    value = item.get(name, {}).get("B")
    return value if isinstance(value, bytes) else None
