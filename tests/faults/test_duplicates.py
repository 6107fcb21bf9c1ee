"""The same message on the queue several times: one handler runs, and the queue ends empty."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session

from claimcheck import ClaimAlreadyProcessed, ClaimCheckMiddleware, ClaimInProgress
from claimcheck.core.opened import Opened
from letsgo_queue import Client, SendUncertain
from letsgo_queue.message import encode
from letsgo_queue.transports.base import OutgoingMessage
from tests.faults.actors import JobMessage, Work, job, sha256_of
from tests.faults.backends import AwsBackend, Backend, claim_check_of, transport_of
from tests.faults.crew import Crew
from tests.faults.stores import Rows
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

ROUNDS = 5
LEASE_SECONDS = 10
"""A copy is tried again when the lease of the one that runs would end."""

TEN_MINUTES = 600


@pytest.fixture
def crew(backend: Backend, tmp_path: Path) -> Iterator[Crew]:
    with Crew(backend, tmp_path) as crew:
        yield crew


@pytest.mark.parametrize(
    ("processes", "threads"),
    [
        pytest.param(1, 8, id="8 threads", marks=pytest.mark.long),
        pytest.param(4, 2, id="4 processes of 2 threads"),
    ],
)
def test_copies_at_once_run_one_handler(
    backend: Backend, crew: Crew, processes: int, threads: int
) -> None:
    copies = processes * threads
    workers = Work(
        journal=crew.journal_path,
        concurrency=threads,
        visibility_timeout=LEASE_SECONDS,
        work="wait",  # so all the others are refused while the one handler runs
        refusals=copies - 1,
    )
    for _ in range(processes):
        crew.start(workers)
    wait_for(lambda: crew.journal.count("ready") == processes, "the workers")

    _send(backend, _sealed(backend, job(1)), copies)

    wait_for(lambda: crew.journal.count("suppressed") == copies - 1, "the duplicates")
    wait_for(lambda: backend.depth() == 0, "the queue to be empty")
    (started,) = crew.journal.entries("started")
    assert started.sha256 == sha256_of(encode(job(1))[1])
    assert crew.journal.count("returned") == 1
    assert (backend.dead(), backend.rows()) == (0, Rows(receipts=1))


def test_a_copy_of_a_message_whose_handler_runs_is_held(backend: Backend, crew: Crew) -> None:
    """Each refusal by a lease would use up a receive, and make a dead letter of it in the end."""
    crew.start(
        Work(
            journal=crew.journal_path,
            concurrency=2,
            visibility_timeout=LEASE_SECONDS,
            work="wait",
            refusals=2,  # by then the first lease would have ended
        )
    )

    _send(backend, _sealed(backend, job(1)), copies=2)

    wait_for(lambda: crew.journal.count("suppressed") == 1, "the duplicate")
    wait_for(lambda: backend.depth() == 0, "the queue to be empty")
    assert crew.journal.count("in progress") == 2
    assert crew.journal.count("started") == 1
    assert [each.receive_count for each in crew.journal.entries("suppressed")] == [1]
    assert backend.dead() == 0


@pytest.mark.parametrize(
    "ahead",
    [pytest.param("the one that runs", marks=pytest.mark.long), "the one that comes later"],
)
def test_clocks_ten_minutes_apart_let_no_second_handler_run(
    ministack: AwsServer, tmp_path: Path, ahead: str
) -> None:
    """Leases go by the store's clock, whatever the workers' machines say."""
    backend = AwsBackend(ministack)
    message = _sealed(backend, job(1))
    with Crew(backend, tmp_path) as crew:
        orders = Work(
            journal=crew.journal_path, visibility_timeout=LEASE_SECONDS, work="wait", refusals=1
        )
        runs_ahead = ahead == "the one that runs"
        crew.start(orders, clock_ahead=TEN_MINUTES * runs_ahead)
        _send(backend, message)
        wait_for(lambda: crew.journal.count("started") == 1, "the handler")

        crew.start(orders, clock_ahead=TEN_MINUTES * (not runs_ahead))
        _send(backend, message)

        wait_for(lambda: crew.journal.count("suppressed") == 1, "the duplicate")
        assert crew.journal.count("in progress") >= 1
        assert crew.journal.count("started") == 1
        assert backend.rows() == Rows(receipts=1)


def test_a_copy_after_success_is_acknowledged_and_not_run(backend: Backend, crew: Crew) -> None:
    message = _sealed(backend, job(1))
    crew.start(Work(journal=crew.journal_path))
    _send(backend, message)
    wait_for(lambda: crew.journal.count("settled") == 1, "the first delivery")

    _send(backend, message)

    wait_for(lambda: crew.journal.count("suppressed") == 1, "the second delivery")
    wait_for(lambda: backend.depth() == 0, "the queue to be empty")
    assert crew.journal.count("started") == 1


def test_of_those_who_open_a_claim_at_one_moment_one_gets_it(backend: Backend) -> None:
    claim_check = claim_check_of(backend)
    everybody = 8
    for number in range(ROUNDS):
        body = _sealed(backend, job(number)).body.decode()
        at_once = threading.Barrier(everybody)

        def try_to_open(body: str = body, at_once: threading.Barrier = at_once) -> Opened | None:
            at_once.wait()
            try:
                return claim_check.open(body)
            except ClaimInProgress:
                return None

        with ThreadPoolExecutor(everybody) as pool:
            tries = [pool.submit(try_to_open) for _ in range(everybody)]
            (opened,) = filter(None, [each.result() for each in tries])
        assert opened.body.encode() == encode(job(number))[1]
        assert opened.complete()
        with pytest.raises(ClaimAlreadyProcessed):
            claim_check.open(body)
    assert backend.rows() == Rows(receipts=ROUNDS)
    claim_check.store.close()


def test_copies_from_a_send_whose_answers_were_lost_run_one_handler(
    ministack: AwsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim of a message that may be on the queue stays; here it is on it four times."""
    backend = AwsBackend(ministack)
    send = URLLib3Session.send

    def lose_answer(session: URLLib3Session, request: AWSPreparedRequest) -> AWSResponse:
        answer = send(session, request)
        if b"SendMessage" in request.headers["X-Amz-Target"]:
            raise ReadTimeoutError(endpoint_url=request.url)
        return answer

    claim_check = claim_check_of(backend)
    with monkeypatch.context() as patch, closing(transport_of(backend)) as transport:
        client = Client(transport, middleware=[ClaimCheckMiddleware(claim_check)])
        patch.setattr(URLLib3Session, "send", lose_answer)
        with pytest.raises(SendUncertain):
            client.enqueue(job(1))
    claim_check.store.close()
    copies = backend.depth()

    with Crew(backend, tmp_path) as crew:
        crew.start(Work(journal=crew.journal_path))
        wait_for(lambda: crew.journal.count("suppressed") == copies - 1, "the duplicates")
        wait_for(lambda: backend.depth() == 0, "the queue to be empty")

        assert copies > 1
        assert crew.journal.count("returned") == 1
    assert backend.rows() == Rows(receipts=1)


def _sealed(backend: Backend, message: JobMessage) -> OutgoingMessage:
    """A message as it travels once its claim is stored."""
    _, body = encode(message)
    claim_check = claim_check_of(backend)
    sealed = claim_check.seal(body, type=message.type)
    claim_check.store.close()
    assert sealed.route == "stored"
    return OutgoingMessage(type=message.type, body=sealed.body)


def _send(backend: Backend, message: OutgoingMessage, copies: int = 1) -> None:
    with closing(transport_of(backend)) as transport, ThreadPoolExecutor(copies) as pool:
        list(pool.map(transport.send, [message] * copies))
