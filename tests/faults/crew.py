"""The processes of a test: started, waited for, killed, and never left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TypeAlias

from tests.faults.actors import Produce, Work, obey
from tests.faults.backends import Backend, environment_of
from tests.faults.journal import DEADLINE_SECONDS, Journal
from tests.support.quick_python import quick_python

_ROOT = Path(__file__).parents[2]
_ACTORS = "tests.faults.actors"

# Before anything else is loaded, which might keep the right clock.
_CLOCK_AHEAD = f"""
import sys, time
right, ahead = time.time, int(sys.argv.pop(1))
time.time = lambda: right() + ahead
from {_ACTORS} import main
main()
"""


_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.faults.preloaded"])


def _act(orders: Produce | Work, environment: Mapping[str, str], log: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    obey(orders)


class Forked:
    """A process whose parent has imported all that it needs: to import takes a second.

    It has the methods of `subprocess.Popen` that are needed here.
    """

    def __init__(self, orders: Produce | Work, environment: Mapping[str, str], log: Path) -> None:
        self._process = _forks.Process(target=_act, args=(orders, environment, log), daemon=True)
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError("the process goes on")
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        if self._process.pid is not None and self._process.exitcode is None:
            os.kill(self._process.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Running: TypeAlias = Forked | subprocess.Popen[bytes]


class Crew(AbstractContextManager["Crew"]):
    """Processes that share a backend and a journal."""

    def __init__(self, backend: Backend, folder: Path) -> None:
        self._backend = backend
        self._environment = {
            # Coverage of what is killed is never written, and measuring it takes time.
            **{name: value for name, value in os.environ.items() if "COVERAGE" not in name},
            **environment_of(backend),
        }
        self._log = folder / "log"
        self._processes: list[Running] = []
        self.journal_path = folder / "journal"
        self.journal = Journal(self.journal_path)

    def start(
        self,
        orders: Produce | Work,
        *,
        clock_ahead: int = 0,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> Running:
        """Start a process.

        Args:
            orders: What it does.
            clock_ahead: How many seconds the clock of its machine is ahead.
            settings: Variables of its environment, beside those of the backend.
        """
        environment = {**self._environment, **settings}
        process: Running
        if clock_ahead:
            python = [sys.executable, "-c", _CLOCK_AHEAD, str(clock_ahead)]
            process = self._spawn(python, orders, environment)
        elif isinstance(orders, Work) and orders.processes > 1:  # a forked one has no children
            process = self._spawn([*quick_python(), "-m", _ACTORS], orders, environment)
        else:
            process = Forked(orders, environment, self._log)
        self._processes.append(process)
        return process

    def _spawn(
        self, program: Sequence[str], orders: Produce | Work, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*program, orders.model_dump_json()],
                cwd=_ROOT,
                env=environment,
                stderr=log,
            )

    def run(
        self, orders: Produce | Work, *, settings: Mapping[str, str] = MappingProxyType({})
    ) -> int:
        """Run a process to its end; its exit code, negative for a signal."""
        return self.start(orders, settings=settings).wait(DEADLINE_SECONDS)

    def let_go_of_messages(self) -> None:
        """Make visible at once what killed processes had in hand."""
        receipts = [entry.receipt or "" for entry in self.journal.entries("received")]
        self._backend.make_visible(receipts)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        self.journal.close()
        if error is not None and self._log.exists():
            error.add_note(f"The processes said:\n{self._log.read_text(errors='replace')[-5000:]}")
