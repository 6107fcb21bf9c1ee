"""A worker in LetsGo's local mode, in a process of its own, for the tests that stop it.

It prints its address, and "begun" when a handler begins, which ends when a line comes in.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from letsgo_queue import Worker

worker = Worker(concurrency=1)


class TellsOfDropping(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if "has not begun" in record.getMessage():
            print("dropping", flush=True)


logging.getLogger().addHandler(TellsOfDropping())


@worker.default
def wait_for_a_line(message: dict[str, Any]) -> None:
    print("begun", message["payload"]["number"], flush=True)
    sys.stdin.readline()
    print("ended", message["payload"]["number"], flush=True)


worker.serve(port=0, on_ready=lambda url: print(url, flush=True))
print("stopped", flush=True)
