"""`make soak`: thousands of messages, workers that are killed, duplicates; and what it came to.

The four processes of a worker handle what one producer enqueues, in sizes from 1 KB to 5 MB: a
third is to be handled once, also where it is small. Every few seconds one of the processes is
killed, and their parent replaces it: all but the first, whose memory is watched. So is the
producer, in the short form of this in the tests.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from tests.faults.actors import Produce, Work
from tests.faults.backends import ATOMIC, NAMES, Backend, servers
from tests.faults.crew import Crew, Running
from tests.faults.journal import Journal
from tests.faults.stores import Rows

SIZES = (1_000, 5_000_000)
WORKERS = 4
CONCURRENCY = 2
VISIBILITY_TIMEOUT = 15
TWICE = 0.2
ONCE = 1 / 3

OPTIONS = {"largest_message": 262_144, "visibility_timeout": VISIBILITY_TIMEOUT}
"""The queue takes what an older SQS queue takes, so that a third of the messages is stored."""

POLL_SECONDS = 0.02
SAMPLE_SECONDS = 1.0
STALL_SECONDS = 120.0

FLAT = 1.25
"""How much more memory a worker may have at the end than it had early on."""

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a soak run does.

    Attributes:
        messages: How many are enqueued.
        kill_every: Seconds from one kill to the next, at least and at most; more where the
            killed process is not replaced by then.
        kills_producer: Whether the producer is among those that are killed.
        seed: What decides when who is killed.
    """

    messages: int = 10_000
    kill_every: tuple[float, float] = (2.0, 5.0)
    kills_producer: bool = False
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a soak run came to.

    Attributes:
        enqueued: Messages whose enqueue returned.
        routes: How many went which way.
        handled: Of those, the ones that a handler finished with.
        twice: Messages that were sent a second time, as they were.
        suppressed: Deliveries that were acknowledged as duplicates.
        in_progress: How often a delivery was held, because another one had the claim.
        reruns: Handler runs of a message beyond its first.
        once: Messages, stored or to be handled once, that a handler finished with: each has a
            receipt.
        late_reruns: Runs of those after a delivery of them was settled.
        lost: Messages that were enqueued and not handled.
        dead: Dead letters.
        wrong: Handler runs that got other bytes than were enqueued.
        rows: What is left in the store.
        kills: Processes that were killed.
        peak: The most memory of a worker (bytes).
        early: Memory of the worker that lives, in the second quarter of the run (bytes, median).
        late: The same in the last quarter.
        seconds: How long it took.
    """

    enqueued: int
    routes: Counter[str]
    handled: int
    twice: int
    suppressed: int
    in_progress: int
    reruns: int
    once: int
    late_reruns: int
    lost: int
    dead: int
    wrong: int
    rows: Rows
    kills: int
    peak: int
    early: int
    late: int
    seconds: float

    def problems(self) -> list[str]:
        """Which promises do not hold."""
        return [
            problem
            for problem, is_there in {
                f"{self.lost} lost": self.lost > 0,
                f"{self.dead} dead letters": self.dead > 0,
                f"{self.wrong} with wrong bytes": self.wrong > 0,
                f"{self.late_reruns} run again after their receipt": self.late_reruns > 0,
                # More there may be for messages that a producer was killed at.
                f"{self.rows.receipts} receipts for {self.once}": not (
                    self.once <= self.rows.receipts <= self.once + self.kills
                ),
                f"{self.rows.records} records of messages in hand": self.rows.records > 0,
                f"{self.rows.for_good} rows for good": self.rows.for_good > 0,
                # A kill cut each run in vain short.
                f"{self.reruns} reruns": self.reruns > self.kills * CONCURRENCY,
                "no duplicate suppressed": bool(self.twice) and not self.suppressed,
            }.items()
            if is_there
        ]

    def is_flat(self) -> bool:
        """Whether a worker's memory stays as it was."""
        return self.late <= self.early * FLAT

    def report(self) -> str:
        routes = ", ".join(f"{count:,} {route}" for route, count in sorted(self.routes.items()))
        return "\n".join(
            [
                f"  enqueued               {self.enqueued:,} ({routes})",
                f"  handled                {self.handled:,}",
                f"  sent twice             {self.twice:,}",
                f"  duplicates suppressed  {self.suppressed:,}",
                f"  held, in progress      {self.in_progress:,} times",
                f"  processes killed       {self.kills:,}",
                f"  handler reruns         {self.reruns:,} ({self.late_reruns} after a receipt)",
                f"  lost, dead letters     {self.lost:,}, {self.dead:,}",
                f"  wrong bytes            {self.wrong:,}",
                f"  receipts left          {self.rows.receipts:,}, for {self.once:,} messages",
                f"  other rows left        {self.rows.parts + self.rows.records:,}",
                f"  memory of a worker     {self.peak / MEGABYTE:.0f} MB at most; "
                f"{self.early / MEGABYTE:.0f} MB early, {self.late / MEGABYTE:.0f} MB late",
                f"  took                   {self.seconds:.0f} s",
            ]
        )


