"""Makes things anew in a forked process.

A fork copies memory, open sockets, and one thread: the one that forked. So in the child

    a socket      is the parent's too: each process reads answers that are meant for the other
    a lock        stays locked for good if another thread of the parent held it
    a module      stays half loaded for good if another thread of the parent was loading it
    an executor   and an event loop wait for threads that do not exist there

`renew_in_children` makes a process replace them; all else here builds on it. This module imports
nothing of ours, so that every other module can import it.
"""

from __future__ import annotations

import _thread
import functools
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from types import MethodType
from typing import Any, Generic, TypeVar

T = TypeVar("T")

LONGEST_WAIT_SECONDS = 10.0
"""How long a fork waits for `forks_wait` blocks. Then it goes on: the parent must not hang."""

_renewals: set[weakref.ref[Callable[[], None]]] = set()
_of_parent: list[object] = []
_fork = threading.local()


def renew_in_children(renew: Callable[[], None]) -> None:
    """Call `renew` in every process that is forked from this one, before anything else runs there.

    Args:
        renew: A method or a function, which this does not keep alive. It must take no lock.
    """
    kind = weakref.WeakMethod if isinstance(renew, MethodType) else weakref.ref
    _renewals.add(kind(renew, _renewals.discard))


class Lock(_thread.RLock):  # type: ignore[misc]  # typeshed calls it final
    """A lock that is free in a forked process, even if the parent holds it.

    `with` enters and leaves it without running Python: the exception that ends a handler at its
    time limit may come between any two steps of Python code, and would leave it held for good.
    """

    def __init__(self) -> None:
        renew_in_children(self._renew)

    def _renew(self) -> None:
        self._at_fork_reinit()  # type: ignore[attr-defined]  # as threading.py calls it


_making = Lock()
"""Held while something is made, and while the process forks."""


def forks_wait() -> Lock:
    """Make other threads wait until the block is done before they fork.

    For loading modules, and for making objects whose making may hold other locks. Be quick.
    """
    return _making


class PerProcess(Generic[T]):
    """A value that every process makes for itself, when it first needs it.

    Attributes:
        made: The value of this process; None before it is made.
    """

    def __init__(self, make: Callable[[], T], made: T | None = None) -> None:
        """Set how to make the value.

        Args:
            make: Makes it. It may load modules: forks wait until it is done.
            made: A value for this process alone.
        """
        self._make = make
        self.made = made
        renew_in_children(self._renew)

    def get(self) -> T:
        """Return the value of this process, and make it first if need be."""
        made = self.made
        if made is None:
            with forks_wait():
                made = self.made
                if made is None:
                    made = self.made = self._make()
        return made

    def take(self) -> T | None:
        """Take out the value of this process, to close it; the next `get` makes another."""
        with forks_wait():
            made, self.made = self.made, None
        return made

    def _renew(self) -> None:
        # Kept: freeing it may wait for a lock, or change what the parent shares with us.
        _of_parent.append(self.made)
        self.made = None


class cached_property(functools.cached_property[T]):  # noqa: N801  it is used as functools' is
    """functools' own, without the lock that it has before Python 3.12."""

    def __init__(self, function: Callable[[Any], T]) -> None:
        super().__init__(function)
        self.lock = nullcontext()


def _before_fork() -> None:
    _fork.waited = _making.acquire(timeout=LONGEST_WAIT_SECONDS)


def _after_fork_in_parent() -> None:
    if _fork.waited:
        _making.release()


def _after_fork_in_child() -> None:
    for reference in list(_renewals):
        renew = reference()
        if renew is not None:
            renew()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
