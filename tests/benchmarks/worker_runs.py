"""Runs a worker until it has emptied a queue, and says how fast it was and what CPU it took."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.emulator import ROOT, Emulator
from tests.benchmarks.networks import NetworkName
from tests.benchmarks.payloads import PayloadFile
from tests.benchmarks.queues import fill
from tests.benchmarks.workers import CONCURRENCY, WorkerName, worker_peer

STALL_SECONDS = 120
_TICKS = os.sysconf("SC_CLK_TCK")
_SETTLE_SECONDS = 2
_IDLE_MESSAGES = 20
_WARM_SHARE = 10
"""The first tenth is not timed: connections and imports are made with it."""


@dataclass(frozen=True, slots=True)
class Run:
    """One worker, one queue.

    Attributes:
        per_second: Messages a second, from the end of the warm-up to the last.
        cpu: Seconds of CPU a message, of all its processes, in user and system mode.
        seconds: From the first message to the last; where handlers are slow, from its beginning.
        threads: The most threads that were seen.
        memory: Bytes that all its processes had in memory at the end, less those at the start.
    """

    per_second: float
    cpu: float
    seconds: float
    threads: int
    memory: int


def run_worker(
    emulator: Emulator,
    network: NetworkName,
    name: WorkerName,
    message: PayloadFile,
    count: int,
    *,
    concurrency: int = CONCURRENCY,
    processes: int = 1,
    groups: int | None = None,
) -> Run:
    """Fill a new queue, start a worker, and measure it until the queue is handled.

    Args:
        emulator: The servers.
        network: How the worker reaches them; the queue is filled on loopback.
        name: Which worker.
        message: The message.
        count: How many.
        concurrency: Messages at once.
        processes: Processes of this library's worker.
        groups: Take a FIFO queue, with so many groups.
    """
    peer = worker_peer(name)
    queue = f"bench_q{uuid.uuid4().hex[:12]}" + (".fifo" if groups else "")
    if name != "dramatiq":  # it makes its own
        emulator.make_worker_queue(queue)
    task = {
        "worker": name,
        "module": peer.module,
        "concurrency": concurrency,
        "processes": processes,
        "message": str(message.path),
        "count": count,
    }
    if peer.fills:
        _send(emulator, peer.python, {**task, "do": "fill"}, queue)
    else:
        fill(emulator, queue, message, count, groups=groups)
    place = emulator.place(queue, network)
    environment = {
        **emulator.environment(network),
        "CLAIMCHECK_STORE": f"dynamodb://{place.table}",
    }
    with _working(
        peer.python, {**task, "do": "work", "queue_url": place.queue_url}, environment
    ) as (pid, pipe):
        return _measure(pid, pipe, 2 * count if name == "slow" else count)


@dataclass(frozen=True, slots=True)
class Idle:
    """A worker of two processes with nothing to do.

    Attributes:
        cpu_share: Seconds of CPU a second, of one of its processes.
        second_process: Bytes that the second process has to itself.
    """

    cpu_share: float
    second_process: int


def idle_worker(emulator: Emulator, message: PayloadFile, seconds: float) -> Idle:
    """Let a worker of two processes handle a few messages, and then nothing."""
    queue = f"bench_q{uuid.uuid4().hex[:12]}"
    emulator.make_worker_queue(queue)
    fill(emulator, queue, message, _IDLE_MESSAGES)
    place = emulator.place(queue, "loopback")
    task = {
        "worker": "sync",
        "module": "ours",
        "do": "work",
        "concurrency": CONCURRENCY,
        "processes": 2,
        "wait_seconds": 20,
        "queue_url": place.queue_url,
    }
    environment = {
        **emulator.environment("loopback"),
        "CLAIMCHECK_STORE": f"dynamodb://{place.table}",
    }
    with _working(worker_peer("sync").python, task, environment) as (session, pipe):
        left = _IDLE_MESSAGES
        while left:
            left -= len(os.read(pipe, left))
        time.sleep(_SETTLE_SECONDS)
        before = _usage(session)
        time.sleep(seconds)
        after = _usage(session)
        workers = sorted(private_bytes(each) for each in after.processes if each != session)
    return Idle((after.cpu - before.cpu) / seconds / len(workers), workers[-1])


def _send(emulator: Emulator, python: Path, task: Mapping[str, object], queue: str) -> None:
    url = emulator.place(queue, "loopback").queue_url
    subprocess.run(
        [python, "-m", "tests.benchmarks.workers.run", json.dumps({**task, "queue_url": url})],
        cwd=ROOT,
        env=emulator.environment("loopback"),
        check=True,
    )


@contextmanager
def _working(
    python: Path, task: Mapping[str, Any], environment: Mapping[str, str]
) -> Iterator[tuple[int, int]]:
    """A worker in a session of its own: its id, and the pipe that it writes to."""
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        [python, "-m", "tests.benchmarks.workers.run", json.dumps({**task, "pipe": write_end})],
        cwd=ROOT,
        env=dict(environment),
        pass_fds=[write_end],
        start_new_session=True,
    )
    os.close(write_end)
    try:
        yield process.pid, read_end
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        os.close(read_end)


def _measure(session: int, pipe: int, count: int) -> Run:
    warm = max(count // _WARM_SHARE, 1)
    handled, began, timed_from, cpu, timed = 0, 0.0, 0.0, 0.0, 0
    memory = threads = 0
    while handled < count:
        if not select.select([pipe], [], [], STALL_SECONDS)[0]:
            raise RuntimeError(f"{handled} of {count} messages were handled, and then no more")
        written = os.read(pipe, 65_536)
        if not written:
            raise RuntimeError("the worker has ended; its output says why")
        now = time.perf_counter()
        if not began:
            began, memory = now, _usage(session).memory
        handled += len(written)
        if handled >= warm and not timed_from:
            timed_from, timed, cpu = now, handled, _usage(session).cpu
            threads = _usage(session).threads
    now = time.perf_counter()
    usage = _usage(session)
    left = max(count - timed, 1)
    return Run(
        per_second=left / (now - timed_from) if now > timed_from else 0.0,
        cpu=(usage.cpu - cpu) / left,
        seconds=now - began,
        threads=max(threads, usage.threads),
        memory=usage.memory - memory,
    )


@dataclass(frozen=True, slots=True)
class Usage:
    """What a session of processes uses.

    Attributes:
        cpu: Seconds so far.
        threads: Threads.
        memory: Bytes in memory that no other process shares.
        processes: The ids of its processes.
    """

    cpu: float
    threads: int
    memory: int
    processes: tuple[int, ...]


def _usage(session: int) -> Usage:
    """What all processes of a session use now. Linux only."""
    ticks = threads = memory = 0
    processes = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) != session:
                continue
            private = private_bytes(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += sum(map(int, fields[11:15]))
        threads += int(fields[17])
        memory += private
        processes.append(int(folder.name))
    return Usage(ticks / _TICKS, threads, memory, tuple(processes))


def private_bytes(process: int) -> int:
    """Bytes of a process that are in memory and that no other shares. Linux only."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024
