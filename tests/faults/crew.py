"""The processes of a test: started, waited for, killed, and never left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from tests.faults.actors import Produce, Work
from tests.faults.backends import Backend, environment_of
from tests.faults.journal import DEADLINE_SECONDS, Journal

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
        self._processes: list[subprocess.Popen[bytes]] = []
        self.journal_path = folder / "journal"
        self.journal = Journal(self.journal_path)

    def start(self, orders: Produce | Work, *, clock_ahead: int = 0) -> subprocess.Popen[bytes]:
        """Start a process, on a machine whose clock is some seconds ahead."""
        program = ["-c", _CLOCK_AHEAD, str(clock_ahead)] if clock_ahead else ["-m", _ACTORS]
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *program, orders.model_dump_json()],
                cwd=_ROOT,
                env=self._environment,
                stderr=log,
            )
        self._processes.append(process)
        return process

    def run(self, orders: Produce | Work) -> int:
        """Start a process and wait for its end; its exit code, negative for a signal."""
        return self.start(orders).wait(DEADLINE_SECONDS)

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
