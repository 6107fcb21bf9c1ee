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
    """The filter and the order of a list, read from an address. Each list adds its own filters.

    Attributes:
        type: Show only rows of this type; empty for all.
        age: Show only rows older than this, a key of `AGES`; empty for all.
        sort: Sort by this, a key of `SORTED_BY`.
        down: Whether the highest comes first.
    """

    AGES: ClassVar[Mapping[str, int]]
    """The ages that the filter offers, in seconds."""

    SORTED_BY: ClassVar[Mapping[str, Callable[..., object]]]
    """Each column's sort key of a row."""

    type: str = ""
    age: str = ""
    sort: str = ""
    down: bool = False

    @classmethod
    def of(cls, query: QueryParams) -> Self:
        """Read an address, and ignore unknown values in it."""
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
        """Return the rows, sorted."""
        # A column's keys are of one type, so they can be compared.
        key = cast("Callable[[RowT], str]", self.SORTED_BY[self.sort])
        return sorted(rows, key=key, reverse=self.down)

    def query(self, **changes: object) -> str:
        """Return the query of this page's address, with some values changed."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values |= {"down": "1" if self.down else "0", **changes}
        return urlencode({name: value for name, value in values.items() if value})

    def sorted_by(self, column: str) -> str:
        """Return the query that sorts by a column, in reverse if the page already sorts by it."""
        down = not self.down if self.sort == column else type(self)().down
        return self.query(sort=column, down="1" if down else "0")


@dataclass(frozen=True, slots=True)
class Paged(Generic[RowT]):
    """A page of a list.

    Attributes:
        rows: Its rows.
        count: How many rows the list has.
        number: The number of the page, from 1.
        last: The number of the last page.
    """

    rows: Sequence[RowT]
    count: int
    number: int
    last: int

    @classmethod
    def of(cls, rows: Sequence[RowT], query: QueryParams) -> Self:
        """Return the page of a list that an address names."""
        number = number_in(query, "page") or 1
        first = (number - 1) * PAGE_ROWS
        last = max((len(rows) - 1) // PAGE_ROWS, 0) + 1
        return cls(rows[first : first + PAGE_ROWS], len(rows), number, last)
