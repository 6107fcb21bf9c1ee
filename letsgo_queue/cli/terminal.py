"""What the commands share: how a queue is named, and how results are printed.

Results go to stdout, all else to stderr, so that a program can read the one. Exit codes: 0 done, 1
an error of ours, 2 wrong usage. Text that came with a message is printed without what a terminal
would take for a command.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from letsgo_queue.text import printable

errors = Console(stderr=True)

QueueOption = Annotated[
    str | None, typer.Option("--queue", help="Queue URL; by default that of the environment.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def print_json(document: Any) -> None:
    """Print a document for programs, in ASCII; times as ISO 8601."""
    typer.echo(json.dumps(document, default=datetime.isoformat))


def print_error(text: str) -> None:
    """Print an error of ours as a line on stderr."""
    errors.print(f"[red]error:[/] {escape(printable(text))}", highlight=False, soft_wrap=True)


def is_interactive() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()
