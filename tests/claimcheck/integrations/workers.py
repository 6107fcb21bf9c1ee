"""Workers of other packages, as people start them: in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.claimcheck.integrations.steps import Step, steps_in
from tests.claimcheck.places import DynamoDBPlace
from tests.conftest import SETTINGS
from tests.support.servers import AwsServer
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[3]


@dataclass
class Shop:
    """A store, and what the workers did.

    Attributes:
        folder: Where the workers write.
    """

    server: AwsServer
    place: DynamoDBPlace
    folder: Path

    @property
    def journal(self) -> Path:
        return self.folder / "steps"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def all_steps(self, payload: object) -> list[Step]:
        return steps_in(self.journal, payload)

    def steps(self, payload: object) -> list[str]:
        return [step.name for step in self.all_steps(payload)]

    def wait_for(self, payload: object, *names: str) -> None:
        wait_for(lambda: self.steps(payload) == [*names], f"{names}")


def environment_on(server: AwsServer, **ours: str) -> dict[str, str]:
    """What a worker finds: a server in place of AWS, and nothing of the caller's settings."""
    callers = {name: each for name, each in os.environ.items() if not name.startswith(SETTINGS)}
    return {
        **callers,
        "AWS_ENDPOINT_URL": server.endpoint_url or "",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": server.region,
        "AWS_DEFAULT_REGION": server.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        **ours,
    }


@contextmanager
def run_worker(
    *arguments: str, environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m ...` in a process group of its own, and end it."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker, and the processes that it started, with no time to clean up."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_for_line(log: Path, text: str) -> None:
    wait_for(lambda: text in log.read_text(errors="replace"), f"{text!r} in {log}")
