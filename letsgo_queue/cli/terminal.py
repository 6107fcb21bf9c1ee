"""The base of both commands: how they start and fail, their common options, how they print.

Results go to stdout, everything else to stderr, so that a program can read the results. Exit codes:
0 done, 1 an error of ours, 2 wrong usage. Commands read and print UTF-8, whatever the locale is:
messages come from other machines. These functions escape all that a terminal takes for a command,
so no other module prints by itself.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import select
import stat
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from letsgo_queue.errors import LetsGoError, MessageInvalid
from letsgo_queue.files import read_stream
from letsgo_queue.text import printable

_AGE = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

_DISTRIBUTION = "letsgo-claimcheck"

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

QueueOption = Annotated[
    str | None, typer.Option("--queue", help="Queue URL; by default the environment names it.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def make_command(about: str) -> typer.Typer:
    """Make a command, with `--version`.

    Args:
        about: The text of its `--help`.
    """
    command = make_group(about)

    @command.callback(help=about)
    def options(
        version: Annotated[
            bool,
            typer.Option(
                "--version", help="Print the version.", callback=_print_version, is_eager=True
            ),
        ] = False,
    ) -> None: ...

    return command


def make_group(about: str) -> typer.Typer:
    """Make a group of commands.

    A traceback shows no local variables, since these may hold payloads.
    """
    return typer.Typer(help=about, no_args_is_help=True, pretty_exceptions_enable=False)


def run(app: typer.Typer) -> None:
    """Run a command; an error of ours is one line on stderr and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        app()
    except LetsGoError as error:
        print_error(str(error))
        sys.exit(1)


def as_utf8(argument: str) -> str:
    """Return an argument that is content, read as UTF-8: Python reads arguments by the locale.

    Raises:
        MessageInvalid: It is not UTF-8.
    """
    try:
        return os.fsencode(argument).decode()
    except UnicodeError:
        raise MessageInvalid("an argument is not UTF-8 text.") from None


def read_input() -> bytes:
    """Read standard input to its end.

    Raises:
        OSError: It cannot be read, or has more than `MAX_FILE_BYTES`.
    """
    if sys.stdin is None:
        raise OSError(errno.EBADF, "standard input is closed")
    return read_stream(sys.stdin.buffer)


def unread_input() -> Literal["nothing", "some", "perhaps later"]:
    """What standard input has for this command to read. Asking reads nothing, and does not wait.

    Terminals and `/dev/null` have nothing, nor do files at their end and pipes that ended. A pipe
    that is open and empty may have something later. So may any pipe on Windows, where Python
    cannot ask.
    """
    if sys.stdin is None:
        return "nothing"
    try:
        source = sys.stdin.fileno()
        kind = os.fstat(source)
        if stat.S_ISREG(kind.st_mode):
            at = os.lseek(source, 0, os.SEEK_CUR)
            return "some" if at < kind.st_size else "nothing"
        if not (stat.S_ISFIFO(kind.st_mode) or stat.S_ISSOCK(kind.st_mode)):
            return "nothing"
    except (OSError, ValueError):  # closed, or no file
        return "nothing"
    try:
        return _unread_in_pipe(source)
    except (ImportError, OSError):  # on Windows
        return "perhaps later"


def _unread_in_pipe(source: int) -> Literal["nothing", "some", "perhaps later"]:
    import fcntl
    import termios

    ready, _, _ = select.select([source], [], [], 0)
    if not ready:
        return "perhaps later"
    count = fcntl.ioctl(source, termios.FIONREAD, bytes(struct.calcsize("i")))
    return "some" if any(count) else "nothing"  # a pipe that ended is ready, and has no bytes


def parse_age(text: str) -> timedelta:
    """A duration as people write it: `90s`, `30m`, `12h`, `7d`.

    Raises:
        BadParameter: It is not a duration.
    """
    found = _AGE.fullmatch(text.strip().lower())
    if found is None:
        raise typer.BadParameter("give a number and a unit: 90s, 30m, 12h or 7d.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def print_line(text: str = "", *, style: str = "", stderr: bool = False) -> None:
    """Print one line, with unprintable characters escaped.

    Args:
        text: The line. Cut a text that a sender chose with `text.shown`, except the content.
        style: How a terminal shows it: `bold`, `red`.
        stderr: Print it to stderr, since it is not a result.

    Raises:
        LetsGoError: It cannot be written: a disk is full, for example.
    """
    try:
        if style:
            (errors if stderr else console).print(Text(printable(text), style))
        else:
            typer.echo(printable(text), err=stderr)
    except BrokenPipeError:  # the reader has closed the pipe: typer ends the command
        raise
    except OSError as error:
        raise LetsGoError(
            f"the result cannot be written: {error.strerror}. What the command did before is done."
        ) from error


def print_table(table: Table) -> None:
    """Print a table, whose maker has to escape the unprintable characters in its cells."""
    console.print(table)


def print_columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text under each other, each as one line, whatever the width of the terminal.

    Args:
        head: The heading of each column.
        rows: The cells of each row.
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print_line("  ".join(cells).rstrip())


def print_json(document: object) -> None:
    """Print a document for programs, in ASCII; times as ISO 8601."""
    text = json.dumps(document, default=datetime.isoformat)
    print_line(text.replace("\x7f", r"\u007f"))  # DEL is ASCII, and not printable


def print_error(text: str) -> None:
    """Print an error of ours as one line on stderr."""
    errors.print(Text.assemble(("error:", "red"), " ", printable(text)))


def print_check(text: str, *, ok: bool) -> None:
    """Print whether something is as it should be."""
    console.print(Text.assemble(("✓", "green") if ok else ("✗", "red"), " ", printable(text)))


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A progress bar on a terminal, which goes away when it ends; nothing elsewhere."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    bar = Progress(*columns, console=errors, disable=not errors.is_terminal, transient=True)
    if bar.disable:
        yield bar  # rich before 14.3 prints an empty line where a disabled bar ends
    else:
        with bar:
            yield bar


def is_interactive() -> bool:
    """Whether a person can answer a question."""
    return sys.stdin is not None and sys.stdin.isatty()


def confirm(question: str) -> None:
    """Ask, and end the command unless the answer is yes."""
    if not agrees(question):
        raise typer.Abort


def agrees(question: str) -> bool:
    """Ask, and return whether the answer is yes."""
    return typer.confirm(printable(question), err=True)


def _print_version(asked: bool) -> None:
    if asked:
        print_line(f"{_DISTRIBUTION} {version(_DISTRIBUTION)}")
        raise typer.Exit
