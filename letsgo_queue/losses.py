"""Finds content that a message would lose on its way, before it is sent, and names its place.

Dates and keys arrive as text, tuples and sets as lists: a handler expects that of JSON. This
module finds content that would arrive changed in another way, or not at all. Its texts name places
and types, never a value.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, TypeAlias, TypeGuard
from uuid import UUID

from pydantic import BaseModel, Secret, SecretBytes, SecretStr, ValidationError
from pydantic_core import from_json, to_json

from letsgo_queue.schemas import facts_of

Place: TypeAlias = tuple[object, ...]
"""The names and numbers that lead from a message to a value in it."""

_LEAVES = frozenset({str, int, bool, type(None), datetime, date, time, timedelta, UUID, Decimal})
_LISTS = (list, tuple, set, frozenset)
_SECRETS = (Secret, SecretStr, SecretBytes)

_TELLING = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,49}")
"""A key that looks like a field's name. Any other key may be content, such as an address."""

UNWRITABLE = (ValueError, TypeError, RecursionError)
"""The errors that pydantic raises if it cannot write a value."""

_MAX_LEVELS = 250  # deeper ones are refused
_MAX_PROBLEMS = 3


def is_plain(value: Any, levels: int, models: frozenset[type[BaseModel]] = frozenset()) -> bool:
    """Whether a value surely loses nothing. That holds for most values, and the check is quick.

    Args:
        value: The value.
        levels: How many levels it may have.
        models: The models that may be in it.
    """
    kind = type(value)
    if kind is dict:
        for key in value:
            if type(key) is not str:
                return False
        inside: Iterable[Any] = value.values()
    elif kind is list or kind is tuple:
        inside = value
    elif kind in models:
        inside = (*value.__dict__.values(), value.__pydantic_extra__)
    else:
        return kind in _LEAVES or (kind is float and math.isfinite(value))
    for each in inside:
        kind = type(each)
        if kind is float:
            if not math.isfinite(each):
                return False
        elif kind not in _LEAVES and not (levels and is_plain(each, levels - 1, models)):
            return False
    return True


def write(value: object, *, as_any: bool = False) -> bytes:
    """Write a value as JSON, and any mapping as an object.

    Args:
        value: The value.
        as_any: Whether to write all fields of a subclass if a model's field names its base class.

    Raises:
        ValueError: It cannot be written; TypeError and RecursionError mean the same.
    """
    return to_json(
        value, by_alias=True, inf_nan_mode="constants", serialize_as_any=as_any, fallback=as_dict
    )


def as_dict(value: object) -> dict[object, object]:
    """Turn a mapping into a dict, for a serializer that knows no other mappings.

    Raises:
        TypeError: It is not a mapping.
    """
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value).__name__)


def find_loss(message: object, body: bytes) -> str | None:
    """Say what a message lost when it was written; None if it lost nothing."""
    for place, owner, value in _walk(message):
        if isinstance(value, float) and not math.isfinite(value):
            # A model may write it as text, which loses nothing.
            if owner is None or owner.model_config.get("ser_json_inf_nan") != "strings":
                return (
                    f"{_named(place)} is NaN or Infinity, which JSON does not have. Send null or "
                    "text instead."
                )
        elif isinstance(value, _SECRETS):
            if _is_masked(value, body):
                return _hidden(place, value)
        elif isinstance(value, Mapping):
            for key in value:
                if isinstance(key, _SECRETS) and _is_masked(key, body):
                    return f"{_named(place)} has a key that is a secret. Use text as keys."
            if not _are_distinct(value):
                return (
                    f"{_named(place)} has keys that are the same in JSON, as 1 and '1' are. Use "
                    "text as keys."
                )
    return None


def find_cut(message: object) -> str | None:
    """Say which model in a message is of a subclass that its field does not name; None if none is.

    Pydantic writes only the fields of the base class.
    """
    for place, owner, value in _walk(message):
        if isinstance(value, BaseModel) and owner is not None:
            known = facts_of(type(owner)).models
            if type(value) not in known and isinstance(value, tuple(known)):
                kind = type(value).__name__
                return (
                    f"{_named(place)} is a {kind}, and only the fields of its base class would be "
                    f"written. Name {kind} in {type(owner).__name__}."
                )
    return None


def find_change(given: object, read: object, *, untyped: bool) -> str | None:
    """Say how a message would change on its way to its handler; None if it would not.

    Args:
        given: The message.
        read: The message that its handler would get.
        untyped: Whether values may arrive as another type that has the same JSON.
    """
    for place, before, after in _differences(given, read, ()):
        if isinstance(before, _SECRETS):
            return _hidden(place, before)
        if untyped and _are_alike(before, after):
            continue
        if isinstance(before, BaseModel) and isinstance(before, type(after)):
            known, kind = type(after).__name__, type(before).__name__
            return (
                f"{_named(place)} is a {kind}, and its handler would read a {known} without the "
                f"rest. Name {kind} in the model of the message, or send a dict."
            )
        return (
            f"{_named(place)} would not arrive as it is: {type(before).__name__} is written in "
            "another way than it is read. Change its serializer or its validator, or send a dict."
        )
    return None


def unreadable(model: type[BaseModel], error: ValidationError) -> str:
    """Say why a message's handler could not read it."""
    errors = error.errors(include_url=False, include_input=False, include_context=False)
    problems = "; ".join(
        f"{_named(each['loc'])} ({each['type']})" for each in errors[:_MAX_PROBLEMS]
    )
    more = len(errors) - _MAX_PROBLEMS
    return (
        f"{model.__name__} cannot read what it writes: {problems}"
        f"{f'; and {more:,} more' if more > 0 else ''}. Change the model, or send a dict."
    )


