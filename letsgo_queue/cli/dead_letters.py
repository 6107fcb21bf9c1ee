"""`letsgo-queue dead-letter`: see what failed and why, bring it back, or delete it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated

import typer

from letsgo_queue.admin import DeadLetter, DeadLetterFilter, LetterResult, QueueAdmin
from letsgo_queue.attributes import MessageAttribute
from letsgo_queue.cli.queues import admin_of
from letsgo_queue.cli.terminal import (
    JsonOption,
    QueueOption,
    confirm,
    is_interactive,
    make_group,
    parse_age,
    print_columns,
    print_error,
    print_json,
    print_line,
    progress_bar,
)
from letsgo_queue.errors import LetsGoError
from letsgo_queue.text import counted, shown, shown_error

dead_letter_app = make_group("See what failed and why, bring it back, or delete it.")

TypeOption = Annotated[
    list[str] | None, typer.Option("--type", help="Only messages of this type; repeatable.")
]
ErrorOption = Annotated[
    list[str] | None,
    typer.Option(
        "--error",
        help="Only messages with an error of this class, named with or without its module; "
        "repeatable.",
    ),
]
OlderThanOption = Annotated[
    timedelta | None,
    typer.Option(
        "--older-than",
        parser=parse_age,
        metavar="AGE",
        help="Only messages that have been dead for longer than this: 90s, 30m, 12h, 7d.",
    ),
]
IdOption = Annotated[
    list[str] | None, typer.Option("--id", help="Only the message with this id; repeatable.")
]
LimitOption = Annotated[int | None, typer.Option(min=1, help="At most this many.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="List the letters that would change, and change nothing.")
]


@dead_letter_app.command("list")
def list_dead_letters(
    *,
    queue: QueueOption = None,
    types: TypeOption = None,
    errors: ErrorOption = None,
    older_than: OlderThanOption = None,
    ids: IdOption = None,
    limit: LimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the dead letters, each with the reason; they stay where they are.

    SQS shows letters only to a receiver. So nobody else sees them while they are listed, for a
    minute at most, and the receive count of each goes up.
    """
    only = DeadLetterFilter(types=types, errors=errors, older_than=older_than, ids=ids)
    with admin_of(queue) as admin:
        letters = admin.dead_letters(only=only, limit=limit)
    if as_json:
        print_json([_as_json(letter) for letter in letters])
    else:
        _print_letters(letters)


