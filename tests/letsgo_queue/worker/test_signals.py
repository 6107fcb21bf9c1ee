"""Stopping and killing a worker: a real process, on a real file."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from letsgo_queue import Client, Worker
from letsgo_queue.transports.base import ReceivedMessage
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.transports.sqlite import SqliteTransport
from letsgo_queue.worker.parts import Parts
from letsgo_queue.worker.signals import STOP_SIGNALS, stop_on_signals
from tests.letsgo_queue.support import DEADLINE_SECONDS, HangingQueue, order, receive, running
from tests.support.waiting import wait_for

AN_HOUR = 3600
"""Seconds; far longer than the visibility timeout."""

SCRIPT = Path(__file__).with_name("signalled_worker.py")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/queue.db"


def all_messages(url: str) -> list[ReceivedMessage]:
    """All messages on the queue, also those that are invisible: as in an hour."""
    transport = SqliteTransport(url, clock=lambda: time.time() + 2 * AN_HOUR)
    messages = receive(transport)
    transport.close()
    return messages


class WorkerProcess:
    """`signalled_worker.py` at work."""

    def __init__(self, url: str, seconds_ahead: int, others: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), url, str(seconds_ahead), *others],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def expect(self, line: str) -> None:
        assert self.process.stdout
        assert self.process.stdout.readline().strip() == line

    def let_handler_end(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def exit_code(self) -> int:
        return self.process.wait(DEADLINE_SECONDS)


@contextmanager
def worker_process(url: str, *others: str, seconds_ahead: int = 0) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(url, seconds_ahead, others)
    with worker.process:
        try:
            yield worker
        finally:
            worker.process.kill()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_finishes_the_handler_in_hand(url: str, number: signal.Signals) -> None:
    client = Client(url)
    client.enqueue(order(number=1))
    second = client.enqueue(order(number=2))
    with worker_process(url) as worker:
        worker.expect("ready")
        worker.expect("begun")

        worker.process.send_signal(number)
        worker.expect("stopping")
        worker.let_handler_end()

        worker.expect("ended")
        worker.expect("stopped")
        assert worker.exit_code() == 0

    (left,) = all_messages(url)
    assert left.message_id == second.message_id
    assert left.receive_count == 1, "the worker took a message that it had no time for"


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_stops_while_it_waits_for_messages(url: str, number: signal.Signals) -> None:
    client = Client(url)
    client.enqueue(order())
    with worker_process(url) as worker:
        worker.expect("ready")
        worker.expect("begun")
        worker.let_handler_end()
        worker.expect("ended")

        worker.process.send_signal(number)

        worker.expect("stopping")
        worker.expect("stopped")
        assert worker.exit_code() == 0

    assert all_messages(url) == []


SIGNALLED_ON_A_THREAD = """
import signal, sys, threading
from letsgo_queue import Client, Worker
from letsgo_queue.transports.memory import MemoryTransport
from letsgo_queue.worker.several import run_workers

sent = []

def signal_this_thread(message):
    if not sent:
        sent.append(signal.SIGTERM)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

def enqueue(queue):
    Client(queue).enqueue({"type": "order:new", "payload": {}})

if sys.argv[1] == "serve":
    worker = Worker("memory://")
    worker.default(signal_this_thread)
    worker.serve(port=0, on_ready=lambda url: threading.Thread(target=enqueue, args=[url]).start())
else:
    queues = [MemoryTransport() for _ in range(int(sys.argv[1]))]
    workers = [Worker(queue) for queue in queues]
    for worker, queue in zip(workers, queues):
        worker.default(signal_this_thread)
        enqueue(queue)
    run_workers(*workers)
