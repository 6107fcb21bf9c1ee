"""What is accepted reaches its handler as it was given; anything else is refused."""

from __future__ import annotations

import json
import math
from collections import ChainMap, UserDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from ipaddress import IPv4Address
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Generic, Literal, Optional, TypeVar, cast
from uuid import UUID

import pytest
from pydantic import (
    AliasChoices,
    AnyUrl,
    Base64Bytes,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    PlainSerializer,
    PrivateAttr,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    SerializeAsAny,
    computed_field,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)
from typing_extensions import TypedDict

from letsgo_queue import Message, MessageInvalid
from letsgo_queue.message import encode
from letsgo_queue.worker.handler import Handler
from tests.letsgo_queue.support import SECRET, incoming, printed

NAN = float("nan")


def name_of(case: object) -> str:
    """The name of a case: its model, or its text."""
    payload = getattr(case, "payload", case)
    return payload[:50] if isinstance(payload, str) else type(payload).__name__


def read(message: BaseModel) -> BaseModel:
    """The message as a handler gets it that is annotated with its model."""

    def on_message(message: Any) -> None: ...

    on_message.__annotations__ = {"message": type(message)}
    (got,) = Handler(on_message).arguments(incoming(encode(message)[1].decode()))
    assert isinstance(got, BaseModel)
    return got


def of(payload: Any, annotation: Any = None) -> Message[Any]:
    """A message with a payload, whose model says its type."""
    kind = type(payload) if annotation is None else annotation
    model: type[Message[Any]] = cast("Any", Message)[kind]
    return model(type="a", payload=payload)


class Base(BaseModel):
    kind: str


class Wide(Base):
    radius: float


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class OpenWide(Open):
    radius: float


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Word(StrEnum):
    HELLO = "hello"


class Everything(BaseModel):
    """One of each type that most models have."""

    text: str = "Grüße"
    number: int = -(2**70)
    real: float = 0.1 + 0.2
    precise: Decimal = Decimal("1.10")
    yes: bool = True
    none: int | None = None
    data: bytes = b"bytes"
    at: datetime = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    naive: datetime = datetime(2026, 1, 2)
    day: date = date(2026, 1, 2)
    clock: time = time(3, 4, 5)
    lasts: timedelta = timedelta(days=-1, microseconds=1)
    uuid: UUID = UUID(int=7)
    colour: Colour = Colour.RED
    level: Level = Level.HIGH
    word: Word = Word.HELLO
    fixed: Literal["x", 1, True] = "x"
    many: list[Base] = [Base(kind="a")]
    pair: tuple[int, str] = (1, "a")
    unique: set[int] = {1, 2}
    frozen: frozenset[str] = frozenset({"a"})
    lines: Sequence[str] = ["a", "b"]
    table: Mapping[str, int] = {"a": 1}
    numbered: dict[int, str] = {1: "a"}
    either: int | str | list[str] | None = "1"
    url: AnyUrl = AnyUrl("https://example.com/")
    address: IPv4Address = IPv4Address("10.0.0.1")
    path: PurePosixPath = PurePosixPath("/tmp/x")
    encoded: Base64Bytes = b"aGVsbG8="
    anything: Any = {"a": [1, {"b": None}], "é": 2.5}
    positive: Annotated[int, Field(gt=0)] = 1
    named: str = Field(default="x", alias="otherName")
    _private: int = PrivateAttr(default=1)


class Tree(BaseModel):
    children: list[Tree] = []
    size: float = 1.0
    left: Optional[Tree] = None  # noqa: UP045  as people write it


class Total(BaseModel):
    number: int = 1

    @computed_field  # type: ignore[prop-decorator]  # pydantic's own advice
    @property
    def double(self) -> int:
        return 2 * self.number


class Shown(BaseModel):
    """Writes its secret: it says so."""

    token: SecretStr

    @field_serializer("token")
    def show(self, token: SecretStr) -> str:
        return token.get_secret_value()


