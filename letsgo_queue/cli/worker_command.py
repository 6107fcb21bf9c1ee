"""`letsgo-queue worker`: runs workers, in one process or several."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from letsgo_queue.cli.load import load_worker
from letsgo_queue.cli.logs import LogFormat, configure_logging
from letsgo_queue.cli.terminal import print_error
from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.worker.fleet import Fleet
from letsgo_queue.worker.health import ALL_ADDRESSES, Health
from letsgo_queue.worker.processes import cores
from letsgo_queue.worker.scale_in import TaskProtection
from letsgo_queue.worker.worker import LOCAL_HOST


def worker(
    targets: Annotated[
        list[str], typer.Argument(metavar="MODULE:NAME", help="The workers to run.")
    ],
    *,
    processes: Annotated[
        int, typer.Option(help="Processes that do the work; 0 for one per core.")
    ] = 1,
    concurrency: Annotated[
        int | None,
        typer.Option(
            help="Messages handled at once in a process, which its workers share by weight; by "
            "default as each worker says.",
        ),
    ] = None,
    burst: Annotated[bool, typer.Option(help="Stop once nothing can be received.")] = False,
    wait_seconds: Annotated[
        int | None, typer.Option(help="Seconds that one long poll waits.")
    ] = None,
    drain_timeout: Annotated[
        float | None, typer.Option(help="Seconds that messages in hand get on SIGTERM.")
    ] = None,
    visibility_timeout: Annotated[
        int | None, typer.Option(help="Seconds that a message in hand stays invisible at a time.")
    ] = None,
    prefetch: Annotated[
        int | None, typer.Option(help="Messages that may wait in the worker.")
    ] = None,
    max_opened_bytes: Annotated[
        int | None, typer.Option(help="Bytes of opened bodies that a worker has at once.")
    ] = None,
    max_messages: Annotated[
        int | None,
        typer.Option(help="Start a process again when it has handled this many messages."),
    ] = None,
    max_memory: Annotated[
        int | None,
        typer.Option(help="Start a process again when it has more MB of memory."),
    ] = None,
    reload: Annotated[
        bool, typer.Option(help="Start again when code in this folder changes.")
    ] = False,
    protect_from_scale_in: Annotated[
        bool, typer.Option(help="On ECS: protect the task while messages are in hand.")
    ] = False,
    local: Annotated[
        bool, typer.Option(help="Take messages by HTTP instead: LetsGo's local mode.")
    ] = False,
    host: Annotated[str, typer.Option(help="With --local: the address to listen on.")] = LOCAL_HOST,
    port: Annotated[
        int | None,
        typer.Option(
            help="With --local: the port; 0 for any free port. By default PORT, else 3002."
        ),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="With --local: another host name that senders may use in their URL, such as a "
            "container's; repeatable."
        ),
    ] = None,
    health_port: Annotated[
        int | None,
        typer.Option(
            help="Answer /healthz, /readyz, /metrics there; each process on the next port."
        ),
    ] = None,
    health_host: Annotated[
        str, typer.Option(help="With --health-port: the address to listen on.")
    ] = ALL_ADDRESSES,
    health_file: Annotated[
        Path | None, typer.Option(help="Touch this file every 5 seconds while the worker is well.")
    ] = None,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(help="text or json, unless the application configures logging itself."),
    ] = None,
) -> None:
    """Run workers until SIGTERM or SIGINT."""
    if reload:
        from letsgo_queue.worker.reload import run_reloading

        run_reloading([sys.executable, "-m", "letsgo_queue.cli.app", *sys.argv[1:]])
        return
    supervised = processes != 1 or max_messages is not None or max_memory is not None
    if local and burst:
        raise SettingsInvalid("--burst is for a queue that can be empty; --local has none.")
    if local and (supervised or protect_from_scale_in or len(targets) > 1):
        raise SettingsInvalid(
            "--local runs one worker in one process: no --processes, --max-messages, --max-memory "
            "and --protect-from-scale-in."
        )
    if local and (health_port is not None or health_file is not None):
        raise SettingsInvalid("--health-port and --health-file are for a worker that polls.")
    workers = [load_worker(target) for target in targets]
    configure_logging(log_format)
    if local:
        workers[0].serve(
            host=host, port=port, allowed_hosts=allowed_host or (), concurrency=concurrency
        )
        return
    fleet = Fleet(
        workers=workers,
        tell=print_error,
        processes=processes,
        concurrency=concurrency,
        burst=burst,
        max_messages=max_messages,
        max_memory=max_memory,
        health=Health(port=health_port, host=health_host, file=health_file),
        protection=TaskProtection(processes or cores()) if protect_from_scale_in else None,
        options={
            "wait_seconds": wait_seconds,
            "drain_timeout": drain_timeout,
            "visibility_timeout": visibility_timeout,
            "prefetch": prefetch,
            "max_opened_bytes": max_opened_bytes,
        },
    )
    if code := fleet.run():
        sys.exit(code)
