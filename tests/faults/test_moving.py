"""A fleet moves from one store to another and back, with messages in flight."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from tests.faults.actors import Produce, Work
from tests.faults.backends import AwsBackend
from tests.faults.crew import Crew, Running
from tests.faults.journal import wait_until
from tests.support.servers import AwsServer

SIZES = (400_000, 500_000)
"""What the queue does not take, also compressed: each is stored, in one part."""

EACH = 10
"""Messages that each producer sends."""

ALL = 6 * EACH


def test_from_dynamodb_to_s3_and_back_nothing_is_lost_or_handled_twice(
    ministack: AwsServer, tmp_path: Path
) -> None:
    backend = AwsBackend(ministack, largest_message=262_144)
    bucket = ministack.make_bucket()
    table, s3 = backend.store_url, f"s3://{bucket}"
    before = {"CLAIMCHECK_STORE": table, "CLAIMCHECK_READ_STORES": s3}
    after = {"CLAIMCHECK_STORE": s3, "CLAIMCHECK_READ_STORES": table}

    with Crew(backend, tmp_path) as crew:
        send = Sending(crew)
        for settings in (before, after, before):
            # Nobody is at work: each fleet finds messages of both stores on the queue.
            send.to(before)
            send.to(after)
            handled = crew.journal.count("returned")
            fleet = start_fleet(crew, settings)
            wait_until(partial(has_handled, crew, handled + EACH), "the fleet to be at work")
            if send.sent == ALL:
                wait_until(lambda: backend.depth() == 0, "the queue to be empty")
            stop_fleet(fleet)

        journal = crew.journal
        assert {entry.route for entry in journal.entries("enqueued")} == {"stored"}
        assert Counter(journal.numbers("started")) == dict.fromkeys(range(1, ALL + 1), 1)
        assert Counter(journal.numbers("returned")) == dict.fromkeys(range(1, ALL + 1), 1)
        sent = {entry.number: entry.sha256 for entry in journal.entries("sending")}
        assert {entry.number: entry.sha256 for entry in journal.entries("returned")} == sent
        assert backend.dead() == 0
    assert (backend.rows().parts, backend.rows().receipts) == (0, EACH * send.times[table])
    assert Counter(key.startswith("records/") for key in ministack.objects_in(bucket)) == {
        True: EACH * send.times[s3]
    }


def has_handled(crew: Crew, count: int) -> bool:
    return crew.journal.count("returned") >= count


class Sending:
    """Producers, one after the other, each with settings of its own."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self.sent = 0
        self.times: Counter[str] = Counter()

    def to(self, settings: Mapping[str, str]) -> None:
        """Have a producer send messages."""
        orders = Produce(
            journal=self._crew.journal_path,
            first=self.sent + 1,
            count=EACH,
            sizes=SIZES,
        )
        assert self._crew.run(orders, settings=settings) == 0
        self.sent += EACH
        self.times[settings["CLAIMCHECK_STORE"]] += 1


def start_fleet(crew: Crew, settings: Mapping[str, str]) -> list[Running]:
    """Start two workers, and wait until they are at work."""
    ready = crew.journal.count("ready")
    orders = Work(journal=crew.journal_path, concurrency=2, work="some")
    fleet = [crew.start(orders, settings=settings) for _ in range(2)]
    wait_until(lambda: crew.journal.count("ready") == ready + 2, "the fleet to start")
    return fleet


def stop_fleet(fleet: list[Running]) -> None:
    """Stop workers as a deployment does, and wait for their end."""
    for worker in fleet:
        worker.send_signal(signal.SIGTERM)
    for worker in fleet:
        assert worker.wait(60) == 0