@dead_letter_app.command()
def show(
    message_id: Annotated[
        str, typer.Argument(help="The message id, as `list` or the worker's log has it.")
    ],
    queue: QueueOption = None,
    payload: Annotated[
        bool,
        typer.Option("--payload", help="Show attributes and body as well, as they travelled."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show all properties of a dead letter, and its payload if you ask for it.

    A body that is compressed or stored is shown unopened. `claimcheck show` explains it:
    `... show ID --payload --json | jq -r .body | claimcheck show`. On SQS this command receives the
    letter, as `list` does.
    """
    with admin_of(queue) as admin:
        letters = admin.dead_letters(only=DeadLetterFilter(ids=[message_id]), limit=1)
        url = admin.url
    if not letters:
        print_error(
            f"no dead letter of {url} has the id {shown(message_id)}. "
            "`letsgo-queue dead-letter list` shows their ids."
        )
        raise typer.Exit(1)
    (letter,) = letters
    content = _content(letter) if payload else {}
    if as_json:
        print_json({"queue": url, **_as_json(letter), **content})
        return
    for name, value in _lines(letter):
        print_line(f"{name:<16}{value}")
    if payload:
        for name, attribute in letter.attributes.items():
            print_line(f"{'attribute':<16}{shown(name)}: {_text(attribute)}")
        print_line()
        print_line(letter.body)


@dead_letter_app.command()
def redrive(
    *,
    queue: QueueOption = None,
    types: TypeOption = None,
    errors: ErrorOption = None,
    older_than: OlderThanOption = None,
    ids: IdOption = None,
    limit: LimitOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put dead letters back on the queue, oldest first.

    On SQS each becomes a new message. If some cannot be moved, the exit code is 1.
    """
    only = DeadLetterFilter(types=types, errors=errors, older_than=older_than, ids=ids)
    with admin_of(queue) as admin:
        if dry_run:
            _tell_dry_run(admin, only, limit, "moved", as_json)
        else:
            how = f"moved to {admin.url}"
            _change(admin, admin.redrive, only, limit, what="moved", how=how, as_json=as_json)


@dead_letter_app.command()
def delete(
    *,
    queue: QueueOption = None,
    types: TypeOption = None,
    errors: ErrorOption = None,
    older_than: OlderThanOption = None,
    ids: IdOption = None,
    limit: LimitOption = None,
    dry_run: DryRunOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete dead letters for good, oldest first, after asking.

    Claims of large messages stay in their store until they expire. If some letters cannot be
    deleted, the exit code is 1.
    """
    only = DeadLetterFilter(types=types, errors=errors, older_than=older_than, ids=ids)
    with admin_of(queue) as admin:
        if dry_run:
            _tell_dry_run(admin, only, limit, "deleted", as_json)
            return
        if not yes:
            only = _agreed(admin, only, limit)
        how = f"of {admin.url} deleted"
        _change(admin, admin.delete, only, limit, what="deleted", how=how, as_json=as_json)


def _agreed(admin: QueueAdmin, only: DeadLetterFilter, limit: int | None) -> DeadLetterFilter:
    """Ask, and choose exactly the letters that it asked about: more may die meanwhile."""
    if not is_interactive():
        raise typer.BadParameter("there is no terminal to ask on", param_hint="--yes")
    letters = admin.dead_letters(only=only, limit=limit)
    if letters:
        confirm(f"Delete {counted(len(letters), 'dead letter')} of {admin.url} for good?")
    ids = {letter.message_id for letter in letters}
    unknown = {*(only.ids or ())} - ids - {letter.earlier_id for letter in letters}
    return replace(only, ids=ids | unknown)


def _tell_dry_run(
    admin: QueueAdmin, only: DeadLetterFilter, limit: int | None, what: str, as_json: bool
) -> None:
    letters = admin.dead_letters(only=only, limit=limit)
    if as_json:
        would_be = [_as_json(letter) for letter in letters]
        print_json({"queue": admin.url, "dry_run": True, what: 0, "letters": would_be})
        return
    _print_letters(letters)
    print_line(f"{counted(len(letters), 'dead letter')} of {admin.url} would be {what}")


def _change(
    admin: QueueAdmin,
    change: Callable[..., int],
    only: DeadLetterFilter,
    limit: int | None,
    *,
    what: str,
    how: str,
    as_json: bool,
) -> None:
    """Redrive or delete letters, show the progress, and print the result of each.

    It prints what was done before an error, or Ctrl-C, as well.
    """
    results: list[LetterResult] = []
    ended: LetsGoError | KeyboardInterrupt | None = None
    total = _total(admin, only, limit)
    with progress_bar() as bar:
        task = bar.add_task("dead letters", total=total)

        def note(result: LetterResult) -> None:
            results.append(result)
            bar.update(task, advance=1)

        try:
            change(only=only, limit=limit, progress=note)
        except (LetsGoError, KeyboardInterrupt) as error:
            if not results:
                raise
            ended = error
    done = sum(result.error is None for result in results)
    if as_json:
        letters = [_result_as_json(result) for result in results]
        print_json({"queue": admin.url, what: done, "letters": letters})
    else:
        print_line(f"{counted(done, 'dead letter')} {how}")
    if isinstance(ended, LetsGoError):
        print_error(str(ended))
        raise typer.Exit(1)
    if ended is not None:
        raise ended
    if only.ids is None and total is not None and len(results) < total:
        not_met = total - len(results)
        print_line(
            f"{counted(not_met, 'dead letter')} {'was' if not_met == 1 else 'were'} counted "
            "before, and not met. While somebody lists or redrives letters, SQS hides them from "
            "others, for two minutes at most: try again then. SQS's numbers may be a minute old, "
            "and count the letters of other queues too.",
            stderr=True,
        )
    named = None if only.ids is None else len(only.ids)
    if named is not None and len(results) < min(named, limit or named):
        unknown = counted(named - len(results), "id")
        print_error(f"{unknown} of {named} matched no dead letter.")
        raise typer.Exit(1)


def _total(admin: QueueAdmin, only: DeadLetterFilter, limit: int | None) -> int | None:
    """Return how many letters the command will change; None if nobody knows."""
    if only.ids is not None:
        total: int | None = len(only.ids)
    elif only == DeadLetterFilter():
        total = admin.status().dead
    else:
        return None
    return total if total is None or limit is None else min(total, limit)


def _print_letters(letters: Sequence[DeadLetter]) -> None:
    if not letters:
        return
    moved = any(letter.earlier_id is not None for letter in letters)
    rows = [
        (
            shown(letter.message_id),
            *([shown(letter.earlier_id or "-")] if moved else []),
            shown(letter.type or "no type"),
            f"{letter.since:%Y-%m-%d %H:%M:%S}",
            f"{letter.attempts:,}",
            f"{letter.size:,}",
            letter.route,
            _why(letter),
        )
        for letter in letters
    ]
    head = ("type", "dead since (UTC)", "attempts", "bytes", "route", "why")
    print_columns(("message id", *(["id in logs"] if moved else []), *head), rows)


def _why(letter: DeadLetter) -> str:
    reason = shown_error(letter.reason or "received too often")
    failure = letter.failure
    if failure is None:
        return reason
    if failure.text is not None and failure.meaning is not None:  # the library wrote it
        reason = f"{reason}: {shown(failure.text)}"
    return reason if failure.place is None else f"{reason} ({shown(failure.place)})"


def _lines(letter: DeadLetter) -> Iterator[tuple[str, str]]:
    yield "message id", shown(letter.message_id)
    if letter.earlier_id is not None:
        yield "id in logs", shown(letter.earlier_id)
    yield "type", shown(letter.type or "no type")
    yield "sent", _moment(letter.sent_at)
    yield "dead since", _moment(letter.since)
    yield "attempts", f"{letter.attempts:,}"
    yield "received", counted(letter.receive_count, "time")
    yield "route", letter.route
    yield "size", counted(letter.size, "byte")
    if letter.route != "inline" and letter.whole_size is not None:
        yield "size enqueued", counted(letter.whole_size, "byte")
    if letter.group_id is not None:
        yield "group", shown(letter.group_id)
    yield "reason", shown_error(letter.reason or "received too often")
    if (failure := letter.failure) is None:
        return
    facts = {
        "error": failure.error,
        "it means": failure.meaning,
        "place": failure.place,
        "first received": failure.first_received_at,
        "failed": failure.failed_at,
        "worker": failure.worker,
    }
    for name, value in facts.items():
        if value is not None:
            yield name, _moment(value) if isinstance(value, datetime) else shown(value)
    if failure.text is not None:
        yield "error's text", shown_error(failure.text)


def _moment(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


def _as_json(letter: DeadLetter) -> Mapping[str, object]:
    failure = letter.failure
    return {
        "message_id": letter.message_id,
        "earlier_id": letter.earlier_id,
        "type": letter.type,
        "size": letter.size,
        "whole_size": letter.whole_size,
        "route": letter.route,
        "sent_at": letter.sent_at,
        "since": letter.since,
        "receive_count": letter.receive_count,
        "attempts": letter.attempts,
        "reason": letter.reason,
        "failure": None if failure is None else failure.model_dump(exclude={"v", "reason"}),
        "group_id": letter.group_id,
    }


def _content(letter: DeadLetter) -> Mapping[str, object]:
    attributes = {
        name: {"type": attribute.data_type, "value": _text(attribute)}
        for name, attribute in letter.attributes.items()
    }
    return {"attributes": attributes, "body": letter.body}


def _result_as_json(result: LetterResult) -> Mapping[str, object]:
    error = None if result.error is None else str(result.error)
    return {"message_id": result.message_id, "type": result.type, "error": error}


def _text(attribute: MessageAttribute) -> str:
    """Return an attribute's value as text: bytes in base64."""
    value = attribute.value
    return b64encode(value).decode() if isinstance(value, bytes) else value
