"""Does the same work for several items, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

MAX_THREADS = 8

_ItemT = TypeVar("_ItemT")
_ResultT = TypeVar("_ResultT")


def at_once(work: Callable[[_ItemT], _ResultT], items: Sequence[_ItemT]) -> list[_ResultT]:
    """Call a function for each item, on threads that end afterwards; one item needs no thread."""
    if len(items) <= 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(len(items), MAX_THREADS)) as pool:
        return list(pool.map(work, items))
