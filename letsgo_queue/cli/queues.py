"""`letsgo-queue queue`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Annotated

import typer

from letsgo_queue.admin import QueueAdmin, QueueOptions, create_queue, open_admin
from letsgo_queue.cli.terminal import (
    JsonOption,
    QueueOption,
    confirm,
    is_interactive,
    make_group,
    print_json,
    print_line,
)
from letsgo_queue.deployment import VISIBILITY_TIMEOUT
from letsgo_queue.settings import QueueSettings
from letsgo_queue.text import counted

DEAD_LETTERS_EXIT_CODE = 3

queue_app = make_group("Make a queue, count its messages, remove them.")


@queue_app.command()
def create(
    target: Annotated[
        str | None,
        typer.Argument(
            help="Name of an SQS queue, its URL, or sqlite:///path; by default LETSGO_QUEUE_URL."
        ),
    ] = None,
    fifo: Annotated[
        bool, typer.Option("--fifo", help="Keep the order within a message group.")
    ] = False,
    visibility_timeout: Annotated[
        int | None,
        typer.Option(
            help="Seconds that a received message stays invisible; by default 30, or 360 with "
            "--deployment."
        ),
    ] = None,
    max_receive_count: Annotated[
        int | None,
        typer.Option(help="Receives after which a message is a dead letter; by default 5."),
    ] = None,
    deployment: Annotated[
        str | None,
        typer.Option(help="The LetsGo deployment that finds the queue without a URL (SQS)."),
    ] = None,
) -> None:
    """Make a queue and its dead-letter queue, and print its URL.

    You can repeat it safely: it does not change an existing queue. If that differs from the given
    options, an error says how.
    """
    options = QueueOptions(
        fifo=fifo,
        visibility_timeout=visibility_timeout,
        max_receive_count=max_receive_count,
        deployment=deployment,
    )
    existing: list[str] = []
    url = create_queue(
        target, QueueSettings.from_environment(), options, on_existing=existing.append
    )
    print_line(url)
    if existing:
        print_line("the queue exists already, and was left as it is", stderr=True)
    elif deployment is not None and visibility_timeout is None:
        print_line(
            f"visibility timeout: {VISIBILITY_TIMEOUT} s, as LetsGo's queues have", stderr=True
        )


@queue_app.command()
def status(
    queue: QueueOption = None,
    as_json: JsonOption = False,
    fail_if_dead: Annotated[
        bool, typer.Option("--fail-if-dead", help="Exit with code 3 if there are dead letters.")
    ] = False,
) -> None:
    """Print how many messages are waiting, in flight, delayed and dead.

    SQS's numbers are approximate, and may be a minute old.
    """
    with admin_of(queue) as admin:
        found = admin.status()
        if as_json:
            print_json({"queue": admin.url, **asdict(found)})
        else:
            for name, count in asdict(found).items():
                number = "no dead-letter queue" if count is None else f"{count:,}"
                print_line(f"{name.replace('_', ' '):<11}{number}")
    if fail_if_dead and found.dead:
        raise typer.Exit(DEAD_LETTERS_EXIT_CODE)


@queue_app.command()
def purge(
    queue: QueueOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove every message of a queue, also those in flight; dead letters stay.

    Claims of large messages stay in their store until they expire.
    """
    with admin_of(queue) as admin:
        if not yes:
            if not is_interactive():
                raise typer.BadParameter("there is no terminal to ask on", param_hint="--yes")
            confirm(f"Remove every message of {admin.url}?")
        removed = admin.purge()
        what = "messages" if removed is None else counted(removed, "message")
        print_line(f"{what} of {admin.url} removed")


@contextmanager
def admin_of(queue: str | None) -> Iterator[QueueAdmin]:
    """Open a queue for its administration, by its URL or by the environment."""
    with closing(open_admin(queue, QueueSettings.from_environment())) as admin:
        yield admin
