"""Message attributes, which travel beside the body, and count towards SQS's size limit.

The rules are those of SQS, checked here because emulators let more pass:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeAlias

from letsgo_queue.errors import MessageInvalid

MAX_ATTRIBUTES = 10
"""Attributes that SQS takes with one message."""

MAX_NAME_LENGTH = 256

DUE_AT = "LetsGoDueAt"
"""The attribute that says when a message is due (seconds since 1970)."""

FAILURE = "LetsGoFailure"
"""The attribute that says why a message is a dead letter; see `letsgo_queue.failure`."""

TRACE = "traceparent"
"""The attribute that names the span of the sender, as W3C Trace Context writes it; see
`letsgo_queue.otel`. Other tracing libraries write and read it too, so anybody may set it."""

RESERVED_NAMES = (DUE_AT, FAILURE)
"""Names of attributes that the library sets, and reads on arrival. No sender may use them, and no
handler sees them."""

MAX_DIGITS = 38
"""The most digits of a number, without zeros at its two ends."""

AttributeValue: TypeAlias = "str | int | float | Decimal | bytes | MessageAttribute"
"""A value for `enqueue(attributes=...)`: text, a number, bytes, or a `MessageAttribute`."""

_DATA_TYPES = frozenset({"String", "Number", "Binary"})

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,6})?")
_POWERS_OF_TEN = range(-128, 127)
"""The powers of ten that the first digit of a number may have: 10^-128 to 10^+126."""

# SendMessage takes #x9 | #xA | #xD | #x20-#xD7FF | #xE000-#xFFFD | #x10000-#x10FFFF. All others:
_REFUSED_BY_SQS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class MessageAttribute:
    """One message attribute.

    Attributes:
        data_type: `String`, `Number` or `Binary`. A label may follow, which SQS keeps and does not
            read: `Number.java.lang.Long`. Handlers get attributes without it.
        value: Text for `String` and `Number`, bytes for `Binary`.
    """

    data_type: str
    value: str | bytes = field(repr=False)

    @property
    def kind(self) -> str:
        """Its data type without the label."""
        return self.data_type.partition(".")[0]

    def without_label(self) -> MessageAttribute:
        """The attribute as handlers get it."""
        return MessageAttribute(self.kind, self.value)

    def size(self, name: str) -> int:
        """Bytes that SQS counts for this attribute under `name`: name, data type and value."""
        value = self.value.encode() if isinstance(self.value, str) else self.value
        return len(name.encode()) + len(self.data_type.encode()) + len(value)


def received_attribute(data_type: str, text: str | None, data: bytes | None) -> MessageAttribute:
    """Make an attribute from the data type and value that SQS delivered.

    Raises:
        TypeError: It has no value of that type.
    """
    value = data if data_type.partition(".")[0] == "Binary" else text
    if value is None:
        raise TypeError
    return MessageAttribute(data_type, value)


def attributes_size(attributes: Mapping[str, AttributeValue]) -> int:
    """Bytes that `attributes` use of the message's size limit."""
    if not attributes:  # called several times for each message, and most have no attributes
        return 0
    return sum(attribute.size(name) for name, attribute in spell_out(attributes).items())


def with_numbers(
    attributes: Mapping[str, AttributeValue], numbers: Mapping[str, int]
) -> Mapping[str, AttributeValue]:
    """Add numbers that have to travel with the message.

    Raises:
        MessageInvalid: There is no room for them.
    """
    if not numbers:
        return attributes
    together = {**attributes, **numbers}
    if len(together) > MAX_ATTRIBUTES:
        raise MessageInvalid(
            f"{len(attributes)} attributes: SQS takes at most {MAX_ATTRIBUTES} with a message, and "
            f"{', '.join(numbers)} has to go with it. Move some into the payload."
        )
    return together


def spell_out(attributes: Mapping[str, AttributeValue]) -> dict[str, MessageAttribute]:
    """Give each plain value its data type.

    Raises:
        MessageInvalid: A value is not text, a number or bytes.
    """
    return {name: _spell_out(name, value) for name, value in attributes.items()}


