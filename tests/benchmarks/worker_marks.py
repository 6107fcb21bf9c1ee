"""The marks of the worker: beside a bare loop of boto3, and beside other workers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median, quantiles

from tests.benchmarks.children import answer_of
from tests.benchmarks.emulator import Emulator
from tests.benchmarks.measuring import Spread, ratio
from tests.benchmarks.networks import NETWORKS
from tests.benchmarks.payloads import PayloadFile
from tests.benchmarks.plan import NEW_QUEUE, Plan
from tests.benchmarks.results import Mark
from tests.benchmarks.worker_runs import Run, idle_worker, run_worker
from tests.benchmarks.workers import PEERS, WORKERS, WorkerName, worker_peer

Say = Callable[[str], None]

_MB = 1_000_000

ASYNC_HANDLERS = 600
FIFO_GROUPS = 20
PERCENTILE_99 = 98


def measure_worker_marks(
    emulator: Emulator, plan: Plan, message: PayloadFile, say: Say
) -> Iterator[Mark]:
    """Measure every mark of the worker.

    Args:
        emulator: The servers.
        plan: How often.
        message: A message of 2 KB.
        say: Is told what comes next.
    """
    marks = _Marks(emulator, plan, message)
    say("worker, beside a bare loop")
    yield from marks.beside_a_bare_loop()
    say("worker, beside other workers")
    yield from marks.beside_others()
    say("worker, 600 async handlers")
    yield from marks.many_async_handlers()
    say("worker, two processes")
    yield from marks.processes()
    say("worker, FIFO")
    yield from marks.fifo()
    say("worker, idle")
    yield from marks.idle()


class _Marks:
    def __init__(self, emulator: Emulator, plan: Plan, message: PayloadFile) -> None:
        self._emulator = emulator
        self._plan = plan
        self._message = message

    def beside_a_bare_loop(self) -> Iterator[Mark]:
        sync, tasks, bare = self._in_turn("sync", "async", "boto3")
        for work, ours, limit in (("sync", sync, 1.05), ("async", tasks, 1.15)):
            yield _mark(
                f"worker, CPU per message, {work} handler, against a bare boto3 loop",
                ratio([each.cpu for each in ours], [each.cpu for each in bare]),
                at_most=limit,
                detail=f"{_cpu(ours)} against {_cpu(bare)}",
            )
        yield _mark(
            "worker, messages/s, sync handler, against a bare boto3 loop",
            ratio([each.per_second for each in sync], [each.per_second for each in bare]),
            at_least=0.95,
            detail=f"{_rate(sync)} against {_rate(bare)}",
        )

    def beside_others(self) -> Iterator[Mark]:
        names = [each.name for each in WORKERS if each.name in PEERS and each.is_there]
        found: list[WorkerName] = ["sync", *(names if self._plan.worker_peers else [])]
        if len(found) == 1:
            return
        ours, *others = self._in_turn(*found)
        rates = ", ".join(
            f"{worker_peer(name).title} {_rate(runs)} and {_cpu(runs)}"
            for name, runs in zip(found[1:], others, strict=True)
        )
        fastest = max(others, key=lambda runs: median(each.per_second for each in runs))
        yield _mark(
            "worker, messages/s, against the fastest of the other workers",
            ratio([each.per_second for each in ours], [each.per_second for each in fastest]),
            at_least=1.0,
            detail=f"{_rate(ours)}; {rates}",
        )
        in_python = [
            runs for name, runs in zip(found[1:], others, strict=True) if name != "fanferro"
        ]
        cheapest = min(in_python, key=lambda runs: median(each.cpu for each in runs))
        yield _mark(
            "worker, CPU per message, against the cheapest of those in Python",
            ratio([each.cpu for each in ours], [each.cpu for each in cheapest]),
            at_most=1.0,
            detail=f"{_cpu(ours)}; {rates}",
        )

    def many_async_handlers(self) -> Iterator[Mark]:
        runs = [
            run_worker(
                self._emulator,
                "loopback",
                "slow",
                self._message,
                ASYNC_HANDLERS,
                concurrency=ASYNC_HANDLERS,
            )
            for _ in range(self._plan.worker_pairs)
        ]
        work = f"worker, {ASYNC_HANDLERS} async handlers of 0.5 s at once"
        seconds = Spread.of([each.seconds for each in runs])
        yield _mark(f"{work}: time", seconds, at_most=1.5, unit="s")
        threads = Spread.of([each.threads for each in runs])
        yield _mark(f"{work}: threads", threads, at_most=40, unit="")
        memory = Spread.of([each.memory / _MB for each in runs])
        yield _mark(f"{work}: memory", memory, at_most=60, unit="MB")

    def processes(self) -> Iterator[Mark]:
        count = self._plan.worker_messages // 2
        one, two = [
            [self._run("busy", count, processes=number) for _ in range(self._plan.worker_pairs)]
            for number in (1, 2)
        ]
        yield _mark(
            "worker, 5 ms of CPU in the handler, two processes against one",
            ratio([each.per_second for each in two], [each.per_second for each in one]),
            at_least=1.7,
            detail=f"{_rate(two)} against {_rate(one)}",
        )

    def fifo(self) -> Iterator[Mark]:
        count = self._plan.worker_messages
        for network in NETWORKS:
            standard, fifo, bare, calls = [], [], [], []
            for _ in range(self._plan.worker_pairs):
                standard.append(
                    run_worker(self._emulator, network, "sync", self._message, count).per_second
                )
                self._emulator.proxy.start()
                fifo.append(
                    run_worker(
                        self._emulator, network, "sync", self._message, count, groups=FIFO_GROUPS
                    ).per_second
                )
                calls.append(self._emulator.proxy.stop().call_count / count)
                bare.append(
                    run_worker(
                        self._emulator, network, "boto3", self._message, count, groups=FIFO_GROUPS
                    ).per_second
                )
            yield _mark(
                f"worker, FIFO of {FIFO_GROUPS} groups against a standard queue: {network}",
                ratio(fifo, standard),
                at_least=0.6,
                detail=f"{median(fifo):,.0f}/s against {median(standard):,.0f}/s; a bare boto3 "
                f"loop, which keeps no order, has {median(bare):,.0f}/s on the FIFO queue",
            )
            if network == "AWS-like":
                yield _mark(
                    "worker, FIFO: requests per message",
                    Spread.of(calls),
                    at_most=0.5,
                    unit="",
                )

    def idle(self) -> Iterator[Mark]:
        place = self._emulator.place(self._emulator.make_queue(NEW_QUEUE), "AWS-like")
        took = answer_of(
            Path(sys.executable),
            "workers.start",
            {"message": str(self._message.path), "count": self._plan.worker_starts},
            {
                **self._emulator.environment("AWS-like"),
                "LETSGO_QUEUE_URL": place.queue_url,
            },
        )
        ours, theirs = took["ours"], took["theirs"]
        for name, pick, limit in (("p50", median, 1.2), ("p99", _p99, None)):
            exact = pick(ours) / pick(theirs)
            yield _mark(
                f"worker, from `enqueue` to the handler, idle, AWS-like: {name}, "
                "against a bare receive",
                Spread(exact, exact, exact),
                at_most=limit or 2.0,
                detail=f"{pick(ours) * 1e3:.1f} ms against {pick(theirs) * 1e3:.1f} ms",
            )
        idle = idle_worker(self._emulator, self._message, self._plan.idle_seconds)
        yield _mark(
            "worker, idle: CPU of a core",
            Spread.of([idle.cpu_share * 100]),
            at_most=0.2,
            unit="%",
        )
        yield _mark(
            "worker, memory of a second process of the same app",
            Spread.of([idle.second_process / _MB]),
            at_most=35,
            unit="MB",
        )

    def _in_turn(self, *names: WorkerName) -> list[list[Run]]:
        """Several runs of each worker, one after the other."""
        rounds = [
            [self._run(name, self._plan.worker_messages) for name in names]
            for _ in range(self._plan.worker_pairs)
        ]
        return [list(runs) for runs in zip(*rounds, strict=True)]

    def _run(self, name: WorkerName, count: int, *, processes: int = 1) -> Run:
        return run_worker(
            self._emulator, "loopback", name, self._message, count, processes=processes
        )


def _mark(
    work: str,
    measured: Spread,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    unit: str = "x",
    detail: str = "",
) -> Mark:
    limit = at_most if at_least is None else at_least
    assert limit is not None
    return Mark(
        work=work,
        limit=limit,
        at_most=at_least is None,
        unit=unit,
        measured=measured,
        detail=detail,
    )


def _p99(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=100, method="inclusive")[PERCENTILE_99]


def _rate(runs: Sequence[Run]) -> str:
    return f"{median(each.per_second for each in runs):,.0f}/s"


def _cpu(runs: Sequence[Run]) -> str:
    return f"{median(each.cpu for each in runs) * 1e6:,.0f} µs"