@dataclass(slots=True)
class _Run:
    """A soak run, while it lasts."""

    plan: Plan
    backend: Backend
    crew: Crew
    progress: Callable[[int], None]
    random: random.Random
    kills: int = 0
    enqueued_before: int = 0
    memory: list[int] = field(default_factory=list)
    producer: Running = field(init=False)
    fleet: Running = field(init=False)
    killed: set[int] = field(default_factory=set)

    def to_the_end(self) -> None:
        self.producer = self._start_producer()
        self.fleet = self._start_fleet()
        next_kill, next_sample = self._when_to_kill(), time.monotonic()
        moved, last = time.monotonic(), 0
        while not self._is_over():
            now = time.monotonic()
            if now > next_kill and self._has_recovered():
                self._kill_one()
                next_kill = self._when_to_kill()
            if now > next_sample and (workers := self._workers()):
                self.memory.append(_memory_of(workers[0]))
                next_sample = now + SAMPLE_SECONDS
                handled = len(set(self.crew.journal.numbers("returned")))
                self.progress(handled)
                if handled > last:
                    moved, last = now, handled
                if now > moved + STALL_SECONDS:
                    raise TimeoutError(f"nothing was handled for {STALL_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)
        self.progress(len(set(self.crew.journal.numbers("returned"))))

    def _is_over(self) -> bool:
        exit_code = self.producer.poll()
        if exit_code is None:
            return False
        if exit_code == -signal.SIGKILL and self._missing() > 0:
            self.producer = self._start_producer()
            return False
        if self._missing() > 0:
            raise RuntimeError(f"the producer ended with exit code {exit_code}")
        return self.backend.depth() == 0

    def _missing(self) -> int:
        return self.plan.messages - self.crew.journal.count("enqueued")

    def _start_producer(self) -> Running:
        """A producer of new messages, as many as are missing."""
        self.enqueued_before = self.crew.journal.count("enqueued")
        return self.crew.start(
            Produce(
                journal=self.crew.journal_path,
                first=max(self.crew.journal.numbers("sending"), default=0) + 1,
                count=self._missing(),
                sizes=SIZES,
                twice=TWICE,
                once=ONCE,
            )
        )

    def _start_fleet(self) -> Running:
        return self.crew.start(
            Work(
                journal=self.crew.journal_path,
                concurrency=CONCURRENCY,
                work="some",
                processes=WORKERS,
            )
        )

    def _workers(self) -> list[int]:
        """The process ids of those that have begun and were not killed."""
        started = [entry.process or 0 for entry in self.crew.journal.entries("ready")]
        return [process for process in started if process not in self.killed]

    def _has_recovered(self) -> bool:
        """Whether all are at work: on a busy machine nobody would be, if all were killed sooner."""
        return (
            len(self._workers()) == WORKERS
            and self.crew.journal.count("enqueued") > self.enqueued_before
        )

    def _when_to_kill(self) -> float:
        return time.monotonic() + self.random.uniform(*self.plan.kill_every)

    def _kill_one(self) -> None:
        producer_may_die = self.plan.kills_producer and self.producer.poll() is None
        victim = self.random.randrange(0 if producer_may_die else 1, WORKERS)
        self.kills += 1
        if victim == 0:
            self.producer.kill()
            self.producer.wait()
            return
        process = self._workers()[victim]
        self.killed.add(process)
        os.kill(process, signal.SIGKILL)


def soak(
    plan: Plan, backend: Backend, folder: Path, progress: Callable[[int], None] = lambda _: None
) -> Outcome:
    """Run it, calling `progress` with the messages handled so far."""
    started = time.monotonic()
    with Crew(backend, folder) as crew:
        run = _Run(plan, backend, crew, progress, random.Random(plan.seed))
        run.to_the_end()
        run.fleet.terminate()
        if (code := run.fleet.wait()) != 0:
            raise RuntimeError(f"the worker ended with exit code {code}")
        return _outcome(run, time.monotonic() - started)


def _outcome(run: _Run, seconds: float) -> Outcome:
    journal = run.crew.journal
    enqueued = journal.entries("enqueued")
    sums = {entry.number: entry.sha256 for entry in journal.entries("sending")}
    started, returned = journal.entries("started"), set(journal.numbers("returned"))
    quarter = len(run.memory) // 4
    return Outcome(
        enqueued=len(enqueued),
        routes=Counter(entry.route or "" for entry in enqueued),
        handled=len({entry.number for entry in enqueued} & returned),
        twice=journal.count("sent again"),
        suppressed=journal.count("suppressed"),
        in_progress=journal.count("in progress"),
        reruns=len(started) - len({entry.number for entry in started}),
        once=len(_handled_once(journal) & returned),
        late_reruns=_late_reruns(journal),
        lost=len({entry.number for entry in enqueued} - returned),
        dead=run.backend.dead(),
        wrong=sum(entry.sha256 != sums[entry.number] for entry in started),
        rows=run.backend.rows(),
        kills=run.kills,
        peak=max((entry.peak or 0 for entry in journal.entries("settled")), default=0),
        early=int(median(run.memory[quarter : 2 * quarter] or run.memory)),
        late=int(median(run.memory[3 * quarter :])),
        seconds=seconds,
    )


def _handled_once(journal: Journal) -> set[int | None]:
    """The messages that have a receipt once they are handled."""
    stored = {entry.number for entry in journal.entries("enqueued") if entry.route == "stored"}
    return stored | {entry.number for entry in journal.entries("started") if entry.once}


def _late_reruns(journal: Journal) -> int:
    """Handler runs of a message that has a receipt, after one of its deliveries was settled."""
    once = _handled_once(journal)
    numbers = {entry.message_id: entry.number for entry in journal.entries("started")}
    settled: set[int | None] = set()
    late = 0
    for entry in journal.entries():
        if entry.what == "settled" and numbers[entry.message_id] in once:
            settled.add(numbers[entry.message_id])
        elif entry.what == "started" and entry.number in settled:
            late += 1
    return late


def _memory_of(process: int) -> int:
    """Bytes of a process that are in memory now."""
    answer = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(process)], capture_output=True, text=True, check=False
    )
    return int(answer.stdout or 0) * 1024


