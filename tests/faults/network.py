"""What is seen when one call in a message's life fails between client and server.

A proxy before MiniStack has one call after another fail in one way after another: one request, or
the whole call with its retry. `make faults` prints the table; `test_network.py` holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Lock
from typing import Literal, TypeAlias

from claimcheck.core.cost import Place
from claimcheck.core.life import Purge
from letsgo_queue import Delivery, SendUncertain
from letsgo_queue.errors import LetsGoError
from tests.faults.rig import ATTEMPTS, ONE_PART, TWO_PARTS, Rig
from tests.faults.stores import Rows
from tests.support.calls import Call, is_first_part
from tests.support.faulty_server import Failure, Fault, FaultyServer
from tests.support.servers import AwsServer

SMALL = 100
EXTENDED_SECONDS = 900

FAILURES: Mapping[Failure, str] = {
    Failure.REQUEST_LOST: "request lost",
    Failure.REQUEST_LATE: "request late",
    Failure.ANSWER_LOST: "answer lost",
    Failure.ANSWER_CUT: "answer halved",
    Failure.ANSWER_LATE: "answer late",
    Failure.THROTTLED: "throttled",
    Failure.SERVER_ERROR: "server error",
    Failure.DENIED: "denied",
}
"""What may happen, by its short name. A late answer comes after the read timeout."""

HowOften: TypeAlias = Literal["one request", "the whole call"]
HOW_OFTEN: Mapping[HowOften, int] = {"one request": 1, "the whole call": ATTEMPTS}


@dataclass(frozen=True, slots=True)
class Life:
    """A message's life.

    Attributes:
        name: In words.
        calls: Those of its calls that are to fail.
        size: Characters of its payload.
        purge: When its contents are removed.
        once: Whether it has a record without having contents.
        fails: Whether its handler fails the first time; the calls fail from then on.
        late: Whether the calls fail from the handler on.
    """

    name: str
    calls: tuple[Call, ...]
    size: int = TWO_PARTS
    purge: Purge = "after"
    once: bool = False
    fails: bool = False
    late: bool = False


_LIVES = (
    Life(
        "stored",
        (
            Call.WRITE_PART,
            Call.SEND,
            Call.ASK_QUEUE,
            Call.RECEIVE,
            Call.LOOK_UP,
            Call.ACQUIRE,
            Call.READ_PART,
            Call.CHANGE_VISIBILITY,
            Call.EXTEND,
            Call.COMPLETE,
            Call.REMOVE_PART,
            Call.ACKNOWLEDGE,
        ),
    ),
    Life("stored, fails once", (Call.RELEASE, Call.CHANGE_VISIBILITY), fails=True),
    Life(
        'stored, purge="before"',
        (Call.HAND_OVER, Call.REMOVE_PART, Call.EXTEND),
        purge="before",
    ),
    Life(
        'stored, purge="before", fails once',
        (Call.EXTEND, Call.WRITE_PART, Call.RELEASE),
        purge="before",
        fails=True,
    ),
    Life(
        "small, once=True",
        (Call.LOOK_UP, Call.ACQUIRE, Call.EXTEND, Call.COMPLETE, Call.ACKNOWLEDGE),
        size=SMALL,
        once=True,
    ),
    Life("small, once=True, fails once", (Call.RELEASE,), size=SMALL, once=True, fails=True),
)

_IN_PIECES = Life(
    "stored in pieces",
    (Call.BEGIN_UPLOAD, Call.WRITE_PART, Call.END_UPLOAD, Call.READ_PART, Call.REMOVE_PART),
)

# A record in S3 is read before it is changed.
_READ_BEFORE = (
    Life("stored, at its end", (Call.LOOK_UP,), size=ONE_PART, late=True),
    Life("stored, fails once", (Call.LOOK_UP,), size=ONE_PART, fails=True),
)


def lives_in(place: Place) -> tuple[Life, ...]:
    """The lives of a message whose claim is kept there."""
    if place == "dynamodb":
        return _LIVES
    in_one_piece = [replace(life, size=min(life.size, ONE_PART)) for life in _LIVES]
    return (*in_one_piece, _IN_PIECES, *(_READ_BEFORE if place == "s3" else ()))


@dataclass(frozen=True, slots=True)
class Case:
    """What happens to a message.

    Attributes:
        place: Where its claim is kept.
        life: Its life.
        call: The call that fails.
        failure: How that fails.
        how_often: How often.
    """

    place: Place
    life: Life
    call: Call
    failure: Failure
    how_often: HowOften


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What became of a message.

    Attributes:
        error: What enqueue raised; None if it returned.
        happened: How often the failure happened.
        runs: Handler runs.
        succeeded: Those that came to their end.
        wrong: Those that got other bytes than were enqueued.
        receives: How often it was received at most.
        left: Messages left on the queue.
        rows: What is left in the store.
    """

    error: LetsGoError | None
    happened: int
    runs: int
    succeeded: int
    wrong: int
    receives: int
    left: int
    rows: Rows

    def problems(self, life: Life) -> list[str]:
        """Which promises do not hold."""
        sent = self.error is None
        may_be_sent = sent or isinstance(self.error, SendUncertain)
        return [
            problem
            for problem, is_there in {
                "it did not happen": self.happened == 0,
                "lost": sent and self.succeeded == 0,
                f"handled {self.succeeded} times": self.succeeded > 1,
                f"{self.runs} runs": self.runs > self.succeeded + life.fails,
                "handled, though it was refused": self.succeeded > 0 and not may_be_sent,
                f"{self.wrong} with wrong bytes": self.wrong > 0,
                f"{self.left} left on the queue": self.left > 0,
                f"{self.rows.for_good} rows for good": self.rows.for_good > 0,
            }.items()
            if is_there
        ]

    def __str__(self) -> str:
        rows = {"part": self.rows.parts, "record": self.rows.records}
        said = [] if self.error is None else [type(self.error).__name__]
        if self.succeeded:
            said.append("handled" if self.receives == 1 else f"handled, {self.receives} receives")
        said += [f"{count} {name}{'s' * (count > 1)}" for name, count in rows.items() if count]
        if self.succeeded and not self.rows.receipts:
            said.append("no receipt")
        return ", ".join(said)


