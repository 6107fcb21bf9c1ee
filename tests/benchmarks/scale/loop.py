"""Simulated time: processes that sleep, and wait for each other."""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import TypeAlias


@dataclass(slots=True)
class Task:
    """A process that runs.

    Attributes:
        result: What it returned.
        is_done: Whether it has ended.
        waiting: Who waits for its end.
    """

    result: bool = False
    is_done: bool = False
    waiting: list[tuple[Process, Task]] = field(default_factory=list)


Process: TypeAlias = Generator["float | Task", None, bool]
"""Yields the seconds that it sleeps, or a task that it waits for; returns whether it succeeded."""


class Loop:
    """Runs processes in simulated time.

    Attributes:
        now: Seconds since the start.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Process, Task]] = []
        self._number = count()

    def start(self, process: Process, *, after: float = 0) -> Task:
        """Have a process begin."""
        task = Task()
        self._plan(after, process, task)
        return task

    def together(self, processes: Iterable[Process]) -> Process:
        """Run processes side by side; whether all succeeded."""
        tasks = [self.start(each) for each in processes]
        for task in tasks:
            if not task.is_done:
                yield task
        return all(task.result for task in tasks)

    def run(self, *, until: float) -> None:
        """Go on until nothing is left to do, or until then."""
        while self._due and self._due[0][0] <= until:
            self.now, _, process, task = heapq.heappop(self._due)
            self._step(process, task)

    def _step(self, process: Process, task: Task) -> None:
        try:
            wanted = next(process)
        except StopIteration as end:
            task.result, task.is_done = end.value, True
            for waiting, its_task in task.waiting:
                self._plan(0, waiting, its_task)
            return
        if not isinstance(wanted, Task):
            self._plan(wanted, process, task)
        elif wanted.is_done:
            self._plan(0, process, task)
        else:
            wanted.waiting.append((process, task))

    def _plan(self, after: float, process: Process, task: Task) -> None:
        heapq.heappush(self._due, (self.now + after, next(self._number), process, task))
