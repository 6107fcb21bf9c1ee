"""What is made anew in a forked process.

A fork copies memory and open sockets, and one thread: the one that forked. So in the child

    a socket      is the parent's too: each of the two reads answers that are meant for the other
    a lock        stays locked for good where another thread of the parent held it
    a module      stays half loaded for good where another thread of the parent was loading it
    an executor   and an event loop wait for threads that are not there

Whoever has one of these takes it from here. The module imports nothing of ours, so that every other
one can stand on it.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import MethodType, TracebackType
from typing import Any, Generic, NoReturn, Self, TypeVar, overload

T = TypeVar("T")

LONGEST_WAIT_SECONDS = 10.0
"""How long a fork waits for `forks_wait` blocks: better a child that may hang than a parent."""

_renewals: set[weakref.ref[Callable[[], None]]] = set()
_left_to_parent: list[object] = []
_blocks = threading.Condition()
_threads_in_blocks: list[int] = []


def renew_in_children(renew: Callable[[], None]) -> None:
    """Call `renew` in every process that is forked from this one, before anything else runs there.

    Args:
        renew: A method, whose object is not kept alive by this, or a function. It must take no
            lock, and finds nobody else at work.
    """
    kind = weakref.WeakMethod if isinstance(renew, MethodType) else weakref.ref
    _renewals.add(kind(renew, _renewals.discard))


class Lock:
    """A lock that is free in a forked process, whoever holds it in the parent."""

    def __init__(self) -> None:
        self._renew()
        renew_in_children(self._renew)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _renew(self) -> None:
        self._lock = threading.Lock()


class PerProcess(Generic[T]):
    """A thing that every process makes for itself, when it first needs it.

    Attributes:
        made: What this process has made; None before.
    """

    def __init__(self, make: Callable[[], T], made: T | None = None) -> None:
        """Say how it is made.

        Args:
            make: Makes it. It may load modules: forks wait until it is done.
            made: One for this process alone.
        """
        self._make = make
        self._lock = Lock()
        self.made = made
        renew_in_children(self._leave_to_parent)

    def get(self) -> T:
        """The one of this process."""
        made = self.made
        if made is None:
            with self._lock, forks_wait():
                made = self.made
                if made is None:
                    made = self.made = self._make()
        return made

    def forget(self, made: T) -> None:
        """Have the next call of `get` make another, if this is the one that it would give."""
        with self._lock:
            if self.made is made:
                self.made = None

    def _leave_to_parent(self) -> None:
        if self.made is not None:
            # Freeing it may wait for a lock, or change what the parent shares with us.
            _left_to_parent.append(self.made)
            self.made = None


class cached_property(Generic[T]):  # noqa: N801  it is used as functools' is
    """functools' own, without the lock that it has before Python 3.12."""

    def __init__(self, function: Callable[[Any], T]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> Self | T:
        if instance is None:
            return self
        value = vars(instance)[self._name] = self._function(instance)
        return value


@contextmanager
def forks_wait() -> Iterator[None]:
    """Have other threads not fork before the block is done.

    For loading modules and for making what may hold locks of others: it must be quick.
    """
    thread = threading.get_ident()
    with _blocks:
        _threads_in_blocks.append(thread)
    try:
        yield
    finally:
        with _blocks:
            _threads_in_blocks.remove(thread)
            _blocks.notify_all()


class child_ends_here:  # noqa: N801  it is used as a function is
    """End a process that is forked in the block where the block ends.

    What called the block is the parent's: two processes must not go on with it. The child ends as
    a program does that returns, raises, or calls `sys.exit`, but for what `atexit` has: that is the
    parent's too.
    """

    __slots__ = ("_process",)

    def __enter__(self) -> None:
        self._process = os.getpid()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if os.getpid() != self._process:
            _end(error)


def _end(error: BaseException | None) -> NoReturn:
    """End this process."""
    code = 1
    try:
        if error is None:
            code = 0
        elif not isinstance(error, SystemExit):
            sys.excepthook(type(error), error, error.__traceback__)
        elif error.code is None or isinstance(error.code, int):
            code = error.code or 0
        else:
            sys.stderr.write(f"{error.code}\n")
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # full, or closed
                stream.flush()
    finally:
        os._exit(code & 0xFF)


def _before_fork() -> None:
    _blocks.acquire()
    thread = threading.get_ident()
    _blocks.wait_for(
        lambda: all(each == thread for each in _threads_in_blocks), LONGEST_WAIT_SECONDS
    )


def _after_fork_in_parent() -> None:
    _blocks.release()


def _after_fork_in_child() -> None:
    thread = threading.get_ident()
    _threads_in_blocks[:] = [each for each in _threads_in_blocks if each == thread]
    _blocks.release()
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
