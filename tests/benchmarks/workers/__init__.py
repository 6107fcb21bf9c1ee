"""Workers that empty a queue of small messages: ours, others, and a bare loop of boto3.

Each runs in a process of its own and writes a byte to a pipe for every message that it handled, in
whatever process or thread that was. So all are counted and timed the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

WorkerName: TypeAlias = Literal[
    "sync", "async", "slow", "busy", "boto3", "celery", "dramatiq", "taskiq", "fanferro"
]

CONCURRENCY = 10
WAIT_SECONDS = 1

_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPeer:
    """A worker that is measured.

    Attributes:
        name: Its name in commands.
        title: Its name in tables.
        module: The module within this package that runs it.
        environment: The virtual environment that has it.
        fills: Whether it sends its messages itself, in a format of its own.
    """

    name: WorkerName
    title: str
    module: str
    environment: str = ".venv-bench"
    fills: bool = False

    @property
    def python(self) -> Path:
        """The Python of its environment."""
        return _ROOT / self.environment / "bin" / "python"

    @property
    def is_there(self) -> bool:
        """Whether its environment is installed."""
        return self.python.exists()


WORKERS = (
    WorkerPeer(name="sync", title="letsgo_queue", module="ours"),
    WorkerPeer(name="async", title="letsgo_queue, async", module="ours"),
    WorkerPeer(name="slow", title="letsgo_queue, 0.5 s each", module="ours"),
    WorkerPeer(name="busy", title="letsgo_queue, 5 ms of CPU each", module="ours"),
    WorkerPeer(name="boto3", title="bare boto3 loop", module="bare_boto3"),
    WorkerPeer(name="celery", title="Celery", module="with_celery", fills=True),
    WorkerPeer(name="dramatiq", title="dramatiq_sqs", module="with_dramatiq", fills=True),
    WorkerPeer(
        name="taskiq",
        title="taskiq-aio-sqs",
        module="with_taskiq",
        fills=True,
        environment=".venv-bench-taskiq",
    ),
    WorkerPeer(
        name="fanferro",
        title="fanferro",
        module="with_fanferro",
        environment=".venv-bench-fanferro",
    ),
)

PEERS: tuple[WorkerName, ...] = ("celery", "dramatiq", "taskiq", "fanferro")


def worker_peer(name: WorkerName) -> WorkerPeer:
    """A worker by its name."""
    return next(each for each in WORKERS if each.name == name)
