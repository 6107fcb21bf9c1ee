"""Refuses a message that its handler would not get as it was given.

A mapping arrives as JSON, which must not lose any of it. A model must read what it writes. Most
models always do (`schemas`), so only messages of other models are read for a check.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Literal

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, from_json

from letsgo_queue.envelope import may_have_constant, type_of
from letsgo_queue.errors import LetsGoError, MessageInvalid
from letsgo_queue.losses import (
    UNWRITABLE,
    as_dict,
    find_change,
    find_cut,
    find_loss,
    is_plain,
    unreadable,
    unwritable,
    write,
)
from letsgo_queue.schemas import Facts, facts_of

MAX_DEPTH = 200
"""How deep arrays and objects may nest: pydantic's JSON parser reads no more levels."""

MAX_DIGITS = 4_300
"""The longest whole number that Python reads."""

_INFINITE = re.compile(rb'(?:NaN\d*|Infinity)"')
"""The end of a Decimal that is not a finite number, as pydantic writes it."""

_SURELY_READ = 150  # levels that every reader accepts
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))
_BRACKETS_AT_ONCE = MAX_DEPTH // 2


class LossError(LetsGoError):
    """A message would not arrive whole; the text says what is wrong and what to do."""


def encode_mapping(message: object) -> bytes:
    """Write a message whose handler gets it as parsed JSON.

    Raises:
        LossError: Some of it would not arrive.
    """
    try:
        body = write(message)
    except UNWRITABLE:  # the text of the error may quote the payload
        raise LossError(unwritable(message)) from None
    if is_plain(message, _SURELY_READ):
        _check_numbers(body)
        return body
    if cut := find_cut(message):
        try:
            body = write(message, as_any=True)
        except UNWRITABLE:  # before pydantic 2.12, some models
            raise LossError(cut) from None
    if loss := find_loss(message, body):
        raise LossError(loss)
    _check_readable(body)
    return body


def encode_model(message: BaseModel, message_type: str) -> bytes:
    """Write a message whose handler gets a message of the same model.

    Raises:
        LossError: The handler would not get it, or would get a changed message.
    """
    facts = facts_of(type(message))
    compare = facts.compare
    try:
        try:
            body = _write(message, facts)
        except PydanticSerializationError:
            # Perhaps a value is not of its field's type; a reader may still accept it.
            body = _write(message, facts, warnings="none")
            compare = True
    except UNWRITABLE:  # the text of the error may quote the payload
        raise LossError(unwritable(message)) from None
    if not facts.has_type:
        _check_readable(body)
        if _type_read_from(body) != message_type:
            raise LossError(
                "its JSON has no `type`, or another, so no worker would find its handler. Make "
                "`type` a field that has no alias and no serializer."
            )
    if facts.may_cut() and find_cut(message):
        return _uncut(message, body, facts)
    if compare:
        _check_readable(body)
        _compare(message, body, facts)
        return body
    if facts.check or (facts.finite and _INFINITE.search(body)):
        _read(type(message), body)
    look = facts.untyped or (facts.loses_nan and b"null" in body)
    plain = look and is_plain(message, _SURELY_READ, facts.models)
    if look and not plain and (loss := find_loss(message, body)):
        raise LossError(loss)
    if facts.odd_json and not plain:
        _check_readable(body)
    else:
        _check_numbers(body)
    return body


def _type_read_from(body: bytes) -> str | None:
    """Return the type that a reader finds, since a model can write two."""
    try:
        return type_of(body.decode(), whole=True)
    except MessageInvalid:
        return None


def _write(
    message: BaseModel, facts: Facts, *, warnings: Literal["none", "error"] = "error"
) -> bytes:
    if facts.dumps_itself:
        return message.model_dump_json(by_alias=True, warnings=False).encode()
    # `model_dump_json` does the same, but then copies these bytes into a text.
    return message.__pydantic_serializer__.to_json(
        message, by_alias=True, warnings=warnings, fallback=as_dict
    )


def _uncut(message: BaseModel, body: bytes, facts: Facts) -> bytes:
    """Write all of a subclass's fields where a model names its base class, if that can be read."""
    with suppress(*UNWRITABLE, LossError):
        whole = write(message, as_any=True)
        # Writing in this way may skip a field's own serializer.
        if whole == body or not facts.compare:
            _check_readable(whole)
            again = write(_read(type(message), whole), as_any=True)
            if again == whole and not find_loss(message, whole):
                return whole
    _check_readable(body)
    _compare(message, body, facts)
    return body


def _read(model: type[BaseModel], body: bytes) -> BaseModel:
    """Read a message as its handler will.

    Raises:
        LossError: It cannot be read.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise LossError(unreadable(model, error)) from None
    except Exception as error:  # noqa: BLE001  a validator may raise anything
        raise LossError(
            f"{model.__name__} cannot read what it writes: a validator raises "
            f"{type(error).__name__}. Change the model, or send a dict."
        ) from None


def _compare(message: BaseModel, body: bytes, facts: Facts) -> None:
    """Read a message as its handler will, and check that it is the same.

    Raises:
        LossError: It cannot be read, or it would change.
    """
    read = _read(type(message), body)
    if change := find_change(message, read, untyped=facts.untyped):
        raise LossError(change)


def _check_readable(body: bytes) -> None:
    """Refuse a body that readers do not accept. It parses only a body that may be such.

    Raises:
        LossError: Readers do not accept the body.
    """
    _check_numbers(body)
    if not (may_have_constant(body) or _may_be_deep(body)) or _is_read(body):
        return
    try:
        from_json(body)
    except ValueError:
        raise LossError(
            f"it nests over {MAX_DEPTH} levels deep, which not every worker reads. Flatten it, or "
            "send the deep part as text."
        ) from None
    raise LossError(
        "it contains NaN or Infinity, which JSON does not have. Send null or text instead."
    )


def _check_numbers(body: bytes) -> None:
    """Refuse a body with a number that no worker reads. It parses only a body that may have one.

    Raises:
        LossError: It has such a number.
    """
    if len(body) > MAX_DIGITS and _has_long_number(body) and not _is_read(body):
        raise LossError(
            f"it has a number of over {MAX_DIGITS:,} digits, which no worker reads. Send it as "
            "text."
        )


def _is_read(body: bytes) -> bool:
    try:
        from_json(body, allow_inf_nan=False)
    except ValueError:
        return False
    return True


def _has_long_number(body: bytes) -> bool:
    """Whether a body may have more digits in a row than Python reads, if only in a text."""
    half = MAX_DIGITS // 2  # a row of over twice as many digits fills at least one whole block
    return any(body[start : start + half].isdigit() for start in range(0, len(body), half))


def _may_be_deep(body: bytes) -> bool:
    """Whether a body may nest too deep. It counts brackets, also those in text."""
    brackets = body.translate(_ONE_KIND, _NOT_BRACKETS)
    if len(brackets) <= MAX_DEPTH:
        return False
    depth = 0
    for start in range(0, len(brackets), _BRACKETS_AT_ONCE):
        some = brackets[start : start + _BRACKETS_AT_ONCE]
        opening = some.count(b"[")
        # The greatest depth that these brackets can reach, in any order.
        if depth + opening > MAX_DEPTH:
            return True
        depth += 2 * opening - len(some)
    return False