class Words(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings")

    number: float


class Cut(BaseModel):
    """Changes what it reads, but not what it has read before."""

    text: str

    @field_validator("text")
    @classmethod
    def cut(cls, text: str) -> str:
        return text[:3]


@dataclass
class Record:
    name: str
    tags: list[str] = field(default_factory=list)


class Price(BaseModel):
    amount: Decimal


class Row(TypedDict):
    name: str
    at: datetime


WIDE_ROW = {"name": "a", "at": datetime(2026, 1, 2), "more": SECRET}

ValueT = TypeVar("ValueT")


class Page(BaseModel, Generic[ValueT]):
    items: list[ValueT]


class Job(BaseModel):
    """A message of no class of ours."""

    type: Literal["job"] = "job"
    number: int


@pytest.mark.parametrize(
    "message",
    [
        of(Everything()),
        of(Everything(anything=[None])),
        of(Tree(children=[Tree(), Tree(left=Tree())])),
        of(Total()),
        of(Shown(token=SecretStr(SECRET))),
        of(Cut(text="abcdef")),
        of(Record("a", ["b"])),
        of(Price(amount=Decimal("1.10"))),
        of({"name": "a", "at": datetime(2026, 1, 2, tzinfo=UTC)}, Row),
        of(Page[Base](items=[Base(kind="a")])),
        of(RootModel[list[int]]([1, 2])),
        of([1, None, 2.5], list[float | None]),
        of(None, Tree | None),
        of(None, type(None)),
        of(Open.model_validate({"a": [1], "b": None})),
        of(OpenWide(radius=2.5), Open),
        of(OpenWide(radius=2.5), SerializeAsAny[Open]),
        of(SecretStr("")),
        of(date(2026, 1, 2), date | datetime),
        Job(number=1),
    ],
    ids=name_of,
)
def test_a_model_arrives_as_it_was_given(message: BaseModel) -> None:
    got = read(message)

    assert got == message or got.model_dump() == message.model_dump(serialize_as_any=True)
    assert encode(got) == encode(message)


def test_a_number_that_is_written_as_text_arrives() -> None:
    got = read(of(Words(number=NAN)))

    assert isinstance(got, Message)
    assert math.isnan(got.payload.number)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    @computed_field  # type: ignore[prop-decorator]  # pydantic's own advice
    @property
    def total(self) -> int:
        return 1


class JsonText(BaseModel):
    numbers: Json[list[int]]


class TwoNames(BaseModel):
    order_id: str = Field(serialization_alias="orderId")


class OtherNames(BaseModel):
    order_id: str = Field(validation_alias=AliasChoices("id", "orderId"))


class Excluded(BaseModel):
    note: str = Field(exclude=True)


class ExcludedDefault(BaseModel):
    note: str = Field(default="", exclude=True)


class Renamed(BaseModel):
    name: str

    @model_serializer
    def write(self) -> dict[str, str]:
        return {"other": self.name}


class Angled(BaseModel):
    number: Annotated[int, PlainSerializer(lambda number: f"<{number}>")]


class Doubled(BaseModel):
    number: Annotated[int, BeforeValidator(lambda number: int(number) * 2)]


class Picky(BaseModel):
    name: str

    @model_validator(mode="before")
    @classmethod
    def refuse(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("name") == "":
            raise KeyError(SECRET)
        return value


class Encoded(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64")

    data: bytes


class Hidden(BaseModel):
    token: SecretStr


class HiddenBytes(BaseModel):
    tokens: list[SecretBytes]


class Bounded(BaseModel):
    number: Annotated[int, Field(ge=0)] = 0
    kind: Literal["a", "b"] = "a"
    lines: list[int] = []
    maybe: str = cast("str", None)  # as people write it


class Holder(BaseModel):
    shape: Base
    shapes: list[Base] = []


class Sensor(BaseModel):
    value: float
    last: float | None = None


@dataclass
class Reading:
    celsius: float


@dataclass
class Account:
    """Its password is written as asterisks, and its cache has no part in comparisons."""

    password: SecretStr
    cache: int = field(default=0, compare=False)


class Untyped(BaseModel):
    value: Any


class Unsaid(BaseModel):
    type: ClassVar[str] = "a"
    payload: int = 1


class Said(BaseModel):
    type: str = Field(default="a", alias="kind")
    payload: int = 1


def changed(model: BaseModel, **values: object) -> BaseModel:
    """The model after its fields were assigned to, which nothing checks."""
    for name, value in values.items():
        setattr(model, name, value)
    return model


NOT_READ = "cannot read what it writes: payload"
REFUSED = [
    (of(Strict()), f"{NOT_READ}.total (extra_forbidden)"),
    (of(JsonText.model_validate({"numbers": "[1, 2]"})), f"{NOT_READ}.numbers (json_type)"),
    (of(TwoNames(order_id="1")), f"{NOT_READ}.order_id (missing)"),
    (of(OtherNames.model_validate({"id": "1"})), f"{NOT_READ}.id (missing)"),
    (of(Excluded(note=SECRET)), f"{NOT_READ}.note (missing)"),
    (of(Renamed(name=SECRET)), f"{NOT_READ}.name (missing)"),
    (of(Angled(number=1)), f"{NOT_READ}.number (int_parsing)"),
    (of(Picky.model_construct(name="")), "a validator raises KeyError"),
    (of(changed(Bounded(), number=-1)), f"{NOT_READ}.number (greater_than_equal)"),
    (of(changed(Bounded(), kind=SECRET)), f"{NOT_READ}.kind (literal_error)"),
    (of(changed(Bounded(), lines=[SECRET])), f"{NOT_READ}.lines[0] (int_parsing)"),
    (of(Base.model_construct(kind=5)), f"{NOT_READ}.kind (string_type)"),
    (of(Bounded()), f"{NOT_READ}.maybe (string_type)"),
    (of(ExcludedDefault(note=SECRET)), "payload.note would not arrive as it is"),
    (of(Doubled(number=1)), "payload.number would not arrive as it is"),
    (of(Encoded(data=b"abc")), "payload.data would not arrive as it is"),
    (of("2026-01-02", date | str), "payload would not arrive as it is"),
    (of(Hidden(token=SecretStr(SECRET))), "payload.token is a SecretStr"),
    (of(HiddenBytes(tokens=[SecretBytes(b"x")])), "payload.tokens[0] is a SecretBytes"),
    (of(SecretStr(SECRET), Any), "payload is a SecretStr"),
    (of({"token": [SecretStr(SECRET)]}, Any), "payload.token[0] is a SecretStr"),
    (of(Untyped(value=Hidden(token=SecretStr(SECRET)))), "payload.value.token is a SecretStr"),
    (of(Wide(kind="a", radius=1), Base), "payload is a Wide, and its handler would read a Base"),
    (of([Wide(kind="a", radius=1)], list[Base]), "payload[0] is a Wide"),
    (of(Holder(shape=Wide(kind="a", radius=1))), "payload.shape is a Wide"),
    (of(Wide(kind="a", radius=1), SerializeAsAny[Base]), "payload is a Wide"),
    (of(Sensor(value=NAN)), "payload.value is NaN or Infinity"),
    (of(Sensor(value=1, last=-float("inf"))), "payload.last is NaN or Infinity"),
    (of([Sensor(value=NAN)], Any), "payload[0].value is NaN or Infinity"),
    (of(Untyped(value={"x": NAN})), "payload.value.x is NaN or Infinity"),
    (of(NAN, float), "contains NaN or Infinity"),
    (of(Reading(NAN)), "contains NaN or Infinity"),
    (of(changed(Price(amount=Decimal(1)), amount=Decimal("NaN"))), f"{NOT_READ}.amount (finite"),
    (of([Price.model_construct(amount=Decimal("-Infinity"))], list[Price]), "[0].amount (finite"),
    (of(Account(SecretStr(SECRET))), "payload.password is a SecretStr"),
    (Message[Row].model_construct(type="a", payload=WIDE_ROW), "payload would not arrive as it"),
    (of({"key": SecretBytes(b"\xff")}, Any), "payload.key is a SecretBytes"),
    (of({1: "a", "1": "b"}, Any), "payload has keys that are the same in JSON"),
    (of(Untyped(value=[{1: "a", "1": "b"}])), "payload.value[0] has keys that are the same"),
    (of(10**5000, int), "a number of over 4,300 digits"),
    (of({"n": [-(10**4300)]}, Any), "a number of over 4,300 digits"),
    (Unsaid(), "its JSON has no `type`"),
    (Said(kind="a"), "its JSON has no `type`"),
]


@pytest.mark.parametrize(("message", "text"), REFUSED, ids=name_of)
def test_a_model_that_would_arrive_changed_is_refused(message: BaseModel, text: str) -> None:
    with pytest.raises(MessageInvalid) as refused:
        encode(message)

    assert text in str(refused.value)
    assert "'a'" in str(refused.value)
    assert SECRET not in printed(refused.value)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (Sensor(value=NAN), "payload.value is NaN or Infinity"),
        ({"deep": [Sensor(value=1, last=NAN)]}, "payload.deep[0].last is NaN or Infinity"),
        (Record(NAN), "payload.name is NaN or Infinity"),  # type: ignore[arg-type]
        (Hidden(token=SecretStr(SECRET)), "payload.token is a SecretStr"),
        ({"a": (Hidden(token=SecretStr(SECRET)),)}, "payload.a[0].token is a SecretStr"),
        (SecretBytes(SECRET.encode()), "payload is a SecretBytes"),
        (Secret[int](7), "payload is a Secret"),
        ([{SecretStr(SECRET): 1}], "payload[0] has a key that is a secret"),
        (range(3), "payload is of type range"),
        ({"a": deque([1])}, "payload.a is of type deque"),
        ({"a": deque([1, object()])}, "payload.a[1] is of type object"),
        ({1: "a", "1": "b"}, "payload has keys that are the same in JSON"),
        ({True: "a", "true": "b"}, "payload has keys that are the same in JSON"),
        ({None: "a", "None": "b"}, "payload has keys that are the same in JSON"),
        ({1.5: "a", "1.5": "b"}, "payload has keys that are the same in JSON"),
        ({b"a": 1, "a": 2}, "payload has keys that are the same in JSON"),
        ({Colour.RED: 1, "red": 2}, "payload has keys that are the same in JSON"),
        ({date(2026, 1, 2): 1, "2026-01-02": 2}, "payload has keys that are the same in JSON"),
        ([{"x": MappingProxyType({1: "a", "1": "b"})}], "payload[0].x has keys that are the same"),
        (10**5000, "a number of over 4,300 digits"),
        ({"n": [-(10**4300)]}, "a number of over 4,300 digits"),
    ],
    ids=name_of,
)
def test_what_a_mapping_would_lose_is_refused(payload: object, text: str) -> None:
    with pytest.raises(MessageInvalid) as refused:
        encode({"type": "a", "payload": payload})

    assert text in str(refused.value)
    assert SECRET not in printed(refused.value)


@pytest.mark.parametrize(
    ("payload", "arrives"),
    [
        (Wide(kind="a", radius=2.5), {"kind": "a", "radius": 2.5}),
        (
            Holder(shape=Wide(kind="a", radius=2.5)),
            {"shape": {"kind": "a", "radius": 2.5}, "shapes": []},
        ),
        ([Strict(), JsonText.model_validate({"numbers": "[1]"})], [{"total": 1}, {"numbers": [1]}]),
        (TwoNames(order_id="1"), {"orderId": "1"}),
        (Shown(token=SecretStr("s3cret")), {"token": "s3cret"}),
        (Words(number=NAN), {"number": "NaN"}),
        (Sensor(value=1), {"value": 1.0, "last": None}),
        ({1: "a", "2": "b"}, {"1": "a", "2": "b"}),
        (MappingProxyType({"a": {"b": 1}}), {"a": {"b": 1}}),
        ([ChainMap({"a": 1}, {"b": 2})], [{"a": 1, "b": 2}]),
        ({"a": UserDict({"b": UserDict(c=1)})}, {"a": {"b": {"c": 1}}}),
        (Untyped(value=MappingProxyType({"a": 1})), {"value": {"a": 1}}),
        (10**4299, 10**4299),
        ("9" * 5_000, "9" * 5_000),
        ((1, {2}, frozenset({3})), [1, [2], [3]]),
        (Colour.RED, "red"),
        ("NaN, Infinity, **********", "NaN, Infinity, **********"),
    ],
    ids=name_of,
)
def test_what_json_has_a_place_for_arrives(payload: object, arrives: object) -> None:
    fields = {"type": "a", "payload": payload}

    assert json.loads(encode(fields)[1]) == {"type": "a", "payload": arrives}
    assert encode(MappingProxyType(fields)) == encode(fields)
