"""A worker with a schedule, in a process of its own: one of a fleet.

    ticking_worker.py QUEUE CLOCK JOURNAL

Its clock is the file CLOCK. For each tick that it has it appends a line to JOURNAL: the id of the
tick, what became of it, and its own process.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from claimcheck import ClaimCheckMiddleware
from letsgo_queue import Event, MessageHeld, MessageSkipped, Worker

queue, clock, journal = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
logging.basicConfig(level=logging.INFO)
file = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

worker = Worker(
    queue,
    clock=lambda: float(clock.read_text()),
    middleware=[ClaimCheckMiddleware()],
    wait_seconds=1,
)


def note(tick: str, what: str) -> None:
    os.write(file, f"{tick} {what} {os.getpid()}\n".encode())


@worker.scheduled("cron(* * * * ? *)", name="minutely")
def minutely(event: Mapping[str, object]) -> None:
    note(f"minutely {event['time']}", "ran")


def follow(event: Event) -> None:
    if isinstance(event, MessageHeld | MessageSkipped):
        note(event.message_id, "not")


worker.add_listener(follow)
worker.run()
