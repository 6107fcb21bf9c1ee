"""`letsgo-queue worker --processes`: real processes, killed and signalled."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from letsgo_queue import Client, SettingsInvalid
from letsgo_queue.transports.sqlite import SqliteTransport
from letsgo_queue.worker import processes
from letsgo_queue.worker.signals import STOP_SIGNALS
from tests.letsgo_queue.support import receive
from tests.support.quick_python import quick_python
from tests.support.waiting import wait_for

ENDING_SECONDS = 40


class Fleet:
    """A command at work in a folder."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        shutil.copy(Path(__file__).with_name("fleet_jobs.py"), folder / "jobs.py")
        with (folder / "log").open("w") as log:
            self.command = subprocess.Popen(
                [*quick_python(), "-m", "letsgo_queue.cli.app", "worker", *arguments],
                cwd=folder,
                stderr=log,
            )

    def enqueue(self, *types: str, queue: str = "orders", count: int = 1) -> None:
        client = Client(f"sqlite:///{self.folder}/{queue}.db")
        client.enqueue_many({"type": each, "payload": n} for n in range(count) for each in types)
        client.close()

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def wait_for_log(self, text: str, *, times: int = 1) -> None:
        wait_for(lambda: self.log().count(text) >= times, f"{text!r} in the log")

    def said(self, what: str) -> list[int]:
        """The processes that said so."""
        with suppress(FileNotFoundError):
            lines = (self.folder / "said").read_text().splitlines()
            return [int(line.split()[1]) for line in lines if line.startswith(what)]
        return []

    def wait_until_said(self, what: str, count: int) -> list[int]:
        wait_for(lambda: len(self.said(what)) >= count, f"{what} {count} times")
        return self.said(what)

    def let_handlers_end(self) -> None:
        (self.folder / "go").touch()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.command.send_signal(number)
        return self.exit_code()

    def exit_code(self) -> int:
        return self.command.wait(ENDING_SECONDS)

    def left(self, queue: str = "orders") -> int:
        """How many messages are on the queue, invisible ones too."""
        transport = SqliteTransport(
            f"sqlite:///{self.folder}/{queue}.db", clock=lambda: time.time() + 7200
        )
        left = len(receive(transport))
        transport.close()
        return left


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[Fleet]:
    fleet = Fleet(folder, *arguments)
    try:
        yield fleet
    finally:
        fleet.let_handlers_end()
        fleet.command.kill()
        fleet.command.wait()
        wait_for(lambda: not any(map(is_alive, pids_in(fleet.log()))), "the children to end")


def pids_in(log: str) -> list[int]:
    return [int(line.rpartition(" ")[2]) for line in log.splitlines() if " started, pid " in line]


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_children_work_and_finish_what_they_have_when_told_to_stop(
    tmp_path: Path, number: signal.Signals
) -> None:
    with running(tmp_path, "jobs:orders", "--processes", "3", "--concurrency", "1") as fleet:
        fleet.enqueue("wait", count=3)
        begun = fleet.wait_until_said("begun", 3)
        assert len({*begun, fleet.command.pid}) == 4

        fleet.command.send_signal(number)
        for pid in begun:  # a terminal and systemd send it to all of them
            os.kill(pid, number)
        fleet.wait_for_log("stopping 3 worker processes")
        assert all(map(is_alive, begun))
        fleet.let_handlers_end()

        assert fleet.exit_code() == 0
        assert sorted(fleet.said("ended")) == sorted(begun)
        assert fleet.left() == 0


def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    with running(tmp_path, "jobs:orders", "--processes", "2") as fleet:
        fleet.wait_for_log("worker starts", times=2)
        first, second = pids_in(fleet.log())
        os.kill(first, signal.SIGKILL)
        fleet.wait_for_log(
            f"worker process 0 (pid {first}) was ended by SIGKILL; starting it again in 1 s"
        )
        fleet.wait_for_log("worker starts", times=3)

        fleet.enqueue("wait", "wait", count=10)  # more than one process takes
        begun = set(fleet.wait_until_said("begun", 20))
        assert begun == {second, pids_in(fleet.log())[2]}
        fleet.let_handlers_end()
        assert fleet.end() == 0


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="macOS has no real-time signals")
def test_a_child_that_a_signal_without_a_name_ends_is_started_again(tmp_path: Path) -> None:
    with running(tmp_path, "jobs:orders", "--processes", "2") as fleet:
        fleet.enqueue("note")
        (first,) = fleet.wait_until_said("note", 1)
        number = signal.SIGRTMIN + 1
        os.kill(first, number)
        fleet.wait_for_log(f"(pid {first}) was ended by signal {number}; starting it again in 1 s")
        assert fleet.end() == 0


def test_a_second_signal_ends_all_at_once(tmp_path: Path) -> None:
    with running(tmp_path, "jobs:orders", "--processes", "2") as fleet:
        fleet.enqueue("wait")
        fleet.wait_until_said("begun", 1)
        fleet.command.terminate()
        fleet.wait_for_log("stopping 2 worker processes")

        assert fleet.end() == -signal.SIGTERM
        wait_for(lambda: not any(map(is_alive, pids_in(fleet.log()))), "the children to end")
        assert fleet.left() == 1


