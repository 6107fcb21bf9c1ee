"""A sender and a worker in processes of their own, started with `opentelemetry-instrument`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from letsgo_queue.otel import LetsGoQueueInstrumentor

SHOP = """
import claimcheck
from letsgo_queue import Message, Worker
from opentelemetry import trace

claimcheck.install()
worker = Worker()


@worker.handler("order:new")
def on_order(message: Message[str]) -> None:
    with trace.get_tracer("shop").start_as_current_span("SELECT"):
        assert len(message.payload) == 2_000_000


if __name__ == "__main__":
    claimcheck.enqueue({"type": "order:new", "payload": "ab" * 1_000_000})
"""


def spans_of(folder: Path, *command: str) -> Sequence[Mapping[str, Any]]:
    """Run a command with `opentelemetry-instrument`; the spans that it prints."""
    instrument = Path(sys.executable).with_name("opentelemetry-instrument")
    done = subprocess.run(
        [sys.executable, str(instrument), sys.executable, *command],
        cwd=folder,
        env={
            **os.environ,
            "LETSGO_QUEUE_URL": "sqlite:///work.db",
            "CLAIMCHECK_INLINE_LIMIT": "300",  # so that it is stored, though it compresses
            "OTEL_TRACES_EXPORTER": "console",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
        },
        capture_output=True,
        encoding="utf-8",
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    decoder, text, found = json.JSONDecoder(), done.stdout, []
    while (start := text.find("{")) >= 0:
        span, end = decoder.raw_decode(text[start:])
        found.append(span)
        text = text[start + end :]
    return found


def test_the_span_of_a_worker_is_linked_to_that_of_the_sender(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    sent = {each["name"]: each for each in spans_of(tmp_path, "shop.py")}
    assert sent.keys() >= {"enqueue work.db", "seal", "store", "send work.db"}
    worker = ("-m", "letsgo_queue.cli.app", "worker", "shop:worker", "--burst", "--processes", "2")
    handled = {each["name"]: each for each in spans_of(tmp_path, *worker)}
    assert handled.keys() == {
        *("process work.db", "acquire", "open", "handler", "SELECT", "complete"),
        "acknowledge work.db",
    }
    (link,) = handled["process work.db"]["links"]
    assert link["context"]["span_id"] == sent["enqueue work.db"]["context"]["span_id"]
    assert link["context"]["trace_id"] == sent["enqueue work.db"]["context"]["trace_id"]
    assert handled["SELECT"]["parent_id"] == handled["handler"]["context"]["span_id"]


def test_opentelemetry_finds_it() -> None:
    (found,) = entry_points(group="opentelemetry_instrumentor", name="letsgo_queue")
    assert found.load() is LetsGoQueueInstrumentor
    assert issubclass(LetsGoQueueInstrumentor, BaseInstrumentor)
