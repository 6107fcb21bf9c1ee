"""The steps of a message's life, each with what is seen when a process is killed there.

`make faults` prints the table; `test_killed.py` holds it.
"""

from __future__ import annotations

import signal
import time
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from claimcheck.core.life import Purge
from tests.faults import actors
from tests.faults.actors import SMALL, THREE_PARTS, Produce, Work
from tests.faults.backends import IN_S3, Backend, BackendName, claim_check_of, transport_of
from tests.faults.crew import Crew
from tests.faults.wire import Kill
from tests.support.calls import Call

LATER_SECONDS = 3600.0
"""How far the clock of the fresh worker's store is ahead: every lease has ended by then."""

Who: TypeAlias = Literal["producer", "worker"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What becomes of the message that was in hand.

    Attributes:
        runs: How often its handler was started, by any worker.
        parts: Parts of its contents that are left; a claim has three.
        receipts: Its receipts.
        records: Its records that are no receipts.
        dead: Whether it is a dead letter.
    """

    runs: int
    parts: int = 0
    receipts: int = 0
    records: int = 0
    dead: int = 0


UNSENT = Seen(0)
HANDLED = Seen(1, receipts=1)
LEFT = Seen(1, parts=1, receipts=1)
"""The contents are left to expire."""

TWICE = Seen(2, receipts=1)
"""The handler was cut short and ran again."""

LOST = Seen(1, records=1, dead=1)
"""The contents were removed before the handler, and died with their process: `ClaimLost`."""

LOST_UNRUN = Seen(0, records=1, dead=1)
LOST_IN_PART = Seen(0, parts=2, records=1, dead=1)
"""The same, and the process died before the handler; some parts may be there still."""


def orphaned(parts: int) -> Seen:
    """Contents of a message that is not on the queue."""
    return Seen(0, parts=parts)


@dataclass(frozen=True, slots=True)
class Step:
    """A moment at which a process is killed, and what is seen then.

    Attributes:
        when: The moment, in words.
        kill: The moment.
        seen: What is seen on SQS and DynamoDB.
        on_sqlite: What is seen on SQLite, where one transaction writes or removes all contents; as
            on DynamoDB by default.
        in_s3: What is seen with contents in S3, where they are one object, which is removed after
            the acknowledgement; as on DynamoDB by default.
        fails: Whether the handler fails.
        purge: When contents are removed.
        once: Whether it is a small message that is handled once.
    """

    when: str
    kill: Kill
    seen: Seen
    on_sqlite: Seen | None = None
    in_s3: Seen | None = field(default=None, kw_only=True)
    fails: bool = field(default=False, kw_only=True)
    purge: Purge = field(default="after", kw_only=True)
    once: bool = field(default=False, kw_only=True)

    @property
    def name(self) -> str:
        kind = "once" if self.once else self.purge
        return f"{kind}: {self.when}"

    @property
    def message(self) -> str:
        """What kind of message it is."""
        return "small, once=True" if self.once else f'stored, purge="{self.purge}"'

    @property
    def who(self) -> Who:
        """Which process is killed."""
        sending = self.kill.call is Call.SEND or (
            self.kill.call is Call.WRITE_PART and not self.fails
        )
        return "producer" if sending else "worker"

    def is_on(self, backend: BackendName) -> bool:
        """Whether there is such a moment: with contents in S3 there is no second part."""
        return backend not in IN_S3 or self.kill.nth == 1

    def expected(self, backend: BackendName) -> Seen:
        if backend in IN_S3:
            return self.in_s3 or self.seen
        return self.on_sqlite or self.seen if backend == "sqlite" else self.seen


def _before(call: Call, nth: int = 1) -> Kill:
    return Kill(moment="before", call=call, nth=nth)


def _after(call: Call, nth: int = 1) -> Kill:
    return Kill(moment="after", call=call, nth=nth)


_early = partial(Step, purge="before")
_once = partial(Step, once=True)

# fmt: off
STEPS = (
    #     when                                   kill                          seen
    Step("before the parts are written",        _before(Call.WRITE_PART),     UNSENT),
    Step("between two parts",                   _before(Call.WRITE_PART, 2),  orphaned(1), UNSENT),
    Step("before the message is sent",          _before(Call.SEND),           orphaned(3),
                                                                              in_s3=orphaned(1)),
    Step("after it, before enqueue returns",    _after(Call.SEND),            HANDLED),
    Step("before the record is acquired",       _before(Call.ACQUIRE),        HANDLED),
    Step("between acquiring and reading",       _before(Call.READ_PART),      HANDLED),
    Step("during the handler",                  _before(Call.HANDLE),         TWICE),
    Step("it failed, before the release",       _before(Call.RELEASE),        TWICE, fails=True),
    Step("it failed, after the release",        _after(Call.RELEASE),         TWICE, fails=True),
    Step("it returned, before the receipt",     _before(Call.COMPLETE),       TWICE),
    Step("after the receipt, contents there",   _after(Call.COMPLETE),        HANDLED),
    Step("before the contents are removed",     _before(Call.REMOVE_PART),    HANDLED,
                                                                              in_s3=LEFT),
    Step("between two removals",                _before(Call.REMOVE_PART, 2), HANDLED),
    Step("before the acknowledgement",          _before(Call.ACKNOWLEDGE),    HANDLED),
    Step("after the acknowledgement",           _after(Call.ACKNOWLEDGE),     HANDLED,
                                                                              in_s3=LEFT),

    _early("before it is handed over",          _before(Call.HAND_OVER),      HANDLED),
    _early("after it, contents there",          _after(Call.HAND_OVER),       HANDLED),
    _early("between two removals",              _before(Call.REMOVE_PART, 2), LOST_IN_PART,
                                                                              HANDLED),
    _early("all removed, before the handler",   _before(Call.EXTEND),         LOST_UNRUN),
    _early("during the handler",                _before(Call.HANDLE),         LOST),
    _early("it failed, before writing back",    _before(Call.WRITE_PART),     LOST, fails=True),
    _early("it failed, before the release",     _before(Call.RELEASE),        TWICE, fails=True),
    _early("it failed, after the release",      _after(Call.RELEASE),         TWICE, fails=True),
    _early("it returned, before the receipt",   _before(Call.COMPLETE),       LOST),
    _early("after the receipt",                 _after(Call.COMPLETE),        HANDLED),
    _early("before the acknowledgement",        _before(Call.ACKNOWLEDGE),    HANDLED),
    _early("after the acknowledgement",         _after(Call.ACKNOWLEDGE),     HANDLED),

    _once("before the record is acquired",      _before(Call.ACQUIRE),        HANDLED),
    _once("after it, before the handler",       _after(Call.ACQUIRE),         HANDLED),
    _once("during the handler",                 _before(Call.HANDLE),         TWICE),
    _once("it failed, before the release",      _before(Call.RELEASE),        TWICE, fails=True),
    _once("it failed, after the release",       _after(Call.RELEASE),         TWICE, fails=True),
    _once("it returned, before the receipt",    _before(Call.COMPLETE),       TWICE),
    _once("after the receipt",                  _after(Call.COMPLETE),        HANDLED),
    _once("before the acknowledgement",         _before(Call.ACKNOWLEDGE),    HANDLED),
    _once("after the acknowledgement",          _after(Call.ACKNOWLEDGE),     HANDLED),
)
# fmt: on


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was seen when a process was killed at a step, and a fresh worker came after it.

    Attributes:
        exit_code: How the process ended.
        sent: Whether the message in hand was on the queue, or handled, after the kill.
        seen: What became of it.
        lost: Messages whose enqueue had returned, that no handler finished with, and that are no
            dead letters.
        wrong: Handler runs that got other bytes than were enqueued.
        left: Messages left on the queue.
        bystander_runs: How often the handler of the message beside it was started.
        for_good: Rows that would never expire, or too late.
    """

    exit_code: int
    sent: bool
    seen: Seen
    lost: int
    wrong: int
    left: int
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
                f"{self.left} left on the queue": self.left > 0,
                f"{self.for_good} rows for good": self.for_good > 0,
                f"sent: {self.sent}": self.sent != (expected.receipts + expected.dead > 0),
                f"{self.bystander_runs} runs of the bystander": self.bystander_runs != 1,
                f"{self.seen} instead of {expected}": self.seen != expected,
            }.items()
            if is_there
        ]


