"""The journal of a test's processes: one file, and one line for each thing that happened.

A line is appended by one system call, so that the lines of several processes stay whole and in
order, and whatever a killed process had written is there.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel

What: TypeAlias = Literal[
    "sending",  # a message, by a producer
    "enqueued",  # the same: enqueue has returned, from here on it must not be lost
    "sent again",  # the same body, as a second message
    "ready",  # a worker
    "received",  # a delivery, by a worker that is to be killed
    "started",  # a handler
    "returned",  # the same
    "in progress",  # a delivery is held, since another one has the claim
    "suppressed",  # a delivery was acknowledged unhandled, as a duplicate
    "settled",  # a message was handled, and its delivery acknowledged
    "dead",  # a message was given up, and went to the dead-letter queue
]

DEADLINE_SECONDS = 60.0
_BLOCK = 1 << 20


class Entry(BaseModel, frozen=True):
    """One thing that happened.

    Attributes:
        number: Which message, as the test counts them.
        message_id: Which message, as the queue does.
        receipt: The receipt handle of its delivery.
        receive_count: How often it had been received.
        sha256: Hex digest of its body, as it was before `enqueue` or as the handler got it.
        route: Which way it went.
        once: Whether it is handled once, whichever way it went.
        peak: The most memory that the process has had (bytes).
        process: Its process id.
    """

    what: What
    number: int | None = None
    message_id: str | None = None
    receipt: str | None = None
    receive_count: int | None = None
    sha256: str | None = None
    route: str | None = None
    once: bool | None = None
    peak: int | None = None
    process: int | None = None


class Journal:
    """The file, for those who write it and for those who follow it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        self._entries: list[Entry] = []
        self._by_what: defaultdict[What, list[Entry]] = defaultdict(list)
        self._read = 0

    def write(self, entry: Entry) -> None:
        os.write(self._file, entry.model_dump_json(exclude_none=True).encode() + b"\n")

    def entries(self, what: What | None = None) -> list[Entry]:
        """Everything that has happened so far, or all of one kind."""
        while lines := os.pread(self._file, _BLOCK, self._read):
            whole = lines[: lines.rfind(b"\n") + 1]
            self._read += len(whole)
            for line in whole.splitlines():
                entry = Entry.model_validate_json(line)
                self._entries.append(entry)
                self._by_what[entry.what].append(entry)
        return self._entries if what is None else self._by_what[what]

    def numbers(self, what: What) -> list[int]:
        """The messages that this happened to, each as often as it did."""
        return [entry.number for entry in self.entries(what) if entry.number is not None]

    def count(self, what: What) -> int:
        return len(self.entries(what))

    def close(self) -> None:
        os.close(self._file)
