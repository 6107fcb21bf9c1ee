"""Runs workers in one process or in several, as commands do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from letsgo_queue.errors import LetsGoError, SettingsInvalid, WorkerBroken
from letsgo_queue.worker.health import Health
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
from letsgo_queue.worker.worker import Worker


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Workers, and how they are run.

    Attributes:
        workers: The workers.
        tell: Reports the error that ends a child process.
        processes: How many processes do the work; 0 for one per core.
        concurrency: Messages handled at once in a process; by default as each worker says.
        burst: Whether to stop once nothing can be received.
        max_messages: A process is started again when it has handled this many messages.
        max_memory: A process is started again when it has more MB of memory.
        health: Where a process tells whether all is well.
        protection: Keeps an ECS task from being stopped while messages are in hand.
        options: Options that replace the workers' own.
    """

    workers: Sequence[Worker]
    tell: Callable[[str], object]
    processes: int = 1
    concurrency: int | None = None
    burst: bool = False
    max_messages: int | None = None
    max_memory: int | None = None
    health: Health = field(default_factory=Health)
    protection: TaskProtection | None = None
    options: RunOptions = field(default_factory=RunOptions)

    def run(self) -> int:
        """Run until told to stop, and return the exit code of this process.

        Raises:
            SettingsInvalid: A number is out of range, or a worker's settings are wrong.
            LetsGoQueueError: A queue cannot be used at all.
            WorkerBroken: A worker cannot go on.
        """
        check_range("processes", self.processes, 0, None)
        for name in ("max_messages", "max_memory"):
            given = getattr(self, name)
            check_range(name, 1 if given is None else given, 1, None)
        if self.max_memory is not None and sys.platform != "win32":  # which cannot fork
            self._check_memory(self.max_memory)
        if not self.is_supervised:
            self._run_here()
            return 0
        count = self.processes or cores()
        drain = check_workers(*self.workers, **self.options)
        child = fork_processes(count, drain_timeout=drain, until_done=self.burst)
        return 0 if child is None else self._run_in_child(child)

    @property
    def is_supervised(self) -> bool:
        """Whether a parent process looks after those that do the work."""
        limited = self.max_messages is not None or self.max_memory is not None
        return self.processes != 1 or limited

    def _check_memory(self, most: int) -> None:
        """Refuse a limit that every process would have reached at its start, again and again."""
        from letsgo_queue.worker.recycling import MEGABYTE, resident_bytes

        if (now := resident_bytes() / MEGABYTE) >= most:
            raise SettingsInvalid(
                f"max_memory={most}: a process has {now:.0f} MB before it handles anything. Give "
                "it more."
            )

    def _run_here(self, number: int = 0) -> None:
        run_workers(
            *self.workers,
            burst=self.burst,
            concurrency=self.concurrency,
            health=self.health.of_process(number),
            protect_from_scale_in=self.protection.of_process(number) if self.protection else False,
            **self.options,
        )

    def _run_in_child(self, child: ChildProcess) -> int:
        from letsgo_queue.worker.recycling import Recycling

        recycling = Recycling(
            self._stop, max_messages=self.max_messages, max_memory=self.max_memory
        )
        if self.max_messages is not None:
            for each in self.workers:
                each.add_listener(recycling)
        child.when_told_to_stop(self._stop)
        try:
            self._run_here(child.number)
        except LetsGoError as error:
            self.tell(str(error))
            passes = error.retryable or isinstance(error, WorkerBroken)
            return 1 if passes and not self.burst else FAILED_FOR_GOOD
        return RECYCLED if recycling.is_due else 0

    def _stop(self) -> None:
        for each in self.workers:
            each.stop()