def unwritable(message: object) -> str:
    """Say why a message cannot be written as JSON."""
    why = "it refers to itself, or has far too many levels"
    # A list of another type fails for one of its items, or for its type.
    lists: list[str] = []
    for place, _, value in _walk(message):
        kind = type(value).__name__
        if isinstance(value, Mapping):
            if not all(_is_written({key: None}) for key in value):
                why = f"{_named(place)} has a key that is not text"
                break
        elif isinstance(value, BaseModel):
            if place and not _is_written(value):  # a value in it may be the cause, and comes later
                why = f"{_named(place)} is of type {kind}, whose serializer fails"
        elif _is_nested(value):
            if isinstance(value, Sequence | Set) and not isinstance(value, _LISTS):
                lists.append(f"{_named(place)} is of type {kind}")
        elif not (isinstance(value, Iterator) or _is_written(value)):
            odd_text = isinstance(value, str | bytes)
            kind = f"{kind} that is not Unicode" if odd_text else f"of type {kind}"
            why = f"{_named(place)} is {kind}"
            break
    else:
        why = next(iter(lists), why)
    return f"it cannot be written as JSON: {why}."


def _walk(message: object) -> Iterator[tuple[Place, BaseModel | None, object]]:
    """Yield every value in a message, with its place and the model that writes it."""
    seen: set[int] = set()
    left: list[tuple[Place, BaseModel | None, object]] = [((), None, message)]
    while left:
        place, owner, value = left.pop()
        yield place, owner, value
        if not _is_nested(value) or id(value) in seen or len(place) > _MAX_LEVELS:
            continue
        seen.add(id(value))
        inside = value if isinstance(value, BaseModel) else owner
        for name, each in reversed(list(_children(value))):
            left.append(((*place, name), inside, each))


def _is_nested(value: object) -> bool:
    return (
        isinstance(value, BaseModel | Mapping | Set)
        or (isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray))
        or _is_record(value)
    )


def _is_record(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _fields_of(record: Any, *, compared: bool = False) -> Mapping[str, object]:
    fields = dataclasses.fields(record)
    names = [field.name for field in fields if field.compare or not compared]
    return {name: getattr(record, name, None) for name in names}


def _children(value: object) -> Iterable[tuple[object, object]]:
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        written = [name for name in fields if not fields[name].exclude]
        yield from ((name, value.__dict__.get(name)) for name in written)
        yield from (value.__pydantic_extra__ or {}).items()
    elif isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, Iterable):
        yield from enumerate(value)
    elif _is_record(value):
        yield from _fields_of(value).items()


def _differences(
    given: object, read: object, place: Place
) -> Iterator[tuple[Place, object, object]]:
    if isinstance(given, BaseModel) and isinstance(read, type(given)):
        for name in type(given).model_fields:
            yield from _differences(
                given.__dict__.get(name), read.__dict__.get(name), (*place, name)
            )
        extra = dict(read.__pydantic_extra__ or {})
        for name in type(given).model_computed_fields.keys() - (given.__pydantic_extra__ or {}):
            extra.pop(name, None)
        yield from _differences(given.__pydantic_extra__ or {}, extra, place)
    elif isinstance(given, Mapping) and isinstance(read, Mapping) and given.keys() == read.keys():
        for name in given:
            yield from _differences(given[name], read[name], (*place, name))
    elif _is_record(given) and type(given) is type(read):
        before, after = _fields_of(given, compared=True), _fields_of(read, compared=True)
        yield from _differences(before, after, place)
    elif _is_list(given) and _is_list(read) and len(given) == len(read):
        for number, (one, other) in enumerate(zip(given, read, strict=True)):
            yield from _differences(one, other, (*place, number))
    elif not _are_equal(given, read):
        yield place, given, read


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def _are_equal(given: object, read: object) -> bool:
    try:
        if given == read:
            return True
    except (TypeError, ValueError):  # a comparison without a yes or no, as of arrays
        return False
    if isinstance(given, Iterator):  # it was used up, so nobody can compare it
        return True
    if given != given and read != read:  # noqa: PLR0124  NaN, written as text
        return True
    # Nobody can tell whether these are the same.
    return type(given) is type(read) and type(given).__eq__ is object.__eq__


def _are_alike(given: object, read: object) -> bool:
    """Whether two values are the same in JSON."""
    try:
        return write(given) == write(read)
    except UNWRITABLE:
        return False


def _are_distinct(mapping: Mapping[object, object]) -> bool:
    if all(type(key) is str for key in mapping):
        return True
    names: Counter[str] = Counter()
    for key in mapping:
        names.update(list(from_json(write({key: None}))))
    return max(names.values(), default=1) == 1


def _is_written(value: object) -> bool:
    try:
        write(value)
    except UNWRITABLE:
        return False
    return True


def _is_masked(secret: object, body: bytes) -> bool:
    """Whether the body has asterisks for a secret; an empty secret is written as it is."""
    written = to_json(secret)
    return written != b'""' and written in body


def _hidden(place: Place, secret: object) -> str:
    return (
        f"{_named(place)} is a {type(secret).__name__}, which is written as asterisks. Give its "
        "field a serializer that writes get_secret_value(), or leave it out."
    )


def _named(place: Place) -> str:
    """Write a place for an error: `payload.lines[2].note`."""
    name = ""
    for part in place:
        if isinstance(part, int):
            name += f"[{part}]"
        else:
            name += f".{part if isinstance(part, str) and _TELLING.fullmatch(part) else '*'}"
    return name.removeprefix(".") or "the message"