def check_attributes(
    attributes: Mapping[str, AttributeValue] | None,
) -> dict[str, MessageAttribute]:
    """Spell out what the caller gave, and check that SQS takes it.

    Raises:
        MessageInvalid: Too many, or a name or value that SQS refuses.
    """
    if attributes is None:
        return {}
    if not isinstance(attributes, Mapping):
        raise MessageInvalid(
            f"attributes are a {type(attributes).__name__}: give a mapping of names to values."
        )
    if len(attributes) > MAX_ATTRIBUTES:
        raise MessageInvalid(
            f"{len(attributes)} attributes: SQS takes at most {MAX_ATTRIBUTES} with a message. "
            "Move some into the payload."
        )
    for name in attributes:
        _check_name(name)
    spelled_out = spell_out(attributes)
    for name, attribute in spelled_out.items():
        _check_value(name, attribute)
    return spelled_out


def refused_characters(text: str) -> Iterable[str]:
    """The characters of `text` that SQS refuses, as `U+0000`, each once."""
    return sorted({f"U+{ord(character):04X}" for character in _REFUSED_BY_SQS.findall(text)})


def without_refused_characters(text: str) -> str:
    """`text` without the characters that SQS refuses."""
    return _REFUSED_BY_SQS.sub("", text)


def _spell_out(name: str, value: AttributeValue) -> MessageAttribute:
    match value:
        case MessageAttribute():
            return value
        case str():
            return MessageAttribute("String", value)
        case bytes():
            return MessageAttribute("Binary", value)
        case bool():
            raise MessageInvalid(f"attribute {name!r}: SQS has no booleans; give 0, 1 or text.")
        # Their subclasses (an IntEnum, numpy's float64) write themselves in other ways.
        case int():
            return MessageAttribute("Number", str(Decimal(int(value))))
        case float():
            return MessageAttribute("Number", repr(float(value)))
        case Decimal():
            return MessageAttribute("Number", str(value))
        case _:
            raise MessageInvalid(
                f"attribute {name!r}: {type(value).__name__} is not text, a number or bytes."
            )


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise MessageInvalid(f"an attribute name is of type {type(name).__name__}: give text.")
    reserved = name.lower().startswith(("aws.", "amazon."))
    if reserved or len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name):
        raise MessageInvalid(
            f"attribute name {name[:64]!r}: SQS takes letters, digits, '_', '-' and single inner "
            f"'.', up to {MAX_NAME_LENGTH} characters, not starting with 'AWS.' or 'Amazon.'."
        )


def _check_value(name: str, attribute: MessageAttribute) -> None:
    value, kind = attribute.value, _check_data_type(name, attribute.data_type)
    if not isinstance(value, bytes if kind == "Binary" else str):
        raise MessageInvalid(
            f"attribute {name!r} is a {kind!r} that is given as {type(value).__name__}: SQS takes "
            "String and Number with text, and Binary with bytes."
        )
    if not value:
        raise MessageInvalid(f"attribute {name!r} is empty: SQS refuses that. Leave it out.")
    if isinstance(value, str) and (refused := refused_characters(value)):
        raise MessageInvalid(
            f"attribute {name!r} has characters that SQS refuses: {', '.join(refused)}."
        )
    if kind == "Number":
        _check_number(name, value)


def _check_data_type(name: str, data_type: object) -> str:
    """Check a data type, and return it without its label."""
    kind, dot, label = data_type.partition(".") if isinstance(data_type, str) else ("", "", "")
    if kind not in _DATA_TYPES:
        raise MessageInvalid(
            f"attribute {name!r} has the data type {data_type!r:.64}: SQS has String, Number and "
            "Binary, each with a label if you like (`Number.int`)."
        )
    if dot and (not label or len(f"{kind}.{label}") > MAX_NAME_LENGTH or refused_characters(label)):
        raise MessageInvalid(
            f"attribute {name!r}: the label of its data type is empty, has characters that SQS "
            f"refuses, or makes the data type longer than {MAX_NAME_LENGTH} characters."
        )
    return kind


def _check_number(name: str, value: str | bytes) -> None:
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        raise MessageInvalid(
            f"attribute {name!r} is not a finite number. Send it as text, or leave it out."
        )
    number = Decimal(value)
    # Count the digits of the text: arithmetic would round the number first.
    digits = len("".join(map(str, number.as_tuple().digits)).strip("0"))
    if digits > MAX_DIGITS or (number and number.adjusted() not in _POWERS_OF_TEN):
        raise MessageInvalid(
            f"attribute {name!r}: SQS takes numbers of up to {MAX_DIGITS} digits, from 10^-128 to "
            "10^126. Send it as text."
        )
