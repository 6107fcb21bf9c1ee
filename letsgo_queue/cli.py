"""The `letsgo-queue` command."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

try:
    import typer
    from rich.console import Console
    from rich.markup import escape
except ModuleNotFoundError as missing:
    raise SystemExit(
        f"the command line needs {missing.name}: pip install 'letsgo-claimcheck[cli]'"
    ) from None

from letsgo_queue.client import Client
from letsgo_queue.errors import LetsGoQueueError, MessageInvalid, SettingsInvalid
from letsgo_queue.worker import Worker
from letsgo_queue.worker.worker import LOCAL_HOST, LOCAL_PORT

app = typer.Typer(help="LetsGo's queue and worker, for Python.", no_args_is_help=True)
errors = Console(stderr=True)

QueueOption = Annotated[
    str | None, typer.Option("--queue", help="Queue URL; by default that of the environment.")
]


def main() -> None:
    """Run the command; an error of ours is a line on stderr and exit code 1."""
    try:
        app()
    except LetsGoQueueError as error:
        errors.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)


@app.command()
def enqueue(
    message_type: Annotated[str, typer.Option("--type", help="The message's type.")],
    payload: Annotated[
        str, typer.Option(help="The payload: JSON text, @file, or - for standard input.")
    ] = "null",
    delay: Annotated[float, typer.Option(help="Seconds until it can be received.")] = 0,
    queue: QueueOption = None,
) -> None:
    """Put a message on the queue, and print its id."""
    message = {"type": message_type, "payload": _read_payload(payload)}
    typer.echo(Client(queue).enqueue(message, delay_seconds=delay).message_id)


@app.command()
def worker(
    target: Annotated[str, typer.Argument(help="Where the worker is: module:name.")],
    *,
    burst: Annotated[bool, typer.Option(help="Stop once the queue is empty.")] = False,
    concurrency: Annotated[
        int | None, typer.Option(help="Messages handled at once; by default as the worker says.")
    ] = None,
    local: Annotated[
        bool, typer.Option(help="Take messages by HTTP instead: LetsGo's local mode.")
    ] = False,
    host: Annotated[str, typer.Option(help="With --local: where to listen.")] = LOCAL_HOST,
    port: Annotated[
        int, typer.Option(help="With --local: the port; 0 for one that is free.")
    ] = LOCAL_PORT,
) -> None:
    """Run a worker until SIGTERM or SIGINT."""
    if local and burst:
        raise SettingsInvalid("--burst is for a queue that can be empty; --local has none.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    found = _load_worker(target)
    if local:
        found.serve(host=host, port=port, concurrency=concurrency)
    else:
        found.run(burst=burst, concurrency=concurrency)


def _read_payload(payload: str) -> Any:
    try:
        if payload == "-":
            text = sys.stdin.read()
        elif payload.startswith("@"):
            text = Path(payload[1:]).read_text(encoding="utf-8")
        else:
            text = payload
        return json.loads(text)
    except OSError as error:
        raise MessageInvalid(f"payload {payload}: {error.strerror}.") from error
    except ValueError:
        raise MessageInvalid(
            "the payload is not JSON. Text needs its quotes: --payload '\"text\"'."
        ) from None


def _load_worker(target: str) -> Worker:
    module_name, _, name = target.partition(":")
    sys.path.insert(0, str(Path.cwd()))  # as python -m does
    try:
        found = getattr(importlib.import_module(module_name), name or "worker")
    except (ModuleNotFoundError, AttributeError) as error:
        raise SettingsInvalid(f"{target!r} names no worker: {error}.") from error
    if not isinstance(found, Worker):
        raise SettingsInvalid(f"{target!r} is {type(found).__name__}, not letsgo_queue.Worker.")
    return found


if __name__ == "__main__":
    main()
