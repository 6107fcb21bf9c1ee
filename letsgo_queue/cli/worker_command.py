"""`letsgo-queue worker`: runs workers, in one process or several."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from letsgo_queue.cli.load import load_worker
from letsgo_queue.cli.logs import LogFormat, configure_logging
from letsgo_queue.cli.terminal import print_error
from letsgo_queue.errors import LetsGoError, SettingsInvalid, WorkerBroken
from letsgo_queue.worker.health import ALL_ADDRESSES, Health
from letsgo_queue.worker.options import RunOptions, check_range
from letsgo_queue.worker.processes import (
    FAILED_FOR_GOOD,
    RECYCLED,
    ChildProcess,
    cores,
    fork_processes,
)
from letsgo_queue.worker.scale_in import TaskProtection
from letsgo_queue.worker.several import check_workers, run_workers
from letsgo_queue.worker.worker import LOCAL_HOST, Worker


def worker(
    targets: Annotated[
        list[str], typer.Argument(metavar="MODULE:NAME", help="Where the workers are.")
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
    host: Annotated[str, typer.Option(help="With --local: where to listen.")] = LOCAL_HOST,
    port: Annotated[
        int | None,
        typer.Option(
            help="With --local: the port; 0 for one that is free. By default PORT, else 3002."
        ),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="With --local: another name that senders may have in their URL, as that of a "
            "container. Can be given several times."
        ),
    ] = None,
    health_port: Annotated[
        int | None,
        typer.Option(
            help="Answer /healthz, /readyz, /metrics there; each process on the next port."
        ),
    ] = None,
    health_host: Annotated[
        str, typer.Option(help="With --health-port: where to listen.")
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
        from letsgo_queue.cli.reload import run_reloading

        run_reloading()
        return
    check_range("processes", processes, 0, None)
    check_range("max_messages", 1 if max_messages is None else max_messages, 1, None)
    check_range("max_memory", 1 if max_memory is None else max_memory, 1, None)
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
    if supervised and processes == 0:
        processes = cores()
    run = _Run(
        workers=workers,
        burst=burst,
        concurrency=concurrency,
        health=Health(port=health_port, host=health_host, file=health_file),
        protection=TaskProtection(processes) if protect_from_scale_in else None,
        options={
            "wait_seconds": wait_seconds,
            "drain_timeout": drain_timeout,
            "visibility_timeout": visibility_timeout,
            "prefetch": prefetch,
            "max_opened_bytes": max_opened_bytes,
        },
    )
    if not supervised:
        run.here()
        return
    drain = check_workers(*workers, **run.options)
    child = fork_processes(processes, drain_timeout=drain, until_done=burst)
    if child is not None:
        sys.exit(run.in_child(child, max_messages=max_messages, max_memory=max_memory))


@dataclass(frozen=True, kw_only=True)
class _Run:
    workers: Sequence[Worker]
    burst: bool
    concurrency: int | None
    health: Health
    protection: TaskProtection | None
    options: RunOptions

    def here(self, number: int = 0) -> None:
        """Run the workers in this process."""
        run_workers(
            *self.workers,
            burst=self.burst,
            concurrency=self.concurrency,
            health=self.health.of_process(number),
            protect_from_scale_in=self.protection.of_process(number) if self.protection else False,
            **self.options,
        )

    def in_child(
        self, child: ChildProcess, *, max_messages: int | None, max_memory: int | None
    ) -> int:
        """Run the workers in this child, and return its exit code."""
        from letsgo_queue.worker.recycling import Recycling

        recycling = Recycling(self._stop, max_messages=max_messages, max_memory=max_memory)
        if max_messages is not None:
            for each in self.workers:
                each.add_listener(recycling)
        child.when_told_to_stop(self._stop)
        try:
            self.here(child.number)
        except LetsGoError as error:
            print_error(str(error))
            passes = error.retryable or isinstance(error, WorkerBroken)
            return 1 if passes and not self.burst else FAILED_FOR_GOOD
        return RECYCLED if recycling.is_due else 0

    def _stop(self) -> None:
        for each in self.workers:
            each.stop()