print("stopped by", *sent)
"""


@pytest.mark.parametrize("what", ["1", "2", "serve"])
def test_a_signal_that_another_thread_gets_stops_workers(what: str) -> None:
    """It does not wake the main thread, nor does a signal just before that thread waits."""
    command = [sys.executable, "-c", SIGNALLED_ON_A_THREAD, what]

    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )

    assert (ended.returncode, ended.stdout) == (0, "stopped by 15\n"), ended.stderr


def test_second_signal_ends_it_at_once_and_the_message_comes_again(url: str) -> None:
    sent = Client(url).enqueue(order())
    with worker_process(url) as worker:
        worker.expect("ready")
        worker.expect("begun")

        def ended() -> bool:
            # The same signal twice may arrive as one.
            worker.process.send_signal(signal.SIGTERM)
            return worker.process.poll() is not None

        wait_for(ended, "the end of the process")

        assert worker.exit_code() == -signal.SIGTERM

    (again,) = all_messages(url)
    assert (again.message_id, again.receive_count) == (sent.message_id, 2)


def test_second_interrupt_ends_it_at_once_and_gives_back_all_in_hand(url: str) -> None:
    quick = {"type": "quick", "payload": None}
    Client(url).enqueue_many([*[quick] * 20, order(), *[quick] * 10])
    with worker_process(url) as worker:
        worker.expect("ready")
        worker.expect("begun")
        worker.process.send_signal(signal.SIGINT)
        worker.expect("stopping")
        worker.process.send_signal(signal.SIGINT)

        assert worker.exit_code() != 0

    transport = SqliteTransport(url)
    left: list[ReceivedMessage] = []

    def all_are_back() -> bool:
        # At once, or when a poll ends that had just been begun.
        left.extend(receive(transport))
        return len(left) >= 11

    wait_for(all_are_back, "all that was in hand")
    assert len({each.message_id for each in left}) == len(left) == 11
    transport.close()


def test_second_interrupt_of_several_workers_gives_back_what_each_has(url: str) -> None:
    urls = [url, url.replace("queue.db", "other.db")]
    for each in urls:
        Client(each).enqueue(order())
    with worker_process(*urls) as worker:
        for line in ("ready", "begun", "begun"):
            worker.expect(line)
        worker.process.send_signal(signal.SIGINT)
        worker.expect("stopping")
        worker.process.send_signal(signal.SIGINT)

        assert worker.exit_code() != 0

    for each in urls:
        with closing(SqliteTransport(each)) as transport:
            assert len(receive(transport)) == 1


@pytest.mark.parametrize("numbers", [[signal.SIGINT] * 2, [signal.SIGUSR1]])
def test_interrupted_in_a_poll_it_receives_no_more(numbers: list[signal.Signals]) -> None:
    queue = HangingQueue()
    worker = Worker(queue, wait_seconds=0)
    worker.default(lambda _message: None)

    def interrupt_it() -> None:
        assert queue.asked.wait(DEADLINE_SECONDS)
        first, *second = numbers
        signal.raise_signal(first)
        wait_for(lambda: interrupted.is_set() or worker._stopping.is_set(), "the first signal")
        for number in second:
            signal.raise_signal(number)
        queue.may_answer.set()

    of_others = {*threading.enumerate()}
    interrupted = threading.Event()

    def interrupt(*_: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    interrupting = threading.Thread(target=interrupt_it)
    before = signal.signal(signal.SIGUSR1, interrupt)  # a handler of the program's own
    try:
        interrupting.start()
        with pytest.raises(KeyboardInterrupt):
            worker.run()
        interrupting.join()
    finally:
        signal.signal(signal.SIGUSR1, before)

    def of_the_worker() -> list[threading.Thread]:
        left = {*threading.enumerate()} - of_others
        return [thread for thread in left if thread.name.startswith("letsgo")]

    wait_for(lambda: not of_the_worker(), "its threads to end, the one that polled too")


@pytest.mark.parametrize("runs", ["at once", "when the worker has ended"])
def test_interrupted_while_a_receiver_starts_it_knows_of_its_poll(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, runs: str
) -> None:
    """Its thread may run, though the interrupt came in place of an answer."""

    start = Parts.start
    late: list[Callable[[], None]] = []

    def interrupted(parts: Parts, name: str, target: Callable[[], None], **options: bool) -> bool:
        if name != "receive":
            return start(parts, name, target, **options)
        if runs == "at once":
            start(parts, name, target, **options)
            assert queue.asked.wait(DEADLINE_SECONDS)
        else:
            late.append(target)
        raise KeyboardInterrupt

    queue = HangingQueue()
    monkeypatch.setattr(Parts, "start", interrupted)
    with caplog.at_level(logging.INFO), pytest.raises(KeyboardInterrupt):
        Worker(queue, wait_seconds=0).run()
    queue.may_answer.set()
    for target in late:
        target()

    assert ("an open poll is given up" in caplog.text) == queue.asked.is_set() == (not late)


def test_a_worker_on_a_daemon_thread_lets_the_process_end() -> None:
    program = """
import threading
from letsgo_queue import Worker
from letsgo_queue.transports.memory import MemoryTransport

asked = threading.Event()

class Queue(MemoryTransport):
    def receive(self, **options):
        asked.set()
        return super().receive(**options)

threading.Thread(target=Worker(Queue()).run, daemon=True).start()
asked.wait()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=DEADLINE_SECONDS)


def test_message_of_a_killed_worker_comes_again(url: str) -> None:
    Client(url).enqueue(order())
    with worker_process(url) as worker:
        worker.expect("ready")
        worker.expect("begun")
        worker.process.kill()
        assert worker.exit_code() == -signal.SIGKILL

    with worker_process(url, seconds_ahead=AN_HOUR) as other:
        other.expect("ready")
        other.expect("begun")
        other.let_handler_end()
        other.expect("ended")
        other.process.terminate()
        assert other.exit_code() == 0

    assert all_messages(url) == []


def test_signal_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    stopped = threading.Event()

    with stop_on_signals(stopped.set):
        assert [signal.getsignal(number) for number in STOP_SIGNALS] != before
        signal.raise_signal(signal.SIGTERM)
        assert stopped.is_set()
        assert [signal.getsignal(number) for number in STOP_SIGNALS] == before

    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_worker_on_another_thread_leaves_signals_alone() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    begun = threading.Event()

    class Tells(MemoryTransport):
        def receive(
            self, *, max_messages: int, wait_seconds: float, visibility_timeout: int | None
        ) -> list[ReceivedMessage]:
            begun.set()
            return []

    with running(Worker(Tells())):
        assert begun.wait(DEADLINE_SECONDS)
        assert [signal.getsignal(number) for number in STOP_SIGNALS] == before
