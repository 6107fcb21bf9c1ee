"""A worker in a process of its own, for the tests that stop and kill it.

It prints "begun" when a handler begins, and the handler ends when a line comes in. A message of
type "quick" is done with at once, and nothing is printed. It prints "stopping" when it is told to.

    signalled_worker.py URL SECONDS     with the clock of its queue so many seconds ahead
    signalled_worker.py URL SECONDS URL      beside another worker
"""

from __future__ import annotations

import sys
import time
from typing import Any

from letsgo_queue import Worker, run_workers
from letsgo_queue.transports.sqlite import SqliteTransport

url, ahead, *others = sys.argv[1:]


class Telling(Worker):
    def stop(self) -> None:
        super().stop()
        print("stopping", flush=True)


queue = SqliteTransport(url, clock=lambda: time.time() + float(ahead))
worker = Telling(queue, concurrency=1, wait_seconds=1)


beside = [Worker(each) for each in others]


@worker.default
def wait_for_a_line(message: dict[str, Any]) -> None:
    print("begun\n", end="", flush=True)  # in one write: two handlers may begin at once
    sys.stdin.readline()
    print("ended", flush=True)


for each in beside:
    each.default(wait_for_a_line)


@worker.handler("quick")
def quick(message: dict[str, Any]) -> None: ...


print("ready", flush=True)
run_workers(worker, *beside)
print("stopped", flush=True)
