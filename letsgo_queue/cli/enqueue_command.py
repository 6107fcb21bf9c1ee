"""The command `enqueue`, which `letsgo-queue` and `claimcheck` share: their clients differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic_core import from_json

from letsgo_queue.cli.terminal import (
    JsonOption,
    QueueOption,
    as_utf8,
    print_json,
    print_line,
    read_input,
    unread_input,
)
from letsgo_queue.errors import MessageInvalid
from letsgo_queue.files import read_file
from letsgo_queue.text import shown

if TYPE_CHECKING:  # each command loads what it needs when it runs
    from letsgo_queue.sending.client import Client


def make_enqueue(make_client: Callable[[str | None], Client]) -> Callable[..., None]:
    """Make the command.

    Args:
        make_client: Makes the client that sends, for the queue of that URL; None for the queue of
            the environment.
    """

    def enqueue(
        *,
        message_type: Annotated[str, typer.Option("--type", help="The message's type.")],
        payload: Annotated[
            str | None,
            typer.Option(
                help="The payload: JSON text, @file, or - for standard input; by default null."
            ),
        ] = None,
        delay: Annotated[float, typer.Option(help="Seconds until it can be received.")] = 0,
        group: Annotated[
            str | None, typer.Option(help="Message group; a FIFO queue needs one.")
        ] = None,
        deduplication_id: Annotated[
            str | None,
            typer.Option(
                help="A FIFO queue drops a second message with the same id for 5 minutes."
            ),
        ] = None,
        attribute: Annotated[
            list[str] | None,
            typer.Option(metavar="NAME=VALUE", help="A message attribute, as text; repeatable."),
        ] = None,
        queue: QueueOption = None,
        as_json: JsonOption = False,
    ) -> None:
        message = {"type": as_utf8(message_type), "payload": _read_payload(payload)}
        with closing(make_client(queue)) as client:
            result = client.enqueue(
                message,
                delay_seconds=delay,
                group_id=group,
                deduplication_id=deduplication_id,
                attributes=_read_attributes(attribute or []),
            )
        if as_json:
            print_json(asdict(result))
        else:
            print_line(shown(result.message_id))

    return enqueue


def _read_payload(given: str | None) -> object:
    if given is None:
        waiting = unread_input()
        if waiting == "some":
            raise MessageInvalid(
                "standard input is a pipe or a file, which nothing here reads: --payload - reads "
                "the payload from it, and --payload null sends none. In a loop that reads the same "
                "input, < /dev/null after this command sends none either."
            )
        if waiting == "perhaps later":
            print_line(
                "warning: the payload is null: standard input is an open pipe, which is not read. "
                "--payload - waits for it and reads the payload from it. --payload null, or "
                "< /dev/null, sends none without this warning.",
                style="yellow",
                stderr=True,
            )
        return None
    try:
        if given == "-":
            return from_json(read_input())
        if given.startswith("@"):
            return from_json(read_file(Path(given[1:])))
        return from_json(as_utf8(given))
    except OSError as error:
        raise MessageInvalid(f"payload {given}: {error.strerror}.") from error
    except ValueError:
        raise MessageInvalid(
            "the payload is not JSON in UTF-8. Text needs its quotes: --payload '\"text\"'."
        ) from None


def _read_attributes(given: Sequence[str]) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for text in map(as_utf8, given):
        name, equals, value = text.partition("=")
        if not equals or name in attributes:
            raise typer.BadParameter(
                f"{text!r}: give NAME=VALUE, and each name once", param_hint="--attribute"
            )
        attributes[name] = value
    return attributes
