"""Finds the place in the user's code where an error was raised.

A traceback ends where the error was raised, which may be deep in a library. People look for the
last frame of their own code, which is not in these packages, in Python's library, or in an
installed package. If the handler is in an installed package, that package is their code as well.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePath
from traceback import walk_tb
from types import FrameType, TracebackType

from pydantic import BaseModel, Field

from letsgo_queue.text import printable, shown

_OURS = {"letsgo_queue", "claimcheck"}
_INSTALLED = ("site-packages", "dist-packages")
_OF_PYTHON = sysconfig.get_path("stdlib") + os.sep

_MOST_CHARACTERS = 200
_MOST_ERRORS = 20
"""The most errors of one chain that are looked at."""


class Place(BaseModel, frozen=True):
    """A line of code.

    Attributes:
        file: Its file, relative to the working directory if it is in there.
        line: The number of the line.
        function: The function or method that it is in.
    """

    file: str = Field(max_length=_MOST_CHARACTERS)
    line: int
    function: str = Field(max_length=_MOST_CHARACTERS)

    def __str__(self) -> str:
        """Write it for people: `shop/orders.py:12 in on_order`."""
        return f"{self.file}:{self.line} in {self.function}"


def place_of(error: BaseException, *, package: str = "") -> Place | None:
    """Return the last line of the user's code that an error passed through; None if there is none.

    Args:
        error: The error. If it passed no such line, the errors that caused it are looked at.
        package: The top-level package of the handler, which is the user's even if it is installed.
    """
    for count, each in enumerate(_chain(error)):
        if count == _MOST_ERRORS:
            return None
        if (place := _last_of_user(each.__traceback__, package)) is not None:
            return place
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes. A group's errors come first: they tell more than the group."""
    while error is not None:
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                yield from _chain(each)
        yield error
        error = error.__cause__ or error.__context__


def _last_of_user(traceback: TracebackType | None, package: str) -> Place | None:
    frames = [each for each in walk_tb(traceback) if _is_users(each[0], package)]
    if not frames:
        return None
    frame, line = frames[-1]
    function = frame.f_code.co_qualname.replace(".<locals>", "")
    return Place(
        file=_shortened(frame.f_code.co_filename),
        line=line,
        function=shown(function, _MOST_CHARACTERS),
    )


def is_ours(frame: FrameType) -> bool:
    """Whether a frame belongs to one of these packages."""
    return _package_of(frame) in _OURS


def raised_by_us(error: BaseException) -> bool:
    """Whether one of these packages raised an error of its own."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    own_class = type(error).__module__.partition(".")[0] in _OURS
    return own_class and bool(frames) and is_ours(frames[-1])


def _is_users(frame: FrameType, package: str) -> bool:
    file, owner = frame.f_code.co_filename, _package_of(frame)
    if owner in _OURS or file.startswith("<"):
        return False
    if any(part in _INSTALLED for part in PurePath(file).parts):
        return owner == package
    return not file.startswith(_OF_PYTHON)


def _package_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _shortened(file: str) -> str:
    """Shorten a path: it begins below the working directory, or below the installed packages."""
    for folder in _INSTALLED:
        file = file.rpartition(f"{os.sep}{folder}{os.sep}")[2]
    with suppress(OSError):  # the working directory was removed
        file = file.removeprefix(f"{Path.cwd()}{os.sep}")
    return printable(file)[-_MOST_CHARACTERS:]