def test_children_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    with running(tmp_path, "jobs:orders", "--processes", "2") as fleet:
        fleet.enqueue("wait")
        begun = fleet.wait_until_said("begun", 1)
        fleet.end(signal.SIGKILL)

        pids = pids_in(fleet.log())
        wait_for(lambda: sum(map(is_alive, pids)) == 1, "the idle child to end")
        fleet.let_handlers_end()
        wait_for(lambda: not any(map(is_alive, pids)), "the other to end")
        assert fleet.said("ended") == begun
        assert fleet.left() == 0


def test_a_child_that_does_not_end_is_killed(tmp_path: Path) -> None:
    (tmp_path / "impatient.py").write_text(
        "from letsgo_queue.worker import processes\n"
        "from jobs import orders\n"
        "processes.ENDING_SECONDS = 0.1\n"
    )
    arguments = ("--max-messages", "9", "--drain-timeout", "0")
    with running(tmp_path, "impatient:orders", *arguments) as fleet:
        fleet.enqueue("note")
        (pid,) = fleet.wait_until_said("note", 1)
        os.kill(pid, signal.SIGSTOP)

        assert fleet.end() == 0
        assert f"worker process with pid {pid} does not end, and is killed" in fleet.log()


class TestFailures:
    def test_one_that_would_come_again_ends_all(self, tmp_path: Path) -> None:
        (tmp_path / "broken.py").write_text(
            "from letsgo_queue import Worker\nworker = Worker('sqlite:////no/such/folder/q.db')\n"
        )
        with running(tmp_path, "broken", "--processes", "2") as fleet:
            assert fleet.exit_code() == 1
            log = fleet.log()

        assert "/no/such/folder" in log
        assert "cannot be run; its error is above. All processes end." in log
        assert "Traceback" not in log
        assert "again" not in log

    def test_one_that_comes_again_and_again_ends_all(self, tmp_path: Path) -> None:
        (tmp_path / "dying.py").write_text(
            "import os\n"
            "from letsgo_queue.worker import processes\n"
            "from jobs import orders\n"
            "processes.FIRST_PAUSE_SECONDS = 0.01\n"
            "processes.MAX_FAILURES = 3\n"
            "os.register_at_fork(after_in_child=lambda: os._exit(3))\n"
        )
        with running(tmp_path, "dying:orders", "--processes", "1", "--max-messages", "9") as fleet:
            assert fleet.exit_code() == 1
            log = fleet.log()

        assert log.count("ended with exit code 3; starting it again in 0 s") == 2
        assert "error: worker process 0 failed 3 times in a row, the last time it " in log
        assert len(pids_in(log)) == 3


class TestRecycling:
    def test_after_so_many_messages(self, tmp_path: Path) -> None:
        with running(
            tmp_path, "jobs:orders", "--max-messages", "4", "--concurrency", "1", "--prefetch", "0"
        ) as fleet:
            fleet.enqueue("note", count=10)
            said = fleet.wait_until_said("note", 10)
            assert fleet.end() == 0

            assert max(Counter(said).values()) <= 5  # one may be in hand when it is told to stop
            assert fleet.log().count("recycled: it has begun 4 messages") == 2
            assert "WARNING" not in fleet.log()
            assert fleet.left() == 0

    def test_when_it_has_grown(self, tmp_path: Path) -> None:
        with running(tmp_path, "jobs:orders", "--max-memory", "250") as fleet:
            fleet.enqueue("note")
            (before,) = fleet.wait_until_said("note", 1)
            fleet.enqueue("grow")
            fleet.wait_for_log("this process is recycled: it has ")
            fleet.wait_for_log("worker starts", times=2)
            fleet.enqueue("note")
            after = fleet.wait_until_said("note", 2)[1]

            assert fleet.said("grown") == [before]
            assert after != before
            assert fleet.end() == 0


def test_a_burst_ends_with_its_children(tmp_path: Path) -> None:
    with running(tmp_path, "jobs:orders", "jobs:mail", "--processes", "2", "--burst") as fleet:
        assert fleet.exit_code() == 0
    with running(tmp_path, "jobs:orders", "jobs:mail", "--processes", "2", "--burst") as fleet:
        fleet.enqueue("note", count=20)
        fleet.enqueue("note", queue="mail", count=20)
        assert fleet.exit_code() == 0
        assert fleet.left() == fleet.left("mail") == 0


def test_reload_starts_again_when_code_changes(tmp_path: Path) -> None:
    with running(tmp_path, "jobs:orders", "--reload", "--wait-seconds", "1") as fleet:
        fleet.enqueue("note")
        (before,) = fleet.wait_until_said("note", 1)
        code = (tmp_path / "jobs.py").read_text()
        (tmp_path / "jobs.py").write_text(code.replace('f"note:', 'f"changed:'))
        fleet.enqueue("note")
        fleet.wait_for_log("worker starts", times=2)
        wait_for(lambda: fleet.said("changed") or len(fleet.said("note")) > 1, "a message")
        fleet.enqueue("note")
        (after, *_) = fleet.wait_until_said("changed", 1)

        assert after != before
        assert fleet.end(signal.SIGINT) == 0


def test_a_system_that_cannot_fork_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    with pytest.raises(SettingsInvalid, match="this system cannot fork"):
        processes.fork_processes(2, drain_timeout=0, until_done=False)


@pytest.mark.parametrize(("limit", "expected"), [("100000 100000", 1), ("max 100000", None)])
def test_the_cores_are_those_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, expected: int | None
) -> None:
    (tmp_path / "cpu.max").write_text(limit)
    monkeypatch.setattr(processes, "_CPU_MAX", tmp_path / "cpu.max")
    assert processes.cores() == (expected or len(os.sched_getaffinity(0)))