def main() -> int:
    """Soak each backend; 0 if every promise held and memory stayed flat."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak")
    parser.add_argument("--messages", type=int, default=Plan().messages)
    parser.add_argument("--backend", choices=ATOMIC, action="append", help="by default each")
    arguments = parser.parse_args()
    all_held = True
    with TemporaryDirectory() as parent, servers(Path(parent)) as running:
        for name in arguments.backend or ATOMIC:
            folder = Path(parent, f"{name}-run")
            folder.mkdir()
            with running.backend(name, folder, **OPTIONS) as backend:
                all_held &= _soak_and_print(Plan(messages=arguments.messages), backend, folder)
    return 0 if all_held else 1


def _soak_and_print(plan: Plan, backend: Backend, folder: Path) -> bool:
    columns = "{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        task = progress.add_task(NAMES[backend.name], total=plan.messages)
        outcome = soak(
            plan, backend, folder, lambda handled: progress.update(task, completed=handled)
        )
    problems = outcome.problems() + ([] if outcome.is_flat() else ["memory grows"])
    name, verdict = NAMES[backend.name], "; ".join(problems) or "all held"
    print(f"{name}\n{outcome.report()}\n  {verdict}\n", flush=True)
    return not problems


if __name__ == "__main__":
    sys.exit(main())
