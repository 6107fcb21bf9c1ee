"""`letsgo-queue queue` and `letsgo-queue dead-letter`."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Annotated

import typer

from letsgo_queue.admin import (
    DeadLetter,
    QueueAdmin,
    QueueOptions,
    create_queue,
    open_admin,
)
from letsgo_queue.attributes import MessageAttribute
from letsgo_queue.cli.terminal import (
    JsonOption,
    QueueOption,
    confirm,
    is_interactive,
    make_group,
    print_error,
    print_json,
    print_line,
    progress_bar,
)
from letsgo_queue.deployment import VISIBILITY_TIMEOUT
from letsgo_queue.settings import QueueSettings
from letsgo_queue.text import counted, shown, shown_error

DEAD_LETTERS_EXIT_CODE = 3

queue_app = make_group("Make a queue, count its messages, remove them.")
dead_letter_app = make_group("List dead letters, and put them back on the queue.")

LimitOption = Annotated[int | None, typer.Option(min=1, help="At most this many.")]


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

    It is safe to repeat: a queue that is there already is left as it is. An error says how it
    differs from the options that are given.
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
        bool, typer.Option("--fail-if-dead", help="Exit code 3 where there are dead letters.")
    ] = False,
) -> None:
    """Print how many messages are waiting, in flight, delayed and dead.

    SQS's numbers are approximate, and may be a minute old.
    """
    with _admin(queue) as admin:
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
    """Remove every message of a queue, those in flight too; dead letters stay.

    Claims of large messages stay in their store until they expire.
    """
    with _admin(queue) as admin:
        if not yes:
            if not is_interactive():
                raise typer.BadParameter("there is no terminal to ask on", param_hint="--yes")
            confirm(f"Remove every message of {admin.url}?")
        removed = admin.purge()
        what = "messages" if removed is None else counted(removed, "message")
        print_line(f"{what} of {admin.url} removed")


@dead_letter_app.command("list")
def list_dead_letters(
    queue: QueueOption = None,
    limit: LimitOption = None,
    as_json: JsonOption = False,
    bodies: Annotated[
        bool, typer.Option("--bodies", help="Show bodies and attributes as well.")
    ] = False,
) -> None:
    """List the dead letters, and why each is one; they stay where they are.

    SQS hides them from others while they are listed, for a minute at most.
    """
    with _admin(queue) as admin:
        letters = admin.dead_letters(limit=limit)
    if as_json:
        print_json([_as_json(letter, bodies=bodies) for letter in letters])
    else:
        for letter in letters:
            _print_letter(letter, bodies=bodies)


@dead_letter_app.command()
def redrive(
    queue: QueueOption = None,
    limit: LimitOption = None,
    message_ids: Annotated[
        list[str] | None, typer.Option("--id", help="Only the message of this id; repeatable.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Put dead letters back on the queue, oldest first."""
    wanted = None if message_ids is None else set(message_ids)
    with _admin(queue) as admin, progress_bar() as bar:
        total = admin.status().dead if wanted is None else len(wanted)
        if total is not None and limit is not None:
            total = min(total, limit)
        task = bar.add_task("dead letters", total=total)
        moved = admin.redrive(
            message_ids=wanted,
            limit=limit,
            progress=lambda so_far: bar.update(task, completed=so_far),
        )
    if as_json:
        print_json({"queue": admin.url, "moved": moved})
    else:
        print_line(f"{counted(moved, 'dead letter')} moved to {admin.url}")
    if wanted is not None and moved < min(len(wanted), limit or len(wanted)):
        print_error(
            f"{counted(len(wanted) - moved, 'id')} of {len(wanted)} named no dead letter here."
        )
        raise typer.Exit(1)


@contextmanager
def _admin(queue: str | None) -> Iterator[QueueAdmin]:
    with closing(open_admin(queue, QueueSettings.from_environment())) as admin:
        yield admin


def _as_json(letter: DeadLetter, *, bodies: bool) -> Mapping[str, object]:
    content = {
        "attributes": {
            name: {"type": attribute.data_type, "value": _text(attribute)}
            for name, attribute in letter.attributes.items()
        },
        "body": letter.body,
    }
    return {
        "message_id": letter.message_id,
        "type": letter.type,
        "size": letter.size,
        "sent_at": letter.sent_at,
        "receive_count": letter.receive_count,
        "reason": letter.reason,
        "group_id": letter.group_id,
        **(content if bodies else {}),
    }


def _print_letter(letter: DeadLetter, *, bodies: bool) -> None:
    facts = (
        shown(letter.message_id),
        shown(letter.type or "no type"),
        counted(letter.size, "byte"),
        f"sent {letter.sent_at:%Y-%m-%d %H:%M:%S} UTC",
        f"received {counted(letter.receive_count, 'time')}",
    )
    print_line("  ".join(facts))
    print_line(f"    {shown_error(letter.reason or 'received too often')}")
    if bodies:
        for name, attribute in letter.attributes.items():
            print_line(f"    {shown(name)}: {_text(attribute)}")
        print_line(f"    {letter.body}")


def _text(attribute: MessageAttribute) -> str:
    """An attribute's value; bytes in base64."""
    value = attribute.value
    return b64encode(value).decode() if isinstance(value, bytes) else value
