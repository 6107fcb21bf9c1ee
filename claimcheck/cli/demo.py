"""`claimcheck demo`: shows the demo's progress, and its results."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from claimcheck.demo.messages import demo_messages
from claimcheck.demo.run import RoundTrip, local_settings, run_demo
from letsgo_queue.cli.terminal import print_check, print_line, print_table, progress_bar
from letsgo_queue.text import shown


def show_demo(files: Sequence[Path], *, aws: bool) -> bool:
    """Run the demo, and print the result of each message.

    Args:
        files: JSON files to send as well.
        aws: Whether to use the queue and the store of the environment.

    Returns:
        Whether every check held.

    Raises:
        LetsGoError: A file, the queue or the store cannot be used, or the worker failed.
    """
    table = Table("message type", box=None, pad_edge=False, header_style="bold")
    for column in ("size", "route", "on the queue", "stored", "round trip"):
        table.add_column(column, justify="left" if column == "route" else "right")
    with tempfile.TemporaryDirectory() as name, progress_bar() as bar:
        task = bar.add_task("reading payloads", total=None)
        messages = demo_messages(files)
        bar.update(task, total=len(messages), description="starting the worker")

        def show(trip: RoundTrip) -> None:
            result = trip.result
            table.add_row(
                escape(shown(trip.type)),
                f"{result.size:,}",
                result.route,
                f"{result.sent_size:,}",
                f"{result.stored_size:,}",
                f"{trip.seconds * 1000:.0f} ms",
            )
            bar.update(task, advance=1, description=shown(trip.type))

        settings = None if aws else local_settings(Path(name))
        checks = run_demo(messages, Path(name), settings, show)
    print_table(table)
    for line in ("", "sizes in bytes", ""):
        print_line(line)
    for check in checks:
        print_check(check.promise, ok=check.held)
    return all(check.held for check in checks)
