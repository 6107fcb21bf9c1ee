"""Raises an exception in another thread, where that leaves no lock of Python's own held.

Locks that are entered in C (`with threading.Lock()`) are safe. Some of Python's own functions take
or release one in Python code, between two steps of which the exception may come: those named here.
"""

from __future__ import annotations

import ctypes
import sys
from inspect import CO_VARARGS
from types import FrameType

_IMPORTING = "importlib._bootstrap"

_LOCKING = {
    "contextlib": {"__enter__", "__exit__"},
    "logging": {"acquire", "release", "_acquireLock", "_releaseLock"},
    "threading": {"__enter__", "__exit__", "_release_save", "_acquire_restore"},
}
"""Python's own functions, by module, that an exception may end while they hold a lock. Nothing
would release it, and the next thread to log, for one, would wait for good. So would a thread that
imports, wherever in `_IMPORTING` the exception comes."""

_RELEASING = {
    "contextlib": {"__exit__"},
    "logging": {"release"},
    "threading": {"__exit__", "release"},
}
"""Those that release one."""


class _Interruption(BaseException):
    """Raised in a thread to end what it does. No `except Exception` of its code catches it."""

    def __init__(self) -> None:
        """Release the lock that the thread is about to leave held."""
        super().__init__()
        _leave(sys._getframe(1), self)


def interrupt(thread: int) -> bool:
    """Have a thread raise an exception soon, as it next runs Python code.

    Args:
        thread: Its identifier.

    Returns:
        Whether it will. If not, it takes or releases a lock at the moment: try again soon.
    """
    if _is_locking(thread):
        return False
    _raise_in(thread, _Interruption)
    if _is_locking(thread):  # it ran on between the look and the raise
        take_back(thread)
        return False
    return True


def take_back(thread: int) -> None:
    """Have a thread raise nothing that it has not raised yet."""
    _raise_in(thread, None)


def is_interruption(error: BaseException) -> bool:
    """Whether an error is the exception that `interrupt` raises."""
    return isinstance(error, _Interruption)


def _is_locking(thread: int) -> bool:
    """Whether a thread is in a function that must not be interrupted."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return False
    module = frame.f_globals.get("__name__", "")
    return module == _IMPORTING or frame.f_code.co_name in _LOCKING.get(module, ())


def _leave(frame: FrameType, error: _Interruption) -> None:
    """Release the lock that a function of Python's own is about to leave held.

    From Python 3.13 on, a thread that waits for its turn raises the exception one step later than
    3.11 and 3.12 do. That step may be the start of a function that releases a lock, or the end of
    one that enters a generator.
    """
    code, values = frame.f_code, frame.f_locals
    module, name = frame.f_globals.get("__name__", ""), code.co_name
    at_start = frame.f_lineno == code.co_firstlineno
    if at_start and name in _RELEASING.get(module, ()):
        owner, *arguments = (values[each] for each in code.co_varnames[: code.co_argcount])
        if code.co_flags & CO_VARARGS:
            arguments += values[code.co_varnames[code.co_argcount]]
        getattr(owner, name)(*arguments)
    elif not at_start and (module, name) == ("contextlib", "__enter__"):
        values["self"].__exit__(type(error), error, None)


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    exception = ctypes.py_object(kind) if kind is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), exception)
