"""The `letsgo-queue` command."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from pydantic_core import from_json

from letsgo_queue.cli.queues import dead_letter_app, queue_app
from letsgo_queue.cli.terminal import JsonOption, QueueOption, make_command, print_json, run
from letsgo_queue.errors import MessageInvalid, SettingsInvalid
from letsgo_queue.sending.client import Client
from letsgo_queue.worker.worker import LOCAL_HOST, Worker

app = make_command("LetsGo's queue and worker, for Python.")
app.add_typer(queue_app, name="queue")
app.add_typer(dead_letter_app, name="dead-letter")


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


@app.command()
def worker(
    target: Annotated[str, typer.Argument(help="Where the worker is: module:name.")],
    *,
    burst: Annotated[bool, typer.Option(help="Stop once nothing can be received.")] = False,
    concurrency: Annotated[
        int | None, typer.Option(help="Messages handled at once; by default as the worker says.")
    ] = None,
    local: Annotated[
        bool, typer.Option(help="Take messages by HTTP instead: LetsGo's local mode.")
    ] = False,
    host: Annotated[str, typer.Option(help="With --local: where to listen.")] = LOCAL_HOST,
    port: Annotated[
        int | None,
        typer.Option(
            help="With --local: the port; 0 for any free port. By default PORT, else 3002."
        ),
    ] = None,
) -> None:
    """Run a worker until SIGTERM or SIGINT."""
    if local and burst:
        raise SettingsInvalid("--burst is for a queue that can be empty; --local has none.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for library in ("botocore", "pynamodb"):  # they log every setting that they find
        logging.getLogger(library).setLevel(logging.WARNING)
    found = _load_worker(target)
    if local:
        found.serve(host=host, port=port, concurrency=concurrency)
    else:
        found.run(burst=burst, concurrency=concurrency)


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


def _load_worker(target: str) -> Worker:
    module_name, _, name = target.partition(":")
    name = name or "worker"
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise SettingsInvalid(
            f"{target!r}: give a module and a name in it, as in shop.jobs:worker."
        )
    sys.path.insert(0, str(Path.cwd()))  # as python -m does
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there and lacks another: the traceback says where
        raise SettingsInvalid(
            f"{target!r}: there is no module {error.name!r}. Run this where Python finds it."
        ) from None
    found = getattr(module, name, None)
    if found is None:
        raise SettingsInvalid(f"{target!r}: that module has no {name!r}.")
    if not isinstance(found, Worker):
        raise SettingsInvalid(
            f"{target!r} is of type {type(found).__name__}, not letsgo_queue.Worker."
        )
    return found


if __name__ == "__main__":
    main()
