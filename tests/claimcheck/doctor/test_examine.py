"""The doctor in code: the same examination as of the command."""

from __future__ import annotations

from pathlib import Path

from claimcheck.doctor import Level, examine
from letsgo_queue import Worker
from letsgo_queue.admin import QueueOptions, create_queue
from letsgo_queue.settings import QueueSettings
from tests.claimcheck.doctor import workers
from tests.claimcheck.doctor.shop import Shop


def test_a_queue_and_a_store_on_a_laptop(tmp_path: Path) -> None:
    queue = create_queue(f"sqlite:///{tmp_path}/work.db", QueueSettings(), QueueOptions())
    store = f"sqlite:///{tmp_path}/claims.db"

    findings = examine(worker=Worker(queue), store=store, temporary_queue=True)

    found = {finding.name: finding.level for finding in findings}
    others = {name: level for name, level in found.items() if level is not Level.PASS}
    assert others == {"round-trip.queue": Level.WARN}  # a file has nobody to make another one
    assert {"round-trip.inline", "round-trip.compressed", "round-trip.stored"} <= found.keys()
    assert (tmp_path / "claims.db").exists()


def test_a_worker_whose_handler_may_take_too_long(shop: Shop) -> None:
    findings = examine(worker=workers.slow)

    failed = [finding.name for finding in findings if finding.level is Level.FAIL]
    assert failed == ["worker.timeouts"]


def test_a_function_has_memory_for_a_batch_of_the_largest(shop_on_lambda: Shop) -> None:
    shop_on_lambda.set_function(MemorySize=128)

    memory = {
        largest: next(
            finding.level
            for finding in examine(function=shop_on_lambda.name, largest=largest)
            if finding.name == "lambda.memory"
        )
        for largest in (1_000, 67_108_864)
    }

    assert memory == {1_000: Level.PASS, 67_108_864: Level.WARN}
