"""The `letsgo-queue` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from pydantic_core import from_json

from letsgo_queue.cli.queues import dead_letter_app, queue_app
from letsgo_queue.cli.terminal import JsonOption, QueueOption, make_command, print_json, run
from letsgo_queue.cli.worker_command import worker
from letsgo_queue.errors import MessageInvalid
from letsgo_queue.sending.client import Client

app = make_command("LetsGo's queue and worker, for Python.")
app.add_typer(queue_app, name="queue")
app.add_typer(dead_letter_app, name="dead-letter")
app.command()(worker)


def main() -> None:
    """Run the command."""
    run(app)


@app.command()
def enqueue(
    *,
    message_type: Annotated[str, typer.Option("--type", help="The message's type.")],
    payload: Annotated[
        str, typer.Option(help="The payload: JSON text, @file, or - for standard input.")
    ] = "null",
    delay: Annotated[float, typer.Option(help="Seconds until it can be received.")] = 0,
    group: Annotated[
        str | None, typer.Option(help="Message group; a FIFO queue needs one.")
    ] = None,
    deduplication_id: Annotated[
        str | None,
        typer.Option(help="A FIFO queue drops a second message with the same id for 5 minutes."),
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A message attribute, as text; repeatable."),
    ] = None,
    queue: QueueOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a message on the queue, and print its id."""
    message = {"type": message_type, "payload": _read_payload(payload)}
    with closing(Client(queue)) as client:
        result = client.enqueue(
            message,
            delay_seconds=delay,
            group_id=group,
            deduplication_id=deduplication_id,
            attributes=_read_attributes(attribute or []),
        )
    if as_json:
        print_json({"message_id": result.message_id, "queue": result.queue})
    else:
        typer.echo(result.message_id)


def _read_payload(given: str) -> object:
    try:
        if given == "-":
            return from_json(sys.stdin.buffer.read())
        if given.startswith("@"):
            return from_json(Path(given[1:]).read_bytes())
        return from_json(given)
    except OSError as error:
        raise MessageInvalid(f"payload {given}: {error.strerror}.") from error
    except (ValueError, TypeError):  # TypeError: an argument that is not Unicode
        raise MessageInvalid(
            "the payload is not JSON. Text needs its quotes: --payload '\"text\"'."
        ) from None


def _read_attributes(given: Sequence[str]) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name in attributes:
            raise typer.BadParameter(
                f"{text!r}: give NAME=VALUE, and each name once", param_hint="--attribute"
            )
        attributes[name] = value
    return attributes


if __name__ == "__main__":
    main()
