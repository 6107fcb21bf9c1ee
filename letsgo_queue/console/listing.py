"""A list that an address filters and sorts, shown page by page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, Self, TypeVar, cast
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from letsgo_queue.console.pages import number_in

PAGE_ROWS = 100

HOUR, DAY = 3_600, 86_400

RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True)
class Wanted(Generic[RowT]):
    """Which rows a page shows, as its address says. Each kind of list adds its own filters.

    Attributes:
        type: Of this type; empty for all.
        age: Older than this, a key of `AGES`; empty for all.
        sort: What they are sorted by, a key of `SORTED_BY`.
        down: Whether the highest comes first.
    """

    AGES: ClassVar[Mapping[str, int]]
    """What the filter offers, in seconds."""

    SORTED_BY: ClassVar[Mapping[str, Callable[..., object]]]
    """What of a row each column sorts by."""

    type: str = ""
    age: str = ""
    sort: str = ""
    down: bool = False

    @classmethod
    def of(cls, query: QueryParams) -> Self:
        """Read an address; what it does not know, it leaves out."""
        given: dict[str, Any] = {
            field.name: query[field.name] for field in fields(cls) if query.get(field.name)
        }
        if given.get("age") not in cls.AGES:
            given.pop("age", None)
        if given.get("sort") not in cls.SORTED_BY:
            given.pop("sort", None)
        if "down" in given:
            given["down"] = given["down"] == "1"
        return cls(**given)

    def in_order(self, rows: Sequence[RowT]) -> Sequence[RowT]:
        """These rows, sorted."""
        # Whatever it sorts by, what it is sorted by compares with itself.
        key = cast("Callable[[RowT], str]", self.SORTED_BY[self.sort])
        return sorted(rows, key=key, reverse=self.down)

    def query(self, **changes: object) -> str:
        """The address of a page that differs in this."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values |= {"down": "1" if self.down else "0", **changes}
        return urlencode({name: value for name, value in values.items() if value})

    def sorted_by(self, column: str) -> str:
        """The address that sorts by a column, and the other way round if it is sorted by it."""
        down = not self.down if self.sort == column else type(self)().down
        return self.query(sort=column, down="1" if down else "0")


@dataclass(frozen=True, slots=True)
class Paged(Generic[RowT]):
    """A page of a list.

    Attributes:
        rows: Its rows.
        count: How many rows the list has.
        number: Which page it is, from 1.
        last: Which one is the last.
    """

    rows: Sequence[RowT]
    count: int
    number: int
    last: int

    @classmethod
    def of(cls, rows: Sequence[RowT], query: QueryParams) -> Self:
        """The page of a list that an address names."""
        number = number_in(query, "page") or 1
        first = (number - 1) * PAGE_ROWS
        last = max((len(rows) - 1) // PAGE_ROWS, 0) + 1
        return cls(rows[first : first + PAGE_ROWS], len(rows), number, last)
