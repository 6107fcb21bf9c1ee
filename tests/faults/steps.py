"""The steps of a message's life, each with what is observed when a process is killed there.

`make faults` prints the table; `test_killed.py` holds it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

from tests.faults import actors
from tests.faults.actors import Produce, Work
from tests.faults.backends import Backend, BackendName, claim_check_of, transport_of
from tests.faults.crew import Crew
from tests.faults.journal import wait_until
from tests.faults.wire import Call, Kill

Who: TypeAlias = Literal["producer", "worker"]
_SENDING = {Call.WRITE_PART, Call.WRITE_HEAD, Call.SEND}

DAY = 24 * 3600
LONGEST_EXPIRY = 16 * DAY


@dataclass(frozen=True, slots=True)
class Seen:
    """What becomes of the message that was in hand.

    Attributes:
        runs: How often its handler was started, by any worker.
        rows: Rows that stay in the store until they expire; a claim has a head and three parts.
    """

    runs: int
    rows: int


@dataclass(frozen=True, slots=True)
class Step:
    """A moment at which a process is killed, and what is seen then.

    Attributes:
        when: The moment, in words.
        kill: The moment.
        sqlite: What is seen on SQLite, where one transaction writes or purges a claim; None where
            there is no such moment.
        ministack: What is seen on SQS and DynamoDB.
    """

    when: str
    kill: Kill
    sqlite: Seen | None
    ministack: Seen

    @property
    def who(self) -> Who:
        """Which process is killed."""
        return "producer" if self.kill.call in _SENDING else "worker"

    def expected(self, backend: BackendName) -> Seen | None:
        return self.sqlite if backend == "sqlite" else self.ministack


def _before(call: Call, nth: int = 1) -> Kill:
    return Kill(moment="before", call=call, nth=nth)


def _after(call: Call) -> Kill:
    return Kill(moment="after", call=call)


# fmt: off
STEPS = (
    #    when                                 kill                         SQLite      DynamoDB
    #                                                                      runs, rows  runs, rows
    Step("before the parts are written",      _before(Call.WRITE_PART),    Seen(0, 0), Seen(0, 0)),
    Step("between two parts",                 _before(Call.WRITE_PART, 2), Seen(0, 0), Seen(0, 1)),
    Step("before the head is written",        _before(Call.WRITE_HEAD),    Seen(0, 0), Seen(0, 3)),
    Step("before the message is sent",        _before(Call.SEND),          Seen(0, 4), Seen(0, 4)),
    Step("after it, before enqueue returns",  _after(Call.SEND),           Seen(1, 0), Seen(1, 0)),
    Step("before the claim is taken",         _before(Call.TAKE),          Seen(1, 0), Seen(1, 0)),
    Step("between taking and reading",        _before(Call.READ_PART),     Seen(1, 0), Seen(1, 0)),
    Step("during the handler",                _before(Call.HANDLE),        Seen(2, 0), Seen(2, 0)),
    Step("it failed, before putting back",    _before(Call.PUT_BACK),      Seen(2, 0), Seen(2, 0)),
    Step("it failed, after putting back",     _after(Call.PUT_BACK),       Seen(2, 0), Seen(2, 0)),
    Step("it returned, before the purge",     _before(Call.PURGE_HEAD),    Seen(2, 0), Seen(2, 0)),
    Step("in the purge, the head gone",       _before(Call.PURGE_PART),    Seen(2, 0), Seen(1, 3)),
    Step("in the purge, between two parts",   _before(Call.PURGE_PART, 2), None,       Seen(1, 2)),
    Step("before the acknowledgement",        _before(Call.ACKNOWLEDGE),   Seen(1, 0), Seen(1, 0)),
    Step("after the acknowledgement",         _after(Call.ACKNOWLEDGE),    Seen(1, 0), Seen(1, 0)),
)
# fmt: on


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was seen when a process was killed at a step, and a fresh worker came after it.

    Attributes:
        exit_code: How the process ended.
        sent: Whether the message in hand was on the queue, or handled, after the kill.
        seen: What became of it.
        lost: Messages whose enqueue had returned and that no handler finished with.
        wrong: Handler runs that got other bytes than were enqueued.
        bystander_runs: Handler runs of the message beside it.
        for_good: Rows that would never expire, or too late.
    """

    exit_code: int
    sent: bool
    seen: Seen
    lost: int
    wrong: int
    bystander_runs: int
    for_good: int

    def problems(self, expected: Seen) -> list[str]:
        """Which promises do not hold, and what differs from the table."""
        return [
            problem
            for problem, is_there in {
                f"not killed (exit code {self.exit_code})": self.exit_code != -signal.SIGKILL,
                f"{self.lost} lost": self.lost > 0,
                f"{self.wrong} with wrong bytes": self.wrong > 0,
                f"{self.for_good} rows for good": self.for_good > 0,
                f"sent: {self.sent}": self.sent != (expected.runs > 0),
                f"{self.bystander_runs} runs of the bystander": self.bystander_runs != 1,
                f"{self.seen} instead of {expected}": self.seen != expected,
            }.items()
            if is_there
        ]


def observe(step: Step, backend: Backend, folder: Path) -> Observation:
    """Enqueue two messages, kill a process at a step, and have a fresh worker finish."""
    with Crew(backend, folder) as crew:
        path, journal = crew.journal_path, crew.journal
        produce = Produce(journal=path, count=2)
        fresh = Work(journal=path, concurrency=2)
        if step.who == "producer":
            exit_code = crew.run(produce.model_copy(update={"kill": step.kill}))
            sent = backend.depth() == 2
        else:
            actors.produce(produce, transport_of(backend), claim_check_of(backend))
            work = "fail" if step.kill.call is Call.PUT_BACK else "nothing"
            exit_code = crew.run(Work(journal=path, work=work, kill=step.kill))
            sent = backend.depth() + journal.count("settled") >= 1
        crew.start(fresh)
        wait_until(lambda: backend.depth() == 0, "the queue to be empty")
        started, sums = journal.entries("started"), _sums(crew)
        runs = [journal.numbers("started").count(number) for number in (1, 2)]
        # Which of two messages a worker takes first is the queue's choice.
        bystander_runs = runs[0] if step.who == "producer" else min(runs)
        rows = backend.rows()
        return Observation(
            exit_code=exit_code,
            sent=sent,
            seen=Seen(sum(runs) - bystander_runs, len(rows)),
            lost=len(set(journal.numbers("enqueued")) - set(journal.numbers("returned"))),
            wrong=sum(entry.sha256 != sums[entry.number or 0] for entry in started),
            bystander_runs=bystander_runs,
            for_good=sum(not _expires(row) for row in rows),
        )


def _sums(crew: Crew) -> Mapping[int, str | None]:
    return MappingProxyType(
        {entry.number or 0: entry.sha256 for entry in crew.journal.entries("sending")}
    )


def _expires(expires_at: int | None) -> bool:
    return expires_at is not None and expires_at < time.time() + LONGEST_EXPIRY
