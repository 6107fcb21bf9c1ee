"""A fleet moves from one store to another and back, with messages of both in flight.

    python -m tests.faults.moving --messages 1000

Two producers send, one to each store, while nobody is at work. Then a fleet starts that is set to
the first store, is replaced by one that is set to the second, and that by one like the first. Each
handles a third, and starts while the one before it is still at work, as in a deployment.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias, get_args

from tests.faults.actors import Produce, Work
from tests.faults.backends import AwsBackend, servers
from tests.faults.crew import Crew, Running
from tests.faults.stores import Rows, make_store, rows_in
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

Move: TypeAlias = Literal["to S3 and back", "a bucket is added and removed"]
MOVES: tuple[Move, ...] = get_args(Move)

QUEUE_BYTES = 1_024
SIZES = (3_000, 4_000)
"""What the queue does not take, also compressed: each is stored, in one part."""

WORKERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What a move came to.

    Attributes:
        sent: Messages that were acknowledged, all of them stored.
        started: How often each was given to a handler.
        wrong: Handler runs that got other bytes than were enqueued.
        dead: Dead letters.
        first: What is left in the first store.
        second: What is left in the second.
    """

    sent: int
    started: Counter[int]
    wrong: int
    dead: int
    first: Rows
    second: Rows

    def problems(self) -> list[str]:
        """Which promises do not hold."""
        lost = self.sent - len(self.started)
        again = self.started.total() - len(self.started)
        receipts = self.first.receipts + self.second.receipts
        left = self.first + self.second
        return [
            problem
            for problem, is_there in {
                f"{lost} lost": lost > 0,
                f"{again} handled again": again > 0,
                f"{self.wrong} with wrong bytes": self.wrong > 0,
                f"{self.dead} dead letters": self.dead > 0,
                f"{receipts} receipts for {self.sent}": receipts != self.sent,
                f"{left.parts} parts and {left.records} records left": left.parts + left.records
                > 0,
                f"{left.for_good} rows for good": left.for_good > 0,
            }.items()
            if is_there
        ]


def move(move: Move, messages: int, server: AwsServer, folder: Path) -> Moved:
    """Move there and back with so many messages in flight."""
    backend = AwsBackend(server, "ministack", largest_message=QUEUE_BYTES)
    table = backend.store_url
    bucket = make_store(server, "s3")
    low = {"CLAIMCHECK_THRESHOLD": str(QUEUE_BYTES)}
    if move == "to S3 and back":
        other = bucket
        after = {"CLAIMCHECK_STORE": other, "CLAIMCHECK_READ_STORES": table, **low}
    else:
        other = f"{table}?bucket={bucket.removeprefix('s3://')}"
        after = {"CLAIMCHECK_STORE": other, **low}  # which reads the table too
    before = {"CLAIMCHECK_STORE": table, "CLAIMCHECK_READ_STORES": other, **low}
    with Crew(backend, folder) as crew:
        _send(crew, before, 1, messages // 2)
        _send(crew, after, 1 + messages // 2, messages - messages // 2)
        fleet: list[Running] = []
        for number, settings in enumerate((before, after, before), 1):
            new = _start_fleet(crew, settings)
            _stop_fleet(fleet)
            fleet = new
            share = number * messages // 3
            wait_for(partial(_has_handled, crew, share), f"{share} messages to be handled")
        wait_for(lambda: backend.depth() == 0, "the queue to be empty")
        _stop_fleet(fleet)
        journal = crew.journal
        routes = {entry.route for entry in journal.entries("enqueued")}
        if routes != {"stored"}:
            raise RuntimeError(f"messages went these ways: {routes}")
        sums = {entry.number: entry.sha256 for entry in journal.entries("sending")}
        started = journal.entries("started")
        return Moved(
            sent=journal.count("enqueued"),
            started=Counter(journal.numbers("returned")),
            wrong=sum(entry.sha256 != sums[entry.number] for entry in started),
            dead=backend.dead(),
            first=rows_in(server, table),
            second=rows_in(server, bucket),
        )


def _send(crew: Crew, settings: Mapping[str, str], first: int, count: int) -> None:
    orders = Produce(
        journal=crew.journal_path, first=first, count=count, sizes=SIZES, most_unhandled=2 * count
    )
    if (code := crew.run(orders, settings=settings)) != 0:
        raise RuntimeError(f"the producer ended with exit code {code}")


def _has_handled(crew: Crew, count: int) -> bool:
    return crew.journal.count("returned") >= count


def _start_fleet(crew: Crew, settings: Mapping[str, str]) -> list[Running]:
    """Start workers, and wait until they are at work."""
    ready = crew.journal.count("ready")
    orders = Work(journal=crew.journal_path, concurrency=2)
    fleet = [crew.start(orders, settings=settings) for _ in range(WORKERS)]
    wait_for(lambda: crew.journal.count("ready") == ready + WORKERS, "the fleet to start")
    return fleet


def _stop_fleet(fleet: list[Running]) -> None:
    """Stop workers as a deployment does, and wait for their end."""
    for worker in fleet:
        worker.send_signal(signal.SIGTERM)
    for worker in fleet:
        if (code := worker.wait(60)) != 0:
            raise RuntimeError(f"a worker ended with exit code {code}")


def main() -> int:
    """Make each move; 0 if every promise held."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.moving")
    parser.add_argument("--messages", type=int, default=1_000)
    messages = parser.parse_args().messages
    held = True
    with TemporaryDirectory() as parent, servers(Path(parent)) as running:
        for each in MOVES:
            folder = Path(parent, each.replace(" ", "-"))
            folder.mkdir()
            with running.use("ministack") as server:
                moved = move(each, messages, server, folder)
            verdict = "; ".join(moved.problems()) or "all held"
            print(
                f"{each}\n  {moved.sent:,} messages in flight, {moved.started.total():,} handled, "
                f"receipts {moved.first.receipts:,} and {moved.second.receipts:,}\n  {verdict}\n",
                flush=True,
            )
            held &= not moved.problems()
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