_making = Lock()
"""Boto3's sessions make clients for one thread at a time."""


def live(case: Case, server: AwsServer) -> Ending:
    """Have a message live its life, with one call failing.

    Another one where that call was not made: a store that learns the time from the answer to a read
    beside looks no record up.
    """
    ending = _live(case, server)
    return ending if ending.happened else _live(case, server)


def _live(case: Case, server: AwsServer) -> Ending:
    assert server.endpoint_url is not None
    life, call, failure = case.life, case.call, case.failure
    times = HOW_OFTEN[case.how_often]
    with FaultyServer(server.endpoint_url) as proxy:
        with _making:
            rig = Rig(
                *(server, proxy),
                place=case.place,
                concurrency=1,
                purge=life.purge,
                once=life.once,
            )

        def inject() -> None:
            faults.append(proxy.inject(failure, on=call, matches=is_first_part, times=times))

        def handle(_payload: str, delivery: Delivery) -> None:
            if call in {Call.EXTEND, Call.CHANGE_VISIBILITY} and not life.fails:
                with suppress(LetsGoError):  # visibility timeout and lease go on as they were
                    delivery.extend(EXTENDED_SECONDS)
            if begins_late and len(rig.runs) == 1:
                inject()
            if life.fails and len(rig.runs) == 1:
                raise RuntimeError("the test says so")

        faults: list[Fault] = []
        begins_late = life.fails or life.late
        if not begins_late:
            inject()
        rig.handle = handle
        sent = rig.enqueue(1, size=life.size)
        rig.work_off()
        error = next(iter(sent.refused.values()), None)
        digests = {*sent.acknowledged, *sent.refused}
        ending = Ending(
            error=error,
            happened=faults[0].happened,
            runs=len(rig.runs),
            succeeded=rig.succeeded.total(),
            wrong=sum(run.digest not in digests for run in rig.runs),
            receives=max((run.receive_count for run in rig.runs), default=0),
            left=rig.on_queue(),
            rows=rig.rows(),
        )
        rig.close()
        return ending
