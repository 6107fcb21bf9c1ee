"""The `letsgo-queue` command."""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from letsgo_queue.cli.enqueue_command import make_enqueue
from letsgo_queue.cli.queues import dead_letter_app, queue_app
from letsgo_queue.cli.terminal import make_command, run
from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.sending.client import Client
from letsgo_queue.worker.worker import LOCAL_HOST, Worker

app = make_command("LetsGo's queue and worker, for Python.")
app.add_typer(queue_app, name="queue")
app.add_typer(dead_letter_app, name="dead-letter")
app.command("enqueue", help="Put a message on the queue, and print its id.")(make_enqueue(Client))


def main() -> None:
    """Run the command."""
    run(app)


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