def observe(step: Step, backend: Backend, folder: Path) -> Observation:
    """Enqueue two messages, kill a process at a step, and have a fresh worker finish."""
    with Crew(backend, folder) as crew:
        journal, size = crew.journal, SMALL if step.once else THREE_PARTS
        path, once = crew.journal_path, float(step.once)
        produce = Produce(journal=path, count=2, sizes=(size, size), once=once)
        work = Work(journal=path, purge=step.purge, max_attempts=2)
        if step.who == "producer":
            exit_code = crew.run(produce.model_copy(update={"kill": step.kill}))
            sent = backend.depth() == 2
        else:
            with closing(transport_of(backend)) as transport:
                check = claim_check_of(backend)
                actors.produce(produce, transport, check)
                check.store.close()
            update = {"kill": step.kill, "work": "fail" if step.fails else "nothing"}
            exit_code = crew.run(work.model_copy(update=update))
            sent = backend.depth() + journal.count("returned") >= 1
        crew.let_go_of_messages()
        _work_off(work, backend)
        started = journal.entries("started")
        sums = {entry.number: entry.sha256 for entry in journal.entries("sending")}
        runs = [journal.numbers("started").count(number) for number in (1, 2)]
        # Which of two messages a worker takes first is the queue's choice.
        bystander_runs = 1 if 1 in runs else max(runs)
        rows, dead = backend.rows(), backend.dead()
        unhandled = set(journal.numbers("enqueued")) - set(journal.numbers("returned"))
        return Observation(
            exit_code=exit_code,
            sent=sent,
            seen=Seen(
                runs=sum(runs) - bystander_runs,
                parts=rows.parts,
                receipts=rows.receipts - 1,  # the bystander has one
                records=rows.records,
                dead=dead,
            ),
            lost=max(len(unhandled) - dead, 0),
            wrong=sum(entry.sha256 != sums[entry.number] for entry in started),
            left=backend.depth(),
            bystander_runs=bystander_runs,
            for_good=rows.for_good,
        )


def _work_off(orders: Work, backend: Backend) -> None:
    """Have a fresh worker, at a later time, handle what is there."""
    check = claim_check_of(backend, clock=lambda: time.time() + LATER_SECONDS)
    with closing(transport_of(backend)) as transport, closing(check.store):
        actors.work(orders, transport, check, burst=True)
